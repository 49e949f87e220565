//! Preprocessing against torchvision's rules and a reference tensor.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use atoll_imaging::{DecodeOptions, ImageRef, Preprocess, decode};

fn metadata(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    settings
        .iter()
        .map(|(key, value)| (format!("image.{key}"), value.to_string()))
        .collect()
}

fn preprocess(settings: &[(&str, &str)]) -> Preprocess {
    Preprocess::from_metadata(&metadata(settings))
        .unwrap()
        .unwrap()
}

fn apply(preprocess: &Preprocess, image: ImageRef<'_>) -> Vec<f32> {
    let mut out = vec![f32::NAN; preprocess.output_len()];
    preprocess.apply(image, &mut out).unwrap();
    out
}

#[track_caller]
fn check_error(settings: &[(&str, &str)], expected: &str) {
    let error = Preprocess::from_metadata(&metadata(settings)).unwrap_err();
    assert_eq!(error.to_string(), expected);
}

const RGB_2X1: ImageRef<'static> = ImageRef {
    width: 2,
    height: 1,
    channels: 3,
    data: &[1, 2, 3, 4, 5, 6],
};

#[test]
fn nchw_groups_by_channel_and_nhwc_by_pixel() {
    let nchw = preprocess(&[("width", "2"), ("height", "1")]);
    assert_eq!(apply(&nchw, RGB_2X1), [1., 4., 2., 5., 3., 6.]);
    assert_eq!(nchw.output_shape(), [3, 1, 2]);
    let nhwc = nchw.with_option("layout", "nhwc").unwrap();
    assert_eq!(apply(&nhwc, RGB_2X1), [1., 2., 3., 4., 5., 6.]);
    assert_eq!(nhwc.output_shape(), [1, 2, 3]);
}

#[test]
fn bgr_reverses_the_channels_and_mean_follows_the_tensors_order() {
    let bgr = preprocess(&[
        ("width", "2"),
        ("height", "1"),
        ("color", "BGR"),
        ("scale", "2"),
        ("mean", "6,4,2"),
        ("std", "2,1,0.5"),
    ]);
    assert_eq!(apply(&bgr, RGB_2X1), [0., 3., 0., 6., 0., 12.]);
}

#[test]
fn gray_becomes_three_channels_and_back() {
    let gray = ImageRef {
        width: 2,
        height: 1,
        channels: 1,
        data: &[10, 20],
    };
    let rgb = preprocess(&[("width", "2"), ("height", "1")]);
    assert_eq!(apply(&rgb, gray), [10., 20., 10., 20., 10., 20.]);
    let luma = rgb.with_option("color", "L").unwrap();
    let image = ImageRef {
        channels: 3,
        data: &[10, 10, 10, 20, 20, 20],
        ..gray
    };
    assert_eq!(apply(&luma, image), [10., 20.]);
}

#[test]
fn a_small_image_is_padded_with_black_before_normalising() {
    let crop = preprocess(&[
        ("width", "4"),
        ("height", "1"),
        ("color", "L"),
        ("crop", "center"),
        ("mean", "1"),
    ]);
    let image = ImageRef {
        width: 2,
        height: 1,
        channels: 1,
        data: &[8, 9],
    };
    assert_eq!(apply(&crop, image), [-1., 7., 8., -1.]);
}

/// The window of a huge resized image has the pixels that all of it would have had.
#[test]
fn only_the_window_of_an_extreme_aspect_is_computed() {
    let data: Vec<u8> = (0..4000_u32).map(|n| (n % 251) as u8).collect();
    let image = ImageRef {
        width: 4000,
        height: 1,
        channels: 1,
        data: &data,
    };
    let settings = preprocess(&[
        ("width", "224"),
        ("height", "224"),
        ("color", "L"),
        ("resize", "shortest_side"),
        ("resize_size", "256"),
        ("crop", "center"),
    ]);
    let out = apply(&settings, image);
    // Columns 511,888 to 512,112 of 1,024,000 lie around the edge between the source
    // pixels 1,999 and 2,000: (x + 0.5) / 256 - 0.5 = 1999.07 to 1999.94.
    let (left, right) = (f32::from(data[1999]), f32::from(data[2000]));
    assert!(
        out.iter().all(|v| (left..=right).contains(v)),
        "{left} {right}"
    );
    assert_eq!((out[0], out[223]), (left, right));
}

#[test]
fn shortest_side_and_window_equal_the_whole_resize() {
    let data: Vec<u8> = (0..37 * 61_u32).map(|n| (n * n % 253) as u8).collect();
    let image = ImageRef {
        width: 37,
        height: 61,
        channels: 1,
        data: &data,
    };
    let settings = preprocess(&[
        ("width", "16"),
        ("height", "16"),
        ("color", "L"),
        ("resize", "shortest_side"),
        ("resize_size", "20"),
        ("interpolation", "bicubic"),
        ("crop", "center"),
    ]);
    // int(20 * 61 / 37) = 32; round((20 - 16) / 2) = 2; round((32 - 16) / 2) = 8.
    let whole =
        atoll_imaging::resize(image, 20, 32, atoll_imaging::Filter::Bicubic).unwrap();
    let cropped = atoll_imaging::crop(whole.as_ref(), 2, 8, 16, 16).unwrap();
    let expected: Vec<f32> = cropped.data.iter().map(|v| f32::from(*v)).collect();
    assert_eq!(apply(&settings, image), expected);
}

#[test]
fn metadata_round_trips() {
    let settings = preprocess(&[
        ("width", "28"),
        ("height", "28"),
        ("color", "L"),
        ("resize_size", "32"),
        ("mean", "0.1307"),
        ("std", "0.3081"),
        ("scale", "0.003921569"),
        ("antialias", "false"),
        ("scaled_decode", "false"),
    ]);
    assert_eq!(
        Preprocess::from_metadata(&settings.to_metadata()),
        Ok(Some(settings))
    );
}

#[test]
fn metadata_without_images_gives_nothing() {
    let other = BTreeMap::from([("labels".to_string(), "a\nb".to_string())]);
    assert_eq!(Preprocess::from_metadata(&other), Ok(None));
}

#[test]
fn wrong_settings_are_named() {
    check_error(
        &[("width", "2")],
        "the model's metadata has no image.height, pass height as an option",
    );
    check_error(
        &[("width", "2"), ("height", "1"), ("layout", "CHWN")],
        "layout must be one of NCHW, NHWC, got 'CHWN'",
    );
    check_error(
        &[("width", "2"), ("height", "1"), ("mean", "1,2")],
        "mean must have 1 or 3 values, got 2",
    );
    check_error(
        &[("width", "two"), ("height", "1")],
        "width must be a whole number of pixels, got 'two'",
    );
    let error = preprocess(&[("width", "2"), ("height", "1")]).with_option("men", "1");
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("unknown preprocessing key 'men'")
    );
}

/// The photo of a coral reef with the settings of EfficientNet-Lite0, against the
/// tensor that Pillow and NumPy made of it.
#[test]
fn a_photo_equals_the_reference_tensor() {
    let data = std::env::var_os("ATOLL_TEST_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let Ok(tensor) = std::fs::read(data.join("models/coral_reef_input.npy")) else {
        eprintln!("skipped: no test data at {}", data.display());
        return;
    };
    let photo = std::fs::read_dir(data.join("images/imagenet-sample")).unwrap();
    let photo = photo
        .map(|entry| entry.unwrap())
        .find(|entry| entry.file_name().to_string_lossy().starts_with("n09256479"))
        .unwrap();
    let bytes = std::fs::read(photo.path()).unwrap();
    let image = decode(&bytes, &DecodeOptions::default()).unwrap();
    let settings = preprocess(&[
        ("width", "224"),
        ("height", "224"),
        ("resize", "shortest_side"),
        ("resize_size", "256"),
        ("interpolation", "bicubic"),
        ("crop", "center"),
        ("mean", "127,127,127"),
        ("std", "128,128,128"),
    ]);
    let ours = apply(&settings, image.as_ref());
    let numbers = &tensor[tensor.len() - ours.len() * 4..];
    let reference = numbers
        .as_chunks::<4>()
        .0
        .iter()
        .map(|bytes| f32::from_le_bytes(*bytes));
    let differences: Vec<f32> = ours
        .iter()
        .zip(reference)
        .map(|(ours, other)| (ours - other).abs() * 128.0)
        .collect();
    let mean = differences.iter().sum::<f32>() / differences.len() as f32;
    let most = differences.iter().copied().fold(0.0, f32::max);
    eprintln!("mean difference {mean} of 255, largest {most}");
    // The JPEG decoders differ a little; a wrong filter, size or crop by far more.
    assert!(mean < 0.6, "mean difference {mean} of 255, largest {most}");
}
