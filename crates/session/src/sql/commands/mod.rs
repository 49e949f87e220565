//! Statements about a table as a whole, which the planner does not know.

mod alter;
mod node;
mod parse;
mod plan;

pub(crate) use node::{Action, NewColumn, TableCommand};
pub(crate) use parse::Command;
