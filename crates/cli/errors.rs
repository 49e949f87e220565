//! What a user reads when something fails: one plain sentence, the place in the
//! statement, and a remedy where there is one.
//!
//! An error of the engine is turned into a [`Failure`] in three steps: [`plain`] takes off
//! the wrappers that it gathered on its way up, [`about`] recognises DataFusion's own
//! sentences and says in our words what they are about, and [`explain`] finds the place in
//! the statement and asks the session for names that were meant.

mod about;
mod excerpt;
mod explain;
mod files;
mod plain;
mod statement;
mod syntax;
mod transient;

use std::fmt::Write as _;
use std::io::{self, Write};

use atoll_session::explain_store_error;
use datafusion::arrow::error::ArrowError;
use datafusion::common::DataFusionError;

pub(crate) use self::about::About;
pub(crate) use self::excerpt::Excerpt;
pub(crate) use self::plain::split_hint;
pub(crate) use self::transient::is_transient;
use crate::terminal;

/// Something that failed, ready to be shown.
#[derive(Debug, Default)]
pub(crate) struct Failure {
    /// What happened, one sentence.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
    /// What in the statement it is about; [`Failure::explain`] finds the place.
    pub(crate) about: Box<About>,
    /// Line and column inside the statement, where the error itself says them.
    pub(crate) position: Option<(usize, usize)>,
    /// The place in the statement, once it is known.
    pub(crate) excerpt: Option<Box<Excerpt>>,
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

    /// Puts the place where it happened in front of the message.
    pub(crate) fn at(mut self, place: &str) -> Self {
        if !place.is_empty() {
            self.message = format!("{place}: {}", self.message);
        }
        self
    }

    /// Writes it to standard error.
    pub(crate) fn print(&self) {
        let mut out = io::stderr().lock();
        let width = terminal::stderr_width();
        let text = self.render(terminal::stderr_colors(), width);
        // Standard error being closed leaves no one to tell.
        let _ = writeln!(out, "{text}");
    }

    fn render(&self, colors: bool, width: usize) -> String {
        let (red, bold, reset) = if colors {
            ("\x1b[1;31m", "\x1b[1m", "\x1b[0m")
        } else {
            ("", "", "")
        };
        let mut text = format!("{red}error:{reset} {}", self.message);
        // Writing to a string cannot fail.
        if let Some(excerpt) = &self.excerpt {
            let _ = write!(text, "\n\n{}", excerpt.render(width, red, reset));
        }
        if let Some(hint) = &self.hint {
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

impl From<atoll_jobs::Error> for Failure {
    fn from(error: atoll_jobs::Error) -> Self {
        let mut text = error.to_string();
        if let atoll_jobs::Error::Storage { what, path, source } = &error
            && let Some(explained) = explain_store_error(source)
        {
            text = format!("cannot {what} {path}: {explained}");
        }
        let (message, hint) = split_hint(&text);
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
        let text = plain::plain(&error);
        let (message, hint) = split_hint(text.trim());
        let hint = hint.or_else(|| plain::remedy(&error));
        let failure = Self {
            hint,
            ..Self::new(message)
        };
        about::recognise(&error, failure)
    }
}

/// The candidate nearest to `word`, when one is near enough to be what was meant.
pub(crate) fn suggest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    atoll_suggest::nearest(word, candidates.iter().copied())
}

/// Makes a panic one clear line instead of a trace.
pub(crate) fn install_panic_hook() {
    std::panic::set_hook(Box::new(|info| {
        let payload = info.payload();
        let text = payload.downcast_ref::<&str>().copied();
        let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        // The writer of tables asks an upload that failed to stop, and catches what that
        // may panic with. Why it failed is the statement's error.
        if text == Some("Already shut down") && place.contains("object_store") {
            return;
        }
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
        let inside = "evaluate: cannot load: Execution error: gone".to_string();
        check(
            DataFusionError::Execution(inside),
            "evaluate: cannot load: gone",
            None,
        );
    }

    #[test]
    fn sources_are_said_once() {
        let io = io::Error::new(io::ErrorKind::NotFound, "gone");
        let outer = ArrowError::IoError("cannot read: gone".to_string(), io);
        assert_eq!(Failure::from(outer).message.matches("gone").count(), 1);
    }

    #[test]
    fn remedies_become_hints() {
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
    fn renders_the_place_and_the_hint_after_blank_lines() {
        let mut failure = Failure::new("no").hint("yes").at("a.sql:3: statement 2");
        assert_eq!(
            failure.render(false, 80),
            "error: a.sql:3: statement 2: no\n\nhint: yes"
        );
        failure.excerpt = Some(Box::new(Excerpt::new("SELECT nope", 7..11)));
        assert_eq!(
            failure.render(false, 80),
            "error: a.sql:3: statement 2: no\n\n  1 │ SELECT nope\n    │        ^^^^\n\n\
             hint: yes"
        );
    }
}
