//! A dataset as all its trials see it: fixed, and named by its content.
//!
//! Rows are put into the order of their digests, so that the same rows give the same
//! snapshot however a scan happened to return them. Test rows are left out before, so
//! a snapshot has none. A snapshot is kept as `snapshots/<sha256>.parquet` under the
//! session's storage, and once in memory while any trial uses it.

mod columns;
mod file;
mod warnings;

use std::collections::HashMap;
use std::sync::Arc;

use atoll_compute::{CancellationToken, pool};
use atoll_nn::{Dataset, ImageShape, Wide, needs_64_bits};
use atoll_udf_common::{Location, pool_error};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use sha2::{Digest, Sha256};

use super::columns::flat;
use super::split::{DrawnSplits, Groups, check_groups};
use super::table::Images;
use super::{Features, Labels, Split, Table};
use crate::single_flight::{Shared, SingleFlight};

pub(crate) use file::{GROUP, WEIGHT};
pub(super) use warnings::{listed, of_split};

/// Labelled images, or rows of numbers, for training and validation.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// The SHA-256 of the content, in hexadecimal.
    pub(crate) sha256: String,
    /// The rows in canonical order.
    pub(crate) dataset: Dataset,
    /// Which rows validate, where the data said so.
    pub(crate) validation: Option<Vec<bool>>,
    /// The rows that stay together, where the statement asks for it.
    pub(crate) groups: Option<Groups>,
    /// What is odd about it; see [`warnings`].
    pub(crate) warnings: Vec<String>,
    /// The name of its features, where a backbone made them.
    pub(crate) features: Option<String>,
    /// Splits that trials asked for.
    pub(super) drawn: DrawnSplits,
}

/// A snapshot that is in memory once, for as long as anyone has a clone of this.
pub(crate) type SharedSnapshot = Shared<Arc<Snapshot>>;

impl Snapshot {
    /// Puts rows into canonical order. `dataset` is what errors call them.
    pub(crate) fn from_table(dataset: &str, table: &Table) -> Result<Self> {
        let labels = labels(table);
        check_splits(dataset, table)?;
        check_classes(dataset, &labels)?;
        check_groups(dataset, table)?;
        Self::arrange(dataset, table, &labels)
    }

    /// The same on the compute pool, because sorting and hashing take a moment.
    pub(crate) async fn from_scan(
        dataset: String,
        table: Table,
        token: &CancellationToken,
    ) -> Result<Self> {
        let arrange = pool::run(token, move || Self::from_table(&dataset, &table));
        arrange.await.map_err(pool_error)?
    }

    fn arrange(dataset: &str, table: &Table, labels: &atoll_nn::Labels) -> Result<Self> {
        let unusable = |error| exec_datafusion_err!("{dataset} cannot be used: {error}");
        let flat = match &table.features {
            Features::Columns(columns) => Some(flat(columns).map_err(unusable)?),
            Features::Pixels(_) | Features::Numbers(_) => None,
        };
        let shape = match &flat {
            Some((columns, _)) if !table.is_empty() => ImageShape {
                height: 1,
                width: 1,
                channels: columns.iter().map(atoll_nn::Column::width).sum(),
            },
            _ => common_shape(dataset, &table.features)?,
        };
        let validates = |row: usize| table.splits.get(row) == Some(&Split::Validation);
        let validation = (0..table.len()).any(validates);
        let canonical = Canonical {
            features: &table.features,
            flat: flat.as_ref(),
            shape,
            labels,
            wide: wide(&table.features, labels),
            table,
        };
        let mut order: Vec<([u8; 32], usize)> = (0..table.len())
            .map(|row| (canonical.digest(row, validates(row)), row))
            .collect();
        order.sort_unstable();
        let mut warnings = warnings::of_table(table, labels);
        warnings.extend(table.left_out.clone());
        let dataset = canonical
            .in_order(order.iter().map(|&(_, row)| row))
            .map_err(unusable)?;
        let validation =
            validation.then(|| order.iter().map(|&(_, row)| validates(row)).collect());
        let groups = (!table.groups.is_empty())
            .then(|| Groups::new(order.iter().map(|&(_, row)| &table.groups[row])));
        let digests = order.iter().map(|(digest, _)| digest);
        let sha256 = content_digest(&dataset, groups.is_some(), digests);
        let mut snapshot = Self {
            sha256,
            dataset,
            validation,
            groups,
            warnings: vec![],
            features: None,
            drawn: DrawnSplits::default(),
        };
        if let Some(split) = snapshot.own_split() {
            warnings.extend(of_split(&snapshot.dataset.labels, &split, true));
        }
        snapshot.warnings = warnings;
        Ok(snapshot)
    }

    /// The split that the data came with.
    pub(super) fn own_split(&self) -> Option<atoll_nn::Split> {
        let validation = self.validation.as_ref()?;
        let (validation, train) = (0u32..)
            .zip(validation)
            .partition::<Vec<_>, _>(|(_, validates)| **validates);
        let rows =
            |rows: Vec<(u32, &bool)>| rows.into_iter().map(|(row, _)| row).collect();
        Some(atoll_nn::Split {
            train: rows(train),
            validation: rows(validation),
        })
    }

    /// Keeps the snapshot under `storage`, unless it is there already, and returns the
    /// one that all share.
    pub(crate) async fn publish(
        self,
        storage: &Location,
        in_use: &SingleFlight<Arc<Snapshot>>,
    ) -> Result<SharedSnapshot> {
        let key = key(storage, &self.sha256);
        let keep = || async move {
            let snapshot = Arc::new(self);
            file::write(&snapshot, storage).await?;
            Ok::<_, DataFusionError>(snapshot)
        };
        in_use.get_or_make(&key, keep).await
    }

    /// Loads the snapshot with this digest from `storage`, once however many trials ask
    /// for it. Content that does not match the digest is an error.
    pub(crate) async fn load(
        storage: &Location,
        sha256: &str,
        in_use: &SingleFlight<Arc<Snapshot>>,
    ) -> Result<SharedSnapshot> {
        let load = || async { file::read(storage, sha256).await.map(Arc::new) };
        in_use.get_or_make(&key(storage, sha256), load).await
    }
}

fn key(storage: &Location, sha256: &str) -> String {
    format!("{}#{sha256}", storage.url)
}

/// The size of every row: of images the one that all have, where grey images count as RGB
/// if any image is RGB; a row of numbers is one pixel with a channel for each.
fn common_shape(dataset: &str, features: &Features) -> Result<ImageShape> {
    let first = match features {
        Features::Numbers(numbers) => numbers.width().map(|channels| ImageShape {
            height: 1,
            width: 1,
            channels,
        }),
        Features::Pixels(images) => images.shapes.first().copied(),
        Features::Columns(_) => None,
    };
    let Some(first) = first else {
        return exec_err!(
            "{dataset} has no rows to train on; rows with split 'test' do not count"
        );
    };
    let shapes = match features {
        Features::Numbers(_) | Features::Columns(_) => return Ok(first),
        Features::Pixels(images) => &images.shapes,
    };
    let size = |shape: &ImageShape| (shape.height, shape.width);
    if let Some(other) = shapes.iter().find(|shape| size(shape) != size(&first)) {
        return exec_err!(
            "images of {dataset} must have one size, got {} x {} and {} x {} (height x \
             width); resize them, such as image_resize(image, {}, {}), or name a backbone, \
             which takes photos of any size",
            first.height,
            first.width,
            other.height,
            other.width,
            first.width,
            first.height
        );
    }
    let channels = shapes.iter().map(|shape| shape.channels).max();
    let channels = channels.unwrap_or(first.channels);
    let fits = |shape: &ImageShape| shape.channels == channels || shape.channels == 1;
    if let Some(other) = shapes.iter().find(|shape| !fits(shape)) {
        return exec_err!(
            "images of {dataset} must have the same channels, got {} and {channels}",
            other.channels
        );
    }
    Ok(ImageShape { channels, ..first })
}

/// Checks that some rows train.
fn check_splits(dataset: &str, table: &Table) -> Result<()> {
    let only = !table.is_empty()
        && table.splits.len() == table.len()
        && table.splits.iter().all(|split| *split == Split::Validation);
    if only {
        return exec_err!(
            "all {} rows of {dataset} are for validation, and none has split 'train'",
            table.len()
        );
    }
    Ok(())
}

/// Checks that there is something to tell apart.
fn check_classes(dataset: &str, labels: &atoll_nn::Labels) -> Result<()> {
    if let atoll_nn::Labels::Sets { names, .. } = labels
        && names.is_empty()
    {
        return exec_err!("no row of {dataset} has a label: all lists are empty");
    }
    let atoll_nn::Labels::Classes { indices, names } = labels else {
        return Ok(());
    };
    match indices.split_first() {
        Some((first, rest)) if rest.iter().all(|index| index == first) => exec_err!(
            "a classifier needs at least 2 classes, but all rows of {dataset} have the \
             label {}",
            names[*first as usize]
        ),
        _ => Ok(()),
    }
}

/// Which numbers 32 bits do not tell apart.
fn wide(features: &Features, labels: &atoll_nn::Labels) -> Wide {
    Wide {
        features: features.need_64_bits(),
        labels: match labels {
            atoll_nn::Labels::Numbers(numbers) => needs_64_bits(numbers.iter().copied()),
            atoll_nn::Labels::Classes { .. } | atoll_nn::Labels::Sets { .. } => false,
        },
    }
}

/// The class index of each row and the name of each class, or the number of each row.
fn labels(table: &Table) -> atoll_nn::Labels {
    match &table.labels {
        Labels::Indices(indices) => {
            let classes = indices.iter().max().map_or(0, |label| label + 1);
            let known = table.class_names.as_ref();
            let known = known.filter(|names| names.len() >= classes as usize);
            atoll_nn::Labels::Classes {
                indices: indices.clone(),
                names: known.cloned().unwrap_or_else(|| {
                    (0..classes).map(|class| class.to_string()).collect()
                }),
            }
        }
        Labels::Names(labels) => {
            let mut names = labels.clone();
            names.sort_unstable();
            names.dedup();
            let index = |label| names.binary_search(label).unwrap_or_default() as u32;
            atoll_nn::Labels::Classes {
                indices: labels.iter().map(index).collect(),
                names,
            }
        }
        Labels::Sets(sets) => {
            let mut names = sets.concat();
            // Numbers in their order, and not in that of their digits.
            names.sort_unstable_by(|a, b| {
                (a.parse::<u64>().ok(), a).cmp(&(b.parse().ok(), b))
            });
            names.dedup();
            sets_of(sets, names)
        }
        Labels::Numbers(numbers) => atoll_nn::Labels::Numbers(numbers.clone()),
    }
}

/// Sets of labels by their places among the names.
fn sets_of(sets: &[Vec<String>], names: Vec<String>) -> atoll_nn::Labels {
    let places: HashMap<&str, u32> =
        names.iter().map(String::as_str).zip(0_u32..).collect();
    let set = |set: &Vec<String>| {
        let set = set
            .iter()
            .filter_map(|name| places.get(name.as_str()).copied());
        let mut set: Vec<u32> = set.collect();
        set.sort_unstable();
        set.dedup();
        set
    };
    atoll_nn::Labels::Sets {
        sets: sets.iter().map(set).collect(),
        names,
    }
}

/// Adds a number to a digest, with as many bits as its column needs.
fn update(digest: &mut Sha256, number: f64, wide: bool) {
    match wide {
        true => digest.update(number.to_le_bytes()),
        false => digest.update((number as f32).to_le_bytes()),
    }
}

/// An image with the channels of its dataset.
#[derive(Clone, Copy)]
struct Pixels<'a> {
    bytes: &'a [u8],
    /// How often each byte is repeated: a grey pixel among RGB ones three times.
    repeat: usize,
}

impl<'a> Pixels<'a> {
    fn new(bytes: &'a [u8], wanted: ImageShape, actual: &ImageShape) -> Self {
        Self {
            bytes,
            repeat: wanted.channels / actual.channels,
        }
    }

    fn append_to(self, pixels: &mut Vec<u8>) {
        if self.repeat == 1 {
            return pixels.extend_from_slice(self.bytes);
        }
        for &byte in self.bytes {
            pixels.extend(std::iter::repeat_n(byte, self.repeat));
        }
    }
}

/// Rows that were checked, and how their values count.
struct Canonical<'a> {
    features: &'a Features,
    /// Columns and their values, row after row, of a table that has columns.
    flat: Option<&'a (Vec<atoll_nn::Column>, Vec<f64>)>,
    shape: ImageShape,
    labels: &'a atoll_nn::Labels,
    wide: Wide,
    /// Where their groups and weights are.
    table: &'a Table,
}

impl Canonical<'_> {
    /// The digest of a row: its split, its label and its values, and its group and its
    /// weight where it has them.
    fn digest(&self, row: usize, validates: bool) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update([u8::from(validates)]);
        match self.labels {
            atoll_nn::Labels::Classes { indices, .. } => {
                digest.update(indices[row].to_le_bytes());
            }
            atoll_nn::Labels::Sets { sets, .. } => {
                digest.update((sets[row].len() as u64).to_le_bytes());
                sets[row]
                    .iter()
                    .for_each(|label| digest.update(label.to_le_bytes()));
            }
            atoll_nn::Labels::Numbers(numbers) => {
                update(&mut digest, numbers[row], self.wide.labels);
            }
        }
        match self.features {
            Features::Numbers(numbers) => {
                for number in numbers.row(row) {
                    update(&mut digest, *number, self.wide.features);
                }
            }
            Features::Columns(_) => {
                for number in self.row(row) {
                    update(&mut digest, *number, true);
                }
            }
            Features::Pixels(images) => {
                let image = self.pixels(images, row);
                if image.repeat == 1 {
                    digest.update(image.bytes);
                } else {
                    let mut pixels = Vec::new();
                    image.append_to(&mut pixels);
                    digest.update(&pixels);
                }
            }
        }
        if let Some(weight) = self.table.weights.get(row) {
            digest.update(weight.to_le_bytes());
        }
        if let Some(group) = self.table.groups.get(row) {
            digest.update(group);
        }
        digest.finalize().into()
    }

    /// The rows in this order, as networks take them.
    fn in_order(
        &self,
        order: impl ExactSizeIterator<Item = usize> + Clone,
    ) -> Result<Dataset, atoll_nn::Error> {
        let labels = match self.labels {
            atoll_nn::Labels::Classes { indices, names } => atoll_nn::Labels::Classes {
                indices: order.clone().map(|row| indices[row]).collect(),
                names: names.clone(),
            },
            atoll_nn::Labels::Sets { sets, names } => atoll_nn::Labels::Sets {
                sets: order.clone().map(|row| sets[row].clone()).collect(),
                names: names.clone(),
            },
            atoll_nn::Labels::Numbers(numbers) => {
                atoll_nn::Labels::Numbers(order.clone().map(|row| numbers[row]).collect())
            }
        };
        let weights: Vec<f64> = match self.table.weights.is_empty() {
            true => vec![],
            false => order.clone().map(|row| self.table.weights[row]).collect(),
        };
        let dataset = match self.features {
            Features::Columns(_) => {
                let (columns, numbers) = match self.flat {
                    Some((columns, numbers)) => (columns.clone(), numbers.len()),
                    None => (vec![], 0),
                };
                let mut values = Vec::with_capacity(numbers);
                order.for_each(|row| values.extend_from_slice(self.row(row)));
                let target = self.table.target.clone();
                Dataset::of_columns(columns, values, labels, target)
            }
            Features::Numbers(numbers) => {
                let values = order.flat_map(|row| numbers.row(row).to_vec());
                Dataset::of_numbers(self.shape.channels, values.collect(), labels)
            }
            Features::Pixels(images) => {
                let mut pixels = Vec::with_capacity(order.len() * self.shape.values());
                for row in order {
                    self.pixels(images, row).append_to(&mut pixels);
                }
                Dataset::of_images(self.shape, pixels, labels)
            }
        }?;
        match weights.is_empty() {
            true => Ok(dataset),
            false => dataset.with_weights(weights),
        }
    }

    /// The values of a row of columns.
    fn row(&self, row: usize) -> &[f64] {
        let width = self.shape.channels;
        self.flat
            .map_or(&[], |(_, numbers)| &numbers[row * width..][..width])
    }

    fn pixels<'i>(&self, images: &'i Images, row: usize) -> Pixels<'i> {
        Pixels::new(images.pixels(row), self.shape, &images.shapes[row])
    }
}

/// A column as the digest counts it.
fn described(column: &atoll_nn::Column) -> serde_json::Value {
    serde_json::json!([column.name, column.kind])
}

/// The digest over everything in a snapshot; rows count through their own digests,
/// which hold pixels, label and split.
fn content_digest<'a>(
    dataset: &Dataset,
    has_groups: bool,
    rows: impl Iterator<Item = &'a [u8; 32]>,
) -> String {
    let mut digest = Sha256::new();
    digest.update(match dataset.features {
        atoll_nn::Features::Pixels(_) => b"atoll snapshot 1\n".as_slice(),
        atoll_nn::Features::Numbers(_) if !dataset.columns.is_empty() => {
            b"atoll snapshot of columns 1\n"
        }
        atoll_nn::Features::Numbers(_) => b"atoll snapshot of numbers 1\n",
    });
    let ImageShape {
        height,
        width,
        channels,
    } = dataset.shape;
    for size in [height, width, channels, dataset.len(), dataset.classes()] {
        digest.update((size as u64).to_le_bytes());
    }
    for name in dataset.labels.class_names() {
        digest.update((name.len() as u64).to_le_bytes());
        digest.update(name);
    }
    if !dataset.columns.is_empty() {
        let columns = serde_json::json!([
            dataset.columns.iter().map(described).collect::<Vec<_>>(),
            dataset.target,
        ]);
        digest.update(columns.to_string());
    }
    // Other data sets keep the names that they had before there were 64 bits.
    if dataset.wide != Wide::default() {
        let Wide { features, labels } = dataset.wide;
        digest.update(b"64 bits\n");
        digest.update([features, labels].map(u8::from));
    }
    if matches!(dataset.labels, atoll_nn::Labels::Sets { .. }) {
        digest.update(b"lists of labels\n");
    }
    // And so do those without groups and weights.
    if has_groups {
        digest.update(b"groups\n");
    }
    if dataset.weights.is_some() {
        digest.update(b"weights\n");
    }
    for row in rows {
        digest.update(row);
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::split::Drawing;
    use crate::dataset::table::tests::{images as rows, numbers};

    fn snapshot(rows: &Table) -> Snapshot {
        Snapshot::from_table("digits", rows).unwrap()
    }

    #[test]
    fn scan_order_does_not_matter() {
        let images = [
            (vec![1, 2], 0),
            (vec![3, 4], 1),
            (vec![3, 4], 0),
            (vec![0, 9], 2),
        ];
        let forwards = snapshot(&rows(&images, &[]));
        let mut backwards = images;
        backwards.reverse();
        let backwards = snapshot(&rows(&backwards, &[]));
        assert_eq!(forwards.sha256, backwards.sha256);
        assert_eq!(forwards.dataset.features, backwards.dataset.features);
        assert_eq!(forwards.dataset.labels, backwards.dataset.labels);
    }

    #[test]
    fn everything_in_it_names_a_snapshot() {
        let images = [(vec![1, 2], 0), (vec![3, 4], 1)];
        let base = snapshot(&rows(&images, &[])).sha256;
        let pixel = [(vec![1, 5], 0), (vec![3, 4], 1)];
        let label = [(vec![1, 2], 1), (vec![3, 4], 0)];
        let classes = [(vec![1, 2], 0), (vec![3, 4], 2)];
        for changed in [pixel, label, classes] {
            assert_ne!(snapshot(&rows(&changed, &[])).sha256, base, "{changed:?}");
        }
        let splits = [Split::Train, Split::Validation];
        assert_ne!(snapshot(&rows(&images, &splits)).sha256, base);
        let mut names = rows(&images, &[]);
        names.labels = Labels::Names(vec!["cat".to_string(), "dog".to_string()]);
        assert_ne!(snapshot(&names).sha256, base);
    }

    /// Snapshots and trials of before are found again. The digests were computed by hand
    /// from the layout of version 1: `sha256(split, label, float32 numbers)` for each row.
    #[test]
    fn numbers_that_fit_32_bits_keep_their_digest() {
        let houses = numbers(&[(&[0.1, -1e9], 2.5), (&[7.0, 1e-9], -0.1)]);
        let row = |numbers: [f32; 3]| -> [u8; 32] {
            let mut digest = Sha256::new();
            digest.update([0]);
            numbers.iter().for_each(|n| digest.update(n.to_le_bytes()));
            digest.finalize().into()
        };
        let mut digests = [row([2.5, 0.1, -1e9]), row([-0.1, 7.0, 1e-9])];
        digests.sort_unstable();
        let mut expected = Sha256::new();
        expected.update(b"atoll snapshot of numbers 1\n");
        for size in [1_u64, 1, 2, 2, 0] {
            expected.update(size.to_le_bytes());
        }
        digests.iter().for_each(|digest| expected.update(digest));
        assert_eq!(snapshot(&houses).sha256, hex::encode(expected.finalize()));
    }

    /// The digest was made with Python's hashlib from the layout of version 1.
    #[test]
    fn images_keep_their_digest() {
        let splits = [Split::Train, Split::Train, Split::Validation];
        let mut animals = rows(
            &[(vec![1, 2], 0), (vec![3, 4], 1), (vec![5, 6], 0)],
            &splits,
        );
        let names = ["cat", "dog", "cat"].map(String::from).to_vec();
        animals.labels = Labels::Names(names);
        assert_eq!(
            snapshot(&animals).sha256,
            "8a0fcbd481c2e97e2acf400e4b4c5f4e4a4bad04fa4c145f5d8f40d53364ecc2"
        );
    }

    #[test]
    fn numbers_that_do_not_fit_32_bits_keep_all_of_them() {
        let sha256 = |first: f64| {
            let rows: [(&[f64], f64); 2] =
                [(&[first], 1e9), (&[1_700_000_060.0], 1e9 + 3.0)];
            let houses = numbers(&rows);
            let snapshot = snapshot(&houses);
            let mut labels = match snapshot.dataset.labels {
                atoll_nn::Labels::Numbers(numbers) => numbers,
                _ => vec![],
            };
            labels.sort_unstable_by(f64::total_cmp);
            assert_eq!(labels, [1e9, 1e9 + 3.0]);
            snapshot.sha256
        };
        assert_ne!(sha256(1_700_000_000.0), sha256(1_700_000_001.0));
    }

    #[test]
    fn data_that_cannot_be_meant_is_refused() {
        let check = |rows: &Table, expected: &str| {
            let error = Snapshot::from_table("digits", rows).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(
            &rows(&[(vec![1], 3), (vec![2], 3)], &[]),
            "at least 2 classes, but all rows of digits have the label 3",
        );
        let splits = [Split::Validation, Split::Validation];
        check(
            &rows(&[(vec![1], 0), (vec![2], 1)], &splits),
            "all 2 rows of digits are for validation",
        );
    }

    #[test]
    fn names_become_sorted_classes() {
        let mut animals = rows(&[(vec![1], 0), (vec![2], 0), (vec![3], 0)], &[]);
        let names = ["dog", "cat", "dog"].map(ToString::to_string);
        animals.labels = Labels::Names(names.to_vec());
        let snapshot = snapshot(&animals);
        assert_eq!(snapshot.dataset.labels.class_names(), ["cat", "dog"]);
        let by_pixel = |pixel: u8| {
            let row = snapshot
                .dataset
                .pixels()
                .iter()
                .position(|p| *p == pixel)
                .unwrap();
            snapshot.dataset.labels.indices()[row]
        };
        assert_eq!([1, 2, 3].map(by_pixel), [1, 0, 1]);
    }

    #[test]
    fn the_split_of_the_data_wins() {
        let images = [(vec![1], 0), (vec![2], 1), (vec![3], 0)];
        let splits = [Split::Train, Split::Validation, Split::Train];
        let snapshot = snapshot(&rows(&images, &splits));
        let split = snapshot.split(0.9, &Drawing::default()).unwrap();
        let split = &split.splits[0];
        let pixels = |rows: &[u32]| {
            let mut pixels: Vec<u8> = rows
                .iter()
                .map(|row| snapshot.dataset.pixels()[*row as usize])
                .collect();
            pixels.sort_unstable();
            pixels
        };
        assert_eq!(pixels(&split.validation), [2]);
        assert_eq!(pixels(&split.train), [1, 3]);
    }

    #[test]
    fn a_fraction_validates_where_the_data_does_not_say() {
        let images: Vec<_> = (0..20u8).map(|n| (vec![n], u32::from(n % 2))).collect();
        let snapshot = snapshot(&rows(&images, &[]));
        let split = |seed| {
            let drawing = Drawing {
                seed,
                ..Drawing::default()
            };
            snapshot.split(0.25, &drawing).unwrap().splits[0].clone()
        };
        let first = split(0);
        assert_eq!((first.train.len(), first.validation.len()), (15, 5));
        assert_ne!(first, split(1));
    }

    #[test]
    fn grey_images_among_rgb_ones_become_rgb() {
        let mut mixed = rows(&[(vec![1, 2, 3], 0), (vec![7], 1)], &[]);
        let Features::Pixels(images) = &mut mixed.features else {
            panic!("images are images");
        };
        for (shape, channels) in images.shapes.iter_mut().zip([3, 1]) {
            *shape = ImageShape {
                height: 1,
                width: 1,
                channels,
            };
        }
        let snapshot = snapshot(&mixed);
        assert_eq!(snapshot.dataset.shape.channels, 3);
        let grey = snapshot
            .dataset
            .labels
            .indices()
            .iter()
            .position(|label| *label == 1)
            .unwrap();
        assert_eq!(snapshot.dataset.pixels()[3 * grey..3 * grey + 3], [7, 7, 7]);
    }

    /// However many statements and trials use it.
    #[tokio::test]
    async fn equal_rows_are_held_once_while_any_trial_uses_them() {
        let folder = tempfile::tempdir().unwrap();
        let storage = Location::parse(&folder.path().display().to_string()).unwrap();
        let images = [(vec![1, 2], 0), (vec![3, 4], 1)];
        let in_use = SingleFlight::default();
        let publish = || snapshot(&rows(&images, &[])).publish(&storage, &in_use);
        let (first, second) = tokio::join!(publish(), publish());
        let (first, second) = (first.unwrap(), second.unwrap());
        let pixels = |snapshot: &SharedSnapshot| snapshot.dataset.pixels().as_ptr();
        assert_eq!(pixels(&first), pixels(&second));
        // A trial's clone is another handle to the same pixels.
        let trial = first.clone();
        drop((first, second));
        let third = publish().await.unwrap();
        assert_eq!(pixels(&third), pixels(&trial));
        assert_eq!(Arc::strong_count(&*third), 3);
    }

    #[test]
    fn images_of_two_sizes_are_refused_with_both() {
        let rows = rows(&[(vec![1, 2], 0), (vec![1, 2, 3], 1)], &[]);
        let error = Snapshot::from_table("digits", &rows)
            .unwrap_err()
            .strip_backtrace();
        assert!(
            error.contains("digits must have one size, got 1 x 2 and 1 x 3"),
            "{error}"
        );
        let error = Snapshot::from_table("digits", &self::rows(&[], &[])).unwrap_err();
        assert!(error.to_string().contains("digits has no rows"), "{error}");
    }
}
