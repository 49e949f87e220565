//! The rows of a dataset in memory: what a network sees of each, its label and its split.

use std::ops::Range;

use super::columns::TableColumn;
use atoll_imaging::ImageRef;
use atoll_nn::{ImageShape, needs_64_bits};
use atoll_udf_common::structs::suggest;
use datafusion::common::{Result, exec_err};

/// The part of a dataset that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Split {
    /// Rows that a network learns from.
    Train,
    /// Rows that choose the best epoch and the best trial.
    Validation,
    /// Rows that only `evaluate` sees.
    Test,
}

impl Split {
    const NAMES: [(&str, Split); 3] = [
        ("train", Split::Train),
        ("validation", Split::Validation),
        ("test", Split::Test),
    ];

    /// The split with this name in a split column.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        if let Some((_, split)) = Self::NAMES.iter().find(|(valid, _)| *valid == name) {
            return Ok(*split);
        }
        let valid = Self::NAMES.map(|(valid, _)| valid);
        let hint = suggest(name, valid)
            .map_or_else(String::new, |valid| format!("; did you mean '{valid}'?"));
        exec_err!("a split must be 'train', 'validation' or 'test', got '{name}'{hint}")
    }

    /// The name of this split in a split column.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// All rows of a dataset, or of a part of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Table {
    /// What a network sees of each row.
    pub(crate) features: Features,
    /// The label of each row.
    pub(crate) labels: Labels,
    /// The split of each row; empty without a split column.
    pub(crate) splits: Vec<Split>,
    /// The group of each row; empty where none was asked for.
    pub(crate) groups: Vec<String>,
    /// How much each row counts while training; empty where all count alike.
    pub(crate) weights: Vec<f64>,
    /// The name of the label column.
    pub(crate) target: String,
    /// What class indices are called, if the dataset says it.
    pub(crate) class_names: Option<Vec<String>>,
    /// A sentence on the images that are left out because they cannot be read, or on the
    /// columns from which nothing can be learned.
    pub(crate) left_out: Option<String>,
}

/// What a network sees of each row: an image, or numbers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Features {
    /// An image a row.
    Pixels(Images),
    /// As many numbers a row.
    Numbers(Numbers),
    /// Columns with names.
    Columns(Vec<TableColumn>),
}

/// Images in one buffer, one after the other, each in HWC order.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Images {
    /// The size of each image.
    pub(crate) shapes: Vec<ImageShape>,
    /// Where each image ends in `bytes`.
    ends: Vec<usize>,
    /// The pixels, from 0 to 255.
    pub(crate) bytes: Vec<u8>,
}

/// Rows of numbers in one buffer, one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Numbers {
    /// The columns that the numbers of a row come from; of columns of lists how many come
    /// from each.
    pub(crate) columns: Vec<(String, Option<usize>)>,
    /// Where each row ends in `values`.
    ends: Vec<usize>,
    /// The numbers.
    pub(crate) values: Vec<f64>,
}

/// The labels of all rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Labels {
    /// Class indices.
    Indices(Vec<u32>),
    /// Class names.
    Names(Vec<String>),
    /// Names of any number of labels.
    Sets(Vec<Vec<String>>),
    /// Numbers to predict.
    Numbers(Vec<f64>),
}

impl Table {
    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        match &self.labels {
            Labels::Indices(labels) => labels.len(),
            Labels::Names(labels) => labels.len(),
            Labels::Sets(labels) => labels.len(),
            Labels::Numbers(labels) => labels.len(),
        }
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The same rows with names for labels, where the dataset says what its class indices
    /// are called.
    pub(crate) fn with_named_classes(mut self) -> Self {
        if let (Some(names), Labels::Indices(indices)) = (&self.class_names, &self.labels)
        {
            let mut called = names.iter().enumerate();
            let are_indices = called.all(|(index, name)| *name == index.to_string());
            let labels = indices
                .iter()
                .map(|index| names.get(*index as usize).cloned());
            if let (false, Some(labels)) = (are_indices, labels.collect()) {
                self.labels = Labels::Names(labels);
            }
        }
        self
    }

    /// The columns that a model can depend on, as people call them; none of images.
    pub(crate) fn feature_names(&self) -> Vec<String> {
        match &self.features {
            Features::Pixels(_) => vec![],
            Features::Columns(columns) => {
                columns.iter().map(|column| column.name.clone()).collect()
            }
            Features::Numbers(numbers) => {
                let width = |width: Option<usize>| width.unwrap_or(1);
                let names = numbers.columns.iter().flat_map(|(name, list)| {
                    (1..=width(*list)).map(move |n| format!("{name}[{n}]"))
                });
                names.collect()
            }
        }
    }

    /// Gives one of [`Self::feature_names`] the values that it has in these rows of `other`,
    /// which has the same features.
    pub(crate) fn take_feature(&mut self, place: usize, other: &Table, rows: &[u32]) {
        match (&mut self.features, &other.features) {
            (Features::Columns(columns), Features::Columns(others)) => {
                columns[place].take(&others[place], rows);
            }
            (Features::Numbers(numbers), Features::Numbers(others)) => {
                let width = numbers.width().unwrap_or(1).max(1);
                let targets = numbers.values.iter_mut().skip(place).step_by(width);
                for (target, row) in targets.zip(rows) {
                    *target = others.values[*row as usize * width + place];
                }
            }
            // Images have no features that a name is given to.
            _ => {}
        }
    }

    /// Adds rows of the same kinds.
    pub(super) fn append(&mut self, other: Table) {
        match (&mut self.features, other.features) {
            (Features::Pixels(all), Features::Pixels(more)) => all.append(more),
            (Features::Numbers(all), Features::Numbers(more)) => all.append(more),
            // One reader reads all record batches of a dataset, so the kinds are the same.
            (Features::Columns(all), Features::Columns(more)) => {
                all.iter_mut()
                    .zip(&more)
                    .for_each(|(all, more)| all.append(more));
            }
            (Features::Pixels(_) | Features::Numbers(_) | Features::Columns(_), _) => {}
        }
        match (&mut self.labels, other.labels) {
            (Labels::Indices(all), Labels::Indices(more)) => all.extend(more),
            (Labels::Names(all), Labels::Names(more)) => all.extend(more),
            (Labels::Numbers(all), Labels::Numbers(more)) => all.extend(more),
            (Labels::Sets(all), Labels::Sets(more)) => all.extend(more),
            (
                Labels::Indices(_)
                | Labels::Names(_)
                | Labels::Sets(_)
                | Labels::Numbers(_),
                _,
            ) => {}
        }
        self.splits.extend(other.splits);
        self.groups.extend(other.groups);
        self.weights.extend(other.weights);
    }
}

impl Features {
    /// Whether FLOAT is too little to tell any column of numbers apart.
    pub(crate) fn need_64_bits(&self) -> bool {
        match self {
            // Columns are looked at one by one.
            Self::Pixels(_) | Self::Columns(_) => false,
            Self::Numbers(numbers) => {
                let width = numbers.width().unwrap_or_default();
                (0..width).any(|n| needs_64_bits(numbers.column(n)))
            }
        }
    }
}

impl Images {
    /// The bytes of one image.
    pub(crate) fn pixels(&self, row: usize) -> &[u8] {
        &self.bytes[place(&self.ends, row)]
    }

    /// One image, as the preprocessing of a model takes it.
    pub(crate) fn image_ref(&self, row: usize) -> ImageRef<'_> {
        let ImageShape {
            height,
            width,
            channels,
        } = self.shapes[row];
        ImageRef {
            width: width as u32,
            height: height as u32,
            channels: channels as u8,
            data: self.pixels(row),
        }
    }

    /// Adds an image.
    pub(super) fn push(&mut self, image: &ImageRef<'_>) {
        self.bytes.extend_from_slice(image.data);
        self.end(ImageShape {
            height: image.height as usize,
            width: image.width as usize,
            channels: image.channels.into(),
        });
    }

    /// Makes an image of the bytes since the last one.
    pub(super) fn end(&mut self, shape: ImageShape) {
        self.shapes.push(shape);
        self.ends.push(self.bytes.len());
    }

    fn append(&mut self, other: Images) {
        let before = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.ends.extend(other.ends.iter().map(|end| end + before));
        self.shapes.extend(other.shapes);
    }
}

impl Numbers {
    /// The numbers of one row.
    pub(crate) fn row(&self, row: usize) -> &[f64] {
        &self.values[place(&self.ends, row)]
    }

    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many numbers the first row has, and with it every row of a dataset that was
    /// checked; `None` without rows.
    pub(crate) fn width(&self) -> Option<usize> {
        self.ends.first().copied()
    }

    /// The `n`th number of each row.
    pub(crate) fn column(&self, n: usize) -> impl Iterator<Item = f64> + Clone {
        let width = self.width().unwrap_or(1);
        self.values.iter().skip(n).step_by(width.max(1)).copied()
    }

    /// Makes a row of the numbers since the last one.
    pub(super) fn end(&mut self) {
        self.ends.push(self.values.len());
    }

    fn append(&mut self, other: Numbers) {
        let before = self.values.len();
        self.values.extend_from_slice(&other.values);
        self.ends.extend(other.ends.iter().map(|end| end + before));
        if self.columns.is_empty() {
            self.columns = other.columns;
        }
    }
}

/// Where a row is in its buffer.
fn place(ends: &[usize], row: usize) -> Range<usize> {
    let start = if row == 0 { 0 } else { ends[row - 1] };
    start..ends[row]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Grey images of one line, with class indices.
    pub(crate) fn images(images: &[(Vec<u8>, u32)], splits: &[Split]) -> Table {
        let mut features = Images::default();
        for (pixels, _) in images {
            features.push(&ImageRef {
                width: pixels.len() as u32,
                height: 1,
                channels: 1,
                data: pixels,
            });
        }
        Table {
            features: Features::Pixels(features),
            labels: Labels::Indices(images.iter().map(|(_, label)| *label).collect()),
            splits: splits.to_vec(),
            groups: vec![],
            weights: vec![],
            target: "label".to_string(),
            class_names: None,
            left_out: None,
        }
    }

    /// Rows of numbers with numbers to predict.
    pub(crate) fn numbers(rows: &[(&[f64], f64)]) -> Table {
        let mut features = Numbers::default();
        for (row, _) in rows {
            features.values.extend_from_slice(row);
            features.end();
        }
        Table {
            features: Features::Numbers(features),
            labels: Labels::Numbers(rows.iter().map(|(_, label)| *label).collect()),
            splits: vec![],
            groups: vec![],
            weights: vec![],
            target: "label".to_string(),
            class_names: None,
            left_out: None,
        }
    }

    #[test]
    fn rows_are_found_after_an_append() {
        let mut table = numbers(&[(&[1.0, 2.0], 0.0)]);
        table.append(numbers(&[(&[3.0, 4.0], 1.0), (&[5.0, 6.0], 2.0)]));
        let Features::Numbers(numbers) = &table.features else {
            panic!("numbers are numbers");
        };
        assert_eq!((table.len(), numbers.width()), (3, Some(2)));
        assert_eq!(numbers.row(1), [3.0, 4.0]);
        assert_eq!(numbers.column(1).collect::<Vec<_>>(), [2.0, 4.0, 6.0]);
    }
}
