//! The ticks of a cron expression in a time zone.
//!
//! `croner` knows cron expressions; what clock changes do to them is decided here, as
//! Vixie cron does: an expression with fixed hours and minutes, such as `30 2 * * *`,
//! ticks once for each time it names. If clocks skip that time, it ticks at the moment
//! of the change; if they show it twice, at the first. An expression with `*` for the
//! hour or the minute ticks whenever clocks show a time that fits: not in a skipped
//! hour, and in both passes of a repeated one.

use std::fmt;

use chrono::{DateTime, NaiveDate, NaiveDateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use croner::parser::{CronParser, Seconds, Year};

use super::time::instant;

const FIELDS: &str = "the fields are minute 0-59, hour 0-23, day of month 1-31, month \
    1-12 and day of week 0-7, where 0 and 7 are Sunday";

/// More than clocks have ever been put back.
const LONGEST_FOLD: TimeDelta = TimeDelta::hours(25);

/// When a job's intervals end: a cron expression in a time zone.
#[derive(Debug, Clone)]
pub struct Cron {
    text: String,
    zone: Tz,
    pattern: croner::Cron,
    /// Names hours and minutes, so that each tick of local time is a tick.
    fixed: bool,
}

impl Cron {
    /// Reads an expression of five fields, of six with seconds in front, or one of
    /// `@hourly`, `@daily`, `@weekly`, `@monthly` and `@yearly`.
    ///
    /// Fails with one sentence, also for an expression that never ticks.
    pub fn new(text: &str, zone: Tz) -> Result<Self, String> {
        let text = text.trim();
        let written = match text.to_ascii_lowercase().as_str() {
            "@hourly" => "0 * * * *",
            "@daily" | "@midnight" => "0 0 * * *",
            "@weekly" => "0 0 * * 0",
            "@monthly" => "0 0 1 * *",
            "@yearly" | "@annually" => "0 0 1 1 *",
            _ => text,
        };
        if written.starts_with('@') {
            return Err(format!(
                "{text:?} is not a cron expression\nhint: the short forms are @hourly, \
                 @daily, @weekly, @monthly and @yearly"
            ));
        }
        let fields: Vec<&str> = written.split_whitespace().collect();
        if !(5..=6).contains(&fields.len()) {
            return Err(format!(
                "{text:?} has {} fields\nhint: a cron expression has 5, minute hour \
                 day-of-month month day-of-week, or 6 with seconds in front",
                fields.len()
            ));
        }
        let parser = CronParser::builder()
            .seconds(Seconds::Optional)
            .year(Year::Disallowed)
            .build();
        let pattern = parser.parse(written).map_err(|error| {
            let error = error.to_string();
            let error = error.split_once(": ").map_or(error.as_str(), |(_, e)| e);
            let error = error.trim_end_matches('.');
            let error = error[..1].to_ascii_lowercase() + &error[1..];
            format!("{text:?} is not a cron expression: {error}\nhint: {FIELDS}")
        })?;
        // The fields before day of month.
        let clock = &fields[..fields.len() - 3];
        let cron = Self {
            text: text.to_string(),
            zone,
            pattern,
            fixed: !clock.iter().any(|field| field.contains('*')),
        };
        match cron.after(DateTime::UNIX_EPOCH) {
            Some(_) => Ok(cron),
            None => Err(format!("{text:?} names a date that never comes")),
        }
    }

    /// The time zone that the fields are of.
    pub fn zone(&self) -> Tz {
        self.zone
    }

    /// The first tick after a time; `None` only beyond the calendar's end.
    pub fn after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let time = whole_second(time)?;
        if !self.fixed {
            let local = time.with_timezone(&self.zone);
            let tick = self.pattern.find_next_occurrence(&local, false).ok()?;
            return Some(tick.to_utc());
        }
        let mut local = time.with_timezone(&self.zone).naive_local();
        loop {
            local = self.pattern.find_next_occurrence(&local, false).ok()?;
            let tick = instant(local, self.zone)?;
            // Not so when `time` is in the second pass of a repeated hour: clocks show
            // `local` once more, and it has been.
            if tick > time {
                return Some(tick);
            }
        }
    }

    /// The last tick that is not after a time.
    pub fn at_or_before(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        let time = whole_second(time)?;
        if !self.fixed {
            let local = time.with_timezone(&self.zone);
            let tick = self.pattern.find_previous_occurrence(&local, true).ok()?;
            return Some(tick.to_utc());
        }
        // In the second pass of a repeated hour clocks have shown later times before.
        let mut local: NaiveDateTime =
            time.with_timezone(&self.zone).naive_local() + LONGEST_FOLD;
        loop {
            local = self.pattern.find_previous_occurrence(&local, true).ok()?;
            let tick = instant(local, self.zone)?;
            if tick <= time {
                return Some(tick);
            }
            local -= TimeDelta::seconds(1);
        }
    }

    /// The first tick that is not before a time.
    pub fn at_or_after(&self, time: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self.at_or_before(time) {
            Some(tick) if tick == time => Some(tick),
            _ => self.after(time),
        }
    }
}

impl fmt::Display for Cron {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.text, self.zone)
    }
}

/// The second that a time is in; `None` outside of the years that cron knows.
fn whole_second(time: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let years = NaiveDate::from_ymd_opt(2, 1, 1)?..NaiveDate::from_ymd_opt(4990, 1, 1)?;
    let time = DateTime::from_timestamp(time.timestamp(), 0);
    time.filter(|time| years.contains(&time.date_naive()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::parse_time;

    /// The ticks after a time, as local times with their offsets.
    #[track_caller]
    fn check(text: &str, zone: &str, after: &str, expected: &[&str]) {
        let zone: Tz = zone.parse().unwrap();
        let cron = Cron::new(text, zone).unwrap();
        let mut time = parse_time(after, zone).unwrap();
        let mut ticks = Vec::new();
        for _ in expected {
            time = cron.after(time).unwrap();
            let local = time.with_timezone(&zone);
            ticks.push(local.format("%m-%d %H:%M %:z").to_string());
        }
        assert_eq!(ticks, expected, "{cron}");
    }

    #[test]
    fn a_skipped_time_ticks_at_the_change() {
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-03-28",
            &[
                "03-28 02:30 +01:00",
                "03-29 03:00 +02:00",
                "03-30 02:30 +02:00",
            ],
        );
        check(
            "30 2 * * *",
            "America/New_York",
            "2026-03-07",
            &[
                "03-07 02:30 -05:00",
                "03-08 03:00 -04:00",
                "03-09 02:30 -04:00",
            ],
        );
    }

    #[test]
    fn skipped_times_tick_once_together() {
        check(
            "0,30 2,3 * * *",
            "Europe/Berlin",
            "2026-03-29",
            &[
                "03-29 03:00 +02:00",
                "03-29 03:30 +02:00",
                "03-30 02:00 +02:00",
            ],
        );
    }

    #[test]
    fn a_repeated_time_ticks_at_its_first_pass() {
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-24",
            &[
                "10-24 02:30 +02:00",
                "10-25 02:30 +02:00",
                "10-26 02:30 +01:00",
            ],
        );
        check(
            "30 1 * * *",
            "America/New_York",
            "2026-10-31",
            &[
                "10-31 01:30 -04:00",
                "11-01 01:30 -04:00",
                "11-02 01:30 -05:00",
            ],
        );
        // In the second pass it has been.
        check(
            "30 2 * * *",
            "Europe/Berlin",
            "2026-10-25T01:10:00Z",
            &["10-26 02:30 +01:00"],
        );
    }

    #[test]
    fn every_quarter_of_an_hour_follows_the_clock() {
        check(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-10-25T01:50",
            &[
                "10-25 02:00 +02:00",
                "10-25 02:30 +02:00",
                "10-25 02:00 +01:00",
                "10-25 02:30 +01:00",
                "10-25 03:00 +01:00",
            ],
        );
        check(
            "*/30 * * * *",
            "Europe/Berlin",
            "2026-03-29T01:10",
            &[
                "03-29 01:30 +01:00",
                "03-29 03:00 +02:00",
                "03-29 03:30 +02:00",
            ],
        );
    }

    #[test]
    fn short_forms_and_seconds() {
        let new_year = ["01-01 00:00 +00:00"];
        check("@yearly", "UTC", "2026-06-01", &new_year);
        check("@Monthly", "UTC", "2026-12-02", &new_year);
        check("@weekly", "UTC", "2026-11-24", &["11-29 00:00 +00:00"]);
        check("@daily", "UTC", "2026-12-31", &new_year);
        check("@hourly", "UTC", "2026-12-31T23:10", &new_year);
        let cron = Cron::new("*/10 * * * * *", Tz::UTC).unwrap();
        let time = cron.after(DateTime::UNIX_EPOCH).unwrap();
        assert_eq!(time.timestamp(), 10);
    }

    #[test]
    fn days_of_month_and_of_week_are_either() {
        check(
            "0 6 13 * 5",
            "UTC",
            "2026-11-01",
            &[
                "11-06 06:00 +00:00",
                "11-13 06:00 +00:00",
                "11-20 06:00 +00:00",
            ],
        );
        check("0 0 29 2 *", "UTC", "2026-01-01", &["02-29 00:00 +00:00"]);
    }

    #[test]
    fn nonsense_is_an_error() {
        for (text, error) in [
            ("", "has 0 fields"),
            ("* * * *", "has 4 fields"),
            ("0 0 1 1 * 2030 5", "has 7 fields"),
            ("@reboot", "the short forms are"),
            ("60 * * * *", "number out of bounds"),
            ("x * * * *", "is not a cron expression"),
            ("0 0 30 2 *", "a date that never comes"),
        ] {
            let found = Cron::new(text, Tz::UTC).unwrap_err();
            assert!(found.contains(error), "{text}: {found}");
        }
    }
}
