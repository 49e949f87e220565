//! `atoll doctor` finds what is wrong and says what to do.

use crate::support::Atoll;

#[test]
fn a_missing_onnx_runtime_is_wrong_and_has_a_remedy() {
    let atoll = Atoll::new();
    let mut command = atoll.command(&["doctor"]);
    let child = command
        .env("ORT_DYLIB_PATH", atoll.path("absent.so"))
        .spawn()
        .unwrap();
    let output = crate::support::Running::new(child).finish();
    assert_eq!(output.status.code(), Some(1), "{}", output.stdout);
    let lines: Vec<&str> = output.stdout.lines().collect();
    let found = lines
        .iter()
        .position(|line| line.starts_with("WRONG  ONNX Runtime"))
        .unwrap();
    assert!(
        lines[found + 1].starts_with("        "),
        "no remedy: {}",
        output.stdout
    );
    let version = ["ok", "atoll", env!("CARGO_PKG_VERSION")];
    let found = lines
        .iter()
        .any(|line| line.split_whitespace().take(3).eq(version));
    assert!(found, "no version: {}", output.stdout);
}

#[test]
fn a_storage_that_cannot_be_written_is_wrong() {
    let atoll = Atoll::new();
    // A file where the folder should be fails for every user, root included.
    atoll.file("storage", "not a folder");
    let output = atoll.run(&["doctor"]);
    assert_eq!(output.status.code(), Some(1), "{}", output.stdout);
    assert!(
        output.stdout.contains("WRONG  storage"),
        "{}",
        output.stdout
    );
    assert!(
        output.stdout.contains("--storage FOLDER"),
        "{}",
        output.stdout
    );
}

#[test]
fn a_good_storage_is_left_as_it_was() {
    let atoll = Atoll::new();
    let output = atoll.run(&["doctor"]);
    assert!(
        output.stdout.contains("ok     storage"),
        "{}",
        output.stdout
    );
    assert!(output.stdout.contains("is writable"), "{}", output.stdout);
    let left = std::fs::read_dir(atoll.path("storage"))
        .into_iter()
        .flatten()
        .flatten();
    let probes =
        left.filter(|entry| entry.file_name().to_string_lossy().starts_with("doctor"));
    assert_eq!(probes.count(), 0);
}

/// The storage is a folder and never a pattern.
#[test]
fn a_storage_with_a_bracket_is_the_one_that_is_tried() {
    let atoll = Atoll::new();
    let storage = atoll.path("st[ore").display().to_string();
    let child = atoll.command_in(&storage, &["doctor"]).spawn().unwrap();
    let output = crate::support::Running::new(child).finish();
    let writable = format!("{storage} is writable");
    assert!(output.stdout.contains(&writable), "{}", output.stdout);
    // The folder was made for the file that is gone again.
    assert!(atoll.path("st[ore").is_dir(), "{}", output.stdout);
}

/// It would keep a database and an identifier of the machine there.
#[test]
#[cfg(unix)]
fn onnx_runtime_leaves_nothing_in_the_cache_folder() {
    let atoll = Atoll::new();
    let library = crate::support::cache().join("atoll");
    let home = atoll.path("home");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::symlink(library, home.join("atoll")).unwrap();
    let model = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/sql/data/efficientnet-lite0.onnx"
    );
    let sql = format!("SELECT model_info('{model}')");
    let mut command = atoll.command(&["-c", &sql]);
    let child = command
        .env("XDG_CACHE_HOME", &home)
        .env("HOME", &home)
        .spawn()
        .unwrap();
    crate::support::Running::new(child).finish().ok();
    let left: Vec<_> = std::fs::read_dir(&home)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["atoll"]);
}
