//! `hp_int`: a whole number between two bounds.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::as_int64_array;
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::SECTION;
use crate::domain::{coerce_either, domain_of, domain_type};
use crate::sampler::{
    Argument, Draws, Kind, NAME, SEED, TRIAL, at_plan_time, into_arrays, literal_integer,
};
use atoll_search::Draw;

const ARGUMENTS: [Argument; 5] = [
    SEED,
    TRIAL,
    NAME,
    ("low", Kind::Integer),
    ("high", Kind::Integer),
];

/// What a domain is spanned by.
const DOMAIN: [Argument; 3] = [
    ("low", Kind::Integer),
    ("high", Kind::Integer),
    ("step", Kind::Integer),
];

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Draws a whole number from `low` to `high`, both included, every number equally \
         likely. The same seed, trial and name give the same value everywhere. \
         `hp_int(low, high)` without them is a domain for `tune`, and `hp_int(low, high, step)` one of every `step`-th value.",
        "hp_int(seed, trial, name, low, high)",
    )
    .with_argument(
        "seed",
        "Integer that names the study. Another seed is another search.",
    )
    .with_argument("trial", "Integer that names the trial, such as its number.")
    .with_argument("name", "Name of the hyperparameter, one per trial.")
    .with_argument("low", "Smallest value.")
    .with_argument("high", "Greatest value, not below `low`.")
    .with_sql_example(
        "SELECT trial, hp_int(42, trial, 'hidden', 16, 256) AS hidden\n\
         FROM (VALUES (1), (2), (3)) AS trials(trial);",
    )
    .with_related_udf("hp_choice")
    .with_related_udf("hp_uniform")
    .with_related_udf("tune")
    .build()
});

/// The SQL function `hp_int(seed, trial, name, low, high)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct HpInt {
    signature: Signature,
}

impl Default for HpInt {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for HpInt {
    fn name(&self) -> &str {
        "hp_int"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coerce_either(self.name(), &ARGUMENTS, (&DOMAIN, 2), arg_types)
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        Ok(match arg_types.len() > DOMAIN.len() {
            true => DataType::Int64,
            false => domain_type(),
        })
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if args.arg_fields.len() <= DOMAIN.len() {
            return Ok(Arc::new(Field::new(self.name(), domain_type(), true)));
        }
        let bounds = literal_integer(&args, 3).zip(literal_integer(&args, 4));
        if let Some((low, high)) = bounds {
            at_plan_time(check(low, high))?;
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Int64, true)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.len() <= DOMAIN.len() {
            return domain_of(self.name(), "int", &DOMAIN, args.args);
        }
        let [seed, trial, name, low, high] =
            take_function_args(self.name(), into_arrays(args)?)?;
        let draws = Draws::try_new(&seed, &trial, &name)?;
        let values = int_rows(&draws, &low, &high)?;
        Ok(ColumnarValue::Array(Arc::new(values)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

fn int_rows(draws: &Draws<'_>, low: &ArrayRef, high: &ArrayRef) -> Result<Int64Array> {
    let bounds = as_int64_array(low)?.iter().zip(as_int64_array(high)?);
    draws
        .iter()
        .zip(bounds)
        .map(|row| {
            let (Some(draw), (Some(low), Some(high))) = row else {
                return Ok(None);
            };
            check(low, high).map_err(|reason| exec_datafusion_err!("{reason}"))?;
            Ok(Some(int(&draw, low, high)))
        })
        .collect()
}

fn check(low: i64, high: i64) -> Result<(), String> {
    if low <= high {
        return Ok(());
    }
    Err(format!(
        "hp_int: low must not be above high, got low {low} and high {high}"
    ))
}

/// A whole number from `low` to `high`, which are in order.
fn int(draw: &Draw<'_>, low: i64, high: i64) -> i64 {
    let count = u128::from(high.abs_diff(low)) + 1;
    // The offset is below 2^64, and adding it modulo 2^64 lands between the bounds
    // even where they are further apart than an i64 reaches.
    low.wrapping_add(draw.below(count) as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_are_reached_and_never_passed() {
        let mut seen = [0; 5];
        for trial in 0..1_000 {
            let value = int(
                &Draw {
                    seed: 1,
                    trial,
                    name: "hidden",
                },
                -2,
                2,
            );
            seen[usize::try_from(value + 2).unwrap()] += 1;
        }
        // Five standard deviations of a count: sqrt(1000 * 0.2 * 0.8) = 12.6 each.
        assert!(
            seen.iter().all(|&count| (137..=263).contains(&count)),
            "{seen:?}"
        );
    }

    #[test]
    fn the_whole_range_of_bigint_works() {
        let values: Vec<_> = (0..50)
            .map(|trial| {
                int(
                    &Draw {
                        seed: 1,
                        trial,
                        name: "n",
                    },
                    i64::MIN,
                    i64::MAX,
                )
            })
            .collect();
        assert!(values.iter().any(|&value| value < 0));
        assert!(values.iter().any(|&value| value > 0));
    }

    #[test]
    fn bounds_out_of_order_are_named() {
        assert!(check(5, 4).unwrap_err().contains("got low 5 and high 4"));
    }
}
