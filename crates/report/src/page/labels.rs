//! The part of a page that is about labelled images.

use maud::{Markup, html};

use super::figure::{figure, picture, table};
use crate::chart::{Kind, Table};
use crate::format::{count, number, percent};
use crate::labels::{ErrorCode, LabelledImage, Labelling};
use crate::{Error, Subject};

/// Labels in the table of the most frequent ones.
const MOST_LABELS: usize = 30;

/// The parts, with their anchors.
pub(super) const PARTS: [(&str, &str); 4] = [
    ("summary", "Summary"),
    ("images", "Images"),
    ("errors", "Errors"),
    ("time", "Over time"),
];

pub(super) fn section(
    subject: &Subject,
    labels: &Labelling,
    id: &str,
) -> Result<Markup, Error> {
    let part = |name: &str| format!("{id}-{name}");
    let scores = figure(subject, Kind::Scores, id)?;
    let errors = figure(subject, Kind::Errors, id)?;
    let time = figure(subject, Kind::Throughput, id)?;
    Ok(html! {
        section aria-labelledby=(part("summary")) {
            h2 id=(part("summary")) { "Labels " (labels.name) }
            (summary(labels))
            (scores)
        }
        section aria-labelledby=(part("images")) {
            h2 id=(part("images")) { "Images" }
            (images("Surest", "The highest scores of the likeliest label.", &labels.surest))
            (images("Least sure", "The lowest scores of the likeliest label.", &labels.least_sure))
            @if labels.surest.is_empty() && labels.least_sure.is_empty() {
                p .quiet { "No image has labels, or none was asked for." }
            }
            (frequent(labels))
        }
        section aria-labelledby=(part("errors")) {
            h2 id=(part("errors")) { "Errors" }
            (errors)
            @for error in &labels.errors { (failed(error)) }
        }
        section aria-labelledby=(part("time")) {
            h2 id=(part("time")) { "Over time" }
            (time)
        }
    })
}

fn summary(labels: &Labelling) -> Markup {
    let failed: usize = labels.errors.iter().map(|error| error.count).sum();
    let done = labels.images.saturating_sub(failed);
    html! {
        ul .cards {
            li { span .value { (labels.images) } "images" }
            li { span .value { (done) } "labelled" }
            li { span .value { (failed) } "failed" }
            li { span .value { (labels.labels.len()) } "different labels" }
        }
        dl {
            dt { "Labels" } dd { (labels.name) }
            @for model in &labels.models { dt { "Network" } dd { (model) } }
        }
    }
}

fn images(title: &str, about: &str, images: &[LabelledImage]) -> Markup {
    html! {
        @if !images.is_empty() {
            div .block {
                h3 { (title) }
                p .quiet { (about) }
                ul .images { @for image in images { li { (card(image)) } } }
            }
        }
    }
}

fn card(image: &LabelledImage) -> Markup {
    let first = image
        .labels
        .first()
        .map_or("no label", |label| label.0.as_str());
    let instead = image.remark.as_deref().unwrap_or("not shown");
    html! {
        (picture(image.thumbnail.as_ref(), &format!("{first}: {}", image.filename), instead))
        span .name { (short(&image.filename)) }
        @if image.thumbnail.is_some() {
            @if let Some(remark) = &image.remark { br; span .quiet { (remark) } }
        }
        ol {
            @for (label, score) in &image.labels {
                li { span { (label) } span { (score_text(*score)) } }
            }
        }
    }
}

fn score_text(score: f64) -> String {
    match (0.0..=1.0).contains(&score) {
        true => percent(score),
        false => number(score),
    }
}

/// The last part of a path or URL.
fn short(filename: &str) -> &str {
    let name = filename.trim_end_matches('/').rsplit(['/', '\\']).next();
    name.filter(|name| !name.is_empty()).unwrap_or(filename)
}

fn frequent(labels: &Labelling) -> Markup {
    let mut most = Table::new(["label", "images", "share"]);
    let all = labels.scores.len().max(1) as f64;
    for (label, images) in labels.labels.iter().take(MOST_LABELS) {
        most.push(vec![
            label.clone(),
            images.to_string(),
            percent(*images as f64 / all),
        ]);
    }
    most.left_out = labels.labels.len().saturating_sub(MOST_LABELS);
    html! {
        @if !most.rows.is_empty() {
            div .block {
                h3 { "Labels" }
                p .quiet { "How often each label is the likeliest." }
                details {
                    summary { (count(labels.labels.len(), "label")) }
                    (table(&most, "Labels by frequency"))
                }
            }
        }
    }
}

fn failed(error: &ErrorCode) -> Markup {
    html! {
        div .block {
            h3 { (error.code) ", " (count(error.count, "image")) }
            ul .images {
                @for image in &error.examples {
                    li {
                        (picture(image.thumbnail.as_ref(), &image.filename, "cannot be shown"))
                        span .name { (short(&image.filename)) }
                        br;
                        span .quiet { (image.error) }
                    }
                }
            }
        }
    }
}
