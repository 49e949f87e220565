//! Says which fields a struct has when one is named that it has not.

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};
use datafusion::common::{
    DFSchema, DataFusionError, Result, ScalarValue, TableReference, internal_err,
    not_impl_err, plan_datafusion_err,
};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawFieldAccessExpr};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, GetFieldAccess, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility, lit,
};

/// Looks at the names of fields before the planner does, and plans none.
#[derive(Debug)]
pub(crate) struct FieldNames;

impl ExprPlanner for FieldNames {
    fn plan_field_access(
        &self,
        expr: RawFieldAccessExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawFieldAccessExpr>> {
        if let GetFieldAccess::NamedStructField { name } = &expr.field_access
            && let Some(Some(name)) = name.try_as_str()
            && let Ok(data_type) = expr.expr.get_type(schema)
        {
            check(&data_type, name)?;
        }
        Ok(PlannerResult::Original(expr))
    }

    fn plan_compound_identifier(
        &self,
        field: &Field,
        _qualifier: Option<&TableReference>,
        nested_names: &[String],
    ) -> Result<PlannerResult<Vec<Expr>>> {
        let mut data_type = field.data_type().clone();
        for name in nested_names {
            match check(&data_type, name) {
                Ok(Some(next)) => data_type = next,
                Ok(None) => break,
                // Errors are not heard here; they are where a call is typed.
                Err(error) => {
                    let message = error.strip_backtrace();
                    let message = message.trim_start_matches("Error during planning: ");
                    let function = ScalarUDF::new_from_impl(NoField::default());
                    let call =
                        ScalarFunction::new_udf(function.into(), vec![lit(message)]);
                    return Ok(PlannerResult::Planned(Expr::ScalarFunction(call)));
                }
            }
        }
        not_impl_err!("it is left to the next planner")
    }
}

/// The type of a struct's field; nothing where only the next planner knows.
fn check(data_type: &DataType, name: &str) -> Result<Option<DataType>> {
    match data_type {
        DataType::Struct(fields) => match fields.find(name) {
            Some((_, field)) => Ok(Some(field.data_type().clone())),
            None => Err(plan_datafusion_err!(
                "Field {name} not found in struct; valid: {}",
                listed(fields)
            )),
        },
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => {
            Err(plan_datafusion_err!(
                "a list has no field {name}; take an element first, as in list[1].{name}"
            ))
        }
        _ => Ok(None),
    }
}

fn listed(fields: &Fields) -> String {
    let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
    names.join(", ")
}

/// A call that says what is wrong when the planner asks for its type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct NoField {
    signature: Signature,
}

impl Default for NoField {
    fn default() -> Self {
        Self {
            signature: Signature::any(1, Volatility::Immutable),
        }
    }
}

impl ScalarUDFImpl for NoField {
    fn name(&self) -> &str {
        "__no_field"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("the type depends on the arguments")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let message = match args.scalar_arguments {
            [Some(ScalarValue::Utf8(Some(message)))] => message.clone(),
            _ => "a field is not found".to_string(),
        };
        Err(DataFusionError::Plan(message))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("it has no type, and so no plan")
    }
}
