//! Declares the world's topic and queues, again and again until each is there.

use pondage_model::{
    Name, Refusal,
    settings::{Backoff, GroupSettings, GroupSource, QueueSettings, StartPosition, TopicSettings},
};
use pondage_node::coordinator::{AdminReply, AdminRequest};

use super::{ClientId, DEAD, GROUP, LATER, TOPIC, WORK, place};
use crate::world::World;

#[derive(Debug, Default)]
pub(super) struct Admin {
    applied: usize,
    waiting: bool,
}

fn requests() -> Vec<AdminRequest> {
    let name = |text| Name::new(text).expect("valid");
    let queue = QueueSettings { ack_timeout_millis: 2_000, ..QueueSettings::default() };
    vec![
        AdminRequest::ApplyTopic(name(TOPIC), TopicSettings { partitions: 2, ..TopicSettings::default() }),
        AdminRequest::ApplyQueue(name(DEAD), queue.clone()),
        AdminRequest::ApplyQueue(
            name(WORK),
            QueueSettings {
                max_deliveries: 3,
                dead_letter: Some(name(DEAD)),
                backoff: Backoff::Schedule(vec![10, 200]),
                ..queue.clone()
            },
        ),
        AdminRequest::ApplyQueue(name(LATER), queue),
        AdminRequest::ApplyGroup(
            name(GROUP),
            GroupSettings {
                source: GroupSource::Topics(vec![name(TOPIC)]),
                start_position: StartPosition::Earliest,
                in_flight_per_consumer_max: 100,
            },
        ),
    ]
}

impl Admin {
    pub(super) fn act(&mut self, world: &mut World, id: ClientId) {
        let mut requests = requests();
        if self.is_done() || self.waiting {
            return;
        }
        self.waiting = world.admin(id, requests.swap_remove(self.applied));
        if !self.waiting {
            world.plan_client(20_000, id);
        }
    }

    pub(super) fn answer(&mut self, world: &mut World, id: ClientId, result: &Result<AdminReply, Refusal>) {
        self.waiting = false;
        if let Err(refusal) = result {
            world.trace.say(world.micros, format_args!("apply refused: {refusal}"));
        } else {
            self.applied += 1;
            if self.is_done() {
                let (dead, work) = (place(world, DEAD, 0), place(world, WORK, 0));
                world.oracle.dead = dead.zip(work).map(|((dead, _), (work, _))| (dead, work));
            }
        }
        world.plan_client(1_000, id);
    }

    pub(super) fn broker_lost(&mut self) {
        self.waiting = false;
    }

    pub(super) fn is_done(&self) -> bool {
        self.applied == requests().len()
    }
}
