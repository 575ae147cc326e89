//! Resources as YAML and JSON: what a file would say, and what the cluster reports of it.

use pondage_client::{
    Cluster, GroupPartition, Member, Membership, OwnedPartition, Resource, Settings, StreamStatus,
};
use pondage_model::{Name, Offset, membership::MemberProgress};
use pondage_resources::{ConsumerGroup, Queue, Resource as Spec, Topic};
use serde::Serialize;

use super::text::without_harm;
use crate::exit::{Failure, Result};

/// A group's place in one topic.
pub(crate) type TopicPlaces = (Name, Vec<GroupPartition>);

/// Cursors in one topic that were moved: where each was, and where it is.
pub(crate) type TopicMoves = (Name, Vec<(Option<Offset>, GroupPartition)>);

/// A resource and everything that is known of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct View {
    /// The resource, with the status of its streams.
    pub(crate) resource: Resource,
    /// Groups over topics: where they stand.
    pub(crate) places: Vec<TopicPlaces>,
    /// Groups: who reads for them, unless their home can't be asked.
    pub(crate) membership: Option<Membership>,
    /// Groups over a queue: the queue's stream.
    pub(crate) queue: Option<StreamStatus>,
}

impl View {
    /// A resource of which nothing more is known.
    pub(crate) fn of(resource: Resource) -> Self {
        Self { resource, places: Vec::new(), membership: None, queue: None }
    }

    /// Who reads for a group.
    pub(crate) fn members(&self) -> &[Member] {
        self.membership.as_ref().map_or(&[], |membership| &membership.members)
    }

    /// The status of its streams.
    pub(crate) fn streams(&self) -> &[StreamStatus] {
        self.resource.streams.as_deref().unwrap_or_default()
    }

    /// Messages that a group has not yet done.
    pub(crate) fn lag(&self) -> u64 {
        let topics = self.places.iter().flat_map(|(_, places)| places).map(|place| place.lag);
        let queue =
            self.queue.iter().map(|queue| queue.ready + queue.unacked + queue.scheduled + queue.moving);
        topics.chain(queue).sum()
    }

    /// Age of the oldest of them, in milliseconds.
    pub(crate) fn delay_millis(&self) -> u64 {
        let topics = self.places.iter().flat_map(|(_, places)| places).map(|place| place.delay_millis);
        topics.chain(self.queue.iter().map(|queue| queue.oldest_age_millis)).max().unwrap_or(0)
    }
}

/// A resource as files write it.
pub(crate) fn spec(name: &Name, settings: &Settings) -> Spec {
    match settings {
        Settings::Topic(topic) => Spec::Topic(Topic::from_settings(name, topic)),
        Settings::Queue(queue) => Spec::Queue(Queue::from_settings(name, queue)),
        Settings::Group(group) => Spec::ConsumerGroup(ConsumerGroup::from_settings(name, group)),
    }
}

/// A resource with its status. A file with it can be applied: whoever reads it passes over the status.
#[derive(Serialize)]
struct Document {
    #[serde(flatten)]
    spec: Spec,
    status: Status,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    uid: String,
    revision: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delay_millis: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    streams: Vec<Stream>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    members: Vec<MemberDocument>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    topics: Vec<GroupTopic>,
}

/// A member of a group.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct MemberDocument {
    id: String,
    instance: String,
    connected: bool,
    draining: bool,
    /// What it said of itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<Progress>,
    partitions: Vec<MemberPartition>,
    awaited: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Progress {
    settled: u64,
    busy_millis: u64,
    in_flight: u32,
}

#[derive(Serialize)]
struct MemberPartition {
    topic: String,
    partition: u32,
    /// The member is to let go of it.
    revoked: bool,
}

impl From<&Member> for MemberDocument {
    fn from(member: &Member) -> Self {
        let partition = |owned: &OwnedPartition| MemberPartition {
            topic: owned.topic.to_string(),
            partition: owned.partition,
            revoked: owned.revoked,
        };
        Self {
            id: member.id.to_string(),
            instance: member.instance.clone(),
            connected: member.connected_since.is_some(),
            draining: member.is_draining,
            progress: member.progress.map(|MemberProgress { settled, busy_millis, in_flight }| Progress {
                settled,
                busy_millis,
                in_flight,
            }),
            partitions: member.partitions.iter().map(partition).collect(),
            awaited: member.awaited,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Stream {
    partition: u32,
    shard: u32,
    stream: u64,
    leader: Option<u32>,
    start_offset: u64,
    end_offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    messages: Option<QueueMessages>,
    oldest_age_millis: u64,
    consumers: u32,
    bytes: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct QueueMessages {
    ready: u64,
    unacked: u64,
    scheduled: u64,
    moving: u64,
    dead_lettered: u64,
}

#[derive(Serialize)]
struct GroupTopic {
    topic: String,
    partitions: Vec<Place>,
}

/// A group's place in a partition.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Place {
    partition: u32,
    committed_offset: Option<u64>,
    start_offset: u64,
    end_offset: u64,
    lag: u64,
    delay_millis: u64,
    committed_messages: u64,
    group_epoch: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared: Option<Shared>,
}

/// What the lag of a shared group is made of, and what it gave up.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shared {
    ready: u64,
    unacked: u64,
    scheduled: u64,
    dead_lettering: u64,
    dead_lettered: u64,
}

impl From<&GroupPartition> for Place {
    fn from(place: &GroupPartition) -> Self {
        Self {
            partition: place.partition,
            committed_offset: place.committed.map(|offset| offset.get()),
            start_offset: place.start.get(),
            end_offset: place.end.get(),
            lag: place.lag,
            delay_millis: place.delay_millis,
            committed_messages: place.committed_messages,
            group_epoch: place.epoch.get(),
            shared: place.shared.map(|shared| Shared {
                ready: shared.ready_of(place.lag),
                unacked: shared.unacked,
                scheduled: shared.scheduled,
                dead_lettering: shared.dead_lettering,
                dead_lettered: shared.dead_lettered,
            }),
        }
    }
}

fn stream(status: &StreamStatus, is_queue: bool) -> Stream {
    let messages = is_queue.then_some(QueueMessages {
        ready: status.ready,
        unacked: status.unacked,
        scheduled: status.scheduled,
        moving: status.moving,
        dead_lettered: status.dead_lettered,
    });
    Stream {
        partition: status.partition,
        shard: status.shard.get(),
        stream: status.stream.get(),
        leader: status.leader.map(|broker| broker.get()),
        start_offset: status.start.get(),
        end_offset: status.end.get(),
        messages,
        oldest_age_millis: status.oldest_age_millis,
        consumers: status.consumers,
        bytes: status.bytes,
    }
}

impl From<&View> for Document {
    fn from(view: &View) -> Self {
        let resource = &view.resource;
        let is_queue = matches!(resource.settings, Settings::Queue(_));
        let is_group = matches!(resource.settings, Settings::Group(_));
        let topics = view.places.iter().map(|(topic, places)| GroupTopic {
            topic: topic.to_string(),
            partitions: places.iter().map(Place::from).collect(),
        });
        Self {
            spec: spec(&resource.name, &resource.settings),
            status: Status {
                uid: resource.uid.to_string(),
                revision: resource.revision.get(),
                lag: is_group.then(|| view.lag()),
                delay_millis: is_group.then(|| view.delay_millis()),
                members: view.members().iter().map(MemberDocument::from).collect(),
                streams: view.streams().iter().map(|status| stream(status, is_queue)).collect(),
                topics: topics.collect(),
            },
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct List<T> {
    api_version: &'static str,
    kind: &'static str,
    items: Vec<T>,
}

/// Resources as a JSON `List`.
pub(crate) fn json_list(views: &[View]) -> Result<String> {
    to_json(&List { api_version: "v1", kind: "List", items: views.iter().map(Document::from).collect() })
}

/// One resource as JSON.
pub(crate) fn json(view: &View) -> Result<String> {
    to_json(&Document::from(view))
}

/// One resource as JSON in one line.
pub(crate) fn json_value(view: &View) -> Result<serde_json::Value> {
    serde_json::to_value(Document::from(view)).map_err(|error| Failure::failed(error.to_string()))
}

/// Resources as YAML documents.
pub(crate) fn yaml(views: &[View]) -> Result<String> {
    let documents: Result<Vec<String>> = views.iter().map(|view| to_yaml(&Document::from(view))).collect();
    Ok(documents?.join("---\n"))
}

/// The spec of a resource as YAML, without what surrounds it.
pub(crate) fn spec_yaml(resource: &Resource) -> Result<String> {
    match spec(&resource.name, &resource.settings) {
        Spec::BrokerCluster(object) => to_yaml(&object.spec),
        Spec::Topic(object) => to_yaml(&object.spec),
        Spec::Queue(object) => to_yaml(&object.spec),
        Spec::ConsumerGroup(object) => to_yaml(&object.spec),
    }
}

/// The members of a group for programs.
pub(crate) fn membership_json(group: &Name, membership: &Membership) -> Result<String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Document {
        group: String,
        assignment_epoch: u64,
        members: Vec<MemberDocument>,
    }
    to_json(&Document {
        group: group.to_string(),
        assignment_epoch: membership.epoch.get(),
        members: membership.members.iter().map(MemberDocument::from).collect(),
    })
}

/// Moved cursors for programs.
pub(crate) fn moves_json(group: &str, topics: &[TopicMoves], dry_run: bool) -> Result<String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Document<'a> {
        group: &'a str,
        dry_run: bool,
        topics: Vec<Topic<'a>>,
    }
    #[derive(Serialize)]
    struct Topic<'a> {
        topic: &'a str,
        partitions: Vec<Moved>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Moved {
        previous_offset: Option<u64>,
        #[serde(flatten)]
        place: Place,
    }
    let moved = |(before, place): &(Option<Offset>, GroupPartition)| Moved {
        previous_offset: before.map(Offset::get),
        place: place.into(),
    };
    let topics = topics
        .iter()
        .map(|(topic, moves)| Topic { topic: topic.as_str(), partitions: moves.iter().map(moved).collect() });
    to_json(&Document { group, dry_run, topics: topics.collect() })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClusterDocument {
    uuid: String,
    version: String,
    revision: u64,
    shards: u32,
    streams: u32,
    brokers: Vec<BrokerDocument>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct BrokerDocument {
    id: u32,
    address: String,
    incarnation: u64,
    version: String,
}

impl From<&Cluster> for ClusterDocument {
    fn from(cluster: &Cluster) -> Self {
        let brokers = cluster.brokers.iter().map(|broker| BrokerDocument {
            id: broker.id.get(),
            address: broker.address.clone(),
            incarnation: broker.incarnation.get(),
            version: broker.version.clone(),
        });
        Self {
            uuid: cluster.uuid.to_string(),
            version: cluster.version.clone(),
            revision: cluster.revision.get(),
            shards: cluster.shards,
            streams: cluster.streams,
            brokers: brokers.collect(),
        }
    }
}

/// The cluster as JSON.
pub(crate) fn cluster_json(cluster: &Cluster) -> Result<String> {
    to_json(&ClusterDocument::from(cluster))
}

/// The cluster as YAML.
pub(crate) fn cluster_yaml(cluster: &Cluster) -> Result<String> {
    to_yaml(&ClusterDocument::from(cluster))
}

fn to_json<T: Serialize>(value: &T) -> Result<String> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::failed(error.to_string()))?;
    Ok(without_harm(&text) + "\n")
}

fn to_yaml<T: Serialize>(value: &T) -> Result<String> {
    serde_yaml::to_string(value).map_err(|error| Failure::failed(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::{
        GroupEpoch, Offset, Revision, Uuid,
        settings::{GroupSettings, GroupSource, QueueSettings, TopicSettings},
    };

    fn name(text: &str) -> Name {
        Name::new(text).expect("valid")
    }

    fn views() -> Vec<View> {
        let resource = |text, settings, streams| Resource {
            name: name(text),
            uid: Uuid([7; 16]),
            revision: Revision(12),
            settings,
            streams,
        };
        let status = StreamStatus { end: Offset(9), ready: 3, scheduled: 1, ..StreamStatus::default() };
        let place = GroupPartition {
            partition: 0,
            committed: Some(Offset(4)),
            epoch: GroupEpoch(1),
            start: Offset(0),
            end: Offset(9),
            lag: 5,
            delay_millis: 70,
            committed_messages: 4,
            shared: None,
        };
        let group = GroupSettings::of(GroupSource::Topics(vec![name("flights")]));
        vec![
            View::of(resource("flights", Settings::Topic(TopicSettings::default()), Some(vec![status; 2]))),
            View::of(resource("orders", Settings::Queue(QueueSettings::default()), Some(vec![status]))),
            View {
                places: vec![(name("flights"), vec![place, GroupPartition { lag: 2, ..place }])],
                ..View::of(resource("board", Settings::Group(group), None))
            },
        ]
    }

    #[test]
    fn what_is_printed_can_be_applied_again() {
        let views = views();
        for text in [yaml(&views), json_list(&views)] {
            let text = text.expect("printable");
            let loaded = pondage_resources::load("printed", &text).expect(&text);
            let settings: Vec<_> = loaded.into_iter().map(|loaded| loaded.resource).collect();
            let given: Vec<_> =
                views.iter().map(|view| spec(&view.resource.name, &view.resource.settings)).collect();
            assert_eq!(settings, given, "{text}");
        }
    }

    #[test]
    fn programs_find_the_figures() {
        let views = views();
        let list: serde_json::Value =
            serde_json::from_str(&json_list(&views).expect("printable")).expect("JSON");
        assert_eq!(list["items"][0]["status"]["streams"][1]["endOffset"], 9);
        assert_eq!(list["items"][0]["status"]["streams"][0].get("messages"), None);
        assert_eq!(list["items"][1]["status"]["streams"][0]["messages"]["ready"], 3);
        assert_eq!(list["items"][2]["status"]["lag"], 7);
        assert_eq!(list["items"][2]["status"]["delayMillis"], 70);
        assert_eq!(list["items"][2]["status"]["topics"][0]["partitions"][0]["committedOffset"], 4);
        let one: serde_json::Value =
            serde_json::from_str(&json(&views[1]).expect("printable")).expect("JSON");
        assert_eq!(one["kind"], "Queue");
        assert_eq!(one["status"]["revision"], 12);
    }

    #[test]
    fn a_group_over_a_queue_lags_by_what_the_queue_holds() {
        let queue =
            StreamStatus { ready: 3, unacked: 2, scheduled: 1, oldest_age_millis: 9, ..Default::default() };
        let view = View { queue: Some(queue), places: Vec::new(), ..views().remove(2) };
        assert_eq!((view.lag(), view.delay_millis()), (6, 9));
    }
}
