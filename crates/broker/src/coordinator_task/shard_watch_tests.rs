use pondage_model::{Incarnation, Name, Uuid, settings::TopicSettings};
use pondage_node::catalog::{Command, Election, FEATURE_LEVELS};

use super::*;

/// Of three replicas, led by the third broker.
const SHARD: ShardId = ShardId(9);

/// A cluster of three brokers as the first one sees it. Shards 1 to 8 were made before there were three brokers: they
/// have too few copies.
struct Rig {
    catalog: Catalog,
    watch: ShardWatch,
    now_millis: u64,
    away: BTreeSet<BrokerId>,
    /// Led here, and not served yet.
    mute: BTreeSet<ShardId>,
}

fn member(broker: u32) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation(1) }
}

fn register(volume: u8, incarnation: u8) -> Command {
    Command::RegisterBroker {
        volume: Uuid([volume; 16]),
        incarnation: Incarnation(incarnation.into()),
        nonce: Uuid([incarnation; 16]),
        address: "here:1".to_owned(),
        rack: None,
        feature_levels: FEATURE_LEVELS,
        replaces: None,
    }
}

impl Rig {
    fn new() -> Self {
        let mut rig = Self {
            catalog: Catalog::new(),
            watch: ShardWatch::default(),
            now_millis: 5_000,
            away: BTreeSet::new(),
            mute: BTreeSet::new(),
        };
        rig.run(&Command::Initialise { cluster: Uuid([7; 16]), nonce: Uuid([1; 16]) });
        for broker in 1..=3 {
            rig.run(&register(broker, 1));
        }
        rig
    }

    fn run(&mut self, command: &Command) {
        let revision = self.catalog.revision().next();
        self.catalog.apply(revision, command).expect("a command that fits");
    }

    fn elect(&mut self, leader: u32) {
        let version = self.catalog.shard(SHARD).expect("there").version;
        let isr = (1..=3).map(member).collect();
        let election = Election { shard: SHARD, version, leader: Some(member(leader)), isr };
        self.run(&Command::ElectLeaders { elections: vec![election] });
    }

    fn led_by(&self, broker: u32) -> u64 {
        self.catalog.shards().filter(|row| row.leader == Some(BrokerId(broker))).count() as u64
    }

    /// Time passes, then it looks: offline, below minimum, under-replicated, offline milliseconds, and gaps.
    fn look(&mut self, passed_millis: u64) -> ([u64; 4], Vec<u64>) {
        self.now_millis += passed_millis;
        let mut gaps = Vec::new();
        let view = View {
            now_millis: self.now_millis,
            catalog: &self.catalog,
            own: Some(member(1)),
            away: self.away.clone(),
            serves: &|shard, _| !self.mute.contains(&shard),
        };
        let ShardTotals { offline, below_minimum, under_replicated, offline_millis } =
            self.watch.look(&view, &mut gaps);
        ([offline, below_minimum, under_replicated, offline_millis], gaps)
    }
}

#[test]
fn a_shard_is_offline_until_its_next_leader_serves() {
    let mut rig = Rig::new();
    let led = rig.led_by(3);
    assert!(led > 1);
    assert_eq!(rig.look(0), ([0, 0, 8, 0], vec![]));
    rig.away.insert(BrokerId(3));
    assert_eq!(rig.look(100), ([led, 0, 8, 0], vec![]));
    rig.elect(1);
    rig.mute.insert(SHARD);
    assert_eq!(rig.look(400), ([led, 0, 8, 400 * led], vec![]), "elected, and silent");
    rig.mute.clear();
    rig.watch.said(SHARD);
    assert_eq!(rig.look(50), ([led - 1, 0, 8, 450 * led], vec![450]));
    assert_eq!(rig.look(100), ([led - 1, 0, 8, 550 * led - 100], vec![]), "a gap is told once");
    rig.away.clear();
    assert_eq!(rig.look(0), ([0, 0, 8, 550 * led - 100], vec![]), "gaps of others are not told");
    assert_eq!(rig.look(1_000).0[3], 550 * led - 100);
}

#[test]
fn a_hand_over_is_a_gap_from_the_election_on() {
    let mut rig = Rig::new();
    rig.look(0);
    rig.elect(1);
    rig.mute.insert(SHARD);
    assert_eq!(rig.look(30).0[0], 1);
    rig.mute.clear();
    rig.watch.said(SHARD);
    assert_eq!(rig.look(20), ([0, 0, 8, 20], vec![20]));
}

#[test]
fn what_serves_for_the_first_time_had_no_gap() {
    let mut rig = Rig::new();
    let own: Vec<ShardId> =
        rig.catalog.shards().filter(|row| row.leader == Some(BrokerId(1))).map(|row| row.id).collect();
    rig.mute = own.iter().copied().collect();
    assert_eq!(rig.look(0).0[0], own.len() as u64);
    rig.mute.clear();
    own.iter().for_each(|shard| rig.watch.said(*shard));
    let (totals, gaps) = rig.look(200);
    assert_eq!((totals[0], totals[3], gaps), (0, 200 * own.len() as u64, vec![]));
}

#[test]
fn an_earlier_start_neither_leads_nor_is_in_sync() {
    let mut rig = Rig::new();
    let led = rig.led_by(3);
    rig.look(0);
    rig.run(&register(3, 2));
    // Since only rows that changed are looked at, the others follow within a second.
    let all = rig.look(WALK_MILLIS).0;
    let has_three = |row: &&Shard| row.kind != ShardKind::Catalog && row.replicas.len() == 3;
    let with_three = rig.catalog.shards().filter(has_three).count() as u64;
    assert_eq!(all[..3], [led, 0, 8 + with_three]);
}

#[test]
fn lost_copies_count_against_the_minimum() {
    let mut rig = Rig::new();
    rig.look(0);
    for broker in [3, 2] {
        rig.run(&Command::LoseBroker { broker: BrokerId(broker) });
    }
    let minimum_is_two =
        rig.catalog.shards().filter(|row| row.kind != ShardKind::Catalog && row.min_in_sync_replicas == 2);
    let below = minimum_is_two.count() as u64;
    assert!(below > 0);
    assert_eq!(rig.look(0).0[1], below);
}

#[test]
fn a_deleted_shard_counts_no_more() {
    let mut rig = Rig::new();
    let before = rig.look(0).0;
    let name = Name::new("log").expect("valid");
    let settings = TopicSettings { partitions: 1, ..TopicSettings::default() };
    rig.run(&Command::ApplyTopic { name: name.clone(), settings });
    let made = rig.catalog.shards().map(|row| row.id).max().expect("some");
    assert!(made > ShardId(12), "a shard of its own");
    let leader = rig.catalog.shard(made).and_then(|row| row.leader).expect("led");
    rig.mute.insert(made);
    if leader != BrokerId(1) {
        rig.away.insert(leader);
    }
    let with = rig.look(10).0[0];
    rig.run(&Command::DeleteTopic { name, policy_override: None, messages: 0, if_uid: None });
    assert_eq!(rig.look(0).0[0], with - 1);
    rig.away.clear();
    assert_eq!(rig.look(0).0[..3], before[..3]);
    assert_eq!(rig.watch.shards.len(), rig.catalog.shards().len());
}
