//! Elections against what the replicas really hold: whoever is elected holds every committed entry, as long as fewer
//! disks than a write needs lost what they had synced.

mod silent_leader;

use std::collections::{BTreeMap, BTreeSet};

use pondage_catalog::{
    Catalog, Command, Election, FEATURE_LEVELS, IsrChange, Outcome, Shard, ShardKind,
    planners::failover::{self, Answer},
};
use pondage_model::{
    BrokerId, Epoch, Incarnation, Member, Name, Position, Uuid,
    settings::{Placement, QueueSettings},
};
use proptest::prelude::*;

/// One replica. The epoch of an entry is its position divided by ten, so that a longer log is a later one.
#[derive(Clone, Debug)]
struct Replica {
    in_sync: bool,
    /// Entries beyond the committed ones, or as a replica that is not in sync: how many it has at all.
    tail: u64,
    /// It started again since the leader confirmed it.
    restarted: bool,
    /// How much its disk would lose at that start, if it is one of those that lose anything.
    loses: Option<u64>,
    answers: bool,
    live: bool,
    /// How far it knows entries to be committed, as a distance from the truth.
    knows: u64,
    /// It answered before it started again.
    answers_before: bool,
}

fn replicas() -> impl Strategy<Value = Vec<Replica>> {
    let replica = (
        prop::bool::weighted(0.8),
        0..12u64,
        prop::bool::ANY,
        prop::option::of(1..40u64),
        prop::bool::weighted(0.7),
        prop::bool::weighted(0.9),
        0..30u64,
        prop::bool::weighted(0.4),
    );
    let replica =
        replica.prop_map(|(in_sync, tail, restarted, loses, answers, live, knows, answers_before)| Replica {
            in_sync,
            tail,
            restarted,
            loses,
            answers,
            live,
            knows,
            answers_before,
        });
    prop::collection::vec(replica, 1..6)
}

fn apply(catalog: &mut Catalog, command: &Command) -> Outcome {
    let revision = catalog.revision().next();
    catalog.apply(revision, command).expect("no refusal")
}

fn register(broker: u32, incarnation: u64) -> Command {
    Command::RegisterBroker {
        volume: Uuid([u8::try_from(broker).expect("few"); 16]),
        incarnation: Incarnation(incarnation),
        nonce: Uuid([9; 16]),
        address: "a:1".to_owned(),
        rack: None,
        feature_levels: FEATURE_LEVELS,
        replaces: None,
    }
}

fn shard(catalog: &Catalog) -> &Shard {
    catalog.shards().find(|shard| shard.kind == ShardKind::Dedicated).expect("created")
}

/// A queue on a shard of its own, with so many replicas; brokers are numbered in their order, from 1.
fn cluster_of(replicas: u32, minimum: u32) -> Catalog {
    let mut catalog = Catalog::new();
    apply(&mut catalog, &Command::Initialise { cluster: Uuid([7; 16]), nonce: Uuid([7; 16]) });
    for broker in 1..=replicas {
        apply(&mut catalog, &register(broker, 1));
    }
    let settings = QueueSettings {
        replicas: Some(replicas),
        min_in_sync_replicas: Some(minimum),
        placement: Placement::Dedicated,
        ..QueueSettings::default()
    };
    apply(&mut catalog, &Command::ApplyQueue { name: Name::new("q").expect("valid"), settings });
    catalog
}

/// The same with these in sync.
fn cluster(replicas: &[Replica], minimum: u32) -> Catalog {
    let mut catalog = cluster_of(u32::try_from(replicas.len()).expect("few"), minimum);
    let row = shard(&catalog).clone();
    let leader = row.leader.expect("new");
    let is_in_sync =
        |member: &Member| member.broker == leader || replicas[member.broker.0 as usize - 1].in_sync;
    let mut isr: Vec<Member> = row.isr.iter().copied().filter(is_in_sync).collect();
    for member in &row.isr {
        if isr.len() < minimum as usize && !isr.contains(member) {
            isr.push(*member);
        }
    }
    let change = IsrChange { shard: row.id, epoch: row.epoch, version: row.version, isr };
    let outcome = apply(&mut catalog, &Command::AlterIsr { broker: leader, changes: vec![change] });
    assert!(matches!(&outcome, Outcome::Shards(all) if all[0].result.is_ok()), "{outcome:?}");
    catalog
}

proptest! {
    #[test]
    fn who_is_elected_holds_every_committed_entry(
        replicas in replicas(),
        minimum in 1..4u32,
        committed in 0..50u64,
    ) {
        let minimum = minimum.min(u32::try_from(replicas.len()).expect("few"));
        let mut catalog = cluster(&replicas, minimum);
        let row = shard(&catalog).clone();
        let leader = row.leader.expect("new");
        // One disk less than a write needs may lose what it had synced, and shows it at a start only.
        let mut losses = row.in_sync_floor() - 1;
        let mut live = BTreeSet::new();
        let (mut answers, mut holds) = (BTreeMap::new(), BTreeMap::new());
        let mut complete = true;
        for (broker, replica) in (1..).map(BrokerId).zip(&replicas) {
            // The leader is gone, or started again; else there is nothing to elect.
            let restarted = replica.restarted || broker == leader;
            if restarted {
                apply(&mut catalog, &register(broker.0, 2));
            }
            let in_sync = row.in_sync(broker).is_some();
            let mut end = if in_sync { committed + replica.tail } else { replica.tail };
            if let Some(lost) = replica.loses.filter(|_| in_sync && restarted && losses > 0) {
                losses -= 1;
                end = end.saturating_sub(lost);
            }
            holds.insert(broker, end);
            if replica.live {
                live.insert(broker);
            }
            let stale = restarted && replica.answers_before;
            let answer = Answer {
                incarnation: Incarnation(if restarted && !stale { 2 } else { 1 }),
                epoch: row.epoch,
                last_epoch: Epoch(end.saturating_sub(1) / 10),
                end: Position(if stale { end + 99 } else { end }),
                high_watermark: Position(committed.saturating_sub(replica.knows)),
            };
            complete &= !in_sync || (replica.answers && replica.live && !stale);
            if replica.answers {
                answers.insert((row.id, broker), answer);
            }
        }

        let mut plan = failover::plan(&catalog, &live, &answers);
        let is_end = |election: &&Election| election.shard == row.id && election.leader.is_none();
        if let Some(end) = plan.elect.iter().find(is_end).cloned() {
            prop_assert_eq!(&end.isr, &row.isr);
            apply(&mut catalog, &Command::ElectLeaders { elections: vec![end] });
            answers.values_mut().for_each(|answer| answer.epoch = row.epoch.next());
            plan = failover::plan(&catalog, &live, &answers);
        }
        let row = shard(&catalog).clone();
        let election = plan.elect.iter().find(|election| election.shard == row.id);
        if let Some(election) = election {
            let Some(Member { broker: elected, .. }) = election.leader else {
                panic!("nobody leads, and the epoch is ended once more")
            };
            prop_assert!(holds[&elected] >= committed, "{:?} lacks committed entries", elected);
            prop_assert!(live.contains(&elected) && row.in_sync(elected).is_some());
            let elections = vec![election.clone()];
            let Outcome::Shards(results) = apply(&mut catalog, &Command::ElectLeaders { elections }) else {
                panic!("a batch")
            };
            prop_assert!(results[0].result.is_ok(), "{:?}", results);
            prop_assert_eq!(shard(&catalog).epoch, row.epoch.next());
        } else {
            prop_assert!(plan.wait.iter().any(|(waits, _)| *waits == row.id), "neither elected nor waiting");
        }
        // Once everybody in sync answered, there is nothing left to wait for.
        prop_assert!(!complete || election.is_some(), "{:?}", plan.wait);
        // Only disks that lost something are reported.
        for behind in plan.report.iter().filter(|behind| behind.shard == row.id) {
            prop_assert!(holds[&behind.member.broker] < committed, "{:?}", behind);
        }
    }
}
