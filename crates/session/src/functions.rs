//! The one list of functions that Atoll adds to SQL.

use std::sync::Arc;

use datafusion::catalog::TableFunctionImpl;
use datafusion::logical_expr::{Documentation, ScalarUDF};
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{ShowStatementFilter, Statement as SqlStatement};

/// A table function: its name, what it does, its documentation.
pub(crate) type TableFunction = (String, Arc<dyn TableFunctionImpl>, Documentation);

/// How a function is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FunctionKind {
    /// One value per row.
    Scalar,
    /// Rows from arguments, in FROM.
    Table,
}

/// A function with its documentation.
#[derive(Debug, Clone)]
pub struct FunctionDoc {
    /// The name in SQL.
    pub name: String,
    /// The family it belongs to, such as `image`.
    pub family: &'static str,
    /// How it is called.
    pub kind: FunctionKind,
    /// What it does.
    pub documentation: Documentation,
}

/// The families, in the order in which the reference lists them.
fn families() -> Vec<(&'static str, Vec<ScalarUDF>, Vec<TableFunction>)> {
    vec![
        (
            "blob",
            atoll_udf_blob::functions(),
            atoll_udf_blob::table_functions(),
        ),
        ("image", atoll_udf_image::functions(), vec![]),
        (
            "model",
            atoll_udf_model::functions(),
            atoll_udf_model::table_functions(),
        ),
        ("near", vec![], atoll_udf_near::table_functions()),
        (
            "train",
            atoll_udf_train::functions(),
            atoll_udf_train::table_functions(),
        ),
        (
            "search",
            atoll_udf_search::functions(),
            atoll_udf_search::table_functions(),
        ),
        ("check", atoll_udf_check::functions(), vec![]),
        ("job", vec![], vec![crate::runs::table_function()]),
        ("table", vec![], vec![crate::tables::table_function()]),
        // Nothing, unless the environment asks for it.
        ("testing", atoll_udf_testing::functions(), vec![]),
    ]
}

/// Every scalar function that Atoll adds to SQL.
///
/// A function missing here is missing everywhere, which is easier to notice than
/// missing on a worker.
pub(crate) fn scalar_functions() -> Vec<ScalarUDF> {
    families()
        .into_iter()
        .flat_map(|(_, scalar, _)| scalar)
        .collect()
}

/// Every table function that Atoll adds to SQL.
pub(crate) fn table_functions() -> Vec<TableFunction> {
    families()
        .into_iter()
        .flat_map(|(_, _, table)| table)
        .collect()
}

/// Every function that Atoll adds to SQL, documented, by family.
pub fn function_docs() -> Vec<FunctionDoc> {
    let mut docs = vec![];
    for (family, scalar, table) in families() {
        for function in scalar {
            if let Some(documentation) = function.documentation() {
                docs.push(FunctionDoc {
                    name: function.name().to_string(),
                    family,
                    kind: FunctionKind::Scalar,
                    documentation: documentation.clone(),
                });
            }
        }
        docs.extend(
            table
                .into_iter()
                .map(|(name, _, documentation)| FunctionDoc {
                    name,
                    family,
                    kind: FunctionKind::Table,
                    documentation,
                }),
        );
    }
    docs
}

/// What `SHOW FUNCTIONS` runs.
///
/// DataFusion's own query joins the parameters of each function, which it knows only
/// for fixed signatures: a function that checks its arguments itself would be missing.
pub(crate) fn show_functions(statement: &Statement) -> Option<String> {
    let Statement::Statement(statement) = statement else {
        return None;
    };
    let SqlStatement::ShowFunctions { filter } = statement.as_ref() else {
        return None;
    };
    let like = match filter {
        None => "%".to_string(),
        Some(ShowStatementFilter::Like(like)) => like.replace('\'', "''"),
        Some(_) => return None,
    };
    Some(format!(
        "SELECT DISTINCT routine_name AS function_name, function_type, syntax_example, \
         description FROM information_schema.routines \
         WHERE routine_name LIKE '{like}' ORDER BY function_name, function_type"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_function_is_documented_with_an_example_and_tested() {
        let docs = function_docs();
        let functions = scalar_functions().len() + table_functions().len();
        assert_eq!(docs.len(), functions, "a function without documentation()");
        let names: HashSet<_> = docs.iter().map(|doc| &doc.name).collect();
        assert_eq!(names.len(), docs.len(), "a name is used twice");
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/slt");
        for doc in &docs {
            assert!(
                doc.documentation.sql_example.is_some(),
                "{}: no example",
                doc.name
            );
            let slt = root.join(doc.family).join(format!("{}.slt", doc.name));
            assert!(slt.exists(), "{} is missing", slt.display());
        }
    }
}
