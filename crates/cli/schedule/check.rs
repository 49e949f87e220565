//! What can be known of jobs without running them: whether their scripts take what they
//! are given, and what would run when.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;

use atoll_jobs::Interval;
use atoll_jobs::schedule::{Clock, JobFile, ScheduledJob, SystemClock};
use chrono::{DateTime, Utc};

use crate::errors::Failure;
use crate::parameters::with_interval;
use crate::prepared::{Place, PreparedScript, check_used, read};
use crate::script::Script;

/// How many intervals are shown of each job.
const SHOWN: usize = 5;

/// Reads a job's script and fills in its parameters, as a run would.
pub(super) fn script(job: &ScheduledJob, folder: &Path) -> Result<(), Failure> {
    let path = folder.join(&job.script);
    if !path.is_file() {
        let text = format!("there is no file {}", path.display());
        return Err(Failure::new(text).hint(format!(
            "scripts are looked for in {}; the key `folder` names another folder",
            folder.display()
        )));
    }
    let (name, source) = read(&path)?;
    let some = Interval {
        start: DateTime::UNIX_EPOCH,
        end: DateTime::UNIX_EPOCH,
    };
    let set = with_interval(&job.set, Some(&some));
    let script = Script::new(&name, &source, &set)?;
    check_used(&job.set, std::iter::once(&script))?;
    PreparedScript::new(Place::File(name), script).map(drop)
}

/// Shows the next intervals of every job on standard output.
pub(super) fn show(jobs: &JobFile) -> Result<(), Failure> {
    let now = SystemClock.now();
    let text: String = jobs.jobs.iter().map(|job| describe(job, now)).collect();
    Ok(io::stdout().lock().write_all(text.as_bytes())?)
}

fn describe(job: &ScheduledJob, now: DateTime<Utc>) -> String {
    let off = if job.enabled { "" } else { " (not enabled)" };
    let mut text = format!(
        "{}{off}: {} at {}\n",
        job.name,
        job.script.display(),
        job.cron
    );
    let zone = job.cron.zone();
    let local = |time: DateTime<Utc>| {
        let time = time.with_timezone(&zone);
        time.format("%a %Y-%m-%d %H:%M:%S %:z").to_string()
    };
    for interval in next_intervals(job, now) {
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "  {} to {}  {interval}",
            local(interval.start),
            local(interval.end)
        );
    }
    text
}

/// The interval that is open, or the first one, and those after it.
fn next_intervals(
    job: &ScheduledJob,
    now: DateTime<Utc>,
) -> impl Iterator<Item = Interval> {
    let first = job.start.filter(|start| *start > now).unwrap_or(now);
    let start = if first > now {
        job.cron.at_or_after(first)
    } else {
        job.cron.at_or_before(now)
    };
    let first = start.and_then(|start| job.interval_from(start));
    std::iter::successors(first, |interval| job.interval_from(interval.end)).take(SHOWN)
}
