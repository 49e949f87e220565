//! How many rows a task takes, learnt from the tasks before it.

use atoll_udf_common::Grain;

/// Rows of a task as long as nothing is known of its calls. At the ten milliseconds of an
/// image that is half a second, a hundred times what a task costs.
const FIRST_ROWS: usize = 64;

/// How long a task should take, in seconds. What a task costs is then a thousandth of it,
/// and so little is lost when an executor is.
const TASK_SECONDS: f64 = 30.0;

/// How long it takes at least, while there are rows: a shorter one costs more than the
/// slots that wait at the end for it.
const LEAST_SECONDS: f64 = 0.5;

/// Tasks for each slot of the cluster, so that the slowest one ends with little to wait
/// for.
const TASKS_PER_SLOT: usize = 4;

/// Most tasks of a job, however many slots there are: the scheduler looks at all of a
/// job's tasks, and one message carries them.
pub(super) const TASKS_PER_JOB: usize = 1024;

/// What the tasks of one partition took so far.
#[derive(Debug)]
pub(super) struct Pace {
    grain: Grain,
    rows: f64,
    seconds: f64,
}

impl Pace {
    pub(super) fn new(grain: Grain) -> Self {
        Self {
            grain,
            rows: 0.0,
            seconds: 0.0,
        }
    }

    /// Enters a task that has ended. What was before counts for less with each: the first
    /// tasks load models, and rows differ along a table.
    pub(super) fn enter(&mut self, rows: u64, seconds: f64) {
        self.rows = self.rows / 2.0 + rows as f64;
        self.seconds = self.seconds / 2.0 + seconds;
    }

    /// How many tasks a job has at most.
    pub(super) fn tasks(&self, slots: usize) -> usize {
        match self.grain {
            Grain::Rows => TASKS_PER_JOB,
            Grain::Groups => (slots * TASKS_PER_SLOT).min(TASKS_PER_JOB),
        }
    }

    /// How many rows the next task takes of `left` ones: fewer towards the end, so that
    /// all slots end at about the same time.
    pub(super) fn rows(&self, slots: usize, left: usize) -> usize {
        if matches!(self.grain, Grain::Rows) {
            return 1;
        }
        let share = left.div_ceil(slots.max(1) * TASKS_PER_SLOT);
        share.max(self.rows_in(LEAST_SECONDS)).min(self.most())
    }

    /// How many rows take so long, at least 1.
    fn rows_in(&self, seconds: f64) -> usize {
        if self.rows == 0.0 {
            return 1;
        }
        let rows = seconds * self.rows / self.seconds.max(1e-6);
        (rows as usize).max(1)
    }

    /// How many rows the largest task takes.
    pub(super) fn most(&self) -> usize {
        match self.grain {
            Grain::Rows => 1,
            Grain::Groups if self.rows == 0.0 => FIRST_ROWS,
            Grain::Groups => self.rows_in(TASK_SECONDS),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_is_bounded_however_large_the_cluster_is() {
        for slots in [1, 2, 100, 8000] {
            let pace = Pace::new(Grain::Groups);
            assert!(pace.tasks(slots) <= TASKS_PER_JOB, "{slots} slots");
            assert!(pace.rows(slots, usize::MAX / 2) <= FIRST_ROWS);
            assert_eq!(Pace::new(Grain::Rows).tasks(slots), TASKS_PER_JOB);
        }
    }

    #[test]
    fn tasks_grow_to_their_time_and_shrink_towards_the_end() {
        let mut pace = Pace::new(Grain::Groups);
        pace.enter(64, 0.64);
        assert_eq!(pace.rows(2, 1_000_000), 3000);
        assert_eq!(pace.rows(2, 800), 100);
        assert_eq!(pace.rows(2, 1), 50);
        pace.enter(64, 64.0);
        assert!(pace.rows(2, 1_000_000) < 64);
    }

    #[test]
    fn rows_that_cost_much_go_one_by_one() {
        let mut pace = Pace::new(Grain::Rows);
        pace.enter(1, 0.0);
        assert_eq!((pace.rows(2, 100), pace.most()), (1, 1));
    }
}
