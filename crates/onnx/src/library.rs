//! Where a native library is that is loaded at run time.
//!
//! The file named by an environment variable wins. Then comes one that lies beside the
//! program, then that of a Python package in the environment that the program was
//! installed into, then the cache folder that the set-up step fills. A path in the variable
//! that leads nowhere is an error: whoever set it meant it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// A native library.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Library {
    /// The environment variable that names its file.
    pub(crate) variable: &'static str,
    /// The name of its file without the ending.
    pub(crate) stem: &'static str,
    /// Where its Python package has it, in the folder of all packages.
    pub(crate) python_folder: &'static str,
    /// Where the set-up step puts it, in the cache folder.
    pub(crate) cache_folder: &'static str,
}

/// Why a library is not found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum NotFound {
    /// It is in none of these places, best first.
    Nowhere(String),
    /// The variable names a file that is not there.
    Variable {
        /// What it names.
        path: PathBuf,
        /// What opening it says.
        reason: String,
    },
}

/// The variables and folders that the search for a library depends on, so that a test can
/// choose them.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) variable: Option<OsString>,
    pub(crate) program: Option<PathBuf>,
    pub(crate) cache: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process.
    pub(crate) fn of_the_process(library: &Library) -> Self {
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| env::home_dir().map(|home| home.join(".cache")));
        Self {
            variable: env::var_os(library.variable).filter(|path| !path.is_empty()),
            program: env::current_exe().ok(),
            cache,
        }
    }
}

impl Library {
    /// The file to load, as an absolute path.
    pub(crate) fn find(&self, surroundings: &Surroundings) -> Result<PathBuf, NotFound> {
        if let Some(path) = &surroundings.variable {
            let path = PathBuf::from(path);
            return fs::canonicalize(&path).map_err(|error| NotFound::Variable {
                path,
                reason: format!("{} leads to no file ({error})", self.variable),
            });
        }
        let mut searched = vec![self.variable.to_string()];
        let program = surroundings.program.as_deref();
        if let Some(prefix) = program.and_then(|program| program.parent()?.parent()) {
            let folder = prefix.join("lib");
            searched.push(folder.join(self.file_name("")).display().to_string());
            let found = self.in_folder(&folder);
            if let Some(path) = found.or_else(|| self.of_python(prefix)) {
                return Ok(path);
            }
            let packages = folder.join("python3*/site-packages");
            searched.push(packages.join(self.python_folder).display().to_string());
        }
        if let Some(cache) = &surroundings.cache {
            let folder = cache.join(self.cache_folder);
            searched.push(folder.display().to_string());
            if let Some(path) = self.in_folder(&folder) {
                return Ok(path);
            }
        }
        Err(NotFound::Nowhere(searched.join(", ")))
    }

    /// The library of the Python package in the Python environment `prefix`, into which
    /// `pip install` put the program: the one of the latest Python, if there are several.
    fn of_python(&self, prefix: &Path) -> Option<PathBuf> {
        // Fedora keeps what is built for a processor apart.
        let folders = ["lib", "lib64"].map(|name| prefix.join(name));
        let mut pythons: Vec<(u32, PathBuf)> = folders
            .iter()
            .filter_map(|folder| fs::read_dir(folder).ok())
            .flatten()
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let name = entry.file_name();
                let minor = name.to_str()?.strip_prefix("python3.")?.parse().ok()?;
                Some((minor, entry.path()))
            })
            .collect();
        pythons.sort();
        // Debian keeps the packages of its own Python elsewhere.
        let packages = pythons.iter().rev().flat_map(|(_, python)| {
            ["site-packages", "dist-packages"].map(|name| python.join(name))
        });
        packages
            .filter_map(|folder| self.in_folder(&folder.join(self.python_folder)))
            .next()
    }

    /// The name of the file, with or without a release.
    pub(crate) fn file_name(&self, version: &str) -> String {
        let stem = self.stem;
        match (cfg!(target_os = "macos"), version) {
            (true, "") => format!("{stem}.dylib"),
            (true, version) => format!("{stem}.{version}.dylib"),
            (false, "") => format!("{stem}.so"),
            (false, version) => format!("{stem}.so.{version}"),
        }
    }

    /// A library in `folder`, the one without a release in its name first.
    fn in_folder(&self, folder: &Path) -> Option<PathBuf> {
        let plain = folder.join(self.file_name(""));
        if plain.is_file() {
            return Some(plain);
        }
        let is_library = |name: &str| {
            let rest = name.strip_prefix(self.stem);
            rest.is_some_and(|rest| match cfg!(target_os = "macos") {
                true => rest.starts_with('.') && rest.ends_with(".dylib"),
                false => rest.starts_with(".so."),
            })
        };
        let mut found: Vec<PathBuf> = fs::read_dir(folder)
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| {
                path.file_name()
                    .and_then(|n| n.to_str())
                    .is_some_and(is_library)
            })
            .collect();
        found.sort();
        found.pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIBRARY: Library = Library {
        variable: "NUMBERS_PATH",
        stem: "libnumbers",
        python_folder: "numbers/libs",
        cache_folder: "atoll/numbers-1",
    };

    fn folder(name: &str) -> PathBuf {
        let folder =
            env::temp_dir().join(format!("atoll-library-{}-{name}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[test]
    fn the_environment_variable_wins_and_must_lead_somewhere() {
        let root = folder("variable");
        let library = root.join("mine.so");
        fs::write(&library, "").unwrap();
        let surroundings = Surroundings {
            variable: Some(library.clone().into()),
            ..Surroundings::default()
        };
        let expected = fs::canonicalize(&library).unwrap();
        assert_eq!(LIBRARY.find(&surroundings), Ok(expected));
        fs::remove_dir_all(&root).unwrap();
        let error = LIBRARY.find(&surroundings).unwrap_err();
        let NotFound::Variable { path, reason } = error else {
            panic!("{error:?}");
        };
        assert_eq!(path, library);
        assert!(
            reason.starts_with("NUMBERS_PATH leads to no file"),
            "{reason}"
        );
    }

    #[test]
    fn a_library_beside_the_program_comes_before_the_cache() {
        let root = folder("beside");
        fs::create_dir_all(root.join("lib")).unwrap();
        let cached = root.join("atoll/numbers-1");
        fs::create_dir_all(&cached).unwrap();
        fs::write(cached.join(LIBRARY.file_name("1.2")), "").unwrap();
        let surroundings = Surroundings {
            variable: None,
            program: Some(root.join("bin/atoll")),
            cache: Some(root.clone()),
        };
        assert_eq!(
            LIBRARY.find(&surroundings),
            Ok(cached.join(LIBRARY.file_name("1.2")))
        );
        let beside = root.join("lib").join(LIBRARY.file_name("1.3"));
        fs::write(&beside, "").unwrap();
        assert_eq!(LIBRARY.find(&surroundings), Ok(beside));
        fs::remove_dir_all(&root).unwrap();
    }

    #[test]
    fn the_library_of_the_programs_python_is_found() {
        let root = folder("python");
        let surroundings = Surroundings {
            variable: None,
            program: Some(root.join("bin/atoll")),
            cache: None,
        };
        let install = |python: &str| {
            let folder = root.join("lib").join(python).join(LIBRARY.python_folder);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("libnumbers_more.so.1"), "").unwrap();
            let library = folder.join(LIBRARY.file_name("1.2"));
            fs::write(&library, "").unwrap();
            library
        };
        assert!(LIBRARY.find(&surroundings).is_err());
        let older = install("python3.9/site-packages");
        assert_eq!(LIBRARY.find(&surroundings), Ok(older));
        let newer = install("python3.12/dist-packages");
        assert_eq!(LIBRARY.find(&surroundings), Ok(newer));
        fs::remove_dir_all(&root).unwrap();
    }
}
