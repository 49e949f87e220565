//! Mistakes people make, and what they read: one message, the place, and what to do.

use crate::support::Atoll;

/// Asserts what is said about a statement. `place` is underlined; an empty one is the
/// end of the statement.
#[track_caller]
fn check(sql: &str, message: &str, place: &str, hint: &str) {
    let output = Atoll::new().run(&["-c", sql]);
    assert_eq!(output.status.code(), Some(1), "{sql}: {}", output.stdout);
    let at = if place.is_empty() {
        sql.len()
    } else {
        sql.find(place).unwrap()
    };
    // Statements of the tests are short and of one byte a character.
    let pad = " ".repeat(at);
    let mark = "^".repeat(place.len().max(1));
    let hint = match hint {
        "" => String::new(),
        hint => format!("\n\nhint: {hint}"),
    };
    let expected = format!("error: {message}\n\n  1 │ {sql}\n    │ {pad}{mark}{hint}\n");
    assert_eq!(output.stderr, expected, "{}", output.stderr);
}

#[test]
fn columns() {
    check(
        "SELECT learnign_rate FROM (SELECT 0.1 AS learning_rate, 1 AS seed)",
        "no column named learnign_rate",
        "learnign_rate",
        "did you mean learning_rate?",
    );
    check(
        "SELECT d.lable FROM 'sql/data/digits.parquet' AS d",
        "no column named d.lable",
        "d.lable",
        "did you mean d.label?",
    );
    check(
        "SELECT t.a, x.b FROM (SELECT 1 AS a, 2 AS b) AS t",
        "no column named x.b",
        "x.b",
        "did you mean t.b?",
    );
    check(
        "SELECT what FROM (SELECT 1 AS a, 2 AS b)",
        "no column named what",
        "what",
        "columns are a, b",
    );
    check(
        "SELECT label FROM (SELECT 1 AS \"Label\")",
        "no column named label",
        "label",
        "did you mean \"Label\"? A name with capitals needs double quotes",
    );
    check(
        "SELECT a FROM (SELECT 1 AS a) WHERE a = \"one\"",
        "no column named one",
        "\"one\"",
        "a text is in single quotes: 'one'",
    );
    check(
        "SELECT id FROM (SELECT 1 AS id) AS a, (SELECT 2 AS id) AS b",
        "column id is ambiguous",
        "id",
        "write a.id or b.id",
    );
}

#[test]
fn tables_and_files() {
    check(
        "WITH trials AS (SELECT 1) SELECT * FROM trails",
        "no table named trails",
        "trails",
        "did you mean trials?",
    );
    check(
        "SELECT * FROM nowhere",
        "no table named nowhere",
        "nowhere",
        "there are no tables yet; a file is read as FROM 'path.parquet'",
    );
    check(
        "SELECT * FROM 'sql/data/digts.parquet'",
        "no file or table named 'sql/data/digts.parquet'",
        "'sql/data/digts.parquet'",
        "did you mean digits.parquet?",
    );
    check(
        "SELECT * FROM 'no/such.parquet'",
        "no file or table named 'no/such.parquet'",
        "'no/such.parquet'",
        "there is no folder no; check the path",
    );
    check(
        "SELECT * FROM 'Cargo.toml'",
        "cannot read 'Cargo.toml' as a table",
        "'Cargo.toml'",
        "files that are tables end in .arrow, .csv, .json, .ndjson, .parquet",
    );
}

#[test]
fn functions() {
    check(
        "SELECT trian('x', {epochs: 1})",
        "no function named trian",
        "trian",
        "did you mean train?",
    );
    check(
        "SELECT * FROM read_blbo('x')",
        "no table function named read_blbo",
        "read_blbo",
        "did you mean read_blob?",
    );
    check(
        "SELECT read_blob('x')",
        "no function named read_blob",
        "read_blob",
        "it gives rows: SELECT * FROM read_blob(...)",
    );
    check(
        "SELECT 1, abs('a', 2)",
        "abs does not take (Utf8, Int64)",
        "abs",
        "it is called as abs(numeric_expression)",
    );
    check(
        "SELECT image_decode(1)",
        "image_decode takes the bytes of an image file or an IMAGE, got Int64",
        "image_decode",
        "it is called as image_decode(image)",
    );
}

#[test]
fn hyperparameters_and_options() {
    let output = Atoll::new().run(&[
        "-c",
        "SELECT train('sql/data/digits.parquet', {epochs: 1,\n  learnign_rate: 0.1})",
    ]);
    output.fails_naming(&["error: train: unknown hyperparameter learnign_rate\n\n\
         \x20 2 │   learnign_rate: 0.1})\n    │   ^^^^^^^^^^^^^\n\n\
         hint: did you mean learning_rate? valid: architecture, "]);
    let output = Atoll::new().run(&[
        "-c",
        "SELECT train('sql/data/digits.parquet', {epochs: 1}, {timeout: 3})",
    ]);
    output.fails_naming(&["unknown option timeout", "did you mean timeout_seconds?"]);
}

#[test]
fn groups_and_types() {
    check(
        "SELECT x, y FROM (SELECT 1 AS x, 2 AS y) GROUP BY x",
        "y is neither in GROUP BY nor in an aggregate",
        "y",
        "add y to GROUP BY, or take one of its values: first_value(y)",
    );
    check(
        "SELECT count(*), z FROM (SELECT 1 AS z)",
        "z is neither in GROUP BY nor in an aggregate",
        "z",
        "group by it: GROUP BY z",
    );
    check(
        "SELECT 1 + 'abc'",
        "+ does not take Int64 and Utf8",
        "+",
        "cast one of them, as in CAST(x AS DOUBLE)",
    );
    check(
        "SELECT CAST(1 AS INTT)",
        "no type named INTT",
        "INTT",
        "did you mean INT?",
    );
    check(
        "SELECT s['statu'] FROM (SELECT {status: 1} AS s)",
        "no field of the struct is named statu",
        "'statu'",
        "did you mean status?",
    );
}

#[test]
fn syntax() {
    check(
        "SELCT 1",
        "syntax error: expected an SQL statement, found SELCT",
        "SELCT",
        "did you mean SELECT?",
    );
    check(
        "SELECT a FORM t",
        "syntax error: unexpected t",
        "FORM",
        "did you mean FROM?",
    );
    check(
        "SELECT train('x', {epochs: 1 hidden: 64})",
        "syntax error: expected }, found hidden",
        "hidden",
        "is there a comma missing before hidden?",
    );
    check(
        "SELECT (1 + 2",
        "syntax error: expected ), found the end",
        "(",
        "this ( is not closed",
    );
    check(
        "SELECT 'abc",
        "syntax error: Unterminated string literal",
        "'",
        "it ends with '; a quote inside a text is written twice",
    );
    check(
        "SELECT a FROM t WHERE",
        "syntax error: expected an expression, found the end",
        "",
        "",
    );
}

#[test]
fn scripts_and_pipes_show_the_line_of_the_file() {
    let atoll = Atoll::new();
    let script = atoll.file(
        "job.sql",
        "-- Header.\n\nSELECT 1;\n\nSELECT\n  ${what}\n  nope\nFROM (SELECT 1 AS a);\n",
    );
    let output = atoll.run(&["run", &script, "--set", "what=a,\n  a,"]);
    output.fails_naming(&[&format!(
        "error: {script}:7: statement 2: no column named nope\n\n  7 │   nope\n    │   ^^^^\n"
    )]);
    let output = atoll.pipe(&[], "SELECT 1;\n\nSELECT 2;\nSELECT\n  nope;\n");
    output.fails_naming(&["error: <stdin>:5: no column named nope\n\n  5 │   nope\n"]);
}
