//! Texts that are ready to run: read, filled in and split into statements.

use std::io;
use std::path::{Path, PathBuf};

use crate::errors::{Failure, suggest};
use crate::script::{self, Script, ScriptStatement};

/// U+FEFF, which stands for nothing at the start of a text.
const MARK: char = '\u{feff}';

/// Where statements come from.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum SqlSource {
    /// The nth `-c`, from 1.
    Command(usize, String),
    /// A script.
    File(PathBuf),
}

/// Where a text comes from, for its errors.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The prompt, where the text is on the screen.
    Prompt,
    /// One of several `-c`, by its number.
    Command(usize),
    /// A pipe that is read as it comes.
    Pipe { lines_before: usize },
    /// A script.
    File(String),
}

impl Place {
    /// What stands in front of an error of the statement with this number and line.
    fn of(&self, number: usize, line: usize, alone: bool) -> String {
        match self {
            Self::Prompt if alone => String::new(),
            Self::Prompt => format!("statement {number}"),
            Self::Command(n) if alone => format!("-c {n}"),
            Self::Command(n) => format!("-c {n}: statement {number}"),
            Self::Pipe { .. } => format!("<stdin>:{}", self.line(line)),
            Self::File(file) => format!("{file}:{line}: statement {number}"),
        }
    }

    /// The number of a line, as its reader counts.
    fn line(&self, line: usize) -> usize {
        match self {
            Self::Pipe { lines_before } => lines_before + line,
            _ => line,
        }
    }
}

/// A text that is ready to run.
pub(crate) struct PreparedScript {
    place: Place,
    pub(crate) script: Script,
    pub(crate) statements: Vec<ScriptStatement>,
}

impl PreparedScript {
    /// Splits a script that is filled in.
    pub(crate) fn new(place: Place, script: Script) -> Result<Self, Failure> {
        let statements = split(&script, &place)?;
        Ok(Self {
            place,
            script,
            statements,
        })
    }

    /// Reads a source, fills it in and splits it.
    pub(crate) fn read(
        source: &SqlSource,
        sources: usize,
        set: &[(String, String)],
    ) -> Result<Self, Failure> {
        match source {
            SqlSource::Command(n, sql) => {
                let place = if sources > 1 {
                    Place::Command(*n)
                } else {
                    Place::Prompt
                };
                Self::new(place, Script::verbatim(sql))
            }
            SqlSource::File(path) => {
                let (file, text) = read(path)?;
                let script = Script::new(&file, &text, set)?;
                Self::new(Place::File(file), script)
            }
        }
    }

    /// Says in front of a failure which statement failed, and where it is.
    pub(crate) fn locate(
        &self,
        mut failure: Failure,
        statement: &ScriptStatement,
    ) -> Failure {
        if failure.broken_pipe {
            return failure;
        }
        let inside = failure.excerpt.as_ref().map_or(1, |excerpt| excerpt.line);
        let line = self.script.source_line(statement.line + inside - 1);
        if let Some(excerpt) = &mut failure.excerpt {
            excerpt.line = self.place.line(line);
        }
        let alone = self.statements.len() == 1;
        failure.at(&self.place.of(statement.number, line, alone))
    }
}

/// What a script is called in records and errors.
pub(crate) fn called(path: &Path) -> String {
    if path == Path::new("-") {
        "<stdin>".to_string()
    } else {
        path.display().to_string()
    }
}

/// The name and the content of a script; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<(String, String), Failure> {
    let file = called(path);
    let text = if path == Path::new("-") {
        io::read_to_string(io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    match text {
        Ok(text) => Ok((file, without_mark(text))),
        Err(error) => Err(Failure::new(format!("cannot read {file}: {error}"))
            .hint("name a file with SQL statements, or pass a statement with -c")),
    }
}

/// A text without the byte order mark that editors on Windows put in front of UTF-8.
pub(crate) fn without_mark(mut text: String) -> String {
    if text.starts_with(MARK) {
        text.drain(..MARK.len_utf8());
    }
    text
}

fn split(script: &Script, place: &Place) -> Result<Vec<ScriptStatement>, Failure> {
    script::split(&script.text).map_err(|error| {
        let line = script.source_line(error.line);
        let alone = error.number == 1;
        let failure = Failure::unsplit(&script.text, &error, place.line(line));
        failure.at(&place.of(error.number, line, alone))
    })
}

/// A `--set` that nothing uses is a typing error.
pub(crate) fn check_used<'a>(
    set: &[(String, String)],
    scripts: impl Iterator<Item = &'a Script>,
) -> Result<(), Failure> {
    let known: Vec<&str> = scripts
        .flat_map(|script| &script.names)
        .map(String::as_str)
        .collect();
    for (name, _) in set {
        if known.contains(&name.as_str()) {
            continue;
        }
        let failure = Failure::new(format!("--set {name}: no script uses ${{{name}}}"));
        let hint = match (suggest(name, &known), known.is_empty()) {
            (Some(near), _) => format!("did you mean {near}?"),
            (None, true) => "leave it out, there are no parameters".to_string(),
            (None, false) => format!("the parameters are {}", known.join(", ")),
        };
        return Err(failure.hint(hint));
    }
    Ok(())
}
