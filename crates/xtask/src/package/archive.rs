//! A tar archive, packed with gzip, whose bytes depend on its content only.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Files on their way into an archive.
pub(crate) struct Archive {
    root: String,
    time: u64,
    /// By path, which gives the archive its order.
    files: BTreeMap<String, File>,
}

struct File {
    mode: u32,
    bytes: Vec<u8>,
}

impl Archive {
    /// An archive of one folder, `root`, whose files were all changed at `time`.
    pub(crate) fn new(root: &str, time: u64) -> Self {
        Self {
            root: root.to_string(),
            time,
            files: BTreeMap::new(),
        }
    }

    /// Adds a file that everyone may read.
    pub(crate) fn file(&mut self, path: &str, bytes: Vec<u8>) {
        self.files
            .insert(path.to_string(), File { mode: 0o644, bytes });
    }

    /// Adds a file that everyone may run.
    pub(crate) fn program(&mut self, path: &str, bytes: Vec<u8>) {
        self.files
            .insert(path.to_string(), File { mode: 0o755, bytes });
    }

    /// Adds the files of a folder, without those of folders in it.
    pub(crate) fn folder(&mut self, path: &str, folder: &Path) -> Result<()> {
        for entry in fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
        {
            let file = entry?.path();
            let name = file.file_name().context("a file has no name")?;
            let bytes = fs::read(&file)
                .with_context(|| format!("cannot read {}", file.display()))?;
            self.file(&format!("{path}/{}", name.display()), bytes);
        }
        Ok(())
    }

    /// The bytes of the archive.
    pub(crate) fn finish(self) -> Result<Vec<u8>> {
        // The header of gzip has room for a time and a system, which stay empty.
        let gzip = GzEncoder::new(Vec::new(), Compression::best());
        let mut tar = tar::Builder::new(gzip);
        for (path, file) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_mode(file.mode);
            header.set_mtime(self.time);
            header.set_uid(0);
            header.set_gid(0);
            header.set_size(file.bytes.len() as u64);
            let path = format!("{}/{path}", self.root);
            tar.append_data(&mut header, path, file.bytes.as_slice())?;
        }
        Ok(tar.into_inner()?.finish()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(paths: &[&str]) -> Vec<u8> {
        let mut archive = Archive::new("root", 1_000);
        for path in paths {
            archive.file(path, path.as_bytes().to_vec());
        }
        archive.program("bin/x", vec![1]);
        archive.finish().unwrap()
    }

    #[test]
    fn the_order_of_adding_does_not_matter() {
        assert_eq!(archive(&["b", "a/c"]), archive(&["a/c", "b"]));
        assert_ne!(archive(&["b"]), archive(&["c"]));
    }

    #[test]
    fn what_was_added_comes_out() {
        let bytes = archive(&["b"]);
        let gunzip = flate2::read::GzDecoder::new(bytes.as_slice());
        let mut tar = tar::Archive::new(gunzip);
        let entries = tar.entries().unwrap().map(Result::unwrap);
        let found: Vec<(String, u32, u64)> = entries
            .map(|entry| {
                let header = entry.header();
                let path = entry.path().unwrap().display().to_string();
                (path, header.mode().unwrap(), header.mtime().unwrap())
            })
            .collect();
        let expected = [("root/b", 0o644), ("root/bin/x", 0o755)];
        assert_eq!(
            found,
            expected.map(|(path, mode)| (path.to_string(), mode, 1_000))
        );
    }
}
