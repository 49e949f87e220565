//! The second inference engine: chosen by a setting, named by what it computed, and missed
//! with one clear error.

use std::path::{Path, PathBuf};

use crate::server::Server;
use crate::support::{Atoll, Output, Running, cache};

const OPENVINO: &str = "SET atoll.inference = 'openvino'; ";

const CLASSIFY: &str = "SELECT filename, classify('sql/data/efficientnet-lite0.onnx', content, \
    1)[1]['label'] AS label FROM read_blob('sql/data/photos/*.png') ORDER BY filename";

/// The library of OpenVINO where `atoll` finds it, or nothing, said so.
fn library() -> Option<PathBuf> {
    let variable = std::env::var_os("OPENVINO_DYLIB_PATH").map(PathBuf::from);
    let folder = cache().join("atoll/openvino-2026.4.1");
    let files = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files = files.map(|file| file.path());
    let found = variable.or_else(|| {
        files.find(|file| file.display().to_string().contains("libopenvino_c.so"))
    });
    if found.is_none() {
        eprintln!("skipped: no OpenVINO; cargo xtask setup --openvino installs it");
    }
    found
}

fn run_without(arguments: &[&str]) -> Output {
    let atoll = Atoll::new();
    let mut command = atoll.command(arguments);
    command.env("OPENVINO_DYLIB_PATH", atoll.path("absent.so"));
    Running::new(command.spawn().unwrap()).finish()
}

#[test]
fn a_library_that_is_not_there_is_one_error_with_remedies() {
    let sql = format!("{OPENVINO}{CLASSIFY}");
    let output = run_without(&["-c", &sql]);
    output.fails_naming(&[
        "OPENVINO_DYLIB_PATH leads to no file",
        "absent.so",
        "cargo xtask setup --openvino",
        "SET atoll.inference = 'onnxruntime'",
    ]);
    // Whoever does not ask for it does not miss it.
    run_without(&["-c", CLASSIFY]).ok();
}

#[test]
fn doctor_says_what_there_is() {
    let output = run_without(&["doctor"]);
    let line = output
        .stdout
        .lines()
        .find(|line| line.contains("  OpenVINO  "));
    assert!(line.unwrap().starts_with("WRONG"), "{}", output.stdout);
    let Some(library) = library() else { return };
    let output = Atoll::new().run(&["doctor"]).ok();
    let line = output
        .stdout
        .lines()
        .find(|line| line.contains("  OpenVINO  "));
    let line = line.unwrap();
    assert!(line.starts_with("ok"), "{line}");
    let folder = library.parent().unwrap().display().to_string();
    assert!(line.contains(&folder), "{line}");
    assert!(line.contains("float"), "{line}");
}

#[test]
fn both_engines_give_the_same_classes_and_are_named() {
    if library().is_none() {
        return;
    }
    let atoll = Atoll::new();
    let csv = |sql: &str| atoll.run(&["--format", "csv", "-c", sql]).ok();
    let usual = csv(CLASSIFY);
    assert!(usual.stdout.lines().count() > 1, "{}", usual.stdout);
    assert_eq!(csv(&format!("{OPENVINO}{CLASSIFY}")).stdout, usual.stdout);
    let plan = csv(&format!("EXPLAIN {CLASSIFY}")).stdout;
    assert!(!plan.contains("inference="), "{plan}");
    let plan = csv(&format!("{OPENVINO}EXPLAIN {CLASSIFY}")).stdout;
    assert!(plan.contains("inference=openvino float32"), "{plan}");
    let engine =
        "SELECT model_info('tests/data/models/identity.onnx')['engine'] AS engine";
    let engine = csv(&format!("{OPENVINO}{engine}")).stdout;
    assert!(engine.contains(" openvino 20"), "{engine}");
    assert!(engine.trim().ends_with(" cpu float32"), "{engine}");
    let file = atoll.path("labels.parquet");
    csv(&format!(
        "{OPENVINO}COPY ({CLASSIFY}) TO '{}'",
        file.display()
    ));
    assert!(has_text(&file, " openvino 20"));
}

fn has_text(file: &Path, text: &str) -> bool {
    let bytes = std::fs::read(file).unwrap();
    bytes
        .windows(text.len())
        .any(|part| part == text.as_bytes())
}

/// Where the processor has no bfloat16, the user hears of it and the rows say float32.
#[test]
fn bfloat16_without_instructions_is_a_warning() {
    if library().is_none() {
        return;
    }
    let sql = format!(
        "{OPENVINO}SET atoll.precision = 'bfloat16'; \
         SELECT model_info('tests/data/models/identity.onnx')['engine'] AS engine"
    );
    let output = Atoll::new().run(&["--format", "csv", "-c", &sql]).ok();
    let doctor = Atoll::new().run(&["doctor"]).ok().stdout;
    if doctor.contains("float32 only, on this processor") {
        assert!(output.stderr.contains("has no effect"), "{}", output.stderr);
        assert!(
            output.stdout.trim().ends_with(" float32"),
            "{}",
            output.stdout
        );
    } else {
        assert!(
            output.stdout.trim().ends_with(" bfloat16"),
            "{}",
            output.stdout
        );
    }
}

#[test]
fn a_model_that_it_cannot_run_names_the_operators() {
    if library().is_none() {
        return;
    }
    let sql = format!(
        "{OPENVINO}SELECT model_info('tests/data/models/zipmap.onnx')['engine'] AS engine"
    );
    Atoll::new()
        .run(&["-c", &sql])
        .fails_naming(&["ai.onnx.ml.ZipMap", "SET atoll.inference = 'onnxruntime'"]);
}

#[test]
fn executors_compute_by_what_the_client_chose_or_say_that_they_cannot() {
    if library().is_none() {
        return;
    }
    let atoll = Atoll::new();
    let sql = format!("{OPENVINO}{CLASSIFY}");
    let usual = atoll.run(&["--format", "csv", "-c", CLASSIFY]).ok();
    let cluster = Server::cluster(1, |_| {});
    assert_eq!(atoll.on(&cluster, &sql).ok().stdout, usual.stdout);
    drop(cluster);
    let without = Server::cluster(1, |command| {
        command.env("OPENVINO_DYLIB_PATH", atoll.path("absent.so"));
    });
    atoll.on(&without, &sql).fails_naming(&[
        "OPENVINO_DYLIB_PATH leads to no file",
        "SET atoll.inference = 'onnxruntime'",
    ]);
}
