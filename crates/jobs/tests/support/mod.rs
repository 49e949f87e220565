//! Time that passes as fast as the schedule allows, a clock that shows it, and runs that take
//! as much of it as a test says.
#![allow(
    clippy::allow_attributes,
    clippy::unwrap_used,
    dead_code,
    reason = "shared by tests and an example, which fail by panicking"
)]

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use atoll_jobs::schedule::{
    CancellationToken, Clock, IntervalRunner, JobFile, JobState, RunOutcome,
    ScheduledJob, StateStore,
};
use atoll_jobs::{Error, Interval};
use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Notify;

thread_local! {
    static TIME: RefCell<SimulatedTime> = RefCell::default();
}

/// Time that stands still while anything can be done, and then jumps to the next timer.
#[derive(Default)]
struct SimulatedTime {
    now: Duration,
    /// Whom to wake when. The number tells timers of the same moment apart.
    timers: BTreeMap<(Duration, u64), Waker>,
    timers_made: u64,
}

/// Notes that a future can go on.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs a future to its end in simulated time, which begins at zero.
///
/// Panics if the future waits for something that cannot come.
pub(crate) fn run_simulated<T>(future: impl Future<Output = T>) -> T {
    TIME.with_borrow_mut(|time| *time = SimulatedTime::default());
    let woken = Arc::new(Woken::default());
    let waker = Waker::from(Arc::clone(&woken));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker))
        {
            return value;
        }
        if !woken.0.swap(false, Ordering::SeqCst) {
            let next = TIME.with_borrow_mut(|time| {
                let ((at, _), waker) = time.timers.pop_first().unwrap();
                time.now = time.now.max(at);
                waker
            });
            next.wake();
            woken.0.store(false, Ordering::SeqCst);
        }
    }
}

/// How much simulated time has passed.
pub(crate) fn elapsed() -> Duration {
    TIME.with_borrow(|time| time.now)
}

/// Waits in simulated time.
pub(crate) fn sleep(time: Duration) -> Sleep {
    TIME.with_borrow_mut(|all| {
        all.timers_made += 1;
        Sleep {
            timer: (all.now + time, all.timers_made),
        }
    })
}

/// Ends at a moment of simulated time.
pub(crate) struct Sleep {
    timer: (Duration, u64),
}

impl Future for Sleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        TIME.with_borrow_mut(|time| {
            if time.now >= self.timer.0 {
                return Poll::Ready(());
            }
            time.timers.insert(self.timer, context.waker().clone());
            Poll::Pending
        })
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        TIME.with_borrow_mut(|time| time.timers.remove(&self.timer));
    }
}

/// A clock of simulated time.
pub(crate) struct SimulatedClock {
    start: DateTime<Utc>,
    /// The simulated time at which the clock shows `start`.
    origin: Duration,
}

impl SimulatedClock {
    pub(crate) fn starting_at(start: DateTime<Utc>) -> Self {
        Self {
            start,
            origin: elapsed(),
        }
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> DateTime<Utc> {
        self.start + TimeDelta::from_std(elapsed() - self.origin).unwrap()
    }

    async fn sleep_until(&self, time: DateTime<Utc>) {
        let wait = (time - self.now()).to_std().unwrap_or_default();
        sleep(wait).await;
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

impl StateStore for Memory {
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
    pub(crate) outcome: RunOutcome,
    /// Kill the schedule as soon as the success is on record.
    pub(crate) kills: bool,
}

impl Plan {
    pub(crate) fn new(seconds: u64, outcome: RunOutcome) -> Self {
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

impl<F: Fn(&ScheduledJob, Interval) -> Plan> SimulatedRunner<F> {
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

impl<F: Fn(&ScheduledJob, Interval) -> Plan> IntervalRunner for SimulatedRunner<F> {
    async fn run(
        &self,
        job: &ScheduledJob,
        interval: Interval,
        cancel: CancellationToken,
    ) -> RunOutcome {
        let plan = (self.plan)(job, interval);
        if plan.outcome == RunOutcome::AlreadyRunning {
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
            () = cancel.cancelled() => return RunOutcome::Cancelled,
            () = sleep(plan.takes) => {}
        }
        if plan.outcome == RunOutcome::Succeeded {
            *self.succeeded.borrow_mut().entry(key).or_default() += 1;
            if plan.kills {
                self.killer.notify_one();
                std::future::pending::<()>().await;
            }
        }
        drop(alive);
        plan.outcome
    }

    async fn succeeded(
        &self,
        job: &ScheduledJob,
        interval: Interval,
    ) -> Result<bool, String> {
        let key = (job.name.clone(), interval);
        Ok(self.succeeded.borrow().contains_key(&key))
    }
}

pub(crate) fn jobs(text: &str) -> JobFile {
    JobFile::parse(text, Path::new("jobs.toml")).unwrap()
}

pub(crate) fn time(text: &str) -> DateTime<Utc> {
    atoll_jobs::schedule::parse_time(text, chrono_tz::Tz::UTC).unwrap()
}
