//! Refuses to read a Delta table file by file.
//!
//! Which of the files in a table's folder have its rows, only its log can say: those of
//! rows that were deleted or changed lie beside the others until VACUUM removes them. A
//! single file may be read by its whole name; a folder or a pattern that finds some is a
//! mistake that nothing else would tell.

use std::collections::BTreeSet;
use std::path::Path as FilePath;
use std::sync::Arc;

use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectMeta;
use object_store::path::Path;

use super::list::url_of;
use super::name::{Kind, Named, Place};
use crate::Location;

/// The folder of a table's log.
pub(super) const LOG: &str = "_delta_log";

/// So many folders above a name are looked at, the nearest ones: a table's files lie as
/// many folders below it as it has partition columns.
const ABOVE: usize = 8;

/// The folder of the table in whose log a file lies.
pub(super) fn table_of_log(file: &Path) -> Option<Path> {
    let parts: Vec<_> = file.parts().collect();
    let log = parts.iter().position(|part| part.as_ref() == LOG)?;
    Some(parts.into_iter().take(log).collect())
}

/// Refuses a name that finds files of the tables, or a folder that has a table in it.
pub(super) fn refuse_below<'a>(
    named: &Named,
    tables: &BTreeSet<Path>,
    mut files: impl Iterator<Item = &'a ObjectMeta>,
) -> Result<()> {
    let found = match named.kind {
        Kind::Folder => tables.first(),
        Kind::Pattern(_) if !tables.is_empty() => {
            let table = |file: &ObjectMeta| {
                let is_in = |table: &&Path| file.location.prefix_matches(table);
                is_rows(file).then(|| tables.iter().find(is_in)).flatten()
            };
            files.find_map(table)
        }
        _ => None,
    };
    match found {
        Some(table) => Err(refusal(named, &shown(named, table))),
        None => Ok(()),
    }
}

/// Refuses a name within a table. A request is made for each of a few folders above it,
/// and none if no Parquet file was found.
pub(super) async fn refuse_above<'a>(
    named: &Named,
    mut files: impl Iterator<Item = &'a ObjectMeta>,
) -> Result<()> {
    if matches!(named.kind, Kind::File(_)) || !files.any(is_rows) {
        return Ok(());
    }
    let found = match &named.place {
        Place::Local(path) => above_path(path),
        Place::Stored(location) => above_prefix(named, location).await,
    };
    found.map_or(Ok(()), |table| Err(refusal(named, &table)))
}

/// Refuses a folder of Parquet files that is a part of a Delta table or has one in it.
pub async fn refuse_delta_table(named: &Named) -> Result<()> {
    let listing = named.listing().await?;
    let objects: Vec<_> = listing.files.iter().filter_map(|f| f.object()).collect();
    refuse_below(named, &listing.tables, objects.iter())?;
    refuse_above(named, objects.iter()).await
}

/// Whether a file is one that a table may have: all writers end their names so.
fn is_rows(file: &ObjectMeta) -> bool {
    file.location.extension() == Some("parquet")
}

/// The nearest table above a path, as it is reached through links.
fn above_path(path: &FilePath) -> Option<String> {
    // A pattern without a folder looks where relative paths start.
    let path = match path.as_os_str().is_empty() {
        true => FilePath::new("."),
        false => path,
    };
    let path = path.canonicalize().ok()?;
    let mut above = path.ancestors().skip(1);
    let table = above.find(|folder| folder.join(LOG).is_dir())?;
    Some(table.display().to_string())
}

/// The nearest table above a prefix of a store.
async fn above_prefix(named: &Named, location: &Location) -> Option<String> {
    let parts: Vec<_> = location.path.parts().collect();
    let above = (0..parts.len()).rev().take(ABOVE);
    let above =
        above.map(|depth| -> Path { parts.iter().take(depth).cloned().collect() });
    let above: Vec<Path> = above.collect();
    let looks = above.into_iter().map(|folder| {
        let (store, log) = (Arc::clone(&location.store), folder.clone().join(LOG));
        async move {
            let first = store.list(Some(&log)).try_next().await;
            // Who may not list there can read what lies below all the same.
            first.ok().flatten().map(|_| folder)
        }
    });
    let mut looks = stream::iter(looks).buffered(ABOVE);
    while let Some(look) = looks.next().await {
        if let Some(table) = look {
            return Some(shown(named, &table));
        }
    }
    None
}

/// The folder of a table in the form of the name that found it.
fn shown(named: &Named, table: &Path) -> String {
    match &named.place {
        Place::Local(_) => format!("/{table}"),
        Place::Stored(_) => url_of(table, &named.text),
    }
}

fn refusal(named: &Named, table: &str) -> DataFusionError {
    let table = table.trim_end_matches('/');
    plan_datafusion_err!(
        "'{}' has files of the Delta table '{table}/', which is not read file by file: \
         deleted rows would be among them. Name its folder, FROM '{table}/', with WHERE \
         for a part of it",
        named.text
    )
}
