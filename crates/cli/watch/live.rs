//! What `tune` leaves in the storage as it goes on, read for pages.

use std::sync::Arc;

use atoll_report::{About, Live, Subject, page};
use atoll_session::{Location, Session};
use chrono::{DateTime, Utc};
use datafusion::object_store::{Error, ObjectStoreExt, PutPayload};
use futures::TryStreamExt;
use serde::Deserialize;
use tokio::runtime::Handle;

use crate::errors::Failure;
use crate::report;

/// A study of which nothing was heard for so many seconds is not running any more: it says
/// every ten that it is.
const SILENT: i64 = 35;

/// How often the trials of a study that goes on are read, if that fails.
const TRIES: u32 = 3;

/// The states of studies that go on.
const GOES_ON: [&str; 2] = ["running", "stopping"];

/// The record of a study, as `udfs/search/src/tune/live.rs` writes it.
#[derive(Debug, Deserialize)]
struct Record {
    dataset: String,
    study: String,
    state: String,
    trials: Option<u64>,
    ended: u64,
    running: u64,
    /// That have begun; a trial that went on has several.
    trainings: u64,
    started_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

/// A study as a page shows it.
pub(super) struct Shown {
    pub(super) live: Live,
    /// When there was news of it, in words.
    pub(super) updated_at: String,
    /// Whether there will be no more news.
    pub(super) is_over: bool,
    /// The file with its trials.
    rows: String,
    started_at: DateTime<Utc>,
}

/// The storage, which a session reads.
pub(super) struct Storage {
    session: Arc<Session>,
    folder: Location,
    work: Handle,
}

impl Storage {
    pub(super) fn new(session: Arc<Session>, work: Handle) -> Result<Self, Failure> {
        let folder = Location::parse(&session.storage())?.join("live")?;
        Ok(Self {
            session,
            folder,
            work,
        })
    }

    /// The folder or URL as the user knows it.
    pub(super) fn name(&self) -> String {
        self.session.storage()
    }

    /// All studies, the latest first.
    pub(super) async fn studies(&self) -> Result<Vec<Live>, Failure> {
        let listed = self.folder.store.list(Some(&self.folder.path));
        let files: Vec<_> = listed
            .try_collect()
            .await
            .map_err(|error| self.folder.error(error))?;
        let mut all = Vec::new();
        for file in files {
            let id = file
                .location
                .filename()
                .and_then(|name| name.strip_suffix(".json"));
            if let Some(id) = id
                && let Some(shown) = self.study(id).await?
            {
                all.push(shown);
            }
        }
        all.sort_by_key(|shown| std::cmp::Reverse(shown.started_at));
        Ok(all.into_iter().map(|shown| shown.live).collect())
    }

    /// One study; none if there is none of this name.
    pub(super) async fn study(&self, id: &str) -> Result<Option<Shown>, Failure> {
        let Some(file) = self.file(id, "json")? else {
            return Ok(None);
        };
        let bytes = match file.store.get(&file.path).await {
            Ok(found) => found.bytes().await.map_err(|error| file.error(error))?,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(file.error(error).into()),
        };
        // Half of a record, from a process that was killed while it wrote.
        let Ok(record) = serde_json::from_slice::<Record>(&bytes) else {
            return Ok(None);
        };
        let rows = self.file(id, "parquet")?.unwrap_or(file);
        Ok(Some(shown(id, &record, rows.url.to_string(), Utc::now())))
    }

    /// The trials of a study that have ended; none before the first has.
    pub(super) async fn trials(&self, shown: &Shown) -> Result<Option<Subject>, Failure> {
        if shown.live.ended == 0 {
            return Ok(None);
        }
        let (session, rows) = (Arc::clone(&self.session), shown.rows.clone());
        let rows = rows
            .strip_prefix("file://")
            .map_or(rows.clone(), String::from);
        let read = self.on_work(async move {
            let mut tries = 1;
            loop {
                match report::read(&session, &rows).await {
                    // The file was written anew between two looks at it.
                    Err(_) if tries < TRIES => tries += 1,
                    read => return read,
                }
            }
        });
        let mut subject = read.await?;
        if let Subject::Study(study) = &mut subject {
            // Instead of the name of a file that its user did not write.
            study.name = format!("of {}", shown.live.name);
        }
        Ok(Some(subject))
    }

    /// Asks a study to start nothing any more.
    pub(super) async fn stop(&self, id: &str) -> Result<(), Failure> {
        let Some(file) = self.file(id, "stop")? else {
            return Ok(());
        };
        let put = file
            .store
            .put(&file.path, PutPayload::from_static(b"stop\n"));
        put.await.map_err(|error| file.error(error))?;
        Ok(())
    }

    /// The stored tables and views with trials or labelled images, with their pages.
    pub(super) async fn tables(&self) -> Result<Vec<(String, String)>, Failure> {
        let session = Arc::clone(&self.session);
        let names = self.on_work(async move {
            // A session knows the tables that there were when it was opened.
            report::tables(&session.sibling().await?).await
        });
        let paths = names.await?.into_iter().map(|name| {
            let path = format!("/table/{}", encoded(&name));
            (name, path)
        });
        Ok(paths.collect())
    }

    /// The report on a table.
    pub(super) async fn table(&self, name: &str, by: &str) -> Result<String, Failure> {
        let (session, name) = (Arc::clone(&self.session), name.to_string());
        let subject = self.on_work(async move {
            let session = session.sibling().await?;
            // A name that is no table's is no path to a file of this machine either.
            if !report::tables(&session).await?.contains(&name) {
                return Err(Failure::new(format!("no table {name} to show")));
            }
            report::read(&session, &name).await
        });
        let about = About {
            made_at: Utc::now().format("%Y-%m-%d %H:%M UTC").to_string(),
            made_by: by.to_string(),
        };
        Ok(page(&[subject.await?], &about)?)
    }

    /// The file of a study; none where that cannot be the name of one.
    fn file(&self, id: &str, ending: &str) -> Result<Option<Location>, Failure> {
        // A digest, so nothing that leads out of the folder.
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Ok(None);
        }
        Ok(Some(self.folder.join(&format!("{id}.{ending}"))?))
    }

    /// Runs what plans and computes where that keeps no page waiting.
    async fn on_work<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, Failure>> + Send + 'static,
    ) -> Result<T, Failure> {
        match self.work.spawn(work).await {
            Ok(done) => done,
            // The panic hook has said what happened.
            Err(_) => Err(Failure::new("the page was given up")),
        }
    }
}

/// What a page shows of a record.
fn shown(id: &str, record: &Record, rows: String, now: DateTime<Utc>) -> Shown {
    let silent = (now - record.updated_at).num_seconds();
    let goes_on = GOES_ON.contains(&record.state.as_str());
    let is_lost = goes_on && silent > SILENT;
    let state = if is_lost { "lost" } else { &record.state };
    let of = record.trials.map(|trials| format!(" of {trials}"));
    let mut parts = vec![
        format!("{}{} trials ended", record.ended, of.unwrap_or_default()),
        format!("{} trainings begun", record.trainings),
    ];
    if is_lost {
        parts.push(format!(
            "its process was last heard of {}",
            record.updated_at
        ));
    } else if goes_on {
        parts.push(format!("{} train now", record.running));
        parts.extend(left(record, now).map(|left| format!("about {left} left")));
    }
    let took = (record.updated_at - record.started_at).num_seconds();
    parts.push(format!("for {}", duration(took)));
    let live = Live {
        name: record.dataset.clone(),
        about: record.study.clone(),
        state: state.to_string(),
        ended: record.ended,
        wanted: record.trials,
        line: format!("{state}: {}", parts.join(", ")),
        can_stop: state == "running",
        path: format!("/study/{id}"),
    };
    Shown {
        live,
        updated_at: record
            .updated_at
            .format("%Y-%m-%d %H:%M:%S UTC")
            .to_string(),
        is_over: !goes_on || is_lost,
        rows,
        started_at: record.started_at,
    }
}

/// How long the trials that are left will take, if they take as long as those before.
fn left(record: &Record, now: DateTime<Utc>) -> Option<String> {
    // The first few say nothing about the others.
    let trials = record.trials.filter(|_| record.ended >= 3)?;
    let took = (now - record.started_at).num_milliseconds() as f64 / 1e3;
    let left = trials.saturating_sub(record.ended) as f64 / record.ended as f64 * took;
    Some(duration(left.ceil() as i64))
}

/// A number of seconds in words, of which the largest two units count.
fn duration(seconds: i64) -> String {
    let seconds = seconds.max(0);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A name as a part of a path.
fn encoded(name: &str) -> String {
    let mut text = String::new();
    for byte in name.bytes() {
        match byte {
            b'-' | b'_' => text.push(byte.into()),
            _ if byte.is_ascii_alphanumeric() => text.push(byte.into()),
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    fn record(state: &str) -> Record {
        let started_at = DateTime::UNIX_EPOCH;
        Record {
            dataset: "digits".to_string(),
            study: "a study".to_string(),
            state: state.to_string(),
            trials: Some(60),
            ended: 20,
            running: 2,
            trainings: 25,
            started_at,
            updated_at: started_at + TimeDelta::seconds(100),
        }
    }

    #[track_caller]
    fn check(state: &str, after: i64, line: &str, can_stop: bool, is_over: bool) {
        let now = DateTime::UNIX_EPOCH + TimeDelta::seconds(after);
        let shown = shown("ab", &record(state), String::new(), now);
        assert_eq!(shown.live.line, line);
        assert_eq!((shown.live.can_stop, shown.is_over), (can_stop, is_over));
    }

    #[test]
    fn a_line_says_how_far_a_study_is() {
        let line = "running: 20 of 60 trials ended, 25 trainings begun, 2 train now, \
                    about 3 min 20 s left, \
                    for 1 min 40 s";
        check("running", 100, line, true, false);
        let line = "finished: 20 of 60 trials ended, 25 trainings begun, for 1 min 40 s";
        check("finished", 9_000, line, false, true);
    }

    #[test]
    fn a_process_that_is_not_heard_of_is_lost() {
        let line = "lost: 20 of 60 trials ended, 25 trainings begun, its process was last heard of \
                    1970-01-01 00:01:40 UTC, for 1 min 40 s";
        check("running", 200, line, false, true);
    }

    #[test]
    fn names_of_tables_are_parts_of_paths() {
        assert_eq!(encoded("my table/ä"), "my%20table%2F%C3%A4");
        assert_eq!(duration(7_260), "2 h 1 min");
    }
}
