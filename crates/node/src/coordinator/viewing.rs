//! The cluster as a whole, for those who run it.

use std::collections::BTreeSet;

use pondage_catalog::{
    Consensus, Membership, ShardKind,
    planners::{self, feature_level, replication_factor},
};
use pondage_model::{BrokerId, Epoch, ShardId};

use super::{AdminReply, ClusterView, Coordinator, ShardView};

impl<C: Consensus> Coordinator<C> {
    /// Every broker and shard, as far as the catalog is committed here.
    pub(super) fn view(&self) -> ClusterView {
        let membership = self.consensus.membership();
        let shards = self.catalog.shards().map(|row| {
            let mut row = row.clone();
            let replicas_wanted = if row.kind == ShardKind::Catalog {
                (row.leader, row.epoch) = (membership.leader, membership.epoch);
                row.replicas.len()
            } else {
                replication_factor::wanted(&self.catalog, &row).replicas
            };
            ShardView { replicas_wanted, streams: self.catalog.stream_count_of(row.id), row }
        });
        ClusterView {
            cluster: self.catalog.cluster().cloned(),
            broker: self.broker().unwrap_or(BrokerId::ZERO),
            brokers: self.catalog.brokers().cloned().collect(),
            live: self.live(),
            shards: shards.collect(),
            feature_level_possible: feature_level::plan(&self.catalog),
            revision: self.catalog.revision(),
            membership,
        }
    }

    /// What the planners would do next among these brokers.
    pub(super) fn planned(&self, live: &BTreeSet<BrokerId>) -> AdminReply {
        let known = self.live();
        let round = planners::round(&self.catalog, known.as_ref().unwrap_or(live));
        AdminReply::Planned(Box::new(round), planners::voters::plan(&self.catalog))
    }

    /// The brokers that hold a lease, if this one leads the consensus.
    #[must_use]
    pub fn live(&self) -> Option<BTreeSet<BrokerId>> {
        self.leading.as_ref().map(|leading| leading.live(self.now_millis))
    }

    /// Who votes on the catalog, and who leads it.
    #[must_use]
    pub fn membership(&self) -> Membership {
        self.consensus.membership()
    }

    /// Whether the shard is led here in this epoch and serves, as far as it said so.
    #[must_use]
    pub fn serves(&self, shard: ShardId, epoch: Epoch) -> bool {
        self.shards.serves_in(shard, epoch)
    }
}
