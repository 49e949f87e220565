//! Reads the statements about models.

use atoll_udf_common::model::names::{Which, check_name};
use datafusion::common::{Result, plan_err};
use datafusion::sql::sqlparser::tokenizer::Token;

use super::node::{ModelAction, Source};
use crate::sql::normalized;
use crate::sql::tokens::Tokens;

/// A statement about models, as it is read.
pub(crate) enum Verb {
    /// One that the session runs, for the model of a name.
    Command(String, ModelAction),
    /// One that is a query.
    Report(Report),
}

/// What is to be listed.
pub(crate) enum Report {
    /// All models, or those whose name is like a pattern.
    Show(Option<String>),
    /// The versions of a model.
    Describe(String),
}

impl Report {
    /// The query that gives it.
    pub(super) fn sql(&self) -> String {
        match self {
            Self::Show(like) => {
                let like = like.as_deref().unwrap_or("%").replace('\'', "''");
                format!(
                    "SELECT name, version, aliases, bytes, created_at, trial_id, sha256 \
                     FROM models() WHERE name LIKE '{like}' ORDER BY name, version DESC"
                )
            }
            Self::Describe(name) => format!(
                "SELECT version, newest, aliases, model, sha256, bytes, created_at, \
                 trial_id, source, statement FROM models() WHERE name = '{name}' \
                 ORDER BY version DESC"
            ),
        }
    }
}

/// The statement about models that the tokens are, if they are one, and where the query
/// of CREATE MODEL begins.
pub(crate) fn parse(tokens: &Tokens) -> Result<Option<(Verb, Option<usize>)>> {
    let start = tokens.start();
    let Some((name, words)) = verb(tokens, start) else {
        return Ok(None);
    };
    if start > 0 {
        return plan_err!(
            "{} takes a query or a statement that changes rows, got {name}; run that by \
             itself",
            tokens.text(0).to_uppercase()
        );
    }
    let mut reader = Reader {
        tokens,
        place: words,
        verb: name,
    };
    let mut query = None;
    let verb = match name {
        "CREATE MODEL" => {
            let (name, action) = reader.create(words == 4)?;
            if let ModelAction::Create {
                from: Source::Query,
                ..
            } = action
            {
                query = Some(reader.place);
                return Ok(Some((Verb::Command(name, action), query)));
            }
            Verb::Command(name, action)
        }
        "ALTER MODEL" => {
            let model = reader.name("model")?;
            Verb::Command(model, reader.alter()?)
        }
        "COPY MODEL" => {
            let (name, action) = reader.copy()?;
            Verb::Command(name, action)
        }
        "DROP MODEL" => {
            let if_exists = reader.takes(&["IF", "EXISTS"]);
            Verb::Command(reader.name("model")?, ModelAction::Drop { if_exists })
        }
        "SHOW MODELS" => Verb::Report(Report::Show(reader.like()?)),
        _ => Verb::Report(Report::Describe(reader.name("model")?)),
    };
    reader.end()?;
    Ok(Some((verb, query)))
}

/// The words that begin the statement at a place, and how many they are.
fn verb(tokens: &Tokens, place: usize) -> Option<(&'static str, usize)> {
    let are = |words: &[&str]| tokens.are(place, words).then_some(words.len());
    if let Some(words) =
        are(&["CREATE", "OR", "REPLACE", "MODEL"]).or(are(&["CREATE", "MODEL"]))
    {
        return Some(("CREATE MODEL", words));
    }
    // Tables may be called `model`.
    let has_name = tokens.part(place + 2).is_some();
    let copies_table = tokens.are(place + 2, &["TO"]) && !tokens.are(place + 3, &["TO"]);
    for (name, verb) in [
        ("ALTER MODEL", "ALTER"),
        ("DROP MODEL", "DROP"),
        ("DESCRIBE MODEL", "DESCRIBE"),
        ("DESCRIBE MODEL", "DESC"),
    ] {
        if has_name && let Some(words) = are(&[verb, "MODEL"]) {
            return Some((name, words));
        }
    }
    if has_name
        && !copies_table
        && let Some(words) = are(&["COPY", "MODEL"])
    {
        return Some(("COPY MODEL", words));
    }
    are(&["SHOW", "MODELS"]).map(|words| ("SHOW MODELS", words))
}

/// Reads tokens one after the other.
struct Reader<'a> {
    tokens: &'a Tokens,
    place: usize,
    /// The words that begin the statement.
    verb: &'static str,
}

impl Reader<'_> {
    fn takes(&mut self, words: &[&str]) -> bool {
        let are = self.tokens.are(self.place, words);
        if are {
            self.place += words.len();
        }
        are
    }

    /// A name as it is written, with what follows an `@`: some dialects take that for a
    /// part of the name.
    fn written(&mut self, what: &str) -> Result<String> {
        let Some(part) = self.tokens.part(self.place) else {
            let expected = format!("the name of {what}");
            return Err(self.tokens.expected(&expected, self.place));
        };
        self.place += 1;
        let mut text = normalized(&part);
        if self.tokens.token(self.place) == Some(&Token::AtSign) {
            text.push('@');
            text.push_str(&self.tokens.text(self.place + 1).to_lowercase());
            self.place += 2;
        }
        Ok(text)
    }

    /// The name of a model or an alias, without a version.
    fn name(&mut self, what: &str) -> Result<String> {
        let article = if what == "alias" { "an" } else { "a" };
        let name = self.written(&format!("{article} {what}"))?;
        if name.contains('@') {
            return plan_err!(
                "{} takes the name of a {what} without a version, got {name}",
                self.verb
            );
        }
        check_name(what, &name)?;
        Ok(name)
    }

    fn create(&mut self, or_replace: bool) -> Result<(String, ModelAction)> {
        let if_not_exists = self.takes(&["IF", "NOT", "EXISTS"]);
        if or_replace && if_not_exists {
            return plan_err!("IF NOT EXISTS and OR REPLACE exclude each other");
        }
        let name = self.name("model")?;
        let from = if self.takes(&["AS"]) {
            Source::Query
        } else if self.takes(&["FROM"]) {
            Source::Named(self.text("the path of an ONNX file in quotes")?)
        } else {
            let expected = "AS SELECT .. or FROM 'file.onnx'";
            return Err(self.tokens.expected(expected, self.place));
        };
        let action = ModelAction::Create {
            or_replace,
            if_not_exists,
            from,
        };
        Ok((name, action))
    }

    fn alter(&mut self) -> Result<ModelAction> {
        if self.takes(&["SET", "ALIAS"]) {
            let alias = self.name("alias")?;
            if self.tokens.token(self.place) != Some(&Token::Eq) {
                return Err(self.tokens.expected("=", self.place));
            }
            self.place += 1;
            let to = match self.tokens.token(self.place) {
                Some(Token::Number(number, _)) => number.clone(),
                Some(Token::SingleQuotedString(text)) => text.clone(),
                _ => match self.tokens.part(self.place) {
                    Some(part) => normalized(&part),
                    None => self.tokens.text(self.place),
                },
            };
            let Some(to) = Which::parse(&to) else {
                return plan_err!(
                    "SET ALIAS takes the number of a version or an alias, got '{to}'"
                );
            };
            self.place += 1;
            return Ok(ModelAction::SetAlias { alias, to });
        }
        if self.takes(&["DROP", "ALIAS"]) {
            let alias = self.name("alias")?;
            return Ok(ModelAction::DropAlias { alias });
        }
        if self.takes(&["DROP", "VERSION"]) {
            let text = self.tokens.text(self.place);
            let Ok(number) = text.parse() else {
                return plan_err!(
                    "DROP VERSION takes the number of a version, got {text}"
                );
            };
            self.place += 1;
            return Ok(ModelAction::DropVersion { number });
        }
        let expected = "SET ALIAS, DROP ALIAS or DROP VERSION";
        Err(self.tokens.expected(expected, self.place))
    }

    fn copy(&mut self) -> Result<(String, ModelAction)> {
        let written = self.written("a model")?;
        let (name, which) = match written.split_once('@') {
            Some((name, which)) => (name, Which::parse(which)),
            None => (written.as_str(), Some(Which::Newest)),
        };
        check_name("model", name)?;
        let Some(which) = which else {
            return plan_err!(
                "COPY MODEL takes a model such as {name}@2 or {name}@champion, got {written}"
            );
        };
        if !self.takes(&["TO"]) {
            return Err(self.tokens.expected("TO", self.place));
        }
        let target = self.text("the path of a file in quotes")?;
        Ok((name.to_string(), ModelAction::Copy { which, target }))
    }

    fn like(&mut self) -> Result<Option<String>> {
        if !self.takes(&["LIKE"]) {
            return Ok(None);
        }
        self.text("a pattern in quotes").map(Some)
    }

    fn text(&mut self, expected: &str) -> Result<String> {
        let Some(Token::SingleQuotedString(text)) = self.tokens.token(self.place) else {
            return Err(self.tokens.expected(expected, self.place));
        };
        self.place += 1;
        Ok(text.clone())
    }

    /// Nothing may follow but the semicolon.
    fn end(&mut self) -> Result<()> {
        while self.tokens.token(self.place) == Some(&Token::SemiColon) {
            self.place += 1;
        }
        match self.tokens.token(self.place) {
            None => Ok(()),
            Some(_) => Err(self.tokens.expected("end of statement", self.place)),
        }
    }
}
