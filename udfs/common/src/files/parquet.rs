//! Parquet as DataFusion reads and writes it, without the bounds of floats.
//!
//! The minimum and maximum that a Parquet file keeps of a column leave NaN out, so a
//! column of `[NaN, 2.0]` says that every value is 2.0, and one of `[1, NaN, 3]` that
//! none is above 3. DataFusion takes both at their word: for constants, for row groups
//! and pages to skip, for `min`, `max` and the order of files. Which writer leaves NaN
//! out cannot be told from a file, so no bound of a FLOAT, DOUBLE or FLOAT16 column is
//! trusted, nested ones included. They are taken out of the metadata as soon as it was
//! read, before anything sees it. Counts of NULL stay, and so does everything that files
//! say about columns of other types.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::parsers::CompressionTypeVariant;
use datafusion::common::{GetExt, Result, Statistics, internal_datafusion_err};
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::parquet::{ParquetFormat, ParquetFormatFactory};
use datafusion::datasource::file_format::{FileFormat, FileFormatFactory, FileMeta};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::{
    DFParquetMetadata, ordering_from_parquet_metadata,
};
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, CachedParquetMetaData,
};
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileScanConfigBuilder, FileSinkConfig, FileSource,
    ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::cache::cache_manager::{
    CachedFileMetadataEntry, FileMetadataCache,
};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::basic::{LogicalType, Type};
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::{
    ColumnChunkMetaData, PageIndexPolicy, ParquetMetaData, ParquetMetaDataBuilder,
    RowGroupMetaData,
};
use datafusion::parquet::file::page_index::column_index::ColumnIndexMetaData;
use datafusion::parquet::file::statistics::Statistics as Bounds;
use datafusion::parquet::schema::types::ColumnDescriptor;
use datafusion::physical_expr::{LexOrdering, LexRequirement};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::{ObjectMeta, ObjectStore};

/// Makes [`Parquet`] for the session's `STORED AS PARQUET` and for names of files.
#[derive(Debug, Default)]
pub struct ParquetFactory(ParquetFormatFactory);

impl FileFormatFactory for ParquetFactory {
    fn create(
        &self,
        state: &dyn Session,
        options: &HashMap<String, String>,
    ) -> Result<Arc<dyn FileFormat>> {
        let format = self.0.create(state, options)?;
        let format = format.downcast_ref::<ParquetFormat>().ok_or_else(|| {
            internal_datafusion_err!("the Parquet factory made {format:?}")
        })?;
        let format = ParquetFormat::default().with_options(format.options().clone());
        Ok(Arc::new(Parquet(format)))
    }

    fn default(&self) -> Arc<dyn FileFormat> {
        Arc::new(Parquet::default())
    }
}

impl GetExt for ParquetFactory {
    fn get_ext(&self) -> String {
        self.0.get_ext()
    }
}

/// DataFusion's Parquet format with metadata that knows no bounds of floats.
#[derive(Debug, Default)]
pub struct Parquet(ParquetFormat);

impl Parquet {
    async fn metadata(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        object: &ObjectMeta,
    ) -> Result<Arc<ParquetMetaData>> {
        let cache = state.runtime_env().cache_manager.get_file_metadata_cache();
        let metadata = DFParquetMetadata::new(store, object)
            .with_metadata_size_hint(self.0.metadata_size_hint())
            .with_file_metadata_cache(Some(Arc::clone(&cache)))
            .fetch_metadata()
            .await?;
        Ok(cached_without_bounds(&cache, object, metadata)?)
    }
}

#[async_trait]
impl FileFormat for Parquet {
    fn get_ext(&self) -> String {
        self.0.get_ext()
    }

    fn get_ext_with_compression(
        &self,
        compression: &FileCompressionType,
    ) -> Result<String> {
        match compression.get_variant() {
            CompressionTypeVariant::UNCOMPRESSED => Ok(self.get_ext()),
            _ => self.0.get_ext_with_compression(compression),
        }
    }

    fn compression_type(&self) -> Option<FileCompressionType> {
        self.0.compression_type()
    }

    async fn infer_schema(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        objects: &[ObjectMeta],
    ) -> Result<SchemaRef> {
        self.0.infer_schema(state, store, objects).await
    }

    async fn infer_stats(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Statistics> {
        let metadata = self.metadata(state, store, object).await?;
        DFParquetMetadata::statistics_from_parquet_metadata(&metadata, &table_schema)
    }

    async fn infer_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<Option<LexOrdering>> {
        let metadata = self.metadata(state, store, object).await?;
        let ordering = ordering_from_parquet_metadata(&metadata, &table_schema)?;
        Ok(ordering.and_then(|ordering| without_floats(&ordering, &table_schema)))
    }

    async fn infer_stats_and_ordering(
        &self,
        state: &dyn Session,
        store: &Arc<dyn ObjectStore>,
        table_schema: SchemaRef,
        object: &ObjectMeta,
    ) -> Result<FileMeta> {
        let metadata = self.metadata(state, store, object).await?;
        let statistics = DFParquetMetadata::statistics_from_parquet_metadata(
            &metadata,
            &table_schema,
        )?;
        let ordering = ordering_from_parquet_metadata(&metadata, &table_schema)?;
        let ordering =
            ordering.and_then(|ordering| without_floats(&ordering, &table_schema));
        Ok(FileMeta::new(statistics).with_ordering(ordering))
    }

    async fn create_physical_plan(
        &self,
        state: &dyn Session,
        conf: FileScanConfig,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let plan = self.0.create_physical_plan(state, conf).await?;
        without_bounds(&plan, state.runtime_env())
    }

    async fn create_writer_physical_plan(
        &self,
        input: Arc<dyn ExecutionPlan>,
        state: &dyn Session,
        conf: FileSinkConfig,
        order: Option<LexRequirement>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        self.0
            .create_writer_physical_plan(input, state, conf, order)
            .await
    }

    fn file_source(&self, table_schema: TableSchema) -> Arc<dyn FileSource> {
        self.0.file_source(table_schema)
    }
}

/// A scan of Parquet that knows no bounds of floats. One that was sent to another process
/// has lost that on its way.
pub fn without_bounds(
    plan: &Arc<dyn ExecutionPlan>,
    runtime: &RuntimeEnv,
) -> Result<Arc<dyn ExecutionPlan>> {
    let Some((conf, source)) = parquet_scan(plan.as_ref()) else {
        return Err(internal_datafusion_err!("a scan of Parquet is {plan:?}"));
    };
    let store = runtime.object_store(&conf.object_store_url)?;
    let cache = runtime.cache_manager.get_file_metadata_cache();
    let inner = CachedParquetFileReaderFactory::new(store, Arc::clone(&cache));
    let readers = Arc::new(Readers { inner, cache });
    let source = source.clone().with_parquet_file_reader_factory(readers);
    let conf = FileScanConfigBuilder::from(conf.clone())
        .with_source(Arc::new(source))
        .build();
    Ok(DataSourceExec::from_data_source(conf))
}

/// What an operator scans, if it scans Parquet.
pub fn parquet_scan(
    plan: &dyn ExecutionPlan,
) -> Option<(&FileScanConfig, &ParquetSource)> {
    let scan = plan.downcast_ref::<DataSourceExec>()?;
    scan.downcast_to_file_source::<ParquetSource>()
}

/// The footer of a file, from the cache if it was read before. With `pages` it says where
/// each page begins, so that a scan of a few rows reads their pages alone.
pub async fn footer(
    runtime: &RuntimeEnv,
    store: &Arc<dyn ObjectStore>,
    object: &ObjectMeta,
    pages: bool,
) -> Result<Arc<ParquetMetaData>> {
    let policy = match pages {
        true => PageIndexPolicy::Optional,
        false => PageIndexPolicy::Skip,
    };
    let cache = runtime.cache_manager.get_file_metadata_cache();
    let metadata = DFParquetMetadata::new(store.as_ref(), object)
        .with_file_metadata_cache(Some(Arc::clone(&cache)))
        .with_page_index_policy(Some(policy))
        .fetch_metadata()
        .await?;
    Ok(cached_without_bounds(&cache, object, metadata)?)
}

/// The order as far as it does not depend on where NaN is sorted, on which writers of
/// Parquet do not agree.
fn without_floats(ordering: &LexOrdering, schema: &SchemaRef) -> Option<LexOrdering> {
    let is_sure = |data_type: DataType| !data_type.is_floating();
    let sure = ordering
        .iter()
        .take_while(|by| by.expr.data_type(schema).is_ok_and(is_sure));
    LexOrdering::new(sure.cloned())
}

/// Opens files whose metadata has no bounds of floats.
#[derive(Debug)]
struct Readers {
    inner: CachedParquetFileReaderFactory,
    cache: Arc<FileMetadataCache>,
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let object = file.object_meta.clone();
        let inner =
            self.inner
                .create_reader(partition, file, metadata_size_hint, metrics)?;
        Ok(Box::new(Reader {
            inner,
            object,
            cache: Arc::clone(&self.cache),
        }))
    }
}

struct Reader {
    inner: Box<dyn AsyncFileReader + Send>,
    object: ObjectMeta,
    cache: Arc<FileMetadataCache>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let metadata = self.inner.get_metadata(options).await?;
            cached_without_bounds(&self.cache, &self.object, metadata)
        }
        .boxed()
    }
}

/// The metadata without bounds of floats, which the cache has from now on, so that a
/// file with many row groups is gone through once and not at each opening.
fn cached_without_bounds(
    cache: &Arc<FileMetadataCache>,
    object: &ObjectMeta,
    metadata: Arc<ParquetMetaData>,
) -> ParquetResult<Arc<ParquetMetaData>> {
    if !has_bounds_of_floats(&metadata) {
        return Ok(metadata);
    }
    let metadata = Arc::new(without_bounds_of_floats(metadata.as_ref().clone())?);
    let entry = Arc::new(CachedParquetMetaData::new(Arc::clone(&metadata)));
    cache.put(
        &object.location,
        CachedFileMetadataEntry::new(object.clone(), entry),
    );
    Ok(metadata)
}

fn is_float(column: &ColumnDescriptor) -> bool {
    matches!(column.physical_type(), Type::FLOAT | Type::DOUBLE)
        || matches!(column.logical_type_ref(), Some(LogicalType::Float16))
}

fn has_bounds_of_floats(metadata: &ParquetMetaData) -> bool {
    let columns = metadata
        .row_groups()
        .iter()
        .flat_map(|group| group.columns());
    let has_bounds = |column: &ColumnChunkMetaData| {
        let bounds = column.statistics();
        column.column_index_offset().is_some()
            || bounds.is_some_and(|bounds| {
                bounds.min_bytes_opt().is_some() || bounds.max_bytes_opt().is_some()
            })
    };
    columns
        .filter(|column| is_float(column.column_descr()))
        .any(has_bounds)
}

fn without_bounds_of_floats(metadata: ParquetMetaData) -> ParquetResult<ParquetMetaData> {
    let mut builder = ParquetMetaDataBuilder::new_from_metadata(metadata);
    let mut pages = builder.take_column_index();
    let groups = builder.take_row_groups();
    let mut sound = Vec::with_capacity(groups.len());
    for (number, group) in groups.into_iter().enumerate() {
        if let Some(pages) = pages.as_mut().and_then(|pages| pages.get_mut(number)) {
            for (column, pages) in group.columns().iter().zip(pages) {
                if is_float(column.column_descr()) {
                    *pages = ColumnIndexMetaData::NONE;
                }
            }
        }
        sound.push(group_without_bounds(group)?);
    }
    let builder = builder.set_row_groups(sound).set_column_index(pages);
    Ok(builder.build())
}

fn group_without_bounds(group: RowGroupMetaData) -> ParquetResult<RowGroupMetaData> {
    let mut builder = group.into_builder();
    let columns = builder.take_columns().into_iter().map(|column| {
        if !is_float(column.column_descr()) {
            return Ok(column);
        }
        let nulls = column.statistics().and_then(only_nulls);
        // Without its place, the page index of the column cannot be read later either.
        let column = column
            .into_builder()
            .set_column_index_offset(None)
            .set_column_index_length(None)
            .clear_statistics();
        match nulls {
            Some(nulls) => column.set_statistics(nulls).build(),
            None => column.build(),
        }
    });
    let columns = columns.collect::<ParquetResult<_>>()?;
    builder.set_column_metadata(columns).build()
}

/// The same statistics with the count of NULL alone.
fn only_nulls(bounds: &Bounds) -> Option<Bounds> {
    let nulls = bounds.null_count_opt();
    match bounds {
        Bounds::Float(_) => Some(Bounds::float(None, None, None, nulls, false)),
        Bounds::Double(_) => Some(Bounds::double(None, None, None, nulls, false)),
        Bounds::FixedLenByteArray(_) => {
            Some(Bounds::fixed_len_byte_array(None, None, None, nulls, false))
        }
        _ => None,
    }
}
