//! The examples for other schedulers: what each hands to a shell labels photos.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Atoll, Running, cache};

fn example(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/jobs/examples");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

/// The part of a text between two others.
#[track_caller]
fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap();
    rest.split_once(after).unwrap().0
}

/// Runs a command of an example as its scheduler would, where the folders of the example
/// are folders of the test, and checks that photos were labelled.
#[track_caller]
fn check(command: &str) {
    let atoll = Atoll::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    std::fs::create_dir_all(atoll.path("opt/bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_atoll"), atoll.path("opt/bin/atoll")).unwrap();
    symlink(root.join("sql"), atoll.path("opt/sql")).unwrap();
    let photos = root.join("sql/data/photos").display().to_string();
    let here = atoll.path("").display().to_string();
    let here = here.trim_end_matches('/');
    let command = command
        .replace("/opt/atoll", &format!("{here}/opt"))
        .replace("s3://example-photos/*", &photos)
        .replace("/srv/photos", &photos)
        .replace("s3://example-labels/photos", &format!("{here}/labels"))
        .replace("s3://example-labels/atoll", &format!("{here}/storage"))
        .replace("/srv/labels", &format!("{here}/labels"))
        .replace("/var/lib/atoll", &format!("{here}/storage"))
        .replace("/var/log/atoll", here);
    let path = format!("{here}/opt/bin:{}", std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &command])
        .current_dir(atoll.path("opt"))
        .env("PATH", path)
        .env("HOME", here)
        .env("XDG_CACHE_HOME", cache())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = Running::new(shell.spawn().unwrap()).finish().ok();
    assert!(
        atoll.path("labels/status=labelled").is_dir(),
        "{command}\n{}{}",
        output.stdout,
        output.stderr
    );
}

#[test]
fn the_line_for_cron_labels() {
    let crontab = example("cron/crontab");
    let line = crontab
        .lines()
        .find_map(|line| line.strip_prefix("30 2 * * * "));
    // cron takes a bare percent sign for the end of the command.
    let line = line.unwrap();
    assert_eq!(line.matches('%').count(), line.matches("\\%").count());
    check(&line.replace("\\%", "%"));
}

#[test]
fn the_unit_for_systemd_labels() {
    let unit = example("systemd/atoll-label-photos.service");
    let command = between(&unit, "ExecStart=/bin/sh -c '", "'\n");
    check(&command.replace("%%", "%").replace("$$", "$"));
}

#[test]
fn the_dag_for_airflow_labels() {
    let dag = example("airflow/label_photos.py");
    let command = between(&dag, "LABEL = \"\"\"", "\"\"\"");
    let filled = command
        .replace("{{ data_interval_start | ds }}", "2026-11-23")
        .replace("{{ data_interval_end | ds }}", "2026-11-24");
    assert!(!filled.contains("{{"), "{filled}");
    check(&filled);
}

#[test]
fn the_job_for_kubernetes_labels() {
    let job = example("kubernetes/cronjob.yaml");
    let script = between(&job, "- |\n", "              env:");
    check(script);
}

#[test]
fn bash_understands_its_completions() {
    let atoll = Atoll::new();
    let script = atoll.run(&["completions", "bash"]).ok().stdout;
    let complete = format!(
        "set -eu\n{script}\nCOMP_WORDS=(atoll ru) COMP_CWORD=1\n\
         _atoll atoll ru atoll\necho \"${{COMPREPLY[@]}}\"\n"
    );
    let file = atoll.file("complete.sh", &complete);
    let output = Command::new("bash").arg(file).output().unwrap();
    let found = String::from_utf8_lossy(&output.stdout);
    assert_eq!(found.trim(), "run runs", "{output:?}");
}
