//! `t.*` of a struct.
//!
//! Which fields a column has only the planner knows, so it is asked: the star becomes a
//! call of a function that notes the type of its argument. A statement is planned again
//! once the fields are known, which may take a round for each level of its subqueries.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::{
    DataFusionError, Result, ScalarValue, internal_err, plan_datafusion_err,
};
use datafusion::execution::{FunctionRegistry, SessionState};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{
    ExcludeSelectItem, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, ObjectNamePart, Select, SelectItem, SelectItemQualifiedWildcardKind,
    Value, VisitorMut, WildcardAdditionalOptions,
};

use super::{fields, normalized, parse, titles, visit};

/// The function that stands for a star while its fields are not known.
const FIELDS_OF: &str = "__fields_of";

/// The stars of a statement that are not those of tables.
pub(super) struct Stars {
    /// What each star leaves out, by its number.
    excluded: Vec<Vec<String>>,
    types: Types,
}

/// The types that the planner found, by the star's number.
type Types = Arc<Mutex<BTreeMap<usize, DataType>>>;

impl Stars {
    /// Finds the stars and makes calls of them.
    pub(super) fn mark(
        statement: &mut Statement,
        state: &mut SessionState,
    ) -> Result<Self> {
        let mut marker = Marker::default();
        visit(statement, &mut marker)?;
        let stars = Self {
            excluded: marker.excluded,
            types: Types::default(),
        };
        if !stars.excluded.is_empty() {
            let function = FieldsOf {
                types: Arc::clone(&stars.types),
                signature: Signature::any(2, Volatility::Immutable),
            };
            state.register_udf(Arc::new(ScalarUDF::new_from_impl(function)))?;
        }
        Ok(stars)
    }

    /// Replaces the stars whose types are known by their fields; tells whether any was.
    pub(super) fn expand(&self, statement: &mut Statement) -> Result<bool> {
        let types = {
            let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *types)
        };
        let mut expander = Expander {
            stars: self,
            types,
            any: false,
        };
        visit(statement, &mut expander)?;
        Ok(expander.any)
    }
}

#[derive(Default)]
struct Marker {
    excluded: Vec<Vec<String>>,
}

impl VisitorMut for Marker {
    type Break = DataFusionError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        let tables = titles::relation_names(&select.from);
        for item in &mut select.projection {
            let found = match item {
                SelectItem::QualifiedWildcard(
                    SelectItemQualifiedWildcardKind::ObjectName(name),
                    options,
                ) => of_name(name, options, &tables).transpose(),
                SelectItem::UnnamedExpr(expr) => of_expression(expr).map(Ok),
                _ => None,
            };
            match found {
                Some(Ok((column, excluded))) => {
                    *item = SelectItem::UnnamedExpr(call(self.excluded.len(), column));
                    self.excluded.push(excluded);
                }
                Some(Err(error)) => return ControlFlow::Break(error),
                None => {}
            }
        }
        ControlFlow::Continue(())
    }
}

/// The column and what is left out of it, if a star is not that of a table.
fn of_name(
    name: &ObjectName,
    options: &WildcardAdditionalOptions,
    tables: &[Vec<String>],
) -> Result<Option<(Expr, Vec<String>)>> {
    let parts = name.0.iter().filter_map(|part| part.as_ident().cloned());
    let parts: Vec<Ident> = parts.collect();
    let names: Vec<String> = parts.iter().map(normalized).collect();
    if tables.iter().any(|table| table.ends_with(&names)) {
        return Ok(None);
    }
    let column = match <[Ident; 1]>::try_from(parts) {
        Ok([name]) => Expr::Identifier(name),
        Err(parts) => Expr::CompoundIdentifier(parts),
    };
    Ok(Some((column, excluded(name, options)?)))
}

/// The same of a star after an expression.
fn of_expression(expr: &mut Expr) -> Option<(Expr, Vec<String>)> {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return None;
    };
    let excluded = parse::star(&fields::field(access_chain.last()?)?.value)?;
    access_chain.pop();
    let inner = match access_chain.is_empty() {
        true => root.as_ref().clone(),
        false => expr.clone(),
    };
    Some((inner, excluded))
}

/// The fields that a star leaves out.
fn excluded(
    name: &ObjectName,
    options: &WildcardAdditionalOptions,
) -> Result<Vec<String>> {
    let WildcardAdditionalOptions {
        wildcard_token: _,
        opt_ilike: None,
        opt_exclude,
        opt_except,
        opt_replace: None,
        opt_rename: None,
        opt_alias: None,
    } = options
    else {
        return Err(plan_datafusion_err!(
            "{name}.* of a struct takes EXCLUDE and nothing else; name its fields"
        ));
    };
    let mut names: Vec<String> = Vec::new();
    let excluded = match opt_exclude {
        Some(ExcludeSelectItem::Single(name)) => std::slice::from_ref(name),
        Some(ExcludeSelectItem::Multiple(names)) => names.as_slice(),
        None => &[],
    };
    let parts = excluded.iter().filter_map(|name| name.0.last()?.as_ident());
    names.extend(parts.map(normalized));
    if let Some(except) = opt_except {
        names.push(normalized(&except.first_element));
        names.extend(except.additional_elements.iter().map(normalized));
    }
    Ok(names)
}

/// `__fields_of(number, a.b)`
fn call(number: usize, column: Expr) -> Expr {
    let number = Expr::Value(Value::Number(number.to_string(), false).into());
    super::call(FIELDS_OF, vec![number, column])
}

/// The number and the column of such a call.
fn star(item: &SelectItem) -> Option<(usize, &Expr)> {
    let SelectItem::UnnamedExpr(Expr::Function(function)) = item else {
        return None;
    };
    let [ObjectNamePart::Identifier(name)] = function.name.0.as_slice() else {
        return None;
    };
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(number))),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(column)),
    ] = list.args.as_slice()
    else {
        return None;
    };
    let Value::Number(number, _) = &number.value else {
        return None;
    };
    (name.value == FIELDS_OF).then_some((number.parse().ok()?, column))
}

struct Expander<'a> {
    stars: &'a Stars,
    types: BTreeMap<usize, DataType>,
    any: bool,
}

impl VisitorMut for Expander<'_> {
    type Break = DataFusionError;

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<DataFusionError> {
        let mut items = Vec::with_capacity(select.projection.len());
        for item in select.projection.drain(..) {
            let known = star(&item).and_then(|(number, column)| {
                Some((self.types.get(&number)?, number, column))
            });
            match known {
                Some((data_type, number, column)) => {
                    let excluded = &self.stars.excluded[number];
                    match fields_of(column, data_type, excluded) {
                        Ok(fields) => items.extend(fields),
                        Err(error) => return ControlFlow::Break(error),
                    }
                    self.any = true;
                }
                None => items.push(item),
            }
        }
        select.projection = items;
        ControlFlow::Continue(())
    }
}

/// A column for each field.
fn fields_of(
    column: &Expr,
    data_type: &DataType,
    excluded: &[String],
) -> Result<Vec<SelectItem>> {
    let DataType::Struct(all) = data_type else {
        return Err(plan_datafusion_err!(
            "{column}.* needs a table or a struct; {column} has the type {data_type}"
        ));
    };
    if let Some(unknown) = excluded
        .iter()
        .find(|name| !all.iter().any(|field| field.name() == *name))
    {
        return Err(plan_datafusion_err!(
            "{column}.* has no field {unknown}; valid: {}",
            all.iter()
                .map(|field| field.name().as_str())
                .collect::<Vec<_>>()
                .join(", ")
        ));
    }
    let kept = all.iter().filter(|field| !excluded.contains(field.name()));
    let item = |field: &FieldRef| {
        SelectItem::UnnamedExpr(Expr::CompoundFieldAccess {
            root: Box::new(column.clone()),
            access_chain: vec![fields::subscript(field.name().clone())],
        })
    };
    Ok(kept.map(item).collect())
}

/// Notes the type of its second argument under the number that is its first.
#[derive(Debug)]
struct FieldsOf {
    types: Types,
    signature: Signature,
}

impl PartialEq for FieldsOf {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.types, &other.types)
    }
}

impl Eq for FieldsOf {}

impl std::hash::Hash for FieldsOf {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        FIELDS_OF.hash(state);
    }
}

impl ScalarUDFImpl for FieldsOf {
    fn name(&self) -> &str {
        FIELDS_OF
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Null)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        if let ([_, column], [Some(ScalarValue::Int64(Some(number))), _]) =
            (args.arg_fields, args.scalar_arguments)
            && let Ok(number) = usize::try_from(*number)
        {
            let mut types = self.types.lock().unwrap_or_else(PoisonError::into_inner);
            types.insert(number, column.data_type().clone());
        }
        Ok(Arc::new(Field::new(self.name(), DataType::Null, true)))
    }

    fn invoke_with_args(&self, _args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        internal_err!("{FIELDS_OF} is a mark of the planner")
    }
}
