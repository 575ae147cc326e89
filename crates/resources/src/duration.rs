//! Durations as the Gateway API writes them: `30s`, `1h30m`, `168h`, `250ms`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{error::shown, text::from_text};

/// A span of time, in whole milliseconds.
///
/// Written as one to four numbers of one to five digits, each with its unit `h`, `m`, `s` or `ms`, in any
/// order; their sum counts. No sign, no fraction, no days.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Duration {
    millis: u64,
}

/// Units from the greatest to the smallest, with their milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Duration {
    /// The longest that can be written, in milliseconds.
    pub const MILLIS_MAX: u64 = 99_999 * 3_600_000 + 59 * 60_000 + 59 * 1_000 + 999;

    /// The span of `millis` milliseconds, at most [`Self::MILLIS_MAX`].
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self { millis: if millis < Self::MILLIS_MAX { millis } else { Self::MILLIS_MAX } }
    }

    /// Its length in milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.millis
    }
}

/// A text that is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not a duration; write numbers of up to 5 digits with the units h, m, s or ms, such as 30s, 1h30m or 250ms"
)]
pub struct NotADuration(String);

impl FromStr for Duration {
    type Err = NotADuration;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).map(Self::from_millis).ok_or_else(|| NotADuration(shown(text)))
    }
}

/// Milliseconds of `text`. Four parts of at most 99999 h each fit a `u64` many times over.
fn parse(text: &str) -> Option<u64> {
    let mut rest = text;
    let mut sum = 0;
    for part in 0.. {
        if rest.is_empty() {
            return (part > 0).then_some(sum);
        }
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if part == 4 || !(1..=5).contains(&digits) {
            return None;
        }
        let number: u64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let letters = rest.bytes().take_while(u8::is_ascii_alphabetic).count();
        let (_, millis) = UNITS.iter().find(|(unit, _)| *unit == &rest[..letters])?;
        sum += number * millis;
        rest = &rest[letters..];
    }
    None
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.millis == 0 {
            return f.write_str("0s");
        }
        let mut rest = self.millis;
        for (unit, millis) in UNITS {
            let count = rest / millis;
            rest %= millis;
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

impl Serialize for Duration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a duration such as 30s, 1h30m or 250ms")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_and_bad_durations() {
        for (text, millis, canonical) in [
            ("30s", 30_000, "30s"),
            ("1h30m", 5_400_000, "1h30m"),
            ("168h", 604_800_000, "168h"),
            ("250ms", 250, "250ms"),
            ("0s", 0, "0s"),
            ("0h0m", 0, "0s"),
            ("90m", 5_400_000, "1h30m"),
            ("1ms1s1m1h", 3_661_001, "1h1m1s1ms"),
            ("1s1s", 2_000, "2s"),
            ("00007s", 7_000, "7s"),
            ("99999h", 359_996_400_000, "99999h"),
            ("99999h99999h99999h99999h", Duration::MILLIS_MAX, "99999h59m59s999ms"),
        ] {
            let duration: Duration = text.parse().expect(text);
            assert_eq!((duration.millis(), duration.to_string()), (millis, canonical.to_owned()), "{text}");
        }
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "+1s",
            "1.5h",
            "1d",
            "7d",
            "100000s",
            "1h1m1s1ms1ms",
            " 1s",
            "1s ",
            "1 s",
            "1S",
            "1H",
            "∞",
            "1µs",
            "1us",
            "1ns",
            "PT1H",
            "١s",
            "1s\0",
            "1sm",
            "1hms",
        ] {
            assert!(text.parse::<Duration>().is_err(), "{text:?}");
        }
        let message = "1\u{1b}[0m".parse::<Duration>().expect_err("no duration").to_string();
        assert!(message.starts_with("\"1\\u{1b}[0m\" is not a duration; write numbers"), "{message}");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in 0..=Duration::MILLIS_MAX) {
            let duration = Duration::from_millis(millis);
            prop_assert_eq!(duration.millis(), millis);
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9hms]{0,30}") {
            if let Ok(duration) = text.parse::<Duration>() {
                prop_assert!(duration.millis() <= Duration::MILLIS_MAX);
            }
        }
    }
}
