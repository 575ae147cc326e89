use pondage_delivery::{self as delivery, ConsumerId, Verdict};
use pondage_model::{
    BrokerId, Epoch, Incarnation, Lease, Member, Name, Offset, Refusal, ShardId, StreamId,
    entry::Open,
    record::{BatchBuilder, Compression, RecordDraft},
    settings::{QueueSettings, StreamSettings},
};
use pondage_replication::{Assignment, Timing};
use pondage_storage::{Faults, HostileDisk, LogOptions, LogReader, LogWriter, Written};

mod dead_letters;
mod following;
mod hand_over;
mod in_doubt;
mod leaving;
mod upkeep;

use super::{Ensure, RequestId, Shard, ShardEffect, ShardEvent, ShardReply, ShardRequest};
use crate::{
    Now,
    boot::{Fresh, OpenedShard, boot, open_shard},
};

const STREAM: StreamId = StreamId(7);

const ME: Member = Member { broker: BrokerId(1), incarnation: Incarnation(1) };

/// A shard and its log, whose syncs happen when a test says so.
struct Rig {
    shard: Shard,
    writer: LogWriter<HostileDisk>,
    reader: LogReader<HostileDisk>,
    written: Option<Written>,
    millis: u64,
    said: Vec<ShardEffect>,
}

impl Rig {
    fn new(disk: &HostileDisk) -> Self {
        Self::of(disk, ME)
    }

    fn of(disk: &HostileDisk, me: Member) -> Self {
        let options = LogOptions::default();
        let OpenedShard { shard, writer, reader } =
            open_shard(disk, &options, ShardId(1), me, Epoch::ZERO, Timing::default(), Now::default())
                .expect("a disk without faults");
        Self { shard, writer, reader, written: None, millis: 0, said: Vec::new() }
    }

    fn step(&mut self, event: ShardEvent) {
        let mut effects = Vec::new();
        let now = Now { monotonic_millis: self.millis, wall_millis: self.millis as i64 };
        self.shard.step(now, event, &mut effects).expect("a sound log");
        for effect in effects {
            match effect {
                ShardEffect::Write(batch) => {
                    assert!(self.written.is_none(), "one batch at a time");
                    self.written = Some(self.writer.write(&batch.entries).expect("no faults"));
                }
                ShardEffect::Replay { from } => {
                    // Few at a time, so that it takes more than one.
                    let entries = self.reader.read_from(from, 100).expect("no faults");
                    self.step(ShardEvent::Replayed(entries));
                }
                ShardEffect::FindCheckpoint { below } => {
                    let first = self.reader.replay_from(below);
                    self.step(ShardEvent::Checkpoint { below, first });
                }
                ShardEffect::Truncate(to) => {
                    let truncated = self.writer.truncate(to).expect("no faults");
                    self.step(ShardEvent::Truncated(truncated));
                }
                ShardEffect::Persist(epoch) => self.step(ShardEvent::Persisted(epoch)),
                other => self.said.push(other),
            }
        }
    }

    /// Ends the sync that is under way.
    fn sync(&mut self) {
        let written = self.written.take().expect("something was written");
        let synced = self.writer.sync(written).expect("no faults");
        self.step(ShardEvent::Synced(synced));
    }

    fn sync_all(&mut self) {
        while self.written.is_some() {
            self.sync();
        }
    }

    fn ask(&mut self, id: u64, request: delivery::Request) {
        self.request(id, ShardRequest::Delivery(request));
    }

    fn request(&mut self, id: u64, request: ShardRequest) {
        self.step(ShardEvent::Request { id: RequestId(id), request });
    }

    fn ensure(&mut self, id: u64, stream: Ensure) {
        self.request(id, ShardRequest::Ensure { streams: vec![stream], complete: None });
    }

    /// Closes the stream; nothing is synced yet.
    fn close(&mut self, id: u64) {
        let closed =
            Ensure { stream: STREAM, open: None, begin: None, dead_letter: None, dropped_groups: Vec::new() };
        self.ensure(id, closed);
    }

    /// When it asked to be woken, since the last question.
    fn wakes(&mut self) -> Vec<u64> {
        let mut wakes = Vec::new();
        self.said.retain(|effect| {
            if let ShardEffect::WakeAt(at) = effect {
                wakes.push(*at);
            }
            !matches!(effect, ShardEffect::WakeAt(_))
        });
        wakes
    }

    fn reply(&mut self, id: u64) -> Option<ShardReply> {
        let of = |effect: &ShardEffect| matches!(effect, ShardEffect::Reply { id: answered, .. } if answered.0 == id);
        let place = self.said.iter().position(of)?;
        match self.said.remove(place) {
            ShardEffect::Reply { reply, .. } => Some(reply),
            _ => None,
        }
    }

    fn grants(&mut self) -> Vec<(Offset, Lease)> {
        let mut found = Vec::new();
        self.said.retain(|effect| {
            let ShardEffect::Deliver { epoch, dispatch } = effect else { return true };
            for granted in &dispatch.grants {
                let lease = Lease { epoch: *epoch, attempt: granted.attempt };
                found.extend((0..u64::from(granted.count)).map(|index| (granted.first.plus(index), lease)));
            }
            false
        });
        found
    }
}

fn serving(disk: &HostileDisk, epoch: u64) -> Rig {
    let mut rig = Rig::new(disk);
    rig.step(ShardEvent::Assigned(Assignment::alone(ME, Epoch(epoch))));
    rig.sync_all();
    rig
}

fn with_queue() -> Rig {
    with_stream(StreamSettings::Queue(QueueSettings::default()), None)
}

fn with_stream(settings: StreamSettings, dead_letter: Option<(ShardId, StreamId)>) -> Rig {
    let disk = volume();
    let mut rig = serving(&disk, 1);
    let open = Open { name: Name::new("orders").expect("valid"), partition: 0, settings };
    rig.ensure(
        0,
        Ensure { stream: STREAM, open: Some(open), begin: None, dead_letter, dropped_groups: Vec::new() },
    );
    rig.sync_all();
    assert!(matches!(rig.reply(0), Some(ShardReply::Ensured)));
    rig
}

fn volume() -> HostileDisk {
    let disk = HostileDisk::new(1, Faults::default());
    let fresh = Fresh {
        cluster: pondage_model::Uuid([1; 16]),
        volume: pondage_model::Uuid([2; 16]),
        nonce: pondage_model::Uuid([3; 16]),
    };
    drop(boot(&disk, &LogOptions::default(), fresh, String::new()).expect("a new volume"));
    disk
}

fn publish() -> delivery::Request {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordDraft { value: Some(b"x"), ..RecordDraft::default() }).expect("small");
    delivery::Request::Publish {
        stream: STREAM,
        count: 1,
        batch: builder.build().expect("small"),
        producer: None,
        delay_millis: None,
        ttl_millis: None,
        moved: None,
    }
}

fn attach(credit: u32) -> delivery::Request {
    delivery::Request::Attach {
        stream: STREAM,
        consumer: ConsumerId(1),
        credit,
        lease_millis: None,
        once: false,
    }
}

#[test]
fn answers_and_grants_wait_for_the_sync() {
    let mut rig = with_queue();
    rig.ask(1, attach(10));
    rig.ask(2, publish());
    assert!(rig.reply(2).is_none(), "written is not durable");
    assert!(rig.grants().is_empty(), "and not to be seen");
    rig.sync();
    assert!(matches!(
        rig.reply(2),
        Some(ShardReply::Delivery(delivery::Reply::Published { base_offset: Offset(0), repeat: false }))
    ));
    assert_eq!(rig.grants().len(), 1);
}

#[test]
fn a_refusal_waits_for_what_it_reveals() {
    let mut rig = with_queue();
    rig.ask(1, attach(10));
    rig.ask(2, publish());
    rig.sync_all();
    let granted = rig.grants();
    let (offset, lease) = granted[0];
    let settle =
        |verdict| delivery::Request::Settle { stream: STREAM, items: vec![(offset, lease)], verdict };
    rig.ask(3, settle(Verdict::Accept));
    rig.ask(4, settle(Verdict::Release { delay_millis: None }));
    assert!(rig.reply(4).is_none(), "LEASE_LOST reveals the accept, which is not durable yet");
    rig.sync_all();
    assert!(matches!(rig.reply(3), Some(ShardReply::Delivery(delivery::Reply::Settled(results)))
        if results == [Ok(delivery::Settled::Done)]));
    assert!(matches!(rig.reply(4), Some(ShardReply::Delivery(delivery::Reply::Settled(results)))
        if matches!(results[..], [Err(Refusal::LeaseLost { .. })])));
}

#[test]
fn requests_that_come_during_a_sync_share_the_next_one() {
    let mut rig = with_queue();
    let before = rig.writer.counters().fsyncs;
    for id in 1..=64 {
        rig.ask(id, publish());
    }
    rig.sync_all();
    assert!((1..=64).all(|id| rig.reply(id).is_some()));
    assert_eq!(rig.writer.counters().fsyncs - before, 2, "the first alone, the other 63 together");
}

#[test]
fn a_failed_write_leaves_outcomes_unknown_and_refuses_what_follows() {
    let mut rig = with_queue();
    rig.ask(1, publish());
    rig.step(ShardEvent::WriteFailed);
    assert!(matches!(rig.reply(1), Some(ShardReply::Refused(Refusal::VolumeFenced { .. }))));
    rig.ask(2, publish());
    assert!(matches!(rig.reply(2), Some(ShardReply::Refused(Refusal::VolumeFenced { .. }))));
}

#[test]
fn grants_are_logged_with_the_next_batch_or_after_a_second() {
    let mut rig = with_queue();
    rig.ask(1, attach(10));
    rig.ask(2, publish());
    rig.sync_all();
    assert_eq!(rig.grants().len(), 1);
    assert!(rig.written.is_none(), "a grant alone forces no sync");
    rig.millis += 1_100;
    rig.step(ShardEvent::Wake);
    assert!(rig.written.is_some(), "but does not stay unlogged for long");
    rig.sync();
    let leased = rig
        .shard
        .committed()
        .and_then(|state| state.stream(STREAM))
        .expect("open")
        .stats(pondage_model::LogTime(rig.millis as i64));
    assert_eq!(leased.unacked, 1);
}
