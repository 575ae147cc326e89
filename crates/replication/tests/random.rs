//! Random histories of one shard: three to five replicas and a catalog; messages are lost, repeated, overtaken and
//! late; brokers crash, pause, lose their volume or come back with an older copy of it. Safety is checked all the time;
//! after the faults end, everything has to work again.
//!
//! `PONDAGE_SEED=17 cargo test -p pondage-replication --test random -- --nocapture` replays one history,
//! `PONDAGE_HISTORIES=100000` searches for longer.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a test takes its seed from outside"
)]

#[path = "random/checks.rs"]
mod checks;
mod cluster;
#[path = "random/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Histories of one run.
const HISTORIES: u64 = 1_500;

#[test]
fn random_histories_keep_what_is_promised() {
    if let Ok(seed) = std::env::var("PONDAGE_SEED") {
        world::run(seed.parse().expect("a seed is a number"), true);
        return;
    }
    let mut total = world::Tally::default();
    let histories = std::env::var("PONDAGE_HISTORIES").ok().and_then(|count| count.parse().ok());
    for seed in 0..histories.unwrap_or(HISTORIES) {
        match catch_unwind(AssertUnwindSafe(|| world::run(seed, false))) {
            Ok(tally) => total += tally,
            Err(_) => panic!("PONDAGE_SEED={seed} replays it"),
        }
    }
    println!("{total:?}");
    // A test that meets none of the trouble shows nothing.
    let rows = [
        ("committed", total.committed, 20 * HISTORIES),
        ("elections", total.elections, 2 * HISTORIES),
        ("truncations", total.truncations, HISTORIES / 5),
        ("restarts", total.restarts, 2 * HISTORIES),
        ("reads", total.reads, HISTORIES),
        ("older volumes", total.old_images, HISTORIES / 50),
        ("lost volumes", total.replaced, HISTORIES / 10),
        ("rival leaders", total.rivals, HISTORIES / 50),
        ("rounds", total.spoken, 10 * HISTORIES),
    ];
    for (what, seen, least) in rows {
        assert!(seen >= least, "only {seen} {what} in {HISTORIES} histories");
    }
}

#[test]
fn a_seed_is_replayed_exactly() {
    for seed in 0..20 {
        assert_eq!(world::run(seed, false), world::run(seed, false), "seed {seed}");
    }
}
