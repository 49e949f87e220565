//! Where names are kept: a file for each change, numbered, `model_names/<name>/<n>.json`.
//!
//! A file says all there is to say of the name after the change. It is written only if
//! there is none of its number, on disk as in a bucket, so of two writers at once one is
//! first, and the other reads what that one did and does its own change to it: no version
//! is ever lost. Files are not changed and stay, which makes them a history.

use std::collections::BTreeMap;

use bytes::Bytes;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, exec_err, plan_datafusion_err,
};
use futures::{StreamExt, TryStreamExt, stream};
use object_store::ObjectStoreExt;
use sha2::{Digest, Sha256};

use super::model::{LAYOUT, NamedModel, Version, now};
use super::{Reference, Which, check_name};
use crate::model::ModelFailure;
use crate::{Location, StoreError};

/// The folder of a storage that has the names.
const FOLDER: &str = "model_names";

/// How often a change is tried while others change the same name.
const ATTEMPTS: usize = 1_000;

/// How many names are read at once.
const READS: usize = 32;

/// The names of models in a storage.
#[derive(Debug, Clone)]
pub struct ModelNames {
    storage: Location,
}

/// The version that a reference stands for.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// The name with the number, `digits@2`.
    pub name: String,
    /// The number.
    pub number: u64,
    /// Of the ONNX file.
    pub sha256: String,
    /// The ONNX file.
    pub location: Location,
}

/// What a change did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Changed {
    /// There is a new version, of this number.
    Added(u64),
    /// The newest version, of this number, has the same content, so none was added.
    Same(u64),
    /// There was a model of this name, which was to be left as it is.
    Existed,
}

/// Whether a version may be added to a name that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Existing {
    Replaced,
    Refused,
    Left,
}

impl ModelNames {
    /// The names in this storage. Nothing is read or created yet.
    pub fn new(storage: Location) -> Self {
        Self { storage }
    }

    /// The model of a name, if there is one.
    pub async fn find(&self, name: &str) -> Result<Option<NamedModel>> {
        let (_, model) = self.latest(name).await?;
        Ok(model.filter(|model| !model.versions.is_empty()))
    }

    /// All models that have names, in the order of these.
    pub async fn all(&self) -> Result<Vec<NamedModel>> {
        let folder = self.storage.join(FOLDER)?;
        let mut newest: BTreeMap<String, u64> = BTreeMap::new();
        let mut files = folder.store.list(Some(&folder.path));
        while let Some(file) = files.next().await {
            let file = file.map_err(|error| folder.error(error))?;
            let below = file.location.prefix_match(&folder.path);
            let parts: Vec<String> = below
                .map(|parts| parts.map(|part| part.as_ref().to_string()).collect())
                .unwrap_or_default();
            if let [name, file] = &parts[..]
                && let Some(number) = number(file)
            {
                let known = newest.entry(name.clone()).or_default();
                *known = number.max(*known);
            }
        }
        let models = stream::iter(newest).map(|(name, number)| async move {
            self.read(&self.file(&name, number)?).await
        });
        let models: Vec<NamedModel> = models.buffered(READS).try_collect().await?;
        let there = models
            .into_iter()
            .filter(|model| !model.versions.is_empty());
        Ok(there.collect())
    }

    /// The file of a version of a model.
    pub fn version(
        &self,
        model: &NamedModel,
        which: &Which,
    ) -> Result<Resolved, ModelFailure> {
        let version = model.expect(which)?;
        let location = self.file_of(&version.sha256);
        let location = location.map_err(|error| {
            ModelFailure::new("MODEL_NOT_FOUND", error.message().to_string())
        })?;
        Ok(Resolved {
            name: format!("{}@{}", model.name, version.number),
            number: version.number,
            sha256: version.sha256.clone(),
            location,
        })
    }

    /// Where the storage keeps the ONNX file of this content.
    pub fn file_of(&self, sha256: &str) -> Result<Location> {
        self.storage.join(&format!("models/{sha256}.onnx"))
    }

    /// Why nothing is found under a name, with one that is like it.
    pub async fn unknown(&self, reference: &Reference) -> ModelFailure {
        let name = &reference.name;
        let names = self.all().await.unwrap_or_default();
        let names = names.iter().map(|model| model.name.as_str());
        let hint = match atoll_suggest::nearest(name, names) {
            Some(near) => format!("did you mean '{near}'?"),
            None => "SHOW MODELS lists the models".to_string(),
        };
        let message = format!("there is no model {name} and no such file; {hint}");
        ModelFailure::new("MODEL_NOT_FOUND", message)
    }

    /// The model of a name, or the error that there is none.
    pub async fn expect(&self, name: &str) -> Result<NamedModel> {
        match self.find(name).await? {
            Some(model) => Ok(model),
            None => Err(self.missing(name).await),
        }
    }

    /// The version that a reference means, or the error that there is none.
    pub async fn resolve(&self, reference: &Reference) -> Result<Resolved> {
        let model = self.expect(&reference.name).await?;
        self.version(&model, &reference.which).map_err(as_plan)
    }

    async fn missing(&self, name: &str) -> DataFusionError {
        let names = self.all().await.unwrap_or_default();
        let names = names.iter().map(|model| model.name.as_str());
        match atoll_suggest::nearest(name, names) {
            Some(near) => {
                plan_datafusion_err!("there is no model {name}; did you mean {near}?")
            }
            None => plan_datafusion_err!(
                "there is no model {name}; SHOW MODELS lists the models"
            ),
        }
    }

    /// Keeps the ONNX file of a model unless it is there; its SHA-256 is given.
    pub async fn keep(&self, bytes: Bytes) -> Result<String> {
        let sha256 = hex::encode(Sha256::digest(&bytes));
        let location = self.file_of(&sha256)?;
        if !location.exists().await? {
            let created = location.create(bytes.into()).await;
            created.map_err(|error| unwritable(&location, error))?;
        }
        Ok(sha256)
    }

    /// Gives a model a name, as the next version of it. `or_replace` allows that there is a
    /// model of this name, `if_not_exists` leaves that as it is.
    pub async fn add(
        &self,
        name: &str,
        version: &Version,
        or_replace: bool,
        if_not_exists: bool,
        change: &str,
    ) -> Result<Changed> {
        check_name("model", name)?;
        let existing = match (or_replace, if_not_exists) {
            (true, _) => Existing::Replaced,
            (_, true) => Existing::Left,
            _ => Existing::Refused,
        };
        self.change(name, change, |model| {
            let newest = model.newest();
            if let Some(last) = model.versions.last() {
                match existing {
                    Existing::Left => return Ok(Done::Unchanged(Changed::Existed)),
                    // A statement that is run again after its end was not heard of.
                    _ if last.sha256 == version.sha256
                        && last.statement == version.statement =>
                    {
                        return Ok(Done::Unchanged(Changed::Same(newest)));
                    }
                    Existing::Refused => return Err(exists(name, newest)),
                    Existing::Replaced if last.sha256 == version.sha256 => {
                        return Ok(Done::Unchanged(Changed::Same(newest)));
                    }
                    Existing::Replaced => {}
                }
            }
            let number = model.next;
            model.next += 1;
            model.versions.push(Version {
                number,
                ..version.clone()
            });
            Ok(Done::Changed(Changed::Added(number)))
        })
        .await
    }

    /// Lets an alias stand for a version; the number of that is given.
    pub async fn set_alias(
        &self,
        name: &str,
        alias: &str,
        to: &Which,
        change: &str,
    ) -> Result<u64> {
        check_name("alias", alias)?;
        if !matches!(Which::parse(alias), Some(Which::Alias(_))) {
            return Err(plan_datafusion_err!(
                "the name of an alias has a letter, since {name}@{alias} is version \
                 {alias}, got '{alias}'"
            ));
        }
        self.expect(name).await?;
        self.change(name, change, |model| {
            let number = model.expect(to).map_err(as_plan)?.number;
            let before = model.aliases.insert(alias.to_string(), number);
            Ok(match before == Some(number) {
                true => Done::Unchanged(number),
                false => Done::Changed(number),
            })
        })
        .await
    }

    /// Removes an alias and nothing else.
    pub async fn drop_alias(&self, name: &str, alias: &str, change: &str) -> Result<()> {
        self.expect(name).await?;
        self.change(name, change, |model| {
            let alias = Which::Alias(alias.to_string());
            model.expect(&alias).map_err(as_plan)?;
            if let Which::Alias(alias) = &alias {
                model.aliases.remove(alias);
            }
            Ok(Done::Changed(()))
        })
        .await
    }

    /// Removes a version, which no alias may stand for. Its file stays: trials know it.
    pub async fn drop_version(
        &self,
        name: &str,
        number: u64,
        change: &str,
    ) -> Result<()> {
        self.expect(name).await?;
        self.change(name, change, |model| {
            let which = Which::Number(number);
            model.expect(&which).map_err(as_plan)?;
            let alias = model.aliases.iter().find(|(_, at)| **at == number);
            if let Some((alias, _)) = alias {
                return Err(exec_datafusion_err!(
                    "version {number} of model {name} has the alias {alias}; move that \
                     first: ALTER MODEL {name} SET ALIAS {alias} = .."
                ));
            }
            if model.versions.len() == 1 {
                return Err(exec_datafusion_err!(
                    "version {number} is all that model {name} has; write DROP MODEL {name}"
                ));
            }
            model.versions.retain(|version| version.number != number);
            Ok(Done::Changed(()))
        })
        .await
    }

    /// Removes a name with its versions and aliases; whether there was one.
    pub async fn drop_model(&self, name: &str, change: &str) -> Result<bool> {
        if self.find(name).await?.is_none() {
            return Ok(false);
        }
        self.change(name, change, |model| {
            if model.versions.is_empty() {
                return Ok(Done::Unchanged(false));
            }
            model.versions.clear();
            model.aliases.clear();
            Ok(Done::Changed(true))
        })
        .await
    }

    /// Changes a name: reads what there is, changes that, and writes the result if nobody
    /// wrote meanwhile; else once more.
    async fn change<T>(
        &self,
        name: &str,
        change: &str,
        mut apply: impl FnMut(&mut NamedModel) -> Result<Done<T>>,
    ) -> Result<T> {
        for _ in 0..ATTEMPTS {
            let (number, model) = self.latest(name).await?;
            let mut model = model.unwrap_or_else(|| NamedModel::new(name));
            let done = match apply(&mut model)? {
                Done::Unchanged(done) => return Ok(done),
                Done::Changed(done) => done,
            };
            model.change = change.to_string();
            model.changed_at = now();
            let json = serde_json::to_vec_pretty(&model)
                .map_err(|error| exec_datafusion_err!("cannot write a name: {error}"))?;
            let file = self.file(name, number + 1)?;
            let created = file.create(json.into()).await;
            if created.map_err(|error| unwritable(&file, error))? {
                return Ok(done);
            }
        }
        exec_err!("model {name} is changed by others all the time; try again later")
    }

    /// The number of a name's last change, 0 if it had none, and what it says.
    async fn latest(&self, name: &str) -> Result<(u64, Option<NamedModel>)> {
        if check_name("model", name).is_err() {
            return Ok((0, None));
        }
        let folder = self.storage.join(&format!("{FOLDER}/{name}"))?;
        let files = folder.store.list(Some(&folder.path));
        let numbers = files.map_ok(|file| file.location.filename().and_then(number));
        let newest = numbers
            .try_fold(None, async |newest, number| Ok(number.max(newest)))
            .await
            .map_err(|error| folder.error(error))?;
        match newest {
            Some(number) => {
                let model = self.read(&self.file(name, number)?).await?;
                Ok((number, Some(model)))
            }
            None => Ok((0, None)),
        }
    }

    fn file(&self, name: &str, number: u64) -> Result<Location> {
        self.storage
            .join(&format!("{FOLDER}/{name}/{number:010}.json"))
    }

    async fn read(&self, file: &Location) -> Result<NamedModel> {
        let found = async { file.store.get(&file.path).await?.bytes().await };
        let json = found.await.map_err(|error| file.error(error))?;
        let model: NamedModel = serde_json::from_slice(&json)
            .map_err(|error| exec_datafusion_err!("{file} is damaged: {error}"))?;
        if model.layout != LAYOUT {
            return exec_err!(
                "{file} has the layout {}, which is that of another Atoll",
                model.layout
            );
        }
        Ok(model)
    }
}

/// What becomes of a change.
enum Done<T> {
    Changed(T),
    /// Nothing is to be written.
    Unchanged(T),
}

/// The number of a change from the name of its file.
fn number(file: &str) -> Option<u64> {
    let digits = file.strip_suffix(".json")?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

fn exists(name: &str, newest: u64) -> DataFusionError {
    exec_datafusion_err!(
        "there is a model {name}, whose newest version is {newest}; CREATE OR REPLACE MODEL \
         {name} adds a version"
    )
}

fn as_plan(failure: ModelFailure) -> DataFusionError {
    DataFusionError::Plan(failure.message)
}

fn unwritable(location: &Location, error: object_store::Error) -> DataFusionError {
    StoreError::new(&format!("cannot write {location}"), location, error)
        .advise("choose another folder with SET atoll.storage")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> (tempfile::TempDir, ModelNames) {
        let folder = tempfile::tempdir().unwrap();
        let root = Location::parse(&folder.path().display().to_string()).unwrap();
        (folder, ModelNames::new(root))
    }

    async fn add(names: &ModelNames, sha256: &str) -> Changed {
        let version = Version::new(sha256.to_string(), 1);
        let added = names.add("digits", &version, true, false, "CREATE");
        added.await.unwrap()
    }

    #[tokio::test]
    async fn a_version_is_added_for_each_content() {
        let (_folder, names) = names();
        assert_eq!(names.find("digits").await.unwrap(), None);
        assert_eq!(add(&names, "a").await, Changed::Added(1));
        assert_eq!(add(&names, "a").await, Changed::Same(1));
        assert_eq!(add(&names, "b").await, Changed::Added(2));
        assert_eq!(add(&names, "a").await, Changed::Added(3));
        let model = names.find("digits").await.unwrap().unwrap();
        let of = |which: Which| model.get(&which).map(|version| version.number);
        assert_eq!(of(Which::Newest), Some(3));
        assert_eq!(of(Which::Number(2)), Some(2));
        assert_eq!(of(Which::Number(4)), None);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn writers_at_once_lose_no_version_and_no_alias() {
        const WRITERS: usize = 8;
        const EACH: usize = 6;
        let (_folder, names) = names();
        let writers: Vec<_> = (0..WRITERS)
            .map(|who| {
                let names = names.clone();
                tokio::spawn(async move {
                    for n in 0..EACH {
                        add(&names, &format!("{who}-{n}")).await;
                        let alias = format!("of-{who}");
                        let set = names.set_alias("digits", &alias, &Which::Newest, "x");
                        set.await.unwrap();
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        let model = names.find("digits").await.unwrap().unwrap();
        let numbers: Vec<u64> = model.versions.iter().map(|v| v.number).collect();
        let expected: Vec<u64> = (1..=(WRITERS * EACH) as u64).collect();
        assert_eq!(numbers, expected);
        let mut hashes: Vec<_> = model.versions.iter().map(|v| &v.sha256).collect();
        hashes.sort();
        hashes.dedup();
        assert_eq!(hashes.len(), WRITERS * EACH);
        assert_eq!(model.aliases.len(), WRITERS);
    }

    #[tokio::test]
    async fn the_number_of_a_version_is_used_once() {
        let (_folder, names) = names();
        add(&names, "a").await;
        add(&names, "b").await;
        names.drop_version("digits", 2, "x").await.unwrap();
        assert_eq!(add(&names, "c").await, Changed::Added(3));
        assert!(names.drop_model("digits", "x").await.unwrap());
        assert!(!names.drop_model("digits", "x").await.unwrap());
        assert_eq!(names.find("digits").await.unwrap(), None);
        assert!(names.all().await.unwrap().is_empty());
        assert_eq!(add(&names, "a").await, Changed::Added(4));
    }

    #[tokio::test]
    async fn a_version_with_an_alias_stays() {
        let (_folder, names) = names();
        add(&names, "a").await;
        add(&names, "b").await;
        let set = names.set_alias("digits", "champion", &Which::Number(1), "x");
        assert_eq!(set.await.unwrap(), 1);
        let error = names.drop_version("digits", 1, "x").await.unwrap_err();
        assert!(
            error.to_string().contains("has the alias champion"),
            "{error}"
        );
        for (alias, to) in [("champion", Which::Number(7)), ("7", Which::Number(1))] {
            assert!(names.set_alias("digits", alias, &to, "x").await.is_err());
        }
        let error = names
            .drop_alias("digits", "champoin", "x")
            .await
            .unwrap_err();
        assert!(error.to_string().contains("'digits@champion'"), "{error}");
        names.drop_alias("digits", "champion", "x").await.unwrap();
        names.drop_version("digits", 1, "x").await.unwrap();
    }

    #[tokio::test]
    async fn a_damaged_file_is_named() {
        let (folder, names) = names();
        add(&names, "a").await;
        let file = folder.path().join("model_names/digits/0000000001.json");
        std::fs::write(&file, "{").unwrap();
        let error = names.find("digits").await.unwrap_err().to_string();
        assert!(error.contains("0000000001.json is damaged"), "{error}");
    }
}
