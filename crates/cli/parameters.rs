//! The parameters that a script declares in its header.
//!
//!     -- Parameter: epochs integer = 20 -- passes over the training images
//!
//! A name, a type, a default unless the parameter must be given, and what it means. The
//! header is the comment lines at the top of a script.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use atoll_jobs::{Interval, rfc3339};
use chrono::{DateTime, NaiveDate};

use crate::errors::{Failure, suggest};

const KEYWORD: &str = "Parameter:";

/// One declared parameter.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ScriptParameter {
    pub(crate) name: String,
    pub(crate) kind: ParameterType,
    /// None if it must be given.
    pub(crate) default: Option<String>,
    pub(crate) help: String,
}

/// What a parameter's value may be.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ParameterType {
    /// Anything.
    Text,
    /// A file, folder or URL.
    Path,
    Integer,
    Number,
    Boolean,
    /// 2026-11-24
    Date,
    /// RFC 3339
    Timestamp,
    /// The name of a table or column.
    Identifier,
    /// `[1, 2]`
    List,
    /// `{a: 1}` or NULL
    Struct,
    /// One of these.
    Choice(Vec<String>),
}

const KINDS: [(&str, ParameterType, &str); 10] = [
    ("text", ParameterType::Text, "text"),
    ("path", ParameterType::Path, "a path or URL"),
    ("integer", ParameterType::Integer, "an integer, such as 20"),
    ("number", ParameterType::Number, "a number, such as 0.05"),
    ("boolean", ParameterType::Boolean, "true or false"),
    ("date", ParameterType::Date, "a date, such as 2026-11-24"),
    (
        "timestamp",
        ParameterType::Timestamp,
        "a time, such as 2026-11-24T00:00:00Z",
    ),
    (
        "identifier",
        ParameterType::Identifier,
        "a name of letters, digits and _",
    ),
    ("list", ParameterType::List, "a list, such as [64, 128]"),
    (
        "struct",
        ParameterType::Struct,
        "a struct, such as {shift: 2}, or NULL",
    ),
];

impl ParameterType {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(choices) = text.strip_prefix("choice(") {
            let choices = choices.trim_end_matches(')').split(',');
            let choices = choices.map(|choice| choice.trim().to_string()).collect();
            return Ok(Self::Choice(choices));
        }
        let names: Vec<&str> = KINDS.iter().map(|(name, ..)| *name).collect();
        let found = KINDS.into_iter().find(|(name, ..)| *name == text);
        found.map(|(_, kind, _)| kind).ok_or_else(|| {
            let near = suggest(text, &names)
                .map_or_else(String::new, |near| format!("; did you mean {near}?"));
            format!(
                "'{text}' is no type, types are {} and choice(..){near}",
                names.join(", ")
            )
        })
    }

    /// The name of the type, as a header has it.
    fn name(&self) -> String {
        match self {
            Self::Choice(choices) => choices.join("|"),
            kind => KINDS
                .iter()
                .find(|(_, other, _)| other == kind)
                .map_or_else(String::new, |(name, ..)| (*name).to_string()),
        }
    }

    fn allows(&self, value: &str) -> bool {
        let value = value.trim();
        let within = |open, close| value.starts_with(open) && value.ends_with(close);
        match self {
            Self::Text | Self::Path => true,
            Self::Integer => value.parse::<i64>().is_ok(),
            Self::Number => value.parse::<f64>().is_ok_and(f64::is_finite),
            Self::Boolean => matches!(value, "true" | "false"),
            Self::Date => value.parse::<NaiveDate>().is_ok(),
            Self::Timestamp => DateTime::parse_from_rfc3339(value).is_ok(),
            Self::Identifier => {
                value.starts_with(|c: char| c.is_alphabetic() || c == '_')
                    && value.chars().all(|c| c.is_alphanumeric() || c == '_')
            }
            Self::List => within('[', ']'),
            Self::Struct => within('{', '}') || value.eq_ignore_ascii_case("null"),
            Self::Choice(choices) => choices.iter().any(|choice| choice == value),
        }
    }

    /// What a value must be, for errors.
    fn wants(&self) -> String {
        match self {
            Self::Choice(choices) => format!("one of {}", choices.join(", ")),
            kind => KINDS
                .iter()
                .find(|(_, other, _)| other == kind)
                .map_or_else(String::new, |(.., wants)| (*wants).to_string()),
        }
    }
}

impl ScriptParameter {
    /// Refuses a value of another type.
    pub(crate) fn check(&self, value: &str) -> Result<(), Failure> {
        if self.kind.allows(value) {
            return Ok(());
        }
        let wants = self.kind.wants();
        let failure =
            format!("the parameter {} must be {wants}, got '{value}'", self.name);
        Err(Failure::new(failure).hint(format!("--set {}=VALUE", self.name)))
    }
}

/// The comment lines at the top of a script, without their dashes.
fn header(source: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = (1..).zip(source.lines());
    lines
        .map(|(number, line)| (number, line.trim()))
        .take_while(|(_, line)| line.is_empty() || line.starts_with("--"))
        .map(|(number, line)| (number, line.trim_start_matches('-')))
}

/// The parameters that a script declares, in their order.
pub(crate) fn declared(
    path: &str,
    source: &str,
) -> Result<Vec<ScriptParameter>, Failure> {
    let mut parameters: Vec<ScriptParameter> = vec![];
    for (number, line) in header(source) {
        let Some(text) = line.trim().strip_prefix(KEYWORD) else {
            continue;
        };
        let parameter = parse(text.trim());
        let parameter = parameter.and_then(|parameter| {
            let twice = parameters.iter().any(|other| other.name == parameter.name);
            if twice {
                Err(format!("{} is declared twice", parameter.name))
            } else {
                Ok(parameter)
            }
        });
        parameters.push(parameter.map_err(|problem| {
            Failure::new(format!("{path}:{number}: {problem}"))
                .hint("write -- Parameter: NAME TYPE = DEFAULT -- HELP")
        })?);
    }
    Ok(parameters)
}

/// The value of every parameter: what `set` says, or else its default.
///
/// What is set and not declared is a value too, since declaring is not a duty.
pub(crate) fn values(
    declared: &[ScriptParameter],
    set: &[(String, String)],
) -> Result<BTreeMap<String, String>, Failure> {
    let mut values: BTreeMap<String, String> = set.iter().cloned().collect();
    for parameter in declared {
        match (values.get(&parameter.name), &parameter.default) {
            (Some(value), _) => parameter.check(value)?,
            (None, Some(default)) => {
                values.insert(parameter.name.clone(), default.clone());
            }
            (None, None) => {
                let name = &parameter.name;
                let failure = format!("the parameter {name} must be given");
                let hint = format!("--set {name}=VALUE -- {}", parameter.help);
                let hint = hint.trim_end_matches([' ', '-']);
                return Err(Failure::new(failure).hint(hint));
            }
        }
    }
    Ok(values)
}

fn parse(text: &str) -> Result<ScriptParameter, String> {
    let (declaration, help) = match text.split_once(" -- ") {
        Some((declaration, help)) => (declaration, help.trim()),
        None => (text, ""),
    };
    let (declared, default) = match declaration.split_once('=') {
        Some((declared, default)) => (declared.trim(), Some(default.trim().to_string())),
        None => (declaration.trim(), None),
    };
    let Some((name, kind)) = declared.split_once(char::is_whitespace) else {
        return Err(format!("the parameter '{declared}' has no type"));
    };
    let parameter = ScriptParameter {
        name: name.to_string(),
        kind: ParameterType::parse(kind.trim())?,
        default,
        help: help.to_string(),
    };
    match &parameter.default {
        Some(default) if !parameter.kind.allows(default) => Err(format!(
            "the default of {name} must be {}, got '{default}'",
            parameter.kind.wants()
        )),
        _ => Ok(parameter),
    }
}

/// What `atoll run FILE --help` prints.
pub(crate) fn help(path: &str, source: &str, parameters: &[ScriptParameter]) -> String {
    let mut text = String::new();
    for (_, line) in header(source) {
        if !line.trim().starts_with(KEYWORD) {
            let line = line.strip_prefix(' ').unwrap_or(line);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    let text = text.trim_end();
    let mut text =
        format!("{text}\n\nUsage: atoll run {path} [--set NAME=VALUE].. [OPTIONS]\n");
    if parameters.is_empty() {
        text.push_str("\nThe script declares no parameters.\n");
    } else {
        text.push_str("\nParameters:\n");
        let width = |get: fn(&ScriptParameter) -> String| {
            parameters.iter().map(|p| get(p).chars().count()).max()
        };
        let names = width(|p| p.name.clone()).unwrap_or(0);
        let kinds = width(|p| p.kind.name()).unwrap_or(0);
        for parameter in parameters {
            let default = match &parameter.default {
                Some(default) => format!("[default: {default}]"),
                None => "[required]".to_string(),
            };
            let line = format!(
                "  {:names$}  {:kinds$}  {} {default}",
                parameter.name,
                parameter.kind.name(),
                parameter.help
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
    text.push_str("\n`atoll run --help` lists the options.\n");
    text
}

/// The parameters that were set, and those that come with an interval.
pub(crate) fn with_interval(
    set: &[(String, String)],
    interval: Option<&Interval>,
) -> Vec<(String, String)> {
    let pairs = interval.map(|interval| {
        [
            ("interval_start", rfc3339(interval.start)),
            ("interval_end", rfc3339(interval.end)),
            ("interval_date", interval.start.date_naive().to_string()),
        ]
    });
    let pairs = pairs.into_iter().flatten();
    let pairs = pairs.map(|(name, value)| (name.to_string(), value));
    pairs.chain(set.iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "-- Tune.\n-- Parameter: epochs integer = 20 -- passes\n\
                          -- Parameter: net choice(lenet, vgg) = lenet\n\
                          -- Parameter: data path -- images\nSELECT 1;\n\
                          -- Parameter: late text\n";

    #[test]
    fn a_header_declares_names_types_defaults_and_help() {
        let declared = declared("x.sql", SCRIPT).unwrap();
        let names: Vec<_> = declared.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["epochs", "net", "data"]);
        assert_eq!(declared[0].kind, ParameterType::Integer);
        assert_eq!(declared[0].default.as_deref(), Some("20"));
        assert_eq!(declared[0].help, "passes");
        assert_eq!(declared[2].default, None);
    }

    #[test]
    fn help_is_the_header_as_a_table() {
        let declared = declared("x.sql", SCRIPT).unwrap();
        let help = help("x.sql", SCRIPT, &declared);
        assert!(
            help.starts_with("Tune.\n\nUsage: atoll run x.sql"),
            "{help}"
        );
        assert!(
            help.contains("  epochs  integer    passes [default: 20]\n"),
            "{help}"
        );
        assert!(
            help.contains("  net     lenet|vgg   [default: lenet]\n"),
            "{help}"
        );
        assert!(
            help.contains("  data    path       images [required]\n"),
            "{help}"
        );
    }

    #[track_caller]
    fn check(kind: &str, good: &[&str], bad: &[&str]) {
        let kind = ParameterType::parse(kind).unwrap();
        for value in good {
            assert!(kind.allows(value), "{kind:?} {value}");
        }
        for value in bad {
            assert!(!kind.allows(value), "{kind:?} {value}");
        }
    }

    #[test]
    fn values_have_types() {
        check("integer", &["20", "-1"], &["2.5", "x", ""]);
        check("number", &["0.05", "1e-3"], &["NaN", "x"]);
        check("boolean", &["true"], &["yes"]);
        check("date", &["2026-11-24"], &["24.11.2026"]);
        check("timestamp", &["2026-11-24T00:00:00Z"], &["2026-11-24"]);
        check("identifier", &["image_labels"], &["a b", "1a", "a;b"]);
        check("list", &["[64, 128]"], &["64"]);
        check("struct", &["{shift: 2}", "NULL"], &["shift"]);
        check("choice(a, b)", &["a", "b"], &["c"]);
    }

    #[test]
    fn what_is_set_wins_and_is_checked() {
        let declared = declared("x.sql", SCRIPT).unwrap();
        let set = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string()));
            values(&declared, &pairs.collect::<Vec<_>>())
        };
        let values = set(&[("data", "d"), ("epochs", "3"), ("other", "x")]).unwrap();
        let values: Vec<&str> = values.values().map(String::as_str).collect();
        assert_eq!(values, ["d", "3", "lenet", "x"]);
        let missing = set(&[]).unwrap_err();
        assert_eq!(missing.message, "the parameter data must be given");
        let wrong = set(&[("data", "d"), ("net", "lenetto")]).unwrap_err();
        let expected = "the parameter net must be one of lenet, vgg, got 'lenetto'";
        assert_eq!(wrong.message, expected);
    }

    #[test]
    fn what_is_wrong_with_a_declaration_is_said_with_its_line() {
        for (text, problem) in [
            ("-- Parameter: n", "x.sql:1: the parameter 'n' has no type"),
            ("-- Parameter: n int = 1", "did you mean integer?"),
            (
                "-- Parameter: n integer = x",
                "must be an integer, such as 20, got 'x'",
            ),
            (
                "-- Parameter: n text\n-- Parameter: n text",
                "x.sql:2: n is declared twice",
            ),
        ] {
            let error = declared("x.sql", text).unwrap_err();
            assert!(error.message.contains(problem), "{}", error.message);
        }
    }
}
