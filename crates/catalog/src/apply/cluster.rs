//! The cluster's beginning, and new shards.

use pondage_model::{BrokerId, Epoch, Incarnation, Member, Refusal, ShardId, Uuid};

use super::FEATURE_LEVELS;
use crate::{
    command::Outcome,
    rows::{ClusterInfo, Shard, ShardKind},
    state::Catalog,
};

impl Catalog {
    pub(super) fn initialise(&mut self, uuid: Uuid, nonce: Uuid) -> Result<Outcome, Refusal> {
        match &self.cluster {
            Some(cluster) if cluster.uuid == uuid => Ok(Outcome::Unchanged),
            Some(cluster) => Err(Refusal::Conflict {
                what: format!(
                    "the cluster was initialised as {} before; it never becomes {uuid}",
                    cluster.uuid
                ),
            }),
            None => {
                let (created, feature_level) = (self.revision, FEATURE_LEVELS.lowest);
                self.cluster = Some(ClusterInfo { uuid, nonce, feature_level, created });
                Ok(Outcome::Initialised)
            }
        }
    }

    /// Shard 0's row: the consensus owns its leader and epoch.
    pub(super) fn insert_catalog_shard(&mut self, first_broker: BrokerId) {
        let incarnation = self.broker(first_broker).map_or(Incarnation(1), |broker| broker.incarnation);
        self.insert_shard(Shard {
            id: ShardId::CATALOG,
            kind: ShardKind::Catalog,
            replicas: vec![first_broker],
            leaving: Vec::new(),
            leader: None,
            epoch: Epoch::ZERO,
            isr: vec![Member { broker: first_broker, incarnation }],
            min_in_sync_replicas: 1,
            version: 1,
            changed: self.revision,
            unclean: None,
        });
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
        let leader = replicas.first().copied();
        assert!(leader.is_some(), "{id:?} planned without a replica");
        let mut isr: Vec<Member> =
            replicas.iter().map(|&broker| self.member(broker).expect("planned on a broker")).collect();
        isr.sort_unstable();
        self.insert_shard(Shard {
            id,
            kind,
            replicas,
            leaving: Vec::new(),
            leader,
            epoch,
            isr,
            min_in_sync_replicas,
            version: 1,
            changed: self.revision,
            unclean: None,
        });
        (id, epoch)
    }
}
