//! A table as it was: `FROM t VERSION AS OF 3`, `FROM t TIMESTAMP AS OF '2026-11-30'`.
//!
//! The planner asks a schema for a table by its name and by nothing else, so the version
//! travels as a suffix of the name, `t@version=3`. What the schema finds under it is named
//! `t` again by an alias, so that columns are found as they are without the clause.

use std::fmt::{self, Display, Formatter};

use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
use datafusion::common::{Result, plan_err};

/// Stand between a table's name and the version or the time.
const VERSION: &str = "@version=";
const TIMESTAMP: &str = "@timestamp=";

/// Which version of a table is meant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) enum At {
    /// The version of this number.
    Version(u64),
    /// The version that was current at this time, as it was written.
    Timestamp(String),
}

impl At {
    /// Takes a text for a time if it is one.
    pub(crate) fn timestamp(text: &str) -> Result<Self> {
        milliseconds(text)?;
        Ok(Self::Timestamp(text.to_string()))
    }

    /// The name under which a schema finds this version of a table.
    pub(crate) fn name(&self, table: &str) -> String {
        match self {
            Self::Version(version) => format!("{table}{VERSION}{version}"),
            Self::Timestamp(time) => format!("{table}{TIMESTAMP}{time}"),
        }
    }
}

impl Display for At {
    /// As it stands in a statement.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(f, "VERSION AS OF {version}"),
            Self::Timestamp(time) => write!(f, "TIMESTAMP AS OF '{time}'"),
        }
    }
}

/// The table of a name and which version of it is meant; without a version the current
/// one is. The other way round it is [`At::name`].
pub(crate) fn split(name: &str) -> (&str, Option<At>) {
    if let Some((table, version)) = name.rsplit_once(VERSION)
        && let Ok(version) = version.parse()
    {
        return (table, Some(At::Version(version)));
    }
    if let Some((table, time)) = name.rsplit_once(TIMESTAMP)
        && let Ok(at) = At::timestamp(time)
    {
        return (table, Some(at));
    }
    (name, None)
}

/// The name of a table, as the statement has it, where an error gives the one that was
/// looked for.
pub fn without_version(name: &str) -> &str {
    split(name).0
}

/// The milliseconds since 1970 of a time, which is UTC unless it names a zone.
pub(crate) fn milliseconds(time: &str) -> Result<i64> {
    match string_to_timestamp_nanos(time) {
        Ok(nanoseconds) => Ok(nanoseconds.div_euclid(1_000_000)),
        Err(_) => plan_err!(
            "TIMESTAMP AS OF takes a time such as '2026-11-30 01:00:00', got '{time}'"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, table: &str, at: Option<At>) {
        assert_eq!(split(name), (table, at.clone()), "{name}");
        if let Some(at) = at {
            assert_eq!(at.name(table), name);
        }
    }

    #[test]
    fn names_are_taken_apart_as_they_are_made() {
        let at = |text| Some(At::timestamp(text).unwrap());
        check("t", "t", None);
        check("t@version=3", "t", Some(At::Version(3)));
        check(
            "t@timestamp=2026-11-30 01:00:00",
            "t",
            at("2026-11-30 01:00:00"),
        );
        check(
            "s3://b/@version=1/@version=2",
            "s3://b/@version=1/",
            Some(At::Version(2)),
        );
    }

    #[test]
    fn other_names_stay_whole() {
        for name in [
            "a@b",
            "t@version=",
            "t@version=-1",
            "t@version=x",
            "t@timestamp=x",
        ] {
            check(name, name, None);
        }
    }

    #[test]
    fn times_are_utc_unless_they_name_a_zone() {
        assert_eq!(milliseconds("1970-01-01").unwrap(), 0);
        assert_eq!(milliseconds("1970-01-01 00:00:01.5").unwrap(), 1500);
        assert_eq!(milliseconds("1970-01-01T01:00:00+01:00").unwrap(), 0);
        assert_eq!(milliseconds("1969-12-31 23:59:59.9999").unwrap(), -1);
        let error = milliseconds("yesterday").unwrap_err().strip_backtrace();
        assert!(error.ends_with("01:00:00', got 'yesterday'"), "{error}");
    }
}
