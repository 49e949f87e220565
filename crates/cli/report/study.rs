//! Reads the trials of a study.

use atoll_report::{Epoch, Status, Study, Trial, Value};
use atoll_session::Session;
use datafusion::arrow::array::{Array, ArrayRef, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema};

use super::columns::{
    column, field, integers, lists, moments, numbers, quoted, rows, texts,
};
use super::gather::Wanted;
use super::{again, test};
use crate::errors::Failure;

/// What `train` returns of a trial, and jobs may spread over columns. Everything else
/// is a hyperparameter.
const RESULTS: [&str; 17] = [
    "trial_id",
    "status",
    "error_code",
    "error",
    "best_epoch",
    "train_loss",
    "validation_loss",
    "validation_accuracy",
    "history",
    "model",
    "model_sha256",
    "checkpoint",
    "started_at",
    "worker",
    "seconds",
    "engine",
    "epochs",
];

/// What a report reads of them.
const READ: [&str; 12] = [
    "trial_id",
    "status",
    "error",
    "best_epoch",
    "validation_loss",
    "validation_accuracy",
    "history",
    "model",
    "started_at",
    "worker",
    "seconds",
    "epochs",
];

/// What `tune` writes beside hyperparameters: the number of a trial, how often it went on,
/// and what it made small where that was several things.
const NUMBER: &str = "trial";
const RUNG: &str = "rung";
const OBJECTIVES: &str = "objectives";

/// Rows that a report reads; a study beyond that is not for a page.
const MOST_TRIALS: usize = 100_000;

/// A hyperparameter with the expression that reads it.
struct Hyperparameter {
    name: String,
    sql: String,
    is_number: bool,
}

/// Reads a study; `inside` names the struct column that has the results of `train`.
pub(super) async fn gather(
    session: &Session,
    (name, source): (&str, &str),
    schema: &Schema,
    inside: Option<&str>,
    wanted: &Wanted,
) -> Result<Study, Failure> {
    let mut hyperparameters = hyperparameters(schema, inside);
    let sql = statement(source, schema, inside, &hyperparameters);
    let mut study = Study {
        name: name.to_string(),
        objectives: objectives(schema),
        contour: wanted.contour.clone(),
        ..Study::default()
    };
    let mut ended = Vec::new();
    for batch in rows(session, &sql).await? {
        let first = study.trials.len();
        read(&batch, &hyperparameters, &mut study.trials, &mut ended)?;
        let count = study.objectives.len();
        read_search(&batch, count, &mut study.trials[first..])?;
    }
    // A column `epochs` of its own is how many ended or how many there should be.
    if inside.is_none() && schema.column_with_name("epochs").is_some() {
        let is_result = study.trials.iter().zip(&ended).all(|(trial, epochs)| {
            epochs.is_none_or(|epochs| epochs as usize == trial.history.len())
        });
        if !is_result {
            for (trial, epochs) in study.trials.iter_mut().zip(&ended) {
                trial.values.push(epochs.map_or(Value::Null, Value::Number));
            }
            hyperparameters.push(Hyperparameter {
                name: "epochs".to_string(),
                sql: String::new(),
                is_number: true,
            });
        }
    }
    study.hyperparameters = hyperparameters.into_iter().map(|h| h.name).collect();
    again::describe(session, &mut study).await;
    if let Some(dataset) = &wanted.test {
        test::test(session, &mut study, dataset, wanted.images).await?;
    }
    Ok(study)
}

/// Whether a column is one that `tune` writes beside hyperparameters.
fn is_of_search(column: &Field) -> bool {
    match column.name().as_str() {
        NUMBER | RUNG => column.data_type().is_integer(),
        OBJECTIVES => matches!(column.data_type(), DataType::Struct(_)),
        _ => false,
    }
}

/// The names of several objectives.
fn objectives(schema: &Schema) -> Vec<String> {
    match schema.field_with_name(OBJECTIVES).map(Field::data_type) {
        Ok(DataType::Struct(fields)) => {
            let numbers = fields.iter().filter(|field| field.data_type().is_numeric());
            numbers.map(|field| field.name().clone()).collect()
        }
        _ => Vec::new(),
    }
}

/// The columns that are no results; a struct gives one for each of its fields.
fn hyperparameters(schema: &Schema, inside: Option<&str>) -> Vec<Hyperparameter> {
    let mut found = Vec::new();
    let mut add = |name: String, sql: String, data_type: &DataType| {
        if !matches!(
            data_type,
            DataType::Binary
                | DataType::LargeBinary
                | DataType::BinaryView
                | DataType::FixedSizeBinary(_)
        ) {
            found.push(Hyperparameter {
                name,
                sql,
                is_number: data_type.is_numeric(),
            });
        }
    };
    for column in schema.fields() {
        let name = column.name();
        let is_result = match inside {
            Some(inside) => name == inside,
            None => RESULTS.contains(&name.as_str()),
        };
        if is_result || is_of_search(column) {
            continue;
        }
        match column.data_type() {
            DataType::Struct(fields) => {
                for field in fields {
                    let sql = format!(
                        "{}['{}']",
                        quoted(name),
                        field.name().replace('\'', "''")
                    );
                    add(format!("{name}.{}", field.name()), sql, field.data_type());
                }
            }
            data_type => add(name.clone(), quoted(name), data_type),
        }
    }
    found
}

fn statement(
    source: &str,
    schema: &Schema,
    inside: Option<&str>,
    hyperparameters: &[Hyperparameter],
) -> String {
    let mut columns: Vec<String> = hyperparameters
        .iter()
        .enumerate()
        .map(|(index, hyperparameter)| format!("{} AS \"h{index}\"", hyperparameter.sql))
        .collect();
    let of_search = [NUMBER, RUNG].into_iter().filter(|name| {
        let field = schema.field_with_name(name);
        field.is_ok_and(is_of_search)
    });
    columns
        .extend(of_search.map(|name| format!("{} AS \"search_{name}\"", quoted(name))));
    let objectives = objectives(schema);
    columns.extend(objectives.iter().enumerate().map(|(index, name)| {
        let name = name.replace('\'', "''");
        format!("{OBJECTIVES}['{name}'] AS \"o{index}\"")
    }));
    match inside {
        // A NULL among the rows is no trial.
        Some(inside) => {
            let has = |name: &&&str| match schema
                .field_with_name(inside)
                .map(|f| f.data_type())
            {
                Ok(DataType::Struct(fields)) => {
                    fields.iter().any(|field| field.name() == **name)
                }
                _ => false,
            };
            let inside = quoted(inside);
            columns.extend(
                READ.iter()
                    .filter(has)
                    .map(|name| format!("{inside}['{name}'] AS {name}")),
            );
            format!(
                "SELECT {} FROM {source} WHERE {inside} IS NOT NULL LIMIT {MOST_TRIALS}",
                columns.join(", ")
            )
        }
        None => {
            let has = |name: &&&str| schema.column_with_name(name).is_some();
            columns.extend(READ.iter().filter(has).map(|name| quoted(name)));
            format!(
                "SELECT {} FROM {source} LIMIT {MOST_TRIALS}",
                columns.join(", ")
            )
        }
    }
}

/// Adds the trials of a record batch, and what its column `epochs` says.
fn read(
    batch: &RecordBatch,
    hyperparameters: &[Hyperparameter],
    trials: &mut Vec<Trial>,
    ended: &mut Vec<Option<f64>>,
) -> Result<(), Failure> {
    let count = batch.num_rows();
    let text = |name: &str| optional(column(batch, name), count, texts);
    let number = |name: &str| optional(column(batch, name), count, numbers);
    let (ids, statuses, errors) = (text("trial_id")?, text("status")?, text("error")?);
    let (models, workers) = (text("model")?, text("worker")?);
    let (accuracy, loss) = (number("validation_accuracy")?, number("validation_loss")?);
    let seconds = number("seconds")?;
    let best = optional(column(batch, "best_epoch"), count, integers)?;
    let started = optional(column(batch, "started_at"), count, moments)?;
    ended.extend(number("epochs")?);
    let mut histories = match column(batch, "history") {
        Some(history) => histories(history)?,
        None => vec![Vec::new(); count],
    };
    let mut values = vec![Vec::new(); count];
    for (index, hyperparameter) in hyperparameters.iter().enumerate() {
        let array = column(batch, &format!("h{index}"));
        for (row, value) in values_of(array, count, hyperparameter.is_number)?
            .into_iter()
            .enumerate()
        {
            values[row].push(value);
        }
    }
    for (row, values) in values.into_iter().enumerate() {
        let status = statuses[row].as_deref().map(Status::from_name);
        trials.push(Trial {
            id: ids[row].clone(),
            values,
            status: status.unwrap_or_default(),
            error: errors[row].clone(),
            accuracy: accuracy[row],
            loss: loss[row],
            best_epoch: best[row].and_then(|epoch| u32::try_from(epoch).ok()),
            seconds: seconds[row],
            history: std::mem::take(&mut histories[row]),
            model: models[row].clone(),
            started_at: started[row],
            worker: workers[row].clone(),
            ..Trial::default()
        });
    }
    Ok(())
}

/// Adds what `tune` says of the trials of a record batch.
fn read_search(
    batch: &RecordBatch,
    objectives: usize,
    trials: &mut [Trial],
) -> Result<(), Failure> {
    let whole = |name: &str| {
        let array = column(batch, &format!("search_{name}"));
        optional(array, batch.num_rows(), integers)
    };
    let (places, rungs) = (whole(NUMBER)?, whole(RUNG)?);
    for (row, trial) in trials.iter_mut().enumerate() {
        trial.number = places[row].and_then(|number| u64::try_from(number).ok());
        trial.rung = rungs[row].and_then(|rung| u32::try_from(rung).ok());
    }
    for index in 0..objectives {
        let array = column(batch, &format!("o{index}"));
        let values = optional(array, batch.num_rows(), numbers)?;
        for (trial, value) in trials.iter_mut().zip(values) {
            // A trial that lacks one has no place among the others.
            trial.objectives.push(value.unwrap_or(f64::NAN));
        }
    }
    Ok(())
}

/// A value for each row, none where there is no such column.
fn optional<T: Clone>(
    array: Option<&ArrayRef>,
    count: usize,
    read: fn(&ArrayRef) -> Result<Vec<Option<T>>, Failure>,
) -> Result<Vec<Option<T>>, Failure> {
    array.map_or_else(|| Ok(vec![None; count]), read)
}

fn values_of(
    array: Option<&ArrayRef>,
    count: usize,
    is_number: bool,
) -> Result<Vec<Value>, Failure> {
    Ok(match is_number {
        true => optional(array, count, numbers)?
            .into_iter()
            .map(|number| number.map_or(Value::Null, Value::Number))
            .collect(),
        false => optional(array, count, texts)?
            .into_iter()
            .map(|text| text.map_or(Value::Null, Value::Text))
            .collect(),
    })
}

fn histories(array: &ArrayRef) -> Result<Vec<Vec<Epoch>>, Failure> {
    let lists = lists(array)?;
    let mut histories = Vec::with_capacity(lists.len());
    for row in 0..lists.len() {
        if lists.is_null(row) {
            histories.push(Vec::new());
            continue;
        }
        histories.push(epochs(&lists.value(row))?);
    }
    Ok(histories)
}

fn epochs(array: &ArrayRef) -> Result<Vec<Epoch>, Failure> {
    let count = array.len();
    let number = |name: &str| optional(field(array, name), count, numbers);
    let epoch = optional(field(array, "epoch"), count, integers)?;
    let (train, loss) = (number("train_loss")?, number("validation_loss")?);
    let accuracy = number("validation_accuracy")?;
    let epochs = (0..count).map(|row| Epoch {
        epoch: epoch[row]
            .and_then(|n| u32::try_from(n).ok())
            .unwrap_or(row as u32 + 1),
        train_loss: train[row],
        loss: loss[row],
        accuracy: accuracy[row],
    });
    Ok(epochs.collect())
}
