use pondage_client::{GroupPartition, Resource};
use pondage_model::{
    BrokerId, GroupEpoch, Name, Offset, Revision, Uuid,
    settings::{GroupSettings, QueueSettings, StartPosition, TopicSettings},
};

use super::*;

fn view(name: &str, settings: Settings, streams: Vec<StreamStatus>) -> View {
    View::of(Resource {
        name: Name::new(name).expect("valid"),
        uid: Uuid([1; 16]),
        revision: Revision(5),
        settings,
        streams: Some(streams),
    })
}

fn stream(partition: u32) -> StreamStatus {
    StreamStatus {
        partition,
        leader: Some(BrokerId(1)),
        start: Offset(10),
        end: Offset(15),
        ready: 3,
        unacked: 2,
        scheduled: 1,
        dead_lettered: 4,
        oldest_age_millis: 61_000,
        bytes: 2_048,
        ..StreamStatus::default()
    }
}

#[test]
fn topics_sum_up_their_partitions_and_tell_which_are_not_led() {
    let settings = Settings::Topic(TopicSettings { partitions: 2, ..TopicSettings::default() });
    let well = view("flights", settings.clone(), vec![stream(0), stream(1)]);
    let ill =
        view("half", settings, vec![stream(0), StreamStatus { partition: 1, ..StreamStatus::default() }]);
    let expected = "\
NAME     PARTITIONS  MESSAGES  OLDEST
flights           2        10  1m1s
half            1/2         5  1m1s
";
    assert_eq!(resources(ResourceKind::Topic, &[well, ill], false), expected);
}

#[test]
fn queues_show_what_waits_and_nothing_invented() {
    let settings = Settings::Queue(QueueSettings::default());
    let busy = view("orders", settings.clone(), vec![stream(0)]);
    let idle = view(
        "idle",
        settings.clone(),
        vec![StreamStatus { leader: Some(BrokerId(1)), ..Default::default() }],
    );
    let lost = view("lost", settings, vec![StreamStatus::default()]);
    let views = [busy, idle, lost];
    let expected = "\
NAME    READY  UNACKED  SCHEDULED  DEAD  OLDEST  CONSUMERS
orders      3        2          1     4  1m1s            0
idle        0        0          0     0  -               0
lost        ?        ?          ?     ?  -               ?
";
    assert_eq!(resources(ResourceKind::Queue, &views, false), expected);
    let wide = resources(ResourceKind::Queue, &views, true);
    assert!(wide.lines().next().is_some_and(|line| line.ends_with("REVISION")), "{wide}");
    assert!(wide.contains("2.0 KiB"), "{wide}");
}

#[test]
fn groups_show_what_they_read_and_how_far_behind_they_are() {
    let names = ["a", "b", "c", "d"].map(|name| Name::new(name).expect("valid"));
    let settings = GroupSettings {
        source: GroupSource::Topics(names.to_vec()),
        start_position: StartPosition::Earliest,
        in_flight_per_consumer_max: 7,
    };
    let place = GroupPartition {
        partition: 0,
        committed: None,
        epoch: GroupEpoch(0),
        start: Offset(0),
        end: Offset(3),
        lag: 3,
        delay_millis: 5_000,
    };
    let behind = View {
        places: vec![(names[0].clone(), vec![place, GroupPartition { partition: 1, ..place }])],
        ..view("board", Settings::Group(settings), Vec::new())
    };
    let expected = "\
NAME   READS                       LAG  DELAY
board  topic/a,topic/b,topic/c,+1    6  5s
";
    assert_eq!(resources(ResourceKind::Group, std::slice::from_ref(&behind), false), expected);
    let expected = "\
TOPIC  PARTITION  COMMITTED  START  END  LAG  DELAY  EPOCH
a              0          -      0    3    3  5s         0
a              1          -      0    3    3  5s         0
";
    assert_eq!(places(&behind.places), expected);
}

#[test]
fn streams_have_a_line_each() {
    let shown = streams(ResourceKind::Topic, &[stream(0), StreamStatus { leader: None, ..stream(1) }]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[2].contains("none"), "{shown}");
    assert!(streams(ResourceKind::Queue, &[stream(0)]).contains("1m1s"));
}
