//! What a run of a job leaves in the storage: its record, and while it runs its lock.
//!
//! A record is one JSON file whose schema is [`Run`]. A lock covers one job and interval and
//! is given up when the process that holds it ends, however that happens.

mod lock;
mod record;
mod store;

pub use lock::Lock;
pub use record::{Run, RunError, RunStatus, StatementRun, WrittenFile};
pub use store::RunStore;
