//! What was trained is not trained again: after the end, and after a kill.

use std::time::Duration;

use crate::support::{Atoll, wait_until};

/// One network per seed; small, but not instant.
fn grid(trials: usize, epochs: usize) -> String {
    format!(
        "SELECT seed, t.status AS status, t.trial_id AS trial, t.validation_accuracy AS accuracy \
         FROM (SELECT seed, train('sql/data/digits.parquet', {{architecture: 'mlp', hidden: 32, \
         learning_rate: 0.1, epochs: {epochs}, seed: seed}}) AS t \
         FROM generate_series(1, {trials}) AS s(seed)) ORDER BY seed"
    )
}

#[test]
fn a_second_run_trains_nothing_and_gives_the_same_rows() {
    let atoll = Atoll::new();
    let run = || atoll.run(&["--format", "csv", "-c", &grid(6, 3)]).ok();
    let first = run();
    assert_eq!(
        first.stdout.matches("SUCCEEDED").count(),
        6,
        "{}",
        first.stdout
    );
    assert_eq!(atoll.trials(), 6);
    let second = run();
    assert_eq!(second.stdout, first.stdout);
    assert_eq!(atoll.trials(), 6);
    // Starting an unoptimised binary on a busy machine is part of this.
    assert!(
        second.took < Duration::from_secs(1),
        "took {:?}",
        second.took
    );
}

#[test]
fn a_wider_grid_trains_only_the_new_rows() {
    let atoll = Atoll::new();
    atoll.run(&["-c", &grid(2, 2)]).ok();
    let before = modified(&atoll);
    atoll.run(&["-c", &grid(4, 2)]).ok();
    let after = modified(&atoll);
    assert_eq!((before.len(), after.len()), (2, 4));
    assert!(
        before.iter().all(|trial| after.contains(trial)),
        "a finished trial was rewritten"
    );
}

#[test]
fn a_killed_run_resumes_with_what_is_missing() {
    let atoll = Atoll::new();
    let sql = grid(12, 40);
    let running = atoll.start(&["--threads", "2", "-c", &sql]);
    wait_until("the third trial", || atoll.trials() >= 3);
    running.signal("KILL");
    assert_eq!(running.finish().status.code(), None);
    let before = modified(&atoll);
    assert!(
        (3..12).contains(&before.len()),
        "{} of 12 trials were done",
        before.len()
    );

    let output = atoll.run(&["--format", "csv", "-c", &sql]).ok();
    assert_eq!(
        output.stdout.matches("SUCCEEDED").count(),
        12,
        "{}",
        output.stdout
    );
    let after = modified(&atoll);
    assert_eq!(after.len(), 12);
    assert!(
        before.iter().all(|trial| after.contains(trial)),
        "a finished trial was rewritten"
    );

    let elsewhere = Atoll::new();
    let uninterrupted = elsewhere.run(&["--format", "csv", "-c", &sql]).ok();
    assert_eq!(output.stdout, uninterrupted.stdout);
}

#[test]
fn two_processes_share_a_storage() {
    let atoll = Atoll::new();
    let sql = grid(4, 4);
    let runs = [(); 2].map(|()| atoll.start(&["--format", "csv", "-c", &sql]));
    let outputs = runs.map(|run| run.finish().ok().stdout);
    assert_eq!(outputs[0], outputs[1]);
    assert_eq!(atoll.trials(), 4);
}

/// The trials kept, with when each was written.
fn modified(atoll: &Atoll) -> Vec<(std::ffi::OsString, std::time::SystemTime)> {
    let entries = std::fs::read_dir(atoll.path("storage/trials"))
        .unwrap()
        .flatten();
    let trials =
        entries.filter(|entry| entry.path().extension().is_some_and(|e| e == "json"));
    trials
        .map(|entry| {
            (
                entry.file_name(),
                entry.metadata().unwrap().modified().unwrap(),
            )
        })
        .collect()
}
