//! The flights run in small, for everyone who runs the tests of this package; `cargo xtask demo flights` is the whole.

use std::time::Duration;

use pondage_e2e::flights::{Plan, run};

#[tokio::test(flavor = "multi_thread")]
async fn every_rule_holds_through_three_kills() {
    let plan = Plan {
        seed: 2013,
        brokers: 1,
        kills: 3,
        rows: Some(20_000),
        limit: Duration::from_secs(120),
        folder: None,
    };
    let held = run(&plan).await.expect("the run comes to its end");
    assert!(held, "a rule was broken; the run's output says which");
}
