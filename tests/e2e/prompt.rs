//! The prompt, on a pipe and on a terminal.

use std::process::{Command, Stdio};

use crate::support::{Atoll, Running};

#[test]
fn a_pipe_runs_statements_and_commands_as_they_complete() {
    let atoll = Atoll::new();
    let out = atoll.path("out.csv").display().to_string();
    let input = format!(
        "\\format csv\nSELECT 1 AS n,\n  'a;b' AS t;\n\\o {out}\nSELECT 2 AS n;\n\\o\nSELECT 3 AS n"
    );
    let output = atoll.pipe(&[], &input).ok();
    assert_eq!(output.stdout, "n,t\n1,a;b\nn\n3\n");
    assert_eq!(std::fs::read_to_string(out).unwrap(), "n\n2\n");
}

#[test]
fn a_pipe_stops_at_the_first_error_and_names_its_line() {
    let output = Atoll::new().pipe(
        &["--format", "csv"],
        "SELECT 1 AS n;\n\n\nSELECT\n nope;\nSELECT 3;",
    );
    assert_eq!(output.stdout, "n\n1\n");
    output.fails_naming(&["error: <stdin>:5: no column named nope"]);
}

#[test]
fn help_lists_the_commands() {
    let output = Atoll::new().pipe(&[], "\\?\n\\q\nSELECT 1;").ok();
    for command in ["\\d", "\\df", "\\o", "\\timing", "\\q"] {
        assert!(
            output.stdout.contains(command),
            "{command}: {}",
            output.stdout
        );
    }
    assert!(!output.stdout.contains('┌'), "it went on after \\q");
}

/// What those type who come from DuckDB's shell.
#[test]
fn commands_with_a_dot_do_what_they_do_elsewhere() {
    let input = "CREATE VIEW ages AS SELECT 1 AS age;\n.mode csv\n.tables\n.schema ages\n\
                 .schema\n.mode line\nSELECT .5 AS half;\n.quit\nSELECT 1;\n";
    let output = Atoll::new().pipe(&["-q"], input).ok();
    for part in [
        "public,ages,VIEW\n",
        "age,Int64,",
        "ages,age,Int64\n",
        "half │ 0.5\n",
    ] {
        assert!(output.stdout.contains(part), "{part}: {}", output.stdout);
    }
    let output = Atoll::new().run(&["-q", "-c", ".mode csv", "-c", "SELECT 1 AS a"]);
    assert_eq!(output.stdout, "a\n1\n", "{}", output.stderr);
    let wrong = Atoll::new().run(&["-c", ".mode nonsense"]);
    wrong.fails_naming(&["unknown mode nonsense", "duckbox"]);
}

#[test]
fn tables_and_columns_are_described() {
    let input = "CREATE VIEW ages AS SELECT 1 AS age;\n\\format csv\n\\d\n\\d ages\n\\timing\nSELECT 1;\n";
    let output = Atoll::new().pipe(&[], input).ok();
    assert!(
        output.stdout.contains("public,ages,VIEW\n"),
        "{}",
        output.stdout
    );
    assert!(output.stdout.contains("age,Int64,"), "{}", output.stdout);
    assert!(output.stderr.contains("Time: "), "{}", output.stderr);
    let input = "CREATE VIEW ages AS SELECT 1 AS age;\n\\format csv\n\\d+ ages\n";
    let output = Atoll::new().pipe(&[], input).ok();
    assert!(
        output
            .stdout
            .contains("\nVIEW,CREATE VIEW ages AS SELECT 1 AS age"),
        "{}",
        output.stdout
    );
}

#[test]
fn parameters_fill_statements_and_scripts() {
    let atoll = Atoll::new();
    let script = atoll.file("job.sql", "SELECT '${who}' AS who;\n\nSELECT oops;\n");
    let input = format!(
        "\\format csv\n\\set who it's\n\\set n 2\nSELECT '${{who}}' AS w, ${{n}} AS n;\n\\i {script}\n"
    );
    let output = atoll.pipe(&[], &input);
    assert_eq!(output.stdout, "w,n\nit's,2\nwho\nit's\n");
    output.fails_naming(&[&format!(
        "error: {script}:3: statement 2: no column named oops\n\n  3 │ SELECT oops\n"
    )]);
    let output = atoll.pipe(&[], "\\set a 1\nSELECT ${b};\n");
    output.fails_naming(&["parameter ${b} is not defined", "\\set NAME VALUE"]);
}

#[test]
fn watch_repeats_the_last_statement() {
    let input = "\\format csv\nSELECT 7 AS n;\n\\watch 0.01 3\n";
    let output = Atoll::new().pipe(&[], input).ok();
    assert_eq!(output.stdout, "n\n7\n".repeat(4));
    assert_eq!(output.stderr.matches("(every 0.01 s)").count(), 3);
    Atoll::new()
        .pipe(&[], "\\watch\n")
        .fails_naming(&["there is no statement to repeat"]);
}

#[test]
fn tables_expand_to_a_line_a_field() {
    let input = "\\x\nSELECT 1 AS n, {a: 'x', b: NULL} AS s;\n";
    let output = Atoll::new().pipe(&[], input).ok();
    assert!(
        output.stdout.ends_with("\nn   │ 1\ns.a │ x\ns.b │ NULL\n"),
        "{}",
        output.stdout
    );
}

#[test]
fn what_other_shells_call_a_command_is_explained() {
    let atoll = Atoll::new();
    atoll
        .run(&["-c", "\\tables"])
        .fails_naming(&["unknown command \\tables"]);
    atoll
        .run(&["-c", "\\i"])
        .fails_naming(&["\\i wants an argument: \\i FILE"]);
    atoll
        .pipe(&[], "\\e\n")
        .fails_naming(&["\\e needs a terminal"]);
}

/// Types into a terminal of 24 lines and prints what it shows. Each step waits for a
/// text, then types; so nothing depends on how fast the machine is.
const TYPIST: &str = r#"
import fcntl, json, os, pty, select, struct, sys, termios, time
steps, deadline = json.loads(sys.argv[1]), time.time() + 90
pid, master = pty.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
seen, at = "", 0
def more(seconds):
    global seen
    if not select.select([master], [], [], seconds)[0]:
        return True
    try:
        data = os.read(master, 65536)
    except OSError:
        return False
    seen += data.decode(errors="replace")
    return bool(data)
for text, keys in steps:
    if text == "WAIT":
        end = time.time() + 1.5
        while time.time() < end:
            more(0.1)
        at = len(seen)
    else:
        while text not in seen[at:]:
            if time.time() > deadline or not more(0.2):
                sys.stdout.write(seen)
                sys.exit("did not show " + text)
        at = seen.index(text, at) + len(text)
        more(0.3)
    os.write(master, keys.encode())
    if keys == "\x03":
        pressed = time.time()
    if text == "cancelled":
        sys.stdout.write("CANCELLED AFTER %.1f\n" % (time.time() - pressed))
while more(5):
    if time.time() > deadline:
        sys.exit("did not quit")
_, status = os.waitpid(pid, 0)
sys.stdout.write(seen)
sys.exit(os.waitstatus_to_exitcode(status))
"#;

/// What a terminal shows of a session; none where there is no Python to open one.
fn typed(
    atoll: &Atoll,
    environment: &[(&str, &str)],
    steps: &[(&str, &str)],
) -> Option<String> {
    let version = Command::new("python3").arg("--version").output();
    if !version.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: python3 is needed to open a terminal");
        return None;
    }
    let storage = atoll.path("storage").display().to_string();
    let steps = serde_json::to_string(steps).unwrap();
    let binary = env!("CARGO_BIN_EXE_atoll");
    let child = Command::new("python3")
        .args(["-c", TYPIST, &steps, binary, "--storage", &storage])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("XDG_DATA_HOME", atoll.path("home"))
        .env("HOME", atoll.path("home"))
        .env("TERM", "xterm")
        // No pager unless a test asks for one.
        .env("PAGER", "")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let output = Running::new(child).finish();
    assert!(
        output.status.success(),
        "{}\n{}",
        output.stderr,
        output.stdout
    );
    Some(output.stdout)
}

#[test]
fn a_terminal_session_survives_errors_and_ctrl_c() {
    let atoll = Atoll::new();
    let slow = "SELECT t.status FROM (SELECT train('sql/data/digits.parquet', {architecture: \
                'lenet', learning_rate: 0.01, epochs: 100000, patience: 0}) AS t);\r";
    let steps = [
        ("atoll>", "SELECT 1 +\r"),
        ("", "41 AS answer;\r"),
        ("(1 row)", "SELECT nope;\r"),
        ("no column named nope", ".table\r"),
        (
            "did you mean .tables?",
            "SELECT value FROM generate_series(1, 100);\r",
        ),
        ("(100 rows, 40 shown)", slow),
        ("WAIT", "\u{3}"),
        ("cancelled", "SELECT 'still ' || 'here' AS x;\r"),
        ("still here", "quit\r"),
    ];
    let Some(shown) = typed(&atoll, &[], &steps) else {
        return;
    };
    assert!(shown.contains("answer"), "{shown}");
    assert!(shown.contains("^^^^"), "nothing is underlined: {shown}");
    assert!(shown.contains("trials ["), "no progress: {shown}");
    let took = shown.split("CANCELLED AFTER ").nth(1).unwrap();
    let took: f64 = took.lines().next().unwrap().parse().unwrap();
    assert!(took < 2.0, "cancelled after {took} s");
    let history = std::fs::read_to_string(atoll.path("home/atoll/history")).unwrap();
    assert!(history.contains("SELECT nope;"), "{history}");
}

#[test]
fn a_pager_shows_what_is_longer_than_the_screen() {
    let atoll = Atoll::new();
    let file = atoll.path("paged");
    let pager = format!("cat > '{}'; echo it is written", file.display());
    let steps = [
        ("atoll>", "SELECT 'on ' || 'screen' AS x;\r"),
        (
            "on screen",
            "SELECT value FROM generate_series(1, 30000);\r",
        ),
        ("it is written", "\\pager\r"),
        ("long results are shown in cat", "\\pager head -n 4\r"),
        (
            "shown in head",
            "SELECT value FROM generate_series(1, 100000000000);\r",
        ),
        // The pager is left at once, and so is the statement; the next one is like
        // less, which hears Ctrl-C and goes on.
        ("│ value │", "\\pager trap '' INT; cat > /dev/null\r"),
        (
            "shown in trap",
            "SELECT value FROM generate_series(1, 100000000000);\r",
        ),
        ("WAIT", "\u{3}"),
        ("cancelled", "\\pager no-such-program\r"),
        ("shown in no-such", "\\df\r"),
        ("cannot start the pager no-such-program", "\\pager off\r"),
        (
            "there is no pager",
            "SELECT value FROM generate_series(1, 100);\r",
        ),
        ("(100 rows, 40 shown)", "\u{4}"),
    ];
    let Some(shown) = typed(&atoll, &[("PAGER", &pager)], &steps) else {
        return;
    };
    let paged = std::fs::read_to_string(file).unwrap();
    assert_eq!(paged.lines().count(), 30_005, "{paged}");
    assert!(paged.ends_with("(30000 rows)\n"));
    assert_eq!(shown.matches("error:").count(), 1, "{shown}");
}

#[test]
fn the_last_statement_is_edited_and_watched() {
    let atoll = Atoll::new();
    let editor = "sed -i s/41/43/";
    let steps = [
        ("atoll>", "\\watch\r"),
        ("no statement to repeat", "SELECT 41 AS answer;\r"),
        ("(1 row)", "\\e\r"),
        // A second time there is nothing to change.
        ("43 │", "\\e\r"),
        ("nothing was changed", "\\watch 0.01 2\r"),
        ("(every 0.01 s)", ""),
        ("(1 row)", ""),
        ("(every 0.01 s)", ""),
        ("(1 row)", "\\watch 60\r"),
        ("(every 60 s)", ""),
        ("(1 row)", "\u{3}"),
        ("atoll>", "SELECT 'af' || 'ter' AS x;\r"),
        ("after", "\u{4}"),
    ];
    let environment = [("EDITOR", editor), ("VISUAL", "")];
    let Some(shown) = typed(&atoll, &environment, &steps) else {
        return;
    };
    assert_eq!(shown.matches("(every 0.01 s)").count(), 2, "{shown}");
    let history = std::fs::read_to_string(atoll.path("home/atoll/history")).unwrap();
    assert!(history.contains("SELECT 43 AS answer;"), "{history}");
}

#[test]
fn a_statement_of_several_lines_comes_back_as_one() {
    let atoll = Atoll::new();
    let steps = [
        ("atoll>", "SELECT 'a\\b' AS x,\r"),
        ("", "20 +\r"),
        ("", "22 AS answer;\r"),
        ("(1 row)", "\u{4}"),
    ];
    if typed(&atoll, &[], &steps).is_none() {
        return;
    }
    // Up, and enter at its end.
    let steps = [("atoll>", "\u{1b}[A\r"), ("(1 row)", "\u{4}")];
    let shown = typed(&atoll, &[], &steps).unwrap();
    assert!(shown.contains("a\\b │     42 │"), "{shown}");
}
