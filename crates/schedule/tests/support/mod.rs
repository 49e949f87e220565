//! A clock that passes as fast as it can, and runs that take no time.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    dead_code,
    reason = "shared by tests and an example, which fail by panicking"
)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use atoll_schedule::{
    CancellationToken, Clock, Error, Interval, Job, JobState, Jobs, Outcome, Runner,
    Store,
};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The time of a runtime whose time is paused, which then jumps from timer to timer.
pub(crate) struct SimulatedClock {
    start: DateTime<Utc>,
    origin: Instant,
}

impl SimulatedClock {
    pub(crate) fn starting_at(start: DateTime<Utc>) -> Self {
        Self {
            start,
            origin: Instant::now(),
        }
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> DateTime<Utc> {
        self.start + TimeDelta::from_std(self.origin.elapsed()).unwrap()
    }

    async fn sleep_until(&self, time: DateTime<Utc>) {
        let wait = (time - self.now()).to_std().unwrap_or_default();
        tokio::time::sleep(wait).await;
    }
}

/// A store that lasts as long as the test. States are kept as text, as on a disk.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    files: BTreeMap<String, String>,
}

impl Memory {
    pub(crate) fn state(&self, job: &str) -> JobState {
        self.load(job).unwrap().unwrap()
    }
}

impl Store for Memory {
    fn load(&self, job: &str) -> Result<Option<JobState>, Error> {
        let text = self.files.get(job);
        Ok(text.map(|text| serde_json::from_str(text).unwrap()))
    }

    fn save(&mut self, job: &str, state: &JobState) -> Result<(), Error> {
        let text = serde_json::to_string(state).unwrap();
        self.files.insert(job.to_string(), text);
        Ok(())
    }
}

/// What a run is going to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) takes: Duration,
    pub(crate) outcome: Outcome,
    /// Kill the schedule as soon as the success is on record.
    pub(crate) kills: bool,
}

impl Plan {
    pub(crate) fn new(seconds: u64, outcome: Outcome) -> Self {
        Self {
            takes: Duration::from_secs(seconds),
            outcome,
            kills: false,
        }
    }
}

/// Runs that are planned by a function, and a record of them that outlives schedules.
pub(crate) struct SimulatedRunner<F> {
    plan: F,
    /// Starts of each interval, in their order.
    pub(crate) started: RefCell<Vec<(String, Interval)>>,
    pub(crate) succeeded: RefCell<HashMap<(String, Interval), u32>>,
    live: RefCell<HashMap<String, u32>>,
    most_at_once: Cell<u32>,
    /// Says that a run wants the schedule killed.
    pub(crate) killer: Notify,
}

impl<F: Fn(&Job, Interval) -> Plan> SimulatedRunner<F> {
    pub(crate) fn new(plan: F) -> Self {
        Self {
            plan,
            started: RefCell::default(),
            succeeded: RefCell::default(),
            live: RefCell::default(),
            most_at_once: Cell::new(0),
            killer: Notify::new(),
        }
    }

    pub(crate) fn most_at_once(&self) -> u32 {
        self.most_at_once.get()
    }

    /// The starts of the intervals that were run, as `hour:minute` in UTC.
    pub(crate) fn log(&self) -> String {
        let started = self.started.borrow();
        let times = started
            .iter()
            .map(|(_, interval)| interval.start.format("%H:%M").to_string());
        times.collect::<Vec<_>>().join(" ")
    }
}

/// One run of a job, which ends with whoever started it.
struct Alive<'a> {
    live: &'a RefCell<HashMap<String, u32>>,
    job: String,
}

impl Drop for Alive<'_> {
    fn drop(&mut self) {
        *self.live.borrow_mut().get_mut(&self.job).unwrap() -= 1;
    }
}

impl<F: Fn(&Job, Interval) -> Plan> Runner for SimulatedRunner<F> {
    async fn run(
        &self,
        job: &Job,
        interval: Interval,
        cancel: CancellationToken,
    ) -> Outcome {
        let plan = (self.plan)(job, interval);
        if plan.outcome == Outcome::AlreadyRunning {
            return plan.outcome;
        }
        let key = (job.name.clone(), interval);
        self.started.borrow_mut().push(key.clone());
        let alive = Alive {
            live: &self.live,
            job: job.name.clone(),
        };
        {
            let mut live = self.live.borrow_mut();
            *live.entry(job.name.clone()).or_default() += 1;
            assert_eq!(live[&job.name], 1, "{} runs twice at once", job.name);
            let total = live.values().sum();
            self.most_at_once.set(self.most_at_once.get().max(total));
        }
        tokio::select! {
            () = cancel.cancelled() => return Outcome::Cancelled,
            () = tokio::time::sleep(plan.takes) => {}
        }
        if plan.outcome == Outcome::Succeeded {
            *self.succeeded.borrow_mut().entry(key).or_default() += 1;
            if plan.kills {
                self.killer.notify_one();
                std::future::pending::<()>().await;
            }
        }
        drop(alive);
        plan.outcome
    }

    async fn succeeded(&self, job: &Job, interval: Interval) -> Result<bool, String> {
        let key = (job.name.clone(), interval);
        Ok(self.succeeded.borrow().contains_key(&key))
    }
}

pub(crate) fn jobs(text: &str) -> Jobs {
    Jobs::parse(text, Path::new("jobs.toml")).unwrap()
}

pub(crate) fn time(text: &str) -> DateTime<Utc> {
    atoll_schedule::parse_time(text, chrono_tz::Tz::UTC).unwrap()
}
