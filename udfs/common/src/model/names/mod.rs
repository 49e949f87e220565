//! Names for models: `'digits'`, `'digits@3'`, `'digits@champion'`.
//!
//! A name stands for versions, each the SHA-256 of an ONNX file that the storage keeps, and
//! for aliases of versions. What a text means, wherever a model may be named:
//!
//! 1. What has a dot, a slash or anything else that no name has is a path or a URL.
//! 2. `digits` is the newest version of the model of that name, `digits@3` its third one,
//!    and `digits@champion` the one that the alias stands for.
//! 3. A file that is called as a model is makes the text ambiguous, which is an error;
//!    `./digits` is the file.
//!
//! Whoever plans a statement puts the path of the version in the place of the name, so
//! that tasks, EXPLAIN and what files say of themselves know the hash.

mod model;
mod store;

use std::fmt::{self, Display, Formatter};

use datafusion::common::{Result, plan_err};

pub use model::{NamedModel, Version};
pub use store::{Changed, ModelNames, Resolved};

use super::ModelFailure;
use crate::{CallContext, Location};

/// How many characters a name or an alias may have; a folder is named after it.
const LONGEST: usize = 128;

/// A model as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub struct Reference {
    /// Its name.
    pub name: String,
    /// Which of its versions.
    pub which: Which,
}

/// Which version of a model.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub enum Which {
    /// The newest one.
    Newest,
    /// The one with a number, counted from 1.
    Number(u64),
    /// The one that an alias stands for.
    Alias(String),
}

impl Reference {
    /// What a text names, if it can be the name of a model.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, which) = match text.split_once('@') {
            Some((name, which)) => (name, Which::parse(which)?),
            None => (text, Which::Newest),
        };
        check_name("model", name).ok()?;
        Some(Self {
            name: name.to_string(),
            which,
        })
    }
}

impl Which {
    /// The number of a version or the name of an alias.
    pub fn parse(text: &str) -> Option<Self> {
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().ok().map(Self::Number);
        }
        check_name("alias", text).ok()?;
        Some(Self::Alias(text.to_string()))
    }
}

impl Display for Reference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { name, which } = self;
        match which {
            Which::Newest => write!(f, "{name}"),
            which => write!(f, "{name}@{which}"),
        }
    }
}

impl Display for Which {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newest => write!(f, "the newest"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Alias(alias) => write!(f, "{alias}"),
        }
    }
}

/// Refuses a name that a folder, or a reference, could not have.
pub fn check_name(what: &str, name: &str) -> Result<()> {
    let plain = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(plain) || name.chars().count() > LONGEST {
        return plan_err!(
            "the name of a {what} must consist of letters, digits, _ and -, {LONGEST} of \
             them at most, got '{name}'"
        );
    }
    Ok(())
}

/// What a text stands for if it is the name of a model, and nothing if it is a path.
pub async fn resolve(
    text: &str,
    storage: &str,
    context: &CallContext,
) -> Result<Option<Resolved>, ModelFailure> {
    let Some(reference) = Reference::parse(text) else {
        return Ok(None);
    };
    let failed = |error: datafusion::common::DataFusionError| {
        let message = error.message();
        ModelFailure::new("MODEL_NOT_FOUND", format!("model {text}: {message}"))
    };
    let names = Location::parse(storage).map(ModelNames::new);
    let names = names.map_err(failed)?;
    let model = names.find(&reference.name).await.map_err(failed)?;
    let place = context.locate(text).ok();
    let place = place.and_then(|place| place.local_path());
    let is_file = place.as_ref().is_some_and(|path| path.is_file());
    match model {
        None if place.is_some_and(|path| path.exists()) => Ok(None),
        Some(_) if is_file => Err(ModelFailure::argument(format!(
            "'{text}' is the name of a model and that of a file; write './{text}' for the \
             file, or rename it"
        ))),
        Some(model) => names.version(&model, &reference.which).map(Some),
        None => Err(names.unknown(&reference).await),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, Which)>) {
        let expected = expected.map(|(name, which)| Reference {
            name: name.to_string(),
            which,
        });
        assert_eq!(Reference::parse(text), expected, "{text}");
    }

    #[test]
    fn names_have_versions_and_aliases() {
        check("digits", Some(("digits", Which::Newest)));
        check("digits@3", Some(("digits", Which::Number(3))));
        let champion = Which::Alias("champion".to_string());
        check("zahl-ü_2@champion", Some(("zahl-ü_2", champion)));
    }

    #[test]
    fn paths_are_no_names() {
        for path in [
            "",
            "digits.onnx",
            "./digits",
            "models/digits",
            "s3://bucket/digits",
            "digits@",
            "@3",
            "digits@a@b",
            "digits@99999999999999999999",
            "a b",
        ] {
            check(path, None);
        }
        check(&"x".repeat(LONGEST + 1), None);
    }
}
