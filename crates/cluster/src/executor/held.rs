//! Folders that go with the process that made them, also when it is killed.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// A folder that is locked as long as it is used, and deleted when it is dropped.
///
/// One whose process was killed is no longer locked. Whoever makes the next beside it
/// deletes it.
#[derive(Debug)]
pub struct Held {
    path: PathBuf,
    _lock: File,
}

impl Held {
    /// Makes a folder, and deletes those beside it whose names begin alike and that nobody
    /// holds.
    pub fn create(parent: &Path, prefix: &str, name: &str) -> io::Result<Self> {
        let parent = std::path::absolute(parent)?;
        std::fs::create_dir_all(&parent)?;
        delete_forsaken(&parent, prefix);
        // Under another name until it is locked, so that nobody takes it for forsaken.
        let new = parent.join(format!("new-{prefix}{name}"));
        std::fs::create_dir_all(&new)?;
        let lock = File::open(&new)?;
        lock.lock()?;
        let path = parent.join(format!("{prefix}{name}"));
        std::fs::rename(new, &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

fn delete_forsaken(parent: &Path, prefix: &str) {
    for entry in std::fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(prefix) {
            continue;
        }
        let folder = File::open(entry.path());
        // Nobody locks it once it is seen here, because its maker did before.
        if folder.is_ok_and(|folder| folder.try_lock().is_ok()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_stays_as_long_as_it_is_held() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path();
        let first = Held::create(parent, "work-", "1").unwrap();
        std::fs::write(first.path().join("rows"), b"rows").unwrap();
        let other = parent.join("another");
        std::fs::create_dir(&other).unwrap();
        let second = Held::create(parent, "work-", "2").unwrap();
        assert!(first.path().join("rows").exists());
        // As the kernel does when a process is killed.
        let path = first.path().to_path_buf();
        let Held { _lock, .. } = &first;
        _lock.unlock().unwrap();
        let third = Held::create(parent, "work-", "3").unwrap();
        assert!(!path.exists() && second.path().exists() && other.exists());
        drop((first, second, third));
        assert_eq!(std::fs::read_dir(parent).unwrap().count(), 1);
    }
}
