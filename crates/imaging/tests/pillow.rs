//! Pixels compared with Pillow's, from files that Pillow 13 wrote
//! (`tests/data/pillow/make.py`).

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};

use atoll_imaging::{DecodeOptions, Filter, Image, Preprocess, decode, resize};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn load(name: &str) -> Image {
    let bytes = std::fs::read(root().join("tests/data/pillow").join(name)).unwrap();
    decode(&bytes, &DecodeOptions::default()).unwrap()
}

/// What share of the pixels has a channel that differs by more than 1.
fn far_pixels(ours: &[u8], pillow: &[u8]) -> f64 {
    assert_eq!(ours.len(), pillow.len());
    let pixels = ours.chunks_exact(3).zip(pillow.chunks_exact(3));
    let far = pixels.filter(|(ours, pillow)| {
        let mut channels = ours.iter().zip(*pillow);
        channels.any(|(ours, pillow)| ours.abs_diff(*pillow) > 1)
    });
    far.count() as f64 / (ours.len() / 3) as f64
}

/// Shortest side, centre crop, as pixels again.
fn preprocess(file: &Path, filter: &str, size: u32, crop: u32) -> Vec<u8> {
    let settings = Preprocess::new(crop, crop).unwrap().with_options([
        ("layout", "NHWC"),
        ("resize", "shortest_side"),
        ("resize_size", &size.to_string()),
        ("interpolation", filter),
        ("crop", "center"),
        ("scaled_decode", "false"),
    ]);
    let settings = settings.unwrap();
    let mut tensor = vec![0.0; settings.output_len()];
    let bytes = std::fs::read(file).unwrap();
    settings
        .apply_file(&bytes, &DecodeOptions::default(), &mut tensor)
        .unwrap();
    tensor.into_iter().map(|value| value as u8).collect()
}

#[track_caller]
fn check(source: &Image, filter: Filter, file: &str) {
    let pillow = load(file);
    let ours = resize(source.as_ref(), pillow.width, pillow.height, filter).unwrap();
    assert_eq!(ours.channels, pillow.channels, "{file}");
    let far = ours
        .data
        .iter()
        .zip(&pillow.data)
        .map(|(ours, pillow)| ours.abs_diff(*pillow))
        .filter(|difference| *difference > 1)
        .count();
    let share = far as f64 / ours.data.len() as f64;
    assert!(
        share <= 0.001,
        "{file}: {far} values differ by more than 1 ({share})"
    );
}

#[test]
fn shrinking_and_enlarging_equal_pillow() {
    let source = load("source.png");
    for size in ["64x48", "200x131"] {
        check(&source, Filter::Nearest, &format!("nearest_{size}.png"));
        check(&source, Filter::Bilinear, &format!("bilinear_{size}.png"));
        check(&source, Filter::Bicubic, &format!("bicubic_{size}.png"));
        check(&source, Filter::Lanczos3, &format!("lanczos_{size}.png"));
    }
}

#[test]
fn gray_equals_pillow() {
    let source = load("source.png");
    let gray = Image {
        channels: 1,
        data: source.as_ref().to_gray().into_owned(),
        ..source
    };
    check(&gray, Filter::Bicubic, "gray_bicubic_50x70.png");
}

/// 99.9 % of the pixels are within 1 of Pillow's.
const EXACT: f64 = 0.001;

#[track_caller]
fn check_pixels(what: &str, ours: &[u8], pillow: &Image) {
    let pillow = pillow.as_ref().to_rgb();
    let far = far_pixels(ours, &pillow);
    let most = ours.iter().zip(pillow.iter());
    let most = most.map(|(ours, pillow)| ours.abs_diff(*pillow)).max();
    assert!(
        far <= EXACT,
        "{what}: {far} of the pixels are far, one by {most:?}"
    );
    assert!(most <= Some(3), "{what}: a pixel is off by {most:?}");
}

#[test]
fn photos_equal_pillow() {
    for photo in ["hubble_deep_field", "retina", "rocket"] {
        for filter in ["nearest", "bilinear", "bicubic", "lanczos"] {
            let file = root().join(format!("sql/data/photos/{photo}.jpg"));
            let ours = preprocess(&file, filter, 128, 112);
            let pillow = load(&format!("photos/{photo}_{filter}.png"));
            check_pixels(&format!("{photo} {filter}"), &ours, &pillow);
        }
    }
}

/// CMYK, gray, alpha, 16 bits, palettes, animations, all orientations.
#[test]
fn odd_files_equal_pillow() {
    let mut files = 0;
    for entry in std::fs::read_dir(root().join("tests/data/pillow/odd")).unwrap() {
        let pillow = entry.unwrap().file_name().into_string().unwrap();
        let name = pillow.strip_suffix(".png").unwrap();
        let file = root().join("tests/data/odd").join(name);
        let ours = preprocess(&file, "bicubic", 48, 40);
        check_pixels(name, &ours, &load(&format!("odd/{pillow}")));
        files += 1;
    }
    assert_eq!(files, 40);
}

#[test]
fn interlaced_is_the_same_image() {
    assert_eq!(load("interlaced.png"), load("source.png"));
}
