//! JPEG files of every layout and TIFF files of all sorts, against what Pillow makes of
//! them (`tests/data/jpeg/make.py`, `tests/data/tiff/make.py`).

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use atoll_imaging::{DecodeOptions, Error, Image, Preprocess, decode, info};

fn folder(name: &str) -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data");
    tests.join(name)
}

fn read(path: &Path) -> Result<Image, Error> {
    let bytes = fs::read(path).unwrap();
    let decoded = decode(&bytes, &DecodeOptions::default());
    if let Ok(image) = &decoded {
        let info = info(&bytes).unwrap();
        let size = (info.width, info.height, info.channels);
        let name = path.display();
        assert_eq!(size, (image.width, image.height, image.channels), "{name}");
    }
    decoded
}

/// The names of the files with an ending.
fn names(folder: &Path, ending: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name.ends_with(ending)).collect();
    names.sort();
    names
}

/// The mean and the largest difference of the channels of two images of one size.
#[track_caller]
fn differences(name: &str, ours: &Image, other: &Image) -> (f64, u8) {
    let size = |image: &Image| (image.width, image.height);
    assert_eq!(size(ours), size(other), "{name}");
    let (ours, other) = (ours.as_ref().to_rgb(), other.as_ref().to_rgb());
    let all = || ours.iter().zip(other.iter()).map(|(a, b)| a.abs_diff(*b));
    let sum: u64 = all().map(u64::from).sum();
    (sum as f64 / ours.len() as f64, all().max().unwrap())
}

#[test]
fn every_layout_of_jpeg_equals_pillow() {
    let folder = folder("jpeg");
    let mut files = 0;
    for name in names(&folder, ".jpg") {
        let Some((layout, "i" | "n" | "h" | "r" | "p" | "q")) =
            name.trim_end_matches(".jpg").rsplit_once('_')
        else {
            continue;
        };
        let ours = read(&folder.join(&name)).unwrap();
        let pillow = read(&folder.join(format!("{layout}.png"))).unwrap();
        assert_eq!(ours.channels, pillow.channels, "{name}");
        let (mean, most) = differences(&name, &ours, &pillow);
        // Pillow refuses fractions; the samples are compared before compression.
        if layout.starts_with("fraction") {
            assert!(mean < 4.0, "{name}: {mean}");
        } else {
            assert_eq!(most, 0, "{name}: {mean} on average");
        }
        files += 1;
    }
    assert_eq!(files, 112);
}

#[test]
fn damaged_codes_are_read_as_by_pillow() {
    let folder = folder("jpeg");
    let mut files = 0;
    for name in names(&folder, ".jpg") {
        if name.starts_with("damaged_") {
            let ours = read(&folder.join(&name)).unwrap();
            let pillow = read(&folder.join(name.replace(".jpg", ".png"))).unwrap();
            let (mean, most) = differences(&name, &ours, &pillow);
            assert_eq!(most, 0, "{name}: {mean} on average");
            files += 1;
        }
    }
    assert_eq!(files, 44);
}

/// What is decoded at a fraction of the size, or in part, is the same image.
#[test]
fn every_layout_of_jpeg_gives_the_same_tensor() {
    let settings = Preprocess::new(11, 8)
        .unwrap()
        .with_options([("resize", "squash"), ("interpolation", "bilinear")]);
    let settings = settings.unwrap();
    let folder = folder("jpeg");
    for name in names(&folder, ".jpg") {
        // The decoder at a fraction of the size fills what is missing in another way.
        if name.starts_with("damaged_") {
            continue;
        }
        let bytes = fs::read(folder.join(&name)).unwrap();
        let Ok(whole) = decode(&bytes, &DecodeOptions::default()) else {
            continue;
        };
        let mut expected = vec![0.0; settings.output_len()];
        settings.apply(whole.as_ref(), &mut expected).unwrap();
        let mut tensor = vec![0.0; settings.output_len()];
        let options = DecodeOptions::default();
        settings.apply_file(&bytes, &options, &mut tensor).unwrap();
        let pairs = tensor.iter().zip(&expected);
        let sum: f32 = pairs.map(|(a, b)| (a - b).abs()).sum();
        let mean = sum / tensor.len() as f32;
        assert!(mean < 3.0, "{name}: {mean}");
    }
}

#[test]
fn files_without_tables_mean_those_of_the_standard() {
    let folder = folder("jpeg");
    let ours = read(&folder.join("mjpeg.jpg")).unwrap();
    assert_eq!(ours, read(&folder.join("mjpeg.png")).unwrap());
}

#[test]
fn metadata_count_wherever_they_stand() {
    let folder = folder("jpeg");
    for (file, upright) in [
        ("two_exif.jpg", "two_exif.png"),
        ("oriented_after.png", "upright.png"),
        ("oriented.webp", "upright.png"),
    ] {
        let ours = read(&folder.join(file)).unwrap();
        assert_eq!(ours, read(&folder.join(upright)).unwrap(), "{file}");
        let info = info(&fs::read(folder.join(file)).unwrap()).unwrap();
        assert_eq!(info.orientation, 6, "{file}");
    }
}

#[test]
fn kinds_that_are_not_decoded_are_named() {
    let folder = folder("jpeg");
    let mut files = 0;
    for name in names(&folder, ".jpg") {
        let Some(kind) = name.strip_prefix("refused_") else {
            continue;
        };
        let error = read(&folder.join(&name)).unwrap_err();
        let bytes = fs::read(folder.join(&name)).unwrap();
        assert_eq!(error.code(), "UNSUPPORTED_FORMAT", "{name}: {error}");
        assert_eq!(info(&bytes).unwrap_err(), error, "{name}");
        let expected = match kind {
            "c3.jpg" => "lossless JPEG (SOF3)",
            "c6.jpg" => "hierarchical JPEG (SOF6)",
            "c9.jpg" => "JPEG with arithmetic coding (SOF9)",
            "f7.jpg" => "image format JPEG-LS",
            "12_bits.jpg" => "JPEG with 12 bits a sample",
            _ => "JPEG",
        };
        assert!(error.to_string().contains(expected), "{error}");
        files += 1;
    }
    assert_eq!(files, 14);
}

#[test]
fn every_sort_of_tiff_is_right_or_named() {
    let folder = folder("tiff");
    let mut files = 0;
    for name in names(&folder, ".tif") {
        let decoded = read(&folder.join(&name));
        let (kind, _) = name.split_once('_').unwrap();
        if kind == "refused" {
            let code = decoded.map(|_| "decoded").unwrap_or_else(|e| e.code());
            assert_eq!(code, "UNSUPPORTED_FORMAT", "{name}");
        } else {
            let other = match kind {
                "gray" => "gray.png",
                // What Pillow decodes.
                "jpeg" => &name.replace(".tif", ".png"),
                _ => "rgb.png",
            };
            let other = read(&folder.join(other)).unwrap();
            let (mean, most) = differences(&name, &decoded.unwrap(), &other);
            let allowed = if kind == "near" { 1 } else { 0 };
            assert!(most <= allowed, "{name}: {mean} on average, {most}");
        }
        files += 1;
    }
    assert_eq!(files, 37);
}

#[test]
fn big_tiff_is_known_in_both_byte_orders() {
    let folder = folder("jpeg");
    let little = read(&folder.join("big_le.tif")).unwrap();
    assert_eq!(little, read(&folder.join("big_be.tif")).unwrap());
}

/// The files that other systems' bug reports told of, with Pillow's mean colours.
#[test]
fn reported_files_have_pillows_colours() {
    let data = std::env::var_os("ATOLL_TEST_DATA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
        PathBuf::from,
    );
    let folder = data.join("cases/images");
    let Ok(manifest) = fs::read_to_string(folder.join("manifest.tsv")) else {
        eprintln!("skipped: no files at {}", folder.display());
        return;
    };
    for line in manifest.lines().skip(1) {
        let fields: Vec<&str> = line.split('\t').collect();
        let decoded = read(&folder.join(fields[0]));
        let Ok(image) = decoded else {
            let code = decoded.unwrap_err().code();
            // Their kinds are named, though Pillow decodes two of them.
            let is_named = ["j11_", "j12_", "j13_"].iter().any(|n| line.starts_with(n));
            assert!(is_named && code == "UNSUPPORTED_FORMAT", "{line}: {code}");
            continue;
        };
        let pixels = image.data.as_chunks::<3>().0;
        for channel in 0..3 {
            let Ok(expected) = fields[4 + channel].parse::<f64>() else {
                continue;
            };
            let sum: u64 = pixels.iter().map(|pixel| u64::from(pixel[channel])).sum();
            let mean = sum as f64 / pixels.len() as f64;
            assert!((mean - expected).abs() < 0.5, "{line}: {mean}");
        }
    }
}
