//! What is wrong with a cluster, from its status.

use std::fmt;

use pondage_model::{BrokerId, ShardId};
use pondage_protocol::cluster::{ClusterStatus, ShardKind, ShardStatus};

/// Something that is not as it should be, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trouble {
    /// Nobody is known to hold every acknowledged message of the shard.
    DataLost(ShardId),
    /// The catalog has no leader, or can't be read.
    NoCatalog,
    /// Nobody leads the shard, or its leader is away: its messages can't be reached.
    Offline(ShardId),
    /// The shard has fewer in-sync replicas than acknowledgements need: it takes no messages.
    BelowMinimum(ShardId),
    /// The broker does not answer.
    Away(BrokerId),
    /// The shard has fewer in-sync copies than it should have.
    UnderReplicated(ShardId),
    /// The broker's volume was given up, and it still stands in the catalog.
    Lost(BrokerId),
}

impl Trouble {
    /// Whether messages are out of reach or lost by it.
    #[must_use]
    pub const fn is_grave(self) -> bool {
        matches!(self, Self::DataLost(_) | Self::NoCatalog | Self::Offline(_) | Self::BelowMinimum(_))
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataLost(shard) => {
                write!(f, "shard {shard} has no replica left that holds every acknowledged message")
            }
            Self::NoCatalog => f.write_str("the catalog has no leader that answers"),
            Self::Offline(shard) => write!(f, "shard {shard} has no leader"),
            Self::BelowMinimum(shard) => {
                write!(f, "shard {shard} takes no messages: too few replicas are in sync")
            }
            Self::Away(broker) => write!(f, "broker {broker} does not answer"),
            Self::UnderReplicated(shard) => write!(f, "shard {shard} has too few in-sync copies"),
            Self::Lost(broker) => {
                write!(f, "broker {broker} is lost; copies of what it held are still to be made")
            }
        }
    }
}

/// What is wrong, the worst first; each shard with the worst that is to be said of it.
#[must_use]
pub fn troubles(status: &ClusterStatus) -> Vec<Trouble> {
    let mut found = Vec::new();
    if status.is_stale || status.catalog_leader.is_none() {
        found.push(Trouble::NoCatalog);
    }
    let is_away = |id: BrokerId| {
        status
            .brokers
            .iter()
            .any(|broker| broker.id == id && !broker.is_lost && broker.is_alive == Some(false))
    };
    for broker in &status.brokers {
        if broker.is_lost {
            found.push(Trouble::Lost(broker.id));
        } else if is_away(broker.id) {
            found.push(Trouble::Away(broker.id));
        }
    }
    found.extend(status.shards.iter().filter_map(|shard| trouble_of(shard, is_away)));
    found.sort_unstable();
    found
}

/// The worst that is to be said of a shard. The catalog's own replicas are its voters, whose state the consensus knows.
fn trouble_of(shard: &ShardStatus, is_away: impl Fn(BrokerId) -> bool) -> Option<Trouble> {
    if shard.kind == ShardKind::Catalog {
        return None;
    }
    let in_sync = shard.in_sync.len();
    if in_sync == 0 {
        return Some(Trouble::DataLost(shard.id));
    }
    if shard.leader.is_none_or(is_away) {
        return Some(Trouble::Offline(shard.id));
    }
    if in_sync < shard.min_in_sync_replicas as usize {
        return Some(Trouble::BelowMinimum(shard.id));
    }
    is_under_replicated(shard).then_some(Trouble::UnderReplicated(shard.id))
}

/// Whether the shard has fewer in-sync copies that stay than it should have.
#[must_use]
pub fn is_under_replicated(shard: &ShardStatus) -> bool {
    let staying = shard.replicas.iter().filter(|replica| !shard.leaving.contains(replica));
    let is_in_sync =
        |replica: &&BrokerId| shard.in_sync.contains(replica) && !shard.unconfirmed.contains(replica);
    let in_sync = staying.filter(is_in_sync).count();
    shard.kind != ShardKind::Catalog && in_sync < shard.replicas_wanted as usize
}

#[cfg(test)]
#[path = "health_tests.rs"]
pub(crate) mod tests;
