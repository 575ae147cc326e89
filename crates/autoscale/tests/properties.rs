//! What holds for every input, however strange.

use pondage_autoscale::{
    Decision, DelayTarget, Learned, MemberSeen, Observation, PartitionSeen, PodSeen, Reason, STALE_MILLIS,
    ScaleToZero, Settings, Source, Spec, State, decide,
};
use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

/// Ordinary numbers, and the ends of what a counter can say.
fn counter() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..2_000, 2 => 0_u64..10_000_000, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn partition(members: usize) -> impl Strategy<Value = PartitionSeen> {
    let owner = prop::option::of(0..members + 2);
    (counter(), counter(), counter(), counter(), owner).prop_map(
        |(backlog, appended, settled, oldest_age_millis, owner)| PartitionSeen {
            backlog,
            appended,
            settled,
            oldest_age_millis,
            owner,
        },
    )
}

fn member() -> impl Strategy<Value = MemberSeen> {
    ("pod-[0-9]", counter(), prop::option::of(counter()), counter(), counter(), counter()).prop_map(
        |(name, joined_millis, first_settled_millis, settled, busy_millis, in_flight)| MemberSeen {
            name,
            joined_millis,
            first_settled_millis,
            settled,
            busy_millis,
            in_flight,
        },
    )
}

fn pod() -> impl Strategy<Value = PodSeen> {
    ("pod-[0-9]", counter(), prop::option::of(counter()), any::<bool>(), prop::option::of(any::<u32>()))
        .prop_map(|(name, created_millis, ready_millis, terminating, ordinal)| PodSeen {
            name,
            created_millis,
            ready_millis,
            terminating,
            ordinal,
        })
}

/// A look; its time is how long it is after the one before.
fn look(most: u32) -> impl Strategy<Value = Observation> {
    let stale = prop_oneof![3 => Just(0_u64), 1 => 0_u64..120_000, 1 => any::<u64>()];
    let source = prop_oneof![Just(Source::Partitions), Just(Source::Queue)];
    let after = prop_oneof![8 => 0_u64..20_000, 1 => 0_u64..10_000_000];
    (0_usize..6, 0_usize..14, source, after, stale, 0..=most, any::<bool>()).prop_flat_map(
        |(members, partitions, source, after, stale_millis, replicas, rebalancing)| {
            (
                prop::collection::vec(partition(members), partitions),
                prop::collection::vec(member(), members),
                prop::collection::vec(pod(), 0..6),
            )
                .prop_map(move |(partitions, members, pods)| Observation {
                    now_millis: after,
                    source,
                    partitions,
                    members,
                    replicas,
                    pods,
                    rebalancing,
                    stale_millis,
                    conflicting: None,
                })
        },
    )
}

fn settings() -> impl Strategy<Value = Settings> {
    (0_u32..4, 4_u32..20, prop::option::of(1_u64..1_000), 1_000_u64..600_000, 1_u32..=100, any::<bool>())
        .prop_map(|(min, max, backlog, millis, utilization_percent, sleeps)| {
            let delay = DelayTarget { millis, utilization_percent };
            Spec {
                min_replicas: min,
                max_replicas: max,
                delay: backlog.is_none().then_some(delay),
                backlog_per_replica: backlog,
                scale_to_zero: (sleeps && min == 0).then_some(ScaleToZero { idle_millis: 10_000 }),
                ..Spec::default()
            }
            .check()
            .expect("these can be")
        })
}

fn learned() -> impl Strategy<Value = Learned> {
    let figure = || {
        prop_oneof![
            Just(None),
            (0.001_f64..1e6).prop_map(Some),
            any::<f64>().prop_map(Some),
            Just(Some(0.0)),
            Just(Some(f64::NAN))
        ]
    };
    (figure(), figure(), figure(), prop::option::of(any::<u64>())).prop_map(
        |(capacity_per_second, start_millis, pause_millis, held_until_millis)| Learned {
            capacity_per_second,
            start_millis,
            pause_millis,
            held_until_millis,
        },
    )
}

/// All decisions over a run of looks; `replicas` are kept within the bounds, and looks follow each other.
fn play(
    settings: &Settings,
    learned: Learned,
    looks: &[Observation],
) -> (Vec<(Observation, Decision)>, State) {
    let mut state = State::resume(learned);
    let mut now = 1_000_000_000;
    let mut all = Vec::new();
    for look in looks {
        now += look.now_millis;
        let spec = settings.spec();
        let replicas = look.replicas.clamp(spec.min_replicas, spec.max_replicas);
        let seen = Observation { now_millis: now, replicas, ..look.clone() };
        let (decision, next) = decide(settings, state, &seen);
        state = next;
        all.push((seen, decision));
    }
    (all, state)
}

/// A settled group: `members` who own everything in turn.
fn group(backlogs: &[u64], members: usize, source: Source) -> Observation {
    let member = |number: usize| MemberSeen { name: format!("pod-{number}"), ..MemberSeen::default() };
    let partition = |(number, backlog): (usize, &u64)| PartitionSeen {
        backlog: *backlog,
        appended: *backlog,
        oldest_age_millis: 1_000,
        owner: (source == Source::Partitions && members > 0).then(|| number % members),
        settled: 0,
    };
    Observation {
        now_millis: 1_000_000,
        source,
        partitions: backlogs.iter().enumerate().map(partition).collect(),
        members: (0..members).map(member).collect(),
        replicas: members as u32,
        ..Observation::default()
    }
}

proptest! {
    #[test]
    fn whatever_comes_the_answer_is_a_sane_one(
        settings in settings(), learned in learned(), looks in prop::collection::vec(look(25), 1..12),
    ) {
        let (all, state) = play(&settings, learned, &looks);
        let spec = settings.spec();
        for (seen, decision) in &all {
            let bounds = spec.min_replicas..=spec.max_replicas;
            prop_assert!(bounds.contains(&decision.replicas), "{} {}", decision.replicas, decision.reason);
            if seen.stale_millis > STALE_MILLIS {
                prop_assert!(decision.replicas >= seen.replicas, "{}", decision.reason);
                prop_assert!(decision.draining.is_empty());
            }
            if decision.replicas == 0 && seen.replicas > 0 {
                let fell_asleep = matches!(decision.reason, Reason::FellAsleep { .. });
                prop_assert!(fell_asleep && seen.backlog() == 0 && seen.in_flight() == 0);
            }
            let sentence = decision.reason.to_string();
            prop_assert!(!sentence.is_empty() && !sentence.contains("NaN") && !sentence.contains("inf"));
            let inputs = &decision.inputs;
            let figures = [
                inputs.demand_per_second, inputs.backlog, inputs.backlog_ahead, inputs.remaining_millis,
                inputs.start_millis, inputs.pause_millis, inputs.need, inputs.busiest, inputs.busy_share,
            ];
            prop_assert!(figures.iter().chain(&inputs.needs).all(|figure| figure.is_finite()), "{inputs:?}");
            prop_assert!(decision.again_millis > 0);
        }
        let figures = state.learned();
        for figure in [figures.capacity_per_second, figures.start_millis, figures.pause_millis] {
            prop_assert!(figure.is_none_or(|figure| figure.is_finite() && figure > 0.0));
        }
    }

    #[test]
    fn the_same_twice_is_the_same(
        settings in settings(), looks in prop::collection::vec(look(25), 1..8),
    ) {
        let (once, state) = play(&settings, Learned::default(), &looks);
        let (again, other) = play(&settings, Learned::default(), &looks);
        prop_assert_eq!(once, again);
        prop_assert_eq!(state, other);
    }

    /// What stands in the status comes back as it was, and so does what no reader knows yet.
    #[test]
    fn what_is_learned_survives_as_text(
        settings in settings(), looks in prop::collection::vec(look(25), 1..8),
    ) {
        let (_, state) = play(&settings, Learned::default(), &looks);
        let text = serde_json::to_string(&state.learned()).unwrap();
        prop_assert!(text.len() < 400, "{}", text);
        let learned: Learned = serde_json::from_str(&text).unwrap();
        let near = |one: Option<f64>, other: Option<f64>| match (one, other) {
            (Some(one), Some(other)) => (one - other).abs() <= 1e-12 * one.abs(),
            (one, other) => one == other,
        };
        prop_assert!(near(learned.capacity_per_second, state.learned().capacity_per_second));
        prop_assert!(near(learned.start_millis, state.learned().start_millis));
        prop_assert!(near(learned.pause_millis, state.learned().pause_millis));
        prop_assert_eq!(learned.held_until_millis, state.learned().held_until_millis);
    }

    /// More backlog never asks for fewer replicas: for a queue however it lies, for partitions where it lies evenly.
    #[test]
    fn more_backlog_is_never_fewer_replicas(
        backlogs in prop::collection::vec(0_u64..100_000, 1..20), more in 0_u64..100_000, members in 1_usize..8,
        capacity in 0.1_f64..1_000.0, place in any::<prop::sample::Index>(),
    ) {
        let spec = Spec {
            max_replicas: 20,
            delay: Some(DelayTarget { millis: 30_000, utilization_percent: 80 }),
            ..Spec::default()
        };
        let settings = spec.check().unwrap();
        let learned = Learned { capacity_per_second: Some(capacity), ..Learned::default() };
        let wanted = |backlogs: &[u64], source| {
            decide(&settings, State::resume(learned), &group(backlogs, members, source)).0.recommended
        };
        let mut grown = backlogs.clone();
        grown[place.index(backlogs.len())] += more;
        prop_assert!(wanted(&grown, Source::Queue) >= wanted(&backlogs, Source::Queue));
        let (even, more_even) = (vec![backlogs[0]; backlogs.len()], vec![backlogs[0] + more; backlogs.len()]);
        prop_assert!(wanted(&more_even, Source::Partitions) >= wanted(&even, Source::Partitions));
    }
}
