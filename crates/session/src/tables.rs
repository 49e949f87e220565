//! Tables that outlive their session.
//!
//! `CREATE TABLE .. AS` writes its rows as Parquet under `tables/<name>/<version>/` of
//! the storage, then points `tables/<name>/table.json` at that version. The pointer is
//! replaced atomically, so a reader sees the old rows or the new ones. The version
//! before the current one is kept until the next replacement, for readers that have
//! started on it.
//!
//! Views and external tables are the session's own and are kept in memory.

use std::collections::BTreeSet;
use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use atoll_udf_common::files::Parquet;
use atoll_udf_common::{Location, StoreError};
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{
    DFSchema, Result, TableReference, exec_datafusion_err, exec_err, plan_err,
};
use datafusion::datasource::MemTable;
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateMemoryTable, DdlStatement, DropTable, LogicalPlan};
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use crate::copy::files_of;
use crate::{Origin, parquet_files};

/// The catalog and schema whose tables are stored: DataFusion's defaults.
pub(crate) const CATALOG: &str = "datafusion";
pub(crate) const SCHEMA: &str = "public";

/// What `table.json` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pointer {
    version: String,
    /// The version before, for readers that have started on it.
    previous: Option<String>,
}

/// The default schema: stored tables, and in memory everything else.
pub(crate) struct StoredTables {
    /// The folder `tables` of the storage.
    root: Location,
    names: RwLock<BTreeSet<String>>,
    memory: Arc<dyn SchemaProvider>,
    /// The session, for reading Parquet schemas; `None` once it ended.
    session: Box<dyn Fn() -> Option<SessionState> + Send + Sync>,
}

impl StoredTables {
    /// Finds the tables of a storage; `memory` holds the views of the session.
    pub(crate) async fn open(
        context: &SessionContext,
        memory: Arc<dyn SchemaProvider>,
        storage: &Location,
    ) -> Result<Self> {
        let root = storage.join("tables")?;
        let listed = root.store.list_with_delimiter(Some(&root.path)).await;
        let listed = listed.map_err(|error| {
            StoreError::new(
                &format!("cannot open the storage {storage}"),
                storage,
                error,
            )
            .advise("choose another with --storage or SET atoll.storage")
        })?;
        let names = listed
            .common_prefixes
            .iter()
            .filter_map(|path| path.filename());
        let names = names.map(str::to_string).collect();
        let state = context.state_weak_ref();
        let session = Box::new(move || state.upgrade().map(|state| state.read().clone()));
        Ok(Self {
            root,
            names: RwLock::new(names),
            memory,
            session,
        })
    }

    /// What is kept in memory, for the schema of another storage.
    pub(crate) fn memory(&self) -> Arc<dyn SchemaProvider> {
        Arc::clone(&self.memory)
    }

    /// Runs `CREATE TABLE`, with or without `AS`.
    pub(crate) async fn create(
        &self,
        context: &SessionContext,
        create: CreateMemoryTable,
        origin: &Origin,
    ) -> Result<()> {
        let name = stored_name(&create.name)?;
        if create.temporary {
            return plan_err!(
                "temporary tables are not supported; use CREATE VIEW {name}"
            );
        }
        if !create.constraints.is_empty() || !create.column_defaults.is_empty() {
            return plan_err!(
                "constraints and defaults are not supported in table {name}"
            );
        }
        if create.if_not_exists && create.or_replace {
            return plan_err!("IF NOT EXISTS and OR REPLACE exclude each other");
        }
        let is_stored = self.pointer(name).await?;
        if is_stored.is_some() || self.memory.table_exist(name) {
            if create.if_not_exists {
                return Ok(());
            }
            if !create.or_replace {
                return exec_err!(
                    "table {name} exists already; write CREATE OR REPLACE TABLE, or \
                     DROP TABLE {name} first"
                );
            }
        }
        unique_columns(name, create.input.schema())?;
        let frame = context
            .execute_logical_plan(Arc::unwrap_or_clone(create.input))
            .await?;
        let version = crate::unique_id();
        let folder = self.root.join(&format!("{name}/{version}"))?;
        parquet_files::write(frame, &folder, origin).await?;
        let files = match &origin.log {
            Some(_) => files_of(&folder).await?,
            None => vec![],
        };
        self.publish(name, version, is_stored).await?;
        self.memory.deregister_table(name)?;
        if let Some(log) = &origin.log {
            log.add(files);
        }
        Ok(())
    }

    /// Checks `CREATE TABLE` and leaves a table without rows in memory.
    pub(crate) fn rehearse(&self, create: &CreateMemoryTable) -> Result<()> {
        let name = stored_name(&create.name)?;
        unique_columns(name, create.input.schema())?;
        let schema = Arc::clone(create.input.schema().inner());
        let empty = MemTable::try_new(schema, vec![vec![]])?;
        self.memory.deregister_table(name)?;
        self.memory
            .register_table(name.to_string(), Arc::new(empty))?;
        Ok(())
    }

    /// Points the table at a version that is complete, and forgets the oldest one.
    async fn publish(
        &self,
        name: &str,
        version: String,
        before: Option<Pointer>,
    ) -> Result<()> {
        let pointer = Pointer {
            version,
            previous: before.as_ref().map(|p| p.version.clone()),
        };
        let text = serde_json::to_vec(&pointer)
            .map_err(|error| exec_datafusion_err!("cannot write table.json: {error}"))?;
        let file = self.root.join(&format!("{name}/table.json"))?;
        let put = file.store.put(&file.path, PutPayload::from(text)).await;
        put.map_err(|error| exec_datafusion_err!("cannot write {file}: {error}"))?;
        self.names_mut(|names| names.insert(name.to_string()));
        if let Some(oldest) = before.and_then(|pointer| pointer.previous) {
            self.delete(&format!("{name}/{oldest}")).await?;
        }
        Ok(())
    }

    /// Runs `DROP TABLE`.
    pub(crate) async fn drop_table(
        &self,
        context: &SessionContext,
        drop: DropTable,
    ) -> Result<()> {
        if let Ok(name) = stored_name(&drop.name)
            && self.pointer(name).await?.is_some()
        {
            // The pointer goes first: without it the rest is not a table any more.
            self.delete(&format!("{name}/table.json")).await?;
            self.delete(name).await?;
            self.names_mut(|names| names.remove(name));
            return Ok(());
        }
        let drop = LogicalPlan::Ddl(DdlStatement::DropTable(drop));
        context.execute_logical_plan(drop).await?;
        Ok(())
    }

    fn names_mut(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
        change(&mut self.names.write().unwrap_or_else(PoisonError::into_inner));
    }

    async fn pointer(&self, name: &str) -> Result<Option<Pointer>> {
        // A name that no stored table can have, such as a file's.
        if check_name(name).is_err() {
            return Ok(None);
        }
        let file = self.root.join(&format!("{name}/table.json"))?;
        let bytes = match file.store.get(&file.path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match bytes {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                exec_datafusion_err!("{file} is damaged: {error}; DROP TABLE {name}")
            }),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(file.error(error)),
        }
    }

    /// Deletes everything under a path below the root.
    async fn delete(&self, below: &str) -> Result<()> {
        let location = self.root.join(below)?;
        let deleted = async {
            let store: &dyn ObjectStore = location.store.as_ref();
            if let Ok(file) = store.head(&location.path).await {
                store.delete(&file.location).await?;
            }
            let files = store
                .list(Some(&location.path))
                .map_ok(|file| file.location);
            let files: Vec<_> = files.try_collect().await?;
            for file in files {
                store.delete(&file).await?;
            }
            Ok(())
        };
        deleted.await.map_err(|error: object_store::Error| {
            StoreError::new(&format!("cannot delete {location}"), &location, error)
        })?;
        // Stores of objects have no folders; a file system keeps empty ones.
        if let Some(folder) = location.local_path().filter(|folder| folder.is_dir()) {
            let _ = std::fs::remove_dir_all(folder);
        }
        Ok(())
    }
}

/// The name of a table in the storage.
fn stored_name(table: &TableReference) -> Result<&str> {
    if table.schema().is_some_and(|schema| schema != SCHEMA) {
        return plan_err!("tables are kept in the schema {SCHEMA} only, got {table}");
    }
    check_name(table.table())?;
    Ok(table.table())
}

/// A stored table's name is a folder's name too.
fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) {
        return plan_err!(
            "a table's name must consist of letters, digits, _ and -, got '{name}'"
        );
    }
    Ok(())
}

fn unique_columns(table: &str, schema: &DFSchema) -> Result<()> {
    let mut seen = BTreeSet::new();
    for field in schema.fields() {
        if !seen.insert(field.name()) {
            return plan_err!(
                "table {table} would have two columns {}; name them with AS",
                field.name()
            );
        }
    }
    Ok(())
}

impl Debug for StoredTables {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredTables")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl SchemaProvider for StoredTables {
    fn table_names(&self) -> Vec<String> {
        let mut names = self
            .names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        names.extend(self.memory.table_names());
        names.into_iter().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.memory.table(name).await? {
            return Ok(Some(table));
        }
        // Asked of the storage and not of `names`: another process may have made it.
        let Some(pointer) = self.pointer(name).await? else {
            return Ok(None);
        };
        let Some(session) = (self.session)() else {
            return Ok(None);
        };
        let folder = self.root.join(&format!("{name}/{}", pointer.version))?;
        let url = ListingTableUrl::try_new(folder.folder_url(), None)?;
        let options = ListingOptions::new(Arc::new(Parquet::default()))
            .with_file_extension(".parquet");
        // The first file says what the columns are. INSERT keeps their names and types, but
        // not how texts are laid out, which the engine would refuse to merge.
        let first = ListingTableUrl::parse(folder.join("part-0.parquet")?.url)?;
        let first = ListingTableConfig::new(first).with_listing_options(options.clone());
        let first = first.infer_schema(&session).await?;
        let config = ListingTableConfig::new(url).with_listing_options(options);
        let config = match first.file_schema {
            Some(schema) => config.with_schema(schema),
            None => config.infer_schema(&session).await?,
        };
        Ok(Some(Arc::new(ListingTable::try_new(config)?)))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> Result<Option<Arc<dyn TableProvider>>> {
        self.refuse_stored(&name)?;
        self.memory.register_table(name, table)
    }

    fn deregister_table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        self.refuse_stored(name)?;
        self.memory.deregister_table(name)
    }

    fn table_exist(&self, name: &str) -> bool {
        self.is_stored(name) || self.memory.table_exist(name)
    }
}

impl StoredTables {
    fn is_stored(&self, name: &str) -> bool {
        self.names
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(name)
    }

    fn refuse_stored(&self, name: &str) -> Result<()> {
        if self.is_stored(name) {
            return exec_err!("{name} is a stored table; DROP TABLE {name} first");
        }
        Ok(())
    }
}
