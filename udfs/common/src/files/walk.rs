//! The files below a folder of this machine, in the order of their names.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::hash::{BuildHasher, RandomState};
use std::io::ErrorKind;
use std::path::{Path as FilePath, PathBuf};
use std::time::UNIX_EPOCH;

use datafusion::common::{DataFusionError, Result, plan_datafusion_err};
use object_store::path::Path;

use super::entry::{FileEntry, object_path};
use super::logs::LOG;
use super::name::{Kind, Wildcard};

/// What a walk finds.
pub(super) trait Finds {
    /// A file; whether the walk goes on.
    fn file(&mut self, file: FileEntry) -> bool;

    /// A folder with the log of a Delta table.
    fn table(&mut self, _folder: Path) {}
}

/// Goes through what a name stands for, through links, each folder once. Files come in
/// the order of their names as whole paths; names that are not valid Unicode stand where
/// their bytes do.
pub(super) fn walk(path: &FilePath, kind: &Kind, finds: &mut dyn Finds) -> Result<()> {
    let wildcard = match kind {
        Kind::Missing => return Ok(()),
        Kind::File(_) => {
            let metadata = path.metadata().map_err(|error| unreadable(path, &error))?;
            finds.file(FileEntry::local(path.to_path_buf(), &metadata));
            return Ok(());
        }
        Kind::Folder if !path.is_dir() => return Ok(()),
        Kind::Folder => None,
        Kind::Pattern(_) if !path.as_os_str().is_empty() && !path.is_dir() => {
            return Ok(());
        }
        Kind::Pattern(wildcard) => Some(wildcard.as_ref()),
    };
    let mut walk = Walk {
        wildcard,
        seen: HashSet::new(),
        hashers: [RandomState::new(), RandomState::new()],
        finds,
    };
    walk.below(path, "")?;
    Ok(())
}

fn unreadable(path: &FilePath, error: &std::io::Error) -> DataFusionError {
    plan_datafusion_err!("cannot read '{}': {error}", path.display())
}

struct Walk<'a> {
    wildcard: Option<&'a Wildcard>,
    /// The folders so far, by hashes of their real paths: a million paths would be what
    /// a listing needs most memory for.
    seen: HashSet<[u64; 2]>,
    hashers: [RandomState; 2],
    finds: &'a mut dyn Finds,
}

/// An entry of a folder: a file or a folder, or a link to one.
struct Entry {
    name: Box<OsStr>,
    is_folder: bool,
}

impl Entry {
    /// What stands for it where paths are compared: that of a folder goes on with a slash.
    fn key(&self) -> impl Iterator<Item = &u8> {
        let slash: &[u8] = if self.is_folder { b"/" } else { b"" };
        self.name.as_encoded_bytes().iter().chain(slash)
    }
}

impl Walk<'_> {
    /// Takes the files of a folder: all but the hidden ones, or those that match. Whether
    /// the walk goes on.
    fn below(&mut self, folder: &FilePath, name: &str) -> Result<bool> {
        // A pattern without a folder looks where relative paths start.
        let opened = match folder.as_os_str().is_empty() {
            true => FilePath::new("."),
            false => folder,
        };
        let entries = match self.entries(opened, name) {
            Ok(Some(entries)) => entries,
            Ok(None) => return Ok(true),
            // Somebody deleted it since its parent was read.
            Err(error) if error.kind() == ErrorKind::NotFound && !name.is_empty() => {
                return Ok(true);
            }
            Err(error) => {
                let folder = folder.display();
                return Err(plan_datafusion_err!("cannot list '{folder}': {error}"));
            }
        };
        for Entry {
            name: file,
            is_folder,
        } in entries
        {
            let path = folder.join(&*file);
            // What is not valid Unicode in a name matches `?` and `*` all the same.
            let name = format!("{name}{}", file.to_string_lossy());
            let goes_on = if is_folder {
                if &*file == OsStr::new(LOG)
                    && let Some(table) = object_path(folder)
                {
                    self.finds.table(table);
                }
                !self.wildcard.is_none_or(|wanted| wanted.goes_into(&name))
                    || self.below(&path, &format!("{name}/"))?
            } else if self.wildcard.is_none_or(|wanted| wanted.matches(&name)) {
                self.take(path)?
            } else {
                true
            };
            if !goes_on {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn take(&mut self, path: PathBuf) -> Result<bool> {
        match path.metadata() {
            Ok(metadata) if metadata.is_file() => {
                Ok(self.finds.file(FileEntry::local(path, &metadata)))
            }
            // A device, or a folder that took the place of a file.
            Ok(_) => Ok(true),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
            Err(error) => Err(unreadable(&path, &error)),
        }
    }

    /// What is in a folder, in order; nothing if it was seen before.
    fn entries(
        &mut self,
        folder: &FilePath,
        name: &str,
    ) -> std::io::Result<Option<Vec<Entry>>> {
        let real = folder.canonicalize()?;
        let seen = [0, 1].map(|n| self.hashers[n].hash_one(&real));
        if !self.seen.insert(seen) {
            return Ok(None);
        }
        let mut entries = vec![];
        for entry in folder.read_dir()? {
            let entry = entry?;
            let file = entry.file_name();
            if self.wildcard.is_none() && file.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let is_folder = match entry.file_type()? {
                kind if kind.is_symlink() => entry.path().is_dir(),
                kind => kind.is_dir(),
            };
            // Names that cannot match are not kept: a folder may have millions.
            let is_wanted = self.wildcard.is_none_or(|wanted| {
                is_folder || wanted.matches(&format!("{name}{}", file.to_string_lossy()))
            });
            if is_wanted {
                let name = file.into_boxed_os_str();
                entries.push(Entry { name, is_folder });
            }
        }
        entries.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        Ok(Some(entries))
    }
}

/// When a file was changed last, in microseconds since 1970.
pub(super) fn micros(metadata: &Metadata) -> Option<i64> {
    let modified = metadata.modified().ok()?;
    let since = modified.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_micros()).ok()
}
