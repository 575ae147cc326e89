//! Storing batches.

use bytes::Bytes;
use pondage_model::{
    Body, LogTime, Refusal, StreamId,
    entry::{MovedFrom, ProducerStamp, Publish, PublishAttributes, Timing},
    limits,
    settings::StreamSettings,
};

use super::{Decision, Draft, Leading, Reply, outcomes::after};
use crate::fold::{self, Stream};

/// Log time for which a session is kept even if the stream is full of sessions, in milliseconds.
const PRODUCER_KEPT_MILLIS_MIN: u64 = 60_000;

/// A publish without its stream.
pub(super) struct Publishing {
    pub(super) count: u32,
    pub(super) batch: Bytes,
    pub(super) producer: Option<ProducerStamp>,
    pub(super) delay_millis: Option<u64>,
    pub(super) ttl_millis: Option<u64>,
    pub(super) moved: Option<MovedFrom>,
}

impl Leading {
    pub(super) fn publish(&self, id: StreamId, now: LogTime, publish: Publishing) -> Decision {
        let Some(stream) = self.state.stream(id) else {
            return Refusal::NotFound { kind: "stream", name: id.to_string() }.into();
        };
        if let Some(moved) = publish.moved
            && let Some((last, base_offset)) = stream.moved_in(moved.source)
            && moved.seq <= last
        {
            return Decision::reply(Reply::Published { base_offset, repeat: true });
        }
        decide(id, stream, now, publish).unwrap_or_else(Into::into)
    }
}

fn decide(id: StreamId, stream: &Stream, now: LogTime, publish: Publishing) -> Result<Decision, Refusal> {
    let Publishing { count, batch, producer, delay_millis, ttl_millis, moved } = publish;
    if !(1..=limits::BATCH_MESSAGES_MAX).contains(&count) {
        let what = format!("a batch has 1 to {} messages, not {count}", limits::BATCH_MESSAGES_MAX);
        return Err(Refusal::InvalidArgument { what });
    }
    if batch.len() > limits::BATCH_BYTES_MAX {
        let (bytes, limit) = (batch.len() as u64, limits::BATCH_BYTES_MAX as u64);
        return Err(Refusal::TooLarge { what: "the batch", bytes, limit });
    }
    if stream.home().is_some() || stream.reads().is_some() {
        let what = "a group takes no messages: publish to a topic or queue".to_owned();
        return Err(Refusal::InvalidArgument { what });
    }
    let timing = timing(&stream.open.settings, now, count, delay_millis, ttl_millis)?;
    let mut drafts = Vec::new();
    if let Some(stamp) = producer {
        match stream.producers().judge(stamp, count)? {
            fold::Verdict::Append => {}
            fold::Verdict::Begin => drafts.extend(make_room(id, stream, now)?),
            fold::Verdict::Repeat(base_offset) => {
                return Ok(Decision::reply(Reply::Published { base_offset, repeat: true }));
            }
        }
    }
    let base_offset = stream.end();
    let attributes = PublishAttributes { producer, timing: timing.into_iter().collect(), moved };
    let body = Body::Publish(Publish { base_offset, count, attributes, batch });
    drafts.push(Draft { stream: id, body });
    Ok(Decision { drafts, reply: Reply::Published { base_offset, repeat: false } })
}

/// When the batch is due and expires, if it has such times.
fn timing(
    settings: &StreamSettings,
    now: LogTime,
    count: u32,
    delay_millis: Option<u64>,
    ttl_millis: Option<u64>,
) -> Result<Option<Timing>, Refusal> {
    let invalid = |what: String| Err(Refusal::InvalidArgument { what });
    let StreamSettings::Queue(settings) = settings else {
        return if delay_millis.is_some_and(|millis| millis > 0) || ttl_millis.is_some() {
            invalid("a topic is a log: its messages have neither delay nor time to live; use a queue".into())
        } else {
            Ok(None)
        };
    };
    if let Some(millis) = delay_millis
        && millis > settings.delivery_delay_millis_max
    {
        let max = settings.delivery_delay_millis_max;
        return invalid(format!("a delay of {millis} ms is above the queue's maximum of {max} ms"));
    }
    if ttl_millis == Some(0) {
        return invalid("a time to live is at least 1 ms".into());
    }
    let delay = delay_millis.unwrap_or(settings.delivery_delay_millis);
    let due = (delay > 0).then(|| after(now, delay));
    let ttl = [ttl_millis, settings.message_ttl_millis].into_iter().flatten().min();
    let expires = ttl.map(|millis| after(now, millis.max(1)));
    let timed = due.is_some() || expires.is_some();
    Ok(timed.then_some(Timing { first: 0, count, due, expires }))
}

/// The entry that makes room for another producer session where there is none.
fn make_room(id: StreamId, stream: &Stream, now: LogTime) -> Result<Option<Draft>, Refusal> {
    if stream.producer_count() < limits::PRODUCERS_PER_STREAM_MAX {
        return Ok(None);
    }
    match stream.producers().idlest() {
        Some((used, producer)) if now.millis_since(used) >= PRODUCER_KEPT_MILLIS_MIN => {
            Ok(Some(Draft { stream: id, body: Body::ForgetProducers(vec![producer]) }))
        }
        _ => Err(Refusal::Busy { what: "producer sessions of this queue or partition" }),
    }
}
