//! Where the files that a statement writes come from, and a list of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use atoll_jobs::WrittenFile;
use atoll_udf_common::as_expensive;
use datafusion::DATAFUSION_VERSION;
use datafusion::common::Result;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::logical_expr::{Expr, LogicalPlan};

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
