//! When leaving replicas may go: once every replica that stays is in sync, or can never be.
//!
//! Measure: the number of leaving replicas falls.

use crate::{shard_changes::ReplicaDrop, state::Catalog};

/// The shards whose leaving replicas may go now.
#[must_use]
pub fn plan(catalog: &Catalog) -> Vec<ReplicaDrop> {
    let may_drop = |shard: &&crate::Shard| {
        let in_sync = shard.staying().filter(|&broker| shard.in_sync(broker).is_some()).count();
        let expected = shard.staying().filter(|&broker| catalog.member(broker).is_some()).count();
        !shard.leaving.is_empty()
            && shard.leader.is_some_and(|leader| !shard.leaving.contains(&leader))
            && in_sync >= expected.max(shard.in_sync_floor()).max(1)
    };
    let ready = super::assigned(catalog).filter(may_drop);
    ready.map(|shard| ReplicaDrop { shard: shard.id, version: shard.version }).collect()
}
