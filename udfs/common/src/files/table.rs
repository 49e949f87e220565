//! Files as a table: `FROM 'file.parquet'`, `FROM 'folder/'`, `train('*.csv', ..)`.
//!
//! DataFusion has such a table. This one differs where that one is silently wrong or
//! gives up: what a name means is decided by [`Named`], NULL of a partition column is
//! NULL, and one file with an odd name hides no others.

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::sync::Arc;

use async_trait::async_trait;
use atoll_compute::warnings::Warnings;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{Result, plan_err};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl, PartitionedFile,
};
use datafusion::datasource::sink::DataSinkExec;
use datafusion::datasource::table_schema::{TableSchema, TableSchemaBuilder};
use datafusion::execution::SessionState;
use datafusion::logical_expr::dml::InsertOp;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;

use super::data::{data_files, format_of, partition_columns};
use super::logs::{refuse_above, refuse_delta_table};
use super::name::{Kind, Named};
use super::partitions::{self, NamingSink};
use super::scan::{FileScan, is_about_partitions, of_partitions};
use crate::{CallContext, Location};

/// The files behind a name, as one table.
#[derive(Debug)]
pub struct FileTable {
    named: Named,
    /// Where the folders of partition columns begin, and the store.
    base: Location,
    format: Arc<dyn FileFormat>,
    /// How the names of its files end.
    ending: String,
    schema: TableSchema,
    /// Whether it may be without files, for INSERT to write some.
    may_be_empty: bool,
    /// What INSERT writes to columns that it does not name.
    defaults: HashMap<String, Expr>,
}

/// What CREATE EXTERNAL TABLE says of files.
#[derive(Debug)]
pub struct Declared {
    /// The format of them all.
    pub format: Arc<dyn FileFormat>,
    /// All columns, if they are given.
    pub schema: Option<SchemaRef>,
    /// Those that the names of folders give.
    pub partition_by: Vec<String>,
    /// What INSERT writes to columns that it does not name.
    pub defaults: HashMap<String, Expr>,
}

impl FileTable {
    /// Opens the files that a text names; `None` if there are none of a known format.
    pub async fn open(
        session: &SessionState,
        directory: Option<&FilePath>,
        text: &str,
    ) -> Result<Option<Self>> {
        Self::open_with(session, directory, text, false).await
    }

    /// The same; the schema of a single Parquet file has the file's metadata.
    pub async fn with_metadata(
        session: &SessionState,
        directory: Option<&FilePath>,
        text: &str,
    ) -> Result<Option<Self>> {
        Self::open_with(session, directory, text, true).await
    }

    async fn open_with(
        session: &SessionState,
        directory: Option<&FilePath>,
        text: &str,
        with_metadata: bool,
    ) -> Result<Option<Self>> {
        let named = Named::of(directory, text).await?;
        if matches!(named.kind, Kind::Missing) {
            return Ok(None);
        }
        let base = named.location()?;
        // Reading the files warns, and knows their ending.
        let files = data_files(&Warnings::default(), &named, &base, "").await?;
        let Some(first) = files.first() else {
            return Ok(None);
        };
        let format = format_of(session, (&named, &base), first, with_metadata).await?;
        let Some((ending, format)) = format else {
            return Ok(None);
        };
        let files: Vec<_> = files
            .into_iter()
            .filter(|file| file.object.location.as_ref().ends_with(&ending))
            .collect();
        refuse_above(&named, files.iter().map(|file| &file.object)).await?;
        let columns = partition_columns(text, &files)?;
        let objects: Vec<_> = files
            .into_iter()
            .map(|file| file.object)
            .filter(|object| object.size > 0)
            .collect();
        let schema = format.infer_schema(session, &base.store, &objects).await?;
        let columns = columns
            .into_iter()
            .map(|name| (name, partitions::column_type()));
        Self::new(named, base, (ending, format), &schema, columns.collect()).map(Some)
    }

    fn new(
        named: Named,
        base: Location,
        (ending, format): (String, Arc<dyn FileFormat>),
        schema: &SchemaRef,
        columns: Vec<(String, DataType)>,
    ) -> Result<Self> {
        if let Some((name, _)) = columns
            .iter()
            .find(|(name, _)| schema.field_with_name(name).is_ok())
        {
            return plan_err!(
                "in '{}' the files and the names of their folders both have a column \
                 {name}; read the files of one folder, or write them without it",
                named.text
            );
        }
        let columns: Vec<FieldRef> = columns
            .into_iter()
            .map(|(name, data_type)| Arc::new(Field::new(name, data_type, true)))
            .collect();
        Ok(Self {
            named,
            base,
            format,
            ending,
            schema: TableSchemaBuilder::from(schema)
                .with_table_partition_cols(columns)
                .build(),
            may_be_empty: false,
            defaults: HashMap::new(),
        })
    }

    /// The files of an external table, of which there need not be any yet.
    pub async fn declared(
        session: &SessionState,
        text: &str,
        declared: Declared,
    ) -> Result<Self> {
        let mut named = Named::of(None, text).await?;
        if matches!(named.kind, Kind::Missing) {
            named.kind = Kind::Folder;
        }
        let base = named.location()?;
        if declared.format.get_ext() == "parquet" {
            refuse_delta_table(&named).await?;
        }
        let by = &declared.partition_by;
        let (schema, columns) = match &declared.schema {
            Some(all) => {
                let declared = |name: &String| {
                    let field = all.field_with_name(name)?;
                    Ok((name.clone(), field.data_type().clone()))
                };
                let columns = by.iter().map(declared).collect::<Result<Vec<_>>>()?;
                let in_files = all.fields().iter();
                let in_files = in_files.filter(|field| !by.contains(field.name()));
                let in_files = Schema::new(in_files.cloned().collect::<Vec<_>>());
                (Arc::new(in_files), columns)
            }
            None => {
                let files = data_files(&Warnings::default(), &named, &base, "").await?;
                let objects: Vec<_> = files.into_iter().map(|f| f.object).collect();
                let schema = declared.format.infer_schema(session, &base.store, &objects);
                let columns = by
                    .iter()
                    .map(|name| (name.clone(), partitions::column_type()));
                (schema.await?, columns.collect())
            }
        };
        let format = (String::new(), declared.format);
        Ok(Self {
            may_be_empty: true,
            defaults: declared.defaults,
            ..Self::new(named, base, format, &schema, columns)?
        })
    }

    /// The files as they are now.
    async fn files(&self, state: &dyn Session) -> Result<Vec<PartitionedFile>> {
        let columns = self.schema.table_partition_cols();
        let warnings = CallContext::of(state.config()).warnings;
        let files = data_files(&warnings, &self.named, &self.base, &self.ending).await?;
        if files.is_empty() && !self.may_be_empty {
            return plan_err!(
                "the files of '{}' are not there any more",
                self.named.text
            );
        }
        let files = files.into_iter().filter(|file| file.object.size > 0);
        let with_values = files.map(|file| {
            let mut found = file.columns.iter();
            let values = columns.iter().map(|column| {
                let Some((_, text)) = found.find(|(name, _)| name == column.name())
                else {
                    return plan_err!(
                        "{} lies in no folder {}=..., as other files of the table do",
                        file.object.location,
                        column.name()
                    );
                };
                partitions::value(text.as_deref(), column.data_type())
            });
            let values = values.collect::<Result<Vec<_>>>()?;
            let mut file = PartitionedFile::from(file.object);
            file.partition_values = values;
            Ok(file)
        });
        with_values.collect()
    }
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn get_column_default(&self, column: &str) -> Option<&Expr> {
        self.defaults.get(column)
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        let pushdown = |filter: &&Expr| match is_about_partitions(&self.schema, filter) {
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
        let files = self.files(state).await?;
        let files = of_partitions(state, &self.schema, files, filters)?;
        let scan = FileScan {
            base: &self.base,
            format: self.format.as_ref(),
            schema: self.schema.clone(),
            files,
        };
        scan.plan(state, projection, filters, limit).await
    }

    async fn insert_into(
        &self,
        state: &dyn Session,
        input: Arc<dyn ExecutionPlan>,
        operation: InsertOp,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !matches!(self.named.kind, Kind::Folder) {
            return plan_err!(
                "rows are inserted as another file of a folder, and '{}' is none",
                self.named.text
            );
        }
        let columns = self.schema.table_partition_cols().iter();
        let columns = columns.map(|c| (c.name().clone(), c.data_type().clone()));
        let columns: Vec<_> = columns.collect();
        let names: Vec<String> = columns.iter().map(|(name, _)| name.clone()).collect();
        let options = ListingOptions::new(Arc::clone(&self.format))
            .with_file_extension(&self.ending)
            .with_table_partition_cols(columns);
        let url = ListingTableUrl::try_new(self.base.folder_url(), None)?;
        let config = ListingTableConfig::new(url)
            .with_listing_options(options)
            .with_schema(Arc::clone(self.schema.file_schema()));
        let inner = ListingTable::try_new(config)?
            .insert_into(state, Arc::clone(&input), operation)
            .await?;
        if names.is_empty() {
            return Ok(inner);
        }
        let sink = NamingSink {
            inner,
            columns: names,
            schema: self.schema(),
        };
        Ok(Arc::new(DataSinkExec::new(input, Arc::new(sink), None)))
    }
}
