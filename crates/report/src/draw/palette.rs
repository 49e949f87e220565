//! Colours that people with any colour vision tell apart, on white and on black.
//!
//! The series are those of M. Okabe and K. Ito, "Color Universal Design" (2008), the
//! lighter ones darkened where they would fade on white. The steps are viridis.

use std::fmt::Write;

/// Colours from the best to the worst.
pub(crate) const STEPS: usize = 7;

/// A colour by what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ink {
    /// What is written, and axes.
    Text,
    /// What is there, but not what a figure is about.
    Muted,
    /// Lines that help to read a value.
    Grid,
    /// What a figure is drawn on.
    Paper,
    /// One of several things; use it with a shape.
    Series(usize),
    /// From the best (0) to the worst (`STEPS` - 1).
    Step(usize),
}

type Rgb = (u8, u8, u8);

/// On white and on black. No two colours on white are the same, because the style sheet
/// finds by them what becomes another colour on black.
const SERIES: [(Rgb, Rgb); 6] = [
    ((0x00, 0x72, 0xB2), (0x56, 0xB4, 0xE9)),
    ((0xD5, 0x5E, 0x00), (0xF5, 0x8A, 0x42)),
    ((0x00, 0x82, 0x5F), (0x2F, 0xC9, 0x9B)),
    ((0xB0, 0x53, 0x8A), (0xE3, 0x9C, 0xC6)),
    ((0x4D, 0x4D, 0x4D), (0xC8, 0xC8, 0xC8)),
    ((0x96, 0x6F, 0x00), (0xF0, 0xE4, 0x42)),
];

const VIRIDIS: [(Rgb, Rgb); STEPS] = [
    ((0x44, 0x01, 0x54), (0xFD, 0xE7, 0x25)),
    ((0x44, 0x3A, 0x83), (0x8F, 0xD7, 0x44)),
    ((0x31, 0x68, 0x8E), (0x35, 0xB7, 0x79)),
    ((0x21, 0x90, 0x8C), (0x21, 0x90, 0x8D)),
    ((0x35, 0xB7, 0x79), (0x31, 0x7B, 0xA0)),
    ((0x8F, 0xC7, 0x3A), (0x56, 0x62, 0xA8)),
    ((0xD8, 0xC8, 0x1E), (0x6A, 0x4C, 0x93)),
];

impl Ink {
    fn pair(self) -> (Rgb, Rgb) {
        match self {
            Self::Text => ((0x1B, 0x1B, 0x1B), (0xEC, 0xEC, 0xEC)),
            Self::Muted => ((0x6B, 0x72, 0x80), (0x9A, 0xA1, 0xAD)),
            Self::Grid => ((0xDE, 0xE1, 0xE6), (0x3A, 0x3F, 0x48)),
            Self::Paper => ((0xFF, 0xFF, 0xFF), (0x16, 0x18, 0x1D)),
            Self::Series(n) => SERIES[n % SERIES.len()],
            Self::Step(n) => VIRIDIS[n.min(STEPS - 1)],
        }
    }

    /// The colour on white.
    pub(super) fn rgb(self) -> Rgb {
        self.pair().0
    }

    /// The nearest colour of a terminal with 256 of them; none where its own serves.
    pub(super) fn indexed(self) -> Option<u8> {
        const STEP: [u8; STEPS] = [220, 149, 72, 37, 31, 61, 97];
        const SERIES: [u8; 6] = [32, 208, 36, 175, 250, 220];
        match self {
            Self::Text | Self::Paper => None,
            Self::Muted | Self::Grid => Some(244),
            Self::Series(n) => Some(SERIES[n % SERIES.len()]),
            Self::Step(n) => Some(STEP[n.min(STEPS - 1)]),
        }
    }

    fn all() -> impl Iterator<Item = Self> {
        let series = (0..SERIES.len()).map(Self::Series);
        let steps = (0..STEPS).map(Self::Step);
        let named = [Self::Text, Self::Muted, Self::Grid, Self::Paper];
        named.into_iter().chain(series).chain(steps)
    }
}

/// Rules that turn the colours of a drawing into those on black.
pub(crate) fn dark_rules() -> String {
    let mut rules = String::new();
    for ink in Ink::all() {
        let (from, to) = ink.pair();
        let (from, to) = (hex(from), hex(to));
        // Writing to a string cannot fail.
        let _ = write!(
            rules,
            "svg [fill=\"{from}\"]{{fill:{to}}}svg [stroke=\"{from}\"]{{stroke:{to}}}"
        );
    }
    rules
}

/// As the SVG backend writes it.
fn hex((red, green, blue): Rgb) -> String {
    format!("#{red:02X}{green:02X}{blue:02X}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Contrast of two colours as WCAG 2 defines it.
    fn contrast(a: Rgb, b: Rgb) -> f64 {
        let linear = |channel: u8| {
            let c = f64::from(channel) / 255.0;
            match c <= 0.040_45 {
                true => c / 12.92,
                false => ((c + 0.055) / 1.055).powf(2.4),
            }
        };
        let luminance =
            |(r, g, b): Rgb| 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn lines_stand_out_on_white_and_on_black() {
        let (white, black) = Ink::Paper.pair();
        for n in 0..SERIES.len() {
            let (on_white, on_black) = Ink::Series(n).pair();
            assert!(contrast(on_white, white) >= 3.0, "series {n} on white");
            assert!(contrast(on_black, black) >= 3.0, "series {n} on black");
        }
        for ink in [Ink::Text, Ink::Muted] {
            let (on_white, on_black) = ink.pair();
            assert!(contrast(on_white, white) >= 4.5, "{ink:?} on white");
            assert!(contrast(on_black, black) >= 4.5, "{ink:?} on black");
        }
    }

    #[test]
    fn a_colour_on_white_has_one_meaning() {
        let mut colors: Vec<Rgb> = Ink::all().map(Ink::rgb).collect();
        colors.sort_unstable();
        let count = colors.len();
        colors.dedup();
        assert_eq!(colors.len(), count);
    }
}
