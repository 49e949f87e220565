//! The trial store: trials, networks and checkpoints under the session's storage.
//!
//! Every file is written whole or not at all and only if it is absent, so any number of
//! processes may share a store. A network is there before the trial that names it.

mod checkpoints;
mod layout;
mod list;
mod models;
mod trials;

use atoll_udf_common::Location;

pub(crate) use checkpoints::load_checkpoint;

/// What is kept under one storage folder or URL.
#[derive(Debug, Clone)]
pub(crate) struct TrialStore {
    root: Location,
}

impl TrialStore {
    /// The store under this folder or URL. Nothing is read or created yet.
    pub(crate) fn new(root: Location) -> Self {
        Self { root }
    }

    /// The folder or URL.
    pub(crate) fn root(&self) -> &Location {
        &self.root
    }
}
