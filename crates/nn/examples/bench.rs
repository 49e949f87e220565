//! Measures training speed: images per second of one trial on one core.
//!
//! Run: `cargo run --release -p atoll-nn --example bench -- [--mnist FOLDER] [--threads N] [NETWORK..]`
//!
//! A network is `lenet`, `small`, `mlp`, `vgg` (all four if none is given) or an
//! architecture text. One line a network goes to stdout, its name and the images per
//! second; where the time goes is told on stderr.
//!
//! Without real images the pixels are those of random strokes: four of five are zero.
//! Times are of the thread's own CPU clock, so what else the machine does hardly matters.
//! With `--threads N` a trial has more threads, and times are those of the wall.
#![expect(clippy::print_stdout, reason = "a bench prints its results")]

use std::cell::Cell;
use std::error::Error;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use atoll_nn::{
    Dataset, Hyperparameters, ImageShape, Observer, Options, Split, engine, peak,
    profile, train_with,
};
use flate2::read::GzDecoder;
use nix::time::{ClockId, clock_gettime};

const BATCH: usize = 64;

/// Steps of a measurement.
const STEPS: usize = 100;

const REPETITIONS: usize = 5;

const SHAPE: ImageShape = ImageShape {
    height: 28,
    width: 28,
    channels: 1,
};

const NETWORKS: [(&str, &str); 4] = [
    ("lenet", "lenet"),
    (
        "small",
        "conv(8, 5), relu, max_pool(2), conv(16, 5), relu, max_pool(2), dense(64), relu, \
         dropout(0.5), dense(10)",
    ),
    ("mlp", "mlp"),
    (
        "vgg",
        "conv(32, 3), batch_norm, relu, conv(32, 3), batch_norm, relu, max_pool(2), \
         conv(64, 3), batch_norm, relu, conv(64, 3), batch_norm, relu, max_pool(2), \
         dense(128), relu, dense(10)",
    ),
];

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1).peekable();
    if arguments.next_if(|argument| argument == MEMORY).is_some() {
        return measure_memory(&arguments.next().unwrap_or_default());
    }
    let folder = arguments
        .next_if(|argument| argument == "--mnist")
        .and_then(|_| arguments.next());
    let (pixels, labels) = match folder {
        Some(folder) => mnist(Path::new(&folder))?,
        None => strokes(),
    };
    let names = (0..10).map(|class| class.to_string()).collect();
    let dataset = Dataset::new(SHAPE, pixels.clone(), labels, names)?;
    let peak = peak(&cpu_time);
    eprintln!("{}, peak {:.1} GFLOP/s", engine(), peak / 1e9);
    let threads = arguments
        .next_if(|argument| argument == "--threads")
        .and_then(|_| arguments.next());
    let threads = threads.map_or(Ok(1), |threads| threads.parse())?;
    let bench = |name: &str, architecture: &str| {
        bench(name, architecture, threads, &dataset, &pixels, peak)
    };
    let wanted: Vec<String> = arguments.collect();
    if wanted.is_empty() {
        for (name, architecture) in NETWORKS {
            bench(name, architecture)?;
        }
    }
    for name in wanted {
        let known = NETWORKS.iter().find(|network| network.0 == name);
        let architecture = known.map_or(name.as_str(), |network| network.1);
        bench(&name, architecture)?;
    }
    Ok(())
}

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    time_of(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn hyperparameters(architecture: &str) -> Hyperparameters {
    Hyperparameters {
        architecture: architecture.to_owned(),
        epochs: 1,
        learning_rate: 0.01,
        batch_size: BATCH as u32,
        ..Hyperparameters::default()
    }
}

fn bench(
    name: &str,
    architecture: &str,
    threads: usize,
    dataset: &Dataset,
    pixels: &[u8],
    peak: f64,
) -> Result<(), Box<dyn Error>> {
    let hyperparameters = hyperparameters(architecture);
    let mut seconds = Vec::new();
    for repetition in 0..REPETITIONS {
        let first = (repetition * STEPS * BATCH) % (dataset.len() - STEPS * BATCH + 1);
        let rows = first as u32..(first + STEPS * BATCH) as u32;
        let split = Split {
            train: rows.collect(),
            validation: vec![0],
        };
        let mut watch = Watch::new(if threads > 1 { wall_time } else { cpu_time });
        let options = Options {
            threads,
            ..Options::default()
        };
        train_with(dataset, &split, &hyperparameters, options, &mut watch)?;
        seconds.push(watch.per_step());
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    println!("{name} {:.0}", BATCH as f64 / median);

    let mini_batch = &pixels[..BATCH * SHAPE.values()];
    let clock: &dyn Fn() -> Duration = &cpu_time;
    let times = profile(&hyperparameters, (SHAPE, 10), mini_batch, 30, clock)?;
    let mut operations = 0.0;
    eprintln!("  {:40} {:>9} {:>9}  ms", "layer", "forward", "backward");
    for (index, layer) in times.layers.iter().enumerate() {
        // The first layer needs no gradient of its input.
        let products = if index == 0 { 2.0 } else { 3.0 };
        operations += products * 2.0 * layer.multiplications as f64 * BATCH as f64;
        let (forward, backward) = (layer.forward * 1e3, layer.backward * 1e3);
        eprintln!("  {:40} {forward:9.3} {backward:9.3}", layer.name);
    }
    eprintln!("  {:40} {:9.3}", "update", times.update * 1e3);
    let rate = operations / median;
    eprintln!(
        "  step {:.3} ms; {:.1} MFLOP an image by the definition, {:.1} GFLOP/s, {:.0} % of \
         the peak; {} MB of memory",
        median * 1e3,
        operations / BATCH as f64 / 1e6,
        rate / 1e9,
        100.0 * rate / peak,
        memory(architecture)?
    );
    Ok(())
}

fn wall_time() -> Duration {
    time_of(ClockId::CLOCK_MONOTONIC)
}

fn time_of(clock: ClockId) -> Duration {
    // Every Unix has these two clocks.
    clock_gettime(clock).map_or(Duration::ZERO, Duration::from)
}

/// Notes when the first and the last step ended.
struct Watch {
    clock: fn() -> Duration,
    first: Duration,
    last: Duration,
    steps: u32,
}

impl Watch {
    fn new(clock: fn() -> Duration) -> Self {
        Self {
            clock,
            first: Duration::ZERO,
            last: Duration::ZERO,
            steps: 0,
        }
    }

    fn per_step(&self) -> f64 {
        (self.last - self.first).as_secs_f64() / f64::from(self.steps - 1)
    }
}

impl Observer for Watch {
    fn on_step(&mut self, done: usize, _: usize) {
        if done == 1 {
            self.first = (self.clock)();
        }
        self.last = (self.clock)();
        self.steps = done as u32;
    }
}

/// Makes this program measure memory instead, in a process of its own.
const MEMORY: &str = "--memory";

/// What one trial needs beside the data, in megabytes.
fn memory(architecture: &str) -> Result<String, Box<dyn Error>> {
    let output = Command::new(std::env::current_exe()?)
        .args([MEMORY, architecture])
        .output()?;
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

fn measure_memory(architecture: &str) -> Result<(), Box<dyn Error>> {
    let hyperparameters = hyperparameters(architecture);
    let pixels = vec![1; BATCH * SHAPE.values()];
    let clock: &dyn Fn() -> Duration = &cpu_time;
    let before = resident()?;
    let bytes = Cell::new(0);
    let watch = || {
        bytes.set(bytes.get().max(resident().unwrap_or(0)));
        clock()
    };
    profile(&hyperparameters, (SHAPE, 10), &pixels, 1, &watch)?;
    println!("{:.1}", (bytes.get() - before) as f64 / 1e6);
    Ok(())
}

/// The memory that this process uses, in bytes.
fn resident() -> Result<usize, Box<dyn Error>> {
    let status = fs::read_to_string("/proc/self/statm")?;
    let pages = status.split(' ').nth(1).ok_or("statm has two numbers")?;
    Ok(pages.parse::<usize>()? * 4096)
}

/// The training images of MNIST, from its own files.
fn mnist(folder: &Path) -> Result<(Vec<u8>, Vec<u32>), Box<dyn Error>> {
    let read = |name: &str, header: usize| -> Result<Vec<u8>, Box<dyn Error>> {
        let mut bytes = Vec::new();
        GzDecoder::new(File::open(folder.join(name))?).read_to_end(&mut bytes)?;
        Ok(bytes.split_off(header))
    };
    let pixels = read("train-images-idx3-ubyte.gz", 16)?;
    let labels = read("train-labels-idx1-ubyte.gz", 8)?;
    Ok((pixels, labels.into_iter().map(u32::from).collect()))
}

/// Images of a few random strokes.
fn strokes() -> (Vec<u8>, Vec<u32>) {
    let rows = STEPS * BATCH;
    let mut state = 1_u32;
    let mut random = |limit: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        ((u64::from(state) * u64::from(limit)) >> 32) as usize
    };
    let mut pixels = vec![0; rows * SHAPE.values()];
    for image in pixels.chunks_exact_mut(SHAPE.values()) {
        for _ in 0..12 {
            let (y, x) = (4 + random(17), 4 + random(17));
            for step in 0..4 {
                let along = if random(2) == 0 { 28 } else { 1 };
                for pixel in 0..4 {
                    image[y * 28 + x + step + pixel * along] = 255;
                }
            }
        }
    }
    let labels = (0..rows as u32).map(|row| row % 10).collect();
    (pixels, labels)
}
