//! How a broker ends: killed, without power, fenced, or stopped in order.

use pondage_model::{Refusal, ShardId};
use pondage_node::{
    coordinator::CoordinatorEvent,
    shard::{ShardEvent, ShardReply, ShardRequest},
};

use super::{Due, Waiter, World};
use crate::clients::Clients;

impl World {
    /// Plans the next end, of one kind or the other.
    pub(super) fn plan_end(&mut self) {
        let pause = self.chance.between(50_000, 4_000_000);
        let due = if self.chance.once_in(3) { Due::Stop } else { Due::Crash };
        self.plan(pause, due);
    }

    /// Power goes, or only the process dies.
    pub(super) fn crash(&mut self, clients: &mut Clients) {
        self.crashes += 1;
        let power = self.chance.once_in(2);
        self.trace.say(self.micros, format_args!("{}", if power { "power cut" } else { "kill" }));
        self.oracle.crashed();
        self.end(power, clients);
    }

    fn end(&mut self, power: bool, clients: &mut Clients) {
        self.running = None;
        if power {
            self.disk.crash();
        } else {
            self.disk.kill();
        }
        self.start += 1;
        clients.broker_lost(self);
        let pause = self.chance.between(1_000, 500_000);
        self.plan(pause, Due::Restart);
        if !self.is_healing() {
            self.plan_end();
        }
    }

    /// A write or sync failed: the broker says so and exits; the disk may have forgotten what it held.
    pub(super) fn fence(&mut self, reason: &str, shard: Option<ShardId>, clients: &mut Clients) {
        self.fenced += 1;
        self.trace.say(self.micros, format_args!("fenced: {reason}"));
        if let Some(shard) = shard {
            self.shard(shard, ShardEvent::WriteFailed, clients);
        } else {
            self.coordinator(CoordinatorEvent::WriteFailed, clients);
        }
        self.crash(clients);
    }

    /// The broker is asked to stop: its coordinator ends, its sessions end in order, then its leases are logged.
    pub(super) fn stop(&mut self, clients: &mut Clients) {
        if self.is_healing() {
            return;
        }
        let Some(up) = self.running.as_mut().filter(|up| up.ready && !up.stopping) else {
            return self.crash(clients);
        };
        up.stopping = true;
        self.trace.say(self.micros, format_args!("stops"));
        clients.broker_stops(self);
        let (pause, start) = (self.chance.between(100, 5_000), self.start);
        self.plan(pause, Due::Flush { start });
    }

    pub(super) fn flush(&mut self) {
        let shards: Vec<ShardId> =
            self.running.as_ref().map(|up| up.shards.keys().copied().collect()).unwrap_or_default();
        for shard in shards {
            self.ask(shard, ShardRequest::Flush, Waiter::Flushed);
        }
    }

    pub(super) fn flushed(&mut self, shard: ShardId, reply: &ShardReply, clients: &mut Clients) {
        match reply {
            ShardReply::Done => {
                let (pause, start) = (self.chance.between(0, 3_000), self.start);
                self.plan(pause, Due::EndShard { start, shard });
            }
            // One that had not come to serve has no leases.
            ShardReply::Refused(Refusal::NotLeader { .. }) => self.end_shard(shard, clients),
            _ => self.crash(clients),
        }
    }

    pub(super) fn end_shard(&mut self, shard: ShardId, clients: &mut Clients) {
        let Some(up) = self.running.as_mut() else { return };
        if up.shards.get(&shard).is_some_and(|(_, side)| side.written.is_some()) {
            let start = self.start;
            return self.plan(200, Due::EndShard { start, shard });
        }
        up.shards.remove(&shard);
        if !up.shards.is_empty() {
            return;
        }
        let kept = self.oracle.stopped_in_order();
        self.trace.say(self.micros, format_args!("stopped, {kept} leases hold"));
        self.stops += 1;
        self.kept += kept as u64;
        let power = self.chance.once_in(4);
        self.end(power, clients);
    }
}
