//! Holds what clients saw against the file and against each other. Pure: evidence in, violations out.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
};

use bytes::Bytes;
use pondage_model::{Lease, Offset};

use super::{
    DEAD_LETTERS, PRODUCERS, QUEUES,
    dataset::Row,
    ledger::{Grant, Place, Records},
    read::Seen,
};

/// Violations of one rule that are kept in words; the rest is only counted.
const EXAMPLES: usize = 5;

/// What is to be judged.
#[derive(Clone, Debug)]
pub(crate) struct Evidence<'a> {
    pub(crate) rows: &'a [Row],
    /// By row, where the topic's publisher was told it lies.
    pub(crate) topic_acks: Vec<Option<Place>>,
    /// By row, where its queue's publisher was told it lies.
    pub(crate) queue_acks: Vec<Option<Place>>,
    /// The whole topic, read at the end.
    pub(crate) topic: &'a Seen,
    /// What the reader saw that followed the topic through all kills.
    pub(crate) followed: &'a Seen,
    /// What the workers saw and did.
    pub(crate) records: &'a Records,
    /// By queue, as in [`QUEUES`], the messages that it still holds.
    pub(crate) backlogs: [u64; QUEUES.len()],
    /// Messages that ever went to the dead-letter queue.
    pub(crate) dead_letters: u64,
}

/// Broken rules with examples.
#[derive(Debug, Default)]
pub(crate) struct Violations(BTreeMap<&'static str, (u64, Vec<String>)>);

impl Violations {
    fn add(&mut self, rule: &'static str, example: impl FnOnce() -> String) {
        let (count, examples) = self.0.entry(rule).or_default();
        *count += 1;
        if examples.len() < EXAMPLES {
            examples.push(example());
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The rules that are broken.
    #[cfg(test)]
    pub(crate) fn rules(&self) -> Vec<&'static str> {
        self.0.keys().copied().collect()
    }
}

impl fmt::Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (rule, (count, examples)) in &self.0 {
            writeln!(f, "VIOLATED {count} times: {rule}")?;
            for example in examples {
                writeln!(f, "    {example}")?;
            }
        }
        Ok(())
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Findings {
    pub(crate) violations: Violations,
    /// Of the file, and of the topic; equal if every key and producer has the same rows in the same order.
    pub(crate) checksums: (u64, u64),
    /// Deliveries of earlier leases that arrived when their message's accept had returned: allowed, their tokens dead.
    pub(crate) late_deliveries: u64,
}

/// Judges a run.
pub(crate) fn judge(evidence: &Evidence<'_>) -> Findings {
    let mut violations = Violations::default();
    judge_topic(evidence, &mut violations);
    let late_deliveries = judge_queues(evidence, &mut violations);
    let in_topic = evidence.topic.partitions.iter().flatten().map(|(_, row)| *row);
    let checksums = (checksum(evidence.rows, 0..evidence.rows.len()), checksum(evidence.rows, in_topic));
    if checksums.0 != checksums.1 {
        violations.add("the checksum over the topic is that of the file", || {
            format!("file {:016x}, topic {:016x}", checksums.0, checksums.1)
        });
    }
    Findings { violations, checksums, late_deliveries }
}

/// A checksum over rows that changes with the order inside a (key, producer) pair, and only with that order.
fn checksum(rows: &[Row], order: impl Iterator<Item = usize>) -> u64 {
    let mut chains: HashMap<(&Bytes, usize), u64> = HashMap::new();
    for index in order {
        let row = &rows[index];
        let chain = chains.entry((&row.carrier, index % PRODUCERS)).or_default();
        *chain = hash(&(*chain, &row.carrier, &row.line));
    }
    chains.iter().map(|(pair, chain)| hash(&(pair, chain))).fold(0, u64::wrapping_add)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn judge_topic(evidence: &Evidence<'_>, violations: &mut Violations) {
    let rows = evidence.rows;
    let mut places: Vec<Vec<(u32, Offset)>> = vec![Vec::new(); rows.len()];
    let mut partition_of_key: HashMap<&Bytes, u32> = HashMap::new();
    let mut last_of: HashMap<(&Bytes, usize), usize> = HashMap::new();
    for (partition, messages) in (0..).zip(&evidence.topic.partitions) {
        let mut last_offset = None;
        for (offset, row) in messages {
            let at = || format!("row {row} at offset {offset} of partition {partition}");
            if last_offset.is_some_and(|last| last >= *offset) {
                violations.add("offsets of a partition only grow", at);
            }
            last_offset = Some(*offset);
            places[*row].push((partition, *offset));
            let key = &rows[*row].carrier;
            if *partition_of_key.entry(key).or_insert(partition) != partition {
                violations.add("all messages of a key are in one partition", at);
            }
            if let Some(last) = last_of.insert((key, row % PRODUCERS), *row)
                && last >= *row
            {
                violations.add("messages of one key and producer keep their order in the topic", || {
                    format!("{} behind row {last}", at())
                });
            }
        }
    }
    for (row, places) in places.iter().enumerate() {
        if places.len() > 1 {
            violations.add("no row is in the topic twice", || format!("row {row}: {places:?}"));
        }
        match evidence.topic_acks[row] {
            None => violations.add("every row is acknowledged", || format!("row {row} by the topic")),
            Some(place) if places.is_empty() => {
                violations.add("every acknowledged row is in the topic", || format!("row {row}: {place:?}"));
            }
            Some(place) if !places.contains(&place) => {
                violations.add("every row is where its acknowledgement says", || {
                    format!("row {row} in the topic: {place:?} was acknowledged, {places:?} found")
                });
            }
            Some(_) => {}
        }
    }
    if evidence.followed != evidence.topic {
        let (followed, topic) = (evidence.followed.count(), evidence.topic.count());
        violations.add("whoever follows the topic sees what a later reader sees", || {
            format!("{followed} messages followed, {topic} read at the end")
        });
    }
}

/// Answers how many deliveries came late.
fn judge_queues(evidence: &Evidence<'_>, violations: &mut Violations) -> u64 {
    let rows = evidence.rows;
    let mut grants: Vec<Vec<&Grant>> = vec![Vec::new(); rows.len()];
    for grant in &evidence.records.grants {
        grants[grant.row].push(grant);
    }
    let mut accepts: Vec<Vec<(Lease, u64)>> = vec![Vec::new(); rows.len()];
    for accepted in &evidence.records.accepted {
        accepts[accepted.row].push((accepted.lease, accepted.at));
    }
    let mut is_unknown = vec![false; rows.len()];
    for row in &evidence.records.unknown {
        is_unknown[*row] = true;
    }
    let mut late = 0;
    for (row, grants) in grants.iter().enumerate() {
        let name = QUEUES[rows[row].queue].1;
        match evidence.queue_acks[row] {
            None => violations.add("every row is acknowledged", || format!("row {row} by {name}")),
            Some((_, offset)) if grants.is_empty() => {
                violations.add("every acknowledged row is delivered", || {
                    format!("row {row}, offset {offset} of {name}")
                });
            }
            Some(_) if accepts[row].is_empty() && !is_unknown[row] => {
                violations.add("every delivered row is accepted in the end", || {
                    format!("row {row} of {name}: {grants:?}")
                });
            }
            Some((_, acked)) => {
                if let Some(other) = grants.iter().find(|grant| grant.offset != acked) {
                    violations.add("no row is in its queue twice", || {
                        let found = other.offset;
                        format!("row {row} of {name}: offset {acked} was acknowledged, {found} delivered")
                    });
                    // Leases are those of one message: nothing is to be said about those of two.
                    continue;
                }
            }
        }
        if let Some(other) = grants.iter().find(|grant| grant.queue != rows[row].queue) {
            violations.add("a row is delivered by its own queue only", || {
                format!("row {row} of {name} came from {}", QUEUES[other.queue].1)
            });
        }
        let mut leases: Vec<Lease> = grants.iter().map(|grant| grant.lease).collect();
        leases.sort_unstable();
        if leases.windows(2).any(|pair| pair[0] == pair[1]) {
            violations.add("no lease is granted twice", || format!("row {row} of {name}: {leases:?}"));
        }
        late += judge_accepts(row, name, grants, &accepts[row], violations);
    }
    for ((_, name), backlog) in QUEUES.iter().zip(evidence.backlogs) {
        if backlog > 0 {
            violations.add("the queues are empty at the end", || format!("{name} holds {backlog}"));
        }
    }
    if evidence.dead_letters > 0 {
        violations.add("no message becomes a dead letter", || {
            format!("{DEAD_LETTERS} took {}", evidence.dead_letters)
        });
    }
    late
}

/// Tokens of a message are ordered: an accept that returned OK held the greatest one that there will ever be. So a
/// greater one, whenever it arrived, was granted after the accept, or the accept should have failed.
fn judge_accepts(
    row: usize,
    name: &str,
    grants: &[&Grant],
    accepts: &[(Lease, u64)],
    violations: &mut Violations,
) -> u64 {
    let Some((lease, at)) = accepts.first().copied() else { return 0 };
    if accepts.iter().any(|(other, _)| *other != lease) {
        violations
            .add("a message is accepted under one lease", || format!("row {row} of {name}: {accepts:?}"));
    }
    if let Some(later) = grants.iter().find(|grant| grant.lease > lease) {
        violations.add("no grant is made after the accept returned", || {
            format!("row {row} of {name}: accepted under {lease:?}, granted {later:?}")
        });
    }
    grants.iter().filter(|grant| grant.lease < lease && grant.at > at).count() as u64
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
