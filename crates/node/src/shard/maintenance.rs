//! Retention, checkpoints and whole segments that may go. Decided on what storage tells of its segments.

use std::collections::BTreeMap;

use pondage_delivery::Draft;
use pondage_model::{
    Body, Entry, LogTime, Offset, Position, StreamId,
    planted::{self, Fault},
    settings::{StreamSettings, TopicSettings},
};
use pondage_storage::log::SegmentInfo;

use super::{
    ShardEffect,
    machine::{Broken, Shard, State},
};

/// Bytes of log behind the newest checkpoint that make a new one worth while: they bound a restart's work. A small state
/// gets one soon, a larger one after so many times its own bytes.
const BEHIND_BYTES_MIN: u64 = 4 << 20;
const BEHIND_BYTES_MAX: u64 = 32 << 20;
const BEHIND_PER_BYTE: u64 = 8;

/// What the machine remembers of its checkpoints.
#[derive(Debug)]
pub(super) struct Maintenance {
    /// The newest committed checkpoint, or where the log began.
    checkpoint: Checkpoint,
    /// One whose last page is not committed yet.
    unfinished: Option<Checkpoint>,
    /// Segments below were reported as droppable already.
    dropped: Position,
}

#[derive(Clone, Copy, Debug)]
struct Checkpoint {
    /// Its first page.
    first: Position,
    /// About the bytes of its pages.
    bytes: u64,
    /// About the bytes of what was committed behind it.
    behind: u64,
}

impl Checkpoint {
    const fn at(first: Position) -> Self {
        Self { first, bytes: 0, behind: 0 }
    }
}

impl Maintenance {
    pub(super) const fn new(replay_from: Position) -> Self {
        Self { checkpoint: Checkpoint::at(replay_from), unfinished: None, dropped: Position::ZERO }
    }

    /// An entry was committed.
    pub(super) fn committed(&mut self, entry: &Entry) {
        let bytes = entry.body.weight_bytes() as u64;
        let Body::CheckpointPage(page) = &entry.body else {
            self.checkpoint.behind += bytes;
            // One whose later pages never came was cut off by a crash: it counts as not there.
            self.unfinished.take_if(|unfinished| unfinished.first <= entry.position);
            return;
        };
        if page.index == 0 {
            self.unfinished = Some(Checkpoint::at(entry.position));
        }
        if let Some(unfinished) = &mut self.unfinished {
            unfinished.bytes += bytes;
        }
        if page.index + 1 == page.total
            && let Some(finished) = self.unfinished.take()
        {
            self.checkpoint = finished;
        }
    }

    /// A checkpoint costs what it holds, so it waits for at least as many bytes of log.
    fn checkpoint_is_due(&self) -> bool {
        let Checkpoint { bytes, behind, .. } = self.checkpoint;
        behind >= (BEHIND_PER_BYTE * bytes).clamp(BEHIND_BYTES_MIN, BEHIND_BYTES_MAX).max(bytes)
    }
}

impl Shard {
    pub(super) fn maintain(
        &mut self,
        log_time: LogTime,
        segments: &[SegmentInfo],
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        let (reclaimable, checkpoint) = self.reclaim(segments, effects);
        if !self.is_serving() || self.replica.check_leader().is_err() {
            return Ok(());
        }
        let expired = self.expired_by_retention(log_time, segments);
        if !expired.is_empty() {
            // It may end leases of shared groups, without naming them.
            self.log_leases(log_time)?;
        }
        for (stream, start) in expired {
            self.append(log_time, Draft { stream, body: Body::Trim(start) })?;
        }
        let blocked = segments.iter().any(|segment| segment.end <= reclaimable && segment.end > checkpoint);
        if self.maintenance.unfinished.is_none() && (self.maintenance.checkpoint_is_due() || blocked) {
            self.checkpoint(log_time)?;
        }
        Ok(())
    }

    /// Lets whole segments go that nothing needs any more, on this replica: followers reclaim by themselves. Says up to
    /// where messages are done with, and where the newest checkpoint begins.
    fn reclaim(&mut self, segments: &[SegmentInfo], effects: &mut Vec<ShardEffect>) -> (Position, Position) {
        let reclaimable = self.reclaimable(segments);
        let mut checkpoint = self.maintenance.checkpoint.first;
        if let Some(unfinished) = self.maintenance.unfinished
            && planted::is(Fault::TrustUnfinishedCheckpoint)
        {
            checkpoint = unfinished.first;
        }
        let uncovered = planted::is(Fault::DropSegmentsBeforeCheckpoint);
        let droppable = if uncovered { reclaimable } else { reclaimable.min(checkpoint) };
        let end = segments.iter().rev().find(|segment| segment.end <= droppable).map(|segment| segment.end);
        if let Some(end) = end
            && end > self.maintenance.dropped
        {
            self.maintenance.dropped = end;
            effects.push(ShardEffect::DropSegments(end));
        }
        (reclaimable, checkpoint)
    }

    /// Appends a checkpoint: the leading state, which holds everything below its first page, uncommitted included.
    fn checkpoint(&mut self, log_time: LogTime) -> Result<(), Broken> {
        // Its pages are all that some replicas will know: nothing is in them that the log does not say.
        self.log_leases(log_time)?;
        let State::Leading(led) = &self.state else { return Ok(()) };
        self.maintenance.unfinished = Some(Checkpoint::at(self.replica.end()));
        for page in led.leading.state().checkpoint() {
            self.append(log_time, Draft { stream: StreamId::ZERO, body: Body::CheckpointPage(page) })?;
        }
        Ok(())
    }

    /// The position below which every message in whole sealed segments is done with.
    fn reclaimable(&self, segments: &[SegmentInfo]) -> Position {
        let Some(committed) = self.committed() else { return Position::ZERO };
        let mut position = Position::ZERO;
        for segment in segments.iter().filter(|segment| segment.sealed) {
            let done = |(stream, end): &(StreamId, Offset)| {
                committed.stream(*stream).is_none_or(|found| *end <= found.needed_from())
            };
            if !segment.stream_ends.iter().all(done) {
                break;
            }
            position = segment.end;
        }
        position
    }

    /// Topics whose oldest whole segments are past their age or size, with their new start. Looks at each stream of
    /// each segment once.
    fn expired_by_retention(&self, log_time: LogTime, segments: &[SegmentInfo]) -> Vec<(StreamId, Offset)> {
        let State::Leading(led) = &self.state else { return Vec::new() };
        let ages = Ages::of(segments);
        // By stream: how many segments are expired, and where the stream starts behind them.
        let mut expired: BTreeMap<StreamId, (usize, Offset)> = BTreeMap::new();
        // What is appended counts, not only what is committed: a stream may be closed, or trimmed, already.
        for (id, stream) in led.leading.state().streams() {
            let StreamSettings::Topic(settings) = &stream.open.settings else { continue };
            let count = ages.expired(settings, log_time);
            if count > 0 {
                expired.insert(id, (count, stream.start()));
            }
        }
        let most = expired.values().map(|(count, _)| *count).max().unwrap_or(0);
        for (index, segment) in segments.iter().enumerate().take(most) {
            for (stream, end) in &segment.stream_ends {
                if let Some((count, start)) = expired.get_mut(stream)
                    && index < *count
                {
                    *start = (*start).max(*end);
                }
            }
        }
        let behind = |(id, (_, start)): (StreamId, (usize, Offset))| {
            led.leading.state().stream(id).is_some_and(|stream| start > stream.start()).then_some((id, start))
        };
        expired.into_iter().filter_map(behind).collect()
    }
}

/// How old the sealed segments are, and how much lies behind each.
struct Ages {
    /// By segment, oldest first: its newest log time, and the bytes of the segments behind it.
    sealed: Vec<(LogTime, u64)>,
}

impl Ages {
    fn of(segments: &[SegmentInfo]) -> Self {
        let mut behind: u64 = segments.iter().map(|segment| segment.bytes).sum();
        let sealed = segments.iter().take_while(|segment| segment.sealed).map(|segment| {
            behind = behind.saturating_sub(segment.bytes);
            (segment.last_log_time, behind)
        });
        Self { sealed: sealed.collect() }
    }

    /// How many of the oldest segments this topic keeps no longer.
    fn expired(&self, settings: &TopicSettings, log_time: LogTime) -> usize {
        // Log time never goes back, and what lies behind only gets less.
        let too_old = settings
            .retention_millis
            .map_or(0, |age| self.sealed.partition_point(|(newest, _)| log_time.millis_since(*newest) > age));
        let too_large = settings
            .retention_bytes
            .map_or(0, |bytes| self.sealed.partition_point(|(_, behind)| *behind >= bytes));
        too_old.max(too_large)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_waits_for_as_much_log_as_it_is_worth() {
        for (mebibytes, behind) in [(0, 4), (1, 8), (2, 16), (4, 32), (20, 32), (32, 32), (100, 100)] {
            let mut maintenance = Maintenance::new(Position::ZERO);
            let bytes = |mebibytes: u64| mebibytes << 20;
            maintenance.checkpoint =
                Checkpoint { first: Position(7), bytes: bytes(mebibytes), behind: bytes(behind) };
            assert!(maintenance.checkpoint_is_due(), "{mebibytes} MiB after {behind}");
            maintenance.checkpoint.behind -= 1;
            assert!(!maintenance.checkpoint_is_due(), "{mebibytes} MiB before {behind}");
        }
    }
}
