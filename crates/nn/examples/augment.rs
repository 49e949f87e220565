//! Measures what augmentation costs, in microseconds per image.
//!
//! Run: `cargo run --release -p atoll-nn --example augment -- [SIDE]`
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]

use std::time::Instant;

use atoll_nn::{Dataset, Hyperparameters, ImageShape, Observer, Split, train};

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

/// The median of a step of 64 images, in microseconds per image.
fn measure(dataset: &Dataset, augmentation: &str) -> Result<f64, atoll_nn::Error> {
    let json = serde_json::json!({
        "architecture": "max_pool(14), dense(10)",
        "epochs": 20,
        "augmentation": serde_json::from_str::<serde_json::Value>(augmentation).unwrap_or_default(),
    });
    let map = json.as_object().cloned().unwrap_or_default();
    let hyperparameters = Hyperparameters::from_json(&map)?;
    let split = Split {
        train: (0..dataset.len() as u32).collect(),
        validation: vec![0],
    };
    let mut clock = Clock::default();
    train(dataset, &split, &hyperparameters, &mut clock)?;
    let pairs = clock.steps.windows(2);
    let mut seconds: Vec<_> = pairs
        .map(|pair| (pair[1] - pair[0]).as_secs_f64())
        .collect();
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2] * 1e6 / 64.0)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let side = std::env::args()
        .nth(1)
        .map_or(Ok(28), |side| side.parse())?;
    let shape = ImageShape {
        height: side,
        width: side,
        channels: 1,
    };
    let rows = 64 * 40;
    let pixels = (0..rows * shape.values())
        .map(|n| (n * 97 % 251) as u8)
        .collect();
    let labels = (0..rows as u32).map(|row| row % 10).collect();
    let names = (0..10).map(|class| class.to_string()).collect();
    let dataset = Dataset::new(shape, pixels, labels, names)?;
    let base = measure(&dataset, "null")?;
    println!("{side} x {side}, a step without augmentation: {base:.2} us per image");
    for augmentation in [
        r#"{"shift": 2}"#,
        r#"{"shift": 2, "rotate": 10, "scale": 0.1}"#,
        r#"{"shift": 2, "rotate": 10, "scale": 0.1, "elastic": 0.7}"#,
        r#"{"cutout": 8}"#,
    ] {
        let cost = measure(&dataset, augmentation)? - base;
        println!("{augmentation}: {cost:.2} us per image");
    }
    Ok(())
}
