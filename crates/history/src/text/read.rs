//! Lines to events.

use std::str::FromStr;

use pondage_model::{Attempt, Epoch, GroupEpoch, Lease, LogTime, Offset, ProducerId, StreamId};

use super::LINE_BYTES_MAX;
use crate::event::{
    Answer, Client, DeadLetters, Event, Grant, GroupId, KeyId, MessageId, Observation, Op, Publish, Queue,
    Request, Stamp, Term, Verdict, What,
};

/// Why a line is no event.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// It is longer than [`LINE_BYTES_MAX`].
    #[error("a line of {bytes} bytes; {LINE_BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Something that every line has is not there.
    #[error("{what} is missing")]
    Missing {
        /// What.
        what: &'static str,
    },
    /// Something is there that means nothing.
    #[error("{what} can't be {found:?}")]
    Bad {
        /// What it stands for.
        what: &'static str,
        /// What was found.
        found: String,
    },
}

/// Reads one line; `None` for a comment or an empty line.
///
/// # Errors
/// [`Malformed`] for any other line that is no event.
pub fn parse(line: &str) -> Result<Option<Event>, Malformed> {
    if line.len() > LINE_BYTES_MAX {
        return Err(Malformed::TooLong { bytes: line.len() });
    }
    let mut words = line.split_ascii_whitespace();
    let Some(at) = words.next().filter(|word| !word.starts_with('#')) else { return Ok(None) };
    let at_micros = number("the time", at)?;
    let client = words.next().ok_or(Malformed::Missing { what: "the client" })?;
    let digits = client.strip_prefix('c').ok_or_else(|| bad("the client", client))?;
    let client = Client(number("the client", digits)?);
    let word = words.next().ok_or(Malformed::Missing { what: "the event" })?;
    let mut fields = Fields(words.collect());
    let what = read_what(word, &mut fields)?;
    match fields.0.first() {
        Some(left) => Err(bad("a field", left)),
        None => Ok(Some(Event { at_micros, client, what })),
    }
}

fn read_what(word: &str, fields: &mut Fields<'_>) -> Result<What, Malformed> {
    if let Some(request) = read_request(word, fields)? {
        return Ok(What::Invoke { op: fields.op()?, request });
    }
    if let Some(answer) = read_answer(word, fields)? {
        return Ok(What::Return { op: fields.op()?, answer });
    }
    match read_observation(word, fields)? {
        Some(observation) => Ok(What::Observed(observation)),
        None => Err(bad("the event", word)),
    }
}

fn read_request(word: &str, fields: &mut Fields<'_>) -> Result<Option<Request>, Malformed> {
    Ok(Some(match word {
        "publish" => Request::Publish(Publish {
            stream: fields.stream()?,
            message: fields.message()?,
            key: fields.take("key").map(|text| hexadecimal("key", text)).transpose()?.map(KeyId),
            stamp: fields.take("session").map(stamp).transpose()?,
            delay_micros: fields.maybe("delay")?.unwrap_or(0),
            expires: fields.flag("expires")?,
        }),
        "settle" => Request::Settle {
            stream: fields.stream()?,
            offset: fields.offset()?,
            lease: fields.lease()?,
            verdict: read_verdict(fields)?,
        },
        "leave" => Request::Leave { stream: fields.stream()? },
        "purge" => Request::Purge { stream: fields.stream()? },
        "delete" => Request::Delete { stream: fields.stream()? },
        "claim" => Request::Claim { stream: fields.stream()?, group: fields.group()? },
        "seek" => {
            Request::Seek { stream: fields.stream()?, group: fields.group()?, offset: fields.offset()? }
        }
        "commit" => Request::Commit {
            stream: fields.stream()?,
            group: fields.group()?,
            epoch: GroupEpoch(fields.need("epoch")?),
            offset: fields.offset()?,
        },
        "fetch" => Request::Fetch { stream: fields.stream()?, group: fields.group()? },
        _ => return Ok(None),
    }))
}

fn read_verdict(fields: &mut Fields<'_>) -> Result<Verdict, Malformed> {
    let verdict = fields.take("verdict").ok_or(Malformed::Missing { what: "verdict" })?;
    Ok(match verdict {
        "accept" => Verdict::Accept,
        "reject" => Verdict::Reject,
        "return" => Verdict::Return,
        "release" => Verdict::Release { delay_micros: fields.maybe("delay")?.unwrap_or(0) },
        "renew" => Verdict::Renew { lasts_micros: fields.need("lasts")? },
        _ => return Err(bad("verdict", verdict)),
    })
}

fn read_answer(word: &str, fields: &mut Fields<'_>) -> Result<Option<Answer>, Malformed> {
    Ok(Some(match word {
        "stored" => Answer::Stored { offset: fields.offset()? },
        "settled" => {
            Answer::Settled { already: fields.flag("already")?, until: fields.maybe("until")?.map(LogTime) }
        }
        "cursor" => Answer::Cursor { epoch: GroupEpoch(fields.need("epoch")?), offset: fields.offset()? },
        "done" => Answer::Done,
        "refused" => Answer::Refused,
        "lease-lost" => Answer::LeaseLost,
        "unknown" => Answer::Unknown,
        _ => return Ok(None),
    }))
}

fn read_observation(word: &str, fields: &mut Fields<'_>) -> Result<Option<Observation>, Malformed> {
    Ok(Some(match word {
        "log" => Observation::Log { stream: fields.stream()? },
        "queue" => Observation::Queue(Queue {
            stream: fields.stream()?,
            dead: match fields.maybe("dead")? {
                None => None,
                Some(stream) => {
                    Some(DeadLetters { stream: StreamId(stream), attempts_max: fields.need("attempts")? })
                }
            },
            again_micros: fields.maybe("again")?,
            expires: fields.flag("expires")?,
        }),
        "from" => Observation::From { stream: fields.stream()?, offset: fields.offset()? },
        "read" => Observation::Read {
            stream: fields.stream()?,
            offset: fields.offset()?,
            message: fields.message()?,
        },
        "end" => Observation::End { stream: fields.stream()? },
        "trimmed" => Observation::Trimmed { stream: fields.stream()?, offset: fields.offset()? },
        "grant" => Observation::Grant(Grant {
            stream: fields.stream()?,
            offset: fields.offset()?,
            message: fields.message()?,
            lease: fields.lease()?,
            term: match fields.maybe("decided")? {
                None => None,
                Some(decided) => {
                    Some(Term { decided: LogTime(decided), deadline: LogTime(fields.need("deadline")?) })
                }
            },
            lasts_micros: fields.maybe("lasts")?,
        }),
        "dead-letter" => Observation::DeadLetter {
            stream: fields.stream()?,
            offset: fields.offset()?,
            message: fields.message()?,
            source: {
                let [stream, offset] = fields.dotted("source")?;
                (StreamId(number("source", stream)?), Offset(number("source", offset)?))
            },
            failures: fields.need("failures")?,
        },
        "idle" => Observation::Idle { stream: fields.stream()?, since_micros: fields.need("since")? },
        "drained" => Observation::Drained { stream: fields.stream()? },
        "leader-lost" => Observation::LeaderLost { stream: fields.stream()? },
        "leap" => Observation::Leap,
        _ => return Ok(None),
    }))
}

/// What follows the word of a line; each is taken out when it is read.
struct Fields<'a>(Vec<&'a str>);

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str) -> Option<&'a str> {
        let value = |field: &&'a str| field.strip_prefix(name)?.strip_prefix('=');
        let index = self.0.iter().position(|field| value(field).is_some())?;
        value(&self.0.remove(index))
    }

    fn maybe<T: FromStr>(&mut self, name: &'static str) -> Result<Option<T>, Malformed> {
        self.take(name).map(|text| number(name, text)).transpose()
    }

    fn need<T: FromStr>(&mut self, name: &'static str) -> Result<T, Malformed> {
        self.maybe(name)?.ok_or(Malformed::Missing { what: name })
    }

    fn flag(&mut self, name: &'static str) -> Result<bool, Malformed> {
        match self.take(name) {
            None => Ok(false),
            Some("1") => Ok(true),
            Some(other) => Err(bad(name, other)),
        }
    }

    fn op(&mut self) -> Result<Op, Malformed> {
        let index = self.0.iter().position(|field| field.starts_with('#'));
        let index = index.ok_or(Malformed::Missing { what: "the request's number" })?;
        Ok(Op(number("the request's number", &self.0.remove(index)[1..])?))
    }

    fn stream(&mut self) -> Result<StreamId, Malformed> {
        self.need("stream").map(StreamId)
    }

    fn offset(&mut self) -> Result<Offset, Malformed> {
        self.need("offset").map(Offset)
    }

    fn group(&mut self) -> Result<GroupId, Malformed> {
        self.need("group").map(GroupId)
    }

    fn message(&mut self) -> Result<MessageId, Malformed> {
        let text = self.take("message").ok_or(Malformed::Missing { what: "message" })?;
        hexadecimal("message", text).map(MessageId)
    }

    fn lease(&mut self) -> Result<Lease, Malformed> {
        let [epoch, attempt] = self.dotted("lease")?;
        Ok(Lease { epoch: Epoch(number("lease", epoch)?), attempt: Attempt(number("lease", attempt)?) })
    }

    fn dotted<const PARTS: usize>(&mut self, name: &'static str) -> Result<[&'a str; PARTS], Malformed> {
        split(name, self.take(name).ok_or(Malformed::Missing { what: name })?)
    }
}

fn stamp(text: &str) -> Result<Stamp, Malformed> {
    let [producer, epoch, sequence] = split("session", text)?;
    Ok(Stamp {
        producer: ProducerId(number("session", producer)?),
        epoch: number("session", epoch)?,
        sequence: number("session", sequence)?,
    })
}

fn split<'a, const PARTS: usize>(what: &'static str, text: &'a str) -> Result<[&'a str; PARTS], Malformed> {
    let parts: Vec<&str> = text.split('.').collect();
    parts.try_into().map_err(|_| bad(what, text))
}

fn number<T: FromStr>(what: &'static str, text: &str) -> Result<T, Malformed> {
    text.parse().map_err(|_| bad(what, text))
}

fn hexadecimal(what: &'static str, text: &str) -> Result<u64, Malformed> {
    u64::from_str_radix(text, 16).map_err(|_| bad(what, text))
}

fn bad(what: &'static str, found: &str) -> Malformed {
    Malformed::Bad { what, found: found.to_owned() }
}
