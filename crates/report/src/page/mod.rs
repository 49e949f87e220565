//! One page that asks no network for anything.
//!
//! It has no scripts, and its policy forbids them, so that a label that is markup stays
//! a label even if escaping it were forgotten.

mod evaluation;
mod figure;
mod labels;
mod live;
mod study;

use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use self::live::{Live, live_index, live_page};

use crate::draw::dark_rules;
use crate::format::clip;
use crate::{Error, Subject};

/// What a page says of itself.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// When it was made, in words.
    pub made_at: String,
    /// The program and its version.
    pub made_by: String,
}

/// No scripts, no requests; pictures and rules are in the page.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
                      base-uri 'none'; form-action 'none'";

/// A page about one or several subjects.
pub fn page(subjects: &[Subject], about: &About) -> Result<String, Error> {
    let title = match subjects {
        [only] => format!("Report on {}", clip(name(only), 80)),
        several => format!("Report on {} tables", several.len()),
    };
    let mut bodies: Vec<Markup> = Vec::new();
    for (index, subject) in subjects.iter().enumerate() {
        let id = format!("s{}", index + 1);
        bodies.push(match subject {
            Subject::Study(study) => study::section(subject, study, &id)?,
            Subject::Labels(labels) => labels::section(subject, labels, &id)?,
        });
    }
    let header = html! {
        h1 { (title) }
        p .quiet { (about.made_by) ", " (about.made_at) }
        (contents(subjects))
    };
    let body = html! { @for body in bodies { (body) } };
    Ok(document(&title, POLICY, about, &header, &body, false))
}

/// A whole page. Only one that a server shows `is_live` and has a script.
fn document(
    title: &str,
    policy: &str,
    about: &About,
    header: &Markup,
    body: &Markup,
    is_live: bool,
) -> String {
    let style = format!(
        "{}@media screen and (prefers-color-scheme:dark){{{}}}",
        include_str!("style.css"),
        dark_rules()
    );
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="generator" content=(about.made_by);
                // An icon of its own keeps browsers from asking for one.
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(style)) }
                @if is_live { script src="/watch.js" defer {} }
            }
            body {
                a .skip href="#main" { "Skip to the content" }
                header { (header) }
                main #main tabindex="-1" { (body) }
            }
        }
    };
    page.into_string()
}

fn name(subject: &Subject) -> &str {
    match subject {
        Subject::Study(study) => &study.name,
        Subject::Labels(labels) => &labels.name,
    }
}

/// The way to each part.
fn contents(subjects: &[Subject]) -> Markup {
    let several = subjects.len() > 1;
    html! {
        nav aria-label="Contents" {
            @for (index, subject) in subjects.iter().enumerate() {
                @let id = format!("s{}", index + 1);
                @if several { p .quiet { (name(subject)) } }
                ul {
                    @for (part, text) in parts(subject) {
                        li { a href={ "#" (id) "-" (part) } { (text) } }
                    }
                }
            }
        }
    }
}

fn parts(subject: &Subject) -> &'static [(&'static str, &'static str)] {
    match subject {
        Subject::Study(_) => &study::PARTS,
        Subject::Labels(_) => &labels::PARTS,
    }
}
