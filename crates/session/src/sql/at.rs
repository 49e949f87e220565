//! A table as it was: `FROM t VERSION AS OF 3`, `FROM t TIMESTAMP AS OF '2026-11-30'`.
//!
//! The planner asks a schema for a table by its name and by nothing else, so the version
//! travels as a suffix of the name, `t@version=3`. What the schema finds under it is named
//! `t` again by an alias, so that columns are found as they are without the clause.

use std::fmt::{self, Display, Formatter};

use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::compute::kernels::cast_utils::string_to_datetime;
use datafusion::common::{Result, plan_datafusion_err};

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

/// The milliseconds since 1970 of a time, which is UTC unless it names a zone.
pub(crate) fn milliseconds(time: &str) -> Result<i64> {
    let utc: Tz = "+00:00".parse()?;
    let parsed = string_to_datetime(&utc, time).map_err(|_| {
        plan_datafusion_err!(
            "TIMESTAMP AS OF takes a time such as '2026-11-30 01:00:00', got '{time}'"
        )
    })?;
    Ok(parsed.timestamp_millis())
}
