//! The clients of a world: an administrator, publishers, consumers, a reader with a group, an auditor.
//!
//! Each does one thing at a time and thinks in between. When the broker dies, whatever is outstanding has an unknown
//! outcome, and the client goes on as a real one would: publishers send the same batch again, consumers attach anew.

mod admin;
mod audit;
mod consume;
mod publish;
mod read;

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{Body, Entry, Epoch, Name, Offset, ShardId, StreamId, entry::Granted, record::Batch};
use pondage_node::{
    coordinator::AdminReply,
    delivery::Dispatch,
    shard::{ReaderId, ShardReply},
};

use self::{admin::Admin, audit::Audit, consume::Consumer, publish::Publisher, read::Reader};
use crate::{
    chance::Chance,
    oracle::{MessageId, Oracle},
    world::World,
};

/// A client's place in the list.
pub(crate) type ClientId = usize;

/// The names of this world.
pub(crate) const TOPIC: &str = "log";
pub(crate) const WORK: &str = "work";
pub(crate) const DEAD: &str = "dead";
pub(crate) const LATER: &str = "later";
pub(crate) const GROUP: &str = "audit";

/// One client.
#[derive(Debug)]
enum Client {
    Admin(Admin),
    Publisher(Publisher),
    Consumer(Consumer),
    Reader(Reader),
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
        let mut all = vec![Client::Admin(Admin::default()), Client::Audit(Audit::default())];
        let targets = [(TOPIC, 0), (TOPIC, 1), (TOPIC, 0), (WORK, 0), (WORK, 0), (LATER, 0)];
        for (index, (target, partition)) in targets.into_iter().enumerate() {
            // Producer ids of clients without a session would collide with nobody: the broker never hands out these.
            all.push(Client::Publisher(Publisher::new(index, target, partition, chance)));
        }
        for (index, target) in [WORK, WORK, WORK, LATER, DEAD].into_iter().enumerate() {
            all.push(Client::Consumer(Consumer::new(index, target, chance)));
        }
        for partition in 0..2 {
            all.push(Client::Reader(Reader::new(partition)));
        }
        Self { all, healing: false }
    }

    pub(crate) fn ids(&self) -> std::ops::Range<ClientId> {
        0..self.all.len()
    }

    /// The client's moment has come.
    pub(crate) fn act(&mut self, world: &mut World, id: ClientId) {
        let healing = self.healing;
        match &mut self.all[id] {
            Client::Admin(client) => client.act(world, id),
            Client::Publisher(client) => client.act(world, id, healing),
            Client::Consumer(client) => client.act(world, id, healing),
            Client::Reader(client) => client.act(world, id),
            Client::Audit(client) => client.act(world, id, healing),
        }
    }

    /// A shard answered the client's request.
    pub(crate) fn answer(&mut self, world: &mut World, id: ClientId, reply: &ShardReply) {
        match &mut self.all[id] {
            Client::Publisher(client) => client.answer(world, id, reply),
            Client::Consumer(client) => client.answer(world, id, reply),
            Client::Reader(client) => client.answer(world, id, reply),
            Client::Audit(client) => client.answer(world, id, reply),
            Client::Admin(_) => {}
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

    /// A lease was given: its message was read from the log.
    pub(crate) fn granted(
        &mut self,
        world: &mut World,
        shard: ShardId,
        epoch: Epoch,
        dispatch: &Dispatch,
        granted: &Granted,
        entries: &[Entry],
    ) {
        let known = messages_in(entries);
        for index in 0..u64::from(granted.count) {
            let offset = granted.first.plus(index);
            let Some(message) = known.get(&offset) else {
                world.violate(format!("{:?} {offset:?} was granted and is not in the log", dispatch.stream));
                return;
            };
            for (id, client) in self.all.iter_mut().enumerate() {
                if let Client::Consumer(consumer) = client
                    && consumer.is(dispatch.consumer)
                {
                    consumer.granted(world, id, (shard, dispatch.stream, offset), epoch, granted, *message);
                }
            }
        }
    }

    /// A followed stream moved.
    pub(crate) fn progress(&mut self, world: &mut World, _: ShardId, reader: ReaderId, end: Offset) {
        for (id, client) in self.all.iter_mut().enumerate() {
            if let Client::Reader(client) = client
                && client.is(reader)
            {
                client.progress(world, id, end);
            }
        }
    }

    /// The broker died.
    pub(crate) fn broker_lost(&mut self, world: &mut World) {
        for (id, client) in self.all.iter_mut().enumerate() {
            match client {
                Client::Admin(client) => client.broker_lost(),
                Client::Publisher(client) => client.broker_lost(),
                Client::Consumer(client) => client.broker_lost(),
                Client::Reader(client) => client.broker_lost(),
                Client::Audit(client) => client.broker_lost(),
            }
            let pause = world.chance.between(1_000, 50_000);
            world.plan_client(pause, id);
        }
    }

    /// Whether everything came to rest; then the books are closed.
    pub(crate) fn finished(&self, oracle: &mut Oracle) -> bool {
        let done = self.healing
            && self.all.iter().all(|client| match client {
                Client::Admin(client) => client.is_done(),
                Client::Publisher(client) => client.is_idle(),
                Client::Audit(client) => client.is_quiet(),
                Client::Reader(client) => client.is_at_end(),
                Client::Consumer(_) => true,
            });
        if done {
            let mut topics = BTreeSet::new();
            let mut read: BTreeMap<StreamId, Offset> = BTreeMap::new();
            for client in &self.all {
                if let Client::Reader(client) = client
                    && let Some((stream, end)) = client.read_to()
                {
                    topics.insert(stream);
                    read.insert(stream, end);
                }
            }
            oracle.close(&topics, &read);
        }
        done
    }

    /// What has not come to rest.
    pub(crate) fn stuck(&self) -> String {
        let waits: Vec<String> = self
            .all
            .iter()
            .filter_map(|client| match client {
                Client::Admin(client) => (!client.is_done()).then(|| format!("{client:?}")),
                Client::Publisher(client) => (!client.is_idle()).then(|| format!("{client:?}")),
                Client::Audit(client) => (!client.is_quiet()).then(|| format!("{client:?}")),
                Client::Reader(client) => (!client.is_at_end()).then(|| format!("{client:?}")),
                Client::Consumer(_) => None,
            })
            .collect();
        waits.join("; ")
    }
}

/// Where the messages of a name are, if the broker knows the name yet.
fn place(world: &World, target: &str, partition: usize) -> Option<(StreamId, ShardId)> {
    let name = Name::new(target).expect("valid");
    world.route(&name)?.partitions.get(partition).copied()
}

/// The ids that the messages of these entries carry.
fn messages_in(entries: &[Entry]) -> BTreeMap<Offset, MessageId> {
    let mut found = BTreeMap::new();
    for entry in entries {
        let Body::Publish(publish) = &entry.body else { continue };
        let records = Batch::parse(publish.batch.clone()).and_then(|batch| batch.records());
        for record in records.into_iter().flatten() {
            let value = record.value.unwrap_or_default();
            if let Ok(bytes) = <[u8; 8]>::try_from(&value[..]) {
                found.insert(record.offset, MessageId::from_be_bytes(bytes));
            }
        }
    }
    found
}
