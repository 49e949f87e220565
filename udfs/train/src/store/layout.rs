//! Where the files of a trial are.

use atoll_udf_common::Location;
use datafusion::common::Result;

use super::TrialStore;

impl TrialStore {
    /// The record of a trial.
    pub(super) fn trial(&self, trial_id: &str) -> Result<Location> {
        self.root.join(&format!("trials/{trial_id}.json"))
    }

    /// A network, by the digest of its file. Queries call it by this path or URL.
    pub(crate) fn model(&self, sha256: &str) -> Result<Location> {
        self.root.join(&format!("models/{sha256}.onnx"))
    }

    /// A checkpoint, by its digest. Queries call it by this path or URL.
    pub(crate) fn checkpoint(&self, sha256: &str) -> Result<Location> {
        self.root.join(&format!("checkpoints/{sha256}.ckpt"))
    }

    /// The digest of the latest checkpoint of a trial that has not finished.
    pub(super) fn latest(&self, trial_id: &str) -> Result<Location> {
        self.root.join(&format!("checkpoints/{trial_id}.latest"))
    }
}
