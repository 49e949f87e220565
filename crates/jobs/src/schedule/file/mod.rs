//! The jobs of a schedule, as `jobs.toml` has them.

mod read;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use serde::Deserialize;

use crate::schedule::Cron;
use crate::{Error, Interval};

/// All jobs of a file.
#[derive(Debug, Clone)]
pub struct JobFile {
    /// The jobs, sorted by their names.
    pub jobs: Vec<ScheduledJob>,
    /// How many runs there may be at once, of all jobs together.
    pub max_parallel: NonZeroUsize,
    /// The folder or URL where runs keep what they make, if the file says so.
    pub storage: Option<String>,
    /// The folder that relative paths count from, scripts' and those inside scripts; if
    /// it is relative, it counts from the process's own.
    pub folder: PathBuf,
}

impl JobFile {
    /// The job with a name.
    pub fn job(&self, name: &str) -> Result<&ScheduledJob, Error> {
        let found = self.jobs.iter().find(|job| job.name == name);
        found.ok_or_else(|| {
            let names = self.jobs.iter().map(|job| job.name.as_str());
            let hint = match atoll_suggest::nearest(name, names.clone()) {
                Some(near) => format!("did you mean {near}?"),
                None => format!("the jobs are {}", names.collect::<Vec<_>>().join(", ")),
            };
            Error::NoJob {
                name: name.to_string(),
                hint,
            }
        })
    }
}

/// One job: a script, and when it runs.
#[derive(Debug, Clone)]
pub struct ScheduledJob {
    /// Its name, which is also that of its state and its run records.
    pub name: String,
    /// The SQL script; a relative path counts from the folder of [`JobFile`].
    pub script: PathBuf,
    /// Whose ticks close its intervals.
    pub cron: Cron,
    /// The script's parameters, as for `--set`.
    pub set: Vec<(String, String)>,
    /// How long a run may take.
    pub timeout: Option<Duration>,
    /// How often a run tries again after failures that may pass.
    pub retries: Option<u32>,
    /// Where the first interval begins: at the first tick that is not before.
    pub start: Option<DateTime<Utc>>,
    /// What happens when an interval closes while an earlier one runs or waits.
    pub overlap: Overlap,
    /// What happens to intervals that closed while the schedule was down.
    pub catch_up: CatchUp,
    /// What happens after a failed run.
    pub on_failure: OnFailure,
    /// The start of each run is put off by a part of this.
    pub jitter: Duration,
    /// Whether the schedule runs it.
    pub enabled: bool,
}

/// What happens when an interval closes while an earlier one of the job runs or waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// It runs afterwards.
    #[default]
    Queue,
    /// It is not run.
    Skip,
    /// The earlier ones are given up, and it runs.
    Cancel,
}

/// What happens to intervals that closed more than a minute before the schedule saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// They run, the oldest first.
    #[default]
    All,
    /// Only the latest interval runs.
    Latest,
    /// They do not run.
    None,
}

/// What happens after a failed run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// The next interval runs as if nothing had happened.
    #[default]
    Continue,
    /// The job waits until the schedule is started again, which runs the interval again.
    Stop,
}

impl ScheduledJob {
    /// Where the first interval of a job begins that the schedule has never seen before:
    /// at the first tick from `start` on, or else at the last tick before now, so that
    /// the interval that is open now is the first to be run.
    ///
    /// `None` if that is beyond the calendar's end.
    pub fn first_start(&self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.start {
            Some(start) => self.cron.at_or_after(start),
            None => self.cron.at_or_before(now),
        }
    }

    /// The interval that begins at `start`: until the next tick.
    ///
    /// `start` is a tick as long as the job keeps its cron expression. When it changes,
    /// the first interval of the new one reaches back to the last of the old one, so that
    /// no time is lost.
    pub fn interval_from(&self, start: DateTime<Utc>) -> Option<Interval> {
        let end = self.cron.after(start)?;
        Some(Interval { start, end })
    }

    /// The intervals that begin in `from..to` and are closed now.
    pub fn intervals(
        &self,
        from: DateTime<Utc>,
        to: DateTime<Utc>,
        now: DateTime<Utc>,
    ) -> impl Iterator<Item = Interval> {
        let first = self.cron.at_or_after(from);
        let intervals = std::iter::successors(
            first.and_then(|start| self.interval_from(start)),
            |interval| self.interval_from(interval.end),
        );
        intervals.take_while(move |interval| interval.start < to && interval.end <= now)
    }

    /// How long after its end an interval starts: always the same for one interval,
    /// below the job's `jitter`.
    pub fn delay(&self, interval: Interval) -> Duration {
        let range = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        if range == 0 {
            return Duration::ZERO;
        }
        let mut hasher = DefaultHasher::new();
        (&self.name, interval.start.timestamp()).hash(&mut hasher);
        Duration::from_millis(hasher.finish() % range)
    }
}
