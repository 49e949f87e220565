//! Domains: what the `hp_` functions are without seed, trial and name.
//!
//! A domain is a struct with one field, text that says in JSON what values there are. So
//! it can stand wherever a value can: in a struct, in the choices of another domain, in a
//! column. `tune` reads it, and checks it with the name of its hyperparameter.

use std::sync::Arc;

use atoll_udf_common::structs::scalar_to_json;
use datafusion::arrow::array::{Array, StringArray, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use datafusion::logical_expr::ColumnarValue;
use serde_json::{Value, json};

use crate::sampler::{Argument, coerce};

/// The field of a domain.
const FIELD: &str = "hp_domain";

/// The type of a domain.
pub(crate) fn domain_type() -> DataType {
    DataType::Struct(fields())
}

fn fields() -> Fields {
    Fields::from(vec![Field::new(FIELD, DataType::Utf8, true)])
}

/// Checks the arguments of a function that draws with all of `draw`, and is a domain with
/// those of `domain`, of which the last ones may be missing down to `least`.
pub(crate) fn coerce_either(
    function: &str,
    draw: &[Argument],
    (domain, least): (&[Argument], usize),
    actual: &[DataType],
) -> Result<Vec<DataType>> {
    if (least..=domain.len()).contains(&actual.len()) {
        return coerce(function, &domain[..actual.len()], actual);
    }
    if actual.len() != draw.len() {
        let names = |arguments: &[Argument]| {
            let names: Vec<_> = arguments.iter().map(|(name, _)| *name).collect();
            names.join(", ")
        };
        return plan_err!(
            "{function} takes {} arguments to draw, {function}({}), or is a domain, \
             {function}({}), got {}",
            draw.len(),
            names(draw),
            names(&domain[..least]),
            actual.len()
        );
    }
    coerce(function, draw, actual)
}

/// The domain with these arguments, which are literals.
pub(crate) fn domain_of(
    function: &str,
    kind: &str,
    domain: &[Argument],
    args: Vec<ColumnarValue>,
) -> Result<ColumnarValue> {
    let mut json = serde_json::Map::new();
    json.insert("kind".to_string(), kind.into());
    for ((name, _), value) in domain.iter().zip(args) {
        let value = constant(function, value)?;
        let value = match &value {
            ScalarValue::Float64(Some(number)) if !number.is_finite() => {
                return exec_err!("{function}: {name} must be finite, got {number}");
            }
            value if value.is_null() => {
                return exec_err!("{function}: {name} of a domain must not be NULL");
            }
            value => scalar_to_json(name, value)?,
        };
        json.insert((*name).to_string(), value);
    }
    Ok(of_json(&Value::Object(json)))
}

/// The domain of these choices.
pub(crate) fn choices(function: &str, choices: ColumnarValue) -> Result<ColumnarValue> {
    let values: Vec<ScalarValue> = match constant(function, choices)? {
        ScalarValue::Struct(choices) => {
            let columns = choices.columns().iter();
            let values = columns.map(|column| ScalarValue::try_from_array(column, 0));
            values.collect::<Result<_>>()?
        }
        ScalarValue::List(list) if list.is_valid(0) => {
            let values = list.value(0);
            let values =
                (0..values.len()).map(|row| ScalarValue::try_from_array(&values, row));
            values.collect::<Result<_>>()?
        }
        _ => return exec_err!("{function}: list of a domain must not be NULL"),
    };
    let choices = values.iter().map(node).collect::<Result<Vec<_>>>()?;
    Ok(of_json(&json!({"kind": "choice", "choices": choices})))
}

fn constant(function: &str, value: ColumnarValue) -> Result<ScalarValue> {
    match value {
        ColumnarValue::Scalar(value) => Ok(value),
        ColumnarValue::Array(values) if values.len() == 1 => {
            ScalarValue::try_from_array(&values, 0)
        }
        ColumnarValue::Array(_) => exec_err!(
            "{function}: a domain takes constants; with seed, trial and name it draws a \
             value for each row"
        ),
    }
}

fn of_json(json: &Value) -> ColumnarValue {
    let text = StringArray::from(vec![json.to_string()]);
    let domain = StructArray::new(fields(), vec![Arc::new(text)], None);
    ColumnarValue::Scalar(ScalarValue::Struct(Arc::new(domain)))
}

/// A value of a search space as JSON: a domain, `{"fields": [[name, node], ..]}` for a
/// struct, or `{"value": ..}`. Lists keep the order of fields, which a map would not.
pub(crate) fn node(value: &ScalarValue) -> Result<Value> {
    let ScalarValue::Struct(fields) = value else {
        return Ok(json!({"value": scalar_to_json("a value", value)?}));
    };
    if fields.is_null(0) {
        return Ok(json!({"value": null}));
    }
    if let [field] = &fields.fields()[..]
        && field.name() == FIELD
    {
        let text = ScalarValue::try_from_array(fields.column(0), 0)?;
        let text = text.try_as_str().flatten().unwrap_or_default();
        return match serde_json::from_str(text) {
            Ok(domain) => Ok(domain),
            Err(error) => exec_err!("{text} is no domain: {error}"),
        };
    }
    let named = fields.fields().iter().zip(fields.columns());
    let nodes = named.map(|(field, column)| {
        let value = ScalarValue::try_from_array(column, 0)?;
        Ok(json!([field.name(), node(&value)?]))
    });
    Ok(json!({"fields": nodes.collect::<Result<Vec<_>>>()?}))
}
