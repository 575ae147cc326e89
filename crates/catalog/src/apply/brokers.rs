//! Commands about brokers: their starts, their loss, what they give away, their end.

use pondage_model::{
    BrokerId, Incarnation, Refusal, ShardId, Uuid, limits,
    planted::{self, Fault},
};

use super::shards::Cause;
use crate::{
    command::Outcome,
    placement::{majority, missing_pooled_shards},
    rows::{Broker, Drain, FeatureLevels, ShardKind},
    state::Catalog,
};

/// What a start tells of its broker.
#[derive(Clone, Copy, Debug)]
pub(super) struct Start<'a> {
    pub(super) volume: Uuid,
    pub(super) incarnation: Incarnation,
    pub(super) nonce: Uuid,
    pub(super) address: &'a str,
    pub(super) rack: Option<&'a str>,
    pub(super) feature_levels: FeatureLevels,
    pub(super) replaces: Option<BrokerId>,
}

fn conflict<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::Conflict { what })
}

impl Catalog {
    pub(super) fn register(&mut self, start: &Start<'_>) -> Result<Outcome, Refusal> {
        check_place(start.address, start.rack)?;
        let known = self.broker_of(start.volume).cloned();
        check_start(start, known.as_ref())?;
        self.check_feature_levels(start.feature_levels)?;
        if known.is_none() && self.brokers.len() >= limits::BROKERS_MAX {
            return conflict(format!("the cluster has {} brokers, the most it takes", limits::BROKERS_MAX));
        }
        let id = known.as_ref().map_or(self.next_broker, |broker| broker.id);
        if let Some(replaced) = start.replaces
            && replaced >= id.max(self.next_broker)
        {
            return Err(not_found(replaced));
        }
        if start.replaces == Some(id) {
            return conflict(format!("broker {id} can't replace itself"));
        }

        if let Some(replaced) = start.replaces.filter(|replaced| self.brokers.contains_key(replaced)) {
            self.lose(replaced);
            // Its place is taken: it counts no longer for how many copies there can be.
            if let Some(row) = self.brokers.get_mut(&replaced) {
                row.drain = Drain::Everything;
            }
        }
        let row = Broker {
            id,
            volume: start.volume,
            incarnation: start.incarnation,
            nonce: start.nonce,
            address: start.address.to_owned(),
            rack: start.rack.map(ToOwned::to_owned),
            feature_levels: start.feature_levels,
            drain: known.as_ref().map_or(Drain::Nothing, |broker| broker.drain),
            lost: false,
            created: known.as_ref().map_or(self.revision, |broker| broker.created),
        };
        self.brokers.insert(id, row);
        if known.is_some() {
            return Ok(Outcome::Registered { broker: id, shards: Vec::new() });
        }
        self.next_broker = self.next_broker.next();
        if !self.shards.contains_key(&ShardId::CATALOG) {
            self.insert_catalog_shard(id);
        }
        let shards = missing_pooled_shards(self)
            .into_iter()
            .map(|replicas| {
                let minimum = majority(replicas.len());
                self.create_shard(ShardKind::Pooled, replicas, minimum)
            })
            .collect();
        Ok(Outcome::Registered { broker: id, shards })
    }

    fn check_feature_levels(&self, levels: FeatureLevels) -> Result<(), Refusal> {
        let level = self.cluster.as_ref().map_or(0, |cluster| cluster.feature_level);
        if levels.contains(level) {
            return Ok(());
        }
        conflict(format!(
            "the cluster is at feature level {level}, which never falls; this version works at {} to {}",
            levels.lowest, levels.highest
        ))
    }

    pub(super) fn lose_broker(&mut self, broker: BrokerId) -> Result<Outcome, Refusal> {
        if self.registered(broker)?.lost {
            return Ok(Outcome::Unchanged);
        }
        self.lose(broker);
        Ok(Outcome::Done)
    }

    /// Takes a broker out of every ISR for good. Shard 0's row says who votes: that is the consensus's own.
    fn lose(&mut self, broker: BrokerId) {
        if let Some(row) = self.brokers.get_mut(&broker) {
            row.lost = true;
        }
        let in_sync =
            |shard: &&crate::rows::Shard| shard.kind != ShardKind::Catalog && shard.in_sync(broker).is_some();
        let affected: Vec<ShardId> = self.shards.values().filter(in_sync).map(|shard| shard.id).collect();
        for shard in affected {
            self.change_shard(shard, Cause::Order, |row| {
                row.isr.retain(|member| member.broker != broker);
                if row.leader == Some(broker) {
                    // Its process may go on for a while: the epoch in which nobody leads is one that it does not know.
                    (row.leader, row.epoch) = (None, row.epoch.next());
                }
            });
        }
    }

    pub(super) fn drain(&mut self, broker: BrokerId, drain: Drain) -> Result<Outcome, Refusal> {
        self.registered(broker)?;
        let row = self.brokers.get_mut(&broker).ok_or_else(|| not_found(broker))?;
        if row.drain == drain {
            return Ok(Outcome::Unchanged);
        }
        row.drain = drain;
        Ok(Outcome::Done)
    }

    pub(super) fn remove_broker(&mut self, broker: BrokerId) -> Result<Outcome, Refusal> {
        self.registered(broker)?;
        let mut held = self.shards.values().filter(|shard| shard.replicas.contains(&broker));
        if let Some(first) = held.next() {
            let count = 1 + held.count();
            return conflict(format!(
                "broker {broker} holds replicas of {count} shards, shard {} among them: drain it first",
                first.id
            ));
        }
        self.brokers.remove(&broker);
        Ok(Outcome::Done)
    }

    pub(super) fn set_feature_level(&mut self, level: u32) -> Result<Outcome, Refusal> {
        let current = self.cluster.as_ref().map_or(0, |cluster| cluster.feature_level);
        if level == current {
            return Ok(Outcome::Unchanged);
        }
        if level < current {
            return conflict(format!(
                "the cluster is at feature level {current}, which never falls to {level}"
            ));
        }
        let lacks = |broker: &&Broker| !broker.lost && !broker.feature_levels.contains(level);
        if let Some(broker) = self.brokers.values().find(lacks) {
            return conflict(format!(
                "broker {} works at feature levels {} to {}, not {level}",
                broker.id, broker.feature_levels.lowest, broker.feature_levels.highest
            ));
        }
        if let Some(cluster) = &mut self.cluster {
            cluster.feature_level = level;
        }
        Ok(Outcome::Done)
    }

    pub(super) fn allocate_producers(&mut self, broker: BrokerId) -> Result<Outcome, Refusal> {
        self.registered(broker)?;
        let (first, count) = (self.next_producer, limits::PRODUCER_ID_BLOCK);
        self.next_producer = first.plus(count);
        Ok(Outcome::Producers { first, count })
    }

    pub(super) fn registered(&self, broker: BrokerId) -> Result<&Broker, Refusal> {
        self.broker(broker).ok_or_else(|| not_found(broker))
    }
}

fn not_found(broker: BrokerId) -> Refusal {
    Refusal::NotFound { kind: "broker", name: broker.to_string() }
}

/// The compare-and-set of a start: one more than the last one, or the very same again, which may not know that it is
/// registered.
fn check_start(start: &Start<'_>, known: Option<&Broker>) -> Result<(), Refusal> {
    let Start { volume, incarnation, nonce, .. } = *start;
    let Some(known) = known else {
        if incarnation == Incarnation(1) {
            return Ok(());
        }
        return conflict(format!(
            "volume {volume} counts {incarnation} starts and the cluster never saw it: it belongs to another \
             cluster, was removed from this one, or this cluster's catalog lost its past"
        ));
    };
    if known.lost {
        return conflict(format!(
            "volume {volume} was given up as lost: what it holds counts no more, and it may join as a new, empty \
             volume only"
        ));
    }
    let same = known.nonce == nonce || planted::is(Fault::AcceptCopiedIncarnation);
    let repeats = known.incarnation == incarnation && same;
    if repeats || Some(incarnation.0) == known.incarnation.0.checked_add(1) {
        return Ok(());
    }
    conflict(format!(
        "volume {volume} is registered with start {} and can't register start {incarnation}: its disk was copied, \
         or restored from a backup, and may join as a new, empty volume only",
        known.incarnation
    ))
}

fn check_place(address: &str, rack: Option<&str>) -> Result<(), Refusal> {
    for (field, text) in [("address", Some(address)), ("rack", rack)] {
        let Some(text) = text else { continue };
        if text.is_empty() || text.len() > limits::ADDRESS_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(Refusal::InvalidArgument {
                what: format!("{field}: 1 to {} bytes without control characters", limits::ADDRESS_BYTES_MAX),
            });
        }
    }
    Ok(())
}
