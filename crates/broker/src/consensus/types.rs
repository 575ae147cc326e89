//! The library's types with ours filled in, and their place in shard 0's log.

use std::{collections::BTreeSet, fmt, io::Cursor};

use bytes::Bytes;
use openraft::{CommittedLeaderId, EntryPayload};
use pondage_model::{
    EntryKind, Epoch, LogTime, Offset, Position, RawEntry, StreamId, Uuid,
    wire::{Malformed, Wire},
    wire_struct,
};

/// A voter's or listener's name: its volume.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(crate) struct VolumeId(pub(crate) Uuid);

impl fmt::Display for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for VolumeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Where a voter is reached.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Node {
    pub(crate) address: String,
}

/// Who proposed a command: unique for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Origin {
    /// Drawn anew by every process.
    pub(crate) process: Uuid,
    /// The proposal's number there.
    pub(crate) proposal: u64,
}
wire_struct!(Origin { process, proposal });

/// A command to the catalog as it is agreed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proposed {
    pub(crate) origin: Origin,
    pub(crate) command: Bytes,
}
wire_struct!(Proposed { origin, command });

openraft::declare_raft_types!(
    /// What is agreed on, and among whom.
    pub(crate) Types:
        D = Proposed,
        R = (),
        NodeId = VolumeId,
        Node = Node,
        Entry = openraft::Entry<Types>,
        SnapshotData = Cursor<Vec<u8>>,
);

pub(crate) type Raft = openraft::Raft<Types>;
pub(crate) type LogId = openraft::LogId<VolumeId>;
pub(crate) type Vote = openraft::Vote<VolumeId>;
pub(crate) type Entry = openraft::Entry<Types>;
pub(crate) type Membership = openraft::Membership<VolumeId, Node>;
pub(crate) type StoredMembership = openraft::StoredMembership<VolumeId, Node>;
pub(crate) type SnapshotMeta = openraft::SnapshotMeta<VolumeId, Node>;
pub(crate) type StorageError = openraft::StorageError<VolumeId>;

pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(term, VolumeId(Uuid([0; 16]))), index }
}

/// The entry as shard 0's log keeps it: the index is its position, the term its epoch. The time is this voter's own:
/// nothing folds it.
pub(crate) fn to_raw(entry: &Entry, log_time: LogTime) -> RawEntry {
    let (kind, attributes, body) = match &entry.payload {
        EntryPayload::Blank => (EntryKind::EpochStart, Bytes::new(), Bytes::new()),
        EntryPayload::Normal(Proposed { origin, command }) => {
            (EntryKind::Command, origin.to_bytes(), command.clone())
        }
        EntryPayload::Membership(membership) => {
            let mut body = Vec::new();
            put_membership(membership, &mut body);
            (EntryKind::Voters, Bytes::new(), body.into())
        }
    };
    RawEntry {
        position: Position(entry.log_id.index),
        epoch: Epoch(entry.log_id.leader_id.term),
        stream: StreamId::ZERO,
        log_time,
        kind,
        base_offset: Offset::ZERO,
        count: 0,
        attributes,
        body,
    }
}

/// The entry back.
pub(crate) fn from_raw(raw: RawEntry) -> Result<Entry, Malformed> {
    let payload = match raw.kind {
        EntryKind::EpochStart => EntryPayload::Blank,
        EntryKind::Command => {
            let origin = Origin::from_bytes(raw.attributes)?;
            EntryPayload::Normal(Proposed { origin, command: raw.body })
        }
        EntryKind::Voters => {
            let mut body = raw.body;
            let membership = take_membership(&mut body)?;
            if !body.is_empty() {
                return Err(Malformed("bytes left over"));
            }
            EntryPayload::Membership(membership)
        }
        _ => return Err(Malformed("an entry that is none of the consensus's")),
    };
    Ok(Entry { log_id: log_id(raw.epoch.0, raw.position.0), payload })
}

/// The bytes that an entry brings along, for bounds on what is sent at once.
pub(crate) fn weight_bytes(entry: &Entry) -> usize {
    const ENTRY: usize = 64;
    ENTRY
        + match &entry.payload {
            EntryPayload::Blank => 0,
            EntryPayload::Normal(proposed) => proposed.command.len(),
            EntryPayload::Membership(membership) => {
                membership.nodes().map(|(_, node)| 32 + node.address.len()).sum()
            }
        }
}

pub(crate) fn put_log_id(id: &LogId, out: &mut Vec<u8>) {
    id.leader_id.term.put(out);
    id.index.put(out);
}

pub(crate) fn take_log_id(input: &mut Bytes) -> Result<LogId, Malformed> {
    Ok(log_id(u64::take(input)?, u64::take(input)?))
}

pub(crate) fn put_optional_log_id(id: Option<&LogId>, out: &mut Vec<u8>) {
    id.is_some().put(out);
    if let Some(id) = id {
        put_log_id(id, out);
    }
}

pub(crate) fn take_optional_log_id(input: &mut Bytes) -> Result<Option<LogId>, Malformed> {
    bool::take(input)?.then(|| take_log_id(input)).transpose()
}

pub(crate) fn put_vote(vote: &Vote, out: &mut Vec<u8>) {
    vote.leader_id.term.put(out);
    vote.leader_id.voted_for.map(|id| id.0).put(out);
    vote.committed.put(out);
}

pub(crate) fn take_vote(input: &mut Bytes) -> Result<Vote, Malformed> {
    let term = u64::take(input)?;
    let voted_for: Option<Uuid> = Wire::take(input)?;
    let committed = bool::take(input)?;
    if committed && voted_for.is_none() {
        return Err(Malformed("a leader without a name"));
    }
    let leader_id = openraft::LeaderId { term, voted_for: voted_for.map(VolumeId) };
    Ok(Vote { leader_id, committed })
}

pub(crate) fn put_membership(membership: &Membership, out: &mut Vec<u8>) {
    let configs = membership.get_joint_config();
    (configs.len() as u64).put(out);
    for voters in configs {
        (voters.len() as u64).put(out);
        for voter in voters {
            voter.0.put(out);
        }
    }
    let nodes: Vec<(Uuid, String)> =
        membership.nodes().map(|(id, node)| (id.0, node.address.clone())).collect();
    nodes.put(out);
}

pub(crate) fn take_membership(input: &mut Bytes) -> Result<Membership, Malformed> {
    let configs = Vec::<Vec<Uuid>>::take(input)?;
    let configs: Vec<BTreeSet<VolumeId>> =
        configs.into_iter().map(|voters| voters.into_iter().map(VolumeId).collect()).collect();
    let nodes: std::collections::BTreeMap<VolumeId, Node> = Vec::<(Uuid, String)>::take(input)?
        .into_iter()
        .map(|(id, address)| (VolumeId(id), Node { address }))
        .collect();
    if configs.iter().flatten().any(|voter| !nodes.contains_key(voter)) {
        return Err(Malformed("a voter without an address"));
    }
    Ok(Membership::new(configs, nodes))
}

pub(crate) fn put_meta(meta: &SnapshotMeta, out: &mut Vec<u8>) {
    put_optional_log_id(meta.last_log_id.as_ref(), out);
    put_optional_log_id(meta.last_membership.log_id().as_ref(), out);
    put_membership(meta.last_membership.membership(), out);
    meta.snapshot_id.put(out);
}

pub(crate) fn take_meta(input: &mut Bytes) -> Result<SnapshotMeta, Malformed> {
    let last_log_id = take_optional_log_id(input)?;
    let membership_at = take_optional_log_id(input)?;
    let last_membership = StoredMembership::new(membership_at, take_membership(input)?);
    Ok(SnapshotMeta { last_log_id, last_membership, snapshot_id: String::take(input)? })
}
