//! A group in a computer: pods that take time to start, partitions that change hands, work that waits. Same trace, same
//! world, same scaler: same outcome.
//!
//! Messages are a flow: what arrives in a second arrives evenly, and what a member settles in a second leaves in the
//! order of arrival, partition by partition. Steps are one second long.
//!
//! | what | how |
//! |---|---|
//! | a pod | is paid for from its creation to its end; joins the group after its start time; each start differs a little |
//! | a join, a leave | the brokers' own assignment ([`crate::assign`]); the partitions that move rest for a while, all of them where the world is eager |
//! | a member | settles so many messages per second, shared among its partitions in proportion to what waits there; a partition has one owner |
//! | less replicas | not yet ready pods go first, then those that drain, then the youngest; what they have in their hands is killed and delivered again |
//! | a draining member | gets nothing new, its partitions move, what it has in its hands it finishes |
//! | a violation | a second at whose end the oldest unprocessed message of a partition that isn't stuck is older than the target |

mod controlled;
mod flow;
mod group;
mod pods;

pub use self::controlled::Controlled;

use crate::observation::{Observation, Source};

/// Something that says how many replicas a group shall have.
pub trait Scaler {
    /// When it looks next after a look, in milliseconds from then; a second is the least.
    fn period_millis(&self) -> u64;

    /// One look. Replicas that it wants from now on; `None` leaves them as they are.
    fn tick(&mut self, observation: &Observation) -> Option<u32>;

    /// Members that shall get no new work, by name, as of the last look: the first to go when replicas are taken away.
    fn draining(&self) -> Vec<String> {
        Vec::new()
    }

    /// Whether it also looks when the first message comes to a group without replicas.
    fn wakes(&self) -> bool {
        false
    }
}

/// What happens, second by second.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// For every second, the messages that arrive in each partition, spread evenly over the second.
    pub arrivals: Vec<Vec<f32>>,
    /// For every second, the messages that one member can settle; the last one holds on if the list is shorter.
    pub member_rate: Vec<f32>,
    /// What goes wrong.
    pub events: Vec<Event>,
}

/// Something that goes wrong from `from_second` up to `until_second`.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The first second of it.
    pub from_second: u32,
    /// The first second after it.
    pub until_second: u32,
    /// What it is.
    pub kind: EventKind,
}

/// What can go wrong.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A message that no member gets done: this partition makes no progress, the rest of its owner's work does.
    Poison {
        /// The partition's number.
        partition: usize,
    },
    /// The brokers' figures can't be read: observations tell the last ones again.
    Outage,
    /// What members call settles at most this many messages per second, for all of them together.
    Downstream {
        /// Messages per second.
        rate: f64,
    },
}

/// How the world is in which a trace happens.
#[derive(Clone, Debug, PartialEq)]
pub struct World {
    /// What work looks like.
    pub source: Source,
    /// The age of the oldest unprocessed message above which a second is a violation, in milliseconds.
    pub target_millis: u64,
    /// Replicas at the start, all of them ready.
    pub replicas: u32,
    /// From a pod's creation to its joining the group, on average, in milliseconds.
    pub start_millis: u64,
    /// How far a start may be from the average, as a percentage of it.
    pub start_jitter_percent: u32,
    /// How long partitions that change hands rest, in milliseconds.
    pub rebalance_millis: u64,
    /// Whether all partitions rest in a rebalance, not only those that move.
    pub eager: bool,
    /// Messages that a member takes into its hands at once, over all its partitions.
    pub in_flight_max: u32,
    /// Where the jitter comes from.
    pub seed: u64,
    /// Whether the outcome has a [`Moment`] for each second.
    pub series: bool,
}

impl Default for World {
    /// Partitions, a target of 30 s, pods that start within 12 s give or take a quarter, rebalances of 3 s.
    fn default() -> Self {
        Self {
            source: Source::Partitions,
            target_millis: 30_000,
            replicas: 1,
            start_millis: 12_000,
            start_jitter_percent: 25,
            rebalance_millis: 3_000,
            eager: false,
            in_flight_max: 10,
            seed: 1,
            series: false,
        }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Seconds at whose end the oldest unprocessed message of a partition that wasn't stuck was older than the target.
    pub violation_seconds: u64,
    /// Replicas times hours, from a pod's creation to its end.
    pub replica_hours: f64,
    /// Changes of the number of replicas.
    pub scale_events: u64,
    /// Messages that members had in their hands when they were killed.
    pub killed_in_flight: u64,
    /// Second by second, if the world asked for it.
    pub series: Vec<Moment>,
}

/// One second of an outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Moment {
    /// Messages that arrived in this second.
    pub arrived: f64,
    /// Messages that wait at its end.
    pub backlog: f64,
    /// The age of the oldest of them, in milliseconds, stuck partitions left out.
    pub oldest_age_millis: u64,
    /// `spec.replicas`.
    pub replicas: u32,
    /// Members that work.
    pub ready: u32,
}

/// Runs a trace through.
pub fn run(trace: &Trace, world: &World, scaler: &mut dyn Scaler) -> Outcome {
    group::Group::new(trace, world).run(scaler)
}
