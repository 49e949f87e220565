//! The page for people. It has no script and loads itself anew every two seconds.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{Executor, JobStatus, Status, TaskStatus};
use crate::protocol::{WireProgress, WireTrial};
use crate::runs::RunState;

const STYLE: &str = include_str!("page.css");

pub(crate) fn page(status: &Status) -> String {
    let slots: usize = status.executors.iter().map(|one| one.slots).sum();
    let busy: usize = status.executors.iter().map(|one| one.running).sum();
    let is_open = |job: &&JobStatus| matches!(job.state.as_str(), "running" | "merging");
    let (open, ended): (Vec<_>, Vec<_>) = status.jobs.iter().partition(is_open);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta http-equiv="refresh" content="2";
                title { "Atoll: " (busy) " of " (slots) " slots busy" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                h1 { "Atoll scheduler" }
                p {
                    "Version " (status.version) ", up " (duration(status.up_seconds as f64))
                    ". " (status.executors.len()) " executors, " (busy) " of " (slots)
                    " slots busy. " a href="/status.json" { "JSON" }
                }
                (executors(&status.executors))
                (runs(&status.runs))
                @for job in &open { (running_job(job)) }
                @if open.is_empty() {
                    h2 { "Jobs" }
                    p { "No job runs." }
                }
                (ended_jobs(&ended))
            }
        }
    };
    page.into_string()
}

fn executors(executors: &[Executor]) -> Markup {
    html! {
        h2 { "Executors" }
        @if executors.is_empty() {
            p {
                "None is connected. Start one with "
                code { "atoll executor --scheduler HOST:PORT" } "."
            }
        } @else {
            div.table {
                table {
                    tr {
                        th { "Executor" } th { "Address" } th.number { "Slots" }
                        th.number { "Busy" } th.number { "Last heard" }
                    }
                    @for one in executors {
                        tr {
                            td { (one.id) } td { (one.address) }
                            td.number { (one.slots) } td.number { (one.running) }
                            td.number { (one.silent_seconds) " s ago" }
                        }
                    }
                }
            }
        }
    }
}

fn runs(runs: &[RunState]) -> Markup {
    html! {
        @if !runs.is_empty() {
            h2 { "Runs" }
            div.table {
                table {
                    tr {
                        th { "Run" } th { "Script" } th { "Client" } th { "State" }
                        th { "Executor" } th.number { "Started" } th.number { "Took" }
                    }
                    @for run in runs {
                        tr {
                            td { (run.id) } td { (run.script) } td { (run.client) }
                            td { (run.phase) }
                            td { (run.executor.as_deref().unwrap_or_default()) }
                            td.number { (run.starts) " times" }
                            td.number { (duration(run.seconds)) }
                        }
                    }
                }
            }
        }
    }
}

fn running_job(job: &JobStatus) -> Markup {
    let results = match job.state.as_str() {
        "merging" => "merging",
        _ => "waiting",
    };
    html! {
        h2 { (job.label) " " span.quiet { "job " (job.key) } }
        p {
            (job.state) ", " (duration(job.seconds)) ", " (job.rows) " rows from "
            (job.client) "."
            br;
            "Stage 1, tasks: "
            progress max=(job.tasks.max(1)) value=(job.done) {}
            " " (job.done) " done, " (job.running.len()) " running, " (job.pending)
            " pending. Stage 2, results: " (results) "."
        }
        (rows(&job.progress))
        @if !job.running.is_empty() {
            div.table {
                table {
                    tr {
                        th.number { "Task" } th { "Executor" } th.number { "Runs for" }
                        th.number { "Attempt" } th { "Trials" }
                    }
                    @for task in &job.running { (running_task(task)) }
                }
            }
        }
    }
}

fn running_task(task: &TaskStatus) -> Markup {
    html! {
        tr {
            td.number { (task.task) } td { (task.executor) }
            td.number { (duration(task.seconds)) } td.number { (task.attempt) }
            td { @for trial in &task.trials { (running_trial(trial)) } }
        }
    }
}

fn running_trial(trial: &WireTrial) -> Markup {
    html! {
        div {
            (trial.name) ": epoch " (trial.epoch) "/" (trial.epochs)
            @if let Some(loss) = trial.loss { ", loss " (format!("{loss:.4}")) }
        }
    }
}

fn rows(progress: &WireProgress) -> Markup {
    html! {
        @for rows in &progress.rows {
            p {
                (rows.label) ": " (rows.done) " of " (rows.total) " rows started are done, "
                (format!("{:.1}", rows.done as f64 / rows.seconds.max(1e-3))) " rows/s"
            }
        }
    }
}

fn ended_jobs(jobs: &[&JobStatus]) -> Markup {
    html! {
        @if !jobs.is_empty() {
            h2 { "Ended jobs" }
            div.table {
                table {
                    tr {
                        th { "Job" } th { "Functions" } th { "State" } th.number { "Rows" }
                        th.number { "Took" } th { "Error" }
                    }
                    @for job in jobs {
                        tr {
                            td { (job.key) } td { (job.label) } td { (job.state) }
                            td.number { (job.rows) }
                            td.number { (duration(job.seconds)) }
                            td.error { (job.error.as_deref().unwrap_or_default()) }
                        }
                    }
                }
            }
        }
    }
}

fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}
