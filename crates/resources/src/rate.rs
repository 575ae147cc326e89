//! Messages per second without floating point: `12`, `12500m`, `1667u`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{error::shown, text::from_text};

/// Messages per second, in whole millionths: a consumer may need minutes for one.
///
/// Written as Kubernetes writes quantities: a whole number, or thousandths (`m`) or millionths (`u`) where one
/// would not be exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Rate {
    millionths: u64,
}

/// Units from the greatest to the smallest, with their millionths.
const UNITS: [(&str, u64); 3] = [("", 1_000_000), ("m", 1_000), ("u", 1)];

impl Rate {
    /// The rate of so many millionths of a message per second.
    #[must_use]
    pub const fn from_millionths(millionths: u64) -> Self {
        Self { millionths }
    }

    /// Its millionths of a message per second.
    #[must_use]
    pub const fn millionths(self) -> u64 {
        self.millionths
    }
}

/// A text that is not a rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not a rate; write a whole number such as 12, thousandths such as 12500m or millionths such as 1667u"
)]
pub struct NotARate(String);

impl FromStr for Rate {
    type Err = NotARate;

    fn from_str(text: &str) -> Result<Self, NotARate> {
        parse(text).map(Self::from_millionths).ok_or_else(|| NotARate(shown(text)))
    }
}

fn parse(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    let (_, factor) = UNITS.iter().find(|(unit, _)| *unit == suffix)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

impl fmt::Display for Rate {
    /// Exact, in the greatest unit that is.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, factor)| self.millionths.is_multiple_of(*factor));
        let (unit, factor) = exact.unwrap_or(&UNITS[2]);
        write!(f, "{}{unit}", self.millionths / factor)
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a rate such as 12, 12500m or 1667u")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_and_bad_rates() {
        for (text, millionths, canonical) in [
            ("0", 0, "0"),
            ("12", 12_000_000, "12"),
            ("12500m", 12_500_000, "12500m"),
            ("12000m", 12_000_000, "12"),
            ("1667u", 1_667, "1667u"),
            ("2000u", 2_000, "2m"),
            ("18446744073709551615u", u64::MAX, "18446744073709551615u"),
        ] {
            let rate: Rate = text.parse().expect(text);
            assert_eq!((rate.millionths(), rate.to_string()), (millionths, canonical.to_owned()), "{text}");
        }
        for text in [
            "",
            "m",
            "-1",
            "+1",
            "1.5",
            "1k",
            "1n",
            "1 m",
            "m1",
            "٢",
            "18446744073709551616u",
            "18446744073709551615",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millionths in any::<u64>(), zeros in 0_u32..8) {
            let rate = Rate::from_millionths(millionths / 10_u64.pow(zeros) * 10_u64.pow(zeros));
            prop_assert_eq!(rate.to_string().parse(), Ok(rate));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9]{0,24}[mu]{0,2}") {
            drop(text.parse::<Rate>());
        }
    }
}
