//! `COPY .. TO 'folder/' STORED AS DELTA`: rows into a Delta table, in one commit.

use std::collections::HashMap;
use std::sync::Arc;

use atoll_delta::{Definition, Replaced, Sink, Table};
use atoll_udf_common::Location;
use datafusion::arrow::datatypes::DataType;
use datafusion::catalog::Session;
use datafusion::common::{GetExt, Result, exec_err, plan_err};
use datafusion::datasource::MemTable;
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory};
use datafusion::logical_expr::dml::CopyTo;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, cast};
use datafusion::prelude::SessionContext;

use super::files;
use crate::Origin;
use crate::tables::{counted, log, notes, statement, warn_of_done};

/// What the format is called.
const DELTA: &str = "delta";

/// Lets `STORED AS DELTA` be planned; no file is written in the format itself.
#[derive(Debug)]
pub(crate) struct DeltaFactory;

impl FileFormatFactory for DeltaFactory {
    fn create(
        &self,
        _: &dyn Session,
        _: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        plan_err!(
            "a Delta table is a folder and no file; name its folder in FROM, or write COPY \
             .. TO 'folder/' STORED AS DELTA"
        )
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        // Asked for by nobody: whoever needs a format of files calls `create`.
        Arc::new(atoll_udf_common::files::Parquet::default())
    }
}

impl GetExt for DeltaFactory {
    fn get_ext(&self) -> String {
        DELTA.to_string()
    }
}

/// Whether a COPY writes a Delta table.
pub(super) fn is_delta(copy: &CopyTo) -> bool {
    copy.file_type.get_ext() == DELTA
}

/// What becomes of the rows that are there.
fn take_mode(options: &mut HashMap<String, String>) -> Result<Replaced> {
    let replaced = match options.remove("format.mode").as_deref() {
        None | Some("overwrite") => Replaced::All,
        Some("append") => Replaced::None,
        Some("overwrite_partitions") => Replaced::Partitions,
        Some(other) => {
            return plan_err!(
                "the option mode must be overwrite, append or overwrite_partitions, got \
                 '{other}'"
            );
        }
    };
    match options.keys().next() {
        Some(other) => plan_err!(
            "a Delta table takes the option mode and no other, got {}",
            other.trim_start_matches("format.")
        ),
        None => Ok(replaced),
    }
}

/// Checks the statement as far as that touches nothing.
pub(super) fn rehearse(context: &SessionContext, mut copy: CopyTo) -> Result<()> {
    take_mode(&mut copy.options)?;
    Definition::new(copy.input.schema().inner(), copy.partition_by, false)?;
    context.state().optimize(&copy.input).map(drop)
}

/// Runs the statement and returns the row that counts the rows written.
pub(super) async fn execute(
    context: &SessionContext,
    mut copy: CopyTo,
    origin: &Origin,
) -> Result<MemTable> {
    let replaced = take_mode(&mut copy.options)?;
    let location = Location::parse(&copy.output_url)?;
    let there = Table::open(&location).await?;
    if let Some(table) = &there
        && statement(origin).is_done(table).await?
    {
        warn_of_done(context, origin, &location);
        return counted(copy.output_schema.inner(), 0);
    }
    let rows = match &there {
        Some(table) if replaced != Replaced::All => fitted(&copy, table)?,
        _ => copy.input.as_ref().clone(),
    };
    let plan = context.execute_logical_plan(rows).await?;
    let plan = plan.create_physical_plan().await?;
    let (rows, files) = match there {
        Some(table) if replaced != Replaced::All => {
            let sink = Sink::of(&table, notes(context, origin))?;
            let written =
                crate::tables::write(sink, plan, context.task_ctx(), origin).await?;
            let done = (written.rows, written.files());
            if atoll_delta::add(table, written, replaced, &statement(origin)).await? {
                done
            } else {
                warn_of_done(context, origin, &location);
                (0, vec![])
            }
        }
        there => {
            refuse_foreign_files(&location, there.is_some()).await?;
            let definition =
                Definition::new(&plan.schema(), copy.partition_by, there.is_some())?;
            let sink = Sink::new(&location, &definition, notes(context, origin));
            let written =
                crate::tables::write(sink, plan, context.task_ctx(), origin).await?;
            let done = (written.rows, written.files());
            atoll_delta::create(&location, &definition, written, &statement(origin))
                .await?;
            done
        }
    };
    log(origin, &location, &files).await?;
    counted(copy.output_schema.inner(), rows)
}

/// The rows with the columns of a table, by their names and in its order.
fn fitted(copy: &CopyTo, table: &Table) -> Result<LogicalPlan> {
    let columns = table.schema()?;
    let partition_by = table.partition_columns()?;
    if !copy.partition_by.is_empty() && copy.partition_by != partition_by {
        return plan_err!(
            "{} is partitioned by ({}), got PARTITIONED BY ({})",
            table.location(),
            partition_by.join(", "),
            copy.partition_by.join(", ")
        );
    }
    let rows = copy.input.schema();
    if let Some(new) = rows
        .fields()
        .iter()
        .find(|field| columns.field_with_name(field.name()).is_err())
    {
        return plan_err!(
            "{} has no column {}; leave it out, or add it with ALTER TABLE .. ADD COLUMN",
            table.location(),
            new.name()
        );
    }
    let values = columns.fields().iter().map(|field| {
        let to: &DataType = field.data_type();
        let value = match rows.index_of_column_by_name(None, field.name()) {
            Some(at) => Expr::Column(rows.columns().swap_remove(at)),
            None => Expr::Literal(datafusion::common::ScalarValue::Null, None),
        };
        cast(value, to.clone()).alias(field.name())
    });
    let values: Vec<Expr> = values.collect();
    LogicalPlanBuilder::from(copy.input.as_ref().clone())
        .project(values)?
        .build()
}

/// A folder with files that belong to no table is somebody else's.
async fn refuse_foreign_files(location: &Location, is_table: bool) -> Result<()> {
    if is_table || files::list(location).await?.is_empty() {
        return Ok(());
    }
    exec_err!(
        "{location} holds files and is no Delta table; choose a new folder, or leave out \
         STORED AS DELTA"
    )
}
