//! Decoding at a fraction of the size: nearly the same tensor.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use std::path::PathBuf;

use atoll_imaging::{DecodeOptions, Format, Image, Preprocess, crop, decode, encode};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn settings(side: u32, interpolation: &str) -> Preprocess {
    let side = side.to_string();
    let settings = Preprocess::new(1, 1).unwrap().with_options([
        ("width", side.as_str()),
        ("height", &side),
        ("resize", "shortest_side"),
        ("interpolation", interpolation),
        ("crop", "center"),
    ]);
    settings.unwrap()
}

fn apply(settings: &Preprocess, bytes: &[u8]) -> Vec<f32> {
    let mut tensor = vec![0.0; settings.output_len()];
    settings
        .apply_file(bytes, &DecodeOptions::default(), &mut tensor)
        .unwrap();
    tensor
}

/// The mean and the largest difference that scaled decoding makes, of 255.
fn difference(settings: &Preprocess, bytes: &[u8]) -> (f32, f32) {
    let exact = settings
        .clone()
        .with_option("scaled_decode", "false")
        .unwrap();
    let (scaled, exact) = (apply(settings, bytes), apply(&exact, bytes));
    let differences = scaled.iter().zip(&exact).map(|(a, b)| (a - b).abs());
    let most = differences.clone().fold(0.0, f32::max);
    (differences.sum::<f32>() / scaled.len() as f32, most)
}

fn photo(name: &str) -> Vec<u8> {
    std::fs::read(root().join("sql/data/photos").join(name)).unwrap()
}

#[test]
fn a_large_photo_gives_nearly_the_same_tensor() {
    // 872 and 1411 pixels high: a half for 200, a quarter for 50 and 100.
    for name in ["hubble_deep_field.jpg", "retina.jpg"] {
        for filter in ["bilinear", "bicubic", "lanczos3"] {
            for side in [50, 100, 200] {
                let (mean, most) = difference(&settings(side, filter), &photo(name));
                let what = format!("{name} {filter} {side}: mean {mean}, most {most}");
                eprintln!("{what}");
                assert!(mean > 0.0, "not scaled: {what}");
                assert!(mean < 0.5 && most <= 8.0, "{what}");
            }
        }
    }
}

/// Sides that are no multiple of the scale, so that the last pixels are partial ones.
#[test]
fn every_orientation_keeps_its_place() {
    let whole = decode(&photo("retina.jpg"), &DecodeOptions::default()).unwrap();
    let part = crop(whole.as_ref(), 300, 250, 803, 605).unwrap();
    for orientation in 1..=8 {
        let bytes = with_orientation(&part, orientation);
        let (mean, most) = difference(&settings(64, "bicubic"), &bytes);
        let what = format!("orientation {orientation}: mean {mean}, most {most}");
        // A shift by half a pixel of the smaller image would double it.
        assert!(mean > 0.0 && mean < 0.4 && most <= 4.0, "{what}");
    }
}

/// A JPEG with an EXIF segment that holds nothing but the orientation.
fn with_orientation(image: &Image, orientation: u8) -> Vec<u8> {
    let jpeg = encode(image.as_ref(), Format::Jpeg).unwrap();
    let mut exif = b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01".to_vec();
    exif.extend([
        0x01,
        0x12,
        0,
        3,
        0,
        0,
        0,
        1,
        0,
        orientation,
        0,
        0,
        0,
        0,
        0,
        0,
    ]);
    [&jpeg[..2], &exif, &jpeg[2..]].concat()
}

#[test]
fn filters_that_skip_pixels_see_all_of_them() {
    let (mean, _) = difference(&settings(50, "nearest"), &photo("retina.jpg"));
    assert_eq!(mean, 0.0);
    let sharp = settings(50, "bilinear")
        .with_option("antialias", "false")
        .unwrap();
    assert_eq!(difference(&sharp, &photo("retina.jpg")).0, 0.0);
}

#[test]
fn an_image_near_the_size_of_the_tensor_is_decoded_whole() {
    // 872 / 2 is less than twice 224.
    let (mean, _) =
        difference(&settings(224, "bicubic"), &photo("hubble_deep_field.jpg"));
    assert_eq!(mean, 0.0);
}
