//! The scan of known files, whose partition columns and statistics come with it.
//!
//! The plan is DataFusion's own. It is built here, and not by `ListingTable`, because the
//! files need not be what a folder holds: a table's log may name them.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::catalog::Session;
use datafusion::common::{Result, ScalarValue, Statistics, project_schema};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{ListingTableUrl, PartitionedFile};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchema;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::conjunction;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

use super::filter::{is_decided_by, keep_where};
use super::known::{Known, Reader};
use crate::Location;

/// About how many bytes of files the rows have that are read at a time.
const BATCH_BYTES: usize = 8 << 20;

/// How many rows these are at least, and how many of small ones.
const LEAST_ROWS: usize = 64;
const USUAL_ROWS: usize = 8192;

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

/// How many rows are read at a time, if they are so large that the usual number of them
/// would not fit: 8,192 photos are a gigabyte.
fn rows_in_memory(
    columns: &Schema,
    groups: &[FileGroup],
    statistics: &Statistics,
) -> Option<usize> {
    let is_large = |field: &Arc<Field>| {
        let data_type = field.data_type();
        data_type.is_binary() || data_type.is_nested()
    };
    let rows = *statistics.num_rows.get_value()?;
    let files = groups.iter().flat_map(FileGroup::iter);
    let bytes: u64 = files.map(PartitionedFile::effective_size).sum();
    let row_bytes = usize::try_from(bytes).ok()? / rows.max(1);
    let fit = (BATCH_BYTES / row_bytes.max(1)).max(LEAST_ROWS);
    let is_less = fit < USUAL_ROWS && columns.fields().iter().any(is_large);
    is_less.then_some(fit)
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
        let columns = project_schema(&schema, projection)?;
        let batch_size = rows_in_memory(&columns, &groups, &statistics);
        let source = self.format.file_source(self.schema.clone());
        let url = ListingTableUrl::try_new(self.base.url.clone(), None)?;
        let scan = FileScanConfigBuilder::new(url.object_store(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .with_batch_size(batch_size)
            .with_output_ordering(ordering)
            .build();
        self.format.create_physical_plan(state, scan).await
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::common::stats::Precision;

    use super::*;

    fn rows(data_type: DataType, rows: usize, bytes: u64) -> Option<usize> {
        let columns = Schema::new(vec![Field::new("c", data_type, true)]);
        let groups = [FileGroup::new(vec![PartitionedFile::new("a", bytes)])];
        let mut statistics = Statistics::new_unknown(&columns);
        statistics.num_rows = Precision::Exact(rows);
        rows_in_memory(&columns, &groups, &statistics)
    }

    #[test]
    fn few_photos_are_read_at_a_time_and_many_numbers() {
        assert_eq!(rows(DataType::BinaryView, 1000, 100_000_000), Some(83));
        assert_eq!(rows(DataType::Binary, 1000, 10_000_000_000), Some(64));
        assert_eq!(rows(DataType::Binary, 1_000_000, 10_000_000), None);
        // Only the numbers of such a table.
        assert_eq!(rows(DataType::Int64, 1000, 100_000_000), None);
        assert_eq!(rows(DataType::Binary, 0, 100), None);
    }
}
