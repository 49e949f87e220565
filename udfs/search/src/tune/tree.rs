//! The search space of a statement: which hyperparameters are searched, which are not, and
//! what a point of the search means for a row of `train`.

use std::collections::BTreeMap;
use std::sync::Arc;

use atoll_search::{Dimension, Domain, Parameter, Point, Space, Value as Drawn};
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use serde_json::{Map, Value};

use crate::domain::node;

/// A search space as a statement has it.
#[derive(Debug)]
pub(crate) struct Tree {
    fields: Vec<(String, Node)>,
    /// The hyperparameters that are the same in every trial, as the statement has them.
    pub(crate) constants: Vec<(String, ScalarValue)>,
    /// The others, and the types of their columns.
    pub(crate) varying: Vec<(String, DataType)>,
    pub(crate) space: Space,
    /// The place of each dimension by its path.
    places: BTreeMap<String, usize>,
}

/// The value of a hyperparameter.
#[derive(Debug)]
enum Node {
    Constant(Value),
    Number(Domain),
    Choice(Vec<Branch>),
}

/// What may be chosen: a value, or hyperparameters.
#[derive(Debug)]
enum Branch {
    Value(Value),
    Fields(Vec<(String, Node)>),
}

impl Tree {
    /// Reads the space of a statement, a literal struct.
    pub(crate) fn parse(literal: &ScalarValue) -> Result<Self> {
        let ScalarValue::Struct(structs) = literal else {
            return plan_err!(
                "tune takes its space as a struct such as \
                 {{learning_rate: hp_loguniform(1e-3, 0.3)}}, got {literal}"
            );
        };
        let mut fields = vec![];
        let mut constants = vec![];
        for (field, column) in structs.fields().iter().zip(structs.columns()) {
            let value = ScalarValue::try_from_array(column, 0)?;
            let name = field.name().clone();
            let node = parse_node(&name, &node(&value)?)?;
            if matches!(node, Node::Constant(_)) {
                constants.push((name.clone(), value));
            }
            fields.push((name, node));
        }
        unshadowed(&fields, &mut vec![])?;
        let space = Space::new(&parameters(&fields));
        let space = space.map_err(|error| plan_datafusion_err!("tune: {error}"))?;
        let paths = space.dimensions().iter().enumerate();
        let places = paths.map(|(n, d)| (d.path.clone(), n)).collect();
        let varying = varying(&fields);
        Ok(Self {
            varying,
            fields,
            constants,
            space,
            places,
        })
    }

    /// The hyperparameters of a point; those that it does not have are left out.
    pub(crate) fn resolve(&self, point: &Point) -> Map<String, Value> {
        let mut all = Map::new();
        self.resolve_fields(&self.fields, "", point, &mut all);
        all
    }

    fn resolve_fields(
        &self,
        fields: &[(String, Node)],
        above: &str,
        point: &Point,
        all: &mut Map<String, Value>,
    ) {
        for (name, node) in fields {
            let path = format!("{above}{name}");
            let drawn = || self.places.get(&path).and_then(|place| point[*place]);
            match node {
                Node::Constant(value) => {
                    all.insert(name.clone(), value.clone());
                }
                Node::Number(_) => {
                    let value = match drawn() {
                        Some(Drawn::Float(value)) => Value::from(value),
                        Some(Drawn::Int(value)) => Value::from(value),
                        _ => Value::Null,
                    };
                    all.insert(name.clone(), value);
                }
                Node::Choice(branches) => {
                    let Some(Drawn::Choice(choice)) = drawn() else {
                        continue;
                    };
                    match &branches[choice] {
                        Branch::Value(value) => {
                            all.insert(name.clone(), value.clone());
                        }
                        Branch::Fields(fields) => {
                            let above = format!("{path}#{choice}.");
                            self.resolve_fields(fields, &above, point, all);
                        }
                    }
                }
            }
        }
    }

    /// What a row of an earlier study says of a dimension: nothing, a value that the
    /// dimension cannot have, or one that it may.
    pub(crate) fn earlier(
        &self,
        dimension: &Dimension,
        row: &Map<String, Value>,
    ) -> Option<Option<Drawn>> {
        let node = find(&self.fields, "", &dimension.path)?;
        if let Node::Choice(branches) = node
            && branches.iter().all(|b| matches!(b, Branch::Fields(_)))
        {
            let agrees = |branch: &Branch| match branch {
                Branch::Fields(fields) => fields.iter().all(|(name, node)| match node {
                    Node::Constant(value) => {
                        row.get(name).is_some_and(|other| same(other, value))
                    }
                    _ => row.get(name).is_none_or(|other| !other.is_null()),
                }),
                Branch::Value(_) => false,
            };
            return Some(branches.iter().position(agrees).map(Drawn::Choice));
        }
        let value = row.get(&dimension.name).filter(|value| !value.is_null())?;
        Some(match node {
            Node::Choice(branches) => {
                let is = |branch: &Branch| matches!(branch, Branch::Value(v) if same(v, value));
                branches.iter().position(is).map(Drawn::Choice)
            }
            Node::Number(Domain::Int { .. }) => value.as_i64().map(Drawn::Int),
            Node::Number(_) => value.as_f64().map(Drawn::Float),
            Node::Constant(_) => None,
        })
    }

    /// The texts, numbers and truth values among the choices, by their hyperparameters.
    pub(crate) fn choices(&self) -> Vec<(String, ScalarValue)> {
        let mut found = vec![];
        walk_choices(&self.fields, &mut |name, value| {
            let value = match value {
                Value::String(text) => ScalarValue::from(text.as_str()),
                Value::Bool(flag) => ScalarValue::from(*flag),
                Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                    (Some(whole), _) => ScalarValue::from(whole),
                    (None, Some(number)) => ScalarValue::from(number),
                    (None, None) => return,
                },
                _ => return,
            };
            found.push((name.to_string(), value));
        });
        found
    }

    /// The domains in words, for EXPLAIN.
    pub(crate) fn describe(&self) -> String {
        let dimensions = self.space.dimensions().iter();
        let words = dimensions.map(|dimension| {
            let domain = match &dimension.domain {
                Domain::Float { low, high, .. } => format!("{low}..{high}"),
                Domain::Int { low, high, .. } => format!("{low}..{high}"),
                Domain::Normal { mean, deviation } => {
                    format!("normal({mean}, {deviation})")
                }
                Domain::Choice(choices) => format!("{} choices", choices.len()),
            };
            let kind = match &dimension.domain {
                Domain::Float { log: true, .. } => " log",
                Domain::Int { log: true, .. } => " integer log",
                Domain::Int { .. } => " integer",
                _ => "",
            };
            let step = match &dimension.domain {
                Domain::Float {
                    step: Some(step), ..
                } => format!(" step {step}"),
                Domain::Int { step, .. } if *step != 1 => format!(" step {step}"),
                _ => String::new(),
            };
            format!("{}: {domain}{kind}{step}", dimension.path)
        });
        words.collect::<Vec<_>>().join(", ")
    }
}

/// Calls with every value that a choice may give.
fn walk_choices(fields: &[(String, Node)], take: &mut dyn FnMut(&str, &Value)) {
    for (name, node) in fields {
        let Node::Choice(branches) = node else {
            continue;
        };
        for branch in branches {
            match branch {
                Branch::Value(value) => take(name, value),
                Branch::Fields(fields) => {
                    for (name, node) in fields {
                        if let Node::Constant(value) = node {
                            take(name, value);
                        }
                    }
                    walk_choices(fields, take);
                }
            }
        }
    }
}

/// A hyperparameter that a choice brings must not be there without it: one of the two would
/// be lost.
fn unshadowed<'a>(fields: &'a [(String, Node)], above: &mut Vec<&'a str>) -> Result<()> {
    for (n, (name, _)) in fields.iter().enumerate() {
        let twice = fields[..n].iter().any(|(other, _)| other == name);
        if twice || above.contains(&name.as_str()) {
            return plan_err!(
                "tune: the space gives {name} twice; leave one of them out"
            );
        }
    }
    for (name, node) in fields {
        let Node::Choice(branches) = node else {
            continue;
        };
        for branch in branches {
            if let Branch::Fields(below) = branch {
                let known = above.len();
                let others = fields.iter().map(|(other, _)| other.as_str());
                // A choice named like one of its fields is that field.
                above.extend(others.filter(|other| *other != name.as_str()));
                unshadowed(below, above)?;
                above.truncate(known);
            }
        }
    }
    Ok(())
}

/// Whether two values are the same hyperparameter: 1 and 1.0 are.
fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(a), Some(b)) => a == b,
        _ => a == b,
    }
}

fn find<'a>(fields: &'a [(String, Node)], above: &str, path: &str) -> Option<&'a Node> {
    fields.iter().find_map(|(name, node)| {
        let here = format!("{above}{name}");
        if here == path {
            return Some(node);
        }
        let Node::Choice(branches) = node else {
            return None;
        };
        let mut branches = branches.iter().enumerate();
        branches.find_map(|(choice, branch)| match branch {
            Branch::Fields(fields) => find(fields, &format!("{here}#{choice}."), path),
            Branch::Value(_) => None,
        })
    })
}

fn parse_node(name: &str, node: &Value) -> Result<Node> {
    if let Some(value) = node.get("value") {
        return Ok(Node::Constant(value.clone()));
    }
    if let Some(fields) = node.get("fields") {
        return match constant(node) {
            Some(value) => Ok(Node::Constant(value)),
            None => plan_err!(
                "tune: {name} is a struct with domains in it, {fields}, which is not \
                 searched; choose among structs with hp_choice([{{..}}, {{..}}])"
            ),
        };
    }
    let number = |key: &str| node.get(key).and_then(Value::as_f64);
    let integer = |key: &str| node.get(key).and_then(Value::as_i64);
    let (low, high) = (
        number("low").unwrap_or(f64::NAN),
        number("high").unwrap_or(f64::NAN),
    );
    let floats = |log| Domain::Float {
        low,
        high,
        log,
        step: number("step"),
    };
    let integers = |log| Domain::Int {
        low: integer("low").unwrap_or(i64::MIN),
        high: integer("high").unwrap_or(i64::MAX),
        log,
        step: integer("step").unwrap_or(1),
    };
    Ok(match node.get("kind").and_then(Value::as_str) {
        Some("uniform") => Node::Number(floats(false)),
        Some("loguniform") => Node::Number(floats(true)),
        Some("int") => Node::Number(integers(false)),
        Some("logint") => Node::Number(integers(true)),
        Some("normal") => Node::Number(Domain::Normal {
            mean: number("mean").unwrap_or(f64::NAN),
            deviation: number("deviation").unwrap_or(f64::NAN),
        }),
        Some("choice") => {
            let choices = node.get("choices").and_then(Value::as_array);
            let branches = choices
                .into_iter()
                .flatten()
                .map(|choice| branch(name, choice));
            let branches = branches.collect::<Result<Vec<_>>>()?;
            for (n, choice) in choices.into_iter().flatten().enumerate() {
                let mut before = choices.into_iter().flatten().take(n);
                if before.any(|other| other == choice) {
                    let text = choice.get("value").or(choice.get("fields"));
                    let text = text.unwrap_or(choice);
                    return plan_err!(
                        "tune: {name}: {text} is twice among the choices; name it once"
                    );
                }
            }
            Node::Choice(branches)
        }
        _ => return plan_err!("tune: {name} has a domain that is not known: {node}"),
    })
}

fn branch(name: &str, choice: &Value) -> Result<Branch> {
    if let Some(value) = choice.get("value") {
        return Ok(Branch::Value(value.clone()));
    }
    let Some(fields) = choice.get("fields").and_then(Value::as_array) else {
        return plan_err!(
            "tune: an element of the choice {name} is a domain by itself; put it into a \
             struct that names its hyperparameter, such as {{{name}: hp_uniform(0, 1)}}"
        );
    };
    let fields = fields.iter().map(|pair| {
        let name = pair.get(0).and_then(Value::as_str).unwrap_or_default();
        let node = pair.get(1).unwrap_or(&Value::Null);
        Ok((name.to_string(), parse_node(name, node)?))
    });
    Ok(Branch::Fields(fields.collect::<Result<_>>()?))
}

/// The value of a node without domains.
fn constant(node: &Value) -> Option<Value> {
    if let Some(value) = node.get("value") {
        return Some(value.clone());
    }
    let fields = node.get("fields")?.as_array()?.iter().map(|pair| {
        let name = pair.get(0)?.as_str()?.to_string();
        Some((name, constant(pair.get(1)?)?))
    });
    Some(Value::Object(fields.collect::<Option<Map<_, _>>>()?))
}

fn parameters(fields: &[(String, Node)]) -> Vec<Parameter> {
    let searched = fields.iter().filter_map(|(name, node)| {
        let domain = match node {
            Node::Constant(_) => return None,
            Node::Number(domain) => domain.clone(),
            Node::Choice(branches) => {
                let below = branches.iter().map(|branch| match branch {
                    Branch::Value(_) => vec![],
                    // A choice named like one of its fields is that field.
                    Branch::Fields(fields) => parameters(fields),
                });
                Domain::Choice(below.collect())
            }
        };
        Some(Parameter {
            name: name.clone(),
            domain,
        })
    });
    searched.collect()
}

/// The columns of what varies, in the order of their first mention.
fn varying(fields: &[(String, Node)]) -> Vec<(String, DataType)> {
    let mut columns: Vec<(String, DataType)> = vec![];
    let mut add = |name: &str, found: DataType| match columns
        .iter_mut()
        .find(|(other, _)| other == name)
    {
        Some((_, known)) => *known = wider(known, &found),
        None => columns.push((name.to_string(), found)),
    };
    fn walk(
        fields: &[(String, Node)],
        is_top: bool,
        add: &mut dyn FnMut(&str, DataType),
    ) {
        for (name, node) in fields {
            match node {
                Node::Constant(_) if is_top => {}
                Node::Constant(value) => add(name, type_of(value)),
                Node::Number(Domain::Int { .. }) => add(name, DataType::Int64),
                Node::Number(_) => add(name, DataType::Float64),
                Node::Choice(branches) => {
                    for branch in branches {
                        match branch {
                            Branch::Value(value) => add(name, type_of(value)),
                            Branch::Fields(fields) => walk(fields, false, add),
                        }
                    }
                }
            }
        }
    }
    walk(fields, true, &mut add);
    for (_, found) in &mut columns {
        if found.is_null() {
            *found = DataType::Utf8;
        }
    }
    columns
}

fn type_of(value: &Value) -> DataType {
    match value {
        Value::Null => DataType::Null,
        Value::Bool(_) => DataType::Boolean,
        Value::Number(number) if number.is_i64() || number.is_u64() => DataType::Int64,
        Value::Number(_) => DataType::Float64,
        Value::String(_) => DataType::Utf8,
        Value::Array(items) => {
            let item = items.iter().map(type_of);
            let item = item.fold(DataType::Null, |a, b| wider(&a, &b));
            DataType::new_list(item, true)
        }
        Value::Object(fields) => {
            let fields = fields
                .iter()
                .map(|(name, v)| Field::new(name, type_of(v), true));
            DataType::Struct(fields.collect())
        }
    }
}

/// A type that holds the values of both.
fn wider(a: &DataType, b: &DataType) -> DataType {
    match (a, b) {
        (a, b) if a == b => a.clone(),
        (DataType::Null, other) | (other, DataType::Null) => other.clone(),
        (DataType::Int64, DataType::Float64) | (DataType::Float64, DataType::Int64) => {
            DataType::Float64
        }
        (DataType::List(a), DataType::List(b)) => {
            DataType::new_list(wider(a.data_type(), b.data_type()), true)
        }
        (DataType::Struct(a), DataType::Struct(b)) => {
            let mut all: Vec<Arc<Field>> = a.iter().cloned().collect();
            for field in b {
                match all.iter_mut().find(|other| other.name() == field.name()) {
                    Some(known) => {
                        let merged = wider(known.data_type(), field.data_type());
                        *known = Arc::new(Field::new(field.name(), merged, true));
                    }
                    None => all.push(Arc::clone(field)),
                }
            }
            DataType::Struct(Fields::from(all))
        }
        _ => DataType::Utf8,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::scalar::ScalarStructBuilder;
    use datafusion::logical_expr::ColumnarValue;
    use serde_json::json;

    use super::*;
    use crate::domain::choices;

    fn structure(fields: &[(&str, ScalarValue)]) -> ScalarValue {
        let builder = ScalarStructBuilder::new();
        let builder = fields.iter().fold(builder, |builder, (name, value)| {
            let field = Field::new(*name, value.data_type(), true);
            builder.with_scalar(field, value.clone())
        });
        builder.build().unwrap()
    }

    fn domain(json: &Value) -> ScalarValue {
        structure(&[("hp_domain", json.to_string().as_str().into())])
    }

    fn choice(elements: &[(&str, ScalarValue)]) -> ScalarValue {
        let list = ColumnarValue::Scalar(structure(elements));
        match choices("hp_choice", list).unwrap() {
            ColumnarValue::Scalar(domain) => domain,
            ColumnarValue::Array(_) => panic!("no scalar"),
        }
    }

    fn tree() -> Tree {
        let momentum = json!({"kind": "uniform", "low": 0.5, "high": 0.9});
        let sgd = [("optimizer", "sgd".into()), ("momentum", domain(&momentum))];
        let branches = [
            ("0", structure(&sgd)),
            ("1", structure(&[("optimizer", "adam".into())])),
        ];
        let rate = json!({"kind": "loguniform", "low": 0.01, "high": 1.0});
        Tree::parse(&structure(&[
            ("learning_rate", domain(&rate)),
            ("epochs", 3_i64.into()),
            ("optimizer", choice(&branches)),
            ("filters", choice(&[("0", 8_i64.into()), ("1", 0.5.into())])),
        ]))
        .unwrap()
    }

    #[test]
    fn columns_are_what_varies_in_the_order_of_the_space() {
        let names = tree().varying;
        let names: Vec<_> = names.iter().map(|(name, t)| (name.as_str(), t)).collect();
        assert_eq!(
            names,
            [
                ("learning_rate", &DataType::Float64),
                ("optimizer", &DataType::Utf8),
                ("momentum", &DataType::Float64),
                ("filters", &DataType::Float64),
            ]
        );
        assert_eq!(tree().constants, [("epochs".to_string(), 3_i64.into())]);
    }

    #[test]
    fn a_point_becomes_the_hyperparameters_of_its_choices() {
        let tree = tree();
        let point = |choice: usize| {
            tree.space.point(|_, dimension| match dimension.choices() {
                Some(_) => Drawn::Choice(choice),
                None => dimension.at(0.0),
            })
        };
        let sgd = json!({"learning_rate": 0.01, "epochs": 3, "optimizer": "sgd",
            "momentum": 0.5, "filters": 8});
        assert_eq!(Value::Object(tree.resolve(&point(0))), sgd);
        let adam = json!({"learning_rate": 0.01, "epochs": 3, "optimizer": "adam",
            "filters": 0.5});
        assert_eq!(Value::Object(tree.resolve(&point(1))), adam);
    }

    #[test]
    fn a_row_of_an_earlier_study_leads_back_to_its_point() {
        let tree = tree();
        for trial in 0..20 {
            let point = tree.space.draw(1, trial);
            let row = tree.resolve(&point);
            let found = tree.space.translate(|d| tree.earlier(d, &row), (1, 0));
            assert_eq!(found, Some(point));
        }
        let outside = json!({"learning_rate": 3.0, "optimizer": "adam", "filters": 8});
        let outside = outside.as_object().unwrap();
        assert_eq!(
            tree.space.translate(|d| tree.earlier(d, outside), (1, 0)),
            None
        );
    }
}
