//! Where a budget of seconds cut a study, as the storage keeps it.
//!
//! Seconds are the one thing that ends a study at another place on another machine. So the
//! number of trainings that had started is kept: with `{trainings: n}` the same statement
//! gives the rows of the cut study anywhere, and without a budget it goes on from there.

use atoll_udf_common::{Location, storage_root};
use datafusion::common::config::ConfigOptions;
use datafusion::common::{Result, exec_datafusion_err};
use object_store::{ObjectStoreExt, PutPayload};
use serde::{Deserialize, Serialize};

/// One cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Cut {
    /// How many trainings had started; those ended, and no other did.
    pub(super) trainings: u64,
    /// How many trials had a row.
    pub(super) trials: u64,
    /// The budget that was over.
    pub(super) budget_seconds: f64,
    /// When, in UTC.
    pub(super) at: String,
}

/// The cuts of a study, the latest last, in `studies/<study>.json` of the storage.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    /// What the statement asks for, in the words of EXPLAIN.
    study: String,
    cuts: Vec<Cut>,
}

/// Now, as a record has it.
pub(super) fn now() -> String {
    chrono::Utc::now().format("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Where the record of a study is.
fn location(id: &str, options: &ConfigOptions) -> Result<Location> {
    storage_root(options)?.join(&format!("studies/{id}.json"))
}

/// The latest cut of a study, if it was cut.
///
/// A record that cannot be read only lacks words in an EXPLAIN, so it counts as none.
pub(super) async fn latest(id: &str, options: &ConfigOptions) -> Option<Cut> {
    let location = location(id, options).ok()?;
    read(&location).await?.cuts.pop()
}

async fn read(location: &Location) -> Option<Record> {
    let bytes = location.store.get(&location.path).await.ok()?;
    serde_json::from_slice(&bytes.bytes().await.ok()?).ok()
}

/// Adds a cut to the record of a study. The same cut again is the same.
pub(super) async fn keep(
    id: &str,
    study: String,
    cut: Cut,
    options: &ConfigOptions,
) -> Result<()> {
    let location = location(id, options)?;
    let mut record = read(&location).await.unwrap_or_default();
    record.study = study;
    record.cuts.retain(|other| other.trainings != cut.trainings);
    record.cuts.push(cut);
    let json = serde_json::to_vec_pretty(&record)
        .map_err(|error| exec_datafusion_err!("a cut cannot be kept: {error}"))?;
    let written = location.store.put(&location.path, PutPayload::from(json));
    written.await.map_err(|error| location.error(error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use atoll_udf_common::AtollOptions;
    use datafusion::execution::config::SessionConfig;

    use super::*;

    fn cut(trainings: u64) -> Cut {
        Cut {
            trainings,
            trials: 3,
            budget_seconds: 0.5,
            at: now(),
        }
    }

    #[tokio::test]
    async fn the_latest_cut_is_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = SessionConfig::new();
        let options = AtollOptions {
            storage: folder.path().display().to_string(),
            ..AtollOptions::default()
        };
        config.options_mut().extensions.insert(options);
        let options = config.options();
        assert_eq!(latest("ab", options).await, None);
        for trainings in [5, 9, 7] {
            let cut = cut(trainings);
            keep("ab", "a study".to_string(), cut, options)
                .await
                .unwrap();
        }
        keep("ab", String::new(), cut(9), options).await.unwrap();
        let found = latest("ab", options).await.unwrap();
        assert_eq!(found.trainings, 9);
        let file = folder.path().join("studies/ab.json");
        let location = Location::parse(&file.display().to_string()).unwrap();
        let trainings = read(&location).await.unwrap().cuts;
        let trainings: Vec<u64> = trainings.iter().map(|cut| cut.trainings).collect();
        assert_eq!(trainings, [5, 7, 9]);
        std::fs::write(file, "damaged").unwrap();
        assert_eq!(latest("ab", options).await, None);
    }
}
