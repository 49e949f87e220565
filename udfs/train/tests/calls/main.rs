//! `train` and `evaluate` as the session calls them: prepared once, then invoked.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod checkpoints;
mod folds;
mod functions;
mod support;
