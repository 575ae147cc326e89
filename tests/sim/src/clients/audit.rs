//! The auditor: once faults have ended and everything is published, asks every queue for its figures until nothing is left.

use pondage_node::shard::{ShardReply, ShardRequest};

use super::{ClientId, DEAD, LATER, SCRATCH, SHARED, WORK, place};
use crate::world::World;

#[derive(Debug, Default)]
pub(super) struct Audit {
    /// How many queues in a row had nothing left.
    empty: usize,
    waiting: bool,
}

/// The queues, and what of the shared group has consumers.
const QUEUES: [(&str, usize); 6] = [(WORK, 0), (LATER, 0), (SCRATCH, 0), (SHARED, 0), (SHARED, 1), (DEAD, 0)];
/// Rounds over all queues that must find nothing: a message may be between two of them.
const ROUNDS: usize = 3;

impl Audit {
    pub(super) fn act(&mut self, world: &mut World, id: ClientId, written: bool) {
        if self.waiting || self.is_quiet() {
            return;
        }
        let (target, partition) = QUEUES[self.empty % QUEUES.len()];
        let found = place(world, target, partition).filter(|_| written && world.is_up());
        let Some((stream, shard)) = found else {
            return world.plan_client(500_000, id);
        };
        self.waiting = world.request(id, shard, ShardRequest::Stats(Some(vec![stream])));
    }

    pub(super) fn answer(&mut self, world: &mut World, id: ClientId, reply: &ShardReply) {
        self.waiting = false;
        let ShardReply::Stats(reports) = reply else { return world.plan_client(200_000, id) };
        let left = reports.first().map_or(1, |report| {
            let stats = &report.stats;
            stats.ready + stats.unacked + stats.scheduled + stats.moving
        });
        self.empty = if left == 0 { self.empty + 1 } else { 0 };
        world.trace.say(world.micros, format_args!("audit: {left} left"));
        world.plan_client(50_000, id);
    }

    pub(super) fn lost(&mut self) {
        self.waiting = false;
        self.empty = 0;
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.empty >= QUEUES.len() * ROUNDS
    }
}
