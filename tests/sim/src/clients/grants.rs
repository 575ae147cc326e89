//! Leases as a broker gives them: judged when it decides to speak of them, taken when they reach a consumer.

use std::collections::BTreeMap;

use pondage_model::{Entry, Epoch, Lease, LogTime, Offset, ShardId, entry::Granted};
use pondage_node::delivery::Dispatch;

use super::{consume, messages_in};
use crate::{oracle::Given, world::World};

/// The messages that a dispatch gives, with their leases.
pub(crate) fn messages(epoch: Epoch, dispatch: &Dispatch) -> Vec<(Offset, Lease)> {
    let each = dispatch.grants.iter().flat_map(|granted| {
        let lease = Lease { epoch, attempt: granted.attempt };
        (0..u64::from(granted.count)).map(move |index| (granted.first.plus(index), lease))
    });
    each.collect()
}

/// A broker gave leases; their messages were read from its log.
pub(crate) fn judge(
    world: &mut World,
    (shard, epoch): (ShardId, Epoch),
    dispatch: &Dispatch,
    granted: &Granted,
    entries: &[Entry],
) {
    let known: BTreeMap<_, _> = messages_in(world, dispatch.stream, entries);
    let lease = Lease { epoch, attempt: granted.attempt };
    let consumer = dispatch.consumer;
    let lasts_millis = consume::lease_millis(consumer) as i64;
    let decided = LogTime(granted.deadline.0 - lasts_millis);
    let slack_millis = if world.clocks_disagree() { u64::MAX } else { world.clock_spread_micros() / 1_000 };
    let given = Given { shard, lease, consumer, decided, deadline: granted.deadline, slack_millis };
    for index in 0..u64::from(granted.count) {
        let offset = granted.first.plus(index);
        let Some(message) = known.get(&offset) else {
            world.violate(format!("{:?} {offset:?} was granted and is not in the log", dispatch.stream));
            return;
        };
        world.trace.say(
            world.micros,
            format_args!("{consumer:?} granted {:?} {offset:?} {lease:?} = {message}", dispatch.stream),
        );
        let micros = world.micros;
        world.oracle.granted(*message, (dispatch.stream, offset), given, micros);
    }
}
