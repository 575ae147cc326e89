//! From the leader's log to its followers: from memory for who keeps up, from the disk for who is behind.

use pondage_model::{
    BrokerId, Epoch, Position, RawEntry, limits,
    planted::{self, Fault},
};

use crate::{
    Effect, Message, Push,
    in_sync::Union,
    leader::Leader,
    peer::{Link, Peer},
    replica::Core,
};

impl Leader {
    /// Pushes what followers do not have and have room for.
    pub(crate) fn pump(&mut self, core: &Core, now: u64, effects: &mut Vec<Effect>) {
        let Self { peers, tail, rounds, requested, .. } = self;
        let union = Union::new(core, requested.as_ref());
        for peer in peers.values_mut() {
            if let Link::Greeting { again_at, .. } = peer.link {
                if !peer.is_greeted() || again_at <= now {
                    greet(core, peer, now, effects);
                }
                continue;
            }
            let mut room = limits::PUSH_WINDOW_BYTES.saturating_sub(peer.under_way_bytes());
            let asks = union.contains(peer.broker) && rounds.begun > peer.round_sent;
            let Link::Streaming { next, under_way, reading, .. } = &mut peer.link else { continue };
            let mut said = false;
            while *next < core.disk.end && room > 0 && !*reading {
                if *next < tail.start() {
                    if *next >= core.disk.durable {
                        // Only what is synced can be read; this goes on when the sync returns.
                        break;
                    }
                    *reading = true;
                    let (to, from) = (peer.broker, *next);
                    effects.push(Effect::Read { to, from, bytes_max: limits::PUSH_BYTES_MAX });
                    break;
                }
                let entries = tail.from(*next, limits::PUSH_BYTES_MAX);
                let bytes: usize = entries.iter().map(RawEntry::weight_bytes).sum();
                let push = push(core, *next, entries, Vec::new(), rounds.begun);
                *next = push.to;
                under_way.push_back((push.to, bytes));
                room = room.saturating_sub(bytes);
                effects.push(Effect::Send { to: peer.broker, message: Message::Push(push) });
                said = true;
            }
            if asks && !said {
                let push = push(core, *next, Vec::new(), Vec::new(), rounds.begun);
                effects.push(Effect::Send { to: peer.broker, message: Message::Push(push) });
                said = true;
            }
            if said {
                peer.round_sent = rounds.begun;
                peer.high_watermark_sent = core.high_watermark;
            }
        }
    }

    /// Entries for a follower that is further behind than memory reaches.
    pub(crate) fn read(
        &mut self,
        core: &Core,
        to: BrokerId,
        from: Position,
        mut entries: Vec<RawEntry>,
        now: u64,
        effects: &mut Vec<Effect>,
    ) {
        let round = self.rounds.begun;
        let Some(peer) = self.peers.get_mut(&to) else { return };
        let Link::Streaming { next, under_way, reading, .. } = &mut peer.link else { return };
        if !std::mem::take(reading) || *next != from {
            return;
        }
        if planted::is(Fault::CatchUpSkipsEntry) && entries.len() > 1 && entries[0].position > from {
            entries.remove(0);
        }
        // What was read in an older epoch may hold entries that were cut since.
        let is_of_this_log = entries.iter().all(|entry| core.epochs.at(entry.position) == entry.epoch);
        let Some(last) = entries.last().filter(|_| is_of_this_log) else {
            // The log could not be read, or was cut meanwhile: begin anew, after a while.
            peer.link = Link::Greeting { at: now, again_at: now + core.timing.resend_millis };
            return;
        };
        let epochs = core.epochs.within(from, last.position.next());
        let bytes: usize = entries.iter().map(RawEntry::weight_bytes).sum();
        // Only what is committed is ever reclaimed, whether or not this leader knows yet that it is.
        let reclaimed = reclaimed_below(from, &entries);
        let mut push = push(core, from, entries, epochs, round);
        push.high_watermark = push.high_watermark.max(reclaimed);
        *next = push.to;
        under_way.push_back((push.to, bytes));
        (peer.round_sent, peer.high_watermark_sent) = (round, core.high_watermark);
        effects.push(Effect::Send { to, message: Message::Push(push) });
    }
}

/// The part of the log that is said next.
pub(crate) fn push(
    core: &Core,
    from: Position,
    entries: Vec<RawEntry>,
    epochs: Vec<(Epoch, Position)>,
    round: u64,
) -> Push {
    Push {
        epoch: core.epoch,
        from,
        to: entries.last().map_or(from, |last| last.position.next()),
        before: core.epochs.before(from),
        entries,
        epochs,
        high_watermark: if planted::is(Fault::HighWatermarkAheadOfCommit) {
            core.disk.end
        } else {
            core.high_watermark
        },
        round,
    }
}

/// The end of the last hole in what was read from a position on; zero if there is none.
fn reclaimed_below(from: Position, entries: &[RawEntry]) -> Position {
    let before = std::iter::once(from).chain(entries.iter().map(|entry| entry.position.next()));
    let holes = before.zip(entries).filter(|(expected, entry)| *expected < entry.position);
    holes.map(|(_, entry)| entry.position).last().unwrap_or(Position::ZERO)
}

/// Asks a follower where its log ends, later and later while it does not answer.
pub(crate) fn greet(core: &Core, peer: &mut Peer, now: u64, effects: &mut Vec<Effect>) {
    // A follower that was stopped, or whose log was not open yet, is missed for so long.
    const PAUSE_MILLIS_MAX: u64 = 1_000;
    let resend = core.timing.resend_millis;
    let pause = match peer.link {
        Link::Greeting { at, again_at } if peer.is_greeted() => {
            (2 * again_at.saturating_sub(at)).clamp(resend, PAUSE_MILLIS_MAX.max(resend))
        }
        _ => resend,
    };
    peer.attempt += 1;
    peer.link = Link::Greeting { at: now, again_at: now + pause };
    let message = Message::Hello { epoch: core.epoch, attempt: peer.attempt };
    effects.push(Effect::Send { to: peer.broker, message });
}
