//! `hp_uniform`: a number between two bounds.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Float64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::as_float64_array;
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::SECTION;
use crate::domain::{coerce_either, domain_of, domain_type};
use crate::sampler::{
    Argument, Draws, Kind, NAME, SEED, TRIAL, at_plan_time, into_arrays, literal_number,
};
use atoll_search::Draw;

const ARGUMENTS: [Argument; 5] = [
    SEED,
    TRIAL,
    NAME,
    ("low", Kind::Number),
    ("high", Kind::Number),
];

/// What a domain is spanned by.
const DOMAIN: [Argument; 3] = [
    ("low", Kind::Number),
    ("high", Kind::Number),
    ("step", Kind::Number),
];

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Draws a number from `low` up to `high`, every number equally likely. \
         The same seed, trial and name give the same value everywhere. \
         `hp_uniform(low, high)` without them is a domain for `tune`, and `hp_uniform(low, high, step)` one of every `step`-th value.",
        "hp_uniform(seed, trial, name, low, high)",
    )
    .with_argument(
        "seed",
        "Integer that names the study. Another seed is another search.",
    )
    .with_argument("trial", "Integer that names the trial, such as its number.")
    .with_argument(
        "name",
        "Name of the hyperparameter. Two hyperparameters of a trial need two names, or \
         their values go together.",
    )
    .with_argument("low", "Smallest value.")
    .with_argument("high", "Upper bound, not below `low`.")
    .with_sql_example(
        "SELECT trial, hp_uniform(42, trial, 'dropout', 0.2, 0.7) AS dropout\n\
         FROM (VALUES (1), (2), (3)) AS trials(trial);",
    )
    .with_related_udf("hp_loguniform")
    .with_related_udf("hp_int")
    .with_related_udf("hp_choice")
    .with_related_udf("tune")
    .build()
});

/// The SQL function `hp_uniform(seed, trial, name, low, high)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HpUniform {
    signature: Signature,
}

impl Default for HpUniform {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for HpUniform {
    fn name(&self) -> &str {
        "hp_uniform"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coerce_either(self.name(), &ARGUMENTS, (&DOMAIN, 2), arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match arg_types.len() > DOMAIN.len() {
            true => DataType::Float64,
            false => domain_type(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if args.arg_fields.len() <= DOMAIN.len() {
            return Ok(Arc::new(Field::new(self.name(), domain_type(), true)));
        }
        if let Some((low, high)) = literal_number(&args, 3).zip(literal_number(&args, 4))
        {
            at_plan_time(check(low, high))?;
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Float64, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.len() <= DOMAIN.len() {
            return domain_of(self.name(), "uniform", &DOMAIN, args.args);
        }
        let [seed, trial, name, low, high] =
            take_function_args(self.name(), into_arrays(args)?)?;
        let draws = Draws::try_new(&seed, &trial, &name)?;
        let values = uniform_rows(&draws, &low, &high)?;
        Ok(ColumnarValue::Array(Arc::new(values)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

fn uniform_rows(
    draws: &Draws<'_>,
    low: &ArrayRef,
    high: &ArrayRef,
) -> Result<Float64Array> {
    let bounds = as_float64_array(low)?.iter().zip(as_float64_array(high)?);
    draws
        .iter()
        .zip(bounds)
        .map(|row| {
            let (Some(draw), (Some(low), Some(high))) = row else {
                return Ok(None);
            };
            check(low, high).map_err(|reason| exec_datafusion_err!("{reason}"))?;
            Ok(Some(uniform(&draw, low, high)))
        })
        .collect()
}

fn check(low: f64, high: f64) -> Result<(), String> {
    match low {
        _ if !low.is_finite() => {
            Err(format!("hp_uniform: low must be finite, got {low}"))
        }
        _ if !high.is_finite() => {
            Err(format!("hp_uniform: high must be finite, got {high}"))
        }
        _ if low > high => Err(format!(
            "hp_uniform: low must not be above high, got low {low} and high {high}"
        )),
        _ => Ok(()),
    }
}

/// A number from `low` up to but not including `high`, unless they are equal.
fn uniform(draw: &Draw<'_>, low: f64, high: f64) -> f64 {
    let unit = draw.unit();
    // A weighted mean cannot overflow, whereas high - low can.
    let value = low * (1.0 - unit) + high * unit;
    // Rounding may reach a bound, or pass it by an ulp.
    if value >= high && low < high {
        high.next_down().max(low)
    } else {
        value.max(low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(count: i64) -> impl Iterator<Item = Draw<'static>> {
        (0..count).map(|trial| Draw {
            seed: 1,
            trial,
            name: "x",
        })
    }

    #[test]
    fn values_fill_the_range() {
        let values: Vec<_> = draws(1_000).map(|draw| uniform(&draw, -2.0, 6.0)).collect();
        assert!(values.iter().all(|value| (-2.0..6.0).contains(value)));
        // Five standard deviations of the mean: 8 * 0.289 / 31.6 each.
        let mean = values.iter().sum::<f64>() / 1_000.0;
        assert!((mean - 2.0).abs() < 0.37, "mean {mean}");
    }

    #[test]
    fn extremes_neither_overflow_nor_leave_the_range() {
        for draw in draws(100) {
            assert!(uniform(&draw, f64::MIN, f64::MAX).is_finite());
            assert_eq!(uniform(&draw, 0.3, 0.3), 0.3);
            assert_eq!(uniform(&draw, 1.0, 1.0f64.next_up()), 1.0);
        }
    }

    #[test]
    fn wrong_bounds_are_named() {
        assert!(
            check(2.0, 1.0)
                .unwrap_err()
                .contains("got low 2 and high 1")
        );
        assert!(
            check(f64::NAN, 1.0)
                .unwrap_err()
                .contains("low must be finite, got NaN")
        );
    }
}
