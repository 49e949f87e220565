//! `atoll schedule` and `atoll backfill`, with real processes, signals and time.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Atoll, Output, Running, wait_until};

/// A schedule with a folder, a script and a state of its own.
struct Schedule {
    atoll: Atoll,
}

impl Schedule {
    /// A schedule of the job `j`, with these keys and this script.
    fn new(keys: &str, script: &str) -> Self {
        let atoll = Atoll::new();
        let jobs = format!("[job.j]\nscript = \"j.sql\"\n{keys}\n");
        atoll.file("jobs.toml", &jobs);
        atoll.file("j.sql", script);
        Self { atoll }
    }

    fn command(&self, arguments: &[&str]) -> Running {
        let path = |name: &str| self.atoll.path(name).display().to_string();
        let (jobs, state) = (path("jobs.toml"), path("state"));
        let mut all = arguments.to_vec();
        match arguments[0] {
            "schedule" => all.push(&jobs),
            _ => all.extend(["--jobs", &jobs]),
        }
        all.extend(["--state", &state]);
        let mut command = self.atoll.command(&all);
        // Runs take it over: there are scripts that sleep.
        command.env("ATOLL_TEST_FUNCTIONS", "1");
        Running::new(command.spawn().unwrap())
    }

    fn once(&self) -> Output {
        self.command(&["schedule", "--once"]).finish()
    }

    /// The records of runs, by their intervals, as their statuses.
    fn runs(&self) -> BTreeMap<String, Vec<String>> {
        let mut runs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for record in self.records() {
            let (Some(interval), Some(status)) = (
                record.get("interval").and_then(|interval| {
                    Some((interval["start"].as_str()?, interval["end"].as_str()?))
                }),
                record["status"].as_str(),
            ) else {
                panic!("a strange record: {record}");
            };
            let interval = format!("{}/{}", interval.0, interval.1);
            runs.entry(interval).or_default().push(status.to_string());
        }
        runs
    }

    fn records(&self) -> Vec<Value> {
        let folder = self.atoll.path("storage/runs/j");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let paths = entries.map(|entry| entry.path());
        let paths = paths.filter(|path| path.extension().is_some_and(|e| e == "json"));
        // One that is being written is not there yet, or is whole.
        let texts = paths.filter_map(|path| std::fs::read(path).ok());
        texts
            .map(|text| serde_json::from_slice(&text).unwrap())
            .collect()
    }

    fn succeeded(&self) -> usize {
        let statuses = self.runs().into_values().flatten();
        statuses.filter(|status| status == "succeeded").count()
    }

    /// Whether a run is being recorded.
    fn is_running(&self) -> bool {
        let statuses = self.runs().into_values().flatten();
        statuses.into_iter().any(|status| status == "running")
    }

    /// Waits until no process of a run is left.
    fn wait_for_orphans(&self) {
        for record in self.records() {
            let command = format!("/proc/{}/cmdline", record["pid"]);
            // That of a process that has ended, and that nobody has asked about, is empty.
            let has_ended = || std::fs::read(&command).is_ok_and(|text| text.is_empty());
            let is_gone = || has_ended() || !Path::new(&command).exists();
            wait_until("the end of a run", is_gone);
        }
    }
}

/// Some seconds of real time, a tick every two of them, and six SIGKILLs.
#[test]
fn every_interval_succeeds_once_whatever_is_killed() {
    let script = "SELECT test_sleep(0.7) AS slept;";
    let schedule = Schedule::new("cron = \"*/2 * * * * *\"", script);
    for life in 0..6 {
        let (records, successes) = (schedule.records().len(), schedule.succeeded());
        let running = schedule.command(&["schedule"]);
        match life % 2 {
            // Between the record of a success and what the schedule makes of it, or soon
            // after.
            0 => wait_until("a success", || schedule.succeeded() > successes),
            _ => {
                wait_until("a run", || schedule.records().len() > records);
                std::thread::sleep(Duration::from_millis(100));
            }
        }
        running.signal("KILL");
        running.finish();
    }
    let last = schedule.once().ok();
    schedule.wait_for_orphans();
    let runs = schedule.runs();
    assert!(runs.len() >= 4, "{runs:?}");
    let mut killed = 0;
    for (interval, statuses) in &runs {
        let is_success = |status: &&String| *status == "succeeded";
        let successes = statuses.iter().filter(is_success).count();
        assert_eq!(successes, 1, "{interval}: {statuses:?}, {}", last.stderr);
        killed += statuses.len() - successes;
    }
    assert!(killed > 0, "no kill met a run: {runs:?}");
    let ends = |interval: &String| {
        let (start, end) = interval.split_once('/').unwrap();
        (start.to_string(), end.to_string())
    };
    let intervals: Vec<(String, String)> = runs.keys().map(ends).collect();
    for pair in intervals.windows(2) {
        assert_eq!(pair[0].1, pair[1].0, "{intervals:?}");
    }
}

/// The first day of the year three years ago: as long as a test does not meet New Year,
/// a yearly job has had three intervals since.
fn three_years_ago() -> String {
    let output = std::process::Command::new("date")
        .args(["-u", "+%Y"])
        .output();
    let year = String::from_utf8(output.unwrap().stdout).unwrap();
    format!("{}-01-01", year.trim().parse::<u32>().unwrap() - 3)
}

fn three_intervals(script: &str) -> Schedule {
    let start = three_years_ago();
    Schedule::new(&format!("cron = \"@yearly\"\nstart = {start}"), script)
}

#[test]
fn once_catches_up_and_a_second_time_does_nothing() {
    let schedule = three_intervals("SELECT 1 AS n;");
    let output = schedule.once().ok();
    assert!(
        output.stderr.ends_with("\n3 succeeded\n"),
        "{}",
        output.stderr
    );
    assert_eq!(schedule.succeeded(), 3);
    let output = schedule.once().ok();
    assert!(
        output.stderr.ends_with("\nnothing was run\n"),
        "{}",
        output.stderr
    );
    // What ran is in the storage, so a lost state costs nothing.
    std::fs::remove_dir_all(schedule.atoll.path("state")).unwrap();
    let output = schedule.once().ok();
    assert_eq!(output.stderr.matches("had succeeded before").count(), 3);
    assert_eq!(schedule.succeeded(), 3);
}

#[test]
fn a_failure_is_told_and_ends_with_1() {
    let schedule = three_intervals("SELECT * FROM no_such_table;");
    let output = schedule.once();
    output.fails_naming(&["failed: ", "no_such_table", "\n3 failed\n", ".log)"]);
    // Each was tried once, and is not tried again.
    let output = schedule.once().ok();
    assert!(
        output.stderr.ends_with("\nnothing was run\n"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_backfill_runs_what_is_asked_for() {
    let start = three_years_ago();
    let schedule = Schedule::new("cron = \"@yearly\"", "SELECT 1 AS n;");
    let backfill = |more: &[&str]| {
        let arguments = ["backfill", "j", "--from", &start, "--to", "2100-01-01"];
        let all: Vec<&str> = arguments.iter().chain(more).copied().collect();
        schedule.command(&all).finish()
    };
    let output = backfill(&["--parallel", "2"]).ok();
    assert!(
        output.stderr.ends_with("\n3 succeeded\n"),
        "{}",
        output.stderr
    );
    assert_eq!(schedule.succeeded(), 3);
    let output = backfill(&["--missing", "--log-format", "json"]).ok();
    assert_eq!(
        output.stderr.matches("\"event\":\"already_done\"").count(),
        3
    );
    assert_eq!(schedule.succeeded(), 3);
    backfill(&[]).ok();
    assert_eq!(schedule.succeeded(), 6);
}

#[test]
fn two_schedules_do_not_share_a_state() {
    let schedule = Schedule::new("cron = \"@yearly\"", "SELECT 1 AS n;");
    let first = schedule.command(&["schedule"]);
    wait_until("a state", || schedule.atoll.path("state/j.json").exists());
    let second = schedule.once();
    assert_eq!(second.status.code(), Some(3), "{}", second.stderr);
    assert!(
        second.stderr.contains("another schedule uses"),
        "{}",
        second.stderr
    );
    first.signal("TERM");
    first.finish().ok();
    schedule.once().ok();
}

#[test]
fn the_first_signal_lets_a_run_finish() {
    let schedule = three_intervals("SELECT test_sleep(2) AS slept;");
    let running = schedule.command(&["schedule"]);
    wait_until("a run", || schedule.is_running());
    running.signal("TERM");
    let output = running.finish().ok();
    assert!(
        output.stderr.contains("starting nothing more"),
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.ends_with("\n1 succeeded\n"),
        "{}",
        output.stderr
    );
    assert_eq!(schedule.succeeded(), 1);
}

#[test]
fn after_the_grace_runs_are_cancelled_and_run_again_later() {
    let schedule = three_intervals("SELECT test_sleep(600) AS slept;");
    let running = schedule.command(&["schedule", "--grace", "500ms"]);
    wait_until("a run", || schedule.is_running());
    running.signal("INT");
    let output = running.finish().ok();
    assert!(output.took < Duration::from_secs(60), "{:?}", output.took);
    assert!(
        output.stderr.ends_with("\n1 cancelled\n"),
        "{}",
        output.stderr
    );
    schedule.wait_for_orphans();
    schedule.atoll.file("j.sql", "SELECT 1 AS n;");
    let output = schedule.once().ok();
    assert!(output.stderr.contains("started again"), "{}", output.stderr);
    assert!(
        output.stderr.ends_with("\n3 succeeded\n"),
        "{}",
        output.stderr
    );
}

#[test]
fn a_check_shows_intervals_and_runs_nothing() {
    let keys = "cron = \"30 2 * * *\"\ntimezone = \"America/New_York\"\n\
                start = 2090-03-11";
    let schedule = Schedule::new(keys, "SELECT 1 AS n;");
    let output = schedule.command(&["schedule", "--check"]).finish().ok();
    let lines: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(lines.len(), 6, "{}", output.stdout);
    assert!(lines[0].starts_with("j: "), "{}", lines[0]);
    assert_eq!(
        lines[1],
        "  Sat 2090-03-11 02:30:00 -05:00 to Sun 2090-03-12 03:00:00 -04:00  \
         2090-03-11T07:30:00Z/2090-03-12T07:00:00Z"
    );
    assert!(!schedule.atoll.path("state").exists());
}

#[test]
fn what_is_wrong_with_a_file_is_said_before_anything_runs() {
    for (keys, message) in [
        (
            "corn = \"@daily\"",
            "there is no key corn\n\nhint: did you mean cron?",
        ),
        ("cron = \"@daily\"\nscript = \"x\"", "duplicate key"),
        (
            "cron = \"61 * * * *\"",
            "job.j.cron: \"61 * * * *\" is not a cron expression",
        ),
        (
            "cron = \"@daily\"\ntimezone = \"Berlin\"",
            "is not a time zone",
        ),
    ] {
        let schedule = Schedule::new(keys, "SELECT 1 AS n;");
        for mode in ["--check", "--once"] {
            let output = schedule.command(&["schedule", mode]).finish();
            assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
            assert!(output.stderr.contains(message), "{}", output.stderr);
        }
    }
    let schedule = Schedule::new("cron = \"@daily\"", "SELECT 1 AS n;");
    std::fs::remove_file(schedule.atoll.path("j.sql")).unwrap();
    let output = schedule.command(&["schedule", "--check"]).finish();
    assert_eq!(output.status.code(), Some(2), "{}", output.stderr);
    assert!(
        output.stderr.contains("there is no file"),
        "{}",
        output.stderr
    );
}
