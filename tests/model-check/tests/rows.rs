//! Every quick row holds, reaches what it must, and is explored to its end; every planted mistake is found.

use std::time::Duration;

use pondage_model_check::{
    check::{Dose, explore},
    configuration::{Configuration, Order},
    rows, story,
};

const DOSE: Dose = Dose { steps_max: None, time_max: Duration::from_secs(600), threads: 2 };

/// Distinct states in one run of the tests.
const STATES_MIN: usize = 1_000_000;

#[test]
fn every_history_keeps_every_rule() {
    let mut states = 0;
    for row in rows::quick() {
        let figures = explore(&row, DOSE, row.order);
        if let Some((name, actions)) = figures.broken.first() {
            panic!("{}: {name}\n{}", row.name, story::tell(&row, actions).join("\n"));
        }
        assert!(figures.unreached.is_empty(), "{}: never {:?}", row.name, figures.unreached);
        assert!(
            figures.is_complete || row.steps_max.is_some(),
            "{}: only {} states in time",
            row.name,
            figures.states
        );
        states += figures.states;
    }
    assert!(states >= STATES_MIN, "only {states} states");
}

#[test]
fn every_planted_mistake_is_found() {
    for row in rows::planted() {
        let figures = explore(&row, DOSE, Order::BreadthFirst);
        let Some((_, actions)) = figures.broken.first() else {
            panic!("{}: {} states and no rule broken", row.name, figures.states);
        };
        let told = story::tell(&row, actions);
        assert!(told.len() == actions.len() + 1, "{}: the history can't be told again", row.name);
        // The same row without the mistake, and with what it assumes, holds as far as it is looked at.
        let sound = Configuration { planted: None, starts_with_catalog: true, ..row.clone() };
        let sound = explore(&sound, Dose { steps_max: Some(20_000), ..DOSE }, Order::BreadthFirst);
        assert!(sound.broken.is_empty(), "{}: breaks {:?} unplanted", row.name, sound.broken);
    }
}
