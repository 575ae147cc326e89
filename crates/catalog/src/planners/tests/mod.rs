//! Tables: brokers and shards in a few words, and what is planned.

mod leaders;
mod replicas;

use std::collections::BTreeSet;

use pondage_model::{BrokerId, Epoch, Incarnation, Member, Revision, ShardId, Uuid};

use super::LeaderMove;
use crate::{
    Broker, Catalog, ClusterInfo, Drain, FeatureLevels, ReplicaChange, Shard, ShardKind, invariants,
    placement::majority,
};

/// Brokers as `number@rack`, followed by `~` if it gives leadership away, `!` if everything, `x` if it is lost, and
/// `?` if it holds no lease. Shards 1, 2, … as their replicas: `*` leads, `-` is out of sync, `(…)` leaves; `min n` at
/// the end, else a majority of those that stay.
fn state(brokers: &str, shards: &[&str]) -> (Catalog, BTreeSet<BrokerId>) {
    let mut catalog = Catalog::new();
    let (uuid, created) = (Uuid([1; 16]), Revision::ZERO);
    catalog.cluster = Some(ClusterInfo { uuid, nonce: uuid, feature_level: 1, created });
    let mut live = BTreeSet::new();
    for word in brokers.split_whitespace() {
        let row = broker(word);
        if !row.lost && !word.contains('?') {
            live.insert(row.id);
        }
        catalog.next_broker = catalog.next_broker.max(row.id.next());
        catalog.brokers.insert(row.id, row);
    }
    for (id, line) in (1..).map(ShardId).zip(shards) {
        catalog.shards.insert(id, shard(id, line));
        catalog.next_shard = id.next();
    }
    invariants::check(&catalog).expect("a state that there may be");
    (catalog, live)
}

fn number(word: &str) -> BrokerId {
    let digits: String = word.chars().filter(char::is_ascii_digit).collect();
    BrokerId(digits.parse().expect("a number"))
}

fn broker(word: &str) -> Broker {
    let (name, rack) = word.split_once('@').unwrap_or((word, ""));
    let rack = rack.trim_end_matches(['~', '!', 'x', '?']);
    let id = number(name);
    Broker {
        id,
        volume: Uuid([u8::try_from(id.0).expect("small"); 16]),
        incarnation: Incarnation(1),
        nonce: Uuid::default(),
        address: "a:1".to_owned(),
        rack: (!rack.is_empty()).then(|| rack.to_owned()),
        feature_levels: FeatureLevels { lowest: 1, highest: 1 },
        drain: match word {
            _ if word.contains('~') => Drain::Leadership,
            _ if word.contains('!') => Drain::Everything,
            _ => Drain::Nothing,
        },
        lost: word.contains('x'),
        created: Revision::ZERO,
    }
}

fn shard(id: ShardId, line: &str) -> Shard {
    let (line, minimum) = line.split_once(" min ").unwrap_or((line, ""));
    let words: Vec<&str> = line.split_whitespace().collect();
    let having = |mark: char| words.iter().filter(move |word| word.contains(mark)).map(|word| number(word));
    let in_sync = words.iter().filter(|word| !word.contains('-')).map(|word| number(word));
    let mut isr: Vec<Member> = in_sync.map(|broker| Member { broker, incarnation: Incarnation(1) }).collect();
    isr.sort_unstable();
    let leaving: Vec<BrokerId> = having('(').collect();
    Shard {
        id,
        kind: ShardKind::Pooled,
        replicas: words.iter().map(|word| number(word)).collect(),
        leader: having('*').next(),
        epoch: Epoch(1),
        isr,
        min_in_sync_replicas: minimum.parse().unwrap_or_else(|_| majority(words.len() - leaving.len())),
        leaving,
        version: 1,
        changed: Revision::ZERO,
        unclean: None,
    }
}

/// `shard:from>to` for each.
fn moves(moves: &[LeaderMove]) -> String {
    let word = |it: &LeaderMove| format!("{}:{}>{}", it.shard, it.from, it.to);
    moves.iter().map(word).collect::<Vec<_>>().join(" ")
}

/// `shard:[replicas] minimum` for each.
fn changes(changes: &[ReplicaChange]) -> String {
    let word = |it: &ReplicaChange| {
        let replicas: Vec<String> = it.replicas.iter().map(ToString::to_string).collect();
        format!("{}:[{}] {}", it.shard, replicas.join(" "), it.min_in_sync_replicas)
    };
    changes.iter().map(word).collect::<Vec<_>>().join(", ")
}
