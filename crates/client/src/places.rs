//! Where partitions are led, as far as the cluster has said.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use pondage_model::{Epoch, Refusal, ShardId, limits};
use pondage_protocol::{LeaderHint, v1};

use crate::{
    ClientError,
    brokers::{Broker, Brokers},
};

/// Names and shards that are remembered. A client that uses more of them asks again.
const PLACES_MAX: usize = 65_536;

/// A topic or queue as it was located.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) is_topic: bool,
    pub(crate) message_bytes_max: u32,
    /// The shard of each partition.
    pub(crate) shards: Vec<ShardId>,
}

/// The leader of a shard, as a request is sent to it.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) shard: ShardId,
    pub(crate) broker: Broker,
    epoch: Epoch,
    /// Who said so.
    by: Broker,
}

/// What the client remembers.
#[derive(Debug, Default)]
pub(crate) struct Places(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    targets: HashMap<String, Arc<Target>>,
    leaders: HashMap<ShardId, Leader>,
}

/// Who leads a shard, in which epoch, and who said so.
#[derive(Clone, Debug)]
struct Leader {
    epoch: Epoch,
    broker: Broker,
    by: Broker,
}

impl Places {
    pub(crate) fn target(&self, name: &str) -> Option<Arc<Target>> {
        self.state().targets.get(name).cloned()
    }

    pub(crate) fn leader(&self, shard: ShardId) -> Option<Route> {
        let state = self.state();
        let Leader { epoch, broker, by } = state.leaders.get(&shard)?.clone();
        Some(Route { shard, broker, epoch, by })
    }

    /// A broker said where a topic or queue is.
    pub(crate) fn located(
        &self,
        name: &str,
        response: v1::LocateResponse,
        by: &Broker,
        brokers: &Brokers,
    ) -> Result<Arc<Target>, ClientError> {
        let partitions = response.partitions.clamp(1, limits::PARTITIONS_MAX) as usize;
        if response.locations.len() != partitions {
            return Err(Refusal::Malformed { what: "an answer without the places of all partitions" }.into());
        }
        brokers.learn(&response.brokers);
        let mut shards = Vec::with_capacity(partitions);
        for location in response.locations {
            let shard = ShardId(location.shard);
            shards.push(shard);
            let leader = if location.here {
                // It is reached as it was reached just now.
                Some(by.clone())
            } else if location.leader.is_some() && !location.address.is_empty() {
                Some(brokers.at(&location.address)?)
            } else {
                None
            };
            if let Some(broker) = leader {
                self.told(shard, Leader { epoch: Epoch(location.epoch), broker, by: by.clone() });
            }
        }
        let (is_topic, message_bytes_max) = (response.is_topic, response.message_bytes_max);
        let target = Arc::new(Target { is_topic, message_bytes_max, shards });
        let mut state = self.state();
        if state.targets.len() >= PLACES_MAX {
            state.targets.clear();
        }
        state.targets.insert(name.to_owned(), Arc::clone(&target));
        Ok(target)
    }

    /// Whoever is known already stays, unless this is as new.
    fn told(&self, shard: ShardId, leader: Leader) {
        let mut state = self.state();
        if state.leaders.len() >= PLACES_MAX {
            state.leaders.clear();
        }
        let known = state.leaders.entry(shard).or_insert_with(|| leader.clone());
        if leader.epoch >= known.epoch {
            *known = leader;
        }
    }

    /// The leader of a route does not lead, or can't be reached. True if another one is known by now, who can be
    /// asked at once. Otherwise whoever named that leader is not asked next: it may be cut off from who knows.
    pub(crate) fn refused(&self, route: &Route, hint: Option<&LeaderHint>, brokers: &Brokers) -> bool {
        let hinted =
            hint.filter(|hint| hint.epoch > route.epoch && !hint.address.is_empty()).and_then(|hint| {
                let broker = brokers.at(&hint.address).ok()?;
                Some(Leader { epoch: hint.epoch, broker, by: route.broker.clone() })
            });
        let mut state = self.state();
        let is_stale = state.leaders.get(&route.shard).is_none_or(|known| {
            known.broker == route.broker || hinted.as_ref().is_some_and(|hinted| hinted.epoch > known.epoch)
        });
        if is_stale {
            // Also what is older than this route, if nothing newer is said: the next broker may know.
            match hinted {
                Some(newer) => drop(state.leaders.insert(route.shard, newer)),
                None => drop(state.leaders.remove(&route.shard)),
            }
        }
        let is_known = state.leaders.contains_key(&route.shard);
        if !is_known {
            brokers.pass_over(&route.by);
        }
        is_known
    }

    /// The hint of a shard about which nothing was known.
    pub(crate) fn hinted(&self, shard: ShardId, hint: &LeaderHint, by: &Broker, brokers: &Brokers) {
        if let Ok(broker) = brokers.at(&hint.address) {
            self.told(shard, Leader { epoch: hint.epoch, broker, by: by.clone() });
        }
    }

    /// A broker can't be reached: ask others what it led.
    pub(crate) fn lost(&self, broker: &Broker) {
        self.state().leaders.retain(|_, leader| leader.broker != *broker);
    }

    /// No code that holds the lock can panic half way, so a poisoned one is as good.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Options;

    fn location(partition: u32, epoch: u64, address: &str) -> v1::PartitionLocation {
        v1::PartitionLocation {
            partition,
            shard: partition + 1,
            epoch,
            leader: (!address.is_empty()).then_some(9),
            address: address.to_owned(),
            ..v1::PartitionLocation::default()
        }
    }

    fn response(locations: Vec<v1::PartitionLocation>) -> v1::LocateResponse {
        v1::LocateResponse { partitions: locations.len() as u32, locations, ..v1::LocateResponse::default() }
    }

    fn leader(places: &Places, shard: u32) -> Option<String> {
        places.leader(ShardId(shard)).map(|route| route.broker.address.to_string())
    }

    #[tokio::test]
    async fn what_is_newer_holds_whoever_says_it() {
        let brokers = Brokers::new("a:1", &Options::default()).expect("an address");
        let places = Places::default();
        let by = brokers.current();
        let tell = |locations| places.located("events", response(locations), &by, &brokers).expect("whole");
        let here = v1::PartitionLocation { here: true, ..location(0, 1, "advertised:1") };
        let target = tell(vec![here, location(1, 5, "b:2"), location(2, 0, "")]);
        assert_eq!(target.shards, [ShardId(1), ShardId(2), ShardId(3)]);
        assert_eq!(leader(&places, 1).as_deref(), Some("http://a:1"), "as it was reached");
        assert_eq!(leader(&places, 2).as_deref(), Some("http://b:2"));
        assert_eq!(leader(&places, 3), None, "nobody leads it");
        tell(vec![location(0, 2, "c:3"), location(1, 4, "c:3"), location(2, 1, "c:3")]);
        assert_eq!(leader(&places, 1).as_deref(), Some("http://c:3"));
        assert_eq!(leader(&places, 2).as_deref(), Some("http://b:2"), "epoch 5 is newer than 4");
        assert_eq!(brokers.count(), 3);
        let short = v1::LocateResponse { partitions: 2, ..response(vec![location(0, 1, "a:1")]) };
        assert!(places.located("events", short, &by, &brokers).is_err());
    }

    #[tokio::test]
    async fn a_refusal_leads_on_by_its_hint_or_makes_one_ask_again() {
        let brokers = Brokers::new("a:1", &Options::default()).expect("an address");
        let places = Places::default();
        let by = brokers.current();
        let tell = |epoch, address| {
            let told = response(vec![location(0, epoch, address)]);
            places.located("events", told, &by, &brokers).expect("whole");
            places.leader(ShardId(1)).expect("told")
        };
        let hint = |epoch, address: &str| LeaderHint { address: address.to_owned(), epoch: Epoch(epoch) };
        let first = tell(3, "b:2");
        assert!(places.refused(&first, Some(&hint(4, "c:3")), &brokers));
        assert_eq!(leader(&places, 1).as_deref(), Some("http://c:3"));
        assert!(places.refused(&first, None, &brokers), "a late refusal of the old leader changes nothing");
        let second = places.leader(ShardId(1)).expect("known");
        assert!(!places.refused(&second, Some(&hint(4, "b:2")), &brokers), "an old hint is none");
        assert_eq!(leader(&places, 1), None);
        // Forgotten, even an older epoch is better than nothing: the cluster may have been made anew.
        tell(1, "b:2");
        places.lost(&brokers.at("b:2").expect("an address"));
        assert_eq!(leader(&places, 1), None);
    }
}
