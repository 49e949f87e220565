//! Awkward files: `tests/data/odd/manifest.tsv` says of each whether it must decode.

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use std::fs;
use std::path::PathBuf;

use atoll_imaging::{DecodeOptions, Image, decode, info};
use proptest::prelude::*;

struct Odd {
    file: String,
    expect: String,
    size: Option<(u32, u32)>,
    bytes: Vec<u8>,
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/odd")
}

fn manifest() -> Vec<Odd> {
    let text = fs::read_to_string(folder().join("manifest.tsv")).unwrap();
    text.lines()
        .skip(1)
        .map(|line| {
            let fields: Vec<&str> = line.split('\t').collect();
            let size = fields[2].parse().ok().zip(fields[3].parse().ok());
            let bytes = fs::read(folder().join(fields[0])).unwrap();
            Odd {
                file: fields[0].into(),
                expect: fields[1].into(),
                size,
                bytes,
            }
        })
        .collect()
}

fn load(file: &str) -> Image {
    let bytes = fs::read(folder().join(file)).unwrap();
    decode(&bytes, &DecodeOptions::default()).unwrap()
}

#[test]
fn every_file_decodes_or_is_refused_as_the_manifest_says() {
    let files = manifest();
    assert_eq!(files.len(), 82);
    for Odd {
        file,
        expect,
        size,
        bytes,
    } in files
    {
        let result = decode(&bytes, &DecodeOptions::default());
        match (&result, expect.as_str()) {
            (Ok(image), "decode" | "either") => {
                assert_eq!(Some((image.width, image.height)), size, "{file}");
                image.as_ref().check().unwrap();
                let info = info(&bytes).unwrap();
                assert_eq!(
                    (info.width, info.height),
                    (image.width, image.height),
                    "{file}"
                );
                assert_eq!(info.channels, image.channels, "{file}");
            }
            (Err(_), "reject" | "either") => {}
            _ => panic!(
                "{file} should {expect}: {:?}",
                result.map(|image| image.width)
            ),
        }
    }
}

#[test]
fn errors_have_the_code_that_says_who_acts() {
    let code = |file: &str| {
        let bytes = fs::read(folder().join(file)).unwrap();
        decode(&bytes, &DecodeOptions::default())
            .unwrap_err()
            .code()
    };
    assert_eq!(code("bad_empty.jpg"), "NOT_AN_IMAGE");
    assert_eq!(code("bad_html.png"), "NOT_AN_IMAGE");
    assert_eq!(code("bad_zip.jpg"), "NOT_AN_IMAGE");
    assert_eq!(code("bad_svg.svg"), "UNSUPPORTED_FORMAT");
    assert_eq!(code("bad_jpeg2000.jp2"), "UNSUPPORTED_FORMAT");
    assert_eq!(code("bad_unsupported.avif"), "UNSUPPORTED_FORMAT");
    assert_eq!(code("bad_png_ihdr_crc.png"), "CORRUPT_IMAGE");
    assert_eq!(code("bad_png_truncated.png"), "CORRUPT_IMAGE");
    // Half a photo must not pass for a photo.
    assert_eq!(code("bad_jpeg_truncated_half.jpg"), "CORRUPT_IMAGE");
    assert_eq!(code("bad_png_bomb_dims.png"), "TOO_LARGE");
    assert_eq!(code("bad_jpeg_huge_dims.jpg"), "TOO_LARGE");
}

#[test]
fn all_orientations_are_turned_upright() {
    let upright = load("ok_exif_orientation_1.jpg");
    for orientation in 2..=8 {
        let image = load(&format!("ok_exif_orientation_{orientation}.jpg"));
        assert_eq!((image.width, image.height), (320, 213));
        // Each file was compressed anew, so the pixels are only nearly the same.
        let total: u64 = image
            .data
            .iter()
            .zip(&upright.data)
            .map(|(a, b)| u64::from(a.abs_diff(*b)))
            .sum();
        let mean = total as f64 / image.data.len() as f64;
        assert!(
            mean < 4.0,
            "orientation {orientation}: mean difference {mean}"
        );
    }
}

// Image.open(file).convert("RGB").getpixel((160, 106)) in Pillow 13.
#[test]
fn colours_are_pillows() {
    for (file, expected, tolerance) in [
        ("ok_baseline.jpg", [186, 145, 117], 3),
        ("ok_cmyk.jpg", [188, 146, 119], 3),
        ("ok_cmyk.tiff", [191, 150, 122], 1),
        ("ok_rgba.png", [191, 150, 122], 0),
        ("ok_fully_transparent.png", [255, 0, 0], 0),
        ("ok_palette_trns.png", [192, 151, 119], 0),
        ("ok_rgb16.png", [191, 150, 122], 0),
        ("ok_rgba16.png", [191, 150, 122], 0),
        ("ok_static.gif", [188, 151, 125], 0),
        ("ok_animated.gif", [194, 152, 121], 0),
        ("ok_apng.png", [191, 150, 122], 0),
        ("ok_lossless.webp", [191, 150, 122], 0),
        ("ok_lossy.webp", [191, 150, 127], 3),
        ("ok_alpha.webp", [192, 146, 125], 3),
        ("ok_animated.webp", [190, 145, 124], 3),
        ("ok_8.bmp", [192, 151, 119], 0),
        ("ok_multipage.tiff", [191, 150, 122], 0),
    ] {
        let image = load(file);
        assert_eq!(image.channels, 3, "{file}");
        let pixel = &image.data[(106 * 320 + 160) * 3..][..3];
        let near = pixel
            .iter()
            .zip(expected)
            .all(|(a, b)| a.abs_diff(b) <= tolerance);
        assert!(near, "{file}: {pixel:?}, Pillow has {expected:?}");
    }
}

#[test]
fn gray_keeps_one_channel() {
    for (file, expected) in [
        ("ok_gray8.png", 159),
        ("ok_gray_alpha.png", 159),
        // Pillow clips 16-bit gray to white; its upper byte is the 8-bit value.
        ("ok_gray16.png", 159),
        ("ok_gray.jpg", 157),
    ] {
        let image = load(file);
        assert_eq!(image.channels, 1, "{file}");
        let pixel = image.data[106 * 320 + 160];
        assert!(pixel.abs_diff(expected) <= 1, "{file}: {pixel}");
    }
}

#[test]
fn a_limit_of_pixels_is_kept() {
    let bytes = fs::read(folder().join("ok_baseline.jpg")).unwrap();
    let options = DecodeOptions {
        max_pixels: 320 * 213 - 1,
        ..DecodeOptions::default()
    };
    assert_eq!(
        decode(&bytes, &options).unwrap_err().to_string(),
        "image of 320x213 pixels is larger than the limit of 68159 pixels"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1500,
        // A failure prints its input; nothing is kept between runs.
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Damage anywhere gives an image or an error, and never a panic.
    #[test]
    fn damaged_files_never_panic(
        which in 0_usize..50,
        cut in 0.0..1.0_f64,
        damage in prop::collection::vec((0.0..1.0_f64, any::<u8>()), 0..8),
    ) {
        thread_local! {
            static FILES: Vec<Vec<u8>> = manifest()
                .into_iter()
                .filter(|odd| odd.expect == "decode" && odd.bytes.len() < 60_000)
                .map(|odd| odd.bytes)
                .collect();
        }
        let mut bytes = FILES.with(|files| files[which % files.len()].clone());
        for (place, byte) in damage {
            // Squared, because headers are where damage is dangerous.
            let place = (place * place * bytes.len() as f64) as usize;
            bytes[place] = byte;
        }
        if cut < 0.5 {
            bytes.truncate((cut * 2.0 * bytes.len() as f64) as usize);
        }
        let options = DecodeOptions { max_pixels: 4_000_000, ..DecodeOptions::default() };
        if let Ok(image) = decode(&bytes, &options) {
            prop_assert!(image.as_ref().check().is_ok());
        }
        let _ = info(&bytes);
    }
}
