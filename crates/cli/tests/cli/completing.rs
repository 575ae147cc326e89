//! Completion, help, version.

use crate::harness::Place;

/// What a shell gets when it completes the last word.
fn completed(place: &Place, words: &[&str]) -> Vec<String> {
    let mut command = place.pondage(&["--", "pondage"]);
    command.args(words).env("COMPLETE", "fish");
    let output = command.output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().map(|line| line.split('\t').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn every_shell_gets_a_script() {
    let place = Place::empty();
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = place.ok(&["completion", shell]);
        assert!(script.contains("pondage"), "{shell}");
    }
    let mut command = place.pondage(&[]);
    let output = command.env("COMPLETE", "bash").output().expect("the binary starts");
    assert!(output.status.success());
    assert!(String::from_utf8_lossy(&output.stdout).contains("complete"), "source <(COMPLETE=bash pondage)");
}

#[test]
fn names_that_exist_are_offered() {
    let place = Place::with_resources();
    for (words, offered) in [
        (&["get", "queue", "ord"][..], vec!["orders", "orders-dead"]),
        (&["describe", "topics", ""], vec!["flights"]),
        (&["publish", "fl"], vec!["flights"]),
        (&["groups", "describe", "b"], vec!["board"]),
        (&["purge", "orders-"], vec!["orders-dead"]),
        (&["get", "qu"], vec!["queues"]),
        (&["cluster", "drain", ""], vec!["1"]),
        (&["cluster", "reassign", "3"], vec!["3"]),
        (&["cluster", "reassign", "3", "--to", "1,"], vec!["1,1"]),
    ] {
        let names: Vec<_> =
            completed(&place, words).into_iter().filter(|word| !word.starts_with('-')).collect();
        assert_eq!(names, offered, "{words:?}");
    }
    let nobody = Place::empty();
    let names = completed(&nobody, &["get", "queue", "ord"]);
    assert!(!names.iter().any(|name| name.starts_with("ord")), "{names:?}");
}

#[test]
fn help_and_version_go_to_stdout() {
    let place = Place::empty();
    for (args, said) in [
        (&["--help"][..], "Exit codes:"),
        (&["up", "--help"], "--address-file"),
        (&["broker", "--help"], "PONDAGE_TLS_CERTIFICATE"),
        (&["cluster", "restart", "--help"], "PONDAGE_BROKER_ADDRESS"),
        (&["consume", "--help"], "PONDAGE_HEADER_<NAME>"),
        (&["--version"], "profile:"),
        (&["version"], "target:"),
        (&["version", "-o", "json"], "\"version\""),
    ] {
        assert!(place.ok(args).contains(said), "{args:?}");
    }
    assert!(!place.ok(&["up", "--help"]).contains("--sync-delay"), "that is for tests");
}
