//! Random histories of one shard: three to five replicas and a catalog; messages are lost, repeated, overtaken and
//! late; brokers crash, pause, lose their volume or come back with an older copy of it. Safety is checked all the time;
//! after the faults end, everything has to work again.
//!
//! `PONDAGE_SEED=17 cargo test -p pondage-replication --test random -- --nocapture` replays one history.

#[path = "random/checks.rs"]
mod checks;
mod cluster;
#[path = "random/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Histories of one run.
const HISTORIES: u64 = 2_000;

#[test]
fn random_histories_keep_what_is_promised() {
    if let Ok(seed) = std::env::var("PONDAGE_SEED") {
        world::run(seed.parse().expect("a seed is a number"), true);
        return;
    }
    let mut total = world::Tally::default();
    for seed in 0..HISTORIES {
        match catch_unwind(AssertUnwindSafe(|| world::run(seed, false))) {
            Ok(tally) => total += tally,
            Err(_) => panic!("PONDAGE_SEED={seed} replays it"),
        }
    }
    println!("{total:?}");
    // A test that meets none of the trouble shows nothing.
    let rows = [
        ("committed", total.committed, 20),
        ("elections", total.elections, 2),
        ("truncations", total.truncations, 1),
        ("restarts", total.restarts, 2),
        ("reads", total.reads, 1),
    ];
    for (what, seen, per_history) in rows {
        assert!(seen >= per_history * HISTORIES / 2, "only {seen} {what} in {HISTORIES} histories");
    }
    assert!(total.old_images > HISTORIES / 20 && total.replaced > HISTORIES / 20, "{total:?}");
    assert!(total.spoken > HISTORIES, "only {} rounds were confirmed", total.spoken);
}

#[test]
fn a_seed_is_replayed_exactly() {
    for seed in 0..20 {
        assert_eq!(world::run(seed, false), world::run(seed, false), "seed {seed}");
    }
}
