//! CSV (RFC 4180): columns in quotes may hold delimiters, line ends and doubled quotes.

use std::borrow::Cow;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::{CsvValue, Parts};

/// Where in a column a byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Plain,
    Quoted,
    /// Behind a quote inside of a quoted column: the end of it, or the first half of a doubled one.
    Quote,
}

/// Follows the quotes of a row.
pub(super) struct Quotes {
    delimiter: u8,
    state: State,
}

impl Quotes {
    pub(super) const fn new(delimiter: u8) -> Self {
        Self { delimiter, state: State::Start }
    }

    /// Goes over more bytes of the row.
    pub(super) fn pass(&mut self, bytes: &[u8]) {
        self.state = bytes.iter().fold(self.state, |state, byte| after(state, *byte, self.delimiter));
    }

    /// Whether the row goes on behind the end of the line.
    pub(super) fn are_open(&self) -> bool {
        self.state == State::Quoted
    }
}

const fn after(state: State, byte: u8, delimiter: u8) -> State {
    match state {
        State::Start | State::Plain | State::Quote if byte == delimiter => State::Start,
        State::Start | State::Quote if byte == b'"' => State::Quoted,
        State::Quoted if byte == b'"' => State::Quote,
        State::Quoted => State::Quoted,
        State::Start | State::Plain | State::Quote => State::Plain,
    }
}

/// The columns of a row, without their quotes.
fn split(row: &[u8], delimiter: u8) -> Vec<Cow<'_, [u8]>> {
    let mut columns = Vec::new();
    let mut quotes = Quotes::new(delimiter);
    let mut start = 0;
    for at in 0..row.len() {
        quotes.pass(&row[at..=at]);
        if quotes.state == State::Start {
            columns.push(unquoted(&row[start..at]));
            start = at + 1;
        }
    }
    columns.push(unquoted(&row[start..]));
    columns
}

/// A column without the quotes around it; doubled ones become one.
fn unquoted(column: &[u8]) -> Cow<'_, [u8]> {
    if column.first() != Some(&b'"') {
        return Cow::Borrowed(column);
    }
    let mut out = Vec::with_capacity(column.len());
    // Behind the first quote; a quote then ends the quoted part, or is the first half of a doubled one.
    let mut state = State::Quoted;
    for byte in &column[1..] {
        let next = match (state, *byte) {
            (State::Quoted, b'"') => State::Quote,
            (State::Quote, b'"') | (State::Quoted, _) => State::Quoted,
            _ => State::Plain,
        };
        if next != State::Quote {
            out.push(*byte);
        }
        state = next;
    }
    Cow::Owned(out)
}

/// The heading of a CSV file.
#[derive(Debug)]
pub(super) struct Columns {
    names: Vec<String>,
    key: Option<usize>,
}

impl Columns {
    /// Reads the heading and looks up the key's column.
    pub(super) fn read(row: &[u8], delimiter: u8, key: Option<&str>) -> Result<Self, String> {
        let row = row.strip_prefix(b"\xef\xbb\xbf").unwrap_or(row);
        let mut names = Vec::new();
        for name in split(row, delimiter) {
            let name = String::from_utf8(name.into_owned());
            names.push(name.map_err(|_| "the heading is not UTF-8 text".to_owned())?);
        }
        let find = |key: &str| {
            let listed = || names.join(", ");
            names
                .iter()
                .position(|name| name == key)
                .ok_or_else(|| format!("there is no column {key:?} for the key; the columns: {}", listed()))
        };
        let key = key.map(find).transpose()?;
        Ok(Self { names, key })
    }

    /// What a row becomes.
    pub(super) fn parts(&self, row: &[u8], delimiter: u8, value: CsvValue) -> Result<Parts, String> {
        let columns = split(row, delimiter);
        if columns.len() != self.names.len() {
            return Err(format!("has {} columns, and the heading {}", columns.len(), self.names.len()));
        }
        let key = self.key.map(|key| Bytes::copy_from_slice(&columns[key]));
        let value = match value {
            CsvValue::Row => Bytes::copy_from_slice(row),
            CsvValue::Json => {
                let mut object = Map::new();
                for (name, column) in self.names.iter().zip(&columns) {
                    let text = std::str::from_utf8(column)
                        .map_err(|_| format!("column {name:?} is not UTF-8 text, as JSON must be"))?;
                    object.insert(name.clone(), Value::from(text));
                }
                Bytes::from(Value::Object(object).to_string())
            }
        };
        Ok(Parts { key, value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_split_at_delimiters_outside_of_quotes() {
        for (row, delimiter, columns) in [
            ("a,b,c", b',', vec!["a", "b", "c"]),
            ("", b',', vec![""]),
            (",", b',', vec!["", ""]),
            ("\"a,b\",c", b',', vec!["a,b", "c"]),
            ("\"say \"\"hi\"\"\",x", b',', vec!["say \"hi\"", "x"]),
            ("\"\",\"\"\"\"", b',', vec!["", "\""]),
            ("two\nlines,x", b',', vec!["two\nlines", "x"]),
            ("\"two\nlines\",x", b',', vec!["two\nlines", "x"]),
            ("5\" disk,x", b',', vec!["5\" disk", "x"]),
            ("\"a\"b,c", b',', vec!["ab", "c"]),
            ("a;b,c", b';', vec!["a", "b,c"]),
            ("naïve,日本", b',', vec!["naïve", "日本"]),
        ] {
            let found: Vec<String> = split(row.as_bytes(), delimiter)
                .into_iter()
                .map(|column| String::from_utf8(column.into_owned()).expect("text"))
                .collect();
            assert_eq!(found, columns, "{row:?}");
        }
    }

    #[test]
    fn a_row_goes_on_while_a_quote_is_open() {
        for (line, is_open) in [
            ("a,b\n", false),
            ("a,\"b\n", true),
            ("a,\"b\"\n", false),
            ("a,\"b\"\"\n", true),
            ("5\" disk\n", false),
            ("\"\"\n", false),
        ] {
            let mut quotes = Quotes::new(b',');
            quotes.pass(line.as_bytes());
            assert_eq!(quotes.are_open(), is_open, "{line:?}");
        }
    }
}
