//! Other columns than those that lie in the target are refused: whoever reads it relies
//! on them.

use std::collections::BTreeSet;
use std::sync::Arc;

use atoll_udf_common::Location;
use atoll_udf_common::files::{Parquet, partitions};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, SchemaRef};
use datafusion::common::{Result, exec_err};
use datafusion::datasource::file_format::FileFormat;
use datafusion::logical_expr::dml::CopyTo;
use datafusion::prelude::SessionContext;
use object_store::ObjectStoreExt;
use object_store::path::Path;

/// Compares the rows of a COPY with a Parquet file of those that lie in its target.
///
/// Folders of other formats have no types to compare.
pub(super) async fn refuse_change(
    context: &SessionContext,
    target: &Location,
    before: &[Path],
    copy: &CopyTo,
) -> Result<()> {
    let file = before
        .iter()
        .find(|path| path.extension() == Some("parquet"));
    let Some(file) = file.filter(|_| copy.file_type.get_ext() == "parquet") else {
        return Ok(());
    };
    let state = context.state();
    let Ok(file_meta) = target.store.head(file).await else {
        return Ok(());
    };
    let format = Parquet::default();
    let opened = format
        .infer_schema(&state, &target.store, &[file_meta])
        .await;
    let Ok(columns_before) = opened else {
        // What cannot be read is nothing that anyone relies on.
        return Ok(());
    };
    let partitions = partitions::of_file(&target.path, file);
    let partitions: Vec<String> = partitions.into_iter().map(|(name, _)| name).collect();
    let rows = Arc::clone(copy.input.schema().inner());
    let mut changes = columns(&columns_before, &rows, &copy.partition_by);
    if partitions != copy.partition_by {
        changes.push(format!(
            "it is partitioned by ({}) and would be by ({})",
            partitions.join(", "),
            copy.partition_by.join(", ")
        ));
    }
    if changes.is_empty() {
        return Ok(());
    }
    exec_err!(
        "the rows do not fit what lies in {target}: {}\nhint: OPTIONS (schema_change true) \
         replaces it nevertheless; or choose another target",
        changes.join("; ")
    )
}

/// What differs between the columns of a file and those of rows, sentence by sentence.
fn columns(file: &SchemaRef, rows: &SchemaRef, partition_by: &[String]) -> Vec<String> {
    let written = |field: &&FieldRef| !partition_by.contains(field.name());
    let mut changes = vec![];
    for field in rows.fields().iter().filter(written) {
        match file.field_with_name(field.name()) {
            Err(_) => changes.push(format!("column {} is new", field.name())),
            Ok(before) => {
                let (was, is) = (plain(before.data_type()), plain(field.data_type()));
                if was != is {
                    let name = field.name();
                    changes.push(format!("column {name} was {was} and would be {is}"));
                }
            }
        }
    }
    let names: BTreeSet<&String> = rows
        .fields()
        .iter()
        .filter(written)
        .map(|f| f.name())
        .collect();
    let missing = file.fields().iter().filter(|f| !names.contains(f.name()));
    changes.extend(missing.map(|field| format!("column {} is missing", field.name())));
    changes
}

/// The type without what is a matter of layout in memory only.
fn plain(data_type: &DataType) -> DataType {
    let field = |field: &FieldRef| {
        Arc::new(Field::new(field.name(), plain(field.data_type()), true))
    };
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => plain(values),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item) => {
            // Writers and readers do not agree on what an item is called.
            DataType::List(Arc::new(Field::new_list_field(
                plain(item.data_type()),
                true,
            )))
        }
        DataType::FixedSizeList(item, n) => DataType::FixedSizeList(
            Arc::new(Field::new_list_field(plain(item.data_type()), true)),
            *n,
        ),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Schema;

    use super::*;

    #[track_caller]
    fn check(file: &[(&str, DataType)], rows: &[(&str, DataType)], expected: &[&str]) {
        let schema = |fields: &[(&str, DataType)]| {
            let fields = fields.iter().map(|(n, t)| Field::new(*n, t.clone(), true));
            Arc::new(Schema::new(fields.collect::<Vec<_>>()))
        };
        let partition_by = ["day".to_string()];
        assert_eq!(
            columns(&schema(file), &schema(rows), &partition_by),
            expected
        );
    }

    #[test]
    fn the_same_columns_may_lie_differently_in_memory_and_come_in_another_order() {
        check(
            &[("a", DataType::Utf8), ("b", DataType::Int64)],
            &[
                ("b", DataType::Int64),
                ("day", DataType::Date32),
                ("a", DataType::Utf8View),
            ],
            &[],
        );
    }

    #[test]
    fn each_difference_is_said() {
        check(
            &[("a", DataType::Int64), ("gone", DataType::Utf8)],
            &[("a", DataType::Float64), ("new", DataType::Utf8)],
            &[
                "column a was Int64 and would be Float64",
                "column new is new",
                "column gone is missing",
            ],
        );
    }
}
