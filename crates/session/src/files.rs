//! Files as tables: `FROM 'folder/file.parquet'`, `FROM 'folder/'`.
//!
//! What a name means, and how the files are read, is `atoll_udf_common::files`. Here they
//! come into the session, for quoted names and for CREATE EXTERNAL TABLE.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use atoll_udf_common::files::FileTable;
use datafusion::catalog::{DynamicFileCatalog, TableProvider, UrlTableFactory};
use datafusion::common::Result;
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;

/// Reads the session, for its file formats; `None` once it ended.
type CurrentState = Box<dyn Fn() -> Option<SessionState> + Send + Sync>;

/// The same session, in which a quoted path or URL is a table.
pub(crate) fn with_files_as_tables(context: SessionContext) -> SessionContext {
    let files = Arc::new(Files::default());
    let catalogs = Arc::clone(context.state().catalog_list());
    let factory = Arc::clone(&files) as Arc<dyn UrlTableFactory>;
    let context: SessionContext = context
        .into_state_builder()
        .with_catalog_list(Arc::new(DynamicFileCatalog::new(catalogs, factory)))
        .build()
        .into();
    let state = context.state_weak_ref();
    let current = move || state.upgrade().map(|state| state.read().clone());
    // Set here and nowhere else, so it cannot have been set before.
    let _ = files.session.set(Box::new(current));
    context
}

#[derive(Default)]
struct Files {
    session: OnceLock<CurrentState>,
}

impl Debug for Files {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("Files")
    }
}

#[async_trait]
impl UrlTableFactory for Files {
    async fn try_new(&self, url: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(session) = self.session.get().and_then(|session| session()) else {
            return Ok(None);
        };
        let table = FileTable::open(&session, None, url).await?;
        Ok(table.map(|table| Arc::new(table) as Arc<dyn TableProvider>))
    }
}
