//! `atoll run`: parameters, and errors that name the statement and its line.

use crate::support::Atoll;

#[test]
fn parameters_fill_the_script() {
    let atoll = Atoll::new();
    let script = atoll.file(
        "s.sql",
        "-- Counts.\n-- Parameter: n integer = 2\nSELECT '${who}' AS who, ${n} AS n, '$${n}' AS raw;\n",
    );
    let run = |set: &[&str]| {
        let mut arguments = vec!["run", &script, "--format", "csv"];
        set.iter()
            .for_each(|pair| arguments.extend(["--set", pair]));
        atoll.run(&arguments)
    };
    assert_eq!(run(&["who=it's"]).ok().stdout, "who,n,raw\nit's,2,${n}\n");
    assert_eq!(
        run(&["who=me", "n=5"]).ok().stdout,
        "who,n,raw\nme,5,${n}\n"
    );
    let missing = run(&[]);
    assert_eq!(missing.status.code(), Some(2));
    let problem = "s.sql:3: parameter ${who} is not defined, defined are n";
    assert!(missing.stderr.contains(problem), "{}", missing.stderr);
    assert!(missing.stderr.contains("--set who="), "{}", missing.stderr);
    let unused = run(&["who=a", "m=1"]).stderr;
    assert!(unused.contains("--set m: no script uses ${m}"), "{unused}");
}

#[test]
fn an_error_names_the_file_the_line_and_the_statement() {
    let atoll = Atoll::new();
    let text = "-- One.\nSELECT ';' AS n;\n\n/* ; */\nSELECT 2 AS n;\n\nSELECT 3 AS n,\n  nope;\nSELECT 4;\n";
    let script = atoll.file("s.sql", text);
    let output = atoll.run(&["run", &script, "--format", "csv"]);
    assert_eq!(output.stdout, "n\n;\nn\n2\n");
    output.fails_naming(&[&format!(
        "error: {script}:8: statement 3: no column named nope"
    )]);
}

#[test]
fn a_syntax_error_names_its_own_line() {
    let atoll = Atoll::new();
    let script = atoll.file("s.sql", "SELECT 1;\nSELECT 2\nFROM ,;\n");
    let output = atoll.run(&["run", &script]);
    output.fails_naming(&[&format!("error: {script}:3: statement 2: syntax error")]);
}

#[test]
fn an_open_string_is_found_before_anything_runs() {
    let atoll = Atoll::new();
    let script = atoll.file("s.sql", "SELECT 1;\nSELECT 'a;\n");
    let output = atoll.run(&["run", &script]);
    output.fails_naming(&[&format!(
        "error: {script}:2: statement 2: syntax error: Unterminated"
    )]);
    assert_eq!(output.stdout, "");
}

#[test]
fn a_script_arrives_on_standard_input_too() {
    let atoll = Atoll::new();
    let output = atoll.pipe(
        &["run", "-", "--format", "csv", "--set", "n=4"],
        "SELECT ${n} AS n",
    );
    assert_eq!(output.ok().stdout, "n\n4\n");
    let output = atoll.pipe(&["run", "-"], "SELECT 1;\nSELECT nope;");
    output.fails_naming(&["error: <stdin>:2: statement 2:"]);
}

#[test]
fn a_script_may_write_files() {
    let atoll = Atoll::new();
    let script = atoll.file(
        "s.sql",
        "COPY (SELECT 1 AS n) TO '${out}' STORED AS PARQUET;",
    );
    let out = atoll.path("it's.parquet").display().to_string();
    atoll
        .run(&["run", &script, "--set", &format!("out={out}")])
        .ok();
    let sql = format!("SELECT * FROM '{}'", out.replace('\'', "''"));
    assert_eq!(
        atoll.run(&["--format", "csv", "-c", &sql]).ok().stdout,
        "n\n1\n"
    );
}
