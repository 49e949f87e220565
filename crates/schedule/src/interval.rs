//! A stretch of time that one run of a job is for.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::Error;

/// From `start` up to, but not including, `end`; never empty.
///
/// Written as two RFC 3339 times in UTC: `2026-11-24T00:00:00Z/2026-11-25T00:00:00Z`.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(into = "String", try_from = "String")]
pub struct Interval {
    /// The first moment that belongs to it.
    pub start: DateTime<Utc>,
    /// The first moment that does not: the tick that closes it.
    pub end: DateTime<Utc>,
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
        write!(f, "{}/{}", text(self.start), text(self.end))
    }
}

impl FromStr for Interval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || Error::Interval(text.to_string());
        let (start, end) = text.split_once('/').ok_or_else(wrong)?;
        let parse = |text: &str| match DateTime::parse_from_rfc3339(text.trim()) {
            Ok(time) => Ok(time.to_utc()),
            Err(_) => Err(wrong()),
        };
        let (start, end) = (parse(start)?, parse(end)?);
        match start < end {
            true => Ok(Self { start, end }),
            false => Err(wrong()),
        }
    }
}

impl From<Interval> for String {
    fn from(interval: Interval) -> Self {
        interval.to_string()
    }
}

impl TryFrom<String> for Interval {
    type Error = Error;

    fn try_from(text: String) -> Result<Self, Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let text = "2026-11-24T00:00:00Z/2026-11-25T02:30:00Z";
        assert_eq!(text.parse::<Interval>().unwrap().to_string(), text);
        let offset = "2026-11-24T01:00:00+01:00/2026-11-25T02:30:00Z";
        assert_eq!(offset.parse::<Interval>().unwrap().to_string(), text);
    }

    #[test]
    fn an_interval_has_a_length() {
        for text in [
            "",
            "2026-11-24",
            "2026-11-24T00:00:00Z/2026-11-24T00:00:00Z",
            "2026-11-25T00:00:00Z/2026-11-24T00:00:00Z",
        ] {
            let error = text.parse::<Interval>().unwrap_err();
            assert!(error.to_string().contains("is not an interval"), "{error}");
        }
    }
}
