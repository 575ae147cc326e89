//! The state as bytes, for checkpoints. `docs/decisions/0001-one-voter-catalog.md` says when they are written.
//!
//! ```text
//! version (1 byte, 4) · revision · cluster? · brokers · shards · topics · queues · groups
//! next broker, shard, stream, producer · changes · revision of the latest dropped change
//! ```
//!
//! Everything in the compact encoding of `model::wire`; rows carry their own keys and lie in their order, so equal
//! states are equal bytes. A change of a row's fields is a change of the version.

use std::collections::BTreeMap;

use bytes::Bytes;
use pondage_model::{
    Revision, ShardId, StreamId, limits,
    settings::GroupSource,
    wire::{Malformed, Wire},
};

use crate::{
    index::{Index, sources},
    invariants,
    rows::{Broker, Group, Queue, Shard, Topic},
    state::Catalog,
};

/// The first byte. Another layout gets another number. (1 was without the homes of groups, 2
/// without their session timeouts, 3 without shared groups.)
const VERSION: u8 = 4;

impl Catalog {
    /// The whole state as bytes: equal states give equal bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = vec![VERSION];
        self.revision.put(&mut out);
        self.cluster.put(&mut out);
        put_rows(&self.brokers, &mut out);
        put_rows(&self.shards, &mut out);
        put_rows(&self.topics, &mut out);
        put_rows(&self.queues, &mut out);
        put_rows(&self.groups, &mut out);
        self.next_broker.put(&mut out);
        self.next_shard.put(&mut out);
        self.next_stream.put(&mut out);
        self.next_producer.put(&mut out);
        self.changes.put(&mut out);
        self.changes_dropped.put(&mut out);
        out.into()
    }

    /// Reads a state back and checks that it is one that commands can lead to.
    ///
    /// # Errors
    /// [`Malformed`] for bytes that no [`Catalog::encode`] of a known version wrote.
    pub fn decode(mut input: Bytes) -> Result<Self, Malformed> {
        if u8::take(&mut input)? != VERSION {
            return Err(Malformed("unknown version of the catalog"));
        }
        let mut catalog = Self {
            revision: Wire::take(&mut input)?,
            cluster: Wire::take(&mut input)?,
            brokers: take_rows(&mut input, |row: &Broker| row.id)?,
            shards: take_rows(&mut input, |row: &Shard| row.id)?,
            topics: take_rows(&mut input, |row: &Topic| row.name.clone())?,
            queues: take_rows(&mut input, |row: &Queue| row.name.clone())?,
            groups: take_rows(&mut input, |row: &Group| row.name.clone())?,
            next_broker: Wire::take(&mut input)?,
            next_shard: Wire::take(&mut input)?,
            next_stream: Wire::take(&mut input)?,
            next_producer: Wire::take(&mut input)?,
            changes: Wire::take(&mut input)?,
            changes_dropped: Wire::take(&mut input)?,
            index: Index::default(),
        };
        if !input.is_empty() {
            return Err(Malformed("bytes left over"));
        }
        catalog.build_index()?;
        catalog.check()?;
        Ok(catalog)
    }

    fn build_index(&mut self) -> Result<(), Malformed> {
        let mut fresh = true;
        for shard in self.shards.values() {
            self.index.shard_changed(shard.id, None, Some(shard.changed));
        }
        for topic in self.topics.values() {
            fresh &= self.index.open_topic(topic, 0);
        }
        for queue in self.queues.values() {
            fresh &= self.index.open_queue(queue);
        }
        for group in self.groups.values() {
            fresh &= self.index.open_group(group);
        }
        require(fresh, "two streams with one id")
    }

    /// What holds in every state that commands lead to.
    pub(crate) fn check(&self) -> Result<(), Malformed> {
        if self.cluster.is_none() {
            require(self.brokers.is_empty() && self.shards.is_empty(), "brokers before a cluster")?;
        }
        invariants::check(self).map_err(|broken| Malformed(broken.what))?;
        self.check_resources()?;
        self.check_changes()
    }

    fn check_resources(&self) -> Result<(), Malformed> {
        let streams_max = limits::STREAMS_MAX + self.groups.len();
        require(self.index.stream_count() <= streams_max, "too many streams")?;
        require(self.groups.len() <= limits::GROUPS_MAX, "too many groups")?;
        for resource in self.resources() {
            let meta = resource.meta();
            require(
                meta.created <= meta.changed && meta.changed <= self.revision && meta.generation > 0,
                "a resource of a later revision",
            )?;
        }
        for topic in self.topics.values() {
            require(!self.queues.contains_key(&topic.name), "a topic with a queue's name")?;
            require(topic.partitions.len() == topic.settings.partitions as usize, "a partition too few")?;
            require(!topic.partitions.is_empty(), "a topic without partitions")?;
            for place in &topic.partitions {
                self.check_place(place.stream, place.shard)?;
            }
        }
        for queue in self.queues.values() {
            self.check_place(queue.place.stream, queue.place.shard)?;
            let target = queue.settings.dead_letter.as_ref();
            require(
                target.is_none_or(|target| *target != queue.name && self.queues.contains_key(target)),
                "a dead-letter queue that is none",
            )?;
        }
        for group in self.groups.values() {
            self.check_place(group.home.stream, group.home.shard)?;
            let source = &group.settings.source;
            let exists = |name| match source {
                GroupSource::Topics(_) => self.topics.contains_key(name),
                GroupSource::Queue(_) => self.queues.contains_key(name),
            };
            require(sources(source).iter().all(exists), "a group that reads nothing")?;
            self.check_shares(group)?;
        }
        Ok(())
    }

    /// A shared group has a stream beside each partition that it reads, in the partition's shard.
    fn check_shares(&self, group: &Group) -> Result<(), Malformed> {
        let Some(sharing) = &group.settings.sharing else {
            return require(group.shares.is_empty(), "shares of a group that is not shared");
        };
        let target = sharing.dead_letter.as_ref();
        require(
            target.is_none_or(|target| self.queues.contains_key(target)),
            "a dead-letter queue that is none",
        )?;
        let GroupSource::Topics(topics) = &group.settings.source else {
            return Err(Malformed("a shared group on a queue"));
        };
        require(group.shares.len() == topics.len(), "a shared group without a stream in a topic")?;
        for (topic, shares) in topics.iter().zip(&group.shares) {
            let partitions = self.topics.get(topic).map_or(&[][..], |topic| &topic.partitions);
            require(shares.len() == partitions.len(), "a shared group without a stream in a partition")?;
            for (share, partition) in shares.iter().zip(partitions) {
                self.check_place(share.stream, share.shard)?;
                require(share.shard == partition.shard, "a shared group away from its partition")?;
                require(share.stream > partition.stream, "a shared group before its partition")?;
            }
        }
        Ok(())
    }

    fn check_place(&self, stream: StreamId, shard: ShardId) -> Result<(), Malformed> {
        require(stream < self.next_stream && stream != StreamId::ZERO, "a stream's id beyond the next one")?;
        require(self.shards.contains_key(&shard), "a stream without a shard")
    }

    fn check_changes(&self) -> Result<(), Malformed> {
        require(self.changes.len() <= limits::CATALOG_CHANGES_MAX, "too many changes")?;
        let mut last: Revision = self.changes_dropped;
        for change in &self.changes {
            require(last < change.revision, "changes out of order")?;
            last = change.revision;
        }
        require(last <= self.revision, "a change of a later revision")
    }
}

fn require(holds: bool, what: &'static str) -> Result<(), Malformed> {
    if holds { Ok(()) } else { Err(Malformed(what)) }
}

/// Rows without their keys, which they carry themselves.
fn put_rows<K, V: Wire>(rows: &BTreeMap<K, V>, out: &mut Vec<u8>) {
    (rows.len() as u64).put(out);
    for row in rows.values() {
        row.put(out);
    }
}

fn take_rows<K: Ord, V: Wire>(input: &mut Bytes, key: impl Fn(&V) -> K) -> Result<BTreeMap<K, V>, Malformed> {
    let count = u64::take(input)?;
    let mut rows = BTreeMap::new();
    for _ in 0..count {
        let row = V::take(input)?;
        let id = key(&row);
        require(rows.last_key_value().is_none_or(|(last, _)| *last < id), "rows out of order")?;
        rows.insert(id, row);
    }
    Ok(rows)
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
