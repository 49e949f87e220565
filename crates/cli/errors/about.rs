//! What in a statement an error is about.
//!
//! The engine says some of it in types, some in diagnostics, and the rest in English.
//! Messages are read here and put in our words; one that is not recognised stays as it
//! is, and so do all messages when the engine changes its own.

use atoll_session::without_version;
use datafusion::common::utils::quote_identifier;
use datafusion::common::{
    Column, DataFusionError, Diagnostic, Location, SchemaError, Span,
};

use super::{Failure, suggest};

/// What an error is about, as far as the error itself says it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum About {
    #[default]
    Nothing,
    /// The parser did not expect what is here.
    Syntax(Location),
    /// A name that is not known.
    Unknown(Unknown),
    /// A column that is neither grouped by nor aggregated.
    Ungrouped(String, Option<Span>),
    /// What lies between two places.
    Span(Span),
    /// How a function is called.
    Call(String),
    /// A name, a text or an operator, as it is written.
    Written(String),
    /// What may be written, and the function that says so.
    Guess(Vec<String>, String),
}

/// A name that is not known.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Unknown {
    pub(crate) kind: ErrorSubject,
    pub(crate) name: String,
    pub(crate) span: Option<Span>,
    /// What it could have been, if the error says so.
    pub(crate) valid: Vec<String>,
}

/// The kind of thing that has no such name.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ErrorSubject {
    Column,
    Field,
    File,
    Function,
    Setting,
    Shown,
    Table,
    TableFunction,
    Type,
}

/// Says what an error is about, and the message in our words.
pub(super) fn recognise(error: &DataFusionError, failure: Failure) -> Failure {
    let mut failure = read(error, failure);
    failure.position = failure.about.start().map(|start| {
        let number = |number| usize::try_from(number).unwrap_or(usize::MAX);
        (number(start.line), number(start.column))
    });
    failure
}

impl About {
    fn start(&self) -> Option<Location> {
        match self {
            Self::Syntax(start) => Some(*start).filter(|start| start.line < u64::MAX),
            Self::Span(span) | Self::Ungrouped(_, Some(span)) => Some(span.start),
            Self::Unknown(unknown) => unknown.span.map(|span| span.start),
            _ => None,
        }
    }
}

fn read(error: &DataFusionError, failure: Failure) -> Failure {
    let diagnostic = error.diagnostic();
    let span = diagnostic.and_then(|diagnostic| diagnostic.span);
    match root(error) {
        DataFusionError::SchemaError(error, _) => {
            return schema(error, span, diagnostic, failure);
        }
        DataFusionError::SQL(..) => return syntax(failure),
        _ => {}
    }
    let text = failure.message.clone();
    let mut failure = failure;
    *failure.about = span.map_or(About::Nothing, About::Span);
    unknown(&text, span, &mut failure)
        .or_else(|| arguments(&text, &mut failure))
        .or_else(|| grouping(&text, span, &mut failure))
        .or_else(|| subqueries(&text, &mut failure))
        .or_else(|| values(&text, &mut failure))
        .or_else(|| inferred(&text, &mut failure))
        .or_else(|| own(&text, &mut failure));
    failure
}

/// The error below what others wrapped around it.
fn root(error: &DataFusionError) -> &DataFusionError {
    match error {
        DataFusionError::Diagnostic(_, inner) | DataFusionError::Context(_, inner) => {
            root(inner)
        }
        DataFusionError::Shared(inner) => root(inner),
        DataFusionError::Collection(all) => all.first().map_or(error, root),
        other => other,
    }
}

fn schema(
    error: &SchemaError,
    span: Option<Span>,
    diagnostic: Option<&Diagnostic>,
    mut failure: Failure,
) -> Failure {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            *failure.about = About::Unknown(Unknown {
                kind: ErrorSubject::Column,
                name: field.flat_name(),
                span,
                valid: shown(field, valid_fields),
            });
        }
        SchemaError::AmbiguousReference { field } => {
            *failure.about =
                span.map_or_else(|| About::Written(field.flat_name()), About::Span);
            let notes = diagnostic.iter().flat_map(|diagnostic| &diagnostic.notes);
            let possible = notes
                .filter_map(|note| note.message.strip_prefix("possible column "))
                .collect::<Vec<_>>();
            failure.hint = Some(if possible.is_empty() {
                "write the table's name in front of it".to_string()
            } else {
                format!("write {}", possible.join(" or "))
            });
        }
        SchemaError::DuplicateQualifiedField { name, .. }
        | SchemaError::DuplicateUnqualifiedField { name } => {
            *failure.about = About::Written(name.clone());
            failure.hint = Some("give one another name with AS".to_string());
        }
    }
    failure
}

/// The names that columns have where `field` was looked for.
fn shown(field: &Column, valid: &[Column]) -> Vec<String> {
    let name = |column: &Column| {
        let name = quote_identifier(&column.name);
        match (&field.relation, &column.relation) {
            (Some(_), Some(relation)) => format!("{}.{name}", relation.table()),
            _ => name.to_string(),
        }
    };
    let mut names: Vec<String> = Vec::new();
    for name in valid.iter().map(name) {
        // The same column, from two sides of a join.
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// Takes `at Line: 2, Column: 5` out of a parser's message.
fn syntax(mut failure: Failure) -> Failure {
    let place = || {
        let (text, place) = failure.message.rsplit_once(" at Line: ")?;
        let (line, column) = place.split_once(", Column: ")?;
        let digits: String = column.chars().take_while(char::is_ascii_digit).collect();
        let location = Location {
            line: line.parse().ok()?,
            column: digits.parse().ok()?,
        };
        Some((text.to_string(), location))
    };
    if let Some((text, location)) = place() {
        failure.message = text;
        *failure.about = About::Syntax(location);
    } else if failure.message.contains("EOF") {
        let end = u64::MAX;
        *failure.about = About::Syntax(Location {
            line: end,
            column: end,
        });
    }
    failure
}

/// Replaces the message and what it is about. Returns `Some(())`, which ends the chain of
/// recognisers.
fn say(failure: &mut Failure, message: String, about: About) -> Option<()> {
    failure.message = message;
    *failure.about = about;
    Some(())
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(inner, _)| inner)
}

fn unknown(text: &str, span: Option<Span>, failure: &mut Failure) -> Option<()> {
    let (kind, what, name) = if let Some(name) =
        between(text, "Table function '", "' not found")
            .or_else(|| between(text, "table function '", "' not found"))
    {
        (ErrorSubject::TableFunction, "no table function named", name)
    } else if let Some(name) = between(text, "table '", "' not found") {
        (ErrorSubject::Table, "no table named", short(name))
    } else if let Some(name) = between(text, "Table '", "' doesn't exist") {
        (ErrorSubject::Table, "no table named", short(name))
    } else if let Some(name) = between(text, "View '", "' doesn't exist") {
        (ErrorSubject::Table, "no view named", short(name))
    } else if let Some(name) = between(text, "Invalid function '", "'") {
        (ErrorSubject::Function, "no function named", name)
    } else if let Some(name) = text.strip_prefix("not supported: Unsupported SQL type ") {
        (ErrorSubject::Type, "no type named", name)
    } else if let Some(name) = between(text, "Unsupported type '", "'. Must be") {
        (ErrorSubject::Type, "no Arrow type named", name)
    } else if let Some(name) = between(text, "Error setting config ", ": ") {
        (ErrorSubject::Setting, "no setting named", name)
    } else if let Some(name) = between(text, "'", "' is not a variable which can be") {
        (ErrorSubject::Shown, "nothing to show named", name)
    } else if let Some(name) = between(text, "Field ", " not found in struct") {
        (ErrorSubject::Field, "no field of the struct is named", name)
    } else if let Some(path) = between(text, "file not found: ", "; check the path") {
        let quoted = path.strip_prefix('\'').and_then(|p| p.strip_suffix('\''));
        let path = quoted.unwrap_or(path);
        let unknown = Unknown {
            kind: ErrorSubject::File,
            name: path.to_string(),
            span: None,
            valid: Vec::new(),
        };
        failure.hint = Some("check the path".to_string());
        let message = text.replace("; check the path", "");
        return say(failure, message, About::Unknown(unknown));
    } else {
        return None;
    };
    failure.hint = None;
    let valid = match (kind, text.split_once("; valid: ")) {
        (ErrorSubject::Field, Some((_, valid))) => {
            valid.split(", ").map(String::from).collect()
        }
        _ => Vec::new(),
    };
    let unknown = Unknown {
        kind,
        name: name.to_string(),
        span,
        valid,
    };
    say(failure, format!("{what} {name}"), About::Unknown(unknown))
}

/// A table's name without what every name has in front of it, and without the version
/// of the table that is meant.
fn short(name: &str) -> &str {
    let name = name.strip_prefix("datafusion.public.").unwrap_or(name);
    without_version(name)
}

/// Arguments that a function does not take.
fn arguments(text: &str, failure: &mut Failure) -> Option<()> {
    let call = between(
        text,
        "No function matches the given name and argument types '",
        "'. You might",
    )?;
    let (function, _) = call.split_once('(')?;
    let about = About::Call(function.to_string());
    let own = between(
        text,
        "user-defined coercion failed with: ",
        " No function matches",
    );
    if let Some(own) = own {
        let own = own.trim_end_matches('.');
        let own = own.strip_prefix("Error during planning: ").unwrap_or(own);
        return say(failure, own.to_string(), about);
    }
    let signatures = text
        .split("Candidate functions:")
        .nth(1)
        .unwrap_or_default();
    let signatures: Vec<&str> = signatures.split_whitespace().collect();
    // Types of arguments are separated by blanks too.
    failure.hint = Some(format!("it takes {}", signatures.join(" ")));
    let types = &call[function.len()..];
    let message = match types {
        "()" => format!("{function} is called without arguments"),
        _ => format!("{function} does not take {types}"),
    };
    say(failure, message, about)
}

/// A value that does not have the type which the first rows of its file have.
fn inferred(text: &str, failure: &mut Failure) -> Option<()> {
    let value = between(text, "Error while parsing value '", "' as type '")?;
    let data_type = between(text, "' as type '", "' for column ")?;
    let place = between(text, "' for column ", ". Row data")?;
    failure.hint = Some(
        "the first rows of a CSV file decide the types of its columns; let more of them \
         decide: SET atoll.infer_rows = 1000000"
            .to_string(),
    );
    let message = format!("the value in column {place} is no {data_type}: {value}");
    say(failure, message, About::Nothing)
}

/// Columns beside aggregates, and aggregates where there can be none.
fn grouping(text: &str, span: Option<Span>, failure: &mut Failure) -> Option<()> {
    if let Some(column) = between(text, "column \"", "\" must appear in the GROUP BY") {
        let message = format!("{column} is neither in GROUP BY nor in an aggregate");
        let about = About::Ungrouped(column.to_string(), span);
        return say(failure, message, about);
    }
    if text.starts_with("Aggregate functions are not allowed in the WHERE") {
        failure.hint = Some("HAVING filters groups, WHERE filters rows".to_string());
        let message = "WHERE cannot use aggregate functions".to_string();
        return say(failure, message, About::Written("WHERE".to_string()));
    }
    if let Some(rest) = text.strip_prefix("HAVING clause references: ") {
        failure.hint = Some("WHERE filters rows, HAVING filters groups".to_string());
        let (condition, _) = rest.split_once(" must appear")?;
        let message = format!("{condition} is neither in GROUP BY nor in an aggregate");
        return say(failure, message, About::Written("HAVING".to_string()));
    }
    if let Some(inner) = between(text, "cannot be nested: '", "' is nested inside") {
        let (function, _) = inner.split_once('(')?;
        let about = About::Call(function.to_string());
        failure.hint = Some("compute it in a subquery first".to_string());
        let message = format!("{inner} cannot be inside another aggregate");
        return say(failure, message, about);
    }
    if text.starts_with("Projections require unique expression names") {
        let name = between(text, " AS ", "\" at position")
            .or_else(|| between(text, "expression \"", "\" at position"))?;
        failure.hint = Some("give one another name with AS".to_string());
        let message = format!("two columns are named {name}");
        return say(failure, message, About::Written(name.to_string()));
    }
    None
}

/// Subqueries that refer to the query around them in ways that cannot be run.
fn subqueries(text: &str, failure: &mut Failure) -> Option<()> {
    let column = |start: &str| {
        let (_, rest) = text.split_once(start)?;
        let (_, column) = rest
            .rsplit_once("Column { relation: ")
            .unwrap_or(("", rest));
        let name = between(column, "name: \"", "\"")?;
        let table = between(column, "table: \"", "\"");
        Some(table.map_or(name.to_string(), |table| format!("{table}.{name}")))
    };
    if let Some(column) =
        column("does not support logical expression OuterReferenceColumn")
    {
        failure.hint = Some(
            "join the tables: JOIN .. ON .., or for a list, FROM t, unnest(t.list) AS l"
                .to_string(),
        );
        let message =
            format!("a subquery cannot use {column} of the query around it here");
        return say(failure, message, About::Written(column));
    }
    if text.starts_with("Correlated scalar subquery must be aggregated") {
        failure.hint =
            Some("take one of them: max(x), or first_value(x ORDER BY y)".into());
        let message = "a subquery that uses a column of the query around it may give many \
                       values for a row";
        return say(failure, message.to_string(), About::Nothing);
    }
    if let Some(column) = between(text, "supported for OuterReferenceColumn ", "\n")
        .or_else(|| text.split("supported for OuterReferenceColumn ").nth(1))
    {
        let column = column.replace('"', "");
        failure.hint = Some(format!("write {column}['field']"));
        let message = format!(
            "a subquery reads fields of {column}, a column of the query around it, in \
             brackets only"
        );
        return say(failure, message, About::Written(column));
    }
    if text.contains("Correlated column is not allowed in")
        || text.contains("does not support logical expression ScalarSubquery")
    {
        failure.hint = Some("join the tables instead: JOIN .. ON ..".to_string());
        let message = "a subquery cannot use a column of the query around it here";
        return say(failure, message.to_string(), About::Nothing);
    }
    None
}

/// Values, operators and subqueries that do not fit.
fn values(text: &str, failure: &mut Failure) -> Option<()> {
    if text.starts_with("UNION queries have different number of columns") {
        let message = "the sides of UNION have different numbers of columns".to_string();
        return say(failure, message, About::Written("UNION".to_string()));
    }
    if let Some(columns) = text.strip_prefix("Too many columns! The subquery should only")
    {
        let (_, columns) = columns.split_once(": ")?;
        failure.message = format!("a subquery here has one column, not {columns}");
        return Some(());
    }
    if let Some(operator) = between(text, "not supported: Operator ", " is not yet") {
        let about = About::Written(operator.to_string());
        return say(failure, text.to_string(), about);
    }
    if let Some(rest) = text.strip_prefix("Cannot coerce arithmetic expression ") {
        let rest = rest.trim_end_matches(" to valid types");
        let operator = rest
            .split_whitespace()
            .find(|word| word.chars().all(|c| c.is_ascii_punctuation()))?;
        let (left, right) = rest.split_once(&format!(" {operator} "))?;
        failure.hint = Some("cast one of them, as in CAST(x AS DOUBLE)".to_string());
        if !matches!(*failure.about, About::Span(_)) {
            *failure.about = About::Written(operator.to_string());
        }
        failure.message = format!("{operator} does not take {left} and {right}");
        return Some(());
    }
    let value = between(text, "Cannot cast string '", "' to value of")
        .or_else(|| between(text, "for type interval: \"", "\""))?;
    *failure.about = About::Written(value.to_string());
    Some(())
}

/// Our own messages: the function in front, what is valid at the end.
fn own(text: &str, failure: &mut Failure) -> Option<()> {
    let mut message = text;
    for advice in ["; did you mean ", "; valid: ", "; check "] {
        if let Some((before, after)) = message.split_once(advice) {
            let advice = advice.trim_start_matches("; ");
            failure.hint = Some(format!("{advice}{after}"));
            message = before;
        }
    }
    let unknown = message.split_once("unknown ").and_then(|(_, rest)| {
        let word = rest.split(' ').nth(1)?;
        Some(word.trim_matches(['\'', ',']).to_string())
    });
    let valid = failure.hint.as_deref();
    let valid = valid.and_then(|hint| hint.strip_prefix("valid: "));
    if let (Some(word), Some(valid)) = (&unknown, valid) {
        let all: Vec<&str> = valid.split(", ").collect();
        if let Some(near) = suggest(word, &all) {
            failure.hint = Some(format!("did you mean {near}?"));
        }
    }
    let quoted = between(text, "'", "'").map(str::to_string);
    let written = unknown.into_iter().chain(quoted).collect();
    let function = text.split([' ', ':', '(']).next().unwrap_or_default();
    failure.message = message.to_string();
    if !matches!(*failure.about, About::Span(_)) {
        *failure.about = About::Guess(written, function.to_string());
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, message: &str, hint: Option<&str>) -> About {
        let failure = Failure::from(DataFusionError::Plan(text.to_string()));
        assert_eq!(failure.message, message);
        assert_eq!(failure.hint.as_deref(), hint);
        *failure.about
    }

    #[test]
    fn a_syntax_error_knows_its_place() {
        use datafusion::sql::sqlparser::parser::ParserError;
        let text = "Expected: FROM, found: x at Line: 2, Column: 7".to_string();
        let error = DataFusionError::SQL(Box::new(ParserError::ParserError(text)), None);
        let failure = Failure::from(error);
        assert_eq!(failure.message, "syntax error: Expected: FROM, found: x");
        let location = Location { line: 2, column: 7 };
        assert_eq!(*failure.about, About::Syntax(location));
    }

    #[test]
    fn unknown_names_are_told_apart() {
        for (text, message, kind) in [
            (
                "table 'datafusion.public.a@timestamp=2026-11-30 01:00:00' not found",
                "no table named a",
                ErrorSubject::Table,
            ),
            (
                "table 'datafusion.public.a' not found",
                "no table named a",
                ErrorSubject::Table,
            ),
            (
                "Invalid function 'f'.\nDid you mean 'g'?",
                "no function named f",
                ErrorSubject::Function,
            ),
            (
                "table function 'f' not found",
                "no table function named f",
                ErrorSubject::TableFunction,
            ),
        ] {
            match check(text, message, None) {
                About::Unknown(unknown) => assert_eq!(unknown.kind, kind),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn arguments_are_said_once() {
        let about = check(
            "Function 'abs' expects 1 arguments but received 2. No function matches the \
             given name and argument types 'abs(Utf8, Int64)'. You might need to add \
             explicit type casts.\n\tCandidate functions:\n\tabs(Numeric(1))",
            "abs does not take (Utf8, Int64)",
            Some("it takes abs(Numeric(1))"),
        );
        assert_eq!(about, About::Call("abs".to_string()));
        check(
            "Function 'f' user-defined coercion failed with: Error during planning: f takes \
             bytes. No function matches the given name and argument types 'f(Int64)'. You \
             might need to add explicit type casts.",
            "f takes bytes",
            None,
        );
    }

    #[test]
    fn our_own_advice_becomes_a_hint() {
        let about = check(
            "train: unknown hyperparameter epocs; did you mean epochs? valid: a, b",
            "train: unknown hyperparameter epocs",
            Some("did you mean epochs? valid: a, b"),
        );
        let guess = About::Guess(vec!["epocs".to_string()], "train".to_string());
        assert_eq!(about, guess);
    }

    #[test]
    fn operators_and_columns_beside_aggregates_are_plain() {
        check(
            "Cannot coerce arithmetic expression Int64 + Utf8 to valid types",
            "+ does not take Int64 and Utf8",
            Some("cast one of them, as in CAST(x AS DOUBLE)"),
        );
        check(
            "Column in SELECT must be in GROUP BY or an aggregate function: While expanding \
             wildcard, column \"y\" must appear in the GROUP BY clause or must be part",
            "y is neither in GROUP BY nor in an aggregate",
            None,
        );
    }
}
