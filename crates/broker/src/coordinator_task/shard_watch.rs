//! What this broker sees of the cluster's shards: which have a leader, and which have their copies.
//!
//! A shard is offline, as seen here, while
//! * the catalog names no leader for it, or names one in a start that is over,
//! * its leader is away: on the catalog's leader one without a lease, elsewhere one to whom the connection is down,
//! * it is led here and does not serve yet.
//!
//! The catalog's leader knows best. Others see the time in which the catalog itself has no leader.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{BrokerId, Epoch, Member, Revision, ShardId};
use pondage_node::catalog::{Catalog, Shard, ShardKind, planners::replication_factor};

/// The least time between two looks at shards whose rows did not change, in milliseconds: what a resource asks for may
/// have.
const WALK_MILLIS: u64 = 1_000;

/// What is known at one moment.
pub(super) struct View<'a> {
    pub(super) now_millis: u64,
    pub(super) catalog: &'a Catalog,
    /// This start of this broker, once it is registered.
    pub(super) own: Option<Member>,
    /// The brokers that are away.
    pub(super) away: BTreeSet<BrokerId>,
    /// Whether this broker serves a shard in an epoch.
    pub(super) serves: &'a dyn Fn(ShardId, Epoch) -> bool,
}

/// Shards in trouble. One shard may count in several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ShardTotals {
    /// Without a leader that serves.
    pub(crate) offline: u64,
    /// With fewer in-sync copies than an acknowledgement takes.
    pub(crate) below_minimum: u64,
    /// With fewer in-sync copies than they should have.
    pub(crate) under_replicated: u64,
    /// Time without leader so far, in milliseconds, of all shards together.
    pub(crate) offline_millis: u64,
}

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct ShardWatch {
    shards: BTreeMap<ShardId, Watched>,
    totals: ShardTotals,
    seen: Revision,
    away: BTreeSet<BrokerId>,
    looked_at_millis: u64,
    /// When all shards were looked at, and at which revision.
    walked: (u64, Revision),
    /// Shards that said something since.
    said: Vec<ShardId>,
}

/// One shard, as it was last seen.
#[derive(Clone, Copy, Debug, Default)]
struct Watched {
    /// Since when, in milliseconds.
    offline_since: Option<u64>,
    /// It had a leader while this process ran.
    was_led: bool,
    below_minimum: bool,
    under_replicated: bool,
}

impl ShardWatch {
    /// A shard of this broker said that it serves.
    pub(super) fn said(&mut self, shard: ShardId) {
        self.said.push(shard);
    }

    /// Looks at what changed. Pushes, for each shard that serves here from now on and had a leader before, how long it
    /// had none, in milliseconds.
    pub(super) fn look(&mut self, view: &View<'_>, gaps_millis: &mut Vec<u64>) -> ShardTotals {
        let passed = view.now_millis.saturating_sub(self.looked_at_millis);
        self.totals.offline_millis += self.totals.offline * passed;
        self.looked_at_millis = view.now_millis;
        let revision = view.catalog.revision();
        let (walked_at, walked_through) = self.walked;
        let is_due = revision != walked_through && view.now_millis.saturating_sub(walked_at) >= WALK_MILLIS;
        let changed: Vec<&Shard> = if is_due || view.away != self.away {
            self.away.clone_from(&view.away);
            self.walked = (view.now_millis, revision);
            view.catalog.shards().collect()
        } else {
            let said = self.said.iter().filter_map(|shard| view.catalog.shard(*shard));
            view.catalog.shards_changed_since(self.seen).chain(said).collect()
        };
        self.said.clear();
        self.seen = revision;
        for row in changed {
            self.judge(view, row, gaps_millis);
        }
        if self.shards.len() > view.catalog.shards().len() {
            // Some were deleted.
            let totals = &mut self.totals;
            self.shards.retain(|shard, watched| {
                let is_there = view.catalog.shard(*shard).is_some();
                if !is_there {
                    totals.count(*watched, false);
                }
                is_there
            });
        }
        self.totals
    }

    fn judge(&mut self, view: &View<'_>, row: &Shard, gaps_millis: &mut Vec<u64>) {
        let watched = self.shards.entry(row.id).or_default();
        // The catalog's own state is the consensus's to tell.
        if row.kind == ShardKind::Catalog {
            return;
        }
        self.totals.count(*watched, false);
        let is_offline = row.leading().is_none_or(|leader| {
            let is_mute = view.own == Some(leader) && !(view.serves)(row.id, row.epoch);
            is_mute || !view.catalog.is_current(leader) || view.away.contains(&leader.broker)
        });
        if is_offline {
            watched.offline_since.get_or_insert(view.now_millis);
        } else {
            if let Some(since) = watched.offline_since.take()
                && watched.was_led
                && row.leading() == view.own
            {
                gaps_millis.push(view.now_millis.saturating_sub(since));
            }
            watched.was_led = true;
        }
        let counts = |broker: BrokerId| row.in_sync(broker).is_some_and(|it| view.catalog.is_current(it));
        let in_sync = row.staying().filter(|broker| counts(*broker)).count();
        watched.below_minimum = row.isr.len() < row.min_in_sync_replicas as usize;
        watched.under_replicated = in_sync < replication_factor::wanted(view.catalog, row).replicas;
        self.totals.count(*watched, true);
    }
}

impl ShardTotals {
    fn count(&mut self, watched: Watched, more: bool) {
        let add = |total: &mut u64, counts: bool| {
            *total = if more { *total + u64::from(counts) } else { *total - u64::from(counts) };
        };
        add(&mut self.offline, watched.offline_since.is_some());
        add(&mut self.below_minimum, watched.below_minimum);
        add(&mut self.under_replicated, watched.under_replicated);
    }
}

#[cfg(test)]
#[path = "shard_watch_tests.rs"]
mod tests;
