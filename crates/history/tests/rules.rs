//! Short histories: what each rule finds, and what it must allow. Each names the rules that it breaks.

use pondage_history::{Checker, Report};

/// What all of them begin with: a log, two queues with dead letters, and one of them without any bound.
const STREAMS: &str = "\
0 c0 log stream=7
0 c0 queue stream=8 dead=9 attempts=5 again=1000000
0 c0 queue stream=9
";

fn report(history: &str) -> Report {
    Checker::check(STREAMS.lines().chain(history.lines()))
        .unwrap_or_else(|error| panic!("{error}:\n{history}"))
}

/// Cases are a first line `NAME: RULES` and a history, with an empty line between two of them.
fn check(cases: &str) {
    let mut count = 0;
    for case in cases.trim().split("\n\n") {
        let (title, history) = case.split_once('\n').expect("a title and a history");
        let (name, rules) = title.split_once(": ").expect("a name and its rules");
        let report = report(history);
        let found: Vec<&str> = report.broken.keys().map(|rule| rule.as_str()).collect();
        let expected: Vec<&str> = rules.split(' ').filter(|word| *word != "nothing").collect();
        assert_eq!(found, expected, "{name}:\n{history}\n{report}");
        count += 1;
    }
    assert!(count > 2, "the cases were found");
}

#[test]
fn durability() {
    check(include_str!("histories/durability.txt"));
}

#[test]
fn sameness() {
    check(include_str!("histories/sameness.txt"));
}

#[test]
fn cursors() {
    check(include_str!("histories/cursors.txt"));
}

#[test]
fn order_and_copies() {
    check(include_str!("histories/order_and_copies.txt"));
}

#[test]
fn settles_and_leases() {
    check(include_str!("histories/settles_and_leases.txt"));
}

#[test]
fn redelivery_and_delay() {
    check(include_str!("histories/redelivery_and_delay.txt"));
}

#[test]
fn dead_letters() {
    check(include_str!("histories/dead_letters.txt"));
}

#[test]
fn recordings() {
    check(include_str!("histories/recordings.txt"));
}

#[test]
fn a_report_counts_names_the_first_and_says_what_was_not_audited() {
    let report = report(
        "10 c1 publish #1 stream=7 message=a1\n20 c1 stored #1 offset=0\n30 c2 read stream=7 offset=0 message=ff\n\
         40 c2 read stream=7 offset=0 message=fe\n50 c1 publish #2 stream=7 message=a2\n",
    );
    let json = serde_json::to_value(&report).expect("plain fields");
    assert_eq!(json["broken"]["L1"]["count"], 3);
    assert_eq!(json["broken"]["L1"]["first"]["event"], 6);
    assert_eq!(json["totals"]["unknown"], 1);
    assert_eq!(report.unaudited, [7]);
    let text = report.to_string();
    assert!(text.contains("VIOLATED 3 times: L1 at event 6 (30 µs)"), "{text}");
    assert_eq!(report.first().map(|violation| violation.event), Some(6));
}
