//! Reading values that are written as text, such as `30s` or `64Ki`.

use std::{fmt, fmt::Display, marker::PhantomData, str::FromStr};

use serde::{
    Deserializer,
    de::{self, Unexpected, Visitor},
};

/// Reads what is written as text. `expecting` is what is asked for instead of something else.
pub(crate) fn from_text<'de, D, T>(deserializer: D, expecting: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    deserializer.deserialize_any(Text { expecting, takes_numbers: false, value: PhantomData })
}

/// As [`from_text`], where a whole number may stand without quotes.
pub(crate) fn from_text_or_number<'de, D, T>(deserializer: D, expecting: &'static str) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: Display>,
{
    deserializer.deserialize_any(Text { expecting, takes_numbers: true, value: PhantomData })
}

struct Text<T> {
    expecting: &'static str,
    takes_numbers: bool,
    value: PhantomData<T>,
}

impl<T: FromStr<Err: Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<T, E> {
        if self.takes_numbers {
            return self.visit_str(&number.to_string());
        }
        Err(E::invalid_type(Unexpected::Unsigned(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<T, E> {
        if self.takes_numbers {
            return self.visit_str(&number.to_string());
        }
        Err(E::invalid_type(Unexpected::Signed(number), &self))
    }
}
