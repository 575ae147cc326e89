use pondage_model::{
    Incarnation, Name, StreamId, Uuid,
    settings::{QueueSettings, TopicSettings},
};

use super::*;
use crate::FEATURE_LEVELS;

fn command(index: u64) -> Command {
    match index {
        0 => Command::Initialise { cluster: Uuid([1; 16]), nonce: Uuid([2; 16]) },
        1 => Command::RegisterBroker {
            volume: Uuid([3; 16]),
            incarnation: Incarnation(1),
            nonce: Uuid([4; 16]),
            address: "a:1".to_owned(),
            rack: None,
            feature_levels: FEATURE_LEVELS,
            replaces: None,
        },
        _ => Command::ApplyQueue {
            name: Name::new(&format!("q{index}")).expect("valid"),
            settings: QueueSettings::default(),
        },
    }
}

fn entry(position: u64, epoch: u64, body: Body) -> Entry {
    Entry {
        position: Position(position),
        epoch: Epoch(epoch),
        stream: StreamId::ZERO,
        log_time: LogTime(1_000),
        body,
    }
}

fn page(index: u32, total: u32, bytes: &Bytes) -> Body {
    Body::CheckpointPage(CheckpointPage { index, total, bytes: bytes.clone() })
}

fn replay(log: &[Entry]) -> Result<(Catalog, LogEnd), ReplayError> {
    let mut replay = Replay::new();
    for entry in log {
        replay.entry(entry)?;
    }
    replay.finish()
}

/// A log of a start, five commands, a checkpoint in two pages, a restart and two commands; with the state at its end
/// and the state that the checkpoint holds.
fn log() -> (Vec<Entry>, Catalog, Catalog) {
    let mut catalog = Catalog::new();
    let mut log = vec![entry(0, 1, Body::EpochStart)];
    let apply = |catalog: &mut Catalog, log: &mut Vec<Entry>, epoch: u64, index: u64| {
        let position = log.len() as u64;
        catalog.apply(revision_at(Position(position)), &command(index)).expect("no refusal");
        log.push(entry(position, epoch, Body::Command(command(index).to_bytes())));
    };
    for index in 0..5 {
        apply(&mut catalog, &mut log, 1, index);
    }
    let held = catalog.clone();
    let bytes = held.encode();
    log.push(entry(6, 1, page(0, 2, &bytes.slice(..10))));
    log.push(entry(7, 1, page(1, 2, &bytes.slice(10..))));
    log.push(entry(8, 2, Body::EpochStart));
    for index in 5..7 {
        apply(&mut catalog, &mut log, 2, index);
    }
    (log, catalog, held)
}

#[test]
fn a_log_is_replayed_from_wherever_it_still_begins() {
    let (log, expected, _) = log();
    for start in 0..log.len() {
        let got = replay(&log[start..]);
        if start <= 6 {
            let (catalog, end) = got.expect("a whole checkpoint is there");
            assert_eq!(catalog, expected, "from {start}");
            assert_eq!((end.next, end.epoch, end.log_time), (Position(11), Epoch(2), LogTime(1_000)));
            let since: usize = (5..7).map(|index| command(index).to_bytes().len()).sum();
            assert_eq!(end.bytes_since_checkpoint, since as u64);
            assert_eq!(
                end.checkpoint_bytes as usize,
                log[6].encode().body.len() + log[7].encode().body.len()
            );
        } else {
            let error = got.expect_err("nothing holds what is missing");
            assert_eq!(error.position, Position(11), "from {start}");
        }
    }
}

#[test]
fn a_log_is_replayed_up_to_wherever_it_ends() {
    let (log, _, held) = log();
    for end in 0..=log.len() {
        let (catalog, _) = replay(&log[..end]).expect("all entries are there");
        if (6..=9).contains(&end) {
            assert_eq!(catalog, held, "a checkpoint changes nothing, half or whole");
        }
    }
}

#[test]
fn any_entry_below_a_whole_checkpoint_may_be_missing_and_none_above() {
    let (log, expected, _) = log();
    for missing in 0..log.len() - 1 {
        let mut rest = log.clone();
        rest.remove(missing);
        let got = replay(&rest);
        match missing {
            0..=5 => assert_eq!(got.map(|(catalog, _)| catalog).as_ref(), Ok(&expected), "without {missing}"),
            _ => assert!(got.is_err(), "without {missing}"),
        }
    }
}

#[test]
fn a_checkpoint_cut_short_by_a_crash_counts_as_not_there() {
    let (log, _, held) = log();
    let mut crashed = log[..7].to_vec();
    crashed.push(entry(7, 2, Body::EpochStart));
    crashed.push(entry(8, 2, page(0, 1, &held.encode())));
    assert_eq!(replay(&crashed).map(|(catalog, _)| catalog), Ok(held));
}

#[test]
fn nothing_comes_between_the_pages_of_a_checkpoint() {
    let (log, _, held) = log();
    let mut mixed = log[..7].to_vec();
    mixed.push(entry(7, 2, Body::EpochStart));
    mixed.push(entry(8, 2, page(1, 2, &held.encode().slice(10..))));
    let error = replay(&mixed).expect_err("a page that continues nothing");
    assert_eq!((error.position, error.what), (Position(8), "a page out of order"));
}

#[test]
fn damage_is_reported_with_its_position() {
    let (log, _, held) = log();
    let bytes = held.encode();
    let publish = Body::Trim(pondage_model::Offset(1));
    for (at, broken, what) in [
        (3, entry(3, 1, Body::Command(Bytes::from_static(&[200]))), "unknown Command"),
        (3, entry(3, 1, publish), "an entry that is none of the catalog's"),
        (3, entry(2, 1, Body::EpochStart), "positions go back"),
        (9, entry(9, 1, Body::EpochStart), "epochs go back"),
        (3, entry(u64::MAX, 1, Body::EpochStart), "position out of range"),
        (6, entry(6, 1, page(0, 0, &bytes)), "a page beyond its checkpoint"),
        (6, entry(6, 1, page(1, 2, &bytes)), "a page out of order"),
        (7, entry(7, 1, page(1, 3, &bytes)), "a page out of order"),
        (7, entry(7, 1, page(1, 2, &bytes)), "rows out of order"),
        (1, entry(1, 1, page(0, 1, &bytes)), "a checkpoint of later commands"),
    ] {
        let mut log = log[..at].to_vec();
        log.push(broken);
        let error = replay(&log).expect_err(what);
        assert_eq!(error.position, log[at].position, "{error}");
        if what != "rows out of order" {
            assert_eq!(error.what, what);
        }
    }
}

#[test]
fn pages_are_bounded_and_make_the_state_again() {
    let (_, small, _) = log();
    assert_eq!(checkpoint_pages(&small).len(), 1);
    let mut large = small;
    for index in 0..60 {
        let settings = TopicSettings {
            partitions: limits::PARTITIONS_MAX,
            placement: pondage_model::settings::Placement::Pooled,
            ..TopicSettings::default()
        };
        let name = Name::new(&format!("t{index}")).expect("valid");
        large.apply(large.revision().next(), &Command::ApplyTopic { name, settings }).expect("room");
    }
    for index in 0..20_000 {
        let index = index + 100;
        large.apply(large.revision().next(), &command(index)).expect("room");
    }
    let pages = checkpoint_pages(&large);
    assert!(pages.len() > 1);
    assert!(pages.iter().all(|page| (1..=limits::CHECKPOINT_PAGE_BYTES_MAX).contains(&page.len())));
    assert_eq!(restore(&pages), Ok(large));
    assert!(restore(&pages[1..]).is_err());
    assert!(restore(&[]).is_err());
}

#[test]
fn no_cut_and_no_flipped_byte_of_a_state_panics() {
    let (_, catalog, _) = log();
    let bytes = catalog.encode();
    for cut in 0..bytes.len() {
        assert!(Catalog::decode(bytes.slice(..cut)).is_err(), "cut at {cut}");
        for mask in [1, 0x80, 0xff] {
            let mut flipped = bytes.to_vec();
            flipped[cut] ^= mask;
            if let Ok(other) = Catalog::decode(flipped.into()) {
                assert_ne!(other, catalog, "flipped at {cut}");
            }
        }
    }
}
