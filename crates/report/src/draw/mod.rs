//! Charts on paper, on a screen and in a terminal.

mod look;
mod palette;
mod picture;
mod png;
mod svg;
mod terminal;
mod ticks;

pub(crate) use palette::{Ink, STEPS, dark_rules};
pub use png::png;
pub(crate) use svg::inline;
pub use svg::svg;
pub use terminal::terminal;

/// A text without characters that XML and terminals take for something else.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}
