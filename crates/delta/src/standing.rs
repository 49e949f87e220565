//! Whether the table that a commit was based on is still there.
//!
//! A log is files of a store, and a store takes another one also when those before it are
//! gone. DROP TABLE deletes them all, looks once more and deletes what came meanwhile; who
//! commits looks for the version that it read, before and after. So a commit either came
//! before the table was dropped, or its writer hears that there is no table.

use atoll_udf_common::Location;
use datafusion::common::Result;
use deltalake_core::kernel::Add;
use deltalake_core::logstore::commit_uri_from_version;
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt};

use crate::open::Table;

/// How many files are looked at at once.
const LOOKS: usize = 16;

/// A version that a commit is based on.
pub(crate) struct Standing {
    version: u64,
    /// The seconds since 1970 of its commit, where the log says them. A table that is made
    /// anew in the place of another has the same versions at other times.
    second: Option<i64>,
    id: Option<String>,
}

impl Standing {
    pub(crate) fn of(table: &Table) -> Result<Self> {
        let version = table.version();
        let time = table.snapshot()?.version_timestamp(version);
        Ok(Self {
            version,
            second: time.map(|time| time.div_euclid(1000)),
            id: Some(table.id()?.to_string()),
        })
    }

    /// A version of whatever table lies in the folder.
    pub(crate) fn on(version: u64) -> Self {
        Self {
            version,
            second: None,
            id: None,
        }
    }

    /// Whether it is there.
    pub(crate) async fn is_met(&self, location: &Location) -> Result<bool> {
        let commit =
            location.join(commit_uri_from_version(Some(self.version)).as_ref())?;
        match commit.store.head(&commit.path).await {
            Ok(found) => {
                let second = found.last_modified.timestamp();
                if self.second.is_none_or(|expected| expected == second) {
                    return Ok(true);
                }
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(commit.error(error)),
        }
        // Logs are cleaned up too, up to a checkpoint, and clocks may differ.
        if !has_start(location).await? {
            return Ok(false);
        }
        match (&self.id, Table::open(location).await?) {
            (Some(id), Some(table)) => Ok(table.id()? == id),
            (None, table) => Ok(table.is_some()),
            (Some(_), None) => Ok(false),
        }
    }
}

/// Whether a log has what reading it begins with.
pub(crate) async fn has_start(location: &Location) -> Result<bool> {
    let log = location.join("_delta_log")?;
    let mut files = log.store.list(Some(&log.path));
    while let Some(file) = files.try_next().await.map_err(|error| log.error(error))? {
        let name = file.location.filename().unwrap_or_default();
        if name == "00000000000000000000.json" || name.contains(".checkpoint.") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether the files of a commit are there.
pub(crate) async fn are_there(location: &Location, adds: &[Add]) -> Result<bool> {
    let files = adds.iter().map(|add| location.join(&add.path));
    let files = files.collect::<Result<Vec<_>>>()?;
    let looks = files.into_iter().map(|file| async move {
        match file.store.head(&file.path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(file.error(error)),
        }
    });
    let looks = stream::iter(looks).buffer_unordered(LOOKS);
    looks.try_all(|is_there| async move { is_there }).await
}

/// Takes a commit back that no table has, or one that was made to a table which is not
/// the one that was meant. What cannot be deleted, DROP TABLE deletes.
pub(crate) async fn forget(location: &Location, version: u64, adds: &[Add]) {
    let name = commit_uri_from_version(Some(version));
    let Ok(commit) = location.join(name.as_ref()) else {
        return;
    };
    let is_nobodys = has_start(location).await.is_ok_and(|has_start| !has_start);
    let is_ours = match (adds.first(), commit.store.get(&commit.path).await) {
        (Some(add), Ok(found)) => {
            let text = found.bytes().await.unwrap_or_default();
            String::from_utf8_lossy(&text).contains(&add.path)
        }
        _ => false,
    };
    if is_nobodys || is_ours {
        let _ = commit.store.delete(&commit.path).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use atoll_compute::warnings::Warnings;
    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::prelude::{SessionConfig, SessionContext};

    use crate::{At, Definition, Replaced, Sink, Statement, Table, add, create, delete};
    use atoll_udf_common::Location;

    struct Folder {
        folder: tempfile::TempDir,
        location: Location,
    }

    impl Folder {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let location = folder.path().join("t");
            let location = Location::parse(&location.to_string_lossy()).unwrap();
            Self { folder, location }
        }

        async fn written(&self, sink: &Sink) -> crate::Written {
            let context = SessionContext::new_with_config(SessionConfig::new());
            let plan = context.read_batch(batch()).unwrap();
            let plan = plan.create_physical_plan().await.unwrap();
            sink.write(plan, context.task_ctx()).await.unwrap()
        }

        async fn create(&self, definition: &Definition) {
            let sink = Sink::new(&self.location, definition, notes());
            let written = self.written(&sink).await;
            let statement = Statement::default();
            let created = create(&self.location, definition, written, &statement);
            created.await.unwrap();
        }

        async fn open(&self) -> Table {
            Table::open(&self.location).await.unwrap().unwrap()
        }

        async fn add(&self, table: Table) -> datafusion::common::Result<bool> {
            let written = self.written(&Sink::of(&table, notes()).unwrap()).await;
            self.commit(table, written).await
        }

        async fn commit(
            &self,
            table: Table,
            written: crate::Written,
        ) -> datafusion::common::Result<bool> {
            add(table, written, Replaced::None, &Statement::default()).await
        }

        fn files(&self) -> usize {
            let files = std::fs::read_dir(self.folder.path().join("t"));
            files.map_or(0, Iterator::count)
        }
    }

    fn batch() -> RecordBatch {
        let column = Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef;
        RecordBatch::try_from_iter([("n", column)]).unwrap()
    }

    fn notes() -> (crate::Provenance, Warnings) {
        (("key".to_string(), String::new()), Warnings::default())
    }

    fn definition(replaces: bool) -> Definition {
        Definition::new(&batch().schema(), vec![], replaces).unwrap()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_for_a_table_that_was_dropped_are_refused() {
        let folder = Folder::new();
        folder.create(&definition(false)).await;
        let table = folder.open().await;
        delete(&folder.location).await.unwrap();
        let error = folder.add(table).await.unwrap_err().strip_backtrace();
        assert!(error.contains("was dropped meanwhile"), "{error}");
        assert!(Table::open(&folder.location).await.unwrap().is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_go_into_no_table_that_was_made_in_the_place_of_another() {
        let folder = Folder::new();
        folder.create(&definition(false)).await;
        let table = folder.open().await;
        let sink = Sink::of(&table, notes()).unwrap();
        let written = folder.written(&sink).await;
        delete(&folder.location).await.unwrap();
        assert_eq!(folder.files(), 0, "nothing is left of it");
        // The clock of a store may tell seconds apart and no less.
        tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
        folder.create(&definition(false)).await;
        let error = folder.commit(table, written).await.unwrap_err();
        let error = error.strip_backtrace();
        assert!(error.contains("was dropped meanwhile"), "{error}");
        assert_eq!(folder.open().await.version(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_table_is_not_made_of_files_that_were_dropped() {
        let folder = Folder::new();
        folder.create(&definition(false)).await;
        let definition = definition(true);
        let sink = Sink::new(&folder.location, &definition, notes());
        let written = folder.written(&sink).await;
        delete(&folder.location).await.unwrap();
        let statement = Statement::default();
        let created = create(&folder.location, &definition, written, &statement);
        let error = created.await.unwrap_err().strip_backtrace();
        assert!(error.contains("run the statement again"), "{error}");
        assert!(Table::open(&folder.location).await.unwrap().is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_came_between_goes_when_a_table_is_restored() {
        let folder = Folder::new();
        folder.create(&definition(false)).await;
        folder.add(folder.open().await).await.unwrap();
        let table = folder.open().await;
        folder.add(folder.open().await).await.unwrap();
        let restored = table.restore(&At::Version(0), &Statement::default()).await;
        assert_eq!(restored.unwrap(), 3);
        assert_eq!(folder.open().await.detail().unwrap().rows, Some(2));
    }
}
