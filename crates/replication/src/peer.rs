//! What a leader knows of one of its followers.

use std::collections::VecDeque;

use pondage_model::{
    BrokerId, Incarnation, Member, Position,
    planted::{self, Fault},
};

use crate::Timing;

/// What a follower said before its connection broke arrives within so many milliseconds. What it says later shows that
/// the word of the connection was wrong.
const LAST_WORDS_MILLIS: u64 = 250;
/// Waits of the whole set for one follower that make it slow.
const SLOW_EPISODES: usize = 3;

/// One follower, as its leader sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Peer {
    pub(crate) broker: BrokerId,
    /// The start that spoke last.
    pub(crate) incarnation: Option<Incarnation>,
    pub(crate) link: Link,
    /// The number of the last hello.
    pub(crate) attempt: u64,
    /// Hellos up to this number were said before it became a replica, perhaps to a log that it removed.
    pub(crate) attempts_before: u64,
    /// Everything below is on its disk and equal to this log.
    pub(crate) durable: Position,
    /// Everything below is there, synced or not.
    pub(crate) end: Position,
    /// The newest round that it answered.
    pub(crate) round: u64,
    /// The newest round that it was asked for.
    pub(crate) round_sent: u64,
    /// The high watermark that it was told.
    pub(crate) high_watermark_sent: Position,
    /// It was in sync and came back without entries that it had.
    pub(crate) lost: bool,
    /// It ends soon, and does not come back in this start.
    pub(crate) leaving: bool,
    /// It may not join the in-sync set before.
    pub(crate) barred_until: u64,
    /// For how long it was barred last.
    bar_millis: u64,
    /// When it last said anything.
    pub(crate) heard_at: u64,
    /// When it was last told or asked something though it owed nothing.
    pub(crate) asked_at: u64,
    /// When it last answered, or was asked after owing nothing.
    patient_since: u64,
    /// Since when the connection to its broker is down, as far as anybody said so.
    down_since: Option<u64>,
    /// What it has to reach, and since when.
    target: Position,
    target_since: u64,
    round_since: u64,
    /// When all others waited for it, lately.
    episodes: VecDeque<u64>,
}

/// How a follower is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Link {
    /// It was asked where its log ends.
    Greeting {
        /// When.
        at: u64,
        /// When it is asked again.
        again_at: u64,
    },
    /// Its log is a beginning of this one, up to the place where pushes go on.
    Streaming {
        /// The next position to push.
        next: Position,
        /// Pushes that it has not answered: the position behind each, and bytes.
        under_way: VecDeque<(Position, usize)>,
        /// Entries for it are being read from this log.
        reading: bool,
        /// Its end when pushes last began anew behind it: every push behind a lost one is answered that it is missing.
        rewound: Option<Position>,
    },
}

impl Peer {
    pub(crate) fn new(broker: BrokerId, attempts_before: u64, now: u64) -> Self {
        Self {
            broker,
            incarnation: None,
            link: Link::Greeting { at: now, again_at: now },
            attempt: attempts_before,
            attempts_before,
            durable: Position::ZERO,
            end: Position::ZERO,
            round: 0,
            round_sent: 0,
            high_watermark_sent: Position::ZERO,
            lost: false,
            leaving: false,
            barred_until: 0,
            bar_millis: 0,
            heard_at: now,
            asked_at: now,
            patient_since: now,
            down_since: None,
            target: Position::ZERO,
            target_since: now,
            round_since: now,
            episodes: VecDeque::new(),
        }
    }

    /// Its current start, once it spoke.
    pub(crate) fn member(&self) -> Option<Member> {
        self.incarnation.map(|incarnation| Member { broker: self.broker, incarnation })
    }

    /// Whether it was asked where its log ends.
    pub(crate) const fn is_greeted(&self) -> bool {
        self.attempt > self.attempts_before
    }

    pub(crate) const fn is_streaming(&self) -> bool {
        matches!(self.link, Link::Streaming { .. })
    }

    /// Somebody speaks as this follower. False for a start that is over.
    pub(crate) fn is_current(&mut self, incarnation: Incarnation, now: u64) -> bool {
        if self.incarnation.is_some_and(|known| incarnation < known) {
            return false;
        }
        if self.incarnation != Some(incarnation) {
            // What it had is what it says from now on: its disk may be an older one.
            (self.incarnation, self.leaving) = (Some(incarnation), false);
            if !planted::is(Fault::RestartedMemberInSync) {
                (self.durable, self.end, self.target) = (Position::ZERO, Position::ZERO, Position::ZERO);
            }
        }
        (self.heard_at, self.patient_since) = (now, now);
        self.down_since = self.down_since.filter(|since| now.saturating_sub(*since) < LAST_WORDS_MILLIS);
        true
    }

    pub(crate) fn link_changed(&mut self, up: bool, now: u64) {
        if up {
            self.down_since = None;
        } else {
            self.down_since.get_or_insert(now);
        }
    }

    /// Begins to count how long it takes to reach what it has not.
    pub(crate) fn aim(&mut self, end: Position, round: u64, now: u64) {
        if !self.owes() {
            self.patient_since = now;
        }
        if self.durable >= self.target && end > self.durable {
            (self.target, self.target_since) = (end, now);
        }
        if round > self.round_sent && self.round >= self.round_sent {
            self.round_since = now;
        }
    }

    /// For how long it owes what it was asked for, in milliseconds, if that is longer than it may.
    pub(crate) fn late_millis(&self, timing: &Timing, now: u64) -> Option<u64> {
        let owes = self.owes_millis(now);
        let down = self.down_since.map_or(0, |since| now.saturating_sub(since));
        let is_late = owes > timing.lag_millis_max || down > timing.down_millis_max;
        is_late.then(|| owes.max(down))
    }

    /// For how long it owes what it was asked for over a connection that is there.
    fn owes_millis(&self, now: u64) -> u64 {
        let entries = if self.durable < self.target { now.saturating_sub(self.target_since) } else { 0 };
        let round = if self.round < self.round_sent { now.saturating_sub(self.round_since) } else { 0 };
        entries.max(round)
    }

    /// All others waited for it once more.
    pub(crate) fn note_episode(&mut self, now: u64) {
        if self.episodes.len() == SLOW_EPISODES {
            self.episodes.pop_front();
        }
        self.episodes.push_back(now);
    }

    /// Whether the others waited for it again and again.
    pub(crate) fn is_slow(&self, timing: &Timing, now: u64) -> bool {
        self.episodes.len() == SLOW_EPISODES
            && self
                .episodes
                .front()
                .is_some_and(|first| now.saturating_sub(*first) <= timing.slow_window_millis)
    }

    /// It left the in-sync set for being slow: it stays out for longer each time, unless it was not slow for a window. A
    /// broker that just started is slow once; one with a slow disk again and again.
    pub(crate) fn bar(&mut self, timing: &Timing, now: u64) {
        const FIRST_MILLIS: u64 = 1_000;
        let longest = timing.slow_window_millis / 2;
        let is_again = now.saturating_sub(self.barred_until) <= timing.slow_window_millis;
        self.bar_millis = if is_again && self.bar_millis > 0 { 4 * self.bar_millis } else { FIRST_MILLIS };
        self.bar_millis = self.bar_millis.min(longest);
        self.barred_until = now + self.bar_millis;
    }

    /// It is out of the set: what it did there is forgotten.
    pub(crate) fn left(&mut self) {
        self.episodes.clear();
        self.lost = false;
    }

    /// Bytes pushed and not answered.
    pub(crate) fn under_way_bytes(&self) -> usize {
        match &self.link {
            Link::Streaming { under_way, .. } => under_way.iter().map(|(_, bytes)| bytes).sum(),
            Link::Greeting { .. } => 0,
        }
    }

    /// Whether it has been owing an answer for so long that something must have got lost.
    pub(crate) fn is_silent(&self, timing: &Timing, now: u64) -> bool {
        self.owes() && now.saturating_sub(self.patient_since) >= timing.resend_millis
    }

    /// Whether the connection to its broker is down, as far as anybody said so.
    pub(crate) const fn is_down(&self) -> bool {
        self.down_since.is_some()
    }

    /// Whether anything is expected of it.
    pub(crate) fn owes(&self) -> bool {
        match &self.link {
            Link::Greeting { .. } => true,
            Link::Streaming { next, .. } => {
                self.durable < *next || self.durable < self.target || self.round < self.round_sent
            }
        }
    }
}

#[cfg(test)]
#[path = "peer_tests.rs"]
mod tests;
