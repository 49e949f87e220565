//! Scripts that the cluster runs without their client: `atoll run --detach`.
//!
//! A client leaves a [`RunOrder`] with the scheduler and goes away. The supervisor of some
//! executor takes it and starts the client's part of the work, `atoll run`, as a process
//! beside its worker: that process plans and counts, its tasks run in the slots of all
//! executors. It needs no slot of its own, so that any number of runs leave each other
//! slots. If the executor is lost, another one takes the run, and the record of the run in
//! the storage says which statements are done.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use crate::scheduler::EXECUTOR_SILENCE_SECONDS;
use crate::{Error, Token};

/// How often a run is started before it is given up.
const STARTS: u32 = 3;

/// The bytes that are kept of what a run prints: the last ones.
const OUTPUT_KEPT: usize = 64 << 10;

/// Runs that ended and are still shown.
const ENDED_SHOWN: usize = 100;

/// What is to be run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunOrder {
    /// Names the run, in the record that the storage keeps of it too.
    pub id: String,
    /// What the script is called in that record.
    pub script: String,
    /// The script.
    pub text: String,
    /// Options of `atoll run`, as on its command line.
    pub arguments: Vec<String>,
    /// Whose it is: user, host and process.
    pub client: String,
}

/// An order as it is passed on: an executor runs none that a holder of the cluster's token
/// did not sign.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SignedOrder {
    order: RunOrder,
    signature: String,
}

impl SignedOrder {
    pub(crate) fn new(order: RunOrder, token: &Token) -> Self {
        let signature = hex::encode(token.sign(&message(&order)));
        Self { order, signature }
    }

    /// The name of the run, for which nobody has vouched.
    pub(crate) fn id(&self) -> &str {
        &self.order.id
    }

    /// The order, if a holder of the token signed it.
    pub(crate) fn verified(&self, token: &Token) -> Option<&RunOrder> {
        let signature = hex::decode(&self.signature).ok()?;
        let is_signed = token.verifies(&message(&self.order), &signature);
        is_signed.then_some(&self.order)
    }
}

/// What is signed: nothing else that is signed begins like it.
fn message(order: &RunOrder) -> Vec<u8> {
    // Texts always are JSON.
    let json = serde_json::to_string(order).unwrap_or_default();
    format!("atoll run 1\n{json}").into_bytes()
}

/// An order on its way to the scheduler.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct NewRun {
    pub(crate) order: SignedOrder,
    /// The executor that runs it already, if a scheduler that was started anew is told of
    /// it, and how often it was started.
    pub(crate) running: Option<(String, u32)>,
}

/// A run that an executor is to start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct TakenRun {
    pub(crate) order: SignedOrder,
    pub(crate) start: u32,
}

/// What an executor says of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunReport {
    pub(crate) id: String,
    pub(crate) executor: String,
    /// What it printed since the last report.
    pub(crate) output: String,
    pub(crate) end: Option<RunEnd>,
}

/// How the process of a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum RunEnd {
    /// With an exit code of `atoll run`.
    Exited(u8),
    /// By a signal, or it could not be started.
    Died(String),
    /// Its executor stops; another one is to go on.
    HandedOver,
}

/// How a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// No executor has taken it.
    Waiting,
    /// An executor runs it.
    Running,
    /// Its exit code is 0.
    Succeeded,
    /// Its exit code is another one, or its process died too often.
    Failed,
    /// Somebody ended it.
    Cancelled,
}

impl Display for RunPhase {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        })
    }
}

/// A run as a scheduler shows it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunState {
    /// Names it.
    pub id: String,
    /// The script.
    pub script: String,
    /// Whose it is.
    pub client: String,
    /// How it stands.
    pub phase: RunPhase,
    /// The executor that runs it or was the last to do so.
    pub executor: Option<String>,
    /// How often it was started.
    pub starts: u32,
    /// Seconds since it was ordered, up to its end.
    pub seconds: f64,
    /// Of `atoll run`, once it ended by itself.
    pub exit_code: Option<u8>,
    /// The last of what it printed, where it was asked for.
    #[serde(default)]
    pub output: String,
    /// The bytes that it has printed.
    #[serde(default)]
    pub printed: u64,
}

impl RunState {
    /// Whether nothing more happens to it.
    pub fn has_ended(&self) -> bool {
        !matches!(self.phase, RunPhase::Waiting | RunPhase::Running)
    }
}

/// What a scheduler knows of runs.
#[derive(Debug, Default)]
pub(crate) struct Runs(Mutex<BTreeMap<String, Run>>);

#[derive(Debug)]
struct Run {
    order: SignedOrder,
    since: SystemTime,
    ended: Option<SystemTime>,
    phase: RunPhase,
    /// Somebody wants it ended; the executor has not said that it is.
    is_unwanted: bool,
    executor: Option<String>,
    /// When its executor last said anything.
    heard: Instant,
    starts: u32,
    exit_code: Option<u8>,
    output: String,
    printed: u64,
}

impl Runs {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Run>> {
        // Every change leaves the runs whole, so a panic elsewhere does no harm.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client orders a run, perhaps a second time because it heard no answer.
    pub(crate) fn order(&self, new: NewRun) {
        let mut runs = self.lock();
        let id = new.order.order.id.clone();
        let (executor, starts) = new.running.unzip();
        runs.entry(id).or_insert_with(|| Run {
            order: new.order,
            since: SystemTime::now(),
            ended: None,
            phase: match executor {
                Some(_) => RunPhase::Running,
                None => RunPhase::Waiting,
            },
            is_unwanted: false,
            executor,
            heard: Instant::now(),
            starts: starts.unwrap_or_default(),
            exit_code: None,
            output: String::new(),
            printed: 0,
        });
        let ended = runs.iter().filter_map(|(id, run)| Some((run.ended?, id)));
        let mut ended: Vec<_> = ended.map(|(at, id)| (at, id.clone())).collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(ENDED_SHOWN);
        for (_, id) in ended.into_iter().take(surplus) {
            runs.remove(&id);
        }
    }

    /// Gives an executor the run that has waited longest.
    pub(crate) fn take(&self, executor: String) -> Option<TakenRun> {
        let mut runs = self.lock();
        let waiting = runs
            .values_mut()
            .filter(|run| run.phase == RunPhase::Waiting);
        let run = waiting.min_by_key(|run| run.since)?;
        run.phase = RunPhase::Running;
        run.executor = Some(executor);
        run.heard = Instant::now();
        run.starts += 1;
        Some(TakenRun {
            order: run.order.clone(),
            start: run.starts,
        })
    }

    /// An executor says what a run does; whether it is to go on. Nothing for a run that
    /// this scheduler does not know.
    pub(crate) fn report(&self, report: RunReport) -> Option<bool> {
        let mut runs = self.lock();
        let run = runs.get_mut(&report.id)?;
        let is_its = run.executor.as_ref() == Some(&report.executor);
        if !is_its || run.phase != RunPhase::Running {
            return Some(false);
        }
        run.heard = Instant::now();
        run.print(&report.output);
        match report.end {
            None => return Some(!run.is_unwanted),
            Some(_) if run.is_unwanted => run.end(RunPhase::Cancelled),
            Some(RunEnd::Exited(code)) => {
                run.exit_code = Some(code);
                run.end(match code {
                    0 => RunPhase::Succeeded,
                    _ => RunPhase::Failed,
                });
            }
            Some(RunEnd::HandedOver) => {
                run.starts -= 1;
                run.phase = RunPhase::Waiting;
            }
            Some(RunEnd::Died(how)) => run.again(&how),
        }
        Some(false)
    }

    /// Ends a run, at once if no executor has it; whether there is such a run.
    pub(crate) fn cancel(&self, id: &str) -> bool {
        let mut runs = self.lock();
        let Some(run) = runs.get_mut(id) else {
            return false;
        };
        match run.phase {
            RunPhase::Waiting => run.end(RunPhase::Cancelled),
            RunPhase::Running => run.is_unwanted = true,
            RunPhase::Succeeded | RunPhase::Failed | RunPhase::Cancelled => {}
        }
        true
    }

    /// Gives the runs of executors that went away without a word to others.
    pub(crate) fn look_for_lost(&self) {
        let limit = Duration::from_secs(EXECUTOR_SILENCE_SECONDS);
        for run in self.lock().values_mut() {
            if run.phase == RunPhase::Running && run.heard.elapsed() > limit {
                match run.is_unwanted {
                    true => run.end(RunPhase::Cancelled),
                    false => run.again("its executor was lost"),
                }
            }
        }
    }

    /// Every run without its output, the latest first.
    pub(crate) fn all(&self) -> Vec<RunState> {
        let runs = self.lock();
        let mut all: Vec<_> = runs.iter().collect();
        all.sort_by_key(|(_, run)| std::cmp::Reverse(run.since));
        all.into_iter().map(|(id, run)| run.state(id)).collect()
    }

    /// One run, with what it printed.
    pub(crate) fn one(&self, id: &str) -> Option<RunState> {
        let runs = self.lock();
        let run = runs.get(id)?;
        Some(RunState {
            output: run.output.clone(),
            ..run.state(id)
        })
    }
}

impl Run {
    fn print(&mut self, text: &str) {
        self.printed += text.len() as u64;
        self.output.push_str(text);
        let surplus = self.output.len().saturating_sub(OUTPUT_KEPT);
        self.output.drain(..self.output.ceil_char_boundary(surplus));
    }

    fn end(&mut self, phase: RunPhase) {
        self.phase = phase;
        self.ended = Some(SystemTime::now());
    }

    /// Its process is gone although it was not done.
    fn again(&mut self, how: &str) {
        if self.starts < STARTS {
            self.print(&format!("{how}; another executor goes on\n"));
            self.phase = RunPhase::Waiting;
        } else {
            self.print(&format!(
                "{how}; it was started {STARTS} times and is given up. What its \
                 statements wrote is kept\n"
            ));
            self.end(RunPhase::Failed);
        }
    }

    fn state(&self, id: &str) -> RunState {
        let end = self.ended.unwrap_or_else(SystemTime::now);
        let took = end.duration_since(self.since).unwrap_or_default();
        RunState {
            id: id.to_string(),
            script: self.order.order.script.clone(),
            client: self.order.order.client.clone(),
            phase: self.phase,
            executor: self.executor.clone(),
            starts: self.starts,
            seconds: took.as_secs_f64(),
            exit_code: self.exit_code,
            output: String::new(),
            printed: self.printed,
        }
    }
}

/// A run that nobody knows is an error of whoever named it.
pub(crate) fn unknown(error: Error, id: &str) -> Error {
    match error {
        Error::Unknown(address) => Error::NoRun {
            id: id.to_string(),
            address,
        },
        error => error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(id: &str) -> RunOrder {
        RunOrder {
            id: id.to_string(),
            script: "nightly.sql".to_string(),
            text: "SELECT 1".to_string(),
            arguments: vec!["--retries".to_string(), "2".to_string()],
            client: "me".to_string(),
        }
    }

    fn runs(ids: &[&str]) -> Runs {
        let runs = Runs::default();
        for id in ids {
            runs.order(NewRun {
                order: SignedOrder::new(order(id), &Token::default()),
                running: None,
            });
        }
        runs
    }

    fn report(executor: &str, output: &str, end: Option<RunEnd>) -> RunReport {
        RunReport {
            id: "a".to_string(),
            executor: executor.to_string(),
            output: output.to_string(),
            end,
        }
    }

    fn take(runs: &Runs, executor: &str) -> Option<String> {
        let taken = runs.take(executor.to_string())?;
        Some(taken.order.order.id)
    }

    #[test]
    fn only_what_a_holder_of_the_token_signed_is_an_order() {
        let token = Token::new("0123456789abcdef").unwrap();
        let stranger = Token::new("another secret of ours").unwrap();
        let signed = SignedOrder::new(order("a"), &token);
        assert_eq!(signed.verified(&token), Some(&order("a")));
        assert_eq!(signed.verified(&stranger), None);
        let mut changed = signed.clone();
        changed.order.text = "DROP TABLE t".to_string();
        assert_eq!(changed.verified(&token), None);
        let mut changed = signed;
        changed.order.arguments.clear();
        assert_eq!(changed.verified(&token), None);
    }

    #[test]
    fn a_run_goes_to_one_executor_and_says_how_it_ended() {
        let runs = runs(&["a"]);
        assert_eq!(take(&runs, "one").as_deref(), Some("a"));
        assert_eq!(take(&runs, "two"), None);
        assert_eq!(runs.report(report("one", "half", None)), Some(true));
        // Not its executor's.
        assert_eq!(runs.report(report("two", "x", None)), Some(false));
        let end = report("one", " done\n", Some(RunEnd::Exited(0)));
        assert_eq!(runs.report(end), Some(false));
        let state = runs.one("a").unwrap();
        assert_eq!(state.output, "half done\n");
        assert_eq!(
            (state.phase, state.exit_code),
            (RunPhase::Succeeded, Some(0))
        );
        assert!(runs.one("b").is_none());
    }

    #[test]
    fn a_run_whose_process_dies_is_started_three_times() {
        let runs = runs(&["a"]);
        for start in 1..=STARTS {
            let taken = runs.take(start.to_string()).unwrap();
            assert_eq!(taken.start, start);
            let died = RunEnd::Died("signal 9".to_string());
            runs.report(report(&start.to_string(), "", Some(died)));
        }
        assert_eq!(take(&runs, "one"), None);
        let state = runs.one("a").unwrap();
        assert_eq!(state.phase, RunPhase::Failed);
        assert!(state.output.contains("given up"), "{}", state.output);
    }

    #[test]
    fn an_executor_that_stops_hands_its_run_over_at_no_cost() {
        let runs = runs(&["a"]);
        for executor in 0..10 {
            let executor = executor.to_string();
            assert_eq!(runs.take(executor.clone()).unwrap().start, 1);
            runs.report(report(&executor, "", Some(RunEnd::HandedOver)));
        }
        assert_eq!(runs.one("a").unwrap().phase, RunPhase::Waiting);
    }

    #[test]
    fn a_cancelled_run_ends_once_its_executor_says_so() {
        let runs = runs(&["a", "b"]);
        assert!(take(&runs, "one").is_some());
        assert!(runs.cancel("a") && runs.cancel("b") && !runs.cancel("c"));
        assert_eq!(runs.one("b").unwrap().phase, RunPhase::Cancelled);
        assert_eq!(runs.one("a").unwrap().phase, RunPhase::Running);
        assert_eq!(runs.report(report("one", "", None)), Some(false));
        runs.report(report("one", "", Some(RunEnd::Exited(130))));
        assert_eq!(runs.one("a").unwrap().phase, RunPhase::Cancelled);
        assert_eq!(take(&runs, "one"), None);
    }

    #[test]
    fn a_new_scheduler_learns_of_runs_and_the_last_of_the_output_is_kept() {
        let runs = Runs::default();
        assert_eq!(runs.report(report("one", "", None)), None);
        runs.order(NewRun {
            order: SignedOrder::new(order("a"), &Token::default()),
            running: Some(("one".to_string(), 2)),
        });
        let line = format!("{}\n", "ä".repeat(999));
        for _ in 0..100 {
            assert_eq!(runs.report(report("one", &line, None)), Some(true));
        }
        let state = runs.one("a").unwrap();
        assert!(state.output.len() <= OUTPUT_KEPT && state.output.ends_with(&line));
        assert_eq!(state.printed, 100 * line.len() as u64);
        assert_eq!(state.starts, 2);
    }
}
