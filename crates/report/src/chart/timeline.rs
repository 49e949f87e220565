//! When each worker trained what, and how much faster several are than one.

use super::{Axis, Chart, Entry, Kind, Mark, Panel, Shape, Table, Ticks, Weight};
use crate::draw::Ink;
use crate::format::{clip, count, duration, moment, number, percent};
use crate::study::{Status, Study, Trial};

/// Lines of workers that a figure has room for.
const MOST_WORKERS: usize = 40;
/// Bars that a file has room for.
const MOST_BARS: usize = 1_500;
/// A trial that starts this long after all others ended belongs to another sitting.
const PAUSE: f64 = 6.0 * 3_600.0;

/// A trial with its place and time.
struct Run<'a> {
    trial: &'a Trial,
    worker: usize,
    /// Seconds since the first start.
    start: f64,
    end: f64,
}

/// What ran where, and when.
struct Runs<'a> {
    runs: Vec<Run<'a>>,
    workers: Vec<String>,
    /// Seconds since 1970, UTC.
    began: f64,
    /// Seconds from the first start to the last end.
    span: f64,
    /// Trials of earlier sittings, found in the store and not trained again.
    earlier: usize,
}

impl<'a> Runs<'a> {
    fn of(study: &'a Study) -> Result<Self, String> {
        let mut timed: Vec<(&Trial, f64, f64)> = study
            .trials
            .iter()
            .filter_map(|trial| {
                let (start, seconds) = (trial.started_at?, trial.seconds?);
                let counts = start.is_finite() && seconds.is_finite() && seconds >= 0.0;
                counts.then_some((trial, start, start + seconds))
            })
            .collect();
        if timed.is_empty() {
            return Err(
                "the table has no started_at and seconds of its trials; take \
                        trial['started_at'] and trial['worker'] along when you write it"
                    .to_string(),
            );
        }
        timed.sort_by(|a, b| a.1.total_cmp(&b.1));
        let first = latest_sitting(&timed);
        let earlier = first;
        let timed = &timed[first..];
        let began = timed[0].1;
        let mut workers: Vec<String> =
            timed.iter().map(|(trial, ..)| worker(trial)).collect();
        workers.sort();
        workers.dedup();
        let runs: Vec<Run<'a>> = timed
            .iter()
            .map(|(trial, start, end)| Run {
                trial,
                worker: workers.binary_search(&worker(trial)).unwrap_or_default(),
                start: start - began,
                end: end - began,
            })
            .collect();
        let span = runs.iter().map(|run| run.end).fold(0.0, f64::max);
        Ok(Self {
            runs,
            workers,
            began,
            span,
            earlier,
        })
    }

    fn busy(&self) -> f64 {
        self.runs.iter().map(|run| run.end - run.start).sum()
    }

    fn speed_up(&self) -> f64 {
        if self.span > 0.0 {
            self.busy() / self.span
        } else {
            1.0
        }
    }

    fn about_earlier(&self) -> String {
        match self.earlier {
            0 => String::new(),
            n => format!(" {} of earlier runs are left out.", count(n, "trial")),
        }
    }
}

/// Where the last sitting starts: trials that were found in the store may be days old.
fn latest_sitting(timed: &[(&Trial, f64, f64)]) -> usize {
    let mut first = 0;
    let mut end = f64::NEG_INFINITY;
    for (index, (_, start, stop)) in timed.iter().enumerate() {
        if *start > end + PAUSE {
            first = index;
        }
        end = end.max(*stop);
    }
    first
}

fn worker(trial: &Trial) -> String {
    trial
        .worker
        .clone()
        .unwrap_or_else(|| "(unknown)".to_string())
}

/// The unit in which a span is told, with its seconds.
fn unit(span: f64) -> (&'static str, f64) {
    match span {
        s if s > 3.0 * 3_600.0 => ("hours", 3_600.0),
        s if s > 240.0 => ("minutes", 60.0),
        _ => ("seconds", 1.0),
    }
}

fn ink(status: Status) -> Ink {
    match status {
        Status::Succeeded => Ink::Series(0),
        Status::Pruned => Ink::Series(3),
        Status::Diverged => Ink::Series(1),
        Status::TimedOut => Ink::Series(5),
        Status::Infeasible | Status::Failed | Status::Unknown => Ink::Series(4),
    }
}

pub(super) fn timeline(study: &Study) -> Result<Chart, String> {
    const HALF: f64 = 0.38;
    let runs = Runs::of(study)?;
    let (unit, length) = unit(runs.span);
    let lines = runs.workers.len().min(MOST_WORKERS);
    let height = |worker: usize| (lines - 1 - worker) as f64;
    let drawn = runs
        .runs
        .iter()
        .filter(|run| run.worker < lines)
        .take(MOST_BARS);
    let marks = drawn.clone().map(|run| {
        // A gap of a hundredth tells neighbours apart.
        let gap = (runs.span * 0.001).min((run.end - run.start) * 0.1);
        Mark::Bar {
            from: (run.start / length, height(run.worker) - HALF),
            to: ((run.end - gap) / length, height(run.worker) + HALF),
            ink: ink(run.trial.status),
        }
    });
    let names = runs.workers.iter().take(lines).enumerate();
    let mut names: Vec<(f64, String)> = names
        .map(|(index, name)| (height(index), clip(name, 28)))
        .collect();
    names.reverse();
    let idle = 1.0 - runs.busy() / (runs.span * runs.workers.len() as f64).max(1e-9);
    let mut description = format!(
        "A line a worker, a bar a trial; what is empty is idle time. {} on {} took {}; \
         the workers were idle {} of it.",
        count(runs.runs.len(), "trial"),
        count(runs.workers.len(), "worker"),
        duration(runs.span),
        percent(idle.clamp(0.0, 1.0))
    );
    description += &runs.about_earlier();
    if lines < runs.workers.len() || drawn.count() < runs.runs.len() {
        description += " Not all fit into the figure.";
    }
    Ok(Chart {
        kind: Kind::Timeline,
        title: "Trials over workers".to_string(),
        description,
        table: workers_table(&runs),
        legend: statuses(&runs),
        panels: vec![Panel {
            x: Axis {
                low: 0.0,
                high: (runs.span / length).max(1e-9),
                ..Axis::named(format!("{unit} since {}", moment(runs.began)), Vec::new())
            }
            .with(Ticks::Numbers),
            y: Axis::named("", names),
            marks: marks.collect(),
        }],
    })
}

impl Axis {
    fn with(self, ticks: Ticks) -> Self {
        Self { ticks, ..self }
    }
}

fn statuses(runs: &Runs<'_>) -> Vec<Entry> {
    let entries = Status::ALL.into_iter().filter_map(|status| {
        let occurs = runs.runs.iter().any(|run| run.trial.status == status);
        occurs.then(|| Entry {
            text: status.name().to_lowercase().replace('_', " "),
            ink: ink(status),
            shape: Some(Shape::Square),
            line: false,
        })
    });
    entries.collect()
}

fn workers_table(runs: &Runs<'_>) -> Table {
    let mut table = Table::new(["worker", "trials", "busy", "idle", "idle share"]);
    for (index, name) in runs.workers.iter().enumerate() {
        let own = runs.runs.iter().filter(|run| run.worker == index);
        let busy: f64 = own.clone().map(|run| run.end - run.start).sum();
        let idle = (runs.span - busy).max(0.0);
        table.push(vec![
            name.clone(),
            own.count().to_string(),
            duration(busy),
            duration(idle),
            percent(idle / runs.span.max(1e-9)),
        ]);
    }
    table
}

/// The speed-up of these trials, in the order in which they started, over more and more
/// workers: each takes the next trial when it is free, and nothing costs time besides.
fn bound(lengths: &[f64], workers: usize) -> f64 {
    let mut free = vec![0.0_f64; workers];
    for length in lengths {
        let next = free.iter_mut().min_by(|a, b| a.total_cmp(b));
        if let Some(next) = next {
            *next += length;
        }
    }
    let span = free.into_iter().fold(0.0, f64::max);
    let busy: f64 = lengths.iter().sum();
    if span > 0.0 { busy / span } else { 1.0 }
}

fn speed_up_table(possible: &[(f64, f64)], measured: (f64, f64)) -> Table {
    let mut table =
        Table::new(["workers", "ideal", "possible with these trials", "measured"]);
    for (workers, possible) in possible {
        let here = (*workers == measured.0).then(|| number(measured.1));
        table.push(vec![
            number(*workers),
            number(*workers),
            number(*possible),
            here.unwrap_or_default(),
        ]);
    }
    table
}

pub(super) fn speed_up(study: &Study) -> Result<Chart, String> {
    let runs = Runs::of(study)?;
    let lengths: Vec<f64> = runs.runs.iter().map(|run| run.end - run.start).collect();
    if runs.busy() <= 0.0 {
        return Err("the trials took no time".to_string());
    }
    let workers = runs.workers.len();
    let most = (workers * 2).clamp(4, 64);
    let counts: Vec<usize> = (1..=most).collect();
    let ideal: Vec<(f64, f64)> = counts.iter().map(|&n| (n as f64, n as f64)).collect();
    let possible: Vec<(f64, f64)> = counts
        .iter()
        .map(|&n| (n as f64, bound(&lengths, n)))
        .collect();
    let measured = (workers as f64, runs.speed_up());
    let table = speed_up_table(&possible, measured);
    let line = |text: &str, ink, shape| Entry {
        text: text.to_string(),
        ink,
        shape,
        line: shape.is_none(),
    };
    let mut description = format!(
        "Time of all trials over time from the first start to the last end: {} on {}. \
         \"Possible\" is what free workers that take these trials in their order can \
         reach; the longest trial bounds it.",
        number(measured.1),
        count(workers, "worker")
    );
    description += &runs.about_earlier();
    Ok(Chart {
        kind: Kind::SpeedUp,
        title: "Speed-up over workers".to_string(),
        description,
        table,
        legend: vec![
            line("ideal", Ink::Muted, None),
            line("possible with these trials", Ink::Series(0), None),
            line("measured", Ink::Series(1), Some(Shape::Diamond)),
        ],
        panels: vec![Panel {
            x: Axis::over(
                "workers",
                counts.iter().map(|&n| n as f64),
                false,
                Ticks::Whole,
            ),
            y: Axis::from_zero("speed-up", ideal.iter().map(|p| p.1), Ticks::Whole),
            marks: vec![
                Mark::Line {
                    points: ideal,
                    ink: Ink::Muted,
                    weight: Weight::Thin,
                },
                Mark::Line {
                    points: possible,
                    ink: Ink::Series(0),
                    weight: Weight::Bold,
                },
                Mark::Points {
                    points: vec![measured],
                    ink: Ink::Series(1),
                    shape: Shape::Diamond,
                },
            ],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_trials_scale_until_there_are_more_workers_than_trials() {
        let lengths = [2.0; 12];
        for (workers, speed_up) in [(1, 1.0), (2, 2.0), (4, 4.0), (5, 4.0), (24, 12.0)] {
            let bound = bound(&lengths, workers);
            assert!((bound - speed_up).abs() < 1e-12, "{workers}: {bound}");
        }
    }

    #[test]
    fn the_longest_trial_bounds_the_speed_up() {
        let bound = bound(&[1.0, 1.0, 1.0, 9.0], 4);
        assert!((bound - 12.0 / 9.0).abs() < 1e-12, "{bound}");
    }

    fn trial(worker: &str, start: f64, seconds: f64) -> Trial {
        Trial {
            status: Status::Succeeded,
            worker: Some(worker.to_string()),
            started_at: Some(start),
            seconds: Some(seconds),
            ..Trial::default()
        }
    }

    #[test]
    fn idle_time_and_speed_up_come_from_starts_and_lengths() {
        let study = Study {
            trials: vec![
                trial("b", 1_000.0, 10.0),
                trial("a", 1_000.0, 4.0),
                trial("a", 1_004.0, 4.0),
            ],
            ..Study::default()
        };
        let runs = Runs::of(&study).unwrap();
        assert_eq!(runs.workers, ["a", "b"]);
        assert!((runs.speed_up() - 1.8).abs() < 1e-12);
        let table = workers_table(&runs);
        assert_eq!(table.rows[0], ["a", "2", "8 s", "2 s", "20 %"]);
        assert_eq!(table.rows[1], ["b", "1", "10 s", "0 ms", "0 %"]);
    }

    #[test]
    fn trials_of_an_earlier_day_are_left_out() {
        let study = Study {
            trials: vec![trial("a", 0.0, 10.0), trial("a", 100_000.0, 5.0)],
            ..Study::default()
        };
        let runs = Runs::of(&study).unwrap();
        assert_eq!((runs.runs.len(), runs.earlier), (1, 1));
        assert!((runs.span - 5.0).abs() < 1e-9);
    }

    #[test]
    fn without_starts_there_is_no_timeline() {
        let study = Study {
            trials: vec![Trial::default()],
            ..Study::default()
        };
        assert!(timeline(&study).unwrap_err().contains("started_at"));
    }
}
