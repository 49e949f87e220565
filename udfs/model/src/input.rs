//! The second argument of `predict`: an image, numbers, or several inputs by name.

use std::sync::Arc;

use atoll_onnx::{Data, LoadedModel, Port, TableInput, TableInputKind};
use atoll_udf_common::args::is_text;
use atoll_udf_common::days::{MOMENT, days_at};
use atoll_udf_common::image::{
    ImageColumn, ImageValue, coerce_image_type, image, image_type,
};
use atoll_udf_common::model::ModelFailure;
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Float32Type, Float64Type, Int64Type,
};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::ColumnarValue;

use crate::pipeline::Pipeline;

/// The inputs of one record batch.
#[derive(Debug)]
pub(crate) enum Inputs {
    Image(Box<ImageColumn>),
    Numbers(ArrayRef),
    ByName { names: Vec<String>, rows: ArrayRef },
}

/// The inputs of one row.
pub(crate) enum Input<'a> {
    Image(ImageValue<'a>),
    /// Numbers or texts by the names of the inputs.
    Values(Vec<(String, Data)>),
}

/// What a type means as the input of a model.
enum Kind {
    Image,
    Numbers,
    ByName,
}

/// Whether values of a type are images.
pub(crate) fn is_image(data_type: &DataType) -> bool {
    matches!(kind(data_type), Some(Kind::Image))
}

fn kind(data_type: &DataType) -> Option<Kind> {
    match data_type {
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => Some(Kind::Image),
        DataType::Struct(fields) => match image_type() {
            DataType::Struct(image)
                if image.len() == fields.len()
                    && image
                        .iter()
                        .all(|field| fields.find(field.name()).is_some()) =>
            {
                Some(Kind::Image)
            }
            _ => Some(Kind::ByName),
        },
        other => values_type(other).map(|_| Kind::Numbers),
    }
}

/// The types that [`values`] reads: a number or a text, or a list of them.
fn values_type(data_type: &DataType) -> Option<DataType> {
    let element = |field: &FieldRef| {
        let element = element_type(field.data_type())?;
        Some(Arc::new(Field::new(field.name(), element, true)))
    };
    match data_type {
        DataType::List(field) | DataType::ListView(field) => {
            Some(DataType::List(element(field)?))
        }
        DataType::LargeList(field) | DataType::LargeListView(field) => {
            Some(DataType::LargeList(element(field)?))
        }
        DataType::FixedSizeList(field, len) => {
            Some(DataType::FixedSizeList(element(field)?, *len))
        }
        // The type of a bare NULL says nothing; a list of any length is as good as any.
        DataType::Null => Some(DataType::new_list(DataType::Float32, true)),
        other => element_type(other),
    }
}

/// The types that a field of a struct may have: those of [`values_type`], and dates and times
/// for models of tables. NULL stays, because it may stand for a number and for a text.
fn column_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Date32 | DataType::Null => Some(data_type.clone()),
        DataType::Date64 | DataType::Timestamp(..) => Some(MOMENT),
        other => values_type(other),
    }
}

fn element_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Float32 | DataType::Float16 => Some(DataType::Float32),
        DataType::Float64 => Some(DataType::Float64),
        other if other.is_decimal() => Some(DataType::Float64),
        other if other.is_integer() => Some(DataType::Int64),
        DataType::Boolean => Some(DataType::Int64),
        other if is_text(other) => Some(DataType::Utf8),
        DataType::Null => Some(DataType::Float32),
        _ => None,
    }
}

/// The second argument, for a [`Usage`](atoll_udf_common::Usage).
pub(crate) fn x(
    function: &str,
    _argument: &str,
    data_type: &DataType,
) -> Result<DataType> {
    match (kind(data_type), data_type) {
        (Some(Kind::Image), _) => coerce_image_type(function, data_type),
        (Some(Kind::ByName), DataType::Struct(fields)) => {
            let fields: Result<Vec<Field>> = fields
                .iter()
                .map(|field| match column_type(field.data_type()) {
                    Some(data_type) => Ok(Field::new(field.name(), data_type, true)),
                    None => plan_err!(
                        "{function}: input {} must be a number, a text, a date or a list of \
                         numbers or texts, got {}",
                        field.name(),
                        field.data_type()
                    ),
                })
                .collect();
            Ok(DataType::Struct(fields?.into()))
        }
        (Some(Kind::Numbers), _) => match values_type(data_type) {
            Some(data_type) if !is_text(&data_type) => Ok(data_type),
            _ => refuse(function, data_type),
        },
        _ => refuse(function, data_type),
    }
}

/// The second argument of `classify`: an image, or a row as [`x`] takes it.
pub(crate) fn image_or_row(
    function: &str,
    argument: &str,
    data_type: &DataType,
) -> Result<DataType> {
    match kind(data_type) {
        Some(Kind::ByName) => x(function, argument, data_type),
        Some(Kind::Numbers) if data_type.is_nested() => x(function, argument, data_type),
        _ => image(function, argument, data_type),
    }
}

fn refuse(function: &str, data_type: &DataType) -> Result<DataType> {
    plan_err!(
        "{function}: x must be a list of numbers, an image (the file's bytes or an IMAGE \
         struct) or a struct of inputs by name, got {data_type}"
    )
}

/// Checks at plan time that the second argument can be an input of the model.
pub(crate) fn check(
    pipeline: &Pipeline,
    data_type: &DataType,
    literal: Option<&ScalarValue>,
) -> Result<(), ModelFailure> {
    let model = &pipeline.model;
    match (kind(data_type), data_type) {
        (Some(Kind::Image), _) => pipeline.check_image(),
        (Some(Kind::ByName), DataType::Struct(fields)) => {
            for field in fields {
                let port = model.input(field.name())?;
                match model.columns() {
                    Some(columns) => check_column(model, columns, field)?,
                    None => check_plain(model, port, field.data_type())?,
                }
                if let DataType::FixedSizeList(_, len) = field.data_type() {
                    model.check_len(port, usize::try_from(*len).unwrap_or(0))?;
                }
            }
            for port in &model.signature().inputs {
                if !fields.iter().any(|field| *field.name() == port.name) {
                    return Err(model.mismatch(port, "nothing".to_string()).into());
                }
            }
            Ok(())
        }
        _ => {
            let port = model.single_input()?;
            match known_len(data_type, literal) {
                Some(len) => Ok(model.check_len(port, len)?),
                None => Ok(()),
            }
        }
    }
}

/// Checks that a field has the type of the column that a model was trained on.
fn check_column(
    model: &LoadedModel,
    columns: &[TableInput],
    field: &Field,
) -> Result<(), ModelFailure> {
    let Some(column) = columns.iter().find(|column| column.name == *field.name()) else {
        return Ok(());
    };
    let given = field.data_type();
    let is_list = matches!(
        given,
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    );
    let (fits, expected) = match column.kind {
        _ if *given == DataType::Null => return Ok(()),
        TableInputKind::Text => (*given == DataType::Utf8, "text"),
        TableInputKind::Number => (given.is_numeric(), "a number or a truth value"),
        TableInputKind::Date => (*given == DataType::Date32, "a DATE"),
        TableInputKind::Timestamp => (*given == MOMENT, "a TIMESTAMP"),
        TableInputKind::List => (is_list, "a list of numbers"),
    };
    if fits {
        return Ok(());
    }
    Err(ModelFailure::argument(format!(
        "model {} was trained on {expected} as {}, got {given}; cast it",
        model.name(),
        column.name
    )))
}

/// Checks a field for a model that says nothing of tables.
fn check_plain(
    model: &LoadedModel,
    port: &Port,
    given: &DataType,
) -> Result<(), ModelFailure> {
    match given {
        DataType::Date32 | DataType::Timestamp(..) => Err(model
            .mismatch(port, format!("a {given}, which only models of tables take"))
            .into()),
        _ => Ok(()),
    }
}

/// The length that every list of a type or a literal has.
fn known_len(data_type: &DataType, literal: Option<&ScalarValue>) -> Option<usize> {
    let list = match (data_type, literal) {
        (DataType::FixedSizeList(_, len), _) => return usize::try_from(*len).ok(),
        (_, Some(ScalarValue::List(list))) if !list.is_null(0) => list.value(0),
        (_, Some(ScalarValue::LargeList(list))) if !list.is_null(0) => list.value(0),
        (data_type, _) if element_type(data_type).is_some() => return Some(1),
        _ => return None,
    };
    Some(list.len())
}

impl Inputs {
    pub(crate) fn try_new(
        function: &str,
        value: &ColumnarValue,
        rows: usize,
    ) -> Result<Self> {
        let array = value.to_array(rows)?;
        match (kind(array.data_type()), array.data_type()) {
            (Some(Kind::Image), _) => Ok(Self::Image(Box::new(ImageColumn::try_new(
                function, &array,
            )?))),
            (Some(Kind::ByName), DataType::Struct(fields)) => {
                let names = fields.iter().map(|field| field.name().clone()).collect();
                Ok(Self::ByName { names, rows: array })
            }
            _ => Ok(Self::Numbers(array)),
        }
    }

    /// The inputs of one row; `None` when the argument is NULL.
    pub(crate) fn get(
        &self,
        model: &LoadedModel,
        row: usize,
    ) -> Result<Option<Input<'_>>, ModelFailure> {
        match self {
            Self::Image(images) => Ok(images.get(row).map(Input::Image)),
            Self::Numbers(array) => match values(array, row)? {
                Some(data) => {
                    let name = model.single_input()?.name.clone();
                    Ok(Some(Input::Values(vec![(name, data)])))
                }
                None => Ok(None),
            },
            Self::ByName { names, rows } => {
                let rows = rows.as_struct();
                if rows.is_null(row) {
                    return Ok(None);
                }
                let mut inputs = Vec::with_capacity(names.len());
                for (name, column) in names.iter().zip(rows.columns()) {
                    let data = match (values(column, row)?, model.columns()) {
                        (Some(data), _) => data,
                        (None, Some(columns)) => missing(columns, name)?,
                        (None, None) => return Ok(None),
                    };
                    inputs.push((name.clone(), data));
                }
                Ok(Some(Input::Values(inputs)))
            }
        }
    }
}

/// What a model of tables takes for NULL.
fn missing(columns: &[TableInput], name: &str) -> Result<Data, ModelFailure> {
    let column = columns.iter().find(|column| column.name == name);
    match column.map(|column| column.kind) {
        Some(TableInputKind::Text) => Ok(Data::Strings(vec![String::new()])),
        Some(TableInputKind::List) => Err(ModelFailure::argument(format!(
            "the list {name} is NULL; a model takes lists of numbers only"
        ))),
        _ => Ok(Data::Doubles(vec![f64::NAN])),
    }
}

/// The values in one row: of a list, or a single one.
fn values(array: &ArrayRef, row: usize) -> Result<Option<Data>, ModelFailure> {
    if array.is_null(row) || *array.data_type() == DataType::Null {
        return Ok(None);
    }
    if let Some(days) = days_at(array, row) {
        return Ok(Some(Data::Doubles(vec![days])));
    }
    let list = match array.data_type() {
        DataType::List(_) => array.as_list::<i32>().value(row),
        DataType::LargeList(_) => array.as_list::<i64>().value(row),
        DataType::FixedSizeList(..) => array.as_fixed_size_list().value(row),
        _ => array.slice(row, 1),
    };
    if list.null_count() > 0 {
        return Err(ModelFailure::argument(
            "the list has a NULL in it; a model takes numbers only",
        ));
    }
    let data = match list.data_type() {
        DataType::Float32 => {
            Data::Floats(list.as_primitive::<Float32Type>().values().to_vec())
        }
        DataType::Float64 => {
            Data::Doubles(list.as_primitive::<Float64Type>().values().to_vec())
        }
        DataType::Int64 => {
            Data::Integers(list.as_primitive::<Int64Type>().values().to_vec())
        }
        DataType::Utf8 => {
            let texts = list.as_string::<i32>().iter().flatten();
            Data::Strings(texts.map(str::to_string).collect())
        }
        other => {
            return Err(ModelFailure::argument(format!(
                "a model cannot take values of {other}"
            )));
        }
    };
    Ok(Some(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    use datafusion::arrow::array::{Float64Array, Int64Array, ListArray};

    #[track_caller]
    fn check_type(given: &DataType, expected: Option<&DataType>) {
        assert_eq!(x("predict", "x", given).ok().as_ref(), expected, "{given}");
    }

    #[test]
    fn numbers_of_every_width_become_those_a_model_takes() {
        let list = |element| DataType::new_list(element, true);
        check_type(&list(DataType::UInt8), Some(&list(DataType::Int64)));
        check_type(&list(DataType::Float32), Some(&list(DataType::Float32)));
        check_type(
            &list(DataType::Decimal128(10, 2)),
            Some(&list(DataType::Float64)),
        );
        check_type(&DataType::Boolean, Some(&DataType::Int64));
        check_type(&DataType::Utf8, None);
        check_type(&DataType::Date32, None);
    }

    #[test]
    fn a_row_is_read_from_its_list() {
        let lists = ListArray::from_iter_primitive::<Int64Type, _, _>(vec![
            Some(vec![Some(1), Some(2)]),
            None,
            Some(vec![Some(3), None]),
        ]);
        let lists: ArrayRef = Arc::new(lists);
        assert_eq!(values(&lists, 0), Ok(Some(Data::Integers(vec![1, 2]))));
        assert_eq!(values(&lists, 1), Ok(None));
        assert_eq!(values(&lists, 2).unwrap_err().code, "INVALID_ARGUMENT");
    }

    #[test]
    fn a_single_number_is_a_list_of_one() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![0.5, 1.5]));
        assert_eq!(values(&numbers, 1), Ok(Some(Data::Doubles(vec![1.5]))));
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
        assert_eq!(values(&numbers, 0), Ok(None));
    }
}
