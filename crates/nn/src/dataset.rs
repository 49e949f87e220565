//! Images with labels, held once in memory and shared by all trials on them.

use crate::Error;
use crate::random::Stream;

/// The size of every image of a dataset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageShape {
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
    /// Values per pixel: 1 for grey, 3 for RGB.
    pub channels: usize,
}

impl ImageShape {
    /// The number of values in one image.
    pub fn values(&self) -> usize {
        self.height * self.width * self.channels
    }
}

/// Labelled images of one size.
///
/// The fields are public to be read; build it with [`Dataset::new`], which checks that
/// they fit together.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The size of every image.
    pub shape: ImageShape,
    /// The pixels in NHWC order. A pixel is divided by 255 on its way into a network.
    pub pixels: Vec<u8>,
    /// The class index of each image.
    pub labels: Vec<u32>,
    /// The name of each class.
    pub class_names: Vec<String>,
}

impl Dataset {
    /// Checks that pixels, labels and classes fit together.
    pub fn new(
        shape: ImageShape,
        pixels: Vec<u8>,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self, Error> {
        let ImageShape {
            height,
            width,
            channels,
        } = shape;
        let values = height
            .checked_mul(width)
            .and_then(|pixels| pixels.checked_mul(channels))
            .unwrap_or(usize::MAX);
        if values == 0 {
            return problem(format!(
                "an image must have at least one pixel, got {height} x {width} x {channels}"
            ));
        }
        if labels.is_empty() {
            return problem("it has no rows".to_owned());
        }
        if labels.len().checked_mul(values) != Some(pixels.len()) {
            return problem(format!(
                "{} images of {height} x {width} x {channels} need {} values, got {}",
                labels.len(),
                labels.len().saturating_mul(values),
                pixels.len()
            ));
        }
        if class_names.len() < 2 {
            return problem(format!(
                "a classifier needs at least 2 classes, got {}",
                class_names.len()
            ));
        }
        for (row, &label) in labels.iter().enumerate() {
            if label as usize >= class_names.len() {
                return problem(format!(
                    "row {row} has label {label}, but there are {} classes (0 to {})",
                    class_names.len(),
                    class_names.len() - 1
                ));
            }
        }
        Ok(Self {
            shape,
            pixels,
            labels,
            class_names,
        })
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no images; never true for a checked dataset.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The number of classes.
    pub fn classes(&self) -> usize {
        self.class_names.len()
    }

    /// The pixels of one image.
    pub(crate) fn image(&self, row: u32) -> &[u8] {
        let values = self.shape.values();
        &self.pixels[row as usize * values..][..values]
    }

    /// Copies the images of `rows` into a buffer of exactly that size.
    pub(crate) fn gather(&self, rows: &[u32], images: &mut [f32]) {
        let images = images.chunks_exact_mut(self.shape.values());
        for (&row, image) in rows.iter().zip(images) {
            scale(self.image(row), image);
        }
    }

    /// Copies the labels of `rows` into a buffer of exactly that size.
    pub(crate) fn gather_labels(&self, rows: &[u32], labels: &mut [u32]) {
        for (&row, label) in rows.iter().zip(labels) {
            *label = self.labels[row as usize];
        }
    }
}

/// From bytes to the unit interval.
pub(crate) fn scale(pixels: &[u8], values: &mut [f32]) {
    for (value, &pixel) in values.iter_mut().zip(pixels) {
        *value = f32::from(pixel) / 255.0;
    }
}

fn problem<T>(problem: String) -> Result<T, Error> {
    Err(Error::Dataset { problem })
}

/// Which rows train a network and which ones select it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// Row indices whose images the network learns from.
    pub train: Vec<u32>,
    /// Row indices whose images choose the best epoch.
    pub validation: Vec<u32>,
}

impl Split {
    /// Takes a random `fraction` of the rows for validation, at least one.
    ///
    /// The rows of each part keep the order of the table.
    pub fn by_fraction(rows: usize, fraction: f64, seed: u64) -> Result<Split, Error> {
        if !(fraction > 0.0 && fraction < 1.0) {
            return Err(Error::Hyperparameter {
                name: "validation_fraction".to_owned(),
                expected: "greater than 0 and less than 1".to_owned(),
                actual: fraction.to_string(),
            });
        }
        let Some(rows) = u32::try_from(rows).ok().filter(|rows| *rows >= 2) else {
            return problem(format!(
                "a split needs from 2 to {} rows, got {rows}",
                u32::MAX
            ));
        };
        let held_out = (f64::from(rows) * fraction).round() as u32;
        let held_out = held_out.clamp(1, rows - 1) as usize;
        let mut order: Vec<u32> = (0..rows).collect();
        Stream::new(seed, "split").shuffle(&mut order);
        let mut train = order.split_off(held_out);
        let mut validation = order;
        train.sort_unstable();
        validation.sort_unstable();
        Ok(Split { train, validation })
    }

    /// Checks that both parts have rows and that the dataset has those rows.
    pub(crate) fn check(&self, dataset: &Dataset) -> Result<(), Error> {
        for (name, rows) in [("training", &self.train), ("validation", &self.validation)]
        {
            if rows.is_empty() {
                return problem(format!("the {name} split has no rows"));
            }
            if let Some(row) = rows.iter().find(|row| **row as usize >= dataset.len()) {
                return problem(format!(
                    "the {name} split names row {row}, but there are {} rows",
                    dataset.len()
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dataset(pixels: usize, labels: &[u32]) -> Result<Dataset, Error> {
        let shape = ImageShape {
            height: 2,
            width: 2,
            channels: 1,
        };
        let names = vec!["cat".to_owned(), "dog".to_owned()];
        Dataset::new(shape, vec![51; pixels], labels.to_vec(), names)
    }

    #[track_caller]
    fn check_refused(pixels: usize, labels: &[u32], expected: &str) {
        assert_eq!(dataset(pixels, labels).unwrap_err().to_string(), expected);
    }

    #[test]
    fn what_does_not_fit_together_is_refused() {
        check_refused(0, &[], "dataset: it has no rows");
        check_refused(
            7,
            &[0, 1],
            "dataset: 2 images of 2 x 2 x 1 need 8 values, got 7",
        );
        check_refused(
            8,
            &[0, 2],
            "dataset: row 1 has label 2, but there are 2 classes (0 to 1)",
        );
    }

    #[test]
    fn gathered_pixels_are_between_zero_and_one() {
        let dataset = dataset(8, &[0, 1]).unwrap();
        let (mut images, mut labels) = ([0.0; 4], [9]);
        dataset.gather(&[1], &mut images);
        dataset.gather_labels(&[1], &mut labels);
        assert_eq!(images, [0.2; 4]);
        assert_eq!(labels, [1]);
    }

    #[test]
    fn a_split_covers_every_row_once() {
        let split = Split::by_fraction(100, 0.1, 1).unwrap();
        assert_eq!((split.train.len(), split.validation.len()), (90, 10));
        let mut rows = [split.train.clone(), split.validation.clone()].concat();
        rows.sort_unstable();
        assert_eq!(rows, (0..100).collect::<Vec<_>>());
        assert_eq!(split, Split::by_fraction(100, 0.1, 1).unwrap());
        assert_ne!(split, Split::by_fraction(100, 0.1, 2).unwrap());
    }

    #[test]
    fn both_parts_of_a_small_split_have_rows() {
        let split = Split::by_fraction(2, 0.001, 1).unwrap();
        assert_eq!((split.train.len(), split.validation.len()), (1, 1));
    }

    #[test]
    fn impossible_splits_are_refused() {
        for fraction in [0.0, 1.0, -0.1, f64::NAN] {
            let error = Split::by_fraction(10, fraction, 1).unwrap_err();
            assert!(error.is_infeasible(), "{error}");
        }
        assert!(Split::by_fraction(1, 0.5, 1).is_err());
        let split = Split {
            train: vec![0],
            validation: vec![2],
        };
        let error = split.check(&dataset(8, &[0, 1]).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dataset: the validation split names row 2, but there are 2 rows"
        );
    }
}
