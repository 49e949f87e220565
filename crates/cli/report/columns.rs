//! Rows of a statement as plain values.

use std::sync::Arc;

use atoll_session::Session;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, ListArray, RecordBatch, StringArray,
    StructArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Float64Type, Int64Type, SchemaRef, TimeUnit,
};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use futures::{StreamExt, TryStreamExt};

use crate::errors::Failure;

/// Runs a statement and gives its rows.
pub(super) async fn rows(
    session: &Session,
    sql: &str,
) -> Result<Vec<RecordBatch>, Failure> {
    Ok(session.execute(sql).await?.try_collect().await?)
}

/// Runs a statement and hands on its rows as they come.
pub(super) async fn each(
    session: &Session,
    sql: &str,
    mut take: impl FnMut(&RecordBatch) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut stream = session.execute(sql).await?;
    while let Some(batch) = stream.next().await {
        take(&batch?)?;
    }
    Ok(())
}

/// The columns that a table expression has.
pub(super) async fn schema(
    session: &Session,
    source: &str,
) -> Result<SchemaRef, Failure> {
    let sql = format!("SELECT * FROM {source} LIMIT 0");
    Ok(session.execute(&sql).await?.schema())
}

/// The present moment in words.
pub(super) async fn now(session: &Session) -> Result<String, Failure> {
    let sql = "SELECT to_char(now(), '%Y-%m-%d %H:%M UTC')";
    let rows = rows(session, sql).await?;
    let texts = rows
        .first()
        .map(|batch| texts(batch.column(0)))
        .transpose()?;
    Ok(texts
        .and_then(|texts| texts.into_iter().flatten().next())
        .unwrap_or_default())
}

/// A name as SQL takes it, whatever is in it.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it.
pub(super) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A column by name; none if there is none.
pub(super) fn column<'a>(batch: &'a RecordBatch, name: &str) -> Option<&'a ArrayRef> {
    batch.column_by_name(name)
}

pub(super) fn numbers(array: &ArrayRef) -> Result<Vec<Option<f64>>, Failure> {
    let array = cast(array, &DataType::Float64)?;
    Ok(array.as_primitive::<Float64Type>().iter().collect())
}

pub(super) fn integers(array: &ArrayRef) -> Result<Vec<Option<i64>>, Failure> {
    let array = cast(array, &DataType::Int64)?;
    Ok(array.as_primitive::<Int64Type>().iter().collect())
}

/// Texts as they are, anything else as the tables of the prompt show it.
pub(super) fn texts(array: &ArrayRef) -> Result<Vec<Option<String>>, Failure> {
    if let Ok(texts) = cast(array, &DataType::Utf8)
        && let Some(texts) = texts.as_any().downcast_ref::<StringArray>()
    {
        return Ok(texts.iter().map(|text| text.map(String::from)).collect());
    }
    let options = FormatOptions::default().with_null("NULL");
    let format = ArrayFormatter::try_new(array.as_ref(), &options)?;
    let text = |row| (!array.is_null(row)).then(|| format.value(row).to_string());
    Ok((0..array.len()).map(text).collect())
}

/// Moments as seconds since 1970, UTC. Moments without a time zone are taken for UTC.
pub(super) fn moments(array: &ArrayRef) -> Result<Vec<Option<f64>>, Failure> {
    let zone = match array.data_type() {
        DataType::Timestamp(_, zone) => zone.clone(),
        _ => None,
    };
    let array = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, zone))?;
    let micros: Int64Array = cast(&array, &DataType::Int64)?.as_primitive().clone();
    let seconds = micros
        .iter()
        .map(|micros| micros.map(|micros| micros as f64 / 1e6));
    Ok(seconds.collect())
}

/// A list column, whichever kind of list it is.
pub(super) fn lists(array: &ArrayRef) -> Result<ListArray, Failure> {
    let item = match array.data_type() {
        DataType::List(item) => Arc::clone(item),
        DataType::LargeList(item) | DataType::FixedSizeList(item, _) => Arc::clone(item),
        other => {
            return Err(Failure::new(format!(
                "expected a list, got a column of {other}"
            )));
        }
    };
    Ok(cast(array, &DataType::List(item))?.as_list::<i32>().clone())
}

/// A field of a struct; none if it is no struct or has no such field.
pub(super) fn field<'a>(array: &'a ArrayRef, name: &str) -> Option<&'a ArrayRef> {
    let array = array.as_any().downcast_ref::<StructArray>()?;
    array.column_by_name(name)
}
