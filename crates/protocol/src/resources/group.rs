//! Settings of a consumer group.

use std::collections::BTreeSet;

use pondage_model::{
    LogTime, Name, Refusal, limits,
    settings::{Backoff, GroupSettings, GroupSource, Sharing, StartPosition},
};

use super::queue::ACK_TIMEOUT_MILLIS;
use crate::{
    check::{at_most, invalid, within},
    v1,
};

impl TryFrom<v1::GroupSpec> for GroupSettings {
    type Error = Refusal;

    fn try_from(spec: v1::GroupSpec) -> Result<Self, Refusal> {
        let source = match spec.source.ok_or_else(|| invalid("source: allowed: topics, queue"))? {
            v1::group_spec::Source::Queue(queue) => GroupSource::Queue(Name::new(&queue)?),
            v1::group_spec::Source::Topics(topics) => {
                let field = "topics.names";
                let names = at_most(field, topics.names, limits::TOPICS_PER_GROUP_MAX)?;
                let names = names.iter().map(|name| Name::new(name)).collect::<Result<Vec<_>, _>>()?;
                if names.is_empty() {
                    return Err(invalid(format!("{field}: empty; at least 1 is required")));
                }
                if names.iter().collect::<BTreeSet<_>>().len() < names.len() {
                    return Err(invalid(format!("{field}: one is named twice")));
                }
                GroupSource::Topics(names)
            }
        };
        let default = Self::of(source);
        let in_flight = spec.in_flight_per_consumer_max.unwrap_or(default.in_flight_per_consumer_max);
        let session = spec.session_timeout_millis.unwrap_or(default.session_timeout_millis);
        Ok(Self {
            source: default.source,
            sharing: spec.sharing.map(Sharing::try_from).transpose()?,
            start_position: spec.start_position.map(StartPosition::try_from).transpose()?.unwrap_or_default(),
            in_flight_per_consumer_max: within(
                "in_flight_per_consumer_max",
                in_flight,
                1..=limits::CREDIT_MAX,
            )?,
            session_timeout_millis: within(
                "session_timeout_millis",
                session,
                limits::SESSION_MILLIS_MIN..=limits::SESSION_MILLIS_MAX,
            )?,
        })
    }
}

impl From<GroupSettings> for v1::GroupSpec {
    fn from(settings: GroupSettings) -> Self {
        let source = match settings.source {
            GroupSource::Queue(name) => v1::group_spec::Source::Queue(name.to_string()),
            GroupSource::Topics(names) => v1::group_spec::Source::Topics(v1::GroupTopics {
                names: names.iter().map(Name::to_string).collect(),
            }),
        };
        Self {
            source: Some(source),
            sharing: settings.sharing.map(v1::GroupSharing::from),
            start_position: Some(settings.start_position.into()),
            in_flight_per_consumer_max: Some(settings.in_flight_per_consumer_max),
            session_timeout_millis: Some(settings.session_timeout_millis),
        }
    }
}

impl TryFrom<v1::GroupSharing> for Sharing {
    type Error = Refusal;

    fn try_from(sharing: v1::GroupSharing) -> Result<Self, Refusal> {
        let default = Self::default();
        let ack_timeout = sharing.ack_timeout_millis.unwrap_or(default.ack_timeout_millis);
        Ok(Self {
            ack_timeout_millis: within("ack_timeout_millis", ack_timeout, ACK_TIMEOUT_MILLIS)?,
            max_deliveries: sharing.max_deliveries.unwrap_or(default.max_deliveries),
            backoff: sharing.backoff.map(Backoff::try_from).transpose()?.unwrap_or_default(),
            dead_letter: sharing.dead_letter.as_deref().map(Name::new).transpose()?,
        })
    }
}

impl From<Sharing> for v1::GroupSharing {
    fn from(sharing: Sharing) -> Self {
        Self {
            ack_timeout_millis: Some(sharing.ack_timeout_millis),
            max_deliveries: Some(sharing.max_deliveries),
            backoff: Some(sharing.backoff.into()),
            dead_letter: sharing.dead_letter.map(|name| name.to_string()),
        }
    }
}

impl TryFrom<v1::GroupStart> for StartPosition {
    type Error = Refusal;

    fn try_from(start: v1::GroupStart) -> Result<Self, Refusal> {
        let allowed = || invalid("start_position: allowed: earliest, latest, time_unix_millis");
        Ok(match start.at.ok_or_else(allowed)? {
            v1::group_start::At::Earliest(_) => Self::Earliest,
            v1::group_start::At::Latest(_) => Self::Latest,
            v1::group_start::At::TimeUnixMillis(time) => Self::Time(LogTime(time)),
        })
    }
}

impl From<StartPosition> for v1::GroupStart {
    fn from(start: StartPosition) -> Self {
        let at = match start {
            StartPosition::Earliest => v1::group_start::At::Earliest(v1::GroupStartEarliest {}),
            StartPosition::Latest => v1::group_start::At::Latest(v1::GroupStartLatest {}),
            StartPosition::Time(time) => v1::group_start::At::TimeUnixMillis(time.0),
        };
        Self { at: Some(at) }
    }
}
