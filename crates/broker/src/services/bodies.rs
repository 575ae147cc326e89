//! The bodies of granted messages.

use std::collections::VecDeque;

use pondage_model::{
    Body, Epoch, Lease, Name, Offset, Refusal, StreamId,
    entry::{Granted, LeaseRange, Publish},
};
use pondage_node::disk::Disk;
use pondage_protocol::delivery::{Delivery, Leased};

use super::Place;
use crate::handle::Handle;

/// How much is read from the log at once.
pub(super) const CHUNK_BYTES: usize = 1 << 20;

/// The published batches among entries.
pub(super) fn publishes(entries: Vec<pondage_model::Entry>) -> impl Iterator<Item = Publish> {
    entries.into_iter().filter_map(|entry| match entry.body {
        Body::Publish(publish) => Some(publish),
        _ => None,
    })
}

fn end_of(publish: &Publish) -> Offset {
    publish.base_offset.plus(u64::from(publish.count))
}

/// Reads the batches of granted messages, a chunk at a time.
pub(super) struct Bodies<D: Disk> {
    handle: Handle<D>,
    source: Name,
    place: Place,
    /// The stream under which the log has the messages: the partition, if a shared group is given them.
    stored: StreamId,
    /// The last chunk, ascending.
    chunk: Vec<Publish>,
}

impl<D: Disk> Bodies<D> {
    /// Of the messages that `place` is granted; the log has them under `stored`.
    pub(super) fn new(handle: Handle<D>, source: Name, place: Place, stored: StreamId) -> Self {
        Self { handle, source, place, stored, chunk: Vec::new() }
    }

    /// The batch of the first granted message, with all the runs that follow it and lie in the same batch; they
    /// are taken from `runs`. `None` once there is none left.
    ///
    /// # Errors
    /// Why the log can't be read.
    pub(super) async fn next(
        &mut self,
        epoch: Epoch,
        runs: &mut VecDeque<Granted>,
    ) -> Result<Option<Delivery>, Refusal> {
        let first = loop {
            let Some(first) = runs.front().map(|run| run.first) else { return Ok(None) };
            if self.find(first).is_some() {
                break first;
            }
            let read = self.handle.read_stream(self.place.shard, self.stored, first, CHUNK_BYTES).await?;
            self.chunk = publishes(read).collect();
            if self.find(first).is_some() {
                break first;
            }
            let Some(next) = self.kept_from(first) else {
                return Err(Refusal::CorruptBatch { what: "a granted message is not in the log" });
            };
            // Retention was faster: those leases are over.
            skip_below(next, runs);
        };
        let publish =
            self.find(first).ok_or(Refusal::CorruptBatch { what: "a granted message is not in the log" })?;
        let leases = take_leases(epoch, publish.base_offset, end_of(publish), runs);
        Ok(Some(Delivery {
            source: self.source.clone(),
            partition: self.place.partition,
            shard: self.place.shard,
            stream: self.place.stream,
            batch: publish.batch.clone(),
            first,
            count: leases.iter().map(|leased| leased.range.count).sum(),
            leases,
        }))
    }

    /// The first message behind `first` that a topic has kept, if the messages are a topic's.
    fn kept_from(&self, first: Offset) -> Option<Offset> {
        let is_shared = self.stored != self.place.stream;
        let next = self.chunk.first().map_or(Offset(u64::MAX), |publish| publish.base_offset);
        (is_shared && next > first).then_some(next)
    }

    fn find(&self, offset: Offset) -> Option<&Publish> {
        let index = self.chunk.partition_point(|publish| end_of(publish) <= offset);
        self.chunk.get(index).filter(|publish| publish.base_offset <= offset)
    }
}

/// Drops what lies below `next` from the front, up to the first run that does not.
fn skip_below(next: Offset, runs: &mut VecDeque<Granted>) {
    while let Some(run) = runs.front_mut()
        && run.first < next
    {
        let gone = u32::try_from(next.0 - run.first.0).unwrap_or(u32::MAX).min(run.count);
        run.first = run.first.plus(u64::from(gone));
        run.count -= gone;
        if run.count == 0 {
            runs.pop_front();
        }
    }
}

/// Takes the ascending runs from the front that lie below `end`, and the part of the last one that does.
fn take_leases(epoch: Epoch, base: Offset, end: Offset, runs: &mut VecDeque<Granted>) -> Vec<Leased> {
    let mut leases = Vec::new();
    let mut free = base;
    while let Some(run) = runs.front_mut()
        && free <= run.first
        && run.first < end
    {
        let count = u32::try_from(end.0 - run.first.0).unwrap_or(u32::MAX).min(run.count);
        let lease = Lease { epoch, attempt: run.attempt };
        let range = LeaseRange { first: run.first, count, lease };
        leases.push(Leased { range, deadline: run.deadline });
        run.first = run.first.plus(u64::from(count));
        run.count -= count;
        free = run.first;
        if run.count == 0 {
            runs.pop_front();
        }
    }
    leases
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::{Attempt, LogTime};

    fn run(first: u64, count: u32) -> Granted {
        Granted { first: Offset(first), count, attempt: Attempt(1), deadline: LogTime(9) }
    }

    #[test]
    fn what_retention_took_is_skipped() {
        for (runs, next, left) in [
            (vec![run(10, 3)], 5, vec![run(10, 3)]),
            (vec![run(10, 3)], 12, vec![run(12, 1)]),
            (vec![run(10, 3), run(20, 2)], 13, vec![run(20, 2)]),
            (vec![run(10, 3), run(20, 2)], u64::MAX, vec![]),
            (vec![run(10, 1), run(20, 2), run(11, 1)], 15, vec![run(20, 2), run(11, 1)]),
        ] {
            let mut rest: VecDeque<Granted> = runs.clone().into();
            skip_below(Offset(next), &mut rest);
            assert_eq!(Vec::from(rest), left, "{runs:?} {next}");
        }
    }

    #[test]
    fn a_batch_takes_the_runs_that_lie_in_it() {
        for (runs, taken, left) in [
            (vec![run(10, 3)], vec![(10, 3)], vec![]),
            (vec![run(12, 20)], vec![(12, 8)], vec![run(20, 12)]),
            (vec![run(10, 1), run(12, 2), run(30, 1)], vec![(10, 1), (12, 2)], vec![run(30, 1)]),
            // Not ascending: a redelivery goes ahead of what is fresh.
            (vec![run(15, 1), run(10, 2)], vec![(15, 1)], vec![run(10, 2)]),
        ] {
            let mut rest: VecDeque<Granted> = runs.clone().into();
            let leases = take_leases(Epoch(1), Offset(10), Offset(20), &mut rest);
            let got: Vec<_> =
                leases.iter().map(|leased| (leased.range.first.0, leased.range.count)).collect();
            assert_eq!(got, taken, "{runs:?}");
            assert_eq!(Vec::from(rest), left, "{runs:?}");
        }
    }
}
