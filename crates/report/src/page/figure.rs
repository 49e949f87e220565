//! Figures and tables of a page.

use maud::{Markup, PreEscaped, html};

use crate::chart::{Kind, Table, chart};
use crate::draw::inline;
use crate::{Chart, Error, Subject, Thumbnail};

/// A figure, or a sentence that says why there is none.
pub(super) fn figure(subject: &Subject, kind: Kind, id: &str) -> Result<Markup, Error> {
    match chart(subject, kind) {
        Ok(chart) => draw(&chart, id),
        Err(Error::Missing { reason, .. }) => Ok(html! {
            p .quiet .left-out {
                "Left out: " (words(kind)) ", because " (reason) "."
            }
        }),
        Err(error) => Err(error),
    }
}

fn words(kind: Kind) -> String {
    kind.name().replace('-', " ")
}

fn draw(chart: &Chart, id: &str) -> Result<Markup, Error> {
    let title = format!("{id}-figure-{}", chart.kind);
    let text = format!("{title}-text");
    Ok(html! {
        figure role="group" aria-labelledby=(title) aria-describedby=(text) {
            figcaption {
                h3 id=(title) { (chart.title) }
                p id=(text) { (chart.description) }
            }
            // What is drawn was escaped by the drawing library.
            (PreEscaped(inline(chart, false)?))
            (PreEscaped(inline(chart, true)?))
            (data(&chart.table, &chart.title))
        }
    })
}

/// The numbers behind a figure.
fn data(numbers: &Table, title: &str) -> Markup {
    html! {
        details {
            summary { "Data of this figure" }
            (table(numbers, title))
        }
    }
}

/// A table that scrolls by itself and can be reached by keyboard.
pub(super) fn table(table: &Table, title: &str) -> Markup {
    html! {
        div .scroll tabindex="0" role="region" aria-label=(title) {
            table {
                caption { (title) @if table.left_out > 0 { ", without " (table.left_out) " more rows" } }
                thead { tr { @for head in &table.head { th scope="col" { (head) } } } }
                tbody {
                    @for row in &table.rows {
                        tr { @for cell in row { (data_cell(cell)) } }
                    }
                }
            }
        }
    }
}

fn data_cell(text: &str) -> Markup {
    const LONG: usize = 40;
    html! {
        @if text.chars().count() > LONG { td .long { (text) } } @else { td { (text) } }
    }
}

/// A picture, or the place where one would be.
pub(super) fn picture(
    thumbnail: Option<&Thumbnail>,
    description: &str,
    instead: &str,
) -> Markup {
    html! {
        @match thumbnail {
            Some(image) => {
                img src=(image.url) alt=(description) width=(image.width)
                    height=(image.height) class=[image.tiny.then_some("tiny")];
            }
            None => div .none { (instead) }
        }
    }
}
