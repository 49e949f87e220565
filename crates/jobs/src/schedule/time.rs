//! Times as people write them, and the two moments a year that have none or two names.

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;

use crate::Error;

/// The longest stretch that a clock has ever skipped: a day, when Samoa changed sides of
/// the date line.
const LONGEST_GAP_MINUTES: i64 = 25 * 60;

/// Reads a date or a time; one without an offset is of `zone`.
///
/// A date is its midnight. See the manual for times that a clock change skips (they mean
/// the moment of the change) or repeats (they mean the first of the two).
pub fn parse_time(text: &str, zone: Tz) -> Result<DateTime<Utc>, Error> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let formats = [
        "%Y-%m-%dT%H:%M:%S",
        "%Y-%m-%dT%H:%M",
        "%Y-%m-%d %H:%M:%S",
        "%Y-%m-%d %H:%M",
    ];
    let time = formats
        .iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok());
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok();
    time.or_else(|| date?.and_hms_opt(0, 0, 0))
        .and_then(|local| instant(local, zone))
        .ok_or_else(|| Error::Time(text.to_string()))
}

/// The moment at which clocks in `zone` show `local`: the first one if they do so twice,
/// the moment of the change if they skip it.
pub(crate) fn instant(local: NaiveDateTime, zone: Tz) -> Option<DateTime<Utc>> {
    if let Some(time) = zone.from_local_datetime(&local).earliest() {
        return Some(time.to_utc());
    }
    // Clocks change at whole minutes.
    let minute = local - TimeDelta::seconds(local.and_utc().timestamp().rem_euclid(60));
    (1..=LONGEST_GAP_MINUTES).find_map(|minutes| {
        let later = minute.checked_add_signed(TimeDelta::minutes(minutes))?;
        let time = zone.from_local_datetime(&later).earliest()?;
        Some(time.to_utc())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, zone: &str, utc: &str) {
        let zone = zone.parse().unwrap();
        let time = parse_time(text, zone).unwrap();
        assert_eq!(time.to_rfc3339(), utc.replace('Z', "+00:00"));
    }

    #[test]
    fn dates_and_times_are_of_the_zone() {
        check("2026-11-24", "Europe/Berlin", "2026-11-23T23:00:00Z");
        check("2026-11-24T06:30", "UTC", "2026-11-24T06:30:00Z");
        check(
            "2026-07-01 06:30:05",
            "America/New_York",
            "2026-07-01T10:30:05Z",
        );
        check(
            "2026-07-01T06:30:05Z",
            "America/New_York",
            "2026-07-01T06:30:05Z",
        );
    }

    #[test]
    fn a_skipped_time_is_the_moment_of_the_change() {
        check("2026-03-29T02:30", "Europe/Berlin", "2026-03-29T01:00:00Z");
        check(
            "2026-03-08T02:00",
            "America/New_York",
            "2026-03-08T07:00:00Z",
        );
        // Lord Howe Island changes by half an hour, Samoa skipped a day.
        check(
            "2026-10-04T02:10",
            "Australia/Lord_Howe",
            "2026-10-03T15:30:00Z",
        );
        check("2011-12-30T12:00", "Pacific/Apia", "2011-12-30T10:00:00Z");
        // Cairo changes at midnight.
        check("2026-04-24", "Africa/Cairo", "2026-04-23T22:00:00Z");
    }

    #[test]
    fn a_repeated_time_is_the_first_one() {
        check("2026-10-25T02:30", "Europe/Berlin", "2026-10-25T00:30:00Z");
        check(
            "2026-11-01T01:30",
            "America/New_York",
            "2026-11-01T05:30:00Z",
        );
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in [
            "",
            "yesterday",
            "2026-02-30",
            "2026-11-24T25:00",
            "24.11.2026",
        ] {
            assert!(parse_time(text, Tz::UTC).is_err(), "{text}");
        }
    }
}
