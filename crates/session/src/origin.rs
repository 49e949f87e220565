//! Where the files that a statement writes come from, and a list of them.

use std::collections::{BTreeMap, HashMap};
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
    /// Names the statement across the runs of its job: under one name the rows of an
    /// INSERT are added once.
    pub(crate) id: Option<String>,
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
/// text that is run twice means its rows twice, so the second one has another id. One that
/// failed, or was stopped, has the same id when it is tried again: it may have committed.
#[derive(Debug, Default)]
pub(crate) struct WriteIds {
    /// How often each text has succeeded since SET.
    ended: Mutex<HashMap<String, u64>>,
}

impl WriteIds {
    /// A run begins.
    pub(crate) fn restart(&self) {
        self.ended().clear();
    }

    /// The id that a statement has if it is run now.
    pub(crate) fn next(&self, write_id: &str, sql: &str) -> String {
        let text = name_of(sql);
        match self.ended().get(&text) {
            None => format!("{write_id}/{text}"),
            Some(times) => format!("{write_id}/{text}/{times}"),
        }
    }

    /// A statement succeeded.
    pub(crate) fn succeeded(&self, sql: &str) {
        *self.ended().entry(name_of(sql)).or_default() += 1;
    }

    fn ended(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name_of(sql: &str) -> String {
    hex::encode(&Sha256::digest(sql.trim())[..8])
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
                let id = ids.next("day", sql);
                assert_eq!(ids.next("day", sql), id, "it is tried again");
                ids.succeeded(sql);
                id
            })
        };
        let first = run();
        assert!(first[0] != first[1] && first[0] != first[2], "{first:?}");
        ids.restart();
        assert_eq!(run(), first);
    }
}
