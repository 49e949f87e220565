//! What the tasks of a statement did that writes a table, for the same statement when it is
//! run again after its client was killed.
//!
//! While tasks end, the client notes in the storage how many rows of each partition are
//! done and what their tasks gave: rows, or names of files. The next run of the statement
//! takes this over and begins with the rows that are left. A note counts only where the
//! plan of the tasks, their models and the files that they read are the same, and the files
//! that they wrote are still there.
//!
//! The journal of a run is taken over by one other run at most, and only while its owner is
//! silent: who takes it over and who ends with it both create the same object first, which
//! only one of them can.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_udf_common::{Location, storage_root};
use chrono::{TimeDelta, Utc};
use datafusion::arrow::array::RecordBatch;
use datafusion::common::runtime::SpawnedTask;
use datafusion::common::{Result, exec_err, internal_datafusion_err};
use datafusion::execution::TaskContext;
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::physical_plan::{ExecutionPlan, ExecutionPlanProperties};
use futures::{StreamExt, TryStreamExt};
use object_store::{ObjectStoreExt, PutPayload};
use prost::Message;
use sha2::{Digest, Sha256};

use super::exec::{ClusterExec, over, task_input};
use super::output::{OutputExec, Target};
use super::runtime::{changed_options, encode_plan};
use super::source::ReadBy;
use super::stages::{delete, keep_alive};
use super::wire::{from_ipc, to_ipc};

/// The folder of the storage that has the journals.
const JOURNALS: &str = "journals";

/// What nobody took over is deleted after this time, as VACUUM deletes the files of the
/// tasks.
const STALE: TimeDelta = TimeDelta::days(7);

/// How often the owner of a journal says that it lives.
const BEAT: Duration = Duration::from_secs(2);

/// How long an owner is watched before its journal is taken over.
const SILENCE: Duration = Duration::from_secs(7);

/// The object that an owner writes again and again.
const OWNER: &str = "owner";

/// The object that is created before a journal is taken over, and before it ends.
const TAKEN: &str = "taken";

/// The journal of a run.
#[derive(Debug)]
pub(crate) struct Journal {
    folder: Location,
    /// The folder of the run that was taken over.
    earlier: Option<Location>,
    /// What that run noted.
    found: Vec<Note>,
    /// Numbers the notes.
    notes: AtomicU64,
    /// Says that this run lives.
    beat: Mutex<Option<SpawnedTask<()>>>,
}

/// What some tasks of a partition gave, one after the other.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Note {
    /// What the rows depend on.
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(uint64, tag = "2")]
    partition: u64,
    /// The first of the partition's rows that went in, and how many did.
    #[prost(uint64, tag = "3")]
    first: u64,
    #[prost(uint64, tag = "4")]
    pub(super) rows: u64,
    #[prost(uint64, tag = "5")]
    pub(super) tasks: u64,
    /// Record batches as [`OutputExec`] gives them.
    #[prost(bytes = "vec", repeated, tag = "6")]
    outputs: Vec<Vec<u8>>,
}

impl Journal {
    /// Begins the journal of a statement that writes to `target`, and takes over that of an
    /// earlier run whose client is gone. Nothing for a plan whose tasks do not read files
    /// by themselves: only these are read again in the same order.
    pub(crate) async fn open(
        plan: &Arc<dyn ExecutionPlan>,
        target: &str,
        context: &TaskContext,
    ) -> Result<Option<Self>> {
        let chain = plan.downcast_ref::<ClusterExec>().map(ClusterExec::chain);
        let input = chain.and_then(task_input);
        let is_read_again =
            input.is_some_and(|input| ReadBy::of(input.input.as_ref()) != ReadBy::Client);
        if !is_read_again {
            return Ok(None);
        }
        let storage = storage_root(context.session_config().options())?;
        let journals = storage.join(JOURNALS)?;
        delete_old(&journals).await;
        let mut name = Sha256::new();
        name.update(target);
        name.update(displayable(plan.as_ref()).indent(true).to_string());
        let name = hex::encode(name.finalize());
        let runs = journals.join(&name)?;
        let (last, found) = match take_over(&runs).await? {
            Some(taken) => taken,
            // Another client runs the very statement now.
            None => return Ok(None),
        };
        let folder = runs.join(&run_name(last + 1))?;
        if !create(&folder, OWNER).await? {
            return Ok(None);
        }
        // Who misses it takes over, and this run then says so.
        let beat = keep_alive(folder.join(OWNER)?, BEAT);
        Ok(Some(Self {
            earlier: match found.is_empty() {
                true => None,
                false => Some(runs.join(&run_name(last))?),
            },
            folder,
            found,
            notes: AtomicU64::new(0),
            beat: Mutex::new(Some(beat)),
        }))
    }

    /// The notes of an earlier run that hold for a partition: those of its first rows, one
    /// after the other, whose files are there. They are notes of this run too.
    pub(super) async fn resume(
        &self,
        key: &[u8],
        partition: usize,
        target: &Arc<dyn Target>,
    ) -> Result<Vec<Note>> {
        let mut held = Vec::new();
        let mut next = 0;
        let mut notes: Vec<&Note> = self
            .found
            .iter()
            .filter(|note| note.key == key && note.partition == partition as u64)
            .collect();
        notes.sort_by_key(|note| note.first);
        for note in notes {
            if note.first != next || !note.is_there(target).await? {
                break;
            }
            self.put(note).await?;
            next += note.rows;
            held.push(note.clone());
        }
        Ok(held)
    }

    /// Notes what tasks gave for `rows` rows of a partition from `first` on.
    pub(super) async fn note(
        &self,
        key: &[u8],
        (partition, first): (usize, u64),
        (tasks, rows): (u64, u64),
        outputs: &[RecordBatch],
    ) -> Result<()> {
        let outputs = outputs.iter().map(to_ipc).collect::<Result<_>>()?;
        self.put(&Note {
            key: key.to_vec(),
            partition: partition as u64,
            first,
            rows,
            tasks,
            outputs,
        })
        .await
    }

    async fn put(&self, note: &Note) -> Result<()> {
        let number = self.notes.fetch_add(1, Ordering::Relaxed);
        let object = self.folder.join(&format!("note-{number:06}"))?;
        let put = object.store.put(&object.path, note.encode_to_vec().into());
        put.await.map(drop).map_err(|error| object.error(error))
    }

    /// Ends the journal, before what the tasks wrote is made visible: a run that was taken
    /// for dead must not publish the files that another one publishes.
    pub(crate) async fn finish(&self) -> Result<()> {
        drop(
            self.beat
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if !create(&self.folder, TAKEN).await? {
            return exec_err!(
                "another client runs this statement, and took over what its tasks had \
                 done while this client was silent; what it writes counts"
            );
        }
        for run in self.earlier.iter().chain([&self.folder]) {
            delete(run).await;
        }
        let folder = self.folder.local_path();
        if let Some(runs) = folder.as_deref().and_then(std::path::Path::parent) {
            // It stays while other runs have theirs there.
            let _ = std::fs::remove_dir(runs);
        }
        Ok(())
    }
}

impl Note {
    /// What the tasks gave.
    pub(super) fn outputs(&self) -> impl Iterator<Item = Result<RecordBatch>> {
        self.outputs.iter().map(|output| from_ipc(output))
    }

    /// Whether the files that the tasks wrote are still there.
    async fn is_there(&self, target: &Arc<dyn Target>) -> Result<bool> {
        let mut files = Vec::new();
        for output in self.outputs() {
            for names in OutputExec::files_of(&output?)? {
                match target.locate(&names)? {
                    Some(located) => files.extend(located),
                    None => return Ok(false),
                }
            }
        }
        Location::all_exist(files).await
    }
}

/// What the rows of a partition depend on: the tasks' plan with all that its calls ship, the
/// options that tasks heed, and the files that are read.
pub(super) fn key(
    shipped: &Arc<dyn ExecutionPlan>,
    context: &TaskContext,
) -> Result<Option<Vec<u8>>> {
    let (Some(output), Some(input)) =
        (shipped.downcast_ref::<OutputExec>(), task_input(shipped))
    else {
        return Ok(None);
    };
    let input = Arc::clone(&input.input);
    let partitions = input.output_partitioning().partition_count();
    let rows: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(input.schema()));
    let chain = encode_plan(over(output.input(), &rows)?)?;
    let mut options: Vec<_> = changed_options(context.session_config().options())
        .into_iter()
        .collect();
    options.sort();
    let mut key = Sha256::new();
    for part in [chain, encode_plan(input)?, format!("{options:?}").into()] {
        key.update((part.len() as u64).to_le_bytes());
        key.update(&part);
    }
    key.update((partitions as u64).to_le_bytes());
    key.update(crate::VERSION);
    Ok(Some(key.finalize().to_vec()))
}

/// The number of the last run and its notes, if it has any; nothing if its client lives.
async fn take_over(runs: &Location) -> Result<Option<(u64, Vec<Note>)>> {
    let list = runs.store.list(Some(&runs.path));
    let objects: Vec<_> = list
        .try_collect()
        .await
        .map_err(|error| runs.error(error))?;
    let run_of = |object: &object_store::ObjectMeta| -> Option<u64> {
        let mut parts = object.location.prefix_match(&runs.path)?;
        parts.next()?.as_ref().parse().ok()
    };
    let Some(last) = objects.iter().filter_map(run_of).max() else {
        return Ok(Some((0, vec![])));
    };
    let folder = runs.join(&run_name(last))?;
    let names = objects.iter().filter(|object| run_of(object) == Some(last));
    let names: Vec<_> = names.map(|object| object.location.clone()).collect();
    let is_note = |path: &&object_store::path::Path| {
        path.filename()
            .is_some_and(|name| name.starts_with("note-"))
    };
    let is_taken = names.iter().any(|path| path.filename() == Some(TAKEN));
    if is_taken || !names.iter().any(|path| is_note(&path)) {
        return Ok(Some((last, vec![])));
    }
    let owner = folder.join(OWNER)?;
    let seen = async || {
        owner
            .store
            .head(&owner.path)
            .await
            .ok()
            .map(|seen| seen.last_modified)
    };
    let before = seen().await;
    tokio::time::sleep(SILENCE).await;
    if seen().await != before || !create(&folder, TAKEN).await? {
        return Ok(None);
    }
    let mut found = Vec::new();
    for path in names.iter().filter(is_note) {
        let read = folder.store.get(path).await;
        let bytes = match read {
            Ok(object) => object.bytes().await,
            Err(error) => Err(error),
        };
        let bytes = bytes.map_err(|error| folder.error(error))?;
        let note = Note::decode(bytes)
            .map_err(|error| internal_datafusion_err!("{path} is no note: {error}"))?;
        found.push(note);
    }
    Ok(Some((last, found)))
}

/// Deletes notes that nobody took over for long. What stays is only wasted space.
async fn delete_old(journals: &Location) {
    let old = Utc::now() - STALE;
    let objects = journals.store.list(Some(&journals.path));
    let objects = objects
        .try_filter(move |object| futures::future::ready(object.last_modified < old));
    let paths = objects.map_ok(|object| object.location).boxed();
    let deleted = journals.store.delete_stream(paths);
    let _ = deleted.try_collect::<Vec<_>>().await;
}

/// The folder of a run.
fn run_name(number: u64) -> String {
    format!("{number:06}")
}

/// Creates an empty object; whether it was not there.
async fn create(folder: &Location, name: &str) -> Result<bool> {
    let object = folder.join(name)?;
    let created = object.create(PutPayload::new()).await;
    created.map_err(|error| object.error(error))
}
