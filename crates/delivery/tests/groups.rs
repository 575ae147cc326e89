//! A group's home and the partitions that its members read: who may read what, through comings, goings and crashes.

mod support;

use std::collections::{BTreeMap, BTreeSet};

use pondage_delivery::{ConsumerId, Held, Home, HomeCounters, Notice, Reply, Request, Stream};
use pondage_model::{
    AssignmentEpoch, Body, Code, GroupEpoch, LogTime, MemberId, Offset, StreamId, Uuid,
    entry::Open,
    limits::{DRAIN_MILLIS, INSTANCE_BYTES_MAX, REBALANCE_MILLIS_MAX},
    membership::{GroupMember, LeaveCause, MemberProgress, MembershipChange, StreamRun},
    settings::{HomeSettings, StreamSettings, TopicSettings},
};
use proptest::prelude::{Just, ProptestConfig, Strategy, prop, prop_oneof, proptest};
use support::{QUEUE, Shard, name};

const HOME: StreamId = StreamId(10);
const FIRST: u64 = 20;
const SESSION_MILLIS: u64 = 5_000;

fn member(number: u8) -> MemberId {
    MemberId(Uuid([number; 16]))
}

fn partition(number: u64) -> StreamId {
    StreamId(FIRST + number)
}

fn settings(partitions: &[u32]) -> StreamSettings {
    let mut first = FIRST;
    let topics = partitions.iter().map(|count| {
        let run = StreamRun { first: StreamId(first), count: *count };
        first += u64::from(*count);
        vec![run]
    });
    StreamSettings::Home(HomeSettings { topics: topics.collect(), session_timeout_millis: SESSION_MILLIS })
}

/// What a consumer knows.
#[derive(Clone, Debug, Default)]
struct Consumer {
    connection: Option<ConsumerId>,
    /// What it was told last on this connection.
    told: Option<Vec<Held>>,
    is_draining: bool,
    /// What it reads, under which assignment and claim.
    reads: BTreeMap<StreamId, (AssignmentEpoch, GroupEpoch)>,
}

/// A group on a shard that holds its partitions too, with its consumers.
struct Group {
    shard: Shard,
    consumers: BTreeMap<u8, Consumer>,
    /// Notices that wait until so many entries are committed.
    waiting: Vec<(usize, Notice)>,
    connections: u64,
}

impl Group {
    fn new(partitions: &[u32]) -> Self {
        let mut shard = Shard::new();
        let open = |settings| Open { name: name("billing"), partition: 0, settings };
        let home = Request::Open { stream: HOME, open: open(settings(partitions)) };
        assert_eq!(shard.request(home), Reply::Done);
        for number in 0..u64::from(partitions.iter().sum::<u32>()) {
            let topic = StreamSettings::Topic(TopicSettings::default());
            let stream = partition(number);
            assert_eq!(shard.request(Request::Open { stream, open: open(topic) }), Reply::Done);
        }
        shard.commit_all();
        Self { shard, consumers: BTreeMap::new(), waiting: Vec::new(), connections: 0 }
    }

    fn home(&self) -> &Home {
        self.shard.leading.state().stream(HOME).and_then(Stream::home).expect("it is open")
    }

    /// Connects as a member, in the place of any connection before.
    fn connect(&mut self, number: u8) {
        self.connections += 1;
        let consumer = ConsumerId(self.connections);
        let joined = GroupMember { id: member(number), instance: format!("pod-{number}") };
        assert_eq!(self.shard.request(Request::Join { stream: HOME, consumer, member: joined }), Reply::Done);
        let known = self.consumers.entry(number).or_default();
        known.connection = Some(consumer);
        known.told = None;
        self.run();
    }

    fn leave(&mut self, number: u8, lost: bool) {
        let Some(known) = self.consumers.get_mut(&number) else { return };
        let Some(consumer) = known.connection.take() else { return };
        if !lost {
            self.consumers.remove(&number);
        }
        assert_eq!(self.shard.request(Request::Leave { stream: HOME, consumer, lost }), Reply::Done);
        self.run();
    }

    fn drain(&mut self, numbers: &[u8]) {
        let members = numbers.iter().map(|number| member(*number)).collect();
        assert_eq!(self.shard.request(Request::Drain { stream: HOME, members }), Reply::Done);
        self.run();
    }

    /// What a shard does after each event; what it says waits for the log.
    fn run(&mut self) {
        self.shard.tick();
        let end = self.shard.log.len();
        self.waiting.extend(self.shard.leading.notices().into_iter().map(|notice| (end, notice)));
    }

    fn commit(&mut self) {
        self.shard.commit_all();
        let committed = self.shard.committed_count;
        let (told, waiting) =
            std::mem::take(&mut self.waiting).into_iter().partition(|(end, _)| *end <= committed);
        self.waiting = waiting;
        for (_, notice) in told {
            let mut all = self.consumers.values_mut();
            let Some(known) = all.find(|known| known.connection == Some(notice.consumer)) else { continue };
            if notice.done {
                known.connection = None;
                continue;
            }
            // Nothing is taken from a member that is there, unless it was asked to let go of it before.
            for before in known.told.iter().flatten().filter(|held| !held.is_to_pass_on) {
                if known.reads.get(&before.partition).is_some_and(|(since, _)| *since == before.since) {
                    let is_same =
                        |held: &Held| (held.partition, held.since) == (before.partition, before.since);
                    assert!(notice.held.iter().any(is_same), "{before:?} is not among {:?}", notice.held);
                }
            }
            known.told = Some(notice.held);
            known.is_draining = notice.is_draining;
        }
    }

    fn crash(&mut self) {
        self.shard.crash();
        self.waiting.clear();
        self.consumers.values_mut().for_each(|known| known.connection = None);
        self.run();
    }

    fn pass(&mut self, millis: u64) {
        self.shard.pass(millis);
        self.run();
    }

    /// A consumer does what it was told: lets go of what passes on, claims what is new.
    fn act(&mut self, number: u8) {
        let Some(known) = self.consumers.get(&number) else { return };
        let (Some(consumer), Some(told)) = (known.connection, known.told.clone()) else { return };
        let mut reads = known.reads.clone();
        reads.retain(|stream, (since, _)| {
            told.iter().any(|held| held.partition == *stream && held.since == *since && !held.is_to_pass_on)
        });
        let done: Vec<_> =
            told.iter().filter(|held| held.is_to_pass_on).map(|held| (held.partition, held.since)).collect();
        for held in told.iter().filter(|held| !held.is_to_pass_on) {
            if !reads.contains_key(&held.partition) {
                let claimed = self.claim(held.partition, held.since);
                reads.extend(claimed.map(|epoch| (held.partition, (held.since, epoch))));
            }
        }
        self.consumers.get_mut(&number).expect("it is there").reads = reads;
        if !done.is_empty() {
            let release = Request::Release { stream: HOME, consumer, partitions: done };
            assert_eq!(self.shard.request(release), Reply::Done);
        }
        self.run();
    }

    /// None if it was fenced.
    fn claim(&mut self, stream: StreamId, since: AssignmentEpoch) -> Option<GroupEpoch> {
        let group = name("billing");
        let claim = Request::Claim { stream, group, start: Offset(0), owner: Some(since) };
        let answer = self.shard.request(claim);
        // It is answered once it is committed.
        self.shard.commit_all();
        match answer {
            Reply::Claimed { epoch, .. } => {
                assert_eq!(epoch.assignment(), since);
                Some(epoch)
            }
            Reply::Refused(refusal) => {
                assert_eq!(refusal.code(), Code::Fenced);
                None
            }
            other => panic!("a claim was answered with {other:?}"),
        }
    }

    /// A consumer commits what it reads, whatever it has not heard of: it counts only under the latest claim.
    fn work(&mut self, number: u8) {
        let Some(known) = self.consumers.get(&number) else { return };
        for (stream, (_, epoch)) in known.reads.clone() {
            self.shard.publish(stream, 1);
            self.shard.commit_all();
            let partition = self.shard.committed.stream(stream).expect("it is open");
            let latest = partition.topic().and_then(|topic| topic.group(&name("billing")));
            let group = name("billing");
            let commit = Request::Commit { stream, group, epoch, offset: partition.end() };
            match self.shard.request(commit) {
                Reply::Done => assert_eq!(latest.map(|latest| latest.epoch), Some(epoch)),
                Reply::Refused(refusal) => {
                    assert_eq!(refusal.code(), Code::Fenced);
                    assert!(latest.is_some_and(|latest| latest.epoch > epoch), "{latest:?} {epoch:?}");
                    let told = &self.consumers[&number].told;
                    let is_told = told.iter().flatten().any(|held| {
                        held.partition == stream && held.since == epoch.assignment() && !held.is_to_pass_on
                    });
                    assert!(
                        !is_told || self.consumers[&number].connection.is_none() || {
                            // It is another's by now, of which it has not been told.
                            let owner = self.home().ownership(stream).owner;
                            owner.is_none_or(|owner| {
                                (owner.member, owner.since) != (member(number), epoch.assignment())
                            })
                        }
                    );
                }
                other => panic!("a commit was answered with {other:?}"),
            }
        }
        self.shard.commit_all();
    }

    /// Everybody who is connected does as told until there is nothing to do.
    fn settle_down(&mut self) {
        for _ in 0..20 {
            self.run();
            self.commit();
            let numbers: Vec<u8> = self.consumers.keys().copied().collect();
            numbers.into_iter().for_each(|number| self.act(number));
        }
        self.commit();
        self.shard.settle_down();
    }

    /// Who owns what; all are where they are to be.
    fn shares(&self) -> BTreeMap<MemberId, BTreeSet<StreamId>> {
        let mut shares: BTreeMap<MemberId, BTreeSet<StreamId>> = BTreeMap::new();
        for (partition, ownership) in self.home().partitions() {
            assert!(!ownership.is_to_pass_on(), "{partition:?} waits: {ownership:?}");
            let owner = ownership.owner.expect("somebody's");
            shares.entry(owner.member).or_default().insert(partition);
        }
        shares
    }

    fn connected(&self) -> Vec<(MemberId, &Consumer)> {
        let connected = self.consumers.iter().filter(|(_, known)| known.connection.is_some());
        connected.map(|(number, known)| (member(*number), known)).collect()
    }

    fn sizes(&self) -> Vec<usize> {
        let mut sizes: Vec<_> = self.shares().values().map(BTreeSet::len).collect();
        sizes.sort_unstable();
        sizes
    }
}

#[test]
fn members_share_partitions_and_what_is_kept_goes_on() {
    let mut group = Group::new(&[4, 3]);
    group.connect(1);
    group.settle_down();
    assert_eq!(group.sizes(), [7]);
    let kept = group.consumers[&1].reads.clone();
    group.connect(2);
    group.settle_down();
    assert_eq!(group.sizes(), [3, 4]);
    let now = &group.consumers[&1].reads;
    assert!(now.iter().all(|(partition, read)| kept[partition] == *read), "what it keeps it claims once");
    group.leave(1, false);
    group.settle_down();
    assert_eq!(group.sizes(), [7]);
    group.leave(2, false);
    group.settle_down();
    assert_eq!((group.sizes(), group.home().members().len()), (vec![], 0));
}

#[test]
fn a_partition_waits_for_its_owner_but_not_for_ever() {
    let mut group = Group::new(&[2]);
    group.connect(1);
    group.settle_down();
    group.connect(2);
    group.commit();
    group.act(2);
    assert_eq!(group.consumers[&2].reads.len(), 0, "its owner has not let go of it");
    let passes_on = group.home().partitions().find(|(_, ownership)| ownership.is_to_pass_on());
    let (stream, ownership) = passes_on.expect("one of the two");
    let since = ownership.owner.expect("its owner's").since;
    group.pass(REBALANCE_MILLIS_MAX - 1);
    assert!(group.home().ownership(stream).is_to_pass_on());
    group.pass(1);
    assert_eq!((group.home().counters().timed_out, group.home().counters().released), (1, 0));
    group.commit();
    group.act(2);
    assert_eq!(group.consumers[&2].reads.keys().copied().collect::<Vec<_>>(), [stream]);
    assert_eq!(group.claim(stream, since), None, "the old owner takes it from nobody");
    // Its word comes late.
    let consumer = group.consumers[&1].connection.expect("connected");
    let release = Request::Release { stream: HOME, consumer, partitions: vec![(stream, since)] };
    assert_eq!(group.shard.request(release), Reply::Done);
    group.consumers.get_mut(&1).expect("it is there").reads.remove(&stream);
    group.settle_down();
    assert_eq!(group.home().ownership(stream).owner.map(|owner| owner.member), Some(member(2)));
}

#[test]
fn who_is_lost_keeps_its_partitions_for_the_session_timeout() {
    for (away, stays) in [(SESSION_MILLIS - 1, true), (SESSION_MILLIS, false)] {
        let mut group = Group::new(&[4]);
        [1, 2].into_iter().for_each(|number| group.connect(number));
        group.settle_down();
        let before = group.shares();
        group.leave(1, true);
        group.pass(away);
        assert_eq!(group.home().has_member(member(1)), stays);
        group.connect(1);
        group.settle_down();
        assert_eq!(group.sizes(), [2, 2]);
        assert_eq!(group.shares() == before, stays);
    }
}

#[test]
fn what_happened_in_a_group_is_counted() {
    let counters = |group: &Group| *group.home().counters();
    let mut group = Group::new(&[4]);
    group.connect(1);
    group.settle_down();
    assert_eq!(counters(&group), HomeCounters { rebalances: 1, ..HomeCounters::default() }, "nobody had any");
    // Two pass on; the owner takes a second to let go of them.
    group.connect(2);
    group.commit();
    group.pass(1_000);
    group.settle_down();
    let two_passed = HomeCounters { rebalances: 2, released: 2, paused_millis: 2_000, ..counters(&group) };
    assert_eq!(counters(&group), two_passed);
    // Who is lost was silent for a session before it is given up.
    group.leave(1, true);
    group.pass(SESSION_MILLIS);
    group.settle_down();
    let paused_millis = 2_000 + 2 * SESSION_MILLIS;
    let lost = HomeCounters { rebalances: 3, lost: 2, paused_millis, ..two_passed };
    assert_eq!(counters(&group), lost);
    // A new leader goes on with the counts. While nobody is there, nothing is to be read.
    group.crash();
    assert_eq!(counters(&group), lost);
    group.connect(2);
    group.leave(2, false);
    group.pass(60_000);
    group.connect(3);
    group.settle_down();
    let HomeCounters { left, paused_millis, .. } = counters(&group);
    assert_eq!((left, paused_millis), (4, lost.paused_millis));
    assert_eq!(counters(&group).timed_out, 0);
}

#[test]
fn people_who_ask_are_told_who_reads_what() {
    let mut group = Group::new(&[3]);
    [1, 2].into_iter().for_each(|number| group.connect(number));
    group.settle_down();
    group.leave(1, true);
    let report = group.shard.leading.membership(HOME).expect("it is a home");
    let members: Vec<_> = report
        .members
        .iter()
        .map(|member| (member.instance.as_str(), member.connected_since.is_some()))
        .collect();
    assert_eq!(members, [("pod-1", false), ("pod-2", true)]);
    assert_eq!(report.partitions, group.home().partitions().collect::<Vec<_>>());
    let stats = group.shard.leading.state().stream(HOME).expect("it is open").stats(LogTime(0));
    let membership = stats.membership.expect("it is a home");
    assert_eq!((membership.members, membership.owned, membership.passing_on), (2, 3, 0));
    assert_eq!(membership.shares.values().sum::<u64>(), 3);
    assert_eq!(group.shard.leading.membership(QUEUE), None);
}

#[test]
fn who_is_drained_gives_up_what_it_has_until_nobody_says_so_any_more() {
    let mut group = Group::new(&[4]);
    [1, 2].into_iter().for_each(|number| group.connect(number));
    group.settle_down();
    let drained = |group: &Group| group.consumers.values().map(|known| known.is_draining).collect::<Vec<_>>();
    // Those that are not there don't matter.
    group.drain(&[1, 7]);
    group.settle_down();
    assert_eq!((group.sizes(), drained(&group)), (vec![4], vec![true, false]));
    assert_eq!(group.home().members().len(), 2, "it stays a member");
    assert_eq!(group.home().counters().released, 4, "two when the second came, and two now");
    group.pass(DRAIN_MILLIS - 1);
    group.drain(&[1]);
    group.pass(DRAIN_MILLIS - 1);
    group.settle_down();
    assert_eq!(group.sizes(), [4], "it was said again");
    group.pass(1);
    group.settle_down();
    assert_eq!((group.sizes(), drained(&group)), (vec![2, 2], vec![false, false]));

    // All of them: nobody reads.
    group.drain(&[1, 2]);
    group.settle_down();
    assert!(group.home().partitions().all(|(_, ownership)| ownership.owner.is_none()));
    group.drain(&[2]);
    group.settle_down();
    assert_eq!(group.sizes(), [4]);
    // A new leader was told nothing.
    group.crash();
    [1, 2].into_iter().for_each(|number| group.connect(number));
    group.settle_down();
    assert_eq!((group.sizes(), drained(&group)), (vec![2, 2], vec![false, false]));
}

#[test]
fn what_a_member_says_of_itself_is_of_its_connection() {
    let mut group = Group::new(&[1]);
    group.pass(5);
    group.connect(1);
    let told = |group: &Group| {
        let report = group.shard.leading.membership(HOME).expect("it is a home");
        (report.members[0].connected_since, report.members[0].progress)
    };
    assert!(matches!(told(&group), (Some(LogTime(since)), None) if since > 0));
    let progress = MemberProgress { settled: 3, busy_millis: 20, in_flight: 1 };
    let consumer = group.consumers[&1].connection.expect("connected");
    for consumer in [consumer, ConsumerId(99)] {
        assert_eq!(group.shard.request(Request::Progress { stream: HOME, consumer, progress }), Reply::Done);
    }
    assert_eq!(told(&group).1, Some(progress));
    group.leave(1, true);
    assert_eq!(told(&group), (None, None));
}

#[test]
fn a_new_leader_waits_for_every_member_anew() {
    let mut group = Group::new(&[6]);
    [1, 2, 3].into_iter().for_each(|number| group.connect(number));
    group.settle_down();
    let before = group.shares();
    group.pass(SESSION_MILLIS * 3);
    group.crash();
    group.pass(SESSION_MILLIS - 1);
    [1, 2].into_iter().for_each(|number| group.connect(number));
    group.settle_down();
    assert_eq!(group.shares(), before);
    group.pass(1);
    group.settle_down();
    assert_eq!(group.sizes(), [3, 3], "the third did not come back");
    let left = group.shard.log.iter().filter_map(|entry| match &entry.body {
        Body::Membership(membership) => Some(&membership.changes),
        _ => None,
    });
    let left: Vec<_> = left.flatten().filter(|c| matches!(c, MembershipChange::Left { .. })).collect();
    assert_eq!(left, [&MembershipChange::Left { member: member(3), cause: LeaveCause::Lost }]);
}

#[test]
fn the_later_of_two_connections_speaks_for_a_member() {
    let mut group = Group::new(&[2]);
    group.connect(1);
    group.settle_down();
    let displaced = group.consumers[&1].connection.expect("connected");
    group.connect(1);
    assert!(group.waiting.iter().any(|(_, notice)| notice.done && notice.consumer == displaced));
    // It ends afterwards, and that is not the member's end.
    assert_eq!(
        group.shard.request(Request::Leave { stream: HOME, consumer: displaced, lost: false }),
        Reply::Done
    );
    group.settle_down();
    assert_eq!(group.sizes(), [2]);
}

#[test]
fn partitions_come_and_go_with_the_topics() {
    let mut group = Group::new(&[2, 4]);
    [1, 2].into_iter().for_each(|number| group.connect(number));
    group.settle_down();
    assert_eq!(group.sizes(), [3, 3]);
    let fewer = Request::Settings { stream: HOME, settings: settings(&[2]) };
    assert_eq!(group.shard.request(fewer), Reply::Done);
    group.consumers.values_mut().for_each(|known| known.reads.clear());
    group.settle_down();
    assert_eq!(group.sizes(), [1, 1]);
    let more = Request::Settings { stream: HOME, settings: settings(&[2, 2, 2]) };
    assert_eq!(group.shard.request(more), Reply::Done);
    group.settle_down();
    assert_eq!(group.sizes(), [3, 3]);
}

#[test]
fn a_deleted_group_dismisses_its_members() {
    let mut group = Group::new(&[2]);
    group.connect(1);
    group.settle_down();
    assert_eq!(group.shard.request(Request::Close { stream: HOME }), Reply::Done);
    group.run();
    group.commit();
    assert_eq!(group.consumers[&1].connection, None);
}

#[test]
fn what_is_no_member_or_no_group_is_refused() {
    let mut group = Group::new(&[1]);
    let consumer = ConsumerId(7);
    let joined = |instance: String| GroupMember { id: member(1), instance };
    let long = joined("x".repeat(INSTANCE_BYTES_MAX + 1));
    let partitions = vec![(partition(0), AssignmentEpoch(1))];
    for (request, expected) in [
        (Request::Join { stream: HOME, consumer, member: long }, Code::TooLarge),
        (
            Request::Join { stream: partition(0), consumer, member: joined(String::new()) },
            Code::InvalidArgument,
        ),
        (
            Request::Release { stream: partition(0), consumer, partitions: partitions.clone() },
            Code::InvalidArgument,
        ),
        (Request::Release { stream: HOME, consumer, partitions }, Code::NotFound),
        (Request::Join { stream: QUEUE, consumer, member: joined(String::new()) }, Code::NotFound),
    ] {
        match group.shard.request(request.clone()) {
            Reply::Refused(refusal) => assert_eq!(refusal.code(), expected, "{request:?}"),
            other => panic!("{request:?} was answered with {other:?}"),
        }
    }
    assert_eq!(group.shard.request(Request::Leave { stream: HOME, consumer, lost: true }), Reply::Done);
    match group.shard.publish(HOME, 1) {
        Reply::Refused(refusal) => assert_eq!(refusal.code(), Code::InvalidArgument),
        other => panic!("messages for a group: {other:?}"),
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Connect(u8),
    Lose(u8),
    Leave(u8),
    Act(u8),
    Work(u8),
    Commit,
    Crash,
    Pass(u64),
    /// The members whose bits are set.
    Drain(u8),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = 0_u8..6;
    let step = prop_oneof![
        4 => who.clone().prop_map(Step::Connect),
        2 => who.clone().prop_map(Step::Lose),
        2 => who.clone().prop_map(Step::Leave),
        6 => who.clone().prop_map(Step::Act),
        3 => who.prop_map(Step::Work),
        4 => Just(Step::Commit),
        1 => Just(Step::Crash),
        2 => (1_u64..SESSION_MILLIS * 2).prop_map(Step::Pass),
        2 => (0_u8..64).prop_map(Step::Drain),
    ];
    prop::collection::vec(step, 1..80)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_partition_has_one_reader_in_the_end_and_nobody_reads_twice(
        partitions in prop::collection::vec(1_u32..6, 1..3),
        steps in steps(),
    ) {
        let mut group = Group::new(&partitions);
        for step in steps {
            match step {
                Step::Connect(number) => group.connect(number),
                Step::Lose(number) => group.leave(number, true),
                Step::Leave(number) => group.leave(number, false),
                Step::Act(number) => group.act(number),
                Step::Work(number) => group.work(number),
                Step::Commit => group.commit(),
                Step::Crash => group.crash(),
                Step::Pass(millis) => group.pass(millis),
                Step::Drain(bits) => {
                    group.drain(&(0..6).filter(|number| bits >> number & 1 == 1).collect::<Vec<_>>());
                }
            }
        }
        // Who is not connected is given up, and the others do what they are told.
        group.settle_down();
        group.pass(SESSION_MILLIS.max(REBALANCE_MILLIS_MAX).max(DRAIN_MILLIS));
        group.settle_down();
        let shares = group.shares();
        let connected = group.connected();
        assert_eq!(group.home().members().len(), connected.len());
        let all: u32 = partitions.iter().sum();
        if !connected.is_empty() {
            assert_eq!(shares.values().map(BTreeSet::len).sum::<usize>(), all as usize);
        }
        // Whoever owns a partition commits in it.
        let numbers: Vec<u8> = group.consumers.keys().copied().collect();
        numbers.into_iter().for_each(|number| group.work(number));
        let connected = group.connected();
        let sizes: Vec<_> =
            connected.iter().map(|(id, _)| shares.get(id).map_or(0, BTreeSet::len)).collect();
        let spread = sizes.iter().max().copied().unwrap_or(0) - sizes.iter().min().copied().unwrap_or(0);
        assert!(spread <= 1, "{sizes:?}");
        for (id, known) in connected {
            let reads: BTreeSet<_> = known.reads.keys().copied().collect();
            assert_eq!(reads, shares.get(&id).cloned().unwrap_or_default());
            for (stream, (_, epoch)) in &known.reads {
                let cursor = group.shard.committed.stream(*stream).and_then(Stream::topic).expect("a topic");
                assert_eq!(cursor.group(&name("billing")).map(|group| group.epoch), Some(*epoch));
            }
        }
    }
}
