//! What one replica has appended, what of it is on its way to its disk, and what is there.

use pondage_model::{
    Epoch, Position, RawEntry, limits,
    planted::{self, Fault},
};

use crate::{Batch, Effect};

/// The replica's own disk: one operation at a time, in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Disk {
    /// The next position.
    pub(crate) end: Position,
    /// Everything below is on the disk.
    pub(crate) durable: Position,
    /// Appended and not yet handed out.
    open: Vec<RawEntry>,
    /// About their bytes.
    pub(crate) open_bytes: usize,
    /// Epochs whose first entry is not among `open`.
    epochs: Vec<(Epoch, Position)>,
    /// The log is to be cut here before anything of `open` is written.
    cut: Option<Position>,
    under_way: Option<Operation>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Operation {
    Write { end: Position },
    Truncate { to: Position },
}

impl Disk {
    pub(crate) const fn recovered(end: Position) -> Self {
        Self {
            end,
            durable: end,
            open: Vec::new(),
            open_bytes: 0,
            epochs: Vec::new(),
            cut: None,
            under_way: None,
        }
    }

    pub(crate) const fn is_idle(&self) -> bool {
        self.under_way.is_none()
    }

    pub(crate) const fn has_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Takes an entry at or behind the end.
    pub(crate) fn append(&mut self, entry: RawEntry) {
        assert!(entry.position >= self.end, "{:?} after {:?}", entry.position, self.end);
        self.end = entry.position.next();
        self.open_bytes += entry.weight_bytes();
        self.open.push(entry);
    }

    /// Notes an epoch whose first entry will not come.
    pub(crate) fn note_epoch(&mut self, epoch: Epoch, start: Position) {
        self.epochs.push((epoch, start));
    }

    /// Forgets everything from `to` on, now in memory and on the disk as soon as it is free.
    pub(crate) fn truncate(&mut self, to: Position) {
        self.open.retain(|entry| entry.position < to);
        self.open_bytes = self.open.iter().map(RawEntry::weight_bytes).sum();
        self.epochs.retain(|(_, start)| *start < to);
        let written = match self.under_way {
            Some(Operation::Write { end }) => end,
            Some(Operation::Truncate { to }) => to,
            None => self.durable,
        };
        let on_disk = self.cut.map_or(written, |cut| cut.min(written));
        if to < on_disk {
            self.cut = Some(to);
        }
        self.end = self.end.min(to);
        if !planted::is(Fault::DurableSurvivesTruncation) {
            self.durable = self.durable.min(to);
        }
    }

    /// A sync returned.
    pub(crate) fn synced(&mut self, position: Position) {
        let Some(Operation::Write { end }) = self.under_way else {
            panic!("a sync returned that nobody asked for");
        };
        assert!(position == end, "a sync of {position:?}, not of {end:?}");
        self.under_way = None;
        self.durable = self.cut.map_or(position, |cut| cut.min(position)).max(self.durable);
    }

    /// A truncation is done.
    pub(crate) fn truncated(&mut self, position: Position) {
        // Less, where entries right below the cut had been reclaimed.
        assert!(
            matches!(self.under_way, Some(Operation::Truncate { to }) if position <= to),
            "a cut at {position:?} that nobody asked for"
        );
        self.under_way = None;
    }

    /// Hands out the next operation if none is under way: a batch takes up to [`limits::SYNC_BATCH_BYTES_MAX`]
    /// beyond its first entry.
    pub(crate) fn flush(&mut self, effects: &mut Vec<Effect>) {
        if self.under_way.is_some() {
            return;
        }
        if let Some(to) = self.cut.take() {
            self.under_way = Some(Operation::Truncate { to });
            return effects.push(Effect::Truncate(to));
        }
        let Some(first) = self.open.first().map(|entry| entry.position) else { return };
        // An epoch whose first entry is missing is told before a batch, not inside of it.
        let told = self.epochs.partition_point(|(_, start)| *start <= first);
        let until = self.epochs.get(told).map(|(_, start)| *start);
        let mut bytes = 0;
        let fits = |entry: &&RawEntry| {
            let is_first = bytes == 0;
            bytes += entry.weight_bytes();
            (is_first || bytes <= limits::SYNC_BATCH_BYTES_MAX)
                && until.is_none_or(|until| entry.position < until)
        };
        let count = self.open.iter().take_while(fits).count();
        let left = self.open.split_off(count);
        let entries = std::mem::replace(&mut self.open, left);
        let Some(last) = entries.last() else { return };
        self.open_bytes -= entries.iter().map(RawEntry::weight_bytes).sum::<usize>();
        let end = last.position.next();
        let epochs = self.epochs.drain(..told).collect();
        self.under_way = Some(Operation::Write { end });
        effects.push(Effect::Write(Batch { entries, epochs }));
    }

    /// The disk failed.
    pub(crate) fn fence(&mut self) {
        self.open.clear();
        self.open_bytes = 0;
        self.epochs.clear();
        self.cut = None;
    }

    /// Panics on what can't be.
    pub(crate) fn check(&self) {
        assert!(self.durable <= self.end, "durable {:?} behind the end {:?}", self.durable, self.end);
        assert!(self.open.is_sorted_by(|a, b| a.position < b.position), "open entries must ascend");
        assert!(
            self.open.last().is_none_or(|entry| entry.position.next() == self.end),
            "the end is the last's"
        );
    }
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
