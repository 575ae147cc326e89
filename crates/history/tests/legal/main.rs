//! Whatever a system does that keeps its promises, the checker finds nothing; and histories survive being written.

mod world;

use pondage_history::{Checker, text};
use proptest::prelude::*;
use world::World;

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_system_that_keeps_its_promises_is_never_accused(choices in prop::collection::vec(any::<u32>(), 50..900)) {
        let events = World::run(&choices);
        let mut checker = Checker::new();
        let lines: Vec<String> = events.iter().map(ToString::to_string).collect();
        for (event, line) in events.iter().zip(&lines) {
            checker.observe(event);
            prop_assert_eq!(text::parse(line), Ok(Some(*event)));
            prop_assert!(checker.first().is_none(), "{:?}\n{}", checker.first(), lines.join("\n"));
        }
        let report = checker.finish();
        prop_assert!(report.is_good() && report.unaudited.is_empty(), "{}{}", report, lines.join("\n"));
        prop_assert_eq!(Checker::check(lines.iter().map(String::as_str)), Ok(report));
    }

    #[test]
    fn no_line_panics(line in "[0-9]{0,3} ?c?[0-9]{0,2} ?(publish|settle|grant|queue|cursor|é)?( #?[a-z]{0,8}=?[0-9a-f.]{0,21}){0,7}") {
        if let Ok(Some(event)) = text::parse(&line) {
            prop_assert_eq!(text::parse(&event.to_string()), Ok(Some(event)));
        }
    }

    #[test]
    fn no_bytes_panic(line in any::<String>()) {
        let _ = text::parse(&line);
    }
}

#[test]
fn the_worlds_do_what_is_to_be_judged() {
    // A fixed sequence of choices, so that this fails if the worlds become dull.
    let mut state = 7_u32;
    let choices: Vec<u32> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    })
    .take(20_000)
    .collect();
    let mut checker = Checker::new();
    World::run(&choices).iter().for_each(|event| checker.observe(event));
    let report = checker.finish();
    assert!(report.is_good(), "{report}");
    let totals = report.totals;
    let counts =
        [totals.acknowledged, totals.unknown, totals.refused, totals.read, totals.granted, totals.settled];
    assert!(counts.iter().all(|count| *count > 50), "{report}");
    assert!(totals.dead_letters > 5, "{report}");
}

#[test]
fn a_line_that_is_too_long_is_refused_and_lines_are_counted() {
    let long = format!("0 c0 log stream=7{}", " ".repeat(text::LINE_BYTES_MAX));
    let error = Checker::check(["# a comment", &long]).expect_err("too long");
    assert_eq!(error.line, 2);
}
