//! Statements about a table as a whole, which the planner does not know.

mod alter;
mod describe;
mod node;
mod parse;
mod plan;

pub(crate) use describe::{described, of_stored};
pub(crate) use node::{Action, NewColumn, TableCommand};
pub(crate) use parse::Command;
