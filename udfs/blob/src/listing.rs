//! Which files a path, folder, pattern or URL stands for.

use std::collections::HashSet;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use atoll_udf_common::{CallContext, Location};
use bytes::Bytes;
use datafusion::common::{
    DataFusionError, Result, exec_datafusion_err, plan_datafusion_err, plan_err,
};
use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt};

/// As a shell matches: `*` stays within a folder and skips hidden files.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// A file as it was when it was listed.
#[derive(Debug, Clone)]
pub(crate) struct FileEntry {
    /// A path or URL that finds the file again.
    pub(crate) filename: String,
    /// Bytes in the file.
    pub(crate) size: u64,
    /// Microseconds since 1970, where the file's home knows.
    pub(crate) last_modified: Option<i64>,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    // A local path is kept as the system gave it: it need not be valid Unicode.
    Local(PathBuf),
    Stored(Arc<dyn ObjectStore>, Path),
}

impl FileEntry {
    /// Whether [`find_again`](Self::find_again) would find this file.
    pub(crate) fn is_found_by_name(&self) -> bool {
        match &self.source {
            // A path that is not valid Unicode has another name than its own.
            Source::Local(path) => path.to_str() == Some(self.filename.as_str()),
            Source::Stored(..) => true,
        }
    }

    /// A file that another process listed.
    pub(crate) fn find_again(
        filename: String,
        size: u64,
        last_modified: Option<i64>,
        context: &CallContext,
    ) -> Result<Self> {
        let location = context.locate(&filename)?;
        let source = match location.local_path() {
            Some(path) => Source::Local(path),
            None => Source::Stored(location.store, location.path),
        };
        Ok(Self {
            filename,
            size,
            last_modified,
            source,
        })
    }

    /// The whole content.
    pub(crate) async fn read(&self) -> Result<Bytes> {
        let read = match &self.source {
            Source::Local(path) => tokio::fs::read(path)
                .await
                .map(Bytes::from)
                .map_err(|error| error.to_string()),
            Source::Stored(store, path) => {
                let read = async { store.get(path).await?.bytes().await };
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

/// Lists the files that `pattern` stands for, in the order of their names.
///
/// A pattern that stands for no file is an error: it is a typing mistake far more
/// often than an empty folder, and zero rows would hide it.
pub(crate) async fn list(pattern: &str) -> Result<Vec<FileEntry>> {
    let mut files = match remote(pattern) {
        Some(remote) => list_remote(&remote).await?,
        None => {
            let path = pattern
                .strip_prefix("file://")
                .unwrap_or(pattern)
                .to_string();
            tokio::task::spawn_blocking(move || list_local(&path))
                .await
                .map_err(|error| DataFusionError::External(Box::new(error)))??
        }
    };
    files.sort_by(|a, b| a.filename.cmp(&b.filename));
    Ok(files)
}

fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?', '['])
}

fn list_local(pattern: &str) -> Result<Vec<FileEntry>> {
    let expanded = match pattern.strip_prefix("~/").zip(std::env::home_dir()) {
        Some((below, home)) => home.join(below),
        None => PathBuf::from(pattern),
    };
    // A file whose name looks like a pattern is meant as it is.
    if expanded.is_file() {
        return Ok(vec![local_entry(expanded)?]);
    }
    let mut files = Vec::new();
    if expanded.is_dir() {
        walk(&expanded, &mut HashSet::new(), &mut files)?;
        return match files.is_empty() {
            true => {
                plan_err!("no file in the folder '{pattern}'; hidden files do not count")
            }
            false => Ok(files),
        };
    }
    if !has_wildcard(pattern) {
        return plan_err!(
            "file not found: '{pattern}'; check the path{}",
            start_of(&expanded)
        );
    }
    let paths = glob::glob_with(&expanded.to_string_lossy(), MATCHING)
        .map_err(|error| plan_datafusion_err!("bad pattern '{pattern}': {error}"))?;
    for path in paths {
        let path = path
            .map_err(|error| plan_datafusion_err!("cannot list '{pattern}': {error}"))?;
        if path.is_file() {
            files.push(local_entry(path)?);
        }
    }
    if files.is_empty() {
        return plan_err!(
            "no file matches '{pattern}'; check the pattern and its folder{}",
            start_of(&expanded)
        );
    }
    Ok(files)
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

/// Every file below a folder but the hidden ones, through links, each folder once.
fn walk(
    folder: &FilePath,
    seen: &mut HashSet<PathBuf>,
    files: &mut Vec<FileEntry>,
) -> Result<()> {
    let unreadable = |error: std::io::Error| {
        plan_datafusion_err!("cannot list '{}': {error}", folder.display())
    };
    if !seen.insert(folder.canonicalize().map_err(unreadable)?) {
        return Ok(());
    }
    for entry in folder.read_dir().map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if path.is_dir() {
            walk(&path, seen, files)?;
        } else if path.is_file() {
            files.push(local_entry(path)?);
        }
    }
    Ok(())
}

fn local_entry(path: PathBuf) -> Result<FileEntry> {
    let metadata = path.metadata().map_err(|error| {
        plan_datafusion_err!("cannot read '{}': {error}", path.display())
    })?;
    let modified = metadata.modified().ok();
    let since = modified.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    Ok(FileEntry {
        filename: path.to_string_lossy().into_owned(),
        size: metadata.len(),
        last_modified: since.and_then(|since| i64::try_from(since.as_micros()).ok()),
        source: Source::Local(path),
    })
}

/// A URL, cut where the store ends and the key begins.
struct Remote<'a> {
    pattern: &'a str,
    /// Such as `s3://bucket`.
    root: &'a str,
    key: &'a str,
    /// A web server has files but no folders, and its `?` begins a query.
    web: bool,
}

fn remote(pattern: &str) -> Option<Remote<'_>> {
    let (scheme, rest) = pattern.split_once("://")?;
    if scheme.eq_ignore_ascii_case("file") {
        return None;
    }
    let root = scheme.len() + 3 + rest.find('/').unwrap_or(rest.len());
    let (root, key) = pattern.split_at(root);
    let web = scheme.to_ascii_lowercase().starts_with("http");
    Some(Remote {
        pattern,
        root,
        key: key.trim_start_matches('/'),
        web,
    })
}

async fn list_remote(remote: &Remote<'_>) -> Result<Vec<FileEntry>> {
    if remote.web || !has_wildcard(remote.key) {
        let location = Location::parse(remote.pattern)?;
        let folder = remote.key.is_empty() || remote.key.ends_with('/');
        if remote.web || !folder {
            match location.store.head(&location.path).await {
                Ok(meta) if remote.web => {
                    return Ok(vec![stored_entry(
                        &location.store,
                        remote.pattern.to_string(),
                        meta,
                    )]);
                }
                Ok(meta) => return Ok(vec![entry_below(remote, &location, meta)]),
                Err(object_store::Error::NotFound { .. }) if !remote.web => {}
                Err(error) => return Err(location.error(error)),
            }
        }
        return non_empty(remote, list_below(remote, &location, |_| true).await?);
    }
    let pattern = Pattern::new(remote.key).map_err(|error| {
        plan_datafusion_err!("bad pattern '{}': {error}", remote.pattern)
    })?;
    // A store lists whole folders, so start at the last one the pattern fixes.
    let fixed = remote.key.find(['*', '?', '[']).unwrap_or(0);
    let folder = remote.key[..fixed]
        .rfind('/')
        .map_or("", |slash| &remote.key[..=slash]);
    let location = Location::parse(&format!("{}/{folder}", remote.root))?;
    let matches = |key: &str| pattern.matches_with(key, MATCHING);
    non_empty(remote, list_below(remote, &location, matches).await?)
}

async fn list_below(
    remote: &Remote<'_>,
    folder: &Location,
    matches: impl Fn(&str) -> bool,
) -> Result<Vec<FileEntry>> {
    let found: Vec<_> = folder
        .store
        .list(Some(&folder.path))
        .try_collect()
        .await
        .map_err(|error| folder.error(error))?;
    let found = found
        .into_iter()
        .filter(|meta| matches(meta.location.as_ref()));
    Ok(found
        .map(|meta| entry_below(remote, folder, meta))
        .collect())
}

fn non_empty(remote: &Remote<'_>, files: Vec<FileEntry>) -> Result<Vec<FileEntry>> {
    if files.is_empty() {
        return plan_err!(
            "no file matches '{}'; check the bucket, the pattern and the credentials",
            remote.pattern
        );
    }
    Ok(files)
}

fn entry_below(remote: &Remote<'_>, folder: &Location, meta: ObjectMeta) -> FileEntry {
    // These would be read as syntax when the name is used as a URL again.
    let key = meta.location.as_ref().replace('%', "%25");
    let key = key.replace('?', "%3F").replace('#', "%23");
    stored_entry(&folder.store, format!("{}/{key}", remote.root), meta)
}

fn stored_entry(
    store: &Arc<dyn ObjectStore>,
    filename: String,
    meta: ObjectMeta,
) -> FileEntry {
    FileEntry {
        filename,
        size: meta.size,
        last_modified: Some(meta.last_modified.timestamp_micros()),
        source: Source::Stored(Arc::clone(store), meta.location),
    }
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

    #[test]
    fn a_url_is_cut_where_the_store_ends() {
        let cut = remote("s3://bucket/a/*.jpg").unwrap();
        assert_eq!(
            (cut.root, cut.key, cut.web),
            ("s3://bucket", "a/*.jpg", false)
        );
        assert_eq!(remote("https://host").unwrap().root, "https://host");
        assert!(remote("file:///a").is_none());
        assert!(remote("/a").is_none());
    }
}
