//! The log of a run on standard error, which `--log-format` asks for: a line for the start,
//! for each statement, and for the end.

use std::time::Duration;

use atoll_jobs::{Run, StatementRun};
use chrono::{SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::errors::Failure;
use crate::notes::{LogFormat, note};

/// Writes log lines, or none.
pub(super) struct Log(Option<LogFormat>);

impl Log {
    pub(super) fn new(format: Option<LogFormat>) -> Self {
        Self(format)
    }

    /// Whether anything is written.
    pub(super) fn is_written(&self) -> bool {
        self.0.is_some()
    }

    pub(super) fn started(&self, run: &Run) {
        let count = run.statements.len();
        let text = format!("{}: {count} statements", run.title());
        self.line(run, "run_started", &text, json!({"statements": count}));
    }

    pub(super) fn statement(&self, run: &Run, index: usize) {
        let statement = &run.statements[index];
        let text = format!("{} {}", title(run, index), summary(statement));
        let files: Vec<&str> = statement.files.iter().map(|f| f.path.as_str()).collect();
        let more = json!({
            "statement": statement.number,
            "line": statement.line,
            "status": statement.status,
            "rows": statement.rows,
            "seconds": statement.seconds,
            "attempts": statement.attempts,
            "files": files,
        });
        self.line(run, "statement_finished", &text, more);
    }

    pub(super) fn warning(&self, run: &Run, index: usize, warning: &str) {
        let text = format!("{} warning: {warning}", title(run, index));
        let more = json!({
            "statement": run.statements[index].number,
            "warning": warning,
        });
        self.line(run, "statement_warned", &text, more);
    }

    pub(super) fn retry(&self, run: &Run, index: usize, why: &Failure, pause: Duration) {
        let seconds = pause.as_secs_f64();
        let text = format!(
            "{} failed and is tried again in {seconds} s: {}",
            title(run, index),
            why.message
        );
        let more = json!({
            "statement": run.statements[index].number,
            "error": why.message,
            "pause_seconds": seconds,
        });
        self.line(run, "statement_retried", &text, more);
    }

    pub(super) fn finished(&self, run: &Run) {
        let seconds = run.seconds.unwrap_or_default();
        let text = format!(
            "{}: {} after {seconds:.1} s",
            run.title(),
            run.status.name()
        );
        let more = json!({
            "status": run.status,
            "exit_code": run.exit_code,
            "seconds": seconds,
            "error": run.error.as_ref().map(|error| &error.message),
        });
        self.line(run, "run_finished", &text, more);
    }

    fn line(&self, run: &Run, event: &str, text: &str, more: Value) {
        let time = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
        let line = match self.0 {
            None => return,
            Some(LogFormat::Text) => format!("{time} {text}"),
            Some(LogFormat::Json) => {
                let mut line = json!({
                    "time": time,
                    "event": event,
                    "job": run.job,
                    "run_id": run.run_id,
                    "interval": run.interval.map(|interval| interval.to_string()),
                    "message": text,
                });
                if let (Some(line), Value::Object(more)) = (line.as_object_mut(), more) {
                    line.extend(more);
                }
                line.to_string()
            }
        };
        note(&line);
    }
}

/// `statement 3/9 COPY`
fn title(run: &Run, index: usize) -> String {
    let statement = &run.statements[index];
    let words = statement.sql.split_whitespace();
    let keywords = words.take_while(|word| word.chars().all(|c| c.is_ascii_uppercase()));
    let keywords: Vec<&str> = keywords.take(4).collect();
    let count = run.statements.len();
    format!(
        "statement {}/{count} {}",
        statement.number,
        keywords.join(" ")
    )
    .trim_end()
    .to_string()
}

fn summary(statement: &StatementRun) -> String {
    let mut text = statement.status.name().to_string();
    if let Some(rows) = statement.rows.filter(|rows| *rows > 0) {
        text.push_str(&format!(", {rows} rows"));
    }
    if !statement.files.is_empty() {
        let bytes: u64 = statement.files.iter().map(|file| file.bytes).sum();
        let files = statement.files.len();
        text.push_str(&format!(", {files} files of {bytes} bytes"));
    }
    format!("{text}, {:.1} s", statement.seconds)
}
