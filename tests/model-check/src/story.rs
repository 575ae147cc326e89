//! A history in words: what a person reads when a rule is broken.

use pondage_replication::Message;

use crate::{
    action::{self, Action},
    configuration::Configuration,
    world::{Packet, World},
};

/// Replays a history; one line for each thing that happened, and what the replicas were like afterwards.
pub fn tell(configuration: &Configuration, actions: &[Action]) -> Vec<String> {
    let mut world = action::first(configuration);
    let mut lines = vec![format!("at first: {}", summary(&world))];
    for action in actions {
        let what = describe(&world, action);
        match action::after(configuration, &world, action) {
            Some(next) => world = next,
            None => lines.push(format!("{what}: nothing changes, which is not how it was recorded")),
        }
        lines.push(format!("{what}: {}", summary(&world)));
    }
    lines
}

fn describe(world: &World, action: &Action) -> String {
    match action {
        Action::Deliver(index) => packet(world.network.get(*index)),
        Action::DeliverAndKeep(index) => {
            format!("(not for the last time) {}", packet(world.network.get(*index)))
        }
        Action::Grant(index) => format!("the catalog gets {:?}", **world.catalog.wishes.get(*index)),
        other => format!("{other:?}"),
    }
}

fn packet(packet: &Packet) -> String {
    let message = match &packet.message {
        Message::Push(push) => {
            let entries: Vec<_> = push.entries.iter().map(|entry| (entry.position, entry.epoch)).collect();
            format!(
                "Push {{ {:?}, {:?}..{:?}, before {:?}, {entries:?}, high watermark {:?}, round {} }}",
                push.epoch, push.from, push.to, push.before, push.high_watermark, push.round
            )
        }
        other => format!("{other:?}"),
    };
    format!("{:?} -> {:?} {message}", packet.from, packet.to)
}

fn summary(world: &World) -> String {
    let row = world.catalog.row();
    let nodes = world.nodes.iter().map(|node| {
        let replica = &node.replica;
        let role = if node.fenced {
            "fenced"
        } else if replica.is_serving() {
            "serves"
        } else if replica.is_leader() {
            "leads"
        } else {
            "follows"
        };
        let epochs: Vec<u64> = node.disk.log.iter().map(|(_, epoch, _)| epoch.get()).collect();
        format!(
            "{:?} {role} {:?} v{} log {epochs:?} end {:?} hw {:?}",
            replica.member(),
            replica.epoch(),
            node.known,
            replica.end(),
            replica.high_watermark()
        )
    });
    let nodes: Vec<String> = nodes.collect();
    let committed: Vec<u64> = world.history.committed.iter().map(|entry| entry.epoch.get()).collect();
    let head = format!("row {:?} v{} {:?} {:?}", row.epoch, row.version, row.leader, row.isr);
    format!("{head}, committed {committed:?}, broken {:?}\n      {}", world.broken, nodes.join("\n      "))
}
