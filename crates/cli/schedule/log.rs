//! What the schedule says on standard error: a line for each thing that happens.

use atoll_jobs::rfc3339;
use atoll_schedule::{Event, Happening, Interval, Outcome, Summary, Why};
use chrono::Utc;
use serde_json::{Value, json};

use crate::cluster::note;
use crate::job::LogFormat;

/// Writes lines.
#[derive(Debug, Clone, Copy)]
pub(super) struct Log {
    format: LogFormat,
    /// Only what went wrong.
    quiet: bool,
}

impl Log {
    pub(super) fn new(format: LogFormat, quiet: bool) -> Self {
        Self { format, quiet }
    }

    pub(super) fn write(self, event: &Event<'_>) {
        if self.quiet && !is_bad(&event.what) {
            return;
        }
        let line = match self.format {
            LogFormat::Text => text(event),
            LogFormat::Json => json_line(event).to_string(),
        };
        note(&line);
    }

    /// Says how many runs ended in which way.
    pub(super) fn sum_up(self, summary: &Summary) {
        let counts = [
            ("succeeded", summary.succeeded),
            ("failed", summary.failed),
            ("cancelled", summary.cancelled),
            ("skipped", summary.skipped),
            ("running elsewhere", summary.busy),
        ];
        match self.format {
            _ if self.quiet => {}
            LogFormat::Text => {
                let counts = counts.iter().filter(|(_, count)| *count > 0);
                let counts = counts.map(|(name, count)| format!("{count} {name}"));
                let counts: Vec<String> = counts.collect();
                note(&match counts.is_empty() {
                    true => "nothing was run".to_string(),
                    false => counts.join(", "),
                });
            }
            LogFormat::Json => note(
                &json!({
                    "time": rfc3339(Utc::now()),
                    "event": "stopped",
                    "succeeded": summary.succeeded,
                    "failed": summary.failed,
                    "cancelled": summary.cancelled,
                    "skipped": summary.skipped,
                    "busy": summary.busy,
                })
                .to_string(),
            ),
        }
    }
}

fn is_bad(what: &Happening) -> bool {
    match what {
        Happening::Ended { outcome, .. } => outcome.is_failure(),
        Happening::Halted { .. } | Happening::Skipped { .. } => true,
        _ => false,
    }
}

fn reason(why: Why) -> &'static str {
    match why {
        Why::Missed => "missed",
        Why::Overlap => "overlap",
        Why::Replaced => "replaced",
    }
}

fn text(event: &Event<'_>) -> String {
    let job = &event.job.name;
    let again = |interval: &Interval| {
        format!(
            "; to run it: atoll backfill {job} --from {} --to {}",
            rfc3339(interval.start),
            rfc3339(interval.end)
        )
    };
    let (interval, text) = match &event.what {
        Happening::Open(interval) => {
            let when = if interval.end > event.at {
                "next run"
            } else {
                "was due"
            };
            (interval, format!("{when} at {}", rfc3339(interval.end)))
        }
        Happening::Started { interval, again } => (
            interval,
            match again {
                true => "started again".to_string(),
                false => "started".to_string(),
            },
        ),
        Happening::Ended {
            interval,
            outcome,
            seconds,
        } => (
            interval,
            match outcome {
                Outcome::AlreadyDone => outcome.to_string(),
                outcome => format!("{outcome} after {seconds:.1} s"),
            },
        ),
        Happening::Skipped {
            interval,
            count,
            why,
        } => {
            let runs = match count {
                1 => "skipped".to_string(),
                count => format!("{count} intervals skipped"),
            };
            let why = match why {
                Why::Missed => "the tick was missed",
                Why::Overlap => "an earlier run has not ended",
                Why::Replaced => "a later one takes its place",
            };
            (interval, format!("{runs}: {why}{}", again(interval)))
        }
        Happening::Cancelling { interval } => (interval, "cancelling".to_string()),
        Happening::Busy { interval, until } => (
            interval,
            format!(
                "runs in another process; looking again at {}",
                rfc3339(*until)
            ),
        ),
        Happening::Halted { interval } => (
            interval,
            "the job stops here; start the schedule again to go on".to_string(),
        ),
    };
    format!("{} {job} {interval} {text}", rfc3339(event.at))
}

fn json_line(event: &Event<'_>) -> Value {
    let (name, interval, more) = match &event.what {
        Happening::Open(interval) => ("open", interval, json!({})),
        Happening::Started { interval, again } => {
            ("started", interval, json!({ "again": again }))
        }
        Happening::Ended {
            interval,
            outcome,
            seconds,
        } => {
            let name = match outcome {
                Outcome::Succeeded => "succeeded",
                Outcome::AlreadyDone => "already_done",
                Outcome::Failed(_) => "failed",
                Outcome::TimedOut => "timed_out",
                Outcome::Cancelled => "cancelled",
                Outcome::AlreadyRunning => "already_running",
            };
            let error = match outcome {
                Outcome::Failed(message) => Some(message),
                _ => None,
            };
            (
                name,
                interval,
                json!({ "seconds": seconds, "error": error }),
            )
        }
        Happening::Skipped {
            interval,
            count,
            why,
        } => {
            let why = reason(*why);
            ("skipped", interval, json!({ "count": count, "why": why }))
        }
        Happening::Cancelling { interval } => ("cancelling", interval, json!({})),
        Happening::Busy { interval, until } => (
            "already_running",
            interval,
            json!({ "until": rfc3339(*until) }),
        ),
        Happening::Halted { interval } => ("halted", interval, json!({})),
    };
    let mut line = json!({
        "time": rfc3339(event.at),
        "event": name,
        "job": event.job.name,
        "interval": interval,
    });
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
    line
}

#[cfg(test)]
mod tests {
    use atoll_schedule::Job;
    use chrono::DateTime;

    use super::*;

    fn job() -> Job {
        let text = "[job.digits]\nscript = \"a.sql\"\ncron = \"@daily\"";
        let jobs = atoll_schedule::Jobs::parse(text, "jobs.toml".as_ref()).unwrap();
        jobs.jobs.into_iter().next().unwrap()
    }

    #[track_caller]
    fn check(what: Happening, expected: &str, expected_json: &str) {
        let at = DateTime::from_timestamp(1_795_651_200, 0).unwrap();
        let job = job();
        let event = Event {
            at,
            job: &job,
            what,
        };
        assert_eq!(text(&event), expected);
        assert_eq!(json_line(&event).to_string(), expected_json);
    }

    #[test]
    fn lines_name_job_and_interval() {
        let interval: Interval =
            "2026-11-24T00:00:00Z/2026-11-25T00:00:00Z".parse().unwrap();
        check(
            Happening::Ended {
                interval,
                outcome: Outcome::Failed("no such table: x".to_string()),
                seconds: 1.25,
            },
            "2026-11-26T00:00:00Z digits 2026-11-24T00:00:00Z/2026-11-25T00:00:00Z \
             failed: no such table: x after 1.2 s",
            r#"{"error":"no such table: x","event":"failed","interval":"2026-11-24T00:00:00Z/2026-11-25T00:00:00Z","job":"digits","seconds":1.25,"time":"2026-11-26T00:00:00Z"}"#,
        );
        check(
            Happening::Skipped {
                interval,
                count: 1,
                why: Why::Overlap,
            },
            "2026-11-26T00:00:00Z digits 2026-11-24T00:00:00Z/2026-11-25T00:00:00Z \
             skipped: an earlier run has not ended; to run it: atoll backfill digits \
             --from 2026-11-24T00:00:00Z --to 2026-11-25T00:00:00Z",
            r#"{"count":1,"event":"skipped","interval":"2026-11-24T00:00:00Z/2026-11-25T00:00:00Z","job":"digits","time":"2026-11-26T00:00:00Z","why":"overlap"}"#,
        );
    }
}
