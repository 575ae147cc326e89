//! What happens in queues, topics and groups: two looks at them make rates.

use std::{cmp::Reverse, collections::HashMap, time::Duration};

use clap::ValueEnum;
use pondage_client::{Settings, StreamStatus};
use pondage_model::{Uuid, settings::GroupSource};
use serde::Serialize;

use super::{
    document::View,
    table::{number, table, text},
    text::age,
};

/// One look at one resource.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Look {
    kind: &'static str,
    name: String,
    uid: Uuid,
    /// Messages that came, ever.
    arrived: u64,
    /// Messages that were settled or committed, ever; of a topic by itself there are none.
    done: Option<u64>,
    backlog: Option<u64>,
    oldest_millis: u64,
    consumers: u64,
}

impl Look {
    /// What is known of a resource; none if a part of it has no leader, and is not known.
    pub(crate) fn at(view: &View) -> Option<Self> {
        let resource = &view.resource;
        let streams = match &resource.settings {
            Settings::Group(_) => view.queue.as_slice(),
            _ => view.streams(),
        };
        if streams.iter().any(|stream| stream.leader.is_none()) {
            return None;
        }
        let sum = |of: fn(&StreamStatus) -> u64| streams.iter().map(of).sum::<u64>();
        let oldest_millis = streams.iter().map(|stream| stream.oldest_age_millis).max().unwrap_or(0);
        let queue = |kind| Self {
            kind,
            name: resource.name.to_string(),
            uid: resource.uid,
            arrived: sum(|stream| stream.end.get()),
            done: Some(sum(|stream| stream.settled)),
            backlog: Some(sum(|stream| stream.ready + stream.unacked + stream.scheduled + stream.moving)),
            oldest_millis,
            consumers: sum(|stream| stream.consumers.into()),
        };
        Some(match &resource.settings {
            Settings::Queue(_) => queue("queue"),
            Settings::Topic(_) => Self { done: None, backlog: None, oldest_millis: 0, ..queue("topic") },
            Settings::Group(group) if matches!(group.source, GroupSource::Queue(_)) => queue("group"),
            Settings::Group(_) => {
                let places = || view.places.iter().flat_map(|(_, places)| places);
                Self {
                    arrived: places().map(|place| place.end.get()).sum(),
                    done: Some(places().map(|place| place.committed_messages).sum()),
                    backlog: Some(view.lag()),
                    oldest_millis: view.delay_millis(),
                    consumers: view.members().len() as u64,
                    ..queue("group")
                }
            }
        })
    }
}

/// What happened between two looks.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Activity {
    kind: &'static str,
    name: String,
    /// Unknown of what was not there before.
    in_per_second: Option<f64>,
    out_per_second: Option<f64>,
    backlog: Option<u64>,
    oldest_millis: u64,
    consumers: u64,
}

/// What stands first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Order {
    /// Where most waits
    #[default]
    Backlog,
    /// What waits longest
    Oldest,
    /// Where most arrives
    In,
    /// Where most is done
    Out,
    /// By kind and name
    Name,
}

/// What happened from `before` to `after`, which is so much later.
pub(crate) fn between(before: &[Look], after: Vec<Look>, elapsed: Duration, order: Order) -> Vec<Activity> {
    // Whoever has the name of what was deleted is another.
    let known: HashMap<_, _> = before.iter().map(|look| ((look.kind, look.uid), look)).collect();
    let rate = |now: u64, then: u64| {
        let moved = now.checked_sub(then)?;
        Some(moved as f64 / elapsed.as_secs_f64()).filter(|rate| rate.is_finite())
    };
    let activity = |look: Look| {
        let then = known.get(&(look.kind, look.uid));
        Activity {
            in_per_second: then.and_then(|then| rate(look.arrived, then.arrived)),
            out_per_second: then.and_then(|then| rate(look.done?, then.done?)),
            kind: look.kind,
            name: look.name,
            backlog: look.backlog,
            oldest_millis: look.oldest_millis,
            consumers: look.consumers,
        }
    };
    let mut all: Vec<Activity> = after.into_iter().map(activity).collect();
    all.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    let rate = |rate: Option<f64>| Reverse((rate.unwrap_or(0.0) * 1_000.0) as u64);
    match order {
        Order::Backlog => all.sort_by_key(|activity| Reverse(activity.backlog.unwrap_or(0))),
        Order::Oldest => all.sort_by_key(|activity| Reverse(activity.oldest_millis)),
        Order::In => all.sort_by_key(|activity| rate(activity.in_per_second)),
        Order::Out => all.sort_by_key(|activity| rate(activity.out_per_second)),
        Order::Name => {}
    }
    all
}

/// The first `most` of them as a table, and how many there are more.
pub(crate) fn shown(activities: &[Activity], most: usize) -> String {
    let columns = [
        text("KIND"),
        text("NAME"),
        number("IN/S"),
        number("OUT/S"),
        number("BACKLOG"),
        text("OLDEST"),
        number("CONSUMERS"),
    ];
    let rate = |rate: Option<f64>| rate.map(|rate| format!("{rate:.1}")).unwrap_or_default();
    let row = |activity: &Activity| {
        vec![
            activity.kind.to_owned(),
            activity.name.clone(),
            rate(activity.in_per_second),
            rate(activity.out_per_second),
            activity.backlog.map(|backlog| backlog.to_string()).unwrap_or_default(),
            if activity.backlog.unwrap_or(0) == 0 { String::new() } else { age(activity.oldest_millis) },
            activity.consumers.to_string(),
        ]
    };
    let mut out = table(&columns, activities.iter().take(most).map(row).collect());
    if activities.len() > most {
        out += &format!("and {} more\n", activities.len() - most);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_client::{Member, Membership, Resource};
    use pondage_model::{
        BrokerId, GroupEpoch, LogTime, MemberId, Name, Offset, Revision,
        settings::{GroupSettings, QueueSettings, TopicSettings},
    };

    fn name(text: &str) -> Name {
        Name::new(text).expect("valid")
    }

    fn view(text: &str, uid: u8, settings: Settings, streams: Vec<StreamStatus>) -> View {
        View::of(Resource {
            name: name(text),
            uid: Uuid([uid; 16]),
            revision: Revision(1),
            settings,
            streams: Some(streams),
        })
    }

    fn stream(end: u64, settled: u64) -> StreamStatus {
        StreamStatus {
            leader: Some(BrokerId(1)),
            end: Offset(end),
            ready: end - settled,
            settled,
            oldest_age_millis: 1_500,
            consumers: 2,
            ..StreamStatus::default()
        }
    }

    fn queue(uid: u8, end: u64, settled: u64) -> Look {
        let queue = Settings::Queue(QueueSettings::default());
        Look::at(&view("orders", uid, queue, vec![stream(end, settled)])).expect("it is led")
    }

    #[test]
    fn rates_are_of_what_was_there_before() {
        let two_seconds = Duration::from_secs(2);
        let one = |before: &[Look], after| between(before, vec![after], two_seconds, Order::Name).remove(0);
        let moved = one(&[queue(1, 10, 4)], queue(1, 30, 14));
        assert_eq!(
            (moved.in_per_second, moved.out_per_second, moved.backlog),
            (Some(10.0), Some(5.0), Some(16))
        );
        let made_again = one(&[queue(1, 10, 4)], queue(2, 30, 14));
        assert_eq!((made_again.in_per_second, made_again.out_per_second), (None, None));
        let restored = one(&[queue(1, 10, 4)], queue(1, 5, 4));
        assert_eq!((restored.in_per_second, restored.out_per_second), (None, Some(0.0)));
    }

    #[test]
    fn a_topic_has_no_backlog_and_a_group_has_its_own() {
        let topic = Settings::Topic(TopicSettings::default());
        let look = Look::at(&view("t", 1, topic.clone(), vec![stream(7, 0); 2])).expect("it is led");
        assert_eq!((look.arrived, look.done, look.backlog), (14, None, None));
        let group = GroupSettings::of(GroupSource::Topics(vec![name("t")]));
        let place = pondage_client::GroupPartition {
            partition: 0,
            committed: Some(Offset(3)),
            epoch: GroupEpoch(1),
            start: Offset(0),
            end: Offset(7),
            lag: 4,
            delay_millis: 90,
            committed_messages: 3,
            shared: None,
        };
        let mut view_of_group = view("g", 2, Settings::Group(group), Vec::new());
        view_of_group.places = vec![(name("t"), vec![place, place])];
        let members = vec![Member {
            id: MemberId(Uuid([1; 16])),
            instance: "pod-0".to_owned(),
            connected_since: Some(LogTime(1)),
            progress: None,
            is_draining: false,
            partitions: Vec::new(),
            awaited: 0,
        }];
        view_of_group.membership = Some(Membership { members, ..Membership::default() });
        let look = Look::at(&view_of_group).expect("it is known");
        assert_eq!((look.arrived, look.done, look.backlog, look.consumers), (14, Some(6), Some(8), 1));
        let offline = vec![stream(7, 0), StreamStatus::default()];
        assert_eq!(Look::at(&view("t", 1, topic, offline)), None, "nothing is said of what is not known");
    }

    #[test]
    fn the_first_is_what_is_asked_for() {
        let look = |name: &str, arrived, backlog, oldest_millis| Look {
            name: name.to_owned(),
            backlog: Some(backlog),
            oldest_millis,
            ..queue(name.as_bytes()[0], arrived, 0)
        };
        let before = [look("a", 0, 1, 1), look("b", 0, 1, 1), look("c", 0, 1, 1)];
        let after = vec![look("c", 9, 5, 3), look("b", 1, 7, 2), look("a", 5, 6, 9)];
        for (order, expected) in
            [(Order::Backlog, "bac"), (Order::Oldest, "acb"), (Order::In, "cab"), (Order::Name, "abc")]
        {
            let ordered = between(&before, after.clone(), Duration::from_secs(1), order);
            let names: String = ordered.iter().map(|activity| activity.name.as_str()).collect();
            assert_eq!(names, expected, "{order:?}");
        }
        let ordered = between(&before, after, Duration::from_secs(1), Order::Name);
        let text = shown(&ordered, 2);
        assert!(text.ends_with("and 1 more\n"), "{text}");
        assert!(text.contains("queue  a      5.0    0.0        6  9ms"), "{text}");
    }
}
