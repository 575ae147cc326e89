//! Planners: which shard takes a stream, which brokers take a shard. Pure: equal catalogs give equal answers.

use std::collections::BTreeMap;

use pondage_model::{
    BrokerId, Refusal, ShardId, limits,
    settings::{Placement, StreamSettings},
};

use crate::{
    rows::{Shard, ShardKind},
    state::Catalog,
};

/// Copies of a topic or queue that asks for no number, as far as there are brokers.
const REPLICAS_DEFAULT: usize = 3;

/// Where a stream shall live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// On this pooled shard.
    Pooled(ShardId),
    /// On a shard of its own.
    Dedicated {
        /// Its replicas; the first one leads.
        replicas: Vec<BrokerId>,
    },
}

/// Decides where a new stream with these settings shall live.
///
/// `Auto` gives a partition of a topic its own shard while the brokers that would hold it have fewer than
/// [`limits::DEDICATED_SHARDS_PER_BROKER_MAX`] of these each, else a pooled one; a queue gets a pooled one. Among
/// pooled shards the one with the fewest streams is taken, among brokers those with the fewest shards; ids break
/// ties.
///
/// # Errors
/// Definite: [`Refusal::InvalidArgument`] for replica numbers that no cluster, or not this one, can serve;
/// [`Refusal::Conflict`] if the brokers have no room for the shard; [`Refusal::ProtocolState`] if there is no broker.
pub fn place_stream(catalog: &Catalog, settings: &StreamSettings) -> Result<Decision, Refusal> {
    let wish = Wish::of(settings, catalog.brokers.len())?;
    Loads::of(catalog).place(&wish)
}

/// The replicas of each pooled shard that the cluster lacks: [`limits::POOLED_SHARDS_PER_BROKER`] per broker.
#[must_use]
pub fn missing_pooled_shards(catalog: &Catalog) -> Vec<Vec<BrokerId>> {
    let have = catalog.shards().filter(|shard| shard.kind == ShardKind::Pooled).count();
    let per_broker = limits::POOLED_SHARDS_PER_BROKER as usize;
    let want = per_broker * catalog.brokers.len();
    let replicas = catalog.brokers.len().min(REPLICAS_DEFAULT);
    let mut loads = Loads::of(catalog);
    (have..want).map(|_| loads.take_brokers(replicas, |load| (load.held, load.led))).collect()
}

/// What a resource asks of its shards: `None` leaves it to the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Replication {
    asked_replicas: Option<u32>,
    asked_minimum: Option<u32>,
    /// Copies of a dedicated shard.
    replicas: u32,
}

impl Replication {
    /// Checks the numbers that a resource asks for against a cluster of `brokers`.
    pub(crate) fn of(replicas: Option<u32>, minimum: Option<u32>, brokers: usize) -> Result<Self, Refusal> {
        let invalid = |what: String| Err(Refusal::InvalidArgument { what });
        if brokers == 0 {
            return Err(Refusal::ProtocolState { what: "no broker is registered yet" });
        }
        let default = u32::try_from(brokers.min(REPLICAS_DEFAULT)).expect("three fit");
        let wanted = replicas.unwrap_or(default);
        if wanted == 0 {
            return invalid("replicas: must be at least 1".to_owned());
        }
        if wanted as usize > brokers {
            return invalid(format!(
                "replicas: {wanted} replicas need {wanted} brokers; the number of brokers in the cluster is {brokers}"
            ));
        }
        match minimum {
            Some(0) => invalid("minInSyncReplicas: must be at least 1".to_owned()),
            Some(minimum) if minimum > wanted => {
                invalid(format!("minInSyncReplicas: {minimum} is more than replicas, which is {wanted}"))
            }
            _ => Ok(Self { asked_replicas: replicas, asked_minimum: minimum, replicas: wanted }),
        }
    }

    /// The least in-sync replicas of a dedicated shard with `replicas` copies.
    pub(crate) fn minimum_of(&self, replicas: usize) -> u32 {
        self.asked_minimum.unwrap_or_else(|| majority(replicas))
    }

    /// Whether a shard gives what is asked. A dedicated shard's minimum can be set, its copies can't.
    pub(crate) fn fits(&self, shard: &Shard) -> bool {
        let replicas = u32::try_from(shard.replicas.len()).unwrap_or(u32::MAX);
        match shard.kind {
            ShardKind::Dedicated => {
                self.asked_replicas.is_none_or(|asked| asked == replicas)
                    && self.asked_minimum.is_none_or(|asked| asked <= replicas)
            }
            _ => self.fits_pooled(replicas, shard.min_in_sync_replicas),
        }
    }

    /// A pooled shard may be safer than asked, never weaker.
    fn fits_pooled(&self, replicas: u32, minimum: u32) -> bool {
        self.asked_replicas.is_none_or(|asked| asked <= replicas)
            && self.asked_minimum.is_none_or(|asked| asked <= minimum)
    }
}

/// The least in-sync replicas that survive the loss of a minority of `replicas`.
pub(crate) fn majority(replicas: usize) -> u32 {
    u32::try_from(replicas / 2 + 1).unwrap_or(u32::MAX)
}

/// What a stream needs of its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    /// Whether `Auto` prefers a shard of its own.
    pub(crate) is_partition: bool,
    pub(crate) placement: Placement,
    pub(crate) replication: Replication,
}

impl Wish {
    pub(crate) fn of(settings: &StreamSettings, brokers: usize) -> Result<Self, Refusal> {
        let (is_partition, placement, replicas, minimum) = match settings {
            StreamSettings::Topic(topic) => {
                (true, topic.placement, topic.replicas, topic.min_in_sync_replicas)
            }
            StreamSettings::Queue(queue) => {
                (false, queue.placement, queue.replicas, queue.min_in_sync_replicas)
            }
        };
        Ok(Self { is_partition, placement, replication: Replication::of(replicas, minimum, brokers)? })
    }
}

/// What a broker carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct BrokerLoad {
    pub(crate) dedicated: usize,
    pub(crate) held: usize,
    pub(crate) led: usize,
}

/// What a pooled shard carries and gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PooledLoad {
    pub(crate) streams: usize,
    pub(crate) replicas: u32,
    pub(crate) minimum: u32,
}

/// The loads that decisions go by, and which each decision raises.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct Loads {
    pub(crate) brokers: BTreeMap<BrokerId, BrokerLoad>,
    pub(crate) pooled: BTreeMap<ShardId, PooledLoad>,
}

impl Loads {
    pub(crate) fn of(catalog: &Catalog) -> Self {
        let mut loads = Self {
            brokers: catalog.brokers.keys().map(|&broker| (broker, BrokerLoad::default())).collect(),
            pooled: BTreeMap::new(),
        };
        for shard in catalog.shards.values().filter(|shard| shard.kind != ShardKind::Catalog) {
            for replica in &shard.replicas {
                let load = loads.brokers.entry(*replica).or_default();
                load.held += 1;
                load.dedicated += usize::from(shard.kind == ShardKind::Dedicated);
                load.led += usize::from(shard.leader == Some(*replica));
            }
            if shard.kind == ShardKind::Pooled {
                loads.pooled.insert(
                    shard.id,
                    PooledLoad {
                        streams: catalog.stream_count_of(shard.id),
                        replicas: u32::try_from(shard.replicas.len()).unwrap_or(u32::MAX),
                        minimum: shard.min_in_sync_replicas,
                    },
                );
            }
        }
        loads
    }

    /// Decides for one stream and counts it.
    pub(crate) fn place(&mut self, wish: &Wish) -> Result<Decision, Refusal> {
        let cap = limits::DEDICATED_SHARDS_PER_BROKER_MAX;
        let decision = match (wish.placement, wish.is_partition) {
            (Placement::Dedicated, _) => self.dedicated(wish, usize::MAX),
            (Placement::Pooled, _) => self.shared(wish),
            (Placement::Auto, true) => self.dedicated(wish, cap).or_else(|| self.shared(wish)),
            (Placement::Auto, false) => self.shared(wish).or_else(|| self.dedicated(wish, cap)),
        };
        decision.ok_or_else(|| Refusal::Conflict {
            what: match wish.placement {
                Placement::Dedicated => format!(
                    "placement: Dedicated finds no broker with room for a shard; a broker holds at most {}",
                    limits::SHARDS_PER_BROKER_MAX
                ),
                _ => "placement: no pooled shard has as many replicas and minInSyncReplicas".to_owned(),
            },
        })
    }

    fn shared(&mut self, wish: &Wish) -> Option<Decision> {
        let fitting = self
            .pooled
            .iter_mut()
            .filter(|(_, load)| wish.replication.fits_pooled(load.replicas, load.minimum));
        let (&shard, load) = fitting.min_by_key(|(id, load)| (load.streams, **id))?;
        load.streams += 1;
        Some(Decision::Pooled(shard))
    }

    fn dedicated(&mut self, wish: &Wish, dedicated_max: usize) -> Option<Decision> {
        let wanted = wish.replication.replicas as usize;
        let has_room =
            |load: &BrokerLoad| load.dedicated < dedicated_max && load.held < limits::SHARDS_PER_BROKER_MAX;
        if self.brokers.values().filter(|load| has_room(load)).count() < wanted {
            return None;
        }
        // Brokers without room sort behind all others, so enough with room come first.
        let replicas =
            self.take_brokers(wanted, |load| (!has_room(load), load.dedicated, load.held, load.led));
        for replica in &replicas {
            self.brokers.entry(*replica).or_default().dedicated += 1;
        }
        Some(Decision::Dedicated { replicas })
    }

    /// The `count` brokers that `cost` ranks first, the one that leads the fewest shards in front; counts them.
    fn take_brokers<C: Ord>(&mut self, count: usize, cost: impl Fn(&BrokerLoad) -> C) -> Vec<BrokerId> {
        let mut ranked: Vec<_> = self.brokers.iter().map(|(&id, load)| (cost(load), id)).collect();
        ranked.sort();
        let mut taken: Vec<_> = ranked.into_iter().take(count).map(|(_, id)| id).collect();
        taken.sort_by_key(|id| (self.brokers[id].led, *id));
        for (index, id) in taken.iter().enumerate() {
            let load = self.brokers.entry(*id).or_default();
            load.held += 1;
            load.led += usize::from(index == 0);
        }
        taken
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
