//! Places in partitions and spans of time, as people write them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pondage_client::StartAt;
use pondage_model::{LogTime, Offset, limits};
use pondage_resources::Timestamp;

use crate::exit::Failure;

/// Reads `earliest`, `latest`, an offset, a time such as `2026-01-31T10:00:00Z`, or a time ago such as `-15m`.
pub(crate) fn parse_start(text: &str) -> Result<StartAt, String> {
    start_at(text, now_millis())
}

fn start_at(text: &str, now_unix_millis: i64) -> Result<StartAt, String> {
    match text {
        "earliest" => return Ok(StartAt::Earliest),
        "latest" => return Ok(StartAt::Latest),
        _ => {}
    }
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().map(|offset| StartAt::Offset(Offset(offset))).map_err(|_| EXPECTED.to_owned());
    }
    if let Some(ago) = text.strip_prefix('-') {
        let ago = parse_duration(ago).map_err(|_| EXPECTED.to_owned())?;
        let ago = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
        return Ok(StartAt::Time(LogTime(now_unix_millis.saturating_sub(ago))));
    }
    text.parse::<Timestamp>().map(|time| StartAt::Time(time.log_time())).map_err(|_| EXPECTED.to_owned())
}

const EXPECTED: &str = "expected earliest, latest, an offset such as 17, a time such as 2026-01-31T10:00:00Z, or a \
                        time ago such as -15m";

/// Reads a duration as resource files write it: `30s`, `1h30m`, `250ms`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let duration: pondage_resources::Duration =
        text.parse().map_err(|_| "expected a duration such as 250ms, 30s or 1h30m".to_owned())?;
    Ok(Duration::from_millis(duration.millis()))
}

/// Reads a duration that is longer than nothing.
pub(crate) fn parse_timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        Duration::ZERO => Err("a timeout is longer than 0s".to_owned()),
        timeout => Ok(timeout),
    }
}

/// The partitions that are meant: those that are named, else all.
pub(crate) fn chosen(named: &[u32], partitions: u32) -> Result<Vec<u32>, Failure> {
    debug_assert!(partitions <= limits::PARTITIONS_MAX, "the client bounds it");
    if named.is_empty() {
        return Ok((0..partitions).collect());
    }
    let mut chosen = named.to_vec();
    chosen.sort_unstable();
    chosen.dedup();
    match chosen.iter().find(|partition| **partition >= partitions) {
        None => Ok(chosen),
        Some(partition) => {
            let last = partitions.saturating_sub(1);
            Err(Failure::usage(format!("--partition {partition}: there is none; allowed: 0 to {last}")))
        }
    }
}

/// Partitions in few words: `0-3,7`. They are ascending.
pub(crate) fn in_runs(partitions: &[u32]) -> String {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for partition in partitions {
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(*partition) => *last = *partition,
            _ => runs.push((*partition, *partition)),
        }
    }
    let text = |(first, last): (u32, u32)| {
        if first == last { first.to_string() } else { format!("{first}-{last}") }
    };
    runs.into_iter().map(text).collect::<Vec<_>>().join(",")
}

/// Milliseconds since the Unix epoch by this machine's clock.
pub(crate) fn now_millis() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_every_form() {
        for (text, place) in [
            ("earliest", Some(StartAt::Earliest)),
            ("latest", Some(StartAt::Latest)),
            ("0", Some(StartAt::Offset(Offset(0)))),
            ("18446744073709551615", Some(StartAt::Offset(Offset(u64::MAX)))),
            ("18446744073709551616", None),
            ("1970-01-01T00:00:01Z", Some(StartAt::Time(LogTime(1_000)))),
            ("-15m", Some(StartAt::Time(LogTime(100_000)))),
            ("-0s", Some(StartAt::Time(LogTime(1_000_000)))),
            ("-", None),
            ("", None),
            ("15m", None),
            ("Earliest ", None),
        ] {
            assert_eq!(start_at(text, 1_000_000).ok(), place, "{text:?}");
        }
    }

    #[test]
    fn named_partitions_must_be_there() {
        for (named, expected) in [
            (&[][..], Some(vec![0, 1, 2])),
            (&[2, 0, 2], Some(vec![0, 2])),
            (&[3], None),
            (&[0, u32::MAX], None),
        ] {
            assert_eq!(chosen(named, 3).ok(), expected, "{named:?}");
        }
    }

    #[test]
    fn partitions_that_follow_each_other_are_one_word() {
        for (partitions, text) in [
            (&[][..], ""),
            (&[4], "4"),
            (&[0, 1], "0-1"),
            (&[0, 1, 2, 7, 9, 10, u32::MAX], "0-2,7,9-10,4294967295"),
        ] {
            assert_eq!(in_runs(partitions), text);
        }
    }

    #[test]
    fn timeouts_are_longer_than_nothing() {
        assert_eq!(parse_timeout("1m30s"), Ok(Duration::from_secs(90)));
        assert!(parse_timeout("0s").is_err());
        assert!(parse_timeout("90").is_err());
    }
}
