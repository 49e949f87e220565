//! Pages about studies that go on: the parts of a report below a line that changes.
//!
//! They have one script, which comes from the server that made them and asks only that
//! server. Without it the page is a report of the moment.

use maud::{Markup, html};

use super::{About, document, study};
use crate::{Error, Subject};

/// Scripts and requests of the page's own server only.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; \
                      script-src 'self'; connect-src 'self'; base-uri 'none'; \
                      form-action 'self'";

/// What a page says about a study that may still run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Live {
    /// What it is called: the data set.
    pub name: String,
    /// What the statement asks for, in words.
    pub about: String,
    /// How it is going, such as `running`.
    pub state: String,
    /// Trials that have ended.
    pub ended: u64,
    /// All that there will be, if that is known.
    pub wanted: Option<u64>,
    /// The line that changes, in words.
    pub line: String,
    /// Whether it can still be stopped.
    pub can_stop: bool,
    /// The path of its page; its events and the request to stop it are below.
    pub path: String,
}

/// The page of one study. `subject` is there once a trial has ended.
pub fn live_page(
    live: &Live,
    subject: Option<&Subject>,
    about: &About,
) -> Result<String, Error> {
    let body = match subject {
        Some(subject @ Subject::Study(trials)) => study::section(subject, trials, "s1")?,
        _ => html! { p .quiet { "No trial has ended yet." } },
    };
    let title = format!("Study of {}", live.name);
    let header = html! {
        h1 { (title) }
        p .quiet { (live.about) }
        nav aria-label="Studies" { ul { li { a href="/" { "All studies" } } } }
        (bar(live))
    };
    Ok(document(&title, POLICY, about, &header, &body, true))
}

/// The pages there are. `tables` are stored tables with trials or labelled images: a name and
/// the path of its page.
pub fn live_index(
    studies: &[Live],
    tables: &[(String, String)],
    about: &About,
) -> String {
    let header = html! {
        h1 { "Studies" }
        p .quiet { (about.made_by) ", storage " (about.made_at) }
    };
    let body = html! {
        section aria-labelledby="under-way" {
            h2 #under-way { "Searches, the latest first" }
            @if studies.is_empty() {
                p .quiet { "None yet: a statement with tune(...) on this storage shows up here." }
            }
            @for study in studies {
                div .block {
                    h3 { a href=(study.path) { (study.name) } }
                    p .quiet { (study.about) }
                    p { (study.line) }
                    (progress(study))
                }
            }
        }
        section aria-labelledby="tables" {
            h2 #tables { "Stored tables" }
            @if tables.is_empty() {
                p .quiet { "No stored table has trials or labelled images." }
            }
            ul { @for (name, path) in tables { li { a href=(path) { (name) } } } }
        }
    };
    document("Studies", POLICY, about, &header, &body, true)
}

/// The line that changes, how far the study is, and what ends it.
fn bar(live: &Live) -> Markup {
    html! {
        div #live .card data-path=(live.path) data-state=(live.state) {
            p #live-line role="status" { (live.line) }
            (progress(live))
            @if live.can_stop {
                form #live-stop method="post" action={ (live.path) "/stop" } {
                    button type="submit" { "Stop this study" }
                    span .quiet { " Trials that run now end; the same statement goes on later." }
                }
            }
        }
    }
}

fn progress(live: &Live) -> Markup {
    html! {
        @if let Some(wanted) = live.wanted {
            progress aria-label={ "Trials of " (live.name) }
                max=(wanted.max(1)) value=(live.ended.min(wanted)) {}
        }
    }
}
