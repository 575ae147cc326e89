use pondage_model::{BrokerId, Incarnation, Position};

use super::{Link, Peer, SLOW_EPISODES};
use crate::Timing;

fn streaming() -> Peer {
    let mut peer = Peer::new(BrokerId(2), 0, 0);
    assert!(peer.is_current(Incarnation(3), 0));
    peer.link = Link::Streaming {
        next: Position::ZERO,
        under_way: std::collections::VecDeque::new(),
        reading: false,
        rewound: None,
    };
    peer
}

#[test]
fn lateness_counts_from_when_something_was_owed() {
    // What happens at which time; then how late the follower is when.
    let mut peer = streaming();
    peer.aim(Position(5), 0, 1_000);
    assert_eq!(peer.owes_millis(1_400), 400, "entries");
    // More entries do not make it less late, nor more.
    peer.aim(Position(9), 0, 1_300);
    assert_eq!(peer.owes_millis(1_400), 400, "the first of them");
    peer.durable = Position(5);
    assert_eq!(peer.owes_millis(1_400), 0, "it reached what it owed");
    peer.aim(Position(9), 0, 1_400);
    assert_eq!(peer.owes_millis(1_500), 100, "the next");
    peer.durable = Position(9);
    // A round that it was asked for.
    peer.aim(Position(9), 1, 2_000);
    peer.round_sent = 1;
    assert_eq!(peer.owes_millis(2_050), 50, "a round");
    peer.aim(Position(9), 2, 2_060);
    assert_eq!(peer.owes_millis(2_070), 70, "the first unanswered round");
    peer.round = 1;
    assert_eq!(peer.owes_millis(2_070), 0, "answered");
    // A connection that is down; the first word counts.
    peer.link_changed(false, 3_000);
    peer.link_changed(false, 3_500);
    let timing = Timing { lag_millis_max: 1_000, down_millis_max: 100, ..Timing::default() };
    assert_eq!(peer.late_millis(&timing, 3_100), None, "not for long");
    assert!(peer.is_current(Incarnation(3), 3_200), "what it said before");
    assert_eq!(peer.late_millis(&timing, 3_600), Some(600), "down");
    assert!(peer.is_current(Incarnation(3), 3_700), "it speaks");
    assert_eq!(peer.late_millis(&timing, 3_800), None);
    peer.aim(Position(10), 2, 4_000);
    assert_eq!(peer.late_millis(&timing, 5_000), None, "an answer may take longer than a connection");
    assert_eq!(peer.late_millis(&timing, 5_001), Some(1_001));
    assert_eq!(peer.owes_millis(0), 0, "a clock that is behind is no lateness");
}

#[test]
fn a_later_start_has_what_it_says_and_an_earlier_one_is_over() {
    let mut peer = streaming();
    (peer.durable, peer.end) = (Position(7), Position(8));
    assert!(!peer.is_current(Incarnation(2), 1));
    assert!(peer.is_current(Incarnation(3), 1));
    assert_eq!((peer.durable, peer.end), (Position(7), Position(8)));
    assert!(peer.is_current(Incarnation(4), 1));
    assert_eq!((peer.durable, peer.end), (Position::ZERO, Position::ZERO));
    assert!(!peer.is_current(Incarnation(3), 1));
}

#[test]
fn three_waits_within_the_window_make_it_slow() {
    let timing = Timing { slow_window_millis: 1_000, ..Timing::default() };
    let rows: &[(&[u64], u64, bool)] = &[
        (&[], 0, false),
        (&[0, 10], 10, false),
        (&[0, 10, 20], 20, true),
        (&[0, 10, 20], 1_000, true),
        (&[0, 10, 20], 1_001, false),
        // The oldest is forgotten: three of the last ones count.
        (&[0, 900, 1_000, 1_100], 1_101, true),
        (&[0, 900, 1_000, 1_100], 1_901, false),
    ];
    for (episodes, now, slow) in rows {
        let mut peer = streaming();
        for at in *episodes {
            peer.note_episode(*at);
        }
        assert!(peer.episodes.len() <= SLOW_EPISODES, "bounded");
        assert_eq!(peer.is_slow(&timing, *now), *slow, "{episodes:?} at {now}");
        peer.bar(&timing, *now);
        assert_eq!(peer.barred_until, now + 500);
        peer.left();
        assert!(!peer.is_slow(&timing, *now), "forgotten");
    }
}

#[test]
fn who_is_slow_again_and_again_stays_out_for_longer() {
    let timing = Timing { slow_window_millis: 10_000, ..Timing::default() };
    let mut peer = streaming();
    let mut now = 100_000;
    for expected in [1_000, 4_000, 5_000, 5_000] {
        peer.bar(&timing, now);
        assert_eq!(peer.barred_until - now, expected);
        now = peer.barred_until + 10_000;
    }
    peer.bar(&timing, now + 1);
    assert_eq!(peer.barred_until - now - 1, 1_000, "it was not slow for a window");
}

#[test]
fn silence_is_owing_for_longer_than_one_waits() {
    let timing = Timing::default();
    let mut peer = streaming();
    peer.aim(Position::ZERO, 0, 5_000);
    assert!(!peer.owes() && !peer.is_silent(&timing, 9_000), "who owes nothing is not silent");
    peer.aim(Position(1), 0, 9_000);
    assert!(peer.owes());
    for (now, silent) in [(9_000, false), (9_249, false), (9_250, true)] {
        assert_eq!(peer.is_silent(&timing, now), silent, "{now}");
    }
    assert!(peer.is_current(Incarnation(3), 9_240));
    assert!(!peer.is_silent(&timing, 9_300), "it spoke");
}
