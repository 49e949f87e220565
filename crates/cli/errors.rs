//! What a user reads when something fails: one plain sentence and, where there is
//! one, a remedy. The wrappers that errors gather on their way up are taken off here,
//! and nowhere else.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};

use datafusion::arrow::error::ArrowError;
use datafusion::common::{DataFusionError, SchemaError};
use datafusion::parquet::errors::ParquetError;
use datafusion::sql::sqlparser::parser::ParserError;

use crate::terminal;

/// Something that failed, ready to be shown.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    /// What happened, one sentence.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// Line and column inside the statement, when the SQL does not parse.
    pub(crate) position: Option<(usize, usize)>,
    /// The reader of our output went away, as `head` does. Nothing went wrong.
    pub(crate) broken_pipe: bool,
}

impl Failure {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            ..Self::default()
        }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says where it happened, in front.
    pub(crate) fn at(mut self, place: &str) -> Self {
        if !place.is_empty() {
            self.message = format!("{place}: {}", self.message);
        }
        self
    }

    /// Shows it on standard error.
    pub(crate) fn print(&self) {
        let mut out = io::stderr().lock();
        // Standard error being closed leaves no one to tell.
        let _ = writeln!(out, "{}", self.render(terminal::stderr_colors()));
    }

    fn render(&self, colors: bool) -> String {
        let (red, bold, reset) = match colors {
            true => ("\x1b[1;31m", "\x1b[1m", "\x1b[0m"),
            false => ("", "", ""),
        };
        let mut text = format!("{red}error:{reset} {}", self.message);
        if let Some(hint) = &self.hint {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n\n{bold}hint:{reset} {hint}");
        }
        text
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        let broken_pipe = error.kind() == io::ErrorKind::BrokenPipe;
        Self {
            broken_pipe,
            ..Self::new(error.to_string())
        }
    }
}

impl From<atoll_cluster::Error> for Failure {
    fn from(error: atoll_cluster::Error) -> Self {
        let (message, hint) = split_hint(&error.to_string());
        Self {
            hint,
            ..Self::new(message)
        }
    }
}

impl From<ArrowError> for Failure {
    fn from(error: ArrowError) -> Self {
        DataFusionError::from(error).into()
    }
}

impl From<DataFusionError> for Failure {
    fn from(error: DataFusionError) -> Self {
        let text = plain(&error);
        let (message, hint) = split_hint(text.trim());
        let hint = hint.or_else(|| remedy(&error));
        match syntax_position(&message) {
            Some((message, position)) => Self {
                message,
                hint,
                position: Some(position),
                broken_pipe: false,
            },
            None => Self {
                message,
                hint,
                ..Self::default()
            },
        }
    }
}

/// The message without the names of the layers it went through.
fn plain(error: &DataFusionError) -> String {
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
        | DataFusionError::ResourcesExhausted(text) => without_prefixes(text).to_string(),
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

/// Which rule of the optimizer met an error helps no one.
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
    if let Some(inner) = error.downcast_ref::<io::Error>()
        && let Some(inner) = inner.get_ref()
    {
        return plain_dyn(inner);
    }
    let mut text = without_prefixes(&error.to_string()).to_string();
    if let Some(source) = error.source() {
        let source = plain_dyn(source);
        if !text.contains(&source) {
            text = format!("{text}: {source}");
        }
    }
    text
}

fn plain_schema(error: &SchemaError) -> String {
    let text = error.to_string();
    let text = without_prefixes(&text);
    // The error's own sentence starts with a capital, unlike ours.
    match text.strip_prefix("No field named") {
        Some(rest) => format!("no column named{rest}"),
        None => text.to_string(),
    }
}

/// Strips the layer names that were baked into a message.
fn without_prefixes(mut text: &str) -> &str {
    const PREFIXES: [&str; 14] = [
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
        "Schema error: ",
        "Shared error: ",
    ];
    while let Some(rest) = PREFIXES.iter().find_map(|prefix| text.strip_prefix(prefix)) {
        text = rest;
    }
    text
}

/// Takes a remedy out of the message: a line of its own at the end.
fn split_hint(text: &str) -> (String, Option<String>) {
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
fn remedy(error: &DataFusionError) -> Option<String> {
    match error.find_root() {
        DataFusionError::ResourcesExhausted(_) => {
            Some("raise --memory-limit, or lower --threads".to_string())
        }
        DataFusionError::Internal(_) => Some(
            "this is a bug, please report it with the statement that caused it"
                .to_string(),
        ),
        DataFusionError::Plan(text)
            if text.contains("table '") && text.ends_with("not found") =>
        {
            Some(
                "list tables with SHOW TABLES; a file is read as FROM 'path.parquet'"
                    .to_string(),
            )
        }
        _ => None,
    }
}

/// Takes `at Line: 2, Column: 5` out of a parser's message.
fn syntax_position(message: &str) -> Option<(String, (usize, usize))> {
    let (text, place) = message.rsplit_once(" at Line: ")?;
    let (line, column) = place.split_once(", Column: ")?;
    let column: String = column.chars().take_while(char::is_ascii_digit).collect();
    let position = (line.parse().ok()?, column.parse().ok()?);
    Some((text.to_string(), position))
}

/// The candidate nearest to `word`, when one is near enough to be what was meant.
pub(crate) fn suggest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    candidates
        .iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), *candidate))
        .filter(|(score, _)| *score > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Makes a panic one clear line instead of a trace.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        Failure::new(format!(
            "internal error: {} ({place})",
            text.unwrap_or("no message")
        ))
        .hint("this is a bug, please report it with the statement that caused it")
        .print();
    }));
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[track_caller]
    fn check(error: DataFusionError, message: &str, hint: Option<&str>) {
        let failure = Failure::from(error);
        assert_eq!(failure.message, message);
        assert_eq!(failure.hint.as_deref(), hint);
    }

    #[test]
    fn wrappers_come_off() {
        let inner = DataFusionError::Execution("no such file: a.png".to_string());
        let arrow = ArrowError::ExternalError(Box::new(inner));
        let shared = DataFusionError::Shared(Arc::new(arrow.into()));
        check(shared.context("type_coercion"), "no such file: a.png", None);
        let baked = "Execution error: External error: Arrow error: boom".to_string();
        check(DataFusionError::Execution(baked), "boom", None);
    }

    #[test]
    fn sources_are_said_once() {
        let io = io::Error::new(io::ErrorKind::NotFound, "gone");
        let outer = ArrowError::IoError("cannot read: gone".to_string(), io);
        assert_eq!(Failure::from(outer).message.matches("gone").count(), 1);
    }

    #[test]
    fn a_syntax_error_knows_its_place() {
        let text = "Expected: FROM, found: x at Line: 2, Column: 7".to_string();
        let error = DataFusionError::SQL(Box::new(ParserError::ParserError(text)), None);
        let failure = Failure::from(error);
        assert_eq!(failure.message, "syntax error: Expected: FROM, found: x");
        assert_eq!(failure.position, Some((2, 7)));
    }

    #[test]
    fn remedies_become_hints() {
        let text = "Invalid function 'trian'.\nDid you mean 'train'?".to_string();
        check(
            DataFusionError::Plan(text),
            "Invalid function 'trian'",
            Some("did you mean 'train'?"),
        );
        let text = "cannot start\n\nhint: install it".to_string();
        check(
            DataFusionError::Execution(text),
            "cannot start",
            Some("install it"),
        );
        let text = "Failed to allocate".to_string();
        check(
            DataFusionError::ResourcesExhausted(text),
            "Failed to allocate",
            Some("raise --memory-limit, or lower --threads"),
        );
    }

    #[test]
    fn renders_with_the_hint_after_a_blank_line() {
        let failure = Failure::new("no").hint("yes").at("a.sql:3: statement 2");
        assert_eq!(
            failure.render(false),
            "error: a.sql:3: statement 2: no\n\nhint: yes"
        );
    }

    #[test]
    fn suggests_only_what_is_near() {
        assert_eq!(suggest("epocs", &["out", "epochs"]), Some("epochs"));
        assert_eq!(suggest("zzz", &["out", "epochs"]), None);
    }
}
