//! A dataset as all its trials see it: fixed, and named by its content.
//!
//! Rows are put into the order of their digests, so that the same rows give the same
//! snapshot however a scan happened to return them. Test rows are left out before, so
//! a snapshot has none. A snapshot is kept as `snapshots/<sha256>.parquet` under the
//! session's storage, and once in the memory of a process while any trial uses it.

mod file;
mod warnings;

use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use atoll_compute::{CancellationToken, pool};
use atoll_nn::{Dataset, Features, ImageShape, Split, Wide, needs_64_bits};
use atoll_udf_common::{Location, pool_error};
use datafusion::common::{DataFusionError, Result, exec_datafusion_err, exec_err};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use crate::rows::{Labels, Part, Rows};
use crate::single_flight::SingleFlight;

pub(crate) use file::{class_names, write_class_names};
pub(crate) use warnings::of_split;

/// Labelled images, or rows of numbers, for training and validation.
#[derive(Debug)]
pub struct Snapshot {
    /// The SHA-256 of the content, in hexadecimal.
    pub sha256: String,
    /// The rows in canonical order.
    pub dataset: Dataset,
    /// Which rows validate, where the data said so.
    pub validation: Option<Vec<bool>>,
    /// What is odd about it; see [`warnings`].
    pub warnings: Vec<String>,
}

/// Snapshots in use, so that a process holds each one once.
static IN_USE: LazyLock<SingleFlight<Arc<Snapshot>>> = LazyLock::new(Default::default);

/// A snapshot that the process holds once, for as long as anyone has a clone of this.
#[derive(Debug, Clone)]
pub struct SharedSnapshot {
    snapshot: Arc<Snapshot>,
    // Keeps the cell findable for whoever asks for the same snapshot next.
    _cell: Arc<OnceCell<Arc<Snapshot>>>,
}

impl Deref for SharedSnapshot {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Snapshot {
    /// Puts rows into canonical order. `dataset` is what errors call them.
    pub(crate) fn from_rows(dataset: &str, rows: &Rows) -> Result<Self> {
        let labels = labels(rows);
        check_parts(dataset, rows)?;
        check_classes(dataset, &labels)?;
        Self::arrange(dataset, rows, &labels)
    }

    /// The same on the compute pool, because sorting and hashing take a moment.
    pub(crate) async fn from_scan(
        dataset: String,
        rows: Rows,
        token: &CancellationToken,
    ) -> Result<Self> {
        let arrange = pool::run(token, move || Self::from_rows(&dataset, &rows));
        arrange.await.map_err(pool_error)?
    }

    fn arrange(dataset: &str, rows: &Rows, labels: &atoll_nn::Labels) -> Result<Self> {
        let shape = common_shape(dataset, rows)?;
        let validates = |row: usize| rows.parts.get(row) == Some(&Part::Validation);
        let validation = (0..rows.len()).any(validates);
        let wide = wide(rows, shape, labels);
        let mut order: Vec<([u8; 32], usize)> = (0..rows.len())
            .map(|row| {
                let digest = row_digest(rows, (row, shape), labels, wide, validates(row));
                (digest, row)
            })
            .collect();
        order.sort_unstable();
        let mut warnings = warnings::of_rows(rows, labels);
        let rows_in_order = order.iter().map(|&(_, row)| row);
        let labels = in_order(labels, rows_in_order.clone());
        let built = match rows.are_numbers() {
            true => {
                let numbers = rows_in_order.flat_map(|row| rows.numbers(row).to_vec());
                Dataset::of_numbers(shape.channels, numbers.collect(), labels)
            }
            false => {
                let mut pixels = Vec::with_capacity(order.len() * shape.values());
                for row in rows_in_order {
                    Pixels::new(rows.image(row), shape, &rows.shapes[row])
                        .append_to(&mut pixels);
                }
                Dataset::of_images(shape, pixels, labels)
            }
        };
        let dataset = built
            .map_err(|error| exec_datafusion_err!("{dataset} cannot be used: {error}"))?;
        let validation =
            validation.then(|| order.iter().map(|&(_, row)| validates(row)).collect());
        let digests = order.iter().map(|(digest, _)| digest);
        let sha256 = content_digest(&dataset, digests);
        let mut snapshot = Self {
            sha256,
            dataset,
            validation,
            warnings: vec![],
        };
        if let Some(split) = snapshot.own_split() {
            warnings.extend(of_split(&snapshot.dataset.labels, &split));
        }
        snapshot.warnings = warnings;
        Ok(snapshot)
    }

    /// The rows that train and validate a trial: the data's own split, or a fraction.
    pub fn split(&self, fraction: f64, seed: u64) -> Result<Split, atoll_nn::Error> {
        match self.own_split() {
            Some(split) => Ok(split),
            None => Split::by_fraction(self.dataset.len(), fraction, seed),
        }
    }

    /// The split that the data came with.
    fn own_split(&self) -> Option<Split> {
        let validation = self.validation.as_ref()?;
        let (validation, train) = (0u32..)
            .zip(validation)
            .partition::<Vec<_>, _>(|(_, validates)| **validates);
        let rows =
            |rows: Vec<(u32, &bool)>| rows.into_iter().map(|(row, _)| row).collect();
        Some(Split {
            train: rows(train),
            validation: rows(validation),
        })
    }

    /// Keeps the snapshot under `storage`, unless it is there already, and returns the
    /// one that the process shares.
    pub(crate) async fn publish(self, storage: &Location) -> Result<SharedSnapshot> {
        let cell = IN_USE.cell(&key(storage, &self.sha256));
        let keep = || async move {
            let snapshot = Arc::new(self);
            file::write(&snapshot, storage).await?;
            Ok::<_, DataFusionError>(snapshot)
        };
        let snapshot = Arc::clone(cell.get_or_try_init(keep).await?);
        Ok(SharedSnapshot {
            snapshot,
            _cell: cell,
        })
    }

    /// Loads the snapshot with this digest from `storage`, once per process however
    /// many trials ask for it. Content that does not match the digest is an error.
    pub async fn load(storage: &Location, sha256: &str) -> Result<SharedSnapshot> {
        let load = || async { file::read(storage, sha256).await.map(Arc::new) };
        let cell = IN_USE.cell(&key(storage, sha256));
        let snapshot = Arc::clone(cell.get_or_try_init(load).await?);
        Ok(SharedSnapshot {
            snapshot,
            _cell: cell,
        })
    }
}

fn key(storage: &Location, sha256: &str) -> String {
    format!("{}#{sha256}", storage.url)
}

/// The size of every image; grey images count as RGB where any image is RGB.
fn common_shape(dataset: &str, rows: &Rows) -> Result<ImageShape> {
    let Some(first) = rows.shapes.first() else {
        return exec_err!(
            "{dataset} has no rows to train on; rows with split 'test' do not count"
        );
    };
    let size = |shape: &ImageShape| (shape.height, shape.width);
    if let Some(other) = rows.shapes.iter().find(|shape| size(shape) != size(first)) {
        return exec_err!(
            "images of {dataset} must have one size, got {} x {} and {} x {} (height x \
             width); resize them, such as image_resize(image, {}, {})",
            first.height,
            first.width,
            other.height,
            other.width,
            first.width,
            first.height
        );
    }
    let channels = rows.shapes.iter().map(|shape| shape.channels).max();
    let channels = channels.unwrap_or(first.channels);
    let fits = |shape: &ImageShape| shape.channels == channels || shape.channels == 1;
    if let Some(other) = rows.shapes.iter().find(|shape| !fits(shape)) {
        return exec_err!(
            "images of {dataset} must have the same channels, got {} and {channels}",
            other.channels
        );
    }
    Ok(ImageShape { channels, ..*first })
}

/// Checks that some rows train.
fn check_parts(dataset: &str, rows: &Rows) -> Result<()> {
    let only = !rows.is_empty()
        && rows.parts.len() == rows.len()
        && rows.parts.iter().all(|part| *part == Part::Validation);
    if only {
        return exec_err!(
            "all {} rows of {dataset} are for validation, and none has split 'train'",
            rows.len()
        );
    }
    Ok(())
}

/// Checks that there is something to tell apart.
fn check_classes(dataset: &str, labels: &atoll_nn::Labels) -> Result<()> {
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
fn wide(rows: &Rows, shape: ImageShape, labels: &atoll_nn::Labels) -> Wide {
    let width = shape.channels;
    let column = |n: usize| rows.numbers.iter().skip(n).step_by(width).copied();
    Wide {
        features: rows.are_numbers() && (0..width).any(|n| needs_64_bits(column(n))),
        labels: match labels {
            atoll_nn::Labels::Numbers(numbers) => needs_64_bits(numbers.iter().copied()),
            atoll_nn::Labels::Classes { .. } => false,
        },
    }
}

/// The class index of each row and the name of each class, or the number of each row.
fn labels(rows: &Rows) -> atoll_nn::Labels {
    match &rows.labels {
        Labels::Indices(indices) => {
            let classes = indices.iter().max().map_or(0, |label| label + 1);
            let known = rows.class_names.as_ref();
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
        Labels::Numbers(numbers) => atoll_nn::Labels::Numbers(numbers.clone()),
    }
}

fn in_order(
    labels: &atoll_nn::Labels,
    order: impl Iterator<Item = usize>,
) -> atoll_nn::Labels {
    match labels {
        atoll_nn::Labels::Classes { indices, names } => atoll_nn::Labels::Classes {
            indices: order.map(|row| indices[row]).collect(),
            names: names.clone(),
        },
        atoll_nn::Labels::Numbers(numbers) => {
            atoll_nn::Labels::Numbers(order.map(|row| numbers[row]).collect())
        }
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

fn row_digest(
    rows: &Rows,
    (row, shape): (usize, ImageShape),
    labels: &atoll_nn::Labels,
    wide: Wide,
    validates: bool,
) -> [u8; 32] {
    let mut digest = Sha256::new();
    digest.update([u8::from(validates)]);
    match labels {
        atoll_nn::Labels::Classes { indices, .. } => {
            digest.update(indices[row].to_le_bytes());
        }
        atoll_nn::Labels::Numbers(numbers) => {
            update(&mut digest, numbers[row], wide.labels);
        }
    }
    if rows.are_numbers() {
        for number in rows.numbers(row) {
            update(&mut digest, *number, wide.features);
        }
        return digest.finalize().into();
    }
    let image = Pixels::new(rows.image(row), shape, &rows.shapes[row]);
    if image.repeat == 1 {
        digest.update(image.bytes);
    } else {
        let mut pixels = Vec::new();
        image.append_to(&mut pixels);
        digest.update(&pixels);
    }
    digest.finalize().into()
}

/// The digest over everything in a snapshot; rows count through their own digests,
/// which hold pixels, label and split.
fn content_digest<'a>(
    dataset: &Dataset,
    rows: impl Iterator<Item = &'a [u8; 32]>,
) -> String {
    let mut digest = Sha256::new();
    digest.update(match dataset.features {
        Features::Pixels(_) => b"atoll snapshot 1\n".as_slice(),
        Features::Numbers(_) => b"atoll snapshot of numbers 1\n",
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
    // Other data sets keep the names that they had before there were 64 bits.
    if dataset.wide != Wide::default() {
        let Wide { features, labels } = dataset.wide;
        digest.update(b"64 bits\n");
        digest.update([features, labels].map(u8::from));
    }
    for row in rows {
        digest.update(row);
    }
    hex::encode(digest.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::tests::rows;

    fn snapshot(rows: &Rows) -> Snapshot {
        Snapshot::from_rows("digits", rows).unwrap()
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
        let parts = [Part::Train, Part::Validation];
        assert_ne!(snapshot(&rows(&images, &parts)).sha256, base);
        let mut names = rows(&images, &[]);
        names.labels = Labels::Names(vec!["cat".to_string(), "dog".to_string()]);
        assert_ne!(snapshot(&names).sha256, base);
    }

    /// Snapshots and trials of before are found again. The digests were computed by hand
    /// from the layout of version 1: `sha256(split, label, float32 numbers)` for each row.
    #[test]
    fn numbers_that_fit_32_bits_keep_their_digest() {
        let mut houses = rows(&[(vec![], 0), (vec![], 1)], &[]);
        houses.shapes.clear();
        houses.ends.clear();
        for row in [[0.1, -1e9], [7.0, 1e-9]] {
            houses.push_numbers(&row);
        }
        houses.labels = Labels::Numbers(vec![2.5, -0.1]);
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
        let parts = [Part::Train, Part::Train, Part::Validation];
        let mut animals =
            rows(&[(vec![1, 2], 0), (vec![3, 4], 1), (vec![5, 6], 0)], &parts);
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
            let mut houses = rows(&[(vec![], 0), (vec![], 1)], &[]);
            houses.shapes.clear();
            houses.ends.clear();
            for row in [[first], [1_700_000_060.0]] {
                houses.push_numbers(&row);
            }
            houses.labels = Labels::Numbers(vec![1e9, 1e9 + 3.0]);
            let snapshot = snapshot(&houses);
            let mut labels = match snapshot.dataset.labels {
                atoll_nn::Labels::Numbers(numbers) => numbers,
                atoll_nn::Labels::Classes { .. } => vec![],
            };
            labels.sort_unstable_by(f64::total_cmp);
            assert_eq!(labels, [1e9, 1e9 + 3.0]);
            snapshot.sha256
        };
        assert_ne!(sha256(1_700_000_000.0), sha256(1_700_000_001.0));
    }

    #[test]
    fn data_that_cannot_be_meant_is_refused() {
        let check = |rows: &Rows, expected: &str| {
            let error = Snapshot::from_rows("digits", rows).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(
            &rows(&[(vec![1], 3), (vec![2], 3)], &[]),
            "at least 2 classes, but all rows of digits have the label 3",
        );
        let parts = [Part::Validation, Part::Validation];
        check(
            &rows(&[(vec![1], 0), (vec![2], 1)], &parts),
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
        let parts = [Part::Train, Part::Validation, Part::Train];
        let snapshot = snapshot(&rows(&images, &parts));
        let split = snapshot.split(0.9, 0).unwrap();
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
        let split = snapshot.split(0.25, 0).unwrap();
        assert_eq!((split.train.len(), split.validation.len()), (15, 5));
        assert_ne!(split, snapshot.split(0.25, 1).unwrap());
    }

    #[test]
    fn grey_images_among_rgb_ones_become_rgb() {
        let mut mixed = rows(&[(vec![1, 2, 3], 0), (vec![7], 1)], &[]);
        mixed.shapes[0] = ImageShape {
            height: 1,
            width: 1,
            channels: 3,
        };
        mixed.shapes[1] = ImageShape {
            height: 1,
            width: 1,
            channels: 1,
        };
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
        let publish = || snapshot(&rows(&images, &[])).publish(&storage);
        let (first, second) = tokio::join!(publish(), publish());
        let (first, second) = (first.unwrap(), second.unwrap());
        let pixels = |snapshot: &SharedSnapshot| snapshot.dataset.pixels().as_ptr();
        assert_eq!(pixels(&first), pixels(&second));
        // A trial's clone is another handle to the same pixels.
        let trial = first.clone();
        drop((first, second));
        let third = publish().await.unwrap();
        assert_eq!(pixels(&third), pixels(&trial));
        assert_eq!(Arc::strong_count(&third.snapshot), 3);
    }

    #[test]
    fn images_of_two_sizes_are_refused_with_both() {
        let rows = rows(&[(vec![1, 2], 0), (vec![1, 2, 3], 1)], &[]);
        let error = Snapshot::from_rows("digits", &rows)
            .unwrap_err()
            .strip_backtrace();
        assert!(
            error.contains("digits must have one size, got 1 x 2 and 1 x 3"),
            "{error}"
        );
        let error = Snapshot::from_rows("digits", &self::rows(&[], &[])).unwrap_err();
        assert!(error.to_string().contains("digits has no rows"), "{error}");
    }
}
