//! Writes the rows of a statement as files of a table, on a cluster by its tasks.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use atoll_delta::{Sink, Writer, Written};
use atoll_udf_common::{CallContext, Location, storage_root};
use datafusion::common::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::TryStreamExt;

use crate::Origin;
use crate::cluster::{Journal, Target, WireTarget, divert};
use crate::copy::digest;

/// Runs a plan whose columns are the table's, and writes its rows. What a statement that
/// failed wrote is deleted.
pub(crate) async fn write(
    sink: Sink,
    plan: Arc<dyn ExecutionPlan>,
    context: Arc<TaskContext>,
    origin: &Origin,
) -> Result<Written> {
    let target: Arc<dyn Target> = Arc::new(TableTarget {
        sink: sink.clone(),
        with_digests: origin.log.is_some(),
    });
    if !is_everywhere(&sink, &context)? {
        return sink.write(plan, context).await;
    }
    let table = sink.location().to_string();
    let journal = Journal::open(&plan, &table, &context).await?.map(Arc::new);
    let Some(diverted) = divert(&plan, &target, &context, journal.as_ref())? else {
        return sink.write(plan, context).await;
    };
    let own = sink.write_streams(diverted.rows).await;
    let mut written = Written::default();
    for files in diverted.files.take() {
        written.merge(Written::decode(&files)?);
    }
    let ended = match &journal {
        Some(journal) => journal.finish().await,
        None => Ok(()),
    };
    match (own, ended) {
        (Ok(own), Ok(())) => {
            written.merge(own);
            Ok(written)
        }
        // The files of the tasks are another client's now.
        (_, Err(error)) => Err(error),
        (Err(error), Ok(())) => {
            written.discard(sink.location()).await;
            Err(error)
        }
    }
}

/// Writes what UPDATE, DELETE and MERGE leave of the files that they change.
pub(crate) struct ByTasks<'a>(pub(crate) &'a Origin);

#[async_trait]
impl Writer for ByTasks<'_> {
    async fn write(
        &self,
        sink: Sink,
        plan: Arc<dyn ExecutionPlan>,
        context: Arc<TaskContext>,
    ) -> Result<Written> {
        write(sink, plan, context, self.0).await
    }
}

/// Whether executors write where the client reads: all nodes have one storage, and what
/// has a URL is the same for all. Any other folder may be the client's own.
fn is_everywhere(sink: &Sink, context: &TaskContext) -> Result<bool> {
    let table = sink.location();
    let storage = storage_root(context.session_config().options())?;
    let is_stored = table
        .url
        .as_str()
        .starts_with(storage.folder_url().as_str());
    Ok(is_stored || table.local_path().is_none())
}

/// A table that the tasks of a cluster write to.
pub(crate) struct TableTarget {
    sink: Sink,
    /// Whether the hashes of the files are wanted.
    with_digests: bool,
}

impl TableTarget {
    /// From the client.
    pub(crate) fn decode(bytes: &[u8], context: &TaskContext) -> Result<Self> {
        let (with_digests, sink) = match bytes.split_first() {
            Some((first, sink)) => (*first == 1, sink),
            None => (false, bytes),
        };
        let warnings = CallContext::of(context.session_config()).warnings;
        let sink = Sink::decode(sink, warnings)?;
        Ok(Self { sink, with_digests })
    }
}

impl Debug for TableTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.sink.location())
    }
}

#[async_trait]
impl Target for TableTarget {
    fn encode(&self) -> Result<WireTarget> {
        let mut bytes = vec![u8::from(self.with_digests)];
        bytes.extend(self.sink.encode()?);
        Ok(WireTarget::Table(bytes))
    }

    async fn is_here(&self) -> bool {
        // Whoever runs tasks has reached the storage.
        true
    }

    async fn write(
        &self,
        rows: SendableRecordBatchStream,
        _task: &str,
        _context: &Arc<TaskContext>,
    ) -> Result<(u64, String)> {
        // Some of the rows say only which row goes, and are not written.
        let count = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&count);
        let schema = rows.schema();
        let rows = rows.inspect_ok(move |batch| {
            counted.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
        });
        let rows = Box::pin(RecordBatchStreamAdapter::new(schema, rows));
        let mut written = self.sink.write_streams(vec![rows]).await?;
        if self.with_digests {
            for file in written.files() {
                let at = self.sink.location().join(&file.path)?;
                let (_, sha256) = digest(&at, &at.path).await?;
                written.enter_digest(file.path, sha256);
            }
        }
        Ok((count.load(Ordering::Relaxed), written.encode()?))
    }

    fn locate(&self, files: &str) -> Result<Option<Vec<Location>>> {
        let written = Written::decode(files)?;
        let table = self.sink.location();
        let files = written.files().into_iter();
        let files = files.map(|file| table.join(&file.path));
        files.collect::<Result<_>>().map(Some)
    }
}
