//! The scan of known files, whose partition columns and statistics come with it.
//!
//! The plan is DataFusion's own. It is built here, and not by `ListingTable`, because the
//! files need not be what a folder holds: a table's log may name them.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::Session;
use datafusion::common::{Result, ScalarValue, project_schema};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{ListingTableUrl, PartitionedFile};
use datafusion::datasource::physical_plan::FileScanConfigBuilder;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::filter::{is_decided_by, keep_where};
use super::known::{Known, Reader};
use crate::Location;

/// Whether the partition columns alone decide a filter.
pub fn is_about_partitions(schema: &TableSchema, filter: &Expr) -> bool {
    let columns = schema.table_partition_cols();
    let known = |name: &str| columns.iter().any(|column| column.name() == name);
    !filter.column_refs().is_empty() && is_decided_by(filter, known)
}

/// The files for whose partition values every filter about them is true.
pub fn of_partitions(
    state: &dyn Session,
    schema: &TableSchema,
    files: Vec<PartitionedFile>,
    filters: &[Expr],
) -> Result<Vec<PartitionedFile>> {
    let decided = filters
        .iter()
        .filter(|filter| is_about_partitions(schema, filter));
    let Some(filter) = conjunction(decided.cloned()) else {
        return Ok(files);
    };
    if files.is_empty() {
        return Ok(files);
    }
    let columns = schema.table_partition_cols();
    let values = (0..columns.len()).map(|at| {
        let values = files.iter().map(|file| file.partition_values[at].clone());
        ScalarValue::iter_to_array(values)
    });
    let values = values.collect::<Result<Vec<_>>>()?;
    let rows = RecordBatch::try_new(Arc::new(Schema::new(columns.clone())), values)?;
    keep_where(state, filter, &rows, files)
}

/// The files that a statement reads of a table.
#[derive(Debug)]
pub struct FileScan<'a> {
    /// The store that has them, and the folder they lie in.
    pub base: &'a Location,
    /// The format of them all.
    pub format: &'a dyn FileFormat,
    /// The columns of the files, and those that have one value in each file.
    pub schema: TableSchema,
    /// The files with the values of the partition columns.
    pub files: Vec<PartitionedFile>,
}

impl FileScan<'_> {
    /// Plans the scan, with what the files say of their rows; `filters` are those that chose
    /// the files.
    pub async fn plan(
        self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = Arc::clone(self.schema.table_schema());
        if self.files.is_empty() {
            let schema = project_schema(&schema, projection)?;
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        // With these filters every row of every file counts.
        let about = |filter| is_about_partitions(&self.schema, filter);
        let wanted = limit.filter(|_| filters.iter().all(about));
        let reader = Reader {
            state,
            format: self.format,
            store: &self.base.store,
            schema: &self.schema,
        };
        let Known {
            groups,
            statistics,
            ordering,
        } = reader.known(self.files, wanted).await?;
        let source = self.format.file_source(self.schema.clone());
        let url = ListingTableUrl::try_new(self.base.url.clone(), None)?;
        let scan = FileScanConfigBuilder::new(url.object_store(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_output_ordering(ordering)
            .build();
        self.format.create_physical_plan(state, scan).await
    }
}
