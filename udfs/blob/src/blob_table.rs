//! The table of `read_blob`: files, listed when a statement is planned.

use std::sync::Arc;

use async_trait::async_trait;
use atoll_udf_common::AtollOptions;
use atoll_udf_common::files::{FileEntry, Named, Order, is_decided_by, keep_where};
use datafusion::arrow::array::{RecordBatch, new_null_array};
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_expr::expressions::col;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::ProjectionExec;
use futures::TryStreamExt;

use crate::list::{ListExec, Listings, MakesTables};
use crate::read_blob::{CONTENT, listed, scan};
use crate::read_files::{Part, PartColumn, ReadFilesExec};

/// The files behind some patterns. They are listed anew by every statement, so a view
/// over them shows what is there now.
#[derive(Debug)]
pub(crate) struct BlobTable {
    patterns: Vec<String>,
    schema: SchemaRef,
}

impl BlobTable {
    pub(crate) fn new(patterns: Vec<String>, schema: SchemaRef) -> Self {
        Self { patterns, schema }
    }
}

#[async_trait]
impl TableProvider for BlobTable {
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
        let pushdown = |filter: &&Expr| match is_about_the_listing(filter) {
            true => TableProviderFilterPushDown::Exact,
            false => TableProviderFilterPushDown::Unsupported,
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
        let mut named = Vec::with_capacity(self.patterns.len());
        for pattern in &self.patterns {
            named.push(Named::of(None, pattern).await?);
        }
        let schema = match projection {
            Some(columns) => Arc::new(self.schema.project(columns)?),
            None => self.schema(),
        };
        let most = AtollOptions::get(state.config_options()).distribute_files;
        let first = limit.filter(|_| filters.is_empty());
        if let Some(files) = few(&named, most, first).await? {
            let mut files = filtered(state, &self.schema, files, filters)?;
            files.truncate(limit.unwrap_or(usize::MAX));
            let partitions = state.config().target_partitions();
            return Ok(Arc::new(scan(files, schema, partitions)));
        }
        let filter = match conjunction(filters.iter().cloned()) {
            Some(filter) => {
                let columns = DFSchema::try_from(ListExec::columns())?;
                Some(state.create_physical_expr(filter, &columns)?)
            }
            None => None,
        };
        match state.config().get_extension::<Listings>() {
            None => Ok(Arc::new(ListExec::new(named, filter, schema, most))),
            Some(listings) => {
                let columns = ListExec::columns();
                let listing = ListExec::new(named, filter, columns, most).by_name();
                read_listed(listings.0.as_ref(), listing, &schema, state).await
            }
        }
    }
}

/// The files of some patterns if there are at most so many, each pattern's in the order of
/// their names. Only the `first` ones are looked for, if a number of them is given.
async fn few(
    patterns: &[Named],
    most: usize,
    first: Option<usize>,
) -> Result<Option<Vec<FileEntry>>> {
    // The first ones are the same each time.
    let order = match first {
        Some(_) => Order::Names,
        None => Order::Any,
    };
    let (mut all, mut is_few) = (Vec::new(), true);
    for named in patterns {
        let (mut files, mut found) = (Vec::new(), named.stream(order));
        while let Some(page) = found.try_next().await? {
            files.extend(page);
            let so_far = all.len() + files.len();
            let is_enough = first.is_some_and(|first| so_far >= first);
            is_few &= so_far <= most || is_enough;
            // A pattern without files is an error, whatever the others have.
            if (is_enough || !is_few) && !files.is_empty() {
                break;
            }
        }
        if files.is_empty() {
            return Err(named.without_files());
        }
        files.sort_by(|a, b| a.filename.cmp(&b.filename));
        all.extend(files);
        if !is_few {
            all.clear();
        }
    }
    Ok(is_few.then_some(all))
}

/// The rows of a listing that is made a table.
async fn read_listed(
    listings: &dyn MakesTables,
    listing: ListExec,
    schema: &SchemaRef,
    state: &dyn Session,
) -> Result<Arc<dyn ExecutionPlan>> {
    let of_listing = ListExec::columns();
    let is_listed = |field: &&Arc<Field>| field.name() != CONTENT;
    let reads = schema.column_with_name(CONTENT).is_some();
    let mut columns = schema
        .fields()
        .iter()
        .filter(is_listed)
        .map(|field| of_listing.index_of(field.name()))
        .collect::<Result<Vec<_>, _>>()?;
    // Files are read by their names.
    let filename = of_listing.index_of("filename")?;
    if reads && !columns.contains(&filename) {
        columns.push(filename);
    }
    let listed = listings.table_of(listing, &columns, state).await?;
    if !reads {
        return Ok(listed.scan);
    }
    let by = listed.scan.schema().index_of("filename")?;
    let content = PartColumn {
        part: Part::Content,
        is_read: true,
        nullable: false,
    };
    let read = ReadFilesExec::new(listed.scan, by, vec![content], Some(listed.known));
    let columns = schema.fields().iter().map(|field| {
        let column = col(field.name(), &read.schema())?;
        Ok((column, field.name().clone()))
    });
    let columns = columns.collect::<Result<Vec<_>>>()?;
    Ok(Arc::new(ProjectionExec::try_new(columns, Arc::new(read))?))
}

/// Whether a filter can be decided before any file is read.
fn is_about_the_listing(filter: &Expr) -> bool {
    is_decided_by(filter, |column| column != CONTENT)
}

/// The files for which every filter is true.
fn filtered(
    state: &dyn Session,
    schema: &SchemaRef,
    files: Vec<FileEntry>,
    filters: &[Expr],
) -> Result<Vec<FileEntry>> {
    let Some(filter) = conjunction(filters.iter().cloned()) else {
        return Ok(files);
    };
    // The filters read no content, so any content will do.
    let nullable = schema
        .fields()
        .iter()
        .map(|field| field.as_ref().clone().with_nullable(true));
    let schema = Arc::new(Schema::new(nullable.collect::<Vec<_>>()));
    let columns = schema.fields().iter().map(|field| {
        listed(field, &files)
            .unwrap_or_else(|| new_null_array(field.data_type(), files.len()))
    });
    let listing = RecordBatch::try_new(Arc::clone(&schema), columns.collect())?;
    keep_where(state, filter, &listing, files)
}
