//! From record batches to the rows of a [`Table`].
//!
//! An image column holds encoded files, IMAGE structs, lists of numbers or text with
//! numbers. Whatever it holds, its images become bytes here. Other datasets have columns
//! of numbers or of lists of them. There is a row out for every row in, and what cannot
//! be used is an error that names the dataset and the remedy, or a [`RowError`], to which
//! whoever reads the whole dataset adds the number of the row.

mod columns;
mod images;
mod numbers;

pub(super) use columns::holds;
use numbers::is_feature;

use atoll_udf_common::RowError;
use atoll_udf_common::args::{is_text, string_at};
use atoll_udf_common::image::coerce_image_type;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{cast, filter_record_batch};
use datafusion::arrow::datatypes::{
    DataType, Field, Fields, Float64Type, Int64Type, Schema,
};
use datafusion::arrow::util::display::array_value_to_string;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, plan_err,
};

use super::metadata::{Described, write_class_names};
use super::table::{Features, Images, Labels, Numbers, Split, Table};
use super::{ColumnOptions, Holds, Subject, TableColumn};

/// The column of a snapshot in which its columns lie.
pub(super) const FEATURES: &str = "features";

/// The largest class index. A larger one is a column that holds something else.
const MAX_CLASS: i64 = 65_535;

/// Up to here every whole number is a float64.
const WHOLE: f64 = 9_007_199_254_740_992.0;

/// Numbers beyond this have no squares that float64 can add up.
const LARGEST: f64 = 1e150;

/// The columns that a network sees.
#[derive(Debug, Clone)]
enum Inputs {
    /// One column of images.
    Images { column: String, kind: ImageKind },
    /// Columns of lists of numbers, which have no names in a model.
    Numbers { columns: Vec<String> },
    /// Columns of any kinds, with what each holds.
    Columns {
        columns: Vec<String>,
        holds: Vec<Holds>,
    },
}

/// What an image column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ImageKind {
    /// Encoded files or IMAGE structs.
    Pixels,
    /// Lists of numbers; `fractional` when their type can hold fractions.
    Lists { fractional: bool },
    /// Text with numbers, as in the CSV files of many competitions.
    Text,
}

/// What a label column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LabelKind {
    /// Integers: class indices.
    Indices,
    /// Text: class names.
    Names,
    /// Lists of text or integers: names of any number of labels.
    Sets,
    /// Numbers with fractions, which are to be predicted.
    Numbers,
}

/// How the columns of a dataset become rows. Columns come in the order image or features,
/// label and, of those that there are, group, weight and split.
#[derive(Debug, Clone)]
pub(super) struct Reader {
    pub(super) subject: Subject,
    inputs: Inputs,
    options: ColumnOptions,
    labels: LabelKind,
    /// The names of the classes, where the dataset has class indices and says what they
    /// mean, as snapshots do.
    class_names: Option<Vec<String>>,
    /// Of a snapshot of columns, which lie in a struct: what it says of them.
    snapshot: Option<Described>,
}

/// Rows as they are read, and what only the whole dataset can tell of them.
#[derive(Debug)]
pub(super) struct Piece {
    table: Table,
    /// Rows without a value, for each column, the last of which is the split.
    missing: Vec<usize>,
    /// A column of lists that have another length in another record batch, with both.
    uneven: Option<(String, Option<usize>, Option<usize>)>,
    /// The largest number of an image that is a list or text, before it was scaled.
    largest: f32,
    /// Why images are left out: how many, and what is wrong with the first one.
    left_out: Option<(usize, String)>,
}

impl Inputs {
    /// Whether NULL is a value like others in one of the columns.
    fn may_miss(&self, column: usize) -> bool {
        match self {
            Self::Columns { holds, .. } => holds[column] != Holds::Lists,
            Self::Images { .. } | Self::Numbers { .. } => false,
        }
    }

    fn columns(&self) -> &[String] {
        match self {
            Self::Images { column, .. } => std::slice::from_ref(column),
            Self::Numbers { columns } | Self::Columns { columns, .. } => columns,
        }
    }
}

impl Reader {
    /// Checks the types of an image column and of the label column.
    pub(super) fn of_images(
        subject: Subject,
        image: &Field,
        label: &Field,
        options: &ColumnOptions,
    ) -> Result<Self> {
        let kind = match value_type(image.data_type()) {
            DataType::List(item)
            | DataType::LargeList(item)
            | DataType::FixedSizeList(item, _)
                if item.data_type().is_numeric() =>
            {
                ImageKind::Lists {
                    fractional: !item.data_type().is_integer(),
                }
            }
            text if is_text(text) => ImageKind::Text,
            other if coerce_image_type(subject.function, other).is_ok() => {
                ImageKind::Pixels
            }
            other => {
                return plan_err!(
                    "{}: column {} of {} must hold images (encoded files, IMAGE structs \
                     or lists of numbers), got {other}; name the image column in the \
                     options, such as {{image: 'pixels'}}",
                    subject.function,
                    image.name(),
                    subject.dataset
                );
            }
        };
        let column = image.name().clone();
        Self::new(subject, Inputs::Images { column, kind }, label, options)
    }

    /// Checks the types of columns of numbers and of the label column.
    pub(super) fn of_numbers(
        subject: Subject,
        features: &[Field],
        label: &Field,
        options: &ColumnOptions,
    ) -> Result<Self> {
        if let Some(other) = features.iter().find(|field| !is_feature(field.data_type()))
        {
            return plan_err!(
                "{}: the feature column {} of {} must hold numbers or lists of numbers, \
                 got {}; cast it, or leave it out with {{features: [...]}}",
                subject.function,
                other.name(),
                subject.dataset,
                other.data_type()
            );
        }
        let columns = features.iter().map(|field| field.name().clone()).collect();
        Self::new(subject, Inputs::Numbers { columns }, label, options)
    }

    /// Checks the types of columns of any kinds and of the label column.
    pub(super) fn of_columns(
        subject: Subject,
        features: &[Field],
        label: &Field,
        options: &ColumnOptions,
    ) -> Result<Self> {
        let mut all = Vec::with_capacity(features.len());
        for field in features {
            match holds(field.data_type()) {
                Some(holds) => all.push(holds),
                None => {
                    return plan_err!(
                        "{}: the feature column {} of {} must hold numbers, text, truth \
                         values, dates or lists of numbers, got {}; cast it, or leave it \
                         out with {{features: [...]}}",
                        subject.function,
                        field.name(),
                        subject.dataset,
                        field.data_type()
                    );
                }
            }
        }
        let columns = features.iter().map(|field| field.name().clone()).collect();
        let inputs = Inputs::Columns {
            columns,
            holds: all,
        };
        Self::new(subject, inputs, label, options)
    }

    fn new(
        subject: Subject,
        inputs: Inputs,
        label: &Field,
        options: &ColumnOptions,
    ) -> Result<Self> {
        Ok(Self {
            labels: label_kind(&subject, label)?,
            subject,
            inputs,
            options: options.clone(),
            class_names: None,
            snapshot: None,
        })
    }

    /// Checks the types of the columns of a snapshot, which are the fields of one column.
    pub(super) fn of_snapshot(
        subject: Subject,
        fields: &Fields,
        label: &Field,
        options: &ColumnOptions,
        snapshot: Described,
    ) -> Result<Self> {
        let fields: Vec<Field> = fields.iter().map(|f| f.as_ref().clone()).collect();
        let reader = Self::of_columns(subject, &fields, label, options)?;
        Ok(Self {
            snapshot: Some(snapshot),
            ..reader
        })
    }

    /// What errors call the dataset.
    fn dataset(&self) -> &str {
        &self.subject.dataset
    }

    /// The same for a dataset that says what its class indices are called.
    pub(super) fn with_class_names(self, class_names: Option<Vec<String>>) -> Self {
        let class_names = class_names.filter(|_| self.labels == LabelKind::Indices);
        Self {
            class_names,
            ..self
        }
    }

    /// Writes into a schema what the class indices are called, if the dataset says it.
    pub(super) fn name_classes(&self, schema: &mut Schema) -> Result<()> {
        match &self.class_names {
            Some(names) => write_class_names(schema, names),
            None => Ok(()),
        }
    }

    /// The names of the columns that a network sees, and of the label column.
    pub(super) fn columns(&self) -> impl Iterator<Item = &str> {
        let folded = self.snapshot.as_ref().map(|_| FEATURES);
        let inputs = self.inputs.columns().iter().map(String::as_str);
        let inputs = inputs.filter(move |_| folded.is_none());
        folded
            .into_iter()
            .chain(inputs)
            .chain([self.options.label.as_str()])
            .chain(self.extras())
    }

    /// The names of the columns of groups and of weights.
    fn extras(&self) -> impl Iterator<Item = &str> {
        let ColumnOptions { group, weight, .. } = &self.options;
        [group, weight].into_iter().flatten().map(String::as_str)
    }

    /// Whether rows have lists of labels.
    pub(super) fn has_sets(&self) -> bool {
        self.labels == LabelKind::Sets
    }

    /// Whether labels are numbers to predict.
    pub(super) fn has_numbers(&self) -> bool {
        self.labels == LabelKind::Numbers
    }

    /// The column of image files or of IMAGE structs.
    pub(super) fn image(&self) -> Option<&str> {
        match &self.inputs {
            Inputs::Images {
                column,
                kind: ImageKind::Pixels,
            } => Some(column),
            Inputs::Images { .. } | Inputs::Numbers { .. } | Inputs::Columns { .. } => {
                None
            }
        }
    }

    /// What the statement says of the columns.
    pub(super) fn options(&self) -> &ColumnOptions {
        &self.options
    }

    /// No rows yet.
    pub(super) fn empty(&self) -> Piece {
        let features = match &self.inputs {
            Inputs::Images { .. } => Features::Pixels(Images::default()),
            Inputs::Numbers { .. } => Features::Numbers(Numbers::default()),
            Inputs::Columns { columns, holds } => {
                let columns = columns.iter().zip(holds);
                let columns = columns.map(|(name, holds)| TableColumn::new(name, *holds));
                Features::Columns(columns.collect())
            }
        };
        let labels = match self.labels {
            LabelKind::Names => Labels::Names(Vec::new()),
            LabelKind::Indices => Labels::Indices(Vec::new()),
            LabelKind::Sets => Labels::Sets(Vec::new()),
            LabelKind::Numbers => Labels::Numbers(Vec::new()),
        };
        Piece {
            table: Table {
                features,
                labels,
                splits: Vec::new(),
                groups: Vec::new(),
                weights: Vec::new(),
                target: match &self.snapshot {
                    Some(snapshot) => snapshot.target.clone(),
                    None => self.options.label.clone(),
                },
                class_names: None,
                left_out: None,
            },
            missing: vec![0; self.inputs.columns().len() + self.extras().count() + 2],
            uneven: None,
            largest: 0.0,
            left_out: None,
        }
    }

    /// Reads the rows of one record batch. Files that cannot be read as images are left out
    /// of training; a score counts every row.
    pub(super) fn read(&self, batch: &RecordBatch) -> Result<Piece> {
        let batch = &self.unfolded(batch)?;
        let error = match self.read_all(batch) {
            Ok(piece) => return Ok(piece),
            Err(error) => error,
        };
        let unreadable = self.unreadable(batch)?;
        let Some((_, first)) = unreadable.first() else {
            return Err(error);
        };
        let mut is_kept = vec![true; batch.num_rows()];
        for (row, _) in &unreadable {
            is_kept[*row] = false;
        }
        let kept: Vec<usize> = (0..is_kept.len()).filter(|row| is_kept[*row]).collect();
        let rest = filter_record_batch(batch, &BooleanArray::from(is_kept))?;
        let mut piece = self
            .read_all(&rest)
            .map_err(|error| in_rows(error, &kept))?;
        piece.left_out = Some((unreadable.len(), first.clone()));
        Ok(piece)
    }

    /// The rows whose files are no images and are left out, and what is wrong with them.
    pub(super) fn unreadable(&self, batch: &RecordBatch) -> Result<Vec<(usize, String)>> {
        match self.image() {
            Some(_) if self.subject.function == "train" => {
                self.undecodable(&plain(batch.column(0))?)
            }
            _ => Ok(vec![]),
        }
    }

    fn read_all(&self, batch: &RecordBatch) -> Result<Piece> {
        let mut piece = self.empty();
        let column = |n: usize| plain(batch.column(n));
        let count = self.inputs.columns().len();
        let inputs = (0..count).map(column).collect::<Result<Vec<_>>>()?;
        let labels = column(count)?;
        for (n, (missing, column)) in piece.missing.iter_mut().zip(&inputs).enumerate() {
            if !self.inputs.may_miss(n) {
                *missing = column.logical_null_count();
            }
        }
        piece.missing[count] = labels.logical_null_count();
        let extras = self.extras().count();
        for place in count + 1..=count + extras {
            piece.missing[place] = column(place)?.logical_null_count();
        }
        let place = count + 1 + extras;
        if batch.num_columns() > place {
            let splits = column(place)?;
            piece.missing[place] = splits.logical_null_count();
            piece.table.splits = (0..splits.len())
                .filter_map(|row| Some((row, string_at(&splits, row)?)))
                .map(|(row, name)| Split::parse(name).map_err(|error| at(row, error)))
                .collect::<Result<_>>()?;
        }
        // Rows with something missing are counted over all batches and then refused,
        // so there is no point in decoding the rest.
        if piece.missing.iter().any(|missing| *missing > 0) {
            return Ok(piece);
        }
        self.read_labels(&labels, &mut piece.table.labels)?;
        let mut place = count + 1;
        if self.options.group.is_some() {
            piece.table.groups = texts(&column(place)?)?;
            place += 1;
        }
        if let Some(name) = &self.options.weight {
            piece.table.weights = self.read_weights(name, &column(place)?)?;
        }
        match (&self.inputs, &mut piece.table.features) {
            (Inputs::Images { kind, .. }, Features::Pixels(images)) => {
                let largest = match kind {
                    ImageKind::Pixels => self.read_pixels(&inputs[0], images)?,
                    ImageKind::Lists { .. } => self.read_lists(&inputs[0], images)?,
                    ImageKind::Text => self.read_text(&inputs[0], images)?,
                };
                piece.largest = largest;
            }
            (Inputs::Numbers { columns }, Features::Numbers(numbers)) => {
                self.read_numbers(columns, &inputs, numbers)?;
            }
            (Inputs::Columns { .. }, Features::Columns(all)) => {
                self.read_columns(&inputs, all)?;
            }
            // `empty` chose the features by the inputs.
            (
                Inputs::Images { .. } | Inputs::Numbers { .. } | Inputs::Columns { .. },
                _,
            ) => {}
        }
        Ok(piece)
    }

    fn read_weights(&self, name: &str, column: &ArrayRef) -> Result<Vec<f64>> {
        let weights = doubles(column)?;
        let is_weight = |weight: &f64| (0.0..=LARGEST).contains(weight);
        match weights.iter().position(|weight| !is_weight(weight)) {
            None => Ok(weights),
            Some(row) => {
                let problem = exec_datafusion_err!(
                    "the weight in column {name} of {} must be a number of at least 0, got \
                     {}",
                    self.dataset(),
                    weights[row]
                );
                Err(at(row, problem))
            }
        }
    }

    fn read_labels(&self, column: &ArrayRef, labels: &mut Labels) -> Result<()> {
        let (name, dataset) = (&self.options.label, self.dataset());
        match labels {
            Labels::Names(names) => {
                let text = cast(column, &DataType::Utf8)?;
                for row in 0..text.len() {
                    let label = string_at(&text, row).unwrap_or_default();
                    if label.contains('\0') {
                        let problem = exec_datafusion_err!(
                            "the label in column {name} of {dataset} has a NUL character, \
                             which the name of a class cannot have; take it out with \
                             replace()"
                        );
                        return Err(at(row, problem));
                    }
                    names.push(label.to_string());
                }
            }
            Labels::Sets(sets) => {
                for (row, set) in lists_of_text(column)?.into_iter().enumerate() {
                    let problem = match &set {
                        None => "is NULL in a list; leave it out of the list",
                        Some(set) if set.iter().any(|label| label.contains('\0')) => {
                            "has a NUL character, which the name of a label cannot have; \
                             take it out with replace()"
                        }
                        Some(set) => {
                            sets.push(set.clone());
                            continue;
                        }
                    };
                    let problem = exec_datafusion_err!(
                        "a label in column {name} of {dataset} {problem}"
                    );
                    return Err(at(row, problem));
                }
            }
            Labels::Numbers(numbers) => {
                for (row, label) in doubles(column)?.into_iter().enumerate() {
                    if let Some(problem) = problem(label, column.data_type()) {
                        let problem = exec_datafusion_err!(
                            "the label in column {name} of {dataset} is {problem}"
                        );
                        return Err(at(row, problem));
                    }
                    numbers.push(label);
                }
            }
            Labels::Indices(indices) => {
                let numbers = cast(column, &DataType::Int64)?;
                let numbers = numbers.as_primitive::<Int64Type>();
                for (row, label) in numbers.iter().enumerate() {
                    // What does not fit 64 bits with a sign has become NULL.
                    let Some(label) = label.filter(|n| (0..=MAX_CLASS).contains(n))
                    else {
                        let label = array_value_to_string(column, row)?;
                        let problem = exec_datafusion_err!(
                            "labels of {dataset} must be class indices from 0 to \
                             {MAX_CLASS} or text, got {label} in column {name}; cast them \
                             to DOUBLE if they are numbers to predict"
                        );
                        return Err(at(row, problem));
                    };
                    indices.push(label as u32);
                }
            }
        }
        Ok(())
    }

    /// Checks what only the whole dataset can tell.
    pub(super) fn finish(&self, piece: Piece) -> Result<Table> {
        if let Some(place) = piece.missing() {
            return self.refuse_missing(place, piece.missing[place], None);
        }
        let Piece {
            mut table,
            uneven,
            largest,
            ..
        } = piece;
        table.class_names.clone_from(&self.class_names);
        let table_is_empty = table.is_empty();
        match &mut table.features {
            Features::Numbers(numbers) => self.check_widths(numbers, uneven)?,
            Features::Columns(columns) => {
                if let Some((column, first, other)) = uneven {
                    return self.refuse_widths(first, other, &column);
                }
                for column in columns.iter_mut() {
                    let snapshot = self.snapshot.as_ref();
                    let holds = snapshot.map(|s| s.holds(&column.name, column.holds));
                    column.holds = holds.unwrap_or(column.holds);
                }
                if !columns.is_empty() && !table_is_empty {
                    table.left_out = self.drop_useless(columns)?;
                }
            }
            Features::Pixels(_) => {}
        }
        let fractional = matches!(
            self.inputs,
            Inputs::Images {
                kind: ImageKind::Lists { fractional: true } | ImageKind::Text,
                ..
            }
        );
        let unscaled = fractional && self.options.scale.is_none();
        if unscaled && !table.is_empty() && largest <= 1.0 {
            return exec_err!(
                "pixels of {} must be from 0 to 255, but none is greater than 1; add \
                 {{scale: 255}} to the options if they go from 0 to 1, {{scale: 1}} if \
                 they do not",
                self.dataset()
            );
        }
        Ok(table)
    }

    /// The error for a column in which values are missing, the first of them in this row
    /// of the data.
    pub(super) fn refuse_missing<T>(
        &self,
        place: usize,
        count: usize,
        first: Option<u64>,
    ) -> Result<T> {
        let inputs = self.inputs.columns();
        let (what, column) = match (inputs.get(place), &self.inputs) {
            (Some(column), Inputs::Numbers { .. } | Inputs::Columns { .. }) => {
                ("features", Some(column))
            }
            (Some(column), Inputs::Images { .. }) => ("images", Some(column)),
            (None, _) if place == inputs.len() => ("labels", Some(&self.options.label)),
            (None, _) => {
                let ColumnOptions { group, weight, .. } = &self.options;
                let extras = [("groups", group), ("weights", weight)].into_iter();
                let mut extras = extras.filter(|(_, column)| column.is_some());
                match extras.nth(place - inputs.len() - 1) {
                    Some((what, column)) => (what, column.as_ref()),
                    None => ("splits", None),
                }
            }
        };
        let column = column.map_or_else(String::new, |name| format!(" in column {name}"));
        let first =
            first.map_or_else(String::new, |row| format!(", the first in row {row}"));
        exec_err!(
            "{} has {count} NULL {what}{column}{first}; leave such rows out, for example \
             with a view that ends in WHERE ... IS NOT NULL",
            self.dataset()
        )
    }
}

impl Piece {
    /// The first column in which values are missing, by its place, if there is one.
    pub(super) fn missing(&self) -> Option<usize> {
        self.missing.iter().position(|missing| *missing > 0)
    }

    /// How many rows have no value in a column, by its place.
    pub(super) fn missing_in(&self, place: usize) -> usize {
        self.missing.get(place).copied().unwrap_or_default()
    }

    /// Adds the rows of another record batch of the same dataset.
    pub(super) fn append(&mut self, other: Piece) {
        if let (Features::Numbers(all), Features::Numbers(more)) =
            (&self.table.features, &other.table.features)
        {
            let mut pairs = all.columns.iter().zip(&more.columns);
            let uneven = pairs.find(|(first, other)| first.1 != other.1);
            let uneven = uneven.map(|(first, other)| (first.0.clone(), first.1, other.1));
            self.uneven = self.uneven.take().or(other.uneven).or(uneven);
        } else if let (Features::Columns(all), Features::Columns(more)) =
            (&self.table.features, &other.table.features)
        {
            let mut pairs = all.iter().zip(more).filter(|(_, more)| more.len() > 0);
            let uneven =
                pairs.find(|(all, more)| all.len() > 0 && all.width != more.width);
            let uneven =
                uneven.map(|(all, more)| (all.name.clone(), all.width, more.width));
            self.uneven = self.uneven.take().or(other.uneven).or(uneven);
        }
        self.table.append(other.table);
        for (all, more) in self.missing.iter_mut().zip(other.missing) {
            *all += more;
        }
        self.largest = self.largest.max(other.largest);
        self.left_out = match (self.left_out.take(), other.left_out) {
            (Some((all, first)), Some((more, _))) => Some((all + more, first)),
            (all, more) => all.or(more),
        };
    }

    /// How many images are left out, and what is wrong with the first one.
    pub(super) fn left_out(&self) -> Option<&(usize, String)> {
        self.left_out.as_ref()
    }
}

/// An error of one row of a record batch.
fn at(row: usize, error: DataFusionError) -> DataFusionError {
    DataFusionError::External(Box::new(RowError { row, error }))
}

/// The same error of a row among those that were kept, with the place that the row had.
fn in_rows(error: DataFusionError, kept: &[usize]) -> DataFusionError {
    match error {
        DataFusionError::External(error) => match error.downcast::<RowError>() {
            Ok(problem) => at(kept[problem.row], problem.error),
            Err(error) => DataFusionError::External(error),
        },
        other => other,
    }
}

/// The texts of each list of a column; none of a list with a NULL in it.
fn lists_of_text(column: &ArrayRef) -> Result<Vec<Option<Vec<String>>>> {
    let item = Field::new_list_field(DataType::Utf8, true);
    let lists = cast(column, &DataType::List(item.into()))?;
    let list = |list: Option<ArrayRef>| {
        let list = list?;
        (0..list.len())
            .map(|row| string_at(&list, row).map(ToString::to_string))
            .collect()
    };
    Ok(lists.as_list::<i32>().iter().map(list).collect())
}

/// The values of a column as text.
fn texts(column: &ArrayRef) -> Result<Vec<String>> {
    let column = cast(column, &DataType::Utf8)?;
    let text = |row| string_at(&column, row).unwrap_or_default().to_string();
    Ok((0..column.len()).map(text).collect())
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

fn label_kind(subject: &Subject, label: &Field) -> Result<LabelKind> {
    match value_type(label.data_type()) {
        text if is_text(text) => Ok(LabelKind::Names),
        DataType::Boolean => Ok(LabelKind::Names),
        integer if integer.is_integer() => Ok(LabelKind::Indices),
        number if number.is_numeric() => Ok(LabelKind::Numbers),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
            if is_text(item.data_type()) || item.data_type().is_integer() =>
        {
            Ok(LabelKind::Sets)
        }
        other => plan_err!(
            "{}: the labels in column {} of {} must be class indices (integers from 0), \
             text, lists of those, or numbers to predict, got {other}; cast them",
            subject.function,
            label.name(),
            subject.dataset
        ),
    }
}

/// The type of a column's values, be they behind a dictionary or not.
pub(super) fn value_type(data_type: &DataType) -> &DataType {
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
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        Date32Array, Float64Array, Int64Array, ListArray, StringArray, UInt8Array,
    };
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::datatypes::{Int64Type, Schema};

    use atoll_nn::ImageShape;

    use super::*;

    fn batch(
        images: ArrayRef,
        labels: ArrayRef,
        splits: Option<ArrayRef>,
    ) -> RecordBatch {
        let columns: Vec<_> = [Some(images), Some(labels), splits]
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

    fn read(batch: &RecordBatch, options: &ColumnOptions) -> Result<Table> {
        let schema = batch.schema();
        let subject = Subject {
            function: "train",
            dataset: "mnist".to_string(),
        };
        let (image, label) = (schema.field(0), schema.field(1));
        let reader = Reader::of_images(subject, image, label, options)?;
        reader.finish(reader.read(batch)?)
    }

    fn images_of(table: &Table) -> &Images {
        match &table.features {
            Features::Pixels(images) => images,
            Features::Numbers(_) | Features::Columns(_) => panic!("images are images"),
        }
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
    fn check_refused(result: Result<Table>, expected: &str) {
        let error = result.unwrap_err().strip_backtrace();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn lists_of_a_square_number_are_squares() {
        let images = lists(Arc::new(UInt8Array::from_iter_values(0..8)), 4);
        let rows = read(&batch(images, labels(&[0, 1]), None), &Default::default());
        let rows = rows.unwrap();
        assert_eq!(
            images_of(&rows).shapes[1],
            ImageShape {
                height: 2,
                width: 2,
                channels: 1
            }
        );
        assert_eq!(images_of(&rows).pixels(1), [4, 5, 6, 7]);
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
            images_of(&rows).shapes[0],
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
        assert_eq!(
            images_of(&read(&image, &options).unwrap()).bytes,
            [0, 128, 64, 255]
        );
    }

    #[test]
    fn text_with_numbers_is_an_image() {
        let text = Arc::new(StringArray::from(vec!["[70, 80,82 72]"]));
        let rows = read(&batch(text, labels(&[3]), None), &Default::default()).unwrap();
        assert_eq!(images_of(&rows).bytes, [70, 80, 82, 72]);
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
        let splits = Arc::new(StringArray::from(vec!["valid"]));
        check_refused(
            read(
                &batch(images, labels(&[0]), Some(splits)),
                &Default::default(),
            ),
            "got 'valid'; did you mean 'validation'?",
        );
    }
}
