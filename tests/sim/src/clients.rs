//! The clients of a world: an administrator, publishers, consumers, readers with a group, one that looks again, an
//! auditor.
//!
//! Each does one thing at a time and thinks in between. When its broker dies or does not answer, whatever is
//! outstanding has an unknown outcome, and the client goes on as a real one would: publishers send the same batch
//! again, consumers repeat the settle that was not answered, and attach anew.

mod admin;
mod again;
mod audit;
mod consume;
pub(crate) mod grants;
mod publish;
mod read;
mod value;

use std::collections::BTreeMap;

use pondage_model::{Body, Entry, Epoch, Lease, Offset, ShardId, StreamId, record::Batch};
use pondage_node::{
    coordinator::AdminReply,
    delivery::{self, ConsumerId, Verdict},
    shard::{ReaderId, ShardReply, ShardRequest},
};

use self::{admin::Admin, again::Again, audit::Audit, consume::Consumer, publish::Publisher, read::Reader};
use crate::{
    chance::Chance,
    oracle::{MessageId, Oracle},
    world::{HostId, World},
};

/// A client's place in the list.
pub(crate) type ClientId = usize;

/// The names of this world.
pub(crate) const TOPIC: &str = "log";
pub(crate) const WORK: &str = "work";
pub(crate) const DEAD: &str = "dead";
pub(crate) const LATER: &str = "later";
/// The queue that is purged, deleted and made again.
pub(crate) const SCRATCH: &str = "scratch";
pub(crate) const GROUP: &str = "audit";
/// The shared group that reads the topic, beside the one with cursors.
pub(crate) const SHARED: &str = "sharers";
/// Partitions that the topic may grow to.
pub(crate) const PARTITIONS_MAX: u32 = 4;

/// One client.
#[derive(Debug)]
enum Client {
    Admin(Admin),
    Publisher(Publisher),
    Consumer(Consumer),
    Reader(Reader),
    Again(Again),
    Audit(Audit),
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Clients {
    all: Vec<Client>,
    /// Faults have ended: publishers finish, consumers accept what comes.
    pub(crate) healing: bool,
}

impl Clients {
    pub(crate) fn new(chance: &mut Chance) -> Self {
        let mut all = vec![Client::Admin(Admin::new()), Client::Audit(Audit::default())];
        let targets =
            [(TOPIC, 0), (TOPIC, 1), (TOPIC, 0), (TOPIC, 2), (WORK, 0), (WORK, 0), (LATER, 0), (SCRATCH, 0)];
        for (index, (target, partition)) in targets.into_iter().enumerate() {
            // Producer ids of clients without a session would collide with nobody: the broker never hands out these.
            all.push(Client::Publisher(Publisher::new(index, target, partition, chance)));
        }
        let queues = [WORK, WORK, WORK, LATER, DEAD, SCRATCH].map(|queue| (queue, 0));
        for (index, (target, partition)) in
            queues.into_iter().chain([(SHARED, 0), (SHARED, 0), (SHARED, 1)]).enumerate()
        {
            all.push(Client::Consumer(Consumer::new(index, target, partition, chance)));
        }
        for partition in 0..PARTITIONS_MAX {
            all.push(Client::Reader(Reader::new(partition as usize)));
        }
        all.push(Client::Again(Again));
        Self { all, healing: false }
    }

    pub(crate) fn ids(&self) -> std::ops::Range<ClientId> {
        0..self.all.len()
    }

    /// The client's moment has come.
    pub(crate) fn act(&mut self, world: &mut World, id: ClientId) {
        let healing = self.healing;
        let written = healing
            && self.all.iter().all(|client| match client {
                Client::Publisher(client) => client.is_idle() && client.is_fresh(),
                _ => true,
            });
        match &mut self.all[id] {
            Client::Admin(client) => client.act(world, id, healing),
            Client::Publisher(client) => client.act(world, id, healing),
            Client::Consumer(client) => client.act(world, id, healing),
            Client::Reader(client) => client.act(world, id, healing),
            Client::Again(client) => client.act(world, id),
            Client::Audit(client) => client.act(world, id, written),
        }
    }

    /// A shard answered the client's request, in the epoch of its leader.
    pub(crate) fn answer(&mut self, world: &mut World, id: ClientId, reply: ShardReply, epoch: Epoch) {
        match &mut self.all[id] {
            Client::Admin(client) => client.shard_answer(world, id, &reply),
            Client::Publisher(client) => client.answer(world, id, reply),
            Client::Consumer(client) => client.answer(world, id, &reply, epoch),
            Client::Reader(client) => client.answer(world, id, reply),
            Client::Audit(client) => client.answer(world, id, &reply),
            Client::Again(_) => {}
        }
    }

    /// The catalog answered the client's request.
    pub(crate) fn admin_answer(
        &mut self,
        world: &mut World,
        id: ClientId,
        result: &Result<AdminReply, pondage_model::Refusal>,
    ) {
        match &mut self.all[id] {
            Client::Admin(client) => client.answer(world, id, result),
            Client::Publisher(client) => client.producer_answer(world, id, result),
            _ => {}
        }
    }

    /// Leases reached the consumer that they were given to, or nobody.
    pub(crate) fn granted(
        &mut self,
        world: &mut World,
        host: HostId,
        shard: ShardId,
        stream: StreamId,
        consumer: ConsumerId,
        messages: &[(Offset, Lease)],
    ) {
        let taker = self.all.iter_mut().enumerate().find_map(|(id, client)| match client {
            Client::Consumer(found) if found.takes(consumer, stream) => Some((id, found)),
            _ => None,
        });
        if let Some((id, taker)) = taker {
            for (offset, lease) in messages {
                taker.granted(world, id, shard, stream, *offset, *lease);
            }
        } else if !messages.is_empty() {
            // It left while its grants came: nobody saw the messages, and they go back.
            for (offset, _) in messages {
                world.oracle.end_lease(stream, *offset);
            }
            let request =
                delivery::Request::Settle { stream, items: messages.to_vec(), verdict: Verdict::Return };
            world.tell(host, shard, ShardRequest::Delivery(request));
        }
    }

    /// Nothing follows for this consumer.
    pub(crate) fn served(&mut self, world: &mut World, consumer: ConsumerId) {
        for (id, client) in self.all.iter_mut().enumerate() {
            if let Client::Consumer(client) = client {
                client.served(world, id, consumer);
            }
        }
    }

    /// A followed stream moved.
    pub(crate) fn progress(&mut self, world: &mut World, reader: ReaderId, start: Offset, end: Offset) {
        for (id, client) in self.all.iter_mut().enumerate() {
            if let Client::Reader(client) = client
                && client.is(reader)
            {
                client.progress(world, id, start, end);
            }
        }
    }

    /// The client has no connection any more: what it asked has an unknown outcome.
    pub(crate) fn lost(&mut self, world: &mut World, id: ClientId) {
        match &mut self.all[id] {
            Client::Admin(client) => client.lost(world),
            Client::Publisher(client) => client.lost(),
            Client::Consumer(client) => client.lost(world),
            Client::Reader(client) => client.lost(world),
            Client::Audit(client) => client.lost(),
            Client::Again(_) => {}
        }
    }

    /// A broker stops in order: some sessions end in order first, others know of nothing.
    pub(crate) fn broker_stops(&mut self, world: &mut World, host: HostId) {
        for (id, client) in self.all.iter_mut().enumerate() {
            if let Client::Consumer(client) = client
                && client.is_at(host)
                && world.chance.once_in(3)
            {
                client.leave(world, id, false);
            }
        }
    }

    /// A publisher that wrote nothing new since faults ended.
    pub(crate) fn unwritten(&self) -> Option<String> {
        self.all.iter().find_map(|client| match client {
            Client::Publisher(client) if !client.is_fresh() => Some(format!("{client:?}")),
            _ => None,
        })
    }

    /// Whether everything came to rest; then the books are closed.
    pub(crate) fn finished(&self, oracle: &mut Oracle) -> bool {
        if !self.all.iter().all(Client::is_at_rest) {
            return false;
        }
        let mut read: BTreeMap<StreamId, Offset> = BTreeMap::new();
        for client in &self.all {
            if let Client::Reader(client) = client {
                read.extend(client.read_to());
            }
        }
        oracle.close(&read);
        true
    }

    /// What has not come to rest.
    pub(crate) fn stuck(&self) -> String {
        let waits: Vec<String> = self
            .all
            .iter()
            .filter(|client| !client.is_at_rest())
            .map(|client| format!("{client:?}"))
            .collect();
        waits.join("; ")
    }
}

impl Client {
    fn is_at_rest(&self) -> bool {
        match self {
            Self::Admin(client) => client.is_done(),
            Self::Publisher(client) => client.is_idle() && client.is_fresh(),
            Self::Audit(client) => client.is_quiet(),
            Self::Reader(client) => client.is_at_end(),
            Self::Consumer(_) | Self::Again(_) => true,
        }
    }
}

/// Where the messages of a name are, or a shared group is beside a topic's, if the broker knows the name yet.
fn place(world: &World, target: &str, partition: usize) -> Option<(StreamId, ShardId)> {
    world.places(target).get(partition).copied()
}

/// The ids of the messages that these entries hold. Whatever a message holds besides follows from its id.
fn messages_in(world: &mut World, stream: StreamId, entries: &[Entry]) -> BTreeMap<Offset, MessageId> {
    let mut found = BTreeMap::new();
    for entry in entries {
        let Body::Publish(publish) = &entry.body else { continue };
        let records = match Batch::parse(publish.batch.clone()).and_then(|batch| batch.records()) {
            Ok(records) => records,
            Err(refusal) => {
                world.violate(format!(
                    "L1: {stream:?} {:?} is no batch any more: {refusal}",
                    publish.base_offset
                ));
                continue;
            }
        };
        for record in records {
            match value::id(&record.value.unwrap_or_default()) {
                Some(id) => drop(found.insert(record.offset, id)),
                None => world.violate(format!("L1: {stream:?} {:?} holds other bytes", record.offset)),
            }
        }
    }
    found
}
