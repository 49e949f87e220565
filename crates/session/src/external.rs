//! CREATE EXTERNAL TABLE over files whose names mean the same as everywhere.

use std::sync::Arc;

use async_trait::async_trait;
use atoll_delta::Source;
use atoll_udf_common::files::{
    Declared, FileTable, Kind, Named, partition_names, refuse_delta_table,
};
use atoll_udf_common::tables::state_of;
use atoll_udf_common::{AtollOptions, Location};
use datafusion::catalog::{Session, TableProvider, TableProviderFactory};
use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::CreateExternalTable;

use crate::files::delta_table;

/// Has the session make external tables in this way.
pub(crate) fn register(state: &mut SessionState) {
    let factories = state.table_factories_mut();
    for factory in factories.values_mut() {
        let inner = Arc::clone(factory);
        *factory = Arc::new(ExternalTables(inner));
    }
    factories.insert("DELTA".to_string(), Arc::new(DeltaTables));
}

/// `STORED AS DELTA`: the newest version of the table in a folder. The columns and
/// partitions are the log's to say.
#[derive(Debug)]
struct DeltaTables;

#[async_trait]
impl TableProviderFactory for DeltaTables {
    async fn create(
        &self,
        _: &dyn Session,
        create: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        let [location] = &create.locations[..] else {
            return plan_err!(
                "a Delta table has one LOCATION, got {}",
                create.locations.join(", ")
            );
        };
        if !create.schema.fields().is_empty() || !create.table_partition_cols.is_empty() {
            return plan_err!(
                "the log of the Delta table in '{location}' says what its columns and \
                 partitions are; leave them out"
            );
        }
        match delta_table(location, None).await? {
            Some(table) => Ok(Arc::new(Source::newest(table)?)),
            None => plan_err!(
                "there is no Delta table in '{location}'; COPY .. TO '{location}' STORED AS \
                 DELTA makes one"
            ),
        }
    }
}

/// DataFusion's factory, but for what it would not understand: partition columns with
/// NULL, and patterns.
#[derive(Debug)]
struct ExternalTables(Arc<dyn TableProviderFactory>);

#[async_trait]
impl TableProviderFactory for ExternalTables {
    async fn create(
        &self,
        state: &dyn Session,
        create: &CreateExternalTable,
    ) -> Result<Arc<dyn TableProvider>> {
        let mut create = create.clone();
        take_infer_rows(state, &mut create);
        let (mut has_pattern, mut folders) = (false, vec![]);
        for location in &mut create.locations {
            let named = Named::of(None, location).await?;
            match named.kind {
                Kind::Pattern(_) => has_pattern = true,
                Kind::File(_) => *location = named.location()?.url.to_string(),
                Kind::Folder => {
                    *location = named.location()?.folder_url().to_string();
                    folders.push(named);
                }
                // INSERT may write it.
                Kind::Missing if location.ends_with('/') => {
                    *location = Location::parse(location)?.folder_url().to_string();
                }
                Kind::Missing => *location = Location::parse(location)?.url.to_string(),
            }
        }
        if let ([folder], [_]) = (&folders[..], &create.locations[..])
            && create.table_partition_cols.is_empty()
            && create.schema.fields().is_empty()
        {
            create.table_partition_cols = partition_names(folder).await?;
        }
        if create.table_partition_cols.is_empty() && !has_pattern {
            if create.file_type.eq_ignore_ascii_case("parquet") {
                for folder in &folders {
                    refuse_delta_table(folder).await?;
                }
            }
            return self.0.create(state, &create).await;
        }
        let [location] = &create.locations[..] else {
            return plan_err!(
                "a table with a pattern or partition columns has one LOCATION, got {}",
                create.locations.join(", ")
            );
        };
        let session = state_of(state, "an external table")?;
        let Some(factory) = session.get_file_format_factory(&create.file_type) else {
            return plan_err!("no format is called {}", create.file_type);
        };
        let schema = Arc::clone(create.schema.inner());
        let declared = Declared {
            format: factory.create(session, &create.options)?,
            schema: (!schema.fields().is_empty()).then_some(schema),
            partition_by: create.table_partition_cols.clone(),
            defaults: create.column_defaults.clone(),
        };
        let table = FileTable::declared(session, location, declared).await?;
        Ok(Arc::new(table))
    }
}

/// Has `SET atoll.infer_rows` hold here too, unless the table has an option of its own.
fn take_infer_rows(state: &dyn Session, create: &mut CreateExternalTable) {
    let key = "format.schema_infer_max_rec";
    let is_text = matches!(
        create.file_type.to_ascii_uppercase().as_str(),
        "CSV" | "JSON" | "NDJSON"
    );
    if is_text && create.schema.fields().is_empty() {
        let rows = AtollOptions::get(state.config_options()).infer_rows;
        let option = create.options.entry(key.to_string());
        option.or_insert(rows.to_string());
    }
}
