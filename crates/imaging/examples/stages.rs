//! Measures the stages from the bytes of photos to tensors: CPU milliseconds an image.
//!
//! Run: `cargo run --release -p atoll-imaging --example stages -- FOLDER`
//!
//! Every stage includes those before it; the least of some passes counts, so that what
//! else the machine does matters little. Prints one JSON object.

use std::hint::black_box;
use std::path::PathBuf;

use atoll_imaging::{DecodeOptions, Preprocess, decode, info};

type AnyError = Box<dyn std::error::Error>;

const PASSES: usize = 7;

fn main() -> Result<(), AnyError> {
    let folder = std::env::args().nth(1).ok_or("name a folder of photos")?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_, std::io::Error>>()?;
    files.sort();
    let files: Vec<Vec<u8>> =
        files.iter().map(std::fs::read).collect::<Result<_, _>>()?;
    let settings = Preprocess::new(224, 224)?.with_options([
        ("resize", "shortest_side"),
        ("resize_size", "256"),
        ("interpolation", "bicubic"),
        ("crop", "center"),
        ("mean", "127"),
        ("std", "128"),
    ])?;
    let options = DecodeOptions::default();
    let decoded: Vec<_> = files
        .iter()
        .map(|file| decode(file, &options))
        .collect::<Result<_, _>>()?;
    let mut tensor = vec![0.0; settings.output_len()];

    let header = milliseconds(&files, |file| {
        black_box(info(file)?);
        Ok(())
    })?;
    let whole = milliseconds(&files, |file| {
        black_box(decode(file, &options)?);
        Ok(())
    })?;
    let resized = milliseconds(&decoded, |image| {
        settings.apply(image.as_ref(), &mut tensor)?;
        Ok(())
    })?;
    let all = milliseconds(&files, |file| {
        settings.apply_file(file, &options, &mut tensor)?;
        Ok(())
    })?;
    report(&[
        ("header", header),
        ("decode_whole", whole),
        ("resize_normalize", resized),
        ("file_to_tensor", all),
    ]);
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the measurement is what this program is for"
)]
fn report(stages: &[(&str, f64)]) {
    let stages: Vec<String> = stages
        .iter()
        .map(|(name, milliseconds)| format!("\"{name}_ms\": {milliseconds:.3}"))
        .collect();
    println!("{{{}}}", stages.join(", "));
}

fn milliseconds<T>(
    items: &[T],
    mut work: impl FnMut(&T) -> Result<(), AnyError>,
) -> Result<f64, AnyError> {
    let mut least = f64::INFINITY;
    for _ in 0..PASSES {
        let start = cpu_seconds()?;
        for item in items {
            work(item)?;
        }
        least = least.min(cpu_seconds()? - start);
    }
    Ok(least * 1e3 / items.len() as f64)
}

/// What this process computed so far; the clock on the wall where Linux is not.
fn cpu_seconds() -> Result<f64, AnyError> {
    match std::fs::read_to_string("/proc/self/schedstat") {
        Ok(text) => {
            let nanoseconds = text.split(' ').next().ok_or("no number in schedstat")?;
            Ok(nanoseconds.parse::<f64>()? / 1e9)
        }
        Err(_) => Ok(std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)?
            .as_secs_f64()),
    }
}
