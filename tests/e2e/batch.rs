//! `-c` and `-f`: exit codes, what goes where, and what errors say.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::support::{Atoll, Running};

#[test]
fn rows_go_to_standard_output_and_nothing_else_does() {
    let output = Atoll::new()
        .run(&["-c", "SELECT 1 AS one, 'a' AS letter"])
        .ok();
    assert_eq!(
        output.stdout,
        "┌─────┬────────┐\n│ one │ letter │\n├─────┼────────┤\n│   1 │ a      │\n└─────┴────────┘\n"
    );
    assert_eq!(output.stderr, "");
}

#[test]
fn commands_and_files_run_in_the_order_given() {
    let atoll = Atoll::new();
    let file = atoll.file("two.sql", "SELECT 2 AS n;");
    let arguments = [
        "--format",
        "csv",
        "-c",
        "SELECT 1 AS n",
        "-f",
        &file,
        "-c",
        "SELECT 3 AS n",
    ];
    assert_eq!(atoll.run(&arguments).ok().stdout, "n\n1\nn\n2\nn\n3\n");
}

#[test]
fn statements_share_a_session() {
    let sql = "CREATE VIEW v AS SELECT 7 AS n; SET datafusion.execution.batch_size = 10;";
    let output =
        Atoll::new().run(&["--format", "csv", "-c", sql, "-c", "SELECT n FROM v"]);
    assert_eq!(output.ok().stdout, "n\n7\n");
}

#[test]
fn the_first_error_stops_the_run() {
    let output = Atoll::new().run(&[
        "--format",
        "csv",
        "-c",
        "SELECT 1 AS n",
        "-c",
        "SELECT nope",
        "-c",
        "SELECT 3 AS n",
    ]);
    assert_eq!(output.stdout, "n\n1\n");
    output.fails_naming(&["error: -c 2:", "nope"]);
}

#[test]
fn errors_are_plain_and_carry_a_remedy() {
    let atoll = Atoll::new();
    atoll
        .run(&["-c", "SELEC 1"])
        .fails_naming(&["error: syntax error", "SELEC"]);
    atoll
        .run(&["-c", "SELECT * FROM nowhere"])
        .fails_naming(&["error: no table named nowhere\n\n", "\n\nhint: "]);
    atoll
        .run(&["-c", "SELECT 1/0"])
        .fails_naming(&["error: Divide by zero"]);
    atoll
        .run(&["-c", "SELECT abz(1)"])
        .fails_naming(&["no function named abz", "hint: did you mean"]);
    atoll
        .run(&["-c", "SELECT colour FROM (SELECT 1 AS color)"])
        .fails_naming(&["error: no column named colour"]);
}

#[test]
fn an_error_while_rows_arrive_is_an_error() {
    let sql = "SELECT 1 / (value - 99999) FROM generate_series(1, 100000)";
    let output = Atoll::new().run(&["--format", "csv", "-c", sql]);
    output.fails_naming(&["error: Divide by zero"]);
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let atoll = Atoll::new();
    for arguments in [
        &["--nonsense"][..],
        &["--format", "xml", "-c", "SELECT 1"],
        &["--memory-limit", "lots", "-c", "SELECT 1"],
        &["--threads", "0", "-c", "SELECT 1"],
        &["run"],
        &["doctor", "-c", "SELECT 1"],
    ] {
        let output = atoll.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            output.stderr
        );
        assert!(
            output.stderr.contains("error:"),
            "{arguments:?}: {}",
            output.stderr
        );
    }
}

#[test]
fn a_missing_file_is_named_before_anything_runs() {
    let output = Atoll::new().run(&["-c", "SELECT 1", "-f", "no/such.sql"]);
    output.fails_naming(&["error: cannot read no/such.sql", "hint: "]);
    assert_eq!(output.stdout, "");
}

#[test]
fn options_reach_the_session() {
    let output = Atoll::new().run(&[
        "--threads",
        "3",
        "--format",
        "csv",
        "-c",
        "SELECT value FROM information_schema.df_settings \
         WHERE name = 'datafusion.execution.target_partitions'",
    ]);
    assert_eq!(output.ok().stdout, "value\n3\n");
}

#[test]
fn a_memory_limit_ends_in_a_remedy() {
    let sql =
        "SELECT array_agg(repeat('x', 100) || value) FROM generate_series(1, 2000000)";
    let output = Atoll::new().run(&["--memory-limit", "8m", "-c", sql]);
    output.fails_naming(&["hint: raise --memory-limit"]);
}

#[test]
fn a_reader_that_goes_away_ends_the_run_quietly() {
    let atoll = Atoll::new();
    let sql = "SELECT value FROM generate_series(1, 100000000)";
    let mut command = atoll.command(&["--format", "csv", "-c", sql]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "value");
    drop(lines);
    let output = Running::new(child).finish().ok();
    assert_eq!(output.stderr, "");
}

#[test]
fn statements_without_rows_write_nothing() {
    let output = Atoll::new().run(&[
        "-c",
        "CREATE VIEW v AS SELECT 1; SET datafusion.optimizer.max_passes = 3",
    ]);
    assert_eq!(output.ok().stdout, "");
}

#[test]
fn backslash_commands_work_with_c() {
    let atoll = Atoll::new();
    let output = atoll.run(&["-c", "\\df train"]).ok();
    assert!(output.stdout.starts_with("train\n\n"), "{}", output.stdout);
    assert!(output.stdout.contains("\nExample\n"), "{}", output.stdout);
    atoll
        .run(&["-c", "\\df trian"])
        .fails_naming(&["hint: did you mean train?"]);
    atoll
        .run(&["-c", "\\nonsense"])
        .fails_naming(&["unknown command \\nonsense"]);
}

#[test]
fn the_function_reference_lists_every_family() {
    let output = Atoll::new().run(&["functions", "--markdown"]).ok();
    for name in [
        "## blob",
        "## image",
        "## model",
        "## train",
        "## search",
        "### read_blob",
    ] {
        assert!(output.stdout.contains(name), "{name}");
    }
}

/// Editors on Windows put U+FEFF in front of UTF-8.
#[test]
fn a_byte_order_mark_is_not_a_part_of_a_script() {
    let atoll = Atoll::new();
    let csv = ["--format", "csv"];
    let file = atoll.file("mark.sql", "\u{feff}SELECT 1 AS n;\n");
    assert_eq!(
        atoll.run(&["--format", "csv", "-f", &file]).ok().stdout,
        "n\n1\n"
    );
    assert_eq!(
        atoll.run(&["run", &file, "--format", "csv"]).ok().stdout,
        "n\n1\n"
    );
    let input = "\u{feff}SELECT 2 AS n;\n";
    assert_eq!(atoll.pipe(&csv, input).ok().stdout, "n\n2\n");
    let from_stdin = ["--format", "csv", "-f", "-"];
    assert_eq!(atoll.pipe(&from_stdin, input).ok().stdout, "n\n2\n");
    // Its parameters are declared in its first lines.
    let text = "\u{feff}-- Parameter: n integer = 3 -- a number\nSELECT ${n} AS n;\n";
    let file = atoll.file("parameter.sql", text);
    assert_eq!(
        atoll.run(&["run", &file, "--format", "csv"]).ok().stdout,
        "n\n3\n"
    );
}

#[test]
fn explain_fails_with_its_statement() {
    for explain in ["EXPLAIN", "EXPLAIN VERBOSE", "EXPLAIN ANALYZE"] {
        let sql = format!(
            "{explain} SELECT (SELECT b.x FROM (VALUES (1)) AS b(x) WHERE b.x > a.x LIMIT 1) \
             FROM (VALUES (1)) AS a(x)"
        );
        let output = Atoll::new().run(&["-c", &sql]);
        assert_eq!(output.status.code(), Some(1), "{sql}: {}", output.stdout);
        assert_eq!(output.stdout, "", "{sql}");
    }
    Atoll::new().run(&["-c", "EXPLAIN SELECT 1"]).ok();
}
