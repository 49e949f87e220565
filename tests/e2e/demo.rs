//! `atoll demo`: what a new user types first works anywhere, twice, and fetches nothing.

use crate::support::Atoll;

/// Runs the demo in a folder with nothing of the repository in it.
fn demo(atoll: &Atoll, arguments: &[&str]) -> crate::support::Output {
    let mut command = atoll.command(&[&["demo"], arguments].concat());
    let elsewhere = atoll.path("elsewhere");
    std::fs::create_dir_all(&elsewhere).unwrap();
    command.current_dir(elsewhere);
    crate::support::Running::new(command.spawn().unwrap()).finish()
}

#[test]
fn the_demo_runs_anywhere_and_finds_its_work_again() {
    let atoll = Atoll::new();
    let first = demo(&atoll, &[]);
    assert!(first.status.success(), "{}", first.stderr);
    for part in [
        "1 of 3: tune",
        "2 of 3: label",
        "3 of 3: draw",
        "try next",
        "digits_search.sql --set data=atoll-demo/digits.parquet",
    ] {
        assert!(first.stderr.contains(part), "{part}: {}", first.stderr);
    }
    assert!(first.stdout.contains("espresso"), "{}", first.stdout);
    let at = |name: &str| atoll.path("elsewhere/atoll-demo").join(name);
    let page = std::fs::read_to_string(at("report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("tiger cat"));
    assert!(at("digits/best.parquet").is_file() && at("labels").is_dir());
    let trials = atoll.trials();
    assert!(trials >= 27, "{trials}");

    let second = demo(&atoll, &[]);
    assert!(second.status.success(), "{}", second.stderr);
    assert_eq!(atoll.trials(), trials, "a second run trained again");
}

#[test]
fn the_demo_leaves_a_users_folder_alone() {
    let atoll = Atoll::new();
    std::fs::create_dir(atoll.path("mine")).unwrap();
    let file = atoll.file("mine/labels", "precious");
    let folder = atoll.path("mine").display().to_string();
    let refused = demo(&atoll, &[&folder]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        refused.stderr.contains("holds files that are no demo's"),
        "{}",
        refused.stderr
    );
    assert_eq!(std::fs::read_to_string(file).unwrap(), "precious");
}
