//! The table of hyperparameters: each is one row, with its type, default, domain and a
//! sentence, and everything that names all of them is made from the rows.

use super::read::Kept;
use crate::Error;

/// One hyperparameter, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hyperparameter {
    /// The key in SQL and in JSON; `augmentation.shift` is the key `shift` of the struct
    /// `augmentation`.
    pub key: &'static str,
    /// The values that it may have.
    pub domain: String,
    /// The value that it has where none is given.
    pub default: String,
    /// What it does.
    pub sentence: String,
}

/// The values that a hyperparameter may have, beyond what its type says.
#[derive(Clone, Copy, Debug)]
pub(super) enum Domain {
    /// What the type says, or what is checked with other hyperparameters.
    Any,
    /// Numbers. Errors end with the words.
    Number {
        words: &'static str,
        inside: fn(f64) -> bool,
    },
    /// Whole numbers from one on, up to another if there is one.
    Whole { least: u32, most: Option<u32> },
}

/// Greater than 0.
pub(super) const POSITIVE: Domain = Domain::Number {
    words: "greater than 0",
    inside: |x| x > 0.0,
};

/// At least 0.
pub(super) const NOT_NEGATIVE: Domain = Domain::Number {
    words: "at least 0",
    inside: |x| x >= 0.0,
};

/// At least 0 and less than 1.
pub(super) const BELOW_ONE: Domain = Domain::Number {
    words: "at least 0 and less than 1",
    inside: |x| (0.0..1.0).contains(&x),
};

/// At least 0; the type of such numbers says nothing else.
pub(super) const FROM_ZERO: Domain = Domain::Whole {
    least: 0,
    most: None,
};

/// At least 1.
pub(super) const FROM_ONE: Domain = Domain::Whole {
    least: 1,
    most: None,
};

impl Domain {
    /// The domain of whole numbers as the rest of a sentence.
    fn range(least: u32, most: Option<u32>) -> String {
        match most {
            Some(most) => format!("from {least} to {most}"),
            None => format!("at least {least}"),
        }
    }

    /// What a value of the type must be, as the rest of a sentence, if the domain says it.
    pub(super) fn whole(self) -> String {
        match self {
            Self::Whole {
                least,
                most: Some(most),
            } => format!("an integer from {least} to {most}"),
            Self::Whole { least, most: None } => {
                format!("an integer of at least {least}")
            }
            Self::Any | Self::Number { .. } => "an integer of at least 0".to_owned(),
        }
    }

    /// Refuses a number outside of it.
    pub(super) fn check(self, key: &str, number: Option<f64>) -> Result<(), Error> {
        let Some(number) = number else {
            return Ok(());
        };
        match self {
            Self::Any => Ok(()),
            Self::Number { words, inside } => super::check(key, number, words, inside),
            Self::Whole { least, most } => {
                let last = most.map_or(f64::INFINITY, f64::from);
                let inside = (f64::from(least)..=last).contains(&number);
                if inside {
                    return Ok(());
                }
                super::refuse(key, &Self::range(least, most), &number)
            }
        }
    }

    /// The domain for people: that of the type, where this says no more.
    pub(super) fn describe(self, of_type: String) -> String {
        match self {
            Self::Any => of_type,
            Self::Number { words, .. } => format!("a number, {words}"),
            Self::Whole { .. } => self.whole(),
        }
    }
}

/// What a hyperparameter's default is called, of whatever type it is.
pub(super) fn default_text<T: Kept>(value: &T, words: &[&str]) -> String {
    match (value.text(), words) {
        (_, [words]) => (*words).to_owned(),
        (Some(text), _) => text,
        (None, _) => "none".to_owned(),
    }
}

/// Makes one paragraph of the lines of a doc comment.
pub(super) fn sentence(lines: &[&str]) -> String {
    let lines: Vec<&str> = lines.iter().map(|line| line.trim()).collect();
    lines.join(" ").trim().to_owned()
}

/// Defines a struct of hyperparameters from their rows: doc comment, name, type, default
/// and domain. In brackets are words for the default where its value does not say it all.
macro_rules! hyperparameters {
    (
        $(#[$attribute:meta])*
        $name:ident, $prefix:literal;
        $(
            $(#[doc = $line:literal])+
            $(#[serde($($serde:tt)+)])?
            $key:ident: $type:ty = $default:expr, $domain:expr $(, [$words:literal])?;
        )+
    ) => {
        $(#[$attribute])*
        pub struct $name {
            $(
                $(#[doc = $line])+
                $(#[doc = concat!("\n\nDefault: ", $words, ".")])?
                $(#[serde($($serde)+)])?
                pub $key: $type,
            )+
        }

        const KEYS: &[&str] = &[$(stringify!($key)),+];

        impl Default for $name {
            fn default() -> Self {
                Self { $($key: $default),+ }
            }
        }

        impl $name {
            /// The valid keys; the fields document them.
            pub fn keys() -> &'static [&'static str] {
                KEYS
            }

            /// All keys with their domains, defaults and what they do.
            fn rows() -> Vec<Hyperparameter> {
                let default = Self::default();
                vec![$(
                    Hyperparameter {
                        key: concat!($prefix, stringify!($key)),
                        domain: $domain.describe(<$type as Kept>::describe()),
                        default: default_text(&default.$key, &[$($words)?]),
                        sentence: sentence(&[$($line),+]),
                    }
                ),+]
            }

            /// Reads a value of the right type.
            fn set(&mut self, key: &str, value: &Value) -> Result<(), Error> {
                match key {
                    $(
                        stringify!($key) => {
                            let key = concat!($prefix, stringify!($key));
                            self.$key = Kept::read(key, $domain, value)?;
                        }
                    )+
                    _ => return Self::check_key(key),
                }
                Ok(())
            }

            /// Refuses a key that is in no row.
            fn check_key(key: &str) -> Result<(), Error> {
                if KEYS.contains(&key) {
                    return Ok(());
                }
                Err(Error::UnknownHyperparameter {
                    key: format!("{}{key}", $prefix),
                    suggestion: nearest(key, KEYS.iter().copied()).map(str::to_owned),
                    valid: KEYS,
                })
            }

            /// Checks each value by itself.
            fn check_domains(&self) -> Result<(), Error> {
                $(
                    let key = concat!($prefix, stringify!($key));
                    $domain.check(key, self.$key.number())?;
                )+
                Ok(())
            }
        }
    };
}

pub(super) use hyperparameters;
