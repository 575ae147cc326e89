//! The brokers and shards of a cluster: is it well, and who leads what?

use pondage_client::{
    BrokerStatus, ClusterStatus, Drain, MovePlan, ShardKind, ShardStatus, Trouble, troubles,
};
use pondage_model::BrokerId;
use serde_json::{Value, json};

use super::table::{Column, number, table, text};

/// Troubles that the text names; it counts the others.
const TROUBLES_SHOWN: usize = 20;

const BROKER: [Column; 12] = [
    number("BROKER"),
    text("ADDRESS"),
    text("STATE"),
    text("DRAIN"),
    number("LEADS"),
    number("COPIES"),
    number("IN-SYNC"),
    number("STARTS"),
    text("RACK"),
    text("LEVELS"),
    text("VERSION"),
    text("VOLUME"),
];
/// Columns of brokers that are not only for wide tables.
const BROKER_SHOWN: usize = 8;

const SHARD: [Column; 9] = [
    number("SHARD"),
    text("KIND"),
    number("LEADER"),
    number("EPOCH"),
    text("REPLICAS"),
    text("IN-SYNC"),
    number("MIN"),
    number("STREAMS"),
    text("STATE"),
];

/// The cluster for people.
pub(crate) fn status(status: &ClusterStatus, is_wide: bool) -> String {
    let count = |count: usize, noun: &str| super::text::counted(count as u64, noun);
    let streams: u64 = status.shards.iter().map(|shard| u64::from(shard.streams)).sum();
    let mut out = match status.uuid {
        None => "No cluster yet: the broker waits to be told to begin it, or to join one.\n".to_owned(),
        Some(uuid) => format!(
            "Cluster {uuid}: {}, {}, {}, revision {}, feature level {}\n",
            count(status.brokers.len(), "broker"),
            count(status.shards.len(), "shard"),
            super::text::counted(streams, "stream"),
            status.revision,
            status.feature_level
        ),
    };
    let leader = status
        .catalog_leader
        .map_or_else(|| "no leader".to_owned(), |leader| format!("led by broker {leader}"));
    out += &format!("Catalog: {leader} (term {}), voters {}\n", status.catalog_epoch, list(&status.voters));
    if status.is_stale {
        out += &format!("The catalog can't be read now: this is what broker {} knew last.\n", status.broker);
    }
    if let Some(level) = status.feature_level_possible {
        out += &format!("Every broker supports feature level {level}: pondage cluster raise-feature-level\n");
    }
    out.push('\n');
    let shown = if is_wide { BROKER.len() } else { BROKER_SHOWN };
    let brokers = status.brokers.iter().map(|broker| broker_row(broker).into_iter().take(shown).collect());
    out += &table(&BROKER[..shown], brokers.collect());
    let found = troubles(status);
    if is_wide {
        out.push('\n');
        let rows = status.shards.iter().map(|shard| shard_row(shard, &found));
        out += &table(&SHARD, rows.collect());
    }
    out.push('\n');
    if found.is_empty() {
        out += "All is well.\n";
    }
    for trouble in found.iter().take(TROUBLES_SHOWN) {
        out += &format!("{}: {trouble}\n", if trouble.is_grave() { "error" } else { "warning" });
    }
    if found.len() > TROUBLES_SHOWN {
        out += &format!("and {} more\n", found.len() - TROUBLES_SHOWN);
    }
    for shard in &status.shards {
        if let Some(unclean) = &shard.unclean {
            out += &format!(
                "note: broker {} was made the leader of shard {} by order in epoch {}: {}\n",
                unclean.leader,
                shard.id,
                unclean.epoch,
                super::text::shown(unclean.reason.as_bytes(), super::text::Lines::One)
            );
        }
    }
    out
}

fn broker_row(broker: &BrokerStatus) -> Vec<String> {
    vec![
        broker.id.to_string(),
        broker.address.clone(),
        broker_state(broker).to_owned(),
        if broker.drain == Drain::Nothing { String::new() } else { broker.drain.as_str().to_owned() },
        broker.led.to_string(),
        broker.held.to_string(),
        broker.in_sync.to_string(),
        broker.incarnation.to_string(),
        broker.rack.clone().unwrap_or_default(),
        format!("{}-{}", broker.feature_levels.0, broker.feature_levels.1),
        broker.version.clone().unwrap_or_default(),
        broker.volume.to_string(),
    ]
}

/// One word for a broker.
pub(crate) const fn broker_state(broker: &BrokerStatus) -> &'static str {
    match (broker.is_lost, broker.is_alive) {
        (true, _) => "lost",
        (_, Some(true)) => "up",
        (_, Some(false)) => "away",
        (_, None) => "unknown",
    }
}

fn shard_row(shard: &ShardStatus, troubles: &[Trouble]) -> Vec<String> {
    let replicas = shard.replicas.iter().map(|replica| {
        let mark = if shard.leaving.contains(replica) { "-" } else { "" };
        format!("{replica}{mark}")
    });
    let in_sync = shard.in_sync.iter().map(|replica| {
        let mark = if shard.unconfirmed.contains(replica) { "?" } else { "" };
        format!("{replica}{mark}")
    });
    vec![
        shard.id.to_string(),
        shard.kind.as_str().to_owned(),
        shard.leader.map(|leader| leader.to_string()).unwrap_or_default(),
        shard.epoch.to_string(),
        replicas.collect::<Vec<_>>().join(","),
        if shard.kind == ShardKind::Catalog { String::new() } else { in_sync.collect::<Vec<_>>().join(",") },
        shard.min_in_sync_replicas.to_string(),
        shard.streams.to_string(),
        shard_state(shard, troubles).to_owned(),
    ]
}

/// One word for a shard.
fn shard_state(shard: &ShardStatus, troubles: &[Trouble]) -> &'static str {
    let worst = troubles.iter().find_map(|trouble| match *trouble {
        Trouble::DataLost(id) if id == shard.id => Some("data-lost"),
        Trouble::Offline(id) if id == shard.id => Some("offline"),
        Trouble::BelowMinimum(id) if id == shard.id => Some("below-minimum"),
        Trouble::UnderReplicated(id) if id == shard.id => Some("under-replicated"),
        _ => None,
    });
    worst.unwrap_or(if shard.leaving.is_empty() { "well" } else { "moving" })
}

fn list(brokers: &[BrokerId]) -> String {
    let brokers: Vec<String> = brokers.iter().map(ToString::to_string).collect();
    if brokers.is_empty() { "none".to_owned() } else { brokers.join(", ") }
}

/// The cluster for programs.
pub(crate) fn status_json(status: &ClusterStatus) -> Value {
    let found = troubles(status);
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.get()).collect::<Vec<u32>>();
    let brokers = status.brokers.iter().map(|broker| {
        json!({
            "id": broker.id.get(),
            "address": broker.address,
            "state": broker_state(broker),
            "alive": broker.is_alive,
            "lost": broker.is_lost,
            "drain": broker.drain.as_str(),
            "rack": broker.rack,
            "volume": broker.volume.to_string(),
            "incarnation": broker.incarnation.get(),
            "version": broker.version,
            "featureLevels": { "lowest": broker.feature_levels.0, "highest": broker.feature_levels.1 },
            "shards": { "led": broker.led, "held": broker.held, "inSync": broker.in_sync, "needed": broker.needed },
        })
    });
    let shards = status.shards.iter().map(|shard| {
        json!({
            "id": shard.id.get(),
            "kind": shard.kind.as_str(),
            "state": shard_state(shard, &found),
            "epoch": shard.epoch.get(),
            "leader": shard.leader.map(BrokerId::get),
            "replicas": ids(&shard.replicas),
            "leaving": ids(&shard.leaving),
            "inSync": ids(&shard.in_sync),
            "unconfirmed": ids(&shard.unconfirmed),
            "minInSyncReplicas": shard.min_in_sync_replicas,
            "replicasWanted": shard.replicas_wanted,
            "streams": shard.streams,
            "version": shard.version,
            "uncleanElection": shard.unclean.as_ref().map(|unclean| json!({
                "revision": unclean.revision.get(),
                "epoch": unclean.epoch.get(),
                "leader": unclean.leader.get(),
                "reason": unclean.reason,
            })),
        })
    });
    json!({
        "cluster": status.uuid.map(|uuid| uuid.to_string()),
        "healthy": found.is_empty(),
        "troubles": found.iter().map(|trouble| json!({
            "message": trouble.to_string(),
            "grave": trouble.is_grave(),
        })).collect::<Value>(),
        "stale": status.is_stale,
        "answeredBy": { "broker": status.broker.get(), "version": status.version },
        "revision": status.revision.get(),
        "featureLevel": status.feature_level,
        "featureLevelPossible": status.feature_level_possible,
        "catalog": {
            "leader": status.catalog_leader.map(BrokerId::get),
            "epoch": status.catalog_epoch.get(),
            "voters": ids(&status.voters),
        },
        "brokers": brokers.collect::<Value>(),
        "shards": shards.collect::<Value>(),
    })
}

/// What the cluster would move next, a line each.
pub(crate) fn plan(plan: &MovePlan) -> Vec<String> {
    let leaders = plan
        .leader_moves
        .iter()
        .map(|found| format!("shard/{}  leader {} -> {}", found.shard, found.from, found.to));
    let copies = plan
        .replica_moves
        .iter()
        .map(|(shard, replicas)| format!("shard/{shard}  copies on {}", list(replicas)));
    let dropped = plan.dropped_shards.iter().map(|shard| format!("shard/{shard}  leaving copies go"));
    let forgotten = plan.forgotten_brokers.iter().map(|broker| format!("broker/{broker}  is forgotten"));
    let voters = (!plan.voters.is_empty()).then(|| format!("catalog  voters {}", list(&plan.voters)));
    leaders.chain(copies).chain(dropped).chain(forgotten).chain(voters).collect()
}

/// The same for programs.
pub(crate) fn plan_json(plan: &MovePlan) -> Value {
    let ids = |brokers: &[BrokerId]| brokers.iter().map(|broker| broker.get()).collect::<Vec<u32>>();
    json!({
        "leaderMoves": plan.leader_moves.iter().map(|found| json!({
            "shard": found.shard.get(), "from": found.from.get(), "to": found.to.get(),
        })).collect::<Value>(),
        "replicaMoves": plan.replica_moves.iter().map(|(shard, replicas)| json!({
            "shard": shard.get(), "replicas": ids(replicas),
        })).collect::<Value>(),
        "droppedShards": plan.dropped_shards.iter().map(|shard| shard.get()).collect::<Vec<u32>>(),
        "forgottenBrokers": ids(&plan.forgotten_brokers),
        "voters": ids(&plan.voters),
    })
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
