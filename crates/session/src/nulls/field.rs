//! `get_field`, for which a field of NULL is NULL.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::common::{Result, ScalarValue};
use datafusion::functions::core::getfield::GetFieldFunc;
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, Expr, ExpressionPlacement, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::kernels;

static OURS: LazyLock<Arc<ScalarUDF>> =
    LazyLock::new(|| Arc::new(ScalarUDF::new_from_impl(Field::default())));

/// The function that takes the place of DataFusion's.
pub(super) fn get_field() -> Arc<ScalarUDF> {
    Arc::clone(&OURS)
}

/// Whether a function is DataFusion's own.
pub(super) fn is_datafusions(function: &ScalarUDF) -> bool {
    function.inner().is::<GetFieldFunc>()
}

/// Whether a function is the one that took its place.
pub(super) fn is_ours(function: &ScalarUDF) -> bool {
    function.inner().is::<Field>()
}

/// The same call of our function.
pub(super) fn ours(call: ScalarFunction) -> ScalarFunction {
    ScalarFunction::new_udf(get_field(), call.args)
}

/// The same call of DataFusion's function.
pub(super) fn datafusions(call: ScalarFunction) -> ScalarFunction {
    ScalarFunction::new_udf(datafusion::functions::core::get_field(), call.args)
}

/// DataFusion's function, but for the NULLs of what it looks into.
#[derive(Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Field {
    inner: GetFieldFunc,
}

impl Field {
    /// One step of the path: a field of structs, or the value of a key of maps.
    fn step(
        &self,
        within: &ArrayRef,
        name: &ColumnarValue,
        args: &ScalarFunctionArgs,
    ) -> Result<ArrayRef> {
        if let Some(dictionary) = within.as_any_dictionary_opt()
            && matches!(dictionary.values().data_type(), DataType::Struct(_))
        {
            let values = self.step(dictionary.values(), name, args)?;
            return Ok(dictionary.with_values(values));
        }
        if let (Some(maps), ColumnarValue::Scalar(key)) = (within.as_map_opt(), name)
            && key.data_type().is_nested()
        {
            let values = kernels::of_nested_key(maps, &key.to_array()?)?;
            return kernels::inside(values, within.nulls());
        }
        let value = self.inner.invoke_with_args(ScalarFunctionArgs {
            args: vec![ColumnarValue::Array(Arc::clone(within)), name.clone()],
            arg_fields: vec![],
            number_rows: within.len(),
            return_field: Arc::clone(&args.return_field),
            config_options: Arc::clone(&args.config_options),
        })?;
        kernels::inside(value.into_array(within.len())?, within.nulls())
    }
}

impl ScalarUDFImpl for Field {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        self.inner.schema_name(args)
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(arg_types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some((within, path)) = args.args.split_first() else {
            return self.inner.invoke_with_args(args);
        };
        if within.data_type().is_null() {
            return Ok(ColumnarValue::Scalar(ScalarValue::Null));
        }
        let is_scalar = matches!(within, ColumnarValue::Scalar(_));
        let rows = if is_scalar { 1 } else { args.number_rows };
        let mut value = within.clone().into_array(rows)?;
        for name in path {
            value = self.step(&value, name, &args)?;
        }
        Ok(match is_scalar {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&value, 0)?),
            false => ColumnarValue::Array(value),
        })
    }

    /// DataFusion's rules, which know only DataFusion's function.
    fn simplify(
        &self,
        args: Vec<Expr>,
        info: &SimplifyContext,
    ) -> Result<ExprSimplifyResult> {
        let mut theirs = args.clone();
        if let Some(within) = theirs.first_mut() {
            *within = along_path(within.clone(), is_ours, datafusions);
        }
        Ok(match self.inner.simplify(theirs, info)? {
            ExprSimplifyResult::Simplified(expr) => {
                ExprSimplifyResult::Simplified(along_path(expr, is_datafusions, ours))
            }
            ExprSimplifyResult::Original(_) => ExprSimplifyResult::Original(args),
        })
    }

    fn coerce_types(&self, arg_types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.coerce_types(arg_types)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn placement(&self, args: &[ExpressionPlacement]) -> ExpressionPlacement {
        self.inner.placement(args)
    }
}

/// Changes the calls of a path, from the last to the first that is not one.
fn along_path(
    expr: Expr,
    is_one: fn(&ScalarUDF) -> bool,
    change: fn(ScalarFunction) -> ScalarFunction,
) -> Expr {
    match expr {
        Expr::ScalarFunction(call) if is_one(&call.func) => {
            let mut call = change(call);
            if let Some(within) = call.args.first_mut() {
                *within = along_path(std::mem::take(within), is_one, change);
            }
            Expr::ScalarFunction(call)
        }
        expr => expr,
    }
}
