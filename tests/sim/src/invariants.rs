//! What must hold inside, whatever clients see: checked as machines step, over all hosts.
//!
//! The world tells what each host wrote, synced, cut and found again, and how its replicas stand after each step.
//! Nothing here influences a world. One invariant per file, with its source.

mod agreement;
mod durability;
mod high_watermark;
mod one_leader;
mod shadow;
mod truncation;

use std::collections::BTreeMap;

use pondage_model::{Epoch, Member, Position, RawEntry, ShardId};

use self::shadow::Shadow;
use crate::world::HostId;

/// A volume: what a host's disk holds until it is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Volume {
    pub(crate) host: HostId,
    /// Grows when the disk is emptied or goes back to an old image.
    pub(crate) generation: u64,
}

/// How a replica stands after a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) volume: Volume,
    /// The life of its host.
    pub(crate) start: u64,
    pub(crate) shard: ShardId,
    pub(crate) epoch: Epoch,
    pub(crate) leads: bool,
    /// Whether an entry of its own epoch is committed.
    pub(crate) serves: bool,
    pub(crate) end: Position,
    pub(crate) high_watermark: Position,
}

/// A shard's row in the newest catalog: its epoch, and who is in sync on which volume. A member whose volume is lost
/// has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) epoch: Epoch,
    pub(crate) in_sync: Vec<(Member, Option<Volume>)>,
}

/// What is true of a shard, as the sum of all replicas.
#[derive(Debug, Default)]
struct Truth {
    /// What is committed, by a digest of each entry, and the epoch in which it came to be.
    committed: BTreeMap<Position, (u64, Epoch)>,
    /// The greatest high watermark that any replica had, by the epoch that it was in.
    ends: BTreeMap<Epoch, Position>,
    /// Entries below may have been dropped by some replica: they need not be anywhere.
    reclaimed: Position,
    /// Who led each epoch, in which life.
    leaders: BTreeMap<Epoch, (Volume, u64)>,
}

impl Truth {
    /// Everything below was committed in epochs before this one.
    fn end_before(&self, epoch: Epoch) -> Position {
        self.ends.range(..epoch).map(|(_, end)| *end).max().unwrap_or(Position::ZERO)
    }

    /// The greatest high watermark that any replica ever had.
    fn end(&self) -> Position {
        self.ends.values().copied().max().unwrap_or(Position::ZERO)
    }
}

/// A replica's high watermark in one life and epoch.
#[derive(Clone, Copy, Debug, Default)]
struct Mark {
    start: u64,
    epoch: Epoch,
    high_watermark: Position,
    served: bool,
}

/// All that is known inside.
#[derive(Debug, Default)]
pub(crate) struct Invariants {
    shards: BTreeMap<ShardId, Truth>,
    shadows: BTreeMap<(Volume, ShardId), Shadow>,
    marks: BTreeMap<(Volume, ShardId), Mark>,
    pub(crate) violation: Option<String>,
}

impl Invariants {
    fn judge(&mut self, judged: Result<(), String>) {
        if let Err(what) = judged {
            self.violation.get_or_insert(what);
        }
    }

    /// A replica handed these entries to its disk.
    pub(crate) fn wrote(&mut self, volume: Volume, shard: ShardId, entries: &[RawEntry]) {
        self.shadows.entry((volume, shard)).or_default().wrote(entries);
    }

    /// Everything below is durable on the volume.
    pub(crate) fn synced(&mut self, volume: Volume, shard: ShardId, end: Position) {
        self.shadows.entry((volume, shard)).or_default().durable = end;
    }

    /// Entries below may be gone from the volume.
    pub(crate) fn may_drop(&mut self, volume: Volume, shard: ShardId, below: Position) {
        let shadow = self.shadows.entry((volume, shard)).or_default();
        shadow.kept_from = shadow.kept_from.max(below);
        let truth = self.shards.entry(shard).or_default();
        truth.reclaimed = truth.reclaimed.max(below);
    }

    /// The replica decided to cut its log's end.
    pub(crate) fn truncates(&mut self, volume: Volume, shard: ShardId, to: Position, row: Option<&Row>) {
        let truth = self.shards.entry(shard).or_default();
        let shadow = self.shadows.entry((volume, shard)).or_default();
        let judged = truncation::check(truth, shadow, (volume, shard), to, row);
        shadow.cut(to);
        if let Some(mark) = self.marks.get_mut(&(volume, shard)) {
            mark.high_watermark = mark.high_watermark.min(to);
        }
        self.judge(judged);
    }

    /// A start found this log on the volume.
    pub(crate) fn found(&mut self, volume: Volume, shard: ShardId, entries: &[RawEntry], end: Position) {
        let shadow = self.shadows.entry((volume, shard)).or_default();
        let judged = durability::check_found(shadow, (volume, shard), entries, end);
        shadow.found(entries, end);
        self.judge(judged);
    }

    /// The shard is gone from the volume, on purpose.
    pub(crate) fn removed(&mut self, volume: Volume, shard: ShardId) {
        self.shadows.remove(&(volume, shard));
        self.marks.remove(&(volume, shard));
    }

    /// The newest epoch of a shard that any replica led in, served or not.
    pub(crate) fn newest_led(&self, shard: ShardId) -> Option<Epoch> {
        self.shards.get(&shard)?.leaders.last_key_value().map(|(epoch, _)| *epoch)
    }

    /// A replica's machine stepped.
    pub(crate) fn stepped(&mut self, standing: Standing, row: impl FnOnce() -> Option<Row>) {
        let key = (standing.volume, standing.shard);
        let mark = self.marks.entry(key).or_default();
        if mark.start != standing.start {
            *mark = Mark { start: standing.start, ..Mark::default() };
        }
        let before = *mark;
        *mark = Mark {
            start: standing.start,
            epoch: standing.epoch,
            high_watermark: standing.high_watermark,
            served: standing.serves,
        };
        let truth = self.shards.entry(standing.shard).or_default();
        let shadow = self.shadows.entry(key).or_default();
        let mut judged = high_watermark::check(truth, before, standing);
        if standing.leads {
            judged = judged.and(one_leader::check(truth, standing));
        }
        if standing.high_watermark > before.high_watermark {
            judged = judged.and(agreement::check(truth, shadow, before.high_watermark, standing));
            if standing.leads {
                judged = judged.and(durability::check_committed(&self.shadows, standing, row().as_ref()));
            }
        }
        if standing.serves && !before.served {
            let shadow = self.shadows.entry(key).or_default();
            judged = judged.and(agreement::check_complete(truth, shadow, standing));
        }
        self.judge(judged);
    }
}
