//! Evaluates a function of this family as a session does, without a session.

use std::path::PathBuf;
use std::sync::Arc;

use atoll_udf_common::{Call, CallContext, Erased, as_expensive};
use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{Column, Result, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs,
};

/// Whether ONNX Runtime is here; says so when it is not.
pub(crate) fn runtime() -> bool {
    match atoll_onnx::runtime() {
        Err(error @ atoll_onnx::Error::RuntimeMissing { .. }) => {
            eprintln!("skipped: {error}");
            false
        }
        _ => true,
    }
}

/// A tiny model, as a literal path.
pub(crate) fn model(name: &str) -> ColumnarValue {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let path = root.join("tests/data/models").join(name);
    ColumnarValue::Scalar(ScalarValue::from(path.display().to_string()))
}

/// A BMP file with one pixel.
pub(crate) fn bmp(red: u8, green: u8, blue: u8) -> Vec<u8> {
    let numbers: [u32; 10] = [58, 0, 54, 40, 1, 1, 24 << 16 | 1, 0, 4, 0];
    let mut bytes = b"BM".to_vec();
    bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
    bytes.resize(54, 0);
    bytes.extend([blue, green, red, 0]);
    bytes
}

/// Plans a call and runs one record batch through it.
pub(crate) async fn evaluate(
    function: &str,
    args: Vec<ColumnarValue>,
) -> Result<ArrayRef> {
    let udf = atoll_udf_model::functions()
        .into_iter()
        .find(|udf| udf.name() == function)
        .unwrap();
    let types: Vec<DataType> = args.iter().map(ColumnarValue::data_type).collect();
    let types = udf.inner().coerce_types(&types)?;
    let args: Vec<ColumnarValue> = args
        .iter()
        .zip(&types)
        .map(|(arg, to)| arg.cast_to(to, None))
        .collect::<Result<_>>()?;
    let arg_fields: Vec<FieldRef> = types
        .into_iter()
        .map(|data_type| Arc::new(Field::new("arg", data_type, true)))
        .collect();
    let scalars: Vec<Option<&ScalarValue>> = args
        .iter()
        .map(|arg| match arg {
            ColumnarValue::Scalar(value) => Some(value),
            ColumnarValue::Array(_) => None,
        })
        .collect();
    let return_field = udf.return_field_from_args(ReturnFieldArgs {
        arg_fields: &arg_fields,
        scalar_arguments: &scalars,
    })?;
    let exprs: Vec<Expr> = scalars
        .iter()
        .map(|scalar| match scalar {
            Some(value) => Expr::Literal((*value).clone(), None),
            None => Expr::Column(Column::from_name("arg")),
        })
        .collect();
    let session = SessionStateBuilder::new().build();
    let call = Call {
        args: &Erased::new(exprs),
        arg_fields: &arg_fields,
        return_field: &return_field,
        session: &Erased::new(session),
    };
    let prepared = as_expensive(&udf).unwrap().prepare(&call).await?;
    let number_rows = args
        .iter()
        .find_map(|arg| match arg {
            ColumnarValue::Array(array) => Some(array.len()),
            ColumnarValue::Scalar(_) => None,
        })
        .unwrap_or(1);
    let data_type = return_field.data_type().clone();
    let result = prepared
        .invoke(
            ScalarFunctionArgs {
                args,
                arg_fields,
                number_rows,
                return_field,
                config_options: Arc::new(ConfigOptions::default()),
            },
            &CallContext::default(),
        )
        .await?;
    assert_eq!(
        result.data_type(),
        &data_type,
        "{function} returns what it promised"
    );
    assert_eq!(
        result.len(),
        number_rows,
        "{function} gives a row for every row"
    );
    Ok(result)
}
