//! Every script under `sql/` runs, on the small data in the repository.

use std::path::{Path, PathBuf};

use crate::server::Server;
use crate::support::Atoll;

fn scripts(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let mut scripts: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    scripts.sort();
    scripts
}

/// Runs a script; what it writes goes to the test's own folder, and it trains briefly.
fn run(atoll: &Atoll, script: &Path, settings: &[&str]) {
    run_on(atoll, None, script, settings);
}

/// The same on a cluster, or on this machine; returns what it printed.
fn run_on(
    atoll: &Atoll,
    cluster: Option<&str>,
    script: &Path,
    settings: &[&str],
) -> String {
    let text = std::fs::read_to_string(script).unwrap();
    let script = script.display().to_string();
    let output = format!("output={}", atoll.path("out").display());
    let mut arguments = vec!["run", &script];
    for setting in settings.iter().copied().chain([output.as_str()]) {
        let name = setting.split('=').next().unwrap();
        if text.contains(&format!("${{{name}}}")) {
            arguments.extend(["--set", setting]);
        }
    }
    if let Some(cluster) = cluster {
        arguments.extend(["--cluster", cluster]);
    }
    let home = atoll.path("").display().to_string();
    atoll.run(&arguments).ok().stdout.replace(&home, "")
}

#[test]
fn the_tour_runs_in_its_order() {
    // One storage for all, because later stops use the tables of earlier ones.
    let atoll = Atoll::new();
    let demos = scripts("sql/demos");
    assert!(demos.len() >= 6, "{demos:?}");
    for script in demos {
        run(&atoll, &script, &["epochs=1"]);
    }
}

#[test]
fn every_script_prints_the_same_on_a_cluster() {
    let cluster = Server::cluster(2, |_| {});
    let address = cluster.address();
    let (there, here) = (Atoll::new(), Atoll::new());
    for script in [scripts("sql/demos"), scripts("sql/jobs")].concat() {
        let settings = ["epochs=1"];
        for atoll in [&there, &here] {
            // Each script writes its own.
            let _ = std::fs::remove_dir_all(atoll.path("out"));
        }
        let expected = run_on(&there, Some(&address), &script, &settings);
        // The trials of the cluster, so that only the seconds they took are the same
        // by being the same trials; everything else is computed anew.
        for folder in ["snapshots", "trials", "models"] {
            copy(
                &there.path("storage").join(folder),
                &here.path("storage").join(folder),
            );
        }
        let actual = run_on(&here, None, &script, &settings);
        assert_eq!(actual, expected, "{}", script.display());
        assert_eq!(here.trials(), there.trials(), "{}", script.display());
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).into_iter().flatten().flatten() {
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn every_job_runs_twice() {
    for script in scripts("sql/jobs") {
        let atoll = Atoll::new();
        run(&atoll, &script, &["epochs=1"]);
        let trained = atoll.trials();
        // A job that is scheduled meets its own output.
        run(&atoll, &script, &["epochs=1"]);
        assert_eq!(atoll.trials(), trained, "{}", script.display());
        assert!(
            atoll.path("out").is_dir(),
            "{} wrote nothing",
            script.display()
        );
    }
}

#[test]
fn images_are_labelled_from_a_list_with_bad_entries() {
    let atoll = Atoll::new();
    let photo = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/data/photos/coffee.png");
    let text = atoll.file("not-an-image.jpg", "hello");
    let missing = atoll.path("missing.jpg").display().to_string();
    let list = format!("{}\n{text}\n{missing}\n", photo.display());
    let list = atoll.file("images.txt", &list);
    let job = Path::new(env!("CARGO_MANIFEST_DIR")).join("sql/jobs/label_images.sql");
    run(&atoll, &job, &[&format!("images={list}")]);
    let sql = format!(
        "SELECT labels[1]['label'] AS label, error_code FROM '{}/' ORDER BY error_code",
        atoll.path("out").display()
    );
    let rows = atoll.run(&["-c", &sql, "--format", "csv"]).ok().stdout;
    let rows: Vec<&str> = rows.lines().collect();
    assert_eq!(rows.len(), 4, "a row in is a row out: {rows:?}");
    assert!(
        rows.iter().any(|row| row.starts_with("espresso")),
        "{rows:?}"
    );
    assert!(
        rows.iter().any(|row| row.ends_with(",NOT_AN_IMAGE")),
        "{rows:?}"
    );

    // Again: the file that was missing is there now, and the rest stays as it was.
    std::fs::copy(&photo, atoll.path("missing.jpg")).unwrap();
    run(&atoll, &job, &[&format!("images={list}")]);
    let sql = format!(
        "SELECT labels[1]['label'] AS label, error_code, \
         labelled_at = max(labelled_at) OVER () AS is_new FROM '{}/' ORDER BY filename",
        atoll.path("out").display()
    );
    let rows = atoll.run(&["-c", &sql, "--format", "csv"]).ok().stdout;
    let mut rows: Vec<&str> = rows.lines().skip(1).collect();
    rows.sort_unstable();
    let expected = [",NOT_AN_IMAGE,false", "espresso,,false", "espresso,,true"];
    assert_eq!(rows, expected);
}
