//! Topics and queues: what has streams.

use pondage_model::{
    Name, Refusal, ShardId, limits,
    settings::{Placement, QueueSettings, StreamSettings, TopicSettings},
};

use super::{shards::Cause, validate};
use crate::{
    command::{Applied, Opened, Outcome},
    placement::{Decision, Loads, Replication, Wish, default_replicas},
    rows::{Action, Kind, Meta, Queue, ShardKind, StreamPlace, Topic},
    state::Catalog,
};

impl Catalog {
    pub(super) fn apply_topic(&mut self, name: &Name, settings: &TopicSettings) -> Result<Outcome, Refusal> {
        self.refuse_taken(name, Kind::Queue)?;
        let existing = self.topics.get(name);
        if existing.is_some_and(|topic| topic.settings == *settings) {
            return Ok(Outcome::Unchanged);
        }
        validate::topic(settings)?;
        let wish =
            Wish::of(&StreamSettings::Topic(settings.clone()), self.brokers.len(), default_replicas(self))?;
        let have = existing.map_or(0, |topic| topic.settings.partitions);
        if settings.partitions < have {
            return Err(Refusal::InvalidArgument {
                what: format!("partitions: only grows; the topic has {have}, not {}", settings.partitions),
            });
        }
        if let Some(topic) = existing {
            self.check_update(topic.settings.placement, &topic.partitions, &wish)?;
        }
        let more = settings.partitions - have;
        // Whoever shares the topic gets a stream beside each new partition.
        self.check_room(more as usize * (1 + self.shared_readers(name).count()))?;
        let decisions = self.plan(&wish, more)?;

        let (mut streams, mut shards) = (Vec::new(), Vec::new());
        for (partition, decision) in (have..).zip(decisions) {
            let place = self.take_place(decision, &wish.replication, &mut shards);
            streams.push(Opened { stream: place.stream, shard: place.shard, partition });
        }
        let fresh = self.new_meta();
        let topic = self.topics.entry(name.clone()).or_insert_with(|| Topic {
            name: name.clone(),
            meta: Meta { generation: 0, ..fresh },
            settings: settings.clone(),
            partitions: Vec::new(),
        });
        topic.settings = settings.clone();
        topic.meta.generation += 1;
        topic.meta.changed = self.revision;
        topic
            .partitions
            .extend(streams.iter().map(|opened| StreamPlace { stream: opened.stream, shard: opened.shard }));
        let meta = topic.meta;
        let fresh_ids = self.index.open_topic(topic, have as usize);
        assert!(fresh_ids, "a stream id of topic {name} was taken");
        let old: Vec<ShardId> =
            topic.partitions.iter().take(have as usize).map(|place| place.shard).collect();
        self.set_minimum(&old, &wish.replication);
        self.extend_shares(name, have as usize, &mut streams);
        Ok(self.applied(Kind::Topic, name, meta, streams, shards))
    }

    pub(super) fn apply_queue(&mut self, name: &Name, settings: &QueueSettings) -> Result<Outcome, Refusal> {
        self.refuse_taken(name, Kind::Topic)?;
        let existing = self.queues.get(name);
        if existing.is_some_and(|queue| queue.settings == *settings) {
            return Ok(Outcome::Unchanged);
        }
        validate::queue(settings)?;
        if settings.dead_letter.as_ref() == Some(name) {
            return Err(Refusal::InvalidArgument {
                what: "deadLetter: a queue can't be its own dead-letter queue".to_owned(),
            });
        }
        self.check_dead_letter(settings.dead_letter.as_ref())?;
        let wish =
            Wish::of(&StreamSettings::Queue(settings.clone()), self.brokers.len(), default_replicas(self))?;
        if let Some(queue) = existing {
            self.check_update(queue.settings.placement, &[queue.place], &wish)?;
            let mut queue = queue.clone();
            self.index.forget_queue(&queue);
            queue.settings = settings.clone();
            queue.meta.generation += 1;
            queue.meta.changed = self.revision;
            self.index.refer_queue(&queue);
            self.set_minimum(&[queue.place.shard], &wish.replication);
            let meta = queue.meta;
            self.queues.insert(name.clone(), queue);
            return Ok(self.applied(Kind::Queue, name, meta, Vec::new(), Vec::new()));
        }
        self.check_room(1)?;
        let decisions = self.plan(&wish, 1)?;

        let (mut streams, mut shards) = (Vec::new(), Vec::new());
        for decision in decisions {
            let place = self.take_place(decision, &wish.replication, &mut shards);
            let queue =
                Queue { name: name.clone(), meta: self.new_meta(), settings: settings.clone(), place };
            let fresh_id = self.index.open_queue(&queue);
            assert!(fresh_id, "the stream id of queue {name} was taken");
            self.queues.insert(name.clone(), queue);
            streams.push(Opened { stream: place.stream, shard: place.shard, partition: 0 });
        }
        let meta = self.new_meta();
        Ok(self.applied(Kind::Queue, name, meta, streams, shards))
    }

    /// What to tell the sender about an applied resource; counts as its change.
    pub(super) fn applied(
        &mut self,
        kind: Kind,
        name: &Name,
        meta: Meta,
        streams: Vec<Opened>,
        shards: Vec<(ShardId, pondage_model::Epoch)>,
    ) -> Outcome {
        let change = self.record(kind, name, Action::Applied);
        let applied = Applied { change, uid: meta.uid, generation: meta.generation, streams, shards };
        if meta.generation == 1 { Outcome::Created(applied) } else { Outcome::Updated(applied) }
    }

    /// Topics and queues share one name space: publishers name either without saying which.
    fn refuse_taken(&self, name: &Name, by: Kind) -> Result<(), Refusal> {
        let taken = match by {
            Kind::Topic => self.topics.contains_key(name),
            _ => self.queues.contains_key(name),
        };
        if !taken {
            return Ok(());
        }
        let what = format!("{name} is a {}; topics and queues share one name space", by.as_str());
        Err(Refusal::Conflict { what })
    }

    pub(super) fn check_dead_letter(&self, target: Option<&Name>) -> Result<(), Refusal> {
        match target {
            Some(target) if self.topics.contains_key(target) => Err(Refusal::InvalidArgument {
                what: format!("deadLetter: {target} is a topic; dead letters go to a queue"),
            }),
            Some(target) if !self.queues.contains_key(target) => {
                Err(Refusal::NotFound { kind: "queue", name: target.to_string() })
            }
            _ => Ok(()),
        }
    }

    /// Refuses what an existing topic or queue can't change.
    fn check_update(&self, placement: Placement, places: &[StreamPlace], wish: &Wish) -> Result<(), Refusal> {
        if placement != wish.placement {
            return Err(Refusal::InvalidArgument {
                what: format!("placement: can't change; it is {placement:?}"),
            });
        }
        let fits = |place: &StreamPlace| {
            self.shards.get(&place.shard).is_some_and(|shard| wish.replication.fits(shard))
        };
        if places.iter().all(fits) {
            return Ok(());
        }
        let what = "replicas, minInSyncReplicas: more than the pooled shard that it lives on has";
        Err(Refusal::Conflict { what: what.to_owned() })
    }

    /// Whether the cluster takes `count` more queues, partitions and partitions' shared groups.
    pub(super) fn check_room(&self, count: usize) -> Result<(), Refusal> {
        // The homes of groups have a limit of their own.
        let streams = self.index.stream_count() - self.groups.len();
        if streams + count <= limits::STREAMS_MAX {
            return Ok(());
        }
        let what = format!(
            "the cluster has {streams} queues, partitions and shared groups of partitions; {count} more exceed the \
             limit of {}",
            limits::STREAMS_MAX
        );
        Err(Refusal::Conflict { what })
    }

    /// Decides for `count` new streams, changing nothing.
    fn plan(&self, wish: &Wish, count: u32) -> Result<Vec<Decision>, Refusal> {
        let mut loads = Loads::of(self);
        (0..count).map(|_| loads.place(wish)).collect()
    }

    /// Carries a decision out: a new stream id, on a new shard if it was decided so.
    pub(super) fn take_place(
        &mut self,
        decision: Decision,
        replication: &Replication,
        created: &mut Vec<(ShardId, pondage_model::Epoch)>,
    ) -> StreamPlace {
        let shard = match decision {
            Decision::Pooled(shard) => shard,
            Decision::Dedicated { replicas } => {
                let minimum = replication.minimum_of(replicas.len());
                let (shard, epoch) = self.create_shard(ShardKind::Dedicated, replicas, minimum);
                created.push((shard, epoch));
                shard
            }
        };
        let stream = self.next_stream;
        self.next_stream = stream.next();
        StreamPlace { stream, shard }
    }

    /// Sets what a resource asks of its dedicated shards; pooled ones are not its to set. A minimum that the in-sync
    /// replicas don't reach yet is left to the replication planner: it would stop the shard's writes at once.
    fn set_minimum(&mut self, shards: &[ShardId], replication: &Replication) {
        for &shard in shards {
            let Some(row) = self.shards.get(&shard) else { continue };
            let minimum = replication.minimum_of(replication.replicas());
            let reached = row.staying().filter(|&broker| row.in_sync(broker).is_some()).count();
            let is_served = minimum <= row.min_in_sync_replicas || minimum as usize <= reached;
            if row.kind == ShardKind::Dedicated && row.min_in_sync_replicas != minimum && is_served {
                self.change_shard(shard, Cause::Protocol, |row| row.min_in_sync_replicas = minimum);
            }
        }
    }
}
