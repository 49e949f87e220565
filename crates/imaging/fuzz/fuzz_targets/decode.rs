//! Arbitrary bytes as images: no panic, no memory beyond what the size explains.
//!
//! From `crates/imaging`, with `cargo install cargo-fuzz`, starting from the files of the
//! tests:
//!
//! ```sh
//! RUSTC_BOOTSTRAP=1 cargo fuzz run --sanitizer none decode fuzz/corpus/decode \
//!     ../../tests/data/odd ../../tests/data/jpeg ../../tests/data/tiff -- -max_len=65536 -rss_limit_mb=512 -max_total_time=600
//! ```
//!
//! `--sanitizer address` needs a nightly compiler and finds what unsafe code of the codecs
//! does wrong. The same checks run over seeded changes in `tests/damage.rs`, in CI.

#![no_main]

use atoll_imaging::{DecodeOptions, Filter, Preprocess, decode, info, resize};
use libfuzzer_sys::fuzz_target;

/// The largest image that is decoded: with three copies of eight bytes a pixel far below
/// the limit of memory above.
const MAX_PIXELS: u64 = 1 << 20;

fuzz_target!(|bytes: &[u8]| {
    let options = DecodeOptions {
        max_pixels: MAX_PIXELS,
        ..DecodeOptions::default()
    };
    let _ = info(bytes);
    let decoded = decode(bytes, &options);
    // Panics of others' codecs are errors of their images; our own decoder has none.
    if let Err(error) = &decoded {
        let is_jpeg = bytes.starts_with(&[0xff, 0xd8]);
        assert!(!is_jpeg || error.code() != "DECODER_FAILED", "{error}");
    }
    if let Ok(image) = &decoded {
        assert!(image.as_ref().check().is_ok());
        let resized = resize(image.as_ref(), 31, 17, Filter::Bicubic);
        assert!(resized.is_ok_and(|small| (small.width, small.height) == (31, 17)));
    }
    // The middle alone, and a fraction of the size.
    for (resize, crop) in [("shortest_side", "center"), ("squash", "none")] {
        let settings = Preprocess::new(16, 16).and_then(|settings| {
            settings.with_options([("resize", resize), ("crop", crop)])
        });
        let Ok(settings) = settings else {
            panic!("valid settings were refused");
        };
        let mut tensor = vec![0.0; settings.output_len()];
        let applied = settings.apply_file(bytes, &options, &mut tensor);
        // Ways that decode less may forgive more, but never less.
        assert!(applied.is_ok() || decoded.is_err(), "{applied:?}");
    }
});
