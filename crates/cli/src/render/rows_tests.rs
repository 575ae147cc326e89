use pondage_client::{GroupPartition, Membership, OwnedPartition, Resource};
use pondage_model::{
    AssignmentEpoch, BrokerId, GroupEpoch, LogTime, MemberId, Name, Offset, Revision, StreamId, Uuid,
    settings::{GroupSettings, QueueSettings, TopicSettings},
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
        in_flight_per_consumer_max: 7,
        ..GroupSettings::of(GroupSource::Topics(names.to_vec()))
    };
    let place = GroupPartition {
        partition: 0,
        committed: None,
        epoch: GroupEpoch(0),
        start: Offset(0),
        end: Offset(3),
        lag: 3,
        delay_millis: 5_000,
        committed_messages: 0,
        shared: None,
    };
    let member = |id, instance: &str, is_connected: bool, partitions: &[u32], awaited| Member {
        id: MemberId(Uuid([id; 16])),
        instance: instance.to_owned(),
        connected_since: is_connected.then_some(LogTime(1)),
        progress: None,
        is_draining: false,
        partitions: partitions.iter().map(|partition| owned(&names[0], *partition)).collect(),
        awaited,
    };
    let members = vec![
        member(1, "pod-0", true, &[3, 0, 4], 0),
        member(2, "", false, &[], 1),
        member(3, "\x1b[2J", true, &[], 0),
    ];
    let behind = View {
        places: vec![(names[0].clone(), vec![place, GroupPartition { partition: 1, ..place }])],
        membership: Some(Membership { epoch: AssignmentEpoch(3), members }),
        ..view("board", Settings::Group(settings), Vec::new())
    };
    let expected = "\
NAME   READS                       MEMBERS  LAG  DELAY
board  topic/a,topic/b,topic/c,+1        3    6  5s
";
    assert_eq!(resources(ResourceKind::Group, std::slice::from_ref(&behind), false), expected);
    let expected = "\
TOPIC  PARTITION  MEMBER  COMMITTED  START  END  LAG  DELAY  EPOCH
a              0  pod-0           -      0    3    3  5s         0
a              1  -               -      0    3    3  5s         0
";
    assert_eq!(places(&behind.places, behind.members()), expected);
    let shared = SharedLag { unacked: 1, scheduled: 1, dead_lettering: 1, dead_lettered: 4 };
    let share = GroupPartition { committed: Some(Offset(0)), shared: Some(shared), ..place };
    let expected = "\
TOPIC  PARTITION  READY  UNACKED  SCHEDULED  MOVING  DEAD-LETTERED  COMMITTED  START  END  LAG  DELAY
a              0      0        1          1       1              4          0      0    3    3  5s
";
    assert_eq!(places(&[(names[0].clone(), vec![share])], &[]), expected);
    let shown = super::members(behind.members());
    let (one, two) = (Uuid([1; 16]), Uuid([2; 16]));
    for line in [
        format!(
            "pod-0                                 CONNECTED           3        1        0  a/0,3-4  {one}"
        ),
        format!("{two}  AWAY                0        0        1  -        {two}"),
    ] {
        assert!(shown.contains(&line), "{line} in\n{shown}");
    }
    assert!(shown.contains("\\u{1b}[2J"), "no name may act on the terminal: {shown}");
}

fn owned(topic: &Name, partition: u32) -> OwnedPartition {
    OwnedPartition {
        topic: topic.clone(),
        partition,
        since: AssignmentEpoch(1),
        revoked: partition == 4,
        home: StreamId(9),
    }
}

#[test]
fn moved_cursors_show_where_they_were() {
    let place = GroupPartition {
        partition: 3,
        committed: Some(Offset(7)),
        epoch: GroupEpoch(2),
        start: Offset(0),
        end: Offset(9),
        lag: 2,
        delay_millis: 0,
        committed_messages: 0,
        shared: None,
    };
    let moved = vec![(Name::new("a").expect("valid"), vec![(None, place), (Some(Offset(8)), place)])];
    let expected = "\
TOPIC  PARTITION  FROM  TO  LAG
a              3     -   7    2
a              3     8   7    2
";
    assert_eq!(moves(&moved), expected);
}

#[test]
fn streams_have_a_line_each() {
    let shown = streams(ResourceKind::Topic, &[stream(0), StreamStatus { leader: None, ..stream(1) }]);
    let lines: Vec<&str> = shown.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines[2].contains("none"), "{shown}");
    assert!(streams(ResourceKind::Queue, &[stream(0)]).contains("1m1s"));
}
