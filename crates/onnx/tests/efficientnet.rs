//! A real network, on data that lies beside the checkout.
//!
//! `ATOLL_TEST_DATA` names the folder; without it the test says so and passes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use atoll_imaging::{DecodeOptions, Filter, Format, Preprocess, decode, encode, resize};
use atoll_onnx::{Data, Error, LoadedModel, OutputKind, runtime, scores, top_k};

fn data() -> Option<PathBuf> {
    if let Err(error @ Error::RuntimeMissing { .. }) = runtime() {
        eprintln!("skipped: {error}");
        return None;
    }
    let folder = std::env::var_os("ATOLL_TEST_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    if !folder.join("models/efficientnet-lite0.onnx").is_file() {
        eprintln!("skipped: no test data at {}", folder.display());
        return None;
    }
    Some(folder)
}

fn model(data: &Path) -> LoadedModel {
    let path = data.join("models/efficientnet-lite0.onnx");
    LoadedModel::load("efficientnet-lite0.onnx", &fs::read(path).unwrap()).unwrap()
}

/// The numbers of a NumPy file of float32 in C order.
fn npy(path: PathBuf) -> Vec<f32> {
    let bytes = fs::read(path).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    bytes[10 + header..]
        .chunks_exact(4)
        .map(|number| f32::from_le_bytes(number.try_into().unwrap()))
        .collect()
}

fn run(model: &LoadedModel, input: Vec<f32>) -> Vec<f32> {
    let inputs = vec![("input".to_string(), Data::Floats(input))];
    model
        .run(inputs)
        .unwrap()
        .remove(0)
        .data
        .into_floats()
        .unwrap()
}

fn classify(model: &LoadedModel, photo: &Path) -> Vec<(usize, f32)> {
    let preprocess = model.preprocess().unwrap().unwrap();
    best(model, &preprocess, &fs::read(photo).unwrap())
}

fn best(model: &LoadedModel, preprocess: &Preprocess, bytes: &[u8]) -> Vec<(usize, f32)> {
    let mut input = vec![0.0; preprocess.output_len()];
    preprocess
        .apply_file(bytes, &DecodeOptions::default(), &mut input)
        .unwrap();
    top_k(
        &scores(run(model, input), OutputKind::Logits, 1_000).unwrap(),
        5,
    )
}

/// The network apart from the preprocessing: the tensor is given.
///
/// The stored logits differ from what Python's ONNX Runtime gives for this file by up to
/// 0.0202, probably because they predate the rounding of its weights to float16. The
/// first four are Python's:
///
///     session = onnxruntime.InferenceSession("efficientnet-lite0.onnx")
///     session.run(None, {"input": numpy.load("coral_reef_input.npy")})[0][0, :4]
#[test]
fn logits_equal_those_of_the_reference() {
    let Some(data) = data() else { return };
    let model = model(&data);
    let logits = run(&model, npy(data.join("models/coral_reef_input.npy")));
    let stored = npy(data.join("models/coral_reef_logits.npy"));
    assert_eq!(logits.len(), 1000);
    for (class, (logit, stored)) in logits.iter().zip(&stored).enumerate() {
        assert!(
            (logit - stored).abs() < 0.025,
            "class {class}: {logit}, not {stored}"
        );
    }
    let python = [0.614_843_96, 3.626_983_4, 2.590_765_5, 4.660_137_7];
    for (logit, python) in logits.iter().zip(python) {
        assert!((logit - python).abs() < 1e-4, "{logit}, not {python}");
    }
}

#[test]
fn the_coral_reef_is_a_coral_reef() {
    let Some(data) = data() else { return };
    let model = model(&data);
    let photo = fs::read_dir(data.join("images/imagenet-sample"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with("n09256479")
        })
        .unwrap();
    let best = classify(&model, &photo);
    assert_eq!(model.labels()[best[0].0], "coral reef");
    assert!((best[0].1 - 0.78).abs() < 0.01, "score {}", best[0].1);
    assert_eq!(model.labels()[best[1].0], "scuba diver");
}

/// The photos and their classes, by name.
fn sample(data: &Path) -> Vec<(PathBuf, usize)> {
    let ids = fs::read_to_string(data.join("models/imagenet_wnids.txt")).unwrap();
    let photos = fs::read_dir(data.join("images/imagenet-sample")).unwrap();
    let mut photos: Vec<_> = photos
        .map(|photo| {
            let path = photo.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let class = ids.lines().position(|id| name.starts_with(id)).unwrap();
            (path, class)
        })
        .collect();
    photos.sort();
    photos
}

/// The photos carry their WordNet id; the class is its rank. Pillow's preprocessing
/// gets 181 of 201 right, squashing to a square about ten less.
#[test]
fn most_photos_get_their_class() {
    let Some(data) = data() else { return };
    let model = model(&data);
    let photos = sample(&data);
    let right = photos
        .iter()
        .filter(|(photo, class)| classify(&model, photo)[0].0 == *class)
        .count();
    let photos = photos.len();
    eprintln!("{right} of {photos} photos");
    assert_eq!(photos, 201);
    assert!(right >= 180, "{right} of {photos}");
}

/// The photos are too small to be decoded at a fraction of their size, so they are made
/// four times as large first, as a camera would have taken them; every fifth, because
/// that takes a while.
#[test]
fn scaled_decoding_gets_as_many_right() {
    let Some(data) = data() else { return };
    let model = model(&data);
    let scaled = model.preprocess().unwrap().unwrap();
    let exact = scaled
        .clone()
        .with_option("scaled_decode", "false")
        .unwrap();
    let (mut photos, mut right_scaled, mut right_exact, mut most) = (0, 0, 0, 0.0_f32);
    for (photo, class) in sample(&data).iter().step_by(5) {
        let photo = fs::read(photo).unwrap();
        let photo = decode(&photo, &DecodeOptions::default()).unwrap();
        let (width, height) = (photo.width * 4, photo.height * 4);
        let large = resize(photo.as_ref(), width, height, Filter::Bicubic).unwrap();
        let large = encode(large.as_ref(), Format::Jpeg).unwrap();
        let (ours, theirs) =
            (best(&model, &scaled, &large), best(&model, &exact, &large));
        photos += 1;
        right_scaled += usize::from(ours[0].0 == *class);
        right_exact += usize::from(theirs[0].0 == *class);
        most = most.max((ours[0].1 - theirs[0].1).abs());
    }
    eprintln!(
        "{right_scaled} of {photos} photos, {right_exact} with every pixel; scores differ \
         by up to {most}"
    );
    assert!(most > 0.0, "nothing was scaled");
    assert!(
        right_scaled + 1 >= right_exact,
        "{right_scaled}, not {right_exact}"
    );
}
