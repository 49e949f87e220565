//! What the metadata of an Arrow schema says of a dataset: what class indices are called, and
//! which backbone made the features.

use atoll_nn::{Column, ColumnKind, Dataset};
use datafusion::arrow::datatypes::Schema;
use datafusion::common::{Result, exec_datafusion_err};
use serde_json::{Value, json};

use super::Holds;

/// The key of the class names, a list in JSON.
const CLASSES: &str = "atoll.class_names";

/// The key under which the Parquet files of Hugging Face describe their columns, in JSON.
const HUGGING_FACE: &str = "huggingface";

/// The names of the classes of a label column, if a schema says them: as we write it, or as
/// a `ClassLabel` of Hugging Face's datasets.
pub(super) fn class_names(schema: &Schema, label: &str) -> Option<Vec<String>> {
    let metadata = schema.metadata();
    if let Some(names) = metadata.get(CLASSES) {
        return serde_json::from_str(names).ok();
    }
    let mut described: Value = serde_json::from_str(metadata.get(HUGGING_FACE)?).ok()?;
    let names = described.pointer_mut(&format!("/info/features/{label}/names"))?;
    serde_json::from_value(names.take()).ok()
}

/// Says in a schema what the classes are called.
pub(super) fn write_class_names(schema: &mut Schema, names: &[String]) -> Result<()> {
    let names = serde_json::to_string(names)
        .map_err(|error| exec_datafusion_err!("cannot write class names: {error}"))?;
    schema.metadata.insert(CLASSES.to_string(), names);
    Ok(())
}

/// The key of the name of features.
const FEATURES: &str = "atoll.features";

/// The name of the features that a schema's numbers are, if a backbone made them.
pub(super) fn features_name(schema: &Schema) -> Option<String> {
    schema.metadata().get(FEATURES).cloned()
}

/// Says in a schema which features its numbers are.
pub(super) fn write_features_name(schema: &mut Schema, name: &str) {
    schema
        .metadata
        .insert(FEATURES.to_string(), name.to_string());
}

/// The key of the name of the label column and of those columns that are moments, in JSON.
const COLUMNS: &str = "atoll.columns";

/// What a schema says of the columns of a snapshot, which lie in a struct: the name that the
/// label column had, and which columns are moments.
#[derive(Debug, Clone)]
pub(super) struct Described {
    pub(super) target: String,
    moments: Vec<String>,
}

impl Described {
    /// `None` where a schema says nothing of columns.
    pub(super) fn of(schema: &Schema) -> Option<Self> {
        let text = schema.metadata().get(COLUMNS)?;
        let described: Value = serde_json::from_str(text).ok()?;
        let moments = described["moments"].as_array().into_iter().flatten();
        let moments = moments.filter_map(|name| Some(name.as_str()?.to_string()));
        Some(Self {
            target: described["target"].as_str()?.to_string(),
            moments: moments.collect(),
        })
    }

    /// Says in a schema what the columns of a dataset are.
    pub(super) fn write(dataset: &Dataset, schema: &mut Schema) {
        let is_moment = |column: &&Column| column.kind == ColumnKind::Timestamp;
        let moments = dataset.columns.iter().filter(is_moment);
        let moments: Vec<&str> = moments.map(|column| column.name.as_str()).collect();
        let described = json!({"target": dataset.target, "moments": moments});
        schema
            .metadata
            .insert(COLUMNS.to_string(), described.to_string());
    }

    /// What a column holds that was read as the struct has it.
    pub(super) fn holds(&self, name: &str, read: Holds) -> Holds {
        match self.moments.iter().any(|moment| moment == name) {
            true => Holds::Timestamps,
            false => read,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn names_of_hugging_face_are_those_of_the_label() {
        let json = r#"{"info": {"features": {"image": {"_type": "Image"},
            "fine": {"names": ["a", "b"], "_type": "ClassLabel"}}}}"#;
        let metadata = HashMap::from([(HUGGING_FACE.to_string(), json.to_string())]);
        let schema = Schema::empty().with_metadata(metadata);
        let names = class_names(&schema, "fine").unwrap();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(class_names(&schema, "image"), None);
        assert_eq!(class_names(&schema, "label"), None);
    }
}
