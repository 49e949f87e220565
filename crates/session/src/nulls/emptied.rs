//! A function that no statement calls: its argument, with nothing below what is NULL.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::datatypes::{DataType, FieldRef, Fields};
use datafusion::common::utils::take_function_args;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use super::kernels;

/// What the function is called where plans are shown.
pub(super) const EMPTIED: &str = "__emptied";

static SAME_TYPE: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(false));
static NULLABLE_FIELDS: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| function(true));

/// `expr` with nothing below what is NULL, under its own name.
pub(super) fn emptied(expr: Expr) -> Expr {
    call(&SAME_TYPE, expr)
}

/// The same for a struct that is about to be taken apart: its fields can be NULL if it
/// can, whatever their types say.
pub(super) fn with_nullable_fields(expr: Expr) -> Expr {
    call(&NULLABLE_FIELDS, expr)
}

/// The function, for an executor that reads a plan with it.
pub(crate) fn by_name(name: &str) -> Option<Arc<ScalarUDF>> {
    (name == EMPTIED).then(|| Arc::clone(&SAME_TYPE))
}

fn function(has_nullable_fields: bool) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::new_from_impl(Emptied {
        signature: Signature::any(1, Volatility::Immutable),
        has_nullable_fields,
    }))
}

fn call(function: &Arc<ScalarUDF>, expr: Expr) -> Expr {
    let call = ScalarFunction::new_udf(Arc::clone(function), vec![expr]);
    Expr::ScalarFunction(call)
}

/// See [`kernels::emptied`].
#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Emptied {
    signature: Signature,
    has_nullable_fields: bool,
}

impl ScalarUDFImpl for Emptied {
    fn name(&self) -> &str {
        EMPTIED
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let [arg] = take_function_args(self.name(), args)?;
        Ok(arg.schema_name().to_string())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("the type depends on whether the argument can be NULL")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [field] = take_function_args(self.name(), args.arg_fields)?;
        match field.data_type() {
            DataType::Struct(fields)
                if self.has_nullable_fields && field.is_nullable() =>
            {
                let fields = fields.iter();
                let fields =
                    fields.map(|field| field.as_ref().clone().with_nullable(true));
                let data_type = DataType::Struct(Fields::from_iter(fields));
                Ok(Arc::new(field.as_ref().clone().with_data_type(data_type)))
            }
            _ => Ok(Arc::clone(field)),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = take_function_args(self.name(), args.args)?;
        let is_scalar = matches!(value, ColumnarValue::Scalar(_));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let emptied = kernels::emptied(&value.into_array(rows)?)?;
        let emptied = kernels::of_type(emptied, args.return_field.data_type())?;
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&emptied, 0)?),
            false => ColumnarValue::Array(emptied),
        })
    }
}
