//! Consumer groups.

use std::collections::BTreeSet;

use kube::{CustomResource, KubeSchema};
use pondage_model::{
    Name, limits,
    settings::{GroupSettings, GroupSource, Sharing, StartPosition},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    autoscaling::{AutoscalingSpec, ScaleTargetReference, ServiceObjective},
    check::{Checks, FieldError, References},
    delivery::{Backoff, DeadLetter, DeliverySpec},
    duration::Duration,
    error::shown,
    object::{ClusterReference, Kind, Object, Reference},
    rules,
    scaling::{Autoscaling, ScalingSpec},
    schema::NAME,
    status::ConsumerGroupStatus,
    time::Timestamp,
};

/// A consumer group.
pub type ConsumerGroup = Object<ConsumerGroupSpec>;

/// What a consumer group asks for: exactly one of topics and a queue to read, and how.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "pondage.io",
    version = "v1alpha1",
    kind = "ConsumerGroup",
    root = "KubeConsumerGroup",
    namespaced,
    shortname = "pcg",
    category = "pondage",
    status = "ConsumerGroupStatus",
    doc = "A consumer group: how far its members have read topics, or the consumers of a queue.",
    validation = rules::name_fits("groupName"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether it is as it was asked for"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why",
        priority = 1
    ),
    printcolumn(
        name = "Backlog",
        type_ = "integer",
        json_path = ".status.backlog",
        description = "Messages that it has not read"
    ),
    printcolumn(
        name = "Delay",
        type_ = "integer",
        json_path = ".status.delaySeconds",
        description = "Age of the oldest message that it has not read, in seconds"
    ),
    printcolumn(
        name = "Replicas",
        type_ = "integer",
        json_path = ".status.replicas",
        description = "Replicas of its consumers"
    ),
    printcolumn(
        name = "Desired",
        type_ = "integer",
        json_path = ".status.desiredReplicas",
        description = "Replicas that it should have"
    ),
    printcolumn(
        name = "Limited by",
        type_ = "string",
        json_path = ".status.limitedBy",
        description = "What keeps it from having more, or more from helping",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = rules::immutable("clusterRef"))]
#[x_kube(validation = rules::immutable("groupName"))]
#[x_kube(validation = rules::one_source())]
#[x_kube(validation = rules::immutable_with_default("mode", "Ordered"))]
#[x_kube(validation = rules::topics_only("mode"))]
#[x_kube(validation = rules::shared_only("ackTimeout"))]
#[x_kube(validation = rules::shared_only("maxDeliveries"))]
#[x_kube(validation = rules::shared_only("backoff"))]
#[x_kube(validation = rules::shared_only("deadLetter"))]
#[x_kube(validation = rules::dead_letters_need_failures())]
#[x_kube(validation = rules::topics_only("startPosition"))]
#[x_kube(validation = rules::start_time())]
#[x_kube(validation = rules::topics_differ())]
#[x_kube(validation = rules::scaled_by_name())]
#[x_kube(validation = rules::aims_within_objective())]
#[serde(rename_all = "camelCase")]
pub struct ConsumerGroupSpec {
    /// The cluster; local mode has one and needs no reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster_ref: Option<ClusterReference>,
    /// The name in the cluster, if it is not `metadata.name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::NAME_BYTES_MAX), regex(pattern = NAME))]
    pub group_name: Option<String>,
    /// The topics that it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = limits::TOPICS_PER_GROUP_MAX))]
    pub topic_refs: Option<Vec<Reference>>,
    /// The queue that it reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue_ref: Option<Reference>,
    /// How members share a topic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<GroupMode>,
    /// How long a member of a shared group has to settle a message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts(limits::LEASE_MILLIS_MIN, rules::LONGEST))]
    pub ack_timeout: Option<Duration>,
    /// Failed attempts after which a shared group's dead-letter queue gets a message; 0 is no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = i32::MAX))]
    pub max_deliveries: Option<i64>,
    /// How long a failed message of a shared group waits before its next attempt.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::one_backoff(), validation = rules::backoff_waits())]
    #[x_kube(validation = rules::backoff_grows(), validation = rules::not_longer("initial", "max"))]
    pub backoff: Option<Backoff>,
    /// Where a copy of each message goes that failed too often in a shared group, or was rejected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<DeadLetter>,
    /// Where it starts in a topic, once, when it first reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_position: Option<StartAt>,
    /// The time at which it starts, exactly with `startPosition: Time`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Timestamp>,
    /// How long a member whose connection was lost stays one, and keeps its partitions.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = rules::lasts(limits::SESSION_MILLIS_MIN, limits::SESSION_MILLIS_MAX))]
    pub session_timeout: Option<Duration>,
    /// Unsettled or uncommitted messages that one consumer may hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = limits::CREDIT_MAX))]
    pub max_in_flight_per_consumer: Option<i64>,
    /// The workload that runs its consumers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scale_target_ref: Option<ScaleTargetReference>,
    /// What the group promises, scaled or not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo: Option<ServiceObjective>,
    /// How many replicas the workload of `scaleTargetRef` has, and how that changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub autoscaling: Option<AutoscalingSpec>,
}

/// How members share a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum GroupMode {
    /// Each partition goes to one member, in order.
    #[default]
    Ordered,
    /// Each message goes to one member, which settles it; a topic's messages as if it were a queue.
    Shared,
}

/// Where a group starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub enum StartAt {
    /// At the oldest message that is still there.
    #[default]
    Earliest,
    /// At the next message.
    Latest,
    /// At the first message of `startTime` or later.
    Time,
}

impl Object<ConsumerGroupSpec> {
    /// The name in the cluster, and the settings.
    ///
    /// # Errors
    /// Everything that is wrong, by field.
    pub fn settings(&self, references: &References) -> Result<(Name, GroupSettings), Vec<FieldError>> {
        let spec = &self.spec;
        let mut checks = Checks::default();
        let name = checks.cluster_name(&self.metadata, "spec.groupName", spec.group_name.as_deref());
        checks.cluster_reference(spec.cluster_ref.as_ref());
        let source = self.source(&mut checks, references);
        let sharing = self.sharing(&mut checks, references);
        let start_position = self.start_position(&mut checks);
        let in_flight = checks.in_flight(spec.max_in_flight_per_consumer);
        let session = checks.duration(
            "spec.sessionTimeout",
            spec.session_timeout,
            limits::SESSION_MILLIS_MIN..=limits::SESSION_MILLIS_MAX,
        );
        // The brokers have no use for it; but what is written is checked.
        self.scaling().autoscaling(&mut checks);
        let settings = source.zip(name).map(|(source, name)| {
            let default = GroupSettings::of(source);
            let settings = GroupSettings {
                sharing,
                start_position,
                in_flight_per_consumer_max: in_flight.unwrap_or(default.in_flight_per_consumer_max),
                session_timeout_millis: session.unwrap_or(default.session_timeout_millis),
                ..default
            };
            (name, settings)
        });
        checks.finish(settings)
    }

    /// How its consumers are scaled; `None` without `autoscaling`, and while that is disabled.
    ///
    /// # Errors
    /// Everything that is wrong with what it says of scaling, by field.
    pub fn autoscaling(&self) -> Result<Option<Autoscaling>, Vec<FieldError>> {
        let mut checks = Checks::default();
        let autoscaling = self.scaling().autoscaling(&mut checks);
        checks.finish(Some(autoscaling))
    }

    /// The age of the oldest unread message up to which all is well, in milliseconds: `slo.maxDelay`, or else what
    /// autoscaling aims at.
    ///
    /// # Errors
    /// What is wrong with these two fields.
    pub fn delay_millis_max(&self) -> Result<Option<u64>, Vec<FieldError>> {
        let mut checks = Checks::default();
        let millis = self.scaling().delay_millis_max(&mut checks);
        checks.finish(Some(millis))
    }

    const fn scaling(&self) -> ScalingSpec<'_> {
        let ConsumerGroupSpec { scale_target_ref, slo, autoscaling, .. } = &self.spec;
        ScalingSpec {
            scale_target: scale_target_ref.as_ref(),
            slo: slo.as_ref(),
            autoscaling: autoscaling.as_ref(),
        }
    }

    fn sharing(&self, checks: &mut Checks, references: &References) -> Option<Sharing> {
        let spec = &self.spec;
        if spec.mode == Some(GroupMode::Shared) {
            let delivery = DeliverySpec {
                ack_timeout: spec.ack_timeout,
                max_deliveries: spec.max_deliveries,
                backoff: spec.backoff.as_ref(),
                dead_letter: spec.dead_letter.as_ref(),
            };
            return Some(delivery.settings(checks, &self.metadata, references));
        }
        for (field, given) in [
            ("spec.ackTimeout", spec.ack_timeout.is_some()),
            ("spec.maxDeliveries", spec.max_deliveries.is_some()),
            ("spec.backoff", spec.backoff.is_some()),
            ("spec.deadLetter", spec.dead_letter.is_some()),
        ] {
            if given {
                checks.wrong(field, "is for shared groups: it needs mode: Shared");
            }
        }
        None
    }

    fn source(&self, checks: &mut Checks, references: &References) -> Option<GroupSource> {
        const BOTH_OR_NONE: &str = "needs exactly one of topicRefs and queueRef";
        match (self.spec.topic_refs.as_deref(), &self.spec.queue_ref) {
            (None, None) => {
                checks.missing("spec", BOTH_OR_NONE);
                None
            }
            (Some(_), Some(_)) => {
                checks
                    .wrong("spec.queueRef", format!("can't stand beside topicRefs: a group {BOTH_OR_NONE}"));
                None
            }
            (None, Some(queue)) => {
                for (field, given) in [
                    ("spec.mode", self.spec.mode.is_some()),
                    ("spec.startPosition", self.spec.start_position.is_some()),
                ] {
                    if given {
                        checks
                            .wrong(field, "is for groups with topicRefs; leave it out of one with queueRef");
                    }
                }
                let name = checks.reference("spec.queueRef", Kind::Queue, &self.metadata, queue, references);
                name.map(GroupSource::Queue)
            }
            (Some(topics), None) => self.topics(checks, topics, references).map(GroupSource::Topics),
        }
    }

    fn topics(
        &self,
        checks: &mut Checks,
        topics: &[Reference],
        references: &References,
    ) -> Option<Vec<Name>> {
        let max = limits::TOPICS_PER_GROUP_MAX;
        if topics.is_empty() {
            checks.missing("spec.topicRefs", format!("names no topic; 1 to {max} are allowed"));
            return None;
        }
        if topics.len() > max {
            checks.wrong("spec.topicRefs", format!("names {} topics; 1 to {max} are allowed", topics.len()));
            return None;
        }
        let mut seen = BTreeSet::new();
        let mut names = Vec::new();
        for (at, topic) in topics.iter().enumerate() {
            let field = format!("spec.topicRefs[{at}]");
            let name = checks.reference(&field, Kind::Topic, &self.metadata, topic, references);
            if let Some(name) = name {
                if !seen.insert(name.clone()) {
                    checks.wrong(&format!("{field}.name"), format!("{} is named twice", shown(&topic.name)));
                }
                names.push(name);
            }
        }
        Some(names)
    }

    fn start_position(&self, checks: &mut Checks) -> StartPosition {
        match (self.spec.start_position.unwrap_or_default(), self.spec.start_time) {
            (StartAt::Time, Some(time)) => return StartPosition::Time(time.log_time()),
            (StartAt::Time, None) => {
                checks.missing("spec.startPosition", "Time needs startTime, such as 2026-01-31T10:00:00Z");
            }
            (_, Some(_)) => checks.wrong("spec.startTime", "needs startPosition: Time"),
            (StartAt::Latest, None) => return StartPosition::Latest,
            (StartAt::Earliest, None) => {}
        }
        StartPosition::Earliest
    }

    /// The resource that asks for `settings`, every setting written out.
    #[must_use]
    pub fn from_settings(name: &Name, settings: &GroupSettings) -> Self {
        let reference = |name: &Name| Reference { name: name.to_string() };
        let mut spec = ConsumerGroupSpec {
            max_in_flight_per_consumer: Some(settings.in_flight_per_consumer_max.into()),
            session_timeout: Some(Duration::from_millis(settings.session_timeout_millis)),
            ..ConsumerGroupSpec::default()
        };
        match &settings.source {
            GroupSource::Queue(queue) => spec.queue_ref = Some(reference(queue)),
            GroupSource::Topics(topics) => {
                spec.topic_refs = Some(topics.iter().map(reference).collect());
                spec.mode = Some(GroupMode::Ordered);
                if let Some(Sharing { ack_timeout_millis, max_deliveries, backoff, dead_letter }) =
                    &settings.sharing
                {
                    spec.mode = Some(GroupMode::Shared);
                    spec.ack_timeout = Some(Duration::from_millis(*ack_timeout_millis));
                    spec.max_deliveries = Some((*max_deliveries).into());
                    spec.backoff = Some(Backoff::from(backoff));
                    spec.dead_letter = dead_letter.as_ref().map(DeadLetter::to);
                }
                (spec.start_position, spec.start_time) = match settings.start_position {
                    StartPosition::Earliest => (Some(StartAt::Earliest), None),
                    StartPosition::Latest => (Some(StartAt::Latest), None),
                    StartPosition::Time(time) => (Some(StartAt::Time), Some(Timestamp::from_log_time(time))),
                };
            }
        }
        Self::new(Kind::ConsumerGroup, name, spec)
    }
}
