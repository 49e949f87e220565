//! ONNX Runtime computes what the network computed, for every layer.
//!
//! Skipped with a printed reason where ONNX Runtime is not installed.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use atoll_nn::{
    Column, ColumnKind, Dataset, Hyperparameters, ImageShape, LossKind, Observer, Split,
    train,
};
use atoll_onnx::{Data, LoadedModel};

struct Silent;
impl Observer for Silent {}

/// Trains a small network on images of `side` and compares the logits of both.
#[track_caller]
fn check(side: usize, channels: usize, architecture: &str) {
    if let Err(error) = atoll_onnx::runtime() {
        eprintln!("skipped: {error}");
        return;
    }
    let dataset = noise_by_class(side, channels);
    let split = Split::by_fraction(dataset.len(), 0.25, 1).unwrap();
    let hyperparameters = Hyperparameters {
        architecture: architecture.to_owned(),
        epochs: 2,
        batch_size: 8,
        ..Hyperparameters::default()
    };
    let report = train(&dataset, &split, &hyperparameters, &mut Silent).unwrap();
    let ours = report.network.unwrap().logits(dataset.pixels()).unwrap();
    let model = LoadedModel::load(architecture, &report.onnx.unwrap()).unwrap();
    let input = model.single_input().unwrap().name.clone();
    let image = side * side * channels;
    for (pixels, ours) in dataset.pixels().chunks(image).zip(ours.chunks(4)) {
        let input = vec![(input.clone(), Data::Floats(planes(pixels, channels)))];
        let theirs = model
            .run(input)
            .unwrap()
            .remove(0)
            .data
            .into_floats()
            .unwrap();
        for (ours, theirs) in ours.iter().zip(theirs) {
            assert!(
                (ours - theirs).abs() < 1e-5 * (1.0 + ours.abs()),
                "{architecture}: {ours} {theirs}"
            );
        }
    }
}

/// Interleaved bytes as the planes of values in [0, 1] that the model takes.
fn planes(pixels: &[u8], channels: usize) -> Vec<f32> {
    (0..channels)
        .flat_map(|channel| pixels.iter().skip(channel).step_by(channels))
        .map(|byte| f32::from(*byte) / 255.0)
        .collect()
}

/// Noise that is brighter in one quarter, by class.
fn noise_by_class(side: usize, channels: usize) -> Dataset {
    let mut noise = 1_u32;
    let mut pixels = Vec::new();
    let labels: Vec<u32> = (0..48).map(|row| row % 4).collect();
    for label in &labels {
        for n in 0..side * side * channels {
            let (y, x) = (n / channels / side, n / channels % side);
            let quarter = u32::from(y > side / 2) * 2 + u32::from(x > side / 2);
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let bright = if quarter == *label { 120 } else { 0 };
            pixels.push(u8::try_from(noise >> 25).unwrap() + bright);
        }
    }
    let names = ["one", "two", "three", "four"].map(str::to_owned).to_vec();
    let shape = ImageShape {
        height: side,
        width: side,
        channels,
    };
    Dataset::new(shape, pixels, labels, names).unwrap()
}

#[test]
fn the_network_of_the_article() {
    check(28, 1, "lenet");
}

#[test]
fn a_perceptron_on_colour() {
    check(8, 3, "mlp");
}

#[test]
fn strides_batch_norm_and_dropout() {
    check(
        9,
        3,
        "conv(6, 3, stride: 2), batch_norm, relu, conv(5, 4, padding: valid), gelu, \
         dense(12), tanh, dropout(0.2), dense(4)",
    );
}

/// Folded into the layers before them at export, where those have weights.
#[test]
fn batch_norms_before_activations_and_after_dropout() {
    check(
        8,
        3,
        "conv(6, 3), batch_norm, relu, conv(6, 3), dropout(0.1), batch_norm, max_pool(2), \
         dense(16), batch_norm, relu, dense(4), batch_norm",
    );
}

#[test]
fn every_pooling() {
    check(
        11,
        3,
        "conv(4, 2), sigmoid, avg_pool(3, stride: 2), conv(6, 1), relu, \
         max_pool(2, stride: 3), flatten, batch_norm, gelu, dense(4)",
    );
}

#[test]
fn convolutions_only() {
    check(7, 1, "conv(8, 3), tanh, conv(4, 3), global_avg_pool");
}

#[test]
fn a_global_average_before_the_classifier() {
    check(6, 3, "conv(8, 5), relu, global_avg_pool, dense(4)");
}

#[test]
fn a_linear_model() {
    check(5, 3, "flatten, dense(4)");
}

#[test]
fn groups_and_single_channels() {
    check(
        9,
        3,
        "conv(8, 3), relu, conv(12, 3, stride: 2, groups: 4), batch_norm, relu, \
         depthwise_conv(3, stride: 2), batch_norm, relu, conv(6, 1), depthwise_conv(2), \
         relu, max_pool(2), dense(4)",
    );
}

#[test]
fn attention_over_patches_and_numbers() {
    check(
        6,
        3,
        "patches(2, 8), positions, residual(layer_norm, attention(2)), \
         residual(layer_norm, conv(12, 1), gelu, conv(8, 1)), layer_norm, dense(4)",
    );
    check(
        6,
        3,
        "conv(6, 3), batch_norm, relu, attention(3), max_pool(2), flatten, tokens(4), \
         positions, attention(1), conv1d(4, 3), relu, dense(4)",
    );
    check(8, 3, "vit_tiny");
}

#[test]
fn residual_blocks() {
    check(
        8,
        3,
        "conv(6, 3), batch_norm, leaky_relu, residual(conv(6, 3), batch_norm, relu, \
         conv(6, 3), batch_norm), relu, residual(conv(8, 3, stride: 2), batch_norm, silu, \
         residual(conv(8, 3), dropout(0.2))), global_avg_pool, dense(4)",
    );
    check(6, 3, "resnet8");
}

#[test]
fn inverted_residual_blocks() {
    check(9, 3, "mobilenet");
}

#[test]
fn layers_along_a_series() {
    check(
        6,
        3,
        "flatten, conv1d(5, 4, stride: 2), batch_norm, relu, max_pool1d(3, stride: 2), \
         layer_norm, conv1d(4, 3, padding: valid), gelu, global_avg_pool, layer_norm, dense(4)",
    );
    check(
        6,
        3,
        "conv(4, 3), layer_norm, relu, flatten, layer_norm, dense(4)",
    );
}

#[test]
fn residual_blocks_of_rows() {
    check(
        5,
        3,
        "flatten, residual(batch_norm, dense(20), relu, dense(75)), dense(4)",
    );
    check(5, 3, "tabular_resnet");
}

/// A table of all kinds of columns, with gaps.
struct Mixed {
    few: Vec<String>,
    many: Vec<String>,
    /// Day, few, many, number, pair and moment of each row.
    values: Vec<[f64; 7]>,
    labels: Vec<f64>,
}

impl Mixed {
    fn new(rows: usize) -> Self {
        let gap = |row: usize, every: usize, value: f64| match row.is_multiple_of(every) {
            true => f64::NAN,
            false => value,
        };
        let values = |row: usize| {
            let n = row as f64;
            [
                gap(row, 11, 19_000.0 + 3.0 * n),
                gap(row, 7, (row % 3) as f64),
                gap(row, 13, (row * 7 % 40) as f64),
                gap(row, 5, n * 0.25 - 20.0),
                n % 4.0,
                -n,
                19_000.0 + n / 24.0,
            ]
        };
        let label = |n: usize| (n % 3) as f64 * 10.0 + (n % 40) as f64;
        Self {
            few: ["a", "b", "c"].map(str::to_owned).to_vec(),
            many: (0..40).map(|n| format!("t{n:02}")).collect(),
            values: (0..rows).map(values).collect(),
            labels: (0..rows).map(label).collect(),
        }
    }

    fn dataset(&self) -> Dataset {
        let column = |name: &str, kind| Column::new(name.to_owned(), kind);
        let columns = vec![
            column("day", ColumnKind::Date),
            column("few", ColumnKind::Text(self.few.clone())),
            column("many", ColumnKind::Text(self.many.clone())),
            column("network/x", ColumnKind::Number),
            column("pair", ColumnKind::List(2)),
            column("when", ColumnKind::Timestamp),
        ];
        let labels = atoll_nn::Labels::Numbers(self.labels.clone());
        let values = self.values.concat();
        Dataset::of_columns(columns, values, labels, "price".to_owned()).unwrap()
    }

    /// What a model is given for these rows, in an order of its own.
    fn inputs(&self, rows: &[u32]) -> Vec<(String, Data)> {
        let rows = || rows.iter().map(|row| self.values[*row as usize]);
        let numbers = |at: usize, width: usize| {
            let numbers = rows().flat_map(|row| row[at..at + width].to_vec());
            Data::Doubles(numbers.collect())
        };
        let text = |at: usize, texts: &[String]| {
            let text = |row: [f64; 7]| match row[at].is_nan() {
                true => String::new(),
                false => texts[row[at] as usize].clone(),
            };
            Data::Strings(rows().map(text).collect())
        };
        vec![
            ("when".to_owned(), numbers(6, 1)),
            ("few".to_owned(), text(1, &self.few)),
            ("many".to_owned(), text(2, &self.many)),
            ("day".to_owned(), numbers(0, 1)),
            ("network/x".to_owned(), numbers(3, 1)),
            ("pair".to_owned(), numbers(4, 2)),
        ]
    }
}

/// By the names of its columns, what the model answers has the loss that training found.
#[track_caller]
fn check_columns(embedding: Option<u32>, loss: LossKind) {
    if let Err(error) = atoll_onnx::runtime() {
        eprintln!("skipped: {error}");
        return;
    }
    let mixed = Mixed::new(200);
    let split = Split::by_fraction(200, 0.25, 1).unwrap();
    let hyperparameters = Hyperparameters {
        architecture: "dense(8), tanh, dense(1)".to_owned(),
        epochs: 5,
        batch_size: 16,
        loss: Some(loss),
        embedding,
        ..Hyperparameters::default()
    };
    let dataset = mixed.dataset();
    let report = train(&dataset, &split, &hyperparameters, &mut Silent).unwrap();
    let model = LoadedModel::load("columns", &report.onnx.unwrap()).unwrap();
    assert_eq!(model.outputs().next().unwrap().name, "price");
    let inputs = mixed.inputs(&split.validation);
    let outputs = model.run_rows(inputs, split.validation.len()).unwrap();
    let trained = split.train.iter().map(|row| mixed.labels[*row as usize]);
    let mean = trained.sum::<f64>() / split.train.len() as f64;
    let errors = outputs
        .into_iter()
        .zip(&split.validation)
        .map(|(outputs, row)| {
            let output = outputs.into_iter().next().unwrap();
            let output = f64::from(output.data.into_floats().unwrap()[0]);
            let label = mixed.labels[*row as usize];
            match loss {
                LossKind::Poisson => output - label * (output / mean).ln(),
                LossKind::Mae => (output - label).abs(),
                _ => (output - label).powi(2),
            }
        });
    let found = errors.sum::<f64>() / split.validation.len() as f64;
    let error = (found / report.validation_loss - 1.0).abs();
    assert!(
        error < 1e-3,
        "{embedding:?}: {found} {}",
        report.validation_loss
    );
}

#[test]
fn columns_by_name() {
    check_columns(None, LossKind::Mse);
    check_columns(Some(0), LossKind::Mae);
    check_columns(Some(4), LossKind::Poisson);
}

/// Takes rows as the data has them and gives numbers in their own units.
#[test]
fn numbers_in_and_a_number_out() {
    if let Err(error) = atoll_onnx::runtime() {
        eprintln!("skipped: {error}");
        return;
    }
    let rows = 60_u16;
    let numbers: Vec<f64> = (0..rows)
        .flat_map(|n| [f64::from(n % 7) * 100.0, f64::from(n) - 1_000.0])
        .collect();
    let labels: Vec<f64> = (0..rows)
        .map(|n| f64::from(n % 7) * 1e6 + f64::from(n) * 1e4)
        .collect();
    let numbers_too = numbers.clone();
    let dataset =
        Dataset::of_numbers(2, numbers, atoll_nn::Labels::Numbers(labels.clone()))
            .unwrap();
    let split = Split::by_fraction(60, 0.25, 1).unwrap();
    let hyperparameters = Hyperparameters {
        architecture: "dense(8), batch_norm, tanh, dense(1)".to_owned(),
        epochs: 5,
        batch_size: 8,
        ..Hyperparameters::default()
    };
    let report = train(&dataset, &split, &hyperparameters, &mut Silent).unwrap();
    let model = LoadedModel::load("numbers", &report.onnx.unwrap()).unwrap();
    let input = model.single_input().unwrap().name.clone();
    let errors = split.validation.iter().map(|&row| {
        let row = row as usize;
        let numbers = numbers_too[2 * row..2 * row + 2].to_vec();
        let outputs = model
            .run(vec![(input.clone(), Data::Doubles(numbers))])
            .unwrap();
        let output = outputs.into_iter().next().unwrap();
        assert_eq!(output.shape, [1, 1]);
        (f64::from(output.data.into_floats().unwrap()[0]) - labels[row]).powi(2)
    });
    let loss = errors.sum::<f64>() / split.validation.len() as f64;
    let error = (loss / report.validation_loss - 1.0).abs();
    assert!(error < 1e-3, "{loss} {}", report.validation_loss);
}

/// Nine of ten validation rows lie in the interval, and one is its end.
#[test]
fn an_interval_around_a_number() {
    if let Err(error) = atoll_onnx::runtime() {
        eprintln!("skipped: {error}");
        return;
    }
    let numbers: Vec<f64> = (0..400).map(f64::from).collect();
    let labels: Vec<f64> = (0..400).map(|n| f64::from(2 * n + n * 37 % 101)).collect();
    let too = atoll_nn::Labels::Numbers(labels.clone());
    let dataset = Dataset::of_numbers(1, numbers.clone(), too).unwrap();
    let split = Split::by_fraction(400, 0.25, 1).unwrap();
    let hyperparameters = Hyperparameters {
        architecture: "dense(1)".to_owned(),
        epochs: 5,
        interval: Some(0.9),
        ..Hyperparameters::default()
    };
    let report = train(&dataset, &split, &hyperparameters, &mut Silent).unwrap();
    let model = LoadedModel::load("interval", &report.onnx.unwrap()).unwrap();
    let names: Vec<&str> = model.outputs().map(|port| port.name.as_str()).collect();
    assert_eq!(names, ["prediction", "prediction_low", "prediction_high"]);
    let inside = split.validation.iter().filter(|row| {
        let row = **row as usize;
        let outputs = model.run_floats(&[numbers[row] as f32]).unwrap();
        let ends = outputs
            .into_iter()
            .skip(1)
            .map(|output| output.data.into_floats());
        let ends: Vec<f32> = ends.flatten().flatten().collect();
        ends[0] - 1e-3 <= labels[row] as f32 && labels[row] as f32 <= ends[1] + 1e-3
    });
    // ceil(101 * 0.9) of 100.
    assert_eq!(inside.count(), 91);
    let few = Split::by_fraction(20, 0.25, 1).unwrap();
    let error = train(&dataset, &few, &hyperparameters, &mut Silent).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("needs more rows that validate than 5"),
        "{error}"
    );
}

/// 32 bits tell neither the features nor the labels apart.
#[test]
fn doubles_in_and_a_double_out() {
    if let Err(error) = atoll_onnx::runtime() {
        eprintln!("skipped: {error}");
        return;
    }
    let numbers: Vec<f64> = (0..60).map(|n| 1_700_000_000.0 + f64::from(n)).collect();
    let labels: Vec<f64> = (0..60).map(|n| 1e9 + 3.0 * f64::from(n)).collect();
    let too = atoll_nn::Labels::Numbers(labels.clone());
    let dataset = Dataset::of_numbers(1, numbers.clone(), too).unwrap();
    let split = Split::by_fraction(60, 0.25, 1).unwrap();
    let hyperparameters = Hyperparameters {
        architecture: "dense(1)".to_owned(),
        epochs: 50,
        batch_size: 8,
        learning_rate: 0.05,
        ..Hyperparameters::default()
    };
    let report = train(&dataset, &split, &hyperparameters, &mut Silent).unwrap();
    let model = LoadedModel::load("doubles", &report.onnx.unwrap()).unwrap();
    let input = model.single_input().unwrap();
    assert_eq!(input.element, atoll_onnx::ElementType::Float64);
    for (number, label) in numbers.iter().zip(&labels) {
        let given = vec![(input.name.clone(), Data::Doubles(vec![*number]))];
        let output = model.run(given).unwrap().remove(0);
        let Data::Doubles(predictions) = output.data else {
            panic!("not DOUBLE: {output:?}");
        };
        assert!(
            (predictions[0] - label).abs() < 1.0,
            "{predictions:?} {label}"
        );
    }
}
