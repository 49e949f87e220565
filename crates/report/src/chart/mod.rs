//! Charts as data: what is drawn, before anyone knows on what.

mod contour;
mod curves;
mod history;
mod importance;
mod labels;
mod learning_rate;
mod parallel;
mod pareto;
mod rungs;
mod slices;
mod timeline;

use std::fmt;

use crate::draw::Ink;
use crate::{Error, Subject};

/// A figure, with all that a reader who cannot see it needs.
#[derive(Debug, Clone)]
pub struct Chart {
    /// Which one it is.
    pub kind: Kind,
    /// What it shows, in a few words.
    pub title: String,
    /// What it shows and how to read it, in sentences.
    pub description: String,
    /// The numbers behind it.
    pub table: Table,
    pub(crate) legend: Vec<Entry>,
    pub(crate) panels: Vec<Panel>,
}

/// Numbers with their headings.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    /// A heading a column.
    pub head: Vec<String>,
    /// A text for each heading.
    pub rows: Vec<Vec<String>>,
    /// Rows that were left out for the sake of the page's size.
    pub left_out: usize,
}

/// A line or a mark with its meaning.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) text: String,
    pub(crate) ink: Ink,
    pub(crate) shape: Option<Shape>,
    pub(crate) line: bool,
}

/// A pair of axes and what is drawn between them.
#[derive(Debug, Clone)]
pub(crate) struct Panel {
    pub(crate) x: Axis,
    pub(crate) y: Axis,
    pub(crate) marks: Vec<Mark>,
}

/// How positions along a side are read.
#[derive(Debug, Clone)]
pub(crate) struct Axis {
    pub(crate) title: String,
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) log: bool,
    pub(crate) ticks: Ticks,
}

/// What stands at an axis.
#[derive(Debug, Clone)]
pub(crate) enum Ticks {
    /// Round numbers.
    Numbers,
    /// Round percentages.
    Percent,
    /// Whole numbers only.
    Whole,
    /// These texts at these places, and nothing in between.
    Named(Vec<(f64, String)>),
}

/// Something drawn in the coordinates of its panel.
#[derive(Debug, Clone)]
pub(crate) enum Mark {
    Line {
        points: Vec<(f64, f64)>,
        ink: Ink,
        weight: Weight,
    },
    Points {
        points: Vec<(f64, f64)>,
        ink: Ink,
        shape: Shape,
    },
    /// From one corner to the opposite one.
    Bar {
        from: (f64, f64),
        to: (f64, f64),
        ink: Ink,
    },
    /// A text that begins right of a point.
    Text { at: (f64, f64), text: String },
}

/// How thick a line is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Weight {
    Faint,
    Thin,
    Bold,
}

/// What a point looks like. Shapes tell series apart where colours do not.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Shape {
    Dot,
    Circle,
    Square,
    Triangle,
    Diamond,
    Cross,
    Ring,
}

impl Shape {
    /// The shape of a series.
    pub(crate) fn of(series: usize) -> Self {
        const SHAPES: [Shape; 6] = [
            Shape::Circle,
            Shape::Square,
            Shape::Triangle,
            Shape::Diamond,
            Shape::Ring,
            Shape::Cross,
        ];
        SHAPES[series % SHAPES.len()]
    }
}

/// The charts there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Error against learning rate, a line a size of the network.
    LearningRate,
    /// The best error so far, trial by trial.
    History,
    /// Error after each epoch, a line a trial.
    Curves,
    /// Which trials went on at which rung.
    Rungs,
    /// The trials that no other one beats in all objectives.
    Pareto,
    /// How much each hyperparameter matters.
    Importance,
    /// Error over two hyperparameters.
    Contour,
    /// Error against each hyperparameter by itself.
    Slices,
    /// All hyperparameters side by side, a line a trial.
    Parallel,
    /// When each worker trained what.
    Timeline,
    /// How much faster several workers are than one.
    SpeedUp,
    /// How sure the network is.
    Scores,
    /// What went wrong how often.
    Errors,
    /// When images were labelled.
    Throughput,
}

impl Kind {
    /// The charts of a study, in the order of the page.
    pub const STUDY: [Self; 11] = [
        Self::LearningRate,
        Self::History,
        Self::Curves,
        Self::Rungs,
        Self::Pareto,
        Self::Importance,
        Self::Contour,
        Self::Slices,
        Self::Parallel,
        Self::Timeline,
        Self::SpeedUp,
    ];

    /// The charts of labelled images, in the order of the page.
    pub const LABELS: [Self; 3] = [Self::Scores, Self::Errors, Self::Throughput];

    /// The charts that a subject has.
    pub fn of(subject: &Subject) -> &'static [Self] {
        match subject {
            Subject::Study(_) => &Self::STUDY,
            Subject::Labels(_) => &Self::LABELS,
        }
    }

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::LearningRate => "learning-rate",
            Self::History => "history",
            Self::Curves => "curves",
            Self::Rungs => "rungs",
            Self::Pareto => "pareto",
            Self::Contour => "contour",
            Self::Importance => "importance",
            Self::Slices => "slices",
            Self::Parallel => "parallel",
            Self::Timeline => "timeline",
            Self::SpeedUp => "speed-up",
            Self::Scores => "scores",
            Self::Errors => "errors",
            Self::Throughput => "throughput",
        }
    }

    /// The chart with this name on the command line.
    pub fn from_name(name: &str) -> Option<Self> {
        let mut all = Self::STUDY.into_iter().chain(Self::LABELS);
        all.find(|kind| kind.name() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A chart of a subject.
pub fn chart(subject: &Subject, kind: Kind) -> Result<Chart, Error> {
    let chart = match (subject, kind) {
        (Subject::Study(study), Kind::LearningRate) => learning_rate::chart(study),
        (Subject::Study(study), Kind::History) => history::chart(study),
        (Subject::Study(study), Kind::Curves) => curves::chart(study),
        (Subject::Study(study), Kind::Rungs) => rungs::chart(study),
        (Subject::Study(study), Kind::Pareto) => pareto::chart(study),
        (Subject::Study(study), Kind::Contour) => contour::chart(study),
        (Subject::Study(study), Kind::Importance) => importance::chart(study),
        (Subject::Study(study), Kind::Slices) => slices::chart(study),
        (Subject::Study(study), Kind::Parallel) => parallel::chart(study),
        (Subject::Study(study), Kind::Timeline) => timeline::timeline(study),
        (Subject::Study(study), Kind::SpeedUp) => timeline::speed_up(study),
        (Subject::Study(_), _) => {
            Err("it shows labelled images, and this is a study".into())
        }
        (Subject::Labels(labels), Kind::Scores) => labels::scores(labels),
        (Subject::Labels(labels), Kind::Errors) => labels::errors(labels),
        (Subject::Labels(labels), Kind::Throughput) => labels::throughput(labels),
        (Subject::Labels(_), _) => {
            Err("it shows a study, and these are labelled images".into())
        }
    };
    chart.map_err(|reason| Error::Missing { kind, reason })
}

impl Axis {
    /// An axis of numbers with some air at both ends, logarithmic if that is asked for
    /// and possible.
    pub(crate) fn over(
        title: impl Into<String>,
        values: impl Iterator<Item = f64> + Clone,
        log: bool,
        ticks: Ticks,
    ) -> Self {
        const AIR: f64 = 0.04;
        let finite = values.filter(|value| value.is_finite());
        let low = finite.clone().fold(f64::INFINITY, f64::min);
        let high = finite.fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
        let log = log && low > 0.0;
        let (low, high) = if log {
            let air = ((high / low).ln() * AIR).max(0.05).exp();
            (low / air, high * air)
        } else {
            let air = match high - low {
                span if span > 0.0 => span * AIR,
                _ if high == 0.0 => 1.0,
                _ => high.abs() * 0.1,
            };
            (low - air, high + air)
        };
        Self {
            title: title.into(),
            low,
            high,
            log,
            ticks,
        }
    }

    /// An axis from zero to a little more than the largest value.
    pub(crate) fn from_zero(
        title: impl Into<String>,
        values: impl Iterator<Item = f64>,
        ticks: Ticks,
    ) -> Self {
        let high = values.filter(|value| value.is_finite()).fold(0.0, f64::max);
        Self {
            title: title.into(),
            low: 0.0,
            high: if high > 0.0 { high * 1.05 } else { 1.0 },
            log: false,
            ticks,
        }
    }

    /// A place for each text.
    pub(crate) fn named(title: impl Into<String>, names: Vec<(f64, String)>) -> Self {
        Self {
            title: title.into(),
            low: -0.5,
            high: names.len() as f64 - 0.5,
            log: false,
            ticks: Ticks::Named(names),
        }
    }

    /// Where a value lies between the ends, from 0 to 1; none outside of a logarithm.
    pub(crate) fn position(&self, value: f64) -> Option<f64> {
        let position = match self.log {
            true if value <= 0.0 => return None,
            true => (value / self.low).ln() / (self.high / self.low).ln(),
            false => (value - self.low) / (self.high - self.low),
        };
        position.is_finite().then_some(position)
    }
}

impl Table {
    /// The most rows of a table on a page.
    pub(crate) const MOST_ROWS: usize = 500;

    pub(crate) fn new<const N: usize>(head: [&str; N]) -> Self {
        Self {
            head: head.map(String::from).to_vec(),
            ..Self::default()
        }
    }

    /// Adds a row, or counts it as left out.
    pub(crate) fn push(&mut self, row: Vec<String>) {
        if self.rows.len() < Self::MOST_ROWS {
            self.rows.push(row);
        } else {
            self.left_out += 1;
        }
    }
}

/// The first `first` and then every so many, at most `most` in all.
pub(crate) fn thin<T>(items: Vec<T>, first: usize, most: usize) -> Vec<T> {
    if items.len() <= most {
        return items;
    }
    let step = (items.len() - first).div_ceil(most - first).max(1);
    let kept = |index: usize| index < first || (index - first).is_multiple_of(step);
    let items = items.into_iter().enumerate();
    items
        .filter(|(index, _)| kept(*index))
        .map(|(_, item)| item)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        for kind in Kind::STUDY.into_iter().chain(Kind::LABELS) {
            assert_eq!(Kind::from_name(kind.name()), Some(kind));
        }
        assert_eq!(Kind::from_name("pie"), None);
    }

    #[test]
    fn an_axis_of_one_value_has_two_ends() {
        for value in [0.0, 5.0, -2.0] {
            let axis = Axis::over("x", std::iter::once(value), false, Ticks::Numbers);
            assert!(axis.low < value && value < axis.high, "{axis:?}");
        }
        let none = Axis::over("x", std::iter::empty(), true, Ticks::Numbers);
        assert!(none.low < none.high, "{none:?}");
    }

    #[test]
    fn zero_has_no_place_on_a_logarithm() {
        let axis = Axis::over("x", [0.1, 10.0].into_iter(), true, Ticks::Numbers);
        assert_eq!(axis.position(0.0), None);
        let middle = axis.position(1.0).unwrap();
        assert!((middle - 0.5).abs() < 1e-12, "{middle}");
        let axis = Axis::over("x", [0.0, 10.0].into_iter(), true, Ticks::Numbers);
        assert!(!axis.log);
    }

    #[test]
    fn thinning_keeps_the_first_and_the_bound() {
        let kept = thin((0..1_000).collect(), 10, 110);
        assert!(kept.len() <= 110, "{}", kept.len());
        assert_eq!(kept[..11], (0..11).collect::<Vec<_>>());
        assert_eq!(thin(vec![1, 2], 1, 5), [1, 2]);
    }
}
