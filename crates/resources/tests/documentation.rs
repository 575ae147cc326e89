//! The reference in `docs/resources.md` lists the fields that the types have, with the defaults that they
//! take; and the example that the README shows is right.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use pondage_model::{
    Name,
    settings::{GroupSettings, GroupSource, QueueSettings, Sharing, TopicSettings},
};
use pondage_resources::{
    AllowedNamespaces, AutoscalingSpec, AutoscalingTarget, Backoff, BrokerClusterSpec, ClusterReference,
    ConsumerGroup, ConsumerGroupSpec, DeadLetter, DeliveryDelay, Drain, Duration, FallbackReplicas,
    FallbackSpec, LabelRequirement, LabelSelector, Listener, PodTemplate, Queue, QueueSpec, Rack, Reference,
    Replication, Resource, Resources, Retention, ScaleTargetReference, ScaleToZero, ScalingBehavior,
    ScalingGoal, ScalingPolicy, ScalingRules, ServiceObjective, Settings, Storage, Switch, Toleration, Topic,
    TopicSpec, VolumeRetention, check_local, load, to_json,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, Visitor},
    forward_to_deserialize_any,
};
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).expect(path)
}

/// Asks a type for the fields that it reads: its `Deserialize` names them to whoever it is read from.
struct Fields;

#[derive(Debug)]
struct Named(&'static [&'static str]);

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl std::error::Error for Named {}

impl de::Error for Named {
    fn custom<T: fmt::Display>(message: T) -> Self {
        panic!("the type is no struct: {message}")
    }
}

impl<'de> Deserializer<'de> for Fields {
    type Error = Named;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Named> {
        panic!("the type is no struct")
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Named> {
        Err(Named(fields))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

fn fields<T: Deserialize<'static>>(prefix: &str) -> impl Iterator<Item = String> {
    let Err(Named(fields)) = T::deserialize(Fields) else { panic!("nothing was read") };
    fields
        .iter()
        .map(move |field| if prefix.is_empty() { (*field).to_owned() } else { format!("{prefix}.{field}") })
}

/// The rows of the table below the heading `## KIND`: field and default.
fn documented(kind: &str) -> BTreeMap<String, String> {
    let text = read("docs/resources.md");
    let (_, section) = text.split_once(&format!("\n## {kind}\n")).expect(kind);
    let section = section.split("\n## ").next().expect("a section");
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let mut out = BTreeMap::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        assert_eq!(cells.len(), 5, "{row}");
        let before = out.insert(cells[0].trim_matches('`').to_owned(), cells[2].to_owned());
        assert_eq!(before, None, "{row}");
    }
    out
}

#[test]
fn the_reference_lists_the_fields_of_the_types() {
    let cluster = || fields::<ClusterReference>("clusterRef");
    for (kind, types) in [
        (
            "BrokerCluster",
            fields::<BrokerClusterSpec>("")
                .chain(fields::<Replication>("replication"))
                .chain(fields::<Listener>("listeners"))
                .chain(fields::<Storage>("storage"))
                .chain(fields::<VolumeRetention>("storage.retentionPolicy"))
                .chain(fields::<Rack>("rack"))
                .chain(fields::<Resources>("resources"))
                .chain(fields::<PodTemplate>("podTemplate"))
                .chain(fields::<Toleration>("podTemplate.tolerations"))
                .chain(fields::<AllowedNamespaces>("allowedNamespaces"))
                .chain(fields::<LabelSelector>("allowedNamespaces.selector"))
                .chain(fields::<LabelRequirement>("allowedNamespaces.selector.matchExpressions"))
                .chain(fields::<Switch>("networkPolicy"))
                .chain(fields::<Switch>("monitoring"))
                .collect::<BTreeSet<_>>(),
        ),
        ("Topic", fields::<TopicSpec>("").chain(cluster()).chain(fields::<Retention>("retention")).collect()),
        (
            "Queue",
            fields::<QueueSpec>("")
                .chain(cluster())
                .chain(fields::<Backoff>("backoff"))
                .chain(fields::<DeadLetter>("deadLetter"))
                .chain(fields::<Reference>("deadLetter.queueRef"))
                .chain(fields::<DeliveryDelay>("deliveryDelay"))
                .collect(),
        ),
        (
            "ConsumerGroup",
            fields::<ConsumerGroupSpec>("")
                .chain(cluster())
                .chain(fields::<Reference>("topicRefs"))
                .chain(fields::<Reference>("queueRef"))
                .chain(fields::<Backoff>("backoff"))
                .chain(fields::<DeadLetter>("deadLetter"))
                .chain(fields::<Reference>("deadLetter.queueRef"))
                .chain(fields::<ScaleTargetReference>("scaleTargetRef"))
                .chain(fields::<ServiceObjective>("slo"))
                .chain(fields::<AutoscalingSpec>("autoscaling"))
                .chain(fields::<AutoscalingTarget>("autoscaling.target"))
                .chain(fields::<ScalingBehavior>("autoscaling.behavior"))
                .chain(fields::<ScalingRules>("autoscaling.behavior.scaleUp"))
                .chain(fields::<ScalingPolicy>("autoscaling.behavior.scaleUp.policies"))
                .chain(fields::<ScalingRules>("autoscaling.behavior.scaleDown"))
                .chain(fields::<ScalingPolicy>("autoscaling.behavior.scaleDown.policies"))
                .chain(fields::<Drain>("autoscaling.behavior.drain"))
                .chain(fields::<ScaleToZero>("autoscaling.scaleToZero"))
                .chain(fields::<FallbackSpec>("autoscaling.fallback"))
                .collect(),
        ),
    ] {
        assert_eq!(documented(kind).into_keys().collect::<BTreeSet<_>>(), types, "{kind}");
    }
}

/// The scalars of a JSON value by path; lists and empty maps count as scalars.
fn flatten(prefix: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, value, out);
            }
        }
        Value::String(text) => {
            out.insert(prefix.to_owned(), text.clone());
        }
        other => {
            out.insert(prefix.to_owned(), other.to_string());
        }
    }
}

#[test]
fn the_reference_tells_the_defaults() {
    let name = Name::new("x").expect("a name");
    // What no default can be told for.
    let given = ["topicRefs"];
    // Defaults of maps that are left out as a whole, and of what is no setting of the brokers.
    let within = ["listeners.protocol", "backoff.multiplier", "adoptionPolicy"];
    let group = |sharing| {
        let reads = GroupSource::Topics(vec![name.clone()]);
        let settings = GroupSettings { sharing, ..GroupSettings::of(reads) };
        Resource::ConsumerGroup(ConsumerGroup::from_settings(&name, &settings))
    };
    for (kind, resources) in [
        ("Topic", vec![Resource::Topic(Topic::from_settings(&name, &TopicSettings::default()))]),
        ("Queue", vec![Resource::Queue(Queue::from_settings(&name, &QueueSettings::default()))]),
        // Those of the fields for shared groups, and then those of a group that says nothing.
        ("ConsumerGroup", vec![group(Some(Sharing::default())), group(None)]),
    ] {
        let mut defaults = BTreeMap::new();
        for resource in resources {
            let json: Value = serde_json::from_str(&to_json(&[resource])).expect("JSON");
            flatten("", &json["spec"], &mut defaults);
        }
        defaults.retain(|field, _| !given.contains(&field.as_str()));
        if kind == "ConsumerGroup" {
            defaults.extend(scaling_defaults());
        }
        let told: BTreeMap<_, _> = documented(kind)
            .into_iter()
            .filter(|(field, default)| default.starts_with('`') && !within.contains(&field.as_str()))
            .map(|(field, default)| (field, default.trim_matches('`').to_owned()))
            .collect();
        assert_eq!(told, defaults, "{kind}");
    }
}

/// What autoscaling takes where nothing is said.
fn scaling_defaults() -> BTreeMap<String, String> {
    let read = |fields: &str| {
        let head = "apiVersion: pondage.io/v1alpha1\nkind: ConsumerGroup\nmetadata: {name: x}\nspec:\n";
        let scaled = "maxReplicas: 9, target: {delay: 1s}";
        let group = "queueRef: {name: q}, scaleTargetRef: {name: w}";
        let text = format!("{head}  {{{group}, autoscaling: {{{scaled}, {fields}}}}}");
        let loaded = load("f", &text).expect("right");
        let Resource::ConsumerGroup(group) = &loaded[0].resource else { panic!("a group") };
        group.autoscaling().expect("right").expect("scaled")
    };
    let [least, zero] = [read("fallback: {replicas: 9}"), read("minReplicas: 0, scaleToZero: {}")];
    let ScalingGoal::Delay { utilization_percent, .. } = least.goal else { panic!("a delay") };
    let fallback = least.fallback.expect("one");
    assert_eq!(fallback.replicas, FallbackReplicas::Exactly(9), "Static");
    let duration = |millis| Duration::from_millis(millis).to_string();
    let mut defaults = BTreeMap::from([
        ("scaleTargetRef.apiVersion", least.scale_target.api_version),
        ("scaleTargetRef.kind", least.scale_target.kind),
        ("autoscaling.mode", format!("{:?}", least.mode)),
        ("autoscaling.minReplicas", least.replicas_min.to_string()),
        ("autoscaling.target.utilizationPercent", utilization_percent.to_string()),
        ("autoscaling.behavior.drain.timeout", duration(least.drain_millis)),
        ("autoscaling.scaleToZero.after", duration(zero.idle_millis_to_zero.expect("some"))),
        ("autoscaling.fallback.after", duration(fallback.after_millis)),
        ("autoscaling.fallback.behavior", "Static".to_owned()),
    ])
    .into_iter()
    .map(|(field, default)| (field.to_owned(), default))
    .collect::<BTreeMap<_, _>>();
    for (name, pace) in [("scaleUp", least.scale_up), ("scaleDown", least.scale_down)] {
        let seconds = (pace.window_millis / 1_000).to_string();
        defaults.insert(format!("autoscaling.behavior.{name}.stabilizationWindowSeconds"), seconds);
        defaults.insert(format!("autoscaling.behavior.{name}.selectPolicy"), format!("{:?}", pace.select));
    }
    defaults
}

#[test]
fn the_quickstart_is_right() {
    let loaded = load("deploy/quickstart.yaml", &read("deploy/quickstart.yaml")).expect("a right file");
    check_local(&loaded, 1).expect("fit for local mode");
    let name = |text| Name::new(text).expect("a name");
    let names: Vec<_> = loaded
        .iter()
        .map(|one| match &one.settings {
            Settings::BrokerCluster(settings) => settings.name.clone(),
            Settings::Topic(name, _) | Settings::Queue(name, _) | Settings::ConsumerGroup(name, _) => {
                name.clone()
            }
        })
        .collect();
    assert_eq!(names, ["flights", "orders", "orders-dead", "departures-board"].map(name));
    let Settings::Queue(_, orders) = &loaded[1].settings else { panic!("a queue") };
    assert_eq!(orders.dead_letter, Some(name("orders-dead")));
}

#[test]
fn the_reference_s_examples_are_right() {
    let text = read("docs/resources.md");
    let examples = text.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("its end"));
    let counts: Vec<_> =
        examples.map(|example| load("docs/resources.md", example).expect("a right example").len()).collect();
    assert_eq!(counts, [1, 1]);
}
