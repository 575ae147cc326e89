//! The replicas of a host's broker: what the catalog assigns them, what they say to each other, where they stand.

use pondage_catalog::IsrChange;
use pondage_model::{BrokerId, Epoch, Member, Position, ShardId};
use pondage_node::{
    coordinator::{Assignment, CoordinatorEvent},
    shard::ShardEvent,
};
use pondage_replication::{self as replication, Finding, IsrRequest, Message};

use super::{
    World,
    due::{HostDue, Told},
    host::HostId,
};
use crate::{clients::Clients, invariants::Standing};

impl World {
    /// A shard's row changed: the broker takes part in it so.
    pub(super) fn assign(
        &mut self,
        host: HostId,
        shard: ShardId,
        assignment: Assignment,
        clients: &mut Clients,
    ) {
        self.open(host, shard, clients);
        let Assignment { epoch, version, leader, replicas, isr, min_in_sync_replicas } = assignment;
        let row = replication::Assignment { epoch, version, leader, replicas, isr, min_in_sync_replicas };
        self.trace_row(host, shard, &row);
        self.shard(host, shard, ShardEvent::Assigned(row), clients);
    }

    /// Says what a replica learns of its shard, once.
    fn trace_row(&mut self, host: HostId, shard: ShardId, row: &replication::Assignment) {
        let found = self.hosts[host].running.as_ref().and_then(|up| up.shards.get(&shard));
        let known = found.and_then(|(machine, _)| machine.replica().assignment());
        if self.is_cluster() && known.is_none_or(|known| known.version < row.version) {
            let replication::Assignment { epoch, version, leader, isr, .. } = row;
            let what = format_args!("{epoch:?} version {version}, led by {leader:?}, in sync {isr:?}");
            self.trace.say(self.micros, format_args!("host {host} {shard:?}: {what}"));
        }
    }

    /// The leader of the consensus wants to know where the log ends.
    pub(super) fn tell_position(&mut self, host: HostId, shard: ShardId, clients: &mut Clients) {
        let found = self.hosts[host].running.as_ref().and_then(|up| up.shards.get(&shard));
        if let Some(position) = found.map(|(machine, _)| machine.position()) {
            self.coordinator(host, CoordinatorEvent::Position(position), clients);
        }
    }

    /// The leader of the consensus wants the shard led elsewhere.
    pub(super) fn hand_over(
        &mut self,
        host: HostId,
        shard: ShardId,
        epoch: Epoch,
        to: BrokerId,
        clients: &mut Clients,
    ) {
        let found = self.hosts[host].running.as_ref().and_then(|up| up.shards.get(&shard));
        if found.is_some_and(|(machine, _)| machine.replica().epoch() == epoch) {
            self.shard(host, shard, ShardEvent::HandOver(to), clients);
        }
    }

    /// A replica speaks to another one.
    pub(super) fn send_to_replica(&mut self, host: HostId, shard: ShardId, to: BrokerId, message: &Message) {
        let Some(from) = self.hosts[host].running.as_ref().and_then(|up| up.member) else { return };
        let Some(target) = self.host_of(to) else { return };
        for delay in self.network.arrivals(host, target, &mut self.chance).into_iter().flatten() {
            let message = message.clone();
            self.plan_host(delay, target, HostDue::ReplicaPeer { shard, from, message });
        }
    }

    /// The leader here wants other in-sync replicas.
    pub(super) fn request_isr(
        &mut self,
        host: HostId,
        shard: ShardId,
        request: IsrRequest,
        clients: &mut Clients,
    ) {
        let IsrRequest { epoch, version, isr, .. } = request;
        let wanted = IsrChange { shard, epoch, version, isr };
        self.coordinator(host, CoordinatorEvent::IsrWanted(wanted), clients);
    }

    /// The replica's log is cut.
    pub(super) fn truncate(&mut self, host: HostId, shard: ShardId, to: Position, clients: &mut Clients) {
        let Some(side) = self.hosts[host].side(shard) else { return };
        assert!(side.written.is_none(), "a cut while a batch is being written");
        match side.writer.truncate(to) {
            Ok(truncated) => self.shard(host, shard, ShardEvent::Truncated(truncated), clients),
            Err(fault) => self.fence(host, &fault.to_string(), Some(shard), clients),
        }
    }

    /// The replica's promise is made durable.
    pub(super) fn persist(&mut self, host: HostId, shard: ShardId, epoch: Epoch, clients: &mut Clients) {
        let Some(up) = self.hosts[host].running.as_mut() else { return };
        // Each takes its own time here; a broker makes them in their order, or the last alone.
        let promised = up.promises.get(shard).max(epoch);
        match up.promises.promise(&[(shard, promised)]) {
            Ok(_) => self.shard(host, shard, ShardEvent::Persisted(epoch), clients),
            Err(fault) => self.fence(host, &fault.to_string(), Some(shard), clients),
        }
    }

    /// Entries are read for a follower that is behind.
    pub(super) fn read_for(
        &mut self,
        host: HostId,
        shard: ShardId,
        (to, from, bytes_max): (BrokerId, Position, usize),
        clients: &mut Clients,
    ) {
        let Some(side) = self.hosts[host].side(shard) else { return };
        match side.reader.read_from(from, bytes_max) {
            Ok(entries) => self.shard(host, shard, ShardEvent::Read { to, from, entries }, clients),
            Err(error) => self.fatal = Some(format!("host {host} {shard:?}: read for {to:?}: {error}")),
        }
    }

    /// The replica does not lead any more: the sessions of its consumers and readers end.
    pub(super) fn follows(&mut self, host: HostId, shard: ShardId) {
        if let Some(side) = self.hosts[host].side(shard)
            && side.serves.take().is_some()
        {
            self.tell_clients(host, Told::SessionsEnd { host, shard });
        }
    }

    /// A replica found something that the protocol survives. Without a lost disk there is nothing to be found, but
    /// for pushes that crossed.
    pub(super) fn replica_reports(&mut self, host: HostId, shard: ShardId, finding: &Finding) {
        self.trace.say(self.micros, format_args!("host {host} {shard:?}: {finding:?}"));
        if self.losses == 0 && !matches!(finding, Finding::Mismatch { .. }) {
            self.fatal = Some(format!("host {host} {shard:?} found {finding:?}, and no disk was lost"));
        }
    }

    /// How a replica stands after a step.
    pub(super) fn observe(&mut self, host: HostId, shard: ShardId) {
        let found = &self.hosts[host];
        let Some((machine, _)) = found.running.as_ref().and_then(|up| up.shards.get(&shard)) else { return };
        let replica = machine.replica();
        let standing = Standing {
            volume: found.volume(host),
            start: found.start,
            shard,
            epoch: replica.epoch(),
            leads: replica.is_leader(),
            serves: replica.is_serving(),
            end: replica.end(),
            high_watermark: replica.high_watermark(),
        };
        let mut invariants = std::mem::take(&mut self.invariants);
        invariants.stepped(standing, || self.row(shard));
        self.invariants = invariants;
    }

    /// A broker that is there now connects to the others, and they to it.
    pub(super) fn tell_links(&mut self, host: HostId, broker: BrokerId) {
        for other in (0..self.hosts.len()).filter(|other| *other != host) {
            let Some(known) = self.hosts[other].broker.filter(|_| self.network.both_ways(host, other)) else {
                continue;
            };
            let delay = self.network.delay(&mut self.chance);
            self.plan_host(delay, other, HostDue::PeerThere(broker));
            if self.hosts[other].running.is_some() {
                self.plan_host(delay, host, HostDue::PeerThere(known));
            }
        }
    }

    /// Every replica here hears that a connection is there, or is not.
    pub(super) fn link(&mut self, host: HostId, broker: BrokerId, up: bool, clients: &mut Clients) {
        let shards: Vec<ShardId> = self.hosts[host]
            .running
            .as_ref()
            .map(|up| up.shards.keys().copied().collect())
            .unwrap_or_default();
        for shard in shards {
            self.shard(host, shard, ShardEvent::Link { broker, up }, clients);
        }
    }

    /// The connection to a broker's start broke: its address refuses another.
    pub(super) fn peer_gone(&mut self, host: HostId, member: Member, clients: &mut Clients) {
        self.coordinator(host, CoordinatorEvent::Gone(member), clients);
        self.link(host, member.broker, false, clients);
    }
}
