//! The line on which samplers see the numbers of a domain, and the checks of domains.

use super::{Dimension, Domain, Parameter, Value};
use crate::Error;
use crate::normal;

/// Standard deviations around the mean within which normal values are proposed; beyond
/// them lies one value in three million.
const WIDEST: f64 = 5.0;

/// A line of numbers: logarithms where the domain has them, standard deviations for a
/// normal one. Values with a distance between them own half of it on both sides.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    /// Where it starts.
    pub(crate) low: f64,
    /// Where it ends.
    pub(crate) high: f64,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    Line {
        log: bool,
        step: f64,
    },
    /// Shares of the normal distribution, so that the axis is evenly filled.
    Normal {
        mean: f64,
        deviation: f64,
    },
}

impl Axis {
    /// The part of the axis that a value owns, if values have a distance.
    pub(crate) fn part(&self, value: Value) -> Option<(f64, f64)> {
        let Kind::Line { log, step } = self.kind else {
            return None;
        };
        if step == 0.0 {
            return None;
        }
        let number = number(value);
        let scale = |x: f64| if log { libm::log(x) } else { x };
        // Half a step below the smallest value of a log axis must still be above zero.
        let below = match log {
            true => (number - step / 2.0).max(number / 2.0),
            false => number - step / 2.0,
        };
        Some((scale(below), scale(number + step / 2.0)))
    }

    /// Where a value lies.
    pub(crate) fn position(&self, value: Value) -> f64 {
        let number = number(value);
        match self.kind {
            Kind::Line { log: true, .. } => libm::log(number),
            Kind::Line { log: false, .. } => number,
            Kind::Normal { mean, deviation } => {
                normal::below((number - mean) / deviation)
            }
        }
    }

    /// The value at a position, or the nearest one.
    pub(super) fn value(&self, position: f64, dimension: &Dimension) -> Value {
        let number = match self.kind {
            Kind::Line { log: true, .. } => libm::exp(position),
            Kind::Line { log: false, .. } => position,
            Kind::Normal { mean, deviation } => {
                mean + deviation * normal::quantile(position)
            }
        };
        match &dimension.domain {
            Domain::Float {
                low, high, step, ..
            } => {
                let number = match step {
                    None => number,
                    Some(step) => {
                        let most = steps(*low, *high, *step) as f64;
                        let nth = libm::round((number - low) / step).clamp(0.0, most);
                        low + nth * step
                    }
                };
                Value::Float(number.clamp(*low, *high))
            }
            Domain::Int {
                low, high, step, ..
            } => {
                // Offsets and not values, which 64 bits of a float may not tell apart.
                let most = high.abs_diff(*low) / step.unsigned_abs();
                let nth = libm::round((number - *low as f64) / *step as f64);
                let nth = (nth.max(0.0) as u64).min(most);
                Value::Int(low.wrapping_add((nth as i64).wrapping_mul(*step)))
            }
            _ => Value::Float(number),
        }
    }
}

impl Dimension {
    /// The value at a position of the axis.
    pub(crate) fn on_axis(&self, position: f64) -> Value {
        match self.axis() {
            Some(axis) => axis.value(position.clamp(axis.low, axis.high), self),
            None => self.at(0.5),
        }
    }
}

fn number(value: Value) -> f64 {
    match value {
        Value::Float(value) => value,
        Value::Int(value) => value as f64,
        Value::Choice(choice) => choice as f64,
    }
}

/// How many whole steps lie between two numbers.
pub(super) fn steps(low: f64, high: f64, step: f64) -> u64 {
    // A billionth of a step is rounding: 0 to 0.3 by 0.1 has four values.
    libm::floor((high - low) / step + 1e-9) as u64
}

/// Checks a domain and lays it on an axis; a choice has none.
pub(super) fn check(parameter: &Parameter) -> Result<Option<Axis>, Error> {
    let refuse = |reason: String| {
        Err(Error::Domain {
            name: parameter.name.clone(),
            reason,
        })
    };
    match &parameter.domain {
        Domain::Choice(choices) => match choices.len() {
            0 => refuse("there is nothing to choose from".to_string()),
            1 => {
                refuse("a choice of one is no choice; write the value itself".to_string())
            }
            _ => Ok(None),
        },
        Domain::Normal { mean, deviation } => {
            if !mean.is_finite() {
                return refuse(format!("mean must be finite, got {mean}"));
            }
            if !(*deviation > 0.0 && deviation.is_finite()) {
                return refuse(format!(
                    "deviation must be greater than 0 and finite, got {deviation}"
                ));
            }
            Ok(Some(Axis {
                low: normal::below(-WIDEST),
                high: normal::below(WIDEST),
                kind: Kind::Normal {
                    mean: *mean,
                    deviation: *deviation,
                },
            }))
        }
        Domain::Int {
            low,
            high,
            log,
            step,
        } => {
            if *step <= 0 {
                return refuse(format!("step must be greater than 0, got {step}"));
            }
            let (low, high, step) = (*low as f64, *high as f64, *step as f64);
            line((low, high), *log, Some(step)).or_else(refuse)
        }
        Domain::Float {
            low,
            high,
            log,
            step,
        } => line((*low, *high), *log, *step).or_else(refuse),
    }
}

fn line(
    (low, high): (f64, f64),
    log: bool,
    step: Option<f64>,
) -> Result<Option<Axis>, String> {
    for (name, bound) in [("low", low), ("high", high)] {
        if !bound.is_finite() {
            return Err(format!("{name} must be finite, got {bound}"));
        }
    }
    if low == high {
        return Err(format!(
            "low and high are both {low}; write the value itself"
        ));
    }
    if low > high {
        return Err(format!(
            "low must be below high, got low {low} and high {high}"
        ));
    }
    if log && low <= 0.0 {
        return Err(format!(
            "low of a log domain must be greater than 0, got {low}; it is the smallest \
             value, not its exponent"
        ));
    }
    let width = high - low;
    if let Some(step) = step {
        if !(step > 0.0 && step.is_finite()) {
            return Err(format!("step must be greater than 0, got {step}"));
        }
        if step > width {
            return Err(format!(
                "step must be at most high - low, which is {width}, got {step}"
            ));
        }
    }
    if !width.is_finite() {
        return Err(format!(
            "high - low must be finite, got low {low} and high {high}"
        ));
    }
    let step = step.unwrap_or(0.0);
    let scale = |x: f64| if log { libm::log(x) } else { x };
    // The largest value may lie below `high` where the step does not divide the range.
    let last = match step > 0.0 {
        true => low + steps(low, high, step) as f64 * step,
        false => high,
    };
    let first = match log {
        true => (low - step / 2.0).max(low / 2.0),
        false => low - step / 2.0,
    };
    Ok(Some(Axis {
        low: scale(first),
        high: scale(last + step / 2.0),
        kind: Kind::Line { log, step },
    }))
}
