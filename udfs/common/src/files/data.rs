//! Which of the files of a name have rows, in which format and with which columns.

use std::sync::Arc;

use atoll_compute::warnings::Warnings;
use datafusion::common::{Result, plan_err};
use datafusion::datasource::file_format::FileFormat;
use datafusion::execution::SessionState;
use object_store::{ObjectMeta, ObjectStoreExt};

use super::format::Ending;
use super::logs::refuse_below;
use super::name::{Kind, Named};
use super::partitions;
use crate::Location;

/// What a Parquet file begins with.
const PARQUET_MAGIC: &[u8] = b"PAR1";

/// A file of a table.
pub(super) struct DataFile {
    pub(super) object: ObjectMeta,
    pub(super) columns: Vec<(String, Option<String>)>,
}

/// The files with rows: no markers such as `_SUCCESS`, and nothing below `_temporary`.
/// Warns of those whose names no store takes.
pub(super) async fn data_files(
    warnings: &Warnings,
    named: &Named,
    base: &Location,
    ending: &str,
) -> Result<Vec<DataFile>> {
    let markers = match &named.kind {
        Kind::File(_) => true,
        Kind::Pattern(wildcard) => wildcard.wants_markers(),
        _ => false,
    };
    let mut files = vec![];
    let mut left_out = vec![];
    let listing = named.listing().await?;
    for file in listing.files {
        let Some(object) = file.object() else {
            if file.filename.ends_with(ending) {
                left_out.push(file.filename);
            }
            continue;
        };
        let is_marker = |name: &str| {
            name.starts_with('.') || (name.starts_with('_') && !name.contains('='))
        };
        let marked = || {
            let mut below = object
                .location
                .prefix_match(&base.path)
                .into_iter()
                .flatten();
            below.any(|name| is_marker(name.as_ref()))
        };
        if (!markers && marked()) || !object.location.as_ref().ends_with(ending) {
            continue;
        }
        let columns = match named.kind {
            Kind::File(_) => vec![],
            _ => partitions::of_file(&base.path, &object.location),
        };
        files.push(DataFile { object, columns });
    }
    refuse_below(
        named,
        &listing.tables,
        files.iter().map(|file| &file.object),
    )?;
    let rule = "names of files must be valid Unicode without control characters";
    if let (Some(name), true) = (left_out.first(), files.is_empty()) {
        return plan_err!("{name:?} is no table: {rule}");
    }
    for name in left_out {
        warnings.add(format!("{name:?} is left out: {rule}"));
    }
    Ok(files)
}

/// The format of a table is that of its first file.
pub(super) async fn format_of(
    session: &SessionState,
    (named, base): (&Named, &Location),
    first: &DataFile,
    with_metadata: bool,
) -> Result<Option<(String, Arc<dyn FileFormat>)>> {
    let is_file = matches!(named.kind, Kind::File(_));
    let location = &first.object.location;
    let with_metadata = with_metadata && is_file;
    if let Some(ending) = Ending::of(location.as_ref())
        && let Some(format) = ending.open(session, with_metadata)?
    {
        let text = if is_file { String::new() } else { ending.text };
        return Ok(Some((text, format)));
    }
    if !is_file {
        return Ok(None);
    }
    // A file that is named may end as it likes.
    let magic = PARQUET_MAGIC.len() as u64;
    if first.object.size < magic {
        return Ok(None);
    }
    let start = base.store.get_range(location, 0..magic).await;
    let start = start.map_err(|error| base.error(error))?;
    if start != PARQUET_MAGIC {
        return Ok(None);
    }
    let format = Ending::parquet().open(session, with_metadata)?;
    Ok(format.map(|format| (String::new(), format)))
}

/// The columns that the names of folders give to the files of a table.
pub async fn partition_names(named: &Named) -> Result<Vec<String>> {
    let quiet = Warnings::default();
    let files = data_files(&quiet, named, &named.location()?, "").await?;
    partition_columns(&named.text, &files)
}

/// The partition columns, which all files must have.
pub(super) fn partition_columns(text: &str, files: &[DataFile]) -> Result<Vec<String>> {
    let names = |file: &DataFile| -> Vec<String> {
        file.columns.iter().map(|(name, _)| name.clone()).collect()
    };
    let Some(first) = files.first() else {
        return Ok(vec![]);
    };
    let columns = names(first);
    if let Some(other) = files.iter().find(|file| names(file) != columns) {
        return plan_err!(
            "the files of '{text}' lie in unlike folders: {} has the partition columns \
             ({}), {} has ({})",
            first.object.location,
            columns.join(", "),
            other.object.location,
            names(other).join(", ")
        );
    }
    Ok(columns)
}
