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
    output.fails_naming(&["error: <stdin>:4: no column named nope"]);
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
}

/// Types into a terminal and prints what it shows. Each step waits for a text, then
/// types; so nothing depends on how fast the machine is.
const TYPIST: &str = r#"
import os, pty, select, signal, sys, time
steps = [
    ("atoll>", "SELECT 1 +\r"),
    ("", "41 AS answer;\r"),
    ("(1 row)", "SELECT nope;\r"),
    ("no column named nope", "SELECT value FROM generate_series(1, 100);\r"),
    ("(100 rows, 40 shown)", SLOW + ";\r"),
    ("WAIT", "\x03"),
    ("cancelled", "SELECT 'still ' || 'here' AS x;\r"),
    ("still here", "\x04"),
]
pid, master = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
seen, at, deadline = "", 0, time.time() + 90
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
    else:
        while text not in seen[at:]:
            if time.time() > deadline or not more(0.2):
                sys.stdout.write(seen)
                sys.exit("did not show " + text)
        more(0.3)
    at = len(seen)
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

#[test]
fn a_terminal_session_survives_errors_and_ctrl_c() {
    if !Command::new("python3")
        .arg("--version")
        .output()
        .is_ok_and(|o| o.status.success())
    {
        eprintln!("skipped: python3 is needed to open a terminal");
        return;
    }
    let atoll = Atoll::new();
    let slow = "SELECT t.status FROM (SELECT train('sql/data/digits.parquet', {architecture: \
                'lenet', learning_rate: 0.01, epochs: 100000, patience: 0}) AS t)";
    let typist = TYPIST.replace("SLOW", &format!("{slow:?}"));
    let storage = atoll.path("storage").display().to_string();
    let child = Command::new("python3")
        .args([
            "-c",
            &typist,
            env!("CARGO_BIN_EXE_atoll"),
            "--storage",
            &storage,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("XDG_DATA_HOME", atoll.path("home"))
        .env("HOME", atoll.path("home"))
        .env("TERM", "xterm")
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
    assert!(output.stdout.contains("answer"), "{}", output.stdout);
    assert!(
        output.stdout.contains("trials ["),
        "no progress: {}",
        output.stdout
    );
    let took = output.stdout.split("CANCELLED AFTER ").nth(1).unwrap();
    let took: f64 = took.lines().next().unwrap().parse().unwrap();
    assert!(took < 2.0, "cancelled after {took} s");
    let history = std::fs::read_to_string(atoll.path("home/atoll/history")).unwrap();
    assert!(history.contains("SELECT nope;"), "{history}");
}
