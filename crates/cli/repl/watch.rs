//! `\watch`: the last statement, again and again.

use std::time::Duration;

use chrono::Local;

use super::Prompt;
use crate::errors::Failure;
use crate::exit::Ending;
use crate::notes::note;
use crate::output::TableFit;
use crate::prepared::Place;

/// The arguments of `\watch`.
#[derive(Debug, PartialEq)]
struct WatchOptions {
    interval: Duration,
    /// Until Ctrl-C, if there is none.
    count: Option<u64>,
}

impl Default for WatchOptions {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(2),
            count: None,
        }
    }
}

/// Repeats the last statement until it fails, or Ctrl-C, or the last time is over.
pub(super) async fn run(
    prompt: &mut Prompt,
    options: Option<&str>,
) -> Result<Ending, Failure> {
    let options = WatchOptions::parse(options.unwrap_or_default())?;
    let Some(statement) = prompt.settings.last.clone() else {
        return Err(Failure::new("there is no statement to repeat")
            .hint("run one first, then \\watch"));
    };
    let statement = prompt.settings.fill(&statement)?;
    let mut times = 0;
    loop {
        if let TableFit::Screen(_) = prompt.runner.shown.fit {
            // A pager would wait for its user.
            prompt.runner.fit_screen(None);
        }
        let now = Local::now().format("%a %e %b %Y %H:%M:%S");
        let seconds = options.interval.as_secs_f64();
        note(&format!("{now} (every {seconds} s)"));
        if prompt.runner.run_text(&statement, Place::Prompt).await? != Ending::Finished {
            break;
        }
        times += 1;
        let is_last = options.count.is_some_and(|count| times >= count);
        if is_last || prompt.runner.pause(options.interval).await {
            break;
        }
    }
    // Ctrl-C is how it is meant to end.
    Ok(Ending::Finished)
}

impl WatchOptions {
    /// Reads `[SECONDS] [N]`; psql's `i=SECONDS c=N` are the same.
    fn parse(text: &str) -> Result<Self, Failure> {
        let mut options = Self::default();
        for (n, word) in text.split_whitespace().enumerate() {
            let (name, value) = match (word.split_once('='), n) {
                (Some(pair), _) => pair,
                (None, 0) => ("i", word),
                (None, _) => ("c", word),
            };
            match name {
                "i" => options.interval = interval(value)?,
                "c" => options.count = Some(count(value)?),
                _ => return Err(usage(&format!("does not know {word}"))),
            }
        }
        Ok(options)
    }
}

fn interval(text: &str) -> Result<Duration, Failure> {
    let seconds = text.parse().ok();
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.ok_or_else(|| usage(&format!("waits a number of seconds, got {text}")))
}

fn count(text: &str) -> Result<u64, Failure> {
    let count = text.parse().ok().filter(|count| *count > 0);
    count.ok_or_else(|| usage(&format!("repeats a number of times, got {text}")))
}

fn usage(problem: &str) -> Failure {
    Failure::new(format!("\\watch {problem}")).hint("\\watch [SECONDS] [N]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, seconds: f64, count: Option<u64>) {
        let options = WatchOptions::parse(text).unwrap();
        assert_eq!(options.interval, Duration::from_secs_f64(seconds));
        assert_eq!(options.count, count);
    }

    #[test]
    fn reads_seconds_and_times() {
        check("", 2.0, None);
        check("0.5", 0.5, None);
        check("5 3", 5.0, Some(3));
        check("c=3 i=1", 1.0, Some(3));
    }

    #[test]
    fn refuses_what_it_does_not_know() {
        for text in ["x", "-1", "1 0", "1 x", "z=1", "inf"] {
            let failure = WatchOptions::parse(text).unwrap_err();
            assert!(
                failure.message.starts_with("\\watch "),
                "{text}: {failure:?}"
            );
        }
    }
}
