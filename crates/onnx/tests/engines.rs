//! What both engines promise, on the tiny models of `tests/data/models` and on a real one.
//!
//! Each test runs on every engine that is installed, and says which one is not.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::thread;

use atoll_onnx::{
    Bfloat16, Data, Error, FEATURES, Inference, LoadedModel, ModelFiles, Output,
    Precision, Provider, WantedTensors, openvino, runtime, weight_files,
};

const ORT: Inference = Inference::OnnxRuntime(Provider::Cpu);
const OPENVINO: Inference = Inference::OpenVino(Precision::Float32);

/// The engines that are installed.
fn engines() -> Vec<Inference> {
    let is_there = |inference: &Inference| {
        let found = match inference {
            Inference::OnnxRuntime(_) => runtime(),
            Inference::OpenVino(_) => openvino(),
        };
        match found {
            Ok(_) => true,
            Err(
                error @ (Error::RuntimeMissing { .. } | Error::OpenVinoMissing { .. }),
            ) => {
                eprintln!("skipped: {error}");
                false
            }
            Err(error) => panic!("{error}"),
        }
    };
    [ORT, OPENVINO].into_iter().filter(is_there).collect()
}

fn has_openvino() -> bool {
    engines().contains(&OPENVINO)
}

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data/models")
        .join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(path(name)).unwrap()
}

fn load(engine: Inference, name: &str) -> LoadedModel {
    LoadedModel::load_on(engine, name, &bytes(name)).unwrap()
}

fn with(engine: Inference, name: &str, wanted: &WantedTensors) -> LoadedModel {
    let read = || Ok::<_, Error>(ModelFiles::alone(bytes(name)));
    LoadedModel::load_from(engine, name, wanted, read).unwrap()
}

fn floats(values: &[f32]) -> Data {
    Data::Floats(values.to_vec())
}

fn named(inputs: &[(&str, Data)]) -> Vec<(String, Data)> {
    inputs
        .iter()
        .map(|(name, data)| (name.to_string(), data.clone()))
        .collect()
}

#[track_caller]
fn check(name: &str, inputs: &[(&str, Data)], expected: &[(&[usize], Data)]) {
    let expected: Vec<Output> = expected
        .iter()
        .map(|(shape, data)| Output {
            shape: shape.to_vec(),
            data: data.clone(),
        })
        .collect();
    for engine in engines() {
        let outputs = load(engine, name).run(named(inputs)).unwrap();
        assert_eq!(outputs, expected, "{name} on {engine}");
    }
}

#[track_caller]
fn check_error(name: &str, inputs: &[(&str, Data)], expected: &str) {
    for engine in engines() {
        let error = load(engine, name).run(named(inputs)).unwrap_err();
        assert_eq!(error.code(), "MODEL_INPUT_MISMATCH", "{engine}");
        assert_eq!(error.to_string(), expected, "{engine}");
    }
}

/// The small models that both engines run.
const MODELS: [&str; 26] = [
    "argmax.onnx",
    "bare_colours.onnx",
    "brain.onnx",
    "bytes.onnx",
    "colours.onnx",
    "double.onnx",
    "dynhw.onnx",
    "fixed_batch.onnx",
    "grid.onnx",
    "half.onnx",
    "hard_sigmoid.onnx",
    "identity.onnx",
    "independent.onnx",
    "log_softmax.onnx",
    "logit1.onnx",
    "mean1.onnx",
    "names.onnx",
    "phone.onnx",
    "pooled.onnx",
    "scalar.onnx",
    "sigmoid1.onnx",
    "softmax.onnx",
    "sorted.onnx",
    "twice.onnx",
    "two_inputs.onnx",
    "yes_or_no.onnx",
];

#[test]
fn signatures_and_metadata_are_the_same() {
    let engines = engines();
    let [first, others @ ..] = engines.as_slice() else {
        return;
    };
    for name in MODELS {
        let usual = load(*first, name);
        for engine in others {
            let model = load(*engine, name);
            assert_eq!(model.signature(), usual.signature(), "{name}");
            assert_eq!(model.metadata(), usual.metadata(), "{name}");
            assert_eq!(model.producer(), usual.producer(), "{name}");
            assert_eq!(model.opset(), usual.opset(), "{name}");
            assert_eq!(model.labels(), usual.labels(), "{name}");
            assert_eq!(model.sha256(), usual.sha256(), "{name}");
            assert_eq!(model.inference(), *engine);
        }
    }
}

/// Rows of numbers that are exact in float32 for every model with fixed rows.
#[test]
fn answers_are_the_same_up_to_rounding() {
    let engines = engines();
    let [first, others @ ..] = engines.as_slice() else {
        return;
    };
    for name in MODELS {
        let usual = load(*first, name);
        let row = |salt: usize| {
            let inputs = usual.signature().inputs.iter();
            let inputs = inputs.map(|port| {
                let len = port.row_len().unwrap_or(12);
                let number = |at: usize| ((at * 7 + salt * 3) % 11) as f32 - 4.0;
                let whole = |at: usize| ((at * 7 + salt * 3) % 11) as i64;
                let data = match port.element.is_float() {
                    true => Data::Floats((0..len).map(number).collect()),
                    false => Data::Integers((0..len).map(whole).collect()),
                };
                (port.name.clone(), data)
            });
            inputs.collect::<Vec<_>>()
        };
        for salt in 0..3 {
            // An open height and width cannot be told from a list of numbers.
            let Ok(expected) = usual.run(row(salt)) else {
                assert_eq!(name, "dynhw.onnx");
                continue;
            };
            for engine in others {
                let found = load(*engine, name).run(row(salt)).unwrap();
                assert_near(&found, &expected, &format!("{name} on {engine}"));
            }
        }
    }
}

#[track_caller]
fn assert_near(found: &[Output], expected: &[Output], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.shape, expected.shape, "{what}");
        let numbers = |output: &Output| output.data.clone().into_floats().unwrap();
        for (found, expected) in numbers(found).iter().zip(&numbers(expected)) {
            let allowed = 1e-5 * expected.abs().max(1.0);
            assert!(
                (found - expected).abs() <= allowed,
                "{what}: {found}, not {expected}"
            );
        }
    }
}

#[test]
fn element_types_go_in_and_come_out() {
    let row = floats(&[1.0, -2.0, 0.5]);
    check("identity.onnx", &[("x", row.clone())], &[(&[1, 3], row)]);
    check(
        "double.onnx",
        &[("x", floats(&[0.5, 2.0]))],
        &[(&[1, 2], Data::Doubles(vec![-0.5, -2.0]))],
    );
    check(
        "bytes.onnx",
        &[("x", Data::Integers(vec![0, 1, 254, 255]))],
        &[(&[1, 4], floats(&[0.0, 1.0, 254.0, 255.0]))],
    );
    check(
        "argmax.onnx",
        &[("x", floats(&[0.0, 9.0, 3.0, 1.0]))],
        &[(&[1, 1], Data::Integers(vec![1]))],
    );
    check(
        "scalar.onnx",
        &[("x", floats(&[2.0]))],
        &[(&[], floats(&[2.0]))],
    );
}

#[test]
fn inputs_go_by_name_and_outputs_come_in_order() {
    check(
        "two_inputs.onnx",
        &[("b", floats(&[3.0, 4.0])), ("a", floats(&[1.0, 2.0]))],
        &[
            (&[1, 2], floats(&[4.0, 6.0])),
            (&[1, 2], floats(&[3.0, 8.0])),
        ],
    );
}

#[test]
fn rows_of_any_length_follow_each_other() {
    for engine in engines() {
        let model = load(engine, "twice.onnx");
        for len in [5, 1, 3, 5] {
            let ids: Vec<i64> = (0..len).collect();
            let twice = ids.iter().map(|id| 2 * id).collect();
            let outputs = model.run(named(&[("ids", Data::Integers(ids))])).unwrap();
            assert_eq!(outputs[0].data, Data::Integers(twice), "{engine}");
        }
    }
}

#[test]
fn images_of_any_size_follow_each_other() {
    for engine in engines() {
        let model = load(engine, "dynhw.onnx");
        for (height, width) in [(2, 2), (3, 5), (2, 2)] {
            let numbers = vec![1.0; 3 * height * width];
            let outputs = model.run_image(&numbers, [3, height, width]).unwrap();
            assert_eq!(outputs[0].shape, [1, 3], "{engine}");
        }
    }
}

#[test]
fn a_fixed_mini_batch_answers_for_one_row() {
    check(
        "fixed_batch.onnx",
        &[("x", floats(&[1.0, 2.0, 3.0]))],
        &[(&[1, 1], floats(&[6.0]))],
    );
}

#[test]
fn rows_have_the_same_bits_in_any_mini_batch() {
    for engine in engines() {
        let model = load(engine, "two_inputs.onnx");
        let row = |at: usize| [at as f32 * 0.1, -1.0 / (at as f32 + 3.0)];
        let (a, b): (Vec<f32>, Vec<f32>) =
            (0..7).flat_map(row).map(|n| (n, n * 0.3)).unzip();
        let inputs = named(&[("a", floats(&a)), ("b", floats(&b))]);
        let together = model.run_rows(inputs, 7).unwrap();
        for (at, found) in together.iter().enumerate() {
            let part = |all: &[f32]| floats(&all[2 * at..2 * at + 2]);
            let alone = model.run(named(&[("a", part(&a)), ("b", part(&b))]));
            assert_eq!(found, &alone.unwrap(), "{engine}");
        }
    }
}

#[test]
fn tensors_inside_a_graph_are_given() {
    for engine in engines() {
        let own = load(engine, "pooled.onnx");
        let wanted = WantedTensors::Output(FEATURES.to_string());
        let model = with(engine, "pooled.onnx", &wanted);
        let image: Vec<f32> = (0..12).map(|n| n as f32).collect();
        let outputs = model.run_floats(&image).unwrap();
        let features = model.output_named(FEATURES).unwrap();
        assert_eq!(features, own.outputs().len(), "{engine}");
        assert_eq!(outputs.len(), features + 1, "{engine}");
        assert_eq!(outputs[..features], own.run_floats(&image).unwrap());
        let all = with(engine, "pooled.onnx", &WantedTensors::Tensors);
        assert!(!all.tensors().is_empty(), "{engine}");
    }
    let features = |engine| {
        let wanted = WantedTensors::Output(FEATURES.to_string());
        let model = with(engine, "pooled.onnx", &wanted);
        model.run_floats(&[0.5; 12]).unwrap()
    };
    if engines().len() == 2 {
        assert_near(&features(OPENVINO), &features(ORT), "pooled.onnx");
    }
}

#[test]
fn weights_may_be_in_another_file() {
    let model = bytes("external.onnx");
    let names = weight_files("external.onnx", &model).unwrap();
    let weights: BTreeMap<String, Arc<[u8]>> = names
        .into_iter()
        .map(|name| (name.clone(), Arc::from(bytes(&name))))
        .collect();
    let mut answers = vec![];
    for engine in engines() {
        let read = || {
            Ok::<_, Error>(ModelFiles {
                bytes: model.clone(),
                weights: weights.clone(),
            })
        };
        let wanted = WantedTensors::Outputs;
        let model = LoadedModel::load_from(engine, "external.onnx", &wanted, read);
        answers.push(model.unwrap().run_floats(&[1.0, 2.0, 3.0, 4.0]).unwrap());
    }
    if let [usual, other] = answers.as_slice() {
        assert_near(other, usual, "external.onnx");
    }
}

/// OpenVINO would open a file that a model names, wherever it is.
#[test]
fn a_model_that_names_a_file_elsewhere_is_refused() {
    for engine in engines() {
        for name in ["external_outside.onnx", "external_missing.onnx"] {
            let error = LoadedModel::load_on(engine, name, &bytes(name)).unwrap_err();
            assert_eq!(error.code(), "MODEL_INVALID", "{engine}: {error}");
        }
    }
}

#[test]
fn an_input_that_does_not_fit_is_named() {
    check_error(
        "identity.onnx",
        &[("x", floats(&[1.0, 2.0]))],
        "model identity.onnx: input x takes 3 numbers per row (float32 [?, 3]), got 2 \
         numbers",
    );
    check_error(
        "bytes.onnx",
        &[("x", Data::Integers(vec![0, 1, 2, 256]))],
        "model bytes.onnx: input x takes 4 numbers per row (uint8 [1, 4]), got 256, \
         which is no uint8",
    );
    check_error(
        "identity.onnx",
        &[],
        "model identity.onnx: input x takes 3 numbers per row (float32 [?, 3]), got \
         nothing",
    );
}

#[test]
fn a_file_that_is_no_model_is_an_error() {
    for engine in engines() {
        for (name, file) in [
            ("truncated.onnx", bytes("truncated.onnx")),
            ("empty.onnx", vec![]),
        ] {
            let error = LoadedModel::load_on(engine, name, &file).unwrap_err();
            assert_eq!(error.code(), "MODEL_INVALID", "{engine}: {error}");
            assert!(error.to_string().contains(name), "{engine}: {error}");
        }
    }
}

#[test]
fn threads_run_one_model_at_the_same_time_with_the_same_bits() {
    for engine in engines() {
        let model = load(engine, "colours.onnx");
        let image = |salt: usize| -> Vec<f32> {
            (0..12)
                .map(|at| ((at * 5 + salt) % 13) as f32 * 0.37)
                .collect()
        };
        let expected: Vec<_> = (0..16)
            .map(|n| model.run_floats(&image(n)).unwrap())
            .collect();
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    for (salt, expected) in expected.iter().enumerate().cycle().take(200)
                    {
                        let found = model.run_floats(&image(salt)).unwrap();
                        assert_eq!(&found, expected, "{engine}");
                    }
                });
            }
        });
    }
}

#[test]
fn an_engine_says_its_release_and_precision() {
    for engine in engines() {
        let text = engine.describe().unwrap();
        let expected = match engine {
            Inference::OnnxRuntime(_) => {
                format!("onnxruntime {} cpu", runtime().unwrap().version)
            }
            Inference::OpenVino(_) => {
                format!("openvino {} cpu float32", openvino().unwrap().version)
            }
        };
        assert!(text.ends_with(&expected), "{text}");
    }
}

/// What OpenVINO alone refuses, where another engine answers.
#[test]
fn what_openvino_lacks_is_named_with_the_other_engine() {
    if !has_openvino() {
        return;
    }
    let check = |name: &str, reason: &str| {
        let error = LoadedModel::load_on(OPENVINO, name, &bytes(name)).unwrap_err();
        assert_eq!(error.code(), "MODEL_INVALID");
        assert_eq!(
            error.to_string(),
            format!(
                "model {name} cannot be run by OpenVINO: {reason}; run it with SET \
                 atoll.inference = 'onnxruntime'"
            )
        );
    };
    check(
        "zipmap.onnx",
        "it does not have the operators ai.onnx.ml.LinearClassifier, ai.onnx.ml.ZipMap",
    );
    check(
        "words.onnx",
        "its text is text, and only numbers can be given to OpenVINO and taken from it",
    );
    check(
        "noshape.onnx",
        "Unexpected: CPU plug-in doesn't support Parameter operation with dynamic rank. \
         Operation name: x",
    );
}

/// It computes in 32 bits whatever the type, and would give another number.
#[test]
fn numbers_that_openvino_would_change_are_refused() {
    if !has_openvino() {
        return;
    }
    let check = |name: &str, input: &str, data: Data, number: &str| {
        let model = load(OPENVINO, name);
        let error = model.run(named(&[(input, data)])).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "model {name} failed: input {input} has {number}, and OpenVINO computes in \
                 32 bits; run it with SET atoll.inference = 'onnxruntime'"
            )
        );
    };
    check(
        "twice.onnx",
        "ids",
        Data::Integers(vec![1, 1 << 33]),
        "8589934592",
    );
    check(
        "double.onnx",
        "x",
        Data::Doubles(vec![0.5, 1e39]),
        &1e39_f64.to_string(),
    );
}

/// On a processor without bfloat16 the answers are those of float32, and are called that.
#[test]
fn bfloat16_is_called_what_it_is() {
    if !has_openvino() {
        return;
    }
    let bfloat16 = Inference::OpenVino(Precision::Bfloat16);
    let run = |engine| {
        let model = load(engine, "colours.onnx");
        let image: Vec<f32> = (0..12).map(|at| at as f32 * 0.371).collect();
        model.run_floats(&image).unwrap()
    };
    let text = bfloat16.describe().unwrap();
    match Bfloat16::of_this_processor().unwrap() {
        Bfloat16::Absent => {
            assert!(text.ends_with("cpu float32"), "{text}");
            assert_eq!(run(bfloat16), run(OPENVINO));
        }
        Bfloat16::Emulated | Bfloat16::Native => {
            assert!(text.ends_with("cpu bfloat16"), "{text}");
            assert_ne!(run(bfloat16), run(OPENVINO));
        }
    }
}
