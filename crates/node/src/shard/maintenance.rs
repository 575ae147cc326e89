//! Retention, checkpoints and whole segments that may go. Decided on what storage tells of its segments.

use pondage_delivery::Draft;
use pondage_model::{Body, Entry, LogTime, Offset, Position, StreamId, settings::StreamSettings};
use pondage_storage::log::SegmentInfo;

use super::{
    ShardEffect,
    machine::{Broken, Shard, State},
};

/// Bytes of log behind the newest checkpoint that make a new one worth while: they bound a restart's work.
const CHECKPOINT_BYTES: u64 = 32 << 20;

/// What the machine remembers of its checkpoints.
#[derive(Debug)]
pub(super) struct Maintenance {
    /// The first page of the newest committed checkpoint, or where the log began.
    checkpoint: Position,
    /// The first page of one whose last page is not committed yet.
    unfinished: Option<Position>,
    /// Segments below were reported as droppable already.
    dropped: Position,
}

impl Maintenance {
    pub(super) const fn new(replay_from: Position) -> Self {
        Self { checkpoint: replay_from, unfinished: None, dropped: Position::ZERO }
    }

    /// An entry was committed.
    pub(super) fn committed(&mut self, entry: &Entry) {
        if let Body::CheckpointPage(page) = &entry.body {
            if page.index == 0 {
                self.unfinished = Some(entry.position);
            }
            if page.index + 1 == page.total
                && let Some(first) = self.unfinished.take()
            {
                self.checkpoint = first;
            }
        }
    }
}

impl Shard {
    pub(super) fn maintain(
        &mut self,
        log_time: LogTime,
        segments: &[SegmentInfo],
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        if !self.is_serving() {
            return Ok(());
        }
        for (stream, start) in self.expired_by_retention(log_time, segments) {
            self.append(log_time, Draft { stream, body: Body::Trim(start) })?;
        }
        let reclaimable = self.reclaimable(segments);
        let droppable = reclaimable.min(self.maintenance.checkpoint);
        let end = segments.iter().rev().find(|segment| segment.end <= droppable).map(|segment| segment.end);
        if let Some(end) = end
            && end > self.maintenance.dropped
        {
            self.maintenance.dropped = end;
            effects.push(ShardEffect::DropSegments(end));
        }
        let behind: u64 = segments
            .iter()
            .filter(|segment| segment.end > self.maintenance.checkpoint)
            .map(|segment| segment.bytes)
            .sum();
        let blocked = segments
            .iter()
            .any(|segment| segment.end <= reclaimable && segment.end > self.maintenance.checkpoint);
        if self.maintenance.unfinished.is_none() && (behind >= CHECKPOINT_BYTES || blocked) {
            self.checkpoint(log_time)?;
        }
        Ok(())
    }

    /// Appends a checkpoint: the leading state, which holds everything below its first page, uncommitted included.
    fn checkpoint(&mut self, log_time: LogTime) -> Result<(), Broken> {
        let State::Leading(led) = &self.state else { return Ok(()) };
        self.maintenance.unfinished = Some(self.replica.end());
        for page in led.leading.state().checkpoint() {
            self.append(log_time, Draft { stream: StreamId::ZERO, body: Body::CheckpointPage(page) })?;
        }
        Ok(())
    }

    /// The position below which every message in whole sealed segments is done with.
    fn reclaimable(&self, segments: &[SegmentInfo]) -> Position {
        let State::Leading(led) = &self.state else { return Position::ZERO };
        let mut position = Position::ZERO;
        for segment in segments.iter().filter(|segment| segment.sealed) {
            let done = |(stream, end): &(StreamId, Offset)| {
                led.committed.stream(*stream).is_none_or(|found| *end <= found.needed_from())
            };
            if !segment.stream_ends.iter().all(done) {
                break;
            }
            position = segment.end;
        }
        position
    }

    /// Topics whose oldest whole segments are past their age or size, with their new start.
    fn expired_by_retention(&self, log_time: LogTime, segments: &[SegmentInfo]) -> Vec<(StreamId, Offset)> {
        let State::Leading(led) = &self.state else { return Vec::new() };
        let mut trims = Vec::new();
        for (id, stream) in led.committed.streams() {
            let StreamSettings::Topic(settings) = &stream.open.settings else { continue };
            let mut start = stream.start();
            let mut bytes_behind: u64 = segments.iter().map(|segment| segment.bytes).sum();
            for segment in segments.iter().filter(|segment| segment.sealed) {
                bytes_behind = bytes_behind.saturating_sub(segment.bytes);
                let too_old = settings
                    .retention_millis
                    .is_some_and(|age| log_time.millis_since(segment.last_log_time) > age);
                let too_large = settings.retention_bytes.is_some_and(|bytes| bytes_behind >= bytes);
                if !too_old && !too_large {
                    break;
                }
                let end = segment.stream_ends.iter().find(|(stream, _)| *stream == id);
                start = end.map_or(start, |(_, end)| start.max(*end));
            }
            if start > stream.start() {
                trims.push((id, start));
            }
        }
        trims
    }
}
