//! The stretch of time that a run is for, and its two written forms.

use std::fmt::{self, Display, Formatter};
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};

use crate::Error;

/// A stretch of time from `start` up to, but not including, `end`; parsing refuses an empty
/// one.
///
/// Its text is two RFC 3339 times in UTC, `2026-11-24T00:00:00Z/2026-11-25T00:00:00Z`. Serde
/// writes it as a struct of two times, which is what records of runs hold; the state of a
/// schedule holds the text, see [`as_text`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Interval {
    /// The first moment that belongs to it.
    pub start: DateTime<Utc>,
    /// The first moment that does not: for a scheduled job, the tick that closes it.
    pub end: DateTime<Utc>,
}

impl Interval {
    /// The name of the interval in file names: its text without what some stores and
    /// file systems refuse.
    pub fn file_name(&self) -> String {
        let name = |time: DateTime<Utc>| time.format("%Y%m%dT%H%M%SZ").to_string();
        format!("{}-{}", name(self.start), name(self.end))
    }
}

/// As RFC 3339, in UTC and whole seconds: `START/END`.
impl Display for Interval {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", rfc3339(self.start), rfc3339(self.end))
    }
}

/// A moment as parameters, records and logs have it: UTC, in whole seconds.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Secs, true)
}

impl FromStr for Interval {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let error = |reason: &str| Error::Interval {
            text: text.to_string(),
            reason: reason.to_string(),
        };
        let (start, end) = text
            .split_once('/')
            .ok_or_else(|| error("there is no '/' between its start and its end"))?;
        let start = moment(start).ok_or_else(|| error("its start is not a time"))?;
        let end = moment(end).ok_or_else(|| error("its end is not a time"))?;
        if start >= end {
            return Err(error("it does not end after its start"));
        }
        Ok(Self { start, end })
    }
}

/// An RFC 3339 time, or a date, which is its midnight in UTC.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let date: NaiveDate = text.parse().ok()?;
    Some(date.and_time(NaiveTime::MIN).and_utc())
}

/// Serde's `with` for an interval that is written as its text.
pub(crate) mod as_text {
    use serde::{Deserialize, Deserializer, Serializer, de};

    use super::Interval;

    pub(crate) fn serialize<S: Serializer>(
        interval: &Interval,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(interval)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Interval, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// The same for an interval that may be missing.
pub(crate) mod as_optional_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

    use super::Interval;

    // Serde gives `with` functions a reference to the field.
    pub(crate) fn serialize<S: Serializer>(
        interval: &Option<Interval>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        interval
            .map(|interval| interval.to_string())
            .serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Interval>, D::Error> {
        let text = Option::<String>::deserialize(deserializer)?;
        let interval = text.map(|text| text.parse().map_err(de::Error::custom));
        interval.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let interval: Interval = text.parse().unwrap();
        assert_eq!(interval.to_string(), expected);
        assert_eq!(expected.parse::<Interval>().unwrap(), interval);
    }

    #[test]
    fn times_and_dates_are_utc() {
        check(
            "2026-11-24/2026-11-25",
            "2026-11-24T00:00:00Z/2026-11-25T00:00:00Z",
        );
        check(
            "2026-11-24T02:30:00+02:00/2026-11-24T01:00:00Z",
            "2026-11-24T00:30:00Z/2026-11-24T01:00:00Z",
        );
    }

    #[test]
    fn what_is_no_interval_is_refused() {
        for (text, reason) in [
            ("2026-11-24", "no '/'"),
            ("x/2026-11-24", "its start"),
            ("2026-11-24/soon", "its end"),
            ("2026-11-25/2026-11-24", "does not end after"),
        ] {
            let error = text.parse::<Interval>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
