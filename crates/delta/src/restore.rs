//! RESTORE: the rows of an older version become the newest.

use datafusion::common::{Result, exec_err, plan_err};

use crate::commit::{Statement, outcome, pause};
use crate::open::{At, Table};
use crate::standing::{Mark, Standing};

impl Table {
    /// Makes the rows of an older version the newest, and gives the number of the version
    /// that they are then. Rows that are committed meanwhile come before it: they go, as
    /// those of every version after the older one do. `None` says that the same statement
    /// had committed before.
    pub async fn restore(self, at: &At, statement: &Statement) -> Result<Option<u64>> {
        let location = self.location().clone();
        let Some(old) = Self::open_at(&location, at).await? else {
            return plan_err!("there is no table {location}");
        };
        let (old, id) = (old.version(), old.id()?.to_string());
        let mut table = self;
        let mut tries = 0;
        loop {
            if statement.is_done(&table).await? {
                return Ok(None);
            }
            let standing = Standing::of(&table)?;
            let mark = Mark::new();
            let builder = table.delta().clone().restore();
            let restored = builder
                .with_version_to_restore(old)
                .with_commit_properties(statement.properties(0, &mark))
                .await;
            let made = restored.map(|(table, _)| table.version().unwrap_or_default());
            let next = table.version() + 1;
            let version = *made.as_ref().unwrap_or(&next);
            let stands = standing.is_met(&location).await?;
            let made = outcome(&location, made, &mark, next..=next, stands).await?;
            let Some(lost) = made else {
                return Ok(Some(version));
            };
            if !lost.may_try_again(tries) {
                return Err(lost.explain(&table, "restore"));
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
