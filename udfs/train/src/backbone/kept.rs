//! Features that were computed, under the storage.
//!
//! `features/<key>/<sha256>.parquet` has rows of one backbone: the SHA-256 of an image and
//! its features. Files are only added, each as a whole; they are named by their content, and
//! an image that two processes computed at the same time is in two of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use atoll_udf_common::Location;
use datafusion::arrow::array::{
    Array, AsArray, FixedSizeBinaryArray, Float32Builder, ListBuilder, RecordBatch,
};
use datafusion::arrow::datatypes::{DataType, Field, Float32Type, Schema};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use futures::TryStreamExt;

use crate::files::{digest, put_if_absent};

/// The SHA-256 of an image.
pub(super) type ImageDigest = [u8; 32];

/// The features of images.
pub(super) type Known = HashMap<ImageDigest, Arc<[f32]>>;

/// Rows of one record batch when files are read.
const BATCH: usize = 1_024;

fn folder(storage: &Location, key: &str) -> Result<Location> {
    storage.join(&format!("features/{key}"))
}

/// The files with features of a backbone.
pub(super) async fn files(storage: &Location, key: &str) -> Result<Vec<Location>> {
    let folder = folder(storage, key)?;
    let listed = folder.store.list(Some(&folder.path));
    let files = listed.map_ok(|file| folder.at(file.location)).try_collect();
    files.await.map_err(|error| folder.error(error))
}

/// Adds to `known` those of the `wanted` images that are in these files.
pub(super) async fn read(
    files: Vec<Location>,
    wanted: &HashSet<ImageDigest>,
    known: &mut Known,
) -> Result<()> {
    for location in files {
        if known.len() == wanted.len() {
            break;
        }
        let bytes = location.read().await?;
        let damaged = |reason: &dyn std::fmt::Display| {
            exec_datafusion_err!(
                "features {location} are damaged; delete the file and run the statement \
                 again: {reason}"
            )
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)
            .and_then(|reader| reader.with_batch_size(BATCH).build())
            .map_err(|error| damaged(&error))?;
        for batch in reader {
            let batch = batch.map_err(|error| damaged(&error))?;
            add(&batch, wanted, known).ok_or_else(|| {
                damaged(&"it has other columns than image and features")
            })?;
        }
    }
    Ok(())
}

fn add(
    batch: &RecordBatch,
    wanted: &HashSet<ImageDigest>,
    known: &mut Known,
) -> Option<()> {
    let images = batch.column_by_name("image")?;
    let images = images.as_any().downcast_ref::<FixedSizeBinaryArray>()?;
    let features = batch.column_by_name("features")?.as_list_opt::<i32>()?;
    for row in 0..batch.num_rows() {
        let image = ImageDigest::try_from(images.value(row)).ok()?;
        if wanted.contains(&image) && !known.contains_key(&image) {
            let numbers = features.value(row);
            let numbers = numbers.as_primitive_opt::<Float32Type>()?;
            known.insert(image, Arc::from(numbers.values().as_ref()));
        }
    }
    Some(())
}

/// Keeps the features of images.
pub(super) async fn write(
    storage: &Location,
    key: &str,
    rows: &[(ImageDigest, Arc<[f32]>)],
) -> Result<()> {
    let images =
        FixedSizeBinaryArray::try_from_iter(rows.iter().map(|(image, _)| image))?;
    let mut features = ListBuilder::new(Float32Builder::new());
    for (_, numbers) in rows {
        features.values().append_slice(numbers);
        features.append(true);
    }
    let features = features.finish();
    let schema = Arc::new(Schema::new(vec![
        Field::new("image", DataType::FixedSizeBinary(32), false),
        Field::new("features", features.data_type().clone(), false),
    ]));
    let columns = vec![Arc::new(images) as _, Arc::new(features) as _];
    let batch = RecordBatch::try_new(Arc::clone(&schema), columns)?;
    let mut file = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut file, schema, None)?;
    writer.write(&batch)?;
    writer.close()?;
    let name = format!("{}.parquet", digest(&file));
    put_if_absent(&folder(storage, key)?.join(&name)?, file).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn storage() -> (tempfile::TempDir, Location) {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(&folder.path().display().to_string()).unwrap();
        (folder, location)
    }

    fn features(numbers: &[f32]) -> Arc<[f32]> {
        Arc::from(numbers)
    }

    async fn read_all(storage: &Location, wanted: &[ImageDigest]) -> Result<Known> {
        let files = files(storage, "key").await?;
        let mut known = Known::new();
        read(files, &wanted.iter().copied().collect(), &mut known).await?;
        Ok(known)
    }

    #[tokio::test]
    async fn only_wanted_images_are_read() {
        let (_folder, storage) = storage();
        assert!(files(&storage, "key").await.unwrap().is_empty());
        let (a, b, c) = ([1; 32], [2; 32], [3; 32]);
        let first = [(a, features(&[1.0, 2.0])), (b, features(&[3.0, 4.0]))];
        write(&storage, "key", &first).await.unwrap();
        // Another process computed one of them as well.
        let second = [(b, features(&[5.0, 6.0])), (c, features(&[7.0, 8.0]))];
        write(&storage, "key", &second).await.unwrap();
        let known = read_all(&storage, &[a, c, [4; 32]]).await.unwrap();
        assert_eq!(known.len(), 2);
        assert_eq!(*known[&a], [1.0, 2.0]);
        assert_eq!(*known[&c], [7.0, 8.0]);
        assert_eq!(read_all(&storage, &[b]).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn a_damaged_file_is_named() {
        let (folder, storage) = storage();
        write(&storage, "key", &[([1; 32], features(&[1.0]))])
            .await
            .unwrap();
        std::fs::write(folder.path().join("features/key/x.parquet"), "PAR1").unwrap();
        let error = read_all(&storage, &[[1; 32], [2; 32]]).await.unwrap_err();
        let error = error.strip_backtrace();
        assert!(
            error.contains("features/key/x.parquet are damaged"),
            "{error}"
        );
        assert!(error.contains("delete the file"), "{error}");
    }
}
