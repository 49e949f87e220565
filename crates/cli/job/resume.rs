//! A run that is begun again because its process is gone: `--run-id`.
//!
//! The record in the storage says which statements succeeded. Those that only changed
//! their session are run again, because a session of another process has not seen them.

use std::time::Duration;

use atoll_jobs::{Error, Lock, Run, RunStatus, RunStore};
use atoll_session::Session;

/// How long the process that ran it before may take to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often its lock is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// Takes the lock of a run, which its own process may still hold for a moment.
pub(super) async fn lock(
    store: &RunStore,
    record: &Run,
    scope: &str,
    is_named: bool,
) -> Result<Lock, Error> {
    let since = tokio::time::Instant::now();
    loop {
        match store.lock(record, scope).await {
            Err(Error::AlreadyRunning { .. })
                if is_named && since.elapsed() < PATIENCE =>
            {
                tokio::time::sleep(LOOK).await;
            }
            locked => return locked,
        }
    }
}

/// Enters what the run did before its process was lost.
pub(super) async fn take_over(
    record: &mut Run,
    store: &RunStore,
    session: &Session,
) -> Result<(), Error> {
    let Some(before) = store.find(&record.job, &record.run_id).await? else {
        return Ok(());
    };
    record.started_at = before.started_at;
    for (statement, before) in record.statements.iter_mut().zip(before.statements) {
        let is_same = statement.sql == before.sql;
        if is_same
            && before.status == RunStatus::Succeeded
            && !session.is_of_session(&statement.sql)
        {
            *statement = before;
        }
    }
    Ok(())
}
