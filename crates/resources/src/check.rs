//! Checks that need a field's meaning: ranges, names and references. Each says what is allowed.

use std::{collections::BTreeMap, ops::RangeInclusive};

use pondage_model::{Name, limits};

use crate::{
    duration::Duration,
    error::shown,
    object::{ClusterReference, Kind, Metadata, Reference, Resource},
    quantity::Quantity,
};

/// The greatest number of copies that a resource may ask for.
pub(crate) const REPLICAS_MAX: i64 = 9;

/// One field that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct FieldError {
    /// The field, such as `spec.deadLetter.queueRef.name`.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
    /// Whether something is missing, as against wrong: not worth saying about a resource of which parts
    /// could not be read.
    pub missing: bool,
}

/// The names that the cluster knows the resources of one set by.
///
/// A reference names a resource, and the cluster may know that resource by another name (`queueName`). What
/// is not in the set is taken to have the same name in the cluster.
#[derive(Clone, Debug, Default)]
pub struct References {
    names: BTreeMap<(Kind, Option<String>, String), String>,
}

impl References {
    /// The references that `resources` resolve among each other.
    pub fn new<'a>(resources: impl IntoIterator<Item = &'a Resource>) -> Self {
        let names = resources.into_iter().filter_map(|resource| {
            let metadata = resource.metadata();
            let key = (resource.kind(), metadata.namespace.clone(), metadata.name.clone()?);
            Some((key, resource.cluster_name()?.to_owned()))
        });
        Self { names: names.collect() }
    }

    /// Adds what the cluster knows the resource `name` by.
    pub fn insert(&mut self, kind: Kind, namespace: Option<&str>, name: &str, cluster_name: &str) {
        self.names.insert((kind, namespace.map(str::to_owned), name.to_owned()), cluster_name.to_owned());
    }

    fn resolve<'a>(&'a self, kind: Kind, from: &Metadata, reference: &'a str) -> &'a str {
        let key = (kind, from.namespace.clone(), reference.to_owned());
        self.names.get(&key).map_or(reference, String::as_str)
    }
}

/// Collects everything that is wrong with one resource.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    errors: Vec<FieldError>,
}

impl Checks {
    /// `value`, if nothing was wrong.
    pub(crate) fn finish<T>(self, value: Option<T>) -> Result<T, Vec<FieldError>> {
        match value {
            Some(value) if self.errors.is_empty() => Ok(value),
            _ => Err(self.errors),
        }
    }

    pub(crate) fn wrong(&mut self, field: &str, problem: impl Into<String>) {
        self.push(field, problem.into(), false);
    }

    pub(crate) fn missing(&mut self, field: &str, problem: impl Into<String>) {
        self.push(field, problem.into(), true);
    }

    fn push(&mut self, field: &str, problem: String, missing: bool) {
        self.errors.push(FieldError { field: field.to_owned(), problem, missing });
    }

    /// A whole number in `allowed`, if one is given.
    pub(crate) fn number<T: TryFrom<i64>>(
        &mut self,
        field: &str,
        value: Option<i64>,
        allowed: RangeInclusive<i64>,
    ) -> Option<T> {
        let value = value?;
        match T::try_from(value) {
            Ok(number) if allowed.contains(&value) => Some(number),
            _ => {
                self.wrong(field, format!("{value} is outside of {} to {}", allowed.start(), allowed.end()));
                None
            }
        }
    }

    /// Milliseconds of a duration in `allowed_millis`, if one is given.
    pub(crate) fn duration(
        &mut self,
        field: &str,
        value: Option<Duration>,
        allowed_millis: RangeInclusive<u64>,
    ) -> Option<u64> {
        let millis = value?.millis();
        if allowed_millis.contains(&millis) {
            return Some(millis);
        }
        let [value, low, high] =
            [millis, *allowed_millis.start(), *allowed_millis.end()].map(Duration::from_millis);
        self.wrong(field, format!("{value} is outside of {low} to {high}"));
        None
    }

    /// Bytes of a size in `allowed_bytes`, if one is given.
    pub(crate) fn size(
        &mut self,
        field: &str,
        value: Option<Quantity>,
        allowed_bytes: RangeInclusive<u64>,
    ) -> Option<u64> {
        let bytes = value?.bytes();
        if allowed_bytes.contains(&bytes) {
            return Some(bytes);
        }
        let [value, low, high] =
            [bytes, *allowed_bytes.start(), *allowed_bytes.end()].map(Quantity::from_bytes);
        self.wrong(field, format!("{value} is outside of {low} to {high}"));
        None
    }

    /// A name by the allow-list.
    pub(crate) fn name(&mut self, field: &str, text: &str) -> Option<Name> {
        match Name::new(text) {
            Ok(name) => Some(name),
            Err(refusal) => {
                self.wrong(field, format!("{} is not a name: {refusal}", shown(text)));
                None
            }
        }
    }

    /// The name that the cluster knows a resource by: `given` (the field `field`) or `metadata.name`.
    /// Both are checked.
    pub(crate) fn cluster_name(
        &mut self,
        metadata: &Metadata,
        field: &str,
        given: Option<&str>,
    ) -> Option<Name> {
        if let Some(namespace) = metadata.namespace.as_deref() {
            self.name("metadata.namespace", namespace);
        }
        let own = match metadata.name.as_deref() {
            Some(own) => self.name("metadata.name", own),
            None => {
                self.missing("metadata.name", "is required");
                None
            }
        };
        match given {
            Some(given) => self.name(field, given).filter(|_| own.is_some()),
            None => own,
        }
    }

    /// The name that the cluster knows a referenced resource by.
    pub(crate) fn reference(
        &mut self,
        field: &str,
        kind: Kind,
        from: &Metadata,
        reference: &Reference,
        references: &References,
    ) -> Option<Name> {
        let field = format!("{field}.name");
        self.name(&field, &reference.name)?;
        self.name(&field, references.resolve(kind, from, &reference.name))
    }

    /// Checks the names of a reference to a cluster.
    pub(crate) fn cluster_reference(&mut self, reference: Option<&ClusterReference>) {
        let Some(reference) = reference else { return };
        self.name("spec.clusterRef.name", &reference.name);
        if let Some(namespace) = &reference.namespace {
            self.name("spec.clusterRef.namespace", namespace);
        }
    }

    /// Copies and how many of them must be in sync: both in range, and the second not above the first.
    pub(crate) fn replicas(
        &mut self,
        fields: [&str; 2],
        values: [Option<i64>; 2],
    ) -> (Option<u32>, Option<u32>) {
        let [replicas, minimum] =
            [0, 1].map(|at| self.number::<u32>(fields[at], values[at], 1..=REPLICAS_MAX));
        if let (Some(replicas), Some(minimum)) = (replicas, minimum)
            && minimum > replicas
        {
            let (_, name) = fields[0].rsplit_once('.').unwrap_or(("", fields[0]));
            self.wrong(fields[1], format!("{minimum} is more than {name}, which is {replicas}"));
        }
        (replicas, minimum)
    }

    /// `maxMessageSize`, or `default`.
    pub(crate) fn message_size(&mut self, value: Option<Quantity>, default: u32) -> u32 {
        self.size("spec.maxMessageSize", value, 1..=u64::from(limits::MESSAGE_BYTES_MAX))
            .and_then(|bytes| u32::try_from(bytes).ok())
            .unwrap_or(default)
    }

    /// `maxInFlightPerConsumer`, if it is given.
    pub(crate) fn in_flight(&mut self, value: Option<i64>) -> Option<u32> {
        self.number("spec.maxInFlightPerConsumer", value, 1..=i64::from(limits::CREDIT_MAX))
    }
}
