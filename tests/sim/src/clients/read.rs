//! A reader of one partition of the topic, as the owner of a group: claims, reads in order, commits behind itself.

use pondage_model::{GroupEpoch, Name, Offset, ShardId, StreamId};
use pondage_node::{
    delivery,
    shard::{ReaderId, ShardReply, ShardRequest},
};

use super::{ClientId, GROUP, TOPIC, messages_in, place};
use crate::world::World;

#[derive(Debug)]
pub(super) struct Reader {
    partition: usize,
    life: u64,
    step: Step,
    waiting: bool,
    stream: Option<StreamId>,
    next: Offset,
    committed: Offset,
    end: Offset,
    epoch: GroupEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Claim,
    Follow,
    Read,
    Commit(Offset),
}

impl Reader {
    pub(super) fn new(partition: usize) -> Self {
        Self {
            partition,
            life: 0,
            step: Step::Claim,
            waiting: false,
            stream: None,
            next: Offset::ZERO,
            committed: Offset::ZERO,
            end: Offset::ZERO,
            epoch: GroupEpoch::ZERO,
        }
    }

    fn id(&self) -> ReaderId {
        ReaderId((self.life << 8) | self.partition as u64)
    }

    pub(super) fn is(&self, reader: ReaderId) -> bool {
        self.id() == reader
    }

    fn group(&self) -> Name {
        Name::new(GROUP).expect("valid")
    }

    pub(super) fn act(&mut self, world: &mut World, id: ClientId) {
        if self.waiting {
            return;
        }
        let Some((stream, shard)) =
            place(world, TOPIC, self.partition).filter(|_| world.is_up() && world.knows_group(&self.group()))
        else {
            return world.plan_client(20_000, id);
        };
        self.stream = Some(stream);
        let request = match self.step {
            Step::Claim => ShardRequest::Delivery(delivery::Request::Claim {
                stream,
                group: self.group(),
                start: Offset::ZERO,
            }),
            Step::Follow => {
                self.life += 1;
                ShardRequest::Follow { stream, reader: self.id() }
            }
            Step::Read => return self.read(world, id, stream, shard),
            Step::Commit(offset) => ShardRequest::Delivery(delivery::Request::Commit {
                stream,
                group: self.group(),
                epoch: self.epoch,
                offset,
            }),
        };
        self.waiting = world.request(id, shard, request);
    }

    fn read(&mut self, world: &mut World, id: ClientId, stream: StreamId, shard: ShardId) {
        if self.next < self.end {
            let found = messages_in(&world.read(shard, stream, self.next));
            let mut read = 0;
            for (offset, message) in found.range(self.next..self.end) {
                world.oracle.read_in_order(*message, stream, *offset);
                self.next = offset.next();
                read += 1;
            }
            if read == 0 {
                world.violate(format!("L2: {stream:?} {:?} is committed and can't be read", self.next));
                return;
            }
        }
        if self.next > self.committed && world.chance.once_in(3) {
            self.step = Step::Commit(self.next);
        }
        let pause = world.chance.between(1_000, 100_000);
        world.plan_client(pause, id);
    }

    pub(super) fn answer(&mut self, world: &mut World, id: ClientId, reply: &ShardReply) {
        self.waiting = false;
        match (self.step, reply) {
            (Step::Claim, ShardReply::Delivery(delivery::Reply::Claimed { epoch, offset })) => {
                let Some(stream) = self.stream else { return };
                world.oracle.claimed(stream, *offset);
                // From the beginning again: what was readable once means the same for ever.
                world.oracle.read_anew(stream);
                (self.epoch, self.next, self.committed) = (*epoch, Offset::ZERO, *offset);
                self.step = Step::Follow;
            }
            (Step::Follow, ShardReply::Following { end, .. }) => {
                self.end = self.end.max(*end);
                self.step = Step::Read;
            }
            (Step::Commit(offset), ShardReply::Delivery(delivery::Reply::Done)) => {
                let Some(stream) = self.stream else { return };
                if offset >= self.committed {
                    self.committed = offset;
                    world.oracle.committed(stream, offset);
                }
                self.step = Step::Read;
            }
            (_, ShardReply::Refused(_)) => {}
            (step, other) => world.violate(format!("{step:?} of partition {} got {other:?}", self.partition)),
        }
        let pause = world.chance.between(100, 20_000);
        world.plan_client(pause, id);
    }

    pub(super) fn progress(&mut self, world: &mut World, id: ClientId, end: Offset) {
        if end < self.end {
            world.violate(format!(
                "L1: the end of partition {} went from {:?} to {end:?}",
                self.partition, self.end
            ));
        }
        self.end = end;
        world.plan_client(1, id);
    }

    pub(super) fn broker_lost(&mut self) {
        self.waiting = false;
        self.step = Step::Claim;
    }

    pub(super) fn is_at_end(&self) -> bool {
        self.step == Step::Read && self.next == self.end
    }

    pub(super) fn read_to(&self) -> Option<(StreamId, Offset)> {
        self.stream.map(|stream| (stream, self.next))
    }
}
