//! What the schedule says on standard error: a line for each thing that happens.

use atoll_jobs::Interval;
use atoll_jobs::rfc3339;
use atoll_jobs::schedule::{JobEvent, RunCounts, RunOutcome, ScheduleEvent, SkipReason};
use chrono::Utc;
use serde_json::{Value, json};

use crate::notes::{LogFormat, note};

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

    pub(super) fn write(self, event: &JobEvent<'_>) {
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
    pub(super) fn sum_up(self, summary: &RunCounts) {
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
                note(&if counts.is_empty() {
                    "nothing was run".to_string()
                } else {
                    counts.join(", ")
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

fn is_bad(what: &ScheduleEvent) -> bool {
    match what {
        ScheduleEvent::Ended { outcome, .. } => outcome.is_failure(),
        ScheduleEvent::Halted { .. } | ScheduleEvent::Skipped { .. } => true,
        _ => false,
    }
}

fn reason(why: SkipReason) -> &'static str {
    match why {
        SkipReason::Missed => "missed",
        SkipReason::Overlap => "overlap",
        SkipReason::Replaced => "replaced",
    }
}

fn text(event: &JobEvent<'_>) -> String {
    let job = &event.job.name;
    let again = |interval: &Interval| {
        format!(
            "; to run it: atoll backfill {job} --from {} --to {}",
            rfc3339(interval.start),
            rfc3339(interval.end)
        )
    };
    let (interval, text) = match &event.what {
        ScheduleEvent::Open(interval) => {
            let when = if interval.end > event.at {
                "next run"
            } else {
                "was due"
            };
            (interval, format!("{when} at {}", rfc3339(interval.end)))
        }
        ScheduleEvent::Started { interval, again } => (
            interval,
            if *again { "started again" } else { "started" }.to_string(),
        ),
        ScheduleEvent::Ended {
            interval,
            outcome,
            seconds,
        } => (
            interval,
            match outcome {
                RunOutcome::AlreadyDone => outcome.to_string(),
                outcome => format!("{outcome} after {seconds:.1} s"),
            },
        ),
        ScheduleEvent::Skipped {
            interval,
            count,
            why,
        } => {
            let runs = match count {
                1 => "skipped".to_string(),
                count => format!("{count} intervals skipped"),
            };
            let why = match why {
                SkipReason::Missed => "the tick was missed",
                SkipReason::Overlap => "an earlier run has not ended",
                SkipReason::Replaced => "a later one takes its place",
            };
            (interval, format!("{runs}: {why}{}", again(interval)))
        }
        ScheduleEvent::Cancelling { interval } => (interval, "cancelling".to_string()),
        ScheduleEvent::Busy { interval, until } => (
            interval,
            format!(
                "runs in another process; looking again at {}",
                rfc3339(*until)
            ),
        ),
        ScheduleEvent::Halted { interval } => (
            interval,
            "the job stops here; start the schedule again to go on".to_string(),
        ),
    };
    format!("{} {job} {interval} {text}", rfc3339(event.at))
}

fn json_line(event: &JobEvent<'_>) -> Value {
    let (name, interval, more) = match &event.what {
        ScheduleEvent::Open(interval) => ("open", interval, json!({})),
        ScheduleEvent::Started { interval, again } => {
            ("started", interval, json!({ "again": again }))
        }
        ScheduleEvent::Ended {
            interval,
            outcome,
            seconds,
        } => {
            let name = match outcome {
                RunOutcome::Succeeded => "succeeded",
                RunOutcome::AlreadyDone => "already_done",
                RunOutcome::Failed(_) => "failed",
                RunOutcome::TimedOut => "timed_out",
                RunOutcome::Cancelled => "cancelled",
                RunOutcome::AlreadyRunning => "already_running",
            };
            let error = match outcome {
                RunOutcome::Failed(message) => Some(message),
                _ => None,
            };
            (
                name,
                interval,
                json!({ "seconds": seconds, "error": error }),
            )
        }
        ScheduleEvent::Skipped {
            interval,
            count,
            why,
        } => {
            let why = reason(*why);
            ("skipped", interval, json!({ "count": count, "why": why }))
        }
        ScheduleEvent::Cancelling { interval } => ("cancelling", interval, json!({})),
        ScheduleEvent::Busy { interval, until } => (
            "already_running",
            interval,
            json!({ "until": rfc3339(*until) }),
        ),
        ScheduleEvent::Halted { interval } => ("halted", interval, json!({})),
    };
    let mut line = json!({
        "time": rfc3339(event.at),
        "event": name,
        "job": event.job.name,
        "interval": interval.to_string(),
    });
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more.into_iter().filter(|(_, value)| !value.is_null()));
    }
    line
}

#[cfg(test)]
mod tests {
    use atoll_jobs::schedule::ScheduledJob;
    use chrono::DateTime;

    use super::*;

    fn job() -> ScheduledJob {
        let text = "[job.digits]\nscript = \"a.sql\"\ncron = \"@daily\"";
        let jobs =
            atoll_jobs::schedule::JobFile::parse(text, "jobs.toml".as_ref()).unwrap();
        jobs.jobs.into_iter().next().unwrap()
    }

    #[track_caller]
    fn check(what: ScheduleEvent, expected: &str, expected_json: &str) {
        let at = DateTime::from_timestamp(1_795_651_200, 0).unwrap();
        let job = job();
        let event = JobEvent {
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
            ScheduleEvent::Ended {
                interval,
                outcome: RunOutcome::Failed("no such table: x".to_string()),
                seconds: 1.25,
            },
            "2026-11-26T00:00:00Z digits 2026-11-24T00:00:00Z/2026-11-25T00:00:00Z \
             failed: no such table: x after 1.2 s",
            r#"{"error":"no such table: x","event":"failed","interval":"2026-11-24T00:00:00Z/2026-11-25T00:00:00Z","job":"digits","seconds":1.25,"time":"2026-11-26T00:00:00Z"}"#,
        );
        check(
            ScheduleEvent::Skipped {
                interval,
                count: 1,
                why: SkipReason::Overlap,
            },
            "2026-11-26T00:00:00Z digits 2026-11-24T00:00:00Z/2026-11-25T00:00:00Z \
             skipped: an earlier run has not ended; to run it: atoll backfill digits \
             --from 2026-11-24T00:00:00Z --to 2026-11-25T00:00:00Z",
            r#"{"count":1,"event":"skipped","interval":"2026-11-24T00:00:00Z/2026-11-25T00:00:00Z","job":"digits","time":"2026-11-26T00:00:00Z","why":"overlap"}"#,
        );
    }
}
