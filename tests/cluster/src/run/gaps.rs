//! How long clients waited for an answer.

use std::{collections::BTreeMap, time::Duration};

use pondage_model::StreamId;

use crate::load::Ack;

/// The longest time in which a stream acknowledged no publish, over all streams, within `from` to `to` in microseconds.
/// What began before `from` counts from its beginning.
pub(super) fn longest(acks: &[Ack], streams: impl Iterator<Item = StreamId>, from: u64, to: u64) -> Duration {
    let mut last: BTreeMap<StreamId, u64> = streams.map(|stream| (stream, from)).collect();
    let mut longest = 0;
    for ack in acks.iter().filter(|ack| ack.is_publish) {
        let Some(last) = last.get_mut(&ack.stream) else { continue };
        if ack.at_micros > from && *last < to {
            longest = longest.max(ack.at_micros.saturating_sub(*last));
        }
        *last = ack.at_micros;
    }
    let silent = last.values().map(|last| to.saturating_sub(*last)).max().unwrap_or(0);
    Duration::from_micros(longest.max(silent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_of_any_stream_counts() {
        let streams = || [StreamId(1), StreamId(2)].into_iter();
        let acks = |times: &[(u64, u64)]| -> Vec<Ack> {
            let ack = |(at_micros, stream): &(u64, u64)| Ack {
                at_micros: *at_micros,
                stream: StreamId(*stream),
                is_publish: true,
            };
            times.iter().map(ack).collect()
        };
        let steady = [(90, 1), (95, 2), (110, 1), (115, 2), (130, 1), (135, 2), (150, 1), (150, 2)];
        for (times, expected) in [
            (&steady[..], 20),
            // A stream that stays silent is not hidden by the other.
            (&[(90, 1), (95, 2), (110, 1), (130, 1), (150, 1)], 55),
            // What began before counts from there, what ends behind to its end.
            (&[(50, 1), (95, 2), (120, 2), (140, 1), (160, 2)], 90),
            (&[], 50),
        ] {
            let gap = longest(&acks(times), streams(), 100, 150);
            assert_eq!(gap, Duration::from_micros(expected), "{times:?}");
        }
        let settle = Ack { at_micros: 120, stream: StreamId(1), is_publish: false };
        assert_eq!(longest(&[settle], streams(), 100, 150), Duration::from_micros(50));
    }
}
