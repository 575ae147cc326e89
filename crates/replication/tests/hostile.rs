//! Messages come from the network, from peers of other versions too: whatever they say, no replica falls over, and none
//! holds more than it was sent.

mod cluster;

use cluster::{Host, now};
use pondage_model::{
    Body, BrokerId, Entry, Epoch, Incarnation, LogTime, Member, Position, RawEntry, ShardId, StreamId,
};
use pondage_replication::{Assignment, EpochTable, Input, Message, Push, RecoveredLog, Replica, Timing};

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Mostly something that could be meant, now and then an extreme.
    fn number(&mut self) -> u64 {
        match self.next() % 40 {
            0 => u64::MAX,
            1 => u64::MAX - 1,
            2 => 1 << 40,
            _ => self.next() % 14,
        }
    }

    fn epoch(&mut self) -> Epoch {
        match self.next() % 600 {
            0 => Epoch(self.number()),
            1..=5 => Epoch(6),
            _ => Epoch(5),
        }
    }

    fn position(&mut self) -> Position {
        Position(self.number())
    }

    fn entries(&mut self, from: u64) -> Vec<RawEntry> {
        let (mut position, mut epoch) = (from, 1 + self.next() % 5);
        let count = self.next() % 5;
        let mut entries = Vec::new();
        for _ in 0..count {
            let body = Body::EpochStart;
            let (at, of) = (Position(position), Epoch(epoch));
            entries.push(
                Entry { position: at, epoch: of, stream: StreamId(1), log_time: LogTime(0), body }.encode(),
            );
            position = match self.next() % 10 {
                0 => self.number(),
                1 => position.saturating_add(3),
                _ => position.saturating_add(1),
            };
            epoch = if self.next().is_multiple_of(8) { self.number() } else { epoch };
        }
        entries
    }

    fn push(&mut self) -> Push {
        let from = self.number();
        let entries = self.entries(from);
        let to = match entries.last() {
            Some(last) if !self.next().is_multiple_of(10) => Position(last.position.0.saturating_add(1)),
            _ => self.position(),
        };
        let epochs = (0..self.next() % 3).map(|_| (Epoch(self.number()), self.position())).collect();
        Push {
            epoch: self.epoch(),
            from: Position(from),
            to,
            before: Epoch(self.next() % 6),
            entries,
            epochs,
            high_watermark: self.position(),
            round: self.number(),
        }
    }

    fn message(&mut self) -> Message {
        let epoch = self.epoch();
        match self.next() % 13 {
            0 => Message::Hello { epoch, attempt: self.number() },
            1 | 2 => {
                let (attempt, last) = (self.number(), Epoch(self.number()));
                Message::Where { epoch, attempt, last, durable: self.position() }
            }
            3 | 4 => {
                let (attempt, last) = (self.number(), Epoch(self.number()));
                Message::Align { epoch, attempt, last, of: Epoch(self.number()), end: self.position() }
            }
            5..=7 => Message::Push(self.push()),
            8 | 9 => {
                let (durable, end, missing) =
                    (self.position(), self.position(), self.next().is_multiple_of(2));
                Message::Ack { epoch, attempt: self.number(), durable, end, round: self.number(), missing }
            }
            10 => Message::Leaving { epoch },
            11 => Message::Stale { epoch: if self.next().is_multiple_of(40) { epoch } else { Epoch(1) } },
            _ if !self.next().is_multiple_of(8) => Message::Stale { epoch: Epoch(2) },
            _ => Message::Behind { epoch, high_watermark: self.position() },
        }
    }
}

fn member(broker: u32) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation(1) }
}

/// A replica in epoch 5, leader or follower, on a log of ten entries of the epochs 1 and 3.
fn host(leads: bool) -> Host {
    let mut host = Host::new(BrokerId(1));
    for position in 0..10 {
        let epoch = if position < 4 { Epoch(1) } else { Epoch(3) };
        let (stream, log_time, body) = (StreamId(1), LogTime(0), Body::EpochStart);
        let entry = Entry { position: Position(position), epoch, stream, log_time, body }.encode();
        host.volume.write(&pondage_replication::Batch { entries: vec![entry], epochs: Vec::new() });
    }
    host.incarnation = Incarnation(1);
    let log = RecoveredLog {
        end: host.volume.end,
        epochs: EpochTable::new(host.volume.epochs.clone()),
        promised: if leads { Epoch(4) } else { Epoch(5) },
    };
    host.replica = Some(Replica::recovered(ShardId(1), member(1), Timing::default(), log));
    let row = Assignment {
        epoch: Epoch(5),
        version: 1,
        leader: Some(BrokerId(if leads { 1 } else { 2 })),
        replicas: vec![BrokerId(1), BrokerId(2), BrokerId(3)],
        isr: vec![member(1), member(2), member(3)],
        min_in_sync_replicas: 2,
    };
    host.step(now(0), Input::Assigned(row));
    host
}

#[test]
fn no_message_makes_a_replica_fall_over() {
    let (mut taken, mut cut, mut committed) = (0, 0, 0);
    for seed in 0..8_000 {
        let mut chance = Chance(seed);
        let mut host = host(seed % 3 == 0);
        let mut attempt = 0;
        for step in 0..40 {
            let mut message = chance.message();
            // What is drawn seldom fits: now and then make it, to get behind the first door.
            if let Some(replica) = &host.replica
                && !chance.next().is_multiple_of(6)
            {
                match &mut message {
                    Message::Hello { attempt: said, .. } => {
                        attempt = attempt.max(14) + 1;
                        *said = attempt;
                    }
                    Message::Align { attempt: said, last, of, end, .. } => {
                        (*said, *last) = (attempt, replica.epochs().last());
                        if chance.next().is_multiple_of(4) {
                            (*of, *end) = (*last, replica.end());
                        }
                    }
                    Message::Push(push) => {
                        let end = replica.end();
                        (push.from, push.before) = (end, replica.epochs().before(end));
                        push.entries = chance.entries(end.0);
                        push.to = push
                            .entries
                            .last()
                            .map_or(end, |last| Position(last.position.0.saturating_add(1)));
                        push.epochs.clear();
                        for entry in &mut push.entries {
                            entry.epoch = Epoch(5);
                        }
                    }
                    Message::Ack { durable, end, .. } => {
                        (*durable, *end) = (replica.durable(), replica.end());
                    }
                    _ => {}
                }
            }
            let from = Member {
                broker: BrokerId(if chance.next().is_multiple_of(20) { 3 } else { 2 }),
                incarnation: Incarnation(1 + chance.next() % 2),
            };
            let effects = host.step(now(step * 60), Input::Message { from, message });
            for effect in &effects {
                match effect {
                    pondage_replication::Effect::Write(_) => taken += 1,
                    pondage_replication::Effect::Cut(_) => cut += 1,
                    pondage_replication::Effect::Committed(_) => committed += 1,
                    _ => {}
                }
            }
            if chance.next().is_multiple_of(3)
                && let Some(input) = host.operated()
            {
                host.step(now(step * 60), input);
            }
            if chance.next().is_multiple_of(4) {
                host.step(now(step * 60 + 50), Input::Tick);
            }
            if chance.next().is_multiple_of(2)
                && let Some(input) = host.promised()
            {
                host.step(now(step * 60), input);
            }
        }
    }
    assert!(taken > 1_000 && cut > 100 && committed > 100, "{taken} taken, {cut} cut, {committed} committed");
}
