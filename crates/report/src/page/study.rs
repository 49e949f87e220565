//! The part of a page that is about a study.

use maud::{Markup, html};

use super::evaluation;
use super::figure::{figure, picture, table};
use crate::chart::{Kind, Table};
use crate::format::{count, duration, number, percent};
use crate::parameter::Parameter;
use crate::study::{Evaluation, Status, Study, Trial, Value, WorstImage};
use crate::{Error, Subject};

/// Trials in the table of the best ones.
const BEST: usize = 10;
/// Trials in the table of those that did not succeed.
const MOST_FAILED: usize = 50;

/// The parts, with their anchors.
pub(super) const PARTS: [(&str, &str); 6] = [
    ("summary", "Summary"),
    ("results", "Results by hyperparameter"),
    ("best", "Best trials"),
    ("test", "Test of the best network"),
    ("workers", "Workers"),
    ("failed", "Trials without a network"),
];

pub(super) fn section(
    subject: &Subject,
    study: &Study,
    id: &str,
) -> Result<Markup, Error> {
    let part = |name: &str| format!("{id}-{name}");
    let mut results = Vec::new();
    let of_workers = [Kind::Timeline, Kind::SpeedUp];
    for kind in Kind::STUDY
        .into_iter()
        .filter(|kind| !of_workers.contains(kind))
    {
        results.push(figure(subject, kind, id)?);
    }
    let mut workers = Vec::new();
    for kind in of_workers {
        workers.push(figure(subject, kind, id)?);
    }
    Ok(html! {
        section aria-labelledby=(part("summary")) {
            h2 id=(part("summary")) { "Study " (study.name) }
            (summary(study))
        }
        section aria-labelledby=(part("results")) {
            h2 id=(part("results")) { "Results by hyperparameter" }
            @for figure in results { (figure) }
        }
        section aria-labelledby=(part("best")) {
            h2 id=(part("best")) { "Best trials" }
            (best(study))
        }
        section aria-labelledby=(part("test")) {
            h2 id=(part("test")) { "Test of the best network" }
            (test(study))
        }
        section aria-labelledby=(part("workers")) {
            h2 id=(part("workers")) { "Workers" }
            @for figure in workers { (figure) }
        }
        section aria-labelledby=(part("failed")) {
            h2 id=(part("failed")) { "Trials without a network" }
            (failed(study))
        }
    })
}

fn summary(study: &Study) -> Markup {
    let objective = study.objective();
    let best = study.best();
    let result = best.and_then(|best| objective.of_trial(best));
    let seconds: f64 = study.trials.iter().filter_map(|trial| trial.seconds).sum();
    html! {
        ul .cards {
            li { span .value { (study.trials.len()) } "trials" }
            @for (status, trials) in study.counts() {
                li { span .value { (trials) } (status.name()) }
            }
            @if let Some(result) = result {
                li { span .value { (objective.text(result)) } "lowest " (objective.title()) }
            }
            @if let Some((accuracy, ..)) = study.test.as_ref().and_then(|test| test.accuracy) {
                li { span .value { (percent(1.0 - accuracy)) } "its error on the test data" }
            }
            li { span .value { (duration(seconds)) } "trained in all" }
        }
        dl {
            dt { "Trials" } dd { (study.name) }
            dt { "Data" } dd { (study.data.as_deref().unwrap_or("not recorded in this table")) }
            @let constant = constant(study);
            @if !constant.is_empty() {
                dt { "The same in all trials" } dd { (constant) }
            }
            @if let Some(best) = best {
                dt { "Best trial" } dd { (settings(study, best)) }
                @if let Some(model) = &best.model { dt { "Its network" } dd { (model) } }
                @if let Some(id) = &best.id { dt { "Its trial_id" } dd { (id) } }
            }
        }
        @if best.is_none() {
            p { "No trial succeeded, so there is no best one." }
        }
        @if let Some(sql) = &study.again {
            details {
                summary { "SQL that trains the best network again" }
                pre tabindex="0" { code { (sql) } }
            }
        }
    }
}

/// Every hyperparameter of a trial.
fn settings(study: &Study, trial: &Trial) -> String {
    let names = study.hyperparameters.iter().zip(&trial.values);
    let given = names.filter(|(_, value)| **value != Value::Null);
    let number = trial.number.map(|number| format!("number {number}"));
    let settings = given.map(|(name, value)| format!("{name} = {}", value.text()));
    number
        .into_iter()
        .chain(settings)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The hyperparameters that do not differ.
fn constant(study: &Study) -> String {
    let varying = Parameter::varying(study);
    let names = study.hyperparameters.iter().enumerate();
    let constant = names
        .filter(|(index, _)| varying.iter().all(|parameter| parameter.index != *index))
        .filter_map(|(index, name)| {
            let value = study.column(index).next()?;
            Some(format!("{name} = {}", value.text()))
        });
    constant.collect::<Vec<_>>().join(", ")
}

fn best(study: &Study) -> Markup {
    let ranked = study.ranked();
    if ranked.is_empty() {
        return html! { p .quiet { "No trial succeeded." } };
    }
    let objective = study.objective();
    let varying = Parameter::varying(study);
    let names = varying.iter().map(|parameter| parameter.name.clone());
    let numbered = study.is_numbered().then(|| "trial".to_string());
    let mut best = Table {
        head: numbered.into_iter().chain(names).collect(),
        ..Table::default()
    };
    let more = [
        objective.title(),
        "validation loss",
        "best epoch",
        "epochs",
        "time",
    ];
    best.head.extend(more.map(String::from));
    for trial in ranked.iter().take(BEST) {
        let number = trial.number.filter(|_| study.is_numbered());
        let mut row: Vec<String> = number.map(|n| n.to_string()).into_iter().collect();
        row.extend(varying.iter().map(|parameter| parameter.text(trial)));
        row.push(
            objective
                .of_trial(trial)
                .map(|v| objective.text(v))
                .unwrap_or_default(),
        );
        row.push(trial.loss.map(crate::format::number).unwrap_or_default());
        row.push(trial.best_epoch.map(|n| n.to_string()).unwrap_or_default());
        row.push(trial.history.len().to_string());
        row.push(trial.seconds.map(duration).unwrap_or_default());
        best.rows.push(row);
    }
    let title = format!(
        "The best {} of {}",
        best.rows.len(),
        count(ranked.len(), "trial")
    );
    table(&best, &title)
}

fn test(study: &Study) -> Markup {
    let Some(test) = &study.test else {
        return html! {
            p .quiet .left-out {
                "Left out: what the best network gets wrong, because no test data was \
                 given. Add " code { "--test DATASET" } " to " code { "atoll report" }
                ", a table or file with an image and a label column, and a split column \
                 where only the rows with 'test' should count."
            }
        };
    };
    html! {
        p {
            (test.rows) " rows of " (test.dataset) ". "
            @if let Some((accuracy, low, high)) = test.accuracy {
                (percent(accuracy)) " are right (95 % interval " (percent(low)) " to "
                (percent(high)) "). "
            }
            @if let Some(loss) = test.loss { "Mean loss " (number(loss)) "." }
        }
        @if !test.confusion.is_empty() { (confusion(test)) }
        @if !test.scores.is_empty() { (evaluation::classes(&test.scores)) }
        @if !test.calibration.is_empty() { (evaluation::calibration(test)) }
        @if !test.worst.is_empty() { (worst(&test.worst)) }
    }
}

/// A table is its own data: the shade says how much of a class a cell has.
fn confusion(test: &Evaluation) -> Markup {
    const MOST_CLASSES: usize = 40;
    let classes = test.confusion.len();
    let name = |class: usize| {
        test.classes
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    };
    html! {
        div .block {
            h3 { "Confusion" }
            p .quiet {
                "A line a class; a column how many of it the network took for what. Right "
                "answers are on the diagonal."
            }
            @if classes > MOST_CLASSES {
                (mistakes(test))
            } @else {
                div .scroll tabindex="0" role="region" aria-label="Confusion" {
                    table .confusion {
                        caption { "Rows of each class by answer" }
                        thead {
                            tr {
                                th scope="col" { "is \\ taken for" }
                                @for class in 0..classes { th scope="col" { (name(class)) } }
                                th scope="col" { "right" }
                            }
                        }
                        tbody {
                            @for (class, row) in test.confusion.iter().enumerate() {
                                tr {
                                    th scope="row" { (name(class)) }
                                    @let total = row.iter().sum::<u64>().max(1) as f64;
                                    @for (taken, rows) in row.iter().enumerate() {
                                        (shaded(*rows, *rows as f64 / total, class == taken))
                                    }
                                    td {
                                        (percent(row.get(class).copied().unwrap_or(0) as f64 / total))
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn shaded(rows: u64, share: f64, right: bool) -> Markup {
    let hue = if right { "right" } else { "wrong" };
    // Mistakes are few, and their shade would not be seen otherwise.
    let strength = if right {
        share * 0.45
    } else {
        (share * 6.0).min(1.0) * 0.6
    };
    html! {
        @if rows == 0 {
            td .zero { "0" }
        } @else {
            td style={ "background:rgba(var(--" (hue) ")," (format!("{strength:.3}")) ")" } {
                (rows)
            }
        }
    }
}

/// The most frequent mistakes, where there are too many classes for all of them.
fn mistakes(test: &Evaluation) -> Markup {
    const MOST: usize = 40;
    let name = |class: usize| {
        test.classes
            .get(class)
            .cloned()
            .unwrap_or_else(|| class.to_string())
    };
    let mut mistakes: Vec<(u64, usize, usize)> = Vec::new();
    for (class, row) in test.confusion.iter().enumerate() {
        for (taken, rows) in row.iter().enumerate() {
            if class != taken && *rows > 0 {
                mistakes.push((*rows, class, taken));
            }
        }
    }
    mistakes
        .sort_by_key(|(rows, class, taken)| (std::cmp::Reverse(*rows), *class, *taken));
    let mut most = Table::new(["is", "taken for", "rows"]);
    for (rows, class, taken) in mistakes.into_iter().take(MOST) {
        most.push(vec![name(class), name(taken), rows.to_string()]);
    }
    table(&most, "The most frequent mistakes")
}

fn worst(images: &[WorstImage]) -> Markup {
    html! {
        div .block {
            h3 { "Worst images" }
            p .quiet { "The " (count(images.len(), "row")) " with the highest loss, the worst first." }
            ul .images {
                @for image in images {
                    li {
                        (picture(
                            image.thumbnail.as_ref(),
                            &format!("{}, taken for {}", image.label, image.predicted),
                            "cannot be shown",
                        ))
                        "is " span .name { (image.label) } ", taken for "
                        span .name { (image.predicted) }
                        br;
                        span .quiet { "loss " (number(image.loss)) }
                        br;
                        span .quiet { "it gave that " (percent(image.probability)) }
                    }
                }
            }
        }
    }
}

fn failed(study: &Study) -> Markup {
    // What a pruner ended has a network, if not that of a whole trial.
    let is_without =
        |trial: &&Trial| !matches!(trial.status, Status::Succeeded | Status::Pruned);
    let without: Vec<&Trial> = study.trials.iter().filter(is_without).collect();
    if without.is_empty() {
        let is_pruned = |trial: &Trial| trial.status == Status::Pruned;
        let others = match study.trials.iter().any(is_pruned) {
            true => "None: every trial succeeded or was ended by a pruner.",
            false => "None: every trial succeeded.",
        };
        return html! { p .quiet { (others) } };
    }
    let varying = Parameter::varying(study);
    let mut failed = Table::new(["status"]);
    failed
        .head
        .extend(varying.iter().map(|parameter| parameter.name.clone()));
    failed.head.extend(["epochs", "error"].map(String::from));
    for trial in without.iter().take(MOST_FAILED) {
        let mut row = vec![trial.status.name().to_string()];
        row.extend(varying.iter().map(|parameter| parameter.text(trial)));
        row.push(trial.history.len().to_string());
        row.push(trial.error.clone().unwrap_or_default());
        failed.rows.push(row);
    }
    failed.left_out = without.len().saturating_sub(MOST_FAILED);
    table(&failed, "Trials that did not succeed")
}
