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
