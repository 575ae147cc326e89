//! The figures of the streams that are led here, kept from scrape to scrape: shards are asked for what changed since.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use pondage_model::{LogTime, Name, ShardId, StreamId, limits};
use pondage_node::{
    delivery::Mark,
    shard::{StatsSince, StreamKind, StreamReport},
};

use super::{
    figures::{self, QUEUE_CONSUMERS},
    gzip::{Deflater, Document},
    table::Table,
};

/// What the last scrape saw.
#[derive(Debug)]
pub(super) struct Streams {
    shards: BTreeMap<ShardId, Known>,
    queues: Table<StreamId>,
    partitions: Table<StreamId>,
    /// By partition and group, and by the stream of a shared group and its name.
    cursors: Table<(StreamId, Name)>,
    /// Shared groups beside partitions.
    shares: Table<StreamId>,
    /// Groups, by their homes.
    memberships: Table<StreamId>,
    /// By home and name.
    members: Table<(StreamId, String)>,
    /// The names of the members of each group, as the home's shard said.
    instances: HashMap<(ShardId, StreamId), BTreeSet<String>>,
    /// The groups that read a partition, as its shard said.
    groups: HashMap<(ShardId, StreamId), BTreeSet<Name>>,
    /// Queues that have consumers.
    consumed: BTreeSet<StreamId>,
}

/// What is known of a shard.
#[derive(Debug)]
struct Known {
    mark: Mark,
    /// Its log's time when it was asked.
    at: LogTime,
    streams: BTreeSet<StreamId>,
}

impl Default for Streams {
    fn default() -> Self {
        Self::new(limits::SCRAPED_ROWS_MAX)
    }
}

impl Streams {
    /// Nothing is known. Of each kind of thing, so many are shown.
    pub(super) fn new(shown_max: usize) -> Self {
        Self {
            shards: BTreeMap::new(),
            queues: Table::new(figures::QUEUE, shown_max),
            partitions: Table::new(figures::PARTITION, shown_max),
            cursors: Table::new(figures::CURSOR, shown_max),
            shares: Table::new(figures::SHARE, shown_max),
            memberships: Table::new(figures::MEMBERSHIP, shown_max),
            members: Table::new(figures::MEMBER, shown_max),
            instances: HashMap::new(),
            groups: HashMap::new(),
            consumed: BTreeSet::new(),
        }
    }

    /// Up to where a shard's figures are known.
    pub(super) fn mark(&self, shard: ShardId) -> Option<Mark> {
        self.shards.get(&shard).map(|known| known.mark)
    }

    /// The stream of a shard that has one. Homes of groups are in shards that many streams share; shared groups stand
    /// beside somebody.
    pub(super) fn only_stream(&self, shard: ShardId, answer: &StatsSince) -> Option<StreamId> {
        let is_share = |report: &StreamReport| matches!(report.kind, StreamKind::Share { .. });
        let shares = answer.reports.iter().filter(|report| is_share(report));
        let shares: BTreeSet<StreamId> = shares.map(|report| report.stream).collect();
        let known = self.shards.get(&shard).into_iter().flat_map(|known| &known.streams);
        let all = known.copied().chain(answer.reports.iter().map(|report| report.stream));
        let mut all = all.filter(|stream| !shares.contains(stream) && !self.shares.has(stream));
        let first = all.next()?;
        let is_home = |report: &StreamReport| report.kind == StreamKind::Home;
        if self.memberships.has(&first) || answer.reports.iter().any(is_home) {
            return None;
        }
        all.all(|stream| stream == first).then_some(first)
    }

    /// Takes over what the shards said, all that lead and answer. What others said before is gone.
    pub(super) fn learn(
        &mut self,
        answers: BTreeMap<ShardId, StatsSince>,
        consumers: &HashMap<StreamId, u32>,
    ) {
        let silent = self.shards.keys().filter(|shard| !answers.contains_key(shard));
        for shard in silent.copied().collect::<Vec<_>>() {
            let known = self.shards.remove(&shard);
            known.into_iter().flat_map(|known| known.streams).for_each(|stream| self.forget(shard, stream));
        }
        for (shard, answer) in answers {
            self.learn_of(shard, answer, consumers);
        }
        let before = std::mem::take(&mut self.consumed);
        for stream in before.iter().filter(|stream| !consumers.contains_key(stream)) {
            self.queues.set_column(stream, QUEUE_CONSUMERS, 0);
        }
        for (stream, count) in consumers {
            self.queues.set_column(stream, QUEUE_CONSUMERS, (*count).into());
            self.consumed.insert(*stream);
        }
    }

    fn learn_of(&mut self, shard: ShardId, answer: StatsSince, consumers: &HashMap<StreamId, u32>) {
        let StatsSince { mark, at, closed, reports } = answer;
        let mut streams = self.shards.remove(&shard).map(|known| known.streams).unwrap_or_default();
        let told: BTreeSet<StreamId> = reports.iter().map(|report| report.stream).collect();
        let gone: Vec<StreamId> = match closed {
            Some(closed) => closed.into_iter().filter(|stream| !told.contains(stream)).collect(),
            None => streams.difference(&told).copied().collect(),
        };
        for stream in gone {
            streams.remove(&stream);
            self.forget(shard, stream);
        }
        for report in &reports {
            self.report(shard, report, consumers.get(&report.stream).copied().unwrap_or(0), at);
        }
        streams.extend(told);
        self.shards.insert(shard, Known { mark, at, streams });
    }

    fn report(&mut self, shard: ShardId, report: &StreamReport, consumers: u32, now: LogTime) {
        match &report.kind {
            StreamKind::Queue => {
                let labels = format!("queue=\"{}\"", report.name);
                self.queues.set(report.stream, shard, &labels, figures::queue(report, consumers, now));
            }
            StreamKind::Partition => self.partition(shard, report, now),
            StreamKind::Home => self.membership(shard, report),
            StreamKind::Share { group } => self.share(shard, report, group, now),
        }
    }

    fn membership(&mut self, shard: ShardId, report: &StreamReport) {
        let StreamReport { stream, name, stats, .. } = report;
        let Some(membership) = &stats.membership else { return };
        let labels = format!("group=\"{name}\"");
        self.memberships.set(*stream, shard, &labels, figures::membership(membership));
        let instances: BTreeSet<String> = membership.shares.keys().cloned().collect();
        let before = self.instances.insert((shard, *stream), instances.clone());
        for instance in before.into_iter().flatten().filter(|instance| !instances.contains(instance)) {
            self.members.remove(&(*stream, instance), shard);
        }
        for (instance, share) in &membership.shares {
            let labels = format!("group=\"{name}\",member=\"{}\"", escaped(instance));
            self.members.set((*stream, instance.clone()), shard, &labels, figures::member(*share));
        }
    }

    fn share(&mut self, shard: ShardId, report: &StreamReport, group: &Name, now: LogTime) {
        let StreamReport { stream, name, partition, .. } = report;
        let labels = group_labels(group, *partition, name);
        let cursor = figures::share_cursor(report, now);
        self.groups.insert((shard, *stream), BTreeSet::from([group.clone()]));
        self.cursors.set((*stream, group.clone()), shard, &labels, cursor);
        self.shares.set(*stream, shard, &labels, figures::share(report));
    }

    fn partition(&mut self, shard: ShardId, report: &StreamReport, now: LogTime) {
        let StreamReport { stream, name, partition, stats, .. } = report;
        let labels = format!("partition=\"{partition}\",topic=\"{name}\"");
        self.partitions.set(*stream, shard, &labels, figures::partition(report, now));
        let groups: BTreeSet<Name> = stats.groups.iter().map(|group| group.group.clone()).collect();
        let before = if groups.is_empty() {
            self.groups.remove(&(shard, *stream))
        } else {
            self.groups.insert((shard, *stream), groups.clone())
        };
        for group in before.iter().flatten().filter(|group| !groups.contains(*group)) {
            self.cursors.remove(&(*stream, group.clone()), shard);
        }
        for group in &stats.groups {
            let labels = group_labels(&group.group, *partition, name);
            self.cursors.set((*stream, group.group.clone()), shard, &labels, figures::cursor(group, now));
        }
    }

    fn forget(&mut self, shard: ShardId, stream: StreamId) {
        self.queues.remove(&stream, shard);
        self.partitions.remove(&stream, shard);
        for group in self.groups.remove(&(shard, stream)).into_iter().flatten() {
            self.cursors.remove(&(stream, group), shard);
        }
        self.shares.remove(&stream, shard);
        self.memberships.remove(&stream, shard);
        for instance in self.instances.remove(&(shard, stream)).into_iter().flatten() {
            self.members.remove(&(stream, instance), shard);
        }
    }

    /// What there is more than is shown, by kind.
    pub(super) fn left_out(&self) -> [(&'static str, usize); 6] {
        [
            ("queue", self.queues.left_out()),
            ("partition", self.partitions.left_out()),
            ("cursor", self.cursors.left_out()),
            ("share", self.shares.left_out()),
            ("group", self.memberships.left_out()),
            ("member", self.members.left_out()),
        ]
    }

    /// Adds everything as text.
    pub(super) fn write(&self, out: &mut String) {
        let Self { shards, queues, partitions, cursors, shares, memberships, members, .. } = self;
        let now = |shard| time_of(shards, shard);
        queues.write(now, out);
        partitions.write(now, out);
        cursors.write(now, out);
        shares.write(now, out);
        memberships.write(now, out);
        members.write(now, out);
    }

    /// Adds everything, compressed.
    pub(super) fn deflate(&mut self, deflater: &mut Deflater, document: &mut Document) {
        let Self { shards, queues, partitions, cursors, shares, memberships, members, .. } = self;
        let now = |shard| time_of(shards, shard);
        queues.deflate(now, deflater, document);
        partitions.deflate(now, deflater, document);
        cursors.deflate(now, deflater, document);
        shares.deflate(now, deflater, document);
        memberships.deflate(now, deflater, document);
        members.deflate(now, deflater, document);
    }
}

fn group_labels(group: &Name, partition: u32, topic: &Name) -> String {
    format!("group=\"{group}\",partition=\"{partition}\",topic=\"{topic}\"")
}

/// A label's value in the text format of Prometheus: whatever clients call themselves.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn time_of(shards: &BTreeMap<ShardId, Known>, shard: ShardId) -> LogTime {
    shards.get(&shard).map_or(LogTime(i64::MIN), |known| known.at)
}

#[cfg(test)]
#[path = "streams_tests.rs"]
mod tests;
