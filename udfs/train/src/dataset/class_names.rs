//! What class indices are called, in the metadata of an Arrow schema.

use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Result, exec_datafusion_err};

/// The key of the class names, a list in JSON.
const CLASSES: &str = "atoll.class_names";

/// The names of the classes, if a schema says them.
pub(super) fn class_names(schema: &Schema) -> Option<Vec<String>> {
    serde_json::from_str(schema.metadata().get(CLASSES)?).ok()
}

/// Says in a schema what the classes are called.
pub(super) fn write_class_names(schema: &mut Schema, names: &[String]) -> Result<()> {
    let names = serde_json::to_string(names)
        .map_err(|error| exec_datafusion_err!("cannot write class names: {error}"))?;
    schema.metadata.insert(CLASSES.to_string(), names);
    Ok(())
}
