//! Planners: which shard takes a stream, which brokers take a shard. Pure: equal catalogs give equal answers.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{
    BrokerId, Refusal, ShardId, limits,
    settings::{Placement, StreamSettings},
};

use crate::{
    rows::{Broker, Drain, Shard, ShardKind},
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
/// pooled shards the one with the fewest streams is taken; brokers are taken over as many racks as there are, then
/// those with the fewest shards; ids break ties. Lost brokers, and those that give everything away, take nothing.
///
/// # Errors
/// Definite: [`Refusal::InvalidArgument`] for replica numbers that no cluster, or not this one, can serve;
/// [`Refusal::Conflict`] if the brokers have no room for the shard; [`Refusal::ProtocolState`] if there is no broker.
pub fn place_stream(catalog: &Catalog, settings: &StreamSettings) -> Result<Decision, Refusal> {
    let wish = Wish::of(settings, catalog.brokers.len(), default_replicas(catalog))?;
    Loads::of(catalog).place(&wish)
}

/// The replicas of each pooled shard that the cluster lacks: [`limits::POOLED_SHARDS_PER_BROKER`] per broker that
/// takes replicas.
#[must_use]
pub fn missing_pooled_shards(catalog: &Catalog) -> Vec<Vec<BrokerId>> {
    let have = catalog.shards().filter(|shard| shard.kind == ShardKind::Pooled).count();
    let mut loads = Loads::of(catalog);
    let want = limits::POOLED_SHARDS_PER_BROKER as usize * loads.brokers.len();
    let replicas = default_replicas(catalog).min(loads.brokers.len());
    let has_room = |load: &BrokerLoad| load.held < limits::SHARDS_PER_BROKER_MAX;
    let mut missing = Vec::new();
    for _ in have..want {
        if loads.brokers.values().filter(|load| has_room(load)).count() < replicas {
            break;
        }
        missing.push(loads.take_brokers(replicas, has_room, |load| (load.held, load.led)));
    }
    missing
}

/// Copies of a shard that leaves their number to the cluster: a lost broker is one that is to be replaced, one that
/// gives everything away is not.
pub(crate) fn default_replicas(catalog: &Catalog) -> usize {
    let stays = |broker: &&Broker| broker.drain < Drain::Everything;
    catalog.brokers().filter(stays).count().clamp(1, REPLICAS_DEFAULT)
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
    /// Checks the numbers that a resource asks for against a cluster of `brokers`, where who asks for none gets
    /// `default` copies.
    pub(crate) fn of(
        replicas: Option<u32>,
        minimum: Option<u32>,
        brokers: usize,
        default: usize,
    ) -> Result<Self, Refusal> {
        let invalid = |what: String| Err(Refusal::InvalidArgument { what });
        if brokers == 0 {
            return Err(Refusal::ProtocolState { what: "no broker is registered yet" });
        }
        let default = u32::try_from(brokers.min(default)).unwrap_or(u32::MAX);
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

    /// Copies of a dedicated shard, as the resource asks for them.
    pub(crate) const fn replicas(&self) -> usize {
        self.replicas as usize
    }

    /// Whether a shard gives what is asked, or the planners will make it so: a dedicated shard's numbers follow its
    /// resource's, a pooled one's are the cluster's.
    pub(crate) fn fits(&self, shard: &Shard) -> bool {
        let replicas = u32::try_from(shard.staying().count()).unwrap_or(u32::MAX);
        shard.kind == ShardKind::Dedicated || self.fits_pooled(replicas, shard.min_in_sync_replicas)
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
    pub(crate) fn of(settings: &StreamSettings, brokers: usize, default: usize) -> Result<Self, Refusal> {
        let (is_partition, placement, replicas, minimum) = match settings {
            StreamSettings::Topic(topic) => {
                (true, topic.placement, topic.replicas, topic.min_in_sync_replicas)
            }
            StreamSettings::Queue(queue) => {
                (false, queue.placement, queue.replicas, queue.min_in_sync_replicas)
            }
            // A shared group lives where its partition does; nobody asks.
            StreamSettings::Home(_) | StreamSettings::Share(_) => return Self::home(brokers, default),
        };
        Ok(Self {
            is_partition,
            placement,
            replication: Replication::of(replicas, minimum, brokers, default)?,
        })
    }

    /// A group's home writes little and costs nothing while idle: it shares.
    pub(crate) fn home(brokers: usize, default: usize) -> Result<Self, Refusal> {
        let replication = Replication::of(None, None, brokers, default)?;
        Ok(Self { is_partition: false, placement: Placement::Pooled, replication })
    }
}

/// What a broker carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct BrokerLoad {
    pub(crate) dedicated: usize,
    pub(crate) held: usize,
    pub(crate) led: usize,
    /// Its failure domain, numbered; brokers without one share one.
    pub(crate) rack: usize,
    /// It gives leadership away.
    pub(crate) shuns_leadership: bool,
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
        let racks: BTreeSet<_> = catalog.brokers.values().map(|broker| broker.rack.as_deref()).collect();
        let racks: BTreeMap<_, usize> = racks.into_iter().zip(0..).collect();
        let load_of = |broker: &Broker| BrokerLoad {
            rack: racks[&broker.rack.as_deref()],
            shuns_leadership: !broker.takes_leadership(),
            ..BrokerLoad::default()
        };
        let takers = catalog.brokers.values().filter(|broker| broker.takes_replicas());
        let brokers = takers.map(|broker| (broker.id, load_of(broker))).collect();
        let mut loads = Self { brokers, pooled: BTreeMap::new() };
        for shard in catalog.shards.values().filter(|shard| shard.kind != ShardKind::Catalog) {
            for replica in shard.staying() {
                let Some(load) = loads.brokers.get_mut(&replica) else { continue };
                load.held += 1;
                load.dedicated += usize::from(shard.kind == ShardKind::Dedicated);
                load.led += usize::from(shard.leader == Some(replica));
            }
            if shard.kind == ShardKind::Pooled {
                loads.pooled.insert(
                    shard.id,
                    PooledLoad {
                        streams: catalog.stream_count_of(shard.id),
                        replicas: u32::try_from(shard.staying().count()).unwrap_or(u32::MAX),
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
        let replicas = self.take_brokers(wanted, has_room, |load| (load.dedicated, load.held, load.led));
        for replica in &replicas {
            self.brokers.entry(*replica).or_default().dedicated += 1;
        }
        Some(Decision::Dedicated { replicas })
    }

    /// `count` brokers with room over as many racks as there are, in each those that `cost` ranks first, the one that
    /// leads the fewest shards in front; counts them.
    fn take_brokers<C: Ord>(
        &mut self,
        count: usize,
        has_room: impl Fn(&BrokerLoad) -> bool,
        cost: impl Fn(&BrokerLoad) -> C,
    ) -> Vec<BrokerId> {
        let mut taken: Vec<BrokerId> = Vec::with_capacity(count);
        while taken.len() < count {
            let Some(next) = self.next_broker(&taken, |(_, load)| has_room(load), |_, load| cost(load))
            else {
                break;
            };
            taken.push(next);
        }
        taken.sort_by_key(|id| (self.brokers[id].shuns_leadership, self.brokers[id].led, *id));
        for (index, id) in taken.iter().enumerate() {
            let load = self.brokers.entry(*id).or_default();
            load.held += 1;
            load.led += usize::from(index == 0);
        }
        taken
    }

    /// The broker to hold a copy beside those that `have` one: in the rack with the fewest of them, then as `cost`
    /// ranks.
    pub(crate) fn next_broker<C: Ord>(
        &self,
        have: &[BrokerId],
        has_room: impl Fn((BrokerId, &BrokerLoad)) -> bool,
        cost: impl Fn(BrokerId, &BrokerLoad) -> C,
    ) -> Option<BrokerId> {
        let free = self.brokers.iter().filter(|&(&id, load)| !have.contains(&id) && has_room((id, load)));
        let rank = |&(&id, load): &(&BrokerId, &BrokerLoad)| (self.in_rack_of(id, have), cost(id, load), id);
        free.min_by_key(rank).map(|(&id, _)| id)
    }

    /// How many of these brokers stand in the same rack as this one.
    pub(crate) fn in_rack_of(&self, broker: BrokerId, among: &[BrokerId]) -> usize {
        let rack_of = |broker: BrokerId| self.brokers.get(&broker).map(|load| load.rack);
        let rack = rack_of(broker);
        among.iter().filter(|&&other| rack.is_some() && rack_of(other) == rack).count()
    }

    /// How many racks these brokers stand in.
    pub(crate) fn racks_of(&self, brokers: &[BrokerId]) -> usize {
        let racks = brokers.iter().filter_map(|broker| self.brokers.get(broker)).map(|load| load.rack);
        racks.collect::<BTreeSet<_>>().len()
    }

    /// Counts a shard's copies where they will be instead of where they are.
    pub(crate) fn replace(&mut self, shard: &Shard, replicas: &[BrokerId]) {
        let is_dedicated = usize::from(shard.kind == ShardKind::Dedicated);
        for broker in shard.staying() {
            if let Some(load) = self.brokers.get_mut(&broker) {
                load.held -= 1;
                load.dedicated -= is_dedicated;
            }
        }
        for broker in replicas {
            if let Some(load) = self.brokers.get_mut(broker) {
                load.held += 1;
                load.dedicated += is_dedicated;
            }
        }
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
