//! Tables of the first version of Atoll: `table.json` names the folder with the rows.
//!
//! They are read as they are. The next CREATE OR REPLACE TABLE makes a Delta table of
//! them; nothing else changes them.

use std::sync::Arc;

use atoll_udf_common::Location;
use atoll_udf_common::files::Parquet;
use datafusion::catalog::TableProvider;
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::datasource::listing::{
    ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl,
};
use datafusion::execution::SessionState;
use object_store::ObjectStoreExt;
use serde::Deserialize;

/// The file that names the folder.
const FILE: &str = "table.json";

/// What `table.json` says.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Pointer {
    version: String,
    /// The folder of the rows before, which was kept for readers.
    previous: Option<String>,
}

impl Pointer {
    /// Reads the file of a table's folder; `None` if there is none.
    pub(super) async fn read(folder: &Location) -> Result<Option<Self>> {
        let file = folder.join(FILE)?;
        let bytes = match file.store.get(&file.path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match bytes {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| {
                let name = folder.path.filename().unwrap_or_default();
                exec_datafusion_err!("{file} is damaged: {error}; DROP TABLE {name}")
            }),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(file.error(error)),
        }
    }

    /// The rows.
    pub(super) async fn open(
        &self,
        session: &SessionState,
        folder: &Location,
    ) -> Result<Arc<dyn TableProvider>> {
        let rows = folder.join(&self.version)?;
        let url = ListingTableUrl::try_new(rows.folder_url(), None)?;
        let options = ListingOptions::new(Arc::new(Parquet::default()))
            .with_file_extension(".parquet");
        // The first file says what the columns are. INSERT kept their names and types, but
        // not how texts are laid out, which the engine would refuse to merge.
        let first = ListingTableUrl::parse(rows.join("part-0.parquet")?.url)?;
        let first = ListingTableConfig::new(first).with_listing_options(options.clone());
        let first = first.infer_schema(session).await?;
        let config = ListingTableConfig::new(url).with_listing_options(options);
        let config = match first.file_schema {
            Some(schema) => config.with_schema(schema),
            None => config.infer_schema(session).await?,
        };
        Ok(Arc::new(ListingTable::try_new(config)?))
    }

    /// Deletes the file and the rows, once a Delta table has taken their place.
    pub(super) async fn delete(&self, folder: &Location) -> Result<()> {
        let file = folder.join(FILE)?;
        let deleted = file.store.delete(&file.path).await;
        deleted.map_err(|error| file.error(error))?;
        let rows = [Some(&self.version), self.previous.as_ref()];
        for rows in rows.into_iter().flatten() {
            atoll_delta::delete(&folder.join(rows)?).await?;
        }
        Ok(())
    }
}
