//! The configurations: each is a row of data.
//!
//! Three replicas, a minimum of two, up to three epochs and four entries. Rows with instant disks leave out how disks
//! interleave with everything else; slow ones have it.

use crate::configuration::{Budgets, Configuration, Disks, Order, Planted, Reach, Start};

const NONE: Budgets = Budgets {
    appends: 0,
    elections: 0,
    ticks: 0,
    restarts: 0,
    rollbacks: 0,
    wipes: 0,
    faults: 0,
    decisions: 0,
    duplicates: 0,
    hand_overs: 0,
};

const fn row(name: &'static str, budgets: Budgets, reaches: &'static [Reach]) -> Configuration {
    Configuration {
        name,
        replicas: 3,
        in_sync: 3,
        min_in_sync_replicas: 2,
        start: Start::Serving,
        disks: Disks::Instant,
        budgets,
        reaches,
        starts_with_catalog: true,
        order: Order::DepthFirst,
        steps_max: None,
        planted: None,
    }
}

const fn slow(name: &'static str, budgets: Budgets, reaches: &'static [Reach]) -> Configuration {
    Configuration { disks: Disks::Slow, ..row(name, budgets, reaches) }
}

/// A start may answer before it hears of the catalog again: what its own volume promised must do.
const fn unheard(name: &'static str, budgets: Budgets) -> Configuration {
    Configuration { starts_with_catalog: false, ..row(name, budgets, &[]) }
}

/// Small enough for every run of the tests, which explores all of each.
#[must_use]
pub fn quick() -> Vec<Configuration> {
    vec![
        Configuration { start: Start::Cold, ..slow("a new shard", Budgets { appends: 1, ..NONE }, &[]) },
        row(
            "failover",
            Budgets { appends: 1, elections: 1, ..NONE },
            &[Reach::CommitInEpochTwo, Reach::Truncation],
        ),
        row("two failovers", Budgets { elections: 2, ..NONE }, &[Reach::Truncation]),
        row(
            "duplicates",
            Budgets { appends: 1, duplicates: 1, elections: 1, ..NONE },
            &[Reach::CommitInEpochTwo],
        ),
        slow("a crash", Budgets { restarts: 1, elections: 1, ..NONE }, &[]),
        row(
            "a crash and a failover",
            Budgets { appends: 1, restarts: 1, elections: 1, ..NONE },
            &[Reach::CommitInEpochTwo],
        ),
        Configuration {
            disks: Disks::Slow,
            order: Order::BreadthFirst,
            steps_max: Some(1_500_000),
            ..unheard(
                "a crash that the catalog hears of late",
                Budgets { ticks: 1, restarts: 1, elections: 1, ..NONE },
            )
        },
        Configuration {
            in_sync: 2,
            order: Order::BreadthFirst,
            steps_max: Some(2_000_000),
            ..row(
                "failover and a replica out of sync",
                Budgets { appends: 1, ticks: 1, elections: 1, ..NONE },
                &[Reach::CommitInEpochTwo],
            )
        },
        row("a crash, in sync again", Budgets { restarts: 1, ticks: 2, ..NONE }, &[Reach::NewStartInSync]),
        row("out of sync", Budgets { appends: 1, ticks: 1, ..NONE }, &[Reach::CommitWithoutMember]),
        Configuration {
            steps_max: Some(2_000_000),
            ..row(
                "out of sync, failover and a decision",
                Budgets { ticks: 1, elections: 1, decisions: 1, ..NONE },
                &[Reach::OvertakenDecision],
            )
        },
        row("a lost volume", Budgets { ticks: 2, wipes: 1, ..NONE }, &[Reach::NewVolumeInSync]),
        row("a lost volume and failover", Budgets { wipes: 1, elections: 1, ..NONE }, &[]),
        row("an older image", Budgets { appends: 1, rollbacks: 1, elections: 1, ..NONE }, &[]),
        row("hand-over", Budgets { appends: 1, hand_overs: 1, ..NONE }, &[Reach::CommitInEpochTwo]),
        row(
            "hand-over to an older image",
            Budgets { appends: 1, hand_overs: 1, rollbacks: 1, ..NONE },
            &[Reach::CommitInEpochTwo],
        ),
        row("a failed disk", Budgets { appends: 1, faults: 1, elections: 1, ..NONE }, &[]),
    ]
}

/// Mistakes in the world around the replicas, each with a rule that finds it.
#[must_use]
pub fn planted() -> Vec<Configuration> {
    let plant = |planted, configuration| Configuration { planted: Some(planted), ..configuration };
    vec![
        plant(
            Planted::DurableBeforeSync,
            slow("durable before the sync", Budgets { appends: 1, restarts: 1, ..NONE }, &[]),
        ),
        plant(
            Planted::PromiseNotKept,
            unheard("a promise that is not kept", Budgets { appends: 1, restarts: 1, elections: 1, ..NONE }),
        ),
        plant(
            Planted::AnybodyIsElected,
            row("anybody is elected", Budgets { appends: 1, ticks: 1, elections: 1, ..NONE }, &[]),
        ),
        plant(
            Planted::TheUnprovenAreElected,
            row("the unproven are elected", Budgets { appends: 1, rollbacks: 1, elections: 1, ..NONE }, &[]),
        ),
        plant(
            Planted::CatalogForgetsVersions,
            row("versions are forgotten", Budgets { appends: 1, ticks: 2, ..NONE }, &[]),
        ),
        // Not a mistake of anybody's, but an assumption that is needed: a volume that forgot its promise must hear
        // from the catalog before it answers.
        unheard(
            "an older image that starts alone",
            Budgets { appends: 1, rollbacks: 1, elections: 1, ..NONE },
        ),
    ]
}

/// Larger ones, for soak.
#[must_use]
pub fn large() -> Vec<Configuration> {
    let rows = vec![
        slow(
            "failover, slow disks",
            Budgets { appends: 1, elections: 1, ..NONE },
            &[Reach::CommitInEpochTwo],
        ),
        slow(
            "a crash and a failover, slow disks",
            Budgets { appends: 1, restarts: 1, elections: 1, ..NONE },
            &[],
        ),
        row("in and out of sync", Budgets { appends: 1, ticks: 3, ..NONE }, &[]),
        row("in, out and failover", Budgets { appends: 1, ticks: 2, elections: 1, ..NONE }, &[]),
        row("late decisions", Budgets { ticks: 1, elections: 1, decisions: 2, ..NONE }, &[]),
        row(
            "a lost volume comes back",
            Budgets { appends: 1, ticks: 2, wipes: 1, elections: 1, ..NONE },
            &[],
        ),
        row(
            "an older image in sync again",
            Budgets { appends: 1, ticks: 1, rollbacks: 1, elections: 1, ..NONE },
            &[],
        ),
        row(
            "an older image and a crash",
            Budgets { appends: 1, rollbacks: 1, restarts: 1, elections: 2, ..NONE },
            &[],
        ),
        row("three epochs", Budgets { appends: 1, elections: 2, ..NONE }, &[]),
    ];
    rows.into_iter().map(|row| Configuration { order: Order::BreadthFirst, ..row }).collect()
}
