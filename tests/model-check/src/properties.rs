//! The rules that every state keeps. Rules about steps are in [`Rule`].
//!
//! The public TLA+ model of Kafka's replication with KIP-966 (Vanlightly, kafka-tlaplus) names these, and here is where
//! each one is checked:
//!
//! | there | here |
//! |---|---|
//! | LogMatchingProperty | [`replicas_agree`], and against the whole history [`Rule::CommittedForEver`] |
//! | LeaderCompletenessProperty | [`leaders_are_complete`] |
//! | LeaderCandidateCompletenessProperty | [`candidates_are_complete`] |
//! | ReplicationQuorumSupersetProperty | [`quorum_covers_the_in_sync`] |
//! | ConsistentReadProperty | [`serving_leaders_know_what_is_committed`], [`Rule::CommittedForEver`], [`Rule::OvertakenIsSilent`] |
//! | NoCommittedRecordLostGlobally | [`nothing_committed_is_lost`], when it is committed [`Rule::CommittedIsDurable`] |
//! | MetadataLogMatchingProperty | [`rows_come_from_the_catalog`]; the order of its log is the consensus library's |
//! | ValidReplicaState, ValidControllerState | `invariants::check` after every step, [`the_row_is_valid`] |
//!
//! Beyond it: at most one leader in an epoch ([`Rule::OneLeader`]), cuts above what is committed
//! ([`Rule::CommittedIsKept`]), promises ([`Rule::EpochsRise`]), the minimum ([`Rule::MinimumInSync`]), and silence
//! about disks that lost nothing ([`Rule::NothingToReport`]).

use pondage_model::Position;
use pondage_replication::invariants::{self, View};
use stateright::Property;

use crate::{check::Shard, configuration::Reach, history::Rule, node::Node, world::World};

/// One rule for states.
pub type Holds = fn(&Shard, &World) -> bool;

/// Every rule.
pub const RULES: &[(&str, Holds)] = &[
    ("no replica did what can't be", |_, world| world.broken != Some(Rule::Assertion)),
    ("one start leads in an epoch", |_, world| world.broken != Some(Rule::OneLeader)),
    ("what is committed is so for ever", |_, world| world.broken != Some(Rule::CommittedForEver)),
    ("what is committed is durable", |_, world| world.broken != Some(Rule::CommittedIsDurable)),
    ("nothing committed is cut", |_, world| world.broken != Some(Rule::CommittedIsKept)),
    ("no answer in an older epoch", |_, world| world.broken != Some(Rule::EpochsRise)),
    ("an overtaken leader is silent", |_, world| world.broken != Some(Rule::OvertakenIsSilent)),
    ("never fewer in sync than the minimum", |_, world| world.broken != Some(Rule::MinimumInSync)),
    ("nothing to report while disks work", |_, world| world.broken != Some(Rule::NothingToReport)),
    ("replicas agree", replicas_agree),
    ("leaders are complete", leaders_are_complete),
    ("who serves knows what is committed", serving_leaders_know_what_is_committed),
    ("candidates are complete", candidates_are_complete),
    ("the quorum covers the in-sync set", quorum_covers_the_in_sync),
    ("nothing committed is lost", nothing_committed_is_lost),
    ("rows come from the catalog", rows_come_from_the_catalog),
    ("the row is valid", the_row_is_valid),
];

/// Election safety, log matching and state machine safety, as the crate itself defines them.
pub fn replicas_agree(_: &Shard, world: &World) -> bool {
    let view = |node: &crate::shared::Shared<Node>| -> (Option<_>, Position) {
        (node.leads(), node.replica.high_watermark())
    };
    let facts: Vec<_> = world.nodes.iter().map(view).collect();
    let views: Vec<View<'_, _>> = world
        .nodes
        .iter()
        .zip(facts)
        .map(|(node, (leads, high_watermark))| View { log: &node.disk.log, high_watermark, leads })
        .collect();
    invariants::compare(&views).is_ok()
}

/// A leader holds everything that leaders of older epochs committed.
pub fn leaders_are_complete(_: &Shard, world: &World) -> bool {
    let leaders = world.nodes.iter().filter_map(|node| node.leads().map(|epoch| (node, epoch)));
    leaders.into_iter().all(|(node, epoch)| {
        let older = world.history.committed.iter().enumerate().filter(|(_, entry)| entry.by < epoch);
        older.into_iter().all(|(position, entry)| {
            let place = Position(position as u64);
            let listed = node.replica.end() > place && node.replica.epochs().at(place) == entry.epoch;
            listed && (node.durable() <= place || world.history.holds(&node.disk.log, position))
        })
    })
}

/// A leader that serves counts everything as committed that leaders of older epochs did: nobody reads backwards.
pub fn serving_leaders_know_what_is_committed(_: &Shard, world: &World) -> bool {
    world.nodes.iter().filter(|node| node.replica.is_serving() && !node.fenced).all(|node| {
        let older = world.history.committed.iter().filter(|entry| entry.by < node.replica.epoch());
        node.replica.high_watermark() >= Position(older.count() as u64)
    })
}

/// Every in-sync replica holds everything committed, durably; except one whose disk lost it, until a leader has
/// confirmed that it holds everything again.
pub fn candidates_are_complete(_: &Shard, world: &World) -> bool {
    let row = world.catalog.row();
    let in_sync = world.nodes.iter().filter(|node| {
        let member = node.replica.member();
        row.in_sync(member.broker).is_some_and(|recorded| recorded == member || !node.damaged)
    });
    in_sync.into_iter().all(|node| {
        let held = |position| {
            node.durable() > Position(position as u64) && world.history.holds(&node.disk.log, position)
        };
        (0..world.history.committed.len()).all(held)
    })
}

/// What a leader waits for before it commits contains what the catalog may elect from, as long as it leads by the
/// catalog's word.
pub fn quorum_covers_the_in_sync(_: &Shard, world: &World) -> bool {
    let row = world.catalog.row();
    let leaders = world.nodes.iter().filter(|node| node.leads() == Some(row.epoch));
    leaders.into_iter().all(|node| {
        invariants::quorum(&node.replica)
            .is_some_and(|quorum| row.isr.iter().all(|member| quorum.contains(&member.broker)))
    })
}

/// As many disks hold a committed entry as the minimum says, but for those that were lost.
pub fn nothing_committed_is_lost(shard: &Shard, world: &World) -> bool {
    let needed = shard.configuration.min_in_sync_replicas as usize;
    let lost = usize::from(world.history.volumes_lost);
    (0..world.history.committed.len()).all(|position| {
        let holders = world.nodes.iter().filter(|node| world.history.holds(&node.disk.log, position));
        holders.count() + lost >= needed
    })
}

/// No replica knows more than the catalog decided; at the same version it knows the same.
pub fn rows_come_from_the_catalog(_: &Shard, world: &World) -> bool {
    let row = world.catalog.row();
    world.nodes.iter().all(|node| {
        let agrees = |known: &pondage_replication::Assignment| {
            known.version < row.version || (known.version == row.version && known == row)
        };
        node.replica.assignment().is_none_or(agrees) && node.replica.epoch() <= row.epoch
    })
}

/// In-sync replicas are replicas, the leader is one of them, and nobody is in twice.
pub fn the_row_is_valid(_: &Shard, world: &World) -> bool {
    let row = world.catalog.row();
    let is_replica = |member: &pondage_model::Member| row.replicas.contains(&member.broker);
    let twice = row
        .isr
        .iter()
        .enumerate()
        .any(|(index, member)| row.isr.iter().skip(index + 1).any(|other| other.broker == member.broker));
    row.isr.iter().all(is_replica) && !twice && row.leader.is_none_or(|leader| row.in_sync(leader).is_some())
}

/// What a state has reached.
pub fn reached(reach: Reach, shard: &Shard, world: &World) -> bool {
    let row = world.catalog.row();
    let committed_in =
        |epoch| world.history.committed.iter().any(|entry| entry.by.get() == epoch && entry.stream.get() > 0);
    match reach {
        Reach::CommitInEpochTwo => committed_in(2),
        Reach::CommitInEpochThree => committed_in(3),
        Reach::NewVolumeInSync => {
            row.isr.iter().any(|member| member.broker.get() >= shard.configuration.replicas)
        }
        Reach::NewStartInSync => row.isr.iter().any(|member| member.incarnation.get() > 1),
        Reach::CommitWithoutMember => world.history.without_member,
        Reach::OvertakenDecision => world.history.overtaken,
        Reach::Truncation => world.history.truncated,
    }
}

/// A property for each thing that can be reached.
pub fn reach(reach: Reach) -> Property<Shard> {
    match reach {
        Reach::CommitInEpochTwo => Property::sometimes("an entry is committed in epoch 2", |shard, world| {
            reached(Reach::CommitInEpochTwo, shard, world)
        }),
        Reach::CommitInEpochThree => {
            Property::sometimes("an entry is committed in epoch 3", |shard, world| {
                reached(Reach::CommitInEpochThree, shard, world)
            })
        }
        Reach::NewVolumeInSync => Property::sometimes("a new volume gets in sync", |shard, world| {
            reached(Reach::NewVolumeInSync, shard, world)
        }),
        Reach::NewStartInSync => Property::sometimes("a new start gets in sync", |shard, world| {
            reached(Reach::NewStartInSync, shard, world)
        }),
        Reach::CommitWithoutMember => {
            Property::sometimes("a commit goes without a member", |shard, world| {
                reached(Reach::CommitWithoutMember, shard, world)
            })
        }
        Reach::OvertakenDecision => Property::sometimes("a decision is overtaken", |shard, world| {
            reached(Reach::OvertakenDecision, shard, world)
        }),
        Reach::Truncation => {
            Property::sometimes("a log is cut", |shard, world| reached(Reach::Truncation, shard, world))
        }
    }
}
