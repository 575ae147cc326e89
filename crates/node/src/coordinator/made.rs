//! Answers that wait for shards which other brokers lead.
//!
//! The broker that an administrator asked tells the leaders of the shards concerned what it waits for; each of them
//! says when it is made. Lost messages are repeated at every tick, to whoever leads by then. An answer waits only so
//! long: the command is committed, and a shard that nobody leads will have its streams before it serves.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pondage_catalog::Consensus;
use pondage_model::{BrokerId, Revision, ShardId};

use super::{Coordinator, CoordinatorEffect, PeerMessage, shards::AnswerId};

/// How long an answer waits for other brokers, in milliseconds.
const WAIT_MILLIS_MAX: u64 = 5_000;
/// How long a question waits for its answer before it is repeated, in milliseconds.
const REPEAT_MILLIS: u64 = 200;
/// Questions of others that wait here; the oldest goes first, whoever asked repeats it.
const QUESTIONS_MAX: usize = 4_096;

/// Who waits for what of whom.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Answers here that wait for others.
    waiting: BTreeMap<u64, Waiting>,
    /// Others that wait for shards here.
    questions: VecDeque<Question>,
}

#[derive(Debug)]
struct Waiting {
    answer: AnswerId,
    revision: Revision,
    shards: Vec<ShardId>,
    /// Who led them when it began to wait.
    leader: BrokerId,
    until_millis: u64,
    repeat_at_millis: u64,
}

#[derive(Debug)]
struct Question {
    from: BrokerId,
    number: u64,
    revision: Revision,
    shards: Vec<ShardId>,
}

impl<C: Consensus> Coordinator<C> {
    /// The answer waits for those of these shards that others lead, and of those that are gone, that others led.
    pub(super) fn wait_for_others(
        &mut self,
        answer: AnswerId,
        shards: &BTreeSet<ShardId>,
        gone: &[(ShardId, Option<BrokerId>)],
        revision: Revision,
        effects: &mut Vec<CoordinatorEffect>,
    ) {
        let mut by_leader: BTreeMap<BrokerId, Vec<ShardId>> = BTreeMap::new();
        let leader = |shard: &ShardId| self.catalog.shard(*shard).and_then(|row| row.leader);
        let led = shards.iter().map(|shard| (*shard, leader(shard)));
        for (shard, leader) in led.chain(gone.iter().copied()) {
            if let Some(leader) = leader
                && Some(leader) != self.broker()
                && !self.shards.is_led(shard)
            {
                by_leader.entry(leader).or_default().push(shard);
            }
        }
        for (leader, shards) in by_leader {
            let number = self.new_id();
            self.shards.hold(answer);
            let waiting = Waiting {
                answer,
                revision,
                shards: shards.clone(),
                leader,
                until_millis: self.now_millis.saturating_add(WAIT_MILLIS_MAX),
                repeat_at_millis: self.now_millis.saturating_add(REPEAT_MILLIS),
            };
            self.made.waiting.insert(number, waiting);
            self.send(leader, PeerMessage::MadeWanted { number, revision, shards }, effects);
        }
    }

    /// Repeats what was not answered, and lets go of what waited long enough.
    pub(super) fn ask_others_again(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        let now = self.now_millis;
        let is_over = |waiting: &Waiting| now >= waiting.until_millis;
        let over: Vec<u64> = self
            .made
            .waiting
            .iter()
            .filter(|(_, waiting)| is_over(waiting))
            .map(|(number, _)| *number)
            .collect();
        for number in over {
            self.others_made(number, effects);
        }
        let mut questions = Vec::new();
        for (number, waiting) in &mut self.made.waiting {
            if now < waiting.repeat_at_millis {
                continue;
            }
            waiting.repeat_at_millis = now.saturating_add(REPEAT_MILLIS);
            let row = waiting.shards.iter().find_map(|shard| self.catalog.shard(*shard));
            if let Some(leader) = row.map_or(Some(waiting.leader), |row| row.leader) {
                let (revision, shards) = (waiting.revision, waiting.shards.clone());
                questions.push((leader, PeerMessage::MadeWanted { number: *number, revision, shards }));
            }
        }
        for (leader, question) in questions {
            self.send(leader, question, effects);
        }
    }

    /// Another broker's shards did their part.
    pub(super) fn others_made(&mut self, number: u64, effects: &mut Vec<CoordinatorEffect>) {
        let Some(waiting) = self.made.waiting.remove(&number) else { return };
        let mut given = Vec::new();
        self.shards.release(waiting.answer, &mut given);
        self.give(given, effects);
    }

    /// Another broker's answer waits for shards that it thinks are led here.
    pub(super) fn made_wanted(
        &mut self,
        from: BrokerId,
        number: u64,
        revision: Revision,
        shards: Vec<ShardId>,
    ) {
        let questions = &mut self.made.questions;
        questions.retain(|question| (question.from, question.number) != (from, number));
        if questions.len() >= QUESTIONS_MAX {
            questions.pop_front();
        }
        questions.push_back(Question { from, number, revision, shards });
    }

    /// Answers those whose shards did their part.
    pub(super) fn tell_made(&mut self, effects: &mut Vec<CoordinatorEffect>) {
        let reached = self.catalog.revision();
        let shards = &self.shards;
        let mut made = Vec::new();
        self.made.questions.retain(|question| {
            // A shard that is led elsewhere by now gets all its streams there before it serves.
            let is_made = question.revision <= reached
                && question.shards.iter().all(|shard| {
                    !shards.is_ending(*shard) && (!shards.is_led(*shard) || shards.is_settled(*shard))
                });
            if is_made {
                made.push((question.from, question.number));
            }
            !is_made
        });
        for (from, number) in made {
            self.send(from, PeerMessage::Made { number }, effects);
        }
    }
}
