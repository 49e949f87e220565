//! `COPY .. TO 'folder/'`: all its files or none.
//!
//! The files are written to a staging folder beside the target. Only when all are
//! complete does the target change: on a file system by one rename, on an object store
//! file by file with `_SUCCESS` last. A target that an earlier COPY wrote is replaced, or
//! those of its partitions that have new rows; a folder with anything else in it is
//! refused, so that a mistyped path deletes nothing. A single file is already atomic in
//! every store.
//!
//! A file's name tells its content: whoever has listed the old files and opens them after
//! they were replaced finds one missing, and never reads a mix of old and new.

mod delta;
mod files;
mod manifest;
mod options;
mod parts;
mod refusal;
mod schema;
mod staging;
mod target;

use std::collections::{BTreeSet, HashSet};
use std::path::Path as FilePath;
use std::sync::Arc;

use atoll_jobs::WrittenFile;
use atoll_udf_common::Location;
use atoll_udf_common::files::partitions;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Result, exec_err, plan_err};
use datafusion::datasource::MemTable;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::LogicalPlan;
use datafusion::logical_expr::dml::CopyTo;
use datafusion::prelude::SessionContext;
use futures::stream::{self, StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

pub(crate) use self::delta::DeltaFactory;
pub(crate) use self::files::digest;
use self::files::{CopyFile, below, list};
use self::options::{CopyOptions, Mode};
pub(crate) use self::refusal::explain;
use self::staging::Staging;
pub(crate) use self::target::FolderTarget;
use crate::{Origin, parquet_files};

/// Marks a folder that COPY completed, as Hadoop and Spark mark theirs.
const SUCCESS: &str = "_SUCCESS";

/// Marks a prefix of a store into which COPY is copying files, so that the next COPY knows
/// those of one that was killed.
const COPYING: &str = "_COPYING";

/// How many objects are copied or deleted at once.
const REQUESTS_AT_ONCE: usize = 64;

/// Runs COPY to its end and returns the row that counts the rows written.
pub(crate) async fn execute(
    context: &SessionContext,
    mut copy: CopyTo,
    origin: &Origin,
) -> Result<SendableRecordBatchStream> {
    if delta::is_delta(&copy) {
        let counts = delta::execute(context, copy, origin).await?;
        return context.read_table(Arc::new(counts))?.execute_stream().await;
    }
    let options = take_options(context, &mut copy)?;
    options::add_provenance(&mut copy, origin);
    options::bound_row_groups(&mut copy);
    let counts = if is_folder(&copy) {
        let target = Location::parse(copy.output_url.trim_end_matches('/'))?;
        let copy = Copy {
            context,
            copy,
            options,
        };
        let (counts, files) = match target.local_path() {
            Some(folder) => copy.into_folder(&folder).await?,
            None => copy.into_prefix(&target).await?,
        };
        if let Some(log) = &origin.log {
            log.add(files.into_iter().map(|file| file.published(&target)));
        }
        counts
    } else {
        to_file(context, copy, &options, origin).await?
    };
    context.read_table(Arc::new(counts))?.execute_stream().await
}

/// Checks COPY as far as that touches nothing.
pub(crate) async fn rehearse(context: &SessionContext, mut copy: CopyTo) -> Result<()> {
    if delta::is_delta(&copy) {
        return delta::rehearse(context, copy);
    }
    let options = take_options(context, &mut copy)?;
    let target = Location::parse(copy.output_url.trim_end_matches('/'))?;
    if let Some(folder) = target.local_path().filter(|_| is_folder(&copy)) {
        staging::refuse_foreign_folder(&folder)?;
    }
    context.state().optimize(&copy.input)?;
    let copy = Copy {
        context,
        copy,
        options,
    };
    copy.before(&target).await.map(drop)
}

/// Takes the options that are not the file format's, if they go with the target.
fn take_options(context: &SessionContext, copy: &mut CopyTo) -> Result<CopyOptions> {
    let options = CopyOptions::take(&mut copy.options)?;
    if options.mode == Mode::OverwritePartitions && copy.partition_by.is_empty() {
        return plan_err!("the mode overwrite_partitions wants PARTITIONED BY (..)");
    }
    if !is_folder(copy) {
        options.check_single_file()?;
    }
    options::check_columns(copy)?;
    let key = "execution.keep_partition_by_columns";
    let keeps = match copy.options.get(key) {
        Some(given) => given == "true",
        None => {
            context
                .state()
                .config_options()
                .execution
                .keep_partition_by_columns
        }
    };
    if keeps && !copy.partition_by.is_empty() {
        return plan_err!(
            "keep_partition_by_columns writes columns that readers have from the names of \
             folders too; select them a second time under another name"
        );
    }
    Ok(options)
}

/// A target with a file's extension is a file, anything else is a folder.
fn is_folder(copy: &CopyTo) -> bool {
    let name = copy.output_url.rsplit('/').next().unwrap_or_default();
    !copy.partition_by.is_empty() || !name.contains('.')
}

async fn to_file(
    context: &SessionContext,
    mut copy: CopyTo,
    options: &CopyOptions,
    origin: &Origin,
) -> Result<MemTable> {
    let target = Location::parse(&copy.output_url)?;
    // In a URL nothing looks like a pattern.
    copy.output_url = target.url.to_string();
    if !options.schema_change {
        schema::refuse_change(
            context,
            &target,
            std::slice::from_ref(&target.path),
            &copy,
        )
        .await?;
    }
    let frame = context
        .execute_logical_plan(LogicalPlan::Copy(copy))
        .await?;
    let schema = Arc::clone(frame.schema().inner());
    let counts = match frame.collect().await {
        Ok(counts) => MemTable::try_new(schema, vec![counts])?,
        Err(error) => return Err(explain(&target, error).await),
    };
    if let Some(log) = &origin.log {
        let (bytes, sha256) = digest(&target, &target.path).await?;
        log.add([WrittenFile {
            path: target.to_string(),
            bytes,
            sha256,
        }]);
    }
    Ok(counts)
}

/// Runs requests to a store, many at once.
async fn at_once<F>(requests: Vec<F>) -> object_store::Result<()>
where
    F: Future<Output = object_store::Result<()>>,
{
    let requests = stream::iter(requests).buffer_unordered(REQUESTS_AT_ONCE);
    requests.try_collect().await
}

/// Whether a file of a target has rows, and is no marker.
fn is_data(name: &Path) -> bool {
    !name.filename().is_some_and(|name| name.starts_with('_'))
}

/// A COPY to a folder or prefix.
struct Copy<'a> {
    context: &'a SessionContext,
    copy: CopyTo,
    options: CopyOptions,
}

impl Copy<'_> {
    async fn into_folder(self, target: &FilePath) -> Result<(MemTable, Vec<CopyFile>)> {
        staging::refuse_foreign_folder(target)?;
        let before = Location::parse(&target.to_string_lossy())?;
        let old = self.before(&before).await?;
        let staging = Staging::beside(target)?;
        let folder = Location::parse(&staging.path())?;
        let (counts, mut files) = match self.write(&folder, &old).await {
            Ok(written) => written,
            Err(error) => return Err(explain(&before, error).await),
        };
        for file in &mut files {
            let to = below(&folder, &file.name);
            let renamed = folder.store.rename(&file.at, &to).await;
            renamed.map_err(|error| folder.error(error))?;
            file.at = to;
        }
        staging.remove_folders_of_writers()?;
        let kept = self.kept(&files, &old);
        for name in &kept {
            staging.keep(name.as_ref())?;
        }
        self.write_manifest(&folder, &files, kept).await?;
        staging.publish()?;
        Ok((counts, files))
    }

    /// Object stores cannot rename: the files are copied over, `_SUCCESS` last.
    async fn into_prefix(self, target: &Location) -> Result<(MemTable, Vec<CopyFile>)> {
        let old = self.before(target).await?;
        let is_ours = |name: &Path| [SUCCESS, COPYING].contains(&name.as_ref());
        if !old.is_empty() && !old.iter().any(is_ours) {
            return exec_err!(
                "{target} holds files that COPY did not write; choose a new prefix"
            );
        }
        let prefix = format!("{}.atoll-", target.path);
        staging::delete_stale(target, &prefix).await;
        let name = format!("{prefix}{}", crate::unique_id());
        let name = Path::parse(name).map_err(|error| target.error(error.into()))?;
        let staging = target.at(name);
        let done = async {
            let (counts, files) = self.write(&staging, &old).await?;
            let files = self.publish_objects(files, target, &old).await?;
            Ok((counts, files))
        };
        let done = match done.await {
            Ok(done) => Ok(done),
            Err(error) => Err(explain(target, error).await),
        };
        let left = list(&staging).await?;
        let deletions = left.iter().map(|path| staging.store.delete(path));
        at_once(deletions.collect())
            .await
            .map_err(|error| staging.error(error))?;
        done
    }

    /// The names of the files that lie in the target; refuses rows of another shape.
    async fn before(&self, target: &Location) -> Result<Vec<Path>> {
        let old = list(target).await?;
        if !self.options.schema_change {
            schema::refuse_change(self.context, target, &old, &self.copy).await?;
        }
        let name = |path: &Path| Some(path.prefix_match(&target.path)?.collect());
        Ok(old.iter().filter_map(name).collect())
    }

    /// Which of the old files stay: those of partitions that nothing was written to.
    fn kept<'a>(&self, files: &[CopyFile], old: &'a [Path]) -> Vec<&'a Path> {
        if self.options.mode == Mode::Overwrite {
            return vec![];
        }
        let partition = |name: &Path| {
            let parts: Vec<String> =
                name.parts().map(|part| part.as_ref().to_string()).collect();
            parts.split_last().map(|(_, folders)| folders.join("/"))
        };
        let written: BTreeSet<_> = files.iter().map(|f| partition(&f.name)).collect();
        let old = old.iter().filter(|name| is_data(name));
        old.filter(|name| !written.contains(&partition(name)))
            .collect()
    }

    /// Writes the files to a staging folder or prefix.
    async fn write(
        &self,
        staging: &Location,
        old: &[Path],
    ) -> Result<(MemTable, Vec<CopyFile>)> {
        let copy = self.copy.clone();
        let schema = Arc::clone(copy.input.schema().inner());
        let is_parquet = copy.file_type.get_ext() == "parquet";
        let size = self.options.target_file_size;
        let (counts, mut files) = parts::write(self.context, copy, staging, size).await?;
        if is_parquet && self.is_without_columns(old) && files.is_empty() {
            // Without rows no file was written, but readers want the columns.
            let partition_by = &self.copy.partition_by;
            let in_files = schema.fields().iter();
            let in_files = in_files.filter(|field| !partition_by.contains(field.name()));
            let schema = Schema::new(in_files.cloned().collect::<Vec<_>>());
            let nothing = RecordBatch::new_empty(Arc::new(schema));
            let nothing = self.context.read_batch(nothing)?;
            let mut folder = staging.path.clone().join("part-00000");
            for column in partition_by {
                folder = folder.join(format!("{column}={}", partitions::NULL));
            }
            let folder = staging.at(folder);
            parquet_files::write(nothing, &folder, &Origin::default()).await?;
            files = files::written(staging, &folder).await?;
        }
        Ok((counts, files))
    }

    /// Whether nothing that stays in the target tells its columns.
    fn is_without_columns(&self, old: &[Path]) -> bool {
        self.options.mode == Mode::Overwrite || !old.iter().any(is_data)
    }

    /// Lists new and kept files, all of them in `folder`, if that is wanted.
    async fn write_manifest(
        &self,
        folder: &Location,
        files: &[CopyFile],
        kept: impl IntoIterator<Item = &Path>,
    ) -> Result<()> {
        if !self.options.manifest {
            return Ok(());
        }
        let mut all = files.to_vec();
        for name in kept {
            all.push(CopyFile::of(folder, name).await?);
        }
        manifest::write(folder, &all).await
    }

    async fn publish_objects(
        &self,
        mut files: Vec<CopyFile>,
        target: &Location,
        old: &[Path],
    ) -> Result<Vec<CopyFile>> {
        let store: &dyn ObjectStore = target.store.as_ref();
        let [success, copying] =
            [SUCCESS, COPYING].map(|name| below(target, &name.into()));
        let failed = |error| target.error(error);
        let put = store.put(&copying, PutPayload::new());
        put.await.map_err(failed)?;
        if old.iter().any(|name| name.as_ref() == SUCCESS) {
            // What lies there is not whole until the new one is put.
            store.delete(&success).await.map_err(failed)?;
        }
        let copies = files.iter_mut().map(|file| async {
            let to = below(target, &file.name);
            store.copy(&file.at, &to).await?;
            file.at = to;
            Ok(())
        });
        at_once(copies.collect())
            .await
            .map_err(|error| target.error(error))?;
        let kept = self.kept(&files, old);
        let new: HashSet<&Path> = files.iter().map(|file| &file.name).collect();
        let kept: HashSet<&Path> = kept.into_iter().collect();
        let gone = old
            .iter()
            .filter(|&name| !kept.contains(name) && !new.contains(name))
            .filter(|name| ![SUCCESS, COPYING].contains(&name.as_ref()));
        let deletions = gone.map(|name| {
            let path = below(target, name);
            async move { store.delete(&path).await }
        });
        at_once(deletions.collect())
            .await
            .map_err(|error| target.error(error))?;
        self.write_manifest(target, &files, kept).await?;
        let put = store.put(&success, PutPayload::new());
        put.await.map_err(failed)?;
        store.delete(&copying).await.map_err(failed)?;
        Ok(files)
    }
}
