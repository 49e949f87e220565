//! Intervals tile the time line: no gap, no overlap, nothing twice, whatever the
//! expression, the zone and the season.
#![expect(
    clippy::unwrap_used,
    reason = "the helpers of tests fail by panicking, as tests do"
)]

use atoll_jobs::Interval;
use atoll_jobs::schedule::{Cron, JobFile, ScheduledJob};
use chrono::{DateTime, NaiveDateTime, TimeDelta, TimeZone, Timelike, Utc};
use chrono_tz::Tz;
use proptest::prelude::*;

/// Zones with clock changes of an hour, of half an hour, at midnight, on both
/// hemispheres, twice in spring around Ramadan, and none.
const ZONES: [&str; 9] = [
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Santiago",
    "Asia/Kathmandu",
    "Pacific/Apia",
    "UTC",
];

fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
    prop_oneof![
        3 => Just("*".to_string()),
        3 => (low..=high).prop_map(|n| n.to_string()),
        1 => (2_u32..=10).prop_map(|n| format!("*/{n}")),
        2 => (low..=high, low..=high).prop_map(|(a, b)| format!("{a},{b}")),
        1 => (low..=high, low..=high).prop_map(|(a, b)| {
            format!("{}-{}", a.min(b), a.max(b))
        }),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let fields = (
        field(0, 59),
        field(0, 23),
        field(1, 28),
        field(1, 12),
        field(0, 6),
    );
    fields.prop_map(|(minute, hour, day, month, weekday)| {
        format!("{minute} {hour} {day} {month} {weekday}")
    })
}

/// A time from 2010, when Samoa had not yet changed sides, to 2030; often one around the
/// clock changes of Berlin.
fn moment() -> impl Strategy<Value = DateTime<Utc>> {
    let second = |text: &str| DateTime::parse_from_rfc3339(text).unwrap().timestamp();
    let changes = [
        second("2026-03-29T01:00:00Z"),
        second("2026-10-25T01:00:00Z"),
        second("2026-04-04T15:00:00Z"),
        second("2011-12-30T10:00:00Z"),
    ];
    let (from, to) = (
        second("2010-01-01T00:00:00Z"),
        second("2030-01-01T00:00:00Z"),
    );
    prop_oneof![
        from..to,
        (0..changes.len(), -90_000_i64..90_000).prop_map(move |(n, by)| changes[n] + by),
    ]
    .prop_map(|seconds| DateTime::from_timestamp(seconds, 0).unwrap())
}

fn job(expression: &str, zone: &str) -> ScheduledJob {
    let text = format!(
        "timezone = \"{zone}\"\n[job.j]\nscript = \"j.sql\"\ncron = \"{expression}\""
    );
    let jobs = JobFile::parse(&text, "jobs.toml".as_ref()).unwrap();
    jobs.jobs.into_iter().next().unwrap()
}

proptest! {
    #[test]
    fn intervals_tile_the_time_line(
        expression in expression(),
        zone in prop::sample::select(&ZONES[..]),
        from in moment(),
    ) {
        let job = job(&expression, zone);
        let start = job.cron.at_or_after(from).unwrap();
        let mut next = job.interval_from(start).unwrap();
        prop_assert!(start >= from);
        for _ in 0..40 {
            prop_assert!(next.start < next.end, "{next}");
            // Nothing ticks inside of an interval.
            let inside = next.start + (next.end - next.start) / 2;
            prop_assert_eq!(job.cron.after(inside), Some(next.end));
            prop_assert_eq!(job.cron.after(next.end - TimeDelta::seconds(1)), Some(next.end));
            prop_assert_eq!(job.cron.at_or_before(inside), Some(next.start));
            prop_assert_eq!(job.cron.at_or_before(next.end), Some(next.end));
            prop_assert_eq!(job.cron.at_or_after(next.end), Some(next.end));
            let after = job.interval_from(next.end).unwrap();
            prop_assert_eq!(after.start, next.end);
            next = after;
        }
    }

    /// Each local time that an expression names has its tick: at that time, or at the
    /// moment of the change that skips it.
    #[test]
    fn no_named_time_is_lost(
        minute in 0_u32..60,
        hour in 0_u32..24,
        zone in prop::sample::select(&ZONES[..]),
        from in moment(),
    ) {
        let zone: Tz = zone.parse().unwrap();
        let cron = Cron::new(&format!("{minute} {hour} * * *"), zone).unwrap();
        let first = from.with_timezone(&zone).date_naive();
        for date in first.iter_days().take(5) {
            let local: NaiveDateTime = date.and_hms_opt(hour, minute, 0).unwrap();
            let tick = moment_of(local, zone);
            prop_assert_eq!(cron.at_or_before(tick), Some(tick), "{} {}", local, zone);
        }
    }

    /// With `*` for the hour, ticks are exactly the minutes at which clocks show them.
    #[test]
    fn wildcards_follow_the_clock(
        minute in 0_u32..60,
        zone in prop::sample::select(&ZONES[..]),
        from in moment(),
    ) {
        let zone: Tz = zone.parse().unwrap();
        let cron = Cron::new(&format!("{minute} * * * *"), zone).unwrap();
        let from = from - TimeDelta::seconds(i64::from(from.second()));
        let minutes = (1..=2000).map(|n| from + TimeDelta::minutes(n));
        let shown: Vec<_> = minutes
            .filter(|time| time.with_timezone(&zone).minute() == minute)
            .collect();
        let ticks: Vec<_> = std::iter::successors(cron.after(from), |t| cron.after(*t))
            .take(shown.len())
            .collect();
        prop_assert_eq!(ticks, shown);
    }

    #[test]
    fn backfills_take_the_intervals_that_start_in_their_range(
        expression in expression(),
        zone in prop::sample::select(&ZONES[..]),
        from in moment(),
        days in 0_i64..30,
        closed_days in 0_i64..30,
    ) {
        let job = job(&expression, zone);
        let (to, now) = (from + TimeDelta::days(days), from + TimeDelta::days(closed_days));
        let intervals: Vec<Interval> = job.intervals(from, to, now).take(500).collect();
        for pair in intervals.windows(2) {
            prop_assert_eq!(pair[0].end, pair[1].start);
        }
        for interval in &intervals {
            prop_assert!(from <= interval.start && interval.start < to);
            prop_assert!(interval.end <= now);
        }
        if let Some(last) = intervals.last() && intervals.len() < 500 {
            let next = job.interval_from(last.end).unwrap();
            prop_assert!(next.start >= to || next.end > now);
        }
    }
}

/// By asking every second in turn, from a day before.
fn moment_of(local: NaiveDateTime, zone: Tz) -> DateTime<Utc> {
    if let Some(time) = zone.from_local_datetime(&local).earliest() {
        return time.to_utc();
    }
    // The clock skips from before to after: the first moment that shows a later time.
    let mut time = local.and_utc() - TimeDelta::hours(26);
    while time.with_timezone(&zone).naive_local() < local {
        time += TimeDelta::minutes(1);
    }
    time
}
