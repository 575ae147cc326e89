use pondage_model::{
    Body, BrokerId, Entry, Epoch, Incarnation, LogTime, Member, Position, RawEntry, ShardId, StreamId,
};

use crate::{EpochTable, Input, Message, Now, Push, RecoveredLog, Replica, Timing};

fn entry(epoch: u64, position: u64) -> RawEntry {
    let (epoch, position) = (Epoch(epoch), Position(position));
    Entry { position, epoch, stream: StreamId(1), log_time: LogTime(0), body: Body::EpochStart }.encode()
}

fn starts(all: &[(u64, u64)]) -> Vec<(Epoch, Position)> {
    all.iter().map(|(epoch, start)| (Epoch(*epoch), Position(*start))).collect()
}

/// A follower in epoch 5 whose log is 0..10: epoch 1 from 0, epoch 3 from 4.
fn follower() -> Replica {
    let log = RecoveredLog {
        end: Position(10),
        epochs: EpochTable::new(starts(&[(1, 0), (3, 4)])),
        promised: Epoch(5),
    };
    let mut replica = Replica::recovered(ShardId(1), member(2), Timing::default(), log);
    for message in [
        Message::Hello { epoch: Epoch(5), attempt: 1 },
        Message::Align { epoch: Epoch(5), attempt: 1, last: Epoch(3), of: Epoch(3), end: Position(20) },
    ] {
        replica.step(Now::default(), Input::Message { from: member(1), message }, &mut Vec::new());
    }
    replica
}

fn member(broker: u32) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation(1) }
}

/// A push: from, to, the epoch before, entries, starts of epochs, high watermark.
type Row<'a> = (u64, u64, u64, &'a [(u64, u64)], &'a [(u64, u64)], u64);

fn pushed((from, to, before, entries, epochs, high_watermark): Row<'_>) -> (Replica, bool) {
    let mut replica = follower();
    let push = Push {
        epoch: Epoch(5),
        from: Position(from),
        to: Position(to),
        before: Epoch(before),
        entries: entries.iter().map(|(epoch, position)| entry(*epoch, *position)).collect(),
        epochs: starts(epochs),
        high_watermark: Position(high_watermark),
        round: 0,
    };
    let mut effects = Vec::new();
    let input = Input::Message { from: member(1), message: Message::Push(push) };
    replica.step(Now::default(), input, &mut effects);
    let refused = effects.iter().any(|effect| matches!(effect, crate::Effect::Report(_)));
    crate::invariants::check(&replica);
    (replica, refused)
}

#[test]
fn a_push_that_fits_is_taken() {
    type Taken<'a> = (Row<'a>, u64, &'a [(u64, u64)]);
    let rows: &[Taken<'_>] = &[
        ((10, 10, 3, &[], &[], 0), 10, &[(1, 0), (3, 4)]),
        ((10, 12, 3, &[(3, 10), (3, 11)], &[], 0), 12, &[(1, 0), (3, 4)]),
        ((10, 12, 3, &[(3, 10), (5, 11)], &[], 0), 12, &[(1, 0), (3, 4), (5, 11)]),
        // What is here already.
        ((8, 11, 3, &[(3, 8), (3, 9), (3, 10)], &[], 0), 11, &[(1, 0), (3, 4)]),
        ((0, 2, 0, &[(1, 0), (1, 1)], &[], 0), 10, &[(1, 0), (3, 4)]),
        // Holes in what is committed, with and without a start of an epoch.
        ((10, 15, 3, &[(3, 14)], &[], 14), 15, &[(1, 0), (3, 4)]),
        ((10, 15, 3, &[(4, 14)], &[(4, 12)], 14), 15, &[(1, 0), (3, 4), (4, 12)]),
        ((10, 15, 3, &[(5, 14)], &[(4, 12), (5, 14)], 14), 15, &[(1, 0), (3, 4), (4, 12), (5, 14)]),
        ((2, 15, 1, &[(1, 2), (4, 14)], &[(3, 4), (4, 12)], 14), 15, &[(1, 0), (3, 4), (4, 12)]),
    ];
    for (row, end, epochs) in rows {
        let (replica, refused) = pushed(*row);
        assert!(!refused, "{row:?}");
        assert_eq!(replica.end(), Position(*end), "{row:?}");
        assert_eq!(replica.epochs().starts(), starts(epochs), "{row:?}");
    }
}

#[test]
fn a_push_that_does_not_fit_changes_nothing() {
    let most = u64::MAX;
    let rows: &[(&str, Row<'_>)] = &[
        ("another epoch before it", (10, 11, 1, &[(3, 10)], &[], 0)),
        ("backwards", (10, 9, 3, &[], &[], 0)),
        ("to nowhere", (10, 12, 3, &[(3, 10)], &[], 0)),
        ("an entry before it", (10, 12, 3, &[(3, 9), (3, 11)], &[], 12)),
        ("an entry behind it", (10, 12, 3, &[(3, 10), (3, 12)], &[], 12)),
        ("the last position there is", (10, most, 3, &[(3, most)], &[], most)),
        ("an entry twice", (10, 12, 3, &[(3, 10), (3, 10), (3, 11)], &[], 0)),
        ("a hole in what is not committed", (10, 15, 3, &[(3, 14)], &[], 13)),
        ("an epoch that goes back", (10, 12, 3, &[(3, 10), (2, 11)], &[], 0)),
        ("an epoch above the leader's", (10, 11, 3, &[(6, 10)], &[], 0)),
        ("entries of another epoch where this log has some", (2, 12, 1, &[(1, 2), (1, 3), (1, 4)], &[], 0)),
        ("older entries behind newer ones", (2, 11, 1, &[(1, 10)], &[], 11)),
        ("a start before it", (10, 15, 3, &[(4, 14)], &[(4, 9)], 14)),
        ("a start behind it", (10, 15, 3, &[(3, 14)], &[(4, 15)], 14)),
        ("starts that go back", (10, 15, 3, &[(5, 14)], &[(4, 13), (5, 12)], 14)),
        ("starts of one epoch", (10, 15, 3, &[(4, 14)], &[(4, 12), (4, 13)], 14)),
        ("a start above the leader's", (10, 15, 3, &[(9, 14)], &[(9, 12)], 14)),
        ("a start that this log does not have", (2, 15, 1, &[(4, 14)], &[(2, 3), (4, 12)], 14)),
        ("a start without an entry", (10, 10, 3, &[], &[(4, 10)], 14)),
    ];
    for (name, row) in rows {
        let (replica, refused) = pushed(*row);
        assert!(refused, "{name}");
        assert_eq!(replica.end(), Position(10), "{name}");
        assert_eq!(replica.epochs().starts(), starts(&[(1, 0), (3, 4)]), "{name}");
    }
}

#[test]
fn a_follower_takes_no_more_than_waits_for_its_disk() {
    let mut replica = follower();
    let bytes = 1 << 20;
    let mut taken = 0;
    for position in 10..50 {
        let body = Body::Command(vec![0; bytes].into());
        let entry = Entry {
            position: Position(position),
            epoch: Epoch(5),
            stream: StreamId(1),
            log_time: LogTime(0),
            body,
        };
        let push = Push {
            epoch: Epoch(5),
            from: Position(position),
            to: Position(position + 1),
            before: if position == 10 { Epoch(3) } else { Epoch(5) },
            entries: vec![entry.encode()],
            epochs: Vec::new(),
            high_watermark: Position::ZERO,
            round: position,
        };
        let before = replica.end();
        let mut effects = Vec::new();
        let input = Input::Message { from: member(1), message: Message::Push(push) };
        replica.step(Now::default(), input, &mut effects);
        replica.flush(Now::default(), &mut effects);
        taken += u64::from(replica.end() > before);
    }
    assert!((9..12).contains(&taken), "a window, one push more and what is being written: {taken}");
    // The disk goes on: the leader hears that there is room and what is missing.
    let mut effects = Vec::new();
    replica.step(Now::default(), Input::Durable(Position(11)), &mut effects);
    replica.flush(Now::default(), &mut effects);
    let end = replica.end();
    replica.step(Now::default(), Input::Durable(end), &mut effects);
    let asks = effects.iter().any(|effect| {
        matches!(effect, crate::Effect::Send { message: Message::Ack { missing: true, end: said, .. }, .. } if *said == end)
    });
    assert!(asks, "{effects:?}");
}
