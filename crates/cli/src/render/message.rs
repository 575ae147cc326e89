//! Messages on stdout.

use std::io::{self, Write};

use bytes::Bytes;
use clap::ValueEnum;
use pondage_client::{MessageRun, ReceivedMessage, TopicMessage};
use pondage_model::Token;
use serde_json::{Map, Value, json};

use super::text::{Lines, base64, hex, shown, time, without_harm};

/// How messages are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum MessageForm {
    /// A line with place, time and key, then headers, then the body
    #[default]
    Text,
    /// One JSON object per line; what is no text stands in Base64
    Json,
    /// The body alone, as it is
    Value,
    /// Key, tab, body
    KeyValue,
}

/// A message and what is known of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a> {
    /// The topic or queue.
    pub(crate) source: &'a str,
    /// The partition; `None` for queues, which have one.
    pub(crate) partition: Option<u32>,
    pub(crate) offset: u64,
    pub(crate) timestamp_millis: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) headers: &'a [(Bytes, Option<Bytes>)],
    /// The attempt, for a message under a lease.
    pub(crate) attempt: Option<u32>,
    /// The lease.
    pub(crate) token: Option<Token>,
    /// The state, for a message that is only looked at.
    pub(crate) run: Option<MessageRun>,
}

impl<'a> Shown<'a> {
    /// A message of a topic; `partition` is left out when it is shown as one of a queue.
    pub(crate) fn read(source: &'a str, is_topic: bool, message: &'a TopicMessage) -> Self {
        Self {
            source,
            partition: is_topic.then_some(message.partition),
            offset: message.offset.get(),
            timestamp_millis: message.timestamp_millis,
            key: message.key.as_deref(),
            value: message.value.as_deref(),
            headers: &message.headers,
            attempt: None,
            token: None,
            run: None,
        }
    }

    /// A message under a lease; `is_topic`: a shared group's.
    pub(crate) fn leased(is_topic: bool, message: &'a ReceivedMessage) -> Self {
        Self {
            source: message.source.as_str(),
            partition: is_topic.then_some(message.partition),
            offset: message.offset.get(),
            timestamp_millis: message.timestamp_millis,
            key: message.key.as_deref(),
            value: message.value.as_deref(),
            headers: &message.headers,
            attempt: Some(message.attempt.get()),
            token: Some(message.token),
            run: None,
        }
    }

    /// Writes it. `to_terminal`: nothing goes out that a terminal acts on, whatever the form.
    pub(crate) fn write(&self, out: &mut dyn Write, form: MessageForm, to_terminal: bool) -> io::Result<()> {
        let raw_or_shown = |out: &mut dyn Write, bytes: &[u8], lines| {
            if to_terminal { out.write_all(shown(bytes, lines).as_bytes()) } else { out.write_all(bytes) }
        };
        match form {
            MessageForm::Text => self.write_text(out),
            MessageForm::Json => writeln!(out, "{}", without_harm(&self.to_json().to_string())),
            MessageForm::Value => {
                raw_or_shown(out, self.value.unwrap_or_default(), Lines::Many)?;
                out.write_all(b"\n")
            }
            MessageForm::KeyValue => {
                raw_or_shown(out, self.key.unwrap_or_default(), Lines::One)?;
                out.write_all(b"\t")?;
                raw_or_shown(out, self.value.unwrap_or_default(), Lines::Many)?;
                out.write_all(b"\n")
            }
        }
    }

    fn write_text(&self, out: &mut dyn Write) -> io::Result<()> {
        write!(out, "# {}", self.source)?;
        if let Some(partition) = self.partition {
            write!(out, "/{partition}")?;
        }
        write!(out, " {}  {}", self.offset, time(self.timestamp_millis))?;
        if let Some(key) = self.key {
            write!(out, "  key {}", shown(key, Lines::One))?;
        }
        if let Some(attempt) = self.attempt.filter(|attempt| *attempt > 1) {
            write!(out, "  attempt {attempt}")?;
        }
        if let Some(run) = &self.run.filter(|_| self.partition.is_none()) {
            write!(out, "  {}", run.state.as_str())?;
            if let Some(until) = run.until {
                write!(out, " until {}", time(until.0))?;
            }
            if run.failures > 0 {
                write!(out, "  failed {}", run.failures)?;
            }
        }
        out.write_all(b"\n")?;
        for (key, value) in self.headers {
            let value =
                value.as_deref().map_or_else(|| "(none)".to_owned(), |value| shown(value, Lines::One));
            writeln!(out, "#   {}: {value}", shown(key, Lines::One))?;
        }
        match self.value {
            None => out.write_all(b"# (no value)\n"),
            Some(value) => writeln!(out, "{}", shown(value, Lines::Many)),
        }
    }

    /// The message for programs.
    pub(crate) fn to_json(self) -> Value {
        let mut object = Map::new();
        let mut put = |name: &str, value: Value| object.insert(name.to_owned(), value);
        put("source", json!(self.source));
        if let Some(partition) = self.partition {
            put("partition", json!(partition));
        }
        put("offset", json!(self.offset));
        put("timestamp", json!(time(self.timestamp_millis)));
        if let Some(attempt) = self.attempt {
            put("attempt", json!(attempt));
        }
        if let Some(token) = self.token {
            put("token", json!(hex(&token.encode())));
        }
        if let Some(run) = &self.run {
            put("state", json!(run.state.as_str()));
            put("failures", json!(run.failures));
            if let Some(until) = run.until {
                put("until", json!(time(until.0)));
            }
        }
        put_bytes(&mut object, "key", self.key);
        put_bytes(&mut object, "value", self.value);
        let headers = self.headers.iter().map(|(key, value)| {
            let mut header = Map::new();
            put_bytes(&mut header, "key", Some(key));
            put_bytes(&mut header, "value", value.as_deref());
            Value::Object(header)
        });
        let headers: Vec<Value> = headers.collect();
        object.insert("headers".to_owned(), Value::Array(headers));
        Value::Object(object)
    }
}

/// Text as it is, null where there is nothing, anything else in Base64 under another name.
fn put_bytes(object: &mut Map<String, Value>, name: &str, bytes: Option<&[u8]>) {
    match bytes.map(std::str::from_utf8) {
        None => object.insert(name.to_owned(), Value::Null),
        Some(Ok(text)) => object.insert(name.to_owned(), json!(text)),
        Some(Err(_)) => object.insert(format!("{name}Base64"), json!(base64(bytes.unwrap_or_default()))),
    };
}

#[cfg(test)]
#[path = "message_tests.rs"]
mod tests;
