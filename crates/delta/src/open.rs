//! Opening a table: its log, at the newest version or an older one.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Once};

use atoll_udf_common::Location;
use chrono::{DateTime, Utc};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::{DataFusionError, Result, plan_err};
use deltalake_core::kernel::EagerSnapshot;
use deltalake_core::kernel::engine::arrow_conversion::TryIntoArrow;
use deltalake_core::logstore::{
    LogStore, LogStoreFactory, ObjectStoreRef, StorageConfig, default_logstore,
    logstore_factories,
};
use deltalake_core::{DeltaResult, DeltaTable, DeltaTableBuilder, DeltaTableError};
use url::Url;

use crate::error::explain;
use crate::standing::{is_start, log_names};
use crate::types;

/// The schemes of stores that commit by a conditional put, beside `file`.
const SCHEMES: [&str; 8] = [
    "s3://", "s3a://", "gs://", "az://", "azure://", "abfs://", "abfss://", "adl://",
];

/// Which state of a table is meant, if not the newest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The version with this number.
    Version(u64),
    /// The version that was the newest at this time.
    Time(DateTime<Utc>),
}

/// A Delta table at one version.
#[derive(Clone)]
pub struct Table {
    location: Location,
    inner: DeltaTable,
}

impl Debug for Table {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} at {:?})", self.location, self.inner.version())
    }
}

impl Table {
    /// Opens the newest version of the table in a folder; `None` if there is no table.
    pub async fn open(location: &Location) -> Result<Option<Self>> {
        // Asked first, because reading a log begins with opening the folder.
        if location
            .local_path()
            .is_some_and(|folder| !folder.join("_delta_log").is_dir())
        {
            return Ok(None);
        }
        let mut seen = None;
        let inner = loop {
            let mut inner = log_of(location)?;
            let error = match inner.load().await {
                Ok(()) => break inner,
                Err(DeltaTableError::NotATable(_)) => return Ok(None),
                Err(error) => error,
            };
            let names = log_names(location).await?;
            if !names.iter().any(|name| is_start(name)) {
                return plan_err!(
                    "the table {location} was dropped meanwhile, or its log has lost its \
                     beginning; DROP TABLE removes what is left"
                );
            }
            // What the log named may have been deleted before it was read, by DROP TABLE or
            // by who cleans up; a log that stays as it is stays unreadable.
            if seen.as_ref() == Some(&names) {
                return Err(explain(location, "read", error));
            }
            seen = Some(names);
        };
        let location = location.clone();
        Ok(Some(Self { location, inner }))
    }

    /// Opens an older version.
    pub async fn open_at(location: &Location, at: &At) -> Result<Option<Self>> {
        let Some(newest) = Self::open(location).await? else {
            return Ok(None);
        };
        let newest_version = newest.version();
        let mut inner = newest.inner;
        let error = |error| explain(location, "read", error);
        match at {
            At::Version(version) if *version > newest_version => {
                return plan_err!(
                    "{location} has no version {version}; its newest is {newest_version}"
                );
            }
            At::Version(version) => {
                let loaded = inner.load_version(*version).await;
                if let Err(failed) = loaded {
                    return plan_err!(
                        "version {version} of {location} is gone: the log keeps 30 days of \
                         versions, and VACUUM removes their files ({failed})"
                    );
                }
            }
            At::Time(time) => {
                inner.load_with_datetime(*time).await.map_err(error)?;
                let version = inner.version().unwrap_or_default();
                let written = commit_time(&inner, version).await.map_err(error)?;
                if written > *time {
                    return plan_err!(
                        "{location} has no version as old as {time}; its first that is \
                         kept is of {written}"
                    );
                }
            }
        }
        let location = location.clone();
        Ok(Some(Self { location, inner }))
    }

    /// The folder of the table.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The number of this version; the first is 0.
    pub fn version(&self) -> u64 {
        self.inner.version().unwrap_or_default()
    }

    /// What tells this table from another one that was in the same folder before.
    pub(crate) fn id(&self) -> Result<&str> {
        Ok(self.snapshot()?.metadata().id())
    }

    /// The columns that the table is partitioned by.
    pub fn partition_columns(&self) -> Result<Vec<String>> {
        Ok(self.snapshot()?.metadata().partition_columns().to_vec())
    }

    /// A property that CREATE TABLE or a statement after it has set.
    pub fn property(&self, name: &str) -> Result<Option<String>> {
        let metadata = self.snapshot()?.metadata();
        Ok(metadata.configuration().get(name).cloned())
    }

    /// The columns as they are kept, with notes of the types that they came with.
    pub(crate) fn kept_schema(&self) -> Result<SchemaRef> {
        let schema = self.snapshot()?.schema();
        let schema: datafusion::arrow::datatypes::Schema =
            schema.as_ref().try_into_arrow()?;
        Ok(Arc::new(schema))
    }

    /// The columns as statements see them.
    pub fn schema(&self) -> Result<SchemaRef> {
        Ok(types::read(self.kept_schema()?.as_ref()))
    }

    pub(crate) fn snapshot(&self) -> Result<&EagerSnapshot> {
        let state = self.inner.snapshot();
        let state = state.map_err(|error| explain(&self.location, "read", error))?;
        Ok(state.snapshot())
    }

    pub(crate) fn delta(&self) -> &DeltaTable {
        &self.inner
    }

    /// Translates an error of the log, naming the table.
    pub(crate) fn error(&self, doing: &str, error: DeltaTableError) -> DataFusionError {
        explain(&self.location, doing, error)
    }
}

/// When a version was committed, by the clock of the store.
async fn commit_time(
    table: &DeltaTable,
    version: u64,
) -> Result<DateTime<Utc>, DeltaTableError> {
    use object_store::ObjectStoreExt;
    let snapshot = table.snapshot()?;
    let known = snapshot.version_timestamp(version);
    let time = match known.and_then(DateTime::from_timestamp_millis) {
        Some(time) => time,
        None => {
            let file = deltalake_core::logstore::commit_uri_from_version(Some(version));
            table.object_store().head(&file).await?.last_modified
        }
    };
    Ok(time)
}

/// The table of a folder, without having read its log, over the process's own store.
pub(crate) fn log_of(location: &Location) -> Result<DeltaTable> {
    register();
    let url = location.folder_url();
    let error = |error| explain(location, "open", error);
    DeltaTableBuilder::from_url(url.clone())
        .map_err(error)?
        .with_storage_backend(Arc::clone(&location.store), url)
        .build()
        .map_err(error)
}

/// Lets tables lie in object stores. All of them put a file only if it is not there yet,
/// so no table of locks is needed, which is what the crates for single stores bring.
fn register() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let factories = logstore_factories();
        for scheme in SCHEMES {
            if let Ok(url) = Url::parse(scheme) {
                factories.insert(url, Arc::new(ConditionalPut));
            }
        }
    });
}

/// Makes the log of a table in an object store.
struct ConditionalPut;

impl LogStoreFactory for ConditionalPut {
    fn with_options(
        &self,
        prefixed: ObjectStoreRef,
        root: ObjectStoreRef,
        url: &Url,
        options: &StorageConfig,
    ) -> DeltaResult<Arc<dyn LogStore>> {
        Ok(default_logstore(prefixed, root, url, options))
    }
}
