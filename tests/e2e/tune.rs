//! A study is the same whatever runs it, and nothing that it trained is trained again.

use std::fs;
use std::path::Path;

use crate::cluster::{executors, kill};
use crate::server::Server;
use crate::support::{Atoll, wait_until};

/// A search that learns and prunes; its rows without what time decides.
fn study(trials: usize, pruner: &str) -> String {
    format!(
        "SELECT trial, learning_rate, hidden, optimizer, momentum, rung, t.status, t.epochs, \
         t.validation_loss, t.model_sha256 \
         FROM tune('sql/data/digits.parquet', {{architecture: 'mlp', \
         learning_rate: hp_loguniform(1e-4, 0.5), hidden: hp_logint(4, 32), \
         optimizer: hp_choice([{{optimizer: 'sgd', momentum: hp_uniform(0.5, 0.99)}}, \
         {{optimizer: 'adam'}}]), epochs: 9}}, \
         {{trials: {trials}, pruner: '{pruner}', parallel: 4, seed: 3}})"
    )
}

fn rows(atoll: &Atoll, more: &[&str], sql: &str) -> String {
    let arguments = [more, &["--format", "csv", "-c", sql]].concat();
    atoll.run(&arguments).ok().stdout
}

/// On one machine and on executors of several slots; 20 kills of each are in
/// benches/search/kills.py.
#[test]
fn any_number_of_slots_gives_the_same_rows_in_the_same_order() {
    let sql = study(24, "hyperband");
    let expected = rows(&Atoll::new(), &["--threads", "1"], &sql);
    assert_eq!(expected.lines().count(), 25, "{expected}");
    assert!(expected.contains("PRUNED") && expected.contains("SUCCEEDED"));
    for threads in ["2", "5", "13"] {
        let found = rows(&Atoll::new(), &["--threads", threads], &sql);
        assert_eq!(found, expected, "{threads} threads");
    }
    for (executors, slots) in [(1, "1"), (2, "1"), (1, "5"), (2, "7")] {
        let server = Server::cluster(executors, |command| {
            command.args(["--slots", slots]);
        });
        let found = rows(&Atoll::new(), &["--cluster", &server.address()], &sql);
        assert_eq!(found, expected, "{executors} executors of {slots} slots");
    }
}

#[test]
fn killed_executors_change_no_row() {
    let sql = study(24, "hyperband");
    let expected = rows(&Atoll::new(), &[], &sql);
    let server = Server::cluster(2, |_| {});
    let atoll = Atoll::new();
    let address = server.address();
    let running =
        atoll.start(&["--format", "csv", "--cluster", &address, "-c", sql.as_str()]);
    for (turn, trainings) in [2, 9, 17].into_iter().enumerate() {
        wait_until("a training", || atoll.trials() >= trainings);
        let (_, workers) = executors(&server);
        // The one that was killed before may not be back yet.
        if let Some(worker) = workers.get(turn % workers.len().max(1)) {
            kill(*worker);
        }
    }
    assert_eq!(running.finish().ok().stdout, expected);
}

#[test]
fn a_cancelled_study_goes_on_where_it_was() {
    let sql = study(24, "hyperband");
    let expected = rows(&Atoll::new(), &[], &sql);
    let atoll = Atoll::new();
    let running = atoll.start(&["--format", "csv", "-c", &sql]);
    wait_until("the sixth training", || atoll.trials() >= 6);
    running.signal("INT");
    let output = running.finish();
    assert_eq!(output.status.code(), Some(130), "{}", output.stderr);
    let before = names(&atoll.path("storage/trials"));
    assert_eq!(rows(&atoll, &[], &sql), expected);
    let after = names(&atoll.path("storage/trials"));
    assert!(before.len() < after.len() && before.iter().all(|name| after.contains(name)));
}

#[test]
fn a_killed_study_trains_what_was_missing() {
    let sql = study(24, "halving");
    let expected = rows(&Atoll::new(), &[], &sql);
    let atoll = Atoll::new();
    let running = atoll.start(&["--threads", "2", "-c", &sql]);
    wait_until("the eighth rung", || atoll.trials() >= 8);
    running.signal("KILL");
    running.finish();
    let before = names(&atoll.path("storage/trials"));
    assert_eq!(rows(&atoll, &[], &sql), expected);
    let after = names(&atoll.path("storage/trials"));
    assert!(before.len() < after.len() && before.iter().all(|name| after.contains(name)));
    // And a third time nothing.
    assert_eq!(rows(&atoll, &[], &sql), expected);
    assert_eq!(names(&atoll.path("storage/trials")), after);
}

#[test]
fn more_trials_train_only_the_new_ones() {
    let atoll = Atoll::new();
    let few = rows(&atoll, &[], &study(10, "none"));
    assert_eq!(atoll.trials(), 10);
    let more = rows(&atoll, &[], &study(20, "none"));
    assert_eq!(atoll.trials(), 20);
    for row in few.lines() {
        assert!(more.lines().any(|other| other == row), "{row} is missing");
    }
}

#[test]
fn survivors_are_the_networks_that_one_go_gives() {
    let atoll = Atoll::new();
    let sql = study(12, "halving");
    let pruned = rows(&atoll, &[], &sql);
    let survivor = pruned
        .lines()
        .find(|row| row.contains("SUCCEEDED"))
        .unwrap();
    let fields: Vec<&str> = survivor.split(',').collect();
    let (rate, hidden, optimizer) = (fields[1], fields[2], fields[3]);
    let momentum = match fields[4] {
        "" => String::new(),
        momentum => format!(", momentum: {momentum}"),
    };
    // A storage of its own, so that nothing is found.
    let sql = format!(
        "SELECT t.model_sha256 FROM (SELECT train('sql/data/digits.parquet', \
         {{architecture: 'mlp', learning_rate: {rate}, hidden: {hidden}, \
         optimizer: '{optimizer}'{momentum}, epochs: 9}}) AS t)"
    );
    let whole = rows(&Atoll::new(), &[], &sql);
    let sha256 = whole.lines().last().unwrap();
    assert_eq!(sha256.len(), 64);
    assert!(survivor.ends_with(sha256), "{survivor} is not {sha256}");
}

#[test]
fn another_pruner_goes_on_from_the_same_rungs() {
    let atoll = Atoll::new();
    rows(&atoll, &[], &study(9, "halving"));
    let rungs = atoll.trials();
    let before = names(&atoll.path("storage/trials"));
    // The first trials are drawn, so both pruners begin with the same nine points.
    rows(&atoll, &[], &study(9, "hyperband"));
    let after = names(&atoll.path("storage/trials"));
    let shared = before.iter().filter(|name| after.contains(name)).count();
    assert_eq!(shared, rungs);
    assert!(after.len() < 2 * rungs, "{} {rungs}", after.len());
}

#[test]
fn a_budget_cuts_a_study_and_the_same_statement_goes_on() {
    let atoll = Atoll::new();
    let cut = study(400, "none").replace("seed: 3", "seed: 3, budget_seconds: 0.3");
    let output = atoll.run(&["--format", "csv", "-c", &cut]).ok();
    let first = output.stdout.lines().count() - 1;
    assert!(first < 400, "{first}");
    assert!(
        output
            .stderr
            .contains("budget_seconds, which is 0.3, was over after"),
        "{}",
        output.stderr
    );
    let trials = atoll.trials();
    atoll.run(&["--format", "csv", "-c", &cut]).ok();
    assert!(atoll.trials() > trials, "{trials}");
}

/// What seconds cut, a number of trainings cuts at the same place: with a pruner, in whose
/// rungs trials wait.
#[test]
fn where_a_budget_cut_a_study_is_recorded() {
    let whole = study(400, "halving");
    let with = |budget: &str| whole.replace("seed: 3", &format!("seed: 3, {budget}"));
    let atoll = Atoll::new();
    let cut = with("budget_seconds: 0.5");
    let rows_of_cut = rows(&atoll, &[], &cut);
    let folder = atoll.path("storage/studies");
    let records = names(&folder);
    assert_eq!(records.len(), 1, "{records:?}");
    let record = fs::read(folder.join(&records[0])).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let cuts = record["cuts"].as_array().unwrap();
    assert_eq!(cuts.len(), 1, "{record}");
    let trainings = cuts[0]["trainings"].as_u64().unwrap();
    assert_eq!(
        cuts[0]["trials"].as_u64().unwrap() as usize,
        rows_of_cut.lines().count() - 1
    );
    let again = with(&format!("trainings: {trainings}"));
    assert_eq!(
        rows(&Atoll::new(), &["--threads", "1"], &again),
        rows_of_cut
    );
    // EXPLAIN of the statement says where it was cut, whatever its budget is now.
    let explain = format!("EXPLAIN {again}");
    let plan = rows(&atoll, &[], &explain);
    assert!(
        plan.contains(&format!("cut=[after {trainings} trainings")),
        "{plan}"
    );
    let reasons = again.replace("t.model_sha256", "t.error");
    let reasons = rows(&atoll, &[], &reasons);
    assert!(
        reasons.contains("the budget of the study was over before it was decided"),
        "{reasons}"
    );
}

#[test]
fn a_study_is_copied_viewed_and_inserted() {
    let atoll = Atoll::new();
    let sql = study(6, "halving");
    let expected = rows(&atoll, &[], &sql);
    let trained = atoll.trials();
    let out = atoll.path("study.parquet").display().to_string();
    let script = format!(
        "CREATE VIEW as_view AS {sql}; CREATE TABLE as_table AS {sql}; \
         CREATE TABLE inserted AS SELECT * FROM as_view WHERE false; \
         INSERT INTO inserted SELECT * FROM as_view; \
         COPY (SELECT * FROM as_view) TO '{out}' STORED AS PARQUET"
    );
    atoll.run(&["-c", &script]).ok();
    let file = format!("'{out}'");
    for table in ["as_table", "inserted", &file] {
        let found = rows(&atoll, &[], &format!("SELECT * FROM {table}"));
        let sorted = |rows: &str| {
            let mut rows: Vec<String> = rows.lines().map(str::to_string).collect();
            rows.sort();
            rows
        };
        assert_eq!(sorted(&found), sorted(&expected), "{table}");
    }
    assert_eq!(atoll.trials(), trained);
}

#[test]
fn explain_shows_what_is_searched_and_how_and_trains_nothing() {
    let atoll = Atoll::new();
    let sql = "EXPLAIN SELECT * FROM tune('sql/data/digits.parquet', \
        {learning_rate: hp_loguniform(0.01, 0.5), hidden: hp_int(8, 16, 4), epochs: 9}, \
        {trials: 20, pruner: 'halving', parallel: 4})";
    let plan = atoll.run(&["--format", "csv", "-c", sql]).ok().stdout;
    let expected = "TuneExec: dataset=sql/data/digits.parquet, \
        space=[learning_rate: 0.01..0.5 log, hidden: 8..16 integer step 4], trials=20, \
        sampler=tpe, pruner=halving, window=4, objective=[validation_error], \
        epochs=[1, 3, 9]";
    assert!(plan.contains(expected), "{plan}");
    // Which would wait for thousands of rows before it gave the first.
    let sql = sql.replace("SELECT *", "SELECT 1 - t.validation_accuracy");
    let plan = rows(&atoll, &[], &sql);
    assert!(
        plan.contains("TuneExec") && !plan.contains("RepartitionExec"),
        "{plan}"
    );
    assert!(!atoll.path("storage/trials").exists());
}

#[test]
fn a_data_set_that_vanishes_is_one_clear_error() {
    let atoll = Atoll::new();
    let data = atoll.path("digits.parquet");
    fs::copy("sql/data/digits.parquet", &data).unwrap();
    let data = data.display().to_string();
    let script = format!(
        "CREATE VIEW study AS SELECT trial FROM tune('{data}', {{hidden: hp_int(4, 8), \
         architecture: 'mlp', epochs: 1}}, {{trials: 2}});"
    );
    atoll.run(&["-c", &script]).ok();
    fs::remove_file(&data).unwrap();
    let sql = format!(
        "SELECT trial FROM tune('{data}', {{hidden: hp_int(4, 8), architecture: 'mlp', \
         epochs: 1}}, {{trials: 2}})"
    );
    let output = atoll.run(&["-c", &sql]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        output.stderr.matches("error:").count(),
        1,
        "{}",
        output.stderr
    );
    assert!(
        output.stderr.contains("digits.parquet"),
        "{}",
        output.stderr
    );
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}
