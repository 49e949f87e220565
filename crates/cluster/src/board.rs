//! What the scheduler knows of jobs beyond what Ballista does: who waits for them, how
//! far each task is, and which rows bring their executor down.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use atoll_compute::progress::ProgressView;

use crate::protocol::{
    Attempt, End, JobState, NewJob, Report, RowsId, TaskId, TaskReport, Wanted,
    WireProgress,
};

/// A client that says nothing for so long is gone, and its jobs with it.
const CLIENT_SILENCE: Duration = Duration::from_secs(15);

/// A task is slow once this part of its job's tasks has ended, and it has taken so many
/// times the seconds of their median and so many seconds more.
const SLOW_QUANTILE: f64 = 0.75;
const SLOW_TIMES: f64 = 2.0;
const SLOW_SECONDS: f64 = 1.0;

/// Jobs that ended and are still shown.
const ENDED_SHOWN: usize = 100;

/// Everything about the jobs of a scheduler.
#[derive(Debug, Default)]
pub(crate) struct Board {
    jobs: Mutex<BTreeMap<String, Job>>,
    /// Executors whose last attempt at a task another one overtook.
    slow: Mutex<BTreeSet<String>>,
}

/// A job.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) new: NewJob,
    pub(crate) since: SystemTime,
    pub(crate) ended: Option<(SystemTime, &'static str)>,
    pub(crate) error: Option<String>,
    tasks: HashMap<u32, TaskState>,
    /// What tasks that ended had done.
    finished: ProgressView,
    client_seen: Instant,
    executor_seen: Instant,
    /// What Ballista calls its submissions.
    submissions: BTreeSet<String>,
}

/// A task that was started at least once.
#[derive(Debug, Default)]
struct TaskState {
    /// Where it runs: nowhere, on one executor, or on a second one too, because the first
    /// is slow.
    running: Vec<Running>,
    /// The executors that completed it.
    done: Vec<String>,
    /// How long the first of them took.
    seconds: f64,
    /// Whether its client was told that it is slow.
    is_slow: bool,
    /// Starts without an end.
    starts: u32,
    /// How often rows were started that did not come to an end, by the operator that
    /// evaluates them, the first of them and their number.
    row_starts: HashMap<(u32, u64, u64), u32>,
    /// Whether rows were started since the task was.
    in_rows: bool,
    /// Starts that ended before there were rows.
    unexplained: u32,
}

impl TaskState {
    /// An attempt did not bring its executor down; others that run may.
    fn absolve(&mut self) {
        self.starts = self.running.len() as u32;
        self.unexplained = 0;
    }

    /// Whether the task ran on two executors and another one than this was first.
    fn is_superseded(&self, executor: &str) -> bool {
        self.is_slow && self.done.first().is_some_and(|first| first != executor)
    }
}

#[derive(Debug, Clone)]
struct Running {
    executor: String,
    since: Instant,
    progress: WireProgress,
}

/// A task in a listing.
#[derive(Debug)]
pub(crate) struct RunningTask {
    pub(crate) task: u32,
    pub(crate) executor: String,
    pub(crate) seconds: f64,
    pub(crate) attempt: u32,
    pub(crate) progress: WireProgress,
}

impl Board {
    fn jobs(&self) -> MutexGuard<'_, BTreeMap<String, Job>> {
        // Every change leaves the board whole, so a panic elsewhere does no harm.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slow(&self) -> MutexGuard<'_, BTreeSet<String>> {
        // As above.
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is about to submit a job, for the first time or again. Attempts count
    /// on: a row that brings executors down does so in every submission.
    pub(crate) fn announce(&self, new: NewJob) {
        let now = Instant::now();
        let mut jobs = self.jobs();
        if let Some(job) = jobs.get_mut(&new.key) {
            job.ended = None;
            job.error = None;
            job.client_seen = now;
            job.executor_seen = now;
            for task in job.tasks.values_mut() {
                task.running.clear();
                task.done.clear();
                task.is_slow = false;
            }
            return;
        }
        let job = Job {
            since: SystemTime::now(),
            ended: None,
            error: None,
            tasks: HashMap::new(),
            finished: ProgressView::default(),
            client_seen: now,
            executor_seen: now,
            submissions: BTreeSet::new(),
            new,
        };
        jobs.insert(job.new.key.clone(), job);
        let mut ended: Vec<_> = jobs
            .iter()
            .filter_map(|(key, job)| Some((job.ended?.0, key.clone())))
            .collect();
        ended.sort();
        let surplus = ended.len().saturating_sub(ENDED_SHOWN);
        for (_, key) in ended.into_iter().take(surplus) {
            jobs.remove(&key);
        }
    }

    /// What a client asks for, which also says that it is still there, and what Ballista
    /// calls its job.
    pub(crate) fn ask(&self, key: &str, submission: String) -> Option<JobState> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(key)?;
        job.client_seen = Instant::now();
        job.submissions.insert(submission);
        job.find_slow();
        Some(job.state())
    }

    /// The executors that were overtaken when they last ran a task.
    pub(crate) fn slow_executors(&self) -> BTreeSet<String> {
        self.slow().clone()
    }

    /// The sessions of the clients whose jobs are shown.
    pub(crate) fn clients(&self) -> BTreeSet<String> {
        let jobs = self.jobs();
        jobs.values().map(|job| job.new.session.clone()).collect()
    }

    /// The session of a job's client; the job itself where the board does not know it.
    pub(crate) fn client_of(&self, key: &str) -> String {
        let jobs = self.jobs();
        let job = jobs.get(key);
        job.map_or(key, |job| &job.new.session).to_string()
    }

    /// The executors that run a task now.
    pub(crate) fn executors_of(&self, key: &str, task: u32) -> Vec<String> {
        let jobs = self.jobs();
        let task = jobs.get(key).and_then(|job| job.tasks.get(&task));
        let running = task.into_iter().flat_map(|task| &task.running);
        running.map(|running| running.executor.clone()).collect()
    }

    /// What Ballista calls the submissions of a job, once.
    pub(crate) fn take_submissions(&self, key: &str) -> BTreeSet<String> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(key);
        job.map(|job| std::mem::take(&mut job.submissions))
            .unwrap_or_default()
    }

    /// How many tasks each executor runs.
    pub(crate) fn busy(&self) -> HashMap<String, usize> {
        let mut busy = HashMap::new();
        for job in self.jobs().values() {
            for running in job.tasks.values().flat_map(|task| &task.running) {
                match busy.get_mut(&running.executor) {
                    Some(count) => *count += 1,
                    None => {
                        busy.insert(running.executor.clone(), 1);
                    }
                }
            }
        }
        busy
    }

    /// Nobody waits for the job any more; whether it was still running.
    pub(crate) fn end(&self, key: &str, how: &'static str) -> bool {
        match self.jobs().get_mut(key) {
            Some(job) if job.ended.is_none() => {
                job.ended = Some((SystemTime::now(), how));
                true
            }
            _ => false,
        }
    }

    /// Jobs whose client went away without a word.
    pub(crate) fn forsaken(&self) -> Vec<String> {
        let jobs = self.jobs();
        jobs.iter()
            .filter(|(_, job)| job.ended.is_none())
            .filter(|(_, job)| job.client_seen.elapsed() > CLIENT_SILENCE)
            .map(|(key, _)| key.clone())
            .collect()
    }

    /// An executor starts a task.
    pub(crate) fn start(&self, id: &TaskId) -> Option<Attempt> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(&id.job)?;
        job.executor_seen = Instant::now();
        let task = job.tasks.entry(id.task).or_default();
        if task.is_superseded(&id.executor) {
            return Some(Attempt {
                attempt: 1,
                unexplained: 0,
                superseded: true,
            });
        }
        // Without a second attempt the task is started again because its result is lost.
        task.done.clear();
        task.running
            .retain(|running| task.is_slow && running.executor != id.executor);
        if task.starts > 0 && !task.in_rows && task.running.is_empty() {
            task.unexplained += 1;
        }
        task.in_rows = false;
        task.starts += 1;
        let attempt = task.starts - task.running.len() as u32;
        task.running.push(Running {
            executor: id.executor.clone(),
            since: Instant::now(),
            progress: WireProgress::default(),
        });
        Some(Attempt {
            attempt,
            unexplained: task.unexplained,
            superseded: false,
        })
    }

    /// An executor starts a row. Rows of an operator run one after the other, so the ones
    /// before it did no harm.
    pub(crate) fn start_rows(&self, id: &RowsId) -> Option<Attempt> {
        let mut jobs = self.jobs();
        let job = jobs.get_mut(&id.task.job)?;
        job.executor_seen = Instant::now();
        let task = job.tasks.entry(id.task.task).or_default();
        task.in_rows = true;
        task.row_starts.retain(|(operator, first, rows), _| {
            *operator != id.operator || first + rows > id.row
        });
        let rows = (id.operator, id.row, id.rows);
        let starts = task.row_starts.entry(rows).or_default();
        *starts += 1;
        Some(Attempt {
            attempt: *starts,
            unexplained: task.unexplained,
            superseded: false,
        })
    }

    /// An executor says what its tasks do.
    pub(crate) fn report(&self, report: Report) -> Wanted {
        let mut jobs = self.jobs();
        let mut wanted = Wanted::default();
        for said in report.tasks {
            let Some(job) = jobs.get_mut(&said.id.job) else {
                wanted.over.push(said.id.job);
                continue;
            };
            if job.ended.is_some() {
                wanted.over.push(said.id.job.clone());
            }
            job.executor_seen = Instant::now();
            if job.enter(said, &mut wanted) {
                self.slow().remove(&report.executor);
            }
        }
        if !wanted.superseded.is_empty() {
            self.slow().insert(report.executor);
        }
        wanted
    }

    /// An executor is gone, and its tasks with it.
    pub(crate) fn lose(&self, executor: &str) {
        self.slow().remove(executor);
        for job in self.jobs().values_mut() {
            for task in job.tasks.values_mut() {
                task.running.retain(|running| running.executor != executor);
                // What it had completed lies on its disk.
                if task.is_slow {
                    task.done.retain(|done| done != executor);
                }
            }
        }
    }

    /// Shows every job to `show`, the latest first.
    pub(crate) fn each(&self, mut show: impl FnMut(&Job)) {
        let jobs = self.jobs();
        let mut jobs: Vec<&Job> = jobs.values().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse(job.since));
        jobs.into_iter().for_each(&mut show);
    }
}

impl Job {
    /// How far it is.
    pub(crate) fn state(&self) -> JobState {
        let count = |of: fn(&TaskState) -> bool| {
            self.tasks.values().filter(|task| of(task)).count() as u64
        };
        let running = count(|task| task.done.is_empty() && !task.running.is_empty());
        let done = count(|task| !task.done.is_empty());
        let slow = self.tasks.iter().filter(|(_, task)| task.is_slow);
        let progress = self
            .tasks
            .values()
            .filter(|task| task.done.is_empty())
            .filter_map(|task| task.running.first())
            .fold(self.finished.clone(), |sum, running| {
                sum.plus(&running.progress.clone().into())
            });
        JobState {
            pending: self.new.tasks.saturating_sub(running + done),
            running,
            done,
            progress: progress.into(),
            error: self.error.clone(),
            silent_seconds: self.executor_seen.elapsed().as_secs(),
            slots: 0,
            free: 0,
            slow: slow.map(|(number, _)| *number).collect(),
        }
    }

    /// Enters what an executor said of a task; whether it is the first to complete it.
    fn enter(&mut self, said: TaskReport, wanted: &mut Wanted) -> bool {
        let executor = said.id.executor;
        let task = self.tasks.entry(said.id.task).or_default();
        let place = task
            .running
            .iter()
            .position(|running| running.executor == executor);
        let Some(end) = said.end else {
            if task.is_superseded(&executor) {
                wanted.superseded.push((said.id.job, said.id.task));
            } else if let Some(place) = place {
                task.running[place].progress = said.progress;
            }
            return false;
        };
        let ran = place.map(|place| task.running.remove(place));
        match end {
            End::Done if task.done.is_empty() => {
                task.done.push(executor);
                task.seconds = ran.map_or(0.0, |ran| ran.since.elapsed().as_secs_f64());
                task.absolve();
                task.row_starts.clear();
                let sum = std::mem::take(&mut self.finished);
                self.finished = sum.plus(&said.progress.into());
                return true;
            }
            End::Done => task.done.push(executor),
            End::Cancelled => task.absolve(),
            End::Failed(error) => {
                task.absolve();
                self.error.get_or_insert(error);
            }
        }
        false
    }

    /// Marks the tasks that take far longer than the others of the job did, once all
    /// tasks of the job were started and most have ended: Spark's rule for speculative
    /// execution (`spark.speculation.quantile` and `.multiplier`).
    fn find_slow(&mut self) {
        let done = self.tasks.values().filter(|task| !task.done.is_empty());
        let mut seconds: Vec<f64> = done.map(|task| task.seconds).collect();
        let enough = (self.new.tasks as f64 * SLOW_QUANTILE).ceil() as usize;
        if !self.new.speculates
            || seconds.len() < enough.max(1)
            || (self.tasks.len() as u64) < self.new.tasks
        {
            return;
        }
        let middle = seconds.len() / 2;
        let (_, median, _) = seconds.select_nth_unstable_by(middle, f64::total_cmp);
        let limit = *median * SLOW_TIMES + SLOW_SECONDS;
        for task in self.tasks.values_mut() {
            let slow = |ran: &Running| ran.since.elapsed().as_secs_f64() > limit;
            task.is_slow |=
                task.done.is_empty() && matches!(&task.running[..], [ran] if slow(ran));
        }
    }

    /// The tasks that run now.
    pub(crate) fn running(&self) -> Vec<RunningTask> {
        let mut running: Vec<_> = self
            .tasks
            .iter()
            .flat_map(|(number, task)| {
                task.running.iter().map(|running| RunningTask {
                    task: *number,
                    executor: running.executor.clone(),
                    seconds: running.since.elapsed().as_secs_f64(),
                    attempt: task.starts,
                    progress: running.progress.clone(),
                })
            })
            .collect();
        running.sort_by_key(|task| task.task);
        running
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn board() -> Board {
        let board = Board::default();
        board.announce(NewJob {
            key: "job".to_string(),
            label: "train".to_string(),
            tasks: 3,
            rows: 3,
            client: "test".to_string(),
            session: "session".to_string(),
            speculates: true,
        });
        board
    }

    fn id(task: u32, executor: &str) -> TaskId {
        TaskId {
            job: "job".to_string(),
            task,
            executor: executor.to_string(),
        }
    }

    fn end(board: &Board, task: u32, executor: &str, end: End) -> Wanted {
        board.report(Report {
            executor: executor.to_string(),
            tasks: vec![TaskReport {
                id: id(task, executor),
                progress: WireProgress::default(),
                end: Some(end),
            }],
        })
    }

    #[test]
    fn tasks_are_pending_then_running_then_done() {
        let board = board();
        board.start(&id(0, "a"));
        board.start(&id(1, "b"));
        end(&board, 1, "b", End::Done);
        let state = board.ask("job", "a".to_string()).unwrap();
        assert_eq!((state.pending, state.running, state.done), (1, 1, 1));
    }

    #[test]
    fn starts_without_an_end_are_attempts() {
        let board = board();
        for attempt in 1..=3 {
            assert_eq!(board.start(&id(0, "a")).unwrap().attempt, attempt);
            board.lose("a");
        }
        end(&board, 0, "a", End::Done);
        assert_eq!(board.start(&id(0, "a")).unwrap().attempt, 1);
    }

    #[test]
    fn a_row_that_was_passed_counts_no_more() {
        let board = board();
        let row = |operator, row| RowsId {
            task: id(0, "a"),
            operator,
            row,
            rows: 1,
        };
        for attempt in 1..=2 {
            assert_eq!(board.start_rows(&row(1, 0)).unwrap().attempt, 1);
            assert_eq!(board.start_rows(&row(1, 1)).unwrap().attempt, attempt);
            // Rows of another operator say nothing of those of the first.
            assert_eq!(board.start_rows(&row(2, 9)).unwrap().attempt, attempt);
        }
    }

    #[test]
    fn a_start_is_explained_by_the_rows_that_it_came_to() {
        let board = board();
        let rows = RowsId {
            task: id(0, "a"),
            operator: 1,
            row: 0,
            rows: 8,
        };
        for unexplained in [0, 1, 1, 1] {
            let attempt = board.start(&id(0, "a")).unwrap();
            assert_eq!(attempt.unexplained, unexplained);
            if attempt.attempt > 1 {
                board.start_rows(&rows);
            }
        }
        board.start(&id(0, "a"));
        assert_eq!(board.start(&id(0, "a")).unwrap().unexplained, 2);
        end(&board, 0, "a", End::Done);
        assert_eq!(board.start(&id(0, "a")).unwrap().unexplained, 0);
    }

    #[test]
    fn a_job_keeps_the_names_of_its_submissions_until_they_are_taken() {
        let board = board();
        for name in ["a", "b", "a"] {
            board.ask("job", name.to_string()).unwrap();
        }
        let names: Vec<_> = board.take_submissions("job").into_iter().collect();
        assert_eq!(names, ["a", "b"]);
        assert!(board.take_submissions("job").is_empty());
    }

    /// A board on which task 2 of the job takes far longer than the two others.
    fn board_with_a_slow_task() -> Board {
        let board = board();
        for task in 0..3 {
            board.start(&id(task, "a"));
        }
        for task in 0..2 {
            end(&board, task, "a", End::Done);
        }
        let mut jobs = board.jobs();
        let task = jobs.get_mut("job").unwrap().tasks.get_mut(&2).unwrap();
        task.running[0].since -= Duration::from_secs(60);
        drop(jobs);
        // Two of three are not three quarters.
        board.jobs().get_mut("job").unwrap().new.tasks = 2;
        assert_eq!(board.ask("job", "a".to_string()).unwrap().slow, [2]);
        board
    }

    #[test]
    fn the_attempt_that_ends_first_counts() {
        let board = board_with_a_slow_task();
        let second = board.start(&id(2, "b")).unwrap();
        assert_eq!((second.attempt, second.superseded), (1, false));
        assert_eq!(board.executors_of("job", 2), ["a", "b"]);
        end(&board, 2, "b", End::Done);
        let report = |executor: &str| {
            board.report(Report {
                executor: executor.to_string(),
                tasks: vec![TaskReport {
                    id: id(2, executor),
                    progress: WireProgress::default(),
                    end: None,
                }],
            })
        };
        assert_eq!(report("a").superseded, [("job".to_string(), 2)]);
        assert_eq!(
            board.slow_executors().into_iter().collect::<Vec<_>>(),
            ["a"]
        );
        // Ballista starts it again where it lost the executor.
        assert!(board.start(&id(2, "c")).unwrap().superseded);
        let state = board.ask("job", "a".to_string()).unwrap();
        assert_eq!((state.done, state.running), (3, 0));
    }

    #[test]
    fn a_result_that_is_lost_supersedes_nothing() {
        let board = board_with_a_slow_task();
        board.start(&id(2, "b"));
        end(&board, 2, "b", End::Done);
        board.lose("b");
        board.lose("a");
        let again = board.start(&id(2, "c")).unwrap();
        assert!(!again.superseded);
    }

    #[test]
    fn only_jobs_that_speculate_have_slow_tasks() {
        let board = board_with_a_slow_task();
        let mut jobs = board.jobs();
        let job = jobs.get_mut("job").unwrap();
        job.new.speculates = false;
        job.tasks.get_mut(&2).unwrap().is_slow = false;
        drop(jobs);
        let state = board.ask("job", "a".to_string()).unwrap();
        assert!(state.slow.is_empty());
    }

    #[test]
    fn running_tasks_are_counted_by_executor() {
        let board = board();
        board.start(&id(0, "a"));
        board.start(&id(1, "a"));
        board.start(&id(2, "b"));
        end(&board, 1, "a", End::Done);
        let busy = board.busy();
        assert_eq!((busy["a"], busy["b"]), (1, 1));
    }

    #[test]
    fn executors_hear_that_a_job_is_over() {
        let board = board();
        board.start(&id(0, "a"));
        assert!(board.end("job", "cancelled"));
        let wanted = end(&board, 0, "a", End::Cancelled);
        assert_eq!(wanted.over, ["job"]);
        assert!(board.start(&id(0, "a")).is_some());
    }
}
