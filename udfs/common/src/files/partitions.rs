//! Columns that files do not hold: folders called `column=value`, as Hive began it.
//!
//! NULL is `__HIVE_DEFAULT_PARTITION__`, as Spark, DuckDB and Arrow write it. An empty
//! text is `column=`, as DuckDB writes it; Spark cannot tell it from NULL.

use std::fmt::{self, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, AsArray, RecordBatch, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::{Result, ScalarValue, exec_err, internal_err, plan_err};
use datafusion::datasource::sink::{DataSink, DataSinkExec};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{DisplayAs, DisplayFormatType, ExecutionPlan};
use futures::StreamExt;
use object_store::path::Path;
use percent_encoding::percent_decode_str;

/// The name of the folder of the rows in which the column is NULL.
pub const NULL: &str = "__HIVE_DEFAULT_PARTITION__";

/// The type that columns of folders have, unless a table declares another.
pub(super) fn column_type() -> DataType {
    DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8))
}

/// The columns and values that a file has from the folders it lies in, below `base`.
pub fn of_file(base: &Path, file: &Path) -> Vec<(String, Option<String>)> {
    let below: Vec<_> = file.prefix_match(base).into_iter().flatten().collect();
    let folders = below.split_last().map_or(&[][..], |(_, folders)| folders);
    let columns = folders.iter().filter_map(|folder| {
        let (name, value) = folder.as_ref().split_once('=')?;
        if name.is_empty() {
            return None;
        }
        Some((decoded(name), Some(decoded(value)).filter(|v| v != NULL)))
    });
    columns.collect()
}

/// Without what an escape stands for; what is no escape stays.
fn decoded(text: &str) -> String {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => decoded.into_owned(),
        Err(_) => text.to_string(),
    }
}

/// The value of a column in this type.
pub fn value(text: Option<&str>, data_type: &DataType) -> Result<ScalarValue> {
    match text {
        None => ScalarValue::try_new_null(data_type),
        Some(text) => ScalarValue::try_from_string(text.to_string(), data_type),
    }
}

/// The rows with partition columns in the form of names of folders.
///
/// DataFusion's writer makes names of the values by itself, but takes what happens to
/// lie in the place of a NULL for its value.
pub fn with_names(
    rows: SendableRecordBatchStream,
    columns: &[String],
) -> Result<SendableRecordBatchStream> {
    if columns.is_empty() {
        return Ok(rows);
    }
    let schema = rows.schema();
    let is_named: Vec<bool> = schema
        .fields()
        .iter()
        .map(|field| columns.contains(field.name()))
        .collect();
    let fields = schema.fields().iter().zip(&is_named).map(|(field, named)| {
        if !named {
            return Ok(Arc::clone(field));
        }
        check(field)?;
        Ok(Arc::new(Field::new(field.name(), DataType::Utf8, false)))
    });
    let fields = fields.collect::<Result<Vec<_>>>()?;
    let schema = Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()));
    let named = Arc::clone(&schema);
    let rows = rows.map(move |batch| {
        let batch = batch?;
        let columns = batch.columns().iter().zip(&is_named);
        let columns = columns.map(|(values, is_named)| match is_named {
            true => Ok(Arc::new(names(values)?) as ArrayRef),
            false => Ok(Arc::clone(values)),
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(Arc::clone(&named), columns)?)
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// Writes into folders what another sink would.
#[derive(Debug)]
pub(super) struct NamingSink {
    /// A `DataSinkExec`, which keeps its sink.
    pub(super) inner: Arc<dyn ExecutionPlan>,
    pub(super) columns: Vec<String>,
    pub(super) schema: SchemaRef,
}

impl DisplayAs for NamingSink {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "NamingSink(partition_by=[{}])", self.columns.join(", "))
    }
}

#[async_trait]
impl DataSink for NamingSink {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    async fn write_all(
        &self,
        rows: SendableRecordBatchStream,
        context: &Arc<TaskContext>,
    ) -> Result<u64> {
        let Some(inner) = self.inner.downcast_ref::<DataSinkExec>() else {
            return internal_err!("rows are inserted with {:?}", self.inner);
        };
        let rows = with_names(rows, &self.columns)?;
        inner.sink().write_all(rows, context).await
    }
}

fn check(field: &Field) -> Result<()> {
    let name = field.name();
    if name.is_empty() || name.contains('=') {
        return plan_err!(
            "the name of a partition column is that of its folders up to =, got '{name}'"
        );
    }
    let mut data_type = field.data_type();
    if let DataType::Dictionary(_, values) = data_type {
        data_type = values;
    }
    let has_name = data_type.is_numeric()
        || data_type.is_temporal()
        || data_type.is_string()
        || data_type.is_null()
        || *data_type == DataType::Boolean;
    if !has_name {
        return plan_err!(
            "a folder cannot be called like a value of column {name}, which is \
             {data_type}; partition by text, numbers, dates or BOOLEAN"
        );
    }
    Ok(())
}

fn names(values: &ArrayRef) -> Result<StringArray> {
    // A day, also where it is counted in milliseconds.
    let values = match values.data_type() {
        DataType::Date64 => &cast(values, &DataType::Date32)?,
        _ => values,
    };
    let texts = cast(values, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>();
    refuse_null(texts)?;
    Ok(texts
        .iter()
        .map(|text| Some(text.unwrap_or(NULL)))
        .collect())
}

/// Refuses a text that would be NULL once it is the name of a folder.
pub fn refuse_null(texts: &StringArray) -> Result<()> {
    if texts.iter().any(|text| text == Some(NULL)) {
        return exec_err!(
            "in a partition column the text {NULL} cannot be told from NULL; replace \
             it, for example with nullif(column, '{NULL}')"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        Array, BooleanArray, Float64Array, Int64Array, NullArray,
    };

    use super::*;

    #[track_caller]
    fn check_file(file: &str, expected: &[(&str, Option<&str>)]) {
        let base = Path::parse("data/out").unwrap();
        let found = of_file(&base, &Path::parse(file).unwrap());
        let found: Vec<_> = found
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_deref()))
            .collect();
        assert_eq!(found, expected, "{file}");
    }

    #[test]
    fn folders_are_columns() {
        check_file("data/out/x.parquet", &[]);
        check_file(
            "data/out/p=1/q=/x=1.parquet",
            &[("p", Some("1")), ("q", Some(""))],
        );
        check_file("data/out/a/p=%C3%96/x", &[("p", Some("Ö"))]);
        check_file("data/out/p=Ö b=c/x", &[("p", Some("Ö b=c"))]);
        check_file("data/out/p=100%/x", &[("p", Some("100%"))]);
        check_file("data/out/Gr%C3%B6%C3%9Fe=1/x", &[("Größe", Some("1"))]);
        check_file(&format!("data/out/p={NULL}/x"), &[("p", None)]);
    }

    #[track_caller]
    fn check_names(values: impl Array + 'static, expected: &[&str]) {
        let values: ArrayRef = Arc::new(values);
        let names = names(&values).unwrap();
        let names: Vec<_> = names.iter().flatten().collect();
        assert_eq!(names, expected, "{values:?}");
    }

    #[test]
    fn null_has_a_name_of_its_own() {
        check_names(Int64Array::from(vec![Some(0), None]), &["0", NULL]);
        check_names(
            BooleanArray::from(vec![Some(false), None]),
            &["false", NULL],
        );
        check_names(StringArray::from(vec![Some(""), None]), &["", NULL]);
        check_names(Float64Array::from(vec![Some(1.5), None]), &["1.5", NULL]);
        check_names(NullArray::new(1), &[NULL]);
        // The value that a NULL was made of still lies there.
        let validity = vec![true, false].into();
        check_names(
            Int64Array::new(vec![1, 7].into(), Some(validity)),
            &["1", NULL],
        );
    }

    #[test]
    fn a_text_like_the_name_of_null_is_refused() {
        let values: ArrayRef = Arc::new(StringArray::from(vec![NULL]));
        let error = names(&values).unwrap_err().strip_backtrace();
        assert!(error.contains("cannot be told from NULL"), "{error}");
    }
}
