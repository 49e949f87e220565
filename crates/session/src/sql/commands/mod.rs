//! Statements about a table as a whole, which the planner does not know.

mod node;

pub(crate) use node::{Action, NewColumn, TableCommand};
