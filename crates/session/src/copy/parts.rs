//! The files of a COPY to a folder: one writer for each partition of the rows.
//!
//! Every writer has a folder of its own below the staging folder, so that the name of a
//! file says which partition it holds and is the same in every run, which the random
//! names of DataFusion's writers are not.

use std::sync::Arc;

use atoll_udf_common::Location;
use datafusion::arrow::array::{AsArray, RecordBatch, UInt64Array};
use datafusion::arrow::datatypes::{SchemaRef, UInt64Type};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::logical_expr::dml::CopyTo;
use datafusion::logical_expr::{LogicalPlan, LogicalPlanBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use object_store::path::{Path, PathPart};
use tokio::task::JoinSet;

/// Writes the rows of `copy` below `staging`; the row that counts them.
///
/// [`published`] says what each of the files is to be called.
pub(super) async fn write(
    context: &SessionContext,
    copy: CopyTo,
    staging: &Location,
) -> Result<MemTable> {
    let counts = Arc::clone(copy.output_schema.inner());
    let rows = context.execute_logical_plan(copy.input.as_ref().clone());
    let plan = rows.await?.create_physical_plan().await?;
    let mut writers = JoinSet::new();
    for part in 0..plan.output_partitioning().partition_count() {
        let rows = OnePartition {
            schema: plan.schema(),
            plan: Arc::clone(&plan),
            part,
        };
        let table = StreamingTable::try_new(plan.schema(), vec![Arc::new(rows)])?;
        let table = provider_as_source(Arc::new(table));
        let copy = CopyTo {
            input: Arc::new(LogicalPlanBuilder::scan("part", table, None)?.build()?),
            output_url: format!("{}/part-{part:05}/", staging.url),
            ..copy.clone()
        };
        let context = context.clone();
        writers.spawn(async move { run(&context, copy).await });
    }
    let mut total = 0;
    while let Some(count) = writers.join_next().await {
        total += count.map_err(|error| DataFusionError::External(Box::new(error)))??;
    }
    let total = UInt64Array::from(vec![total]);
    let total = RecordBatch::try_new(Arc::clone(&counts), vec![Arc::new(total)])?;
    MemTable::try_new(counts, vec![vec![total]])
}

/// Runs a COPY as DataFusion plans it and returns how many rows it wrote.
async fn run(context: &SessionContext, copy: CopyTo) -> Result<u64> {
    let copy = context.execute_logical_plan(LogicalPlan::Copy(copy));
    let counts = copy.await?.collect().await?;
    let count = |batch: &RecordBatch| {
        let counts = batch.column(0).as_primitive_opt::<UInt64Type>();
        counts.map_or(0, |counts| counts.values().iter().sum::<u64>())
    };
    Ok(counts.iter().map(count).sum())
}

/// Where a file below the staging folder belongs below the target: the number of its
/// partition becomes its name, folders of partition columns stay.
pub(super) fn published(below_staging: &[PathPart<'_>]) -> Option<Path> {
    let (part, rest) = below_staging.split_first()?;
    let (file, folders) = rest.split_last()?;
    let (stem, extension) = file.as_ref().split_once('.')?;
    // A writer starts another file after many rows, and counts its files from 0.
    let name = match stem.rsplit_once('_') {
        Some((_, number)) if number != "0" => {
            format!("{}-{number}.{extension}", part.as_ref())
        }
        _ => format!("{}.{extension}", part.as_ref()),
    };
    let folders = folders.iter().cloned();
    Some(folders.chain([PathPart::from(name)]).collect())
}

/// A partition of a plan as a table.
#[derive(Debug)]
struct OnePartition {
    schema: SchemaRef,
    plan: Arc<dyn ExecutionPlan>,
    part: usize,
}

impl PartitionStream for OnePartition {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        match self.plan.execute(self.part, context) {
            Ok(rows) => rows,
            Err(error) => {
                let failed = futures::stream::once(async { Err(error) });
                let schema = Arc::clone(&self.schema);
                Box::pin(RecordBatchStreamAdapter::new(schema, failed.into_stream()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(written: &str, expected: &str) {
        let written = Path::parse(written).unwrap();
        let parts: Vec<PathPart<'_>> = written.parts().collect();
        let published = published(&parts).unwrap();
        assert_eq!(published.as_ref(), expected, "{written}");
    }

    #[test]
    fn names_say_the_partition_and_nothing_random() {
        check("part-00003/aB3_0.parquet", "part-00003.parquet");
        check("part-00003/aB3_2.csv.gz", "part-00003-2.csv.gz");
        check(
            "part-00000/day=1/k=a%2Fb/xY9.parquet",
            "day=1/k=a%2Fb/part-00000.parquet",
        );
    }
}
