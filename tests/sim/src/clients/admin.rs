//! Declares the world's topic and queues, then changes them: more partitions, other settings, a queue that is
//! purged, deleted and made again.

use pondage_model::{
    Name, Refusal, StreamId,
    refusal::{Code, Outcome},
    settings::{Backoff, GroupSettings, GroupSource, Placement, QueueSettings, Sharing, TopicSettings},
};
use pondage_node::{
    coordinator::{AdminReply, AdminRequest, ResourceKind},
    delivery::{self, Reply},
    shard::{ShardReply, ShardRequest},
};

use super::{
    ClientId, DEAD, GROUP, LATER, PARTITIONS_MAX, SCRATCH, SHARED, TOPIC, WORK, consume::LEASE_MILLIS, place,
};
use crate::{oracle::At, world::World};

#[derive(Debug)]
pub(super) struct Admin {
    /// How many of the first steps are done.
    begun: usize,
    doing: Option<Doing>,
    waiting: bool,
    partitions: u32,
    scratch: bool,
    rounds: u32,
    /// A deletion of unknown outcome may still arrive until then: the queue has to be made again.
    remake_after: Option<u64>,
}

#[derive(Clone, Debug)]
enum Doing {
    Apply(AdminRequest),
    Delete(Option<StreamId>),
    Make,
    Purge(Vec<At>),
}

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

fn queue() -> QueueSettings {
    QueueSettings { ack_timeout_millis: LEASE_MILLIS, ..QueueSettings::default() }
}

fn work(max_deliveries: u32) -> AdminRequest {
    let settings = QueueSettings {
        max_deliveries,
        dead_letter: Some(name(DEAD)),
        backoff: Backoff::Schedule(vec![10, 200]),
        ..queue()
    };
    AdminRequest::ApplyQueue(name(WORK), settings)
}

fn topic(partitions: u32) -> AdminRequest {
    AdminRequest::ApplyTopic(name(TOPIC), TopicSettings { partitions, ..TopicSettings::default() })
}

/// The steps that make the world.
fn beginning(step: usize) -> Option<AdminRequest> {
    Some(match step {
        0 => topic(2),
        1 => AdminRequest::ApplyQueue(name(DEAD), queue()),
        2 => work(3),
        3 => AdminRequest::ApplyQueue(name(LATER), queue()),
        4 => AdminRequest::ApplyGroup(
            name(GROUP),
            GroupSettings {
                in_flight_per_consumer_max: 100,
                ..GroupSettings::of(GroupSource::Topics(vec![name(TOPIC)]))
            },
        ),
        5 => AdminRequest::ApplyGroup(
            name(SHARED),
            GroupSettings {
                sharing: Some(Sharing {
                    ack_timeout_millis: LEASE_MILLIS,
                    max_deliveries: 3,
                    backoff: Backoff::Schedule(vec![10, 200]),
                    dead_letter: Some(name(DEAD)),
                }),
                ..GroupSettings::of(GroupSource::Topics(vec![name(TOPIC)]))
            },
        ),
        _ => return None,
    })
}

impl Admin {
    pub(super) fn new() -> Self {
        Self {
            begun: 0,
            doing: None,
            waiting: false,
            partitions: 2,
            scratch: false,
            rounds: 0,
            remake_after: None,
        }
    }

    pub(super) fn act(&mut self, world: &mut World, id: ClientId, healing: bool) {
        if self.waiting {
            return;
        }
        // Whichever broker is asked may not know them yet.
        if let (Some((dead, _)), Some((work, _))) = (place(world, DEAD, 0), place(world, WORK, 0)) {
            world.oracle.dead = Some((dead, work));
        }
        let scratch = place(world, SCRATCH, 0);
        if self.doing.is_none() {
            self.doing = self.choose(world, healing, scratch.map(|(stream, _)| stream));
        }
        let Some(doing) = &mut self.doing else {
            if !healing || self.remake_after.is_some() {
                let pause = world.chance.between(200_000, 1_500_000);
                world.plan_client(pause, id);
            }
            return;
        };
        let request = match doing {
            Doing::Apply(request) => request.clone(),
            Doing::Make => AdminRequest::ApplyQueue(
                name(SCRATCH),
                QueueSettings {
                    max_deliveries: 2,
                    dead_letter: (self.rounds % 3 != 2).then(|| name(DEAD)),
                    placement: if self.rounds.is_multiple_of(2) {
                        Placement::Auto
                    } else {
                        Placement::Dedicated
                    },
                    ..queue()
                },
            ),
            Doing::Delete(_) => {
                AdminRequest::Delete { kind: ResourceKind::Queue, name: name(SCRATCH), messages: 0 }
            }
            Doing::Purge(purgeable) => {
                let Some((stream, shard)) = scratch.filter(|_| world.is_up()) else {
                    self.doing = None;
                    return world.plan_client(20_000, id);
                };
                *purgeable = world.oracle.purgeable(stream);
                let request = ShardRequest::Delivery(delivery::Request::Purge { stream });
                self.waiting = world.request(id, shard, request);
                return;
            }
        };
        self.waiting = world.admin(id, request);
    }

    fn choose(&mut self, world: &mut World, healing: bool, scratch: Option<StreamId>) -> Option<Doing> {
        if let Some(request) = beginning(self.begun) {
            return Some(Doing::Apply(request));
        }
        if !self.scratch {
            return Some(Doing::Make);
        }
        if healing {
            if self.remake_after.is_some_and(|after| world.micros >= after) {
                self.remake_after = None;
                return Some(Doing::Make);
            }
            return None;
        }
        match world.chance.below(10) {
            0 if self.partitions < PARTITIONS_MAX => Some(Doing::Apply(topic(self.partitions + 1))),
            1 | 2 => Some(Doing::Apply(work(3 + world.chance.below(2) as u32))),
            3..=5 => Some(Doing::Purge(Vec::new())),
            6 | 7 => Some(Doing::Delete(scratch)),
            _ => None,
        }
    }

    pub(super) fn answer(&mut self, world: &mut World, id: ClientId, result: &Result<AdminReply, Refusal>) {
        self.waiting = false;
        let longest = if world.is_healing() || beginning(self.begun).is_some() { 50_000 } else { 1_500_000 };
        let pause = world.chance.between(1_000, longest);
        world.plan_client(pause, id);
        let Some(doing) = self.doing.clone() else { return };
        world.trace.say(world.micros, format_args!("admin: {doing:?}: {:?}", result.as_ref().err()));
        match (doing, result) {
            (Doing::Apply(request), Ok(_)) => self.applied(&request),
            (Doing::Make, Ok(_)) => self.scratch = true,
            (Doing::Delete(stream), Ok(_)) => self.deleted(world, stream),
            // The catalog knows it no more; only an answer of success says that the shard's leader does not either.
            (Doing::Delete(stream), Err(refusal)) if refusal.code() == Code::NotFound => {
                self.deleted(world, stream.filter(|_| !world.is_cluster()));
            }
            // An earlier one that it had given up arrived after all, and made it otherwise.
            (Doing::Make, Err(refusal)) if refusal.code() == Code::InvalidArgument && world.is_cluster() => {
                self.scratch = true;
            }
            (doing, Err(refusal)) if refusal.retriable() => {
                if matches!(doing, Doing::Delete(_)) && refusal.outcome() == Outcome::Unknown {
                    self.may_be_deleted(world);
                }
                return;
            }
            (doing, result) => {
                return world.violate(format!("admin: {doing:?} was answered with {result:?}"));
            }
        }
        self.doing = None;
    }

    fn applied(&mut self, request: &AdminRequest) {
        if let AdminRequest::ApplyTopic(_, settings) = request {
            self.partitions = settings.partitions;
        }
        if beginning(self.begun).is_some() {
            self.begun += 1;
        }
    }

    fn deleted(&mut self, world: &mut World, stream: Option<StreamId>) {
        world.oracle.may_end(SCRATCH);
        if let Some(stream) = stream {
            world.oracle.closed(stream);
        }
        self.scratch = false;
        self.rounds += 1;
    }

    pub(super) fn shard_answer(&mut self, world: &mut World, id: ClientId, reply: &ShardReply) {
        self.waiting = false;
        world.plan_client(20_000, id);
        if let (Some(Doing::Purge(purgeable)), ShardReply::Delivery(Reply::Purged { messages })) =
            (&self.doing, reply)
        {
            world.trace.say(world.micros, format_args!("purged {messages} messages"));
            world.oracle.purged(purgeable);
        }
        world.oracle.may_end(SCRATCH);
        self.doing = None;
    }

    pub(super) fn lost(&mut self, world: &mut World) {
        if self.waiting && matches!(self.doing, Some(Doing::Purge(_) | Doing::Delete(_))) {
            self.may_be_deleted(world);
        }
        if matches!(self.doing, Some(Doing::Purge(_))) {
            self.doing = None;
        }
        self.waiting = false;
    }

    /// A purge or deletion is under way whose end nobody hears of: in a cluster it may come after the queue was made
    /// again.
    fn may_be_deleted(&mut self, world: &mut World) {
        world.oracle.may_end(SCRATCH);
        if world.is_cluster() {
            world.oracle.doom(SCRATCH);
            self.remake_after = Some(world.end_of_late_requests());
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.doing.is_none() && self.scratch && self.remake_after.is_none() && beginning(self.begun).is_none()
    }
}
