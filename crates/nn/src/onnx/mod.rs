//! A trained network as an ONNX file that any ONNX runtime reads.
//!
//! The file follows the usual contract, not this crate's memory order: images come in
//! NCHW order, convolutions are ordinary ones, and the first dense layer after an image
//! has its rows permuted to fit. Dropout does nothing at inference and is left out; a
//! batch norm after a layer with weights becomes part of them. Rows of numbers come as
//! they are, and a number comes out in its own units: scaling is part of the graph. Where
//! 32 bits would swallow what tells rows apart, the graph takes or gives DOUBLE instead of
//! FLOAT, scales that, and computes everything between with FLOAT.
//! Labels and preprocessing are in the metadata. The bytes are a function of the trial.

mod attention;
mod columns;
mod graph;
mod proto;

use prost::Message;

use crate::columns::{Column, ColumnKind};
use crate::network::Network;
use crate::scaling::Scaling;
use crate::{Dataset, Hyperparameters, ImageShape, LossKind, engine};

/// The name of ONNX's operators for machine learning, beside those for networks.
const MACHINE_LEARNING: &str = "ai.onnx.ml";

/// The ONNX file of a network. `radius` is how far the ends of an interval are from a number that
/// it predicts, if there is one.
pub(crate) fn export(
    network: &Network,
    dataset: &Dataset,
    (loss, radius): (LossKind, Option<f64>),
    scaling: &Scaling,
    hyperparameters: &Hyperparameters,
) -> Vec<u8> {
    let plan = network.plan();
    let class_names = dataset.labels.class_names();
    let mut metadata = if plan.flat {
        Vec::new()
    } else {
        preprocessing(plan.image)
    };
    if scaling.target.is_none() {
        // One class per line, so a name cannot have more than one.
        let labels: Vec<_> = class_names
            .iter()
            .map(|name| name.replace(['\r', '\n'], " "))
            .collect();
        // For whoever knows this key, names come back as they were.
        if labels != class_names
            && let Ok(json) = serde_json::to_string(class_names)
        {
            metadata.push(("labels.json", json));
        }
        metadata.push(("labels", labels.join("\n")));
        let kind = match loss {
            LossKind::BinaryCrossEntropy => "probabilities",
            _ => "logits",
        };
        metadata.push(("output.kind", kind.to_owned()));
    } else {
        metadata.push(("output.kind", "number".to_owned()));
    }
    if !dataset.columns.is_empty() {
        let columns: Vec<_> = dataset.columns.iter().map(described).collect();
        metadata.push((
            "atoll.columns",
            serde_json::Value::from(columns).to_string(),
        ));
    }
    // The hyperparameters are plain numbers and texts, whose serialisation cannot fail.
    if let Ok(json) = serde_json::to_string(hyperparameters) {
        metadata.push(("atoll.hyperparameters", json));
    }
    metadata.push(("atoll.engine", engine()));
    let entries = metadata
        .into_iter()
        .map(|(key, value)| proto::Entry {
            key: key.to_owned(),
            value,
        })
        .collect();
    let model = proto::Model {
        ir_version: 8,
        producer_name: "atoll".to_owned(),
        producer_version: env!("CARGO_PKG_VERSION").to_owned(),
        graph: Some(graph::graph(network, dataset, (loss, radius), scaling)),
        opset_import: operator_sets(&dataset.columns),
        metadata: entries,
    };
    model.encode_to_vec()
}

/// The sets of operators that a graph needs: that of machine learning for texts.
fn operator_sets(columns: &[Column]) -> Vec<proto::OperatorSet> {
    let set = |domain: &str, version| proto::OperatorSet {
        domain: domain.to_owned(),
        version,
    };
    let mut sets = vec![set("", 17)];
    if columns.iter().any(|column| column.texts().is_some()) {
        sets.push(set(MACHINE_LEARNING, 3));
    }
    sets
}

/// A column for whoever reads the metadata.
fn described(column: &Column) -> serde_json::Value {
    let (kind, values) = match &column.kind {
        ColumnKind::Number => ("number", None),
        ColumnKind::List(width) => ("list", Some(*width)),
        ColumnKind::Date => ("date", None),
        ColumnKind::Timestamp => ("timestamp", None),
        ColumnKind::Text(texts) => ("text", Some(texts.len())),
    };
    serde_json::json!({"name": column.name, "type": kind, "values": values})
}

/// What has to be done to an image: `(pixel * scale - mean) / std`, per channel.
fn preprocessing(image: ImageShape) -> Vec<(&'static str, String)> {
    let each_channel = |value: &str| vec![value; image.channels].join(",");
    let mut metadata = vec![
        ("image.layout", "NCHW".to_owned()),
        ("image.width", image.width.to_string()),
        ("image.height", image.height.to_string()),
        ("image.resize", "none".to_owned()),
        ("image.interpolation", "bilinear".to_owned()),
        ("image.antialias", "true".to_owned()),
        ("image.crop", "none".to_owned()),
        ("image.scale", "1".to_owned()),
        ("image.mean", each_channel("0")),
        ("image.std", each_channel("255")),
        ("image.mean_unit", each_channel("0")),
        ("image.std_unit", each_channel("1")),
    ];
    let color = match image.channels {
        1 => "L",
        3 => "RGB",
        4 => "RGBA",
        _ => return metadata,
    };
    metadata.push(("image.color", color.to_owned()));
    metadata
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::BATCH_NORM_EPSILON;

    fn network(architecture: &str, image: ImageShape) -> (Network, Hyperparameters) {
        let hyperparameters = Hyperparameters {
            architecture: architecture.to_owned(),
            ..Hyperparameters::default()
        };
        let plan = hyperparameters.plan(image, 2).unwrap();
        (Network::new(plan, 1, 1).unwrap(), hyperparameters)
    }

    fn dataset(image: ImageShape, names: [&str; 2]) -> Dataset {
        let pixels = vec![0; 2 * image.values()];
        let names = names.map(str::to_owned).to_vec();
        Dataset::new(image, pixels, vec![0, 1], names).unwrap()
    }

    fn decoded(architecture: &str, image: ImageShape) -> proto::Model {
        let (network, hyperparameters) = network(architecture, image);
        let dataset = dataset(image, ["cat", "two\nlines"]);
        let bytes = export(
            &network,
            &dataset,
            (LossKind::CrossEntropy, None),
            &Scaling::default(),
            &hyperparameters,
        );
        proto::Model::decode(bytes.as_slice()).unwrap()
    }

    #[test]
    fn metadata_says_how_to_prepare_an_image() {
        let model = decoded(
            "dense(2)",
            ImageShape {
                height: 4,
                width: 6,
                channels: 3,
            },
        );
        let value = |key: &str| {
            let entry = model
                .metadata
                .iter()
                .find(|entry| entry.key == key)
                .unwrap();
            entry.value.as_str()
        };
        assert_eq!(value("image.color"), "RGB");
        assert_eq!((value("image.width"), value("image.height")), ("6", "4"));
        assert_eq!(
            (value("image.mean"), value("image.std")),
            ("0,0,0", "255,255,255")
        );
        assert_eq!(value("labels"), "cat\ntwo lines");
        assert_eq!(value("labels.json"), r#"["cat","two\nlines"]"#);
        assert_eq!(value("atoll.engine"), engine());
        let json = serde_json::from_str(value("atoll.hyperparameters")).unwrap();
        let read = Hyperparameters::from_json(&json).unwrap();
        assert_eq!(read.architecture, "dense(2)");
    }

    #[test]
    fn the_signature_is_images_to_logits() {
        let model = decoded(
            "dense(2)",
            ImageShape {
                height: 4,
                width: 6,
                channels: 3,
            },
        );
        assert_eq!((model.ir_version, model.opset_import[0].version), (8, 17));
        let graph = model.graph.unwrap();
        let shape = |value: &proto::ValueInfo| {
            let tensor = value.kind.clone().unwrap().tensor.unwrap();
            let dimensions = tensor.shape.unwrap().dimensions;
            let text = |d: &proto::Dimension| {
                d.parameter
                    .clone()
                    .unwrap_or_else(|| d.value.unwrap().to_string())
            };
            dimensions.iter().map(text).collect::<Vec<_>>().join(" ")
        };
        let (input, output) = (&graph.inputs[0], &graph.outputs[0]);
        assert_eq!(
            (input.name.as_str(), shape(input)),
            ("input", "batch 3 4 6".into())
        );
        assert_eq!(
            (output.name.as_str(), shape(output)),
            ("logits", "batch 2".into())
        );
        assert_eq!(graph.nodes.last().unwrap().outputs, ["logits"]);
    }

    #[test]
    fn a_batch_norm_becomes_part_of_the_weights_before_it() {
        let image = ImageShape {
            height: 4,
            width: 4,
            channels: 1,
        };
        let operators = |architecture: &str| -> Vec<String> {
            let nodes = decoded(architecture, image).graph.unwrap().nodes;
            nodes.into_iter().map(|node| node.operator).collect()
        };
        assert_eq!(
            operators(
                "conv(3, 3), dropout(0.5), batch_norm, relu, dense(4), batch_norm, dense(2)"
            ),
            ["Conv", "Relu", "Flatten", "Gemm", "Gemm"]
        );
        // Here it scales pixels and places: there are no weights to become part of.
        assert_eq!(
            operators("batch_norm, conv(3, 3), flatten, batch_norm, dense(2)"),
            [
                "BatchNormalization",
                "Conv",
                "Flatten",
                "BatchNormalization",
                "Gemm"
            ]
        );
        let (mut network, hyperparameters) = network("dense(2), batch_norm", image);
        // Bias 33, scale 35, shift 37; mean 0 and variance 1 are the statistics.
        network.set_weights(|index| index as f32);
        let dataset = dataset(image, ["a", "b"]);
        let bytes = export(
            &network,
            &dataset,
            (LossKind::CrossEntropy, None),
            &Scaling::default(),
            &hyperparameters,
        );
        let model = proto::Model::decode(bytes.as_slice()).unwrap();
        let initializers = model.graph.unwrap().initializers;
        let bias = initializers.iter().find(|t| t.shape == [2]).unwrap();
        let value = f32::from_le_bytes(bias.raw[4..].try_into().unwrap());
        let expected = 33.0 * 35.0 / (1.0_f32 + BATCH_NORM_EPSILON).sqrt() + 37.0;
        assert!((value - expected).abs() < 1e-3, "{value} {expected}");
    }

    #[test]
    fn the_rows_after_an_image_are_put_into_nchw_order() {
        let image = ImageShape {
            height: 1,
            width: 2,
            channels: 3,
        };
        let (mut network, hyperparameters) = network("dense(2)", image);
        network.set_weights(|index| index as f32);
        let dataset = dataset(image, ["a", "b"]);
        let bytes = export(
            &network,
            &dataset,
            (LossKind::CrossEntropy, None),
            &Scaling::default(),
            &hyperparameters,
        );
        let graph = proto::Model::decode(bytes.as_slice())
            .unwrap()
            .graph
            .unwrap();
        let matrix = graph
            .initializers
            .iter()
            .find(|t| t.shape == [6, 2])
            .unwrap();
        let values: Vec<f32> = matrix
            .raw
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        let expected = [0, 1, 6, 7, 2, 3, 8, 9, 4, 5, 10, 11];
        assert_eq!(values, expected.map(|n| n as f32));
    }
}
