//! Whether the table that a commit was based on is still there.
//!
//! A log is files of a store, and a store takes another one also when those before it are
//! gone. DROP TABLE deletes them all, looks once more and deletes what came meanwhile; who
//! commits looks for the version that it read, before and after. So a commit either came
//! before the table was dropped, or its writer hears that there is no table.

use std::collections::BTreeSet;

use atoll_udf_common::Location;
use chrono::Utc;
use datafusion::common::Result;
use deltalake_core::kernel::Add;
use deltalake_core::logstore::commit_uri_from_version;
use futures::TryStreamExt;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::open::{At, Table};

/// A version is young for so many seconds. Within the second of its commit a table can be
/// dropped and made anew with a version of the same number and the same time; the rest is
/// for clocks that differ.
const YOUNG: i64 = 60;

/// How much of a first commit is read to find the id of its table. What comes before that is
/// the text of a statement, mostly.
const HEAD: u64 = 16 << 10;

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
        let commit = commit_of(location, self.version)?;
        match commit.store.head(&commit.path).await {
            Ok(found) => {
                let second = found.last_modified.timestamp();
                let age = Utc::now().timestamp() - second;
                let is_same = self.second == Some(second) && age.abs() > YOUNG;
                if is_same || self.id.is_none() {
                    return Ok(true);
                }
            }
            Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(commit.error(error)),
        }
        // Logs are cleaned up too, up to a checkpoint, and clocks may differ.
        self.has_table(location).await
    }

    /// Whether the table in the folder is the one that is meant, by its id.
    async fn has_table(&self, location: &Location) -> Result<bool> {
        let Some(id) = &self.id else {
            let has_start = has_start(location).await?;
            return Ok(has_start && Table::open(location).await?.is_some());
        };
        // Nobody else has the id. In the first commit may be another one, because CREATE OR
        // REPLACE gives a new one.
        let first = commit_of(location, 0)?;
        match first.store.get_range(&first.path, 0..HEAD).await {
            Ok(text) if String::from_utf8_lossy(&text).contains(id.as_str()) => {
                return Ok(true);
            }
            Ok(_) | Err(object_store::Error::NotFound { .. }) => {}
            Err(error) => return Err(first.error(error)),
        }
        if !has_start(location).await? {
            return Ok(false);
        }
        // Not the newest one, which may have been given the id by what was committed.
        let at = At::Version(self.version);
        let table = match Table::open_at(location, &at).await {
            Ok(table) => table,
            // Logs are cleaned up.
            Err(_) => Table::open(location).await?,
        };
        match table {
            Some(table) => Ok(table.id()? == id),
            None => Ok(false),
        }
    }
}

/// The file of a version's commit.
fn commit_of(location: &Location, version: u64) -> Result<Location> {
    location.join(commit_uri_from_version(Some(version)).as_ref())
}

/// A text that only one commit has.
pub(crate) struct Mark(String);

impl Mark {
    pub(crate) fn new() -> Self {
        Self(format!("{:032x}", rand::random_range(0..u128::MAX)))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    /// Whether it is the commit of a version that has it.
    pub(crate) async fn is_on(&self, location: &Location, version: u64) -> Result<bool> {
        let commit = commit_of(location, version)?;
        let found = match commit.store.get(&commit.path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match found {
            Ok(text) => Ok(String::from_utf8_lossy(&text).contains(&self.0)),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(commit.error(error)),
        }
    }
}

/// Whether a log has what reading it begins with.
pub(crate) async fn has_start(location: &Location) -> Result<bool> {
    let names = log_names(location).await?;
    Ok(names.iter().any(|name| is_start(name)))
}

/// Whether reading a log can begin with its file of this name.
pub(crate) fn is_start(name: &str) -> bool {
    name == "00000000000000000000.json" || name.contains(".checkpoint.")
}

/// The names of a log's files.
pub(crate) async fn log_names(location: &Location) -> Result<BTreeSet<String>> {
    let log = location.join("_delta_log")?;
    let files = log.store.list(Some(&log.path));
    let names = files.map_ok(|file| file.location.filename().map(str::to_string));
    let names: Vec<_> = names
        .try_collect()
        .await
        .map_err(|error| log.error(error))?;
    Ok(names.into_iter().flatten().collect())
}

/// Whether the files of a commit are there.
pub(crate) async fn are_there(location: &Location, adds: &[Add]) -> Result<bool> {
    let files = adds.iter().map(|add| location.join(&add.path));
    Location::all_exist(files.collect::<Result<_>>()?).await
}

/// Takes a commit back that no table has, or one that was made to a table which is not
/// the one that was meant. What cannot be deleted, DROP TABLE deletes.
pub(crate) async fn forget(location: &Location, version: u64, mark: &Mark) {
    let is_nobodys = has_start(location).await.is_ok_and(|has_start| !has_start);
    let is_ours = mark.is_on(location, version).await.unwrap_or_default();
    if (is_nobodys || is_ours)
        && let Ok(commit) = commit_of(location, version)
    {
        let _ = commit.store.delete(&commit.path).await;
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::{self, Debug, Display, Formatter};
    use std::sync::{Arc, Mutex};

    use atoll_compute::warnings::Warnings;
    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::prelude::{SessionConfig, SessionContext};
    use futures::future::BoxFuture;
    use futures::stream::BoxStream;
    use object_store::path::Path;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload,
        PutResult,
    };

    use crate::{At, Definition, Replaced, Sink, Statement, Table, add, create, delete};
    use atoll_udf_common::Location;

    /// A store in which something happens just before a file is first written or read.
    struct Meddling {
        store: Arc<dyn ObjectStore>,
        /// The end of the file's path.
        file: &'static str,
        before: Mutex<Option<BoxFuture<'static, ()>>>,
    }

    impl Meddling {
        async fn meddle(&self, path: &Path) {
            if path.as_ref().ends_with(self.file) {
                let before = self.before.lock().unwrap().take();
                if let Some(before) = before {
                    before.await;
                }
            }
        }
    }

    impl Debug for Meddling {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            write!(f, "Meddling({})", self.store)
        }
    }

    impl Display for Meddling {
        fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
            write!(f, "{}", self.store)
        }
    }

    #[async_trait::async_trait]
    impl ObjectStore for Meddling {
        async fn put_opts(
            &self,
            path: &Path,
            payload: PutPayload,
            options: PutOptions,
        ) -> object_store::Result<PutResult> {
            self.meddle(path).await;
            self.store.put_opts(path, payload, options).await
        }

        async fn put_multipart_opts(
            &self,
            path: &Path,
            options: PutMultipartOptions,
        ) -> object_store::Result<Box<dyn MultipartUpload>> {
            self.store.put_multipart_opts(path, options).await
        }

        async fn get_opts(
            &self,
            path: &Path,
            options: GetOptions,
        ) -> object_store::Result<GetResult> {
            self.meddle(path).await;
            self.store.get_opts(path, options).await
        }

        fn delete_stream(
            &self,
            paths: BoxStream<'static, object_store::Result<Path>>,
        ) -> BoxStream<'static, object_store::Result<Path>> {
            self.store.delete_stream(paths)
        }

        fn list(
            &self,
            prefix: Option<&Path>,
        ) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
            self.store.list(prefix)
        }

        async fn list_with_delimiter(
            &self,
            prefix: Option<&Path>,
        ) -> object_store::Result<ListResult> {
            self.store.list_with_delimiter(prefix).await
        }

        async fn copy_opts(
            &self,
            from: &Path,
            to: &Path,
            options: CopyOptions,
        ) -> object_store::Result<()> {
            self.store.copy_opts(from, to, options).await
        }
    }

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
            written(sink).await
        }

        async fn create(&self, definition: &Definition) {
            made(&self.location, definition).await;
        }

        /// The table of a client just before whose commit it is dropped and made anew.
        async fn open_meddled(&self) -> Table {
            let plain = self.location.clone();
            let before = async move {
                delete(&plain).await.unwrap();
                made(&plain, &definition(false)).await;
            };
            let location = self.meddled("00000000000000000001.json", before);
            Table::open(&location).await.unwrap().unwrap()
        }

        /// The folder of a client just before whose first look at a file, or writing of it,
        /// something happens.
        fn meddled(
            &self,
            file: &'static str,
            before: impl Future<Output = ()> + Send + 'static,
        ) -> Location {
            let mut location = self.location.clone();
            location.store = Arc::new(Meddling {
                store: Arc::clone(&self.location.store),
                file,
                before: Mutex::new(Some(Box::pin(before))),
            });
            location
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

    async fn written(sink: &Sink) -> crate::Written {
        let context = SessionContext::new_with_config(SessionConfig::new());
        let plan = context.read_batch(batch()).unwrap();
        let plan = plan.create_physical_plan().await.unwrap();
        sink.write(plan, context.task_ctx()).await.unwrap()
    }

    async fn made(location: &Location, definition: &Definition) {
        let sink = Sink::new(location, definition, notes());
        let written = written(&sink).await;
        let statement = Statement::default();
        let created = create(location, definition, written, &statement);
        created.await.unwrap();
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
        // Within the same second, mostly: the clock of a store may tell no less apart.
        folder.create(&definition(false)).await;
        let error = folder.commit(table, written).await.unwrap_err();
        let error = error.strip_backtrace();
        assert!(error.contains("was dropped meanwhile"), "{error}");
        assert_eq!(folder.open().await.version(), 0);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_committed_to_another_table_than_was_meant_is_taken_back() {
        let folder = Folder::new();
        folder.create(&definition(false)).await;
        let adds_rows = folder.add(folder.open_meddled().await).await.map(drop);
        let table = folder.open_meddled().await;
        let column = [Arc::new(Field::new("m", DataType::Int64, true))];
        let adds_column = table.add_columns(&column, &Statement::default()).await;
        for lost in [adds_rows, adds_column] {
            let error = lost.unwrap_err().strip_backtrace();
            assert!(error.contains("was dropped meanwhile"), "{error}");
        }
        let table = folder.open().await;
        assert_eq!(table.version(), 0);
        assert_eq!(table.detail().unwrap().rows, Some(2));
        assert_eq!(table.schema().unwrap().fields().len(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_table_that_is_dropped_while_it_is_opened_was_dropped() {
        const CHECKPOINT: &str = "00000000000000000009.checkpoint.parquet";
        let folder = Folder::new();
        folder.create(&definition(false)).await;
        for _ in 0..11 {
            folder.add(folder.open().await).await.unwrap();
        }
        let plain = folder.location.clone();
        let names = [CHECKPOINT, "_last_checkpoint"];
        let files = names.map(|name| plain.join(&format!("_delta_log/{name}")).unwrap());
        let cleaned = async move {
            for file in files {
                file.store.delete(&file.path).await.unwrap();
            }
        };
        let location = folder.meddled(CHECKPOINT, cleaned);
        let table = Table::open(&location).await.unwrap().unwrap();
        assert_eq!(table.version(), 11, "its commits are all there");
        let names = super::log_names(&plain).await.unwrap();
        assert!(!names.contains(CHECKPOINT));
        let first = "00000000000000000000.json";
        let location =
            folder.meddled(first, async move { delete(&plain).await.unwrap() });
        let error = Table::open(&location).await.unwrap_err().strip_backtrace();
        assert!(error.contains("was dropped meanwhile"), "{error}");
        assert!(Table::open(&folder.location).await.unwrap().is_none());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_log_that_stays_damaged_is_an_error() {
        let folder = Folder::new();
        folder.create(&definition(false)).await;
        let commit = super::commit_of(&folder.location, 0).unwrap();
        let damaged = PutPayload::from_static(b"{\"metaData\":");
        commit.store.put(&commit.path, damaged).await.unwrap();
        let opened = Table::open(&folder.location).await;
        let error = opened.unwrap_err().strip_backtrace();
        assert!(error.contains("cannot read the table"), "{error}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_go_into_a_table_that_was_replaced_again_and_again() {
        let folder = Folder::new();
        folder.create(&definition(false)).await;
        folder.create(&definition(true)).await;
        let table = folder.open().await;
        folder.create(&definition(true)).await;
        assert!(folder.add(table).await.unwrap());
        assert_eq!(folder.open().await.detail().unwrap().rows, Some(4));
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
        assert_eq!(restored.unwrap(), Some(3));
        assert_eq!(folder.open().await.detail().unwrap().rows, Some(2));
    }
}
