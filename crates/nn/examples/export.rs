//! Trains one small network per architecture and writes, for each, the ONNX file, raw
//! pixels (bytes, NHWC) and this crate's logits (little-endian float32), so that another
//! runtime can be compared with it.
//!
//! Run: `cargo run -p atoll-nn --example export -- FOLDER`

use std::path::PathBuf;

use atoll_nn::{Dataset, Error, Hyperparameters, ImageShape, Observer, Split, train};

/// Name, side of the image, channels, architecture: together they use every layer.
const ARCHITECTURES: &[(&str, usize, usize, &str)] = &[
    ("lenet", 28, 1, "lenet"),
    ("mlp", 8, 3, "mlp"),
    (
        "strided",
        9,
        3,
        "conv(6, 3, stride: 2), batch_norm, relu, conv(5, 4, padding: valid), gelu, \
         dense(12), tanh, dropout(0.2), dense(4)",
    ),
    (
        "pools",
        11,
        3,
        "conv(4, 2), sigmoid, avg_pool(3, stride: 2), conv(6, 1), relu, max_pool(2, stride: 3), \
         flatten, batch_norm, gelu, dense(4)",
    ),
    (
        "all_conv",
        7,
        1,
        "conv(8, 3), tanh, conv(4, 3), global_avg_pool",
    ),
    (
        "global",
        6,
        3,
        "conv(8, 5), relu, global_avg_pool, dense(4)",
    ),
    ("linear", 5, 3, "flatten, dense(4)"),
];

struct Silent;
impl Observer for Silent {}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: export FOLDER")?;
    let folder = PathBuf::from(folder);
    std::fs::create_dir_all(&folder)?;
    for (name, side, channels, architecture) in ARCHITECTURES {
        let dataset = dataset(*side, *channels)?;
        let split = Split::by_fraction(dataset.len(), 0.25, 1)?;
        let hyperparameters = Hyperparameters {
            architecture: (*architecture).to_owned(),
            epochs: 2,
            batch_size: 8,
            ..Hyperparameters::default()
        };
        let report = train(&dataset, &split, &hyperparameters, &mut Silent)?;
        let (Some(onnx), Some(mut network)) = (report.onnx, report.network) else {
            return Err(format!("{name} diverged").into());
        };
        let logits = network.logits(&dataset.pixels)?;
        let logits: Vec<u8> = logits
            .iter()
            .flat_map(|logit| logit.to_le_bytes())
            .collect();
        std::fs::write(folder.join(format!("{name}.onnx")), onnx)?;
        std::fs::write(folder.join(format!("{name}.pixels")), &dataset.pixels)?;
        std::fs::write(folder.join(format!("{name}.logits")), logits)?;
    }
    Ok(())
}

/// Noise that is brighter in one quarter, by class.
fn dataset(side: usize, channels: usize) -> Result<Dataset, Error> {
    let mut noise = 1_u32;
    let mut pixels = Vec::new();
    let labels: Vec<u32> = (0..48).map(|row| row % 4).collect();
    for label in &labels {
        for n in 0..side * side * channels {
            let (y, x) = (n / channels / side, n / channels % side);
            let quarter = u32::from(y > side / 2) * 2 + u32::from(x > side / 2);
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            pixels.push((noise >> 25) as u8 + if quarter == *label { 120 } else { 0 });
        }
    }
    let names = ["one", "two", "three", "four"].map(str::to_owned).to_vec();
    Dataset::new(
        ImageShape {
            height: side,
            width: side,
            channels,
        },
        pixels,
        labels,
        names,
    )
}
