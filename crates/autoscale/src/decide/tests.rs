//! One rule at a time, on groups that are made by hand.

use super::*;
use crate::observation::{MemberSeen, PartitionSeen, PodSeen};
use crate::spec::{DelayTarget, Fallback, Policy, PolicyKind, Rules, ScaleToZero, Select, Spec};
use crate::state::Learned;

/// What a member settles per second in these tests.
const CAPACITY: f64 = 10.0;

/// A group, its controller, and a clock.
struct Group {
    settings: Settings,
    state: State,
    seen: Observation,
}

fn spec() -> Spec {
    Spec {
        max_replicas: 12,
        delay: Some(DelayTarget { millis: 60_000, utilization_percent: 80 }),
        ..Spec::default()
    }
}

fn learned() -> Learned {
    Learned {
        capacity_per_second: Some(CAPACITY),
        start_millis: Some(20_000.0),
        pause_millis: Some(2_000.0),
        held_until_millis: None,
    }
}

impl Group {
    fn new(spec: Spec, learned: Learned, members: usize, partitions: usize) -> Self {
        let mut seen = Observation { now_millis: 1_000_000, ..Observation::default() };
        seen.partitions = vec![PartitionSeen::default(); partitions];
        let mut group = Self { settings: spec.check().unwrap(), state: State::resume(learned), seen };
        group.resize(members);
        group
    }

    /// Gives it so many replicas, all of them ready members.
    fn resize(&mut self, members: usize) {
        let now = self.seen.now_millis;
        self.seen.replicas = members as u32;
        self.seen.members.truncate(members);
        for number in self.seen.members.len()..members {
            let name = format!("pod-{number}");
            self.seen.members.push(MemberSeen {
                name,
                joined_millis: now,
                first_settled_millis: Some(now),
                ..MemberSeen::default()
            });
        }
        let pod = |member: &MemberSeen| PodSeen {
            name: member.name.clone(),
            created_millis: member.joined_millis.saturating_sub(20_000),
            ready_millis: Some(member.joined_millis),
            terminating: false,
            ordinal: None,
        };
        self.seen.pods = self.seen.members.iter().map(pod).collect();
        for (number, partition) in self.seen.partitions.iter_mut().enumerate() {
            partition.owner = (members > 0).then(|| number % members);
        }
    }

    fn look(&mut self) -> Decision {
        let (decision, state) = decide(&self.settings, self.state.clone(), &self.seen);
        self.state = state;
        assert!(!decision.reason.to_string().contains("NaN"), "{}", decision.reason);
        decision
    }

    /// Looks every five seconds for so long, while `rate` messages per second arrive in all and are settled.
    fn run(&mut self, seconds: u64, rate: f64) -> Decision {
        let mut decision = self.look();
        for _ in 0..seconds / 5 {
            self.pass(rate, rate);
            decision = self.look();
        }
        decision
    }

    /// Lets five seconds pass in which so many messages per second come and are settled.
    fn pass(&mut self, came: f64, settled: f64) {
        let count = self.seen.partitions.len() as f64;
        self.seen.now_millis += 5_000;
        for partition in &mut self.seen.partitions {
            partition.appended += (came * 5.0 / count) as u64;
            partition.settled += (settled * 5.0 / count) as u64;
            partition.settled = partition.settled.min(partition.appended);
            partition.backlog = partition.appended - partition.settled;
        }
        let members = self.seen.members.len() as f64;
        let busy = (settled / (CAPACITY * members)).min(1.0);
        for member in &mut self.seen.members {
            member.settled += (settled * 5.0 / members) as u64;
            member.busy_millis += (busy * 5_000.0) as u64;
        }
    }

    fn backlog(&mut self, messages: u64, age_millis: u64) {
        let count = self.seen.partitions.len() as u64;
        for partition in &mut self.seen.partitions {
            partition.backlog = messages / count;
            partition.appended = partition.settled + partition.backlog;
            partition.oldest_age_millis = age_millis;
        }
    }
}

#[test]
fn what_is_enough_stays() {
    let mut group = Group::new(spec(), learned(), 4, 12);
    let decision = group.run(60, 30.0);
    assert_eq!((decision.replicas, decision.limited_by), (4, LimitedBy::None));
    assert!(matches!(decision.reason, Reason::Right { .. }), "{}", decision.reason);
    assert!((decision.inputs.demand_per_second - 30.0).abs() < 1.5);
}

#[test]
fn a_step_is_answered_at_the_first_look_after_it() {
    let mut group = Group::new(spec(), learned(), 2, 12);
    group.run(60, 12.0);
    group.pass(90.0, 20.0);
    let decision = group.look();
    assert!(decision.replicas >= 9, "{} {:?}", decision.reason, decision.inputs);
    assert!(matches!(decision.reason, Reason::ScaleUp { from: 2, .. }));
    // Those that start count: the same need asks for no more.
    let wanted = decision.replicas;
    group.seen.replicas = wanted;
    assert_eq!(group.look().replicas, wanted);
}

#[test]
fn behavior_bounds_the_way_up() {
    let one_per_minute = Policy { kind: PolicyKind::Pods, value: 1, period_millis: 60_000 };
    for (rules, expected) in [
        (Rules { policies: vec![one_per_minute], ..Rules::default() }, 3),
        (Rules { select: Select::Disabled, ..Rules::default() }, 2),
        (Rules { stabilization_millis: 60_000, ..Rules::default() }, 2),
    ] {
        let mut spec = spec();
        spec.behavior.scale_up = rules;
        let mut group = Group::new(spec, learned(), 2, 12);
        group.run(60, 12.0);
        group.pass(90.0, 20.0);
        let decision = group.look();
        assert_eq!((decision.replicas, decision.limited_by), (expected, LimitedBy::Policy));
    }
}

#[test]
fn limits_have_names() {
    let check = |max: u32, partitions: usize, hot: u64, expected: LimitedBy| {
        let mut group = Group::new(Spec { max_replicas: max, ..spec() }, learned(), 2, partitions);
        group.run(30, 12.0);
        if hot == 0 {
            group.backlog(50_000, 30_000);
        } else {
            group.seen.partitions[0].backlog = hot;
            group.seen.partitions[0].appended += hot;
            group.seen.partitions[0].oldest_age_millis = 20_000;
        }
        group.seen.now_millis += 5_000;
        let decision = group.look();
        assert_eq!(decision.limited_by, expected, "{max} {partitions} {hot} {:?}", decision.inputs.needs);
    };
    check(6, 12, 0, LimitedBy::MaxReplicas);
    check(24, 12, 0, LimitedBy::Partitions);
    check(12, 12, 5_000, LimitedBy::HotPartition);
}

#[test]
fn old_figures_hold_and_then_fall_back() {
    let fallback = |behavior| Some(Fallback { after_millis: 60_000, behavior });
    for (behavior, stale_millis, expected) in [
        (None, 3_600_000, 4),
        (fallback(FallbackBehavior::Static { replicas: 2 }), 59_000, 4),
        (fallback(FallbackBehavior::Static { replicas: 2 }), 60_000, 2),
        (fallback(FallbackBehavior::CurrentReplicas), 60_000, 4),
        (fallback(FallbackBehavior::CurrentReplicasIfHigher { replicas: 2 }), 60_000, 4),
        (fallback(FallbackBehavior::CurrentReplicasIfHigher { replicas: 7 }), 60_000, 7),
    ] {
        let mut group = Group::new(Spec { fallback: behavior, ..spec() }, learned(), 4, 12);
        group.run(300, 30.0);
        group.seen.stale_millis = stale_millis;
        group.seen.now_millis += stale_millis;
        group.backlog(0, 0);
        assert_eq!(group.look().replicas, expected, "{behavior:?} {stale_millis}");
    }
}

#[test]
fn another_autoscaler_is_left_alone() {
    let mut group = Group::new(spec(), learned(), 2, 12);
    group.seen.conflicting = Some("hpa/orders".to_owned());
    group.backlog(50_000, 50_000);
    let decision = group.look();
    assert_eq!(decision.replicas, 2);
    assert!(decision.reason.to_string().contains("hpa/orders"));
}

#[test]
fn zero_is_left_and_reached() {
    let sleepy = Spec { min_replicas: 0, scale_to_zero: Some(ScaleToZero { idle_millis: 60_000 }), ..spec() };
    // Somebody switched it off.
    let mut group = Group::new(spec(), learned(), 0, 12);
    group.backlog(1_000, 1_000);
    assert_eq!(group.look().reason, Reason::SwitchedOff);
    // Asleep; woken to what the capacity says, or to one.
    for (learned, expected) in [(learned(), 4..=12), (Learned::default(), 1..=1)] {
        let mut group = Group::new(sleepy.clone(), learned, 0, 12);
        assert_eq!(group.look().reason, Reason::Asleep);
        group.seen.now_millis += 5_000;
        group.backlog(48, 1_000);
        let decision = group.look();
        assert!(expected.contains(&decision.replicas), "{} {:?}", decision.reason, decision.inputs);
        assert!(matches!(decision.reason, Reason::Woke { .. }));
    }
    // Nothing for a minute.
    let mut group = Group::new(sleepy, learned(), 1, 12);
    group.run(30, 6.0);
    assert_eq!(group.run(55, 0.0).replicas, 1);
    assert!(matches!(group.run(10, 0.0).reason, Reason::FellAsleep { .. }));
    // Somebody still works.
    group.seen.members[0].in_flight = 1;
    assert_eq!(group.look().replicas, 1);
    // Not asked for.
    assert_eq!(Group::new(Spec { min_replicas: 0, ..spec() }, learned(), 1, 12).run(3_600, 0.0).replicas, 1);
}

#[test]
fn fewer_only_after_the_window_and_the_least_burdened_drain() {
    let mut group = Group::new(spec(), learned(), 6, 12);
    for (member, in_flight) in group.seen.members.iter_mut().zip([5, 1, 0, 4, 0, 3]) {
        member.in_flight = in_flight;
    }
    let decision = group.run(30, 18.0);
    assert_eq!(decision.replicas, 6);
    assert!(matches!(decision.reason, Reason::NotYetFewer { because: Because::Window, .. }));
    let decision = group.run(15, 18.0);
    assert!(
        matches!(decision.reason, Reason::Draining { members: 3, in_flight: 1, to: 3 }),
        "{}",
        decision.reason
    );
    assert_eq!((decision.replicas, decision.again_millis), (6, 1_000));
    assert_eq!(decision.draining, ["pod-2", "pod-4", "pod-1"]);
    group.seen.members[1].in_flight = 0;
    group.seen.now_millis += 1_000;
    let decision = group.look();
    assert_eq!((decision.replicas, decision.draining.len()), (3, 3));
    assert_eq!(decision.reason, Reason::ScaleIn { from: 6, to: 3 });
}

fn draining() -> Group {
    let mut group = Group::new(spec(), learned(), 6, 12);
    for member in &mut group.seen.members {
        member.in_flight = 2;
    }
    let decision = group.run(45, 18.0);
    assert_eq!(decision.draining.len(), 3, "{}", decision.reason);
    group
}

#[test]
fn a_drain_ends_in_time_or_is_called_off() {
    let mut group = draining();
    group.seen.now_millis += 24_000;
    assert_eq!(group.look().replicas, 6);
    group.seen.now_millis += 1_000;
    assert_eq!(group.look().replicas, 3);

    let mut group = draining();
    group.pass(90.0, 60.0);
    let decision = group.look();
    assert!(decision.draining.is_empty() && decision.replicas == 6, "{}", decision.reason);
    assert!(decision.reason.to_string().contains("none waits for too long yet"), "{}", decision.reason);

    let mut group = draining();
    group.seen.stale_millis = 20_000;
    group.seen.now_millis += 60_000;
    let decision = group.look();
    assert!(decision.draining.is_empty() && decision.replicas == 6, "{}", decision.reason);
}

#[test]
fn fewer_not_while_something_is_up() {
    let check = |disturb: fn(&mut Group), expected: Because| {
        let mut group = Group::new(spec(), learned(), 6, 12);
        group.run(30, 18.0);
        for _ in 0..20 {
            group.pass(18.0, 18.0);
            disturb(&mut group);
            let decision = group.look();
            let holds = matches!(decision.reason, Reason::NotYetFewer { because, .. } if because == expected);
            assert!(holds && decision.replicas == 6, "{expected:?} {}", decision.reason);
        }
    };
    check(|group| group.seen.partitions[3].oldest_age_millis = 15_001, Because::Delay);
    check(|group| group.seen.rebalancing = true, Because::Rebalancing);
    check(
        |group| {
            let now = group.seen.now_millis;
            group.seen.pods[5] =
                PodSeen { name: "new".to_owned(), created_millis: now - 1_000, ..PodSeen::default() };
        },
        Because::Starting,
    );
    // One that never starts is not waited for.
    let mut group = Group::new(spec(), learned(), 6, 12);
    group.seen.pods[5] = PodSeen { name: "crashes".to_owned(), created_millis: 0, ..PodSeen::default() };
    group.seen.members.pop();
    assert_eq!(group.run(60, 18.0).draining.len(), 2);
}

#[test]
fn a_stuck_partition_is_left_out_and_told() {
    let mut group = Group::new(spec(), learned(), 2, 4);
    group.run(60, 12.0);
    let before = group.seen.partitions[3];
    for _ in 0..24 {
        group.pass(12.0, 12.0);
        let partition = &mut group.seen.partitions[3];
        partition.settled = before.settled;
        partition.backlog = partition.appended - partition.settled;
        partition.oldest_age_millis += 5_000;
        group.look();
    }
    let decision = group.look();
    assert_eq!(decision.stuck, [3]);
    assert_eq!((decision.replicas, decision.inputs.oldest_age_millis), (2, 0), "{}", decision.reason);
    // It moves again.
    group.seen.partitions[3].settled += 1;
    group.pass(12.0, 12.0);
    assert!(group.look().stuck.is_empty());
}

#[test]
fn what_brings_nothing_is_not_tried_again_for_a_while() {
    let mut group = Group::new(spec(), learned(), 2, 12);
    group.run(60, 18.0);
    // What members call gives 15 per second, whoever asks.
    for member in &mut group.seen.members {
        member.in_flight = 5;
    }
    let slow = |group: &mut Group| {
        group.pass(24.0, 15.0);
        for member in &mut group.seen.members {
            member.busy_millis += 5_000 - (member.busy_millis % 5_000);
        }
        for partition in &mut group.seen.partitions {
            partition.oldest_age_millis = partition.backlog * 400;
        }
    };
    let (mut held, mut sizes) = (false, Vec::new());
    for _ in 0..60 {
        slow(&mut group);
        let decision = group.look();
        held |= decision.limited_by == LimitedBy::Downstream;
        sizes.push(decision.replicas);
        if held {
            assert_eq!(decision.replicas, group.seen.replicas, "{}", decision.reason);
        }
        group.resize(decision.replicas as usize);
    }
    assert!(held, "{sizes:?}");
}

#[test]
fn a_hold_ends() {
    let now = 1_000_000;
    for (until, held) in [(now + 1_000, true), (now, false), (now + guard::HOLD_MILLIS + 1, false)] {
        let mut group = Group::new(spec(), Learned { held_until_millis: Some(until), ..learned() }, 2, 12);
        group.backlog(50_000, 30_000);
        let decision = group.look();
        assert_eq!(decision.replicas == 2, held, "{}", decision.reason);
        assert_eq!(decision.limited_by == LimitedBy::Downstream, held);
    }
}

#[test]
fn backlog_per_replica_is_kedas_arithmetic() {
    let target = |messages| Spec { delay: None, backlog_per_replica: Some(messages), ..spec() };
    for (backlog, per_replica, expected) in
        [(0, 100, 1), (1, 100, 1), (120, 100, 2), (240, 120, 2), (600, 100, 6), (60_000, 100, 12)]
    {
        let mut group = Group::new(target(per_replica), Learned::default(), 1, 12);
        group.backlog(backlog, 1_000);
        let decision = group.look();
        assert_eq!(decision.replicas, expected, "{backlog} {per_replica} {}", decision.reason);
    }
    let mut group = Group::new(target(100), Learned::default(), 1, 3);
    group.backlog(600, 0);
    let decision = group.look();
    assert_eq!((decision.replicas, decision.limited_by), (3, LimitedBy::Partitions));
}

#[test]
fn bounds_are_kept() {
    let mut group = Group::new(Spec { min_replicas: 3, max_replicas: 5, ..spec() }, learned(), 1, 12);
    assert_eq!(group.look().reason, Reason::OutOfBounds { from: 1, to: 3 });
    group.resize(8);
    let decision = group.look();
    assert_eq!((decision.replicas, decision.draining.len()), (8, 3));
    group.seen.now_millis += 1_000;
    assert_eq!(group.look().replicas, 5);
}

#[test]
fn unknown_members_are_doubled_on_evidence_only() {
    let mut group = Group::new(spec(), Learned::default(), 1, 12);
    group.backlog(1_000, 20_000);
    assert_eq!(group.look().replicas, 1, "an idle member is no evidence");
    group.seen.members[0].in_flight = 1;
    assert_eq!(group.look().reason, Reason::Doubling { from: 1, to: 2 });
    group.resize(2);
    group.seen.members[1].in_flight = 1;
    group.seen.now_millis += 5_000;
    assert_eq!(group.look().replicas, 2, "the second one has to show what it is good for");
    group.seen.now_millis += 30_000;
    assert_eq!(group.look().replicas, 4);
    let mut group = Group::new(spec(), Learned::default(), 2, 12);
    group.seen.partitions[0].backlog = 3;
    group.seen.partitions[0].oldest_age_millis = 50_000;
    for member in &mut group.seen.members {
        member.in_flight = 1;
    }
    assert_eq!(group.look().replicas, 3, "no more replicas than messages");
}

#[test]
fn the_capacity_is_learned_and_kept() {
    let mut group = Group::new(spec(), Learned::default(), 2, 12);
    group.run(30, 12.0);
    let capacity = group.state.learned().capacity_per_second.unwrap();
    assert!((capacity - CAPACITY).abs() < 1.0, "{capacity}");
    // Idle members say nothing.
    group.run(300, 0.0);
    assert_eq!(group.state.learned().capacity_per_second, Some(capacity));
    // Counters that go back say nothing either.
    for partition in &mut group.seen.partitions {
        (partition.appended, partition.settled) = (0, 0);
    }
    for member in &mut group.seen.members {
        (member.settled, member.busy_millis) = (0, 0);
    }
    group.seen.now_millis += 5_000;
    let decision = group.look();
    assert!(decision.inputs.demand_per_second < 1.0, "{:?}", decision.inputs);
    assert_eq!(group.state.learned().capacity_per_second, Some(capacity));
}

/// One message takes a member three minutes: most looks see none settled, and none of them means that members do nothing.
#[test]
fn long_work_is_learned_too() {
    let mut group = Group::new(spec(), Learned::default(), 4, 12);
    for look in 0..400_u64 {
        group.seen.now_millis += 5_000;
        for (number, member) in group.seen.members.iter_mut().enumerate() {
            member.busy_millis += 5_000;
            member.settled += u64::from(look % 36 == number as u64 * 9);
        }
        group.look();
    }
    let capacity = group.state.learned().capacity_per_second.unwrap();
    assert!((1.0 / 270.0..1.0 / 120.0).contains(&capacity), "one in {} s", 1.0 / capacity);
}
