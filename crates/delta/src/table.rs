//! A table as statements read it.
//!
//! The log says which files there are, and DataFusion's own scan reads them, as it reads
//! a folder of Parquet: with their statistics, in their order, on all cores. What only the
//! reader of the log's own library understands (deletion vectors, renamed columns), which
//! other engines write, is left to that.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use atoll_udf_common::Location;
use atoll_udf_common::files::{
    FileScan, Parquet, is_about_partitions, of_partitions, partitions,
};
use chrono::DateTime;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{
    DFSchema, Result, ScalarValue, internal_datafusion_err, plan_err,
};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::table_schema::{TableSchema, TableSchemaBuilder};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use deltalake_core::delta_datafusion::{DeltaScanConfig, DeltaScanNext};
use deltalake_core::kernel::LogicalFileView;
use object_store::ObjectMeta;

use crate::bounds::Bounds;
use crate::clock::{Clock, opened_since};
use crate::open::Table;

/// The column of [`Source::with_file_numbers`].
pub(crate) const FILE: &str = "__atoll_file";

/// A table, for the session's queries: an older version, or the newest when a statement
/// begins.
#[derive(Debug)]
pub struct Source {
    table: Table,
    /// When the version was opened, unless it is the one that is meant whenever it is read.
    opened: Option<Instant>,
    schema: SchemaRef,
    /// The columns in the order of the scan: those of files, then those of partitions.
    scanned: TableSchema,
    /// Which of them a statement that rewrites files has chosen, with a column of their
    /// numbers.
    numbered: Option<Option<HashSet<usize>>>,
    /// Whether our own scan can read it, see [`is_plain`].
    is_plain: bool,
}

impl Source {
    /// The newest version, which `table` is now.
    pub fn newest(table: Table) -> Result<Self> {
        Ok(Self {
            opened: Some(Instant::now()),
            ..Self::with(table, None)?
        })
    }

    /// This version.
    pub fn version(table: Table) -> Result<Self> {
        Self::with(table, None)
    }

    /// The rows of some of its files, or of all, with the number of the file each lies in.
    pub(crate) fn with_file_numbers(
        table: Table,
        only: Option<HashSet<usize>>,
    ) -> Result<Self> {
        Self::with(table, Some(only))
    }

    fn with(table: Table, numbered: Option<Option<HashSet<usize>>>) -> Result<Self> {
        let schema = table.schema()?;
        let by = table.partition_columns()?;
        let is_in_files = |field: &&Arc<Field>| !by.contains(field.name());
        let in_files: Vec<_> = schema
            .fields()
            .iter()
            .filter(is_in_files)
            .cloned()
            .collect();
        let columns = by.iter().map(|name| Ok(Arc::new(field_of(&schema, name)?)));
        let mut columns = columns.collect::<Result<Vec<_>>>()?;
        let mut fields: Vec<_> = schema.fields().iter().cloned().collect();
        if numbered.is_some() {
            let number = Arc::new(Field::new(FILE, DataType::UInt64, false));
            columns.push(Arc::clone(&number));
            fields.push(number);
        }
        let in_files: SchemaRef = Arc::new(Schema::new(in_files));
        let scanned = TableSchemaBuilder::from(&in_files)
            .with_table_partition_cols(columns)
            .build();
        Ok(Self {
            is_plain: is_plain(&table)?,
            table,
            opened: None,
            schema: Arc::new(Schema::new(fields)),
            scanned,
            numbered,
        })
    }

    /// The table, at the version that it was opened at.
    pub fn table(&self) -> &Table {
        &self.table
    }

    /// The folder of the table.
    pub fn location(&self) -> &Location {
        self.table.location()
    }

    /// The version that a statement reads, if it began after this one was opened.
    async fn newer(&self, state: &dyn Session) -> Result<Option<Self>> {
        let clock = state.config().get_extension::<Clock>();
        let began = clock.map(|clock| clock.started());
        let (Some(opened), Some(began)) = (self.opened, began) else {
            return Ok(None);
        };
        if opened >= began {
            return Ok(None);
        }
        let location = self.table.location();
        let Some(table) = opened_since(location, began).await? else {
            return plan_err!("the table {location} is not there any more");
        };
        if table.version() == self.table.version() && table.id()? == self.table.id()? {
            return Ok(None);
        }
        let newer = Self::version(table)?;
        if newer.schema != self.schema {
            return plan_err!(
                "the table {location} has other columns than when the view or the prepared \
                 statement that reads it was made; make that again"
            );
        }
        Ok(Some(newer))
    }

    /// The files that the scan has to read for some filters.
    fn files(
        &self,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<Vec<PartitionedFile>> {
        let may_match = self.may_match(state, filters)?;
        let files = numbered_files(&self.table)?;
        let kept = self.table.kept_schema()?;
        let mut found = vec![];
        for (number, (place, view)) in files.iter().enumerate() {
            let is_chosen = match &self.numbered {
                Some(Some(only)) => only.contains(&number),
                _ => true,
            };
            if is_chosen && may_match.as_ref().is_none_or(|may| may[*place]) {
                found.push(self.file(view, number, &kept)?);
            }
        }
        of_partitions(state, &self.scanned, found, filters)
    }

    /// The numbers of the files that filters leave, of those about partitions exactly.
    pub(crate) fn chosen(
        &self,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<HashSet<usize>> {
        let files = self.files(state, filters)?;
        let numbers =
            files
                .iter()
                .filter_map(|file| match file.partition_values.last() {
                    Some(ScalarValue::UInt64(Some(number))) => {
                        usize::try_from(*number).ok()
                    }
                    _ => None,
                });
        Ok(numbers.collect())
    }

    fn file(
        &self,
        view: &LogicalFileView,
        number: usize,
        kept: &Schema,
    ) -> Result<PartitionedFile> {
        let values = view.partition_values_map();
        let columns = self.scanned.table_partition_cols();
        let values = columns.iter().map(|column| {
            if column.name() == FILE {
                return Ok(ScalarValue::UInt64(Some(number as u64)));
            }
            let text = values.get(column.name()).cloned().flatten();
            let kept = field_of(kept, column.name())?;
            let value = partitions::value(text.as_deref(), kept.data_type())?;
            value.cast_to(column.data_type())
        });
        let values = values.collect::<Result<Vec<_>>>()?;
        let below = view.object_store_path();
        let base = &self.table.location().path;
        let modified = DateTime::from_timestamp_millis(view.modification_time());
        let mut file = PartitionedFile::from(ObjectMeta {
            location: base.parts().chain(below.parts()).collect(),
            last_modified: modified.unwrap_or_default(),
            size: u64::try_from(view.size()).unwrap_or_default(),
            e_tag: None,
            version: None,
        });
        file.partition_values = values;
        Ok(file)
    }

    /// Of each file in the order of the log, whether the log's bounds of its columns let
    /// it have a row for which all filters are true.
    fn may_match(
        &self,
        state: &dyn Session,
        filters: &[Expr],
    ) -> Result<Option<Vec<bool>>> {
        let Some(filter) = conjunction(filters.iter().cloned()) else {
            return Ok(None);
        };
        let schema = DFSchema::try_from(Arc::clone(&self.schema))?;
        let Ok(filter) = state.create_physical_expr(filter, &schema) else {
            return Ok(None);
        };
        let pruning = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.schema))
            .build(filter);
        let Some(pruning) = pruning else {
            return Ok(None);
        };
        let bounds = Bounds {
            log: self.table.snapshot()?.log_data(),
            schema: &self.schema,
        };
        Ok(pruning.prune(&bounds).ok())
    }
}

fn field_of(schema: &Schema, name: &str) -> Result<Field> {
    Ok(schema.field_with_name(name)?.clone())
}

/// The files of a version in the order in which they were written, each with its place in
/// the log. Their numbers are their places here.
pub(crate) fn numbered_files(table: &Table) -> Result<Vec<(usize, LogicalFileView)>> {
    let views = table.snapshot()?.log_data().into_iter();
    let mut files: Vec<_> = views.enumerate().collect();
    files.sort_by_cached_key(|(_, view)| {
        let path = view.path().into_owned();
        let name = path.rsplit('/').next().unwrap_or_default();
        // `part-00003-..`: a writer numbers its files, which the clock may not tell apart.
        let part = name.split('-').nth(1).unwrap_or_default().to_string();
        (view.modification_time(), part, path)
    });
    Ok(files)
}

/// Whether the files of a table are read as they lie there.
pub(crate) fn is_plain(table: &Table) -> Result<bool> {
    let snapshot = table.snapshot()?;
    let has_vectors = snapshot
        .log_data()
        .iter()
        .any(|view| view.deletion_vector_descriptor().is_some());
    Ok(!has_vectors && !has_renamed_columns(table)?)
}

/// Whether columns have other names in the files.
pub(crate) fn has_renamed_columns(table: &Table) -> Result<bool> {
    let snapshot = table.snapshot()?;
    let properties = snapshot.metadata().configuration();
    let mode = properties.get("delta.columnMapping.mode");
    Ok(mode.is_some_and(|mode| mode != "none"))
}

/// The folder of a table, if that is what is read.
pub fn location_of(provider: &dyn TableProvider) -> Option<&Location> {
    provider.downcast_ref::<Source>().map(Source::location)
}

#[async_trait]
impl TableProvider for Source {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let is_exact =
            |filter: &Expr| self.is_plain && is_about_partitions(&self.scanned, filter);
        let pushdown = |filter: &&Expr| match is_exact(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Inexact,
        };
        Ok(filters.iter().map(pushdown).collect())
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let newer = self.newer(state).await?;
        let source = newer.as_ref().unwrap_or(self);
        if !source.is_plain {
            return source.scan_by_log(state, projection, filters, limit).await;
        }
        source.scan_files(state, projection, filters, limit).await
    }
}

impl Source {
    /// The scan of the log's own library, for what only that understands.
    async fn scan_by_log(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let table = &self.table;
        let error = |error| table.error("read", error);
        let session = table.delta().update_datafusion_session(state);
        session.map_err(error)?;
        let config = DeltaScanConfig::new_from_session(state)
            .with_wrap_partition_values(false)
            .with_schema(Arc::clone(&self.schema));
        let scan = DeltaScanNext::new(table.snapshot()?.clone(), config)?;
        scan.scan(state, projection, filters, limit).await
    }

    async fn scan_files(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all).iter().map(|at| {
            let name = self.schema.field(*at).name();
            let scanned = self.scanned.table_schema().index_of(name);
            scanned.map_err(|error| internal_datafusion_err!("{error}"))
        });
        let wanted = wanted.collect::<Result<Vec<_>>>()?;
        let scan = FileScan {
            base: self.table.location(),
            format: &Parquet::default(),
            schema: self.scanned.clone(),
            files: self.files(state, filters)?,
        };
        scan.plan(state, Some(&wanted), filters, limit).await
    }
}
