//! A study: what runs next, decided by the results that ended before on the virtual clock.
//!
//! Trials are placed on virtual slots by costs that are known when they start. A decision
//! at a time of that clock waits until everything has really ended that ends before it
//! there, and looks at nothing else. So what is decided does not depend on how many real
//! slots there are or how fast they are, and with twice as many virtual slots as real ones
//! the real ones hardly ever wait (`tests/clock.rs`).

mod options;

use std::collections::{BTreeMap, VecDeque};

use crate::bracket::{Bracket, even_ladder, hyperband, ladder, neediest};
use crate::clock::{Slots, Time};
use crate::observation::{Observation, State};
use crate::{Error, Point, Sampler, Space};

pub use options::{PrunerKind, StudyOptions};

/// Random points whose costs say how far apart slots begin.
const COSTS: i64 = 25;

/// A training that can start: a trial up to a rung.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Its number; jobs count from 0 in the order in which they start.
    pub id: u64,
    /// The trial; trials count from 0.
    pub trial: u64,
    /// The rung that it leads to, from 0.
    pub rung: usize,
    /// The budget that the trial has had.
    pub from: u32,
    /// The budget that it is to have.
    pub to: u32,
    /// Whether that is all it can have.
    pub is_last: bool,
    /// The trial's hyperparameters.
    pub point: Point,
}

/// What a job came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A value for each objective; smaller is better.
    Values(Vec<f64>),
    /// No value: the trial diverged or cannot be trained, and does not go on.
    Failed,
}

/// What a caller has to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Start a job; more may be ready.
    Start(Job),
    /// Wait until another job has ended.
    Wait,
    /// All trials have ended.
    Done,
}

/// The end of a trial.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialEnd {
    /// The trial.
    pub trial: u64,
    /// Its last job.
    pub job: u64,
    /// The last rung that it reached.
    pub rung: usize,
    /// Whether it is no whole trial, because others were better.
    pub is_pruned: bool,
    /// Whether that was decided; not where the study was stopped while it waited.
    pub is_decided: bool,
}

/// A search under way.
pub struct Study {
    space: Space,
    options: StudyOptions,
    sampler: Box<dyn Sampler>,
    /// The budgets at which trials are compared; the last one is a whole trial.
    rungs: Vec<u32>,
    brackets: Vec<Bracket>,
    shares: Vec<f64>,
    taken: Vec<u64>,
    /// The values that trials had at each rung, for the median.
    at_rung: Vec<Vec<f64>>,
    slots: Option<Slots>,
    /// Jobs that have not ended on the virtual clock, in the order of their ends.
    running: Vec<(Time, Job)>,
    /// What really came, of jobs that have not ended there.
    told: BTreeMap<u64, Outcome>,
    trials: Vec<Trial>,
    /// What samplers see: earlier studies, then the trials of this one.
    seen: Vec<Observation>,
    earlier: usize,
    /// Trials that go on to their next rung.
    ready: VecDeque<u64>,
    ended: Vec<TrialEnd>,
    jobs: u64,
    is_exhausted: bool,
    is_stopped: bool,
}

struct Trial {
    point: Point,
    bracket: usize,
    rung: usize,
    cost: f64,
    job: u64,
    has_ended: bool,
}

impl Study {
    /// A study of a space, with what earlier studies say of it.
    ///
    /// # Errors
    ///
    /// If an option is outside its domain or the sampler cannot search the space.
    pub fn new(
        space: Space,
        options: StudyOptions,
        earlier: Vec<Observation>,
    ) -> Result<Self, Error> {
        options.check()?;
        let sampler = options
            .sampler
            .build(&space, options.objectives, options.seed)?;
        let budget = options.budget;
        let rungs = match options.pruner {
            PrunerKind::None => vec![budget],
            PrunerKind::Median { least, .. } => even_ladder(budget, least),
            PrunerKind::Halving { eta, least } | PrunerKind::Hyperband { eta, least } => {
                ladder(budget, eta, least)
            }
        };
        let brackets = match options.pruner {
            PrunerKind::Hyperband { eta, .. } => hyperband(rungs.len(), eta),
            PrunerKind::Halving { eta, .. } => {
                vec![(Bracket::new(0, rungs.len(), eta), 1.0)]
            }
            _ => vec![(Bracket::new(0, rungs.len(), 2), 1.0)],
        };
        let (brackets, shares): (Vec<_>, Vec<_>) = brackets.into_iter().unzip();
        Ok(Self {
            taken: vec![0; shares.len()],
            at_rung: vec![vec![]; rungs.len()],
            brackets,
            shares,
            rungs,
            sampler,
            options,
            space,
            slots: None,
            running: vec![],
            told: BTreeMap::new(),
            trials: vec![],
            earlier: earlier.len(),
            seen: earlier,
            ready: VecDeque::new(),
            ended: vec![],
            jobs: 0,
            is_exhausted: false,
            is_stopped: false,
        })
    }

    /// The budgets at which trials are compared; the last one is a whole trial's.
    pub fn rungs(&self) -> &[u32] {
        &self.rungs
    }

    /// The space that is searched.
    pub fn space(&self) -> &Space {
        &self.space
    }

    /// What to do next, where `cost` says what a unit of budget of a point costs.
    pub fn next(&mut self, cost: &mut dyn FnMut(&Point) -> f64) -> Step {
        let mut slots = match self.slots.take() {
            Some(slots) => slots,
            None => Slots::staggered(self.options.parallel, self.usual_cost(cost)),
        };
        let step = self.step(&mut slots, cost);
        self.slots = Some(slots);
        step
    }

    /// Says what a job came to. A value that is no number is none.
    pub fn tell(&mut self, job: u64, outcome: Outcome) {
        let outcome = match outcome {
            Outcome::Values(values)
                if values.is_empty() || values.iter().any(|v| v.is_nan()) =>
            {
                Outcome::Failed
            }
            outcome => outcome,
        };
        self.told.insert(job, outcome);
    }

    /// Starts nothing any more; what runs may end.
    pub fn stop(&mut self) {
        self.is_stopped = true;
    }

    /// The trials that ended since the last call, in the order of the virtual clock; those
    /// that a pruner left behind come at the end.
    pub fn ended(&mut self) -> Vec<TrialEnd> {
        std::mem::take(&mut self.ended)
    }

    /// What a first job usually costs: the median of random points.
    fn usual_cost(&self, cost: &mut dyn FnMut(&Point) -> f64) -> f64 {
        let first = self.brackets.first().map_or(0, |bracket| bracket.first);
        let budget = f64::from(self.rungs[first]);
        let costs = (1..=COSTS)
            .map(|n| positive(cost(&self.space.draw(self.options.seed, -n))) * budget);
        let mut costs: Vec<f64> = costs.collect();
        costs.sort_by(f64::total_cmp);
        costs[costs.len() / 2]
    }

    fn step(&mut self, slots: &mut Slots, cost: &mut dyn FnMut(&Point) -> f64) -> Step {
        loop {
            let (slot, now) = slots.first();
            while self.running.first().is_some_and(|(end, _)| *end <= now) {
                let Some(outcome) = self.told.remove(&self.running[0].1.id) else {
                    return Step::Wait;
                };
                let (_, job) = self.running.remove(0);
                self.enter(&job, outcome);
            }
            if let Some(job) = self.choose(cost) {
                let trial = &self.trials[index(job.trial)];
                let end = now + trial.cost * f64::from(job.to - job.from);
                slots.busy_until(slot, end);
                let place = self.running.partition_point(|(other, _)| *other <= end);
                self.running.insert(place, (end, job.clone()));
                return Step::Start(job);
            }
            // Something may be decided when the next job ends.
            match self.running.first() {
                Some((end, _)) => slots.busy_until(slot, *end),
                None => {
                    self.leave_behind();
                    return Step::Done;
                }
            }
        }
    }

    /// The job that starts now, if any.
    fn choose(&mut self, cost: &mut dyn FnMut(&Point) -> f64) -> Option<Job> {
        if self.is_stopped {
            return None;
        }
        let ready = self.ready.pop_front().inspect(|trial| {
            self.trials[index(*trial)].rung += 1;
        });
        let trial = match ready.or_else(|| self.climber(false)) {
            Some(trial) => trial,
            None => match self.new_trial(cost) {
                Some(trial) => trial,
                None if self.running.is_empty() => self.climber(true)?,
                None => return None,
            },
        };
        let id = self.jobs;
        self.jobs += 1;
        let known = &mut self.trials[index(trial)];
        let first = self.brackets[known.bracket].first;
        let from = match known.rung {
            rung if rung == first => 0,
            rung => self.rungs[rung - 1],
        };
        known.job = id;
        Some(Job {
            id,
            trial,
            rung: known.rung,
            from,
            to: self.rungs[known.rung],
            is_last: known.rung + 1 == self.rungs.len(),
            point: known.point.clone(),
        })
    }

    /// A trial that climbs in its bracket, from as high as possible.
    fn climber(&mut self, is_last: bool) -> Option<u64> {
        let halves = matches!(
            self.options.pruner,
            PrunerKind::Halving { .. } | PrunerKind::Hyperband { .. }
        );
        if !halves {
            return None;
        }
        for rung in (0..self.rungs.len() - 1).rev() {
            for bracket in &mut self.brackets {
                if let Some(trial) = bracket.climber(rung, is_last) {
                    self.trials[index(trial)].rung = rung + 1;
                    return Some(trial);
                }
            }
        }
        None
    }

    fn new_trial(&mut self, cost: &mut dyn FnMut(&Point) -> f64) -> Option<u64> {
        let trial = self.trials.len() as u64;
        if trial >= self.options.trials || self.is_exhausted {
            return None;
        }
        let Some(point) = self.sampler.suggest(&self.space, &self.seen, trial) else {
            self.is_exhausted = true;
            return None;
        };
        let bracket = neediest(&self.shares, &self.taken);
        self.taken[bracket] += 1;
        self.seen.push(Observation {
            point: point.clone(),
            state: State::Running,
        });
        self.trials.push(Trial {
            cost: positive(cost(&point)),
            point,
            bracket,
            rung: self.brackets[bracket].first,
            job: 0,
            has_ended: false,
        });
        Some(trial)
    }

    /// Notes what a job came to, and decides whether its trial ends.
    fn enter(&mut self, job: &Job, outcome: Outcome) {
        let trial = job.trial;
        let seen = self.earlier + index(trial);
        let values = match outcome {
            Outcome::Failed => {
                self.seen[seen].state = State::Failed;
                return self.end(trial, false);
            }
            Outcome::Values(values) => values,
        };
        let value = values[0];
        if job.is_last {
            self.seen[seen].state = State::Complete(values);
            return self.end(trial, false);
        }
        let rung = job.rung;
        self.seen[seen].state = State::Partial { rung, value };
        match self.options.pruner {
            PrunerKind::Median { startup, .. } => {
                let others = &mut self.at_rung[rung];
                let goes_on = others.len() < startup || value <= median(others);
                let place = others.partition_point(|other| *other <= value);
                others.insert(place, value);
                match goes_on {
                    true => self.ready.push_back(trial),
                    false => self.end(trial, true),
                }
            }
            _ => {
                let bracket = self.trials[index(trial)].bracket;
                self.brackets[bracket].enter(rung, value, trial);
            }
        }
    }

    fn end(&mut self, trial: u64, is_pruned: bool) {
        let known = &mut self.trials[index(trial)];
        known.has_ended = true;
        self.ended.push(TrialEnd {
            trial,
            job: known.job,
            rung: known.rung,
            is_pruned,
            is_decided: true,
        });
    }

    /// Ends the trials that wait at a rung from which nobody climbs any more.
    fn leave_behind(&mut self) {
        for trial in 0..self.trials.len() as u64 {
            if !self.trials[index(trial)].has_ended {
                self.end(trial, true);
                if let Some(end) = self.ended.last_mut() {
                    end.is_decided = !self.is_stopped;
                }
            }
        }
    }
}

fn index(trial: u64) -> usize {
    usize::try_from(trial).unwrap_or(usize::MAX)
}

/// A cost that the clock can use: nothing takes no time at all.
fn positive(cost: f64) -> f64 {
    if cost > 0.0 && cost.is_finite() {
        cost
    } else {
        f64::MIN_POSITIVE.max(1e-9)
    }
}

/// The middle of sorted values.
fn median(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    match sorted.len() % 2 {
        1 => sorted[half],
        _ => 0.5 * (sorted[half - 1] + sorted[half]),
    }
}

#[cfg(test)]
mod tests;
