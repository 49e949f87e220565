//! Progress bars on standard error, for statements that take longer than a moment.
//!
//! Nothing is drawn unless standard error is a terminal, and nothing stays on it: the
//! bars are gone before rows or messages are written.

use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use atoll_compute::progress::{self, ProgressView, RunningTrial, Tasks, Trials};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// How long a statement runs before it gets a bar.
const QUIET_START: Duration = Duration::from_millis(400);
/// How many of the trials in training get a line of their own.
const TRIALS_SHOWN: usize = 4;
const BAR_WIDTH: usize = 24;

/// Draws the progress of one statement after the other.
pub(crate) struct Progress {
    /// None when nothing may be drawn.
    screen: Option<MultiProgress>,
    lines: Vec<ProgressBar>,
    started: Instant,
    /// When trials were first seen, and how far they were.
    trials_seen: Option<(Instant, f64)>,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let draws = !quiet && stderr().is_terminal();
        let target = ProgressDrawTarget::stderr;
        Self {
            screen: draws.then(|| MultiProgress::with_draw_target(target())),
            lines: Vec::new(),
            started: Instant::now(),
            trials_seen: None,
        }
    }

    /// Forgets the statement before and starts the clock of a new one.
    pub(crate) fn start(&mut self) {
        progress::Progress::process().reset();
        self.started = Instant::now();
        self.trials_seen = None;
    }

    /// Draws the latest state.
    pub(crate) fn draw(&mut self) {
        let Some(screen) = &self.screen else { return };
        if self.started.elapsed() < QUIET_START {
            return;
        }
        let view = progress::Progress::process().view();
        if let Some(trials) = &view.trials {
            self.trials_seen
                .get_or_insert((Instant::now(), fraction(trials)));
        }
        let texts = lines(&view, self.trials_seen);
        while self.lines.len() < texts.len() {
            let bar = ProgressBar::new_spinner();
            // The template is a constant; indicatif's default serves as well.
            if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
                bar.set_style(style);
            }
            self.lines.push(screen.add(bar));
        }
        for bar in self.lines.drain(texts.len()..) {
            bar.finish_and_clear();
            screen.remove(&bar);
        }
        for (bar, text) in self.lines.iter().zip(texts) {
            bar.set_message(text);
        }
    }

    /// Takes the bars off the screen while `write` writes on it.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        match &self.screen {
            Some(screen) => screen.suspend(write),
            None => write(),
        }
    }

    /// Takes the bars off for good.
    pub(crate) fn clear(&mut self) {
        for bar in self.lines.drain(..) {
            bar.finish_and_clear();
        }
        if let Some(screen) = &self.screen {
            // A terminal that went away needs no clearing.
            let _ = screen.clear();
        }
    }
}

fn lines(view: &ProgressView, trials_seen: Option<(Instant, f64)>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(trials) = &view.trials {
        let left = trials_seen.and_then(|(since, before)| {
            remaining(
                since.elapsed(),
                fraction(trials) - before,
                1.0 - fraction(trials),
            )
        });
        lines.push(trials_line(trials, left));
        lines.extend(trials.running.iter().take(TRIALS_SHOWN).map(trial_line));
        let more = trials.running.len().saturating_sub(TRIALS_SHOWN);
        if more > 0 {
            lines.push(format!("  and {more} more"));
        }
    }
    if let Some(tasks) = &view.tasks {
        lines.push(tasks_line(tasks));
    }
    for rows in &view.rows {
        lines.push(rows_line(
            &rows.label,
            rows.done,
            rows.total,
            rows.since.elapsed(),
        ));
    }
    lines
}

/// How many trials are done, those in training counted by their share of epochs.
fn fraction(trials: &Trials) -> f64 {
    let part =
        |trial: &RunningTrial| f64::from(trial.epoch) / f64::from(trial.epochs.max(1));
    let done = trials.done as f64 + trials.running.iter().map(part).sum::<f64>();
    done / trials.total.max(1) as f64
}

fn trials_line(trials: &Trials, left: Option<Duration>) -> String {
    let Trials {
        total,
        done,
        running,
    } = trials;
    let bar = bar(fraction(trials));
    format!(
        "trials {bar} {done} done, {} running, {total} total{}",
        running.len(),
        eta(left)
    )
}

fn trial_line(trial: &RunningTrial) -> String {
    let loss = trial
        .loss
        .map_or_else(String::new, |loss| format!(", loss {loss:.4}"));
    format!(
        "  {}: epoch {}/{}{loss}",
        trial.name, trial.epoch, trial.epochs
    )
}

fn tasks_line(tasks: &Tasks) -> String {
    let Tasks {
        pending,
        running,
        done,
    } = tasks;
    let bar = bar(*done as f64 / (pending + running + done).max(1) as f64);
    format!("tasks {bar} {done} done, {running} running, {pending} pending")
}

fn rows_line(label: &str, done: u64, total: u64, elapsed: Duration) -> String {
    let bar = bar(done as f64 / total.max(1) as f64);
    let rate = done as f64 / elapsed.as_secs_f64().max(1e-3);
    let left = remaining(elapsed, done as f64, total.saturating_sub(done) as f64);
    format!(
        "{label} {bar} {done}/{total} rows, {rate:.1} rows/s{}",
        eta(left)
    )
}

/// The time that `left` takes at the pace of `done` so far.
fn remaining(elapsed: Duration, done: f64, left: f64) -> Option<Duration> {
    if done <= 0.0 || left <= 0.0 {
        return None;
    }
    Duration::try_from_secs_f64(elapsed.as_secs_f64() * left / done).ok()
}

fn eta(left: Option<Duration>) -> String {
    let Some(seconds) = left.map(|left| left.as_secs()) else {
        return String::new();
    };
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, s) => format!(", {s} s left"),
        (0, m, s) => format!(", {m} min {s} s left"),
        (h, m, _) => format!(", {h} h {m} min left"),
    }
}

fn bar(fraction: f64) -> String {
    let filled = ((fraction.clamp(0.0, 1.0) * BAR_WIDTH as f64) as usize).min(BAR_WIDTH);
    format!("[{}{}]", "#".repeat(filled), "-".repeat(BAR_WIDTH - filled))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(epoch: u32, loss: Option<f64>) -> RunningTrial {
        RunningTrial {
            name: "learning_rate 0.1".to_string(),
            epoch,
            epochs: 10,
            loss,
        }
    }

    #[test]
    fn trials_say_done_running_total_and_the_latest_loss() {
        let trials = Trials {
            total: 4,
            done: 1,
            running: vec![running(5, Some(0.25)), running(5, None)],
        };
        assert_eq!(
            trials_line(&trials, Some(Duration::from_secs(80))),
            "trials [############------------] 1 done, 2 running, 4 total, 1 min 20 s left"
        );
        assert_eq!(
            trial_line(&trials.running[0]),
            "  learning_rate 0.1: epoch 5/10, loss 0.2500"
        );
    }

    #[test]
    fn rows_say_their_rate_and_what_is_left() {
        assert_eq!(
            rows_line("classify", 50, 200, Duration::from_secs(10)),
            "classify [######------------------] 50/200 rows, 5.0 rows/s, 30 s left"
        );
    }

    #[test]
    fn nothing_is_promised_before_anything_is_done() {
        assert_eq!(remaining(Duration::from_secs(10), 0.0, 5.0), None);
        assert_eq!(eta(None), "");
    }

    #[test]
    fn many_trials_stay_on_the_screen() {
        let trials = Trials {
            total: 9,
            done: 0,
            running: vec![running(0, None); 6],
        };
        let view = ProgressView {
            trials: Some(trials),
            ..ProgressView::default()
        };
        let lines = lines(&view, None);
        assert_eq!(lines.len(), 1 + TRIALS_SHOWN + 1);
        assert_eq!(lines.last().unwrap(), "  and 2 more");
    }
}
