//! Expensive calls, taken out of expressions and run once a row.
//!
//! `SELECT train(..)` becomes an operator of its own: [`rule`] finds the calls in the
//! logical plan, [`node`] stands for them there, [`planner`] turns the node into the
//! [`exec`] that runs them on the compute pool. Because a call is a column from then
//! on, no later rule can evaluate it twice, push it into a scan or fold it away, and
//! it may stand anywhere: in a filter, an ORDER BY, an aggregate, another call.

mod conditional;
mod exec;
mod joined;
mod node;
mod planner;
mod rule;
mod stream;

pub(crate) use exec::{ExpensiveExec, PhysicalCall};
pub(crate) use planner::AtollQueryPlanner;
pub(crate) use rule::ExtractExpensiveCalls;
