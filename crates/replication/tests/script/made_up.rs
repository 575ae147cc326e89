//! Entries and messages that no replica wrote.

use pondage_model::{Body, Entry, Epoch, LogTime, Position, RawEntry, StreamId};
use pondage_replication::{Message, Push};

use super::words::Words;

/// What lies at a place in an epoch, the same in every log.
pub(crate) fn entry(epoch: Epoch, position: Position) -> RawEntry {
    let body = Body::Command(format!("{epoch}{position:?}").into());
    let log_time = LogTime(0);
    Entry { position, epoch, stream: StreamId(1), log_time, body }.encode()
}

/// A message that nobody sent.
pub(crate) fn made_up(words: &Words) -> Message {
    let number = |name: &str| words.number(name).unwrap_or(0);
    let epoch = Epoch(number("epoch"));
    match words.word(1) {
        "hello" => Message::Hello { epoch, attempt: number("attempt") },
        "stale" => Message::Stale { epoch },
        "align" => Message::Align {
            epoch,
            attempt: number("attempt"),
            last: Epoch(number("last")),
            of: Epoch(number("of")),
            end: Position(number("end")),
        },
        "behind" => Message::Behind { epoch, high_watermark: Position(number("committed")) },
        "push" => {
            let (from, to) = (number("from"), number("to"));
            Message::Push(Push {
                epoch,
                from: Position(from),
                to: Position(to),
                before: Epoch(number("before")),
                entries: (from..to).map(|at| entry(Epoch(number("of")), Position(at))).collect(),
                epochs: Vec::new(),
                high_watermark: Position(number("committed")),
                round: number("round"),
            })
        }
        other => panic!("no message {other}"),
    }
}
