//! Prepared statements.
//!
//! A statement is planned when it is prepared, to find mistakes and types, and again
//! whenever it is run, because tables may have changed.

use std::sync::Arc;

use atoll_session::{Session, changes_something};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::arrow::ipc::writer::StreamWriter;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::LogicalPlan;
use parking_lot::{Mutex, MutexGuard};
use sha2::{Digest, Sha256};

use crate::output::plain_schema;
use crate::parameters::Placeholders;

/// For how many rows of parameters a statement is run at once.
const MOST_ROWS: usize = 1000;

/// A statement that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Planned {
    pub(crate) plan: LogicalPlan,
    /// What it was planned from: tables tell by it what was run before.
    pub(crate) text: String,
}

impl Planned {
    /// Plans a statement without parameters.
    pub(crate) async fn new(session: &Session, sql: String) -> Result<Self> {
        let plan = session.plan(&sql).await?;
        Ok(Self { plan, text: sql })
    }
}

/// A statement that waits for its parameters.
pub(crate) struct PreparedStatement {
    statement: Placeholders,
    bound: Mutex<Vec<RecordBatch>>,
}

/// What a client is told of a statement that it prepares.
pub(crate) struct Described {
    pub(crate) prepared: PreparedStatement,
    /// The columns of its rows; none if it is there to change something.
    pub(crate) rows: Arc<Schema>,
    pub(crate) parameters: Schema,
}

/// Reads and checks a statement.
pub(crate) async fn prepare(session: &Session, sql: &str) -> Result<Described> {
    let statement = Placeholders::of(sql)?;
    let plan = session.plan(&statement.sql).await?;
    let rows = match session.result_schema(&plan) {
        _ if changes_something(&plan) => Arc::new(Schema::empty()),
        Ok(schema) => plain_schema(&schema),
        // The best guess as long as its parameters have no types.
        Err(_) if !statement.names.is_empty() => plain_schema(plan.schema().as_arrow()),
        Err(error) => return Err(error),
    };
    let parameters = parameter_types(&plan, &statement.names)?;
    let bound = Mutex::default();
    Ok(Described {
        prepared: PreparedStatement { statement, bound },
        rows,
        parameters,
    })
}

impl PreparedStatement {
    /// Binds rows of parameters in place of those before.
    pub(crate) fn bind(&self, rows: Vec<RecordBatch>) {
        *self.bound() = rows;
    }

    fn bound(&self) -> MutexGuard<'_, Vec<RecordBatch>> {
        self.bound.lock()
    }

    /// The statement with its parameters filled in, once for each bound row.
    pub(crate) async fn plans(&self, session: &Session) -> Result<Vec<Planned>> {
        let Placeholders { sql, names } = &self.statement;
        if names.is_empty() {
            return Ok(vec![Planned::new(session, sql.clone()).await?]);
        }
        let bound = self.bound().clone();
        let rows: usize = bound.iter().map(RecordBatch::num_rows).sum();
        if rows > MOST_ROWS {
            return plan_err!(
                "a statement runs for at most {MOST_ROWS} rows of parameters, got {rows}\n\
                 hint: ingest them as a table and join it"
            );
        }
        let plan = session.plan(sql).await?;
        let mut plans = vec![];
        for batch in &bound {
            for row in 0..batch.num_rows() {
                let values = self.statement.values(batch, row)?;
                plans.push(Planned {
                    plan: plan.clone().with_param_values(values)?,
                    text: format!("{sql}\n-- parameters {}", digest(batch, row)?),
                });
            }
        }
        if plans.is_empty() {
            return plan_err!(
                "the statement has {} parameters and no values are bound to them",
                names.len()
            );
        }
        Ok(plans)
    }
}

/// A hash of a row of parameters, which tells it from other rows.
fn digest(rows: &RecordBatch, row: usize) -> Result<String> {
    let mut writer = StreamWriter::try_new(vec![], rows.schema_ref())?;
    writer.write(&rows.slice(row, 1))?;
    Ok(hex::encode(&Sha256::digest(writer.into_inner()?)[..8]))
}

fn parameter_types(plan: &LogicalPlan, names: &[String]) -> Result<Schema> {
    let known = plan.get_parameter_types()?;
    let fields = names.iter().map(|name| {
        let known = known.get(&format!("${name}")).cloned().flatten();
        parameter(name, known)
    });
    Ok(Schema::new(fields.collect::<Vec<_>>()))
}

/// The type that drivers are told of a parameter that may be anything. They need one, and
/// text can be cast to any other.
fn parameter(name: &str, known: Option<DataType>) -> Field {
    let data_type = match known {
        None | Some(DataType::Null) => DataType::Utf8,
        Some(known) => known,
    };
    Field::new(name, data_type, true)
}
