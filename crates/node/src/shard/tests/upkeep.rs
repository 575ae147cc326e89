//! What time and the disk ask of a shard: wakes, retention, checkpoints, room.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use pondage_model::{Body, Entry, LogTime, Position, entry::CheckpointPage, limits, settings::TopicSettings};
use pondage_storage::log::SegmentInfo;

use super::*;

fn topic() -> StreamSettings {
    StreamSettings::Topic(TopicSettings { retention_millis: Some(1_000), ..TopicSettings::default() })
}

fn segment(first: u64, end: u64, sealed: bool, ends: &[(StreamId, u64)]) -> SegmentInfo {
    SegmentInfo {
        first: Position(first),
        end: Position(end),
        bytes: 64 << 20,
        last_log_time: LogTime(0),
        sealed,
        stream_ends: ends.iter().map(|(stream, end)| (*stream, Offset(*end))).collect(),
    }
}

fn tell(rig: &mut Rig, segments: &[SegmentInfo]) {
    rig.step(ShardEvent::Segments(segments.to_vec()));
}

fn drops(rig: &mut Rig) -> Vec<u64> {
    let mut dropped = Vec::new();
    rig.said.retain(|effect| {
        if let ShardEffect::DropSegments(below) = effect {
            dropped.push(below.0);
        }
        !matches!(effect, ShardEffect::DropSegments(_))
    });
    dropped
}

fn start(rig: &Rig) -> Option<u64> {
    Some(rig.shard.committed()?.stream(STREAM)?.start().0)
}

#[test]
fn a_sync_that_takes_long_is_waited_for_and_not_asked_after() {
    let mut rig = with_queue();
    rig.ask(1, attach(10));
    rig.ask(2, publish());
    rig.sync();
    assert_eq!(rig.grants().len(), 1);
    rig.ask(3, publish());
    rig.wakes();
    for millis in [1_500, 5_000, 30_000] {
        rig.millis = millis;
        rig.step(ShardEvent::Wake);
        let late: Vec<_> = rig.wakes().into_iter().filter(|at| *at <= millis).collect();
        assert_eq!(late, [0; 0], "a wake that is past comes at once, again and again");
    }
    rig.sync();
    assert!(rig.written.is_some(), "and then the lease is logged");
}

#[test]
fn retention_forgets_whole_old_segments_of_each_topic() {
    let mut rig = with_stream(topic(), None);
    for id in 1..=5 {
        rig.ask(id, publish());
    }
    rig.sync_all();
    rig.millis = 10_000;
    let segments = [
        segment(0, 3, true, &[(STREAM, 2)]),
        segment(3, 4, true, &[(StreamId(99), 7)]),
        segment(4, 5, true, &[(STREAM, 3)]),
        segment(5, 7, false, &[(STREAM, 5)]),
    ];
    tell(&mut rig, &segments);
    rig.sync_all();
    assert_eq!(start(&rig), Some(3), "what lies in the segment that is still written stays");
}

#[test]
fn retention_by_size_counts_what_lies_behind() {
    let settings = TopicSettings {
        retention_millis: None,
        retention_bytes: Some(100 << 20),
        ..TopicSettings::default()
    };
    let mut rig = with_stream(StreamSettings::Topic(settings), None);
    for id in 1..=5 {
        rig.ask(id, publish());
    }
    rig.sync_all();
    let segments: Vec<_> =
        (0..5).map(|index| segment(index, index + 1, index < 4, &[(STREAM, index + 1)])).collect();
    tell(&mut rig, &segments);
    rig.sync_all();
    assert_eq!(start(&rig), Some(3), "two segments of 64 MiB are the least that holds 100 MiB");
}

#[test]
fn retention_leaves_a_topic_alone_that_is_being_deleted() {
    let mut rig = with_stream(topic(), None);
    rig.ask(1, publish());
    rig.sync_all();
    rig.close(2);
    assert!(rig.reply(2).is_none(), "not committed yet");
    rig.millis = 10_000;
    tell(&mut rig, &[segment(0, 3, true, &[(STREAM, 1)]), segment(3, 4, false, &[])]);
    rig.sync_all();
    assert!(matches!(rig.reply(2), Some(ShardReply::Ensured)));
}

#[test]
fn an_idle_shard_writes_one_checkpoint_and_no_more() {
    let mut rig = with_queue();
    let big = {
        let value = vec![0; 900 << 10];
        let mut builder = BatchBuilder::new(Compression::None);
        builder
            .push(&RecordDraft { value: Some(&value), ..RecordDraft::default() })
            .expect("below the limit");
        builder.build().expect("below the limit")
    };
    let segments = [segment(0, 20, false, &[(STREAM, 5)])];
    for id in 1..=5 {
        tell(&mut rig, &segments);
        assert!(rig.written.is_none(), "too little for a checkpoint");
        let mut request = publish();
        if let delivery::Request::Publish { batch, .. } = &mut request {
            *batch = big.clone();
        }
        rig.ask(id, request);
        rig.sync_all();
    }
    tell(&mut rig, &segments);
    assert!(rig.written.is_some(), "4 MiB make a restart slow");
    tell(&mut rig, &segments);
    rig.sync_all();
    for _ in 0..3 {
        tell(&mut rig, &segments);
        assert!(rig.written.is_none(), "nothing came since");
    }
}

#[test]
fn what_is_done_with_makes_room_once_a_checkpoint_holds_the_rest() {
    let mut rig = with_queue();
    let segments = [segment(0, 2, true, &[]), segment(2, 3, false, &[])];
    tell(&mut rig, &segments);
    assert_eq!(drops(&mut rig), [0; 0], "the queue's begin is in there");
    rig.sync_all();
    tell(&mut rig, &segments);
    assert_eq!(drops(&mut rig), [2]);
    tell(&mut rig, &segments);
    assert_eq!(drops(&mut rig), [0; 0], "once is enough");
}

#[test]
fn a_checkpoint_that_a_crash_cut_off_does_not_keep_the_next_from_being_written() {
    let disk = volume();
    let mut rig = serving(&disk, 1);
    let page = CheckpointPage { index: 0, total: 2, bytes: Bytes::from_static(b"half") };
    let entry = Entry {
        position: rig.writer.end(),
        epoch: Epoch(1),
        stream: StreamId::ZERO,
        log_time: LogTime(0),
        body: Body::CheckpointPage(page),
    };
    let written = rig.writer.write(&[entry.encode()]).expect("no faults");
    drop(rig.writer.sync(written).expect("no faults"));
    drop(rig);
    let mut rig = serving(&disk, 2);
    tell(&mut rig, &[segment(0, 2, true, &[]), segment(2, 3, false, &[])]);
    assert!(rig.written.is_some(), "a checkpoint that makes room");
}

#[test]
fn requests_wait_while_as_much_waits_for_the_disk_as_one_batch_may_carry() {
    let mut rig = with_queue();
    rig.ask(1, publish());
    assert!(rig.written.is_some(), "from now on everything waits");
    let consumer = |id| delivery::Request::Attach {
        stream: STREAM,
        consumer: ConsumerId(id),
        credit: 1,
        lease_millis: None,
        once: false,
    };
    let mut asked = 0;
    while !rig.shard.is_congested() {
        asked += 1;
        rig.ask(1 + asked, consumer(asked));
        assert!(asked < 1_000_000, "answers are held without bound");
    }
    rig.sync_all();
    assert!(!rig.shard.is_congested());
    assert!(asked * 64 <= limits::SYNC_BATCH_BYTES_MAX as u64);
}

#[test]
fn cursors_of_groups_that_the_catalog_does_not_know_are_forgotten_after_a_start() {
    let mut rig = with_stream(topic(), None);
    let name = |text: &str| Name::new(text).expect("valid");
    for (id, group) in [(1, "kept"), (2, "gone")] {
        let claim =
            delivery::Request::Claim { stream: STREAM, group: name(group), start: Offset(0), owner: None };
        rig.ask(id, claim);
    }
    rig.sync_all();
    let open = Open { name: name("orders"), partition: 0, settings: topic() };
    let streams = vec![Ensure {
        stream: STREAM,
        open: Some(open),
        begin: None,
        dead_letter: None,
        dropped_groups: vec![],
    }];
    let complete = Some(Arc::new(BTreeSet::from([name("kept"), name("elsewhere")])));
    rig.request(3, ShardRequest::Ensure { streams, complete });
    rig.sync_all();
    let committed = rig.shard.committed().expect("it leads");
    let topic = committed.stream(STREAM).and_then(pondage_delivery::Stream::topic).expect("it is open");
    let groups: Vec<_> = topic.groups().map(|(group, _)| group.to_string()).collect();
    assert_eq!(groups, ["kept"]);
}
