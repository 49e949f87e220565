//! RESTORE: the rows of an older version become the newest.

use datafusion::common::{Result, exec_err, plan_err};

use crate::commit::{Statement, may_try_again, pause};
use crate::open::{At, Table};
use crate::standing::{Standing, forget};

impl Table {
    /// Makes the rows of an older version the newest, and gives the number of the version
    /// that they are then. Rows that are committed meanwhile come before it: they go, as
    /// those of every version after the older one do.
    pub async fn restore(self, at: &At, statement: &Statement) -> Result<u64> {
        let location = self.location().clone();
        let Some(old) = Self::open_at(&location, at).await? else {
            return plan_err!("there is no table {location}");
        };
        let (old, id) = (old.version(), old.id()?.to_string());
        let mut table = self;
        let mut tries = 0;
        loop {
            let standing = Standing::of(&table)?;
            let builder = table.delta().clone().restore();
            let restored = builder
                .with_version_to_restore(old)
                .with_commit_properties(statement.properties(0))
                .await;
            let failed = match restored {
                Ok((restored, _)) => {
                    let made = restored.version().unwrap_or_default();
                    if standing.is_met(&location).await? {
                        return Ok(made);
                    }
                    forget(&location, made, &[]).await;
                    return exec_err!("the table {location} was dropped meanwhile");
                }
                Err(failed) => failed,
            };
            if !may_try_again(&failed, tries) {
                return Err(table.error("restore", failed));
            }
            tries += 1;
            pause(tries).await;
            // The number of a version means another one in a table that was made anew.
            table = match Self::open(&location).await? {
                Some(newest) => newest,
                None => return exec_err!("the table {location} was dropped meanwhile"),
            };
            let same = Self::open_at(&location, &At::Version(old)).await?;
            if same.is_none_or(|same| same.id().is_ok_and(|found| found != id)) {
                return exec_err!("the table {location} was dropped meanwhile");
            }
        }
    }
}
