//! Checks that a cluster returned every row once.

use datafusion::common::{Result, exec_err};

use super::TaskOutput;

/// What a job's results must look like, part by part.
///
/// A cluster that loses a machine runs tasks again, and a mistake there shows as rows
/// that are missing or twice. Tasks return their parts numbered, in order, and end with
/// the number of rows that went in.
#[derive(Debug)]
pub(super) struct Ledger {
    /// The rows that were sent with each task.
    sent: Vec<u64>,
    /// Whether a task gives as many rows as it takes.
    keeps_rows: bool,
    task: usize,
    part: u32,
    rows: u64,
}

impl Ledger {
    pub(super) fn new(sent: Vec<u64>, keeps_rows: bool) -> Self {
        Self {
            sent,
            keeps_rows,
            task: 0,
            part: 0,
            rows: 0,
        }
    }

    /// Enters a part with this many rows.
    pub(super) fn enter(&mut self, output: &TaskOutput, rows: usize) -> Result<()> {
        let (task, part) = (output.task as usize, output.part);
        if task != self.task || part != self.part {
            return exec_err!(
                "the cluster returned part {part} of task {task} where part {} of task \
                 {} was due; run the statement again and report this",
                self.part,
                self.task
            );
        }
        self.part += 1;
        self.rows += rows as u64;
        let Some(rows_in) = output.rows_in else {
            return Ok(());
        };
        let sent = self.sent.get(task).copied();
        if sent != Some(rows_in) || (self.keeps_rows && rows_in != self.rows) {
            return exec_err!(
                "task {task} was sent {} rows, took {rows_in} and returned {}; run the \
                 statement again and report this",
                sent.unwrap_or_default(),
                self.rows
            );
        }
        (self.task, self.part, self.rows) = (self.task + 1, 0, 0);
        Ok(())
    }

    /// How many tasks there are.
    pub(super) fn tasks(&self) -> u64 {
        self.sent.len() as u64
    }

    /// How many rows were sent with them.
    pub(super) fn rows(&self) -> u64 {
        self.sent.iter().sum()
    }

    /// Checks that nothing is missing.
    pub(super) fn finish(&self) -> Result<()> {
        if self.task == self.sent.len() && self.part == 0 {
            return Ok(());
        }
        exec_err!(
            "the cluster returned {} of {} tasks; run the statement again and report this",
            self.task,
            self.sent.len()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(task: u32, part: u32, rows_in: Option<u64>) -> TaskOutput {
        TaskOutput {
            task,
            part,
            rows_in,
            data: bytes::Bytes::new(),
        }
    }

    #[test]
    fn complete_results_pass() {
        let mut ledger = Ledger::new(vec![3, 1], true);
        ledger.enter(&part(0, 0, None), 2).unwrap();
        ledger.enter(&part(0, 1, Some(3)), 1).unwrap();
        ledger.enter(&part(1, 0, Some(1)), 1).unwrap();
        ledger.finish().unwrap();
    }

    #[test]
    fn a_missing_task_is_noticed() {
        let mut ledger = Ledger::new(vec![1, 1], true);
        ledger.enter(&part(0, 0, Some(1)), 1).unwrap();
        assert!(ledger.finish().is_err());
        assert!(ledger.enter(&part(2, 0, Some(1)), 1).is_err());
    }

    #[test]
    fn rows_that_come_twice_are_noticed() {
        let mut ledger = Ledger::new(vec![1, 1], true);
        ledger.enter(&part(0, 0, Some(1)), 1).unwrap();
        assert!(ledger.enter(&part(0, 0, Some(1)), 1).is_err());
        let mut ledger = Ledger::new(vec![1], true);
        assert!(ledger.enter(&part(0, 0, Some(1)), 2).is_err());
    }

    #[test]
    fn a_filter_may_drop_rows_but_not_tasks() {
        let mut ledger = Ledger::new(vec![5], false);
        ledger.enter(&part(0, 0, Some(5)), 2).unwrap();
        ledger.finish().unwrap();
        assert!(
            Ledger::new(vec![5], false)
                .enter(&part(0, 0, Some(4)), 2)
                .is_err()
        );
    }
}
