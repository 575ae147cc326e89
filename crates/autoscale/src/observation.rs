//! What brokers and Kubernetes tell at one moment. Nothing here is worked out: counters are counters, and rates are
//! the controller's own business.

use serde::Serialize;

/// What work looks like to the members of a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Partitions of topics: each has one owner, and more members than partitions are idle.
    #[default]
    Partitions,
    /// A queue, or a group whose members share all messages: any number of members helps. What waits is told as
    /// partitions too, of which no one belongs to anybody.
    Queue,
}

/// One look at a group and its workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Observation {
    /// When it was made, in milliseconds of a clock that doesn't go back.
    pub now_millis: u64,
    /// What work looks like.
    pub source: Source,
    /// The partitions, always in the same order; for a queue its shards.
    pub partitions: Vec<PartitionSeen>,
    /// The group's members, by name. Who has left is not here any more.
    pub members: Vec<MemberSeen>,
    /// `spec.replicas` of the workload.
    pub replicas: u32,
    /// The workload's pods, by name.
    pub pods: Vec<PodSeen>,
    /// Whether partitions are changing hands right now.
    pub rebalancing: bool,
    /// How old the brokers' figures are, in milliseconds: what failed to be read is told again, older.
    pub stale_millis: u64,
    /// The name of another autoscaler that acts on the same workload.
    pub conflicting: Option<String>,
}

/// One partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartitionSeen {
    /// Messages that are not yet settled or committed, those in flight included.
    pub backlog: u64,
    /// Messages ever appended. A counter; a new leader may tell less than the one before.
    pub appended: u64,
    /// Messages ever settled or committed. A counter, like the above.
    pub settled: u64,
    /// How long ago the oldest message of the backlog was appended, in milliseconds; 0 without backlog.
    pub oldest_age_millis: u64,
    /// The place in [`Observation::members`] of who reads it; `None` for a queue, and while nobody does.
    pub owner: Option<usize>,
}

/// One member of the group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MemberSeen {
    /// Its name, which is its pod's.
    pub name: String,
    /// When it joined, in milliseconds.
    pub joined_millis: u64,
    /// When it first settled anything, in milliseconds.
    pub first_settled_millis: Option<u64>,
    /// Messages that it ever settled. A counter.
    pub settled: u64,
    /// How long it ever had something in its hands, in milliseconds. A counter.
    pub busy_millis: u64,
    /// Messages that it has in its hands.
    pub in_flight: u64,
}

/// One pod of the workload.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodSeen {
    /// Its name.
    pub name: String,
    /// When it was created, in milliseconds.
    pub created_millis: u64,
    /// When it became ready, in milliseconds.
    pub ready_millis: Option<u64>,
    /// Whether it was told to stop.
    pub terminating: bool,
    /// Its number, in a StatefulSet: that takes the highest ones first, whatever is wanted.
    pub ordinal: Option<u32>,
}

impl Observation {
    /// Messages that wait, in all.
    pub fn backlog(&self) -> u64 {
        self.partitions.iter().fold(0, |sum, partition| sum.saturating_add(partition.backlog))
    }

    /// Messages that members have in their hands, in all.
    pub fn in_flight(&self) -> u64 {
        self.members.iter().fold(0, |sum, member| sum.saturating_add(member.in_flight))
    }
}
