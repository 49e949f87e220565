//! A panic ends the row that it happens in, and nothing else.

use std::process::Command;

use crate::server::Server;
use crate::support::{Atoll, Output, Running};

fn with_functions(command: &mut Command) {
    command.env("ATOLL_TEST_FUNCTIONS", "1");
}

fn run(atoll: &Atoll, arguments: &[&str]) -> Output {
    let mut command = atoll.command(arguments);
    with_functions(&mut command);
    Running::new(command.spawn().unwrap()).finish()
}

/// The error of the row, once, and nothing of the panic's own report.
#[track_caller]
fn names_the_row(output: &Output) {
    let parts = [
        "sql/data/photos/coffee.png: ",
        "internal error: test_panic was asked to panic",
        "please report it",
    ];
    output.fails_naming(&parts);
    let times = output.stderr.matches("was asked to").count();
    assert_eq!(times, 1, "{}", output.stderr);
}

const PHOTOS: &str = "SELECT test_panic(filename LIKE '%coffee%') AS status \
    FROM read_blob('sql/data/photos/c*')";

#[test]
fn a_row_that_panics_fails_its_statement_and_names_itself() {
    names_the_row(&run(&Atoll::new(), &["-c", PHOTOS]));
}

#[test]
fn a_row_that_panics_on_an_executor_does_the_same_and_the_cluster_lives() {
    let cluster = Server::cluster(1, with_functions);
    let atoll = Atoll::new();
    let address = cluster.address();
    names_the_row(&run(&atoll, &["--cluster", &address, "-c", PHOTOS]));
    let good = "SELECT test_panic(false) AS status";
    let arguments = ["--cluster", &address, "--format", "csv", "-c", good];
    let output = run(&atoll, &arguments).ok();
    assert_eq!(output.stdout, "status\nSUCCEEDED\n");
    assert!(!cluster.said().contains("asked to"), "{}", cluster.said());
}

#[test]
fn a_call_that_panics_around_its_rows_fails_its_statement() {
    let call = "SELECT test_panic_in_call(true) AS status";
    let output = run(&Atoll::new(), &["-c", call]);
    let message = "test_panic_in_call: internal error: test_panic was asked to panic";
    output.fails_naming(&[message]);
}
