//! Events to lines.

use std::fmt::{self, Display, Formatter, Result};

use pondage_model::Lease;

use crate::event::{Answer, Event, Grant, Observation, Op, Publish, Queue, Request, Verdict, What};

impl Display for Event {
    /// The event as one line, without its end.
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{} c{} ", self.at_micros, self.client.0)?;
        match &self.what {
            What::Invoke { op, request } => write_request(f, *op, request),
            What::Return { op, answer } => write_answer(f, *op, answer),
            What::Observed(observation) => write_observation(f, observation),
        }
    }
}

/// ` name=value`, if there is a value.
fn maybe(f: &mut Formatter<'_>, name: &str, value: Option<impl Display>) -> Result {
    value.map_or(Ok(()), |value| write!(f, " {name}={value}"))
}

/// ` name=1`, if it is so.
fn flag(f: &mut Formatter<'_>, name: &str, is_set: bool) -> Result {
    maybe(f, name, is_set.then_some(1))
}

struct Dotted(Lease);

impl Display for Dotted {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}.{}", self.0.epoch, self.0.attempt)
    }
}

fn write_request(f: &mut Formatter<'_>, op: Op, request: &Request) -> Result {
    let op = op.0;
    match request {
        Request::Publish(Publish { stream, message, key, stamp, delay_micros, expires }) => {
            write!(f, "publish #{op} stream={stream} message={:x}", message.0)?;
            maybe(f, "key", key.map(|key| format!("{:x}", key.0)))?;
            let session = stamp.map(|stamp| format!("{}.{}.{}", stamp.producer, stamp.epoch, stamp.sequence));
            maybe(f, "session", session)?;
            maybe(f, "delay", (*delay_micros > 0).then_some(delay_micros))?;
            flag(f, "expires", *expires)
        }
        Request::Settle { stream, offset, lease, verdict } => {
            write!(f, "settle #{op} stream={stream} offset={offset} lease={} verdict=", Dotted(*lease))?;
            match verdict {
                Verdict::Accept => f.write_str("accept"),
                Verdict::Reject => f.write_str("reject"),
                Verdict::Return => f.write_str("return"),
                Verdict::Release { delay_micros: 0 } => f.write_str("release"),
                Verdict::Release { delay_micros } => write!(f, "release delay={delay_micros}"),
                Verdict::Renew { lasts_micros } => write!(f, "renew lasts={lasts_micros}"),
            }
        }
        Request::Leave { stream } => write!(f, "leave #{op} stream={stream}"),
        Request::Purge { stream } => write!(f, "purge #{op} stream={stream}"),
        Request::Delete { stream } => write!(f, "delete #{op} stream={stream}"),
        Request::Claim { stream, group } => write!(f, "claim #{op} stream={stream} group={}", group.0),
        Request::Seek { stream, group, offset } => {
            write!(f, "seek #{op} stream={stream} group={} offset={offset}", group.0)
        }
        Request::Commit { stream, group, epoch, offset } => {
            write!(f, "commit #{op} stream={stream} group={} epoch={epoch} offset={offset}", group.0)
        }
        Request::Fetch { stream, group } => write!(f, "fetch #{op} stream={stream} group={}", group.0),
    }
}

fn write_answer(f: &mut Formatter<'_>, op: Op, answer: &Answer) -> Result {
    let op = op.0;
    match answer {
        Answer::Stored { offset } => write!(f, "stored #{op} offset={offset}"),
        Answer::Settled { already, until } => {
            write!(f, "settled #{op}")?;
            flag(f, "already", *already)?;
            maybe(f, "until", until.map(|until| until.0))
        }
        Answer::Cursor { epoch, offset } => write!(f, "cursor #{op} epoch={epoch} offset={offset}"),
        Answer::Done => write!(f, "done #{op}"),
        Answer::Refused => write!(f, "refused #{op}"),
        Answer::LeaseLost => write!(f, "lease-lost #{op}"),
        Answer::Unknown => write!(f, "unknown #{op}"),
    }
}

fn write_observation(f: &mut Formatter<'_>, observation: &Observation) -> fmt::Result {
    match observation {
        Observation::Log { stream } => write!(f, "log stream={stream}"),
        Observation::Queue(Queue { stream, dead, again_micros, expires }) => {
            write!(f, "queue stream={stream}")?;
            maybe(f, "dead", dead.map(|dead| dead.stream))?;
            maybe(f, "attempts", dead.map(|dead| dead.attempts_max))?;
            maybe(f, "again", *again_micros)?;
            flag(f, "expires", *expires)
        }
        Observation::From { stream, offset } => write!(f, "from stream={stream} offset={offset}"),
        Observation::Read { stream, offset, message } => {
            write!(f, "read stream={stream} offset={offset} message={:x}", message.0)
        }
        Observation::End { stream } => write!(f, "end stream={stream}"),
        Observation::Trimmed { stream, offset } => write!(f, "trimmed stream={stream} offset={offset}"),
        Observation::Grant(Grant { stream, offset, message, lease, term, lasts_micros }) => {
            let (message, lease) = (message.0, Dotted(*lease));
            write!(f, "grant stream={stream} offset={offset} message={message:x} lease={lease}")?;
            maybe(f, "decided", term.map(|term| term.decided.0))?;
            maybe(f, "deadline", term.map(|term| term.deadline.0))?;
            maybe(f, "lasts", *lasts_micros)
        }
        Observation::DeadLetter { stream, offset, message, source, failures } => {
            write!(f, "dead-letter stream={stream} offset={offset} message={:x}", message.0)?;
            write!(f, " source={}.{} failures={failures}", source.0, source.1)
        }
        Observation::Idle { stream, since_micros } => write!(f, "idle stream={stream} since={since_micros}"),
        Observation::Drained { stream } => write!(f, "drained stream={stream}"),
        Observation::LeaderLost { stream } => write!(f, "leader-lost stream={stream}"),
        Observation::Leap => f.write_str("leap"),
    }
}
