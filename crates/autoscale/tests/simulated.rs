//! The controller and the simulator together: runs whose outcome must be what anybody would expect.

use pondage_autoscale::simulate::{Controlled, Event, EventKind, Outcome, Scaler, Trace, World, run};
use pondage_autoscale::{DelayTarget, Learned, LimitedBy, Observation, ScaleToZero, Source, Spec, trace};

const CAPACITY: f32 = 50.0;

fn spec() -> Spec {
    Spec {
        min_replicas: 0,
        max_replicas: 24,
        delay: Some(DelayTarget { millis: 30_000, utilization_percent: 80 }),
        scale_to_zero: Some(ScaleToZero { idle_millis: 120_000 }),
        ..Spec::default()
    }
}

fn controlled() -> Controlled {
    Controlled::new(spec().check().expect("it can be"), Learned::default())
}

/// So many seconds at so many messages per second each, dealt evenly to 24 partitions.
fn stairs(steps: &[(usize, f32)]) -> Trace {
    let seconds = |(seconds, rate): &(usize, f32)| vec![vec![rate / 24.0; 24]; *seconds];
    Trace {
        arrivals: steps.iter().flat_map(seconds).collect(),
        member_rate: vec![CAPACITY],
        events: Vec::new(),
    }
}

fn world() -> World {
    World { replicas: 2, series: true, ..World::default() }
}

fn with_event(mut trace: Trace, from_second: u32, until_second: u32, kind: EventKind) -> Trace {
    trace.events.push(Event { from_second, until_second, kind });
    trace
}

/// What KEDA does in essence: so many messages of lag per replica, every 15 seconds, down after five minutes.
struct Lag {
    per_replica: u64,
    wanted: Vec<u32>,
}

impl Scaler for Lag {
    fn period_millis(&self) -> u64 {
        15_000
    }

    fn tick(&mut self, seen: &Observation) -> Option<u32> {
        let wanted = seen.backlog().div_ceil(self.per_replica).clamp(1, 24) as u32;
        self.wanted.push(wanted);
        self.wanted.iter().rev().take(20).copied().max()
    }
}

struct Fixed(u32);

impl Scaler for Fixed {
    fn period_millis(&self) -> u64 {
        60_000
    }

    fn tick(&mut self, _: &Observation) -> Option<u32> {
        Some(self.0)
    }
}

#[test]
fn enough_members_settle_everything_and_too_few_do_not() {
    let trace = stairs(&[(1_800, 560.0)]);
    let enough = run(&trace, &World { replicas: 12, ..world() }, &mut Fixed(12));
    assert_eq!((enough.violation_seconds, enough.scale_events), (0, 0));
    assert!((enough.replica_hours - 6.0).abs() < 1e-9);
    assert!(enough.series.iter().all(|moment| moment.backlog < 1.0 && moment.ready == 12));
    // 13 to 23 members carry no more than 12: two partitions of 25 messages per second are one member's work.
    for members in [8, 13, 23] {
        let trace = stairs(&[(1_800, 1_000.0)]);
        let outcome = run(&trace, &World { replicas: members, ..world() }, &mut Fixed(members));
        assert!(outcome.violation_seconds > 1_500, "{members}: {}", outcome.violation_seconds);
    }
    // Six members lack 260 of 560: after t seconds the oldest is 260/560·t old, so 30 s are reached after 64.6 s.
    let few = run(&trace, &World { replicas: 6, ..world() }, &mut Fixed(6));
    assert!((1_733..=1_738).contains(&few.violation_seconds), "{}", few.violation_seconds);
    // In a queue every member helps.
    let queue = World { source: Source::Queue, replicas: 12, ..world() };
    assert_eq!(run(&trace, &queue, &mut Fixed(12)).violation_seconds, 0);
    let skewed = Trace { arrivals: vec![vec![90.0, 0.0]; 600], member_rate: vec![CAPACITY], events: vec![] };
    assert_eq!(run(&skewed, &World { replicas: 2, ..queue }, &mut Fixed(2)).violation_seconds, 0);
    assert!(run(&skewed, &World { replicas: 2, ..world() }, &mut Fixed(2)).violation_seconds > 500);
}

#[test]
fn who_is_killed_has_something_in_its_hands_and_who_drained_has_not() {
    let trace = stairs(&[(300, 500.0), (1_500, 60.0)]);
    let lag = run(&trace, &world(), &mut Lag { per_replica: 50, wanted: Vec::new() });
    assert!(lag.killed_in_flight > 0);
    let ours = run(&trace, &world(), &mut controlled());
    assert_eq!(ours.killed_in_flight, 0);
    assert!(ours.series.last().is_some_and(|last| last.replicas <= 3));
}

#[test]
fn a_step_is_answered_within_the_target_and_for_less() {
    let trace = stairs(&[(900, 60.0), (900, 800.0), (900, 60.0), (900, 500.0), (900, 60.0)]);
    let ours = run(&trace, &world(), &mut controlled());
    assert_eq!(ours.violation_seconds, 0);
    for per_replica in [10, 100, 1_000] {
        let lag = run(&trace, &world(), &mut Lag { per_replica, wanted: Vec::new() });
        assert!(ours.violation_seconds <= lag.violation_seconds);
        assert!(per_replica > 100 || ours.replica_hours < 0.9 * lag.replica_hours, "{per_replica}");
    }
}

#[test]
fn same_seed_same_outcome() {
    let trace = stairs(&[(300, 60.0), (300, 800.0), (300, 10.0)]);
    let outcome = |seed| -> Outcome { run(&trace, &World { seed, ..world() }, &mut controlled()) };
    assert_eq!(outcome(3), outcome(3));
    assert_ne!(outcome(3), outcome(4));
}

#[test]
fn it_sleeps_and_wakes_to_what_it_needs() {
    let trace = stairs(&[(600, 400.0), (900, 0.0), (600, 400.0)]);
    let outcome = run(&trace, &world(), &mut controlled());
    assert_eq!(outcome.series[1_400].replicas, 0);
    assert!(outcome.series[1_503].replicas >= 8, "{:?}", outcome.series[1_503]);
    let after = &outcome.series[1_500..];
    assert!(after.iter().all(|moment| moment.oldest_age_millis <= 30_000));
}

/// The controller starts anew every ten minutes and keeps nothing but what stands in the status.
struct Forgetful(Controlled, u64);

impl Scaler for Forgetful {
    fn period_millis(&self) -> u64 {
        self.0.period_millis()
    }

    fn tick(&mut self, seen: &Observation) -> Option<u32> {
        if seen.now_millis >= self.1 {
            self.0.restart();
            self.1 += 600_000;
        }
        self.0.tick(seen)
    }

    fn draining(&self) -> Vec<String> {
        self.0.draining()
    }

    fn wakes(&self) -> bool {
        self.0.wakes()
    }
}

#[test]
fn a_restart_of_the_controller_is_hardly_noticed() {
    let trace = stairs(&[(900, 60.0), (1_200, 700.0), (900, 200.0), (1_200, 0.0), (900, 500.0), (900, 60.0)]);
    let steady = run(&trace, &world(), &mut controlled());
    let forgetful = run(&trace, &world(), &mut Forgetful(controlled(), 600_000));
    assert_eq!(forgetful.killed_in_flight, 0);
    assert!(forgetful.violation_seconds <= steady.violation_seconds + 10, "{}", forgetful.violation_seconds);
    assert!(forgetful.replica_hours <= 1.10 * steady.replica_hours);
    assert!(forgetful.scale_events <= steady.scale_events + 6, "{}", forgetful.scale_events);
}

#[test]
fn a_poisoned_partition_is_no_reason_for_more() {
    let plain = stairs(&[(2_400, 200.0)]);
    let poisoned = with_event(plain.clone(), 600, 1_800, EventKind::Poison { partition: 5 });
    let mut controller = controlled();
    let without = run(&plain, &world(), &mut controlled());
    let outcome = run(&poisoned, &world(), &mut controller);
    let during = &outcome.series[700..1_800];
    let before = &without.series[700..1_800];
    let mean = |moments: &[pondage_autoscale::simulate::Moment]| {
        moments.iter().map(|moment| f64::from(moment.replicas)).sum::<f64>() / moments.len() as f64
    };
    assert!(mean(during) <= mean(before) + 0.5, "{} {}", mean(during), mean(before));
    assert!(during.iter().all(|moment| moment.oldest_age_millis <= 30_000));
}

#[test]
fn without_figures_nothing_goes() {
    let trace = with_event(stairs(&[(600, 500.0), (900, 0.0)]), 550, 1_400, EventKind::Outage);
    let outcome = run(&trace, &world(), &mut controlled());
    let replicas = outcome.series[560].replicas;
    assert!(replicas >= 10);
    assert!(outcome.series[560..1_400].iter().all(|moment| moment.replicas == replicas));
}

/// A controller that is asked what it thinks.
struct Watched(Controlled, Vec<LimitedBy>);

impl Scaler for Watched {
    fn period_millis(&self) -> u64 {
        self.0.period_millis()
    }

    fn tick(&mut self, seen: &Observation) -> Option<u32> {
        let wanted = self.0.tick(seen);
        self.1.push(self.0.last().map(|decision| decision.limited_by).unwrap_or_default());
        wanted
    }

    fn draining(&self) -> Vec<String> {
        self.0.draining()
    }
}

#[test]
fn a_slow_downstream_is_recognized() {
    let spec = Spec { max_replicas: 48, ..spec() };
    let trace =
        Trace { arrivals: vec![vec![400.0 / 48.0; 48]; 2_400], member_rate: vec![CAPACITY], events: vec![] };
    let trace = with_event(trace, 600, 2_400, EventKind::Downstream { rate: 300.0 });
    let mut watched = Watched(Controlled::new(spec.check().unwrap(), Learned::default()), Vec::new());
    let outcome = run(&trace, &world(), &mut watched);
    assert!(watched.1.iter().any(|limit| *limit != LimitedBy::None), "more were asked for");
    let slow: Vec<u32> = outcome.series[600..].iter().map(|moment| moment.replicas).collect();
    assert!(watched.1.contains(&LimitedBy::Downstream), "{:?}", slow.iter().step_by(60).collect::<Vec<_>>());
}

#[test]
fn all_partitions_rest_in_an_eager_world() {
    let trace = stairs(&[(600, 60.0), (600, 400.0)]);
    let lazy = run(&trace, &world(), &mut controlled());
    let eager = run(&trace, &World { eager: true, ..world() }, &mut controlled());
    let waited = |outcome: &Outcome| outcome.series.iter().map(|moment| moment.backlog).sum::<f64>();
    assert!(waited(&eager) > waited(&lazy));
}

#[test]
fn a_table_can_be_simulated() {
    let trace = trace::read("seconds,rate\n0,100\n600,700\n1200,100\n1800,100\n", 24, CAPACITY).unwrap();
    let outcome = run(&trace, &world(), &mut controlled());
    assert_eq!((outcome.series.len(), outcome.violation_seconds), (2_400, 0));
}
