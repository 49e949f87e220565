//! What the name of a file, folder or pattern means, wherever somebody writes one.
//!
//! The rules, for `FROM`, `read_blob`, `train` and everything else:
//!
//! 1. A file or folder that exists under the name as it is written is meant, also if the
//!    name looks like a pattern or like a URL's syntax.
//! 2. In a URL `%20` is a blank. If there is no such file, `%20` is taken literally.
//! 3. Else `*`, `?` and `[..]` are a pattern, in which `*` stays in its folder and `**`
//!    goes down any number of them.

use std::path::{Path as FilePath, PathBuf};

use datafusion::common::{Result, plan_datafusion_err, plan_err};
use futures::TryStreamExt;
use glob::{MatchOptions, Pattern};
use object_store::{ObjectMeta, ObjectStoreExt};

use crate::Location;
use crate::stores::{cut, is_web, local_path};

/// As a shell matches: `*` stays within a folder and skips hidden files.
const MATCHING: MatchOptions = MatchOptions {
    case_sensitive: true,
    require_literal_separator: true,
    require_literal_leading_dot: true,
};

/// What makes a text a pattern.
const WILDCARDS: [char; 3] = ['*', '?', '['];

/// What a text means.
#[derive(Debug, Clone)]
pub struct Named {
    /// As it was written.
    pub text: String,
    /// The file or folder, or the folder below which the pattern looks.
    pub place: Place,
    /// Which of these it is.
    pub kind: Kind,
}

/// Where something is.
#[derive(Debug, Clone)]
pub enum Place {
    /// On this machine, under a path that need not be valid Unicode.
    Local(PathBuf),
    /// In a store of objects.
    Stored(Location),
}

/// What there is at a place.
#[derive(Debug, Clone)]
pub enum Kind {
    /// One file; a store of objects has told its size.
    File(Option<ObjectMeta>),
    /// All files below it.
    Folder,
    /// The files below it that match.
    Pattern(Box<Wildcard>),
    /// Nothing, and the text is no pattern.
    Missing,
}

/// A pattern for names below a folder.
#[derive(Debug, Clone)]
pub struct Wildcard {
    pattern: Pattern,
    /// The patterns of its folders, one for each depth; `None` with `**`.
    folders: Option<Vec<Pattern>>,
}

impl Wildcard {
    fn new(text: &str) -> Result<Self, glob::PatternError> {
        let folders = text
            .match_indices('/')
            .map(|(at, _)| Pattern::new(&text[..at]));
        let folders = folders.collect::<Result<_, _>>()?;
        let any_depth = text.split('/').any(|name| name == "**");
        Ok(Self {
            pattern: Pattern::new(text)?,
            folders: (!any_depth).then_some(folders),
        })
    }

    /// Whether a name below the folder, with `/` between its parts, is one of them.
    pub fn matches(&self, name: &str) -> bool {
        self.pattern.matches_with(name, MATCHING)
    }

    /// The pattern as it was written.
    pub(super) fn text(&self) -> &str {
        self.pattern.as_str()
    }

    /// Whether there may be such names below the folder of this name.
    pub(super) fn goes_into(&self, name: &str) -> bool {
        let hidden = name.rsplit('/').next().is_some_and(|n| n.starts_with('.'));
        let Some(folders) = &self.folders else {
            return !hidden;
        };
        let folder = folders.get(name.matches('/').count());
        folder.is_some_and(|folder| folder.matches_with(name, MATCHING))
    }

    /// Whether it asks for names that start with an underscore.
    pub(super) fn wants_markers(&self) -> bool {
        let pattern = self.pattern.as_str();
        pattern.starts_with('_') || pattern.contains("/_")
    }
}

impl Named {
    /// Finds out what `text` means; relative paths start at `directory`, or at the
    /// process's own.
    pub async fn of(directory: Option<&FilePath>, text: &str) -> Result<Self> {
        if let Some(path) = local_path(directory, text) {
            return local(text, path);
        }
        if is_web(text) {
            return web(text).await;
        }
        stored(text).await
    }

    /// The place, for who opens stores.
    pub fn location(&self) -> Result<Location> {
        match &self.place {
            Place::Stored(location) => Ok(location.clone()),
            Place::Local(path) => {
                let path = path.to_str().ok_or_else(|| {
                    plan_datafusion_err!(
                        "the path {} is not valid Unicode",
                        path.display()
                    )
                })?;
                Location::parse(if path.is_empty() { "." } else { path })
            }
        }
    }
}

fn local(text: &str, path: PathBuf) -> Result<Named> {
    let named = |place, kind| Named {
        text: text.to_string(),
        place: Place::Local(place),
        kind,
    };
    // A file whose name looks like a pattern is meant as it is.
    if path.is_file() && !text.ends_with('/') {
        return Ok(named(path, Kind::File(None)));
    }
    if path.is_dir() {
        return Ok(named(path, Kind::Folder));
    }
    let full = path.to_string_lossy();
    let Some((folder, pattern)) = split_pattern(&full, |f| FilePath::new(f).is_dir())
    else {
        return Ok(named(path, Kind::Missing));
    };
    let wildcard = wildcard(text, pattern)?;
    let folder = match folder {
        "" if path.is_absolute() => PathBuf::from("/"),
        folder => PathBuf::from(folder),
    };
    Ok(named(folder, Kind::Pattern(Box::new(wildcard))))
}

/// Cuts a text before the first name with a wildcard. Names before the last folder that
/// exists as it is written are no patterns: `[2026] trip/*.jpg`.
fn split_pattern(full: &str, exists: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let first = full.find(WILDCARDS)?;
    let slashes = full.match_indices('/').map(|(at, _)| at);
    let last = slashes.filter(|&slash| {
        let is_pattern = full[slash + 1..].contains(WILDCARDS);
        is_pattern && (slash < first || exists(&full[..slash]))
    });
    Some(match last.last() {
        Some(slash) => (&full[..slash], &full[slash + 1..]),
        None => ("", full),
    })
}

pub(super) fn wildcard(text: &str, pattern: &str) -> Result<Wildcard> {
    Wildcard::new(pattern)
        .map_err(|error| plan_datafusion_err!("bad pattern '{text}': {error}"))
}

async fn web(text: &str) -> Result<Named> {
    let location = Location::parse(text)?;
    let kind = head(&location).await?;
    Ok(Named {
        text: text.to_string(),
        kind: kind.map_or(Kind::Missing, |found| Kind::File(Some(found))),
        place: Place::Stored(location),
    })
}

/// What a URL of a store of objects means. What it is read as comes before what is
/// written there, which is another key only if there is a `%` in it.
async fn stored(text: &str) -> Result<Named> {
    let named = |location, kind| Named {
        text: text.to_string(),
        place: Place::Stored(location),
        kind,
    };
    let read = Location::parse(text)?;
    let (root, key) = cut(text);
    let written = read.as_written();
    let readings: Vec<Location> = [Some(read), written].into_iter().flatten().collect();
    if !key.is_empty() && !key.ends_with('/') {
        for location in &readings {
            if let Some(found) = head(location).await? {
                return Ok(named(location.clone(), Kind::File(Some(found))));
            }
        }
    }
    if let Some((folder, pattern)) = split_pattern(key, |_| false) {
        let wildcard = wildcard(text, pattern)?;
        let folder = format!("{root}/{folder}");
        let read = Location::parse(&folder)?;
        let folder = match read.as_written() {
            Some(written) if is_empty(&read).await? => written,
            _ => read,
        };
        return Ok(named(folder, Kind::Pattern(Box::new(wildcard))));
    }
    for location in &readings {
        if !is_empty(location).await? {
            return Ok(named(location.clone(), Kind::Folder));
        }
    }
    let [read, ..] = &readings[..] else {
        return plan_err!("not a valid location: {text}");
    };
    Ok(named(read.clone(), Kind::Missing))
}

/// The object at a place, if there is one.
async fn head(location: &Location) -> Result<Option<ObjectMeta>> {
    match location.store.head(&location.path).await {
        Ok(found) => Ok(Some(found)),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(location.error(error)),
    }
}

/// Whether no object lies below a place.
async fn is_empty(location: &Location) -> Result<bool> {
    let mut below = location.store.list(Some(&location.path));
    let first = below.try_next().await;
    Ok(first.map_err(|error| location.error(error))?.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, existing: &[&str], expected: Option<(&str, &str)>) {
        let found = split_pattern(text, |folder| existing.contains(&folder));
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn a_pattern_begins_with_the_first_name_that_has_a_wildcard() {
        check("a/b.jpg", &[], None);
        check("a/b*/c.jpg", &[], Some(("a", "b*/c.jpg")));
        check("*.jpg", &[], Some(("", "*.jpg")));
        check("/*.jpg", &[], Some(("", "*.jpg")));
        check("a/**/x?.jpg", &[], Some(("a", "**/x?.jpg")));
    }

    #[test]
    fn a_folder_that_exists_is_no_pattern() {
        let trip = "/p/[2026] trip";
        check("/p/[2026] trip/*.jpg", &[trip], Some((trip, "*.jpg")));
        check(
            "/p/[2026] trip/*.jpg",
            &[],
            Some(("/p", "[2026] trip/*.jpg")),
        );
    }

    #[test]
    fn a_url_is_cut_where_the_store_ends() {
        assert_eq!(cut("s3://bucket/a/*.jpg"), ("s3://bucket", "a/*.jpg"));
        assert_eq!(cut("https://host"), ("https://host", ""));
    }

    #[tokio::test]
    async fn what_exists_wins() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).to_str().unwrap().to_string();
        for name in ["x[1].csv", "a b", "100%25.csv", "a#b?.csv"] {
            std::fs::write(at(name), "x").unwrap();
        }
        std::fs::create_dir(at("[d]")).unwrap();
        let file = |text: String, name: &'static str| {
            let expected = folder.path().join(name);
            async move {
                let named = Named::of(None, &text).await.unwrap();
                assert!(matches!(named.kind, Kind::File(_)), "{named:?}");
                let Place::Local(path) = named.place else {
                    panic!("{text} is here");
                };
                assert_eq!(path, expected, "{text}");
            }
        };
        for name in ["x[1].csv", "a b", "100%25.csv", "a#b?.csv"] {
            file(at(name), name).await;
            file(format!("file://{}", at(name)), name).await;
        }
        file(format!("file://{}", at("a%20b")), "a b").await;
        let named = Named::of(None, &at("[d]")).await.unwrap();
        assert!(matches!(named.kind, Kind::Folder));
        let named = Named::of(None, &at("z[1].csv")).await.unwrap();
        assert!(matches!(named.kind, Kind::Pattern(_)));
        let named = Named::of(None, &at("z.csv")).await.unwrap();
        assert!(matches!(named.kind, Kind::Missing));
    }
}
