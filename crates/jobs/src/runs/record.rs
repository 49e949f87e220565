//! The record of a run, also called its manifest.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::Interval;

/// The layout of a record. A reader that does not know it passes over the record.
pub(crate) const VERSION: u32 = 1;

/// How a run or a statement stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// It has not ended, as far as the record says.
    Running,
    /// It did all it was to do.
    Succeeded,
    /// A statement failed.
    Failed,
    /// `--timeout` ended it.
    TimedOut,
    /// Ctrl-C or another signal ended it.
    Cancelled,
    /// Its process ended without a word; the next run of the job found it.
    Killed,
    /// A statement before it failed.
    Skipped,
}

impl RunStatus {
    /// The name in records and SQL.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
            Self::Killed => "killed",
            Self::Skipped => "skipped",
        }
    }
}

/// One run of a job, as `runs/<job>/<run_id>.json` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// The layout of the record: 1.
    pub version: u32,
    /// Names the run: when it started, and which process it was.
    pub run_id: String,
    /// The job: `--job`, or the script's name.
    pub job: String,
    /// The script's path as it was given; `-` is standard input.
    pub script: String,
    /// Of the script's text, in hexadecimal.
    pub script_sha256: String,
    /// The stretch of time that the run is for: `--interval`.
    pub interval: Option<Interval>,
    /// How it ended.
    pub status: RunStatus,
    /// The exit code of its process, once it ended.
    pub exit_code: Option<u8>,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When it ended.
    pub finished_at: Option<DateTime<Utc>>,
    /// How long it took.
    pub seconds: Option<f64>,
    /// Every parameter of the script with the value it had.
    pub parameters: BTreeMap<String, String>,
    /// What ran it: `atoll`, `datafusion`, `engine` (the trainer's) and `onnxruntime`.
    pub versions: BTreeMap<String, String>,
    /// The machine.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// Every statement of the script, in its order.
    pub statements: Vec<StatementRun>,
    /// Why it did not succeed.
    pub error: Option<RunError>,
}

/// One statement of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatementRun {
    /// Its place in the script, from 1.
    pub number: usize,
    /// The line it starts on, from 1.
    pub line: usize,
    /// Its text with parameters filled in.
    pub sql: String,
    /// How it ended.
    pub status: RunStatus,
    /// How often it was tried: more than once after failures that may pass.
    pub attempts: u32,
    /// Rows that it returned, or wrote.
    pub rows: Option<u64>,
    /// How long it took, all attempts together.
    pub seconds: f64,
    /// What COPY and CREATE TABLE wrote.
    pub files: Vec<WrittenFile>,
}

/// A file that a statement wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrittenFile {
    /// Its path or URL.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// Of its content, in hexadecimal.
    pub sha256: String,
}

/// Why a run did not succeed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunError {
    /// One sentence.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Run {
    /// The pretty JSON that the storage keeps.
    pub fn to_json(&self) -> Vec<u8> {
        // Its maps have keys of text only, so it always is JSON.
        serde_json::to_vec_pretty(self).unwrap_or_default()
    }

    /// What people call the run's work: the job, with its interval if it has one.
    pub fn title(&self) -> String {
        title(&self.job, self.interval.as_ref())
    }
}

/// A job with its interval, for messages.
pub(crate) fn title(job: &str, interval: Option<&Interval>) -> String {
    match interval {
        Some(interval) => format!("{job} for {interval}"),
        None => job.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runs::store::tests::run;

    /// Records that an earlier version wrote must stay readable, so an interval's form in
    /// them is fixed.
    #[test]
    fn the_interval_of_a_record_is_a_pair_of_times() {
        let interval = "2026-11-24/2026-11-25".parse().unwrap();
        let run = Run {
            interval: Some(interval),
            ..run("a", 0)
        };
        let json: serde_json::Value = serde_json::from_slice(&run.to_json()).unwrap();
        let expected = serde_json::json!({
            "start": "2026-11-24T00:00:00Z",
            "end": "2026-11-25T00:00:00Z",
        });
        assert_eq!(json["interval"], expected);
    }
}
