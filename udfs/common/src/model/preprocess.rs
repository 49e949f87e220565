//! How an image becomes the input of a model.

use std::collections::BTreeMap;

use atoll_imaging::Preprocess;
use atoll_onnx::{LoadedModel, Port};

use super::ModelFailure;

/// Preprocessing from the model's metadata, overridden by what a call gives, under the keys
/// of the metadata.
pub fn preprocess(
    model: &LoadedModel,
    given: &BTreeMap<String, String>,
) -> Result<Option<Preprocess>, ModelFailure> {
    if given.is_empty() {
        return Ok(model.preprocess()?);
    }
    // The shape of the input says what the query need not repeat.
    let mut entries = match model.signature().inputs.as_slice() {
        [port] => from_shape(port),
        _ => BTreeMap::new(),
    };
    entries.extend(model.metadata().clone());
    entries.extend(given.clone());
    Ok(Preprocess::from_metadata(&entries)?)
}

/// Layout, size and colour of an input with the shape of an image.
fn from_shape(port: &Port) -> BTreeMap<String, String> {
    let Some([_, a, b, c]) = port.shape.as_deref() else {
        return BTreeMap::new();
    };
    let channels = |dim: &Option<usize>| matches!(dim, Some(1 | 3));
    let (layout, height, width, channels) = if channels(a) {
        ("NCHW", b, c, a)
    } else if channels(c) {
        ("NHWC", a, b, c)
    } else {
        return BTreeMap::new();
    };
    let color = if *channels == Some(1) { "L" } else { "RGB" };
    let mut entries = BTreeMap::from([
        ("image.layout".to_string(), layout.to_string()),
        ("image.color".to_string(), color.to_string()),
    ]);
    for (key, dim) in [("image.height", height), ("image.width", width)] {
        if let Some(dim) = dim {
            entries.insert(key.to_string(), dim.to_string());
        }
    }
    entries
}
