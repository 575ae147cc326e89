//! Commands about the cluster and its brokers.

use pondage_model::{BrokerId, Epoch, Incarnation, Refusal, ShardId, Uuid, limits};

use super::FEATURE_LEVEL;
use crate::{
    command::Outcome,
    placement::{majority, missing_pooled_shards},
    rows::{Broker, ClusterInfo, Shard, ShardKind},
    state::Catalog,
};

fn conflict<T>(what: String) -> Result<T, Refusal> {
    Err(Refusal::Conflict { what })
}

impl Catalog {
    pub(super) fn initialise(&mut self, uuid: Uuid, nonce: Uuid) -> Result<Outcome, Refusal> {
        match &self.cluster {
            Some(cluster) if cluster.uuid == uuid => Ok(Outcome::Unchanged),
            Some(cluster) => conflict(format!(
                "the cluster was initialised as {} before; it never becomes {uuid}",
                cluster.uuid
            )),
            None => {
                let created = self.revision;
                self.cluster = Some(ClusterInfo { uuid, nonce, feature_level: FEATURE_LEVEL, created });
                Ok(Outcome::Initialised)
            }
        }
    }

    pub(super) fn register(
        &mut self,
        volume: Uuid,
        incarnation: Incarnation,
        nonce: Uuid,
        address: &str,
        rack: Option<&str>,
    ) -> Result<Outcome, Refusal> {
        check_place(address, rack)?;
        let known = self.broker_of(volume);
        let last = known.map_or(Incarnation::ZERO, |broker| broker.incarnation);
        // The same pair again is the same start, which may not know that it is registered.
        let repeats = known.is_some_and(|broker| broker.incarnation == incarnation && broker.nonce == nonce);
        if !repeats && Some(incarnation.0) != last.0.checked_add(1) {
            return conflict(if known.is_some() {
                format!(
                    "volume {volume} is registered with start {last} and can't register start {incarnation}: \
                     its disk was copied, or restored from a backup, and may join as a new, empty volume only"
                )
            } else {
                format!(
                    "volume {volume} counts {incarnation} starts and the cluster never saw it: it belongs to \
                     another cluster, or this cluster's catalog lost its past"
                )
            });
        }
        if known.is_none() && self.brokers.len() >= limits::BROKERS_MAX {
            return conflict(format!("the cluster has {} brokers, the most it takes", limits::BROKERS_MAX));
        }

        let (id, created) = match known {
            Some(broker) => (broker.id, broker.created),
            None => (self.next_broker, self.revision),
        };
        let is_new = known.is_none();
        let (address, rack) = (address.to_owned(), rack.map(ToOwned::to_owned));
        self.brokers.insert(id, Broker { id, volume, incarnation, nonce, address, rack, created });
        if !is_new {
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

    pub(super) fn lead_all(
        &mut self,
        broker: BrokerId,
        incarnation: Incarnation,
    ) -> Result<Outcome, Refusal> {
        let row = self.registered(broker)?;
        if row.incarnation != incarnation {
            return conflict(format!(
                "start {incarnation} of broker {broker} is not its current one, which is {}",
                row.incarnation
            ));
        }
        let led = self.shards.values_mut().filter(|shard| shard.leader == Some(broker));
        let shards = led
            .map(|shard| {
                shard.epoch = shard.epoch.next();
                shard.version += 1;
                (shard.id, shard.epoch)
            })
            .collect();
        Ok(Outcome::Led { shards })
    }

    pub(super) fn allocate_producers(&mut self, broker: BrokerId) -> Result<Outcome, Refusal> {
        self.registered(broker)?;
        let (first, count) = (self.next_producer, limits::PRODUCER_ID_BLOCK);
        self.next_producer = first.plus(count);
        Ok(Outcome::Producers { first, count })
    }

    fn registered(&self, broker: BrokerId) -> Result<&Broker, Refusal> {
        self.broker(broker).ok_or_else(|| Refusal::NotFound { kind: "broker", name: broker.to_string() })
    }

    /// Shard 0's row: the consensus owns its leader and epoch.
    fn insert_catalog_shard(&mut self, first_broker: BrokerId) {
        let row = Shard {
            id: ShardId::CATALOG,
            kind: ShardKind::Catalog,
            replicas: vec![first_broker],
            leader: None,
            epoch: Epoch::ZERO,
            isr: vec![first_broker],
            min_in_sync_replicas: 1,
            version: 1,
        };
        self.shards.insert(row.id, row);
    }

    /// Adds an empty shard: all its replicas are in sync, the first one leads it in its first epoch.
    pub(super) fn create_shard(
        &mut self,
        kind: ShardKind,
        replicas: Vec<BrokerId>,
        min_in_sync_replicas: u32,
    ) -> (ShardId, Epoch) {
        let (id, epoch) = (self.next_shard, Epoch(1));
        self.next_shard = id.next();
        let (leader, isr) = (replicas.first().copied(), replicas.clone());
        assert!(leader.is_some(), "{id:?} planned without a replica");
        let row = Shard { id, kind, replicas, leader, epoch, isr, min_in_sync_replicas, version: 1 };
        self.shards.insert(id, row);
        (id, epoch)
    }
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
