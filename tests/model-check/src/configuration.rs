//! What a run of the checker explores: how often each thing may happen, and what must be reachable.

/// How often each thing may still happen. What has no number here may always happen: messages are delivered in any
/// order or never, disks return when they like, rows are learned late, requests get lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Budgets {
    /// Entries that clients append.
    pub appends: u8,
    /// New leaders by the catalog's rule, whether or not the old one is gone.
    pub elections: u8,
    /// Moments in which a leader looks at its followers, after a long time or a short one.
    pub ticks: u8,
    /// Crashes with a start of the same volume, losing any part of what was not synced.
    pub restarts: u8,
    /// Crashes with a start of an older image of the volume.
    pub rollbacks: u8,
    /// Volumes lost and replaced by empty ones.
    pub wipes: u8,
    /// Disks that fail and stop their replica.
    pub faults: u8,
    /// Decisions of a leader that reveal state.
    pub decisions: u8,
    /// Messages that arrive and stay in the network.
    pub duplicates: u8,
    /// Orders to hand leadership over.
    pub hand_overs: u8,
}

/// Where a run begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The row was just created; nobody has learned it.
    Cold,
    /// The first leader serves, everybody knows everything.
    Serving,
}

/// How disks return.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disks {
    /// At once: for rows whose subject is elsewhere.
    Instant,
    /// Whenever they like.
    Slow,
}

/// The order in which a space is explored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Needs little memory; of a space that is too large, a few long histories.
    DepthFirst,
    /// Finds the shortest history that breaks a rule; of a space that is too large, all short histories.
    BreadthFirst,
}

/// A mistake in the world around the replicas, made on purpose: the checker must find what it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// A shell says "durable" before the sync returned.
    DurableBeforeSync,
    /// A shell says that a promise is kept and does not write it.
    PromiseNotKept,
    /// The catalog elects whoever answers.
    AnybodyIsElected,
    /// The catalog elects a member that may have lost what it had.
    TheUnprovenAreElected,
    /// The catalog carries out requests of older versions.
    CatalogForgetsVersions,
}

/// Something good that a row must be able to reach: a space in which nothing happens is no proof.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// An entry of a client is committed by the leader of the second epoch.
    CommitInEpochTwo,
    /// … of the third.
    CommitInEpochThree,
    /// A replica on an empty volume is in sync.
    NewVolumeInSync,
    /// A replica that started again is in sync under its new start.
    NewStartInSync,
    /// The set shrank, and the rest committed without the member that left.
    CommitWithoutMember,
    /// A leader decided something after its successor committed, and did not speak.
    OvertakenDecision,
    /// A follower cut entries that were never committed.
    Truncation,
}

/// One row.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// What it is about.
    pub name: &'static str,
    /// Replicas.
    pub replicas: u32,
    /// Those that are in sync at first.
    pub in_sync: u32,
    /// In-sync replicas without which nothing is committed.
    pub min_in_sync_replicas: u32,
    /// Where it begins.
    pub start: Start,
    /// How disks return.
    pub disks: Disks,
    /// How often things happen.
    pub budgets: Budgets,
    /// What must be reachable.
    pub reaches: &'static [Reach],
    /// Whether a start goes by the catalog as of its registration from the beginning, and not only once it learns it.
    pub starts_with_catalog: bool,
    /// In which order it is explored.
    pub order: Order,
    /// Steps after which the quick run ends although there is more.
    pub steps_max: Option<usize>,
    /// What is broken.
    pub planted: Option<Planted>,
}
