//! Somebody who asks for what changed, and must know all that a look at everything shows.

use std::collections::BTreeMap;

use pondage_delivery::{Changed, Counters, Mark, Stream, StreamStats};
use pondage_model::{LogTime, StreamId};

use super::Shard;

/// What is known of a stream, and when it was told.
type Known = (StreamStats, Counters, LogTime);

#[derive(Default)]
pub(crate) struct Watcher {
    mark: Option<Mark>,
    known: BTreeMap<StreamId, Known>,
}

impl Watcher {
    /// Asks, and compares. How many streams it was told of.
    pub(crate) fn look(&mut self, shard: &mut Shard) -> usize {
        let Changed { mark, streams, closed } = shard.leading.changed_since(self.mark, shard.now);
        match closed {
            None => self.known.clear(),
            Some(closed) => closed.iter().for_each(|id| drop(self.known.remove(id))),
        }
        for id in &streams {
            if let Some(found) = shard.leading.state().stream(*id) {
                self.known.insert(*id, told(found, shard.now));
            }
        }
        self.mark = Some(mark);
        let all = shard.leading.state().streams();
        let there: BTreeMap<_, _> = all.map(|(id, found)| (id, told(found, shard.now))).collect();
        let known: BTreeMap<_, _> =
            self.known.iter().map(|(id, known)| (*id, grown(known.clone(), shard.now))).collect();
        assert_eq!(known, there, "what was told since is not all");
        streams.len()
    }

    /// Asks, and the answer gets lost.
    pub(crate) fn look_in_vain(&self, shard: &mut Shard) {
        shard.leading.changed_since(self.mark, shard.now);
    }
}

fn told(stream: &Stream, now: LogTime) -> Known {
    (stream.stats(now), *stream.counters(), now)
}

/// The same with the ages of `now`.
fn grown((mut stats, counters, at): Known, now: LogTime) -> Known {
    let ages = stats.groups.iter_mut().map(|group| &mut group.oldest_age_millis);
    for age in ages.chain([&mut stats.oldest_age_millis]).flatten() {
        *age += now.millis_since(at);
    }
    (stats, counters, now)
}
