use std::collections::BTreeMap;

use pondage_model::{AssignmentEpoch, Epoch, GroupEpoch, Offset, wire::Wire};
use pondage_node::delivery::{
    Counters, GroupStats, HomeCounters, Leading, MembershipStats, ShardState, StreamStats,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use super::{super::gzip::gunzip, *};

/// So many that several pieces are full.
const STREAMS: u64 = 200;
const SHARDS: u32 = 3;
const NOW: LogTime = LogTime(1_700_000_000_000);

fn mark() -> Mark {
    Leading::new(Epoch(1), ShardId(1), &ShardState::default()).changed_since(None, NOW).mark
}

/// Figures that are told apart by their place and by `seed`.
fn report(stream: u64, seed: u64) -> StreamReport {
    let numbers: Vec<u8> = (0..15u64).flat_map(|index| (seed * 100 + 20 + index).to_bytes()).collect();
    let age = |seed: u64| (!seed.is_multiple_of(3)).then_some(seed * 1_500);
    let group = |index: u64| GroupStats {
        group: Name::new(&format!("group-{index}")).expect("valid"),
        epoch: GroupEpoch(1),
        offset: Offset(seed + index),
        committed: seed * 3,
        lag: seed,
        oldest_age_millis: age(seed + index),
    };
    let kind = match stream % 8 {
        0 | 4 => StreamKind::Partition,
        5 => StreamKind::Home,
        6 => StreamKind::Share { group: Name::new("sharers").expect("valid") },
        _ => StreamKind::Queue,
    };
    let membership = || MembershipStats {
        epoch: AssignmentEpoch(seed + 50),
        members: seed + 51,
        owned: seed + 52,
        passing_on: seed + 53,
        shares: (0..=seed % 3).map(|index| (format!("pod \"{index}\""), seed + index)).collect(),
        counters: HomeCounters {
            rebalances: seed + 54,
            released: seed + 55,
            timed_out: seed + 56,
            left: seed + 57,
            lost: seed + 58,
            paused_millis: seed * 500,
        },
    };
    let (is_partition, is_home) = (kind == StreamKind::Partition, kind == StreamKind::Home);
    StreamReport {
        stream: StreamId(stream),
        name: Name::new(&format!("stream-{stream}")).expect("valid"),
        partition: u32::try_from(stream).expect("small"),
        kind,
        stats: StreamStats {
            ready: seed * 100 + 1,
            unacked: seed * 100 + 2,
            scheduled: seed * 100 + 3,
            moving: seed * 100 + 4,
            held: seed * 100 + 5,
            dead_lettered: 0,
            settled: seed * 103,
            oldest_age_millis: age(seed),
            start: Offset(seed),
            end: Offset(seed * 2),
            groups: (0..seed % 3).filter(|_| is_partition).map(group).collect(),
            membership: is_home.then(|| membership().into()),
        },
        counters: Counters::from_bytes(numbers.into()).expect("15 numbers"),
    }
}

/// What a shard would say if it were asked for everything.
fn everything(streams: &BTreeMap<u64, StreamReport>, at: LogTime) -> StatsSince {
    StatsSince { mark: mark(), at, closed: None, reports: streams.values().cloned().collect() }
}

fn plain(streams: &Streams) -> String {
    let mut text = String::new();
    streams.write(&mut text);
    text
}

fn compressed(streams: &mut Streams) -> String {
    let (mut deflater, mut document) = (Deflater::new(), Document::new());
    streams.deflate(&mut deflater, &mut document);
    gunzip(&document.finish())
}

/// A document's families: what is said of them, and their samples in order.
fn families(text: &str) -> BTreeMap<String, Vec<String>> {
    let mut families: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# HELP ") {
            current = described.split(' ').next().expect("a name").to_owned();
            assert!(!families.contains_key(&current), "{current} comes twice");
        }
        let in_family = line.starts_with("# ") || line.starts_with(&format!("{current}{{"));
        assert!(in_family, "{line} is not among the samples of {current}");
        families.entry(current.clone()).or_default().push(line.to_owned());
    }
    families.values_mut().for_each(|lines| lines.sort_unstable());
    families
}

#[test]
fn every_figure_has_its_name() {
    let mut streams = Streams::new(10);
    let all = BTreeMap::from([(1, report(1, 7)), (4, report(4, 5)), (5, report(5, 3)), (6, report(6, 2))]);
    let consumers = HashMap::from([(StreamId(1), 9)]);
    streams.learn(BTreeMap::from([(ShardId(1), everything(&all, NOW))]), &consumers);
    let text = plain(&streams);
    for line in [
        "# HELP pondage_queue_ready Messages that a consumer could get now.",
        "# TYPE pondage_queue_ready gauge",
        "# TYPE pondage_queue_failures_total counter",
        "pondage_queue_consumers{queue=\"stream-1\"} 9",
        "pondage_queue_ready{queue=\"stream-1\"} 701",
        "pondage_queue_unacked{queue=\"stream-1\"} 702",
        "pondage_queue_scheduled{queue=\"stream-1\"} 703",
        "pondage_queue_moving{queue=\"stream-1\"} 704",
        "pondage_queue_held{queue=\"stream-1\"} 705",
        "pondage_queue_oldest_age_seconds{queue=\"stream-1\"} 10.5",
        "pondage_queue_published_total{queue=\"stream-1\"} 720",
        "pondage_queue_granted_total{queue=\"stream-1\"} 721",
        "pondage_queue_accepted_total{queue=\"stream-1\"} 722",
        "pondage_topic_start_offset{partition=\"4\",topic=\"stream-4\"} 5",
        "pondage_topic_end_offset{partition=\"4\",topic=\"stream-4\"} 10",
        "pondage_topic_published_total{partition=\"4\",topic=\"stream-4\"} 520",
        "pondage_topic_oldest_age_seconds{partition=\"4\",topic=\"stream-4\"} 7.5",
        "pondage_group_offset{group=\"group-1\",partition=\"4\",topic=\"stream-4\"} 6",
        "pondage_group_committed_total{group=\"group-1\",partition=\"4\",topic=\"stream-4\"} 15",
        "pondage_group_lag{group=\"group-1\",partition=\"4\",topic=\"stream-4\"} 5",
        "pondage_group_delay_seconds{group=\"group-1\",partition=\"4\",topic=\"stream-4\"} 0",
        "pondage_group_offset{group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 2",
        "pondage_group_committed_total{group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 206",
        "pondage_group_lag{group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 1015",
        "pondage_group_delay_seconds{group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 3",
        "pondage_group_unacked{group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 202",
        "pondage_group_scheduled{group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 203",
        "pondage_group_moving{group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 204",
        "pondage_group_held{group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 205",
        "pondage_group_granted_total{group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 221",
        "pondage_group_discarded_total{cause=\"rejected\",group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 226",
        "pondage_group_discarded_total{cause=\"trimmed\",group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 229",
        "pondage_group_failures_total{cause=\"released\",group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 230",
        "pondage_group_failures_total{cause=\"rejected\",group=\"sharers\",partition=\"6\",topic=\"stream-6\"} 234",
        "pondage_group_dead_lettered_total{group=\"sharers\",partition=\"6\",topic=\"stream-6\",reason=\"rejected\"} 223",
        "pondage_group_dead_lettered_total{group=\"sharers\",partition=\"6\",topic=\"stream-6\",reason=\"max-deliveries\"} 224",
        "pondage_group_assignment_epoch{group=\"stream-5\"} 53",
        "pondage_group_members{group=\"stream-5\"} 54",
        "pondage_group_owned_partitions{group=\"stream-5\"} 55",
        "pondage_group_passing_on_partitions{group=\"stream-5\"} 56",
        "pondage_group_rebalances_total{group=\"stream-5\"} 57",
        "pondage_group_passed_on_partitions_total{cause=\"released\",group=\"stream-5\"} 58",
        "pondage_group_passed_on_partitions_total{cause=\"timed-out\",group=\"stream-5\"} 59",
        "pondage_group_passed_on_partitions_total{cause=\"left\",group=\"stream-5\"} 60",
        "pondage_group_passed_on_partitions_total{cause=\"lost\",group=\"stream-5\"} 61",
        "pondage_group_paused_seconds_total{group=\"stream-5\"} 1.5",
        "pondage_group_member_partitions{group=\"stream-5\",member=\"pod \\\"0\\\"\"} 3",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    let counters = report(1, 7).counters;
    use pondage_model::entry::{DiscardCause, MoveCause, ReleaseCause};
    for (line, value) in [
        (
            "discarded_total{cause=\"rejected\",queue=\"stream-1\"}",
            counters.discarded(DiscardCause::Rejected),
        ),
        ("discarded_total{cause=\"expired\",queue=\"stream-1\"}", counters.discarded(DiscardCause::Expired)),
        ("discarded_total{cause=\"purged\",queue=\"stream-1\"}", counters.discarded(DiscardCause::Purged)),
        ("failures_total{cause=\"released\",queue=\"stream-1\"}", counters.released(ReleaseCause::Released)),
        ("failures_total{cause=\"expired\",queue=\"stream-1\"}", counters.released(ReleaseCause::Expired)),
        (
            "failures_total{cause=\"consumer-lost\",queue=\"stream-1\"}",
            counters.released(ReleaseCause::ConsumerLost),
        ),
        ("failures_total{cause=\"rejected\",queue=\"stream-1\"}", counters.released(ReleaseCause::Rejected)),
        (
            "dead_lettered_total{queue=\"stream-1\",reason=\"rejected\"}",
            counters.dead_lettered(MoveCause::Rejected),
        ),
        (
            "dead_lettered_total{queue=\"stream-1\",reason=\"max-deliveries\"}",
            counters.dead_lettered(MoveCause::MaxDeliveries),
        ),
        (
            "dead_lettered_total{queue=\"stream-1\",reason=\"expired\"}",
            counters.dead_lettered(MoveCause::Expired),
        ),
    ] {
        let line = format!("pondage_queue_{line} {value}");
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
    families(&text);
}

#[test]
fn beyond_the_cap_things_are_left_out_and_counted_until_there_is_room() {
    let mut streams = Streams::new(60);
    let mut all: BTreeMap<u64, StreamReport> = (0..STREAMS).map(|id| (id, report(id, 2))).collect();
    let tell = |streams: &mut Streams, all: &BTreeMap<u64, StreamReport>| {
        streams.learn(BTreeMap::from([(ShardId(1), everything(all, NOW))]), &HashMap::new());
        let text = compressed(streams);
        assert_eq!(text, plain(streams));
        let count = |family: &str| text.lines().filter(|line| line.starts_with(family)).count();
        let firsts =
            ["queue_held", "topic_end_offset", "group_lag", "group_members", "group_member_partitions"];
        firsts.map(|name| count(&format!("pondage_{name}{{")))
    };
    assert_eq!(tell(&mut streams, &all), [60, 50, 60, 25, 60]);
    let left_out = |streams: &Streams| streams.left_out().map(|(_, count)| count);
    assert_eq!(
        streams.left_out().map(|(kind, _)| kind),
        ["queue", "partition", "cursor", "share", "group", "member"]
    );
    assert_eq!(left_out(&streams), [40, 0, 65, 0, 0, 15]);
    // Those that were shown go, so that others are.
    all.retain(|id, _| *id >= 100);
    assert_eq!(tell(&mut streams, &all), [49, 25, 60, 13, 39]);
    assert_eq!(left_out(&streams), [0, 0, 3, 0, 0, 0]);
    all.retain(|id, _| *id >= 150);
    assert_eq!(tell(&mut streams, &all), [25, 12, 31, 6, 18]);
    assert_eq!(left_out(&streams), [0; 6]);
    all.clear();
    assert_eq!(tell(&mut streams, &all), [0; 5]);
    assert_eq!(plain(&streams), "", "a metric without samples is not described");
}

#[derive(Clone, Debug)]
enum Step {
    /// The shard's streams in this range have other figures, or come to be.
    Move {
        shard: u32,
        first: u64,
        count: u64,
        seed: u64,
    },
    /// They are closed.
    Close {
        shard: u32,
        first: u64,
        count: u64,
    },
    /// Somebody else leads it.
    Depose {
        shard: u32,
    },
    /// It is led here again, and tells everything.
    Elect {
        shard: u32,
    },
    Consume {
        stream: u64,
        consumers: u32,
    },
    Pass(u64),
    Scrape,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let range = || (0..SHARDS, 0..STREAMS, prop_oneof![3 => 1..5u64, 1 => 1..STREAMS]);
    let step = prop_oneof![
        6 => (range(), 0..9u64)
            .prop_map(|((shard, first, count), seed)| Step::Move { shard, first, count, seed }),
        2 => range().prop_map(|(shard, first, count)| Step::Close { shard, first, count }),
        1 => (0..SHARDS).prop_map(|shard| Step::Depose { shard }),
        1 => (0..SHARDS).prop_map(|shard| Step::Elect { shard }),
        2 => (0..STREAMS, 0..3u32).prop_map(|(stream, consumers)| Step::Consume { stream, consumers }),
        2 => (0..5_000u64).prop_map(Step::Pass),
        6 => Just(Step::Scrape),
    ];
    prop::collection::vec(step, 1..60)
}

/// The shards, as a scrape would find them.
#[derive(Default)]
struct World {
    streams: BTreeMap<u32, BTreeMap<u64, StreamReport>>,
    /// Since the last scrape; none if everything is to be told.
    changed: BTreeMap<u32, Option<Changes>>,
    deposed: BTreeSet<u32>,
    consumers: HashMap<StreamId, u32>,
    passed: u64,
}

#[derive(Clone, Default)]
struct Changes {
    moved: BTreeSet<u64>,
    closed: BTreeSet<u64>,
}

impl World {
    /// A stream lives on one shard.
    fn on(shard: u32, first: u64, count: u64) -> impl Iterator<Item = u64> {
        (first..(first + count).min(STREAMS)).filter(move |id| id % u64::from(SHARDS) == u64::from(shard))
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Move { shard, first, count, seed } => {
                for id in Self::on(shard, first, count) {
                    self.streams.entry(shard).or_default().insert(id, report(id, seed));
                    if let Some(Some(changes)) = self.changed.get_mut(&shard) {
                        changes.moved.insert(id);
                    }
                }
            }
            Step::Close { shard, first, count } => {
                for id in Self::on(shard, first, count) {
                    self.streams.entry(shard).or_default().remove(&id);
                    if let Some(Some(changes)) = self.changed.get_mut(&shard) {
                        changes.moved.remove(&id);
                        changes.closed.insert(id);
                    }
                }
            }
            Step::Depose { shard } => drop(self.deposed.insert(shard)),
            Step::Elect { shard } => {
                self.deposed.remove(&shard);
                self.changed.insert(shard, None);
            }
            Step::Consume { stream, consumers: 0 } => drop(self.consumers.remove(&StreamId(stream))),
            Step::Consume { stream, consumers } => drop(self.consumers.insert(StreamId(stream), consumers)),
            Step::Pass(millis) => self.passed += millis,
            Step::Scrape => {}
        }
    }

    /// Reports say how old messages were when they were made: at first.
    fn aged(&self, mut report: StreamReport) -> StreamReport {
        let ages = report.stats.groups.iter_mut().map(|group| &mut group.oldest_age_millis);
        for age in ages.chain([&mut report.stats.oldest_age_millis]).flatten() {
            *age += self.passed;
        }
        report
    }

    fn at(&self, shard: u32) -> LogTime {
        // Their clocks differ.
        NOW.plus_millis(self.passed + 1_000_000 * u64::from(shard))
    }

    /// What the shards answer, in full or as far as it changed.
    fn answers(&mut self, in_full: bool) -> BTreeMap<ShardId, StatsSince> {
        let mut answers = BTreeMap::new();
        for shard in (0..SHARDS).filter(|shard| !self.deposed.contains(shard)) {
            let streams = self.streams.get(&shard).cloned().unwrap_or_default();
            let changes = if in_full { None } else { self.changed.get(&shard).cloned().flatten() };
            let is_told = |id: &u64| changes.as_ref().is_none_or(|changes| changes.moved.contains(id));
            let reports = streams.into_iter().filter(|(id, _)| is_told(id));
            let reports = reports.map(|(_, report)| self.aged(report)).collect();
            let closed =
                changes.as_ref().map(|changes| changes.closed.iter().map(|id| StreamId(*id)).collect());
            answers.insert(ShardId(shard), StatsSince { mark: mark(), at: self.at(shard), closed, reports });
            if !in_full {
                self.changed.insert(shard, Some(Changes::default()));
            }
        }
        if !in_full {
            // Who was not asked is asked for everything.
            self.deposed.iter().for_each(|shard| drop(self.changed.insert(*shard, None)));
        }
        answers
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_kept_shows_what_a_first_scrape_would(steps in steps(), is_gzip in any::<bool>()) {
        let (mut world, mut kept) = (World::default(), Streams::new(usize::MAX));
        for step in steps.iter().chain([&Step::Scrape]) {
            world.step(step);
            if let Step::Scrape = step {
                let consumers = world.consumers.clone();
                let mut fresh = Streams::new(usize::MAX);
                fresh.learn(world.answers(true), &consumers);
                kept.learn(world.answers(false), &consumers);
                let text = plain(&kept);
                assert_eq!(families(&text), families(&plain(&fresh)));
                // Pieces are kept over scrapes of either form.
                if is_gzip || world.passed % 2 == 0 {
                    assert_eq!(compressed(&mut kept), text);
                }
            }
        }
    }
}
