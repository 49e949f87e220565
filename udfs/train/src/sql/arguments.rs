//! The arguments that `train` and `evaluate` have in common.

use atoll_udf_common::args::{is_text, literal_str};
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::logical_expr::{DocSection, Expr, ScalarFunctionArgs};

/// Where the reference lists this family.
pub(crate) const SECTION: DocSection = DocSection {
    include: true,
    label: "Training Functions",
    description: Some("Train networks, and score them on images they never saw."),
};

/// The documentation of the options that both functions take.
pub(crate) const COLUMN_OPTIONS: &str = "`image`, `label` (column names, `image` and `label` \
    by default), `split_column` (`split` by default, if there is one: text, `train`, \
    `validation` or `test`); `features` (a column or a list of columns; by default all but label and \
    split, if there is no image column, and those from which nothing can be learned); for \
    images that are lists of numbers also `height`, `width`, \
    `channels` (square and 1 channel by default) and `scale` (what a number is multiplied \
    by to be from 0 to 255), `group` (a column of which equal values stay on one side of a \
    split, such as a patient or a camera; it is no feature) and `weight` (a column that says \
    how much each row counts while training; it is no feature)";

/// The documentation of a dataset argument.
pub(crate) const DATASET: &str = "Name of a table or view, or a Parquet or CSV path or URL \
    (a column of the latter is fine too), or a folder of photos whose subfolders are classes, \
    or `train`, `validation` and `test` with classes below. It has an image column (encoded \
    files, IMAGE structs, the STRUCT(bytes, path) of Hugging Face, lists of numbers from 0 to \
    255, or names of files, which are below the folder of the dataset) or other columns: numbers, which are \
    standardised (with 64 bits where they differ by little for their size, as seconds since \
    1970 do; the model then takes or gives DOUBLE), text, truth values, dates and times, each of \
    which may be NULL, or lists of numbers; and a label column (class indices from 0, text, lists of \
    those for rows with any number of labels, or FLOAT or DOUBLE numbers to predict).";

/// A dataset argument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DatasetArgument {
    /// The same for all rows, and known at plan time.
    Literal(String),
    /// NULL for all rows.
    Null,
    /// A path or URL per row.
    Column,
}

impl DatasetArgument {
    /// Reads the argument of a call.
    pub(crate) fn new(argument: &Expr) -> Self {
        match argument {
            Expr::Literal(value, _) if value.is_null() => Self::Null,
            literal => match literal_str(literal) {
                Some(name) => Self::Literal(name.to_string()),
                None => Self::Column,
            },
        }
    }
}

/// An argument that names a dataset, for a [`Usage`](atoll_udf_common::Usage).
pub(crate) fn dataset(
    function: &str,
    _argument: &str,
    data_type: &DataType,
) -> Result<DataType> {
    if is_text(data_type) || *data_type == DataType::Null {
        return Ok(data_type.clone());
    }
    plan_err!(
        "{function} takes its dataset as text, the name of a table or view, or a Parquet \
         or CSV path or URL; got {data_type}"
    )
}

/// Every argument as an array with a value per row.
pub(crate) fn arrays(args: ScalarFunctionArgs) -> Result<Vec<ArrayRef>> {
    let rows = args.number_rows;
    args.args
        .into_iter()
        .map(|arg| arg.into_array(rows))
        .collect()
}

/// Whether a row has no value; an array of type Null has no null buffer.
pub(crate) fn is_null(array: &ArrayRef, row: usize) -> bool {
    array.is_null(row) || *array.data_type() == DataType::Null
}
