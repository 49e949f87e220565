//! What is searched: hyperparameters, their domains, and points among them.

mod axis;

use std::fmt::{self, Display, Formatter};

use crate::{Draw, Error};
use axis::Axis;

/// What values a hyperparameter may have.
#[derive(Debug, Clone, PartialEq)]
pub enum Domain {
    /// Numbers from `low` to `high`: all, or `low` and every `step` from there.
    Float {
        /// The smallest.
        low: f64,
        /// The largest.
        high: f64,
        /// Whether decades are equally likely and not numbers.
        log: bool,
        /// The distance between two, if only some are possible.
        step: Option<f64>,
    },
    /// Whole numbers: `low` and every `step` from there up to `high`.
    Int {
        /// The smallest.
        low: i64,
        /// The largest.
        high: i64,
        /// Whether decades are equally likely and not numbers.
        log: bool,
        /// The distance between two.
        step: i64,
    },
    /// Normally distributed numbers.
    Normal {
        /// Their mean.
        mean: f64,
        /// Their standard deviation.
        deviation: f64,
    },
    /// One of several, in no order. Each may bring hyperparameters of its own, which a
    /// point has only where it was chosen.
    Choice(Vec<Vec<Parameter>>),
}

/// A hyperparameter that is searched.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its values.
    pub domain: Domain,
}

/// The value of a hyperparameter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value {
    /// Of a [`Domain::Float`] or [`Domain::Normal`].
    Float(f64),
    /// Of a [`Domain::Int`].
    Int(i64),
    /// Of a [`Domain::Choice`], counted from zero.
    Choice(usize),
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Choice(value) => write!(f, "#{value}"),
        }
    }
}

/// A value for each [`Dimension`], in their order; `None` where the dimension belongs to
/// a choice that was not made.
pub type Point = Vec<Option<Value>>;

/// A hyperparameter of a [`Space`], with the choice it depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Dimension {
    /// The hyperparameter's name; two that never occur together may share one.
    pub name: String,
    /// Its name with those of the choices above, which no other dimension has.
    pub path: String,
    /// Its values.
    pub domain: Domain,
    /// The dimension and the choice of it that this one depends on.
    pub parent: Option<(usize, usize)>,
    axis: Option<Axis>,
}

impl Dimension {
    /// How many values a choice has; `None` for numbers.
    pub fn choices(&self) -> Option<usize> {
        match &self.domain {
            Domain::Choice(choices) => Some(choices.len()),
            _ => None,
        }
    }

    /// How many values there are, if they can be counted.
    pub fn count(&self) -> Option<u128> {
        match &self.domain {
            Domain::Choice(choices) => Some(choices.len() as u128),
            Domain::Int {
                low, high, step, ..
            } => Some(u128::from(high.abs_diff(*low) / step.unsigned_abs()) + 1),
            Domain::Float {
                low,
                high,
                step: Some(step),
                ..
            } => Some(axis::steps(*low, *high, *step) as u128 + 1),
            _ => None,
        }
    }

    /// The value at a position among those that [`count`](Self::count) counts.
    pub fn nth(&self, position: u128) -> Value {
        match &self.domain {
            Domain::Choice(_) => Value::Choice(position as usize),
            Domain::Int { low, step, .. } => {
                let steps = (position as i64).wrapping_mul(*step);
                Value::Int(low.wrapping_add(steps))
            }
            Domain::Float {
                low, high, step, ..
            } => {
                let value = low + position as f64 * step.unwrap_or(0.0);
                Value::Float(value.clamp(*low, *high))
            }
            Domain::Normal { mean, .. } => Value::Float(*mean),
        }
    }

    /// The value that a share of `unit` of all values is below: a uniform number in
    /// `[0, 1)` makes a draw.
    pub fn at(&self, unit: f64) -> Value {
        match (&self.axis, self.count()) {
            (Some(axis), _) => axis.value(axis.low + unit * (axis.high - axis.low), self),
            (None, count) => {
                let count = count.unwrap_or(1);
                self.nth(((unit * count as f64) as u128).min(count - 1))
            }
        }
    }

    /// The share of values that are below one; [`at`](Self::at) of it is the value.
    pub fn unit(&self, value: Value) -> f64 {
        match (&self.axis, value) {
            (Some(axis), value) => {
                let unit = (axis.position(value) - axis.low) / (axis.high - axis.low);
                unit.clamp(0.0, 1.0)
            }
            (None, Value::Choice(choice)) => {
                (choice as f64 + 0.5) / self.choices().unwrap_or(1) as f64
            }
            (None, _) => 0.5,
        }
    }

    /// Whether the domain has a value.
    pub fn contains(&self, value: Value) -> bool {
        match (&self.domain, value) {
            (Domain::Choice(choices), Value::Choice(choice)) => choice < choices.len(),
            (
                Domain::Int {
                    low, high, step, ..
                },
                Value::Int(value),
            ) => {
                (low..=high).contains(&&value)
                    && value.abs_diff(*low) % step.unsigned_abs() == 0
            }
            (Domain::Float { low, high, .. }, Value::Float(value)) => {
                (low..=high).contains(&&value)
            }
            (Domain::Normal { .. }, Value::Float(value)) => value.is_finite(),
            _ => false,
        }
    }

    pub(crate) fn axis(&self) -> Option<&Axis> {
        self.axis.as_ref()
    }
}

/// A search space: hyperparameters, some of which depend on what is chosen for others.
#[derive(Debug, Clone, PartialEq)]
pub struct Space {
    dimensions: Vec<Dimension>,
    /// Dimensions that a point has together, or not at all; those that always are first.
    groups: Vec<Vec<usize>>,
}

impl Space {
    /// A space of these hyperparameters.
    ///
    /// # Errors
    ///
    /// If a domain is empty or holds one value, a name occurs twice in a point, or nothing
    /// varies.
    pub fn new(parameters: &[Parameter]) -> Result<Self, Error> {
        let mut space = Self {
            dimensions: vec![],
            groups: vec![],
        };
        space.add(parameters, None, "", &mut vec![])?;
        if space.dimensions.is_empty() {
            return Err(Error::NothingVaries);
        }
        Ok(space)
    }

    fn add(
        &mut self,
        parameters: &[Parameter],
        parent: Option<(usize, usize)>,
        path: &str,
        above: &mut Vec<String>,
    ) -> Result<(), Error> {
        if parameters.is_empty() {
            return Ok(());
        }
        let group = self.groups.len();
        self.groups.push(vec![]);
        let depth = above.len();
        for parameter in parameters {
            let name = parameter.name.clone();
            if above.contains(&name) {
                return Err(Error::Twice { name });
            }
            above.push(name.clone());
            let axis = axis::check(parameter)?;
            let index = self.dimensions.len();
            self.groups[group].push(index);
            let path = format!("{path}{name}");
            self.dimensions.push(Dimension {
                name,
                path: path.clone(),
                domain: parameter.domain.clone(),
                parent,
                axis,
            });
            if let Domain::Choice(choices) = &parameter.domain {
                for (choice, below) in choices.iter().enumerate() {
                    let path = format!("{path}#{choice}.");
                    self.add(below, Some((index, choice)), &path, above)?;
                }
            }
        }
        above.truncate(depth);
        Ok(())
    }

    /// The dimensions; one that depends on another comes after it.
    pub fn dimensions(&self) -> &[Dimension] {
        &self.dimensions
    }

    pub(crate) fn groups(&self) -> &[Vec<usize>] {
        &self.groups
    }

    /// Whether a point has a dimension, by what it chose above.
    pub fn is_active(&self, dimension: usize, point: &[Option<Value>]) -> bool {
        match self.dimensions[dimension].parent {
            None => true,
            Some((above, choice)) => point[above] == Some(Value::Choice(choice)),
        }
    }

    /// A point from a value for each dimension; those that are not active get none.
    pub fn point(&self, mut value: impl FnMut(usize, &Dimension) -> Value) -> Point {
        let mut point: Point = vec![None; self.dimensions.len()];
        for (index, dimension) in self.dimensions.iter().enumerate() {
            if self.is_active(index, &point) {
                point[index] = Some(value(index, dimension));
            }
        }
        point
    }

    /// The random point of a trial.
    pub fn draw(&self, seed: i64, trial: i64) -> Point {
        self.point(|_, dimension| {
            let name = dimension.path.as_str();
            let draw = Draw { seed, trial, name };
            match dimension.count() {
                Some(count) if count <= 1 << 64 && dimension.axis_is_even() => {
                    dimension.nth(draw.below(count))
                }
                _ => dimension.at(draw.unit()),
            }
        })
    }

    /// The point of an earlier search whose values go by name, as far as it says
    /// something here: `None` if a value is outside its domain. What it lacks is drawn.
    pub fn translate(
        &self,
        earlier: impl Fn(&Dimension) -> Option<Option<Value>>,
        (seed, row): (i64, i64),
    ) -> Option<Point> {
        let drawn = self.at_random(seed, row);
        let mut fits = true;
        let point = self.point(|index, dimension| match earlier(dimension) {
            Some(Some(value)) => {
                fits &= dimension.contains(value);
                value
            }
            Some(None) => {
                fits = false;
                drawn[index]
            }
            None => drawn[index],
        });
        fits.then_some(point)
    }

    /// A value for every dimension, active or not.
    fn at_random(&self, seed: i64, row: i64) -> Vec<Value> {
        let values = self.dimensions.iter().map(|dimension| {
            let name = format!("start {}", dimension.path);
            let draw = Draw {
                seed,
                trial: row,
                name: &name,
            };
            dimension.at(draw.unit())
        });
        values.collect()
    }
}

impl Dimension {
    /// Whether all values are equally likely.
    fn axis_is_even(&self) -> bool {
        !matches!(
            self.domain,
            Domain::Int { log: true, .. } | Domain::Float { log: true, .. }
        )
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn float(name: &str, low: f64, high: f64) -> Parameter {
        numbers(name, low, high, false, None)
    }

    pub(crate) fn numbers(
        name: &str,
        low: f64,
        high: f64,
        log: bool,
        step: Option<f64>,
    ) -> Parameter {
        Parameter {
            name: name.to_string(),
            domain: Domain::Float {
                low,
                high,
                log,
                step,
            },
        }
    }

    pub(crate) fn int(
        name: &str,
        low: i64,
        high: i64,
        log: bool,
        step: i64,
    ) -> Parameter {
        Parameter {
            name: name.to_string(),
            domain: Domain::Int {
                low,
                high,
                log,
                step,
            },
        }
    }

    pub(crate) fn choice(name: &str, choices: Vec<Vec<Parameter>>) -> Parameter {
        Parameter {
            name: name.to_string(),
            domain: Domain::Choice(choices),
        }
    }

    /// Every kind of domain, with a choice below a choice.
    pub(crate) fn mixed() -> Space {
        let momentum = numbers("momentum", 0.5, 0.99, false, None);
        let inner = choice("nesterov", vec![vec![], vec![int("k", 1, 3, false, 1)]]);
        Space::new(&[
            numbers("rate", 1e-4, 1.0, true, None),
            int("hidden", 16, 256, true, 1),
            int("batch", 32, 128, false, 32),
            numbers("dropout", 0.0, 0.5, false, Some(0.1)),
            choice("optimizer", vec![vec![momentum, inner], vec![]]),
            Parameter {
                name: "bias".to_string(),
                domain: Domain::Normal {
                    mean: 2.0,
                    deviation: 0.5,
                },
            },
        ])
        .unwrap()
    }

    #[test]
    fn every_drawn_value_is_in_its_domain_and_its_unit_leads_back() {
        let space = mixed();
        for trial in 0..500 {
            let point = space.draw(1, trial);
            for (index, dimension) in space.dimensions().iter().enumerate() {
                assert_eq!(point[index].is_some(), space.is_active(index, &point));
                let Some(value) = point[index] else { continue };
                assert!(dimension.contains(value), "{} {value}", dimension.path);
                match (dimension.at(dimension.unit(value)), value) {
                    (Value::Float(a), Value::Float(b)) => {
                        assert!((a - b).abs() < 1e-9 * (1.0 + b.abs()), "{a} {b}");
                    }
                    (again, value) => assert_eq!(again, value),
                }
            }
        }
    }

    #[test]
    fn a_log_integer_gives_each_decade_its_share() {
        let space = Space::new(&[int("n", 1, 100, true, 1)]).unwrap();
        let below = (0..2_000)
            .filter(|trial| matches!(space.draw(1, *trial)[0], Some(Value::Int(..=10))));
        // ln(10.5 / 0.5) / ln(100.5 / 0.5) is 0.574.
        let share = below.count() as f64 / 2_000.0;
        assert!((share - 0.574).abs() < 0.055, "{share}");
    }

    #[test]
    fn a_dimension_below_a_choice_is_there_when_it_was_made() {
        let space = mixed();
        let paths: Vec<_> = space.dimensions().iter().map(|d| d.path.as_str()).collect();
        assert_eq!(paths[5], "optimizer#0.momentum");
        assert_eq!(paths[7], "optimizer#0.nesterov#1.k");
        assert_eq!(
            space.groups(),
            [vec![0, 1, 2, 3, 4, 8], vec![5, 6], vec![7]]
        );
    }

    #[track_caller]
    fn refused(parameter: Parameter, expected: &str) {
        let error = Space::new(&[parameter]).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn what_cannot_be_searched_is_named_with_its_remedy() {
        refused(
            float("x", 2.0, 1.0),
            "x: low must be below high, got low 2 and high 1",
        );
        refused(
            float("x", 1.0, 1.0),
            "x: low and high are both 1; write the value",
        );
        refused(float("x", f64::NAN, 1.0), "x: low must be finite, got NaN");
        refused(
            numbers("x", 0.0, 1.0, true, None),
            "x: low of a log domain must be greater than 0, got 0",
        );
        refused(int("x", 0, 9, true, 1), "greater than 0, got 0");
        refused(
            int("x", 1, 9, false, 0),
            "x: step must be greater than 0, got 0",
        );
        refused(
            numbers("x", 0.0, 1.0, false, Some(2.0)),
            "x: step must be at most high - low, which is 1, got 2",
        );
        refused(choice("x", vec![]), "x: there is nothing to choose from");
        refused(choice("x", vec![vec![]]), "x: a choice of one is no choice");
        assert_eq!(Space::new(&[]), Err(Error::NothingVaries));
        let twice = Space::new(&[
            float("x", 0.0, 1.0),
            choice("c", vec![vec![float("x", 0.0, 1.0)], vec![]]),
        ]);
        assert!(matches!(twice, Err(Error::Twice { .. })));
    }

    #[test]
    fn rows_of_another_space_are_taken_as_far_as_they_go() {
        let space = Space::new(&[float("x", 0.0, 1.0), float("y", 0.0, 1.0)]).unwrap();
        let row = |x| {
            move |dimension: &Dimension| {
                (dimension.name == "x").then_some(Some(Value::Float(x)))
            }
        };
        let point = space.translate(row(0.25), (1, 0)).unwrap();
        assert_eq!(point[0], Some(Value::Float(0.25)));
        assert!(space.dimensions()[1].contains(point[1].unwrap()));
        assert_eq!(space.translate(row(1.5), (1, 0)), None);
    }
}
