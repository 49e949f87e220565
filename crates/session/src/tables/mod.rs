//! Tables that outlive their session.
//!
//! A table is a folder of the storage, `tables/<name>`, which `atoll_delta` reads and
//! writes. This is the schema that finds them by their names, and what CREATE TABLE and
//! DROP TABLE do. Tables of the first version of Atoll are read as they are ([`old`]).
//!
//! Views and external tables are the session's own and are kept in memory.

mod change;
mod command;
mod format;
mod history;
mod names;
mod old;
mod state;
mod write;

use std::collections::BTreeSet;
use std::fmt::{self, Debug, Display, Formatter};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use atoll_compute::warnings::Warnings;
use atoll_delta::{DataFile, Definition, Provenance, Sink, Source, Statement, Table};
use atoll_jobs::WrittenFile;
use atoll_udf_common::{CallContext, Location, StoreError};
use chrono::DateTime;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{
    Result, TableReference, exec_err, plan_datafusion_err, plan_err,
};
use datafusion::datasource::MemTable;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{CreateMemoryTable, DdlStatement, DropTable, LogicalPlan};
use datafusion::prelude::SessionContext;
use futures::{StreamExt, TryStreamExt, stream};

pub(crate) use self::change::{counted, is_changed_here};
pub use self::format::VERSION as STORAGE_VERSION;
pub(crate) use self::history::table_function;
use self::names::{check_name, stored_name, unique_columns};
use self::old::Pointer;
pub use self::state::TableState;
use self::write::ByTasks;
pub(crate) use self::write::{TableTarget, write};
use crate::Origin;
use crate::copy::digest;
use crate::sql::{At, PartitionedBy, milliseconds, split};

/// The catalog and schema whose tables are stored: DataFusion's defaults.
pub(crate) const CATALOG: &str = "datafusion";
pub(crate) const SCHEMA: &str = "public";

/// The property of a table in which [`refresh`](crate::refresh) keeps what it is made of.
pub(crate) const MADE_OF: &str = "atoll.made_of";

/// How many folders of a storage are looked at at once.
const LOOKS: usize = 32;

/// The default schema: stored tables, and in memory everything else.
pub(crate) struct StoredTables {
    storage: Location,
    /// The folder `tables` of the storage.
    root: Location,
    names: RwLock<BTreeSet<String>>,
    memory: Arc<dyn SchemaProvider>,
    /// The session, for reading what is no Delta table; `None` once it ended.
    session: Box<dyn Fn() -> Option<SessionState> + Send + Sync>,
}

/// What lies in the folder of a name.
enum Found {
    Delta(Box<Table>),
    /// A table of the first version of Atoll.
    Old(Pointer),
    Nothing,
}

impl StoredTables {
    /// Finds the tables of a storage; `memory` holds the views of the session.
    pub(crate) async fn open(
        context: &SessionContext,
        memory: Arc<dyn SchemaProvider>,
        storage: &Location,
    ) -> Result<Self> {
        format::check(storage).await?;
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
        let folders = listed.common_prefixes.into_iter();
        let looks = folders.map(|folder| {
            let folder = root.at(folder);
            async move {
                let is_table = is_table(&folder).await?;
                let name = folder.path.filename().map(str::to_string);
                Ok::<_, datafusion::common::DataFusionError>(name.filter(|_| is_table))
            }
        });
        // A statement that was killed may have left a folder that is no table.
        let names: Vec<_> = stream::iter(looks).buffered(LOOKS).try_collect().await?;
        let state = context.state_weak_ref();
        let session = Box::new(move || state.upgrade().map(|state| state.read().clone()));
        Ok(Self {
            storage: storage.clone(),
            root,
            names: RwLock::new(names.into_iter().flatten().collect()),
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
        let name = self.check(&create)?;
        let found = self.find(name).await?;
        if let Found::Delta(table) = &found
            && statement(origin).is_done(table).await?
        {
            warn_of_done(context, origin, &name);
            return Ok(());
        }
        let is_stored = !matches!(found, Found::Nothing);
        if is_stored || self.memory.table_exist(name) {
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
        let location = self.root.join(name)?;
        let (rows, partition_by) = match PartitionedBy::of(&create.input) {
            Some(node) => (node.input().as_ref().clone(), node.columns().to_vec()),
            None => (create.input.as_ref().clone(), vec![]),
        };
        let frame = context.execute_logical_plan(rows).await?;
        let plan = frame.create_physical_plan().await?;
        // It replaces also if there is none: another statement may create it meanwhile.
        let definition =
            Definition::new(&plan.schema(), partition_by, create.or_replace)?;
        format::mark(&self.storage).await?;
        let sink = Sink::new(&location, &definition, notes(context, origin));
        let written = write(sink, plan, context.task_ctx(), origin).await?;
        let files = written.files();
        let statement = statement(origin);
        let created = atoll_delta::create(&location, &definition, written, &statement);
        if let Err(error) = created.await {
            // Another statement may have created it meanwhile, which is as well.
            if create.if_not_exists && Table::open(&location).await?.is_some() {
                return Ok(());
            }
            return Err(error);
        }
        self.names_mut(|names| names.insert(name.to_string()));
        self.memory.deregister_table(name)?;
        if let Found::Old(pointer) = found {
            pointer.delete(&location).await?;
        }
        log(origin, &location, &files).await
    }

    /// Checks `CREATE TABLE` and leaves a table without rows in memory.
    pub(crate) fn rehearse(&self, create: &CreateMemoryTable) -> Result<()> {
        let name = self.check(create)?;
        let schema = Arc::clone(create.input.schema().inner());
        let partition_by = PartitionedBy::of(&create.input);
        let partition_by = partition_by.map(|node| node.columns().to_vec());
        Definition::new(&schema, partition_by.unwrap_or_default(), create.or_replace)?;
        let empty = MemTable::try_new(schema, vec![vec![]])?;
        self.memory.deregister_table(name)?;
        self.memory
            .register_table(name.to_string(), Arc::new(empty))?;
        Ok(())
    }

    /// The stored table of a name; `None` if there is none.
    pub(crate) async fn stored(&self, table: &TableReference) -> Result<Option<Table>> {
        let name = stored_name(table)?;
        match self.find(name).await? {
            Found::Delta(table) => Ok(Some(*table)),
            Found::Nothing => Ok(None),
            Found::Old(_) => plan_err!(
                "table {name} is one of an older Atoll, which can be read but not changed; \
                 write CREATE OR REPLACE TABLE {name} AS SELECT * FROM {name} first"
            ),
        }
    }

    /// The name of the table, if it may be created.
    fn check<'a>(&self, create: &'a CreateMemoryTable) -> Result<&'a str> {
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
        unique_columns(name, create.input.schema())?;
        Ok(name)
    }

    /// Runs `DROP TABLE`.
    pub(crate) async fn drop_table(
        &self,
        context: &SessionContext,
        drop: DropTable,
    ) -> Result<()> {
        if let Ok(name) = stored_name(&drop.name) {
            let folder = self.root.join(name)?;
            // Looked at and not opened: a table that is damaged can be dropped too.
            if is_table(&folder).await? {
                atoll_delta::delete(&folder).await?;
                self.names_mut(|names| names.remove(name));
                return Ok(());
            }
        }
        let drop = LogicalPlan::Ddl(DdlStatement::DropTable(drop));
        context.execute_logical_plan(drop).await?;
        Ok(())
    }

    fn names_mut(&self, change: impl FnOnce(&mut BTreeSet<String>) -> bool) {
        change(&mut self.names.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// What lies in the folder of a name. Asked of the storage and not of `names`: another
    /// process may have made it.
    async fn find(&self, name: &str) -> Result<Found> {
        // A name that no stored table can have, such as a file's.
        if check_name(name).is_err() {
            return Ok(Found::Nothing);
        }
        let folder = self.root.join(name)?;
        if let Some(table) = Table::open(&folder).await? {
            return Ok(Found::Delta(Box::new(table)));
        }
        Ok(match Pointer::read(&folder).await? {
            Some(pointer) => Found::Old(pointer),
            None => Found::Nothing,
        })
    }

    fn stored_names(&self) -> BTreeSet<String> {
        let names = self.names.read().unwrap_or_else(PoisonError::into_inner);
        names.clone()
    }

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

/// Whether a folder holds a table, be it whole or not.
async fn is_table(folder: &Location) -> Result<bool> {
    let log = folder.join("_delta_log")?;
    let mut commits = log.store.list(Some(&log.path));
    match commits.next().await {
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) => Err(log.error(error)),
        None => Ok(Pointer::read(folder).await?.is_some()),
    }
}

/// What a commit says of a statement.
pub(crate) fn statement(origin: &Origin) -> Statement {
    Statement {
        sql: origin.statement.clone(),
        id: origin.id.clone(),
        property: origin.made_of.clone().map(|made_of| (MADE_OF, made_of)),
    }
}

/// What the files of a statement say, and who hears of what their rows lost.
pub(crate) fn notes(context: &SessionContext, origin: &Origin) -> (Provenance, Warnings) {
    let warnings = CallContext::of(&context.copied_config()).warnings;
    let (key, value) = origin.provenance();
    ((key.to_string(), value), warnings)
}

/// Says that a statement did nothing because it had been run before under the same id.
pub(crate) fn warn_of_done(
    context: &SessionContext,
    origin: &Origin,
    table: &dyn Display,
) {
    let (_, warnings) = notes(context, origin);
    warnings.add(format!(
        "{table} took this statement before, under the same id, so nothing was done"
    ));
}

/// Tells whoever asked which files a statement wrote.
pub(crate) async fn log(
    origin: &Origin,
    location: &Location,
    files: &[DataFile],
) -> Result<()> {
    let Some(log) = &origin.log else {
        return Ok(());
    };
    for written in files {
        let file = location.join(&written.path)?;
        let sha256 = match &written.sha256 {
            Some(sha256) => sha256.clone(),
            None => digest(&file, &file.path).await?.1,
        };
        log.add([WrittenFile {
            path: file.to_string(),
            bytes: written.bytes,
            sha256,
        }]);
    }
    Ok(())
}

/// Which version of a table a statement means.
pub(crate) fn version(at: &At) -> Result<atoll_delta::At> {
    Ok(match at {
        At::Version(version) => atoll_delta::At::Version(*version),
        At::Timestamp(text) => {
            let time = DateTime::from_timestamp_millis(milliseconds(text)?);
            let time = time.ok_or_else(|| {
                plan_datafusion_err!("{text} is beyond all times of versions")
            });
            atoll_delta::At::Time(time?)
        }
    })
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
        let mut names = self.stored_names();
        names.extend(self.memory.table_names());
        names.into_iter().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(table) = self.memory.table(name).await? {
            return Ok(Some(table));
        }
        let Some(session) = (self.session)() else {
            return Ok(None);
        };
        if let (name, Some(at)) = split(name) {
            if check_name(name).is_err() {
                return Ok(None);
            }
            let folder = self.root.join(name)?;
            let Some(table) = Table::open_at(&folder, &version(&at)?).await? else {
                return Ok(None);
            };
            return Ok(Some(Arc::new(Source::version(table)?)));
        }
        Ok(match self.find(name).await? {
            Found::Delta(table) => Some(Arc::new(Source::newest(*table)?)),
            Found::Old(pointer) => {
                Some(pointer.open(&session, &self.root.join(name)?).await?)
            }
            Found::Nothing => {
                // Another process dropped it, and nobody is to be told of it.
                self.names_mut(|names| names.remove(name));
                None
            }
        })
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
