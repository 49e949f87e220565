//! A year of a schedule that is killed again and again: every interval of every job runs
//! exactly once to success.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    reason = "shared by a test and an example, which fail by panicking"
)]

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::time::Duration;

use atoll_jobs::schedule::{
    Clock, FollowMode, Follower, JobFile, JobState, RunOutcome, StateStore, StopRequest,
};
use atoll_jobs::{Error, Interval};
use chrono::{DateTime, Datelike, TimeDelta, TimeZone, Timelike, Utc, Weekday};
use chrono_tz::Tz;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;
use tokio::sync::watch;

use crate::support::{Memory, Plan, SimulatedClock, SimulatedRunner, jobs, sleep, time};

const ZONES: [&str; 2] = ["Europe/Berlin", "America/New_York"];

/// Whether a local time ticks, as (name, cron, weekday, day, hour, minute) with -1 for
/// any; written down a second time here, since the schedule must not judge itself.
const JOBS: [(&str, &str, i32, i32, i32, i32); 5] = [
    ("quarter-hour", "*/15 * * * *", -1, -1, -1, -15),
    ("hourly", "0 * * * *", -1, -1, -1, 0),
    ("daily", "30 2 * * *", -1, -1, 2, 30),
    ("weekly", "0 6 * * 1", 1, -1, 6, 0),
    ("monthly", "0 0 1 * *", -1, 1, 0, 0),
];

const QUARTER: TimeDelta = TimeDelta::minutes(15);

/// What a year brought for one job.
#[derive(Debug, Default)]
pub(crate) struct Count {
    pub(crate) job: String,
    /// How many intervals there are.
    pub(crate) intervals: usize,
    /// How many runs were started.
    pub(crate) started: usize,
    /// How many intervals succeeded exactly once.
    pub(crate) once: usize,
    /// How many intervals succeeded more than once.
    pub(crate) twice: usize,
    /// How many intervals never succeeded.
    pub(crate) lost: usize,
    /// Runs for intervals that are none.
    pub(crate) strange: usize,
}

/// What a year brought.
#[derive(Debug)]
pub(crate) struct Year {
    pub(crate) counts: Vec<Count>,
    /// Lives of the schedule that ended by a kill, by where it hit.
    pub(crate) kills: HashMap<&'static str, usize>,
    pub(crate) most_at_once: u32,
}

/// A store whose process is killed before or after one of its writes.
struct Fragile<'a> {
    store: &'a mut Memory,
    writes_left: u32,
    before: bool,
}

impl StateStore for Fragile<'_> {
    fn load(&self, job: &str) -> Result<Option<JobState>, Error> {
        self.store.load(job)
    }

    fn save(&mut self, job: &str, state: &JobState) -> Result<(), Error> {
        self.writes_left -= 1;
        if self.writes_left > 0 {
            return self.store.save(job, state);
        }
        if !self.before {
            self.store.save(job, state)?;
        }
        Err(Error::State {
            path: "killed".into(),
            source: std::io::Error::other("killed"),
        })
    }
}

fn schedule() -> JobFile {
    let mut text = String::from("max_parallel = 3\n");
    for zone in ZONES {
        let city = zone.split_once('/').unwrap().1.to_ascii_lowercase();
        for (name, cron, ..) in JOBS {
            text += &format!(
                "[job.{city}-{name}]\nscript = \"x.sql\"\ncron = \"{cron}\"\n\
                 timezone = \"{zone}\"\nstart = 2026-01-01\n"
            );
        }
    }
    jobs(&text)
}

/// How one life of the schedule goes.
struct Life {
    lasts: Duration,
    writes: u32,
    dies_before_the_write: bool,
    kill_after_a_success: bool,
    /// Until the next one begins.
    pause: Duration,
}

impl Life {
    fn new(rng: &mut Pcg64) -> Self {
        let hours = [1, 12, 100][rng.random_range(0..3_usize)];
        // Mostly a restart, at times a long weekend.
        let pause = if rng.random_ratio(1, 12) {
            rng.random_range(0..4 * 86_400)
        } else {
            rng.random_range(0..600)
        };
        Self {
            lasts: Duration::from_secs(rng.random_range(1..hours * 3600)),
            writes: rng.random_range(1..500),
            dies_before_the_write: rng.random_ratio(1, 2),
            kill_after_a_success: rng.random_ratio(1, 3),
            pause: Duration::from_secs(pause),
        }
    }
}

fn plan(rng: &mut Pcg64, kill_after_a_success: bool) -> Plan {
    let outcome = if rng.random_ratio(1, 300) {
        RunOutcome::AlreadyRunning
    } else {
        RunOutcome::Succeeded
    };
    let mut plan = Plan::new(rng.random_range(1..240), outcome);
    if rng.random_ratio(1, 50) {
        plan.takes *= 20;
    }
    plan.kills = kill_after_a_success && rng.random_ratio(1, 100);
    plan
}

/// Follows the schedule for the year 2026, killing it with a seed.
pub(crate) async fn simulate(seed: u64) -> Year {
    let jobs = schedule();
    let rng = RefCell::new(Pcg64::seed_from_u64(seed));
    let kill_after_a_success = Cell::new(false);
    let runner = SimulatedRunner::new(|_, _| {
        plan(&mut rng.borrow_mut(), kill_after_a_success.get())
    });
    let clock = SimulatedClock::starting_at(time("2026-01-01T12:00"));
    let mut store = Memory::default();
    let mut kills: HashMap<&'static str, usize> = HashMap::new();
    let (_keep, stop) = watch::channel(StopRequest::Go);
    while clock.now() < time("2027-01-01T12:00") {
        let life = Life::new(&mut rng.borrow_mut());
        kill_after_a_success.set(life.kill_after_a_success);
        let follower = Follower {
            jobs: &jobs,
            store: &mut Fragile {
                store: &mut store,
                writes_left: life.writes,
                before: life.dies_before_the_write,
            },
            runner: &runner,
            clock: &clock,
        };
        let killed = tokio::select! {
            died = follower.follow(FollowMode::Forever, stop.clone(), |_| {}) => {
                died.unwrap_err();
                if life.dies_before_the_write {
                    "before a write"
                } else {
                    "after a write"
                }
            }
            () = sleep(life.lasts) => "at any time",
            // Between the run's last word and what the schedule makes of it.
            () = runner.killer.notified() => "after a success",
        };
        *kills.entry(killed).or_default() += 1;
        sleep(life.pause).await;
    }
    kill_after_a_success.set(false);
    let mut busy = 1;
    while busy > 0 {
        let follower = Follower {
            jobs: &jobs,
            store: &mut store,
            runner: &runner,
            clock: &clock,
        };
        let rest = follower
            .follow(FollowMode::Once, stop.clone(), |_| {})
            .await;
        busy = rest.unwrap().busy;
    }
    let counts = jobs.jobs.iter().map(|job| {
        // What closed during the last look was not due when it began.
        let end = store.state(&job.name).next;
        assert!(clock.now() - end < TimeDelta::days(32), "{}", job.name);
        let started = runner.started.borrow();
        let started = started.iter().filter(|(name, _)| *name == job.name);
        count(&job.name, end, started.count(), &runner.succeeded.borrow())
    });
    Year {
        counts: counts.collect(),
        kills,
        most_at_once: runner.most_at_once(),
    }
}

/// Compares what succeeded with the intervals that there are until `end`.
fn count(
    name: &str,
    end: DateTime<Utc>,
    started: usize,
    succeeded: &HashMap<(String, Interval), u32>,
) -> Count {
    let ticks = ticks(name, end);
    let mut of_job: HashMap<Interval, u32> = succeeded
        .iter()
        .filter(|((job, _), _)| job == name)
        .map(|((_, interval), times)| (*interval, *times))
        .collect();
    let mut count = Count {
        job: name.to_string(),
        intervals: ticks.len() - 1,
        started,
        ..Count::default()
    };
    for pair in ticks.windows(2) {
        let interval = Interval {
            start: pair[0],
            end: pair[1],
        };
        match of_job.remove(&interval) {
            None => count.lost += 1,
            Some(1) => count.once += 1,
            Some(_) => count.twice += 1,
        }
    }
    count.strange = of_job.len();
    count
}

/// The ticks of a job from the start of 2026, found by looking at the clock every
/// quarter of an hour, which is when all jobs tick and clocks change.
fn ticks(name: &str, end: DateTime<Utc>) -> Vec<DateTime<Utc>> {
    let (city, job) = name.split_once('-').unwrap();
    let zone = ZONES
        .into_iter()
        .find(|zone| zone.to_ascii_lowercase().ends_with(city));
    let zone: Tz = zone.unwrap().parse().unwrap();
    let (_, _, weekday, day, hour, minute) =
        JOBS.into_iter().find(|(name, ..)| *name == job).unwrap();
    let fits = |time: DateTime<Tz>, hour_shown: u32, minute_shown: u32| {
        let weekday_fits =
            weekday < 0 || (weekday == 1) == (time.weekday() == Weekday::Mon);
        weekday_fits
            && (day < 0 || day == time.day() as i32)
            && (hour < 0 || hour == hour_shown as i32)
            && match minute {
                -15 => minute_shown.is_multiple_of(15),
                minute => minute == minute_shown as i32,
            }
    };
    let mut ticks: Vec<DateTime<Utc>> = Vec::new();
    let midnight = zone.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
    let mut before = midnight - QUARTER;
    while before.to_utc() < end {
        let now = before + QUARTER;
        let shown = now.naive_local();
        let expected = before.naive_local() + QUARTER;
        // Every time that clocks skip at this moment, and the one that they show.
        let mut passed = expected;
        let mut tick = fits(now, now.hour(), now.minute());
        while hour >= 0 && passed < shown {
            tick |= fits(now, passed.hour(), passed.minute());
            passed += QUARTER;
        }
        // A named time that clocks show again has been.
        let again = now - TimeDelta::hours(1);
        let repeats = again.naive_local() == shown;
        if tick && !(hour >= 0 && repeats) {
            ticks.push(now.to_utc());
        }
        before = now;
    }
    ticks
}
