//! Deleting resources.

use pondage_model::{
    Name, Refusal, ShardId, StreamId, Uuid,
    planted::{self, Fault},
    settings::DeletionPolicy,
};

use crate::{
    command::{Deleted, Outcome},
    index::sources,
    rows::{Action, Kind, Meta, ShardKind, StreamPlace},
    state::Catalog,
};

/// Referrers that a refusal names; it counts the others.
const NAMED_MAX: usize = 5;

impl Catalog {
    pub(super) fn delete_topic(
        &mut self,
        name: &Name,
        policy_override: Option<DeletionPolicy>,
        messages: u64,
        if_uid: Option<Uuid>,
    ) -> Result<Outcome, Refusal> {
        let topic = self.topics.get(name).ok_or_else(|| not_found(Kind::Topic, name))?;
        check_uid(Kind::Topic, name, &topic.meta, if_uid)?;
        check_policy(Kind::Topic, name, policy_override.unwrap_or(topic.settings.deletion_policy), messages)?;
        self.refuse_referred(Kind::Topic, name)?;

        let places = topic.partitions.clone();
        self.topics.remove(name);
        Ok(self.deleted(Kind::Topic, name, &places, &[]))
    }

    pub(super) fn delete_queue(
        &mut self,
        name: &Name,
        policy_override: Option<DeletionPolicy>,
        messages: u64,
        if_uid: Option<Uuid>,
    ) -> Result<Outcome, Refusal> {
        let queue = self.queues.get(name).ok_or_else(|| not_found(Kind::Queue, name))?;
        check_uid(Kind::Queue, name, &queue.meta, if_uid)?;
        check_policy(Kind::Queue, name, policy_override.unwrap_or(queue.settings.deletion_policy), messages)?;
        self.refuse_referred(Kind::Queue, name)?;

        let place = queue.place;
        self.index.forget_queue(queue);
        self.queues.remove(name);
        Ok(self.deleted(Kind::Queue, name, &[place], &[]))
    }

    pub(super) fn delete_group(&mut self, name: &Name, if_uid: Option<Uuid>) -> Result<Outcome, Refusal> {
        let group = self.groups.get(name).ok_or_else(|| not_found(Kind::Group, name))?;
        check_uid(Kind::Group, name, &group.meta, if_uid)?;

        let home = group.home;
        let shares = group.shares.concat();
        self.index.forget_group(group);
        self.groups.remove(name);
        Ok(self.deleted(Kind::Group, name, &[home], &shares))
    }

    fn reads(&self, group: &Name, name: &Name) -> bool {
        self.groups.get(group).is_some_and(|group| sources(&group.settings.source).contains(name))
    }

    /// A dead-letter queue or a group's source would leave a name behind that points nowhere.
    fn refuse_referred(&self, kind: Kind, name: &Name) -> Result<(), Refusal> {
        let referrers = self.referrers(name);
        let count = referrers.len();
        if count == 0 {
            return Ok(());
        }
        let mut users: Vec<String> = referrers
            .take(NAMED_MAX)
            .map(|(by, user)| match by {
                Kind::Group if kind == Kind::Topic || self.reads(user, name) => {
                    format!("group {user} reads it")
                }
                by => format!("{} {user} dead-letters to it", by.as_str()),
            })
            .collect();
        if count > NAMED_MAX {
            users.push(format!("and {} more", count - NAMED_MAX));
        }
        let what = format!("{} {name} is in use: {}", kind.as_str(), users.join(", "));
        Err(Refusal::Conflict { what })
    }

    /// Closes streams, and removes the shards that were `places`' own. `guests` live in shards of others.
    fn deleted(
        &mut self,
        kind: Kind,
        name: &Name,
        places: &[StreamPlace],
        guests: &[StreamPlace],
    ) -> Outcome {
        let mut streams: Vec<(StreamId, ShardId)> = Vec::new();
        let mut shards = Vec::new();
        for guest in guests {
            self.index.close(*guest);
            streams.push((guest.stream, guest.shard));
        }
        for place in places {
            self.index.close(*place);
            if place.stream.next() == self.next_stream && planted::is(Fault::ReuseStreamId) {
                self.next_stream = place.stream;
            }
            streams.push((place.stream, place.shard));
            let row = self.shards.get(&place.shard).filter(|shard| shard.kind == ShardKind::Dedicated);
            if let Some(leader) = row.map(|row| row.leader) {
                self.remove_shard(place.shard);
                shards.push((place.shard, leader));
            }
        }
        let change = self.record(kind, name, Action::Deleted);
        Outcome::Deleted(Deleted { change, streams, shards })
    }
}

fn not_found(kind: Kind, name: &Name) -> Refusal {
    Refusal::NotFound { kind: kind.as_str(), name: name.to_string() }
}

fn check_uid(kind: Kind, name: &Name, meta: &Meta, if_uid: Option<Uuid>) -> Result<(), Refusal> {
    match if_uid {
        Some(expected) if expected != meta.uid => Err(Refusal::Conflict {
            what: format!("{} {name} is not the one meant ({expected}) but {}", kind.as_str(), meta.uid),
        }),
        _ => Ok(()),
    }
}

/// `Retain` is about a resource file that goes; whoever asks the cluster itself to delete means it.
fn check_policy(kind: Kind, name: &Name, policy: DeletionPolicy, messages: u64) -> Result<(), Refusal> {
    if policy == DeletionPolicy::DeleteIfEmpty && messages > 0 {
        return Err(Refusal::NotEmpty { kind: kind.as_str(), name: name.to_string(), messages });
    }
    Ok(())
}
