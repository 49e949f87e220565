//! The Python module of the wheel, by tests of its own (`python/tests`), where a Python with
//! the packages that it needs is there. `ATOLL_TEST_PYTHON` names it.

use std::process::{Command, Stdio};

use crate::support::{Atoll, Running};

const NEEDED: &str =
    "import adbc_driver_flightsql, adbc_driver_manager, IPython, pandas, polars, pyarrow";

/// A Python that has the packages, or why there is none.
fn python() -> Result<String, String> {
    let python = std::env::var("ATOLL_TEST_PYTHON");
    let python = python.unwrap_or_else(|_| "python3".to_string());
    let tried = Command::new(&python).args(["-c", NEEDED]).output();
    match tried {
        Ok(tried) if tried.status.success() => Ok(python),
        Ok(tried) => {
            let said = String::from_utf8_lossy(&tried.stderr);
            let last = said.lines().last().unwrap_or_default();
            Err(format!("{python}: {last}"))
        }
        Err(error) => Err(format!("{python}: {error}")),
    }
}

#[test]
fn the_module_passes_its_tests() {
    let python = match python() {
        Ok(python) => python,
        Err(reason) => {
            eprintln!("skipped, the module needs Python packages: {reason}");
            return;
        }
    };
    let atoll = Atoll::new();
    let home = atoll.path("home");
    std::fs::create_dir_all(&home).unwrap();
    let folder = env!("CARGO_MANIFEST_DIR");
    let mut tests = Command::new(python);
    tests
        .args(["-m", "unittest", "discover", "python/tests"])
        .current_dir(folder)
        .env("PYTHONPATH", format!("{folder}/python"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .env("ATOLL", env!("CARGO_BIN_EXE_atoll"))
        .env("XDG_CACHE_HOME", crate::support::cache())
        .env("XDG_DATA_HOME", &home)
        .env("HOME", &home)
        .env_remove("ATOLL_TOKEN")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = Running::new(tests.spawn().unwrap()).finish();
    assert!(run.status.success(), "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("OK"), "no test ran: {}", run.stderr);
}
