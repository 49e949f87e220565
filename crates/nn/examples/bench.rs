//! Measures training speed: images per second of one trial on one core.
//!
//! Run: `cargo run --release -p atoll-nn --example bench -- [ARCHITECTURE] [SIDE]`

use std::time::Instant;

use atoll_nn::{Dataset, Hyperparameters, ImageShape, Observer, Split, engine, train};

/// Notes the time of each step.
#[derive(Default)]
struct Clock {
    steps: Vec<Instant>,
}

impl Observer for Clock {
    fn on_step(&mut self, _: usize, _: usize) {
        self.steps.push(Instant::now());
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let architecture = arguments.next().unwrap_or_else(|| "lenet".to_owned());
    let side: usize = arguments.next().map_or(Ok(28), |side| side.parse())?;
    let rows = 64 * 40;
    let shape = ImageShape {
        height: side,
        width: side,
        channels: 1,
    };
    let mut noise = 1_u32;
    let mut pixel = || {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (noise >> 24) as u8
    };
    let pixels = (0..rows * shape.values()).map(|_| pixel()).collect();
    let labels = (0..rows as u32).map(|row| row % 10).collect();
    let names = (0..10).map(|class| class.to_string()).collect();
    let dataset = Dataset::new(shape, pixels, labels, names)?;
    let split = Split {
        train: (0..rows as u32).collect(),
        validation: vec![0],
    };
    let hyperparameters = Hyperparameters {
        architecture,
        epochs: 1,
        weight_decay: 5e-4,
        ..Hyperparameters::default()
    };
    let mut clock = Clock::default();
    train(&dataset, &split, &hyperparameters, &mut clock)?;
    let mut seconds: Vec<_> = clock
        .steps
        .windows(2)
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    eprintln!(
        "{}: {} at {side} x {side}: {:.1} ms a step of 64 images, {:.0} images/s",
        engine(),
        hyperparameters.architecture,
        median * 1e3,
        64.0 / median
    );
    Ok(())
}
