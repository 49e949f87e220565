//! The message of an error, without the names of the layers it went through.

use std::error::Error;
use std::io;

use atoll_session::explain_store_error;
use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;

/// The message without the names of the layers it went through.
pub(super) fn plain(error: &DataFusionError) -> String {
    match error {
        DataFusionError::External(inner) => plain_dyn(inner.as_ref()),
        DataFusionError::Shared(inner) => plain(inner),
        DataFusionError::Diagnostic(_, inner) => plain(inner),
        DataFusionError::Collection(inner) => {
            inner.first().map_or_else(|| error.to_string(), plain)
        }
        DataFusionError::Context(context, inner) if names_a_rule(context) => plain(inner),
        DataFusionError::Context(context, inner) => {
            format!("{context}: {}", plain(inner))
        }
        DataFusionError::ArrowError(inner, _) => plain_dyn(inner.as_ref()),
        DataFusionError::ParquetError(inner) => plain_dyn(inner.as_ref()),
        DataFusionError::ObjectStore(inner) => plain_dyn(inner.as_ref()),
        DataFusionError::IoError(inner) => plain_dyn(inner),
        DataFusionError::SQL(inner, _) => match inner.as_ref() {
            ParserError::ParserError(text) | ParserError::TokenizerError(text) => {
                format!("syntax error: {text}")
            }
            ParserError::RecursionLimitExceeded => {
                "syntax error: the statement is nested too deeply".to_string()
            }
        },
        DataFusionError::SchemaError(inner, _) => plain_schema(inner),
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::Configuration(text)
        | DataFusionError::ResourcesExhausted(text) => without_prefixes(text),
        DataFusionError::NotImplemented(text) => {
            format!("not supported: {}", without_prefixes(text))
        }
        DataFusionError::Internal(text) => {
            let line = text.lines().next().unwrap_or("no message");
            format!("internal error: {}", without_prefixes(line))
        }
        DataFusionError::ExecutionJoin(inner) => {
            format!("a task did not finish: {inner}")
        }
        other => other.to_string(),
    }
}

/// Whether a context only names the DataFusion rule that met an error, which helps no one
/// and is left out.
fn names_a_rule(context: &str) -> bool {
    !context.contains(' ')
        || context.starts_with("Optimizer rule")
        || context.starts_with("PhysicalOptimizer rule")
}

/// As [`plain`], for errors that may or may not come from DataFusion. Sources are
/// added unless the error above them has already said the same.
fn plain_dyn(error: &(dyn Error + 'static)) -> String {
    if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        return plain(inner);
    }
    if let Some(ArrowError::ExternalError(inner)) = error.downcast_ref::<ArrowError>() {
        return plain_dyn(inner.as_ref());
    }
    if let Some(ParquetError::External(inner)) = error.downcast_ref::<ParquetError>() {
        return plain_dyn(inner.as_ref());
    }
    if let Some(inner) = error.downcast_ref::<object_store::Error>()
        && let Some(explained) = explain_store_error(inner)
    {
        return explained;
    }
    if let Some(inner) = error.downcast_ref::<io::Error>()
        && let Some(inner) = inner.get_ref()
    {
        return plain_dyn(inner);
    }
    let mut text = without_prefixes(&error.to_string());
    if let Some(source) = error.source() {
        let source = plain_dyn(source);
        if !text.contains(&source) {
            text = format!("{text}: {source}");
        }
    }
    text
}

/// What the engine adds to it, valid names and advice, is said by the hint.
fn plain_schema(error: &SchemaError) -> String {
    match error {
        SchemaError::FieldNotFound { field, .. } => {
            format!("no column named {}", field.flat_name())
        }
        SchemaError::AmbiguousReference { field } => {
            format!("column {} is ambiguous", field.flat_name())
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            format!("two columns are named {name}")
        }
    }
}

/// The names of layers that were baked into messages.
const PREFIXES: [&str; 15] = [
    "Arrow error: ",
    "Cast error: ",
    "Compute error: ",
    "Error during planning: ",
    "Execution error: ",
    "External error: ",
    "External: ",
    "Generic LocalFileSystem error: ",
    "Invalid argument error: ",
    "Object Store error: ",
    "Optimizer rule failed: ",
    "Parquet error: ",
    "Parser error: ",
    "Schema error: ",
    "Shared error: ",
];

/// Strips the layer names in front of a message and after its colons.
fn without_prefixes(text: &str) -> String {
    let mut rest = text;
    while let Some(after) = PREFIXES.iter().find_map(|prefix| rest.strip_prefix(prefix)) {
        rest = after;
    }
    let mut text = rest.to_string();
    for prefix in PREFIXES {
        text = text.replace(&format!(": {prefix}"), ": ");
    }
    text
}

/// Takes a remedy out of the message: a line of its own at the end.
pub(crate) fn split_hint(text: &str) -> (String, Option<String>) {
    let clean = |text: &str| text.trim().trim_end_matches('.').to_string();
    if let Some((message, hint)) = text.split_once("\nhint: ") {
        return (clean(message), Some(hint.trim().to_string()));
    }
    if let Some((message, _)) = text.split_once("\nDid you mean")
        && let Some(at) = text.find("Did you mean")
    {
        let hint = text[at..].trim().trim_end_matches('.');
        return (clean(message), Some(hint.replacen("Did", "did", 1)));
    }
    (clean(text), None)
}

/// What to do about errors of the engine, whose own text does not say it.
pub(super) fn remedy(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            Some("raise --memory-limit, or lower --threads".to_string())
        }
        DataFusionError::Internal(_) => Some(
            "this is a bug, please report it with the statement that caused it"
                .to_string(),
        ),
        _ => None,
    }
}
