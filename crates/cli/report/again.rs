//! What the trial store knows beyond the table: the data, and every hyperparameter.

use atoll_report::{Study, Value};
use atoll_session::Session;
use datafusion::arrow::array::{Array, AsArray};
use serde_json::{Map, Value as Json};

use super::columns::{column, integers, literal, rows};
use crate::errors::Failure;

/// The record of a trial, as far as it is needed here.
struct Record {
    snapshot: String,
    /// What chose its validation rows, if the data did not.
    split_seed: Option<u64>,
    /// The other options that find it.
    options: Map<String, Json>,
    hyperparameters: Map<String, Json>,
}

/// Says what the networks were trained on, and how to train the best one again. A store
/// that is gone is no error: the table may have come by mail.
pub(super) async fn describe(session: &Session, study: &mut Study) {
    let Some(best) = study.best() else { return };
    let root = best
        .model
        .as_deref()
        .and_then(storage_root)
        .map(String::from);
    let record = match (&root, &best.id) {
        (Some(root), Some(id)) => record(session, root, id).await.ok().flatten(),
        _ => None,
    };
    let (Some(root), Some(record)) = (root, record) else {
        study.again = Some(from_columns(study));
        return;
    };
    let snapshot = format!("{root}/snapshots/{}.parquet", record.snapshot);
    let sql = format!("SELECT count(*) AS n FROM {}", literal(&snapshot));
    let count = match rows(session, &sql).await {
        Ok(rows) => rows.first().and_then(|batch| {
            let counts = integers(column(batch, "n")?).ok()?;
            counts.into_iter().flatten().next()
        }),
        Err(_) => None,
    };
    study.data = Some(match count {
        Some(count) => format!("{count} rows, frozen in {snapshot}"),
        None => format!("{snapshot}, which is no longer there"),
    });
    study.again = Some(statement(&snapshot, &record));
}

/// The storage that a network is kept in: `<storage>/models/<sha256>.onnx`.
fn storage_root(model: &str) -> Option<&str> {
    let (folder, _) = model.rsplit_once('/')?;
    folder.strip_suffix("/models")
}

async fn record(
    session: &Session,
    root: &str,
    id: &str,
) -> Result<Option<Record>, Failure> {
    // A digest, and not a way out of the folder.
    if !id.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Ok(None);
    }
    let path = literal(&format!("{root}/trials/{id}.json"));
    let sql = format!("SELECT content FROM read_blob({path})");
    let batches = rows(session, &sql).await?;
    let content = batches.first().and_then(|batch| column(batch, "content"));
    let Some(content) = content.filter(|content| !content.is_empty()) else {
        return Ok(None);
    };
    let bytes = content.as_binary_opt::<i32>().map(|array| array.value(0));
    let json: Option<Json> = bytes.and_then(|bytes| serde_json::from_slice(bytes).ok());
    let Some(Json::Object(mut json)) = json else {
        return Ok(None);
    };
    let snapshot = match json.remove("snapshot") {
        Some(Json::String(snapshot)) => snapshot,
        _ => return Ok(None),
    };
    let split_seed = json.remove("split_seed").and_then(|seed| seed.as_u64());
    let options = match json.remove("options") {
        Some(Json::Object(options)) => options,
        // Splits that were drawn before there were options had no regard of classes.
        _ if split_seed.is_some() => {
            Map::from_iter([("stratify".to_string(), Json::Bool(false))])
        }
        _ => Map::new(),
    };
    let hyperparameters = match json.remove("hyperparameters") {
        Some(Json::Object(hyperparameters)) => hyperparameters,
        _ => return Ok(None),
    };
    Ok(Some(Record {
        snapshot,
        split_seed,
        options,
        hyperparameters,
    }))
}

/// SQL that finds the trial in the store, or trains it anew where it is not. The snapshot
/// knows its classes and its split, so that it is the same trial.
fn statement(snapshot: &str, record: &Record) -> String {
    let given = record.hyperparameters.iter();
    let given = given.filter(|(_, value)| !value.is_null());
    let lines: Vec<String> = given
        .map(|(name, value)| format!("    {name}: {}", sql(value)))
        .collect();
    let seed = record.split_seed.filter(|seed| *seed != 0);
    let seed = seed.map(|seed| format!("split_seed: {seed}"));
    let options = record.options.iter();
    let options = options.map(|(name, value)| format!("{name}: {}", sql(value)));
    let options: Vec<String> = seed.into_iter().chain(options).collect();
    format!(
        "SELECT train({}, {{\n{}\n}}{}) AS trial;",
        literal(snapshot),
        lines.join(",\n"),
        match options.is_empty() {
            true => String::new(),
            false => format!(", {{{}}}", options.join(", ")),
        }
    )
}

/// The same from the table alone, which lacks what did not differ.
fn from_columns(study: &Study) -> String {
    let best = study.best();
    let values = best.map_or(&[][..], |best| &best.values);
    let lines: Vec<String> = study
        .hyperparameters
        .iter()
        .zip(values)
        .filter_map(|(name, value)| {
            let value = match value {
                Value::Null => return None,
                Value::Number(number) => number.to_string(),
                Value::Text(text) => literal(text),
            };
            Some(format!("    {name}: {value}"))
        })
        .collect();
    format!(
        "-- The trial store is not at hand: name the dataset, and add the hyperparameters\n\
         -- that are no columns of the table.\n\
         SELECT train('DATASET', {{\n{}\n}}) AS trial;",
        lines.join(",\n")
    )
}

/// The key of a struct, in quotes where it is no word, as names of classes may be.
fn key(name: &str) -> String {
    let mut chars = name.chars();
    let is_word = chars.next().is_some_and(|first| first.is_ascii_lowercase())
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    match is_word {
        true => name.to_string(),
        false => literal(name),
    }
}

fn sql(value: &Json) -> String {
    match value {
        Json::String(text) => literal(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(sql).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| format!("{}: {}", key(name), sql(value)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        Json::Null | Json::Bool(_) | Json::Number(_) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_storage_is_beside_the_network() {
        assert_eq!(storage_root("/s/models/ab.onnx"), Some("/s"));
        assert_eq!(storage_root("s3://b/p/models/ab.onnx"), Some("s3://b/p"));
        assert_eq!(storage_root("/s/other/ab.onnx"), None);
        assert_eq!(storage_root("ab.onnx"), None);
    }

    #[test]
    fn hyperparameters_become_sql() {
        let json = r#"{"architecture": "it's", "filters": [16, 32], "decay": null,
                       "augmentation": {"shift": 2, "scale": 0.1}, "nesterov": true,
                       "class_weights": {"a dog": 2.0}}"#;
        let hyperparameters: Map<String, Json> = serde_json::from_str(json).unwrap();
        let mut record = Record {
            snapshot: "x".to_string(),
            split_seed: Some(0),
            options: Map::new(),
            hyperparameters,
        };
        let path = "/s/snapshots/x.parquet";
        let statement = statement(path, &record);
        for line in [
            "    architecture: 'it''s'",
            "    filters: [16, 32]",
            "    nesterov: true",
            "    class_weights: {'a dog': 2.0}",
        ] {
            assert!(statement.contains(line), "{statement}");
        }
        assert!(!statement.contains("decay"), "{statement}");
        assert!(statement.contains("scale: 0.1"), "{statement}");
        assert!(statement.ends_with("\n}) AS trial;"), "{statement}");
        record.split_seed = Some(7);
        let statement = super::statement(path, &record);
        assert!(
            statement.ends_with("}, {split_seed: 7}) AS trial;"),
            "{statement}"
        );
        let options = r#"{"folds": 5, "metric": "f1_macro"}"#;
        record.options = serde_json::from_str(options).unwrap();
        let statement = super::statement(path, &record);
        let expected = "}, {split_seed: 7, folds: 5, metric: 'f1_macro'}) AS trial;";
        assert!(statement.ends_with(expected), "{statement}");
    }
}
