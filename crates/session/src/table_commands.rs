//! Runs the statements about a table as a whole.

use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema};
use datafusion::catalog::SchemaProvider;
use datafusion::common::{Result, not_impl_err};
use datafusion::datasource::MemTable;
use datafusion::prelude::SessionContext;

use crate::origin::Origin;
use crate::sql::{Action, TableCommand};
use crate::tables::StoredTables;

impl StoredTables {
    /// Does what a command says and gives its report, whose columns are those of the
    /// command's schema.
    #[expect(clippy::unused_async, reason = "what it does is not written yet")]
    pub(crate) async fn command(
        &self,
        _context: &SessionContext,
        command: &TableCommand,
        _origin: &Origin,
    ) -> Result<RecordBatch> {
        not_impl_err!("{} of stored tables", command.action.name())
    }

    /// Leaves a table without rows in memory that has the columns which ALTER TABLE
    /// adds. No other command is seen by the statements after it.
    pub(crate) async fn rehearse_command(&self, command: &TableCommand) -> Result<()> {
        let Action::AddColumns { columns } = &command.action else {
            return Ok(());
        };
        let name = command.table.table();
        // A folder's columns are found when the statement runs.
        let Some(table) = self.table(name).await? else {
            return Ok(());
        };
        let mut fields: Vec<FieldRef> = table.schema().fields().to_vec();
        for column in columns {
            if !fields
                .iter()
                .any(|field| field.name() == column.field.name())
            {
                fields.push(Arc::clone(&column.field));
            }
        }
        let empty = MemTable::try_new(Arc::new(Schema::new(fields)), vec![vec![]])?;
        let memory = self.memory();
        memory.deregister_table(name)?;
        memory.register_table(name.to_string(), Arc::new(empty))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::{Session, SessionOptions};

    #[tokio::test]
    async fn a_rehearsal_goes_on_with_the_new_columns() {
        let storage = tempfile::tempdir().unwrap();
        let options = SessionOptions {
            storage: Some(storage.path().to_string_lossy().into_owned()),
            ..SessionOptions::default()
        };
        let session = Session::new(options).await.unwrap();
        for sql in [
            "CREATE TABLE n PARTITIONED BY (x) AS SELECT 1 AS x, 2 AS y",
            "ALTER TABLE n ADD COLUMN z TEXT",
            "ALTER TABLE n ADD COLUMN IF NOT EXISTS z TEXT",
            "INSERT INTO n (z) VALUES ('a')",
            "OPTIMIZE n WHERE x = 1",
            "VACUUM n RETAIN 1 DAY DRY RUN",
            "RESTORE n TO VERSION AS OF 0",
            "DESCRIBE HISTORY n",
            "SELECT z FROM n",
        ] {
            let rehearsed = session.rehearse(sql).await;
            rehearsed.unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        let error = session.rehearse("ALTER TABLE n ADD COLUMN z TEXT").await;
        assert!(
            error
                .unwrap_err()
                .to_string()
                .contains("has a column z already")
        );
        let tables = storage.path().join("tables/n");
        assert!(!tables.exists(), "a rehearsal writes nothing");
    }
}
