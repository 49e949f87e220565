//! `models()`: the models of the storage that have names, a row for each version.

use std::sync::{Arc, LazyLock};

use async_trait::async_trait;
use atoll_udf_common::model::names::{ModelNames, NamedModel, Version};
use atoll_udf_common::storage_root;
use datafusion::arrow::array::{
    ArrayRef, BooleanArray, Int64Array, ListBuilder, RecordBatch, StringArray,
    StringBuilder, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{Session, TableFunctionImpl, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::{MemTable, TableType};
use datafusion::logical_expr::{Documentation, Expr};
use datafusion::physical_plan::ExecutionPlan;

use crate::SECTION;

pub(crate) fn documentation() -> Documentation {
    Documentation::builder(
        SECTION,
        "Returns the models of the storage that have names, a row for each version: \
         `name`, `version` (from 1), `newest` (whether it is what the bare name stands for), \
         `aliases` (a list), `model` (the path or URL, for every function that takes a \
         model), `sha256`, `bytes`, `created_at` (UTC), `trial_id` (if it was made of a \
         trial), `source` (where it came from) and `statement`. `SHOW MODELS` and `DESCRIBE \
         MODEL` are queries of it.",
        "models()",
    )
    .with_sql_example(
        "SELECT count(DISTINCT name) AS names, count(*) AS versions FROM models();",
    )
    .with_related_udf("model_info")
    .build()
}

/// The table function.
#[derive(Debug)]
pub(crate) struct ModelsFunction;

impl TableFunctionImpl for ModelsFunction {
    fn call(&self, args: &[Expr]) -> Result<Arc<dyn TableProvider>> {
        if !args.is_empty() {
            return plan_err!(
                "models takes no arguments; filter with WHERE name = '...'"
            );
        }
        Ok(Arc::new(Models))
    }
}

/// The models of the storage that the session has when it reads them.
#[derive(Debug)]
struct Models;

#[async_trait]
impl TableProvider for Models {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&SCHEMA)
    }

    fn table_type(&self) -> TableType {
        TableType::View
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let names = ModelNames::new(storage_root(session.config_options())?);
        let rows = rows(&names, &names.all().await?)?;
        let table = MemTable::try_new(self.schema(), vec![vec![rows]])?;
        table.scan(session, projection, filters, limit).await
    }
}

fn rows(names: &ModelNames, models: &[NamedModel]) -> Result<RecordBatch> {
    let rows: Vec<(&NamedModel, &Version)> = models
        .iter()
        .flat_map(|model| model.versions.iter().map(move |version| (model, version)))
        .collect();
    let texts = |get: fn(&Version) -> Option<&str>| -> ArrayRef {
        Arc::new(StringArray::from_iter(rows.iter().map(|row| get(row.1))))
    };
    let numbers = |get: fn(&Version) -> u64| -> ArrayRef {
        let numbers = rows.iter().map(|row| i64::try_from(get(row.1)).ok());
        Arc::new(Int64Array::from_iter(numbers))
    };
    let newest = rows.iter().map(|(model, version)| {
        let last = model.versions.last().map(|last| last.number);
        Some(last == Some(version.number))
    });
    let mut aliases = ListBuilder::new(StringBuilder::new());
    for (model, version) in &rows {
        let own = model.aliases.iter();
        let own = own.filter(|(_, number)| **number == version.number);
        own.for_each(|(alias, _)| aliases.values().append_value(alias));
        aliases.append(true);
    }
    let files = rows.iter().map(|row| names.file_of(&row.1.sha256));
    let files: Vec<String> = files
        .map(|file| file.map(|file| file.to_string()))
        .collect::<Result<_>>()?;
    let times = rows.iter().map(|row| Some(row.1.created_at));
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter_values(
            rows.iter().map(|row| &row.0.name),
        )),
        numbers(|version| version.number),
        Arc::new(BooleanArray::from_iter(newest)),
        Arc::new(aliases.finish()),
        Arc::new(StringArray::from_iter_values(files)),
        texts(|version| Some(&version.sha256)),
        numbers(|version| version.bytes),
        Arc::new(TimestampMicrosecondArray::from_iter(times).with_timezone(UTC)),
        texts(|version| version.trial_id.as_deref()),
        texts(|version| version.source.as_deref()),
        texts(|version| version.statement.as_deref()),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns)?)
}

/// With an offset and not a name, which Arrow reads without a time zone database.
const UTC: &str = "+00:00";

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let text = |name: &str| field(name, DataType::Utf8);
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    Arc::new(Schema::new(vec![
        text("name"),
        field("version", DataType::Int64),
        field("newest", DataType::Boolean),
        field("aliases", DataType::new_list(DataType::Utf8, true)),
        text("model"),
        text("sha256"),
        field("bytes", DataType::Int64),
        field("created_at", time),
        text("trial_id"),
        text("source"),
        text("statement"),
    ]))
});
