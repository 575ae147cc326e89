//! What holds of brokers and shards in every state, and between a state and the next: one function per rule.
//!
//! [`check`] looks at a whole state (the simulator after every command, a decoded checkpoint), [`check_step`] at what a
//! command did to it. Debug builds check after each command what it changed; the rules of a change of one row
//! ([`check_row_step`]) are asserted in every build, because acknowledged messages hang on them.

use std::collections::BTreeSet;

use pondage_model::{BrokerId, Member, Revision, ShardId};

use crate::{
    rows::{Broker, Shard, ShardKind, StreamOwner},
    state::Catalog,
};

/// A rule that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} (shard {shard:?})")]
pub struct Broken {
    /// What there is that must not be.
    pub what: &'static str,
    /// Where, if it is about one shard.
    pub shard: Option<ShardId>,
}

type BrokerRule = fn(&Catalog, &Broker) -> bool;
type ShardRule = fn(&Catalog, &Shard) -> bool;
type RowStepRule = fn(&Shard, &Shard) -> bool;

const BROKER_RULES: [(&str, BrokerRule); 2] = [
    ("a broker's id beyond the next one", broker_id_was_handed_out),
    ("a feature level that a broker lacks", broker_supports_the_feature_level),
];

const SHARD_RULES: [(&str, ShardRule); 14] = [
    ("a row under another shard's id", row_lies_under_its_id),
    ("a shard's id beyond the next one", shard_id_was_handed_out),
    ("a replica twice", replicas_are_distinct),
    ("a replica without a broker", replicas_are_brokers),
    ("leaving without a replica", leaving_are_replicas_and_some_stay),
    ("in sync without a replica", in_sync_are_distinct_replicas),
    ("in sync under a start that never was", in_sync_starts_happened),
    ("a lost broker in sync", lost_brokers_are_not_in_sync),
    ("a minimum beyond the replicas", minimum_is_within_the_staying),
    ("a leader out of sync", leader_is_in_sync),
    ("a shard without an epoch", epoch_is_set),
    ("a row of a later revision", row_changed_by_now),
    ("the catalog's shard", catalog_shard_is_number_zero),
    ("a dedicated shard", dedicated_shard_has_one_stream_and_its_shares),
];

const ROW_STEP_RULES: [(&str, RowStepRule); 4] = [
    ("an epoch that fell", |before, after| after.epoch >= before.epoch),
    ("a version that did not rise by one", |before, after| after.version == before.version + 1),
    ("a leader without a new epoch", new_leader_has_a_new_epoch),
    ("a leader's start without a new epoch", new_start_of_a_leader_has_a_new_epoch),
];

/// Checks a whole state.
///
/// # Errors
/// The first rule that does not hold.
pub fn check(catalog: &Catalog) -> Result<(), Broken> {
    broker_volumes_are_distinct(catalog)?;
    for broker in catalog.brokers() {
        check_broker(catalog, broker)?;
    }
    catalog.shards().try_for_each(|shard| check_shard(catalog, shard))
}

/// Checks the brokers and the shards whose rows changed after `since`.
///
/// # Errors
/// The first rule that does not hold.
pub fn check_changed(catalog: &Catalog, since: Revision) -> Result<(), Broken> {
    catalog.shards_changed_since(since).try_for_each(|shard| check_shard(catalog, shard))
}

/// Checks what happened between a state and a later one: what must never go back.
///
/// `by_order` says that a volume was lost, or an administrator ordered an unclean election, in between: only then may
/// a shard have fewer in-sync replicas than minInSyncReplicas and than before.
///
/// # Errors
/// The first rule that does not hold.
pub fn check_step(before: &Catalog, after: &Catalog, by_order: bool) -> Result<(), Broken> {
    let level = |catalog: &Catalog| catalog.cluster().map_or(0, |cluster| cluster.feature_level);
    require(level(before) <= level(after), "a feature level that fell", None)?;
    require(before.next_shard() <= after.next_shard(), "a shard's id twice", None)?;
    for broker in before.brokers() {
        let Some(now) = after.broker(broker.id) else { continue };
        let goes_on = now.volume == broker.volume && now.incarnation >= broker.incarnation;
        require(goes_on, "a broker that became another", None)?;
        require(now.lost || !broker.lost, "a lost broker that came back", None)?;
    }
    for shard in before.shards() {
        let Some(now) = after.shard(shard.id) else { continue };
        let holds = |holds, what| require(holds, what, Some(shard.id));
        holds(now.epoch >= shard.epoch, ROW_STEP_RULES[0].0)?;
        holds(now.version >= shard.version, "a version that fell")?;
        holds(now == shard || now.version > shard.version, "a change without a version")?;
        holds(now.isr.is_empty() <= (shard.isr.is_empty() || by_order), "data lost without a lost volume")?;
        holds(by_order || keeps_the_minimum(shard, now), "fewer in sync than the minimum")?;
    }
    Ok(())
}

/// Checks that every shard stands in as many racks as it can: what new shards are placed by, and where the planners end.
/// In between, brokers come and go.
///
/// # Errors
/// A shard that could stand in more.
pub fn check_racks(catalog: &Catalog) -> Result<(), Broken> {
    let rack_of = |broker: BrokerId| catalog.broker(broker).map(|row| row.rack.as_deref());
    let takers = catalog.brokers().filter(|broker| broker.takes_replicas());
    let racks: BTreeSet<_> = takers.map(|broker| rack_of(broker.id)).collect();
    for shard in catalog.shards().filter(|shard| shard.kind != ShardKind::Catalog) {
        let takes = |broker| catalog.broker(broker).is_some_and(Broker::takes_replicas);
        // A copy that stays where it should not, for want of a substitute, stands in whatever rack it stands in.
        let staying = || shard.staying().filter(|&broker| takes(broker));
        let stands: BTreeSet<_> = staying().map(rack_of).collect();
        let most = staying().count().min(racks.len());
        require(stands.len() == most, "copies in one rack while another is free", Some(shard.id))?;
    }
    Ok(())
}

/// Checks one change of one row.
///
/// # Errors
/// The first rule that does not hold.
pub(crate) fn check_row_step(before: &Shard, after: &Shard, by_order: bool) -> Result<(), Broken> {
    for (what, rule) in ROW_STEP_RULES {
        require(rule(before, after), what, Some(after.id))?;
    }
    require(by_order || keeps_the_minimum(before, after), "fewer in sync than the minimum", Some(after.id))
}

pub(crate) fn check_broker(catalog: &Catalog, broker: &Broker) -> Result<(), Broken> {
    BROKER_RULES.iter().try_for_each(|(what, rule)| require(rule(catalog, broker), what, None))
}

fn check_shard(catalog: &Catalog, shard: &Shard) -> Result<(), Broken> {
    SHARD_RULES.iter().try_for_each(|(what, rule)| require(rule(catalog, shard), what, Some(shard.id)))
}

const fn require(holds: bool, what: &'static str, shard: Option<ShardId>) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(Broken { what, shard }) }
}

fn broker_volumes_are_distinct(catalog: &Catalog) -> Result<(), Broken> {
    let volumes: BTreeSet<_> = catalog.brokers().map(|broker| broker.volume).collect();
    require(volumes.len() == catalog.brokers().len(), "two brokers with one volume", None)
}

fn broker_id_was_handed_out(catalog: &Catalog, broker: &Broker) -> bool {
    broker.id < catalog.next_broker && broker.id.0 > 0
}

fn broker_supports_the_feature_level(catalog: &Catalog, broker: &Broker) -> bool {
    let level = catalog.cluster().map_or(0, |cluster| cluster.feature_level);
    broker.lost || broker.feature_levels.contains(level)
}

fn row_lies_under_its_id(catalog: &Catalog, shard: &Shard) -> bool {
    catalog.shard(shard.id).is_some_and(|row| row.id == shard.id)
}

fn shard_id_was_handed_out(catalog: &Catalog, shard: &Shard) -> bool {
    shard.id < catalog.next_shard
}

fn replicas_are_distinct(_: &Catalog, shard: &Shard) -> bool {
    let replicas: BTreeSet<BrokerId> = shard.replicas.iter().copied().collect();
    replicas.len() == shard.replicas.len()
}

fn replicas_are_brokers(catalog: &Catalog, shard: &Shard) -> bool {
    shard.replicas.iter().all(|&replica| catalog.broker(replica).is_some())
}

fn leaving_are_replicas_and_some_stay(_: &Catalog, shard: &Shard) -> bool {
    let leaving: BTreeSet<BrokerId> = shard.leaving.iter().copied().collect();
    leaving.len() == shard.leaving.len()
        && leaving.iter().all(|broker| shard.replicas.contains(broker))
        && leaving.len() < shard.replicas.len()
}

fn in_sync_are_distinct_replicas(_: &Catalog, shard: &Shard) -> bool {
    shard.isr.is_sorted_by(|first, second| first.broker < second.broker)
        && shard.isr.iter().all(|member| shard.replicas.contains(&member.broker))
}

fn in_sync_starts_happened(catalog: &Catalog, shard: &Shard) -> bool {
    let happened = |member: &Member| {
        catalog.broker(member.broker).is_some_and(|broker| member.incarnation <= broker.incarnation)
    };
    shard.isr.iter().all(happened)
}

/// Shard 0's row says who votes, and that is the consensus's own.
fn lost_brokers_are_not_in_sync(catalog: &Catalog, shard: &Shard) -> bool {
    let is_lost = |member: &Member| catalog.broker(member.broker).is_some_and(|broker| broker.lost);
    shard.kind == ShardKind::Catalog || !shard.isr.iter().any(is_lost)
}

fn minimum_is_within_the_staying(_: &Catalog, shard: &Shard) -> bool {
    (1..=shard.staying().count()).contains(&(shard.min_in_sync_replicas as usize))
}

fn leader_is_in_sync(_: &Catalog, shard: &Shard) -> bool {
    shard.leader.is_none_or(|leader| shard.in_sync(leader).is_some())
}

fn epoch_is_set(_: &Catalog, shard: &Shard) -> bool {
    shard.kind == ShardKind::Catalog || shard.epoch.0 > 0
}

fn row_changed_by_now(catalog: &Catalog, shard: &Shard) -> bool {
    let unclean = shard.unclean.as_ref();
    shard.changed <= catalog.revision() && unclean.is_none_or(|election| election.epoch <= shard.epoch)
}

fn catalog_shard_is_number_zero(catalog: &Catalog, shard: &Shard) -> bool {
    let is_catalog = shard.kind == ShardKind::Catalog;
    let is_bare = shard.leader.is_none() && catalog.stream_count_of(shard.id) == 0;
    is_catalog == (shard.id == ShardId::CATALOG) && (!is_catalog || is_bare)
}

fn dedicated_shard_has_one_stream_and_its_shares(catalog: &Catalog, shard: &Shard) -> bool {
    let is_share =
        |stream| catalog.stream(stream).is_some_and(|found| matches!(found.owner, StreamOwner::Share { .. }));
    shard.kind != ShardKind::Dedicated
        || catalog.streams_of(shard.id).filter(|&stream| !is_share(stream)).count() == 1
}

fn new_leader_has_a_new_epoch(before: &Shard, after: &Shard) -> bool {
    after.leader.is_none() || after.leader == before.leader || after.epoch > before.epoch
}

/// A leader that started again may have lost what it never synced: it must not go on in its epoch.
fn new_start_of_a_leader_has_a_new_epoch(before: &Shard, after: &Shard) -> bool {
    after.leading().is_none() || after.leading() == before.leading() || after.epoch > before.epoch
}

/// Fewer in-sync replicas than before are still as many as an acknowledgement needs.
fn keeps_the_minimum(before: &Shard, after: &Shard) -> bool {
    after.isr.len() >= before.isr.len() || after.isr.len() >= after.min_in_sync_replicas as usize
}
