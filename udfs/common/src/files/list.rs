//! The files that a name stands for.

use std::collections::BTreeSet;
use std::path::{Path as FilePath, PathBuf};

use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::path::Path;
use tokio::sync::mpsc;

use super::entry::FileEntry;
use super::keys::{self, AT_ONCE, KeyRange, Objects, PAGE};
use super::logs::table_of_log;
use super::name::{Kind, Named, Place, wildcard};
use super::walk::{Finds, walk};
use crate::Location;
use crate::stores::cut;

/// Pages of a walk that wait for who reads them.
const PAGES_AHEAD: usize = 2;

/// Lists the files that a text stands for, in the order of their names.
///
/// A text that stands for no file is an error: it is a typing mistake far more
/// often than an empty folder, and zero rows would hide it.
pub async fn list(text: &str) -> Result<Vec<FileEntry>> {
    let named = Named::of(None, text).await?;
    let files = named.files().await?;
    match files.is_empty() {
        true => Err(named.without_files()),
        false => Ok(files),
    }
}

impl Named {
    /// Says that no file was found.
    pub fn without_files(&self) -> DataFusionError {
        let text = &self.text;
        match (&self.place, &self.kind) {
            (Place::Local(_), Kind::Folder) => plan_datafusion_err!(
                "no file in the folder '{text}'; hidden files do not count"
            ),
            (Place::Local(path), Kind::Missing) => plan_datafusion_err!(
                "file not found: '{text}'; check the path{}",
                start_of(path)
            ),
            (Place::Local(folder), _) => plan_datafusion_err!(
                "no file matches '{text}'; check the pattern and its folder{}",
                start_of(folder)
            ),
            (Place::Stored(location), _) if is_web(location) => {
                plan_datafusion_err!("file not found: {location}; check the path")
            }
            (Place::Stored(_), _) => plan_datafusion_err!(
                "no file matches '{text}'; check the bucket, the pattern and the \
                 credentials"
            ),
        }
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

impl Finds for Listing {
    fn file(&mut self, file: FileEntry) -> bool {
        self.files.push(file);
        true
    }

    fn table(&mut self, folder: Path) {
        self.tables.insert(folder);
    }
}

/// Passes the files of a walk on, some at a time.
struct Passing {
    files: Vec<FileEntry>,
    sender: mpsc::Sender<Result<Vec<FileEntry>>>,
}

impl Passing {
    /// Passes what there is; whether anybody wants more.
    fn pass(&mut self) -> bool {
        let files = std::mem::take(&mut self.files);
        self.sender.blocking_send(Ok(files)).is_ok()
    }
}

impl Finds for Passing {
    fn file(&mut self, file: FileEntry) -> bool {
        self.files.push(file);
        self.files.len() < PAGE || self.pass()
    }
}

/// In which order files are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// That of their names, or of the keys of a store.
    Names,
    /// Any, if that is faster.
    Any,
}

/// Files as they are found, some at a time.
pub type Found = BoxStream<'static, Result<Vec<FileEntry>>>;

impl Named {
    /// The files there are now, in the order of their names.
    pub async fn files(&self) -> Result<Vec<FileEntry>> {
        Ok(self.listing().await?.files)
    }

    /// The files as they are found. Nothing is kept of what was passed on.
    pub fn stream(&self, order: Order) -> Found {
        match &self.place {
            Place::Local(path) => walking(path.clone(), self.kind.clone()),
            Place::Stored(location) => match self.listed_one() {
                Some(file) => futures::stream::iter([Ok(vec![file])]).boxed(),
                None if matches!(self.kind, Kind::Missing) => {
                    futures::stream::empty().boxed()
                }
                None => {
                    let all = KeyRange::default();
                    let objects = match order {
                        Order::Names => keys::one_by_one(location, &all),
                        Order::Any => keys::at_once(location.clone(), all, AT_ONCE),
                    };
                    self.entries(location, objects)
                }
            },
        }
    }

    /// Cuts what is below a folder of a store into about so many ranges of its keys, to
    /// be listed by as many processes; nothing if this process has to list it.
    pub async fn ranges(&self, wanted: usize) -> Result<Option<Vec<KeyRange>>> {
        match (&self.place, &self.kind) {
            (Place::Stored(location), Kind::Folder | Kind::Pattern(_)) => {
                keys::ranges(location, wanted).await.map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The files of a range of keys.
    pub fn stream_of(&self, range: &KeyRange) -> Found {
        match &self.place {
            Place::Stored(location) => {
                let range = range.clone();
                let objects = keys::at_once(location.clone(), range, AT_ONCE);
                self.entries(location, objects)
            }
            Place::Local(_) => self.stream(Order::Names),
        }
    }

    /// What another process needs to list it too, if it is a folder or a pattern of a
    /// store: the text, the URL of the folder, and the pattern below it.
    pub fn to_parts(&self) -> Option<(String, String, Option<String>)> {
        let Place::Stored(location) = &self.place else {
            return None;
        };
        let pattern = match &self.kind {
            Kind::Folder => None,
            Kind::Pattern(wildcard) => Some(wildcard.text().to_string()),
            Kind::File(_) | Kind::Missing => return None,
        };
        Some((self.text.clone(), location.url.to_string(), pattern))
    }

    /// The same in the other process.
    pub fn from_parts(text: String, url: &str, pattern: Option<&str>) -> Result<Self> {
        let kind = match pattern {
            None => Kind::Folder,
            Some(pattern) => Kind::Pattern(Box::new(wildcard(&text, pattern)?)),
        };
        Ok(Self {
            place: Place::Stored(Location::parse(url)?),
            kind,
            text,
        })
    }

    fn entries(&self, location: &Location, objects: Objects) -> Found {
        let (named, location) = (self.clone(), location.clone());
        let files = objects.map_ok(move |objects| {
            let objects = objects.into_iter();
            let wanted = objects.filter(|object| named.wants(&location, object));
            wanted
                .map(|object| named.entry(&location, object))
                .collect()
        });
        files.boxed()
    }

    /// Whether an object below the folder is one of the files.
    fn wants(&self, location: &Location, object: &ObjectMeta) -> bool {
        let Kind::Pattern(wildcard) = &self.kind else {
            return true;
        };
        let below = object.location.prefix_match(&location.path);
        let name: Option<Vec<_>> = below.map(Iterator::collect);
        let name = name.map(|parts| {
            let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
            parts.join("/")
        });
        name.is_some_and(|name| wildcard.matches(&name))
    }

    fn entry(&self, location: &Location, object: ObjectMeta) -> FileEntry {
        let name = url_of(&object.location, &self.text);
        FileEntry::stored(&location.store, name, object)
    }

    /// The object that a name stands for, if it stands for one.
    fn listed_one(&self) -> Option<FileEntry> {
        let (Place::Stored(location), Kind::File(Some(found))) =
            (&self.place, &self.kind)
        else {
            return None;
        };
        let name = match is_web(location) {
            true => self.text.clone(),
            false => url_of(&location.path, &self.text),
        };
        Some(FileEntry::stored(&location.store, name, found.clone()))
    }

    pub(super) async fn listing(&self) -> Result<Listing> {
        let mut listing = match &self.place {
            Place::Local(path) => {
                let (path, kind) = (path.clone(), self.kind.clone());
                let walking = move || {
                    let mut listing = Listing::default();
                    walk(&path, &kind, &mut listing).map(|()| listing)
                };
                tokio::task::spawn_blocking(walking)
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
        if matches!(self.kind, Kind::Missing | Kind::File(_)) {
            return Ok(Listing {
                files: self.listed_one().into_iter().collect(),
                tables: BTreeSet::new(),
            });
        }
        let mut listing = Listing::default();
        let all = KeyRange::default();
        let mut pages = keys::at_once(location.clone(), all, AT_ONCE);
        while let Some(objects) = pages.try_next().await? {
            for object in objects {
                // Here the whole folder is listed, whatever the pattern.
                listing.tables.extend(table_of_log(&object.location));
                if self.wants(location, &object) {
                    listing.files.push(self.entry(location, object));
                }
            }
        }
        Ok(listing)
    }
}

/// The files that a walk finds while it goes on.
fn walking(path: PathBuf, kind: Kind) -> Found {
    let (sender, receiver) = mpsc::channel(PAGES_AHEAD);
    // A walk that nobody listens to ends with its next page.
    tokio::task::spawn_blocking(move || {
        let mut passing = Passing {
            files: vec![],
            sender,
        };
        match walk(&path, &kind, &mut passing) {
            Ok(()) => {
                passing.pass();
            }
            Err(error) => {
                passing.pass();
                let _ = passing.sender.blocking_send(Err(error));
            }
        }
    });
    let files = futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|files| (files, receiver))
    });
    files.boxed()
}

/// The URL of an object as a text in which nothing is escaped but what would be read as
/// something else, in the same words as the name that found it.
pub(super) fn url_of(path: &Path, text: &str) -> String {
    let key = path.as_ref().replace('%', "%25");
    let key = key.replace('?', "%3F").replace('#', "%23");
    format!("{}/{key}", cut(text).0)
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
