//! Reads a file of resources and says everything that is wrong with it.

use std::{collections::BTreeMap, sync::Arc};

use serde::de::DeserializeOwned;

use crate::{
    check::{FieldError, References},
    decode::{self, Finding},
    documents,
    error::{LoadError, shown},
    later,
    object::{API_VERSION, Kind, Object, Resource, Settings},
    tree::{self, Budget, Node, Place, Value},
};

/// Bytes of one file.
pub const FILE_BYTES_MAX: usize = 16 << 20;

/// Bytes of one document of a file.
pub const DOCUMENT_BYTES_MAX: usize = 4 << 20;

/// Documents of one file, the items of lists counted.
pub const DOCUMENTS_MAX: usize = 20_000;

/// Errors of one file that are told.
pub const ERRORS_MAX: usize = 1_000;

/// The effort that one file may take; see [`Budget`].
const EFFORT_BYTES_MAX: usize = 256 << 20;

/// A resource that was read and checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// Its document in the file, from 0; documents without content don't count.
    pub document_index: usize,
    /// The line on which it starts, from 1.
    pub line: usize,
    /// The resource as it was written.
    pub resource: Resource,
    /// What it asks for, checked; references are resolved to the names that the cluster knows.
    pub settings: Settings,
    file: Arc<str>,
    node: Node,
}

impl Loaded {
    /// An error of a later check, at the line of `field` (such as `spec.partitions`) or, if it was left out,
    /// of what surrounds it.
    #[must_use]
    pub fn error(&self, field: &str, problem: impl Into<String>) -> LoadError {
        error_at(&self.file, self.node.place_of(field), field.to_owned(), problem.into())
    }
}

/// Reads the resources of a file: YAML documents (or JSON, which is YAML), each a resource or a `List`.
///
/// `file_name` is only for the errors. No order is required; references inside of the file are resolved.
///
/// # Errors
/// Everything that is wrong, in the order of lines, at least one error for every document that is not right
/// and at most [`ERRORS_MAX`]. One error means that nothing is returned: a file counts as a whole.
pub fn load(file_name: &str, text: &str) -> Result<Vec<Loaded>, Vec<LoadError>> {
    let mut errors = Errors { file: file_name.into(), list: Vec::new() };
    if text.len() > FILE_BYTES_MAX {
        let (bytes, max) = (text.len(), FILE_BYTES_MAX);
        errors.push(START, String::new(), format!("the file has {bytes} bytes; the limit is {max}"));
        return Err(errors.list);
    }
    let drafts = read_drafts(text, &mut errors);
    check_uniqueness(&drafts, &mut errors);
    let references = References::new(drafts.iter().map(|draft| &draft.resource));
    let mut loaded = Vec::with_capacity(drafts.len());
    for draft in drafts {
        match draft.resource.settings(&references) {
            Ok(settings) => loaded.push(Loaded {
                document_index: draft.document_index,
                line: draft.node.place.line,
                resource: draft.resource,
                settings,
                file: Arc::clone(&errors.file),
                node: draft.node,
            }),
            Err(wrong) => {
                // Of a resource with parts that could not be read, only say what holds without them: nothing
                // about what is missing, and nothing about items of lists, whose numbers may be off.
                let holds =
                    |error: &FieldError| draft.complete || !(error.missing || error.field.contains('['));
                for error in wrong.into_iter().filter(holds) {
                    errors.push(draft.node.place_of(&error.field), error.field, error.problem);
                }
            }
        }
    }
    errors.finish(loaded)
}

/// Reads one resource, without checking it.
pub(crate) fn draft(text: &str) -> Result<Resource, Vec<LoadError>> {
    let mut errors = Errors { file: "object".into(), list: Vec::new() };
    let draft = read_drafts(text, &mut errors).pop().filter(|_| errors.list.is_empty());
    draft.map(|draft| draft.resource).ok_or(errors.list)
}

/// A resource that could be read, not checked yet.
struct Draft {
    document_index: usize,
    node: Node,
    resource: Resource,
    /// Whether all of its fields could be read.
    complete: bool,
}

const START: Place = Place { line: 1, column: 1 };

struct Errors {
    file: Arc<str>,
    list: Vec<LoadError>,
}

impl Errors {
    fn push(&mut self, place: Place, field: String, problem: String) {
        // One more than are told, to know that there are more.
        if self.list.len() <= ERRORS_MAX {
            self.list.push(error_at(&self.file, place, field, problem));
        }
    }

    fn full(&self) -> bool {
        self.list.len() > ERRORS_MAX
    }

    fn finish(mut self, loaded: Vec<Loaded>) -> Result<Vec<Loaded>, Vec<LoadError>> {
        if self.list.is_empty() {
            return Ok(loaded);
        }
        let full = self.full();
        self.list.truncate(ERRORS_MAX);
        self.list.sort_by_key(|error| (error.line, error.column));
        if full && let Some(last) = self.list.last_mut() {
            last.field.clear();
            last.problem = format!("more errors follow; the first {} are told", ERRORS_MAX - 1);
        }
        Err(self.list)
    }
}

fn error_at(file: &str, place: Place, field: String, problem: String) -> LoadError {
    LoadError { file: file.to_owned(), line: place.line, column: Some(place.column), field, problem }
}

fn read_drafts(text: &str, errors: &mut Errors) -> Vec<Draft> {
    let budget = Budget::new(EFFORT_BYTES_MAX);
    let mut drafts = Vec::new();
    let mut count = 0;
    for (document_index, document) in documents::split(text).enumerate() {
        let start = Place { line: document.lines_before + 1, column: 1 };
        if errors.full() {
            break;
        }
        if document.text.len() > DOCUMENT_BYTES_MAX {
            let (bytes, max) = (document.text.len(), DOCUMENT_BYTES_MAX);
            errors.push(start, String::new(), format!("the document has {bytes} bytes; the limit is {max}"));
            continue;
        }
        let nodes = match tree::read(document, &budget) {
            Ok(node) => node.map(|node| items(node, errors)).unwrap_or_default(),
            Err(faults) => {
                for fault in faults {
                    errors.push(fault.place.unwrap_or(start), String::new(), fault.problem);
                }
                continue;
            }
        };
        count += nodes.len().max(1);
        if count > DOCUMENTS_MAX {
            let problem = format!("the file holds more than {DOCUMENTS_MAX} resources");
            errors.push(start, String::new(), problem);
            break;
        }
        for node in nodes {
            if let Some((resource, complete)) = read_resource(&node, errors) {
                drafts.push(Draft { document_index, node, resource, complete });
            }
        }
    }
    drafts
}

/// The items of a `List` of Kubernetes, or the node itself.
fn items(node: Node, errors: &mut Errors) -> Vec<Node> {
    if node.text("kind") != Some("List") || node.text("apiVersion") != Some("v1") {
        return vec![node];
    }
    let place = node.place;
    let Value::Map(fields) = node.value else { return Vec::new() };
    let mut found = None;
    for field in fields {
        match (field.key.as_str(), field.value.value) {
            ("items", Value::List(items)) => found = Some(items),
            ("items", Value::Null) => found = Some(Vec::new()),
            ("items", _) => {
                errors.push(field.place, "items".to_owned(), "expected a list of resources".to_owned());
                found = Some(Vec::new());
            }
            ("apiVersion" | "kind" | "metadata", _) => {}
            _ => {
                let problem = "is not a field; allowed: apiVersion, kind, metadata, items".to_owned();
                errors.push(field.place, crate::error::shown_key(&field.key), problem);
            }
        }
    }
    found.unwrap_or_else(|| {
        errors.push(place, "items".to_owned(), "is required: a list of resources".to_owned());
        Vec::new()
    })
}

/// Reads one resource, and whether all of its fields could be read.
fn read_resource(node: &Node, errors: &mut Errors) -> Option<(Resource, bool)> {
    let kind = match kind(node) {
        Ok(kind) => kind,
        Err((field, problem)) => {
            errors.push(node.place_of(field), field.to_owned(), problem);
            return None;
        }
    };
    let (resource, findings) = match kind {
        Kind::BrokerCluster => decode_as(node, Resource::BrokerCluster),
        Kind::Topic => decode_as(node, Resource::Topic),
        Kind::Queue => decode_as(node, Resource::Queue),
        Kind::ConsumerGroup => decode_as(node, Resource::ConsumerGroup),
    };
    let complete = findings.is_empty();
    for finding in findings {
        errors.push(finding.place, finding.field, finding.problem);
    }
    resource.map(|resource| (resource, complete))
}

/// The kind of the resource in `node`, or the field that tells none and why.
fn kind(node: &Node) -> Result<Kind, (&'static str, String)> {
    if !matches!(node.value, Value::Map(_)) {
        let found = node.description();
        let problem = format!("expected a resource (apiVersion, kind, metadata, spec), found {found}");
        return Err(("", problem));
    }
    let text = |field: &'static str, expected: &str| match node.get(field).map(|field| &field.value) {
        None | Some(Node { value: Value::Null, .. }) => Err((field, format!("is required: {expected}"))),
        Some(Node { value: Value::Text(text), .. }) => Ok(text.clone()),
        Some(other) => Err((field, format!("expected {expected}, found {}", other.description()))),
    };
    let version = text("apiVersion", API_VERSION)?;
    if version != API_VERSION {
        let problem = format!("{} is not served; served: {API_VERSION}", shown(&version));
        return Err(("apiVersion", problem));
    }
    let served = Kind::ALL.map(Kind::as_str).join(", ");
    let word = text("kind", &format!("one of {served}"))?;
    Kind::ALL.into_iter().find(|kind| kind.as_str() == word).ok_or_else(|| {
        let yet = if later::KINDS.contains(&word.as_str()) { "served by this version yet" } else { "a kind" };
        ("kind", format!("{} is not {yet}; served: {served}", shown(&word)))
    })
}

fn decode_as<S>(node: &Node, wrap: fn(Object<S>) -> Resource) -> (Option<Resource>, Vec<Finding>)
where
    Object<S>: DeserializeOwned,
{
    let (object, findings) = decode::decode(node);
    (object.map(wrap), findings)
}

/// Every resource stands once, by its own name and by the name in its cluster.
fn check_uniqueness(drafts: &[Draft], errors: &mut Errors) {
    let mut own = BTreeMap::new();
    let mut in_cluster = BTreeMap::new();
    for (at, draft) in drafts.iter().enumerate() {
        let (kind, metadata) = (draft.resource.kind(), draft.resource.metadata());
        let (Some(name), Some(cluster_name)) = (&metadata.name, draft.resource.cluster_name()) else {
            continue;
        };
        let cluster = draft.resource.cluster();
        let cluster_namespace =
            cluster.and_then(|cluster| cluster.namespace.as_ref()).or(metadata.namespace.as_ref());
        let cluster = cluster.map(|cluster| &cluster.name);
        let mut report = |other: usize, name: &str| {
            let line = drafts[other].node.place.line;
            let problem = format!("{} {} stands at line {line} already", kind.as_str(), shown(name));
            errors.push(draft.node.place_of("metadata.name"), "metadata.name".to_owned(), problem);
        };
        let first = *own.entry((kind, &metadata.namespace, name)).or_insert(at);
        let first_in_cluster =
            *in_cluster.entry((kind, cluster_namespace, cluster, cluster_name)).or_insert(at);
        if first != at {
            report(first, name);
        } else if first_in_cluster != at {
            report(first_in_cluster, cluster_name);
        }
    }
}
