//! `top_k`: the largest of some numbers.

use std::sync::LazyLock;

use atoll_udf_common::args::string_at;
use atoll_udf_common::{Argument, Usage};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Int64Type};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::SECTION;
use crate::classify::{k, labels_array, labels_type};
use crate::pipeline::Scored;

const USAGE: Usage = Usage {
    name: "top_k",
    syntax: "top_k(logits, k [, labels])",
    arguments: &[
        Argument("logits", numbers),
        Argument("k", k),
        Argument("labels", texts),
    ],
    optional: 1,
};

static DOCUMENTATION: LazyLock<Documentation> = LazyLock::new(|| {
    Documentation::builder(
        SECTION,
        "Returns the `k` largest numbers of a list as `classify` returns classes: structs of \
         `label`, `score` (the number as it is) and `index` (from 0), largest first; ties go \
         to the lower index, and NaN and NULL are left out. NULL gives NULL.",
        USAGE.syntax,
    )
    .with_argument("logits", "A list of numbers, such as an output of `predict`.")
    .with_argument("k", "How many, at least 1.")
    .with_argument("labels", "A list of text, one for each number.")
    .with_sql_example(
        "SELECT top_k([0.1, 2.5, 0.7], 2, ['cat', 'dog', 'fox']) AS best;",
    )
    .with_related_udf("predict")
    .with_related_udf("classify")
    .build()
});

/// A list of numbers, for a [`Usage`].
fn numbers(function: &str, argument: &str, data_type: &DataType) -> Result<DataType> {
    let is_valid =
        |item: &Field| item.data_type().is_numeric() || item.data_type().is_null();
    match item(data_type) {
        Some(found) if is_valid(found) => Ok(DataType::new_list(DataType::Float32, true)),
        _ if data_type.is_null() => Ok(DataType::new_list(DataType::Float32, true)),
        _ => {
            plan_err!("{function}: {argument} must be a list of numbers, got {data_type}")
        }
    }
}

/// A list of texts.
fn texts(function: &str, argument: &str, data_type: &DataType) -> Result<DataType> {
    let is_valid =
        |item: &Field| item.data_type().is_string() || item.data_type().is_null();
    match item(data_type) {
        Some(found) if is_valid(found) => Ok(DataType::new_list(DataType::Utf8, true)),
        _ if data_type.is_null() => Ok(DataType::new_list(DataType::Utf8, true)),
        _ => plan_err!("{function}: {argument} must be a list of text, got {data_type}"),
    }
}

fn item(data_type: &DataType) -> Option<&Field> {
    match data_type {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => Some(item),
        _ => None,
    }
}

/// The SQL function `top_k(logits, k [, labels])`.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct TopK {
    signature: Signature,
}

impl Default for TopK {
    fn default() -> Self {
        Self {
            signature: Signature::user_defined(Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for TopK {
    fn name(&self) -> &str {
        USAGE.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        USAGE.coerce(arg_types)
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(labels_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let rows = args.number_rows;
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let is_scalar = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if is_scalar { 1 } else { rows };
        let [numbers, ks, labels @ ..] = arrays.as_slice() else {
            return exec_err!("{} takes {}", USAGE.name, USAGE.syntax);
        };
        let ks = ks.as_primitive::<Int64Type>();
        let best = (0..rows).map(|row| {
            let labels = labels.first();
            let is_null = numbers.is_null(row) || ks.is_null(row);
            if is_null || labels.is_some_and(|labels| labels.is_null(row)) {
                return Ok(None);
            }
            let labels = labels.map(|labels| labels.as_list::<i32>().value(row));
            let numbers = numbers.as_list::<i32>().value(row);
            best(&numbers, ks.value(row), labels.as_ref()).map(Some)
        });
        let best = labels_array(best.collect::<Result<_>>()?);
        match is_scalar {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(
                &best, 0,
            )?)),
            false => Ok(ColumnarValue::Array(best)),
        }
    }

    fn documentation(&self) -> Option<&Documentation> {
        Some(&DOCUMENTATION)
    }
}

/// The `k` largest numbers of a row, with their labels.
fn best(numbers: &ArrayRef, k: i64, labels: Option<&ArrayRef>) -> Result<Vec<Scored>> {
    let Some(k) = usize::try_from(k).ok().filter(|k| *k > 0) else {
        return exec_err!("{}: k must be at least 1, got {k}", USAGE.name);
    };
    if let Some(labels) = labels
        && labels.len() != numbers.len()
    {
        return exec_err!(
            "{}: there are {} numbers and {} labels; give as many labels",
            USAGE.name,
            numbers.len(),
            labels.len()
        );
    }
    let numbers = cast(numbers, &DataType::Float32)?;
    let numbers = numbers.as_primitive::<Float32Type>();
    let there: Vec<(usize, f32)> = numbers
        .iter()
        .enumerate()
        .filter_map(|(index, number)| Some((index, number?)))
        .filter(|(_, number)| !number.is_nan())
        .collect();
    let scores: Vec<f32> = there.iter().map(|(_, number)| *number).collect();
    let best = atoll_onnx::top_k(&scores, k).into_iter();
    let best = best.map(|(place, score)| {
        let index = there[place].0;
        let label = labels.and_then(|labels| string_at(labels, index));
        Scored {
            label: label.map(str::to_string),
            score,
            index: i32::try_from(index).unwrap_or(i32::MAX),
        }
    });
    Ok(best.collect())
}
