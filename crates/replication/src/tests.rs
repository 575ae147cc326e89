use pondage_model::{Body, Epoch, LogTime, Position, ShardId, StreamId, entry::CheckpointPage, limits};

use crate::{Effect, Input, Replica};

fn recovered() -> Replica {
    Replica::recovered(ShardId(1), Position(5), Epoch(2))
}

fn step(replica: &mut Replica, input: Input) -> Vec<Effect> {
    let mut effects = Vec::new();
    replica.step(LogTime(0), input, &mut effects);
    effects
}

fn written(effects: &[Effect]) -> Vec<Position> {
    effects
        .iter()
        .flat_map(|effect| match effect {
            Effect::Write(entries) => entries.iter().map(|entry| entry.position).collect(),
            _ => Vec::new(),
        })
        .collect()
}

#[test]
fn a_leader_serves_only_after_an_entry_of_its_own_epoch_is_committed() {
    let mut replica = recovered();
    assert!(replica.check_leader().is_err());
    assert_eq!(written(&step(&mut replica, Input::Lead(Epoch(3)))), [Position(5)]);
    assert!(!replica.is_serving());
    assert_eq!(
        step(&mut replica, Input::Durable(Position(6))),
        [Effect::Committed(Position(6)), Effect::Serving(Epoch(3))]
    );
    assert!(replica.is_serving());
}

#[test]
fn the_next_batch_closes_when_the_sync_before_it_returned() {
    let mut replica = recovered();
    step(&mut replica, Input::Lead(Epoch(3)));
    for _ in 0..3 {
        replica.append(LogTime(1), StreamId(1), Body::Close);
    }
    let mut effects = Vec::new();
    replica.flush(&mut effects);
    assert_eq!(effects, [], "one batch is being written");
    step(&mut replica, Input::Durable(Position(6)));
    replica.flush(&mut effects);
    assert_eq!(written(&effects), [Position(6), Position(7), Position(8)]);
    assert_eq!(replica.high_watermark(), Position(6), "written is not committed");
}

#[test]
fn a_batch_holds_what_one_sync_may_carry_and_the_rest_goes_with_the_next() {
    let page = |bytes: usize| {
        let bytes = vec![0; bytes].into();
        Body::CheckpointPage(CheckpointPage { index: 0, total: 1, bytes })
    };
    let most = limits::SYNC_BATCH_BYTES_MAX;
    let mut replica = recovered();
    step(&mut replica, Input::Lead(Epoch(3)));
    for bytes in [most / 2, most / 4, most / 2, 2 * most, 1] {
        replica.append(LogTime(1), StreamId::ZERO, page(bytes));
    }
    let mut position = Position(6);
    for expected in [vec![6, 7], vec![8], vec![9], vec![10], vec![]] {
        step(&mut replica, Input::Durable(position));
        assert_eq!(replica.high_watermark(), position, "nothing of the next batch");
        let mut effects = Vec::new();
        replica.flush(&mut effects);
        let expected: Vec<_> = expected.into_iter().map(Position).collect();
        assert_eq!(written(&effects), expected);
        position = expected.last().map_or(position, |last| last.next());
    }
}

#[test]
fn after_a_fault_nothing_is_written_or_committed() {
    let mut replica = recovered();
    step(&mut replica, Input::Lead(Epoch(3)));
    step(&mut replica, Input::Fault);
    assert_eq!(step(&mut replica, Input::Durable(Position(6))), []);
    assert_eq!(step(&mut replica, Input::Lead(Epoch(4))), []);
    let mut effects = Vec::new();
    replica.flush(&mut effects);
    assert_eq!(effects, []);
    assert!(replica.check_leader().is_err());
}

#[test]
#[should_panic(expected = "epoch")]
fn an_epoch_never_comes_twice() {
    let mut replica = recovered();
    step(&mut replica, Input::Lead(Epoch(2)));
}
