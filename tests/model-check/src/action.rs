//! Everything that can happen next, and what it does.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pondage_model::{Body, BrokerId, StreamId};
use pondage_replication::Input;

use crate::{
    catalog::{Answer, Election},
    configuration::{Budgets, Configuration, Planted, Start},
    disk::{Disk, Wreck},
    history::Rule,
    node::{Decision, Node},
    world::{World, complete, feed, persist},
};

/// One thing that happens. Replicas, packets and wishes go by their place in the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// A packet arrives.
    Deliver(usize),
    /// A packet arrives, and may arrive again.
    DeliverAndKeep(usize),
    /// A disk's write or truncation returns.
    Complete(usize),
    /// A disk's promise returns.
    Persist(usize),
    /// A replica learns a version of the row.
    Learn(usize, u64),
    /// A leader looks at its followers.
    Look(usize),
    /// A leader finds that much time has passed, and looks at its followers.
    Tick(usize),
    /// A client's entry is appended.
    Append(usize),
    /// A leader decides something that reveals state.
    Decide(usize),
    /// A leader is told to hand over.
    HandOver(usize, BrokerId),
    /// The catalog gets a wish.
    Grant(usize),
    /// The catalog makes another leader.
    Elect(Election),
    /// A broker crashes and starts again.
    Restart(usize, Wreck),
    /// A broker crashes and starts again on an older image: only that many entries are left.
    RollBack(usize, usize),
    /// A broker's volume is lost.
    Wipe(usize),
    /// A broker's disk fails.
    Fault(usize),
}

/// Everything that can happen next.
pub fn possible(configuration: &Configuration, world: &World, actions: &mut Vec<Action>) {
    if world.broken.is_some() {
        return;
    }
    actions.extend((0..world.network.len()).map(Action::Deliver));
    actions.extend((0..world.catalog.wishes.len()).map(Action::Grant));
    let left = &world.left;
    if left.duplicates > 0 {
        actions.extend((0..world.network.len()).map(Action::DeliverAndKeep));
    }
    for (slot, node) in world.nodes.iter().enumerate() {
        if !node.fenced {
            live(world, slot, node, actions);
        }
        if left.restarts > 0 {
            actions.extend(node.disk.wrecks().map(|wreck| Action::Restart(slot, wreck)));
        }
        if left.rollbacks > 0 {
            actions.extend((0..node.disk.log.len()).map(|kept| Action::RollBack(slot, kept)));
        }
        if left.wipes > 0 {
            actions.push(Action::Wipe(slot));
        }
    }
    if left.elections > 0 {
        actions.extend(elections(configuration, world).into_iter().map(Action::Elect));
    }
}

/// What a broker with a working disk may do.
fn live(world: &World, slot: usize, node: &Node, actions: &mut Vec<Action>) {
    if node.disk.operation.is_some() {
        actions.push(Action::Complete(slot));
    }
    if node.disk.persisting.is_some() {
        actions.push(Action::Persist(slot));
    }
    actions.extend(world.catalog.news(node.known).map(|row| Action::Learn(slot, row.version)));
    let left = &world.left;
    if left.faults > 0 {
        actions.push(Action::Fault(slot));
    }
    if !node.replica.is_leader() {
        return;
    }
    if left.ticks > 0 {
        actions.extend([Action::Look(slot), Action::Tick(slot)]);
    }
    if left.appends > 0 && node.replica.check_leader().is_ok() {
        actions.push(Action::Append(slot));
    }
    if left.decisions > 0 && node.replica.is_serving() && node.decision.is_none() {
        actions.push(Action::Decide(slot));
    }
    if left.hand_overs > 0 && !node.handing {
        let others = world.nodes.iter().map(|other| other.replica.member().broker);
        let others = others.filter(|other| *other != node.replica.member().broker);
        actions.extend(others.map(|other| Action::HandOver(slot, other)));
    }
}

/// Every election that follows from the answers of some replicas.
fn elections(configuration: &Configuration, world: &World) -> Vec<Election> {
    let mut elections: Vec<Election> = Vec::new();
    for chosen in 1_u32..1 << world.nodes.len() {
        let answering = world.nodes.iter().enumerate().filter(|(slot, _)| chosen & (1 << slot) != 0);
        let answers: Vec<Answer> = answering.map(|(_, node)| node.answer()).collect();
        if let Some(election) = world.catalog.plan(&answers, configuration.planted)
            && !elections.contains(&election)
        {
            elections.push(election);
        }
    }
    elections
}

/// The state after an action; none if it changes nothing.
pub fn after(configuration: &Configuration, world: &World, action: &Action) -> Option<World> {
    let mut next = world.clone();
    let result = catch_unwind(AssertUnwindSafe(|| happen(configuration, &mut next, action)));
    match result {
        Ok(true) => Some(next),
        Ok(false) => None,
        Err(_) => Some(World { broken: Some(Rule::Assertion), ..world.clone() }),
    }
}

fn happen(configuration: &Configuration, world: &mut World, action: &Action) -> bool {
    match *action {
        Action::Deliver(index) => deliver(configuration, world, index, false),
        Action::DeliverAndKeep(index) => {
            world.left.duplicates -= 1;
            deliver(configuration, world, index, true)
        }
        Action::Complete(slot) => world.drive(configuration, slot, |node, now, effects| {
            let input = complete(node).filter(|_| configuration.planted != Some(Planted::DurableBeforeSync));
            feed(&mut node.replica, now, input, effects);
        }),
        Action::Persist(slot) => world.drive(configuration, slot, |node, now, effects| {
            let input = persist(node);
            feed(&mut node.replica, now, input, effects);
        }),
        Action::Learn(slot, version) => learn(configuration, world, slot, version),
        Action::Look(slot) => {
            world.left.ticks -= 1;
            world.drive(configuration, slot, |node, now, effects| {
                node.replica.step(now, Input::Tick, effects);
            })
        }
        Action::Tick(slot) => {
            world.left.ticks -= 1;
            world.drive(configuration, slot, |node, _, effects| {
                node.tick();
                node.replica.step(node.now(), Input::Tick, effects);
            })
        }
        Action::Append(slot) => {
            let stream = StreamId(u64::from(world.left.appends));
            world.left.appends -= 1;
            world.drive(configuration, slot, |node, now, _| {
                node.replica.append(now.log_time, stream, Body::EpochStart);
            })
        }
        Action::Decide(slot) => {
            world.left.decisions -= 1;
            let newest = world.history.newest_commit();
            world.drive(configuration, slot, |node, _, _| {
                let (epoch, round) = (node.replica.epoch(), node.replica.confirm());
                node.decision = Some(Decision { epoch, round, overtaken: newest > epoch });
            })
        }
        Action::HandOver(slot, to) => {
            world.left.hand_overs -= 1;
            world.drive(configuration, slot, |node, now, effects| {
                node.handing = true;
                node.replica.step(now, Input::HandOver(to), effects);
            })
        }
        Action::Grant(index) => world
            .with_catalog(configuration, |catalog| {
                let wish = catalog.wishes.remove(index);
                catalog.grant(&wish, configuration.planted)
            })
            .unwrap_or_else(|rule| {
                world.broken = Some(rule);
                true
            }),
        Action::Elect(ref election) => {
            world.left.elections -= 1;
            world.with_catalog(configuration, |catalog| catalog.elect(election));
            true
        }
        Action::Restart(slot, wreck) => {
            world.left.restarts -= 1;
            let mut disk = world.nodes[slot].disk.clone();
            disk.crash(wreck);
            restart(configuration, world, slot, disk, false);
            true
        }
        Action::RollBack(slot, kept) => {
            world.left.rollbacks -= 1;
            let mut disk = world.nodes[slot].disk.clone();
            disk.crash(Wreck { kept: 0, promised: false });
            disk.log.truncate(kept);
            disk.promised = disk.recover().epochs.last();
            restart(configuration, world, slot, disk, true);
            world.damage();
            true
        }
        Action::Wipe(slot) => {
            world.left.wipes -= 1;
            let lost = world.nodes[slot].replica.member().broker;
            let member = world.with_catalog(configuration, |catalog| catalog.replace(lost));
            world.replace(slot, Node::start(member, Disk::default()));
            let version = world.catalog.row().version;
            learn(configuration, world, slot, version);
            world.damage();
            true
        }
        Action::Fault(slot) => {
            world.left.faults -= 1;
            world.drive(configuration, slot, |node, now, effects| {
                node.fenced = true;
                node.replica.step(now, Input::Fault, effects);
            })
        }
    }
}

/// A broker starts on what is left of its disk. It registers before it opens a shard, and goes by the catalog as of
/// its registration from the start: so even a volume that forgot a promise does not answer in an epoch that had ended.
fn restart(configuration: &Configuration, world: &mut World, slot: usize, disk: Disk, damaged: bool) {
    let before = world.nodes[slot].clone();
    let member =
        world.with_catalog(configuration, |catalog| catalog.register(before.replica.member().broker));
    let answered = if damaged { disk.promised } else { before.answered };
    let damaged = damaged || before.damaged;
    world.replace(slot, Node { answered, damaged, ..Node::start(member, disk) });
    if configuration.starts_with_catalog {
        let version = world.catalog.row().version;
        learn(configuration, world, slot, version);
    }
}

fn deliver(configuration: &Configuration, world: &mut World, index: usize, keep: bool) -> bool {
    let packet = if keep { world.network.get(index).clone() } else { world.network.remove(index) };
    let Some(slot) = world.slot(packet.to) else { return false };
    if world.nodes[slot].fenced {
        return false;
    }
    let input = Input::Message { from: packet.from, message: packet.message.clone() };
    world.drive(configuration, slot, |node, now, effects| node.replica.step(now, input, effects))
}

fn learn(configuration: &Configuration, world: &mut World, slot: usize, version: u64) -> bool {
    let row = world.catalog.news(world.nodes[slot].known).find(|row| row.version == version).cloned();
    let Some(row) = row else { return false };
    world.drive(configuration, slot, |node, now, effects| {
        node.known = version;
        // A leader that confirmed this start did so because it holds everything again.
        node.damaged &= !row.isr.contains(&node.replica.member());
        node.replica.step(now, Input::Assigned((*row).clone()), effects);
    });
    world.with_catalog(configuration, |_| ());
    true
}

/// What a row begins with.
pub fn first(configuration: &Configuration) -> World {
    let mut world = World::new(configuration);
    if configuration.start == Start::Serving {
        let quiet = Budgets::default();
        let left = std::mem::replace(&mut world.left, quiet);
        while let Some(next) = quiet_step(configuration, &world) {
            world = next;
        }
        world.left = left;
    }
    world
}

/// One step of the history in which nothing goes wrong.
fn quiet_step(configuration: &Configuration, world: &World) -> Option<World> {
    let mut actions = Vec::new();
    possible(configuration, world, &mut actions);
    actions.iter().find_map(|action| after(configuration, world, action))
}
