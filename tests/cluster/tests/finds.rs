//! The harness must find what it looks for: one broker alone can't know that its disk was put back to an old state, so a
//! run that does this to it has to end with broken promises.

use std::{env, path::PathBuf};

use pondage_cluster_tests::{
    machine,
    run::{Keeps, Plan, run},
    scenarios::Scenario,
};

#[test]
fn a_rolled_back_disk_is_found() {
    let binary = env::var_os("PONDAGE_BIN").filter(|path| !path.is_empty()).map(PathBuf::from);
    let (Some(binary), Ok(())) = (binary, machine::prepare()) else {
        eprintln!("SKIPPED: needs root, and PONDAGE_BIN to name a binary");
        return;
    };
    let restore = Scenario { brokers_min: 1, ..Scenario::named("restore").expect("a scenario") };
    let plan =
        Plan { binary, brokers: 1, rate: 1_000, seed: 1, scenarios: vec![(restore, 1)], keeps: Keeps::Never };
    let is_good = run(&plan).is_ok_and(|outcome| outcome.is_good());
    assert!(!is_good, "acknowledged messages were taken away, and nobody noticed");
}
