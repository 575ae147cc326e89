//! Random commands: what must hold after any of them.

use std::collections::BTreeSet;

use pondage_catalog::{
    Catalog, Command, Consensus, ConsensusInput, ConsensusOutput, FEATURE_LEVELS, LogEnd, OneVoter, Outcome,
    ProposalId, Replay, checkpoint_pages, consensus::revision_at,
};
use pondage_model::{
    Body, BrokerId, Entry, Incarnation, Name, Revision, Uuid,
    settings::{
        DeletionPolicy, GroupSettings, GroupSource, Placement, QueueSettings, Sharing, StartPosition,
        TopicSettings,
    },
    wire::Wire,
};
use proptest::prelude::*;

fn names() -> impl Strategy<Value = Name> + Clone {
    prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(|text| Name::new(text).expect("valid"))
}

fn uuids() -> impl Strategy<Value = Uuid> {
    (0..4u8).prop_map(|byte| Uuid([byte; 16]))
}

fn placements() -> impl Strategy<Value = Placement> {
    prop::sample::select(vec![Placement::Auto, Placement::Dedicated, Placement::Pooled])
}

fn policies() -> impl Strategy<Value = DeletionPolicy> + Clone {
    prop::sample::select(vec![DeletionPolicy::Retain, DeletionPolicy::DeleteIfEmpty, DeletionPolicy::Delete])
}

fn commands() -> impl Strategy<Value = Command> {
    let topic = (1..6u32, prop::option::of(0..4u32), prop::option::of(0..4u32), placements(), policies());
    let topic = topic.prop_map(|(partitions, replicas, min_in_sync_replicas, placement, deletion_policy)| {
        let replication =
            TopicSettings { replicas, min_in_sync_replicas, partitions, ..TopicSettings::default() };
        TopicSettings { placement, deletion_policy, ..replication }
    });
    let queue = (prop::option::of(names()), prop::option::of(0..4u32), placements(), policies());
    let queue = queue.prop_map(|(dead_letter, replicas, placement, deletion_policy)| {
        let defaults = QueueSettings::default();
        QueueSettings { dead_letter, replicas, placement, deletion_policy, ..defaults }
    });
    let source = prop_oneof![
        prop::collection::vec(names(), 0..3).prop_map(GroupSource::Topics),
        names().prop_map(GroupSource::Queue),
    ];
    let sharing = prop::option::of(prop::option::of(names()))
        .prop_map(|shared| shared.map(|dead_letter| Sharing { dead_letter, ..Sharing::default() }));
    let group = (source, sharing, 0..3u32, 999..3_000u64).prop_map(
        |(source, sharing, in_flight_per_consumer_max, session_timeout_millis)| GroupSettings {
            source,
            sharing,
            start_position: StartPosition::Latest,
            in_flight_per_consumer_max,
            session_timeout_millis,
        },
    );
    let delete = (names(), prop::option::of(policies()), 0..2u64);
    prop_oneof![
        1 => (uuids(), uuids()).prop_map(|(cluster, nonce)| Command::Initialise { cluster, nonce }),
        4 => (uuids(), 0..4u64, uuids()).prop_map(|(volume, incarnation, nonce)| Command::RegisterBroker {
            volume,
            incarnation: Incarnation(incarnation),
            nonce,
            address: "broker:1".to_owned(),
            rack: None,
            feature_levels: FEATURE_LEVELS,
            replaces: None,
        }),
        2 => (1..4u32, 1..4u64).prop_map(|(broker, incarnation)| Command::LeadAll {
            broker: BrokerId(broker),
            incarnation: Incarnation(incarnation),
        }),
        6 => (names(), topic).prop_map(|(name, settings)| Command::ApplyTopic { name, settings }),
        6 => (names(), queue).prop_map(|(name, settings)| Command::ApplyQueue { name, settings }),
        4 => (names(), group).prop_map(|(name, settings)| Command::ApplyGroup { name, settings }),
        2 => delete.clone().prop_map(|(name, policy_override, messages)| Command::DeleteTopic {
            name, policy_override, messages, if_uid: None,
        }),
        2 => delete.prop_map(|(name, policy_override, messages)| Command::DeleteQueue {
            name, policy_override, messages, if_uid: None,
        }),
        2 => names().prop_map(|name| Command::DeleteGroup { name, if_uid: None }),
        1 => (1..4u32).prop_map(|broker| Command::AllocateProducers { broker: BrokerId(broker) }),
    ]
}

/// Mostly commands to a cluster that exists.
fn histories() -> impl Strategy<Value = Vec<Command>> {
    let first = vec![
        Command::Initialise { cluster: Uuid([0; 16]), nonce: Uuid([0; 16]) },
        Command::RegisterBroker {
            volume: Uuid([0; 16]),
            incarnation: Incarnation(1),
            nonce: Uuid([0; 16]),
            address: "broker:0".to_owned(),
            rack: None,
            feature_levels: FEATURE_LEVELS,
            replaces: None,
        },
    ];
    (prop::bool::weighted(0.9), prop::collection::vec(commands(), 0..80)).prop_map(
        move |(initialised, commands)| {
            let first = if initialised { first.clone() } else { Vec::new() };
            first.into_iter().chain(commands).collect()
        },
    )
}

/// Ids that were ever handed out.
#[derive(Default)]
struct HandedOut {
    streams: BTreeSet<u64>,
    shards: BTreeSet<u32>,
    uids: BTreeSet<Uuid>,
    producers_end: u64,
}

impl HandedOut {
    fn take(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Registered { shards, .. } => {
                for (shard, _) in shards {
                    assert!(self.shards.insert(shard.0), "{shard:?} again");
                }
            }
            Outcome::Created(applied) | Outcome::Updated(applied) => {
                let is_new = self.uids.insert(applied.uid);
                assert_eq!(is_new, matches!(outcome, Outcome::Created(_)));
                for opened in &applied.streams {
                    assert!(self.streams.insert(opened.stream.0), "{:?} again", opened.stream);
                }
                for (shard, _) in &applied.shards {
                    assert!(self.shards.insert(shard.0), "{shard:?} again");
                }
            }
            Outcome::Producers { first, count } => {
                assert!(first.0 >= self.producers_end, "{first:?} again");
                self.producers_end = first.0 + count;
            }
            _ => {}
        }
    }
}

/// What must never go back, whatever is applied.
fn check_step(before: &Catalog, after: &Catalog) {
    if let Some(cluster) = before.cluster() {
        assert_eq!(after.cluster(), Some(cluster));
    }
    for broker in before.brokers() {
        let now = after.broker(broker.id).expect("brokers stay");
        assert_eq!(now.volume, broker.volume);
        match now.incarnation.0 - broker.incarnation.0 {
            0 => assert_eq!(now.nonce, broker.nonce, "one start, two nonces"),
            1 => {}
            more => panic!("{more} starts at once"),
        }
    }
    for shard in before.shards() {
        let Some(now) = after.shard(shard.id) else { continue };
        assert!(now.epoch >= shard.epoch && now.version >= shard.version);
        assert!(now == shard || now.version > shard.version, "a row changed and its version did not");
    }
    for resource in before.resources() {
        let Some(now) = after.resource(resource.kind(), resource.name()) else { continue };
        assert!(now.meta().generation >= resource.meta().generation);
    }
}

proptest! {
    #[test]
    fn any_history_keeps_the_rules_and_survives_its_encoding(history in histories()) {
        let (mut catalog, mut again) = (Catalog::new(), Catalog::new());
        let mut handed_out = HandedOut::default();
        for (revision, command) in (1..).map(Revision).zip(&history) {
            let before = catalog.clone();
            let result = catalog.apply(revision, command);
            let read_back = Command::from_bytes(command.to_bytes());
            prop_assert_eq!(read_back.as_ref(), Ok(command));
            prop_assert_eq!(&again.apply(revision, command), &result);
            check_step(&before, &catalog);
            match &result {
                Ok(outcome) => handed_out.take(outcome),
                Err(refusal) => prop_assert_eq!(refusal.outcome(), pondage_model::Outcome::Definite),
            }
            // The next command meets a state that went through its encoding.
            let decoded = Catalog::decode(catalog.encode());
            prop_assert_eq!(decoded.as_ref(), Ok(&catalog));
            again = decoded.expect("just compared");
        }
    }

    /// A lone broker that crashes at any point: what it answered is there after the restart, in the same order.
    #[test]
    fn a_log_written_by_one_voter_is_replayed_to_the_same_state(
        history in histories(),
        starts in prop::collection::vec((0..30usize, 0..4u8, prop::bool::ANY), 1..5),
    ) {
        let mut log: Vec<Entry> = Vec::new();
        let (mut answered, mut end) = (Catalog::new(), LogEnd::default());
        let mut commands = history.iter();
        for (polls, lost, dropping) in starts {
            let mut voter = OneVoter::start(BrokerId(1), &end);
            let mut durable = log.len();
            let mut droppable = None;
            for turn in 0..polls {
                if let Some(command) = commands.next() {
                    voter.propose(ProposalId(turn as u64), command.to_bytes());
                }
                if turn % 7 == 3 {
                    voter.handle(ConsensusInput::CheckpointWanted);
                }
                while let Some(output) = voter.poll() {
                    match output {
                        ConsensusOutput::Append(entries) => log.extend(entries),
                        ConsensusOutput::Committed { revision, command, .. } => {
                            let _ = answered.apply(revision, &Command::from_bytes(command).expect("ours"));
                        }
                        ConsensusOutput::TakeCheckpoint => {
                            let pages = checkpoint_pages(&answered);
                            voter.handle(ConsensusInput::CheckpointTaken { pages });
                        }
                        ConsensusOutput::Checkpointed { first } => droppable = Some(first),
                        other => prop_assert!(false, "unexpected {:?}", other),
                    }
                }
                if turn % 2 == 1 && let Some(last) = log.last() {
                    durable = log.len();
                    voter.handle(ConsensusInput::Synced { through: last.position });
                }
            }
            // What is committed and was not handed out is handed out by the replay.
            while let Some(output) = voter.poll() {
                if let ConsensusOutput::Committed { revision, command, .. } = output {
                    let _ = answered.apply(revision, &Command::from_bytes(command).expect("ours"));
                }
            }
            log.truncate(durable.max(log.len().saturating_sub(usize::from(lost))));
            if dropping && let Some(first) = droppable {
                log.retain(|entry| entry.position >= first);
            }
            let mut replay = Replay::new();
            for entry in &log {
                let raw = entry.encode();
                replay.entry(&raw.decode().expect("ours")).expect("undamaged");
            }
            let (replayed, replayed_end) = replay.finish().expect("complete");
            // Nothing that was answered is undone; what is new was durable and not answered yet.
            let mut expected = answered.clone();
            for entry in &log {
                if let Body::Command(command) = &entry.body
                    && revision_at(entry.position) > expected.revision()
                {
                    let command = Command::from_bytes(command.clone()).expect("ours");
                    let _ = expected.apply(revision_at(entry.position), &command);
                }
            }
            prop_assert_eq!(&replayed, &expected);
            // Unknown outcomes may have survived; they count from here on.
            (answered, end) = (replayed, replayed_end);
        }
    }
}
