//! Finds the place of an error in its statement, and a name that was probably meant instead.

use std::ops::Range;

use datafusion::common::Span;
use datafusion::prelude::SessionContext;

use super::about::{About, ErrorSubject, Unknown};
use super::statement::TokenizedStatement;
use super::{Excerpt, Failure, files, suggest, syntax};
use crate::names::Names;

/// A hint lists so many names at most.
const NAMES_LISTED: usize = 12;
/// The types that people write.
const SQL_TYPES: [&str; 20] = [
    "BIGINT",
    "BOOLEAN",
    "BYTEA",
    "CHAR",
    "DATE",
    "DECIMAL",
    "DOUBLE",
    "FLOAT",
    "INT",
    "INTEGER",
    "INTERVAL",
    "NUMERIC",
    "REAL",
    "SMALLINT",
    "STRING",
    "TEXT",
    "TIME",
    "TIMESTAMP",
    "TINYINT",
    "VARCHAR",
];
const ARROW_TYPES: [&str; 20] = [
    "Binary",
    "Boolean",
    "Date32",
    "Date64",
    "Decimal128",
    "Duration",
    "Float16",
    "Float32",
    "Float64",
    "Int16",
    "Int32",
    "Int64",
    "Int8",
    "LargeUtf8",
    "List",
    "Timestamp",
    "UInt32",
    "UInt64",
    "UInt8",
    "Utf8",
];
/// What SHOW shows, settings aside.
const SHOWN: [&str; 5] = ["ALL", "COLUMNS", "FUNCTIONS", "MODELS", "TABLES"];

impl Failure {
    /// Shows the place in `statement`, and suggests what `context` knows.
    pub(crate) async fn explain(
        mut self,
        statement: &str,
        context: &SessionContext,
    ) -> Self {
        let about = std::mem::take(&mut *self.about);
        if about == About::Nothing || self.excerpt.is_some() {
            return self;
        }
        let names = Names::collect(context).await;
        let scene = Scene {
            statement: TokenizedStatement::new(statement),
            context,
            names,
        };
        let place = scene.explain(about, &mut self);
        self.excerpt = place.map(|place| Box::new(Excerpt::new(statement, place)));
        self
    }
}

/// What an error is explained with: the statement's text and the names of the session.
struct Scene<'a> {
    statement: TokenizedStatement<'a>,
    context: &'a SessionContext,
    names: Names,
}

impl Scene<'_> {
    /// Adds a hint to the failure and returns the place in the statement.
    fn explain(&self, about: About, failure: &mut Failure) -> Option<Range<usize>> {
        let statement = &self.statement;
        match about {
            About::Nothing => None,
            About::Syntax(location) => {
                Some(syntax::explain(statement, location, failure))
            }
            About::Span(span) => Some(statement.span(span)),
            About::Written(what) => statement.written(&what),
            About::Guess(written, function) => written
                .iter()
                .find_map(|what| statement.written(what))
                .or_else(|| statement.call(&function)),
            About::Call(function) => {
                // Types alone are what is said where there is no documentation.
                let hint = failure.hint.as_deref();
                if hint.is_none_or(|hint| hint.starts_with("it takes"))
                    && let Some(syntax) = self.syntax(&function)
                    && !failure.message.contains(&syntax)
                {
                    failure.hint = Some(format!("it is called as {syntax}"));
                }
                statement.call(&function)
            }
            About::Ungrouped(column, span) => {
                let place = self.place(&column, span);
                let column = self.text(&place).unwrap_or(&column);
                let grouped = statement.written("GROUP").is_some();
                failure.hint = Some(if grouped {
                    format!(
                        "add {column} to GROUP BY, or take one of its values: \
                         first_value({column})"
                    )
                } else {
                    format!("group by it: GROUP BY {column}")
                });
                place
            }
            About::Unknown(unknown) => {
                let place = self.place(&unknown.name, unknown.span);
                if let Some(hint) = self.meant(&unknown, &place, failure) {
                    failure.hint = Some(hint);
                }
                place
            }
        }
    }

    fn place(&self, name: &str, span: Option<Span>) -> Option<Range<usize>> {
        let span = span.map(|span| self.statement.span(span));
        span.or_else(|| self.statement.written(name))
            .or_else(|| files::written(&self.statement, name))
    }

    fn text(&self, place: &Option<Range<usize>>) -> Option<&str> {
        place.clone().map(|place| &self.statement.text[place])
    }

    /// How a function is called, if it is documented.
    fn syntax(&self, function: &str) -> Option<String> {
        let state = self.context.state();
        let name = function.to_ascii_lowercase();
        let scalar = state.scalar_functions().get(&name);
        let aggregate = || state.aggregate_functions().get(&name)?.documentation();
        let window = || state.window_functions().get(&name)?.documentation();
        let documentation = scalar
            .and_then(|function| function.documentation())
            .or_else(aggregate)
            .or_else(window)?;
        Some(documentation.syntax_example.clone())
    }

    /// A hint for a name that is not known: the nearest one that is, or all of them.
    fn meant(
        &self,
        unknown: &Unknown,
        place: &Option<Range<usize>>,
        failure: &mut Failure,
    ) -> Option<String> {
        let name = unknown.name.as_str();
        match unknown.kind {
            ErrorSubject::Column => self.column(unknown, place),
            ErrorSubject::Field if !unknown.valid.is_empty() => {
                let valid = strs(&unknown.valid);
                let quoted = valid.iter().find(|valid| valid.to_lowercase() == name);
                quoted
                    .map(|valid| format!("did you mean \"{valid}\"? A name with capitals needs double quotes"))
                    .or_else(|| near(name, &valid))
                    .or_else(|| list("fields are", &valid))
            }
            ErrorSubject::Field => near(name, &self.fields()),
            ErrorSubject::File => files::near(name),
            ErrorSubject::Function if self.names.table_functions.contains(name) => {
                Some(format!("it gives rows: SELECT * FROM {name}(...)"))
            }
            ErrorSubject::Function => near(name, &strs(&self.names.functions)),
            ErrorSubject::TableFunction if self.names.functions.contains(name) => {
                Some(format!("it gives a value a row: SELECT {name}(...)"))
            }
            ErrorSubject::TableFunction => {
                let all = strs(&self.names.table_functions);
                near(name, &all).or_else(|| list("table functions are", &all))
            }
            ErrorSubject::Setting => {
                let state = self.context.state();
                let entries = state.config_options().entries();
                let keys: Vec<&str> = entries.iter().map(|e| e.key.as_str()).collect();
                near(name, &keys)
            }
            ErrorSubject::Shown => near(&name.to_ascii_uppercase(), &SHOWN)
                .or_else(|| Some("SHOW ALL lists the settings".to_string())),
            ErrorSubject::Table => self.table(name, failure),
            ErrorSubject::Type if failure.message.contains("Arrow") => {
                near(name, &ARROW_TYPES)
            }
            ErrorSubject::Type => near(&name.to_ascii_uppercase(), &SQL_TYPES)
                .or_else(|| list("types are", &SQL_TYPES)),
        }
    }

    fn column(&self, unknown: &Unknown, place: &Option<Range<usize>>) -> Option<String> {
        let valid = strs(&unknown.valid);
        let bare = |name: &str| name.replace('"', "").to_lowercase();
        let name = bare(&unknown.name);
        let same = valid.iter().find(|valid| bare(valid) == name);
        if let Some(same) = same {
            return Some(format!(
                "did you mean {same}? A name with capitals needs double quotes"
            ));
        }
        // Somebody else's quotes: in SQL these are for names.
        if self.text(place).is_some_and(|text| text.starts_with('"')) {
            let text = unknown.name.replace('\'', "''");
            return Some(format!("a text is in single quotes: '{text}'"));
        }
        // The right column of the wrong table is nearer than anything else.
        let column = name.rsplit('.').next();
        let elsewhere = valid.iter().find(|valid| {
            valid.contains('.') && bare(valid).rsplit('.').next() == column
        });
        if let Some(elsewhere) = elsewhere {
            return Some(format!("did you mean {elsewhere}?"));
        }
        near(&name, &valid).or_else(|| {
            if valid.is_empty() {
                Some("there are no columns here; a text is in single quotes".into())
            } else {
                list("columns are", &valid)
            }
        })
    }

    fn table(&self, name: &str, failure: &mut Failure) -> Option<String> {
        if let Some(hint) = files::as_table(name, failure) {
            return Some(hint);
        }
        let mut tables: Vec<&str> =
            self.names.tables.keys().map(String::as_str).collect();
        let common = self.common_tables();
        tables.extend(&common);
        near(name, &tables).or_else(|| {
            let files = "a file is read as FROM 'path.parquet'";
            match list("tables are", &tables) {
                Some(list) => Some(format!("{list}; {files}")),
                None => Some(format!("there are no tables yet; {files}")),
            }
        })
    }

    /// The names that WITH defines.
    fn common_tables(&self) -> Vec<&str> {
        let tokens = 0..self.statement.tokens.len();
        let named = tokens.filter_map(|token| {
            let next = self.statement.word(token + 1)?;
            let word = self.statement.word(token)?;
            let opens = self.statement.tokens.get(token + 2)?.0.to_string() == "(";
            let defines = opens && next.value.eq_ignore_ascii_case("AS");
            defines.then_some(word.value.as_str())
        });
        named.collect()
    }

    /// Names of fields that may be meant: those that the statement's structs and
    /// functions have, and those of tables.
    fn fields(&self) -> Vec<&str> {
        let mut fields: Vec<&str> =
            self.names.fields.iter().map(String::as_str).collect();
        for (token, (colon, _)) in self.statement.tokens.iter().enumerate().skip(1) {
            if colon.to_string() == ":"
                && let Some(word) = self.statement.word(token - 1)
            {
                fields.push(&word.value);
            }
        }
        fields
    }
}

fn strs<'a>(names: impl IntoIterator<Item = &'a String>) -> Vec<&'a str> {
    names.into_iter().map(String::as_str).collect()
}

fn near(name: &str, all: &[&str]) -> Option<String> {
    suggest(name, all).map(|near| format!("did you mean {near}?"))
}

/// All names, or the first of them; none where there are none.
fn list(what: &str, names: &[&str]) -> Option<String> {
    let shown = names.iter().take(NAMES_LISTED).copied().collect::<Vec<_>>();
    let more = match names.len().saturating_sub(NAMES_LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| format!("{what} {}{more}", shown.join(", ")))
}
