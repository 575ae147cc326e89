//! Points in time as RFC 3339 writes them: `2026-01-31T10:00:00Z`, `2026-01-31T10:00:00.250+01:00`.

use std::{fmt, str::FromStr};

use pondage_model::LogTime;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{error::shown, text::from_text};

/// A point in time, in whole milliseconds, from the year 0000 to 9999. Finer fractions are cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp {
    unix_millis: i64,
}

const DAY_MILLIS: i64 = 86_400_000;
/// 0000-01-01T00:00:00Z and 9999-12-31T23:59:59.999Z.
const UNIX_MILLIS_MIN: i64 = -62_167_219_200_000;
const UNIX_MILLIS_MAX: i64 = 253_402_300_799_999;

impl Timestamp {
    /// So many milliseconds after 1970 began, moved into the years that can be written.
    #[must_use]
    pub fn from_unix_millis(unix_millis: i64) -> Self {
        Self { unix_millis: unix_millis.clamp(UNIX_MILLIS_MIN, UNIX_MILLIS_MAX) }
    }

    /// The point `time`, moved into the years that can be written.
    #[must_use]
    pub fn from_log_time(time: LogTime) -> Self {
        Self::from_unix_millis(time.0)
    }

    /// The point in the model's unit.
    #[must_use]
    pub const fn log_time(self) -> LogTime {
        LogTime(self.unix_millis)
    }
}

/// A text that is not a point in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a time; write it as RFC 3339 does, such as 2026-01-31T10:00:00Z")]
pub struct NotATime(String);

impl FromStr for Timestamp {
    type Err = NotATime;

    fn from_str(text: &str) -> Result<Self, NotATime> {
        parse(text.as_bytes())
            .filter(|millis| (UNIX_MILLIS_MIN..=UNIX_MILLIS_MAX).contains(millis))
            .map(|unix_millis| Self { unix_millis })
            .ok_or_else(|| NotATime(shown(text)))
    }
}

fn parse(text: &[u8]) -> Option<i64> {
    let number = |from: usize, digits: usize, max: i64| -> Option<i64> {
        let digits = text.get(from..from + digits)?;
        let value = digits.iter().try_fold(0_i64, |value, byte| {
            byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0'))
        })?;
        (value <= max).then_some(value)
    };
    let is = |at: usize, allowed: &[u8]| text.get(at).is_some_and(|byte| allowed.contains(byte));
    let (year, month, day) = (number(0, 4, 9_999)?, number(5, 2, 12)?, number(8, 2, 31)?);
    let (hour, minute, second) = (number(11, 2, 23)?, number(14, 2, 59)?, number(17, 2, 59)?);
    let marks = is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":");
    if !marks || month == 0 || day == 0 || day > days_of_month(year, month) {
        return None;
    }
    let mut at = 19;
    let mut fraction_millis = 0;
    if is(at, b".") {
        let digits = text[at + 1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 || digits > 9 {
            return None;
        }
        fraction_millis = (0..3).fold(0, |millis, place| {
            let digit = if place < digits { i64::from(text[at + 1 + place] - b'0') } else { 0 };
            millis * 10 + digit
        });
        at += 1 + digits;
    }
    let offset_minutes = match text.get(at)? {
        b'Z' | b'z' if text.len() == at + 1 => 0,
        sign @ (b'+' | b'-') if text.len() == at + 6 && is(at + 3, b":") => {
            let minutes = number(at + 1, 2, 23)? * 60 + number(at + 4, 2, 59)?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return None,
    };
    let seconds = (hour * 60 + minute - offset_minutes) * 60 + second;
    Some(days_from_epoch(year, month, day) * DAY_MILLIS + seconds * 1_000 + fraction_millis)
}

fn days_of_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the Gregorian calendar; years start in March, so that the leap day is their last.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_epoch`].
fn date(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = date(self.unix_millis.div_euclid(DAY_MILLIS));
        let millis = self.unix_millis.rem_euclid(DAY_MILLIS);
        let (hour, minute, second) = (millis / 3_600_000, millis / 60_000 % 60, millis / 1_000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")?;
        if millis % 1_000 != 0 {
            write!(f, ".{:03}", millis % 1_000)?;
        }
        f.write_str("Z")
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        from_text(deserializer, "a time such as 2026-01-31T10:00:00Z")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn good_and_bad_times() {
        for (text, millis, canonical) in [
            ("1970-01-01T00:00:00Z", 0, "1970-01-01T00:00:00Z"),
            ("2026-01-31T10:00:00Z", 1_769_853_600_000, "2026-01-31T10:00:00Z"),
            ("2026-01-31t10:00:00.250+01:00", 1_769_850_000_250, "2026-01-31T09:00:00.250Z"),
            ("2000-02-29T23:59:59.9999999z", 951_868_799_999, "2000-02-29T23:59:59.999Z"),
            ("1969-12-31T23:59:59.5Z", -500, "1969-12-31T23:59:59.500Z"),
            ("0000-01-01T00:00:00Z", UNIX_MILLIS_MIN, "0000-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59.999Z", UNIX_MILLIS_MAX, "9999-12-31T23:59:59.999Z"),
        ] {
            let time: Timestamp = text.parse().expect(text);
            assert_eq!((time.log_time().0, time.to_string()), (millis, canonical.to_owned()), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-01-31",
            "2026-01-31T10:00:00",
            "2026-01-31 10:00:00Z",
            "2026-02-29T10:00:00Z",
            "1900-02-29T10:00:00Z",
            "2026-13-01T10:00:00Z",
            "2026-00-01T10:00:00Z",
            "2026-01-00T10:00:00Z",
            "2026-04-31T10:00:00Z",
            "2026-01-31T24:00:00Z",
            "2026-01-31T10:60:00Z",
            "2026-01-31T10:00:60Z",
            "2026-01-31T10:00:00.Z",
            "2026-01-31T10:00:00.1234567890Z",
            "2026-01-31T10:00:00+1:00",
            "2026-01-31T10:00:00+01:00x",
            "2026-01-31T10:00:00ZZ",
            "0000-01-01T00:00:00+00:01",
            "٢٠٢٦-01-31T10:00:00Z",
            "99999-01-31T10:00:00Z",
        ] {
            assert!(text.parse::<Timestamp>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(millis in any::<i64>(), near in UNIX_MILLIS_MIN..=UNIX_MILLIS_MAX) {
            for millis in [millis, near] {
                let time = Timestamp::from_log_time(LogTime(millis));
                prop_assert_eq!(time.to_string().parse(), Ok(time));
            }
        }

        #[test]
        fn no_text_panics(text in "\\PC*|[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.Z+-]{0,20}") {
            drop(text.parse::<Timestamp>());
        }
    }
}
