//! Pixels compared with Pillow's, from files that Pillow 13 wrote:
//!
//! ```python
//! from PIL import Image
//! photo = Image.open("sql/data/photos/astronaut.png").convert("RGB")
//! photo = photo.crop((150, 0, 310, 120))
//! photo.save("tests/data/pillow/source.png")
//! for name in ["nearest", "bilinear", "bicubic", "lanczos"]:
//!     for w, h in [(64, 48), (200, 131)]:
//!         out = photo.resize((w, h), Image.Resampling[name.upper()])
//!         out.save(f"tests/data/pillow/{name}_{w}x{h}.png")
//! gray = photo.convert("L").resize((50, 70), Image.Resampling.BICUBIC)
//! gray.save("tests/data/pillow/gray_bicubic_50x70.png")
//! ```

#![expect(clippy::unwrap_used, reason = "the helpers of tests fail by panicking")]

use std::path::Path;

use atoll_imaging::{DecodeOptions, Filter, Image, decode, resize};

fn load(name: &str) -> Image {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/pillow");
    let bytes = std::fs::read(folder.join(name)).unwrap();
    decode(&bytes, &DecodeOptions::default()).unwrap()
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
