//! Measures decoding and preprocessing: images per second on one core.
//!
//! Run: `cargo run --release -p atoll-imaging --example speed -- FOLDER...`
//!
//! Prints one JSON object a way: the settings of EfficientNet-Lite0 (shortest side 256
//! bicubic with antialiasing, centre crop 224, normalised, NCHW) with every pixel
//! decoded and with scaled decoding, and the crate `image` alone.

use std::hint::black_box;
use std::time::Instant;

use atoll_imaging::{DecodeOptions, Preprocess};
use image::imageops::{self, FilterType};

type AnyError = Box<dyn std::error::Error>;

/// Every measurement is the median of this many passes over all files.
const PASSES: usize = 5;

fn main() -> Result<(), AnyError> {
    let mut files = Vec::new();
    for folder in std::env::args().skip(1) {
        for entry in std::fs::read_dir(folder)? {
            files.push(std::fs::read(entry?.path())?);
        }
    }
    let exact = Preprocess::new(224, 224)?.with_options([
        ("resize", "shortest_side"),
        ("resize_size", "256"),
        ("interpolation", "bicubic"),
        ("crop", "center"),
        ("mean", "127"),
        ("std", "128"),
        ("scaled_decode", "false"),
    ])?;
    let scaled = exact.clone().with_option("scaled_decode", "true")?;
    measure("atoll exact", &files, |file| ours(&exact, file))?;
    measure("atoll scaled", &files, |file| ours(&scaled, file))?;
    measure("image crate", &files, theirs)
}

fn ours(preprocess: &Preprocess, file: &[u8]) -> Result<Vec<f32>, AnyError> {
    let mut tensor = vec![0.0; preprocess.output_len()];
    preprocess.apply_file(file, &DecodeOptions::default(), &mut tensor)?;
    Ok(tensor)
}

/// What a Rust program without this crate would do, as short as it can be written.
fn theirs(file: &[u8]) -> Result<Vec<f32>, AnyError> {
    let photo = image::load_from_memory(file)?.to_rgb8();
    let (width, height) = photo.dimensions();
    let short = width.min(height);
    let (width, height) = (width * 256 / short, height * 256 / short);
    let resized = imageops::resize(&photo, width, height, FilterType::CatmullRom);
    let (left, top) = ((width - 224) / 2, (height - 224) / 2);
    let crop = imageops::crop_imm(&resized, left, top, 224, 224).to_image();
    let mut tensor = vec![0.0; 3 * 224 * 224];
    for (at, pixel) in crop.pixels().enumerate() {
        for (channel, value) in pixel.0.iter().enumerate() {
            tensor[channel * 224 * 224 + at] = (f32::from(*value) - 127.0) / 128.0;
        }
    }
    Ok(tensor)
}

#[expect(
    clippy::print_stdout,
    reason = "the measurement is what this program is for"
)]
fn measure(
    way: &str,
    files: &[Vec<u8>],
    work: impl Fn(&[u8]) -> Result<Vec<f32>, AnyError>,
) -> Result<(), AnyError> {
    let mut seconds = Vec::new();
    for _ in 0..PASSES {
        let start = Instant::now();
        for file in files {
            black_box(work(file)?);
        }
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let rate = files.len() as f64 / seconds[PASSES / 2];
    println!(
        r#"{{"way": "{way}", "files": {}, "images_per_second": {rate:.1}}}"#,
        files.len()
    );
    Ok(())
}
