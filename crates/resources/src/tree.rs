//! One YAML document as a tree in which every value knows its line.
//!
//! The YAML library tells places only in its errors. So each scalar is read by a visitor that keeps the value
//! and then fails on purpose: the failure comes back with the scalar's place, and reading goes on behind it.
//! This module is the only one that knows the library.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fmt,
};

use serde::de::{self, DeserializeSeed};

use crate::{
    documents::Document,
    error::shown,
    fault::{self, Fault, OURS, TOO_LARGE},
};

/// A place in the file, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// A value with its place: a scalar's own; a list's or map's first entry, or the key in front of an empty one.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Unique in the document.
    pub(crate) id: u32,
    pub(crate) place: Place,
    pub(crate) value: Value,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Field>),
}

/// An entry of a map.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Field {
    pub(crate) key: String,
    pub(crate) place: Place,
    pub(crate) value: Node,
}

/// Bytes of one key.
const KEY_BYTES_MAX: usize = 512;

/// Faults of form that are kept of one document.
const FAULTS_MAX: usize = 50;

/// What reading one value costs beside its bytes.
const VALUE_COST: usize = 64;

/// The effort that the documents of one file may take together, in bytes read and bytes of the paths to them.
/// Aliases are values each time they are used, so a file that multiplies itself runs into it.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<usize>,
}

impl Budget {
    pub(crate) const fn new(bytes: usize) -> Self {
        Self { left: Cell::new(bytes) }
    }

    fn spend(&self, cost: usize) -> bool {
        let (left, short) = self.left.get().overflowing_sub(cost);
        self.left.set(if short { 0 } else { left });
        !short
    }
}

/// Reads one document. `Ok(None)` is an empty one.
///
/// # Errors
/// Everything that is wrong with its form; at least one fault.
pub(crate) fn read(document: Document<'_>, budget: &Budget) -> Result<Option<Node>, Vec<Fault>> {
    let first = Place { line: document.lines_before + 1, column: 1 };
    if let Some(fault) = fault::deep_brackets(document) {
        return Err(vec![fault]);
    }
    let reader =
        Reader { lines_before: document.lines_before, budget, ids: Cell::new(0), faults: RefCell::default() };
    let mut documents = serde_yaml::Deserializer::from_str(document.text);
    let Some(only) = documents.next() else { return Ok(None) };
    let node = match (NodeSeed { reader: &reader, place: first, path_bytes: 0 }).deserialize(only) {
        Ok(node) => node,
        Err(error) => {
            let fault = fault::of_the_library(&error, document);
            let mut faults = reader.faults.into_inner();
            // Without words of its own it only ends what a fault with a better place began.
            if !fault.problem.is_empty() {
                faults.push(fault);
            }
            return Err(faults);
        }
    };
    let mut faults = reader.faults.into_inner();
    if faults.is_empty() && documents.next().is_some() {
        let problem = "a second document starts here without a line of ---".to_owned();
        faults.push(Fault { place: None, problem });
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    Ok(if node.value == Value::Null { None } else { Some(node) })
}

struct Reader<'a> {
    lines_before: usize,
    budget: &'a Budget,
    ids: Cell<u32>,
    faults: RefCell<Vec<Fault>>,
}

impl Reader<'_> {
    fn id(&self) -> u32 {
        let id = self.ids.get();
        self.ids.set(id.wrapping_add(1));
        id
    }

    fn fault(&self, place: Place, problem: String) {
        let mut faults = self.faults.borrow_mut();
        if faults.len() < FAULTS_MAX {
            faults.push(Fault { place: Some(place), problem });
        }
    }

    /// The place that the library put behind a scalar's deliberate failure; it leaves out the very first.
    fn place(&self, message: &str) -> Place {
        let place = message.rsplit_once(" at line ").and_then(|(_, place)| {
            let (line, column) = place.split_once(" column ")?;
            Some(Place { line: line.parse().ok()?, column: column.parse().ok()? })
        });
        let place = place.unwrap_or(Place { line: 1, column: 1 });
        Place { line: place.line.saturating_add(self.lines_before), ..place }
    }
}

struct NodeSeed<'a> {
    reader: &'a Reader<'a>,
    /// The place of a list or map: that of the key in front of it.
    place: Place,
    /// Bytes of the keys that lead here.
    path_bytes: usize,
}

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = Node;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        let scalar = RefCell::new(None);
        let id = self.reader.id();
        let (reader, key_place) = (self.reader, self.place);
        match deserializer.deserialize_any(NodeVisitor { seed: self, scalar: &scalar }) {
            Ok(value) => {
                let place = match &value {
                    Value::List(items) => items.first().map(|item| item.place),
                    Value::Map(fields) => fields.first().map(|field| field.place),
                    _ => None,
                };
                Ok(Node { id, place: place.unwrap_or(key_place), value })
            }
            Err(error) => match scalar.into_inner() {
                Some(value) => Ok(Node { id, place: reader.place(&error.to_string()), value }),
                None => Err(error),
            },
        }
    }
}

struct NodeVisitor<'a> {
    seed: NodeSeed<'a>,
    scalar: &'a RefCell<Option<Value>>,
}

impl NodeVisitor<'_> {
    /// Keeps a scalar and fails, which makes the library tell its place.
    fn keep<E: de::Error>(&self, value: Value, bytes: usize) -> Result<Value, E> {
        self.spend(bytes)?;
        *self.scalar.borrow_mut() = Some(value);
        Err(E::custom(""))
    }

    fn spend<E: de::Error>(&self, bytes: usize) -> Result<(), E> {
        if self.seed.reader.budget.spend(VALUE_COST + bytes + self.seed.path_bytes) {
            Ok(())
        } else {
            Err(E::custom(format_args!("{OURS}{TOO_LARGE}")))
        }
    }
}

impl<'de> de::Visitor<'de> for NodeVisitor<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        self.keep(Value::Null, 0)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        self.keep(Value::Null, 0)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        self.keep(Value::Bool(value), 0)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        self.keep(Value::Integer(value.into()), 0)
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        self.keep(Value::Integer(value.into()), 0)
    }

    fn visit_i128<E: de::Error>(self, value: i128) -> Result<Value, E> {
        self.keep(Value::Integer(value), 0)
    }

    fn visit_u128<E: de::Error>(self, value: u128) -> Result<Value, E> {
        self.keep(Value::Integer(i128::try_from(value).unwrap_or(i128::MAX)), 0)
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        self.keep(Value::Float(value), 0)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value, E> {
        self.keep(Value::Text(text.to_owned()), text.len())
    }

    fn visit_enum<A: de::EnumAccess<'de>>(self, _: A) -> Result<Value, A::Error> {
        Err(de::Error::custom(format_args!("{OURS}a value has a YAML tag (!…); write it without one")))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let NodeSeed { reader, place, path_bytes } = self.seed;
        let mut items = Vec::new();
        while let Some(item) =
            list.next_element_seed(NodeSeed { reader, place, path_bytes: path_bytes + 4 })?
        {
            items.push(item);
        }
        Ok(Value::List(items))
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        self.spend(0)?;
        let NodeSeed { reader, place, path_bytes } = self.seed;
        let mut fields: Vec<Field> = Vec::new();
        let mut seen = HashSet::new();
        while let Some(key) = map.next_key_seed(NodeSeed { reader, place, path_bytes })? {
            let (place, key) = match key {
                Node { place, value: Value::Text(key), .. } => (place, key),
                Node { place, .. } => {
                    reader.fault(place, "a key must be text; put it in quotes".to_owned());
                    (place, String::new())
                }
            };
            if key.len() > KEY_BYTES_MAX {
                let text = format!("the key {} is longer than {KEY_BYTES_MAX} bytes", shown(&key));
                reader.fault(place, text);
                return Err(de::Error::custom(OURS));
            }
            let path_bytes = path_bytes + key.len();
            let value = map.next_value_seed(NodeSeed { reader, place, path_bytes })?;
            if seen.insert(key.clone()) {
                fields.push(Field { key, place, value });
            } else {
                reader.fault(place, format!("the key {} stands here a second time", shown(&key)));
            }
        }
        Ok(Value::Map(fields))
    }
}

impl Node {
    /// The value of a key, if this is a map.
    pub(crate) fn get(&self, key: &str) -> Option<&Field> {
        match &self.value {
            Value::Map(fields) => fields.iter().find(|field| field.key == key),
            _ => None,
        }
    }

    /// The text of a key, if this is a map and that is text.
    pub(crate) fn text(&self, key: &str) -> Option<&str> {
        match &self.get(key)?.value.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The place of the field at `path` (such as `spec.listeners[2].port`), or of the nearest one above it
    /// that is there.
    pub(crate) fn place_of(&self, path: &str) -> Place {
        let mut node = self;
        let mut place = self.place;
        for step in path.split(['.', '[']).filter(|step| !step.is_empty()) {
            let found = match (&node.value, step.strip_suffix(']')) {
                (Value::List(items), Some(index)) => index
                    .parse()
                    .ok()
                    .and_then(|index: usize| items.get(index))
                    .map(|item| (item, item.place)),
                _ => node.get(step).map(|field| (&field.value, field.value.key_or_own_place(field.place))),
            };
            let Some(found) = found else { break };
            (node, place) = found;
        }
        place
    }

    /// Where to point for this value behind a key: at a scalar itself, at the key of a list or map.
    fn key_or_own_place(&self, key: Place) -> Place {
        match self.value {
            Value::List(_) | Value::Map(_) | Value::Null => key,
            _ => self.place,
        }
    }

    /// What it is, for "found …".
    pub(crate) fn description(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("{value}"),
            Value::Integer(value) => format!("the number {value}"),
            Value::Float(value) => format!("the number {value}"),
            Value::Text(text) => shown(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
        }
    }
}
