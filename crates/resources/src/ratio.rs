//! A growth factor without floating point: `2`, `"1.5"`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{error::shown, text::from_text_or_number};

/// A factor in whole percent, written as a whole number (`2`) or, in quotes, with one or two decimals
/// (`"1.5"`).
///
/// Resources hold no floating-point numbers: they don't survive every client's JSON unchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio {
    percent: u32,
}

impl Ratio {
    /// The factor of `percent` hundredths.
    #[must_use]
    pub const fn from_percent(percent: u32) -> Self {
        Self { percent }
    }

    /// Its hundredths: 200 doubles.
    #[must_use]
    pub const fn percent(self) -> u32 {
        self.percent
    }
}

/// A text that is not a factor.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0} is not a factor; write a whole number such as 2, or one or two decimals in quotes such as \"1.5\""
)]
pub struct NotARatio(String);

impl FromStr for Ratio {
    type Err = NotARatio;

    fn from_str(text: &str) -> Result<Self, NotARatio> {
        parse(text).map(Self::from_percent).ok_or_else(|| NotARatio(shown(text)))
    }
}

fn parse(text: &str) -> Option<u32> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=8).contains(&whole.len()) || !digits(whole) {
        return None;
    }
    let hundredths: u32 = match decimals.len() {
        1 if digits(decimals) => decimals.parse::<u32>().ok()? * 10,
        2 if digits(decimals) => decimals.parse().ok()?,
        _ => return None,
    };
    whole.parse::<u32>().ok()?.checked_mul(100)?.checked_add(hundredths)
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, hundredths) = (self.percent / 100, self.percent % 100);
        match (hundredths, hundredths % 10) {
            (0, _) => write!(f, "{whole}"),
            (_, 0) => write!(f, "{whole}.{}", hundredths / 10),
            _ => write!(f, "{whole}.{hundredths:02}"),
        }
    }
}

impl Serialize for Ratio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.percent.is_multiple_of(100) {
            serializer.serialize_u32(self.percent / 100)
        } else {
            serializer.collect_str(self)
        }
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text_or_number(
            deserializer,
            "a whole number such as 2, or one or two decimals in quotes such as \"1.5\"",
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_and_bad_factors() {
        for (text, percent, canonical) in
            [("2", 200, "2"), ("1.5", 150, "1.5"), ("1.05", 105, "1.05"), ("1.50", 150, "1.5"), ("0", 0, "0")]
        {
            let ratio: Ratio = text.parse().expect(text);
            assert_eq!((ratio.percent(), ratio.to_string()), (percent, canonical.to_owned()), "{text}");
        }
        for text in ["", "-1", "1.", ".5", "1.555", "1e2", "99999999", "123456789", "two", "1,5", "٢"] {
            assert!(text.parse::<Ratio>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(percent in any::<u32>()) {
            let ratio = Ratio::from_percent(percent);
            prop_assert_eq!(ratio.to_string().parse(), Ok(ratio));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9.]{0,12}") {
            drop(text.parse::<Ratio>());
        }
    }
}
