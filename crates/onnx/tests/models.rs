//! The tiny models of `tests/data/models`, each made for one fact.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::sync::{Arc, Barrier};
use std::thread;

use atoll_onnx::{
    Availability, Data, ElementType, Error, Inference, LoadedModel, ModelFiles, Output,
    OutputKind, Provider, WantedTensors, runtime, weight_files,
};

fn bytes(name: &str) -> Vec<u8> {
    let folder =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/models");
    std::fs::read(folder.join(name)).unwrap()
}

/// A model by file name, or `None` where ONNX Runtime is not installed.
fn load(name: &str) -> Option<Result<LoadedModel, Error>> {
    if let Err(error @ Error::RuntimeMissing { .. }) = runtime() {
        eprintln!("skipped: {error}");
        return None;
    }
    Some(LoadedModel::load(name, &bytes(name)))
}

/// Runs one row and returns its outputs.
fn run(name: &str, inputs: &[(&str, Data)]) -> Option<Result<Vec<Output>, Error>> {
    let model = load(name)?.unwrap();
    let inputs = inputs
        .iter()
        .map(|(name, data)| (name.to_string(), data.clone()));
    Some(model.run(inputs.collect()))
}

#[track_caller]
fn check(name: &str, inputs: &[(&str, Data)], expected: &[(&[usize], Data)]) {
    let Some(outputs) = run(name, inputs) else {
        return;
    };
    let expected: Vec<Output> = expected
        .iter()
        .map(|(shape, data)| Output {
            shape: shape.to_vec(),
            data: data.clone(),
        })
        .collect();
    assert_eq!(outputs.unwrap(), expected, "{name}");
}

#[track_caller]
fn check_error(name: &str, inputs: &[(&str, Data)], code: &str, expected: &str) {
    let Some(outputs) = run(name, inputs) else {
        return;
    };
    let error = outputs.unwrap_err();
    assert_eq!(error.code(), code, "{error}");
    assert_eq!(error.to_string(), expected);
}

fn floats(values: &[f32]) -> Data {
    Data::Floats(values.to_vec())
}

#[test]
fn the_runtime_names_its_release_and_file() {
    match runtime() {
        Ok(info) => {
            assert!(info.version.starts_with("1."), "{info:?}");
            assert!(info.path.is_file(), "{info:?}");
        }
        Err(error) => assert!(matches!(error, Error::RuntimeMissing { .. }), "{error}"),
    }
}

#[test]
fn a_row_becomes_a_mini_batch_of_one() {
    let row = floats(&[1.0, -2.0, 0.5]);
    check("identity.onnx", &[("x", row.clone())], &[(&[1, 3], row)]);
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
fn whole_numbers_come_out_of_floats() {
    check(
        "argmax.onnx",
        &[("x", floats(&[0.0, 9.0, 3.0, 1.0]))],
        &[(&[1, 1], Data::Integers(vec![1]))],
    );
}

#[test]
fn whole_numbers_of_any_length_go_in() {
    check(
        "twice.onnx",
        &[("ids", Data::Integers(vec![1, 2, 3, 4, 5]))],
        &[(&[1, 5], Data::Integers(vec![2, 4, 6, 8, 10]))],
    );
    check(
        "twice.onnx",
        &[("ids", floats(&[7.0]))],
        &[(&[1, 1], Data::Integers(vec![14]))],
    );
}

#[test]
fn numbers_become_the_element_type_of_the_input() {
    let doubled = Data::Doubles(vec![-0.5, -2.0]);
    check(
        "double.onnx",
        &[("x", floats(&[0.5, 2.0]))],
        &[(&[1, 2], doubled)],
    );
    let pixels = Data::Integers(vec![0, 1, 254, 255]);
    check(
        "bytes.onnx",
        &[("x", pixels)],
        &[(&[1, 4], floats(&[0.0, 1.0, 254.0, 255.0]))],
    );
    check_error(
        "bytes.onnx",
        &[("x", Data::Integers(vec![0, 1, 2, 256]))],
        "MODEL_INPUT_MISMATCH",
        "model bytes.onnx: input x takes 4 numbers per row (uint8 [1, 4]), got 256, \
         which is no uint8",
    );
    check_error(
        "twice.onnx",
        &[("ids", floats(&[0.5]))],
        "MODEL_INPUT_MISMATCH",
        "model twice.onnx: input ids takes int64 [?, ?], got 0.5, which is no whole number",
    );
}

#[test]
fn floats_of_16_bits_go_in_and_come_out() {
    // 0.1 is between two of them: numpy.float16(0.1) is 0.09997559.
    let rounded = floats(&[0.099_975_586, -2.5]);
    check(
        "half.onnx",
        &[("x", floats(&[0.1, -2.5]))],
        &[(&[1, 2], rounded)],
    );
    // torch.tensor(0.1).bfloat16() is 0.1001.
    let rounded = floats(&[0.100_097_656, -2.5]);
    check(
        "brain.onnx",
        &[("x", floats(&[0.1, -2.5]))],
        &[(&[1, 2], rounded)],
    );
    let infinite = floats(&[f32::INFINITY, 0.0]);
    check(
        "half.onnx",
        &[("x", floats(&[1e6, 0.0]))],
        &[(&[1, 2], infinite)],
    );
}

#[test]
fn text_goes_in_and_comes_out() {
    let words = Data::Strings(vec!["coral".to_string(), "reef".to_string()]);
    check(
        "words.onnx",
        &[("text", words.clone())],
        &[(&[1, 2], words), (&[2], Data::Integers(vec![1, 2]))],
    );
    check_error(
        "words.onnx",
        &[("text", floats(&[1.0]))],
        "MODEL_INPUT_MISMATCH",
        "model words.onnx: input text takes string [?, ?], got numbers instead of text",
    );
}

#[test]
fn a_fixed_mini_batch_answers_for_one_row() {
    let row = floats(&[1.0, 2.0, 3.0]);
    check(
        "fixed_batch.onnx",
        &[("x", row)],
        &[(&[1, 1], floats(&[6.0]))],
    );
    let four = floats(&[1.0; 12]);
    check(
        "fixed_batch.onnx",
        &[("x", four)],
        &[(&[4, 1], floats(&[3.0; 4]))],
    );
}

#[test]
fn lent_numbers_get_the_answers_of_given_ones() {
    let cases: [(&str, &[f32]); 5] = [
        ("identity.onnx", &[1.0, -2.0, 0.5]),
        ("half.onnx", &[0.1, -2.5]),
        ("twice.onnx", &[7.0]),
        ("fixed_batch.onnx", &[1.0, 2.0, 3.0]),
        ("fixed_batch.onnx", &[1.0; 12]),
    ];
    for (name, numbers) in cases {
        let Some(model) = load(name) else { return };
        let model = model.unwrap();
        let input = model.single_input().unwrap().name.clone();
        let given = model.run(vec![(input, floats(numbers))]).unwrap();
        assert_eq!(model.run_floats(numbers).unwrap(), given, "{name}");
    }
    for name in ["identity.onnx", "two_inputs.onnx"] {
        let model = load(name).unwrap().unwrap();
        let error = model.run_floats(&[1.0; 4]).unwrap_err();
        assert_eq!(error.code(), "MODEL_INPUT_MISMATCH", "{error}");
    }
}

#[test]
fn an_input_that_does_not_fit_is_named() {
    check_error(
        "identity.onnx",
        &[("x", floats(&[1.0; 10]))],
        "MODEL_INPUT_MISMATCH",
        "model identity.onnx: input x takes 3 numbers per row (float32 [?, 3]), got 10 \
         numbers",
    );
    check_error(
        "two_inputs.onnx",
        &[("a", floats(&[1.0; 2]))],
        "MODEL_INPUT_MISMATCH",
        "model two_inputs.onnx: input b takes 2 numbers per row (float32 [?, 2]), got \
         nothing",
    );
    check_error(
        "two_inputs.onnx",
        &[("c", floats(&[1.0; 2]))],
        "MODEL_INPUT_MISMATCH",
        "model two_inputs.onnx: input c takes nothing, because its inputs are a, b, got a \
         value",
    );
}

#[test]
fn a_file_that_is_no_model_is_an_error() {
    for file in ["truncated.onnx", "make.py"] {
        let Some(model) = load(file) else { return };
        let error = model.unwrap_err();
        assert_eq!(error.code(), "MODEL_INVALID", "{error}");
        assert!(error.to_string().contains(file), "{error}");
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn an_empty_file_is_an_error() {
    if load("identity.onnx").is_none() {
        return;
    }
    let error = LoadedModel::load("empty.onnx", b"").unwrap_err();
    assert_eq!(error.code(), "MODEL_INVALID", "{error}");
}

#[test]
fn the_metadata_is_read() {
    let Some(model) = load("colours.onnx") else {
        return;
    };
    let model = model.unwrap();
    assert_eq!(model.labels(), ["red", "green", "blue"]);
    assert_eq!(model.output_kind(0, None), Ok(OutputKind::Logits));
    // The metadata are about the first output only.
    assert_eq!(model.output_kind(1, None), Ok(OutputKind::Unknown));
    assert_eq!(model.opset(), Some(17));
    assert_eq!(model.producer(), Some("make.py"));
    assert_eq!(model.size(), bytes("colours.onnx").len());
    let [image] = model.signature().inputs.as_slice() else {
        panic!("not one input")
    };
    assert_eq!(image.element, ElementType::Float32);
    let shape = image.shape.as_deref().unwrap();
    assert_eq!(shape, [None, Some(3), Some(2), Some(2)]);
    assert_eq!(model.preprocess().unwrap().unwrap().output_len(), 12);

    let bare = load("bare_colours.onnx").unwrap().unwrap();
    assert!(bare.labels().is_empty());
    assert_eq!(bare.output_kind(0, None), Ok(OutputKind::Unknown));
    assert!(bare.preprocess().unwrap().is_none());
}

#[test]
fn the_last_operators_say_what_an_output_means() {
    let check = |name: &str, expected: OutputKind| {
        let Some(model) = load(&format!("{name}.onnx")) else {
            return;
        };
        assert_eq!(model.unwrap().output_kind(0, None), Ok(expected), "{name}");
    };
    check("sigmoid1", OutputKind::Sigmoid);
    check("sigmoid_of_rank_1", OutputKind::Sigmoid);
    check("independent", OutputKind::Sigmoid);
    check("hard_sigmoid", OutputKind::Sigmoid);
    check("logit1", OutputKind::Layer);
    check("mean1", OutputKind::Unknown);
    check("log_softmax", OutputKind::LogProbabilities);
    // Although its metadata say logits.
    check("softmax", OutputKind::Softmax);
    check("sorted", OutputKind::Sorted);
    check("bare_colours", OutputKind::Unknown);
}

#[test]
fn a_query_must_not_say_what_the_graph_denies() {
    let Some(model) = load("sigmoid1.onnx") else {
        return;
    };
    let stated = Some(OutputKind::Logits);
    assert!(model.unwrap().output_kind(0, stated).is_err());
}

#[test]
fn names_of_ultralytics_are_labels() {
    let Some(model) = load("names.onnx") else {
        return;
    };
    let model = model.unwrap();
    assert_eq!(model.labels(), ["red", "it's green", "blue, 'navy'"]);
    assert!(model.is_labels("names") && !model.is_labels("image.width"));
}

#[test]
fn an_input_without_a_shape_is_no_scalar() {
    check(
        "noshape.onnx",
        &[("x", floats(&[1.0, -2.0, 3.0]))],
        &[(&[1, 3], floats(&[1.0, 0.0, 3.0]))],
    );
    check(
        "scalar.onnx",
        &[("x", floats(&[2.0]))],
        &[(&[], floats(&[2.0]))],
    );
    check_error(
        "scalar.onnx",
        &[("x", floats(&[1.0, 2.0]))],
        "MODEL_INPUT_MISMATCH",
        "model scalar.onnx: input x takes 1 number per row (float32 []), got 2 numbers",
    );
    let Some(model) = load("noshape.onnx") else {
        return;
    };
    let model = model.unwrap();
    assert_eq!(model.signature().inputs[0].shape, None);
    assert_eq!(model.signature().outputs[0].shape, None);
}

#[test]
fn an_image_brings_its_height_and_width() {
    let Some(model) = load("dynhw.onnx") else {
        return;
    };
    let model = model.unwrap();
    let pixels: Vec<f32> = (0..18).map(|n| n as f32).collect();
    let outputs = model.run_image(&pixels, [3, 2, 3]).unwrap();
    assert_eq!(outputs[0].data, floats(&[2.5, 8.5, 14.5]));
    let error = model.check_image([1, 2, 3]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "model dynhw.onnx: input image takes float32 [?, 3, ?, ?], got an image of 1x2x3 \
         numbers"
    );
}

#[test]
fn outputs_that_are_no_tensors_are_left_out() {
    check(
        "zipmap.onnx",
        &[("x", floats(&[1.0, 3.0]))],
        &[(&[1], Data::Integers(vec![9]))],
    );
    let Some(model) = load("zipmap.onnx") else {
        return;
    };
    let model = model.unwrap();
    let outputs = &model.signature().outputs;
    assert_eq!(
        outputs[1].to_string(),
        "sequence of map of int64 to float32"
    );
}

#[test]
fn weights_may_be_in_another_file() {
    if load("identity.onnx").is_none() {
        return;
    }
    let model = bytes("external.onnx");
    let names = weight_files("external.onnx", &model).unwrap();
    assert_eq!(names, ["external.onnx.data"]);
    let load_with = |weights: Vec<u8>| {
        let weights = [(names[0].clone(), Arc::from(weights))];
        let files = ModelFiles {
            bytes: &model,
            weights: weights.into_iter().collect(),
        };
        let read = || Ok::<_, Error>(files);
        LoadedModel::load_from(
            Inference::default(),
            "external.onnx",
            &WantedTensors::Outputs,
            read,
        )
    };
    let weights = bytes("external.onnx.data");
    let size = model.len() + weights.len();
    let loaded = load_with(weights.clone()).unwrap();
    let row = vec![("x".to_string(), floats(&[1.0; 4]))];
    let outputs = loaded.run(row.clone()).unwrap();
    assert_eq!(outputs[0].data, floats(&[18.0, 22.0, 26.0]));
    assert_eq!(loaded.size(), size);
    // Other weights are another model, under the same name.
    let other = load_with(weights.iter().rev().copied().collect()).unwrap();
    assert_ne!(other.sha256(), loaded.sha256());
    assert_ne!(other.run(row).unwrap(), outputs);
    let error = load_with(weights[..47].to_vec()).unwrap_err().to_string();
    assert!(
        error.contains("which has 47 bytes; was that file cut short?"),
        "{error}"
    );
}

#[test]
fn weights_elsewhere_are_named() {
    let check = |name: &str, expected: &str| {
        let Some(model) = load(name) else { return };
        let error = model.unwrap_err();
        assert_eq!(error.code(), "MODEL_INVALID", "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    };
    check(
        "external.onnx",
        "weights in another file, external.onnx.data; name the model by its path",
    );
    check(
        "external_outside.onnx",
        "a file outside of its folder: '../models/external.onnx.data'",
    );
}

#[test]
fn a_model_that_is_too_new_is_called_that_with_both_numbers() {
    let check = |name: &str, expected: &str| {
        let Some(model) = load(name) else { return };
        let error = model.unwrap_err();
        assert_eq!(error.code(), "MODEL_INVALID", "{error}");
        let error = error.to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.contains("at most; export it for "), "{error}");
        // No source file and no signature.
        assert!(!error.contains("::") && !error.contains(".cc"), "{error}");
    };
    check(
        "opset_99.onnx",
        "is too new: it uses opset 99 of ai.onnx, and ONNX Runtime 1.",
    );
    check(
        "ml_opset_99.onnx",
        "is too new: it uses opset 99 of ai.onnx.ml, and ONNX Runtime 1.",
    );
    check(
        "ir_99.onnx",
        "is too new: it uses IR version 99, and ONNX Runtime 1.",
    );
}

#[test]
fn equal_content_is_loaded_once_and_keeps_its_names() {
    if load("identity.onnx").is_none() {
        return;
    }
    let file = bytes("identity.onnx");
    let one = LoadedModel::load("one.onnx", &file).unwrap();
    let two = LoadedModel::load("two.onnx", &file).unwrap();
    // The shared part is one allocation, so its text lies at one address.
    assert_eq!(one.sha256().as_ptr(), two.sha256().as_ptr());
    assert_eq!((one.name(), two.name()), ("one.onnx", "two.onnx"));
}

#[test]
fn threads_run_one_model_at_the_same_time() {
    let Some(model) = load("two_inputs.onnx") else {
        return;
    };
    let model = model.unwrap();
    let start = Arc::new(Barrier::new(8));
    let threads: Vec<_> = (0..8)
        .map(|thread| {
            let (model, start) = (model.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                for row in 0..200 {
                    let (a, b) = (thread as f32, row as f32);
                    let inputs = vec![
                        ("a".to_string(), floats(&[a, 1.0])),
                        ("b".to_string(), floats(&[b, 2.0])),
                    ];
                    let outputs = model.run(inputs).unwrap();
                    assert_eq!(outputs[0].data, floats(&[a + b, 3.0]));
                    assert_eq!(outputs[1].data, floats(&[a * b, 2.0]));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
}

/// With every feature, too: `cargo test -p atoll-onnx --features cuda,tensorrt,coreml,directml`.
#[test]
fn a_provider_that_is_not_there_is_an_error_and_not_the_processor() {
    let Some(model) = load("identity.onnx") else {
        return;
    };
    assert_eq!(model.unwrap().inference(), Inference::default());
    for provider in Provider::ALL {
        let loaded =
            LoadedModel::load_on(provider, "identity.onnx", &bytes("identity.onnx"));
        match provider.availability().unwrap() {
            // A device may be missing all the same.
            Availability::Ready if loaded.is_ok() => {
                assert_eq!(loaded.unwrap().inference(), provider.into());
                let engine = Inference::from(provider).describe().unwrap();
                assert!(engine.ends_with(provider.name()), "{engine}");
            }
            _ => {
                let error = loaded.unwrap_err();
                let start = format!("execution provider {provider} cannot be used: ");
                assert!(error.to_string().starts_with(&start), "{error}");
                assert_eq!(error.code(), "MODEL_RUNTIME");
            }
        }
    }
}
