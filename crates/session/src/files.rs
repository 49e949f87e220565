//! Files as tables: `FROM 'folder/file.parquet'`, `FROM 'folder/'`.
//!
//! What a name means, and how the files are read, is `atoll_udf_common::files`. Here they
//! come into the session, for quoted names and for CREATE EXTERNAL TABLE. A folder with the
//! log of a Delta table is that table.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use atoll_delta::{Source, Table};
use atoll_udf_common::files::{FileTable, Kind, Named};
use datafusion::catalog::{DynamicFileCatalog, TableProvider, UrlTableFactory};
use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::prelude::SessionContext;

use crate::sql::{At, split};
use crate::tables;

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
        let (text, at) = split(url);
        if let Some(table) = delta_table(text, at.as_ref()).await? {
            let source = match at {
                Some(_) => Source::version(table)?,
                None => Source::newest(table)?,
            };
            return Ok(Some(Arc::new(source)));
        }
        if let Some(at) = at {
            return match Named::of(None, text).await?.kind {
                Kind::Missing => Ok(None),
                _ => plan_err!("'{text}' has no versions: {at} is for Delta tables"),
            };
        }
        let table = FileTable::open(&session, None, url).await?;
        Ok(table.map(|table| Arc::new(table) as Arc<dyn TableProvider>))
    }
}

/// The Delta table of a folder, if it is one.
pub(crate) async fn delta_table(text: &str, at: Option<&At>) -> Result<Option<Table>> {
    let named = Named::of(None, text).await?;
    if !matches!(named.kind, Kind::Folder) {
        return Ok(None);
    }
    let folder = named.location()?;
    match at {
        Some(at) => Table::open_at(&folder, &tables::version(at)?).await,
        None => Table::open(&folder).await,
    }
}
