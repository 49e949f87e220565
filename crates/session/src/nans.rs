//! NaN equals NaN and is above every number, whatever its bits are.
//!
//! Arrow compares floats by their bits, in which a NaN with its sign set is below every
//! number and equals no other. Those are common: `0.0 / 0.0` gives one on x86, and so do
//! files that other programs wrote there. So where floats are compared, sorted, grouped or
//! joined, [`OneNan`] turns every NaN into the same one. Anything else is left as it is, and
//! costs nothing. What is compared inside of lists and structs is left too.

use std::sync::{Arc, LazyLock};

use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, FieldRef, Float16Type, Float32Type, Float64Type,
};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::utils::take_function_args;
use datafusion::common::{DFSchema, ExprSchema, Result, ScalarValue, internal_err};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::{ApplyOrder, OptimizerConfig, OptimizerRule};

/// What the function is called where plans are shown.
const ONE_NAN: &str = "__one_nan";

/// Aggregates that put their floats in an order, or tell equal ones apart.
const SORTING: [&str; 6] = [
    "approx_distinct",
    "approx_percentile_cont",
    "max",
    "median",
    "min",
    "percentile_cont",
];

static FUNCTION: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(OneNan { signature }))
});

/// The function, for an executor that reads a plan with it.
pub(crate) fn by_name(name: &str) -> Option<Arc<ScalarUDF>> {
    (name == ONE_NAN).then(|| Arc::clone(&FUNCTION))
}

/// Puts [`OneNan`] around floats that are compared.
#[derive(Debug)]
pub(crate) enum NansAreOne {
    /// Around constants, before they are compared once and for all. It comes first.
    InConstants,
    /// Around all. It comes last, when filters are where they stay and DISTINCT, IN and
    /// INTERSECT are groups and joins.
    Everywhere,
}

impl OptimizerRule for NansAreOne {
    fn name(&self) -> &'static str {
        "nans_are_one"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        _config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let is_first = matches!(self, Self::InConstants);
        let compares_nothing = match &plan {
            // Its arguments are columns and literals.
            LogicalPlan::Extension(_) => true,
            LogicalPlan::TableScan(scan) => scan.filters.is_empty(),
            _ => false,
        };
        if compares_nothing {
            return Ok(Transformed::no(plan));
        }
        let schema = match &plan {
            _ if is_first => DFSchema::empty(),
            LogicalPlan::TableScan(scan) => {
                let schema = scan.source.schema();
                DFSchema::try_from_qualified_schema(scan.table_name.clone(), &schema)?
            }
            plan => merge_schema(&plan.inputs()),
        };
        let is_sort = matches!(plan, LogicalPlan::Sort(_));
        let keys = match &plan {
            _ if is_first => 0,
            LogicalPlan::Sort(_) | LogicalPlan::Join(_) => usize::MAX,
            LogicalPlan::Aggregate(aggregate) => aggregate.group_expr.len(),
            _ => 0,
        };
        let names = NamePreserver::new(&plan);
        let mut at = 0;
        plan.map_expressions(|expr| {
            let is_key = at < keys;
            at += 1;
            // What has no name in the result is not given one.
            let is_named = !is_sort && !matches!(expr, Expr::GroupingSet(_));
            let name = is_named.then(|| names.save(&expr));
            let compared = expr.transform_up(|expr| match is_first {
                true if expr.any_column_refs() => Ok(Transformed::no(expr)),
                _ => in_expression(expr, &schema),
            })?;
            let key = match is_key {
                true => compared.transform_data(|key| key_of(key, &schema, &names))?,
                false => compared,
            };
            Ok(match name {
                Some(name) => key.update_data(|key| name.restore(key)),
                None => key,
            })
        })
    }
}

/// A key of a sort, of a join or of groups.
fn key_of(
    key: Expr,
    schema: &DFSchema,
    names: &NamePreserver,
) -> Result<Transformed<Expr>> {
    match key {
        sets @ Expr::GroupingSet(_) => sets.map_children(|key| {
            let name = names.save(&key);
            let key = one_nan(key, schema)?;
            Ok(key.update_data(|key| name.restore(key)))
        }),
        key => one_nan(key, schema),
    }
}

/// What an expression compares.
fn in_expression(expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
    let compares = match &expr {
        Expr::BinaryExpr(binary) => match binary.op {
            Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => true,
            // No NaN equals a number.
            Operator::Eq
            | Operator::NotEq
            | Operator::IsDistinctFrom
            | Operator::IsNotDistinctFrom => {
                !is_number(&binary.left) && !is_number(&binary.right)
            }
            _ => false,
        },
        Expr::InList(list) => !list.list.iter().all(is_number),
        Expr::Between(_) => true,
        Expr::Case(case) => case.expr.is_some(),
        Expr::ScalarFunction(call) => {
            ["greatest", "least", "nullif"].contains(&call.func.name())
        }
        Expr::WindowFunction(_) => true,
        Expr::AggregateFunction(call) => {
            call.params.distinct
                || !call.params.order_by.is_empty()
                || SORTING.contains(&call.func.name())
        }
        _ => false,
    };
    match compares {
        true => expr.map_children(|expr| one_nan(expr, schema)),
        false => Ok(Transformed::no(expr)),
    }
}

/// The expression with one kind of NaN, if it is a float that may be one.
fn one_nan(expr: Expr, schema: &dyn ExprSchema) -> Result<Transformed<Expr>> {
    let is_one = match &expr {
        Expr::Alias(_) => return expr.map_children(|expr| one_nan(expr, schema)),
        Expr::ScalarFunction(call) => call.func.name() == ONE_NAN,
        Expr::Cast(cast) => {
            let from = cast.expr.get_type(schema);
            from.is_ok_and(|from| from.is_integer())
        }
        expr => is_number(expr),
    };
    // What has been done is asked first: rules run several times.
    let is_float = !is_one && expr.get_type(schema).is_ok_and(|one| one.is_floating());
    if !is_float {
        return Ok(Transformed::no(expr));
    }
    let call = ScalarFunction::new_udf(Arc::clone(&FUNCTION), vec![expr]);
    Ok(Transformed::yes(Expr::ScalarFunction(call)))
}

/// Whether an expression is a literal and not NaN.
fn is_number(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Float16(Some(value)), _) => !value.is_nan(),
        Expr::Literal(ScalarValue::Float32(Some(value)), _) => !value.is_nan(),
        Expr::Literal(ScalarValue::Float64(Some(value)), _) => !value.is_nan(),
        Expr::Literal(..) => true,
        _ => false,
    }
}

/// Its argument, with one kind of NaN.
#[derive(Debug, PartialEq, Eq, Hash)]
struct OneNan {
    signature: Signature,
}

impl ScalarUDFImpl for OneNan {
    fn name(&self) -> &str {
        ONE_NAN
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        internal_err!("the type depends on whether the argument can be NULL")
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let [field] = take_function_args(self.name(), args.arg_fields)?;
        Ok(Arc::clone(field))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let [value] = take_function_args(self.name(), args.args)?;
        Ok(match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(of_array(array)),
            ColumnarValue::Scalar(value) => {
                let array = of_array(value.to_array()?);
                ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
            }
        })
    }
}

fn of_array(array: ArrayRef) -> ArrayRef {
    // All bits are compared: there are many NaN, and none equals itself.
    match array.data_type() {
        DataType::Float16 => of_floats::<Float16Type>(array, F16::NAN, |value| {
            value.is_nan() & (value.to_bits() != F16::NAN.to_bits())
        }),
        DataType::Float32 => of_floats::<Float32Type>(array, f32::NAN, |value| {
            value.is_nan() & (value.to_bits() != f32::NAN.to_bits())
        }),
        DataType::Float64 => of_floats::<Float64Type>(array, f64::NAN, |value| {
            value.is_nan() & (value.to_bits() != f64::NAN.to_bits())
        }),
        _ => array,
    }
}

type F16 = <Float16Type as ArrowPrimitiveType>::Native;

/// Nothing is copied where there is no other NaN.
fn of_floats<T: ArrowPrimitiveType>(
    array: ArrayRef,
    nan: T::Native,
    is_other: impl Fn(T::Native) -> bool,
) -> ArrayRef {
    let floats = array.as_primitive::<T>();
    // To the end, whatever is found: a loop with a way out does one value at a time.
    let values = floats.values().iter();
    match values.fold(false, |found, value| found | is_other(*value)) {
        true => {
            let one = |value| if is_other(value) { nan } else { value };
            Arc::new(floats.unary::<_, T>(one))
        }
        false => array,
    }
}
