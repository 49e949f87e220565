//! Hyperparameters that are literals, and so the same in every row.
//!
//! A row whose hyperparameters are outside their domains says INFEASIBLE, and the others
//! go on. What a literal gets wrong is wrong in all of them, which is the statement's
//! mistake and is said before anything is read.

use atoll_nn::Hyperparameters;
use atoll_udf_common::structs::{row_to_json, scalar_to_json};
use datafusion::common::{Result, ScalarValue, plan_datafusion_err, plan_err};
use datafusion::logical_expr::Expr;
use serde_json::{Map, Value};

use super::train::RESUME_FROM;
use crate::backbone::BACKBONE;

/// Checks what is known of the hyperparameters of all rows.
pub(super) fn check(argument: &Expr) -> Result<()> {
    let (mut known, open) = match argument {
        Expr::Literal(value, _) if value.is_null() => return Ok(()),
        Expr::Literal(ScalarValue::Struct(fields), _) => {
            (row_to_json(fields, 0)?, vec![])
        }
        Expr::ScalarFunction(call) if call.func.name() == "named_struct" => {
            fields(&call.args)?
        }
        _ => return Ok(()),
    };
    for (key, what) in [(RESUME_FROM, "a checkpoint"), (BACKBONE, "an ONNX file")] {
        if let Some(name) = known.remove(key)
            && !matches!(name, Value::String(_) | Value::Null)
        {
            return plan_err!(
                "train: {key} must be the path or URL of {what}, got {name}"
            );
        }
    }
    let open: Vec<&str> = open.iter().map(String::as_str).collect();
    Hyperparameters::check_known(&known, &open)
        .map_err(|error| plan_datafusion_err!("train: {error}"))
}

/// The fields that are literals, and the names of the others.
fn fields(args: &[Expr]) -> Result<(Map<String, Value>, Vec<String>)> {
    let (mut known, mut open) = (Map::new(), Vec::new());
    for pair in args.chunks_exact(2) {
        let Expr::Literal(name, _) = &pair[0] else {
            continue;
        };
        let Some(Some(name)) = name.try_as_str() else {
            continue;
        };
        match &pair[1] {
            Expr::Literal(value, _) => {
                known.insert(name.to_string(), scalar_to_json(name, value)?);
            }
            _ => open.push(name.to_string()),
        }
    }
    Ok((known, open))
}

#[cfg(test)]
mod tests {
    use datafusion::functions::core::named_struct;
    use datafusion::logical_expr::{col, lit};

    use super::*;

    fn call(fields: &[(&str, Expr)]) -> Result<()> {
        let args = fields
            .iter()
            .flat_map(|(name, value)| [lit(*name), value.clone()]);
        check(&named_struct().call(args.collect()))
    }

    #[track_caller]
    fn check_refused(fields: &[(&str, Expr)], expected: &str) {
        let error = call(fields).unwrap_err().strip_backtrace();
        assert!(error.contains(expected), "{error}");
    }

    #[test]
    fn a_literal_that_is_wrong_in_every_row_is_named_with_its_domain() {
        let rate = || ("learning_rate", col("rate"));
        check_refused(
            &[rate(), ("optimizer", lit("Adam"))],
            "optimizer must be one of sgd, adam, adamw, rmsprop, got \"Adam\"",
        );
        check_refused(
            &[rate(), ("architecture", lit("resnet18"))],
            "unknown layer 'resnet18'",
        );
        check_refused(
            &[("epochs", lit("many")), rate()],
            "epochs must be an integer from 1 to 100000, got \"many\"",
        );
        check_refused(
            &[("learning_rate", lit(-1.0))],
            "learning_rate must be greater than 0, got -1",
        );
        check_refused(
            &[("resume_from", lit(1))],
            "resume_from must be the path or URL of a checkpoint, got 1",
        );
    }

    #[test]
    fn what_depends_on_a_row_is_left_to_the_rows() {
        let null = || lit(ScalarValue::Null);
        call(&[("learning_rate", col("rate"))]).unwrap();
        call(&[("optimizer", null()), ("hidden", lit(16))]).unwrap();
        // Whether these go together only the row can tell.
        call(&[("stop_after", lit(50)), ("epochs", col("n"))]).unwrap();
        call(&[("nesterov", lit(true)), ("momentum", col("m"))]).unwrap();
        call(&[("hidden", lit(16)), ("architecture", col("a"))]).unwrap();
        call(&[("filters", col("f")), ("architecture", lit("mlp"))]).unwrap();
        check(&col("all")).unwrap();
    }
}
