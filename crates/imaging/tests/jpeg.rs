//! The usual kinds of JPEG: Pillow's pixels to the bit, and a part is a part of the whole.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use std::path::{Path, PathBuf};

use atoll_imaging::{DecodeOptions, Image, Preprocess, decode};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn load(path: &Path) -> Image {
    let bytes = std::fs::read(path).unwrap();
    decode(&bytes, &DecodeOptions::default()).unwrap()
}

// Image.open(file), written by tests/data/pillow/make.py
#[test]
fn usual_files_equal_pillow() {
    let folder = root().join("tests/data/pillow/jpeg");
    for kind in [
        "444",
        "422",
        "420",
        "420_coarse",
        "420_restarts",
        "gray",
        "tiny",
    ] {
        let ours = load(&folder.join(format!("{kind}.jpg")));
        let pillow = load(&folder.join(format!("{kind}.png")));
        let differ = ours
            .data
            .iter()
            .zip(&pillow.data)
            .filter(|(a, b)| a != b)
            .count();
        let size = (ours.width, ours.height, ours.channels);
        assert_eq!(size, (pillow.width, pillow.height, pillow.channels));
        assert_eq!(differ, 0, "{kind}: {differ} of {} differ", ours.data.len());
    }
}

/// Resized and cropped in many ways, so that the middle ends anywhere in a block.
#[test]
fn the_middle_alone_gives_the_same_tensor() {
    let photos = std::fs::read_dir(root().join("sql/data/photos")).unwrap();
    let kinds = std::fs::read_dir(root().join("tests/data/pillow/jpeg")).unwrap();
    let mut files: Vec<PathBuf> = photos
        .chain(kinds)
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jpg"))
        .collect();
    files.sort();
    assert_eq!(files.len(), 10);
    for file in files {
        for (resize_size, side) in [("20", "9"), ("41", "40"), ("90", "33"), ("300", "2")]
        {
            for interpolation in ["nearest", "bilinear", "bicubic", "lanczos3"] {
                for resize in ["shortest_side", "none"] {
                    let settings = Preprocess::new(1, 1).unwrap().with_options([
                        ("width", side),
                        ("height", side),
                        ("resize", resize),
                        ("resize_size", resize_size),
                        ("interpolation", interpolation),
                        ("crop", "center"),
                        ("scaled_decode", "false"),
                    ]);
                    check_middle(&file, &settings.unwrap());
                }
            }
        }
    }
}

#[track_caller]
fn check_middle(file: &Path, settings: &Preprocess) {
    let whole = load(file);
    let mut expected = vec![0.0; settings.output_len()];
    settings.apply(whole.as_ref(), &mut expected).unwrap();
    let bytes = std::fs::read(file).unwrap();
    let mut tensor = vec![0.0; settings.output_len()];
    let options = DecodeOptions::default();
    settings.apply_file(&bytes, &options, &mut tensor).unwrap();
    let same = tensor == expected;
    assert!(same, "{}: {settings}", file.display());
}
