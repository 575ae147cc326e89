//! Sizes as Kubernetes writes quantities: `1Gi`, `500M`, `1048576`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{error::shown, text::from_text_or_number};

/// A size in bytes, at most [`Quantity::BYTES_MAX`].
///
/// Written as a decimal number with one of Kubernetes' suffixes: `Ki Mi Gi Ti Pi Ei` (powers of 1024),
/// `k M G T P E` (powers of 1000), `e3` or `E3` (a power of ten) or none. A fraction is allowed where whole
/// bytes come out, as in `1.5Gi`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Quantity {
    bytes: u64,
}

const SUFFIXES: [(&str, u64); 12] = [
    ("Ei", 1 << 60),
    ("Pi", 1 << 50),
    ("Ti", 1 << 40),
    ("Gi", 1 << 30),
    ("Mi", 1 << 20),
    ("Ki", 1 << 10),
    ("E", 1_000_000_000_000_000_000),
    ("P", 1_000_000_000_000_000),
    ("T", 1_000_000_000_000),
    ("G", 1_000_000_000),
    ("M", 1_000_000),
    ("k", 1_000),
];

/// Digits of a number that are still read; Kubernetes' own limit lies lower.
const DIGITS_MAX: usize = 18;

impl Quantity {
    /// The greatest size, that of Kubernetes: 2^63 − 1 bytes.
    pub const BYTES_MAX: u64 = i64::MAX.unsigned_abs();

    /// The size of `bytes` bytes, at most [`Self::BYTES_MAX`].
    #[must_use]
    pub const fn from_bytes(bytes: u64) -> Self {
        Self { bytes: if bytes < Self::BYTES_MAX { bytes } else { Self::BYTES_MAX } }
    }

    /// Its bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.bytes
    }
}

/// Why a text is not a size.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotASize {
    /// It is no quantity at all.
    #[error("{0} is not a size; write a number of bytes or a quantity such as 64Ki, 1Gi or 500M")]
    Malformed(String),
    /// Part of a byte would be left.
    #[error("{0} is not a whole number of bytes")]
    Fraction(String),
    /// It is beyond [`Quantity::BYTES_MAX`].
    #[error("{0} is more than the greatest size, 9223372036854775807 bytes")]
    TooLarge(String),
}

impl FromStr for Quantity {
    type Err = NotASize;

    fn from_str(text: &str) -> Result<Self, NotASize> {
        let malformed = || NotASize::Malformed(shown(text));
        let unsigned = text.strip_prefix('+').unwrap_or(text);
        let number = unsigned.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
        let (number, suffix) = unsigned.split_at(number);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let digits = whole.len() + fraction.len();
        if digits == 0 || fraction.contains('.') {
            return Err(malformed());
        }
        // Zeros in front or behind say nothing; what is left must fit the arithmetic below.
        let whole = whole.trim_start_matches('0');
        let fraction = fraction.trim_end_matches('0');
        let (multiplier, divisor) = scale(suffix).ok_or_else(malformed)?;
        if whole.len() > DIGITS_MAX + 1 {
            return Err(NotASize::TooLarge(shown(text)));
        }
        if fraction.len() > DIGITS_MAX {
            return Err(NotASize::Fraction(shown(text)));
        }
        let parse = |digits: &str| -> Result<u128, NotASize> {
            if digits.is_empty() { Ok(0) } else { digits.parse().map_err(|_| malformed()) }
        };
        // At most 19 digits × 10^18 < 2^127, and the same again for the fraction.
        let denominator = 10_u128.pow(u32::try_from(fraction.len()).map_err(|_| malformed())?);
        let whole = parse(whole)? * multiplier;
        let fraction = parse(fraction)? * multiplier;
        if fraction % denominator != 0 {
            return Err(NotASize::Fraction(shown(text)));
        }
        let scaled = whole + fraction / denominator;
        if scaled % divisor != 0 {
            return Err(NotASize::Fraction(shown(text)));
        }
        match u64::try_from(scaled / divisor) {
            Ok(bytes) if bytes <= Self::BYTES_MAX => Ok(Self { bytes }),
            _ => Err(NotASize::TooLarge(shown(text))),
        }
    }
}

/// The factor and the divisor that a suffix stands for.
fn scale(suffix: &str) -> Option<(u128, u128)> {
    match suffix {
        "" => return Some((1, 1)),
        "m" => return Some((1, 1_000)),
        "u" => return Some((1, 1_000_000)),
        "n" => return Some((1, 1_000_000_000)),
        _ => {}
    }
    if let Some((_, factor)) = SUFFIXES.iter().find(|(name, _)| *name == suffix) {
        return Some((u128::from(*factor), 1));
    }
    let exponent = suffix.strip_prefix(['e', 'E'])?;
    let (negative, digits) = match exponent.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, exponent.strip_prefix('+').unwrap_or(exponent)),
    };
    if !(1..=2).contains(&digits.len()) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let power: u32 = digits.parse().ok().filter(|power| *power <= 18)?;
    let factor = 10_u128.pow(power);
    Some(if negative { (1, factor) } else { (factor, 1) })
}

impl fmt::Display for Quantity {
    /// Exact, with the greatest suffix that fits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SUFFIXES
            .iter()
            .filter(|(_, factor)| self.bytes != 0 && self.bytes.is_multiple_of(*factor))
            .max_by_key(|(_, factor)| *factor);
        match exact {
            Some((suffix, factor)) => write!(f, "{}{suffix}", self.bytes / factor),
            None => write!(f, "{}", self.bytes),
        }
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text_or_number(deserializer, "a size such as 64Ki, 1Gi or 500M, or a number of bytes")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_sizes() {
        for (text, bytes, canonical) in [
            ("0", 0, "0"),
            ("0Gi", 0, "0"),
            ("1", 1, "1"),
            ("1Gi", 1 << 30, "1Gi"),
            ("500M", 500_000_000, "500M"),
            ("1048576", 1 << 20, "1Mi"),
            ("64Ki", 65_536, "64Ki"),
            ("1.5Gi", 1_610_612_736, "1536Mi"),
            (".5k", 500, "500"),
            ("5.", 5, "5"),
            ("+7k", 7_000, "7k"),
            ("1e3", 1_000, "1k"),
            ("1E3", 1_000, "1k"),
            ("2E", 2_000_000_000_000_000_000, "2E"),
            ("5000m", 5, "5"),
            ("1000000e-6", 1, "1"),
            ("000000000000000000000000000000007", 7, "7"),
            ("1.50000000000000000000000000000000000Ki", 1_536, "1536"),
            ("9223372036854775807", Quantity::BYTES_MAX, "9223372036854775807"),
            ("7Ei", 7 << 60, "7Ei"),
        ] {
            let size: Quantity = text.parse().expect(text);
            assert_eq!((size.bytes(), size.to_string()), (bytes, canonical.to_owned()), "{text}");
        }
    }

    #[test]
    fn bad_sizes_say_why() {
        let nines = "9".repeat(5_000);
        for (text, why) in [
            ("", "is not a size"),
            ("-1", "is not a size"),
            ("-1Gi", "is not a size"),
            ("Gi", "is not a size"),
            (".", "is not a size"),
            ("1..2", "is not a size"),
            ("1GB", "is not a size"),
            ("1gi", "is not a size"),
            ("1K", "is not a size"),
            ("1 Gi", "is not a size"),
            ("0x10", "is not a size"),
            ("1e", "is not a size"),
            ("1e99", "is not a size"),
            ("1e+-3", "is not a size"),
            ("٣", "is not a size"),
            ("NaN", "is not a size"),
            ("500m", "is not a whole number of bytes"),
            ("1.5", "is not a whole number of bytes"),
            ("0.0000000000000000000000001Ei", "is not a whole number of bytes"),
            ("8Ei", "is more than the greatest size"),
            ("9223372036854775808", "is more than the greatest size"),
            (&nines, "is more than the greatest size"),
        ] {
            let message = text.parse::<Quantity>().expect_err(text).to_string();
            assert!(message.contains(why), "{text}: {message}");
            assert!(message.len() < 300, "{}", message.len());
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(bytes in 0..=Quantity::BYTES_MAX, shift in 0_u32..63) {
            let size = Quantity::from_bytes(bytes >> shift);
            prop_assert_eq!(size.to_string().parse(), Ok(size));
            let round = Quantity::from_bytes((bytes >> shift) << shift);
            prop_assert_eq!(round.to_string().parse(), Ok(round));
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9.]{0,40}[eE+-]{0,2}[0-9]{0,4}[EPTGMKkimun]{0,2}") {
            if let Ok(size) = text.parse::<Quantity>() {
                prop_assert!(size.bytes() <= Quantity::BYTES_MAX);
            }
        }
    }
}
