//! The world of one shard: its replicas, their disks, the network, the catalog. What each effect of a replica does.

use std::collections::VecDeque;

use pondage_model::{BrokerId, Member, Position};
use pondage_replication::{Effect, Input, Message, Now, Replica};

use crate::{
    catalog::{Catalog, Wish},
    configuration::{Budgets, Configuration, Disks, Planted},
    disk::{Disk, Operation},
    history::{History, Rule},
    node::Node,
    shared::{Bag, Shared},
};

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Packet {
    /// Which start sent it.
    pub from: Member,
    /// To which broker, whatever start it is in when the packet arrives.
    pub to: BrokerId,
    /// What it says.
    pub message: Message,
}

/// A state of the world.
#[derive(Clone, Debug, PartialEq, Hash)]
pub struct World {
    /// The replicas.
    pub nodes: Vec<Shared<Node>>,
    /// What was sent and has not arrived: a packet that never does was lost, one that comes late was delayed, and the
    /// order is free.
    pub network: Bag<Packet>,
    /// The catalog.
    pub catalog: Shared<Catalog>,
    /// What happened so far.
    pub history: Shared<History>,
    /// What may still happen.
    pub left: Budgets,
    /// The rule that the last step broke.
    pub broken: Option<Rule>,
}

impl World {
    /// Brokers that have learned nothing yet.
    pub fn new(configuration: &Configuration) -> Self {
        let catalog =
            Catalog::new(configuration.replicas, configuration.in_sync, configuration.min_in_sync_replicas);
        let node = |broker: &BrokerId| {
            let member = catalog.current(*broker).expect("a replica's broker is registered");
            Shared::new(Node::start(member, Disk::default()))
        };
        Self {
            nodes: catalog.row().replicas.iter().map(node).collect(),
            network: Bag::default(),
            catalog: Shared::new(catalog),
            history: Shared::new(History::default()),
            left: configuration.budgets,
            broken: None,
        }
    }

    /// Where a broker is.
    pub fn slot(&self, broker: BrokerId) -> Option<usize> {
        self.nodes.iter().position(|node| node.replica.member().broker == broker)
    }

    /// Changes the catalog.
    pub fn with_catalog<T>(
        &mut self,
        configuration: &Configuration,
        change: impl FnOnce(&mut Catalog) -> T,
    ) -> T {
        let mut catalog = Catalog::clone(&self.catalog);
        let result = change(&mut catalog);
        if configuration.planted != Some(Planted::CatalogForgetsVersions) {
            catalog.drop_late_wishes();
        }
        let known_by_all = self.nodes.iter().map(|node| node.known).min().unwrap_or(0);
        catalog.forget_rows(known_by_all);
        self.catalog = Shared::new(catalog);
        result
    }

    fn with_history<T>(&mut self, change: impl FnOnce(&mut History) -> Result<T, Rule>) -> Option<T> {
        let mut history = History::clone(&self.history);
        let result = change(&mut history);
        if history != *self.history {
            self.history = Shared::new(history);
        }
        result.map_err(|rule| self.broken = Some(rule)).ok()
    }

    /// Notes a broken rule.
    pub fn require(&mut self, holds: bool, rule: Rule) {
        if !holds {
            self.broken.get_or_insert(rule);
        }
    }

    /// Puts another start in a broker's place.
    pub fn replace(&mut self, slot: usize, node: Node) {
        self.nodes[slot] = Shared::new(node);
        self.forget_packets();
    }

    /// Answers of an epoch that their receiver has left change nothing whenever they arrive, nor does what goes to
    /// brokers that are no more.
    fn forget_packets(&mut self) {
        let receivers: Vec<_> =
            self.nodes.iter().map(|node| (node.replica.member().broker, node.replica.epoch())).collect();
        let matters = |packet: &Packet| {
            let asks =
                matches!(packet.message, Message::Hello { .. } | Message::Align { .. } | Message::Push(_));
            let receiver = receivers.iter().find(|(broker, _)| *broker == packet.to);
            receiver.is_some_and(|(_, epoch)| asks || packet.message.epoch() >= *epoch)
        };
        self.network.retain(matters);
    }

    /// Lets a replica do something, carries out what follows, checks it. False if nothing changed at all.
    pub fn drive(
        &mut self,
        configuration: &Configuration,
        slot: usize,
        act: impl FnOnce(&mut Node, Now, &mut Vec<Effect>),
    ) -> bool {
        let mut node = Node::clone(&self.nodes[slot]);
        let was_in = node.replica.epoch();
        let now = node.now();
        let mut effects = Vec::new();
        act(&mut node, now, &mut effects);
        node.replica.flush(node.now(), &mut effects);
        let did_something = !effects.is_empty();
        let mut queue = VecDeque::from(effects);
        while let Some(effect) = queue.pop_front() {
            if let Some(input) = self.perform(configuration, &mut node, effect) {
                let mut effects = Vec::new();
                node.replica.step(node.now(), input, &mut effects);
                node.replica.flush(node.now(), &mut effects);
                queue.extend(effects);
            }
        }
        pondage_replication::invariants::check(&node.replica);
        self.require(node.replica.epoch() >= was_in, Rule::EpochsRise);
        if let Some(epoch) = node.leads() {
            let member = node.replica.member();
            self.with_history(|history| history.leads(epoch, member));
        }
        self.speak(&mut node);
        let (epoch, node) = (node.replica.epoch(), Shared::new(node));
        let changed = did_something || node != self.nodes[slot];
        self.nodes[slot] = node;
        if epoch != was_in {
            self.forget_packets();
        }
        changed
    }

    /// Says what was decided once its round is confirmed.
    fn speak(&mut self, node: &mut Node) {
        let Some(decision) = node.decision else { return };
        if node.leads() != Some(decision.epoch) {
            node.decision = None;
            if decision.overtaken {
                self.with_history(|history| {
                    history.overtaken = true;
                    Ok(())
                });
            }
        } else if node.replica.confirmed() >= decision.round {
            node.decision = None;
            self.require(!decision.overtaken, Rule::OvertakenIsSilent);
        }
    }

    /// Carries out one effect. Some come back at once.
    fn perform(&mut self, configuration: &Configuration, node: &mut Node, effect: Effect) -> Option<Input> {
        let instant = configuration.disks == Disks::Instant;
        match effect {
            Effect::Write(batch) => {
                node.disk.write(&batch.entries);
                let early = configuration.planted == Some(Planted::DurableBeforeSync);
                if early {
                    return batch.entries.last().map(|last| Input::Durable(last.position.next()));
                }
                return instant.then(|| complete(node)).flatten();
            }
            Effect::Truncate(to) => {
                node.disk.operation = Some(Operation::Truncate(to));
                return instant.then(|| complete(node)).flatten();
            }
            Effect::Persist(epoch) => {
                if configuration.planted == Some(Planted::PromiseNotKept) {
                    return Some(Input::Persisted(epoch));
                }
                node.disk.persisting = Some(epoch);
                return instant.then(|| persist(node)).flatten();
            }
            Effect::Read { to, from, .. } => {
                let entries = node.disk.read(from);
                let synced = entries.into_iter().filter(|entry| entry.position < node.durable()).collect();
                return Some(Input::Read { to, from, entries: synced });
            }
            Effect::Send { to, message } => self.send(node, to, message),
            Effect::RequestIsr(request) => {
                let broker = node.replica.member().broker;
                self.with_catalog(configuration, |catalog| {
                    catalog.wishes.insert(Wish::InSync { broker, request });
                });
            }
            Effect::HandOver { version, to, .. } => {
                self.with_catalog(configuration, |catalog| {
                    catalog.wishes.insert(Wish::HandOver { version, to });
                });
            }
            Effect::Cut(to) => self.cut(node, to),
            Effect::Committed(to) => self.commit(node, to),
            Effect::Report(_) => {
                let damage = self.history.volumes_lost > 0;
                self.require(damage, Rule::NothingToReport);
            }
            Effect::Serving(_) | Effect::Following(_) => {}
        }
        None
    }

    fn send(&mut self, node: &mut Node, to: BrokerId, message: Message) {
        if matches!(message, Message::Where { .. } | Message::Ack { .. }) {
            self.require(message.epoch() >= node.answered, Rule::EpochsRise);
            node.answered = node.answered.max(message.epoch());
        }
        self.network.insert(Packet { from: node.replica.member(), to, message });
        self.forget_packets();
    }

    fn cut(&mut self, node: &Node, to: Position) {
        let log = &node.disk.log;
        let loses = (to.0 as usize..log.len()).any(|position| self.history.holds(log, position));
        self.require(!loses, Rule::CommittedIsKept);
        self.with_history(|history| {
            history.truncated = true;
            Ok(())
        });
    }

    fn commit(&mut self, node: &Node, to: Position) {
        let (log, leads) = (&node.disk.log, node.leads());
        let Some(known) = self.with_history(|history| history.commit(log, to, leads)) else { return };
        let row = node.replica.assignment();
        let (in_sync, minimum) = row.map_or((0, 0), |row| (row.isr.len(), row.min_in_sync_replicas as usize));
        let me = node.replica.member();
        for position in known..self.history.committed.len() {
            let others = self.nodes.iter().filter(|other| other.replica.member().broker != me.broker);
            let holders = others.filter(|other| self.history.holds(&other.disk.log, position)).count() + 1;
            let lost = usize::from(self.history.volumes_lost);
            self.require(holders + lost >= minimum, Rule::CommittedIsDurable);
        }
        if leads.is_some() && in_sync < self.nodes.len() {
            self.with_history(|history| {
                history.without_member = true;
                Ok(())
            });
        }
    }

    /// A volume lost something for good.
    pub fn damage(&mut self) {
        self.with_history(|history| {
            history.volumes_lost += 1;
            Ok(())
        });
    }
}

/// The write or truncation under way returns.
pub fn complete(node: &mut Node) -> Option<Input> {
    Some(match node.disk.complete()? {
        Operation::Write(_) => Input::Durable(Position(node.disk.log.len() as u64)),
        Operation::Truncate(to) => Input::Truncated(to),
    })
}

/// The promise under way is kept.
pub fn persist(node: &mut Node) -> Option<Input> {
    let epoch = node.disk.persisting.take()?;
    node.disk.promised = node.disk.promised.max(epoch);
    Some(Input::Persisted(epoch))
}

/// Feeds one input.
pub fn feed(replica: &mut Replica, now: Now, input: Option<Input>, effects: &mut Vec<Effect>) {
    if let Some(input) = input {
        replica.step(now, input, effects);
    }
}
