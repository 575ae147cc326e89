//! What settings must be like by themselves, whatever the cluster looks like.
//!
//! Refusals name the field as resource files spell it. Durations are not looked at: those beyond
//! `DURATION_MILLIS_MAX` are clamped where they are used.

use std::collections::BTreeSet;

use pondage_model::{
    Refusal, limits,
    settings::{Backoff, GroupSettings, GroupSource, QueueSettings, TopicSettings},
};

fn require(holds: bool, what: impl FnOnce() -> String) -> Result<(), Refusal> {
    if holds { Ok(()) } else { Err(Refusal::InvalidArgument { what: what() }) }
}

fn message_size(bytes: u32) -> Result<(), Refusal> {
    let max = limits::MESSAGE_BYTES_MAX;
    require((1..=max).contains(&bytes), || format!("maxMessageSize: 1 to {max} bytes, not {bytes}"))
}

fn in_flight(messages: u32) -> Result<(), Refusal> {
    let max = limits::CREDIT_MAX;
    require((1..=max).contains(&messages), || format!("maxInFlightPerConsumer: 1 to {max}, not {messages}"))
}

pub(super) fn topic(settings: &TopicSettings) -> Result<(), Refusal> {
    let (partitions, max) = (settings.partitions, limits::PARTITIONS_MAX);
    require((1..=max).contains(&partitions), || format!("partitions: 1 to {max}, not {partitions}"))?;
    message_size(settings.message_bytes_max)
}

pub(super) fn queue(settings: &QueueSettings) -> Result<(), Refusal> {
    message_size(settings.message_bytes_max)?;
    in_flight(settings.in_flight_per_consumer_max)?;
    delivery(settings.ack_timeout_millis, &settings.backoff)?;
    require(settings.message_ttl_millis != Some(0), || "messageTTL: must be more than 0".to_owned())?;
    let (delay, max) = (settings.delivery_delay_millis, settings.delivery_delay_millis_max);
    require(delay <= max, || format!("deliveryDelay: {delay} ms is more than maxDeliveryDelay, {max} ms"))
}

/// How messages are delivered under leases.
fn delivery(ack_timeout_millis: u64, backoff: &Backoff) -> Result<(), Refusal> {
    require(ack_timeout_millis > 0, || "ackTimeout: must be more than 0".to_owned())?;
    match backoff {
        Backoff::Schedule(steps) => require(steps.len() <= limits::BACKOFF_STEPS_MAX, || {
            format!("backoff: at most {} steps, not {}", limits::BACKOFF_STEPS_MAX, steps.len())
        }),
        Backoff::Exponential { multiplier_percent, .. } => {
            require(*multiplier_percent >= 100, || "backoff.multiplier: must be at least 1".to_owned())
        }
    }
}

pub(super) fn group(settings: &GroupSettings) -> Result<(), Refusal> {
    in_flight(settings.in_flight_per_consumer_max)?;
    let (session, least, most) =
        (settings.session_timeout_millis, limits::SESSION_MILLIS_MIN, limits::SESSION_MILLIS_MAX);
    require((least..=most).contains(&session), || {
        format!("sessionTimeout: {least} ms to {most} ms, not {session} ms")
    })?;
    if let Some(sharing) = &settings.sharing {
        delivery(sharing.ack_timeout_millis, &sharing.backoff)?;
    }
    let GroupSource::Topics(topics) = &settings.source else {
        let what = || "mode: the members of a group on a queue share its messages anyway".to_owned();
        return require(settings.sharing.is_none(), what);
    };
    let max = limits::TOPICS_PER_GROUP_MAX;
    require((1..=max).contains(&topics.len()), || format!("topics: 1 to {max}, not {}", topics.len()))?;
    let distinct: BTreeSet<_> = topics.iter().collect();
    require(distinct.len() == topics.len(), || "topics: a topic is named twice".to_owned())
}
