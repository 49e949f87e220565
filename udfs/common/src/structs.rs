//! Struct arguments: `{learning_rate: 0.1, hidden: 64}`.

pub use atoll_suggest::nearest as suggest;
use datafusion::arrow::array::{Array, StructArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, exec_err, plan_err};
use serde_json::{Map, Value};

/// The keys of the options of `train`, which `tune` takes too.
pub const TRAIN_KEYS: [&str; 20] = [
    "image",
    "features",
    "label",
    "split_column",
    "height",
    "width",
    "channels",
    "scale",
    "group",
    "weight",
    "split_seed",
    "stratify",
    "folds",
    "metric",
    "timeout_seconds",
    "threads_per_trial",
    "checkpoint",
    "resume_from",
    "backbones",
    "backbone_options",
];

/// Checks at plan time that a struct has only `valid` keys.
///
/// `what` names one key for the user, such as "hyperparameter".
pub fn check_keys(
    function: &str,
    what: &str,
    data_type: &DataType,
    valid: &[&str],
) -> Result<()> {
    let fields = match data_type {
        DataType::Struct(fields) => fields,
        DataType::Null => return Ok(()),
        other => {
            return plan_err!(
                "{function} takes its {what}s as a struct such as {{{}: ...}}, got {other}",
                valid.first().unwrap_or(&"key")
            );
        }
    };
    for (n, field) in fields.iter().enumerate() {
        let name = field.name();
        if fields[..n].iter().any(|other| other.name() == name) {
            return plan_err!(
                "{function}: {what} {name} is given twice; leave one of them out"
            );
        }
    }
    let unknown = fields
        .iter()
        .find(|field| !valid.contains(&field.name().as_str()));
    let Some(unknown) = unknown else {
        return Ok(());
    };
    let word = unknown.name();
    let hint = match suggest(word, valid.iter().copied()) {
        Some(candidate) => format!("did you mean {candidate}? "),
        None => String::new(),
    };
    plan_err!(
        "{function}: unknown {what} {word}; {hint}valid: {}",
        valid.join(", ")
    )
}

/// One row of a struct as JSON: text, numbers, booleans, lists and structs; a NULL
/// field is JSON's null.
pub fn row_to_json(structs: &StructArray, row: usize) -> Result<Map<String, Value>> {
    structs
        .fields()
        .iter()
        .zip(structs.columns())
        .map(|(field, column)| {
            let value = ScalarValue::try_from_array(column, row)?;
            Ok((field.name().clone(), scalar_to_json(field.name(), &value)?))
        })
        .collect()
}

/// A value as JSON, in the same way. `key` is what errors call it.
pub fn scalar_to_json(key: &str, value: &ScalarValue) -> Result<Value> {
    if value.is_null() {
        return Ok(Value::Null);
    }
    if let Some(Some(text)) = value.try_as_str() {
        return Ok(text.into());
    }
    match value {
        ScalarValue::Boolean(Some(flag)) => Ok((*flag).into()),
        ScalarValue::Struct(structs) => Ok(Value::Object(row_to_json(structs, 0)?)),
        ScalarValue::Map(map) => map_to_json(key, &map.value(0)),
        ScalarValue::List(list) => list_to_json(key, &list.value(0)),
        ScalarValue::LargeList(list) => list_to_json(key, &list.value(0)),
        ScalarValue::FixedSizeList(list) => list_to_json(key, &list.value(0)),
        number if number.data_type().is_integer() => {
            match number.cast_to(&DataType::Int64)? {
                ScalarValue::Int64(Some(number)) => Ok(number.into()),
                _ => exec_err!("{key} is out of range: {value}"),
            }
        }
        // A decimal literal such as 0.1 is exact as text, so go through its text.
        number if number.data_type().is_decimal() => match number.to_string().parse() {
            Ok(number) => Ok(json_number(number)),
            Err(_) => decimal_to_json(key, number),
        },
        ScalarValue::Float32(Some(number)) => {
            // The shortest text that gives the same f32, so that 0.1 stays 0.1.
            Ok(json_number(
                number.to_string().parse().unwrap_or(f64::from(*number)),
            ))
        }
        ScalarValue::Float64(Some(number)) => Ok(json_number(*number)),
        other => exec_err!(
            "{key} has a type that cannot be used here: {}",
            other.data_type()
        ),
    }
}

/// A value as a model's metadata writes it: words bare, lists with commas.
pub fn metadata_text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => {
            let values = values.iter().map(metadata_text);
            values.collect::<Vec<_>>().join(",")
        }
        other => other.to_string(),
    }
}

fn decimal_to_json(key: &str, value: &ScalarValue) -> Result<Value> {
    match value.cast_to(&DataType::Float64)? {
        ScalarValue::Float64(Some(number)) => Ok(json_number(number)),
        _ => exec_err!("{key} is out of range: {value}"),
    }
}

/// The entries of a map, whose keys must be text.
fn map_to_json(key: &str, entries: &StructArray) -> Result<Value> {
    (0..entries.len())
        .map(|row| {
            let name = ScalarValue::try_from_array(entries.column(0), row)?;
            let Some(Some(name)) = name.try_as_str() else {
                return exec_err!(
                    "{key} must have text as the keys of its map, got {name}"
                );
            };
            let value = ScalarValue::try_from_array(entries.column(1), row)?;
            Ok((name.to_string(), scalar_to_json(name, &value)?))
        })
        .collect::<Result<Map<_, _>>>()
        .map(Value::Object)
}

fn list_to_json(key: &str, values: &dyn Array) -> Result<Value> {
    (0..values.len())
        .map(|row| scalar_to_json(key, &ScalarValue::try_from_array(values, row)?))
        .collect::<Result<Vec<_>>>()
        .map(Value::Array)
}

/// JSON has no NaN or infinity; as text they reach the check of the key's domain,
/// whose message then shows them.
fn json_number(number: f64) -> Value {
    serde_json::Number::from_f64(number)
        .map_or_else(|| Value::String(number.to_string()), Value::Number)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int32Array, StringArray};
    use datafusion::arrow::datatypes::{Field, Fields};

    use super::*;

    fn keys(names: &[&str]) -> DataType {
        let fields: Fields = names
            .iter()
            .map(|name| Field::new(*name, DataType::Int64, true))
            .collect();
        DataType::Struct(fields)
    }

    #[test]
    fn a_misspelt_key_is_named_with_a_suggestion() {
        let valid = ["learning_rate", "hidden"];
        let error =
            check_keys("train", "hyperparameter", &keys(&["learning_rat"]), &valid)
                .unwrap_err()
                .strip_backtrace();
        assert!(
            error.contains("unknown hyperparameter learning_rat"),
            "{error}"
        );
        assert!(error.contains("did you mean learning_rate?"), "{error}");
    }

    #[test]
    fn nothing_alike_is_suggested_for_a_strange_key() {
        assert_eq!(suggest("zzz", ["learning_rate", "hidden"]), None);
    }

    #[test]
    fn a_row_becomes_json() {
        let structs = StructArray::from(vec![
            (
                Arc::new(Field::new("rate", DataType::Float64, true)),
                Arc::new(Float64Array::from(vec![Some(0.1), None])) as Arc<dyn Array>,
            ),
            (
                Arc::new(Field::new("hidden", DataType::Int32, true)),
                Arc::new(Int32Array::from(vec![64, 128])),
            ),
            (
                Arc::new(Field::new("optimizer", DataType::Utf8, true)),
                Arc::new(StringArray::from(vec!["sgd", "adam"])),
            ),
        ]);
        let row = |row| Value::Object(row_to_json(&structs, row).unwrap()).to_string();
        assert_eq!(row(0), r#"{"hidden":64,"optimizer":"sgd","rate":0.1}"#);
        assert_eq!(row(1), r#"{"hidden":128,"optimizer":"adam","rate":null}"#);
    }
}
