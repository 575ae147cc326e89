//! What a later version serves. It is refused by name, so that nobody takes silence for consent; and what
//! Kubernetes adds to every object is passed over.

/// How a field that a struct does not have is answered.
pub(crate) enum Foreign {
    /// A later version serves it.
    Later,
    /// Kubernetes wrote it; it says nothing about what is asked for.
    Kubernetes,
    /// Nobody knows it.
    Unknown,
}

/// Fields by the type's name.
const FIELDS: [(&str, &[&str]); 5] = [
    ("BrokerClusterSpec", &["podDisruptionBudget", "scaleDown", "tls", "updateStrategy", "version"]),
    ("Listener", &["authentication", "tls", "type"]),
    ("TopicSpec", &["deduplicationWindow", "quotas", "tieredStorage"]),
    ("QueueSpec", &["bindings", "deduplicationWindow", "limits", "priorities", "quotas"]),
    ("AutoscalingSpec", &["schedules"]),
];

/// Fields that Kubernetes writes, by the type's name.
const KUBERNETES_FIELDS: [(&str, &[&str]); 2] = [
    ("Object", &["status"]),
    ("Metadata", &["creationTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"]),
];

/// Values by the enum's name.
const VALUES: [(&str, &[&str]); 8] = [
    ("AutoscalingMode", &["HPA", "KEDA"]),
    ("CleanupPolicy", &["Compact", "CompactDelete"]),
    ("Compression", &["LZ4", "None", "Zstd"]),
    ("DeliveryMode", &["AtMostOnce"]),
    ("Durability", &["Memory", "Replicated"]),
    ("ListenerProtocol", &["AMQP", "Kafka", "MQTT", "STOMP"]),
    ("Ordering", &["FIFO"]),
    ("RackMode", &["Required"]),
];

/// Kinds.
pub(crate) const KINDS: [&str; 3] = ["Mirror", "Redrive", "User"];

/// What is to be said of the field `name` in the struct `of`.
pub(crate) fn field(of: &str, name: &str) -> Foreign {
    if holds(&FIELDS, of, name) {
        Foreign::Later
    } else if holds(&KUBERNETES_FIELDS, of, name) {
        Foreign::Kubernetes
    } else {
        Foreign::Unknown
    }
}

/// Whether a later version serves the value `name` of the enum `of`.
pub(crate) fn value(of: &str, name: &str) -> bool {
    holds(&VALUES, of, name)
}

fn holds(table: &[(&str, &[&str])], of: &str, name: &str) -> bool {
    table.iter().any(|(owner, names)| *owner == of && names.contains(&name))
}
