//! Statements about models that have names, and such names in other statements.
//!
//! The parser knows none of the statements, so they are read from the tokens ([`parse`]). A
//! name in a call becomes the path of the version that it stands for when the statement is
//! planned ([`names`]): tasks see a path, and plans show the hash in it.

mod names;
mod node;
mod parse;

use atoll_udf_common::model::names::ModelNames;
use atoll_udf_common::storage_root;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::{Result, plan_err};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;

pub(crate) use names::NamedModels;
pub(super) use names::resolve;
pub(crate) use node::{ModelAction, ModelCommand, Source};
pub(super) use parse::{Report, Verb, parse};

use super::statement_to_plan;
use datafusion::sql::parser::Statement;

/// The names of models in the session's storage.
pub(crate) fn model_names(state: &SessionState) -> Result<ModelNames> {
    Ok(ModelNames::new(storage_root(state.config().options())?))
}

/// Plans a statement about a model; the query is that of CREATE MODEL.
pub(super) async fn plan(
    verb: Verb,
    query: Option<Statement>,
    state: SessionState,
) -> Result<LogicalPlan> {
    let (name, action) = match verb {
        Verb::Report(report) => {
            if let Report::Describe(name) = &report {
                // An empty table would not say that there is no such model.
                model_names(&state)?.expect(name).await?;
            }
            return state.create_logical_plan(&report.sql()).await;
        }
        Verb::Command(name, action) => (name, action),
    };
    let input = match query {
        Some(query) => Some(statement_to_plan(state, query).await?),
        None => None,
    };
    if let Some(input) = &input {
        check_query(&name, input)?;
    }
    Ok(ModelCommand::try_new(name, action, input)?.into_plan())
}

/// A model is a value, so its query gives one column, of a type that can say which.
fn check_query(name: &str, query: &LogicalPlan) -> Result<()> {
    let fields = query.schema().fields();
    let [field] = &fields[..] else {
        return plan_err!(
            "CREATE MODEL {name} takes a query with one column, the path of the model, got \
             {} columns; such as SELECT trial['model'] FROM study ORDER BY .. LIMIT 1",
            fields.len()
        );
    };
    let is_model = match field.data_type() {
        DataType::Struct(fields) => fields.iter().any(|field| field.name() == "model"),
        data_type => {
            atoll_udf_common::model::model("CREATE MODEL", field.name(), data_type)?;
            true
        }
    };
    match is_model {
        true => Ok(()),
        false => plan_err!(
            "CREATE MODEL {name} takes the path of a model, its bytes or a trial, got a \
             struct without a field model in the column {}",
            field.name()
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::sql::testing::{check, check_error};

    #[test]
    fn statements_are_read() {
        for (sql, shown) in [
            (
                "create model Digits from 'a.onnx';",
                "CREATE MODEL digits FROM 'a.onnx'",
            ),
            (
                "CREATE MODEL IF NOT EXISTS \"Digits\" FROM 'a.onnx'",
                "CREATE MODEL IF NOT EXISTS Digits FROM 'a.onnx'",
            ),
            (
                "ALTER MODEL digits SET ALIAS champion = 2",
                "ALTER MODEL digits SET ALIAS champion = 2",
            ),
            (
                "ALTER MODEL digits SET ALIAS champion = challenger",
                "ALTER MODEL digits SET ALIAS champion = challenger",
            ),
            (
                "ALTER MODEL digits DROP ALIAS champion",
                "ALTER MODEL digits DROP ALIAS champion",
            ),
            (
                "ALTER MODEL digits DROP VERSION 2",
                "ALTER MODEL digits DROP VERSION 2",
            ),
            (
                "COPY MODEL digits@champion TO 'a.onnx'",
                "COPY MODEL digits@champion TO 'a.onnx'",
            ),
            (
                "COPY MODEL 'digits@2' TO 'a.onnx'",
                "COPY MODEL digits@2 TO 'a.onnx'",
            ),
            ("DROP MODEL IF EXISTS digits", "DROP MODEL IF EXISTS digits"),
        ] {
            check(sql, &[&format!("ModelCommand: {shown}")]);
        }
        check(
            "CREATE OR REPLACE MODEL digits AS SELECT name FROM s LIMIT 1",
            &[
                "ModelCommand: CREATE OR REPLACE MODEL digits AS",
                "Limit: skip=0, fetch=1",
                "Projection: s.name",
                "TableScan: s",
            ],
        );
    }

    #[test]
    fn tables_may_be_called_model() {
        check_error("DESCRIBE model", "'datafusion.public.model' not found");
        check_error("SELECT * FROM model", "'datafusion.public.model' not found");
        check_error(
            "COPY model TO 'a.csv'",
            "'datafusion.public.model' not found",
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (sql, expected) in [
            (
                "CREATE MODEL digits AS SELECT id, name FROM s",
                "got 2 columns; such as SELECT trial['model'] FROM study ORDER BY .. LIMIT 1",
            ),
            (
                "CREATE MODEL digits AS SELECT id FROM s",
                "or a BINARY column that holds one, got Int64",
            ),
            (
                "CREATE MODEL digits AS SELECT {a: 1} AS s",
                "got a struct without a field model in the column s",
            ),
            (
                "CREATE MODEL digits@2 FROM 'a.onnx'",
                "CREATE MODEL takes the name of a model without a version, got digits@2",
            ),
            (
                "CREATE MODEL 'a.onnx' FROM 'a.onnx'",
                "128 of them at most, got 'a.onnx'",
            ),
            (
                "CREATE OR REPLACE MODEL IF NOT EXISTS digits FROM 'a.onnx'",
                "IF NOT EXISTS and OR REPLACE exclude each other",
            ),
            (
                "CREATE MODEL digits",
                "Expected: AS SELECT .. or FROM 'file.onnx', found: EOF\")",
            ),
            (
                "DROP MODEL digits CASCADE",
                "Expected: end of statement, found: CASCADE at Line: 1, Column: 19\")",
            ),
            (
                "ALTER MODEL digits SET ALIAS champion = 'a b'",
                "takes the number of a version or an alias, got 'a b'",
            ),
            (
                "ALTER MODEL digits RENAME TO numbers",
                "Expected: SET ALIAS, DROP ALIAS or DROP VERSION, found: RENAME at Line: 1, \
                 Column: 20\")",
            ),
            (
                "EXPLAIN CREATE MODEL digits FROM 'a.onnx'",
                "got CREATE MODEL; run that by itself",
            ),
            (
                "PREPARE p AS DROP MODEL digits",
                "got DROP MODEL; run that by itself",
            ),
            (
                "DESCRIBE MODEL no",
                "there is no model no; SHOW MODELS lists the models",
            ),
        ] {
            check_error(sql, expected);
        }
    }
}
