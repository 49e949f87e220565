//! Calls of one operator that are evaluated together, because they are made of the same work.

use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use atoll_udf_common::{CallContext, JoinedCalls, SharedCall};
use datafusion::common::Result;
use tokio::sync::OnceCell;

use super::exec::PhysicalCall;

/// Which calls of an operator are joined, once somebody asked. In the process that plans
/// that is the planner, so that EXPLAIN can say it, and on an executor the first row.
#[derive(Debug, Default)]
pub(crate) struct Joined(OnceCell<Vec<Group>>);

/// Calls by their places in the operator, and what evaluates them.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) members: Vec<usize>,
    pub(super) calls: Arc<dyn JoinedCalls>,
    functions: Vec<String>,
}

impl Joined {
    pub(super) async fn groups(
        &self,
        calls: &[PhysicalCall],
        context: &CallContext,
    ) -> Result<&[Group]> {
        let found = self.0.get_or_try_init(|| find(calls, context)).await;
        found.map(Vec::as_slice)
    }
}

/// For EXPLAIN.
impl Display for Joined {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for group in self.0.get().into_iter().flatten() {
            write!(f, ", together=[{}]", group.functions.join(", "))?;
        }
        Ok(())
    }
}

/// Joins all calls that can be.
async fn find(calls: &[PhysicalCall], context: &CallContext) -> Result<Vec<Group>> {
    let mut alike: Vec<Vec<(usize, Arc<dyn SharedCall>)>> = vec![];
    for (place, call) in calls.iter().enumerate() {
        let Some(shared) = call.prepared.shared().await? else {
            continue;
        };
        let arguments = shared.arguments();
        let is_alike = |others: &&mut Vec<(usize, Arc<dyn SharedCall>)>| {
            let (other, known) = &others[0];
            known.key() == shared.key()
                && calls[*other].args[..arguments] == call.args[..arguments]
        };
        match alike.iter_mut().find(is_alike) {
            Some(others) => others.push((place, shared)),
            None => alike.push(vec![(place, shared)]),
        }
    }
    let mut groups = vec![];
    for group in alike.into_iter().filter(|group| group.len() > 1) {
        let (members, shared): (Vec<_>, Vec<_>) = group.into_iter().unzip();
        let first = Arc::clone(&shared[0]);
        groups.push(Group {
            calls: first.join(shared, context).await?,
            functions: members.iter().map(|n| calls[*n].function.clone()).collect(),
            members,
        });
    }
    Ok(groups)
}
