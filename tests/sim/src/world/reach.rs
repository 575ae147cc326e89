//! What clients can do in the world: find the leader of a shard, ask it, and wait for the answer or give up.
//!
//! A client talks to one broker at a time. Its routes come from any broker that it reaches, which may know old ones.
//! An answer that comes after the client gave up, or from a connection that it left, is not heard.

use pondage_model::{Entry, Epoch, Name, Offset, ShardId, StreamId};
use pondage_node::{coordinator::AdminRequest, shard::ShardRequest};

use super::{
    World,
    due::{Due, HostDue, Told, Waiter},
    host::HostId,
    network::End,
};
use crate::clients::{ClientId, Clients};

/// Names one request of a client until it is answered.
pub(super) type Ticket = u64;

/// How long a client waits for an answer.
const PATIENCE_MICROS: u64 = 5_000_000;
/// How long a client waits before it tries again what could not be asked.
const RETRY_MICROS: u64 = 20_000;
/// How long a broker takes to notice that a client is gone.
const KEEPALIVE_MICROS: u64 = 1_000_000;

/// A client's connections, as the world keeps them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Contact {
    /// When it acts next; an earlier plan replaces a later one.
    planned: Option<u64>,
    ticket: Ticket,
    /// Where its request is.
    asked: Option<HostId>,
    /// Where its session is: it attached there, or follows a stream.
    session: Option<(HostId, ShardId)>,
}

impl World {
    /// The client acts after a while, or earlier if that is planned already.
    pub(crate) fn plan_client(&mut self, in_micros: u64, client: ClientId) {
        let at = self.micros + in_micros;
        let planned = &mut self.contacts[client].planned;
        if planned.is_none_or(|before| at < before) {
            *planned = Some(at);
            self.plan(in_micros, Due::Client(client));
        }
    }

    /// A client that presses under load acts after this pause under load.
    pub(crate) fn plan_client_under_load(&mut self, pause: u64, client: ClientId) {
        let wait = self.load.wait(self.micros, pause, &mut self.chance);
        self.plan_client(wait, client);
    }

    /// Whether the client's moment is now; a plan that an earlier one replaced is none.
    pub(super) fn takes_turn(&mut self, client: ClientId) -> bool {
        let due = self.contacts[client].planned == Some(self.micros);
        if due {
            self.contacts[client].planned = None;
        }
        due
    }

    /// Any broker that serves and that clients reach.
    fn some_host(&self) -> Option<HostId> {
        let hosts = self.hosts.len();
        let first = self.order as usize % hosts;
        (0..hosts).map(|step| (first + step) % hosts).find(|host| self.is_reached(*host))
    }

    fn is_reached(&self, host: HostId) -> bool {
        let found = &self.hosts[host];
        found.is_ready() && !found.paused && self.network.passes(End::Host(host), End::Clients)
    }

    /// Whether any broker can be asked.
    pub(crate) fn is_up(&self) -> bool {
        self.some_host().is_some()
    }

    /// The host that leads a shard, as any broker tells it.
    fn leader_of(&self, shard: ShardId) -> Option<HostId> {
        let asked = self.some_host()?;
        let up = self.hosts[asked].running.as_ref()?;
        let leader = up.brain.catalog().shard(shard)?.leader?;
        self.host_of(leader).filter(|host| self.hosts[*host].running.is_some())
    }

    /// Asks a shard for a client. False if nobody is there to be asked; then the client acts again soon.
    pub(crate) fn request(&mut self, client: ClientId, shard: ShardId, request: ShardRequest) -> bool {
        let Some(host) = self.leader_of(shard) else {
            self.plan_client(RETRY_MICROS, client);
            return false;
        };
        let ticket = self.new_ticket(client, host);
        let waiter = Waiter::Client(client, ticket);
        self.send_to(host, HostDue::Ask { shard, request, waiter });
        true
    }

    /// As [`Self::request`]; the client stays there for what follows.
    pub(crate) fn open_session(&mut self, client: ClientId, shard: ShardId, request: ShardRequest) -> bool {
        let asked = self.request(client, shard, request);
        let host = self.contacts[client].asked.filter(|_| asked);
        self.contacts[client].session = host.map(|host| (host, shard));
        asked
    }

    /// The client leaves its session: what still comes of it is not heard.
    pub(crate) fn close_session(&mut self, client: ClientId) {
        self.contacts[client].session = None;
    }

    /// Where the client's session is, unless the shard is led elsewhere by now.
    pub(crate) fn session(&self, client: ClientId, shard: ShardId) -> Option<HostId> {
        let (session, _) = self.contacts[client].session.filter(|(_, at)| *at == shard)?;
        self.leader_of(shard).is_none_or(|leader| leader == session).then_some(session)
    }

    /// Tells the shard's leader and does not wait for an answer.
    pub(crate) fn tell(&mut self, host: HostId, shard: ShardId, request: ShardRequest) {
        self.send_to(host, HostDue::Ask { shard, request, waiter: Waiter::Nobody });
    }

    /// The broker notices that a client's session is gone and ends it, whatever the network does.
    pub(crate) fn session_lost(&mut self, host: HostId, shard: ShardId, request: ShardRequest) {
        let pause = self.chance.between(0, KEEPALIVE_MICROS);
        self.plan_host(pause, host, HostDue::Ask { shard, request, waiter: Waiter::Nobody });
    }

    /// Asks any broker's catalog for a client. False as for [`Self::request`].
    pub(crate) fn admin(&mut self, client: ClientId, request: AdminRequest) -> bool {
        let Some(host) = self.some_host() else {
            self.plan_client(RETRY_MICROS, client);
            return false;
        };
        let ticket = self.new_ticket(client, host);
        self.send_to(host, HostDue::AskCatalog { request, client, ticket });
        true
    }

    fn new_ticket(&mut self, client: ClientId, host: HostId) -> Ticket {
        let contact = &mut self.contacts[client];
        contact.ticket += 1;
        contact.asked = Some(host);
        let ticket = contact.ticket;
        self.plan(PATIENCE_MICROS, Due::GiveUp(client, ticket));
        ticket
    }

    fn send_to(&mut self, host: HostId, due: HostDue) {
        let delay = self.network.delay(&mut self.chance);
        if self.network.passes(End::Clients, End::Host(host)) {
            self.plan_host(delay, host, due);
        } else {
            self.connections_break(host);
        }
    }

    /// Something between the host and its clients was lost, which a connection does not survive.
    fn connections_break(&mut self, host: HostId) {
        if !std::mem::replace(&mut self.hosts[host].connections_break, true) {
            let pause = self.chance.between(0, 2 * KEEPALIVE_MICROS);
            self.plan(pause, Due::HostLost(host));
        }
    }

    /// A broker tells its clients something; connections keep its order.
    pub(super) fn tell_clients(&mut self, host: HostId, told: Told) {
        let delay = self.network.delay(&mut self.chance);
        if !self.network.passes(End::Host(host), End::Clients) {
            return self.connections_break(host);
        }
        let at = (self.micros + delay).max(self.hosts[host].told_until);
        self.hosts[host].told_until = at;
        self.plan(at - self.micros, Due::Told(told));
    }

    /// Something reached the clients.
    pub(super) fn told(&mut self, told: Told, clients: &mut Clients) {
        match told {
            Told::Answer { client, ticket, reply, epoch } => {
                if self.is_awaited(client, ticket) {
                    clients.answer(self, client, reply, epoch);
                }
            }
            Told::Admin { client, ticket, result } => {
                if self.is_awaited(client, ticket) {
                    clients.admin_answer(self, client, &result);
                }
            }
            Told::Granted { host, shard, stream, consumer, messages, done } => {
                clients.granted(self, host, shard, stream, consumer, &messages);
                if done {
                    clients.served(self, consumer);
                }
            }
            Told::SessionsEnd { host, shard } => {
                for client in clients.ids() {
                    if self.contacts[client].session == Some((host, shard)) {
                        self.lose(client, clients);
                    }
                }
            }
            Told::Progress { reader, start, end } => clients.progress(self, reader, start, end),
        }
    }

    fn is_awaited(&mut self, client: ClientId, ticket: Ticket) -> bool {
        let contact = &mut self.contacts[client];
        let awaited = contact.ticket == ticket && contact.asked.is_some();
        if awaited {
            contact.asked = None;
        }
        awaited
    }

    /// The host ended, or the way to it: whoever had a connection to it has none.
    pub(super) fn host_lost(&mut self, host: HostId, clients: &mut Clients) {
        self.hosts[host].connections_break = false;
        for client in clients.ids() {
            let contact = self.contacts[client];
            if contact.asked == Some(host) || contact.session.is_some_and(|(at, _)| at == host) {
                self.lose(client, clients);
            }
        }
    }

    /// The client's patience is at its end.
    pub(super) fn give_up(&mut self, client: ClientId, ticket: Ticket, clients: &mut Clients) {
        if self.is_awaited(client, ticket) {
            self.trace.say(self.micros, format_args!("client {client} gives up"));
            self.lose(client, clients);
        }
    }

    fn lose(&mut self, client: ClientId, clients: &mut Clients) {
        let contact = &mut self.contacts[client];
        (contact.asked, contact.session) = (None, None);
        contact.ticket += 1;
        clients.lost(self, client);
        let pause = self.chance.between(1_000, 50_000);
        self.plan_client(pause, client);
    }

    /// Where the messages of a name are, as any broker tells it.
    pub(crate) fn places(&self, name: &str) -> &[(StreamId, ShardId)] {
        let up = self.some_host().and_then(|host| self.hosts[host].running.as_ref());
        up.and_then(|up| up.routes.get(name)).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn knows_group(&self, name: &Name) -> bool {
        let up = self.some_host().and_then(|host| self.hosts[host].running.as_ref());
        up.is_some_and(|up| up.groups.contains(name))
    }

    /// The oldest offset that a stream keeps on a host, if the host can be asked.
    pub(crate) fn start_of(&self, host: HostId, shard: ShardId, stream: StreamId) -> Option<Offset> {
        let found = self.hosts.get(host).filter(|found| !found.paused)?;
        let (machine, _) = found.running.as_ref()?.shards.get(&shard)?;
        Some(machine.committed()?.stream(stream)?.start())
    }

    /// Published entries of a stream on a host that reach to or behind an offset.
    pub(crate) fn read(
        &mut self,
        host: HostId,
        shard: ShardId,
        stream: StreamId,
        from: Offset,
    ) -> Vec<Entry> {
        let Some(side) = self.hosts[host].side(shard) else { return Vec::new() };
        let raw = match side.reader.read_stream(stream, from, 1) {
            Ok(raw) => raw,
            Err(error) => {
                self.fatal = Some(format!("host {host} {shard:?} {stream:?} at {from}: {error}"));
                return Vec::new();
            }
        };
        raw.into_iter().filter_map(|entry| entry.decode().ok()).collect()
    }

    /// When nothing that was asked before can arrive any more: a while after every host runs again.
    pub(crate) const fn end_of_late_requests(&self) -> u64 {
        self.faults_until + 3_000_000
    }

    /// Whether there are several brokers: then requests that were given up may arrive late, and routes may be old.
    pub(crate) const fn is_cluster(&self) -> bool {
        self.hosts.len() > 1
    }

    /// Whether wall clocks of hosts may stand years apart: then log time leaps when another host leads.
    pub(crate) const fn clocks_disagree(&self) -> bool {
        self.hosts.len() > 1 && self.clock_jumps > 0
    }

    /// How far the wall clocks of hosts stand apart at most, unless they disagree.
    pub(crate) const fn clock_spread_micros(&self) -> u64 {
        if self.hosts.len() > 1 { 300_000 } else { 0 }
    }

    /// The oldest offset that a stream keeps, as the replica knows it that folded most.
    pub(crate) fn newest_start_of(&self, shard: ShardId, stream: StreamId) -> Option<Offset> {
        (0..self.hosts.len()).filter_map(|host| self.start_of(host, shard, stream)).max()
    }

    /// The host whose broker serves the shard in the newest epoch, if there is one: what no client can know. One that
    /// serves in an older epoch and has not heard of the newer one lacks what was acknowledged since.
    pub(crate) fn truly_leads(&self, shard: ShardId) -> Option<HostId> {
        let serving = |host: HostId| {
            let (_, side) = self.hosts[host].running.as_ref()?.shards.get(&shard)?;
            side.serves.map(|epoch| (epoch, host))
        };
        let newest: Option<(Epoch, HostId)> = (0..self.hosts.len()).filter_map(serving).max();
        let led = self.invariants.newest_led(shard);
        newest
            .filter(|(epoch, host)| led <= Some(*epoch) && self.hosts[*host].is_ready())
            .map(|(_, host)| host)
    }
}
