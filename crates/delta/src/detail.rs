//! What a table says of itself.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::Result;
use deltalake_core::kernel::{CommitInfo, LogicalFileView};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::{ObjectStore, ObjectStoreExt};
use serde_json::Value;

use crate::commit::{ENGINE, STATEMENT};
use crate::open::Table;

/// How many commits are read at once.
const READS: usize = 16;

/// What the log says of CREATE TABLE beside how it was done.
const DEFINITION: [&str; 3] = ["location", "metadata", "protocol"];

/// A commit of a table.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Its number.
    pub version: u64,
    /// When it was made.
    pub time: Option<DateTime<Utc>>,
    /// Such as `WRITE` or `MERGE`, if it says.
    pub operation: Option<String>,
    /// What the log says of the operation, as JSON.
    pub parameters: String,
    /// The text of the statement, if Atoll ran it.
    pub statement: Option<String>,
    /// The program that made it.
    pub engine: Option<String>,
}

/// What a version of a table is.
#[derive(Debug, Clone)]
pub struct Detail {
    /// The folder.
    pub location: String,
    /// The number of the version.
    pub version: u64,
    /// Its rows, if every file says how many it has.
    pub rows: Option<u64>,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The columns that it is partitioned by.
    pub partition_columns: Vec<String>,
}

impl Table {
    /// What this version is.
    pub fn detail(&self) -> Result<Detail> {
        let views: Vec<_> = self.snapshot()?.log_data().into_iter().collect();
        let rows: Option<Vec<usize>> =
            views.iter().map(LogicalFileView::num_records).collect();
        let bytes: i64 = views.iter().map(LogicalFileView::size).sum();
        Ok(Detail {
            location: self.location().to_string(),
            version: self.version(),
            rows: rows.map(|rows| rows.iter().sum::<usize>() as u64),
            files: views.len() as u64,
            bytes: u64::try_from(bytes).unwrap_or_default(),
            partition_columns: self.partition_columns()?,
        })
    }

    /// The commits that the log keeps up to this version, the newest first.
    ///
    /// Read by their names: a commit need not say anything of itself, and others are made
    /// meanwhile, so that counting back from the newest would give some another's number.
    pub async fn history(&self) -> Result<Vec<Commit>> {
        let log = self.location().join("_delta_log")?;
        let error = |error| log.error(error);
        let files: Vec<_> = log
            .store
            .list(Some(&log.path))
            .try_collect()
            .await
            .map_err(error)?;
        let commits = files.into_iter().filter_map(|file| {
            let name = file.location.filename()?.strip_suffix(".json")?;
            Some((name.parse::<u64>().ok()?, file))
        });
        let mut commits: Vec<_> = commits
            .filter(|(version, _)| *version <= self.version())
            .collect();
        commits.sort_by_key(|(version, _)| Reverse(*version));
        let commits = commits.into_iter().map(|(version, file)| {
            let store = Arc::clone(&log.store);
            async move {
                let text = store.get(&file.location).await?.bytes().await?;
                Ok((version, file.last_modified, text))
            }
        });
        let commits = stream::iter(commits).buffered(READS);
        let commits: Vec<_> = commits.try_collect().await.map_err(error)?;
        let commits = commits.into_iter().map(|(version, written, text)| {
            let info = info(&String::from_utf8_lossy(&text)).unwrap_or_default();
            commit(version, written, info)
        });
        Ok(commits.collect())
    }
}

/// What a commit says of itself.
fn info(text: &str) -> Option<CommitInfo> {
    let mut lines = text.lines().filter(|line| line.contains("commitInfo"));
    lines.find_map(|line| {
        let mut action: Value = serde_json::from_str(line).ok()?;
        serde_json::from_value(action.get_mut("commitInfo")?.take()).ok()
    })
}

fn commit(version: u64, written: DateTime<Utc>, mut info: CommitInfo) -> Commit {
    let parameters = info.operation_parameters.unwrap_or_default().into_iter();
    // In the order of their names, which the log has in none, and without the whole
    // definition of a table.
    let parameters: BTreeMap<_, _> = parameters
        .filter(|(name, _)| !DEFINITION.contains(&name.as_str()))
        .collect();
    let mut said = |name| {
        let text: Option<Value> = info.info.remove(name);
        text.and_then(|text| text.as_str().map(String::from))
    };
    let statement = said(STATEMENT);
    let atoll = said(ENGINE);
    Commit {
        version,
        time: match info.timestamp {
            Some(time) => DateTime::from_timestamp_millis(time),
            None => Some(written),
        },
        operation: info.operation,
        parameters: serde_json::to_string(&parameters).unwrap_or_default(),
        statement,
        engine: atoll.or(info.engine_info),
    }
}
