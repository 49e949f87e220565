//! From record batches to labelled pixels or numbers.
//!
//! An image column holds encoded files, IMAGE structs, lists of numbers or text with
//! numbers. Whatever it holds, its images become bytes here. Other datasets have columns
//! of numbers or of lists of them. There is a row out for every row in, and what cannot
//! be used is an error that names the dataset and the remedy, or a [`RowError`], to which
//! whoever reads the whole dataset adds the number of the row.

mod images;
mod numbers;

pub(crate) use numbers::is_feature;

use std::ops::Range;

use atoll_imaging::ImageRef;
use atoll_nn::ImageShape;
use atoll_udf_common::RowError;
use atoll_udf_common::args::{is_text, string_at};
use atoll_udf_common::image::coerce_image_type;
use atoll_udf_common::structs::suggest;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Float64Type, Int64Type, Schema};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, plan_err,
};

use crate::options::ColumnOptions;
use crate::snapshot::write_class_names;

/// The largest class index. A larger one is a column that holds something else.
const MAX_CLASS: i64 = 65_535;

/// Up to here every whole number is a float64.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Numbers beyond this have no squares that float64 can add up.
const LARGEST: f64 = 1e150;

/// The part of a dataset that a row belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// Rows that a network learns from.
    Train,
    /// Rows that choose the best epoch and the best trial.
    Validation,
    /// Rows that only `evaluate` sees.
    Test,
}

impl Part {
    const NAMES: [(&str, Part); 3] = [
        ("train", Part::Train),
        ("validation", Part::Validation),
        ("test", Part::Test),
    ];

    /// The part with this name in a split column.
    pub(crate) fn parse(name: &str) -> Result<Self> {
        if let Some((_, part)) = Self::NAMES.iter().find(|(valid, _)| *valid == name) {
            return Ok(*part);
        }
        let valid = Self::NAMES.map(|(valid, _)| valid);
        let hint = suggest(name, valid)
            .map_or_else(String::new, |valid| format!("; did you mean '{valid}'?"));
        exec_err!("a split must be 'train', 'validation' or 'test', got '{name}'{hint}")
    }

    /// The name of this part in a split column.
    pub(crate) fn name(self) -> &'static str {
        Self::NAMES[self as usize].0
    }
}

/// What an image column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Images {
    /// Encoded files or IMAGE structs.
    Pixels,
    /// Lists of numbers; `fractional` when their type can hold fractions.
    Lists { fractional: bool },
    /// Text with numbers, as in the CSV files of many competitions.
    Text,
    /// Columns of numbers that are no image.
    Numbers,
}

/// What a label column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LabelKind {
    /// Integers: class indices.
    Indices,
    /// Text: class names.
    Names,
    /// Numbers with fractions, which are to be predicted.
    Numbers,
}

/// How the columns of a dataset become rows. Columns come in the order image or features,
/// label and, if there is one, split.
#[derive(Debug, Clone)]
pub(crate) struct Format {
    function: &'static str,
    dataset: String,
    images: Images,
    options: ColumnOptions,
    /// The columns that a network sees.
    inputs: Vec<String>,
    labels: LabelKind,
    /// The names of the classes, where the dataset has class indices and says what they
    /// mean, as snapshots do.
    class_names: Option<Vec<String>>,
}

/// The labels of all rows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Labels {
    /// Class indices.
    Indices(Vec<u32>),
    /// Class names.
    Names(Vec<String>),
    /// Numbers to predict.
    Numbers(Vec<f64>),
}

/// Labelled images or rows of numbers, one after the other in one buffer.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    /// The size of each image; a row of numbers is one pixel with a channel for each.
    pub(crate) shapes: Vec<ImageShape>,
    /// Where each row ends in `pixels` or `numbers`.
    pub(crate) ends: Vec<usize>,
    /// All images, each in HWC order.
    pub(crate) pixels: Vec<u8>,
    /// All rows of numbers; the other buffer is empty then.
    pub(crate) numbers: Vec<f64>,
    /// The label of each image.
    pub(crate) labels: Labels,
    /// The part of each image; empty without a split column.
    pub(crate) parts: Vec<Part>,
    /// The names of the classes, if the dataset says them.
    pub(crate) class_names: Option<Vec<String>>,
    /// The columns that the numbers of a row come from, and how many from each.
    pub(crate) columns: Vec<(String, Option<usize>)>,
    /// A column of lists that have another length in another record batch, with both.
    uneven: Option<(String, Option<usize>, Option<usize>)>,
    /// Rows without a value, for each column: images or features, label and split.
    missing: Vec<usize>,
    /// The largest number of a list or text, before it was scaled.
    largest: f32,
}

impl Format {
    /// Checks the types of the columns.
    pub(crate) fn new(
        function: &'static str,
        dataset: &str,
        (image, label): (&Field, &Field),
        options: &ColumnOptions,
    ) -> Result<Self> {
        let images = match value_type(image.data_type()) {
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
                if item.data_type().is_numeric() =>
            {
                Images::Lists {
                    fractional: !item.data_type().is_integer(),
                }
            }
            text if is_text(text) => Images::Text,
            other if coerce_image_type(function, other).is_ok() => Images::Pixels,
            other => {
                return plan_err!(
                    "{function}: column {} of {dataset} must hold images (encoded \
                     files, IMAGE structs or lists of numbers), got {other}; name the \
                     image column in the options, such as {{image: 'pixels'}}",
                    image.name()
                );
            }
        };
        Ok(Self {
            function,
            dataset: dataset.to_string(),
            images,
            options: options.clone(),
            inputs: vec![image.name().clone()],
            labels: label_kind(function, dataset, label)?,
            class_names: None,
        })
    }

    /// The same for a dataset that says what its class indices are called.
    pub(crate) fn with_class_names(self, class_names: Option<Vec<String>>) -> Self {
        let class_names = class_names.filter(|_| self.labels == LabelKind::Indices);
        Self {
            class_names,
            ..self
        }
    }

    /// Writes into a schema what the class indices are called, if the dataset says it.
    pub(crate) fn name_classes(&self, schema: &mut Schema) -> Result<()> {
        match &self.class_names {
            Some(names) => write_class_names(schema, names),
            None => Ok(()),
        }
    }

    /// The names of the columns that a network sees, and of the label column.
    pub(crate) fn columns(&self) -> impl Iterator<Item = &str> {
        let inputs = self.inputs.iter().map(String::as_str);
        inputs.chain([self.options.label.as_str()])
    }

    /// No rows yet.
    pub(crate) fn empty(&self) -> Rows {
        let labels = match self.labels {
            LabelKind::Names => Labels::Names(Vec::new()),
            LabelKind::Indices => Labels::Indices(Vec::new()),
            LabelKind::Numbers => Labels::Numbers(Vec::new()),
        };
        Rows {
            shapes: Vec::new(),
            ends: Vec::new(),
            pixels: Vec::new(),
            numbers: Vec::new(),
            labels,
            parts: Vec::new(),
            class_names: None,
            columns: Vec::new(),
            uneven: None,
            missing: vec![0; self.inputs.len() + 2],
            largest: 0.0,
        }
    }

    /// Reads the rows of one record batch.
    pub(crate) fn read(&self, batch: &RecordBatch) -> Result<Rows> {
        let mut rows = self.empty();
        let column = |n: usize| plain(batch.column(n));
        let count = self.inputs.len();
        let inputs = (0..count).map(column).collect::<Result<Vec<_>>>()?;
        let labels = column(count)?;
        for (missing, column) in rows.missing.iter_mut().zip(&inputs) {
            *missing = column.logical_null_count();
        }
        rows.missing[count] = labels.logical_null_count();
        if batch.num_columns() > count + 1 {
            let parts = column(count + 1)?;
            rows.missing[count + 1] = parts.logical_null_count();
            rows.parts = (0..parts.len())
                .filter_map(|row| Some((row, string_at(&parts, row)?)))
                .map(|(row, part)| Part::parse(part).map_err(|error| at(row, error)))
                .collect::<Result<_>>()?;
        }
        // Rows with something missing are counted over all batches and then refused,
        // so there is no point in decoding the rest.
        if rows.missing.iter().any(|missing| *missing > 0) {
            return Ok(rows);
        }
        self.read_labels(&labels, &mut rows)?;
        match self.images {
            Images::Pixels => self.read_pixels(&inputs[0], &mut rows)?,
            Images::Lists { .. } => self.read_lists(&inputs[0], &mut rows)?,
            Images::Text => self.read_text(&inputs[0], &mut rows)?,
            Images::Numbers => self.read_numbers(&inputs, &mut rows)?,
        }
        Ok(rows)
    }

    fn read_labels(&self, labels: &ArrayRef, rows: &mut Rows) -> Result<()> {
        let column = &self.options.label;
        match &mut rows.labels {
            Labels::Names(names) => {
                let text = cast(labels, &DataType::Utf8)?;
                for row in 0..text.len() {
                    let name = string_at(&text, row).unwrap_or_default();
                    if name.contains('\0') {
                        let problem = exec_datafusion_err!(
                            "the label in column {column} of {} has a NUL character, which \
                             the name of a class cannot have; take it out with replace()",
                            self.dataset
                        );
                        return Err(at(row, problem));
                    }
                    names.push(name.to_string());
                }
            }
            Labels::Numbers(numbers) => {
                for (row, label) in doubles(labels)?.into_iter().enumerate() {
                    if let Some(problem) = problem(label, labels.data_type()) {
                        return Err(at(
                            row,
                            exec_datafusion_err!(
                                "the label in column {column} of {} is {problem}",
                                self.dataset
                            ),
                        ));
                    }
                    numbers.push(label);
                }
            }
            Labels::Indices(indices) => {
                let numbers = cast(labels, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>();
                for (row, label) in numbers.iter().enumerate() {
                    // What does not fit 64 bits with a sign has become NULL.
                    let Some(label) = label.filter(|n| (0..=MAX_CLASS).contains(n))
                    else {
                        let label = array_value_to_string(labels, row)?;
                        return Err(at(
                            row,
                            exec_datafusion_err!(
                                "labels of {} must be class indices from 0 to {MAX_CLASS} \
                                 or text, got {label} in column {column}; cast them to \
                                 DOUBLE if they are numbers to predict",
                                self.dataset
                            ),
                        ));
                    };
                    indices.push(label as u32);
                }
            }
        }
        Ok(())
    }

    /// The first column in which values are missing, by its place, if there is one.
    pub(crate) fn missing(&self, rows: &Rows) -> Option<usize> {
        rows.missing.iter().position(|missing| *missing > 0)
    }

    /// Checks what only the whole dataset can tell.
    pub(crate) fn finish(&self, mut rows: Rows) -> Result<Rows> {
        if let Some(place) = self.missing(&rows) {
            return self.refuse_missing(place, rows.missing[place], None);
        }
        rows.class_names.clone_from(&self.class_names);
        self.check_widths(&rows)?;
        let fractional = matches!(
            self.images,
            Images::Lists { fractional: true } | Images::Text
        );
        if fractional
            && self.options.scale.is_none()
            && !rows.is_empty()
            && rows.largest <= 1.0
        {
            return exec_err!(
                "pixels of {} must be from 0 to 255, but none is greater than 1; add \
                 {{scale: 255}} to the options if they go from 0 to 1, {{scale: 1}} if \
                 they do not",
                self.dataset
            );
        }
        Ok(rows)
    }

    /// The error for a column in which values are missing, the first of them in this row
    /// of the data.
    pub(crate) fn refuse_missing<T>(
        &self,
        place: usize,
        count: usize,
        first: Option<u64>,
    ) -> Result<T> {
        let (what, column) = match self.inputs.get(place) {
            Some(column) if self.images == Images::Numbers => ("features", Some(column)),
            Some(column) => ("images", Some(column)),
            None if place == self.inputs.len() => ("labels", Some(&self.options.label)),
            None => ("splits", None),
        };
        let column = column.map_or_else(String::new, |name| format!(" in column {name}"));
        let first =
            first.map_or_else(String::new, |row| format!(", the first in row {row}"));
        exec_err!(
            "{} has {count} NULL {what}{column}{first}; leave such rows out, for example \
             with a view that ends in WHERE ... IS NOT NULL",
            self.dataset
        )
    }
}

impl Rows {
    /// The number of rows.
    pub(crate) fn len(&self) -> usize {
        match &self.labels {
            Labels::Indices(labels) => labels.len(),
            Labels::Names(labels) => labels.len(),
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

    /// How many rows have no value in a column, by its place.
    pub(crate) fn missing(&self, place: usize) -> usize {
        self.missing.get(place).copied().unwrap_or_default()
    }

    /// The bytes of one image.
    pub(crate) fn image(&self, row: usize) -> &[u8] {
        &self.pixels[self.place(row)]
    }

    /// Where a row is in its buffer.
    fn place(&self, row: usize) -> Range<usize> {
        let start = if row == 0 { 0 } else { self.ends[row - 1] };
        start..self.ends[row]
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
            data: self.image(row),
        }
    }

    fn push_image(&mut self, image: &ImageRef<'_>) {
        self.shapes.push(ImageShape {
            height: image.height as usize,
            width: image.width as usize,
            channels: image.channels.into(),
        });
        self.pixels.extend_from_slice(image.data);
        self.ends.push(self.pixels.len());
    }

    /// Adds the rows of another record batch of the same dataset.
    pub(crate) fn append(&mut self, other: Rows) {
        // One of the buffers is empty in all batches of a dataset.
        let before = self.pixels.len() + self.numbers.len();
        self.pixels.extend_from_slice(&other.pixels);
        self.numbers.extend_from_slice(&other.numbers);
        self.ends.extend(other.ends.iter().map(|end| end + before));
        self.shapes.extend(other.shapes);
        self.parts.extend(other.parts);
        if self.columns.is_empty() {
            self.columns = other.columns;
        } else {
            let pairs = self.columns.iter().zip(&other.columns);
            let uneven = pairs.into_iter().find(|(first, other)| first.1 != other.1);
            let uneven = uneven.map(|(first, other)| (first.0.clone(), first.1, other.1));
            self.uneven = self.uneven.take().or(other.uneven).or(uneven);
        }
        match (&mut self.labels, other.labels) {
            (Labels::Indices(all), Labels::Indices(more)) => all.extend(more),
            (Labels::Names(all), Labels::Names(more)) => all.extend(more),
            (Labels::Numbers(all), Labels::Numbers(more)) => all.extend(more),
            // One format reads all batches of a dataset, so the kinds are the same.
            (Labels::Indices(_) | Labels::Names(_) | Labels::Numbers(_), _) => {}
        }
        for (all, more) in self.missing.iter_mut().zip(other.missing) {
            *all += more;
        }
        self.largest = self.largest.max(other.largest);
    }
}

/// An error of one row of a record batch.
fn at(row: usize, error: DataFusionError) -> DataFusionError {
    DataFusionError::External(Box::new(RowError { row, error }))
}

/// The numbers of a column as float64.
fn doubles(column: &ArrayRef) -> Result<Vec<f64>> {
    let numbers = cast(column, &DataType::Float64)?;
    Ok(numbers.as_primitive::<Float64Type>().values().to_vec())
}

/// Why a number that came from this type cannot be used, to follow the word "is".
fn problem(number: f64, data_type: &DataType) -> Option<String> {
    if !number.is_finite() {
        let advice = "replace or leave out what is not finite";
        return Some(format!("{number}; {advice}"));
    }
    let is_exact = data_type.is_integer() || data_type.is_decimal();
    if is_exact && number.abs() > WHOLE {
        return Some(format!(
            "{number}, and beyond 2^53 a DOUBLE does not tell neighbouring whole numbers \
             apart; subtract an offset, or cast it to DOUBLE if that does not matter"
        ));
    }
    (number.abs() > LARGEST)
        .then(|| format!("{number:e}, which is too large to be squared; scale it"))
}

fn label_kind(function: &str, dataset: &str, label: &Field) -> Result<LabelKind> {
    match value_type(label.data_type()) {
        text if is_text(text) => Ok(LabelKind::Names),
        DataType::Boolean => Ok(LabelKind::Names),
        integer if integer.is_integer() => Ok(LabelKind::Indices),
        number if number.is_numeric() => Ok(LabelKind::Numbers),
        other => plan_err!(
            "{function}: the labels in column {} of {dataset} must be class indices \
             (integers from 0), text, or numbers to predict, got {other}; cast them",
            label.name()
        ),
    }
}

/// The type of a column's values, be they behind a dictionary or not.
pub(crate) fn value_type(data_type: &DataType) -> &DataType {
    match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    }
}

/// The same values without a dictionary.
fn plain(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(cast(array, value_type(array.data_type()))?)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        Date32Array, Float64Array, Int64Array, ListArray, StringArray, UInt8Array,
    };
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::datatypes::{Int64Type, Schema};

    use super::*;

    /// Grey images of one line, with class indices.
    pub(crate) fn rows(images: &[(Vec<u8>, u32)], parts: &[Part]) -> Rows {
        let mut rows = Rows {
            shapes: Vec::new(),
            ends: Vec::new(),
            pixels: Vec::new(),
            numbers: Vec::new(),
            labels: Labels::Indices(images.iter().map(|(_, label)| *label).collect()),
            parts: parts.to_vec(),
            class_names: None,
            columns: Vec::new(),
            uneven: None,
            missing: vec![0; 3],
            largest: 0.0,
        };
        for (pixels, _) in images {
            let (height, width) = (1, pixels.len() as u32);
            rows.push_image(&ImageRef {
                width,
                height,
                channels: 1,
                data: pixels,
            });
        }
        rows
    }

    fn batch(images: ArrayRef, labels: ArrayRef, parts: Option<ArrayRef>) -> RecordBatch {
        let columns: Vec<_> = [Some(images), Some(labels), parts]
            .into_iter()
            .flatten()
            .collect();
        let fields: Vec<_> = columns
            .iter()
            .zip(["image", "label", "split"])
            .map(|(column, name)| Field::new(name, column.data_type().clone(), true))
            .collect();
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).unwrap()
    }

    fn read(batch: &RecordBatch, options: &ColumnOptions) -> Result<Rows> {
        let schema = batch.schema();
        let fields = (schema.field(0), schema.field(1));
        let format = Format::new("train", "mnist", fields, options)?;
        format.finish(format.read(batch)?)
    }

    fn lists(values: ArrayRef, length: usize) -> ArrayRef {
        let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let rows = values.len() / length;
        let offsets = OffsetBuffer::from_lengths(vec![length; rows]);
        Arc::new(ListArray::new(item, offsets, values, None))
    }

    fn labels(labels: &[i64]) -> ArrayRef {
        Arc::new(Int64Array::from(labels.to_vec()))
    }

    #[track_caller]
    fn check_refused(result: Result<Rows>, expected: &str) {
        let error = result.unwrap_err().strip_backtrace();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn lists_of_a_square_number_are_squares() {
        let images = lists(Arc::new(UInt8Array::from_iter_values(0..8)), 4);
        let rows = read(&batch(images, labels(&[0, 1]), None), &Default::default());
        let rows = rows.unwrap();
        assert_eq!(
            rows.shapes[1],
            ImageShape {
                height: 2,
                width: 2,
                channels: 1
            }
        );
        assert_eq!(rows.image(1), [4, 5, 6, 7]);
        assert_eq!(rows.labels, Labels::Indices(vec![0, 1]));
    }

    #[test]
    fn options_give_the_shape_of_other_lists() {
        let images = lists(Arc::new(UInt8Array::from_iter_values(0..6)), 6);
        let image = batch(images, labels(&[0]), None);
        check_refused(read(&image, &Default::default()), "give height, width");
        let options = ColumnOptions {
            width: Some(3),
            ..ColumnOptions::default()
        };
        let rows = read(&image, &options).unwrap();
        assert_eq!(
            rows.shapes[0],
            ImageShape {
                height: 2,
                width: 3,
                channels: 1
            }
        );
        let wrong = ColumnOptions {
            width: Some(4),
            ..ColumnOptions::default()
        };
        check_refused(read(&image, &wrong), "which is not 1 x 4 x 1");
    }

    #[test]
    fn fractions_need_a_scale() {
        let values = Arc::new(Float64Array::from(vec![0.0, 0.5, 0.25, 1.0]));
        let image = batch(lists(values, 4), labels(&[0]), None);
        check_refused(read(&image, &Default::default()), "{scale: 255}");
        let options = ColumnOptions {
            scale: Some(255.0),
            ..ColumnOptions::default()
        };
        assert_eq!(read(&image, &options).unwrap().pixels, [0, 128, 64, 255]);
    }

    #[test]
    fn text_with_numbers_is_an_image() {
        let text = Arc::new(StringArray::from(vec!["[70, 80,82 72]"]));
        let rows = read(&batch(text, labels(&[3]), None), &Default::default()).unwrap();
        assert_eq!(rows.pixels, [70, 80, 82, 72]);
        let path = Arc::new(StringArray::from(vec!["a.png"]));
        check_refused(
            read(&batch(path, labels(&[3]), None), &Default::default()),
            "got 'a.png'; pass files as bytes",
        );
    }

    #[test]
    fn pixels_out_of_range_are_refused() {
        for value in [-1_i64, 256] {
            let images = lists(Arc::new(Int64Array::from(vec![value])), 1);
            let expected = format!("from 0 to 255, got {value}");
            check_refused(
                read(&batch(images, labels(&[0]), None), &Default::default()),
                &expected,
            );
        }
    }

    #[test]
    fn missing_values_are_counted() {
        let images = Arc::new(ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            None,
            Some(vec![Some(1)]),
            None,
        ]));
        check_refused(
            read(
                &batch(images, labels(&[0, 1, 2]), None),
                &Default::default(),
            ),
            "mnist has 2 NULL images",
        );
    }

    #[test]
    fn labels_are_class_indices_or_text() {
        let images = || lists(Arc::new(UInt8Array::from(vec![5])), 1);
        check_refused(
            read(&batch(images(), labels(&[-1]), None), &Default::default()),
            "from 0 to 65535 or text, got -1 in column label",
        );
        let dates = Arc::new(Date32Array::from(vec![1]));
        check_refused(
            read(&batch(images(), dates, None), &Default::default()),
            "got Date32; cast them",
        );
        let reals = Arc::new(Float64Array::from(vec![1.5]));
        let rows = read(&batch(images(), reals, None), &Default::default()).unwrap();
        assert_eq!(rows.labels, Labels::Numbers(vec![1.5]));
        let names = Arc::new(StringArray::from(vec!["cat"]));
        let rows = read(&batch(images(), names, None), &Default::default()).unwrap();
        assert_eq!(rows.labels, Labels::Names(vec!["cat".to_string()]));
    }

    #[test]
    fn an_unknown_split_is_named() {
        let images = lists(Arc::new(UInt8Array::from(vec![5])), 1);
        let parts = Arc::new(StringArray::from(vec!["valid"]));
        check_refused(
            read(
                &batch(images, labels(&[0]), Some(parts)),
                &Default::default(),
            ),
            "got 'valid'; did you mean 'validation'?",
        );
    }
}
