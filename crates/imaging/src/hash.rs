//! Perceptual hashes: 64 bits that differ little between images that look alike.
//!
//! Each is that of Python's `imagehash` 4.3 with its defaults, bit by bit: gray as Pillow
//! converts it, shrunk as Pillow shrinks with LANCZOS, and the same arithmetic after that.
//! Bits go row by row, the first one is the highest of the number, so that its 16
//! hexadecimal digits are what `str(hash)` shows in Python.

mod haar;
mod shrink;

use std::f64::consts::PI;
use std::str::FromStr;
use std::sync::LazyLock;

use self::shrink::shrink;
use crate::{Error, Image, ImageRef};

/// A hash has as many rows as columns.
const SIDE: usize = 8;

/// What `phash` shrinks an image to before it looks at frequencies.
const WAVES: usize = 32;

/// How an image becomes 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Hash {
    /// Which of 8x8 low frequencies are stronger than the median of them (`phash`).
    #[default]
    Perceptual,
    /// Whether it gets brighter from each of 9x8 pixels to the next one in its row
    /// (`dhash`).
    Difference,
    /// Which of 8x8 pixels are brighter than the mean (`ahash`).
    Average,
    /// Which of 8x8 Haar wavelets are above their median, without the mean of the image
    /// (`whash`).
    Wavelet,
}

impl Hash {
    /// The name, as in Python.
    pub fn name(self) -> &'static str {
        match self {
            Hash::Perceptual => "phash",
            Hash::Difference => "dhash",
            Hash::Average => "ahash",
            Hash::Wavelet => "whash",
        }
    }

    /// Hashes an image.
    pub fn of(self, image: ImageRef<'_>) -> Result<u64, Error> {
        image.check()?;
        let gray = Image {
            width: image.width,
            height: image.height,
            channels: 1,
            data: image.to_gray().into_owned(),
        };
        let gray = gray.as_ref();
        Ok(match self {
            Hash::Perceptual => perceptual(gray),
            Hash::Difference => difference(gray),
            Hash::Average => average(gray),
            Hash::Wavelet => wavelet(gray),
        })
    }
}

impl FromStr for Hash {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let all = [
            Hash::Perceptual,
            Hash::Difference,
            Hash::Average,
            Hash::Wavelet,
        ];
        let found = all
            .into_iter()
            .find(|one| one.name().eq_ignore_ascii_case(name));
        found.ok_or_else(|| {
            Error::argument(format!(
                "hash must be phash, dhash, ahash or whash, got '{name}'"
            ))
        })
    }
}

/// The first bit is the highest.
fn number(bits: impl IntoIterator<Item = bool>) -> u64 {
    bits.into_iter()
        .fold(0, |number, bit| (number << 1) | u64::from(bit))
}

fn average(gray: ImageRef<'_>) -> u64 {
    let pixels = shrink(gray, SIDE, SIDE);
    let sum: usize = pixels.iter().map(|pixel| usize::from(*pixel)).sum();
    // Compared as whole numbers, as the mean would be without rounding.
    let pixels = pixels.iter().map(|pixel| usize::from(*pixel));
    number(pixels.map(|pixel| pixel * SIDE * SIDE > sum))
}

fn difference(gray: ImageRef<'_>) -> u64 {
    let pixels = shrink(gray, SIDE + 1, SIDE);
    let rows = pixels.chunks_exact(SIDE + 1);
    number(rows.flat_map(|row| row.windows(2).map(|pair| pair[1] > pair[0])))
}

fn perceptual(gray: ImageRef<'_>) -> u64 {
    let pixels = shrink(gray, WAVES, WAVES);
    // The low frequencies of each column, then those of their rows.
    let mut columns = [[0.0; WAVES]; SIDE];
    for column in 0..WAVES {
        let values: [f64; WAVES] =
            std::array::from_fn(|row| f64::from(pixels[row * WAVES + column]));
        for (wave, row) in columns.iter_mut().enumerate() {
            row[column] = cosine(&values, wave);
        }
    }
    let mut waves = [0.0; SIDE * SIDE];
    for (row, values) in columns.iter().enumerate() {
        for wave in 0..SIDE {
            waves[row * SIDE + wave] = cosine(values, wave);
        }
    }
    above_median(&waves)
}

/// One coefficient of the cosine transform (DCT-II), halved as often as it is even, so that
/// values which are all the same give a zero that is exact.
fn cosine(values: &[f64], wave: usize) -> f64 {
    let count = values.len();
    let (first, second) = values.split_at(count / 2);
    let pairs = first.iter().zip(second.iter().rev());
    if wave.is_multiple_of(2) && count > 1 {
        let mut sums = [0.0; WAVES / 2];
        let sums = &mut sums[..count / 2];
        for (sum, (a, b)) in sums.iter_mut().zip(pairs) {
            *sum = a + b;
        }
        return cosine(sums, wave / 2);
    }
    if count == 1 {
        return match wave {
            0 => values[0],
            _ => 0.0,
        };
    }
    let step = wave * (WAVES / count);
    let terms = pairs
        .enumerate()
        .map(|(n, (a, b))| (a - b) * COSINES[(step * (2 * n + 1)) % COSINES.len()]);
    terms.sum()
}

/// The cosine at each part of a circle that a transform of 32 values needs.
static COSINES: LazyLock<[f64; 4 * WAVES]> =
    LazyLock::new(|| std::array::from_fn(|n| (PI * n as f64 / (2 * WAVES) as f64).cos()));

fn wavelet(gray: ImageRef<'_>) -> u64 {
    let shorter = gray.width.min(gray.height).max(SIDE as u32) as usize;
    // The largest power of two that is not larger.
    let side = 1 << shorter.ilog2();
    let pixels = shrink(gray, side, side);
    let values = pixels.iter().map(|pixel| f64::from(*pixel) / 255.0);
    let low = haar::low(values.collect(), side, SIDE);
    above_median(&low)
}

/// Which values are above the median, which is the mean of the two in the middle.
fn above_median(values: &[f64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    let median = f64::midpoint(sorted[middle - 1], sorted[middle]);
    number(values.iter().map(|value| *value > median))
}

/// How many bits of two hashes differ.
pub fn hamming(a: u64, b: u64) -> u32 {
    (a ^ b).count_ones()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `(i * i * 7 + j * 13 + (i * j) % 31) % 256` as Python's
    /// `Image.fromarray(numpy.array(.., dtype=numpy.uint8))` has it.
    fn image(width: u32, height: u32) -> Image {
        let pixel = |i: u32, j: u32| ((i * i * 7 + j * 13 + (i * j) % 31) % 256) as u8;
        let rows = (0..height).flat_map(|i| (0..width).map(move |j| pixel(i, j)));
        Image {
            width,
            height,
            channels: 1,
            data: rows.collect(),
        }
    }

    #[track_caller]
    fn check(hash: Hash, width: u32, height: u32, expected: &str) {
        let image = image(width, height);
        let found = hash.of(image.as_ref()).unwrap();
        assert_eq!(format!("{found:016x}"), expected, "{hash:?}");
    }

    // str(imagehash.phash(image)) and so on, imagehash 4.3.2, Pillow 13.0.
    #[test]
    fn hashes_are_those_of_python() {
        check(Hash::Perceptual, 100, 60, "8af42ad7fb8aa828");
        check(Hash::Difference, 100, 60, "9554a5754a6ad5a9");
        check(Hash::Average, 100, 60, "bd96233dda9e3909");
        check(Hash::Wavelet, 100, 60, "2d9669b6d29a3549");
        check(Hash::Perceptual, 5, 7, "b807788778877c78");
        check(Hash::Difference, 5, 7, "ffffffffffff3f1f");
        check(Hash::Average, 5, 7, "000000033fffffc0");
        check(Hash::Wavelet, 5, 7, "0000030fffffffc0");
    }

    #[test]
    fn an_image_of_one_colour_has_the_hash_of_python() {
        let image = Image {
            width: 40,
            height: 40,
            channels: 3,
            data: vec![137; 40 * 40 * 3],
        };
        let hash = |hash: Hash| hash.of(image.as_ref()).unwrap();
        assert_eq!(hash(Hash::Perceptual), 1 << 63);
        assert_eq!(hash(Hash::Difference), 0);
        assert_eq!(hash(Hash::Average), 0);
    }

    #[test]
    fn names_are_read() {
        assert_eq!("DHash".parse(), Ok(Hash::Difference));
        let error = "md5".parse::<Hash>().unwrap_err().to_string();
        assert!(error.contains("phash, dhash, ahash or whash, got 'md5'"));
    }
}
