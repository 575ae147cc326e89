//! A shard behind a leader, and on its way to lead.

use pondage_delivery::ShardState;
use pondage_model::{Body, Entry, LogTime, Position};
use pondage_replication::Message;

use super::*;

const OTHER: Member = Member { broker: BrokerId(2), incarnation: Incarnation(1) };

fn entry(position: u64, epoch: u64, stream: StreamId, body: Body) -> Entry {
    Entry { position: Position(position), epoch: Epoch(epoch), stream, log_time: LogTime(0), body }
}

/// A log with an open stream and, behind it, a complete checkpoint that nobody ever committed.
fn with_uncommitted_checkpoint() -> (HostileDisk, Vec<Entry>) {
    let settings = StreamSettings::Queue(QueueSettings::default());
    let open = Open { name: Name::new("orders").expect("valid"), partition: 0, settings };
    let mut entries =
        vec![entry(0, 1, StreamId::ZERO, Body::EpochStart), entry(1, 1, STREAM, Body::Open(open))];
    let mut state = ShardState::default();
    for entry in &entries {
        state.apply(entry).expect("sound");
    }
    for (page, position) in state.checkpoint().into_iter().zip(2..) {
        entries.push(entry(position, 1, StreamId::ZERO, Body::CheckpointPage(page)));
    }
    let disk = volume();
    let mut rig = Rig::new(&disk);
    let raw: Vec<_> = entries.iter().map(Entry::encode).collect();
    let written = rig.writer.write(&raw).expect("no faults");
    drop(rig.writer.sync(written).expect("no faults"));
    (disk, entries)
}

fn row(epoch: u64, leader: Member, isr: &[Member]) -> Assignment {
    Assignment {
        epoch: Epoch(epoch),
        version: epoch,
        leader: Some(leader.broker),
        replicas: vec![ME.broker, OTHER.broker],
        isr: isr.to_vec(),
        min_in_sync_replicas: 1,
    }
}

#[test]
fn a_checkpoint_that_is_cut_before_it_was_committed_is_not_waited_for() {
    let (disk, entries) = with_uncommitted_checkpoint();
    assert!(entries.len() > 2, "the checkpoint has a page");
    let mut rig = Rig::new(&disk);
    rig.step(ShardEvent::Assigned(row(2, OTHER, &[ME, OTHER])));
    let from_leader = |message| ShardEvent::Peer { from: OTHER, message };
    rig.step(from_leader(Message::Hello { epoch: Epoch(2), attempt: 1 }));
    // The leader never had the checkpoint.
    let (last, end) = (Epoch(1), Position(2));
    rig.step(from_leader(Message::Align { epoch: Epoch(2), attempt: 1, last, of: last, end }));
    assert_eq!(rig.shard.replica().end(), end);
    rig.step(ShardEvent::Assigned(row(3, ME, &[ME])));
    rig.sync_all();
    assert!(rig.shard.is_serving(), "it folds the log from its start: {:?}", rig.said);
    let state = rig.shard.committed().expect("it serves");
    assert!(state.stream(STREAM).is_some(), "what the checkpoint stood for is there");
}
