//! Files as tables: `FROM 'folder/file.parquet'`, `FROM 'folder/'`.
//!
//! DataFusion's own factory takes the format of a folder from the first file it meets,
//! which may be `_SUCCESS`. This one passes over markers and hidden files.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use datafusion::catalog::{DynamicFileCatalog, TableProvider, UrlTableFactory};
use datafusion::common::Result;
use datafusion::datasource::listing::{
    ListingTable, ListingTableConfig, ListingTableConfigExt, ListingTableUrl,
};
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;
use futures::TryStreamExt;

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
        let session = self.session.get().and_then(|session| session());
        let (Some(session), Ok(url)) = (session, ListingTableUrl::parse(url)) else {
            return Ok(None);
        };
        let Some(sample) = first_file(&session, &url).await else {
            return Ok(None);
        };
        // A file of no known format is not a table, which the planner says.
        let options = ListingTableConfig::new(sample)
            .infer_options(&session)
            .await;
        let Some(options) = options.ok().and_then(|config| config.options) else {
            return Ok(None);
        };
        let config = ListingTableConfig::new(url)
            .with_listing_options(options)
            .infer_partitions_from_path(&session)
            .await?
            .infer_schema(&session)
            .await?;
        Ok(Some(Arc::new(ListingTable::try_new(config)?)))
    }
}

/// The file that says what format a file or folder has.
async fn first_file(
    session: &SessionState,
    url: &ListingTableUrl,
) -> Option<ListingTableUrl> {
    let store = session.runtime_env().object_store(url).ok()?;
    let files = url.list_all_files(session, store.as_ref(), "").await.ok()?;
    let is_data = |name: &str| !name.starts_with(['_', '.']);
    let mut data = std::pin::pin!(files.try_filter(|file| {
        std::future::ready(file.location.filename().is_some_and(is_data))
    }));
    let file = data.try_next().await.ok()??;
    let root = url.object_store();
    let root = root.as_str().trim_end_matches('/');
    ListingTableUrl::parse(format!("{root}/{}", file.location)).ok()
}
