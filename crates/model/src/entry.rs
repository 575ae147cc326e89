//! Entries: everything that happens to a message, as the outcome that a shard's leader decided.
//!
//! The fold over entries reads no settings, no limits and no clock, so every replica that folds the same entries
//! has the same state. `docs/formats/entry.md` draws the bytes.

use bytes::Bytes;

use crate::{
    Attempt, Epoch, GroupEpoch, Lease, LogTime, MoveSeq, Name, Offset, Position, ProducerId, ShardId,
    StreamId,
    membership::Membership,
    settings::StreamSettings,
    wire::{Malformed, Wire},
    wire_enum, wire_struct,
};

/// One entry of a shard's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the shard.
    pub position: Position,
    /// The leadership term in which it was appended.
    pub epoch: Epoch,
    /// The stream it is about; [`StreamId::ZERO`] for the shard as a whole.
    pub stream: StreamId,
    /// The leader's log clock when it was appended.
    pub log_time: LogTime,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// A leader's first entry in its epoch: it serves once this is committed.
    EpochStart,
    /// The stream begins.
    Open(Open),
    /// The stream's settings from here on, for the leader; the fold keeps and never reads them.
    Settings(StreamSettings),
    /// The stream ends, with everything in it.
    Close,
    /// Messages were appended.
    Publish(Publish),
    /// Leases were given. Logged lazily.
    Grant(Vec<Granted>),
    /// Leases were extended. Logged lazily.
    Renew(Vec<Renewed>),
    /// Messages were accepted: done with.
    Accept(Vec<LeaseRange>),
    /// Leases ended without a verdict that settles.
    Release(Vec<Released>),
    /// Messages were settled without being consumed.
    Discard(Discard),
    /// A message is on its way to a dead-letter queue; it counts here and is not granted here.
    Move(Move),
    /// The dead-letter queue holds the moving message durably: it is settled here.
    Moved(MoveSeq),
    /// Messages of a topic below this offset are gone by retention.
    Trim(Offset),
    /// A group's ownership of this partition passed to a new epoch, with its cursor.
    Claim(Cursor),
    /// A group's cursor moved.
    Commit(Cursor),
    /// A group is forgotten.
    DropGroup(Name),
    /// Members of a group came or went, or partitions passed from one to another; in the group's home.
    Membership(Membership),
    /// A shared group reads its partition from this offset on, whatever it settled before.
    Restart(Restart),
    /// Idle producer sessions are forgotten.
    ForgetProducers(Vec<ProducerId>),
    /// Part of a checkpoint.
    CheckpointPage(CheckpointPage),
    /// A command to the catalog (shard 0), opaque here. The frame's attributes say who proposed it, for the
    /// consensus of a cluster's voters alone.
    Command(Bytes),
    /// Who votes on the catalog (shard 0), opaque here: an entry of the consensus itself.
    Voters(Bytes),
}

/// A stream's begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// The topic's or queue's name, for people who read a log.
    pub name: Name,
    /// The partition of a topic, 0 for a queue.
    pub partition: u32,
    /// Its settings, whose kind is the stream's kind.
    pub settings: StreamSettings,
}
wire_struct!(Open { name, partition, settings });

/// A record batch as the producer built it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// The offset of its first message.
    pub base_offset: Offset,
    /// Its messages; offsets are consecutive.
    pub count: u32,
    /// What the leader decided about them.
    pub attributes: PublishAttributes,
    /// The batch: Kafka's RecordBatch v2 layout, its base offset set to `base_offset`.
    pub batch: Bytes,
}

/// What the leader decided about a published batch.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct PublishAttributes {
    /// The idempotent session and where the batch stands in it.
    pub producer: Option<ProducerStamp>,
    /// Due and expiry times of runs of messages that have any, by index in the batch, ascending.
    pub timing: Vec<Timing>,
    /// Where the message came from, if it was moved here as a dead letter.
    pub moved: Option<MovedFrom>,
}
wire_struct!(PublishAttributes { producer, timing, moved });

/// A batch's place in an idempotent producer session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerStamp {
    /// The session's producer.
    pub producer: ProducerId,
    /// The session's epoch; an older one is fenced.
    pub epoch: u32,
    /// The sequence of the batch's first message; wraps from `i32::MAX` to 0 as in Kafka.
    pub first_sequence: u32,
}
wire_struct!(ProducerStamp { producer, epoch, first_sequence });

/// Due and expiry of a run of messages of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// Index in the batch of the run's first message.
    pub first: u32,
    /// Messages in the run.
    pub count: u32,
    /// Not granted before.
    pub due: Option<LogTime>,
    /// Not granted from then on.
    pub expires: Option<LogTime>,
}
wire_struct!(Timing { first, count, due, expires });

/// The origin of a dead letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedFrom {
    /// The stream it came from.
    pub source: StreamId,
    /// Its place in the moves of that stream: a repeat is recognised by it.
    pub seq: MoveSeq,
}
wire_struct!(MovedFrom { source, seq });

/// Leases given to a run of messages, all with the same attempt. The lease's epoch is the entry's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// First message.
    pub first: Offset,
    /// Messages in the run.
    pub count: u32,
    /// Their attempt.
    pub attempt: Attempt,
    /// When the leases end unless they are settled or renewed.
    pub deadline: LogTime,
}
wire_struct!(Granted { first, count, attempt, deadline });

/// A run of messages under the same lease order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRange {
    /// First message.
    pub first: Offset,
    /// Messages in the run.
    pub count: u32,
    /// The lease that was settled.
    pub lease: Lease,
}
wire_struct!(LeaseRange { first, count, lease });

/// Leases extended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Renewed {
    /// Which.
    pub leases: LeaseRange,
    /// When they end now.
    pub deadline: LogTime,
}
wire_struct!(Renewed { leases, deadline });

/// Leases that ended with the messages going back to the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Which.
    pub leases: LeaseRange,
    /// Not granted again before.
    pub ready_at: LogTime,
    /// Why.
    pub cause: ReleaseCause,
}
wire_struct!(Released { leases, ready_at, cause });

/// Why a lease ended without settling its message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReleaseCause {
    /// The consumer released it: a failed attempt.
    Released,
    /// Its deadline passed: a failed attempt.
    Expired,
    /// The consumer's connection was lost: a failed attempt.
    ConsumerLost,
    /// The consumer left in good order, or never processed it: no failed attempt.
    Returned,
    /// The consumer rejected it and the dead-letter queue is not there: a failed attempt; it is held until then.
    Rejected,
}
wire_enum!(ReleaseCause { 0 => Released, 1 => Expired, 2 => ConsumerLost, 3 => Returned, 4 => Rejected });

impl ReleaseCause {
    /// Whether a consumer failed at the message (guarantee Q3).
    #[must_use]
    pub const fn is_failure(self) -> bool {
        !matches!(self, Self::Returned)
    }
}

/// Messages settled without being consumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Discard {
    /// Runs of messages with the lease under which they were rejected, if any.
    pub runs: Vec<Discarded>,
    /// Why.
    pub cause: DiscardCause,
}
wire_struct!(Discard { runs, cause });

/// A run of discarded messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Discarded {
    /// First message.
    pub first: Offset,
    /// Messages in the run.
    pub count: u64,
    /// The lease under which a consumer rejected them.
    pub lease: Option<Lease>,
}
wire_struct!(Discarded { first, count, lease });

/// Why messages were settled without being consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscardCause {
    /// A consumer rejected them and there is no dead-letter queue.
    Rejected,
    /// Their time to live passed and there is no dead-letter queue.
    Expired,
    /// An administrator purged the queue.
    Purged,
    /// Retention took them from the topic that a shared group reads.
    Trimmed,
}
wire_enum!(DiscardCause { 0 => Rejected, 1 => Expired, 2 => Purged, 3 => Trimmed });

/// A message on its way to a dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Its place in the moves of this stream; grows from 1.
    pub seq: MoveSeq,
    /// The message.
    pub offset: Offset,
    /// The lease under which a consumer rejected or failed it, if any.
    pub lease: Option<Lease>,
    /// Why it moves.
    pub cause: MoveCause,
    /// Failed attempts, for the history.
    pub failures: u32,
    /// The dead-letter queue's shard.
    pub target_shard: ShardId,
    /// The dead-letter queue's stream.
    pub target: StreamId,
}
wire_struct!(Move { seq, offset, lease, cause, failures, target_shard, target });

/// Why a message goes to the dead-letter queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MoveCause {
    /// A consumer rejected it.
    Rejected,
    /// It failed `maxDeliveries` times.
    MaxDeliveries,
    /// Its time to live passed.
    Expired,
}
wire_enum!(MoveCause { 0 => Rejected, 1 => MaxDeliveries, 2 => Expired });

impl MoveCause {
    /// The word for headers, labels and people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::MaxDeliveries => "max-deliveries",
            Self::Expired => "expired",
        }
    }
}

/// A group's cursor in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// The group.
    pub group: Name,
    /// Who may move it.
    pub epoch: GroupEpoch,
    /// The next message to read: everything below is committed.
    pub offset: Offset,
}
wire_struct!(Cursor { group, epoch, offset });

/// Where a shared group begins in its partition, for the first time or again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// The first message to deliver.
    pub start: Offset,
    /// Leases up to this one were given before: none of them settles anything from here on, and later ones have
    /// greater attempts.
    pub last: Lease,
}
wire_struct!(Restart { start, last });

/// One of the consecutive entries that hold a checkpoint: the state of everything below the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointPage {
    /// From 0.
    pub index: u32,
    /// Pages in this checkpoint.
    pub total: u32,
    /// Part of the encoded state.
    pub bytes: Bytes,
}

/// The kind of an entry as its frame carries it. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is explained at its body")]
pub enum EntryKind {
    EpochStart = 1,
    Open = 2,
    Settings = 3,
    Close = 4,
    Publish = 5,
    Grant = 6,
    Renew = 7,
    Accept = 8,
    Release = 9,
    Discard = 10,
    Move = 11,
    Moved = 12,
    Trim = 13,
    Claim = 14,
    Commit = 15,
    DropGroup = 16,
    ForgetProducers = 17,
    CheckpointPage = 18,
    Command = 19,
    Voters = 20,
    Membership = 21,
    Restart = 22,
}

impl EntryKind {
    /// Every kind.
    pub const ALL: [Self; 22] = [
        Self::EpochStart,
        Self::Open,
        Self::Settings,
        Self::Close,
        Self::Publish,
        Self::Grant,
        Self::Renew,
        Self::Accept,
        Self::Release,
        Self::Discard,
        Self::Move,
        Self::Moved,
        Self::Trim,
        Self::Claim,
        Self::Commit,
        Self::DropGroup,
        Self::ForgetProducers,
        Self::CheckpointPage,
        Self::Command,
        Self::Voters,
        Self::Membership,
        Self::Restart,
    ];

    /// The kind with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }
}

impl Wire for EntryKind {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(*self as u8);
    }

    fn take(input: &mut Bytes) -> Result<Self, Malformed> {
        Self::from_number(u8::take(input)?).ok_or(Malformed("unknown kind of entry"))
    }
}

/// An entry as storage sees it: places in the open, the rest as bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RawEntry {
    /// Its place in the shard.
    pub position: Position,
    /// The leadership term in which it was appended.
    pub epoch: Epoch,
    /// The stream it is about.
    pub stream: StreamId,
    /// When, by the leader's log clock.
    pub log_time: LogTime,
    /// What.
    pub kind: EntryKind,
    /// A publish: the offset of its first message. A checkpoint page: its index. Else 0.
    pub base_offset: Offset,
    /// A publish: its messages. A checkpoint page: the pages in all. Else 0.
    pub count: u32,
    /// A publish: the encoded [`PublishAttributes`], empty if they say nothing. A command: who proposed it, empty on a
    /// lone broker. Else empty.
    pub attributes: Bytes,
    /// A publish: the record batch. A page: its bytes. A command, voters: itself. Else the encoded fields.
    pub body: Bytes,
}
wire_struct!(RawEntry { position, epoch, stream, log_time, kind, base_offset, count, attributes, body });

impl Body {
    /// About how many bytes it takes, for bounds on what is held and written at once.
    #[must_use]
    pub fn weight_bytes(&self) -> usize {
        const ENTRY: usize = 64;
        const ITEM: usize = 32;
        ENTRY
            + match self {
                Self::Publish(publish) => publish.batch.len() + ITEM * publish.attributes.timing.len(),
                Self::CheckpointPage(page) => page.bytes.len(),
                Self::Command(bytes) | Self::Voters(bytes) => bytes.len(),
                Self::Grant(runs) => ITEM * runs.len(),
                Self::Renew(runs) => ITEM * runs.len(),
                Self::Accept(runs) => ITEM * runs.len(),
                Self::Release(runs) => ITEM * runs.len(),
                Self::Discard(discard) => ITEM * discard.runs.len(),
                Self::ForgetProducers(ids) => ITEM * ids.len(),
                Self::Membership(membership) => ITEM * membership.changes.len(),
                Self::EpochStart
                | Self::Open(_)
                | Self::Settings(_)
                | Self::Close
                | Self::Move(_)
                | Self::Moved(_)
                | Self::Trim(_)
                | Self::Restart(_)
                | Self::Claim(_)
                | Self::Commit(_)
                | Self::DropGroup(_) => ITEM,
            }
    }

    /// The kind.
    #[must_use]
    pub const fn kind(&self) -> EntryKind {
        match self {
            Self::EpochStart => EntryKind::EpochStart,
            Self::Open(_) => EntryKind::Open,
            Self::Settings(_) => EntryKind::Settings,
            Self::Close => EntryKind::Close,
            Self::Publish(_) => EntryKind::Publish,
            Self::Grant(_) => EntryKind::Grant,
            Self::Renew(_) => EntryKind::Renew,
            Self::Accept(_) => EntryKind::Accept,
            Self::Release(_) => EntryKind::Release,
            Self::Discard(_) => EntryKind::Discard,
            Self::Move(_) => EntryKind::Move,
            Self::Moved(_) => EntryKind::Moved,
            Self::Trim(_) => EntryKind::Trim,
            Self::Claim(_) => EntryKind::Claim,
            Self::Commit(_) => EntryKind::Commit,
            Self::DropGroup(_) => EntryKind::DropGroup,
            Self::ForgetProducers(_) => EntryKind::ForgetProducers,
            Self::CheckpointPage(_) => EntryKind::CheckpointPage,
            Self::Command(_) => EntryKind::Command,
            Self::Voters(_) => EntryKind::Voters,
            Self::Membership(_) => EntryKind::Membership,
            Self::Restart(_) => EntryKind::Restart,
        }
    }
}

impl Entry {
    /// The entry as storage keeps it.
    #[must_use]
    pub fn encode(&self) -> RawEntry {
        let mut raw = RawEntry {
            position: self.position,
            epoch: self.epoch,
            stream: self.stream,
            log_time: self.log_time,
            kind: self.body.kind(),
            base_offset: Offset::ZERO,
            count: 0,
            attributes: Bytes::new(),
            body: Bytes::new(),
        };
        match &self.body {
            Body::EpochStart | Body::Close => {}
            Body::Publish(publish) => {
                raw.base_offset = publish.base_offset;
                raw.count = publish.count;
                if publish.attributes != PublishAttributes::default() {
                    raw.attributes = publish.attributes.to_bytes();
                }
                raw.body = publish.batch.clone();
            }
            Body::CheckpointPage(page) => {
                raw.base_offset = Offset(u64::from(page.index));
                raw.count = page.total;
                raw.body = page.bytes.clone();
            }
            Body::Command(bytes) | Body::Voters(bytes) => raw.body = bytes.clone(),
            Body::Open(open) => raw.body = open.to_bytes(),
            Body::Settings(settings) => raw.body = settings.to_bytes(),
            Body::Grant(runs) => raw.body = runs.to_bytes(),
            Body::Renew(runs) => raw.body = runs.to_bytes(),
            Body::Accept(runs) => raw.body = runs.to_bytes(),
            Body::Release(runs) => raw.body = runs.to_bytes(),
            Body::Discard(discard) => raw.body = discard.to_bytes(),
            Body::Move(moving) => raw.body = moving.to_bytes(),
            Body::Moved(seq) => raw.body = seq.to_bytes(),
            Body::Trim(offset) => raw.body = offset.to_bytes(),
            Body::Claim(cursor) | Body::Commit(cursor) => raw.body = cursor.to_bytes(),
            Body::DropGroup(name) => raw.body = name.to_bytes(),
            Body::ForgetProducers(producers) => raw.body = producers.to_bytes(),
            Body::Membership(membership) => raw.body = membership.to_bytes(),
            Body::Restart(restart) => raw.body = restart.to_bytes(),
        }
        raw
    }
}

impl RawEntry {
    /// About how many bytes it takes, for bounds on what is held, sent and written at once.
    #[must_use]
    pub const fn weight_bytes(&self) -> usize {
        const FRAME: usize = 64;
        FRAME + self.attributes.len() + self.body.len()
    }

    /// Reads the entry back.
    ///
    /// # Errors
    /// [`Malformed`] if the bytes are not what [`Entry::encode`] of a known version wrote.
    pub fn decode(self) -> Result<Entry, Malformed> {
        let body = match self.kind {
            EntryKind::EpochStart => Body::EpochStart,
            EntryKind::Close => Body::Close,
            EntryKind::Publish => Body::Publish(Publish {
                base_offset: self.base_offset,
                count: self.count,
                attributes: if self.attributes.is_empty() {
                    PublishAttributes::default()
                } else {
                    PublishAttributes::from_bytes(self.attributes)?
                },
                batch: self.body,
            }),
            EntryKind::CheckpointPage => Body::CheckpointPage(CheckpointPage {
                index: u32::try_from(self.base_offset.0).map_err(|_| Malformed("page index too large"))?,
                total: self.count,
                bytes: self.body,
            }),
            EntryKind::Command => Body::Command(self.body),
            EntryKind::Voters => Body::Voters(self.body),
            EntryKind::Open => Body::Open(Wire::from_bytes(self.body)?),
            EntryKind::Settings => Body::Settings(Wire::from_bytes(self.body)?),
            EntryKind::Grant => Body::Grant(Wire::from_bytes(self.body)?),
            EntryKind::Renew => Body::Renew(Wire::from_bytes(self.body)?),
            EntryKind::Accept => Body::Accept(Wire::from_bytes(self.body)?),
            EntryKind::Release => Body::Release(Wire::from_bytes(self.body)?),
            EntryKind::Discard => Body::Discard(Wire::from_bytes(self.body)?),
            EntryKind::Move => Body::Move(Wire::from_bytes(self.body)?),
            EntryKind::Moved => Body::Moved(Wire::from_bytes(self.body)?),
            EntryKind::Trim => Body::Trim(Wire::from_bytes(self.body)?),
            EntryKind::Claim => Body::Claim(Wire::from_bytes(self.body)?),
            EntryKind::Commit => Body::Commit(Wire::from_bytes(self.body)?),
            EntryKind::DropGroup => Body::DropGroup(Wire::from_bytes(self.body)?),
            EntryKind::ForgetProducers => Body::ForgetProducers(Wire::from_bytes(self.body)?),
            EntryKind::Membership => Body::Membership(Wire::from_bytes(self.body)?),
            EntryKind::Restart => Body::Restart(Wire::from_bytes(self.body)?),
        };
        Ok(Entry {
            position: self.position,
            epoch: self.epoch,
            stream: self.stream,
            log_time: self.log_time,
            body,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        AssignmentEpoch, MemberId, Uuid,
        membership::{GroupMember, HandOverCause, LeaveCause, MembershipChange},
        settings::{QueueSettings, TopicSettings},
    };

    fn bodies() -> Vec<Body> {
        let lease = Lease { epoch: Epoch(2), attempt: Attempt(3) };
        let leases = LeaseRange { first: Offset(4), count: 5, lease };
        let name = Name::new("orders").expect("valid");
        let member = MemberId(Uuid([1; 16]));
        vec![
            Body::EpochStart,
            Body::Open(Open {
                name: name.clone(),
                partition: 2,
                settings: StreamSettings::Queue(QueueSettings::default()),
            }),
            Body::Settings(StreamSettings::Topic(TopicSettings::default())),
            Body::Close,
            Body::Publish(Publish {
                base_offset: Offset(9),
                count: 3,
                attributes: PublishAttributes {
                    producer: Some(ProducerStamp { producer: ProducerId(1), epoch: 2, first_sequence: 3 }),
                    timing: vec![Timing { first: 0, count: 3, due: Some(LogTime(-1)), expires: None }],
                    moved: Some(MovedFrom { source: StreamId(7), seq: MoveSeq(8) }),
                },
                batch: Bytes::from_static(b"batch"),
            }),
            Body::Grant(vec![Granted {
                first: Offset(1),
                count: 2,
                attempt: Attempt(1),
                deadline: LogTime(77),
            }]),
            Body::Renew(vec![Renewed { leases, deadline: LogTime(88) }]),
            Body::Accept(vec![leases]),
            Body::Release(vec![Released { leases, ready_at: LogTime(1), cause: ReleaseCause::Expired }]),
            Body::Discard(Discard {
                runs: vec![Discarded { first: Offset(1), count: 2, lease: Some(lease) }],
                cause: DiscardCause::Purged,
            }),
            Body::Move(Move {
                seq: MoveSeq(1),
                offset: Offset(2),
                lease: None,
                cause: MoveCause::Expired,
                failures: 4,
                target_shard: ShardId(5),
                target: StreamId(6),
            }),
            Body::Moved(MoveSeq(1)),
            Body::Trim(Offset(5)),
            Body::Claim(Cursor { group: name.clone(), epoch: GroupEpoch(1), offset: Offset(2) }),
            Body::Commit(Cursor { group: name.clone(), epoch: GroupEpoch(1), offset: Offset(2) }),
            Body::DropGroup(name),
            Body::ForgetProducers(vec![ProducerId(1)]),
            Body::CheckpointPage(CheckpointPage { index: 1, total: 2, bytes: Bytes::from_static(b"page") }),
            Body::Command(Bytes::from_static(b"command")),
            Body::Voters(Bytes::from_static(b"voters")),
            Body::Membership(Membership {
                epoch: AssignmentEpoch(3),
                changes: vec![
                    MembershipChange::Joined(GroupMember { id: member, instance: "billing-0".to_owned() }),
                    MembershipChange::Target { partition: StreamId(7), member: Some(member) },
                    MembershipChange::Released { partition: StreamId(7), cause: HandOverCause::TimedOut },
                    MembershipChange::Removed(StreamId(7)),
                    MembershipChange::Left { member, cause: LeaveCause::Lost },
                ],
            }),
            Body::Restart(Restart { start: Offset(3), last: lease }),
        ]
    }

    #[test]
    fn every_kind_survives_its_encoding_and_every_cut_of_it_is_refused_or_shorter() {
        let bodies = bodies();
        assert_eq!(bodies.len(), EntryKind::ALL.len());
        for (body, kind) in bodies.into_iter().zip(EntryKind::ALL) {
            assert_eq!(body.kind(), kind);
            assert_eq!(EntryKind::from_number(kind as u8), Some(kind));
            let entry = Entry {
                position: Position(1),
                epoch: Epoch(2),
                stream: StreamId(3),
                log_time: LogTime(4),
                body,
            };
            let raw = entry.encode();
            assert_eq!(raw.clone().decode().as_ref(), Ok(&entry));
            for cut in 0..raw.body.len() {
                let shorter = RawEntry { body: raw.body.slice(..cut), ..raw.clone() };
                assert_ne!(shorter.decode().as_ref(), Ok(&entry), "{kind:?} cut at {cut}");
            }
        }
        assert_eq!(EntryKind::from_number(0), None);
        assert_eq!(EntryKind::from_number(23), None);
    }
}
