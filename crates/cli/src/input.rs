//! Messages from files and stdin: lines, NDJSON, CSV.

mod csv;
mod ndjson;
mod reading;

use std::io::BufRead;

use bytes::Bytes;
use clap::ValueEnum;
use pondage_model::limits;

pub(crate) use reading::{Item, Reading, Source};

/// Bytes of one line or row. No message may be as long.
const LINE_BYTES_MAX: usize = limits::BATCH_BYTES_MAX;

/// How the input is cut into messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Every line is a message.
    Lines {
        /// What separates the key from the value, if a line has both.
        key_separator: Option<String>,
    },
    /// Every line is JSON, and a message as it stands.
    Ndjson {
        /// The field of the object that holds the key.
        key_field: Option<String>,
    },
    /// Every row below the heading is a message.
    Csv {
        /// The column that holds the key.
        key_column: Option<String>,
        /// What the message says.
        value: CsvValue,
        /// What separates columns.
        delimiter: u8,
    },
}

/// What a row of a CSV file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum CsvValue {
    /// The row as it stands in the file
    #[default]
    Row,
    /// A JSON object with the columns as names and texts as values
    Json,
}

/// What a line or row becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) key: Option<Bytes>,
    pub(crate) value: Bytes,
}

/// A problem of the input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct InputError {
    /// The line, from 1; 0 where it is not about one.
    pub(crate) line: u64,
    /// What is wrong.
    pub(crate) problem: String,
}

/// Cuts input into messages.
pub(crate) struct Records {
    format: Format,
    /// Lines read so far.
    line: u64,
    /// The columns of a CSV file and the place of the key among them.
    columns: Option<csv::Columns>,
    buffer: Vec<u8>,
}

impl Records {
    pub(crate) const fn new(format: Format) -> Self {
        Self { format, line: 0, columns: None, buffer: Vec::new() }
    }

    /// The next message and the line on which it begins; `None` at the end.
    pub(crate) fn next(&mut self, input: &mut impl BufRead) -> Result<Option<(u64, Parts)>, InputError> {
        loop {
            self.buffer.clear();
            let first_line = self.line + 1;
            if !self.read_row(input)? {
                return Ok(None);
            }
            let parts = self.parts().map_err(|problem| InputError { line: first_line, problem })?;
            if let Some(parts) = parts {
                return Ok(Some((first_line, parts)));
            }
        }
    }

    /// Reads a line, or as many as a row has; false at the end. The line's end is not part of it.
    fn read_row(&mut self, input: &mut impl BufRead) -> Result<bool, InputError> {
        let mut quotes = match &self.format {
            Format::Csv { delimiter, .. } => Some(csv::Quotes::new(*delimiter)),
            _ => None,
        };
        let first_line = self.line + 1;
        loop {
            let start = self.buffer.len();
            self.read_line(input)?;
            let line = &self.buffer[start..];
            if line.is_empty() {
                return match &quotes {
                    Some(quotes) if quotes.are_open() => {
                        let problem = "a quote is opened and never closed".to_owned();
                        Err(InputError { line: first_line, problem })
                    }
                    _ => Ok(start > 0),
                };
            }
            let is_open = quotes.as_mut().is_some_and(|quotes| {
                quotes.pass(line);
                quotes.are_open()
            });
            if !is_open {
                break;
            }
        }
        if self.buffer.last() == Some(&b'\n') {
            self.buffer.pop();
            if self.buffer.last() == Some(&b'\r') {
                self.buffer.pop();
            }
        }
        Ok(true)
    }

    /// Appends a line with its end. Memory grows with the bytes that come, up to the limit.
    fn read_line(&mut self, input: &mut impl BufRead) -> Result<(), InputError> {
        let before = self.buffer.len();
        loop {
            let problem = |line, problem| Err(InputError { line, problem });
            let chunk = match input.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return problem(self.line + 1, error.to_string()),
            };
            let end = chunk.iter().position(|byte| *byte == b'\n');
            let taken = end.map_or(chunk.len(), |end| end + 1);
            if self.buffer.len() + taken > LINE_BYTES_MAX {
                return problem(
                    self.line + 1,
                    format!("is longer than {LINE_BYTES_MAX} bytes, as no message may be"),
                );
            }
            self.buffer.extend_from_slice(&chunk[..taken]);
            input.consume(taken);
            if taken == 0 || end.is_some() {
                self.line += u64::from(self.buffer.len() > before);
                return Ok(());
            }
        }
    }

    /// What the row in the buffer becomes; `None` if it is not a message.
    fn parts(&mut self) -> Result<Option<Parts>, String> {
        let row = self.buffer.as_slice();
        match &self.format {
            Format::Lines { key_separator: None } => {
                Ok(Some(Parts { key: None, value: Bytes::copy_from_slice(row) }))
            }
            Format::Lines { key_separator: Some(separator) } => keyed_line(row, separator).map(Some),
            Format::Ndjson { .. } if row.trim_ascii().is_empty() => Ok(None),
            Format::Ndjson { key_field } => ndjson::parts(row, key_field.as_deref()).map(Some),
            Format::Csv { .. } if row.is_empty() => Ok(None),
            Format::Csv { key_column, value, delimiter } => match &self.columns {
                None => {
                    self.columns = Some(csv::Columns::read(row, *delimiter, key_column.as_deref())?);
                    Ok(None)
                }
                Some(columns) => columns.parts(row, *delimiter, *value).map(Some),
            },
        }
    }
}

fn keyed_line(row: &[u8], separator: &str) -> Result<Parts, String> {
    let bytes = separator.as_bytes();
    let at = row.windows(bytes.len()).position(|window| window == bytes);
    let at = at.ok_or_else(|| format!("has no {separator:?} between key and value"))?;
    Ok(Parts {
        key: Some(Bytes::copy_from_slice(&row[..at])),
        value: Bytes::copy_from_slice(&row[at + bytes.len()..]),
    })
}

#[cfg(test)]
#[path = "input_tests.rs"]
mod tests;
