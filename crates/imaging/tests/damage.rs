//! Damaged files: no panic, no memory beyond what the size of an image explains.
//!
//! Every prefix of a JPEG, a PNG and a WebP file, and seeded changes of files of all
//! formats: JPEG of every layout, in several scans, progressive and without tables, and
//! TIFF of all sorts among them. `ATOLL_MUTATIONS` says how many changes, 3,000 otherwise:
//!
//! ```sh
//! ATOLL_MUTATIONS=100000 cargo test --release -p atoll-imaging --test damage
//! ```

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use std::collections::BTreeMap;
use std::path::PathBuf;

use atoll_imaging::{
    DecodeOptions, Error, Filter, Format, Preprocess, decode, encode, info, resize,
};

/// The largest image that the tests decode.
const MAX_PIXELS: u64 = 1 << 20;

/// What the process may have taken at its peak: an image of [`MAX_PIXELS`] takes 24 MiB
/// in three copies of 8 bytes a pixel, in each of the threads of this file.
#[cfg(target_os = "linux")]
const MAX_MEMORY: usize = 512 << 20;

/// Fails when the process ever held more memory than the tests explain.
#[track_caller]
fn check_memory() {
    #[cfg(target_os = "linux")]
    {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak = peak
            .unwrap()
            .trim()
            .trim_end_matches(" kB")
            .parse::<usize>();
        let peak = peak.unwrap() << 10;
        assert!(peak <= MAX_MEMORY, "the tests took {peak} bytes");
    }
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(folder("odd").join(name)).unwrap()
}

/// JPEG files of every layout and TIFF files of all sorts.
fn layouts() -> Vec<(String, Vec<u8>)> {
    let folders = [folder("jpeg"), folder("tiff")];
    let entries = folders
        .iter()
        .flat_map(|path| std::fs::read_dir(path).unwrap());
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|e| e == "jpg" || e == "tif"))
        .collect();
    // The same changes on every machine.
    paths.sort();
    let name = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().into_owned();
    paths
        .iter()
        .map(|path| (name(path), std::fs::read(path).unwrap()))
        .collect()
}

/// Decodes in all ways there are.
#[track_caller]
fn check(bytes: &[u8], what: &str) -> Result<(), Error> {
    let options = DecodeOptions {
        max_pixels: MAX_PIXELS,
        ..DecodeOptions::default()
    };
    let decoded = decode(bytes, &options);
    if let Ok(image) = &decoded {
        image.as_ref().check().unwrap();
    }
    let _ = info(bytes);
    // Small enough that a JPEG is decoded at a fraction of its size.
    let small = Preprocess::new(16, 16)
        .unwrap()
        .with_option("resize", "squash");
    let small = small.unwrap();
    let mut tensor = vec![0.0; small.output_len()];
    let applied = small.apply_file(bytes, &options, &mut tensor);
    // The other decoder may forgive more, but never less.
    assert!(applied.is_ok() || decoded.is_err(), "{what}: {applied:?}");
    decoded.map(|_| ())
}

/// Checks the prefixes of a file whose length is a multiple of `step`.
#[track_caller]
fn check_prefixes(name: &str, whole: &[u8], step: usize) {
    for length in (0..whole.len()).step_by(step) {
        let result = check(&whole[..length], &format!("{name} cut at {length}"));
        // A few bytes at the end may be missing without anybody noticing.
        if length < whole.len() * 9 / 10 {
            assert!(result.is_err(), "{name} cut at {length} bytes was decoded");
        }
    }
    check(whole, name).unwrap();
}

#[test]
fn every_prefix_of_a_small_file_is_refused() {
    let photo = decode(&file("ok_lossless.webp"), &DecodeOptions::default()).unwrap();
    let small = resize(photo.as_ref(), 72, 48, Filter::Bilinear).unwrap();
    for format in [Format::Jpeg, Format::Png, Format::Webp] {
        let whole = encode(small.as_ref(), format).unwrap();
        check_prefixes(format.name(), &whole, 1);
    }
    check_memory();
}

#[test]
fn prefixes_of_larger_files_are_refused() {
    for name in [
        "ok_progressive.jpg",
        "ok_baseline.jpg",
        "ok_palette.png",
        "ok_lossy.webp",
    ] {
        check_prefixes(name, &file(name), 11);
    }
    check_memory();
}

/// Marsaglia's xorshift: the same changes on every machine.
struct Noise(u64);

impl Noise {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end as u64) as usize
    }
}

fn mutate(bytes: &mut Vec<u8>, noise: &mut Noise) {
    for _ in 0..=noise.below(6) {
        // Half of the changes hit the header, where they are dangerous.
        let end = if noise.below(2) == 0 {
            bytes.len().min(700)
        } else {
            bytes.len()
        };
        let at = noise.below(end);
        match noise.below(5) {
            0 => bytes[at] = 0,
            1 => bytes[at] = 0xff,
            2 => bytes[at] ^= 1 << noise.below(8),
            3 => bytes[at] = noise.below(256) as u8,
            _ => {
                let from = noise.below(bytes.len());
                let length = noise.below(64).min(bytes.len() - from.max(at));
                bytes.copy_within(from..from + length, at);
            }
        }
    }
    if noise.below(8) == 0 {
        bytes.truncate(1 + noise.below(bytes.len()));
    }
}

#[test]
fn changed_files_never_panic() {
    let changes = std::env::var("ATOLL_MUTATIONS").map_or(3_000, |n| n.parse().unwrap());
    let mut files: Vec<(String, Vec<u8>)> = [
        "ok_baseline.jpg",
        "ok_progressive.jpg",
        "ok_444.jpg",
        "ok_gray.jpg",
        "ok_cmyk.jpg",
        "ok_restart.jpg",
        "ok_exif_orientation_6.jpg",
        "ok_palette_trns.png",
        "ok_1bit.png",
        "ok_gray16.png",
        "ok_rgba16.png",
        "ok_apng.png",
        "ok_lossy.webp",
        "ok_lossless.webp",
        "ok_alpha.webp",
        "ok_animated.webp",
        "ok_animated.gif",
        "ok_8.bmp",
        "ok_cmyk.tiff",
        "ok_multipage.tiff",
    ]
    .map(|name| (name.to_string(), file(name)))
    .to_vec();
    files.extend(layouts());
    let mut noise = Noise(0x0a70_1111_2222_3333);
    let mut codes = BTreeMap::new();
    for change in 0..changes {
        let (name, bytes) = &files[noise.below(files.len())];
        let mut bytes = bytes.clone();
        mutate(&mut bytes, &mut noise);
        let what = format!("change {change}, of {name}");
        let code = check(&bytes, &what).map_or_else(|error| error.code(), |()| "decoded");
        // Panics of others' codecs are errors of their images; ours have none.
        assert!(
            code != "DECODER_FAILED" || !bytes.starts_with(&[0xff, 0xd8]),
            "{what}"
        );
        *codes.entry(code).or_insert(0) += 1;
    }
    eprintln!("{changes} changes of {} files: {codes:?}", files.len());
    assert!(codes["decoded"] > 0);
    check_memory();
}
