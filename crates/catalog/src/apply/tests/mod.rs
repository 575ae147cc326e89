//! Decision tables: a catalog, a command, and what comes of it in a few words.

mod changes;
mod cluster;
mod resources;
mod shards;

use pondage_model::{
    BrokerId, Incarnation, Name, Refusal, Uuid,
    settings::{DeletionPolicy, GroupSettings, GroupSource, QueueSettings, TopicSettings},
};

use crate::{Catalog, Command, Deleted, FEATURE_LEVELS, Outcome};

const CLUSTER: Uuid = Uuid([7; 16]);

fn uuid(byte: u8) -> Uuid {
    Uuid([byte; 16])
}

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

fn run(catalog: &mut Catalog, command: &Command) -> Result<Outcome, Refusal> {
    let before = catalog.clone();
    let result = catalog.apply(before.revision().next(), command);
    catalog.check().expect("a state that commands lead to");
    let settled = Catalog { revision: before.revision, ..catalog.clone() };
    match &result {
        Err(refusal) => {
            assert_eq!(refusal.outcome(), pondage_model::Outcome::Definite);
            assert_eq!(settled, before, "a refusal changed the state");
        }
        Ok(Outcome::Unchanged) => assert_eq!(settled, before, "unchanged, but changed"),
        Ok(_) => {}
    }
    assert_eq!(Catalog::decode(catalog.encode()).as_ref(), Ok(&*catalog));
    result
}

/// The outcome in a few words; `streams@shards` of what was opened.
fn word(result: Result<Outcome, Refusal>) -> String {
    let applied = |verb, applied: crate::Applied| {
        let streams: Vec<String> =
            applied.streams.iter().map(|opened| format!("{}@{}", opened.stream, opened.shard)).collect();
        format!("{verb} g{} [{}] +{}", applied.generation, streams.join(" "), applied.shards.len())
    };
    match result {
        Ok(Outcome::Initialised) => "initialised".to_owned(),
        Ok(Outcome::Unchanged) => "unchanged".to_owned(),
        Ok(Outcome::Registered { broker, shards }) => format!("broker {broker} +{}", shards.len()),
        Ok(Outcome::Done) => "done".to_owned(),
        Ok(Outcome::Shards(results)) => {
            let word = |it: &crate::ShardResult| match &it.result {
                Ok(now) => format!("{}:e{}v{}", it.shard, now.epoch, now.version),
                Err(why) => format!("{}: {why}", it.shard),
            };
            results.iter().map(word).collect::<Vec<_>>().join("; ")
        }
        Ok(Outcome::Led { shards }) => {
            let epochs: Vec<String> = shards.iter().map(|(id, epoch)| format!("{id}:{epoch}")).collect();
            format!("led {}", epochs.join(" "))
        }
        Ok(Outcome::Created(it)) => applied("created", it),
        Ok(Outcome::Updated(it)) => applied("updated", it),
        Ok(Outcome::Deleted(Deleted { streams, shards, .. })) => {
            format!("deleted -{} -{}", streams.len(), shards.len())
        }
        Ok(Outcome::Producers { first, count }) => format!("producers {first}+{count}"),
        Err(refusal) => format!("{}: {refusal}", refusal.code().as_str()),
    }
}

/// Runs commands one after the other; an expected text that ends in `…` is a beginning.
fn check(catalog: &mut Catalog, rows: Vec<(Command, &str)>) {
    for (index, (command, expected)) in rows.into_iter().enumerate() {
        let got = word(run(catalog, &command));
        let holds = match expected.strip_suffix('…') {
            Some(beginning) => got.starts_with(beginning),
            None => got == expected,
        };
        assert!(holds, "row {index}: {command:?}\n  expected: {expected}\n       got: {got}");
    }
}

fn register(volume: u8, incarnation: u64, nonce: u8) -> Command {
    Command::RegisterBroker {
        volume: uuid(volume),
        incarnation: Incarnation(incarnation),
        nonce: uuid(nonce),
        address: "127.0.0.1:7000".to_owned(),
        rack: None,
        feature_levels: FEATURE_LEVELS,
        replaces: None,
    }
}

fn lead(broker: u32, incarnation: u64) -> Command {
    Command::LeadAll { broker: BrokerId(broker), incarnation: Incarnation(incarnation) }
}

fn topic(text: &str, change: impl FnOnce(&mut TopicSettings)) -> Command {
    let mut settings = TopicSettings::default();
    change(&mut settings);
    Command::ApplyTopic { name: name(text), settings }
}

fn queue(text: &str, change: impl FnOnce(&mut QueueSettings)) -> Command {
    let mut settings = QueueSettings::default();
    change(&mut settings);
    Command::ApplyQueue { name: name(text), settings }
}

fn group(text: &str, source: GroupSource) -> Command {
    Command::ApplyGroup { name: name(text), settings: GroupSettings::of(source) }
}

fn topics(names: &[&str]) -> GroupSource {
    GroupSource::Topics(names.iter().map(|text| name(text)).collect())
}

fn delete_topic(text: &str, policy_override: Option<DeletionPolicy>, messages: u64) -> Command {
    Command::DeleteTopic { name: name(text), policy_override, messages, if_uid: None }
}

fn delete_queue(text: &str, policy_override: Option<DeletionPolicy>, messages: u64) -> Command {
    Command::DeleteQueue { name: name(text), policy_override, messages, if_uid: None }
}

fn delete_group(text: &str) -> Command {
    Command::DeleteGroup { name: name(text), if_uid: None }
}

/// A cluster of brokers 1 to `brokers`.
fn cluster(brokers: u8) -> Catalog {
    let mut catalog = Catalog::new();
    run(&mut catalog, &Command::Initialise { cluster: CLUSTER, nonce: uuid(1) }).expect("first");
    for broker in 1..=brokers {
        run(&mut catalog, &register(broker, 1, broker)).expect("registered");
    }
    catalog
}
