//! Between the types of Arrow and those of Delta Lake.
//!
//! Delta Lake knows fewer types. What it does not know is cast to the nearest type that
//! keeps every value, and the type that a column had is noted in the metadata of its
//! field, so that it comes back as what it was: unsigned integers are kept one size up,
//! lists of a fixed size as lists, times of day and durations as integers. Other readers
//! see the type that is kept. What no type keeps is refused before a file is written.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use atoll_compute::warnings::Warnings;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{
    DECIMAL128_MAX_PRECISION, DataType, Field, FieldRef, Fields, Schema, SchemaRef,
    TimeUnit, TimestampNanosecondType,
};
use datafusion::common::{Result, exec_datafusion_err, plan_err};
use deltalake_core::kernel::engine::arrow_conversion::TryIntoKernel;
use deltalake_core::kernel::{StructField, StructType};

/// The key of a field's metadata that has the Arrow type a column came with, as JSON.
const ARROW_TYPE: &str = "atoll.arrow_type";

/// The zone of every instant in Delta Lake.
const UTC: &str = "UTC";

/// The schema that a table of these columns is kept with: types that Delta Lake knows, in
/// columns that all may be NULL, because a query that had none says nothing of the next.
pub(crate) fn kept(schema: &Schema) -> Result<SchemaRef> {
    let mut names = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let name = field.name();
        if !names.insert(name.to_lowercase()) {
            return plan_err!(
                "a table's columns must differ in more than upper and lower case, got two \
                 called {name}; name them with AS"
            );
        }
        if name.is_empty() {
            return plan_err!("a column of a table needs a name; name it with AS");
        }
        kept_field(field)
    });
    Ok(Arc::new(Schema::new(fields.collect::<Result<Vec<_>>>()?)))
}

/// The same of one column.
pub(crate) fn kept_field(field: &Field) -> Result<Field> {
    let data_type = kept_type(field.name(), field.data_type())?;
    let mut metadata = HashMap::new();
    if read_type(&data_type) != read_type(field.data_type()) {
        let text = serde_json::to_string(field.data_type());
        let text = text.map_err(|error| exec_datafusion_err!("{error}"))?;
        metadata.insert(ARROW_TYPE.to_string(), text);
    }
    Ok(Field::new(field.name(), data_type, true).with_metadata(metadata))
}

fn kept_type(column: &str, data_type: &DataType) -> Result<DataType> {
    let item = |name: &str, field: &FieldRef, nullable: bool| -> Result<FieldRef> {
        let data_type = kept_type(column, field.data_type())?;
        Ok(Arc::new(Field::new(name, data_type, nullable)))
    };
    Ok(match data_type {
        DataType::Null
        | DataType::Boolean
        | DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Float32
        | DataType::Float64
        | DataType::Date32 => data_type.clone(),
        DataType::UInt8 => DataType::Int16,
        DataType::UInt16 => DataType::Int32,
        DataType::UInt32 => DataType::Int64,
        DataType::UInt64 => DataType::Decimal128(20, 0),
        DataType::Float16 => DataType::Float32,
        DataType::Date64 => DataType::Date32,
        DataType::Time32(_) => DataType::Int32,
        DataType::Time64(_) | DataType::Duration(_) => DataType::Int64,
        DataType::Timestamp(_, zone) => {
            let zone = zone.as_ref().map(|_| UTC.into());
            DataType::Timestamp(TimeUnit::Microsecond, zone)
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => DataType::Utf8,
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => DataType::Binary,
        DataType::Decimal32(precision, scale)
        | DataType::Decimal64(precision, scale)
        | DataType::Decimal128(precision, scale)
        | DataType::Decimal256(precision, scale)
            if *precision <= DECIMAL128_MAX_PRECISION && *scale >= 0 =>
        {
            DataType::Decimal128(*precision, *scale)
        }
        DataType::Dictionary(_, values) => kept_type(column, values)?,
        DataType::RunEndEncoded(_, values) => kept_type(column, values.data_type())?,
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::ListView(field)
        | DataType::LargeListView(field)
        | DataType::FixedSizeList(field, _) => {
            DataType::List(item("element", field, true)?)
        }
        DataType::Map(entries, _) => match entries.data_type() {
            DataType::Struct(pair) if pair.len() == 2 => {
                let key = item("key", &pair[0], false)?;
                let value = item("value", &pair[1], true)?;
                let pair = DataType::Struct(Fields::from(vec![key, value]));
                let entries = Field::new("key_value", pair, false);
                DataType::Map(Arc::new(entries), false)
            }
            _ => return refused(column, data_type),
        },
        DataType::Struct(fields) if !fields.is_empty() => {
            let fields = fields.iter().map(|field| item(field.name(), field, true));
            DataType::Struct(fields.collect::<Result<_>>()?)
        }
        _ => return refused(column, data_type),
    })
}

fn refused(column: &str, data_type: &DataType) -> Result<DataType> {
    plan_err!(
        "a table cannot keep column {column} of type {data_type}; cast it, for example \
         CAST({column} AS VARCHAR), or leave it out"
    )
}

/// The type in which a column of this type is read: texts and bytes as views, as from
/// any Parquet file.
fn read_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            DataType::List(Arc::new(Field::new_list_field(
                read_nested(item.data_type()),
                true,
            )))
        }
        DataType::Struct(_) => read_nested(data_type),
        other => other.clone(),
    }
}

/// The same of a type inside another one, where nothing is a view.
fn read_nested(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::List(item) | DataType::LargeList(item) | DataType::ListView(item) => {
            let item = read_nested(item.data_type());
            DataType::List(Arc::new(Field::new_list_field(item, true)))
        }
        DataType::Struct(fields) => {
            let fields = fields.iter().map(|field| {
                Field::new(field.name(), read_nested(field.data_type()), true)
            });
            DataType::Struct(fields.collect())
        }
        other => other.clone(),
    }
}

/// The schema that a table's statements see, of the one that it is kept with.
pub(crate) fn read(kept: &Schema) -> SchemaRef {
    let fields = kept.fields().iter().map(|field| {
        let noted = field.metadata().get(ARROW_TYPE);
        let noted = noted.and_then(|text| serde_json::from_str::<DataType>(text).ok());
        // Another writer may have changed the type after it was noted.
        let noted = noted.filter(|noted| {
            kept_type(field.name(), noted).is_ok_and(|kept| &kept == field.data_type())
        });
        let data_type = noted.unwrap_or_else(|| field.data_type().clone());
        Field::new(field.name(), read_type(&data_type), true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// The columns as Delta Lake's metadata has them.
pub(crate) fn delta_fields(kept: &Schema) -> Result<Vec<StructField>> {
    let schema: StructType = kept.try_into_kernel()?;
    Ok(schema.fields().cloned().collect())
}

/// Checks the columns that a table is to be partitioned by.
pub(crate) fn check_partition_columns(schema: &Schema, columns: &[String]) -> Result<()> {
    for name in columns {
        let Ok(field) = schema.field_with_name(name) else {
            return plan_err!("the table has no column {name} to be partitioned by");
        };
        let what = match field.data_type() {
            DataType::Float16 | DataType::Float32 | DataType::Float64 => "floats",
            DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_) => "bytes",
            data_type if data_type.is_nested() => "nested values",
            DataType::Null => "a column without a type",
            _ => continue,
        };
        return plan_err!(
            "a table cannot be partitioned by {name}: {what} do not make names of folders; \
             partition by an integer, a text or a date"
        );
    }
    if columns.len() == schema.fields().len() && !columns.is_empty() {
        return plan_err!(
            "a table needs a column that it is not partitioned by, got PARTITIONED BY ({})",
            columns.join(", ")
        );
    }
    Ok(())
}

/// Brings rows to the types that a table is kept with.
#[derive(Debug)]
pub(crate) struct Keeper {
    kept: SchemaRef,
    /// For the columns that lost nanoseconds, each named once.
    warnings: Warnings,
    told: HashSet<String>,
}

impl Keeper {
    pub(crate) fn new(kept: SchemaRef, warnings: Warnings) -> Self {
        Self {
            kept,
            warnings,
            told: HashSet::new(),
        }
    }

    /// The columns are those of the table, in its order.
    pub(crate) fn keep(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let fields = Arc::clone(&self.kept);
        let columns = batch.columns().iter().zip(fields.fields());
        let columns = columns.map(|(values, field)| {
            self.warn_of_nanoseconds(field.name(), values);
            self.cast(values, field)
        });
        let columns = columns.collect::<Result<Vec<_>>>()?;
        Ok(RecordBatch::try_new(fields, columns)?)
    }

    fn cast(&self, values: &ArrayRef, field: &Field) -> Result<ArrayRef> {
        if values.data_type() == field.data_type() {
            return Ok(Arc::clone(values));
        }
        let options = CastOptions {
            safe: false,
            ..CastOptions::default()
        };
        // By way of integers, which a time of day and a duration are.
        let between = match values.data_type() {
            DataType::Time32(_) => Some(DataType::Int32),
            DataType::Time64(_) | DataType::Duration(_) => Some(DataType::Int64),
            _ => None,
        };
        let values = match between {
            Some(between) => cast_with_options(values, &between, &options)?,
            None => Arc::clone(values),
        };
        cast_with_options(&values, field.data_type(), &options).map_err(|error| {
            exec_datafusion_err!(
                "column {} does not fit its table: {error}",
                field.name()
            )
        })
    }

    fn warn_of_nanoseconds(&mut self, column: &str, values: &ArrayRef) {
        let DataType::Timestamp(TimeUnit::Nanosecond, _) = values.data_type() else {
            return;
        };
        let times = values.as_primitive::<TimestampNanosecondType>();
        let is_cut = times.iter().flatten().any(|time| time % 1000 != 0);
        if is_cut && self.told.insert(column.to_string()) {
            self.warnings.add(format!(
                "column {column} is kept in microseconds, which is what tables have: its \
                 nanoseconds are cut off"
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(data_type: DataType) -> Field {
        Field::new("c", data_type, false)
    }

    /// Kept with `expected`, and read again as what it was.
    #[track_caller]
    fn check(data_type: &DataType, expected: &DataType) {
        let kept = kept_field(&field(data_type.clone())).unwrap();
        assert_eq!(kept.data_type(), expected);
        assert!(kept.is_nullable());
        let again = read(&Schema::new(vec![kept]));
        assert_eq!(again.field(0).data_type(), data_type);
        assert!(delta_fields(&kept_schema(data_type)).is_ok());
    }

    fn kept_schema(data_type: &DataType) -> SchemaRef {
        kept(&Schema::new(vec![field(data_type.clone())])).unwrap()
    }

    #[test]
    fn what_delta_does_not_know_comes_back_as_it_was() {
        check(&DataType::UInt8, &DataType::Int16);
        check(&DataType::UInt16, &DataType::Int32);
        check(&DataType::UInt32, &DataType::Int64);
        check(&DataType::UInt64, &DataType::Decimal128(20, 0));
        check(&DataType::Float16, &DataType::Float32);
        check(&DataType::Time32(TimeUnit::Second), &DataType::Int32);
        check(&DataType::Duration(TimeUnit::Nanosecond), &DataType::Int64);
        check(&DataType::FixedSizeBinary(4), &DataType::Binary);
        let micros = |zone: Option<&str>| {
            DataType::Timestamp(TimeUnit::Microsecond, zone.map(Into::into))
        };
        check(
            &DataType::Timestamp(TimeUnit::Nanosecond, None),
            &micros(None),
        );
        let paris = Some("Europe/Paris".into());
        check(
            &DataType::Timestamp(TimeUnit::Second, paris),
            &micros(Some(UTC)),
        );
        let text = DataType::Dictionary(Box::new(DataType::Int32), DataType::Utf8.into());
        check(&text, &DataType::Utf8);
        let embedding = DataType::new_fixed_size_list(DataType::Float32, 3, true);
        let element = Field::new("element", DataType::Float32, true);
        check(&embedding, &DataType::List(Arc::new(element)));
    }

    #[test]
    fn lists_of_structs_with_unsigned_numbers_come_back() {
        let pair = vec![
            Field::new("label", DataType::Utf8, true),
            Field::new("count", DataType::UInt64, true),
        ];
        let item = Field::new_list_field(DataType::Struct(pair.into()), true);
        let kept = kept_field(&field(DataType::List(Arc::new(item.clone())))).unwrap();
        let again = read(&Schema::new(vec![kept]));
        assert_eq!(again.field(0).data_type(), &DataType::List(Arc::new(item)));
    }

    #[test]
    fn plain_types_need_no_note() {
        for data_type in [DataType::Int64, DataType::Utf8, DataType::BinaryView] {
            let kept = kept_field(&field(data_type)).unwrap();
            assert!(kept.metadata().is_empty(), "{kept:?}");
        }
    }

    #[track_caller]
    fn check_refused(data_type: DataType) {
        let error = kept_field(&field(data_type)).unwrap_err().to_string();
        assert!(error.contains("cannot keep column c"), "{error}");
    }

    #[test]
    fn what_no_type_keeps_is_refused() {
        check_refused(DataType::Interval(
            datafusion::arrow::datatypes::IntervalUnit::MonthDayNano,
        ));
        check_refused(DataType::Decimal256(76, 0));
        check_refused(DataType::Struct(Fields::empty()));
        check_refused(DataType::new_list(DataType::Decimal256(40, 1), true));
    }

    #[test]
    fn columns_that_differ_in_case_only_are_refused() {
        let fields = vec![
            Field::new("a", DataType::Int64, true),
            Field::new("A", DataType::Int64, true),
        ];
        let error = kept(&Schema::new(fields)).unwrap_err().to_string();
        assert!(error.contains("two called A"), "{error}");
    }
}
