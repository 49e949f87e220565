//! Damaged model files: an error or a model, never a panic.
//!
//! What is tested is our own reading of the file and the binding around ONNX Runtime.
//! `ATOLL_MUTATIONS` sets how many files are made, 400 where it is not set; the figures of
//! a run of 100,000 are in `benches/runs`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;

use atoll_onnx::{Data, ElementType, Error, LoadedModel, runtime, weight_files};

const MODELS: [&str; 12] = [
    "colours",
    "external",
    "log_softmax",
    "logit1",
    "names",
    "noshape",
    "phone",
    "sorted",
    "two_inputs",
    "words",
    "yes_or_no",
    "zipmap",
];

/// A generator of numbers that is the same everywhere (xorshift).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// A byte that is likely to mean something: a length, a tag, an end.
    fn byte(&mut self) -> u8 {
        const ODD: [u8; 12] = [0, 1, 2, 8, 10, 0x12, 0x3a, 0x7f, 0x80, 0xff, 0xfe, 0x0b];
        match self.below(2) {
            0 => ODD[self.below(ODD.len())],
            _ => self.next() as u8,
        }
    }

    /// Changes a byte, or changes, takes out, repeats or cuts off several. What is larger
    /// or smaller than it says is seldom a model, so most files keep their size.
    fn damage(&mut self, file: &mut Vec<u8>) {
        let changes = match self.below(4) {
            0 => 0..1 + self.below(5),
            _ => 0..1,
        };
        for _ in changes {
            if file.is_empty() {
                return;
            }
            let (at, byte) = (self.below(file.len()), self.byte());
            let end = (at + 1 + self.below(16)).min(file.len());
            match self.below(12) {
                0..=7 => file[at] = byte,
                8 => file.insert(at, byte),
                9 => drop(file.drain(at..end)),
                10 => {
                    let piece = file[at..end].to_vec();
                    let to = self.below(file.len());
                    file.splice(to..to, piece);
                }
                _ => file.truncate(at),
            }
        }
    }
}

fn bytes(name: &str) -> Vec<u8> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/models");
    std::fs::read(folder.join(name)).unwrap()
}

fn number(variable: &str, default: u64) -> u64 {
    let value = std::env::var(variable).ok();
    value.map_or(default, |value| value.parse().unwrap())
}

/// The damaged files, each from its own seed so that one can be made again.
fn files() -> impl Iterator<Item = (u64, Vec<u8>)> {
    let models = MODELS.map(|name| bytes(&format!("{name}.onnx")));
    let first = number("ATOLL_MUTATIONS_FROM", 0);
    (first..first + number("ATOLL_MUTATIONS", 400)).map(move |seed| {
        let mut numbers = Numbers(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        numbers.next();
        let mut file = models[numbers.below(models.len())].clone();
        numbers.damage(&mut file);
        (seed, file)
    })
}

#[test]
fn our_own_reading_of_a_damaged_file_never_panics() {
    let (mut read, mut refused) = (0, 0);
    for (_, file) in files() {
        match weight_files("damaged", &file) {
            Ok(_) => read += 1,
            Err(error) => {
                assert_eq!(error.code(), "MODEL_INVALID");
                refused += 1;
            }
        }
    }
    eprintln!("{read} read, {refused} refused");
    assert!(read > 0 && refused > 0);
}

/// A row that fits what the model says it takes, where that is small.
fn row(model: &LoadedModel) -> Option<Vec<(String, Data)>> {
    let ports = model.signature().inputs.iter();
    ports
        .map(|port| {
            let len = port.row_len().unwrap_or(4);
            let data = match port.element {
                ElementType::String => Data::Strings(vec!["a".to_string(); len.min(64)]),
                _ => Data::Floats(vec![1.0; len.min(4_096)]),
            };
            (len <= 4_096).then(|| (port.name.clone(), data))
        })
        .collect()
}

#[test]
fn a_damaged_file_is_an_error_or_a_model() {
    if let Err(error @ Error::RuntimeMissing { .. }) = runtime() {
        eprintln!("skipped: {error}");
        return;
    }
    let (mut ran, mut failed, mut refused) = (0, 0, 0);
    for (seed, file) in files() {
        if let Ok(path) = std::env::var("ATOLL_MUTATIONS_LOG") {
            std::fs::write(path, seed.to_string()).unwrap();
        }
        let model = match LoadedModel::load("damaged", &file) {
            Ok(model) => model,
            Err(error) => {
                assert_eq!(error.code(), "MODEL_INVALID", "seed {seed}: {error}");
                let text = error.to_string();
                let is_plain = !text.contains("onnxruntime") && !text.contains(".cc:");
                assert!(is_plain, "seed {seed}: {text}");
                refused += 1;
                continue;
            }
        };
        match row(&model).map(|row| model.run(row)) {
            Some(Ok(_)) => ran += 1,
            _ => failed += 1,
        }
    }
    eprintln!("{ran} ran, {failed} failed on a row, {refused} refused");
    assert!(ran > 0 && refused > 0);
}
