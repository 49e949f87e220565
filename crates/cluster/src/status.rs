//! What a scheduler shows of itself, to programs as JSON and to people as a page.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::board::{Board, Job, RunningTask};
use crate::protocol::{WireProgress, WireTrial};

/// Everything that a scheduler knows.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(crate) version: String,
    pub(crate) up_seconds: u64,
    pub(crate) executors: Vec<Executor>,
    pub(crate) jobs: Vec<JobStatus>,
}

/// An executor that is connected.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Executor {
    pub(crate) id: String,
    pub(crate) address: String,
    pub(crate) slots: usize,
    pub(crate) running: usize,
    pub(crate) silent_seconds: u64,
}

/// A job, with its two stages: the tasks, and the merge of their results.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JobStatus {
    pub(crate) key: String,
    pub(crate) label: String,
    pub(crate) client: String,
    pub(crate) state: String,
    pub(crate) seconds: f64,
    pub(crate) rows: u64,
    pub(crate) tasks: u64,
    pub(crate) pending: u64,
    pub(crate) running: Vec<TaskStatus>,
    pub(crate) done: u64,
    pub(crate) progress: WireProgress,
    pub(crate) error: Option<String>,
}

/// A task that runs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TaskStatus {
    pub(crate) task: u32,
    pub(crate) executor: String,
    pub(crate) seconds: f64,
    pub(crate) attempt: u32,
    pub(crate) trials: Vec<WireTrial>,
}

impl Status {
    pub(crate) fn new(
        since: SystemTime,
        executors: Vec<Executor>,
        board: &Board,
    ) -> Self {
        let mut jobs = Vec::new();
        board.each(|job| jobs.push(JobStatus::of(job)));
        Self {
            version: atoll_session::VERSION.to_string(),
            up_seconds: seconds(since, SystemTime::now()) as u64,
            executors,
            jobs,
        }
    }
}

impl JobStatus {
    fn of(job: &Job) -> Self {
        let state = job.state();
        let (end, how) = match (job.ended, state.done == job.new.tasks) {
            (Some((end, how)), _) => (end, how),
            (None, true) => (SystemTime::now(), "merging"),
            (None, false) => (SystemTime::now(), "running"),
        };
        let running = |task: RunningTask| TaskStatus {
            task: task.task,
            executor: task.executor,
            seconds: task.seconds,
            attempt: task.attempt,
            trials: task.progress.trials.unwrap_or_default().running,
        };
        Self {
            key: job.new.key.clone(),
            label: job.new.label.clone(),
            client: job.new.client.clone(),
            state: how.to_string(),
            seconds: seconds(job.since, end),
            rows: job.new.rows,
            tasks: job.new.tasks,
            pending: state.pending,
            running: job.running().into_iter().map(running).collect(),
            done: state.done,
            progress: state.progress,
            error: state.error,
        }
    }
}

fn seconds(from: SystemTime, to: SystemTime) -> f64 {
    to.duration_since(from).unwrap_or_default().as_secs_f64()
}

const STYLE: &str = "\
    :root { color-scheme: light dark; font-family: system-ui, sans-serif; }\n\
    body { margin: 1.5rem auto; max-width: 72rem; padding: 0 1rem; line-height: 1.4; }\n\
    h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 1.8rem; }\n\
    table { border-collapse: collapse; width: 100%; }\n\
    th, td { text-align: left; padding: .3rem .7rem .3rem 0; vertical-align: top;\n\
    border-bottom: 1px solid color-mix(in srgb, currentColor 20%, transparent); }\n\
    td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }\n\
    progress { width: 10rem; } .quiet { opacity: .7; } .error { font-weight: 600; }\n";

/// The page. It has no script and loads itself anew every two seconds.
pub(crate) fn page(status: &Status) -> String {
    let slots: usize = status.executors.iter().map(|one| one.slots).sum();
    let busy: usize = status.executors.iter().map(|one| one.running).sum();
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta http-equiv=\"refresh\" content=\"2\">\n\
         <title>Atoll: {busy} of {slots} slots busy</title>\n<style>\n{STYLE}</style>\n\
         </head><body>\n<h1>Atoll scheduler</h1>\n<p>Version {}, up {}. {} executors, \
         {busy} of {slots} slots busy. <a href=\"/status.json\">JSON</a></p>\n",
        escape(&status.version),
        duration(status.up_seconds as f64),
        status.executors.len(),
    );
    executors(&mut page, &status.executors);
    let (open, ended): (Vec<_>, Vec<_>) = status
        .jobs
        .iter()
        .partition(|job| matches!(job.state.as_str(), "running" | "merging"));
    for job in &open {
        running_job(&mut page, job);
    }
    if open.is_empty() {
        page.push_str("<h2>Jobs</h2>\n<p>No job runs.</p>\n");
    }
    ended_jobs(&mut page, &ended);
    page.push_str("</body></html>\n");
    page
}

fn executors(page: &mut String, executors: &[Executor]) {
    page.push_str("<h2>Executors</h2>\n");
    if executors.is_empty() {
        page.push_str(
            "<p>None is connected. Start one with <code>atoll executor --scheduler \
             HOST:PORT</code>.</p>\n",
        );
        return;
    }
    page.push_str(
        "<table><tr><th>Executor</th><th>Address</th><th class=\"number\">Slots</th>\
         <th class=\"number\">Busy</th><th class=\"number\">Last heard</th></tr>\n",
    );
    for one in executors {
        // Writing to a string cannot fail, here and below.
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td \
             class=\"number\">{}</td><td class=\"number\">{} s ago</td></tr>",
            escape(&one.id),
            escape(&one.address),
            one.slots,
            one.running,
            one.silent_seconds
        );
    }
    page.push_str("</table>\n");
}

fn running_job(page: &mut String, job: &JobStatus) {
    let _ = writeln!(
        page,
        "<h2>{} <span class=\"quiet\">job {}</span></h2>\n<p>{}, {}, {} rows from {}.\
         <br>Stage 1, tasks: <progress max=\"{}\" value=\"{}\"></progress> {} done, {} \
         running, {} pending. Stage 2, results: {}.</p>",
        escape(&job.label),
        escape(&job.key),
        escape(&job.state),
        duration(job.seconds),
        job.rows,
        escape(&job.client),
        job.tasks.max(1),
        job.done,
        job.done,
        job.running.len(),
        job.pending,
        if job.state == "merging" {
            "merging"
        } else {
            "waiting"
        },
    );
    rows(page, &job.progress);
    if job.running.is_empty() {
        return;
    }
    page.push_str(
        "<table><tr><th class=\"number\">Task</th><th>Executor</th><th \
         class=\"number\">Runs for</th><th class=\"number\">Attempt</th><th>Trials</th>\
         </tr>\n",
    );
    for task in &job.running {
        let _ = writeln!(
            page,
            "<tr><td class=\"number\">{}</td><td>{}</td><td class=\"number\">{}</td><td \
             class=\"number\">{}</td><td>{}</td></tr>",
            task.task,
            escape(&task.executor),
            duration(task.seconds),
            task.attempt,
            task.trials.iter().map(trial).collect::<String>(),
        );
    }
    page.push_str("</table>\n");
}

fn trial(trial: &WireTrial) -> String {
    let loss = trial
        .loss
        .map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
    format!(
        "<div>{}: epoch {}/{}{loss}</div>",
        escape(&trial.name),
        trial.epoch,
        trial.epochs
    )
}

fn rows(page: &mut String, progress: &WireProgress) {
    for rows in &progress.rows {
        let _ = writeln!(
            page,
            "<p>{}: {} of {} rows started are done, {:.1} rows/s</p>",
            escape(&rows.label),
            rows.done,
            rows.total,
            rows.done as f64 / rows.seconds.max(1e-3)
        );
    }
}

fn ended_jobs(page: &mut String, jobs: &[&JobStatus]) {
    if jobs.is_empty() {
        return;
    }
    page.push_str(
        "<h2>Ended jobs</h2>\n<table><tr><th>Job</th><th>Functions</th><th>State</th>\
         <th class=\"number\">Rows</th><th class=\"number\">Took</th><th>Error</th></tr>\n",
    );
    for job in jobs {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"number\">{}</td><td \
             class=\"number\">{}</td><td class=\"error\">{}</td></tr>",
            escape(&job.key),
            escape(&job.label),
            escape(&job.state),
            job.rows,
            duration(job.seconds),
            escape(job.error.as_deref().unwrap_or_default()),
        );
    }
    page.push_str("</table>\n");
}

fn duration(seconds: f64) -> String {
    let whole = seconds as u64;
    match (whole / 3600, whole / 60 % 60, whole % 60) {
        (0, 0, _) => format!("{seconds:.1} s"),
        (0, m, s) => format!("{m} min {s} s"),
        (h, m, _) => format!("{h} h {m} min"),
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{NewJob, TaskId};

    #[test]
    fn the_page_shows_jobs_and_escapes_what_users_wrote() {
        let board = Board::default();
        board.announce(NewJob {
            key: "7f".to_string(),
            label: "<script>".to_string(),
            tasks: 2,
            rows: 2,
            session: "session".to_string(),
            speculates: true,
            client: "me & you".to_string(),
        });
        board.start(&TaskId {
            job: "7f".to_string(),
            task: 1,
            executor: "node1".to_string(),
        });
        let status = Status::new(SystemTime::now(), vec![], &board);
        let page = page(&status);
        assert!(page.contains("&lt;script&gt;"), "{page}");
        assert!(!page.contains("<script>"), "{page}");
        assert!(page.contains("me &amp; you"), "{page}");
        assert!(page.contains("<td>node1</td>"), "{page}");
        assert!(page.contains("0 done, 1 running, 1 pending"), "{page}");
    }
}
