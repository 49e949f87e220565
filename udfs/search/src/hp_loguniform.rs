//! `hp_loguniform`: a number between two bounds, evenly spread on a log axis.

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
const DOMAIN: [Argument; 2] = [("low", Kind::Number), ("high", Kind::Number)];

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Draws a number from `low` to `high` whose logarithm is uniform, as suits a \
         learning rate. `low` and `high` are the values themselves, not exponents. \
         The same seed, trial and name give the same value everywhere. \
         `hp_loguniform(low, high)` without them is a domain for `tune`.",
        "hp_loguniform(seed, trial, name, low, high)",
    )
    .with_argument("seed", "Integer that names the study. Another seed is another search.")
    .with_argument("trial", "Integer that names the trial, such as its number.")
    .with_argument("name", "Name of the hyperparameter, one per trial.")
    .with_argument("low", "Smallest value, greater than 0.")
    .with_argument("high", "Greatest value, not below `low`.")
    .with_sql_example(
        "SELECT trial, hp_loguniform(42, trial, 'learning_rate', 1e-4, 1e-1) AS learning_rate\n\
         FROM (VALUES (1), (2), (3)) AS trials(trial);",
    )
    .with_related_udf("hp_uniform")
    .with_related_udf("logspace")
    .with_related_udf("tune")
    .build()
});

/// The SQL function `hp_loguniform(seed, trial, name, low, high)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HpLoguniform {
    signature: Signature,
}

impl Default for HpLoguniform {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for HpLoguniform {
    fn name(&self) -> &str {
        "hp_loguniform"
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
            return domain_of(self.name(), "loguniform", &DOMAIN, args.args);
        }
        let [seed, trial, name, low, high] =
            take_function_args(self.name(), into_arrays(args)?)?;
        let draws = Draws::try_new(&seed, &trial, &name)?;
        let values = loguniform_rows(&draws, &low, &high)?;
        Ok(ColumnarValue::Array(Arc::new(values)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

fn loguniform_rows(
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
            Ok(Some(loguniform(&draw, low, high)))
        })
        .collect()
}

fn check(low: f64, high: f64) -> Result<(), String> {
    match low {
        _ if !(low > 0.0 && low.is_finite()) => Err(format!(
            "hp_loguniform: low must be greater than 0 and finite, got {low}; it is the \
             smallest value, not its exponent"
        )),
        _ if !high.is_finite() => {
            Err(format!("hp_loguniform: high must be finite, got {high}"))
        }
        _ if low > high => Err(format!(
            "hp_loguniform: low must not be above high, got low {low} and high {high}"
        )),
        _ => Ok(()),
    }
}

/// A number from `low` to `high`.
///
/// `libm` instead of the platform's own functions, whose last bit differs between
/// platforms.
fn loguniform(draw: &Draw<'_>, low: f64, high: f64) -> f64 {
    let (low_log, high_log) = (libm::log(low), libm::log(high));
    let value = libm::exp(low_log + draw.unit() * (high_log - low_log));
    value.clamp(low, high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decade_is_equally_likely() {
        let mut decades = [0; 3];
        for trial in 0..3_000 {
            let draw = Draw {
                seed: 1,
                trial,
                name: "rate",
            };
            let value = loguniform(&draw, 1e-4, 1e-1);
            assert!((1e-4..=1e-1).contains(&value));
            decades[if value < 1e-3 {
                0
            } else if value < 1e-2 {
                1
            } else {
                2
            }] += 1;
        }
        // Five standard deviations of a count: sqrt(3000 * 1/3 * 2/3) = 26 each.
        assert!(
            decades.iter().all(|&count| (870..=1130).contains(&count)),
            "{decades:?}"
        );
    }

    #[test]
    fn equal_bounds_give_the_bound() {
        let draw = Draw {
            seed: 1,
            trial: 2,
            name: "rate",
        };
        assert_eq!(loguniform(&draw, 0.1, 0.1), 0.1);
    }

    #[test]
    fn an_exponent_as_bound_is_refused() {
        assert!(
            check(-3.0, -1.0)
                .unwrap_err()
                .contains("greater than 0 and finite, got -3")
        );
    }
}
