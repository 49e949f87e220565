//! Images or numbers with labels, held once in memory and shared by all trials on them.

use crate::Error;
use crate::columns::{Column, ColumnKind};
use crate::precision::{Wide, narrowed, needs_64_bits};
use crate::random::Stream;
use crate::scaling::{Scale, Scaling};

/// The largest size of a number. The variance of larger ones would need squares that
/// float64 cannot add up.
const LARGEST: f64 = 1e150;

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

/// The features of a dataset: what a network sees of each row.
#[derive(Clone, Debug, PartialEq)]
pub enum Features {
    /// Images in NHWC order. A pixel is divided by 255 on its way into a network.
    Pixels(Vec<u8>),
    /// Numbers, row by row. Each is standardised by the training split on its way into a
    /// network. Where the dataset has columns, these say what each number stands for.
    Numbers(Vec<f64>),
}

/// The true answers of a dataset, one for each row.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// Each row belongs to one of a few classes.
    Classes {
        /// The class index of each row.
        indices: Vec<u32>,
        /// The name of each class.
        names: Vec<String>,
    },
    /// Each row has any number of labels, none too.
    Sets {
        /// The indices of the labels of each row, each once and in their order.
        sets: Vec<Vec<u32>>,
        /// The name of each label.
        names: Vec<String>,
    },
    /// Each row has a number, which a network learns to predict.
    Numbers(Vec<f64>),
}

impl Labels {
    /// The number of rows.
    pub fn len(&self) -> usize {
        match self {
            Labels::Classes { indices, .. } => indices.len(),
            Labels::Sets { sets, .. } => sets.len(),
            Labels::Numbers(numbers) => numbers.len(),
        }
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class index of each row; empty for sets and numbers.
    pub fn indices(&self) -> &[u32] {
        match self {
            Labels::Classes { indices, .. } => indices,
            Labels::Sets { .. } | Labels::Numbers(_) => &[],
        }
    }

    /// The name of each class or label; empty for numbers.
    pub fn class_names(&self) -> &[String] {
        match self {
            Labels::Classes { names, .. } | Labels::Sets { names, .. } => names,
            Labels::Numbers(_) => &[],
        }
    }

    /// Whether these numbers need 64 bits. If 32 bits tell all of them apart, rounds them to
    /// 32 bits.
    fn widen(&mut self) -> bool {
        match self {
            Labels::Numbers(numbers) => widen(numbers, 1),
            Labels::Classes { .. } | Labels::Sets { .. } => false,
        }
    }

    fn check(&self) -> Result<(), Error> {
        let (indices, names) = match self {
            Labels::Classes { indices, names } => (indices, names),
            Labels::Sets { sets, names } => return check_sets(sets, names),
            Labels::Numbers(numbers) => {
                return match numbers.iter().position(|number| !is_usable(*number)) {
                    Some(row) => {
                        problem(format!("row {row} has the label {}", numbers[row]))
                    }
                    None => Ok(()),
                };
            }
        };
        if names.len() < 2 {
            return problem(format!(
                "a classifier needs at least 2 classes, got {}",
                names.len()
            ));
        }
        for (row, &label) in indices.iter().enumerate() {
            if label as usize >= names.len() {
                return problem(format!(
                    "row {row} has label {label}, but there are {} classes (0 to {})",
                    names.len(),
                    names.len() - 1
                ));
            }
        }
        Ok(())
    }
}

/// Labelled images of one size, or labelled rows of numbers.
///
/// The fields are public to be read; build it with [`Dataset::new`] or
/// [`Dataset::of_numbers`], which check that they fit together.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The size of every image. A row of numbers is one pixel with a channel for each.
    pub shape: ImageShape,
    /// What a network sees.
    pub features: Features,
    /// What it should say.
    pub labels: Labels,
    /// Which numbers have 64 bits. The others are 32-bit numbers.
    pub wide: Wide,
    /// How much each row counts while training, if not all count alike.
    pub weights: Option<Vec<f64>>,
    /// The columns that the numbers of a row come from, where they have names. Without them
    /// a network takes all numbers as one list.
    pub columns: Vec<Column>,
    /// The name of the column of labels, where columns have names.
    pub target: Option<String>,
}

impl Dataset {
    /// Images and their classes. Checks that pixels, labels and classes fit together.
    pub fn new(
        shape: ImageShape,
        pixels: Vec<u8>,
        labels: Vec<u32>,
        class_names: Vec<String>,
    ) -> Result<Self, Error> {
        let labels = Labels::Classes {
            indices: labels,
            names: class_names,
        };
        Self::of_images(shape, pixels, labels)
    }

    /// Images and classes, or numbers to predict.
    pub fn of_images(
        shape: ImageShape,
        pixels: Vec<u8>,
        mut labels: Labels,
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
        labels.check()?;
        let wide = Wide {
            features: false,
            labels: labels.widen(),
        };
        Ok(Self {
            shape,
            features: Features::Pixels(pixels),
            labels,
            wide,
            weights: None,
            columns: Vec::new(),
            target: None,
        })
    }

    /// Rows of mixed columns and classes, or numbers to predict, in a column called `target`.
    ///
    /// `numbers` has the values of a row one after the other: numbers, days since 1970, or
    /// the places of texts in the lists of their columns; NaN where there is none.
    pub fn of_columns(
        mut columns: Vec<Column>,
        mut numbers: Vec<f64>,
        mut labels: Labels,
        target: String,
    ) -> Result<Self, Error> {
        let width: usize = columns.iter().map(Column::width).sum();
        if labels.is_empty() {
            return problem("it has no rows".to_owned());
        }
        if width == 0 || labels.len().checked_mul(width) != Some(numbers.len()) {
            return problem(format!(
                "{} rows of {width} values in columns need {} values, at least one each, \
                 got {}",
                labels.len(),
                labels.len().saturating_mul(width),
                numbers.len()
            ));
        }
        let mut start = 0;
        for column in &mut columns {
            column.measure(&mut numbers, start, width)?;
            let values = numbers.iter().skip(start).step_by(width);
            if let ColumnKind::Text(texts) = &column.kind
                && let Some(place) = values
                    .filter(|value| !value.is_nan())
                    .find(|value| **value < 0.0 || **value >= texts.len() as f64)
            {
                return problem(format!("column {} has no text {place}", column.name));
            }
            start += column.width();
        }
        labels.check()?;
        let wide = Wide {
            features: columns.iter().any(|column| column.wide),
            labels: labels.widen(),
        };
        Ok(Self {
            shape: ImageShape {
                height: 1,
                width: 1,
                channels: width,
            },
            features: Features::Numbers(numbers),
            labels,
            wide,
            weights: None,
            columns,
            target: Some(target),
        })
    }

    /// The same rows with a weight each.
    pub fn with_weights(self, weights: Vec<f64>) -> Result<Self, Error> {
        if weights.len() != self.len() {
            let (rows, count) = (self.len(), weights.len());
            return problem(format!("{rows} rows need as many weights, got {count}"));
        }
        let is_wrong = |weight: &f64| !is_usable(*weight) || *weight < 0.0;
        if let Some(row) = weights.iter().position(is_wrong) {
            let weight = weights[row];
            return problem(format!("row {row} has the weight {weight}"));
        }
        Ok(Self {
            weights: Some(weights),
            ..self
        })
    }

    /// Rows of `width` numbers and classes, or numbers to predict.
    pub fn of_numbers(
        width: usize,
        mut numbers: Vec<f64>,
        mut labels: Labels,
    ) -> Result<Self, Error> {
        if labels.is_empty() {
            return problem("it has no rows".to_owned());
        }
        if width == 0 || labels.len().checked_mul(width) != Some(numbers.len()) {
            return problem(format!(
                "{} rows of {width} numbers need {} values, at least one each, got {}",
                labels.len(),
                labels.len().saturating_mul(width),
                numbers.len()
            ));
        }
        if let Some(place) = numbers.iter().position(|number| !is_usable(*number)) {
            return problem(format!(
                "row {} has the value {}; replace or leave out what is not finite",
                place / width,
                numbers[place]
            ));
        }
        labels.check()?;
        let wide = Wide {
            features: widen(&mut numbers, width),
            labels: labels.widen(),
        };
        Ok(Self {
            shape: ImageShape {
                height: 1,
                width: 1,
                channels: width,
            },
            features: Features::Numbers(numbers),
            labels,
            wide,
            weights: None,
            columns: Vec::new(),
            target: None,
        })
    }

    /// The pixels of all images; empty for rows of numbers.
    pub fn pixels(&self) -> &[u8] {
        match &self.features {
            Features::Pixels(pixels) => pixels,
            Features::Numbers(_) => &[],
        }
    }

    /// Whether rows are images.
    pub fn has_images(&self) -> bool {
        matches!(self.features, Features::Pixels(_))
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are no rows; never true for a checked dataset.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The number of classes; 0 where there are numbers to predict.
    pub fn classes(&self) -> usize {
        self.labels.class_names().len()
    }

    /// The pixels of one image; none of a row of numbers.
    pub(crate) fn image(&self, row: u32) -> &[u8] {
        let values = self.shape.values();
        match &self.features {
            Features::Pixels(pixels) => &pixels[row as usize * values..][..values],
            Features::Numbers(_) => &[],
        }
    }

    /// Copies the features of `rows` into `out`, which is `[rows, height, width, channels]`
    /// or `[rows, inputs]`, as networks see them: pixels from 0 to 1, numbers with
    /// mean 0 and standard deviation 1, columns as their [`Layout`](crate::columns::Layout)
    /// says.
    pub(crate) fn gather(&self, rows: &[u32], scaling: &Scaling, inputs: &mut [f32]) {
        let values = self.shape.values();
        if let (Some(encoding), Features::Numbers(numbers)) =
            (&scaling.encoding, &self.features)
        {
            let inputs = inputs.chunks_exact_mut(encoding.layout.width());
            for (&row, inputs) in rows.iter().zip(inputs) {
                encoding.encode(&numbers[row as usize * values..][..values], inputs);
            }
            return;
        }
        for (&row, input) in rows.iter().zip(inputs.chunks_exact_mut(values)) {
            match &self.features {
                Features::Pixels(_) => scale(self.image(row), input),
                Features::Numbers(numbers) => {
                    let numbers = &numbers[row as usize * values..][..values];
                    let numbers = numbers.iter().zip(&scaling.features);
                    for (value, (number, scale)) in input.iter_mut().zip(numbers) {
                        *value = scale.apply(*number);
                    }
                }
            }
        }
    }

    /// Copies the class indices of `rows` into `out`, one a row. Does nothing where numbers
    /// are predicted.
    pub(crate) fn gather_classes(&self, rows: &[u32], classes: &mut [u32]) {
        if let Labels::Classes { indices, .. } = &self.labels {
            for (&row, class) in rows.iter().zip(classes) {
                *class = indices[row as usize];
            }
        }
    }

    /// Writes for each of `rows` and each label whether the row has it, 1 or 0. Does nothing
    /// where rows have no sets of labels.
    pub(crate) fn gather_sets(&self, rows: &[u32], targets: &mut [f32]) {
        if let Labels::Sets { sets, names } = &self.labels {
            targets.fill(0.0);
            for (&row, targets) in rows.iter().zip(targets.chunks_exact_mut(names.len()))
            {
                for label in &sets[row as usize] {
                    targets[*label as usize] = 1.0;
                }
            }
        }
    }

    /// Copies the numbers to predict for `rows` into `out`, one a row, with mean 0 and
    /// standard deviation 1 over the training split.
    pub(crate) fn gather_numbers(
        &self,
        rows: &[u32],
        scale: &Scale,
        targets: &mut [f32],
    ) {
        for (&row, target) in rows.iter().zip(targets) {
            let number = match &self.labels {
                Labels::Classes { indices, .. } => f64::from(indices[row as usize]),
                Labels::Numbers(numbers) => numbers[row as usize],
                // Their loss is another.
                Labels::Sets { .. } => 0.0,
            };
            *target = scale.apply(number);
        }
    }
}

fn check_sets(sets: &[Vec<u32>], names: &[String]) -> Result<(), Error> {
    if names.is_empty() {
        return problem("no row has a label".to_owned());
    }
    for (row, set) in sets.iter().enumerate() {
        if !set.is_sorted_by(|a, b| a < b)
            || set.iter().any(|n| *n as usize >= names.len())
        {
            return problem(format!(
                "row {row} has the labels {set:?}, which must be different ones of {}, in \
                 order",
                names.len()
            ));
        }
    }
    Ok(())
}

/// Whether a network can be trained on this number: it is finite and not too large.
pub(crate) fn is_usable(number: f64) -> bool {
    number.is_finite() && number.abs() <= LARGEST
}

/// Whether any of the columns of rows of `width` numbers needs 64 bits. If none does, all
/// become 32-bit numbers.
fn widen(numbers: &mut [f64], width: usize) -> bool {
    let column = |n: usize| numbers.iter().skip(n).step_by(width).copied();
    let wide = (0..width).any(|n| needs_64_bits(column(n)));
    if !wide {
        for number in numbers {
            *number = narrowed(*number);
        }
    }
    wide
}

/// Divides bytes by 255, which gives numbers from 0 to 1.
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

    /// Checks that both parts have rows and that the dataset has those rows. Without a
    /// choice of the best epoch none need validate.
    pub(crate) fn check(&self, dataset: &Dataset, validates: bool) -> Result<(), Error> {
        let parts = [
            ("training", &self.train, true),
            ("validation", &self.validation, validates),
        ];
        for (name, rows, is_needed) in parts {
            if rows.is_empty() && is_needed {
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
    fn numbers_that_are_not_finite_are_refused() {
        let labels = || Labels::Numbers(vec![1.0, 2.0]);
        let check = |result: Result<Dataset, Error>, expected: &str| {
            assert_eq!(result.unwrap_err().to_string(), expected);
        };
        check(
            Dataset::of_numbers(2, vec![0.0, 1.0, f64::NAN, 3.0], labels()),
            "dataset: row 1 has the value NaN; replace or leave out what is not finite",
        );
        check(
            Dataset::of_numbers(2, vec![0.0; 3], labels()),
            "dataset: 2 rows of 2 numbers need 4 values, at least one each, got 3",
        );
        check(
            Dataset::of_numbers(1, vec![0.0; 1], Labels::Numbers(vec![f64::INFINITY])),
            "dataset: row 0 has the label inf",
        );
    }

    #[test]
    fn gathered_numbers_are_scaled() {
        let labels = Labels::Numbers(vec![5.0, 9.0]);
        let dataset = Dataset::of_numbers(2, vec![0.0, 1.0, 2.0, 3.0], labels).unwrap();
        let scale = |mean, inverse| Scale {
            mean,
            inverse,
            wide: false,
        };
        let scaling = Scaling {
            features: vec![scale(1.0, 1.0), scale(1.0, 0.5)],
            encoding: None,
            target: None,
        };
        let (mut inputs, mut targets) = ([9.0; 2], [9.0]);
        dataset.gather(&[1], &scaling, &mut inputs);
        dataset.gather_numbers(&[1], &scale(5.0, 0.5), &mut targets);
        assert_eq!((inputs, targets), ([1.0, 1.0], [2.0]));
    }

    #[test]
    fn gathered_pixels_are_between_zero_and_one() {
        let dataset = dataset(8, &[0, 1]).unwrap();
        let (mut images, mut labels) = ([0.0; 4], [9]);
        dataset.gather(&[1], &Scaling::default(), &mut images);
        dataset.gather_classes(&[1], &mut labels);
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
        let error = split
            .check(&dataset(8, &[0, 1]).unwrap(), true)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "dataset: the validation split names row 2, but there are 2 rows"
        );
    }
}
