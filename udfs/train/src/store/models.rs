//! Networks, each in a file that is named by its content.

use datafusion::common::Result;

use super::TrialStore;
use crate::files::{digest, put_if_absent};

impl TrialStore {
    /// Writes the ONNX file of a network unless it is there, and returns its digest.
    pub(super) async fn keep_network(&self, network: Vec<u8>) -> Result<String> {
        let sha256 = digest(&network);
        put_if_absent(&self.model(&sha256)?, network).await?;
        Ok(sha256)
    }
}
