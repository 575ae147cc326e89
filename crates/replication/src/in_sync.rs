//! Who is in sync, as the leader wishes it to be. The catalog decides; until it has, everybody counts who is in sync
//! or was asked for.

use std::collections::BTreeSet;

use pondage_model::{
    BrokerId, Member, Position,
    planted::{self, Fault},
};

use crate::{Assignment, Effect, IsrRequest, leader::Leader, peer::Peer, pushing::greet, replica::Core};

/// Sets that were asked for at one version of the row. Any of them may be granted as long as the version stands.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Requested {
    /// Everybody who was in one of them.
    pub(crate) members: BTreeSet<BrokerId>,
    /// When it was asked for last.
    at: u64,
}

/// The replicas that a commit and a round need: in sync, or asked to be. It is looked at for every flush and every
/// acknowledgement, so nothing is collected for it.
#[derive(Clone, Copy)]
pub(crate) struct Union<'a> {
    isr: &'a [Member],
    requested: Option<&'a Requested>,
}

impl<'a> Union<'a> {
    pub(crate) fn new(core: &'a Core, requested: Option<&'a Requested>) -> Self {
        Self { isr: core.assignment.as_ref().map_or(&[], |row| &row.isr), requested }
    }

    pub(crate) fn contains(self, broker: BrokerId) -> bool {
        self.is_in_sync(broker) || self.requested.is_some_and(|requested| requested.members.contains(&broker))
    }

    /// Each once.
    pub(crate) fn iter(self) -> impl Iterator<Item = BrokerId> + Clone + 'a {
        let requested = self.requested.into_iter().flat_map(|requested| &requested.members).copied();
        let others = requested.filter(move |broker| !self.is_in_sync(*broker));
        self.isr.iter().map(|member| member.broker).chain(others)
    }

    fn is_in_sync(self, broker: BrokerId) -> bool {
        self.isr.iter().any(|member| member.broker == broker)
    }
}

/// A wished set.
struct Wish {
    isr: Vec<Member>,
    /// Members that are late and stay, because the set has no more than its minimum.
    stalled: u32,
    slow: Vec<BrokerId>,
}

impl Leader {
    /// Looks at the set and asks for a better one.
    pub(crate) fn in_sync_tick(&mut self, core: &Core, now: u64, effects: &mut Vec<Effect>) {
        let Some(row) = &core.assignment else { return };
        let wish = self.wish(core, row, now);
        self.stalled = wish.stalled;
        let is_due = match &self.requested {
            None => !is_same_set(&wish.isr, &row.isr),
            // It is asked again whatever it is now, until the version moves: only then the old request is dead.
            Some(requested) => now.saturating_sub(requested.at) >= core.timing.resend_millis,
        };
        if !is_due {
            return;
        }
        for broker in &wish.slow {
            if let Some(peer) = self.peers.get_mut(broker) {
                peer.bar(&core.timing, now);
            }
        }
        if let Some(requested) = &self.requested {
            // Refused perhaps, because a member started anew: whoever was silent since is asked who it is.
            let members = wish.isr.iter().filter(|member| member.broker != core.me.broker);
            for member in members {
                if let Some(peer) = self.peers.get_mut(&member.broker)
                    && peer.is_streaming()
                    && peer.heard_at < requested.at
                {
                    greet(core, peer, now, effects);
                }
            }
        }
        let requested = self.requested.get_or_insert_with(|| Requested { members: BTreeSet::new(), at: now });
        requested.at = now;
        requested.members.extend(wish.isr.iter().map(|member| member.broker));
        let (epoch, version) = (core.epoch, row.version);
        effects.push(Effect::RequestIsr(IsrRequest { epoch, version, isr: wish.isr }));
    }

    /// Whether the leader wishes for nothing else.
    pub(crate) fn is_set_as_wished(&self, core: &Core, now: u64) -> bool {
        core.assignment.as_ref().is_none_or(|row| {
            let wish = self.wish(core, row, now);
            is_same_set(&wish.isr, &row.isr) && wish.stalled == 0
        })
    }

    fn wish(&self, core: &Core, row: &Assignment, now: u64) -> Wish {
        let mut wish = Wish { isr: Vec::new(), stalled: 0, slow: Vec::new() };
        let mut late: Vec<(u64, BrokerId)> = Vec::new();
        let mut leaving: Vec<BrokerId> = Vec::new();
        for broker in &row.replicas {
            if *broker == core.me.broker {
                wish.isr.push(core.me);
                continue;
            }
            let Some(peer) = self.peers.get(broker) else { continue };
            let caught_up = self.has_caught_up(core, peer);
            match row.in_sync(*broker) {
                // It goes before all others, or stays until it has everything again.
                Some(member) if peer.lost => {
                    wish.isr.push(member);
                    late.push((u64::MAX, *broker));
                }
                Some(member) => {
                    wish.isr.push(peer.member().filter(|_| caught_up).unwrap_or(member));
                    if peer.leaving {
                        leaving.push(*broker);
                    } else if let Some(late_millis) = peer.late_millis(&core.timing, now) {
                        late.push((late_millis, *broker));
                    } else if peer.is_slow(&core.timing, now) {
                        late.push((0, *broker));
                    }
                }
                // Who still owes what it was dropped for would be dropped again at once.
                None if caught_up && !peer.leaving && !Self::is_late(core, peer, now) => {
                    wish.isr.extend(peer.member());
                }
                None => {}
            }
        }
        late.sort_unstable_by_key(|(millis, broker)| (std::cmp::Reverse(*millis), *broker));
        let most =
            if planted::is(Fault::ShrinkIsrBelowMinimum) { 1 } else { row.min_in_sync_replicas as usize };
        for (millis, broker) in late {
            if wish.isr.len() > most {
                wish.isr.retain(|member| member.broker != broker);
                if millis == 0 {
                    wish.slow.push(broker);
                }
            } else if millis > 0 {
                wish.stalled += 1;
            }
        }
        // Behind the late ones: these still answer.
        for broker in leaving {
            if wish.isr.len() > most {
                wish.isr.retain(|member| member.broker != broker);
            }
        }
        wish
    }

    fn is_late(core: &Core, peer: &Peer, now: u64) -> bool {
        now < peer.barred_until || peer.late_millis(&core.timing, now).is_some()
    }

    /// Whether a follower holds everything that may be committed: it reached the high watermark, and an entry of
    /// this epoch, before which the leader's own high watermark may be too low.
    fn has_caught_up(&self, core: &Core, peer: &Peer) -> bool {
        let early = planted::is(Fault::JoinIsrAtHighWatermark);
        let own = if early { Position::ZERO } else { self.first.next() };
        peer.is_streaming() && !peer.lost && peer.durable >= core.high_watermark.max(own)
    }
}

/// The catalog keeps the set in an order of its own.
fn is_same_set(wished: &[Member], granted: &[Member]) -> bool {
    wished.len() == granted.len() && wished.iter().all(|member| granted.contains(member))
}
