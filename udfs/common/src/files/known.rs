//! What the files of a scan say of their rows before these are read.

use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, Result, ScalarValue, Statistics};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileGroup;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::physical_expr::LexOrdering;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStore;

/// Asks files what they say.
pub(super) struct Reader<'a> {
    pub(super) state: &'a dyn Session,
    pub(super) format: &'a dyn FileFormat,
    pub(super) store: &'a Arc<dyn ObjectStore>,
    pub(super) schema: &'a TableSchema,
}

/// The files that a scan reads and what is known of them.
pub(super) struct Known {
    /// The files, shared out among the partitions.
    pub(super) groups: Vec<FileGroup>,
    pub(super) statistics: Statistics,
    pub(super) ordering: Vec<LexOrdering>,
}

impl Reader<'_> {
    /// Files with what is known of their rows; only the first ones, if these are known to
    /// have as many rows as are wanted.
    pub(super) async fn known(
        &self,
        files: Vec<PartitionedFile>,
        wanted: Option<usize>,
    ) -> Result<Known> {
        let all = files.len();
        let files = self.with_rows(files, wanted).await?;
        let ordering = common_ordering(&files);
        let schema = self.schema.table_schema();
        let statistics = match self.merged(&files)? {
            Some(known) if files.len() == all => known,
            // The rows may be in the files that are left out.
            Some(known) => known.to_inexact(),
            None => Statistics::new_unknown(schema),
        };
        let partitions = self.state.config().target_partitions();
        // `FileGroup::split_files` would sort the files by their names first.
        let each = files.len().div_ceil(partitions.max(1)).max(1);
        let groups = files.chunks(each).map(|files| {
            let group = FileGroup::new(files.to_vec());
            Ok(match self.merged(group.files())? {
                Some(known) => group.with_statistics(Arc::new(known)),
                None => group,
            })
        });
        Ok(Known {
            groups: groups.collect::<Result<_>>()?,
            statistics,
            ordering,
        })
    }

    async fn with_rows(
        &self,
        files: Vec<PartitionedFile>,
        wanted: Option<usize>,
    ) -> Result<Vec<PartitionedFile>> {
        let options = self.state.config_options();
        let at_once = options.execution.meta_fetch_concurrency.get();
        let files = files.into_iter().map(|file| self.described(file));
        let mut files = stream::iter(files).buffered(at_once);
        let (mut described, mut rows) = (vec![], 0_usize);
        while let Some(file) = files.try_next().await? {
            let known = file.statistics.as_deref().map(|known| known.num_rows);
            if let Some(Precision::Exact(known)) = known {
                rows = rows.saturating_add(known);
            }
            described.push(file);
            if wanted.is_some_and(|wanted| rows >= wanted) {
                break;
            }
        }
        Ok(described)
    }

    /// A file with what is known of its rows.
    async fn described(&self, mut file: PartitionedFile) -> Result<PartitionedFile> {
        if !self.state.config().collect_statistics() {
            return Ok(file);
        }
        let schema = Arc::clone(self.schema.file_schema());
        let (format, object) = (self.format, &file.object_meta);
        let known =
            format.infer_stats_and_ordering(self.state, self.store, schema, object);
        let known = known.await?;
        let mut statistics = known.statistics;
        let rows = statistics.num_rows;
        let columns = file
            .partition_values
            .iter()
            .map(|value| of_column(value, rows));
        statistics.column_statistics.extend(columns);
        file.statistics = Some(Arc::new(statistics));
        Ok(file.with_ordering(known.ordering))
    }

    /// What is known of all of some files; nothing if it is not of one.
    fn merged(&self, files: &[PartitionedFile]) -> Result<Option<Statistics>> {
        let known = files.iter().map(|file| file.statistics.as_deref());
        let known: Option<Vec<&Statistics>> = known.collect();
        let merge = |known| Statistics::try_merge_iter(known, self.schema.table_schema());
        known.map(merge).transpose()
    }
}

/// What is known of a column that has one value in a file.
fn of_column(value: &ScalarValue, rows: Precision<usize>) -> ColumnStatistics {
    if value.is_null() {
        return ColumnStatistics {
            null_count: rows,
            ..ColumnStatistics::new_unknown()
        };
    }
    ColumnStatistics {
        null_count: Precision::Exact(0),
        max_value: Precision::Exact(value.clone()),
        min_value: Precision::Exact(value.clone()),
        distinct_count: Precision::Exact(1),
        ..ColumnStatistics::new_unknown()
    }
}

/// The order of the rows of every file, if it is the same one.
fn common_ordering(files: &[PartitionedFile]) -> Vec<LexOrdering> {
    let Some(first) = files.first().and_then(|file| file.ordering.clone()) else {
        return vec![];
    };
    let same = files
        .iter()
        .all(|file| file.ordering.as_ref() == Some(&first));
    if same { vec![first] } else { vec![] }
}
