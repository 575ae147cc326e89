//! How a broker begins, and how it ends: killed, without power, fenced, or stopped in order.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use pondage_catalog::Catalog;
use pondage_model::{Member, Refusal, ShardId};
use pondage_node::{
    boot::{BootError, Booted, BootedMember, Fresh, Place, boot, boot_member, reformat},
    coordinator::{Coordinator, CoordinatorEvent, Rack},
    shard::{ShardEvent, ShardReply, ShardRequest},
};
use pondage_storage::{
    HostileDisk, Volume,
    promises::{self, Promises},
};

use super::{
    World,
    due::{Due, HostDue, Waiter},
    host::{Brain, HostId, Running, Side},
};
use crate::clients::Clients;

/// What a start finds on its disk.
type Booting = (Volume<HostileDisk>, Brain, Promises<HostileDisk>);

/// How long an orderly stop may take.
const STOP_MICROS_MAX: u64 = 5_000_000;

impl World {
    pub(super) fn restart(&mut self, host: HostId, clients: &mut Clients) {
        if self.hosts[host].running.is_some() {
            return;
        }
        self.hosts[host].start += 1;
        if self.faults.clock_jumps && self.chance.once_in(4) && !self.is_healing() {
            // The wall clock jumps by up to ten years either way.
            // A lone broker can't tell a jump ahead from a long time off: then log time leaps with it, sessions
            // grow old and delays end.
            self.hosts[host].clock.wall_offset_millis =
                self.chance.below(631_152_000_000) as i64 - 315_576_000_000;
            self.clock_jumps += 1;
            self.oracle.forget_times();
        }
        self.lose_disk(host);
        match self.boot(host) {
            Ok((volume, brain, promises)) => {
                let start = self.hosts[host].start;
                self.trace.say(self.micros, format_args!("host {host} start {start}"));
                self.hosts[host].running = Some(Running {
                    volume,
                    brain,
                    promises,
                    member: None,
                    shards: BTreeMap::new(),
                    removing: BTreeSet::new(),
                    routes: BTreeMap::new(),
                    groups: BTreeSet::new(),
                    waiters: BTreeMap::new(),
                    admin_waiters: HashMap::new(),
                    forwards: BTreeMap::new(),
                    ready: false,
                    asked_to_stop: false,
                    stopping: false,
                    decided: VecDeque::new(),
                    doing: false,
                });
                self.plan_host(50_000, host, HostDue::Tick);
                self.coordinator(host, CoordinatorEvent::Start, clients);
            }
            Err(error) => self.start_failed(host, &error.to_string(), clients),
        }
    }

    fn boot(&mut self, host: HostId) -> Result<Booting, BootError> {
        let fresh = self.fresh();
        let disk = self.hosts[host].disk.clone();
        let address = format!("host-{host}:0");
        if self.hosts.len() == 1 {
            let Booted { volume, coordinator, catalog_writer, catalog_reader, .. } =
                boot(&disk, &self.log_options(), fresh, address)?;
            let log = Box::new(Side::new(catalog_writer, catalog_reader));
            let promises = promises::open(disk)?;
            return Ok((volume, Brain::Lone { coordinator: Box::new(coordinator), log }, promises));
        }
        let replaces = self.hosts[host].replaces.filter(|_| !self.hosts[host].went_back);
        let place = Place { address, rack: Rack::Unsaid, replaces };
        let BootedMember { volume, identity, next_nonce, held, .. } = boot_member(&disk, fresh, place)?;
        let voter = self.consensus.join(host, self.hosts[host].start);
        let coordinator = Coordinator::member(identity, next_nonce, voter, Catalog::default(), held);
        Ok((volume, Brain::Member(Box::new(coordinator)), promises::open(disk)?))
    }

    fn fresh(&mut self) -> Fresh {
        Fresh { cluster: self.cluster, volume: self.chance.uuid(), nonce: self.chance.uuid() }
    }

    /// The volume is a copy's or a backup's: it is emptied and begins anew.
    pub(super) fn reformat(&mut self, host: HostId, clients: &mut Clients) {
        self.trace.say(self.micros, format_args!("host {host} empties its volume"));
        if self.losses == 0 {
            self.fatal = Some(format!("host {host} empties a volume that is no copy"));
        }
        let fresh = self.fresh();
        let disk = self.hosts[host].disk.clone();
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        match reformat(&disk, &mut up.volume, fresh) {
            Ok(()) => {
                self.forget_disk(host);
                self.hosts[host].went_back = false;
                self.end(host, false, clients);
            }
            Err(error) => self.fence(host, &error.to_string(), None, clients),
        }
    }

    /// A disk that shows errors may fail a start; it must never make one fail for good.
    pub(super) fn start_failed(&mut self, host: HostId, error: &str, clients: &mut Clients) {
        // One crash after the faults' end clears what they left.
        let quiet = self.is_healing() && self.micros > self.faults_until + 5_000_000;
        if self.hosts[host].disk.counters().faults == 0 || quiet {
            self.fatal = Some(format!("the broker of host {host} does not start: {error}"));
            return;
        }
        self.fenced += 1;
        self.trace.say(self.micros, format_args!("host {host}: start failed: {error}"));
        self.crash(host, clients);
    }

    /// Power goes, or only the process dies.
    pub(super) fn crash(&mut self, host: HostId, clients: &mut Clients) {
        if self.chance.once_in(2) {
            self.power_cut(host, clients);
        } else {
            self.crashes += 1;
            self.trace.say(self.micros, format_args!("host {host}: kill"));
            self.end(host, false, clients);
        }
    }

    pub(super) fn power_cut(&mut self, host: HostId, clients: &mut Clients) {
        self.crashes += 1;
        self.trace.say(self.micros, format_args!("host {host}: power cut"));
        self.end(host, true, clients);
    }

    fn end(&mut self, host: HostId, power: bool, clients: &mut Clients) {
        let member = self.hosts[host].running.as_ref().and_then(|up| up.member);
        let found = &mut self.hosts[host];
        found.running = None;
        found.stalled.clear();
        found.paused = false;
        found.start += 1;
        if power {
            found.disk.crash();
        } else {
            found.disk.kill();
        }
        if self.hosts.len() == 1 {
            self.host_lost(host, clients);
        } else {
            let pause = self.chance.between(0, if power { 3_000_000 } else { 5_000 });
            self.plan(pause, Due::HostLost(host));
            if let Some(member) = member.filter(|_| !power) {
                self.tell_gone(host, member);
            }
        }
        let longest = if self.is_healing() || self.chance.once_in(2) { 500_000 } else { 8_000_000 };
        let pause = self.chance.between(1_000, longest);
        self.plan(pause, Due::Restart(host));
    }

    /// A process that ends resets its connections, and its address refuses new ones.
    fn tell_gone(&mut self, host: HostId, member: Member) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            if self.network.both_ways(host, other) {
                let delay = self.network.delay(&mut self.chance);
                self.plan_host(delay, other, HostDue::PeerGone(member));
            }
        }
    }

    /// A write or sync failed: the broker says so and exits; the disk may have forgotten what it held.
    pub(super) fn fence(
        &mut self,
        host: HostId,
        reason: &str,
        shard: Option<ShardId>,
        clients: &mut Clients,
    ) {
        self.fenced += 1;
        self.trace.say(self.micros, format_args!("host {host} fenced: {reason}"));
        let start = self.hosts[host].start;
        if let Some(shard) = shard {
            self.shard(host, shard, ShardEvent::WriteFailed, clients);
        } else {
            self.coordinator(host, CoordinatorEvent::WriteFailed, clients);
        }
        if self.hosts[host].start == start {
            self.crash(host, clients);
        }
    }

    /// The broker is asked to stop: what it leads goes to others if there are any, its coordinator ends, its sessions
    /// end in order, then its leases are logged.
    pub(super) fn stop(&mut self, host: HostId, clients: &mut Clients) {
        let alone = self.hosts.len() == 1;
        let Some(up) = self.hosts[host].running.as_mut().filter(|up| up.ready && !up.asked_to_stop) else {
            return;
        };
        up.asked_to_stop = true;
        self.trace.say(self.micros, format_args!("host {host} stops"));
        if alone {
            let pause = self.chance.between(100, 5_000);
            self.plan_host(pause, host, HostDue::LastSessions);
        } else {
            // An orderly stop takes as long as it is given, and no longer.
            self.plan_host(STOP_MICROS_MAX, host, HostDue::LastSessions);
            self.coordinator(host, CoordinatorEvent::Stop, clients);
        }
    }

    /// Nothing is led here any more.
    pub(super) fn stopped(&mut self, host: HostId) {
        let pause = self.chance.between(100, 5_000);
        self.plan_host(pause, host, HostDue::LastSessions);
    }

    pub(super) fn last_sessions(&mut self, host: HostId, clients: &mut Clients) {
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        if std::mem::replace(&mut up.stopping, true) {
            return;
        }
        clients.broker_stops(self, host);
        let pause = self.chance.between(100, 5_000);
        self.plan_host(pause, host, HostDue::Flush);
    }

    pub(super) fn flush(&mut self, host: HostId) {
        let shards: Vec<ShardId> = self.hosts[host]
            .running
            .as_ref()
            .map(|up| up.shards.keys().copied().collect())
            .unwrap_or_default();
        for shard in shards {
            self.ask(host, shard, ShardRequest::Flush, Waiter::Flushed);
        }
    }

    pub(super) fn flushed(
        &mut self,
        host: HostId,
        shard: ShardId,
        reply: &ShardReply,
        clients: &mut Clients,
    ) {
        match reply {
            ShardReply::Done => {
                let epoch = self.hosts[host].side(shard).and_then(|side| side.serves);
                self.kept += self.oracle.flushed(shard, epoch.unwrap_or_default()) as u64;
                let pause = self.chance.between(0, 3_000);
                self.plan_host(pause, host, HostDue::EndShard(shard));
            }
            // One that had not come to serve has no leases.
            ShardReply::Refused(Refusal::NotLeader { .. }) => self.end_shard(host, shard, clients),
            _ => self.crash(host, clients),
        }
    }

    pub(super) fn end_shard(&mut self, host: HostId, shard: ShardId, clients: &mut Clients) {
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        if up.shards.get(&shard).is_some_and(|(_, side)| side.written.is_some()) {
            return self.plan_host(200, host, HostDue::EndShard(shard));
        }
        up.shards.remove(&shard);
        if !up.shards.is_empty() {
            return;
        }
        self.trace.say(self.micros, format_args!("host {host} stopped"));
        self.stops += 1;
        let power = self.chance.once_in(4);
        self.end(host, power, clients);
    }
}
