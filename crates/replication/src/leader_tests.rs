use pondage_model::{BrokerId, Epoch, Incarnation, Member, Position, ShardId};

use crate::{
    Assignment, Effect, EpochTable, FollowerStatus, Input, Message, Now, RecoveredLog, Replica, Timing,
};

const FOLLOWER: BrokerId = BrokerId(2);

fn member(broker: BrokerId) -> Member {
    Member { broker, incarnation: Incarnation(1) }
}

fn row(version: u64, replicas: &[BrokerId]) -> Input {
    let leader = BrokerId(1);
    Input::Assigned(Assignment {
        epoch: Epoch(1),
        version,
        leader: Some(leader),
        replicas: replicas.to_vec(),
        isr: vec![member(leader)],
        min_in_sync_replicas: 1,
    })
}

/// A leader alone in sync, and its clock.
struct Leading {
    replica: Replica,
    millis: u64,
}

impl Leading {
    fn step(&mut self, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        let now = Now { monotonic_millis: self.millis, ..Now::default() };
        self.replica.step(now, input, &mut effects);
        self.replica.flush(now, &mut effects);
        effects
    }

    /// The follower says something, and time passes.
    fn hears(&mut self, message: Message) -> Vec<Effect> {
        let mut effects = self.step(Input::Message { from: member(FOLLOWER), message });
        self.millis += 50;
        effects.extend(self.step(Input::Tick));
        effects
    }

    /// Says the hello that is due, and its number.
    fn greets(&mut self) -> u64 {
        self.millis += 10_000;
        let said = self.step(Input::Tick);
        let mut hellos = said.iter().filter_map(|effect| match effect {
            Effect::Send { to: FOLLOWER, message: Message::Hello { attempt, .. } } => Some(*attempt),
            _ => None,
        });
        hellos.next_back().expect("a hello")
    }
}

fn located(attempt: u64, durable: u64) -> Message {
    Message::Where {
        epoch: Epoch(1),
        attempt,
        last: Epoch(u64::from(durable > 0)),
        durable: Position(durable),
    }
}

fn acknowledged(attempt: u64, durable: u64) -> Message {
    let durable = Position(durable);
    Message::Ack { epoch: Epoch(1), attempt, durable, end: durable, round: 0, missing: false }
}

fn asks_for_follower(effects: &[Effect]) -> bool {
    effects.iter().any(
        |effect| matches!(effect, Effect::RequestIsr(request) if request.isr.contains(&member(FOLLOWER))),
    )
}

/// A follower that left the shard removed its log. What it said of that log may still be under way, from the same
/// start and in the same epoch, or may be remembered by a leader that learns of leaving and coming back at once.
#[test]
fn a_replica_that_left_and_came_back_is_asked_anew_what_it_holds() {
    let both = [BrokerId(1), FOLLOWER];
    for learns_of_both in [true, false] {
        let log = RecoveredLog { end: Position(0), epochs: EpochTable::default(), promised: Epoch(0) };
        let replica = Replica::recovered(ShardId(1), member(BrokerId(1)), Timing::default(), log);
        let mut leading = Leading { replica, millis: 0 };
        leading.step(row(1, &both));
        leading.step(Input::Durable(Position(1)));
        leading.hears(located(1, 0));
        assert!(asks_for_follower(&leading.hears(acknowledged(1, 1))), "it has caught up");

        if learns_of_both {
            leading.step(row(2, &both[..1]));
        }
        let mut later = leading.step(row(3, &both));
        later.extend(leading.hears(located(1, 1)));
        later.extend(leading.hears(acknowledged(1, 1)));
        let attempt = leading.greets();
        later.extend(leading.hears(located(1, 1)));
        later.extend(leading.hears(located(attempt, 0)));
        later.extend(leading.hears(acknowledged(1, 1)));
        later.extend(leading.hears(acknowledged(attempt, 0)));
        assert!(!asks_for_follower(&later), "its new log is empty (learns of both: {learns_of_both})");
        assert!(asks_for_follower(&leading.hears(acknowledged(attempt, 1))), "it has caught up again");
    }
}

/// The figures of one follower, from the first hello until it is in sync and has everything.
#[test]
fn a_leader_tells_what_its_followers_hold() {
    let log = RecoveredLog { end: Position(0), epochs: EpochTable::default(), promised: Epoch(0) };
    let replica = Replica::recovered(ShardId(1), member(BrokerId(1)), Timing::default(), log);
    let mut leading = Leading { replica, millis: 0 };
    assert_eq!(leading.replica.followers().count(), 0, "it does not lead yet");
    let check = |leading: &Leading, durable: Option<u64>, is_pushing: bool, in_sync: bool| {
        let told: Vec<_> = leading.replica.followers().collect();
        let [FollowerStatus { broker, durable: held, under_way_bytes, in_sync: counted }] = told[..] else {
            panic!("one follower: {told:?}");
        };
        let expected = (FOLLOWER, durable.map(Position), is_pushing, in_sync);
        assert_eq!((broker, held, under_way_bytes > 0, counted), expected);
    };

    leading.step(row(1, &[BrokerId(1), FOLLOWER]));
    leading.step(Input::Durable(Position(1)));
    leading.hears(located(1, 0));
    check(&leading, None, false, false);
    leading.hears(acknowledged(1, 0));
    check(&leading, Some(0), true, false);
    leading.hears(acknowledged(1, 1));
    check(&leading, Some(1), false, false);
    let Input::Assigned(mut granted) = row(2, &[BrokerId(1), FOLLOWER]) else { unreachable!() };
    granted.isr.push(member(FOLLOWER));
    leading.step(Input::Assigned(granted));
    check(&leading, Some(1), false, true);

    assert_eq!(leading.replica.handing_over(), None);
    leading.step(Input::HandOver(FOLLOWER));
    assert_eq!(leading.replica.handing_over(), Some(FOLLOWER));
    leading.step(Input::KeepLeading);
    assert_eq!(leading.replica.handing_over(), None);
}
