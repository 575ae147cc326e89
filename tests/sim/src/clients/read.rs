//! A reader of one partition of the topic, as the owner of a group: claims, reads in order and without a gap, commits
//! behind itself, and is moved by hand now and then.

use pondage_model::{GroupEpoch, Name, Offset, ShardId, StreamId, refusal::Code};
use pondage_node::{
    delivery::{self, Reply},
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
    start: Offset,
    end: Offset,
    epoch: GroupEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Claim,
    Follow,
    Read,
    Commit(Offset),
    /// Somebody moves the cursor by hand.
    Seek(Offset),
    /// The owner before the seek does not know of it yet, and commits; the new owner goes on there.
    CommitLate(GroupEpoch, Offset),
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
            start: Offset::ZERO,
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

    pub(super) fn act(&mut self, world: &mut World, id: ClientId, healing: bool) {
        if self.waiting {
            return;
        }
        let found = place(world, TOPIC, self.partition);
        let Some((stream, shard)) = found.filter(|_| world.is_up() && world.knows_group(&self.group()))
        else {
            return world.plan_client(20_000, id);
        };
        self.stream = Some(stream);
        if !matches!(self.step, Step::Claim | Step::Follow) && world.session(id, shard).is_none() {
            // It is led elsewhere by now.
            self.step = Step::Claim;
        }
        let group = self.group();
        let request = match self.step {
            Step::Claim => delivery::Request::Claim { stream, group, start: Offset::ZERO, owner: None },
            Step::Follow => {
                self.life += 1;
                self.waiting =
                    world.open_session(id, shard, ShardRequest::Follow { stream, reader: self.id() });
                return;
            }
            Step::Read => return self.read(world, id, stream, shard, healing),
            Step::Commit(offset) => {
                world.oracle.cursor_asked(stream, offset);
                delivery::Request::Commit { stream, group, epoch: self.epoch, offset }
            }
            Step::Seek(offset) => {
                world.oracle.cursor_asked(stream, offset);
                delivery::Request::Seek { stream, group, offset }
            }
            Step::CommitLate(..) => {
                delivery::Request::Commit { stream, group, epoch: self.epoch, offset: self.next }
            }
        };
        self.waiting = world.request(id, shard, ShardRequest::Delivery(request));
    }

    fn read(&mut self, world: &mut World, id: ClientId, stream: StreamId, shard: ShardId, healing: bool) {
        // A shard that has ended is read from again after the start.
        let Some(host) = world.session(id, shard) else { return world.plan_client(20_000, id) };
        let start = world.start_of(host, shard, stream);
        if let Some(start) = start.filter(|_| self.next < self.end) {
            let entries = world.read(host, shard, stream, self.next);
            let found = messages_in(world, stream, &entries);
            let before = self.next;
            for (offset, message) in found.range(self.next..self.end) {
                if *offset > self.next && self.next >= start {
                    break;
                }
                world.oracle.read_in_order(*message, stream, *offset);
                self.next = offset.next();
            }
            if self.next == before && before >= start {
                world.violate(format!("L2: {stream:?} {before:?} is committed and can't be read"));
                return;
            }
            self.next = self.next.max(start);
        }
        if !healing && world.chance.once_in(60) {
            self.step = Step::Seek(Offset(world.chance.between(self.start.0, self.end.0)));
        } else if self.next > self.committed && world.chance.once_in(3) {
            self.step = Step::Commit(self.next);
        }
        let idle = self.step == Step::Read && self.next >= self.end && self.next == self.committed;
        let pause = world.chance.between(1_000, if idle { 2_000_000 } else { 50_000 });
        world.plan_client(pause, id);
    }

    pub(super) fn answer(&mut self, world: &mut World, id: ClientId, reply: ShardReply) {
        self.waiting = false;
        let pause = world.chance.between(100, 20_000);
        world.plan_client(pause, id);
        let Some(stream) = self.stream else { return };
        match (self.step, reply) {
            (Step::Claim, ShardReply::Delivery(Reply::Claimed { epoch, offset })) => {
                let start = place(world, TOPIC, self.partition)
                    .and_then(|(stream, shard)| world.newest_start_of(shard, stream))
                    .unwrap_or_default();
                world.oracle.claimed(stream, offset, start);
                // From the beginning again: what was readable once means the same for ever.
                world.oracle.read_anew(stream);
                (self.epoch, self.next, self.committed) = (epoch, Offset::ZERO, offset);
                self.step = Step::Follow;
            }
            (Step::Follow, ShardReply::Following { start, end }) => {
                (self.start, self.end) = (self.start.max(start), self.end.max(end));
                self.step = Step::Read;
            }
            (Step::Commit(offset), ShardReply::Delivery(Reply::Done)) => {
                self.committed = offset;
                world.oracle.cursor_is(stream, offset);
                self.step = Step::Read;
            }
            (Step::Seek(to), ShardReply::Delivery(Reply::Claimed { epoch, offset })) => {
                if offset != to {
                    world.violate(format!("L2: {stream:?}: a seek to {to:?} went to {offset:?}"));
                }
                world.oracle.cursor_is(stream, offset);
                self.step = Step::CommitLate(epoch, offset);
            }
            // Retention may have passed it in the meantime.
            (Step::Seek(_), ShardReply::Delivery(Reply::Refused(refusal)))
                if refusal.code() == Code::OutOfRange =>
            {
                self.step = Step::Read;
            }
            (Step::CommitLate(epoch, offset), ShardReply::Delivery(Reply::Refused(refusal)))
                if refusal.code() == Code::Fenced =>
            {
                world.oracle.read_anew(stream);
                (self.epoch, self.next, self.committed) = (epoch, offset, offset);
                self.step = Step::Read;
            }
            (_, ShardReply::Refused(_)) => {}
            // A claim or seek that it had given up arrived after all.
            (Step::Commit(_), ShardReply::Delivery(Reply::Refused(refusal)))
                if refusal.code() == Code::Fenced && world.is_cluster() =>
            {
                self.step = Step::Claim;
            }
            // The routes came from one who knew more than this leader.
            (_, ShardReply::Delivery(Reply::Refused(refusal)))
                if refusal.code() == Code::NotFound && world.is_cluster() => {}
            (step, other) => world.violate(format!("{step:?} of partition {} got {other:?}", self.partition)),
        }
    }

    pub(super) fn progress(&mut self, world: &mut World, id: ClientId, start: Offset, end: Offset) {
        if end < self.end || start < self.start {
            world.violate(format!(
                "L1: partition {} went from {:?}..{:?} to {start:?}..{end:?}",
                self.partition, self.start, self.end
            ));
        }
        (self.start, self.end) = (start, end);
        world.plan_client(1, id);
    }

    pub(super) fn lost(&mut self, world: &mut World) {
        self.waiting = false;
        if let (Step::Seek(offset), Some(stream)) = (self.step, self.stream) {
            world.oracle.cursor_may_move(stream, offset);
        }
        self.step = Step::Claim;
    }

    /// A partition that the topic has not grown to has nothing to read.
    pub(super) fn is_at_end(&self) -> bool {
        self.stream.is_none() || (self.step == Step::Read && self.next == self.end)
    }

    pub(super) fn read_to(&self) -> Option<(StreamId, Offset)> {
        self.stream.map(|stream| (stream, self.next))
    }
}
