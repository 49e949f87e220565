//! Images on both sides of a split that show nearly the same: what a network knows by heart
//! says nothing of images that it never saw.

mod features;

use std::collections::HashMap;

use atoll_imaging::{Hash, ImageRef};
use atoll_near::Hashes;
use atoll_nn::{Dataset, Split};

/// The most bits in which the hashes of near-identical images differ.
const DISTANCE: u32 = 3;

/// How alike the pixels of such images are: the least correlation. A hash sees 72 parts of
/// an image, and different digits or scans may agree in those.
const CORRELATION: f64 = 0.98;

/// Images with a shorter side are compared by their pixels alone: there are too few of
/// them for a hash.
const SMALLEST: usize = 32;

/// Images that share a part of their hash are compared with so many others at most. Blank
/// ones agree with the first.
const COMPARED: usize = 256;

/// How many images validate and have a near-identical one to train on, as a warning.
/// `has_features` says that numbers are the features of images.
pub(super) fn near_identical(
    dataset: &Dataset,
    splits: &[Split],
    has_features: bool,
) -> Option<String> {
    let mut found = 0;
    if dataset.has_images() {
        let images = Images::new(dataset)?;
        for split in splits {
            let known = Known::new(&images, &split.train);
            let validation = split.validation.iter();
            found += validation.filter(|row| known.has(**row)).count();
        }
    } else if has_features {
        let rows = features::Rows::new(dataset)?;
        found = splits.iter().map(|split| rows.copies(split)).sum();
    }
    let validated: usize = splits.iter().map(|split| split.validation.len()).sum();
    let is = if found == 1 { "is" } else { "are" };
    (found > 0).then(|| {
        format!(
            "of the {validated} images that validate {found} {is} nearly the same as one that \
             is trained on, so that scores are better than they should be; name a column that \
             the copies share, {{group: '...'}}, or leave copies out"
        )
    })
}

/// The images of a dataset, each with its hash.
struct Images<'a> {
    pixels: &'a [u8],
    values: usize,
    /// Empty where images are too small.
    hashes: Vec<u64>,
}

impl<'a> Images<'a> {
    fn new(dataset: &'a Dataset) -> Option<Self> {
        let (shape, pixels) = (dataset.shape, dataset.pixels());
        let is_hashed = shape.height.min(shape.width) >= SMALLEST;
        let hash = |data: &[u8]| {
            let image = ImageRef {
                width: u32::try_from(shape.width).ok()?,
                height: u32::try_from(shape.height).ok()?,
                channels: u8::try_from(shape.channels).ok()?,
                data,
            };
            Hash::Difference.of(image).ok()
        };
        let values = shape.values();
        let hashes = match is_hashed {
            true => pixels
                .chunks_exact(values)
                .map(hash)
                .collect::<Option<_>>()?,
            false => vec![],
        };
        Some(Self {
            pixels,
            values,
            hashes,
        })
    }

    fn pixels(&self, row: u32) -> &'a [u8] {
        &self.pixels[row as usize * self.values..][..self.values]
    }
}

/// The images that a network is trained on, by what they look like.
struct Known<'a> {
    images: &'a Images<'a>,
    /// By their pixels, where those are compared.
    equal: HashMap<&'a [u8], u32>,
    /// By their hashes, and which rows these are of.
    hashes: Hashes,
    rows: Vec<u32>,
}

impl<'a> Known<'a> {
    fn new(images: &'a Images<'a>, rows: &[u32]) -> Self {
        let mut known = Self {
            images,
            equal: HashMap::new(),
            hashes: Hashes::at_most(DISTANCE, COMPARED),
            rows: vec![],
        };
        for row in rows {
            match images.hashes.get(*row as usize) {
                None => {
                    known.equal.insert(images.pixels(*row), *row);
                }
                Some(hash) => {
                    known.hashes.add(*hash);
                    known.rows.push(*row);
                }
            }
        }
        known
    }

    fn has(&self, row: u32) -> bool {
        let Some(hash) = self.images.hashes.get(row as usize) else {
            return self.equal.contains_key(self.images.pixels(row));
        };
        self.hashes.find(*hash).any(|(number, _)| {
            let other = self.images.pixels(self.rows[number as usize]);
            correlation(self.images.pixels(row), other) >= CORRELATION
        })
    }
}

/// Pearson's correlation; images without contrast are alike.
fn correlation(a: &[u8], b: &[u8]) -> f64 {
    let mean = |pixels: &[u8]| {
        pixels.iter().map(|pixel| u64::from(*pixel)).sum::<u64>() as f64
            / pixels.len() as f64
    };
    let (first, second) = (mean(a), mean(b));
    let (mut both, mut one, mut other) = (0.0, 0.0, 0.0);
    for (a, b) in a.iter().zip(b) {
        let (a, b) = (f64::from(*a) - first, f64::from(*b) - second);
        both += a * b;
        one += a * a;
        other += b * b;
    }
    match (one == 0.0, other == 0.0) {
        (true, true) => 1.0,
        (false, false) => both / (one * other).sqrt(),
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use atoll_nn::ImageShape;

    fn dataset(side: usize, images: &[Vec<u8>]) -> Dataset {
        let shape = ImageShape {
            height: side,
            width: side,
            channels: 1,
        };
        let labels = (0..images.len() as u32).map(|n| n % 2).collect();
        let names = ["a", "b"].map(String::from).to_vec();
        Dataset::new(shape, images.concat(), labels, names).unwrap()
    }

    /// Waves of a kind of their own for each number.
    fn waves(side: usize, kind: f64) -> Vec<u8> {
        let value = |n: usize| {
            let (y, x) = ((n / side) as f64, (n % side) as f64);
            let wave =
                (x * (0.2 + 0.11 * kind)).sin() + (y * (0.3 + 0.07 * kind) + kind).cos();
            wave.mul_add(50.0, 128.0) as u8
        };
        (0..side * side).map(value).collect()
    }

    #[track_caller]
    fn check(
        dataset: &Dataset,
        train: &[u32],
        validation: &[u32],
        expected: Option<&str>,
    ) {
        let split = Split {
            train: train.to_vec(),
            validation: validation.to_vec(),
        };
        let warning = near_identical(dataset, &[split], false);
        match expected {
            None => assert_eq!(warning, None),
            Some(expected) => {
                let warning = warning.unwrap();
                assert!(warning.starts_with(expected), "{warning}");
            }
        }
    }

    #[test]
    fn copies_on_both_sides_are_counted() {
        let mut noisy = waves(48, 1.0);
        noisy
            .iter_mut()
            .step_by(7)
            .for_each(|pixel| *pixel = pixel.saturating_add(3));
        let brighter = waves(48, 2.0).iter().map(|pixel| pixel / 2 + 80).collect();
        let kinds = [0.0, 1.0, 2.0, 3.0, 4.0].map(|kind| waves(48, kind));
        let images = [kinds.to_vec(), vec![noisy, brighter]].concat();
        let data = dataset(48, &images);
        check(&data, &[0, 1, 2], &[3, 4], None);
        check(
            &data,
            &[0, 1, 2],
            &[3, 5, 6],
            Some("of the 3 images that validate 2 are nearly the same"),
        );
        // Copies on one side are nobody's fault.
        check(&data, &[0, 1, 5], &[2, 6, 4], None);
    }

    #[test]
    fn small_images_are_compared_by_their_pixels() {
        let mut images = [0.0, 1.0, 2.0].map(|kind| waves(8, kind)).to_vec();
        images.push(images[0].clone());
        images.push(images[1].clone());
        images[4][0] ^= 1;
        let data = dataset(8, &images);
        check(
            &data,
            &[0, 1, 2],
            &[3, 4],
            Some("of the 2 images that validate 1 is nearly the same"),
        );
    }
}
