//! What must hold between replicas, whatever happens.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{BrokerId, Epoch, Position, RawEntry};
use pondage_replication::invariants::{View, compare};

use crate::cluster::{Host, Operation, catalog::Catalog};

/// What an observer of everything knows to be committed.
#[derive(Default)]
pub(crate) struct Observer {
    committed: BTreeMap<Position, RawEntry>,
    /// In which epoch it was committed, for each place.
    by: BTreeMap<Position, Epoch>,
    /// Places below the high watermark that somebody reclaimed.
    pub(crate) reclaimed: BTreeSet<Position>,
    /// Volumes that are an older copy and were not yet found out.
    pub(crate) rolled_back: BTreeSet<BrokerId>,
    /// When each epoch began to be served.
    served: BTreeMap<Epoch, u64>,
}

impl Observer {
    pub(crate) fn committed_count(&self) -> u64 {
        self.committed.len() as u64
    }

    pub(crate) fn committed_end(&self) -> Position {
        self.committed.last_key_value().map_or(Position::ZERO, |(last, _)| last.next())
    }

    /// A leader counts everything below as committed.
    pub(crate) fn committed_by_leader(
        &mut self,
        host: &Host,
        to: Position,
        hosts: &BTreeMap<BrokerId, Host>,
        catalog: &Catalog,
    ) {
        let known = self.committed_end();
        for entry in host.volume.log.iter().filter(|entry| entry.position < to) {
            match self.committed.get(&entry.position) {
                Some(committed) => assert_eq!(committed, entry, "{:?} commits it anew", host.member()),
                None => {
                    assert!(
                        entry.position >= known || self.reclaimed.contains(&entry.position),
                        "{:?} commits {:?}, which was skipped",
                        host.member(),
                        entry.position
                    );
                    self.committed.insert(entry.position, entry.clone());
                    self.by.extend(host.replica.as_ref().map(|replica| (entry.position, replica.epoch())));
                }
            }
        }
        let holds = |other: &Host| {
            let missing = |(at, entry): (&Position, &RawEntry)| {
                !self.reclaimed.contains(at) && other.volume.at(*at) != Some(entry)
            };
            !self.committed.range(known..).any(missing)
        };
        let (honest, rolled_back): (Vec<_>, Vec<_>) =
            hosts.values().chain([host]).partition(|host| !self.rolled_back.contains(&host.broker));
        // What a volume confirmed before it was lost was there.
        let row = host.replica.as_ref().and_then(|replica| replica.assignment());
        let union = row.into_iter().flat_map(|row| &row.isr).map(|member| member.broker);
        let lost = union.filter(|broker| *broker != host.broker && !hosts.contains_key(broker)).count();
        let copies = honest.iter().filter(|host| holds(host)).count() + rolled_back.len() + lost;
        let minimum = catalog.row.min_in_sync_replicas as usize;
        assert!(copies >= minimum, "{:?} counts {to:?} as committed with {copies} copies", host.member());
        // Whoever the catalog may elect holds it.
        let row = &catalog.row;
        let current = host.replica.as_ref().is_some_and(|replica| replica.epoch() == row.epoch);
        for member in row.isr.iter().filter(|_| current) {
            let other = if member.broker == host.broker { Some(host) } else { hosts.get(&member.broker) };
            let Some(other) = other.filter(|other| !self.rolled_back.contains(&other.broker)) else {
                continue;
            };
            assert!(holds(other), "{member:?} is in sync without what {:?} committed: {to:?}", host.member());
        }
    }

    /// A follower counts everything below as committed.
    pub(crate) fn committed_by_follower(&self, host: &Host, to: Position) {
        assert!(to <= self.committed_end(), "{:?} counts {to:?}, no leader does", host.member());
        self.assert_complete(host, to, Epoch(u64::MAX));
    }

    fn assert_complete(&self, host: &Host, to: Position, epoch: Epoch) {
        for (at, committed) in self.committed.range(..to).filter(|(at, _)| self.by[at] < epoch) {
            match host.volume.at(*at) {
                Some(entry) => assert_eq!(entry, committed, "{:?} holds something else", host.member()),
                None => assert!(self.reclaimed.contains(at), "{:?} lacks {at:?}", host.member()),
            }
        }
    }

    /// A leader begins to serve: it holds everything that was committed before its epoch.
    pub(crate) fn serves(&mut self, host: &Host, epoch: Epoch, step: u64) {
        self.assert_complete(host, self.committed_end(), epoch);
        assert!(self.served.insert(epoch, step).is_none(), "{epoch} is served twice");
    }

    /// A leader in `epoch` speaks of what it decided at `step`: no newer leader served before.
    pub(crate) fn speaks(&self, epoch: Epoch, step: u64) {
        if let Some((newer, began)) = self.served.range(epoch.next()..).next() {
            assert!(*began > step, "{epoch} speaks of step {step}, {newer} was served from step {began}");
        }
    }

    /// A replica forgets everything from `to` on: nothing that is committed and that it holds.
    pub(crate) fn cut(&self, host: &Host, to: Position) {
        let under_way = match &host.operation {
            Some(Operation::Write(batch)) => batch.entries.as_slice(),
            _ => &[],
        };
        let held = host.volume.log.iter().chain(under_way);
        for entry in held.filter(|entry| entry.position >= to) {
            assert!(
                self.committed.get(&entry.position) != Some(entry),
                "{:?} cuts at {to:?} and loses {:?}, which is committed",
                host.member(),
                entry.position
            );
        }
    }

    pub(crate) fn compare(&self, hosts: &BTreeMap<BrokerId, Host>) {
        let logs: Vec<Vec<_>> = hosts
            .values()
            .map(|host| {
                host.volume.log.iter().map(|entry| (entry.position, entry.epoch, &entry.body)).collect()
            })
            .collect();
        let views: Vec<_> = hosts
            .values()
            .zip(&logs)
            .map(|(host, log)| {
                let replica = host.replica.as_ref();
                View {
                    log,
                    high_watermark: replica.map_or(Position::ZERO, |replica| replica.high_watermark()),
                    leads: replica.filter(|replica| replica.is_leader()).map(|replica| replica.epoch()),
                }
            })
            .collect();
        compare(&views).unwrap_or_else(|contradiction| panic!("{contradiction}"));
    }
}
