//! `logspace`: numbers evenly spaced on a log axis.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, Float64Builder, ListArray, ListBuilder};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::cast::{as_float64_array, as_int64_array};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDFImpl,
    Signature, Volatility,
};

use crate::SECTION;
use crate::sampler::{
    Argument, Kind, at_plan_time, coerce, into_arrays, literal_integer, literal_number,
};

const ARGUMENTS: [Argument; 3] = [
    ("a", Kind::Number),
    ("b", Kind::Number),
    ("n", Kind::Integer),
];

/// More values than any search has trials; a mistyped `n` must not fill the memory.
const MOST: i64 = 1_000_000;

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns `n` numbers from `a` to `b`, each the same multiple of the one before. \
         The first is exactly `a` and the last exactly `b`. Unlike NumPy's `logspace`, \
         which takes exponents, `a` and `b` are the values themselves: write \
         `logspace(0.001, 0.1, 10)` for `numpy.logspace(-3, -1, 10)`.",
        "logspace(a, b, n)",
    )
    .with_argument("a", "First value, greater than 0.")
    .with_argument("b", "Last value, greater than 0; may be below `a`.")
    .with_argument("n", "How many values, from 1 to 1000000. One value is `a`.")
    .with_sql_example(
        "SELECT learning_rate, hidden\n\
         FROM (SELECT unnest(logspace(0.001, 0.1, 3)) AS learning_rate) AS rates\n\
         CROSS JOIN (SELECT unnest([64, 128]) AS hidden) AS sizes;",
    )
    .with_related_udf("hp_loguniform")
    .build()
});

/// The SQL function `logspace(a, b, n)`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Logspace {
    signature: Signature,
}

impl Default for Logspace {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for Logspace {
    fn name(&self) -> &str {
        "logspace"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        coerce(self.name(), &ARGUMENTS, arg_types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::new_list(DataType::Float64, true))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        // A column's values are checked row by row, so put something right in its place.
        let a = literal_number(&args, 0).unwrap_or(1.0);
        let b = literal_number(&args, 1).unwrap_or(1.0);
        let n = literal_integer(&args, 2).unwrap_or(1);
        at_plan_time(check(a, b, n))?;
        Ok(Arc::new(Field::new(
            self.name(),
            self.return_type(&[])?,
            true,
        )))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [a, b, n] = take_function_args(self.name(), into_arrays(args)?)?;
        Ok(ColumnarValue::Array(Arc::new(logspace_rows(&a, &b, &n)?)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

fn logspace_rows(a: &ArrayRef, b: &ArrayRef, n: &ArrayRef) -> Result<ListArray> {
    let mut lists = ListBuilder::with_capacity(Float64Builder::new(), a.len());
    let rows = as_float64_array(a)?.iter().zip(as_float64_array(b)?);
    for ((a, b), n) in rows.zip(as_int64_array(n)?) {
        let (Some(a), Some(b), Some(n)) = (a, b, n) else {
            lists.append_null();
            continue;
        };
        check(a, b, n).map_err(|reason| exec_datafusion_err!("{reason}"))?;
        for i in 0..n {
            lists.values().append_value(point(a, b, n, i));
        }
        lists.append(true);
    }
    Ok(lists.finish())
}

fn check(a: f64, b: f64, n: i64) -> Result<(), String> {
    for (name, value) in [("a", a), ("b", b)] {
        if !(value > 0.0 && value.is_finite()) {
            return Err(format!(
                "logspace: {name} must be greater than 0 and finite, got {value}; it is \
                 the value at the end, not its exponent"
            ));
        }
    }
    if (1..=MOST).contains(&n) {
        return Ok(());
    }
    Err(format!("logspace: n must be from 1 to {MOST}, got {n}"))
}

/// The value at position `i` of `n`.
///
/// In powers of ten, because 0.01 between 0.001 and 0.1 is what people expect to read;
/// with `libm`, because the last bit of the platform's own functions differs.
fn point(a: f64, b: f64, n: i64, i: i64) -> f64 {
    if i == 0 {
        return a;
    }
    if i == n - 1 {
        return b;
    }
    let (a, b) = (libm::log10(a), libm::log10(b));
    libm::exp10(a + (b - a) * i as f64 / (n - 1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logspace(a: f64, b: f64, n: i64) -> Vec<f64> {
        (0..n).map(|i| point(a, b, n, i)).collect()
    }

    #[test]
    fn decades_are_exact() {
        assert_eq!(logspace(0.001, 0.1, 3), [0.001, 0.01, 0.1]);
        assert_eq!(logspace(1.0, 1e6, 4), [1.0, 100.0, 10_000.0, 1e6]);
        assert_eq!(logspace(100.0, 1.0, 3), [100.0, 10.0, 1.0]);
    }

    #[test]
    fn both_ends_are_exact_and_one_value_is_the_first() {
        let values = logspace(0.3, 0.7, 7);
        assert_eq!((values[0], values[6]), (0.3, 0.7));
        assert_eq!(logspace(0.3, 0.7, 1), [0.3]);
    }

    // numpy.logspace(-3, -1, 10)
    #[test]
    fn values_are_those_of_numpy() {
        let expected = [
            0.001,
            0.001668100537200059,
            0.0027825594022071257,
            0.004641588833612777,
            0.007742636826811269,
            0.01291549665014884,
            0.021544346900318832,
            0.03593813663804626,
            0.059948425031894084,
            0.1,
        ];
        for (value, expected) in logspace(1e-3, 1e-1, 10).into_iter().zip(expected) {
            assert!((value / expected - 1.0).abs() < 1e-15, "{value} {expected}");
        }
    }

    #[test]
    fn exponents_as_ends_are_refused() {
        let error = check(-3.0, -1.0, 10).unwrap_err();
        assert!(
            error.contains("a must be greater than 0 and finite, got -3"),
            "{error}"
        );
        assert!(check(1.0, 2.0, 0).unwrap_err().contains("n must be from 1"));
        assert!(
            check(1.0, f64::INFINITY, 2)
                .unwrap_err()
                .contains("got inf")
        );
    }
}
