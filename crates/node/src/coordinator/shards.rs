//! What the shards have to do for the catalog, and the answers that wait until they have.
//!
//! Each shard is asked one thing at a time, and what it is asked is looked up when it is asked: two changes of one
//! stream can't overtake each other, and many changes that come together cost one batch.

use std::collections::{BTreeMap, BTreeSet};

use pondage_catalog::Kind;
use pondage_model::{Epoch, Name, Revision, ShardId, StreamId};

use super::CoordinatorEffect;
use crate::shard::RequestId;

/// Names an answer that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AnswerId(u64);

/// Every shard that this broker leads.
#[derive(Debug, Default)]
pub(super) struct Shards {
    shards: BTreeMap<ShardId, Shard>,
    /// Shards that this broker holds no more and that may still say what they had decided, and who waits for them.
    ending: BTreeMap<ShardId, BTreeSet<AnswerId>>,
    /// What is under way, and where.
    asked: BTreeMap<RequestId, ShardId>,
    answers: BTreeMap<AnswerId, Answer>,
    answers_made: u64,
}

#[derive(Debug)]
struct Shard {
    epoch: Epoch,
    serving: bool,
    asked: Option<Wanted>,
    wanted: Wanted,
}

/// What a shard has to do.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    /// All its streams are to be looked at, and those that it should not have.
    pub(super) all: bool,
    /// Streams to be looked at, with the groups whose cursors are to be forgotten.
    pub(super) streams: BTreeMap<StreamId, BTreeSet<Name>>,
    /// Answers that wait for it.
    answers: BTreeSet<AnswerId>,
}

/// What happens once shards did their part.
#[derive(Debug, Default)]
pub(super) struct Answer {
    /// What is said.
    pub(super) effect: Option<CoordinatorEffect>,
    /// The resource that messages may go to from then on, unless it changed since this revision.
    pub(super) route: Option<(Kind, Name, Revision)>,
    /// How many shards, and groups of shards of other brokers, have not done their part.
    parts: usize,
}

impl Answer {
    pub(super) fn saying(effect: Option<CoordinatorEffect>) -> Self {
        Self { effect, ..Self::default() }
    }

    pub(super) fn routing(self, kind: Kind, name: Name, since: Revision) -> Self {
        Self { route: Some((kind, name, since)), ..self }
    }
}

impl Shards {
    /// An answer that waits for the shards that are made to do their part for it by [`Self::wait`].
    pub(super) fn answer(&mut self, answer: Answer) -> AnswerId {
        self.answers_made += 1;
        let id = AnswerId(self.answers_made);
        self.answers.insert(id, answer);
        id
    }

    /// Gives the answer if it waits for nobody.
    pub(super) fn settle(&mut self, id: AnswerId, given: &mut Vec<Answer>) {
        if self.answers.get(&id).is_some_and(|answer| answer.parts == 0) {
            given.extend(self.answers.remove(&id));
        }
    }

    /// The shard is led here from this epoch on; it is asked nothing before it serves, and then all.
    pub(super) fn start(&mut self, shard: ShardId, epoch: Epoch) {
        let wanted = Wanted { all: true, ..Wanted::default() };
        self.shards.insert(shard, Shard { epoch, serving: false, asked: None, wanted });
    }

    /// The shard serves in this epoch; whether it should.
    pub(super) fn serving(&mut self, shard: ShardId, epoch: Epoch) -> bool {
        let Some(found) = self.shards.get_mut(&shard).filter(|found| found.epoch == epoch) else {
            return false;
        };
        found.serving = true;
        found.wanted.all = true;
        true
    }

    /// Whether the shard is led here.
    pub(super) fn is_led(&self, shard: ShardId) -> bool {
        self.shards.contains_key(&shard)
    }

    /// Whether the shard is led here in this epoch.
    pub(super) fn leads_in(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.shards.get(&shard).is_some_and(|found| found.epoch == epoch)
    }

    /// Whether the shard is led here in this epoch and serves.
    pub(super) fn serves_in(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.shards.get(&shard).is_some_and(|found| found.epoch == epoch && found.serving)
    }

    /// Whether the shard is held here no more and may still speak.
    pub(super) fn is_ending(&self, shard: ShardId) -> bool {
        self.ending.contains_key(&shard)
    }

    /// Whether the shard serves and did all that it should.
    pub(super) fn is_settled(&self, shard: ShardId) -> bool {
        self.shards
            .get(&shard)
            .is_some_and(|found| found.serving && found.asked.is_none() && !found.wanted.is_something())
    }

    /// The shards that are led here.
    pub(super) fn led(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.shards.keys().copied()
    }

    /// The answer waits for one part more, until [`Self::release`].
    pub(super) fn hold(&mut self, answer: AnswerId) {
        if let Some(waiting) = self.answers.get_mut(&answer) {
            waiting.parts += 1;
        }
    }

    /// A part that the answer waited for is done.
    pub(super) fn release(&mut self, id: AnswerId, given: &mut Vec<Answer>) {
        if let Some(answer) = self.answers.get_mut(&id) {
            answer.parts -= 1;
            self.settle(id, given);
        }
    }

    /// The shard is to look at a stream and forget the cursors of a group there.
    pub(super) fn want(&mut self, shard: ShardId, stream: StreamId, group: Option<&Name>) {
        if let Some(found) = self.shards.get_mut(&shard) {
            found.wanted.streams.entry(stream).or_default().extend(group.cloned());
        }
    }

    /// The shard is to look at all its streams.
    pub(super) fn want_all(&mut self, shard: ShardId) {
        if let Some(found) = self.shards.get_mut(&shard) {
            found.wanted.all = true;
        }
    }

    /// The answer waits for what the shard is to do by now, or for its end.
    pub(super) fn wait(&mut self, shard: ShardId, answer: AnswerId) {
        let Some(waiting) = self.answers.get_mut(&answer) else { return };
        let wanted = self.shards.get_mut(&shard).map(|found| &mut found.wanted.answers);
        for answers in wanted.into_iter().chain(self.ending.get_mut(&shard)) {
            waiting.parts += usize::from(answers.insert(answer));
        }
    }

    /// The answer waits for every shard that still is to forget the cursors of the group.
    pub(super) fn wait_until_forgotten(&mut self, group: &Name, answer: AnswerId) {
        for shard in self.shards.values_mut() {
            for wanted in shard.asked.iter_mut().chain([&mut shard.wanted]) {
                if wanted.streams.values().any(|groups| groups.contains(group))
                    && let Some(waiting) = self.answers.get_mut(&answer)
                    && wanted.answers.insert(answer)
                {
                    waiting.parts += 1;
                }
            }
        }
    }

    /// Takes what the shard is to be asked now, if there is anything.
    pub(super) fn ask(&mut self, shard: ShardId, id: RequestId) -> Option<&Wanted> {
        let found = self.shards.get_mut(&shard)?;
        if !found.serving || found.asked.is_some() || !found.wanted.is_something() {
            return None;
        }
        self.asked.insert(id, shard);
        Some(found.asked.insert(std::mem::take(&mut found.wanted)))
    }

    /// Whether a shard that is still here was asked this.
    pub(super) fn is_asked(&self, id: RequestId) -> bool {
        self.asked.contains_key(&id)
    }

    /// The shard did what it was asked; which one that was, if it is still here.
    pub(super) fn did(&mut self, id: RequestId, given: &mut Vec<Answer>) -> Option<ShardId> {
        let shard = self.asked.remove(&id)?;
        let asked = self.shards.get_mut(&shard)?.asked.take()?;
        self.give(asked, given);
        Some(shard)
    }

    /// The shard is gone: nothing waits for it any more.
    pub(super) fn remove(&mut self, shard: ShardId, given: &mut Vec<Answer>) {
        let Some(gone) = self.shards.remove(&shard) else { return };
        self.asked.retain(|_, asked| *asked != shard);
        for wanted in gone.asked.into_iter().chain([gone.wanted]) {
            self.give(wanted, given);
        }
    }

    /// The shard is held here no more.
    pub(super) fn end(&mut self, shard: ShardId) {
        self.ending.entry(shard).or_default();
    }

    /// The shard speaks no more.
    pub(super) fn ended(&mut self, shard: ShardId, given: &mut Vec<Answer>) {
        for answer in self.ending.remove(&shard).into_iter().flatten() {
            self.release(answer, given);
        }
    }

    /// The shard did not do what it was asked, and may yet: it is asked again, together with what came meanwhile.
    pub(super) fn did_not(&mut self, id: RequestId) {
        let Some(shard) = self.asked.remove(&id) else { return };
        let Some(found) = self.shards.get_mut(&shard) else { return };
        let Some(asked) = found.asked.take() else { return };
        found.wanted.all |= asked.all;
        for (stream, groups) in asked.streams {
            found.wanted.streams.entry(stream).or_default().extend(groups);
        }
        for id in asked.answers {
            if !found.wanted.answers.insert(id)
                && let Some(answer) = self.answers.get_mut(&id)
            {
                // It waited for both, which are one now.
                answer.parts -= 1;
            }
        }
    }

    fn give(&mut self, done: Wanted, given: &mut Vec<Answer>) {
        for id in done.answers {
            self.release(id, given);
        }
    }
}

impl Wanted {
    fn is_something(&self) -> bool {
        self.all || !self.streams.is_empty() || !self.answers.is_empty()
    }
}
