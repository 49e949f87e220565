//! Where the files that a statement writes come from, and a list of them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atoll_jobs::WrittenFile;
use atoll_udf_common::as_expensive;
use datafusion::DATAFUSION_VERSION;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};
use sha2::{Digest, Sha256};

/// What a statement's files say of themselves, and who wants to hear of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Origin {
    /// The text of the statement.
    pub(crate) statement: Option<String>,
    /// The models that the statement names, with the SHA-256 of their files.
    pub(crate) models: BTreeMap<String, String>,
    /// What computed their answers, where there is a model.
    pub(crate) inference: Option<String>,
    /// Names the statement across the runs of its job: under one name the rows of an
    /// INSERT are added once.
    pub(crate) id: Option<String>,
    /// What a table keeps of the query that it is made of, see
    /// [`refresh`](crate::refresh).
    pub(crate) made_of: Option<String>,
    /// Who asked for the list of files.
    pub(crate) log: Option<WriteLog>,
}

impl Origin {
    /// The key-value metadata of a file, one key with an object as JSON: of several keys
    /// writers keep no order. It has no time, so that the same rows give the same file.
    pub(crate) fn provenance(&self) -> (&'static str, String) {
        let object = serde_json::json!({
            "version": crate::VERSION,
            "datafusion": DATAFUSION_VERSION,
            "engine": atoll_udf_train::engine(),
            "inference": self.inference,
            "models": self.models,
            "statement": self.statement,
        });
        ("atoll.provenance", object.to_string())
    }
}

/// The models that a plan names, those of its views included.
pub(crate) fn models(plan: &LogicalPlan) -> Result<BTreeMap<String, String>> {
    let mut models = BTreeMap::new();
    plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(view) = scan.source.get_logical_plan()
        {
            models.append(&mut self::models(&view)?);
        }
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::ScalarFunction(call) = expr
                    && let Some(function) = as_expensive(&call.func)
                {
                    models.extend(function.models(&call.args));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(models)
}

/// The ids of statements under `SET atoll.write_id`.
///
/// Whoever runs the same statements again after the same SET gives them the same ids. A
/// text that is run twice means its rows twice, so the second one has another id, also if
/// the first still runs. One that failed, or was stopped, leaves its id to whoever tries it
/// again: it may have committed.
#[derive(Debug, Default)]
pub(crate) struct WriteIds(Mutex<Numbers>);

/// The numbers that statements of each text have since SET.
type Numbers = Arc<Mutex<HashMap<String, BTreeSet<u64>>>>;

impl WriteIds {
    /// A run begins. Statements that still run belong to the one before.
    pub(crate) fn restart(&self) {
        *locked(&self.0) = Numbers::default();
    }

    /// Gives a statement an id.
    pub(crate) fn take(&self, write_id: &str, sql: &str) -> WriteId {
        let text = hex::encode(&Sha256::digest(sql.trim())[..8]);
        let numbers = Arc::clone(&locked(&self.0));
        let number = {
            let mut numbers = locked(&numbers);
            let taken = numbers.entry(text.clone()).or_default();
            let free = (0..).find(|number| !taken.contains(number));
            let number = free.unwrap_or_default();
            taken.insert(number);
            number
        };
        let id = match number {
            0 => format!("{write_id}/{text}"),
            number => format!("{write_id}/{text}/{number}"),
        };
        WriteId {
            id,
            text,
            number,
            numbers,
        }
    }
}

/// The id of a statement that runs. Dropped, it is free again.
#[derive(Debug)]
pub(crate) struct WriteId {
    pub(crate) id: String,
    text: String,
    number: u64,
    numbers: Numbers,
}

impl WriteId {
    /// The statement succeeded.
    pub(crate) fn keep(mut self) {
        // What is dropped now has nothing to give back.
        self.numbers = Numbers::default();
    }
}

impl Drop for WriteId {
    fn drop(&mut self) {
        if let Some(taken) = locked(&self.numbers).get_mut(&self.text) {
            taken.remove(&self.number);
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change leaves a value that can be read.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The files that statements wrote, for whoever reports them.
#[derive(Debug, Clone, Default)]
pub struct WriteLog {
    files: Arc<Mutex<Vec<WrittenFile>>>,
    id: Option<String>,
}

impl WriteLog {
    /// The same log for a statement with an id: if it is run again under that id, because
    /// nobody heard that it had ended, a table takes its rows once.
    pub fn for_statement(&self, id: String) -> Self {
        Self {
            files: Arc::clone(&self.files),
            id: Some(id),
        }
    }

    /// The files since the last time, in the order in which they were published.
    pub fn take(&self) -> Vec<WrittenFile> {
        std::mem::take(&mut self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn add(&self, files: impl IntoIterator<Item = WrittenFile>) {
        let mut log = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend(files);
    }

    pub(crate) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_another_id_each_time_it_succeeded_and_the_same_in_the_next_run() {
        let ids = WriteIds::default();
        let run = || {
            ["INSERT 1", "INSERT 2", "INSERT 1 "].map(|sql| {
                let failed = ids.take("day", sql).id.clone();
                let again = ids.take("day", sql);
                assert_eq!(again.id, failed, "it is tried again");
                again.keep();
                failed
            })
        };
        let first = run();
        assert!(first[0] != first[1] && first[0] != first[2], "{first:?}");
        ids.restart();
        assert_eq!(run(), first);
    }

    #[test]
    fn equal_statements_at_once_have_two_ids_and_no_run_takes_those_of_another() {
        let ids = WriteIds::default();
        let (first, second) = (ids.take("day", "INSERT"), ids.take("day", "INSERT"));
        assert_ne!(first.id, second.id);
        let id = first.id.clone();
        drop(first);
        let third = ids.take("day", "INSERT");
        assert_eq!(third.id, id);
        ids.restart();
        let of_next_run = ids.take("day", "INSERT");
        assert_eq!(of_next_run.id, id);
        // It ends late, and its id is taken in the run that began meanwhile.
        drop(third);
        assert_ne!(ids.take("day", "INSERT").id, id);
    }
}
