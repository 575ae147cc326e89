//! One that looks again: what was acknowledged in a topic, and what bytes were there, stays (L1, D1).

use super::{ClientId, PARTITIONS_MAX, TOPIC, messages_in, place};
use crate::world::World;

#[derive(Debug)]
pub(super) struct Again;

impl Again {
    pub(super) fn act(&mut self, world: &mut World, id: ClientId) {
        let pause = world.chance.between(50_000, 500_000);
        world.plan_client(pause, id);
        let partition = world.chance.below(PARTITIONS_MAX.into()) as usize;
        let Some((stream, shard)) = place(world, TOPIC, partition).filter(|_| world.is_up()) else { return };
        let mut chance = world.chance.clone();
        let found = world.oracle.any_acknowledged(stream, &mut chance);
        world.chance = chance;
        let Some((message, offset)) = found else { return };
        let Some(host) = world.truly_leads(shard) else { return };
        if world.start_of(host, shard, stream).is_none_or(|start| offset < start) {
            return;
        }
        let entries = world.read(host, shard, stream, offset);
        match messages_in(world, stream, &entries).get(&offset) {
            Some(there) => world.oracle.seen(*there, stream, offset),
            None => world.violate(format!("D1: message {message} at {stream:?} {offset:?} is gone")),
        }
    }
}
