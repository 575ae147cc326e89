//! Leases and settles (Q1, Q2, Q3, Q5, Q7).

use pondage_model::{Attempt, Epoch, Lease, LogTime, Offset, ShardId, StreamId};
use pondage_node::delivery::ConsumerId;

use super::{At, Live, MessageId, Oracle, Place};

/// A lease as the broker gave it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    pub(crate) shard: ShardId,
    pub(crate) lease: Lease,
    pub(crate) consumer: ConsumerId,
    /// The log time of the decision.
    pub(crate) decided: LogTime,
    pub(crate) deadline: LogTime,
    /// How far the log clocks of two leaders may stand apart, in milliseconds.
    pub(crate) slack_millis: u64,
}

impl Oracle {
    /// The broker gave a lease.
    pub(crate) fn granted(&mut self, id: MessageId, (stream, offset): At, given: Given, micros: u64) {
        self.seen(id, stream, offset);
        let at = (stream, offset);
        if self.is_overtaken(at, given) {
            return;
        }
        if let Some(what) = self.judge_grant(at, given) {
            return self.violate(format!("{what}: {stream:?} {offset:?} under {:?}", given.lease));
        }
        self.end_lease(stream, offset);
        // The broker may know by now that the consumer left.
        let stays = !self.left.contains(&given.consumer);
        let place = self.places.entry(at).or_default();
        place.last_lease = Some(given.lease);
        place.last_decided = given.decided;
        place.live = stays.then_some(Live {
            consumer: given.consumer,
            until: given.deadline,
            shard: given.shard,
            epoch: given.lease.epoch,
            logged: false,
        });
        if stays {
            self.held.entry(given.consumer).or_default().insert(at);
        }
        let decided = (given.lease.epoch, given.decided);
        let shown = self.shown.entry(stream).or_insert(decided);
        *shown = decided.max(*shown);
        self.judge_message(id, at, given.decided, micros);
    }

    /// A grant that an earlier leader decided, before the last one that arrived, may come after it: it waited for a round
    /// that its followers answered while they still followed, on a host that slept. Its token is dead (Q1).
    fn is_overtaken(&self, at: At, given: Given) -> bool {
        self.places.get(&at).is_some_and(|place| {
            let of_earlier_leader = place.last_lease.is_some_and(|last| given.lease.epoch < last.epoch);
            of_earlier_leader && given.decided <= place.last_decided.plus_millis(given.slack_millis)
        })
    }

    fn judge_grant(&self, at: At, given: Given) -> Option<&'static str> {
        let unknown = Place::default();
        let place = self.places.get(&at).unwrap_or(&unknown);
        if self.closed.contains(&at.0) {
            Some("a grant of a queue whose deletion was confirmed")
        } else if place.settled {
            Some("Q1: a grant after the settle was confirmed")
        } else if place.purged && given.lease.attempt == Attempt(1) {
            // A later attempt follows a lease that died with its broker before anybody heard of it: a purge leaves
            // alone what is leased.
            Some("a grant after the purge was confirmed")
        } else if place.last_lease.is_some_and(|last| last >= given.lease) {
            Some("Q2: a lease that is not greater than the last one")
        } else {
            let live = place.live.filter(|live| given.decided < live.until)?;
            if live.epoch == given.lease.epoch {
                Some("Q2: a second lease while the first one holds")
            } else if live.logged {
                Some("Q3: a lease that an orderly stop should have kept was given again before its deadline")
            } else {
                // A leader may die, or be deposed, with leases that it had not logged.
                None
            }
        }
    }

    /// A replica wrote that the message moves to the dead letters.
    pub(crate) fn moves(&mut self, at: At, log_time: LogTime) {
        let latest = self.moves.entry(at).or_insert(log_time);
        *latest = log_time.max(*latest);
    }

    fn judge_message(&mut self, id: MessageId, at: At, decided: LogTime, micros: u64) {
        let (stream, _) = at;
        let Some(message) = self.messages.get(&id) else { return };
        if micros < message.not_before_micros {
            return self.violate(format!("Q7: message {id} was granted before its time"));
        }
        if let Some((dead, source)) = self.dead
            && stream == source
            && message.idempotent
        {
            let moved = message.places.iter().filter(|(at, _)| *at == dead).count();
            let stored = message.places.iter().filter(|(at, _)| *at == source).count();
            // A grant that was decided before may be spoken after, its token dead: it waited for the round in which
            // the others confirmed its leader (Q1).
            let was_decided_before = self.moves.get(&at).is_some_and(|moved| decided <= *moved);
            if moved >= stored && !was_decided_before {
                self.violate(format!(
                    "Q5: message {id} was granted at its source while it is in the dead letters"
                ));
            }
        }
    }

    /// A consumer asks for a settle that ends the message.
    pub(crate) fn settle_asked(&mut self, stream: StreamId, offset: Offset) {
        self.places.entry((stream, offset)).or_default().settle_unknown = true;
    }

    /// The lease may have ended by now: somebody asked for it.
    pub(crate) fn end_lease(&mut self, stream: StreamId, offset: Offset) {
        let at = (stream, offset);
        let Some(place) = self.places.get_mut(&at) else { return };
        if let Some(Live { consumer, .. }) = place.live.take()
            && let Some(held) = self.held.get_mut(&consumer)
        {
            held.remove(&at);
        }
    }

    /// A consumer leaves, or its connection is gone: its leases end at some moment from now on.
    pub(crate) fn end_leases_of(&mut self, consumer: ConsumerId) {
        self.left.insert(consumer);
        for at in self.held.remove(&consumer).unwrap_or_default() {
            self.end_lease(at.0, at.1);
        }
    }

    /// The newest log time that is known to have been when this is asked, and the epoch whose leader showed it.
    pub(crate) fn shown(&self, stream: StreamId) -> Option<(Epoch, LogTime)> {
        self.shown.get(&stream).copied()
    }

    /// A consumer was told that its lease holds at least until then.
    pub(crate) fn renewed(&mut self, stream: StreamId, offset: Offset, epoch: Epoch, until: LogTime) {
        if let Some(live) = self.places.get_mut(&(stream, offset)).and_then(|place| place.live.as_mut())
            && live.epoch == epoch
        {
            live.until = live.until.max(until);
        }
    }

    /// A leader that stops in order logged every lease. Gives how many hold.
    pub(crate) fn flushed(&mut self, shard: ShardId, epoch: Epoch) -> usize {
        let mut kept = 0;
        for at in self.held.values().flatten() {
            if let Some(live) = self.places.get_mut(at).and_then(|place| place.live.as_mut())
                && (live.shard, live.epoch) == (shard, epoch)
            {
                live.logged = true;
                kept += 1;
            }
        }
        kept
    }

    /// A consumer was told that its settle was done under this lease.
    pub(crate) fn settled(&mut self, stream: StreamId, offset: Offset, lease: Lease) {
        let place = self.places.entry((stream, offset)).or_default();
        if place.last_lease.is_some_and(|last| last > lease) {
            let last = place.last_lease;
            return self.violate(format!(
                "Q2: {stream:?} {offset:?}: a settle under {lease:?} was confirmed after the grant of {last:?}"
            ));
        }
        if !place.settled {
            self.settled += 1;
        }
        place.settled = true;
    }

    /// What a purge that is asked for now settles for certain, unless somebody is granted it before: whatever was
    /// acknowledged and never granted.
    pub(crate) fn purgeable(&self, stream: StreamId) -> Vec<At> {
        let in_stream = self.places.range((stream, Offset::ZERO)..=(stream, Offset(u64::MAX)));
        let untouched = in_stream.filter(|(at, place)| {
            let message = self.messages.get(&place.message);
            place.last_lease.is_none() && message.is_some_and(|message| message.acknowledged == Some(**at))
        });
        untouched.map(|(at, _)| *at).collect()
    }

    /// An administrator was told that the queue is purged.
    pub(crate) fn purged(&mut self, purgeable: &[At]) {
        for at in purgeable {
            if let Some(place) = self.places.get_mut(at).filter(|place| place.last_lease.is_none()) {
                place.purged = true;
            }
        }
    }
}
