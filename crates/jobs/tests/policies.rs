//! What overlap, catch-up, failures and stopping do, on a simulated clock.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests fail by panicking, as tests do"
)]

mod support;

use atoll_jobs::Interval;
use atoll_jobs::schedule::{
    Backfill, FollowMode, Follower, RunCounts, RunOutcome, ScheduleEvent, ScheduledJob,
    SkipReason, StopRequest,
};
use chrono::{DateTime, Utc};
use tokio::sync::watch;

use crate::support::{
    Memory, Plan, SimulatedClock, SimulatedRunner, elapsed, jobs, run_simulated, sleep,
    time,
};

/// A schedule of one hourly job, with the state and the runs it left behind.
struct World<F> {
    toml: String,
    store: Memory,
    runner: SimulatedRunner<F>,
    skipped: Vec<(u64, SkipReason)>,
    open: Option<Interval>,
}

impl<F: Fn(&ScheduledJob, Interval) -> Plan> World<F> {
    fn new(keys: &str, plan: F) -> Self {
        let toml = format!(
            "[job.j]\nscript = \"j.sql\"\ncron = \"0 * * * *\"\n\
             start = 2026-11-24T00:00:00Z\n{keys}"
        );
        Self {
            toml,
            store: Memory::default(),
            runner: SimulatedRunner::new(plan),
            skipped: Vec::new(),
            open: None,
        }
    }

    /// Follows the schedule from one time to another, then kills it.
    async fn follow(&mut self, from: &str, to: &str) {
        let (_keep, stop) = watch::channel(StopRequest::Go);
        let ended = self.follow_until(from, FollowMode::Forever, stop, Some(time(to)));
        assert_eq!(ended.await, None, "it ended by itself");
    }

    async fn once(&mut self, at: &str) -> RunCounts {
        let (_keep, stop) = watch::channel(StopRequest::Go);
        let ended = self.follow_until(at, FollowMode::Once, stop, None);
        ended.await.unwrap()
    }

    async fn follow_until(
        &mut self,
        from: &str,
        mode: FollowMode,
        stop: watch::Receiver<StopRequest>,
        kill: Option<DateTime<Utc>>,
    ) -> Option<RunCounts> {
        let from = time(from);
        let jobs = jobs(&self.toml);
        let clock = SimulatedClock::starting_at(from);
        let follower = Follower {
            jobs: &jobs,
            store: &mut self.store,
            runner: &self.runner,
            clock: &clock,
        };
        let skipped = &mut self.skipped;
        let open = &mut self.open;
        let follow = follower.follow(mode, stop, |event| match event.what {
            ScheduleEvent::Skipped { count, why, .. } => skipped.push((count, why)),
            ScheduleEvent::Open(interval) => *open = Some(interval),
            _ => {}
        });
        let life = kill.map(|kill| (kill - from).to_std().unwrap());
        tokio::select! {
            summary = follow => Some(summary.unwrap()),
            () = sleep(life.unwrap_or_default()), if life.is_some() => None,
        }
    }

    fn last(&self) -> RunOutcome {
        self.store.state("j").last.unwrap().outcome
    }
}

fn takes(minutes: u64) -> Plan {
    Plan::new(minutes * 60, RunOutcome::Succeeded)
}

/// The first run takes two and a half hours, the others a minute.
fn first_is_slow(_: &ScheduledJob, interval: Interval) -> Plan {
    takes(if interval.start == time("2026-11-24") {
        150
    } else {
        1
    })
}

#[test]
fn queue_runs_all_one_after_the_other() {
    run_simulated(async {
        let mut world = World::new("overlap = \"queue\"", first_is_slow);
        world.follow("2026-11-24", "2026-11-24T05:30").await;
        assert_eq!(world.runner.log(), "00:00 01:00 02:00 03:00 04:00");
        assert_eq!(world.runner.most_at_once(), 1);
        assert_eq!(world.skipped, []);
    });
}

#[test]
fn skip_leaves_out_what_closes_meanwhile() {
    run_simulated(async {
        let mut world = World::new("overlap = \"skip\"", first_is_slow);
        world.follow("2026-11-24", "2026-11-24T05:30").await;
        assert_eq!(world.runner.log(), "00:00 03:00 04:00");
        assert_eq!(
            world.skipped,
            [(1, SkipReason::Overlap), (1, SkipReason::Overlap)]
        );
    });
}

#[test]
fn cancel_gives_up_the_earlier_run() {
    run_simulated(async {
        let mut world = World::new("overlap = \"cancel\"", first_is_slow);
        world.follow("2026-11-24", "2026-11-24T03:30").await;
        assert_eq!(world.runner.log(), "00:00 01:00 02:00");
        assert_eq!(world.runner.succeeded.borrow().len(), 2);
        // It is not taken up after a restart either.
        world.follow("2026-11-24T03:40", "2026-11-24T05:30").await;
        assert_eq!(world.runner.log(), "00:00 01:00 02:00 03:00 04:00");
    });
}

#[test]
fn a_skipped_interval_stays_skipped_after_a_crash() {
    run_simulated(async {
        let mut world = World::new("overlap = \"skip\"", first_is_slow);
        // Killed while the first interval runs and two were skipped.
        world.follow("2026-11-24", "2026-11-24T03:15").await;
        assert_eq!(world.runner.log(), "00:00");
        world.follow("2026-11-24T03:20", "2026-11-24T04:30").await;
        // The first one is run again; what closed meanwhile is skipped again.
        assert_eq!(world.runner.log(), "00:00 00:00");
    });
}

/// Follows for two hours, is down for five, and follows for two more.
async fn down_for_hours(keys: &str, expected: &str, skipped: &[(u64, SkipReason)]) {
    let mut world = World::new(keys, |_, _| takes(1));
    world.follow("2026-11-24", "2026-11-24T02:30").await;
    assert_eq!(world.runner.log(), "00:00 01:00");
    world.follow("2026-11-24T07:30", "2026-11-24T09:30").await;
    assert_eq!(world.runner.log(), format!("00:00 01:00 {expected}"));
    assert_eq!(world.skipped, skipped);
}

#[test]
fn catch_up_all_runs_what_was_missed() {
    run_simulated(async {
        let all = "02:00 03:00 04:00 05:00 06:00 07:00 08:00";
        down_for_hours("catch_up = \"all\"", all, &[]).await;
    });
}

#[test]
fn catch_up_latest_runs_one() {
    run_simulated(async {
        let latest = "06:00 07:00 08:00";
        down_for_hours("catch_up = \"latest\"", latest, &[(4, SkipReason::Missed)]).await;
    });
}

#[test]
fn catch_up_none_waits_for_the_next_tick() {
    run_simulated(async {
        let none = "07:00 08:00";
        down_for_hours("catch_up = \"none\"", none, &[(5, SkipReason::Missed)]).await;
    });
}

#[test]
fn a_tick_is_missed_after_a_minute() {
    run_simulated(async {
        let mut world = World::new("catch_up = \"none\"", |_, _| takes(1));
        world.follow("2026-11-24", "2026-11-24T01:59:30").await;
        world
            .follow("2026-11-24T02:00:50", "2026-11-24T02:59:30")
            .await;
        assert_eq!(world.runner.log(), "00:00 01:00");
        world
            .follow("2026-11-24T03:01:01", "2026-11-24T03:30")
            .await;
        assert_eq!(world.runner.log(), "00:00 01:00");
    });
}

#[test]
fn an_interrupted_interval_runs_again_whatever_the_policy() {
    run_simulated(async {
        let mut world = World::new("catch_up = \"none\"", |_, _| takes(10));
        world.follow("2026-11-24", "2026-11-24T01:05").await;
        assert_eq!(world.runner.succeeded.borrow().len(), 0);
        world.follow("2026-11-24T20:30", "2026-11-24T20:45").await;
        assert_eq!(world.runner.log(), "00:00 00:00");
        assert_eq!(world.runner.succeeded.borrow().len(), 1);
    });
}

#[test]
fn a_new_job_begins_with_the_open_interval_and_remembers_it() {
    run_simulated(async {
        let mut world = World::new("", |_, _| takes(1));
        world.toml = world.toml.replace("start =", "#");
        world
            .follow("2026-11-24T05:59", "2026-11-24T05:59:30")
            .await;
        assert_eq!(world.open.unwrap().start, time("2026-11-24T05:00"));
        // Down when the first tick comes.
        world.follow("2026-11-24T07:30", "2026-11-24T08:30").await;
        assert_eq!(world.runner.log(), "05:00 06:00 07:00");
    });
}

#[test]
fn another_cron_expression_loses_no_time() {
    run_simulated(async {
        let mut world = World::new("", |_, _| takes(1));
        world.follow("2026-11-24", "2026-11-24T02:30").await;
        world.toml = world.toml.replace("0 * * * *", "20 */4 * * *");
        world.follow("2026-11-24T02:40", "2026-11-24T08:30").await;
        let started: Vec<String> = world.runner.started.borrow()[2..]
            .iter()
            .map(|(_, interval)| interval.to_string())
            .collect();
        assert_eq!(
            started,
            [
                "2026-11-24T02:00:00Z/2026-11-24T04:20:00Z",
                "2026-11-24T04:20:00Z/2026-11-24T08:20:00Z",
            ]
        );
    });
}

#[test]
fn once_runs_what_is_due_and_ends() {
    run_simulated(async {
        let mut world = World::new("", |_, _| takes(50));
        let summary = world.once("2026-11-24T03:30").await;
        // What closed while it ran is left to the next call.
        assert_eq!(world.runner.log(), "00:00 01:00 02:00");
        assert_eq!(summary.succeeded, 3);
        let summary = world.once("2026-11-24T06:00:00").await;
        assert_eq!(summary.succeeded, 3);
        assert_eq!(world.once("2026-11-24T06:10").await, RunCounts::default());
    });
}

#[test]
fn once_runs_the_latest_interval_of_a_job_that_does_not_catch_up() {
    run_simulated(async {
        let mut world = World::new("catch_up = \"none\"", |_, _| takes(1));
        assert_eq!(world.once("2026-11-24T03:30").await.succeeded, 1);
        assert_eq!(world.runner.log(), "02:00");
    });
}

#[test]
fn a_failure_is_recorded_and_the_next_interval_runs() {
    run_simulated(async {
        let failed = || RunOutcome::Failed("no such file".to_string());
        let mut world = World::new("", move |_, _| Plan::new(1, failed()));
        let summary = world.once("2026-11-24T02:30").await;
        assert_eq!((summary.failed, summary.succeeded), (2, 0));
        assert_eq!(world.last(), failed());
        assert_eq!(world.once("2026-11-24T02:40").await, RunCounts::default());
    });
}

#[test]
fn a_failure_stops_a_job_that_wants_it() {
    run_simulated(async {
        let broken = std::cell::Cell::new(true);
        let plan = |_: &ScheduledJob, _: Interval| {
            if broken.get() {
                Plan::new(1, RunOutcome::TimedOut)
            } else {
                takes(1)
            }
        };
        let mut world = World::new("on_failure = \"stop\"", plan);
        world.follow("2026-11-24", "2026-11-24T04:30").await;
        assert_eq!(world.runner.log(), "00:00");
        assert_eq!(world.last(), RunOutcome::TimedOut);
        broken.set(false);
        world.follow("2026-11-24T04:40", "2026-11-24T05:30").await;
        assert_eq!(world.runner.log(), "00:00 00:00 01:00 02:00 03:00 04:00");
    });
}

#[test]
fn a_run_elsewhere_is_waited_for() {
    run_simulated(async {
        let tries = std::cell::Cell::new(0);
        let plan = |_: &ScheduledJob, _: Interval| {
            tries.set(tries.get() + 1);
            match tries.get() {
                ..4 => Plan::new(0, RunOutcome::AlreadyRunning),
                _ => takes(1),
            }
        };
        let mut world = World::new("", plan);
        world.follow("2026-11-24", "2026-11-24T01:30").await;
        assert_eq!(tries.get(), 4);
        assert_eq!(world.runner.succeeded.borrow().len(), 1);
    });
}

#[test]
fn once_does_not_wait_for_a_run_elsewhere() {
    run_simulated(async {
        let mut world = World::new("", |_, _| Plan::new(0, RunOutcome::AlreadyRunning));
        let summary = world.once("2026-11-24T02:30").await;
        assert_eq!(summary.busy, 1);
        let running = world.store.state("j").running.unwrap();
        assert_eq!(running.start, time("2026-11-24"));
    });
}

#[test]
fn what_succeeded_by_hand_is_not_run() {
    run_simulated(async {
        let mut world = World::new("", |_, _| takes(1));
        let interval = "2026-11-24T01:00:00Z/2026-11-24T02:00:00Z".parse().unwrap();
        let done = ("j".to_string(), interval);
        world.runner.succeeded.borrow_mut().insert(done, 1);
        assert_eq!(world.once("2026-11-24T03:30").await.succeeded, 3);
        assert_eq!(world.runner.log(), "00:00 02:00");
    });
}

#[test]
fn draining_lets_runs_finish_and_starts_none() {
    run_simulated(async {
        let mut world = World::new("", |_, _| takes(30));
        let (stopper, stop) = watch::channel(StopRequest::Go);
        let drains = async {
            sleep(std::time::Duration::from_secs(3600 + 600)).await;
            stopper.send_replace(StopRequest::Drain);
        };
        let ended =
            world.follow_until("2026-11-24T02:00", FollowMode::Forever, stop, None);
        let (summary, ()) = futures::join!(ended, drains);
        let summary = summary.unwrap();
        // Two were due at the start, the third closed an hour later and was being run.
        assert_eq!(summary.succeeded, 3);
        assert_eq!(world.store.state("j").running, None);
        assert_eq!(world.store.state("j").next, time("2026-11-24T03:00"));
    });
}

#[test]
fn cancelling_keeps_the_interval_for_the_next_start() {
    run_simulated(async {
        let mut world = World::new("", |_, _| takes(30));
        let (stopper, stop) = watch::channel(StopRequest::Go);
        let cancels = async {
            sleep(std::time::Duration::from_secs(600)).await;
            stopper.send_replace(StopRequest::Cancel);
        };
        let ended =
            world.follow_until("2026-11-24T01:00", FollowMode::Forever, stop, None);
        let (summary, ()) = futures::join!(ended, cancels);
        assert_eq!(summary.unwrap().cancelled, 1);
        assert_eq!(world.last(), RunOutcome::Cancelled);
        world.follow("2026-11-24T01:20", "2026-11-24T01:55").await;
        assert_eq!(world.runner.log(), "00:00 00:00");
        assert_eq!(world.runner.succeeded.borrow().len(), 1);
    });
}

#[test]
fn jitter_delays_starts_and_changes_no_interval() {
    run_simulated(async {
        let starts = std::cell::RefCell::new(Vec::new());
        let plan = |_: &ScheduledJob, _: Interval| {
            starts.borrow_mut().push(elapsed().as_secs() % 3600);
            takes(0)
        };
        let mut world = World::new("jitter = \"10m\"", plan);
        world.follow("2026-11-24", "2026-11-24T06:30").await;
        assert_eq!(world.runner.log(), "00:00 01:00 02:00 03:00 04:00 05:00");
        let starts = starts.borrow();
        assert!(starts.iter().all(|second| *second < 600), "{starts:?}");
        let spread = starts.iter().max().unwrap() - starts.iter().min().unwrap();
        assert!(spread > 60, "{starts:?}");
    });
}

#[test]
fn a_disabled_job_rests() {
    run_simulated(async {
        let mut world = World::new("enabled = false", |_, _| takes(1));
        assert_eq!(world.once("2026-11-24T06:30").await, RunCounts::default());
        assert_eq!(world.runner.log(), "");
    });
}

#[test]
fn no_more_runs_than_max_parallel() {
    run_simulated(async {
        let table = |name: &str| {
            format!(
                "[job.{name}]\nscript = \"j.sql\"\ncron = \"0 * * * *\"\n\
             start = 2026-11-24T00:00:00Z\n"
            )
        };
        let all: String = ["a", "b", "c", "d", "e"].map(table).concat();
        let mut world = World::new("", |_, _| takes(10));
        world.toml = format!("max_parallel = 2\n{all}");
        assert_eq!(world.once("2026-11-24T02:00").await.succeeded, 10);
        assert_eq!(world.runner.most_at_once(), 2);
        // The job that has waited longest is next.
        let started = world.runner.started.borrow();
        let names: Vec<&str> = started.iter().map(|(job, _)| job.as_str()).collect();
        assert_eq!(names.join(""), "abcdeabcde");
    });
}

#[test]
fn a_backfill_runs_again_or_fills_gaps() {
    run_simulated(async {
        let jobs = jobs("[job.j]\nscript = \"j.sql\"\ncron = \"@daily\"\n");
        let job = &jobs.jobs[0];
        // Of one job only one interval at a time, as the simulation demands.
        let runner = SimulatedRunner::new(|_, _| takes(1));
        let clock = SimulatedClock::starting_at(time("2026-11-04T12:00"));
        for (missing_only, already_done, starts) in
            [(false, 0, 3), (false, 0, 6), (true, 3, 6)]
        {
            let (_keep, stop) = watch::channel(StopRequest::Go);
            let backfill = Backfill {
                job,
                // The interval that is open is left alone.
                intervals: job
                    .intervals(
                        time("2026-11-01"),
                        time("2026-11-09"),
                        time("2026-11-04T12:00"),
                    )
                    .collect(),
                parallel: std::num::NonZeroUsize::MIN,
                missing_only,
                runner: &runner,
                clock: &clock,
            };
            let mut done = 0;
            let summary = backfill.run(stop, |event| {
                if let ScheduleEvent::Ended { outcome, .. } = event.what
                    && outcome == RunOutcome::AlreadyDone
                {
                    done += 1;
                }
            });
            assert_eq!(summary.await.succeeded, 3);
            assert_eq!(done, already_done);
            assert_eq!(runner.started.borrow().len(), starts);
        }
    });
}
