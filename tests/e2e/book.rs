//! The book's pages do what they say: every command of theirs runs, in the order of the
//! page, and prints what stands below it.
//!
//! A block of a page that begins with ` ```console ` holds commands after `$ `, which may
//! go on in lines after `> `, and what they print. In what they print `…` stands for any
//! text within a line, and a line `...` for any lines. A block ` ```sql,file=a.sql ` (or of
//! another language) is a file to write first. ` ```console,needs=pandas ` runs only where
//! Python has that package.

use std::collections::BTreeMap;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::support::{Atoll, Running, cache};

const BOOK: &str = "docs/book/src";

/// A command of a page.
#[derive(Debug, PartialEq)]
struct Step {
    /// Its line in the page, from 1.
    line: usize,
    command: String,
    /// What the page says it prints.
    expected: Vec<String>,
    /// Python packages without which it cannot run.
    needs: Vec<String>,
}

/// Something to do on the way through a page.
#[derive(Debug, PartialEq)]
enum Action {
    Write { name: String, text: String },
    Run(Step),
}

/// Cuts a page into what is to be done.
fn parse(page: &str) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut lines = (1..).zip(page.lines());
    while let Some((_, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) else {
            continue;
        };
        let body: Vec<(usize, &str)> = lines
            .by_ref()
            .take_while(|(_, line)| *line != "```")
            .collect();
        let (language, attributes) = info.split_once(',').unwrap_or((info, ""));
        if let Some(name) = attributes.strip_prefix("file=") {
            let text = body.iter().map(|(_, line)| format!("{line}\n")).collect();
            let name = name.to_string();
            actions.push(Action::Write { name, text });
        } else if language == "console" {
            let needs = attributes.strip_prefix("needs=").unwrap_or("");
            let needs: Vec<String> = needs.split_whitespace().map(String::from).collect();
            actions.extend(steps(&body, &needs).into_iter().map(Action::Run));
        }
    }
    actions
}

fn steps(body: &[(usize, &str)], needs: &[String]) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for &(line, text) in body {
        if let Some(command) = text.strip_prefix("$ ") {
            steps.push(Step {
                line,
                command: command.to_string(),
                expected: Vec::new(),
                needs: needs.to_vec(),
            });
            continue;
        }
        let step = steps.last_mut();
        let step = step.unwrap_or_else(|| panic!("line {line}: output of no command"));
        match text.strip_prefix("> ") {
            Some(more) if step.expected.is_empty() => {
                step.command.push('\n');
                step.command.push_str(more);
            }
            _ => step.expected.push(text.to_string()),
        }
    }
    steps
}

/// Whether lines are what a page expects.
fn matches(expected: &[String], actual: &[&str]) -> bool {
    match expected.split_first() {
        None => actual.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=actual.len()).any(|skipped| matches(rest, &actual[skipped..]))
        }
        Some((first, rest)) => actual.split_first().is_some_and(|(line, others)| {
            line_matches(first, line.trim_end()) && matches(rest, others)
        }),
    }
}

fn line_matches(expected: &str, actual: &str) -> bool {
    let Some((start, rest)) = expected.split_once('…') else {
        return expected == actual;
    };
    actual.strip_prefix(start).is_some_and(|actual| {
        let ends = actual.char_indices().map(|(at, _)| at);
        ends.chain([actual.len()])
            .any(|at| line_matches(rest, &actual[at..]))
    })
}

/// A reader who works through a page in a folder of their own.
struct Reader {
    atoll: Atoll,
    environment: BTreeMap<String, String>,
}

impl Reader {
    fn new() -> Self {
        let atoll = Atoll::new();
        for folder in ["bin", "home", "work"] {
            std::fs::create_dir(atoll.path(folder)).unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        symlink(env!("CARGO_BIN_EXE_atoll"), atoll.path("bin/atoll")).unwrap();
        // The folder that a package or a checkout has.
        symlink(root.join("sql"), atoll.path("work/sql")).unwrap();
        Self {
            atoll,
            environment: BTreeMap::new(),
        }
    }

    /// What a command prints, on both outputs.
    fn run(&self, command: &str) -> String {
        let path = format!(
            "{}:{}",
            self.atoll.path("bin").display(),
            std::env::var("PATH").unwrap()
        );
        let mut shell = Command::new("sh");
        shell
            .args(["-c", &format!("exec 2>&1\n{command}")])
            .current_dir(self.atoll.path("work"))
            .env("PATH", path)
            .env("HOME", self.atoll.path("home"))
            .env_remove("XDG_DATA_HOME")
            .env("XDG_CACHE_HOME", cache())
            .env("LC_ALL", "C")
            .env("NO_COLOR", "1")
            .envs(&self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Running::new(shell.spawn().unwrap()).finish().stdout
    }

    fn can_run(&self, step: &Step) -> bool {
        let import = |package: &String| {
            let output = self.run(&format!("python3 -c 'import {package}' && echo yes"));
            output.trim() == "yes"
        };
        step.needs.iter().all(import)
    }

    /// Does everything that a page says, and returns where it is wrong.
    fn work_through(&mut self, page: &str) -> Vec<String> {
        let mut wrong = Vec::new();
        for action in parse(page) {
            let step = match action {
                Action::Write { name, text } => {
                    std::fs::write(self.atoll.path("work").join(name), text).unwrap();
                    continue;
                }
                Action::Run(step) => step,
            };
            if let Some(assignment) = step.command.strip_prefix("export ") {
                let (name, value) = assignment.split_once('=').unwrap();
                self.environment.insert(name.to_string(), value.to_string());
                continue;
            }
            if !self.can_run(&step) {
                eprintln!("left out, for want of {:?}: {}", step.needs, step.command);
                continue;
            }
            let printed = self.run(&step.command);
            let lines: Vec<&str> = printed.trim_end().lines().collect();
            if !matches(&step.expected, &lines) {
                wrong.push(format!(
                    "line {}: $ {}\nprints\n{printed}",
                    step.line, step.command
                ));
            }
        }
        wrong
    }
}

#[track_caller]
fn check(page: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(BOOK).join(page);
    let text = std::fs::read_to_string(path).unwrap();
    let commands = parse(&text)
        .iter()
        .filter(|action| matches!(action, Action::Run(_)))
        .count();
    assert!(commands > 0, "{page} has no command");
    let wrong = Reader::new().work_through(&text);
    assert!(
        wrong.is_empty(),
        "{page} is not what happens; {} of {commands} commands:\n\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn the_introduction_is_true() {
    check("introduction.md");
}

#[test]
fn the_lesson_on_tuning_is_true() {
    check("tutorials/tune.md");
}

#[test]
fn the_lesson_on_labelling_is_true() {
    check("tutorials/label.md");
}

#[test]
fn the_lesson_on_your_own_photos_is_true() {
    check("tutorials/photos.md");
}

#[test]
fn the_lesson_on_your_own_table_is_true() {
    check("tutorials/tables.md");
}

#[test]
fn the_page_on_models_is_true() {
    check("howto/add_a_model.md");
}

#[test]
fn the_page_on_models_with_names_is_true() {
    check("howto/named_models.md");
}

#[test]
fn the_page_on_checking_data_is_true() {
    check("howto/check_data.md");
}

#[test]
fn the_page_for_those_who_come_from_elsewhere_is_true() {
    check("howto/coming_from.md");
}

#[test]
fn the_page_on_schedules_is_true() {
    check("howto/schedule.md");
}

#[test]
fn the_page_on_equal_bits_is_true() {
    check("explanation/determinism.md");
}

#[test]
fn the_page_on_the_trial_store_is_true() {
    check("explanation/trial_store.md");
}

#[test]
fn a_page_that_drifts_is_found() {
    let page = "\
```text,file=a.txt
one
two
```

```console
$ export WORD=three
$ cat a.txt
one
two
$ echo \"$WORD
> four\"
three
four
$ echo $$ and more
… and more
$ cat a.txt; echo three
one
...
three
```
";
    assert_eq!(Reader::new().work_through(page), [""; 0]);
    for (from, to) in [
        ("one\ntwo\n$", "one\n$"),
        ("three\nfour\n$", "three\nfive\n$"),
        ("… and more\n", "… and less\n"),
        ("...\nthree\n", "three\n"),
        ("$ cat a.txt\n", "$ cat b.txt\n"),
    ] {
        let broken = page.replacen(from, to, 1);
        assert_ne!(broken, page, "{from}");
        let wrong = Reader::new().work_through(&broken);
        assert_eq!(wrong.len(), 1, "{broken}\n{wrong:?}");
    }
}
