//! What voters say to each other, as bytes. `docs/formats/consensus.md` draws them.
//!
//! Every message says which start of which volume it comes from, and a request also which start its sender's catalog
//! knows of the receiver: so a disk that was restored or copied is found out, whichever side looks first.

use bytes::Bytes;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, InstallSnapshotRequest, VoteRequest, VoteResponse,
};
use pondage_model::{
    Epoch, Incarnation, LogTime, Position, Uuid, limits,
    wire::{Malformed, Wire},
    wire_struct,
};

use super::{
    ports::Start,
    types::{
        Entry, LogId, Proposed, Types, Vote, from_raw, put_meta, put_optional_log_id, put_vote, take_meta,
        take_optional_log_id, take_vote, to_raw,
    },
};

/// The first byte. Another layout gets another number.
const VERSION: u8 = 1;

wire_struct!(Start { volume, incarnation, nonce });

/// A request, and between whom.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) from: Start,
    /// The receiver's current start, as the sender's catalog has it.
    pub(crate) to: Option<(Incarnation, Uuid)>,
    pub(crate) body: RequestBody,
}

#[derive(Debug)]
pub(crate) enum RequestBody {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<super::types::VolumeId>),
    Snapshot(InstallSnapshotRequest<Types>),
    Propose(Proposed),
    /// Which entry must be handed out before a read may be answered?
    ReadIndex,
    /// Let this volume listen.
    Join {
        volume: Uuid,
        address: String,
        /// It came from a broker that does not lead: go no further.
        forwarded: bool,
    },
}

/// An answer, and whose.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) from: Start,
    pub(crate) body: ReplyBody,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum ReplyBody {
    Append(AppendEntriesResponse<super::types::VolumeId>),
    Vote(VoteResponse<super::types::VolumeId>),
    /// The chunk is taken; the vote of who took it.
    Snapshot(Vote),
    /// The chunk is not the next one: begin again.
    SnapshotMismatch,
    /// The command is committed.
    Committed,
    /// Nothing was done here: somebody else leads, or nobody does.
    NotLeader(Option<(Uuid, String)>),
    /// It may have been done, or may yet be.
    Unknown,
    /// A read sees everything once this entry is handed out; `None`: at once.
    ReadIndex(Option<u64>),
    /// The volume listens.
    Joined,
    /// Not now.
    Busy,
    /// The sender's start is over: another one of its volume took its place.
    Superseded,
    /// The receiver's own start is over.
    Gone,
    /// The request makes no sense.
    Malformed,
}

impl Request {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        self.from.put(&mut out);
        self.to.put(&mut out);
        match &self.body {
            RequestBody::Append(append) => {
                out.push(0);
                put_vote(&append.vote, &mut out);
                put_optional_log_id(append.prev_log_id.as_ref(), &mut out);
                put_optional_log_id(append.leader_commit.as_ref(), &mut out);
                (append.entries.len() as u64).put(&mut out);
                for entry in &append.entries {
                    put_entry(entry, &mut out);
                }
            }
            RequestBody::Vote(vote) => {
                out.push(1);
                put_vote(&vote.vote, &mut out);
                put_optional_log_id(vote.last_log_id.as_ref(), &mut out);
            }
            RequestBody::Snapshot(chunk) => {
                out.push(2);
                put_vote(&chunk.vote, &mut out);
                put_meta(&chunk.meta, &mut out);
                chunk.offset.put(&mut out);
                chunk.done.put(&mut out);
                (chunk.data.len() as u64).put(&mut out);
                out.extend_from_slice(&chunk.data);
            }
            RequestBody::Propose(proposed) => {
                out.push(3);
                proposed.put(&mut out);
            }
            RequestBody::ReadIndex => out.push(4),
            RequestBody::Join { volume, address, forwarded } => {
                out.push(5);
                volume.put(&mut out);
                address.put(&mut out);
                forwarded.put(&mut out);
            }
        }
        out.into()
    }

    pub(crate) fn decode(mut input: Bytes) -> Result<Self, Malformed> {
        check_version(&mut input)?;
        let (from, to) = (Start::take(&mut input)?, Wire::take(&mut input)?);
        let body = match u8::take(&mut input)? {
            0 => RequestBody::Append(take_append(&mut input)?),
            1 => {
                let vote = take_vote(&mut input)?;
                RequestBody::Vote(VoteRequest::new(vote, take_optional_log_id(&mut input)?))
            }
            2 => RequestBody::Snapshot(InstallSnapshotRequest {
                vote: take_vote(&mut input)?,
                meta: take_meta(&mut input)?,
                offset: Wire::take(&mut input)?,
                done: Wire::take(&mut input)?,
                data: Bytes::take(&mut input)?.into(),
            }),
            3 => RequestBody::Propose(Wire::take(&mut input)?),
            4 => RequestBody::ReadIndex,
            5 => {
                let (volume, address) = (Wire::take(&mut input)?, String::take(&mut input)?);
                if address.is_empty() || address.len() > limits::ADDRESS_BYTES_MAX {
                    return Err(Malformed("an address that is none"));
                }
                RequestBody::Join { volume, address, forwarded: Wire::take(&mut input)? }
            }
            _ => return Err(Malformed("unknown request")),
        };
        if input.is_empty() { Ok(Self { from, to, body }) } else { Err(Malformed("bytes left over")) }
    }
}

impl Reply {
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        self.from.put(&mut out);
        match &self.body {
            ReplyBody::Append(append) => {
                out.push(0);
                match append {
                    AppendEntriesResponse::Success => out.push(0),
                    AppendEntriesResponse::PartialSuccess(last) => {
                        out.push(1);
                        put_optional_log_id(last.as_ref(), &mut out);
                    }
                    AppendEntriesResponse::Conflict => out.push(2),
                    AppendEntriesResponse::HigherVote(vote) => {
                        out.push(3);
                        put_vote(vote, &mut out);
                    }
                }
            }
            ReplyBody::Vote(reply) => {
                out.push(1);
                put_vote(&reply.vote, &mut out);
                reply.vote_granted.put(&mut out);
                put_optional_log_id(reply.last_log_id.as_ref(), &mut out);
            }
            ReplyBody::Snapshot(vote) => {
                out.push(2);
                put_vote(vote, &mut out);
            }
            ReplyBody::SnapshotMismatch => out.push(3),
            ReplyBody::Committed => out.push(4),
            ReplyBody::NotLeader(leader) => {
                out.push(5);
                leader.put(&mut out);
            }
            ReplyBody::Unknown => out.push(6),
            ReplyBody::ReadIndex(index) => {
                out.push(7);
                index.put(&mut out);
            }
            ReplyBody::Joined => out.push(8),
            ReplyBody::Busy => out.push(9),
            ReplyBody::Superseded => out.push(10),
            ReplyBody::Gone => out.push(11),
            ReplyBody::Malformed => out.push(12),
        }
        out.into()
    }

    pub(crate) fn decode(mut input: Bytes) -> Result<Self, Malformed> {
        check_version(&mut input)?;
        let from = Start::take(&mut input)?;
        let body = match u8::take(&mut input)? {
            0 => ReplyBody::Append(match u8::take(&mut input)? {
                0 => AppendEntriesResponse::Success,
                1 => AppendEntriesResponse::PartialSuccess(take_optional_log_id(&mut input)?),
                2 => AppendEntriesResponse::Conflict,
                3 => AppendEntriesResponse::HigherVote(take_vote(&mut input)?),
                _ => return Err(Malformed("unknown answer")),
            }),
            1 => {
                let (vote, granted) = (take_vote(&mut input)?, bool::take(&mut input)?);
                ReplyBody::Vote(VoteResponse::new(vote, take_optional_log_id(&mut input)?, granted))
            }
            2 => ReplyBody::Snapshot(take_vote(&mut input)?),
            3 => ReplyBody::SnapshotMismatch,
            4 => ReplyBody::Committed,
            5 => ReplyBody::NotLeader(Wire::take(&mut input)?),
            6 => ReplyBody::Unknown,
            7 => ReplyBody::ReadIndex(Wire::take(&mut input)?),
            8 => ReplyBody::Joined,
            9 => ReplyBody::Busy,
            10 => ReplyBody::Superseded,
            11 => ReplyBody::Gone,
            12 => ReplyBody::Malformed,
            _ => return Err(Malformed("unknown answer")),
        };
        if input.is_empty() { Ok(Self { from, body }) } else { Err(Malformed("bytes left over")) }
    }
}

fn check_version(input: &mut Bytes) -> Result<(), Malformed> {
    if u8::take(input)? == VERSION { Ok(()) } else { Err(Malformed("unknown version")) }
}

/// An entry as the log has it, without its time, which is each voter's own.
fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    let raw = to_raw(entry, LogTime(0));
    raw.position.put(out);
    raw.epoch.put(out);
    out.push(raw.kind as u8);
    raw.attributes.put(out);
    raw.body.put(out);
}

fn take_entry(input: &mut Bytes) -> Result<Entry, Malformed> {
    let (position, epoch) = (Position::take(input)?, Epoch::take(input)?);
    let kind = pondage_model::EntryKind::from_number(u8::take(input)?).ok_or(Malformed("unknown kind"))?;
    from_raw(pondage_model::RawEntry {
        position,
        epoch,
        stream: pondage_model::StreamId::ZERO,
        log_time: LogTime(0),
        kind,
        base_offset: pondage_model::Offset::ZERO,
        count: 0,
        attributes: Wire::take(input)?,
        body: Wire::take(input)?,
    })
}

fn take_append(input: &mut Bytes) -> Result<AppendEntriesRequest<Types>, Malformed> {
    let vote = take_vote(input)?;
    let (prev_log_id, leader_commit) = (take_optional_log_id(input)?, take_optional_log_id(input)?);
    let count = u64::take(input)?;
    let mut entries = Vec::new();
    for _ in 0..count {
        entries.push(take_entry(input)?);
    }
    let append = AppendEntriesRequest { vote, prev_log_id, entries, leader_commit };
    if follows(&append) { Ok(append) } else { Err(Malformed("entries that do not follow each other")) }
}

/// Whether the entries follow each other and what they are to be appended to, and are of no later term than their
/// sender's. Anything else came from a log that changed under its reader, or from a reader that lost its place.
pub(crate) fn follows(append: &AppendEntriesRequest<Types>) -> bool {
    let mut before: Option<LogId> = append.prev_log_id;
    append.entries.iter().all(|entry| {
        let next = before.map_or(0, |id| id.index.saturating_add(1));
        let term = before.map_or(0, |id| id.leader_id.term);
        let id = entry.log_id;
        before = Some(id);
        id.index == next && id.leader_id.term >= term && id.leader_id.term <= append.vote.leader_id.term
    })
}
