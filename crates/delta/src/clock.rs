//! When a statement began, so that all of it reads a table as it was at one moment.
//!
//! A plan may be older than the statement that runs it: that of a view, or of a prepared
//! statement. It names a version of each of its tables, but means the newest.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use atoll_udf_common::Location;
use datafusion::common::Result;

use crate::open::Table;

/// How many tables are remembered.
const MOST: usize = 64;

/// The beginning of a session's last statement, as an extension of its configuration.
#[derive(Debug)]
pub struct Clock(Mutex<Instant>);

impl Default for Clock {
    fn default() -> Self {
        Self(Mutex::new(Instant::now()))
    }
}

impl Clock {
    /// A statement begins.
    pub fn start(&self) {
        *locked(&self.0) = Instant::now();
    }

    /// When the last one did.
    pub fn started(&self) -> Instant {
        *locked(&self.0)
    }
}

/// The tables that statements opened last, so that two parts of one find the same version.
static OPENED: LazyLock<Mutex<HashMap<String, (Instant, Table)>>> =
    LazyLock::new(Mutex::default);

/// A version of a table that was opened since a moment.
pub(crate) async fn opened_since(
    location: &Location,
    began: Instant,
) -> Result<Option<Table>> {
    let key = location.url.to_string();
    if let Some((opened, table)) = locked(&OPENED).get(&key)
        && *opened >= began
    {
        return Ok(Some(table.clone()));
    }
    let opened = Instant::now();
    let table = Table::open(location).await?;
    if let Some(table) = &table {
        let mut tables = locked(&OPENED);
        if tables.len() >= MOST {
            tables.clear();
        }
        tables.insert(key, (opened, table.clone()));
    }
    Ok(table)
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves a value that can be read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
