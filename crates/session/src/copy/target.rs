//! The staging folder of a COPY, as the tasks of a cluster write to it.

use std::collections::HashMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use async_trait::async_trait;
use atoll_udf_common::Location;
use datafusion::common::{Result, internal_datafusion_err, internal_err, plan_err};
use datafusion::datasource::file_format::format_as_file_type;
use datafusion::execution::{SendableRecordBatchStream, SessionState, TaskContext};
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::dml::CopyTo;
use datafusion::prelude::SessionContext;
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

use super::files::CopyFile;
use super::parts::{ATTEMPT, Writer};
use crate::cluster::{Target, WireTarget};

/// The file by which an executor sees that the staging folder is the client's. It lies in
/// a folder of a writer, and goes away as these do.
const MARKER: &str = "part-~/here";

/// A staging folder.
pub(crate) struct FolderTarget {
    wire: Wire,
    /// The session of an executor; the client's own is not sent.
    state: Option<SessionState>,
}

/// What a writer has to know of a COPY.
#[derive(Serialize, Deserialize)]
struct Wire {
    staging: String,
    format: String,
    options: HashMap<String, String>,
    partition_by: Vec<String>,
    size: Option<u64>,
}

/// What a task wrote.
#[derive(Serialize, Deserialize)]
struct WrittenByTask {
    rows: u64,
    files: Vec<CopyFile>,
}

impl FolderTarget {
    pub(super) fn new(copy: &CopyTo, staging: &Location, size: Option<u64>) -> Self {
        let wire = Wire {
            staging: staging.url.to_string(),
            format: copy.file_type.get_ext(),
            options: copy.options.clone(),
            partition_by: copy.partition_by.clone(),
            size,
        };
        Self { wire, state: None }
    }

    /// From the client.
    pub(crate) fn decode(bytes: &[u8], state: &SessionState) -> Result<Self> {
        let wire = serde_json::from_slice(bytes)
            .map_err(|error| internal_datafusion_err!("not a COPY: {error}"))?;
        let state = Some(state.clone());
        Ok(Self { wire, state })
    }

    /// Lets executors see that the folder is the client's.
    pub(super) async fn mark(staging: &Location) -> Result<()> {
        let marker = staging.join(MARKER)?;
        let put = marker.store.put(&marker.path, PutPayload::new()).await;
        put.map(drop).map_err(|error| marker.error(error))
    }

    /// What a task said of its files.
    pub(super) fn read(text: &str) -> Result<(u64, Vec<CopyFile>)> {
        let written: WrittenByTask = serde_json::from_str(text)
            .map_err(|error| internal_datafusion_err!("{error}"))?;
        Ok((written.rows, written.files))
    }
}

impl Debug for FolderTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wire.staging)
    }
}

#[async_trait]
impl Target for FolderTarget {
    fn encode(&self) -> Result<WireTarget> {
        let wire = serde_json::to_vec(&self.wire)
            .map_err(|error| internal_datafusion_err!("{error}"))?;
        Ok(WireTarget::Folder(wire))
    }

    async fn is_here(&self) -> bool {
        let marker =
            Location::parse(&self.wire.staging).and_then(|staging| staging.join(MARKER));
        match marker {
            Ok(marker) => marker.store.head(&marker.path).await.is_ok(),
            Err(_) => false,
        }
    }

    async fn write(
        &self,
        rows: SendableRecordBatchStream,
        task: &str,
        context: &Arc<TaskContext>,
    ) -> Result<(u64, String)> {
        let Some(state) = &self.state else {
            return internal_err!("the client writes no parts of tasks");
        };
        let Some(format) = state.get_file_format_factory(&self.wire.format) else {
            return plan_err!("this executor knows no format {}", self.wire.format);
        };
        // With the statement's options, which its writers heed.
        let mut state = state.clone();
        *state.config_mut() = context.session_config().clone();
        let copy = CopyTo::new(
            Arc::new(LogicalPlanBuilder::empty(false).build()?),
            String::new(),
            self.wire.partition_by.clone(),
            format_as_file_type(format),
            self.wire.options.clone(),
        );
        let writer = Writer {
            context: SessionContext::new_with_state(state),
            copy,
            staging: Location::parse(&self.wire.staging)?,
            part: task.to_string(),
            attempt: format!("{ATTEMPT}{}", crate::unique_id()),
        };
        let (rows, files) = writer.write_all(rows, self.wire.size).await?;
        let written = serde_json::to_string(&WrittenByTask { rows, files });
        let written = written.map_err(|error| internal_datafusion_err!("{error}"))?;
        Ok((rows, written))
    }
}
