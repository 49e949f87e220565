//! The files that a name stands for.

use std::collections::{BTreeSet, HashSet};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, plan_datafusion_err, plan_err,
};
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

use super::logs::{LOG, table_of_log};
use super::name::{Kind, Named, Place, Wildcard};
use crate::stores::{cut, local_path, without_dots};
use crate::{CallContext, Location};

/// A file as it was when it was listed.
#[derive(Debug, Clone)]
pub struct FileEntry {
    /// A path or URL that finds the file again.
    pub filename: String,
    /// Bytes in the file.
    pub size: u64,
    /// Microseconds since 1970, where the file's home knows.
    pub last_modified: Option<i64>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    // A local path is kept as the system gave it: it need not be valid Unicode.
    Local(PathBuf, SystemTime),
    Stored(Arc<dyn ObjectStore>, ObjectMeta),
}

impl FileEntry {
    /// Whether [`find_again`](Self::find_again) would find this file.
    pub fn is_found_by_name(&self) -> bool {
        match &self.source {
            // A path that is not valid Unicode has another name than its own.
            Source::Local(path, _) => path.to_str() == Some(self.filename.as_str()),
            Source::Stored(..) => true,
        }
    }

    /// A file that another process listed.
    pub fn find_again(
        filename: String,
        size: u64,
        last_modified: Option<i64>,
        context: &CallContext,
    ) -> Result<Self> {
        let source = match local_path(context.directory.as_deref(), &filename) {
            Some(path) => Source::Local(path, UNIX_EPOCH),
            None => {
                let Location { store, path, .. } = context.locate(&filename)?;
                let object = ObjectMeta {
                    location: path,
                    last_modified: UNIX_EPOCH.into(),
                    size,
                    e_tag: None,
                    version: None,
                };
                Source::Stored(store, object)
            }
        };
        Ok(Self {
            filename,
            size,
            last_modified,
            source,
        })
    }

    /// The file as an object of its store; `None` if its name cannot be one's.
    pub fn object(&self) -> Option<ObjectMeta> {
        match &self.source {
            Source::Stored(_, object) => Some(object.clone()),
            Source::Local(path, modified) => Some(ObjectMeta {
                location: object_path(path)?,
                last_modified: (*modified).into(),
                size: self.size,
                e_tag: None,
                version: None,
            }),
        }
    }

    /// The whole content.
    pub async fn read(&self) -> Result<Bytes> {
        let read = match &self.source {
            Source::Local(path, _) => tokio::fs::read(path)
                .await
                .map(Bytes::from)
                .map_err(|error| error.to_string()),
            Source::Stored(store, object) => {
                let read = async { store.get(&object.location).await?.bytes().await };
                read.await.map_err(|error| error.to_string())
            }
        };
        read.map_err(|reason| {
            exec_datafusion_err!(
                "cannot read {}, which was there when the statement began: {reason}",
                self.filename
            )
        })
    }
}

/// Lists the files that a text stands for, in the order of their names.
///
/// A text that stands for no file is an error: it is a typing mistake far more
/// often than an empty folder, and zero rows would hide it.
pub async fn list(text: &str) -> Result<Vec<FileEntry>> {
    let named = Named::of(None, text).await?;
    let files = named.files().await?;
    if !files.is_empty() {
        return Ok(files);
    }
    match (&named.place, &named.kind) {
        (Place::Local(_), Kind::Folder) => {
            plan_err!("no file in the folder '{text}'; hidden files do not count")
        }
        (Place::Local(path), Kind::Missing) => {
            plan_err!("file not found: '{text}'; check the path{}", start_of(path))
        }
        (Place::Local(folder), _) => plan_err!(
            "no file matches '{text}'; check the pattern and its folder{}",
            start_of(folder)
        ),
        (Place::Stored(location), _) if is_web(location) => {
            plan_err!("file not found: {location}; check the path")
        }
        (Place::Stored(_), _) => plan_err!(
            "no file matches '{text}'; check the bucket, the pattern and the credentials"
        ),
    }
}

fn is_web(location: &Location) -> bool {
    location.url.scheme().starts_with("http")
}

/// Says where a relative path starts, which is what usually is wrong with one.
fn start_of(path: &FilePath) -> String {
    match std::env::current_dir() {
        Ok(folder) if path.is_relative() => {
            format!(" (relative paths start at {})", folder.display())
        }
        _ => String::new(),
    }
}

/// What a name stands for, as it was when it was listed.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The files, in the order of their names.
    pub(super) files: Vec<FileEntry>,
    /// The folders with the log of a Delta table that were met on the way: the one that a
    /// pattern starts at, and those below it that files were looked for in.
    pub(super) tables: BTreeSet<Path>,
}

impl Named {
    /// The files there are now, in the order of their names.
    pub async fn files(&self) -> Result<Vec<FileEntry>> {
        Ok(self.listing().await?.files)
    }

    pub(super) async fn listing(&self) -> Result<Listing> {
        let mut listing = match &self.place {
            Place::Local(path) => {
                let (path, kind) = (path.clone(), self.kind.clone());
                tokio::task::spawn_blocking(move || list_local(path, &kind))
                    .await
                    .map_err(|error| DataFusionError::External(Box::new(error)))??
            }
            Place::Stored(location) => self.list_stored(location).await?,
        };
        let files = &mut listing.files;
        files.sort_by(|a, b| a.filename.cmp(&b.filename));
        Ok(listing)
    }

    async fn list_stored(&self, location: &Location) -> Result<Listing> {
        let wildcard = match &self.kind {
            Kind::Missing => return Ok(Listing::default()),
            Kind::File(found) => {
                let name = match is_web(location) {
                    true => self.text.clone(),
                    false => url_of(location, &self.text),
                };
                let found = found.iter().cloned();
                let entry = |found| stored_entry(&location.store, name.clone(), found);
                return Ok(Listing {
                    files: found.map(entry).collect(),
                    tables: BTreeSet::new(),
                });
            }
            Kind::Folder => None,
            Kind::Pattern(wildcard) => Some(wildcard),
        };
        let below: Vec<ObjectMeta> = location
            .store
            .list(Some(&location.path))
            .try_collect()
            .await
            .map_err(|error| location.error(error))?;
        let matches = |object: &ObjectMeta| {
            wildcard.is_none_or(|wildcard| {
                let below = object.location.prefix_match(&location.path);
                let name: Option<Vec<_>> = below.map(Iterator::collect);
                let name = name.map(|parts| {
                    let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
                    parts.join("/")
                });
                name.is_some_and(|name| wildcard.matches(&name))
            })
        };
        let entry = |object: ObjectMeta| {
            let name = url_of(&location.at(object.location.clone()), &self.text);
            stored_entry(&location.store, name, object)
        };
        // Here the whole folder is listed, whatever the pattern.
        let logs = below.iter().map(|object| &object.location);
        let logs = logs.filter_map(table_of_log);
        Ok(Listing {
            tables: logs.collect(),
            files: below.into_iter().filter(matches).map(entry).collect(),
        })
    }
}

/// The URL of an object as a text in which nothing is escaped but what would be read as
/// something else, in the same words as the name that found it.
pub(super) fn url_of(location: &Location, text: &str) -> String {
    let key = location.path.as_ref().replace('%', "%25");
    let key = key.replace('?', "%3F").replace('#', "%23");
    format!("{}/{key}", cut(text).0)
}

fn stored_entry(
    store: &Arc<dyn ObjectStore>,
    filename: String,
    object: ObjectMeta,
) -> FileEntry {
    FileEntry {
        filename,
        size: object.size,
        last_modified: Some(object.last_modified.timestamp_micros()),
        source: Source::Stored(Arc::clone(store), object),
    }
}

fn list_local(path: PathBuf, kind: &Kind) -> Result<Listing> {
    let wildcard = match kind {
        Kind::Missing => return Ok(Listing::default()),
        Kind::File(_) => {
            return Ok(Listing {
                files: vec![local_entry(path)?],
                tables: BTreeSet::new(),
            });
        }
        Kind::Folder if !path.is_dir() => return Ok(Listing::default()),
        Kind::Folder => None,
        Kind::Pattern(_) if !path.as_os_str().is_empty() && !path.is_dir() => {
            return Ok(Listing::default());
        }
        Kind::Pattern(wildcard) => Some(wildcard.as_ref()),
    };
    let mut walk = Walk {
        wildcard,
        seen: HashSet::new(),
        found: Listing::default(),
    };
    walk.below(&path, "")?;
    Ok(walk.found)
}

/// Goes through a folder, through links, each folder once.
struct Walk<'a> {
    wildcard: Option<&'a Wildcard>,
    seen: HashSet<PathBuf>,
    found: Listing,
}

impl Walk<'_> {
    /// Takes the files of a folder: all but the hidden ones, or those that match.
    fn below(&mut self, folder: &FilePath, name: &str) -> Result<()> {
        let unreadable = |error: std::io::Error| {
            plan_datafusion_err!("cannot list '{}': {error}", folder.display())
        };
        // A pattern without a folder looks where relative paths start.
        let opened = match folder.as_os_str().is_empty() {
            true => FilePath::new("."),
            false => folder,
        };
        if !self.seen.insert(opened.canonicalize().map_err(unreadable)?) {
            return Ok(());
        }
        for entry in opened.read_dir().map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            let file = entry.file_name();
            if self.wildcard.is_none() && file.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let path = folder.join(&file);
            // What is not valid Unicode in a name matches `?` and `*` all the same.
            let name = format!("{name}{}", file.to_string_lossy());
            if path.is_dir() {
                if file == LOG {
                    self.found.tables.extend(object_path(folder));
                }
                if self.wildcard.is_none_or(|wanted| wanted.goes_into(&name)) {
                    self.below(&path, &format!("{name}/"))?;
                }
            } else if path.is_file() && self.wildcard.is_none_or(|w| w.matches(&name)) {
                self.found.files.push(local_entry(path)?);
            }
        }
        Ok(())
    }
}

/// A path of this machine as its store of objects knows it; `None` if it cannot.
fn object_path(path: &FilePath) -> Option<Path> {
    // A pattern without a folder looks where relative paths start.
    let path = match path.as_os_str().is_empty() {
        true => FilePath::new("."),
        false => path,
    };
    let absolute = std::path::absolute(path).ok()?;
    Path::from_absolute_path(without_dots(&absolute)).ok()
}

fn local_entry(path: PathBuf) -> Result<FileEntry> {
    let metadata = path.metadata().map_err(|error| {
        plan_datafusion_err!("cannot read '{}': {error}", path.display())
    })?;
    let modified = metadata.modified().unwrap_or(UNIX_EPOCH);
    let since = metadata.modified().ok();
    let since = since.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(FileEntry {
        filename: path.to_string_lossy().into_owned(),
        size: metadata.len(),
        last_modified: since.and_then(|since| i64::try_from(since.as_micros()).ok()),
        source: Source::Local(path, modified),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A folder with a few files, and the names that a pattern below it finds.
    async fn names(pattern: &str) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        for file in [
            "a.jpg",
            "b.png",
            "deep/c.jpg",
            "deep/er/d.jpg",
            ".hidden.jpg",
            "x[1].jpg",
        ] {
            let path = folder.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, file).unwrap();
        }
        let root = folder.path().to_str().unwrap();
        let files = list(&format!("{root}/{pattern}")).await?;
        let below = |file: &FileEntry| file.filename[root.len() + 1..].to_string();
        Ok(files.iter().map(below).collect())
    }

    #[track_caller]
    fn check(found: Result<Vec<String>>, expected: &[&str]) {
        assert_eq!(found.unwrap(), expected);
    }

    #[tokio::test]
    async fn a_star_stays_in_its_folder_and_skips_hidden_files() {
        check(names("*.jpg").await, &["a.jpg", "x[1].jpg"]);
    }

    #[tokio::test]
    async fn two_stars_go_down() {
        check(
            names("**/*.jpg").await,
            &["a.jpg", "deep/c.jpg", "deep/er/d.jpg", "x[1].jpg"],
        );
        check(
            names("deep/**/*.jpg").await,
            &["deep/c.jpg", "deep/er/d.jpg"],
        );
    }

    #[tokio::test]
    async fn a_folder_is_all_its_files() {
        check(
            names("").await,
            &["a.jpg", "b.png", "deep/c.jpg", "deep/er/d.jpg", "x[1].jpg"],
        );
    }

    #[tokio::test]
    async fn classes_and_question_marks_match_one_character() {
        check(names("[ab].???").await, &["a.jpg", "b.png"]);
    }

    #[tokio::test]
    async fn a_file_named_like_a_pattern_is_itself() {
        check(names("x[1].jpg").await, &["x[1].jpg"]);
    }

    #[tokio::test]
    async fn nothing_found_is_an_error_that_says_what_to_check() {
        let error = names("*.gif").await.unwrap_err().strip_backtrace();
        assert!(error.contains("/*.gif'; check the pattern"), "{error}");
        let error = names("z.jpg").await.unwrap_err().strip_backtrace();
        assert!(error.contains("file not found"), "{error}");
        let error = list("missing/z.jpg").await.unwrap_err().strip_backtrace();
        assert!(error.contains("relative paths start at /"), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_link_to_its_own_folder_ends() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "a").unwrap();
        std::os::unix::fs::symlink(folder.path(), folder.path().join("loop")).unwrap();
        assert_eq!(
            list(folder.path().to_str().unwrap()).await.unwrap().len(),
            1
        );
    }

    #[tokio::test]
    async fn a_file_that_vanished_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("gone.jpg");
        fs::write(&path, "x").unwrap();
        let files = list(path.to_str().unwrap()).await.unwrap();
        fs::remove_file(&path).unwrap();
        let error = files[0].read().await.unwrap_err().strip_backtrace();
        assert!(error.contains("gone.jpg, which was there"), "{error}");
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn names_that_are_not_unicode_or_have_control_characters_are_listed() {
        use std::ffi::OsStr;
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        let odd: [&[u8]; 3] = [b"a\xff.png", b"b\n.png", b"c.png"];
        for name in odd {
            fs::write(folder.path().join(OsStr::from_bytes(name)), "x").unwrap();
        }
        let root = folder.path().to_str().unwrap();
        for text in [
            format!("{root}/*.png"),
            format!("{root}/?*.png"),
            root.to_string(),
        ] {
            let files = list(&text).await.unwrap();
            assert_eq!(files.len(), odd.len(), "{text}");
            for file in &files {
                assert_eq!(file.read().await.unwrap(), "x", "{text}");
            }
        }
    }
}
