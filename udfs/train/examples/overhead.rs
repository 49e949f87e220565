//! Measures what a trial costs beyond its arithmetic: 1,000 tiny networks through the SQL
//! function, on one thread, against the same trainings alone.
//!
//! Run: `cargo run --release -p atoll-udf-train --example overhead -- [TRIALS]`
#![expect(clippy::print_stdout, reason = "an example prints what it measured")]
#![expect(
    clippy::unwrap_used,
    reason = "an example that cannot go on has failed"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::num::NonZeroUsize;
use std::time::Instant;

use atoll_nn::{Dataset, Hyperparameters, ImageShape, Observer, Split};
use datafusion::arrow::array::{Array, AsArray};
use datafusion::arrow::datatypes::Int64Type;

struct Silent;
impl Observer for Silent {}

/// The training digits of the demo data, as `train` sees them.
async fn dataset(ctx: &datafusion::prelude::SessionContext) -> Dataset {
    let sql = format!(
        "SELECT image['data'] AS data, label FROM '{}' WHERE split = 'train'",
        common::digits()
    );
    let frame = ctx.clone().enable_url_table().sql(&sql).await.unwrap();
    let (mut pixels, mut labels) = (Vec::new(), Vec::new());
    for batch in frame.collect().await.unwrap() {
        let data = datafusion::arrow::compute::cast(
            batch.column(0),
            &datafusion::arrow::datatypes::DataType::Binary,
        );
        let data = data.unwrap();
        for row in 0..data.len() {
            pixels.extend_from_slice(data.as_binary::<i32>().value(row));
        }
        let label = datafusion::arrow::compute::cast(
            batch.column(1),
            &datafusion::arrow::datatypes::DataType::Int64,
        );
        let label = label.unwrap();
        labels.extend(
            label
                .as_primitive::<Int64Type>()
                .values()
                .iter()
                .map(|n| *n as u32),
        );
    }
    let shape = ImageShape {
        height: 8,
        width: 8,
        channels: 1,
    };
    let names = (0..10).map(|class| class.to_string()).collect();
    Dataset::new(shape, pixels, labels, names).unwrap()
}

#[tokio::main]
async fn main() {
    let trials = std::env::args()
        .nth(1)
        .map_or(1_000, |count| count.parse().unwrap());
    atoll_compute::pool::configure(NonZeroUsize::MIN);
    let storage = tempfile::tempdir().unwrap();
    let ctx = common::session(storage.path());
    let seeds: Vec<i64> = (0..trials).collect();
    let rows = seeds.len();

    let dataset = dataset(&ctx).await;
    let split = Split::by_fraction(dataset.len(), 0.1, 0).unwrap();
    let started = Instant::now();
    for seed in &seeds {
        let hyperparameters = Hyperparameters {
            architecture: "mlp".to_string(),
            hidden: Some(16),
            epochs: 1,
            seed: *seed as u64,
            ..Hyperparameters::default()
        };
        atoll_nn::train(&dataset, &split, &hyperparameters, &mut Silent).unwrap();
    }
    let alone = started.elapsed().as_secs_f64() * 1e3 / rows as f64;

    // The snapshot is taken once a statement, not once a trial.
    common::train(&ctx, &common::digits(), common::seeds(&[-1]), 1).await;
    let started = Instant::now();
    common::train(&ctx, &common::digits(), common::seeds(&seeds), rows).await;
    let through = started.elapsed().as_secs_f64() * 1e3 / rows as f64;
    let started = Instant::now();
    common::train(&ctx, &common::digits(), common::seeds(&seeds), rows).await;
    let again = started.elapsed().as_secs_f64() * 1e3 / rows as f64;
    println!("{rows} trials: {alone:.3} ms of training alone (export included)");
    println!(
        "through train(): {through:.3} ms, overhead {:.3} ms",
        through - alone
    );
    println!("found again: {again:.3} ms");
}
