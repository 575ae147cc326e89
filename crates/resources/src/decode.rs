//! From the tree to the spec types, strictly: a field or value that is not served is an error, and reading
//! goes on behind it, so that one look tells everything that is wrong.

use std::{cell::RefCell, collections::BTreeSet, fmt};

use serde::{
    de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer, Visitor, value::StrDeserializer},
    forward_to_deserialize_any,
};

use crate::{
    error::shown_key,
    later::{self, Foreign},
    tree::{Field, Node, Place, Value},
};

/// A field that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) place: Place,
    pub(crate) field: String,
    pub(crate) problem: String,
}

/// Values of one document that are taken out before reading is given up.
const ATTEMPTS_MAX: usize = 40;

/// Unknown fields of one document that are listed.
const UNKNOWN_MAX: usize = 40;

/// Reads `node` as a `T`. Beside the findings comes what could be read without the fields that are wrong.
pub(crate) fn decode<T: DeserializeOwned>(node: &Node) -> (Option<T>, Vec<Finding>) {
    // An error ends a visitor. So the value that caused it is passed over and the whole is read again, which
    // costs time only where something is wrong.
    let mut wrong = Vec::new();
    let mut skipped = BTreeSet::new();
    loop {
        let unknown = RefCell::default();
        let result =
            T::deserialize(Decoder { node, path: &Path::Root, skipped: &skipped, unknown: &unknown });
        let mut findings = unknown.into_inner();
        let value = match result {
            Ok(value) => Some(value),
            Err(error) => {
                let Failure(error) = error;
                let Error { at, problem, .. } = *error;
                let (id, finding) = match at {
                    Some(at) => (at.id, Finding { place: at.place, field: at.field, problem }),
                    None => (node.id, Finding { place: node.place, field: String::new(), problem }),
                };
                // A required field that was passed over is missing because of us: nothing new.
                if finding.problem != MISSING || wrong.is_empty() {
                    wrong.push(finding);
                }
                if id != node.id && wrong.len() < ATTEMPTS_MAX && skipped.insert(id) {
                    continue;
                }
                None
            }
        };
        findings.retain(|finding| !wrong.contains(finding));
        findings.append(&mut wrong);
        findings.sort_by_key(|finding| finding.place);
        return (value, findings);
    }
}

/// What is said of a required field that is not there.
const MISSING: &str = "is required";

/// The way from the root to a value.
enum Path<'a> {
    Root,
    Key(&'a Path<'a>, &'a str),
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(&shown_key(key)),
            Self::Key(parent, key) => write!(f, "{parent}.{}", shown_key(key)),
            Self::Item(parent, at) => write!(f, "{parent}[{at}]"),
        }
    }
}

/// Why a value could not be read, and which.
#[derive(Debug)]
struct Failure(Box<Error>);

#[derive(Debug)]
struct Error {
    at: Option<At>,
    /// The field that is missing in the value at hand.
    missing: Option<&'static str>,
    problem: String,
}

#[derive(Debug)]
struct At {
    id: u32,
    place: Place,
    field: String,
}

impl Failure {
    fn new(problem: String) -> Self {
        Self(Box::new(Error { at: None, missing: None, problem }))
    }

    /// Names the place, unless something further inside has.
    fn or_at(mut self, id: u32, place: Place, path: &Path<'_>) -> Self {
        let missing = self.0.missing;
        self.0.at.get_or_insert_with(|| {
            let field = match missing {
                Some(missing) => Path::Key(path, missing).to_string(),
                None => path.to_string(),
            };
            At { id, place, field }
        });
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.problem)
    }
}

impl std::error::Error for Failure {}

impl de::Error for Failure {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self::new(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        let mut failure = Self::new(MISSING.to_owned());
        failure.0.missing = Some(field);
        failure
    }

    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(unknown_field(expected))
    }
}

fn unknown_field(allowed: &[&str]) -> String {
    format!("is not a field; allowed: {}", allowed.join(", "))
}

#[derive(Clone, Copy)]
struct Decoder<'a, 'p> {
    node: &'a Node,
    path: &'p Path<'p>,
    /// Values that an earlier attempt stumbled over.
    skipped: &'p BTreeSet<u32>,
    unknown: &'p RefCell<Vec<Finding>>,
}

impl<'a> Decoder<'a, '_> {
    fn child<T: DeserializeSeed<'a>>(
        self,
        node: &'a Node,
        path: &Path<'_>,
        seed: T,
    ) -> Result<T::Value, Failure> {
        let child = Decoder { node, path, skipped: self.skipped, unknown: self.unknown };
        child.placed(seed.deserialize(child))
    }

    fn expected<T>(&self, what: impl fmt::Display) -> Result<T, Failure> {
        let hint = match self.node.value {
            Value::Integer(_) | Value::Float(_) | Value::Bool(_) if what.to_string() == "text" => {
                "; put it in quotes"
            }
            _ => "",
        };
        self.placed(Err(Failure::new(format!("expected {what}, found {}{hint}", self.node.description()))))
    }

    fn placed<T>(&self, result: Result<T, Failure>) -> Result<T, Failure> {
        result.map_err(|failure| failure.or_at(self.node.id, self.node.place, self.path))
    }

    /// Passes over fields that the struct `name` does not have, and says so.
    fn known(&self, name: &'static str, fields: &'static [&'static str], field: &Field) -> bool {
        if fields.contains(&field.key.as_str()) {
            return true;
        }
        let problem = match later::field(name, &field.key) {
            Foreign::Kubernetes => return false,
            Foreign::Later => format!("is not served by this version yet; served: {}", fields.join(", ")),
            Foreign::Unknown => unknown_field(fields),
        };
        let mut unknown = self.unknown.borrow_mut();
        if unknown.len() < UNKNOWN_MAX {
            let field_path = Path::Key(self.path, &field.key).to_string();
            unknown.push(Finding { place: field.place, field: field_path, problem });
        }
        false
    }

    fn list<V: Visitor<'a>>(self, items: &'a [Node], visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_seq(Items { parent: self, items: items.iter().enumerate() })
    }

    fn map<V: Visitor<'a>>(self, fields: Vec<&'a Field>, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_map(Fields { parent: self, fields: fields.into_iter(), current: None })
    }

    fn is_skipped(&self, node: &Node) -> bool {
        self.skipped.contains(&node.id)
    }

    fn fields(&self, fields: &'a [Field]) -> Vec<&'a Field> {
        fields.iter().filter(|field| !self.is_skipped(&field.value)).collect()
    }
}

impl<'de> de::Deserializer<'de> for Decoder<'de, '_> {
    type Error = Failure;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        let expecting = (&visitor as &dyn de::Expected).to_string();
        self.placed(match &self.node.value {
            Value::Null => visitor.visit_unit(),
            Value::Integer(number) => match i64::try_from(*number) {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => return self.expected("a whole number of at most 64 bits"),
            },
            Value::Text(text) => visitor.visit_borrowed_str(text),
            Value::List(items) => self.list(items, visitor),
            Value::Map(fields) => self.map(self.fields(fields), visitor),
            Value::Bool(_) | Value::Float(_) => return self.expected(expecting),
        })
        .map_err(|failure| self.in_our_words(failure, &expecting))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Null => visitor.visit_none(),
            _ => self.placed(visitor.visit_some(self)),
        }
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match self.node.value {
            Value::Integer(number) => match i64::try_from(number) {
                Ok(number) => self.placed(visitor.visit_i64(number)),
                Err(_) => self.expected("a whole number of at most 64 bits"),
            },
            _ => self.expected("a whole number"),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Text(text) => self.placed(visitor.visit_borrowed_str(text)),
            _ => self.expected("text"),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        self.deserialize_str(visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::List(items) => self.placed(self.list(items, visitor)),
            _ => self.expected("a list"),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Map(fields) => self.placed(self.map(self.fields(fields), visitor)),
            Value::Null => self.placed(self.map(Vec::new(), visitor)),
            _ => self.expected("a map"),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        match &self.node.value {
            Value::Map(entries) => {
                let known = self
                    .fields(entries)
                    .into_iter()
                    .filter(|entry| self.known(name, fields, entry))
                    .collect();
                self.placed(self.map(known, visitor))
            }
            Value::Null => self.placed(self.map(Vec::new(), visitor)),
            _ => self.expected(format_args!("a map of {}", fields.join(", "))),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Failure> {
        let served = variants.join(", ");
        match &self.node.value {
            Value::Text(text) if variants.contains(&text.as_str()) => {
                let value: StrDeserializer<'_, Failure> = text.as_str().into_deserializer();
                self.placed(visitor.visit_enum(value))
            }
            Value::Text(text) if later::value(name, text) => self.placed(Err(Failure::new(format!(
                "{} is not served by this version yet; served: {served}",
                self.node.description()
            )))),
            _ => self.expected(format_args!("one of {served}")),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Failure> {
        self.placed(visitor.visit_newtype_struct(self))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Failure> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple
        tuple_struct identifier
    }
}

impl Decoder<'_, '_> {
    /// serde's "invalid type: …" of a visitor that takes several types, as every other message of ours.
    fn in_our_words(self, mut failure: Failure, expecting: &str) -> Failure {
        if failure.0.problem.starts_with("invalid type: ") {
            failure.0.problem = format!("expected {expecting}, found {}", self.node.description());
        }
        failure
    }
}

struct Items<'a, 'p> {
    parent: Decoder<'a, 'p>,
    items: std::iter::Enumerate<std::slice::Iter<'a, Node>>,
}

impl<'a> de::SeqAccess<'a> for Items<'a, '_> {
    type Error = Failure;

    fn next_element_seed<T: DeserializeSeed<'a>>(&mut self, seed: T) -> Result<Option<T::Value>, Failure> {
        let parent = self.parent;
        let Some((at, node)) = self.items.find(|(_, node)| !parent.is_skipped(node)) else { return Ok(None) };
        parent.child(node, &Path::Item(parent.path, at), seed).map(Some)
    }
}

struct Fields<'a, 'p> {
    parent: Decoder<'a, 'p>,
    fields: std::vec::IntoIter<&'a Field>,
    current: Option<&'a Field>,
}

impl<'a> de::MapAccess<'a> for Fields<'a, '_> {
    type Error = Failure;

    fn next_key_seed<K: DeserializeSeed<'a>>(&mut self, seed: K) -> Result<Option<K::Value>, Failure> {
        self.current = self.fields.next();
        let Some(field) = self.current else { return Ok(None) };
        let key: de::value::BorrowedStrDeserializer<'a, Failure> =
            de::value::BorrowedStrDeserializer::new(&field.key);
        seed.deserialize(key).map(Some).map_err(|failure| {
            failure.or_at(field.value.id, field.place, &Path::Key(self.parent.path, &field.key))
        })
    }

    fn next_value_seed<V: DeserializeSeed<'a>>(&mut self, seed: V) -> Result<V::Value, Failure> {
        // serde asks for a value only after it got the key.
        let Some(field) = self.current.take() else {
            return Err(Failure::new("a value was read before its key".to_owned()));
        };
        self.parent.child(&field.value, &Path::Key(self.parent.path, &field.key), seed)
    }
}
