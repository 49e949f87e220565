//! Reads `jobs.toml` strictly: a key that is not known is a typing error.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use atoll_suggest::nearest;
use chrono_tz::Tz;
use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::{CatchUp, JobFile, OnFailure, Overlap, ScheduledJob};
use crate::Error;
use crate::schedule::{Cron, parse_time};

/// Each run may use all cores, so more at once only help those that wait for others.
const MAX_PARALLEL: NonZeroUsize = NonZeroUsize::new(4).unwrap();

/// The keys of the file.
const FILE_KEYS: [&str; 5] = ["folder", "job", "max_parallel", "storage", "timezone"];

/// The keys of a job.
const JOB_KEYS: [&str; 12] = [
    "catch_up",
    "cron",
    "enabled",
    "jitter",
    "on_failure",
    "overlap",
    "retries",
    "script",
    "set",
    "start",
    "timeout",
    "timezone",
];

/// The file as it is written, before its values are checked.
#[derive(Deserialize)]
struct RawFile {
    timezone: Option<String>,
    max_parallel: Option<NonZeroUsize>,
    storage: Option<String>,
    folder: Option<PathBuf>,
    #[serde(default)]
    job: BTreeMap<String, RawJob>,
}

/// A job as it is written.
#[derive(Deserialize)]
struct RawJob {
    script: PathBuf,
    cron: String,
    timezone: Option<String>,
    #[serde(default)]
    set: BTreeMap<String, Value>,
    timeout: Option<String>,
    retries: Option<u32>,
    start: Option<Value>,
    #[serde(default)]
    overlap: Overlap,
    #[serde(default)]
    catch_up: CatchUp,
    #[serde(default)]
    on_failure: OnFailure,
    jitter: Option<String>,
    #[serde(default = "yes")]
    enabled: bool,
}

fn yes() -> bool {
    true
}

impl JobFile {
    /// Reads the jobs of a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.to_path_buf(),
            source,
        };
        let text = std::fs::read_to_string(path).map_err(read)?;
        Self::parse(&text, path)
    }

    /// The jobs in a text that stands in the file `path`.
    pub fn parse(text: &str, path: &Path) -> Result<Self, Error> {
        let syntax = |error: toml::de::Error| Error::Syntax {
            place: place(path, text, error.span()),
            message: error.message().trim_end_matches('.').to_string(),
        };
        let table = DeTable::parse(text).map_err(syntax)?;
        check_keys(table.get_ref(), path, text)?;
        let raw: RawFile = toml::from_str(text).map_err(syntax)?;
        if raw.job.is_empty() {
            return Err(Error::Value {
                place: path.display().to_string(),
                message: "there is no job\nhint: write a table [job.NAME] with `script` \
                          and `cron`"
                    .to_string(),
            });
        }
        let beside = path.parent().filter(|beside| *beside != Path::new(""));
        let beside = beside.unwrap_or(Path::new("."));
        let folder = raw
            .folder
            .map_or(beside.into(), |folder| beside.join(folder));
        let zone = match &raw.timezone {
            Some(name) => zone(name).map_err(|message| Error::Value {
                place: format!("{}: timezone", path.display()),
                message,
            })?,
            None => Tz::UTC,
        };
        let jobs = raw.job.into_iter().map(|(name, job)| {
            job.checked(name.clone(), zone)
                .map_err(|(key, message)| Error::Value {
                    place: format!("{}: job.{name}{key}", path.display()),
                    message,
                })
        });
        Ok(Self {
            jobs: jobs.collect::<Result<_, _>>()?,
            max_parallel: raw.max_parallel.unwrap_or(MAX_PARALLEL),
            storage: raw.storage,
            folder,
        })
    }
}

impl RawJob {
    /// The job, or the key whose value is wrong and what is wrong with it.
    fn checked(
        self,
        name: String,
        default_zone: Tz,
    ) -> Result<ScheduledJob, (&'static str, String)> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(allowed) {
            let text = "a job's name consists of letters, digits, '.', '_' and '-', and \
                        does not start with a dot";
            return Err(("", text.to_string()));
        }
        let zone = match &self.timezone {
            Some(name) => zone(name).map_err(|message| (".timezone", message))?,
            None => default_zone,
        };
        let cron = Cron::new(&self.cron, zone).map_err(|text| (".cron", text))?;
        let start = match &self.start {
            Some(value) => {
                let time = parse_time(&plain(value), zone);
                Some(time.map_err(|error| (".start", error.to_string()))?)
            }
            None => None,
        };
        let timeout = duration(self.timeout).map_err(|text| (".timeout", text))?;
        if timeout.is_some_and(|timeout| timeout.is_zero()) {
            return Err((".timeout", "must be longer than nothing".to_string()));
        }
        let jitter = duration(self.jitter).map_err(|text| (".jitter", text))?;
        Ok(ScheduledJob {
            name,
            script: self.script,
            cron,
            set: self
                .set
                .iter()
                .map(|(name, value)| (name.clone(), plain(value)))
                .collect(),
            timeout,
            retries: self.retries,
            start,
            overlap: self.overlap,
            catch_up: self.catch_up,
            on_failure: self.on_failure,
            jitter: jitter.unwrap_or_default(),
            enabled: self.enabled,
        })
    }
}

/// A value as `--set` takes it: text as it is, anything else as SQL writes it.
fn plain(value: &Value) -> String {
    let all = |values: Vec<String>| values.join(", ");
    let nested = |value: &Value| match value {
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => plain(other),
    };
    match value {
        Value::String(text) => text.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => format!("{number:?}"),
        Value::Boolean(truth) => truth.to_string(),
        Value::Datetime(time) => time.to_string(),
        Value::Array(values) => format!("[{}]", all(values.iter().map(nested).collect())),
        Value::Table(entries) => {
            let entry = |(key, value)| format!("{key}: {}", nested(value));
            format!("{{{}}}", all(entries.iter().map(entry).collect()))
        }
    }
}

fn zone(name: &str) -> Result<Tz, String> {
    name.parse().map_err(|_| {
        let names = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name());
        let hint = match nearest(name, names) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "write a name such as \"Europe/Berlin\" or \"UTC\"".to_string(),
        };
        format!("{name:?} is not a time zone\nhint: {hint}")
    })
}

fn duration(text: Option<String>) -> Result<Option<Duration>, String> {
    let parse = |text: String| {
        humantime::parse_duration(&text).map_err(|error| {
            format!(
                "{text:?} is not a duration: {error}\nhint: write \"90s\" or \"1h 30m\""
            )
        })
    };
    text.map(parse).transpose()
}

/// Fails on the first key that the file or a job may not have.
fn check_keys(file: &DeTable<'_>, path: &Path, text: &str) -> Result<(), Error> {
    unknown(file, &FILE_KEYS, path, text)?;
    let Some(DeValue::Table(jobs)) = file.get("job").map(|jobs| jobs.get_ref()) else {
        return Ok(());
    };
    for job in jobs.values() {
        if let DeValue::Table(job) = job.get_ref() {
            unknown(job, &JOB_KEYS, path, text)?;
        }
    }
    Ok(())
}

fn unknown(
    table: &DeTable<'_>,
    known: &[&str],
    path: &Path,
    text: &str,
) -> Result<(), Error> {
    let Some(key) = table.keys().find(|key| !known.contains(&&**key.get_ref())) else {
        return Ok(());
    };
    let hint = match nearest(key.get_ref(), known.iter().copied()) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("the keys are {}", known.join(", ")),
    };
    Err(Error::Syntax {
        place: place(path, text, Some(key.span())),
        message: format!("there is no key {}\nhint: {hint}", key.get_ref()),
    })
}

/// The file, and the line that a span of its text starts on.
fn place(path: &Path, text: &str, span: Option<Range<usize>>) -> String {
    let before = span.and_then(|span| text.get(..span.start));
    match before {
        Some(before) => {
            let line = before.matches('\n').count() + 1;
            format!("{}:{line}", path.display())
        }
        None => path.display().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
        timezone = "Europe/Berlin"
        max_parallel = 2
        storage = "s3://bucket/atoll"
        folder = "../.."

        [job.digits]
        script = "sql/digits.sql"
        cron = "30 2 * * *"
        timezone = "America/New_York"
        set = { output = "out", epochs = 15, rates = [0.1, 0.2], quick = true, more = { by = ["it's", 1.0] } }
        timeout = "1h 30m"
        retries = 2
        start = 2026-01-01
        overlap = "skip"
        catch_up = "latest"
        on_failure = "stop"
        jitter = "5m"
        enabled = false

        [job.labels]
        script = "labels.sql"
        cron = "@hourly"
    "#;

    fn parse(text: &str) -> Result<JobFile, Error> {
        JobFile::parse(text, Path::new("etc/jobs.toml"))
    }

    #[test]
    fn every_key_is_read() {
        let jobs = parse(WHOLE).unwrap();
        assert_eq!(jobs.max_parallel.get(), 2);
        assert_eq!(jobs.storage.as_deref(), Some("s3://bucket/atoll"));
        let [digits, labels] = jobs.jobs.as_slice() else {
            panic!("{} jobs", jobs.jobs.len());
        };
        assert_eq!(jobs.folder, Path::new("etc/../.."));
        assert_eq!(digits.script, Path::new("sql/digits.sql"));
        assert_eq!(digits.cron.to_string(), "30 2 * * * America/New_York");
        let set = |name: &str, value: &str| (name.to_string(), value.to_string());
        assert_eq!(
            digits.set,
            [
                set("epochs", "15"),
                set("more", "{by: ['it''s', 1.0]}"),
                set("output", "out"),
                set("quick", "true"),
                set("rates", "[0.1, 0.2]"),
            ]
        );
        assert_eq!(digits.timeout, Some(Duration::from_secs(5400)));
        assert_eq!(digits.retries, Some(2));
        let start = digits.start.unwrap().to_rfc3339();
        assert_eq!(start, "2026-01-01T05:00:00+00:00");
        assert_eq!(digits.overlap, Overlap::Skip);
        assert_eq!(digits.catch_up, CatchUp::Latest);
        assert_eq!(digits.on_failure, OnFailure::Stop);
        assert_eq!(digits.jitter, Duration::from_secs(300));
        assert!(!digits.enabled && labels.enabled);
        assert_eq!(labels.cron.to_string(), "@hourly Europe/Berlin");
        assert_eq!(labels.overlap, Overlap::Queue);
        assert_eq!(labels.catch_up, CatchUp::All);
    }

    /// Replaces a line of a good file and expects an error with this text.
    #[track_caller]
    fn check(line: &str, instead: &str, error: &str) {
        assert!(WHOLE.contains(line), "{line}");
        let found = parse(&WHOLE.replacen(line, instead, 1)).unwrap_err();
        assert_eq!(found.to_string(), error);
    }

    #[test]
    fn misspelt_keys_get_a_suggestion() {
        check(
            "retries = 2",
            "retry = 2",
            "etc/jobs.toml:13: there is no key retry\nhint: did you mean retries?",
        );
        check(
            "max_parallel",
            "max_paralel",
            "etc/jobs.toml:3: there is no key max_paralel\nhint: did you mean \
             max_parallel?",
        );
        check(
            "folder =",
            "xyz =",
            "etc/jobs.toml:5: there is no key xyz\nhint: the keys are folder, job, \
             max_parallel, storage, timezone",
        );
    }

    #[test]
    fn wrong_values_are_named() {
        check(
            "\"skip\"",
            "\"skp\"",
            "etc/jobs.toml:15: unknown variant `skp`, expected one of `queue`, `skip`, \
             `cancel`",
        );
        check(
            "timezone = \"America/New_York\"",
            "timezone = \"America/NewYork\"",
            "etc/jobs.toml: job.digits.timezone: \"America/NewYork\" is not a time \
             zone\nhint: did you mean \"America/New_York\"?",
        );
        check(
            "30 2 * * *",
            "30 24 * * *",
            "etc/jobs.toml: job.digits.cron: \"30 24 * * *\" is not a cron expression: \
             number out of bounds\nhint: the fields are minute 0-59, hour 0-23, day of \
             month 1-31, month 1-12 and day of week 0-7, where 0 and 7 are Sunday",
        );
        check(
            "\"5m\"",
            "\"5 min utes\"",
            "etc/jobs.toml: job.digits.jitter: \"5 min utes\" is not a duration: \
             expected number at 6\nhint: write \"90s\" or \"1h 30m\"",
        );
        check(
            "2026-01-01",
            "\"soon\"",
            "etc/jobs.toml: job.digits.start: \"soon\" is not a time\nhint: write a date \
             such as 2026-11-24, or a time such as 2026-11-24T06:30 or \
             2026-11-24T06:30:00Z",
        );
        check(
            "[job.labels]",
            "[job.\"a/b\"]",
            "etc/jobs.toml: job.a/b: a job's name consists of letters, digits, '.', '_' \
             and '-', and does not start with a dot",
        );
    }

    #[test]
    fn the_folder_is_the_one_of_the_file() {
        for (path, folder) in [("jobs.toml", "."), ("etc/jobs.toml", "etc")] {
            let text = "[job.j]\nscript = \"j.sql\"\ncron = \"@daily\"";
            let jobs = JobFile::parse(text, Path::new(path)).unwrap();
            assert_eq!(jobs.folder, Path::new(folder));
        }
    }

    #[test]
    fn a_file_without_jobs_is_an_error() {
        let error = parse("timezone = \"UTC\"").unwrap_err().to_string();
        assert!(
            error.starts_with("etc/jobs.toml: there is no job"),
            "{error}"
        );
    }

    #[test]
    fn jobs_are_found_by_name() {
        let jobs = parse(WHOLE).unwrap();
        assert_eq!(jobs.job("labels").unwrap().name, "labels");
        let error = jobs.job("lables").unwrap_err().to_string();
        assert!(error.ends_with("did you mean labels?"), "{error}");
        let error = jobs.job("x").unwrap_err().to_string();
        assert!(error.ends_with("the jobs are digits, labels"), "{error}");
    }
}
