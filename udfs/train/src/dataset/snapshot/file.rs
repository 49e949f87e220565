//! The file of a snapshot: one Parquet row per row, readable by any tool.
//!
//! It has the columns `image` (IMAGE) or `features` (a list of FLOAT), `label` (class
//! index, a list of names, or FLOAT where it is to be predicted) and `split`; the names of the classes are
//! in the schema's metadata. Numbers that 32 bits do not tell apart are DOUBLE. Where the
//! Tables of mixed columns have a struct of them in `features`; see [`columns`]. Where the
//! statement asks for groups or weights of rows, `group` (text) and `weight` (DOUBLE) follow.

use std::ops::Range;
use std::sync::Arc;

use atoll_compute::{CancellationToken, pool};
use atoll_nn::{Features, ImageShape};
use atoll_udf_common::image::image_type;
use atoll_udf_common::{Location, pool_error};
use bytes::Bytes;
use datafusion::arrow::array::{
    ArrayRef, BinaryArray, Float32Array, Float64Array, Int64Array, ListArray,
    ListBuilder, RecordBatch, StringArray, StringBuilder, StructArray, UInt8Array,
    UInt32Array,
};
use datafusion::arrow::buffer::{Buffer, OffsetBuffer};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{Result, exec_datafusion_err, exec_err, internal_err};
use datafusion::parquet::arrow::ArrowWriter;
use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use datafusion::parquet::basic::Compression;
use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};

use super::Snapshot;
use super::columns;
use crate::dataset::metadata::{
    Described, class_names, features_name, write_class_names, write_features_name,
};
use crate::dataset::reader::FEATURES;
use crate::dataset::{ColumnOptions, Labels, Reader, Split, Subject};
use crate::files::put_if_absent;

/// The column of images.
const IMAGE: &str = "image";

/// The column of the groups of rows.
pub(crate) const GROUP: &str = "group";

/// The column of the weights of rows.
pub(crate) const WEIGHT: &str = "weight";

/// The key in the schema's metadata of what was odd about the data. It is no part of the
/// digest.
const WARNINGS: &str = "atoll.warnings";

/// The most bytes of pixels in one record batch; offsets of 32 bits bound it.
const BATCH_BYTES: usize = 64 << 20;

/// Writes the file unless it is there. Its name says its content, so there is nothing
/// to compare.
pub(super) async fn write(snapshot: &Arc<Snapshot>, storage: &Location) -> Result<()> {
    let location = location(storage, &snapshot.sha256)?;
    if location.exists().await? {
        return Ok(());
    }
    let snapshot = Arc::clone(snapshot);
    // Encoding takes a moment, so it does not run on the threads that drive I/O.
    let bytes = pool::run(&CancellationToken::new(), move || encode(&snapshot));
    put_if_absent(&location, bytes.await.map_err(pool_error)??).await?;
    Ok(())
}

/// Reads and checks the file.
pub(super) async fn read(storage: &Location, sha256: &str) -> Result<Snapshot> {
    let location = location(storage, sha256)?;
    let bytes = location.read().await?;
    let name = location.to_string();
    let read = pool::run(&CancellationToken::new(), move || decode(&name, bytes));
    let damaged = |reason: String| {
        exec_datafusion_err!(
            "snapshot {location} is damaged; delete it and run the statement again: \
             {reason}"
        )
    };
    let snapshot = read
        .await
        .map_err(pool_error)?
        .map_err(|error| damaged(error.strip_backtrace()))?;
    if snapshot.sha256 != sha256 {
        return Err(damaged(format!(
            "its content has the digest {}",
            snapshot.sha256
        )));
    }
    Ok(snapshot)
}

fn location(storage: &Location, sha256: &str) -> Result<Location> {
    storage.join(&format!("snapshots/{sha256}.parquet"))
}

fn encode(snapshot: &Snapshot) -> Result<Vec<u8>> {
    let dataset = &snapshot.dataset;
    let label = match dataset.labels {
        atoll_nn::Labels::Classes { .. } => DataType::Int64,
        atoll_nn::Labels::Sets { .. } => DataType::new_list(DataType::Utf8, true),
        atoll_nn::Labels::Numbers(_) => float(dataset.wide.labels),
    };
    let mut fields = vec![
        match dataset.features {
            Features::Pixels(_) => Field::new(IMAGE, image_type(), false),
            Features::Numbers(_) if !dataset.columns.is_empty() => {
                Field::new(FEATURES, DataType::Struct(columns::fields(dataset)), false)
            }
            Features::Numbers(_) => {
                let item = list_item(dataset.wide.features);
                Field::new(FEATURES, DataType::List(item), false)
            }
        },
        Field::new("label", label, false),
        Field::new("split", DataType::Utf8, false),
    ];
    if snapshot.groups.is_some() {
        fields.push(Field::new(GROUP, DataType::Utf8, false));
    }
    if dataset.weights.is_some() {
        fields.push(Field::new(WEIGHT, DataType::Float64, false));
    }
    let warnings = serde_json::to_string(&snapshot.warnings)
        .map_err(|error| exec_datafusion_err!("cannot write warnings: {error}"))?;
    let mut schema = Schema::new(fields);
    write_class_names(&mut schema, dataset.labels.class_names())?;
    schema.metadata.insert(WARNINGS.to_string(), warnings);
    if !dataset.columns.is_empty() {
        Described::write(dataset, &mut schema);
    }
    if let Some(features) = &snapshot.features {
        write_features_name(&mut schema, features);
    }
    let schema = Arc::new(schema);
    let properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        // No query prunes by pixels, and no two images are equal often enough.
        .set_statistics_enabled(EnabledStatistics::None)
        .set_dictionary_enabled(false)
        .build();
    let mut file = Vec::new();
    let mut writer =
        ArrowWriter::try_new(&mut file, Arc::clone(&schema), Some(properties))?;
    let rows = snapshot.dataset.len();
    let step = (BATCH_BYTES / snapshot.dataset.shape.values()).clamp(1, 8_192);
    for start in (0..rows).step_by(step) {
        let columns = arrays(snapshot, start, (start + step).min(rows))?;
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.close()?;
    Ok(file)
}

fn arrays(snapshot: &Snapshot, start: usize, end: usize) -> Result<Vec<ArrayRef>> {
    let dataset = &snapshot.dataset;
    let inputs = match &dataset.features {
        Features::Pixels(pixels) => images(pixels, dataset.shape, start..end)?,
        Features::Numbers(_) if !dataset.columns.is_empty() => {
            columns::array(dataset, start, end)?
        }
        Features::Numbers(numbers) => {
            let width = dataset.shape.values();
            let numbers = &numbers[start * width..end * width];
            lists(numbers, width, dataset.wide.features)?
        }
    };
    let labels: ArrayRef = match &dataset.labels {
        atoll_nn::Labels::Classes { indices, .. } => {
            let labels = indices[start..end].iter().map(|label| i64::from(*label));
            Arc::new(Int64Array::from_iter_values(labels))
        }
        atoll_nn::Labels::Sets { sets, names } => {
            let mut lists = ListBuilder::new(StringBuilder::new());
            for set in &sets[start..end] {
                let labels = set.iter().map(|label| names[*label as usize].as_str());
                lists.append_value(labels.map(Some));
            }
            Arc::new(lists.finish())
        }
        atoll_nn::Labels::Numbers(numbers) => {
            floats(&numbers[start..end], dataset.wide.labels)
        }
    };
    let split = |row: usize| match &snapshot.validation {
        Some(validation) if validation[row] => Split::Validation.name(),
        _ => Split::Train.name(),
    };
    let splits = StringArray::from_iter_values((start..end).map(split));
    let mut columns = vec![inputs, labels, Arc::new(splits)];
    if let Some(groups) = &snapshot.groups {
        let names = (start..end).map(|row| groups.name(row));
        columns.push(Arc::new(StringArray::from_iter_values(names)));
    }
    if let Some(weights) = &dataset.weights {
        columns.push(Arc::new(Float64Array::from(weights[start..end].to_vec())));
    }
    Ok(columns)
}

/// The type of numbers with 64 or 32 bits.
fn float(wide: bool) -> DataType {
    match wide {
        true => DataType::Float64,
        false => DataType::Float32,
    }
}

fn floats(numbers: &[f64], wide: bool) -> ArrayRef {
    match wide {
        true => Arc::new(Float64Array::from(numbers.to_vec())),
        false => Arc::new(Float32Array::from_iter_values(
            numbers.iter().map(|number| *number as f32),
        )),
    }
}

fn list_item(wide: bool) -> Arc<Field> {
    Arc::new(Field::new_list_field(float(wide), false))
}

fn lists(numbers: &[f64], width: usize, wide: bool) -> Result<ArrayRef> {
    Ok(Arc::new(ListArray::try_new(
        list_item(wide),
        OffsetBuffer::from_repeated_length(width, numbers.len() / width),
        floats(numbers, wide),
        None,
    )?))
}

fn images(pixels: &[u8], shape: ImageShape, range: Range<usize>) -> Result<ArrayRef> {
    let ImageShape {
        height,
        width,
        channels,
    } = shape;
    let (values, rows) = (shape.values(), range.len());
    let pixels = Buffer::from(&pixels[range.start * values..range.end * values]);
    let offsets = OffsetBuffer::from_repeated_length(values, rows);
    let DataType::Struct(fields) = image_type() else {
        return internal_err!("IMAGE must be a struct");
    };
    let image: Vec<ArrayRef> = vec![
        Arc::new(UInt32Array::from_value(width as u32, rows)),
        Arc::new(UInt32Array::from_value(height as u32, rows)),
        Arc::new(UInt8Array::from_value(channels as u8, rows)),
        Arc::new(BinaryArray::try_new(offsets, pixels, None)?),
    ];
    Ok(Arc::new(StructArray::try_new(fields, image, None)?))
}

/// What reads the rows of a file again.
fn reader(
    schema: &Schema,
    subject: Subject,
    first: &Field,
    label: &Field,
    options: &ColumnOptions,
) -> Result<Reader> {
    match (first.name().as_str(), first.data_type()) {
        (FEATURES, DataType::Struct(fields)) => match Described::of(schema) {
            Some(columns) => {
                Reader::of_snapshot(subject, fields, label, options, columns)
            }
            None => exec_err!("it does not describe its columns"),
        },
        (FEATURES, _) => {
            let features = std::slice::from_ref(first);
            Reader::of_numbers(subject, features, label, options)
        }
        _ => Reader::of_images(subject, first, label, options),
    }
}

fn decode(name: &str, bytes: Bytes) -> Result<Snapshot> {
    let file = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let schema = Arc::clone(file.schema());
    let Some(classes) = class_names(&schema, "label") else {
        return exec_err!("it has no class names");
    };
    let names: Vec<&str> = schema
        .fields()
        .iter()
        .map(|field| field.name().as_str())
        .collect();
    let (first, label) = match names[..] {
        [_, "label", "split"]
        | [_, "label", "split", GROUP | WEIGHT]
        | [_, "label", "split", GROUP, WEIGHT] => (schema.field(0), schema.field(1)),
        _ => {
            return exec_err!(
                "it has other columns than image, label, split, group and weight"
            );
        }
    };
    let extra = |name: &str| names.contains(&name).then(|| name.to_string());
    let options = ColumnOptions {
        group: extra(GROUP),
        weight: extra(WEIGHT),
        ..ColumnOptions::default()
    };
    // A reader takes the split last.
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.remove(2);
    order.push(2);
    let subject = Subject {
        function: "train",
        dataset: name.to_string(),
    };
    let reader = reader(&schema, subject, first, label, &options)?;
    let mut rows = reader.empty();
    for batch in file.with_batch_size(8_192).build()? {
        rows.append(reader.read(&batch?.project(&order)?)?);
    }
    let table = reader.finish(rows)?;
    let labels = match &table.labels {
        Labels::Indices(indices) => atoll_nn::Labels::Classes {
            indices: indices.clone(),
            names: classes,
        },
        Labels::Sets(sets) => super::sets_of(sets, classes),
        Labels::Numbers(numbers) => atoll_nn::Labels::Numbers(numbers.clone()),
        Labels::Names(_) => return exec_err!("its labels are not class indices"),
    };
    let mut snapshot = Snapshot::arrange(name, &table, &labels)?;
    // They name columns that the file does not have.
    let warnings = schema.metadata().get(WARNINGS);
    if let Some(warnings) = warnings.and_then(|json| serde_json::from_str(json).ok()) {
        snapshot.warnings = warnings;
    }
    snapshot.features = features_name(&schema);
    Ok(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::table::tests::{images as rows, numbers};
    use crate::single_flight::SingleFlight;

    fn snapshot() -> Snapshot {
        let mut rows = rows(
            &[(vec![1, 2], 0), (vec![3, 4], 0), (vec![5, 6], 0)],
            &[Split::Train, Split::Validation, Split::Train],
        );
        rows.labels = Labels::Names(["cat", "dog", "cat"].map(String::from).to_vec());
        Snapshot::from_table("animals", &rows).unwrap()
    }

    fn storage() -> (tempfile::TempDir, Location) {
        let folder = tempfile::tempdir().unwrap();
        let location = Location::parse(&folder.path().display().to_string()).unwrap();
        (folder, location)
    }

    #[tokio::test]
    async fn what_is_written_is_read() {
        let (_folder, storage) = storage();
        let mut written = snapshot();
        written.features = Some("some features".to_string());
        let written = Arc::new(written);
        write(&written, &storage).await.unwrap();
        write(&written, &storage).await.unwrap();
        let read = read(&storage, &written.sha256).await.unwrap();
        assert_eq!(read.sha256, written.sha256);
        assert_eq!(read.validation, written.validation);
        assert_eq!(read.features, written.features);
        assert_eq!(read.dataset.features, written.dataset.features);
        assert_eq!(read.dataset.labels, written.dataset.labels);
        assert_eq!(read.dataset.labels.class_names(), ["cat", "dog"]);
    }

    #[tokio::test]
    async fn numbers_are_read_as_they_were_written() {
        let (_folder, storage) = storage();
        let houses = numbers(&[(&[0.1, -1e9], 1e9), (&[7.0, 1e-9], 1e9 + 3.0)]);
        let written = Arc::new(Snapshot::from_table("houses", &houses).unwrap());
        write(&written, &storage).await.unwrap();
        let read = read(&storage, &written.sha256).await.unwrap();
        assert_eq!(read.sha256, written.sha256);
        assert_eq!(read.dataset.features, written.dataset.features);
        assert_eq!(read.dataset.labels, written.dataset.labels);
    }

    #[tokio::test]
    async fn groups_and_weights_are_read_as_they_were_written() {
        let (_folder, storage) = storage();
        let mut sha256 = Vec::new();
        for (with_groups, with_weights) in [(false, true), (true, false), (true, true)] {
            let mut houses = numbers(&[(&[0.5], 1.0), (&[7.0], 2.0), (&[9.0], 3.0)]);
            if with_groups {
                houses.groups = ["b", "a", "b"].map(String::from).to_vec();
            }
            if with_weights {
                houses.weights = vec![0.1, 2.0, 3.5];
            }
            let written = Arc::new(Snapshot::from_table("houses", &houses).unwrap());
            write(&written, &storage).await.unwrap();
            let read = read(&storage, &written.sha256).await.unwrap();
            assert_eq!(read.groups, written.groups);
            assert_eq!(read.dataset.weights, written.dataset.weights);
            assert_eq!(read.dataset.weights.is_some(), with_weights);
            sha256.push(read.sha256);
        }
        sha256.sort_unstable();
        sha256.dedup();
        assert_eq!(sha256.len(), 3);
    }

    #[tokio::test]
    async fn lists_of_labels_are_read_as_they_were_written() {
        let (_folder, storage) = storage();
        let mut photos = numbers(&[(&[0.5], 1.0), (&[7.0], 2.0), (&[9.0], 3.0)]);
        let list =
            |labels: &[&str]| labels.iter().map(|name| (*name).to_string()).collect();
        photos.labels =
            Labels::Sets(vec![list(&["sun", "sea", "sun"]), vec![], list(&["sea"])]);
        let written = Arc::new(Snapshot::from_table("photos", &photos).unwrap());
        assert_eq!(written.dataset.labels.class_names(), ["sea", "sun"]);
        write(&written, &storage).await.unwrap();
        let read = read(&storage, &written.sha256).await.unwrap();
        assert_eq!(read.dataset.labels, written.dataset.labels);
    }

    #[tokio::test]
    async fn a_damaged_file_is_named() {
        let (folder, storage) = storage();
        let written = Arc::new(snapshot());
        write(&written, &storage).await.unwrap();
        let path = |name: &str| folder.path().join(format!("snapshots/{name}.parquet"));
        std::fs::copy(path(&written.sha256), path("other")).unwrap();
        let error = read(&storage, "other").await.unwrap_err().strip_backtrace();
        assert!(
            error.contains("snapshots/other.parquet is damaged"),
            "{error}"
        );
        std::fs::write(path("other"), "PAR1").unwrap();
        let error = read(&storage, "other").await.unwrap_err().strip_backtrace();
        assert!(error.contains("delete it"), "{error}");
    }

    #[tokio::test]
    async fn a_snapshot_is_in_memory_once() {
        let (_folder, storage) = storage();
        let in_use = SingleFlight::default();
        let published = snapshot().publish(&storage, &in_use).await.unwrap();
        let loaded = Snapshot::load(&storage, &published.sha256, &in_use).await;
        assert!(Arc::ptr_eq(&published, &loaded.unwrap()));
    }
}
