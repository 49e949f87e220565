//! `atoll schedule` and `atoll backfill`: jobs by the clock, and by hand.
//!
//! What runs when is the matter of `atoll_jobs::schedule`; here runs become processes and
//! signals reach them.

mod check;
mod log;
mod records;
mod runner;

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atoll_jobs::Error;
use atoll_jobs::schedule::{
    Backfill, Clock, FollowMode, Follower, JobFile, RunCounts, ScheduledJob, StateFolder,
    StopRequest, SystemClock, parse_time,
};
use clap::Args;
use tokio::sync::watch;

use self::log::Log;
use self::runner::ProcessRunner;
use crate::errors::Failure;
use crate::exit::Ending;
use crate::notes::{LogFormat, note};
use crate::session_args::SessionArgs;
use crate::stop::{StopArgs, stop};

/// Arguments of `atoll schedule`.
#[derive(Debug, Args)]
pub(crate) struct ScheduleArgs {
    /// The file that says which job runs when
    #[arg(value_name = "FILE", default_value = "jobs.toml")]
    jobs: PathBuf,

    /// Run what is due now, then exit; the exit code is 1 if a run failed
    #[arg(long, conflicts_with = "check")]
    once: bool,

    /// Check the file and show the next intervals of each job; run nothing
    #[arg(long)]
    check: bool,

    #[command(flatten)]
    follow: FollowArgs,
}

/// Arguments of `atoll backfill`.
#[derive(Debug, Args)]
pub(crate) struct BackfillArgs {
    /// The job, as the file names it
    #[arg(value_name = "JOB")]
    job: String,

    /// Run the intervals that start at this time or later, such as 2026-11-01 or
    /// 2026-11-01T06:30; in the job's time zone
    #[arg(long, value_name = "DATE")]
    from: String,

    /// Run the intervals that start before this time
    #[arg(long, value_name = "DATE")]
    to: String,

    /// Run this many intervals at once
    #[arg(long, value_name = "N", default_value = "1")]
    parallel: NonZeroUsize,

    /// Leave out intervals that have been run with success
    #[arg(long)]
    missing: bool,

    /// The file of the jobs
    #[arg(long, value_name = "FILE", default_value = "jobs.toml")]
    jobs: PathBuf,

    #[command(flatten)]
    follow: FollowArgs,
}

/// What both take.
#[derive(Debug, Args)]
struct FollowArgs {
    /// Keep here what was started and what it said [default: a folder for the file in
    /// the user's data folder]
    #[arg(long, value_name = "FOLDER")]
    state: Option<PathBuf>,

    /// Let runs go on for so long after the first signal to stop, then cancel them
    #[arg(long, value_name = "TIME", default_value = "1m", value_parser = parse_grace)]
    grace: Duration,

    /// Say what happens in this form
    #[arg(long, value_enum, default_value = "text")]
    log_format: LogFormat,

    #[command(flatten)]
    stop: StopArgs,
}

fn parse_grace(text: &str) -> Result<Duration, String> {
    let hint = |_| "write a time such as 90s, 5m or 1h".to_string();
    humantime::parse_duration(text).map_err(hint)
}

/// `atoll schedule`: until SIGTERM or Ctrl-C, or once.
pub(crate) async fn schedule(
    args: &ScheduleArgs,
    session: &SessionArgs,
) -> Result<Ending, Failure> {
    let jobs = match read(&args.jobs, session) {
        Ok(jobs) => jobs,
        Err(failure) => return Ok(wrong(&failure)),
    };
    if args.check {
        check::show(&jobs)?;
        return Ok(Ending::Finished);
    }
    let state = state_folder(&args.follow, &args.jobs)?;
    let mut store = match StateFolder::open(&state) {
        Ok(store) => store,
        Err(error @ Error::Locked { .. }) => {
            Failure::from(error).print();
            return Ok(Ending::AlreadyRunning);
        }
        Err(error) => return Err(error.into()),
    };
    let runner = ProcessRunner::new(&jobs, session, &state).await?;
    let log = Log::new(args.follow.log_format, session.quiet);
    let mode = if args.once {
        FollowMode::Once
    } else {
        FollowMode::Forever
    };
    let follower = Follower {
        jobs: &jobs,
        store: &mut store,
        runner: &runner,
        clock: &SystemClock,
    };
    let stop = stopping(&args.follow);
    let ended = follower.follow(mode, stop.clone(), |event| log.write(&event));
    let summary = ended.await?;
    log.sum_up(&summary);
    Ok(match mode {
        FollowMode::Forever => Ending::Finished,
        FollowMode::Once => ending(&summary, *stop.borrow()),
    })
}

/// `atoll backfill`: the intervals of a job between two dates.
pub(crate) async fn backfill(
    args: &BackfillArgs,
    session: &SessionArgs,
) -> Result<Ending, Failure> {
    let jobs = read(&args.jobs, session);
    let chosen = jobs.as_ref().map_err(|_| ()).and_then(|jobs| {
        choose(args, jobs).map_err(|error| Failure::from(error).print())
    });
    let (jobs, (job, intervals)) = match (&jobs, chosen) {
        (Ok(jobs), Ok(chosen)) => (jobs, chosen),
        (Err(failure), _) => return Ok(wrong(failure)),
        (Ok(_), Err(())) => return Ok(Ending::Usage),
    };
    if intervals.is_empty() {
        note(&format!(
            "no interval of {} starts from {} up to {} and is over",
            job.name, args.from, args.to
        ));
        return Ok(Ending::Finished);
    }
    let state = state_folder(&args.follow, &args.jobs)?;
    let runner = ProcessRunner::new(jobs, session, &state).await?;
    let log = Log::new(args.follow.log_format, session.quiet);
    let backfill = Backfill {
        job,
        intervals,
        parallel: args.parallel,
        missing_only: args.missing,
        runner: &runner,
        clock: &SystemClock,
    };
    let stop = stopping(&args.follow);
    let summary = backfill.run(stop.clone(), |event| log.write(&event)).await;
    log.sum_up(&summary);
    Ok(match *stop.borrow() {
        StopRequest::Go => ending(&summary, StopRequest::Go),
        StopRequest::Drain | StopRequest::Cancel => Ending::Cancelled,
    })
}

/// The job and those of its intervals that are to be run.
fn choose<'a>(
    args: &BackfillArgs,
    jobs: &'a JobFile,
) -> Result<(&'a ScheduledJob, Vec<atoll_jobs::Interval>), Error> {
    let job = jobs.job(&args.job)?;
    let zone = job.cron.zone();
    let (from, to) = (parse_time(&args.from, zone)?, parse_time(&args.to, zone)?);
    Ok((job, job.intervals(from, to, SystemClock.now()).collect()))
}

/// The jobs of a file, if it, their scripts and their parameters are as they should be.
fn read(path: &Path, session: &SessionArgs) -> Result<JobFile, Failure> {
    if let Some((name, _)) = session.set.first() {
        let text = format!("--set {name}: parameters belong to the jobs");
        return Err(Failure::new(text).hint(format!(
            "write set = {{ {name} = ... }} in {}",
            path.display()
        )));
    }
    let mut jobs = JobFile::read(path)?;
    let folder = jobs.folder.canonicalize();
    jobs.folder = folder.map_err(|error| {
        Failure::new(format!(
            "{}: cannot enter the folder {}: {error}",
            path.display(),
            jobs.folder.display()
        ))
    })?;
    for job in jobs.jobs.iter().filter(|job| job.enabled) {
        check::script(job, &jobs.folder).map_err(|failure| {
            failure.at(&format!("{}: job.{}", path.display(), job.name))
        })?;
    }
    Ok(jobs)
}

/// Where the state of a file's jobs is kept.
fn state_folder(args: &FollowArgs, jobs: &Path) -> Result<PathBuf, Failure> {
    if let Some(folder) = &args.state {
        return Ok(std::path::absolute(folder)?);
    }
    let data = dirs::data_dir().ok_or_else(|| {
        Failure::new("there is no data folder to keep the state in")
            .hint("name a folder with --state")
    })?;
    // As editors name their swap files: readable, and one for each path.
    let name = jobs.canonicalize()?.to_string_lossy().replace('/', "%");
    let name = name.trim_start_matches('%');
    Ok(data.join("atoll").join("schedules").join(name))
}

/// Turns the first signal into a drain and the second, or the end of the grace, into a
/// cancellation.
fn stopping(args: &FollowArgs) -> watch::Receiver<StopRequest> {
    let (sender, receiver) = watch::channel(StopRequest::Go);
    let (mut signals, grace) = (stop(&args.stop), args.grace);
    tokio::spawn(async move {
        let _ = signals.changed().await;
        note(&format!(
            "starting nothing more; runs have {} to finish, once more to cancel them",
            humantime::format_duration(grace)
        ));
        sender.send_replace(StopRequest::Drain);
        let _ = tokio::time::timeout(grace, signals.changed()).await;
        sender.send_replace(StopRequest::Cancel);
    });
    receiver
}

fn ending(summary: &RunCounts, stop: StopRequest) -> Ending {
    match (summary.failed, summary.busy, stop) {
        (1.., _, _) => Ending::Wrong,
        (0, 1.., StopRequest::Go) => Ending::AlreadyRunning,
        _ => Ending::Finished,
    }
}

/// Says what is wrong with a file or the command line.
fn wrong(failure: &Failure) -> Ending {
    failure.print();
    Ending::Usage
}
