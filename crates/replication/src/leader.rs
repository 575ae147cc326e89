//! A leader: appends, pushes, counts what is durable where, confirms that it still leads.

use std::collections::{BTreeMap, VecDeque};

use pondage_model::{
    Body, BrokerId, Entry, Epoch, LogTime, Member, Position, Refusal, StreamId,
    planted::{self, Fault},
};

use crate::{
    Effect, Finding, FollowerStatus, Message, Round,
    in_sync::{Requested, Union},
    peer::{Link, Peer},
    pushing::{greet, push},
    replica::Core,
    tail::Tail,
};

/// How long a leader refuses to append while the follower that shall lead gets everything, in milliseconds. An
/// in-sync one needs far less; whoever asked may ask again.
const HANDING_MILLIS_MAX: u64 = 1_000;

/// What a replica knows while it leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Leader {
    /// The place of its epoch's first entry.
    pub(crate) first: Position,
    /// Whether that entry is committed.
    pub(crate) serving: bool,
    pub(crate) peers: BTreeMap<BrokerId, Peer>,
    /// The in-sync sets that were asked for and may yet be granted.
    pub(crate) requested: Option<Requested>,
    pub(crate) tail: Tail,
    pub(crate) rounds: Rounds,
    /// The one follower that all others wait for.
    waiting: Option<Waiting>,
    handing: Option<Handing>,
    /// No hello before the row changed last had a greater number, to whomever.
    attempts_before: u64,
    /// In-sync replicas that owe an answer for longer than they may and can't be dropped.
    pub(crate) stalled: u32,
}

/// Rounds are asked for, then one at a time begun, then confirmed by everybody.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Rounds {
    wanted: u64,
    pub(crate) begun: u64,
    confirmed: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Waiting {
    broker: BrokerId,
    /// What all others had then.
    target: Position,
    since: u64,
    /// Whether that was counted against it.
    counted: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Handing {
    to: BrokerId,
    since: u64,
    said_at: Option<u64>,
}

impl Leader {
    pub(crate) fn new(core: &Core, now: u64) -> Self {
        let first = core.disk.end;
        let peers = core.assignment.iter().flat_map(|row| &row.replicas);
        let others = peers.filter(|broker| **broker != core.me.broker);
        Self {
            first,
            serving: false,
            peers: others.map(|broker| (*broker, Peer::new(*broker, 0, now))).collect(),
            requested: None,
            tail: Tail::new(first),
            rounds: Rounds::default(),
            waiting: None,
            handing: None,
            attempts_before: 0,
            stalled: 0,
        }
    }

    pub(crate) fn append(
        &mut self,
        core: &mut Core,
        log_time: LogTime,
        stream: StreamId,
        body: Body,
    ) -> Entry {
        let entry = Entry { position: core.disk.end, epoch: core.epoch, stream, log_time, body };
        let raw = entry.encode();
        core.epochs.note(entry.epoch, entry.position);
        core.disk.append(raw.clone());
        self.tail.push(raw);
        entry
    }

    /// The replicas that a commit and a round need: in sync, or asked to be.
    pub(crate) fn union<'a>(&'a self, core: &'a Core) -> Union<'a> {
        Union::new(core, self.requested.as_ref())
    }

    /// Whether commits can be expected.
    pub(crate) fn check_enough(&self, core: &Core) -> Result<(), Refusal> {
        let Some(row) = &core.assignment else { return Err(Refusal::NotLeader { epoch: core.epoch }) };
        let (needed, in_sync) = (row.min_in_sync_replicas, row.isr.len() as u32);
        if in_sync < needed || self.stalled > 0 {
            return Err(Refusal::NotEnoughReplicas { needed, have: in_sync.saturating_sub(self.stalled) });
        }
        Ok(())
    }

    /// Everything of the union is durable below: it is committed. Nothing of older epochs is committed before the
    /// first entry of this one.
    pub(crate) fn commit(&mut self, core: &mut Core, now: u64, effects: &mut Vec<Effect>) {
        self.tail.trim(core.disk.durable);
        self.watch_for_the_slow(core, now);
        if !core.assignment.as_ref().is_some_and(crate::Assignment::has_minimum) {
            return;
        }
        let Some(durable) = self.durable_everywhere(core) else { return };
        if durable > self.first || planted::is(Fault::ServeBeforeOwnEpoch) {
            core.committed(durable, effects);
            if !self.serving {
                self.serving = true;
                effects.push(Effect::Serving(core.epoch));
            }
        }
    }

    /// What the whole union has on its disks.
    fn durable_everywhere(&self, core: &Core) -> Option<Position> {
        let durable_of = |broker: BrokerId| match self.peers.get(&broker) {
            _ if broker == core.me.broker && planted::is(Fault::LeaderCountsUnsyncedEnd) => core.disk.end,
            _ if broker == core.me.broker => core.disk.durable,
            Some(peer) => peer.durable,
            None => Position::ZERO,
        };
        let counts = |broker: &BrokerId| {
            let is_in_sync = core.assignment.as_ref().is_some_and(|row| row.in_sync(*broker).is_some());
            let is_requested =
                self.requested.as_ref().is_none_or(|requested| requested.members.contains(broker));
            (is_in_sync || !planted::is(Fault::CommitWithoutRequestedMember))
                && (is_requested || !planted::is(Fault::CommitOverRequestedIsr))
        };
        let places = self.union(core).iter().filter(counts).map(durable_of);
        if planted::is(Fault::CountMemberTwice) {
            let mut places: Vec<_> = places.collect();
            places.sort_unstable();
            return places.get(usize::from(places.len() > 2)).copied();
        }
        places.min()
    }

    /// Notes when the whole set waits for one follower alone, for it to reach what all others had. One that is always
    /// a little behind under load, and soon has what the others had, is not waited for.
    fn watch_for_the_slow(&mut self, core: &Core, now: u64) {
        if let Some(waiting) = &mut self.waiting
            && let Some(peer) = self.peers.get_mut(&waiting.broker)
        {
            if !waiting.counted && now.saturating_sub(waiting.since) >= core.timing.slow_wait_millis {
                waiting.counted = true;
                peer.note_episode(now);
            }
            if peer.durable >= waiting.target {
                self.waiting = None;
            }
        }
        let union = self.union(core);
        if self.waiting.is_some_and(|waiting| union.contains(waiting.broker)) {
            return;
        }
        let in_union = self.peers.values().filter(|peer| union.contains(peer.broker));
        let places = in_union.map(|peer| (peer.durable, peer.broker));
        let last = places.clone().min();
        // What everybody else has: the second to last, and this broker.
        let before_last = places.filter(|place| Some(*place) != last).map(|(durable, _)| durable);
        let others = before_last.fold(core.disk.durable, Position::min);
        let alone = last.filter(|(durable, _)| *durable < others);
        self.waiting =
            alone.map(|(_, broker)| Waiting { broker, target: others, since: now, counted: false });
    }

    pub(crate) fn confirm(&mut self, core: &Core) -> Round {
        let alone = self.union(core).iter().all(|broker| broker == core.me.broker);
        if alone {
            // Nobody else could have been made the leader.
            return Round::NONE;
        }
        if planted::is(Fault::SpeakWithoutRound) {
            return Round::NONE;
        }
        if planted::is(Fault::ConfirmWithEarlierRound) && self.rounds.begun > 0 {
            return Round(self.rounds.begun);
        }
        self.rounds.wanted = self.rounds.begun + 1;
        Round(self.rounds.wanted)
    }

    pub(crate) const fn confirmed(&self) -> Round {
        Round(self.rounds.confirmed)
    }

    /// The newest round that everybody in the union answered. Who leaves it by the catalog's word was not made the
    /// leader before, and can't be afterwards.
    fn count_rounds(&mut self, core: &Core) {
        let round_of = |broker: BrokerId| match self.peers.get(&broker) {
            _ if broker == core.me.broker => self.rounds.begun,
            Some(peer) => peer.round,
            None => 0,
        };
        let answered = self.union(core).iter().map(round_of).min().unwrap_or(0);
        self.rounds.confirmed = self.rounds.confirmed.max(answered);
    }

    /// What follows from everything so far.
    pub(crate) fn advance(&mut self, core: &mut Core, now: u64, effects: &mut Vec<Effect>) {
        if self.rounds.wanted > self.rounds.begun && self.rounds.confirmed >= self.rounds.begun {
            self.rounds.begun = self.rounds.wanted;
            self.count_rounds(core);
        }
        for peer in self.peers.values_mut() {
            peer.aim(core.disk.end, self.rounds.begun, now);
        }
        self.pump(core, now, effects);
        self.offer(core, now, effects);
    }

    /// A follower said where its log ends.
    #[expect(clippy::too_many_arguments, reason = "the fields of one message")]
    pub(crate) fn located(
        &mut self,
        core: &Core,
        from: Member,
        attempt: u64,
        last: Epoch,
        durable: Position,
        now: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&from.broker) else { return };
        let before = peer.incarnation;
        if !peer.is_current(from.incarnation, now) {
            return;
        }
        if attempt != peer.attempt {
            // A push met a follower that is not aligned: it started anew, or found a mismatch.
            if attempt == 0 && (peer.is_streaming() || before != peer.incarnation) {
                greet(core, peer, now, effects);
            }
            return;
        }
        if durable < peer.durable {
            return;
        }
        note_lost(core, peer, from, durable, effects);
        let (of, mut end) = core.epochs.floor(last, core.disk.end);
        if of != last && planted::is(Fault::AlignUnknownEpochToEnd) {
            end = core.disk.end;
        }
        let message = Message::Align { epoch: core.epoch, attempt, last, of, end };
        effects.push(Effect::Send { to: from.broker, message });
    }

    /// A follower said what it has.
    pub(crate) fn acked(
        &mut self,
        core: &mut Core,
        from: Member,
        (attempt, durable, end, round, missing): (u64, Position, Position, u64, bool),
        now: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&from.broker) else { return };
        if attempt <= peer.attempts_before {
            return;
        }
        if peer.incarnation != Some(from.incarnation) || end > core.disk.end || durable > end {
            return;
        }
        peer.is_current(from.incarnation, now);
        peer.durable = peer.durable.max(durable);
        peer.end = peer.end.max(end);
        peer.round = peer.round.max(round);
        match &mut peer.link {
            Link::Greeting { .. } => {
                // It had as much, but in part something else, and cut that.
                let held = peer.end;
                note_lost(core, peer, from, held, effects);
                let next = peer.end;
                peer.link =
                    Link::Streaming { next, under_way: VecDeque::new(), reading: false, rewound: None };
                (peer.round_sent, peer.high_watermark_sent) = (0, Position::ZERO);
            }
            Link::Streaming { next, under_way, rewound, .. } => {
                while under_way.pop_front_if(|(to, _)| *to <= peer.end).is_some() {}
                if missing && end < *next && *rewound != Some(peer.end) {
                    (*next, *rewound) = (peer.end, Some(peer.end));
                    under_way.clear();
                }
                *next = (*next).max(peer.end);
            }
        }
        if peer.lost && peer.durable >= core.high_watermark.max(self.first.next()) {
            // It has everything again.
            peer.lost = false;
        }
        self.count_rounds(core);
        self.commit(core, now, effects);
        self.offer(core, now, effects);
    }

    /// A follower ends soon.
    pub(crate) fn leaves(&mut self, core: &Core, from: Member, now: u64, effects: &mut Vec<Effect>) {
        let Some(peer) = self.peers.get_mut(&from.broker) else { return };
        if peer.member() == Some(from) && !peer.leaving {
            peer.leaving = true;
            self.in_sync_tick(core, now, effects);
        }
    }

    /// The connection to a follower's broker changed.
    pub(crate) fn link(
        &mut self,
        core: &Core,
        broker: BrokerId,
        up: bool,
        now: u64,
        effects: &mut Vec<Effect>,
    ) {
        let Some(peer) = self.peers.get_mut(&broker) else { return };
        peer.link_changed(up, now);
        if up {
            greet(core, peer, now, effects);
        }
    }

    /// Time passed: what was not answered is asked again.
    pub(crate) fn tick(&mut self, core: &mut Core, now: u64, effects: &mut Vec<Effect>) {
        let round = self.rounds.begun;
        // While some do not answer, the others are asked now and then whether this is still the newest epoch: whoever
        // was deposed behind a cut hears of it from them.
        let is_stuck = core.high_watermark < core.disk.end || self.rounds.confirmed < self.rounds.wanted;
        let quiet_since = now.saturating_sub(core.timing.resend_millis);
        for peer in self.peers.values_mut() {
            let is_probed = is_stuck && peer.asked_at.max(peer.heard_at) <= quiet_since;
            match &peer.link {
                Link::Streaming { .. } if peer.is_silent(&core.timing, now) => {
                    greet(core, peer, now, effects);
                }
                Link::Streaming { next, reading, .. } => {
                    let is_new = peer.high_watermark_sent < core.high_watermark;
                    if !peer.owes() && !*reading && (is_new || is_probed) {
                        let push = push(core, *next, Vec::new(), Vec::new(), round);
                        (peer.high_watermark_sent, peer.asked_at) = (core.high_watermark, now);
                        effects.push(Effect::Send { to: peer.broker, message: Message::Push(push) });
                    }
                }
                Link::Greeting { .. } => {}
            }
        }
        self.watch_hand_over(core, now);
        self.commit(core, now, effects);
        self.in_sync_tick(core, now, effects);
        self.advance(core, now, effects);
    }

    /// The row of the catalog changed, in this epoch, once or several times (`skipped`).
    pub(crate) fn reassigned(&mut self, core: &mut Core, skipped: bool, now: u64, effects: &mut Vec<Effect>) {
        let Some(row) = &core.assignment else { return };
        // Whatever was asked for at an older version can't be granted any more.
        self.requested = None;
        // Who was no replica in between removed its log, in the same start. Only this leader brings somebody into
        // the set, so whoever is in it was there all the time.
        let attempts = self.peers.values().map(|peer| peer.attempt).max().unwrap_or(0);
        self.attempts_before = self.attempts_before.max(attempts);
        self.peers.retain(|broker, _| {
            row.replicas.contains(broker) && (!skipped || row.in_sync(*broker).is_some())
        });
        for broker in row.replicas.iter().filter(|broker| **broker != core.me.broker) {
            let peer =
                self.peers.entry(*broker).or_insert_with(|| Peer::new(*broker, self.attempts_before, now));
            if row.in_sync(*broker).is_none() {
                peer.left();
            }
        }
        self.watch_hand_over(core, now);
        self.count_rounds(core);
        self.commit(core, now, effects);
        self.in_sync_tick(core, now, effects);
    }

    /// Hands over to a follower in sync. Any other would have to come into sync first, and nothing could be appended
    /// for as long as that takes.
    pub(crate) fn hand_over(&mut self, core: &Core, to: BrokerId, now: u64) {
        let in_sync = core.assignment.as_ref().is_some_and(|row| row.in_sync(to).is_some());
        let is_known = self.handing.is_some_and(|handing| handing.to == to);
        if in_sync && !is_known && to != core.me.broker {
            self.handing = Some(Handing { to, since: now, said_at: None });
        }
    }

    pub(crate) const fn keep_leading(&mut self) {
        self.handing = None;
    }

    /// Goes on leading once a hand-over takes too long, or its follower fell out of sync.
    fn watch_hand_over(&mut self, core: &Core, now: u64) {
        self.handing = self.handing.filter(|handing| {
            let in_sync = core.assignment.as_ref().is_some_and(|row| row.in_sync(handing.to).is_some());
            in_sync && now.saturating_sub(handing.since) < HANDING_MILLIS_MAX
        });
    }

    /// Whom it hands over to.
    pub(crate) fn handing_over(&self) -> Option<BrokerId> {
        self.handing.map(|handing| handing.to)
    }

    /// What it knows of its followers, by broker.
    pub(crate) fn followers(&self, core: &Core) -> impl Iterator<Item = FollowerStatus> {
        self.peers.values().map(|peer| FollowerStatus {
            broker: peer.broker,
            // Whoever is greeted anew after a while still has what it had; whoever never answered has who knows what.
            durable: (peer.is_streaming() || peer.durable > Position::ZERO).then_some(peer.durable),
            under_way_bytes: peer.under_way_bytes(),
            in_sync: core.assignment.as_ref().is_some_and(|row| row.in_sync(peer.broker).is_some()),
        })
    }

    /// Says so when the follower that shall lead has everything.
    fn offer(&mut self, core: &Core, now: u64, effects: &mut Vec<Effect>) {
        let Some(handing) = &mut self.handing else { return };
        let (Some(peer), Some(row)) = (self.peers.get(&handing.to), &core.assignment) else { return };
        let is_due = handing.said_at.is_none_or(|at| now.saturating_sub(at) >= core.timing.resend_millis);
        let in_sync = peer.member().is_some_and(|member| row.isr.contains(&member));
        let has_all = peer.durable == core.disk.end && core.high_watermark == core.disk.end;
        if self.serving && in_sync && has_all && is_due {
            handing.said_at = Some(now);
            let (epoch, version, to) = (core.epoch, row.version, handing.to);
            effects.push(Effect::HandOver { epoch, version, to });
        }
    }

    /// When to look again, if anything is under way.
    pub(crate) fn next_tick(&self, core: &Core, now: u64) -> Option<u64> {
        const EVERY_MILLIS: u64 = 50;
        let is_busy = core.disk.durable < core.disk.end
            || core.high_watermark < core.disk.end
            || self.rounds.confirmed < self.rounds.wanted
            || self.requested.is_some()
            || self.handing.is_some()
            || self.stalled > 0
            || !self.is_set_as_wished(core, now);
        let union = self.union(core);
        let looks_at = |peer: &Peer| match &peer.link {
            Link::Streaming { reading: true, .. } => None,
            Link::Streaming { .. } if peer.owes() => Some(now + EVERY_MILLIS),
            Link::Streaming { .. } if peer.high_watermark_sent < core.high_watermark => {
                Some(now + EVERY_MILLIS)
            }
            _ if peer.is_down() && union.contains(peer.broker) => {
                Some(now + core.timing.down_millis_max.min(core.timing.resend_millis))
            }
            Link::Streaming { .. } if !union.contains(peer.broker) => {
                Some(peer.barred_until.max(now + EVERY_MILLIS))
            }
            Link::Streaming { .. } => None,
            Link::Greeting { again_at, .. } => Some((*again_at).max(now + 1)),
        };
        let busy = is_busy.then_some(now + EVERY_MILLIS);
        self.peers.values().filter_map(looks_at).chain(busy).min()
    }
}

/// A member that confirmed what is committed, and does not have it any more, was in sync in vain.
fn note_lost(core: &Core, peer: &mut Peer, member: Member, held: Position, effects: &mut Vec<Effect>) {
    let in_sync = core.assignment.as_ref().is_some_and(|row| row.in_sync(member.broker).is_some());
    if in_sync && held < core.high_watermark && !peer.lost {
        peer.lost = true;
        let high_watermark = core.high_watermark;
        effects.push(Effect::Report(Finding::MemberBehind { member, durable: held, high_watermark }));
    }
}

#[cfg(test)]
#[path = "leader_tests.rs"]
mod tests;
