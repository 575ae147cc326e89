//! Everybody in the simulator, on traces so short and plain that what must come out is known.

use pondage_autoscale::simulate::{Moment, Outcome, Trace, World, run};
use pondage_autoscale_bench::contenders::{Contender, Task, contenders};
use pondage_autoscale_bench::race::{Conditions, Program, race};
use pondage_autoscale_bench::traces::{MEMBER_RATE, PARTITIONS};

/// A part of a trace: for so many seconds, so much of what all members can do.
type Part = (usize, f64);

fn trace(parts: &[Part]) -> Trace {
    let second = |share: f64| vec![(share * MEMBER_RATE) as f32; PARTITIONS];
    let arrivals: Vec<Vec<f32>> =
        parts.iter().flat_map(|(seconds, share)| std::iter::repeat_n(second(*share), *seconds)).collect();
    Trace { member_rate: vec![MEMBER_RATE as f32; arrivals.len()], arrivals, events: Vec::new() }
}

fn contender(name: &str) -> Contender {
    contenders().into_iter().find(|contender| contender.name == name).expect("a contender of that name")
}

fn outcome(contender: &Contender, trace: &Trace) -> Outcome {
    let conditions = Conditions::default();
    let task = Task { most_replicas: PARTITIONS as u32, target_seconds: conditions.target_seconds };
    let world = World { series: true, ..conditions.world(1) };
    run(trace, &world, (contender.make)(task).as_mut())
}

fn most(series: &[Moment]) -> u32 {
    series.iter().map(|moment| moment.replicas).max().unwrap_or_default()
}

#[test]
fn a_fixed_size_never_scales() {
    let outcome = outcome(&contender("fixed 24"), &trace(&[(600, 0.7), (600, 0.0), (600, 0.9)]));
    // From the two replicas that the world starts with.
    assert_eq!(outcome.scale_events, 1);
    assert!(outcome.series[5..].iter().all(|moment| moment.replicas == 24));
    assert!((11.5..=12.0).contains(&outcome.replica_hours), "{}", outcome.replica_hours);
    assert_eq!(outcome.violation_seconds, 0);
}

#[test]
fn keda_goes_to_the_maximum_under_lag_and_to_zero_after_the_cooldown() {
    let outcome = outcome(&contender("KEDA lag 10"), &trace(&[(600, 0.7), (900, 0.0)]));
    assert_eq!(most(&outcome.series), 24);
    let last_work = outcome.series.iter().rposition(|moment| moment.backlog > 0.5).unwrap();
    let asleep = outcome.series.iter().rposition(|moment| moment.replicas > 0).unwrap() - last_work;
    assert!((290..=345).contains(&asleep), "asleep {asleep} s after the last message");
    assert_eq!(outcome.series.last().unwrap().replicas, 0);
}

#[test]
fn keda_wakes_with_a_poll() {
    let outcome = outcome(&contender("KEDA lag 10"), &trace(&[(1_200, 0.0), (600, 0.5)]));
    let woken = outcome.series.iter().skip(1_200).position(|moment| moment.replicas > 0).unwrap();
    assert!(woken <= 31, "woken after {woken} s");
    assert_eq!(outcome.series[1_199].replicas, 0);
}

#[test]
fn even_distribution_takes_divisors_only() {
    let outcome = outcome(&contender("KEDA lag 250, evenly"), &trace(&[(900, 0.3), (900, 0.6), (900, 0.2)]));
    // What is held for less than a minute is a step on the way up: 4 pods, or twice as many.
    let mut held: Vec<(u32, usize)> = Vec::new();
    for moment in &outcome.series[1..] {
        match held.last_mut() {
            Some((replicas, seconds)) if *replicas == moment.replicas => *seconds += 1,
            _ => held.push((moment.replicas, 1)),
        }
    }
    let uneven: Vec<_> = held
        .iter()
        .filter(|(replicas, seconds)| *seconds >= 60 && *replicas > 0 && 24 % replicas != 0)
        .collect();
    assert!(uneven.is_empty(), "{held:?}");
}

#[test]
fn the_utilization_follows_the_load() {
    let outcome = outcome(&contender("HPA 80 % busy"), &trace(&[(1_200, 0.4), (1_200, 0.1)]));
    let (high, low) = (outcome.series[1_199].replicas, outcome.series[2_399].replicas);
    assert!((10..=24).contains(&high) && (1..=6).contains(&low), "{high}, then {low}");
}

#[test]
fn numaflow_goes_in_steps_of_two_every_ninety_seconds() {
    let outcome = outcome(&contender("Numaflow"), &trace(&[(1_200, 0.6)]));
    let mut last = outcome.series[0].replicas;
    let mut changed = 0;
    for (second, moment) in outcome.series.iter().enumerate() {
        if moment.replicas != last {
            assert!(moment.replicas.abs_diff(last) <= 2, "at {second}: {last} to {}", moment.replicas);
            assert!(second - changed >= 90 || changed == 0, "at {second}, after {changed}");
            (last, changed) = (moment.replicas, second);
        }
    }
    assert!(last > 6, "{last}");
}

#[test]
fn everybody_gets_through_and_twice_the_same() {
    let trace = trace(&[(300, 0.2), (120, 0.8), (300, 0.1), (400, 0.0), (120, 0.3)]);
    for contender in contenders() {
        let (first, second) = (outcome(&contender, &trace), outcome(&contender, &trace));
        assert_eq!(first, second, "{}", contender.name);
        assert!(most(&first.series) <= 24, "{}", contender.name);
        let hours = first.replica_hours;
        assert!((0.1..9.0).contains(&hours), "{}: {hours} replica-hours", contender.name);
    }
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let contenders = [contender("KEDA lag 100"), contender("fixed 12")];
    let traces = ["wake-ups".to_owned(), "skew".to_owned()];
    let results = |threads| {
        race(&Program {
            contenders: &contenders,
            seeds: &[1, 2],
            traces: &traces,
            recorded: Vec::new(),
            conditions: Conditions::default(),
            threads,
        })
    };
    let (one, two) = (results(1), results(2));
    assert_eq!(one.runs, two.runs);
    assert_eq!(one.runs.len(), 8);
}
