//! What is wrong with a file, in words that an administrator can act on.

use std::fmt;

/// One thing that is wrong with a file of resources.
///
/// `Display` is one line: `FILE:LINE:COLUMN: FIELD: PROBLEM`. Whatever came from the file is shortened and
/// escaped, so a message can go to a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadError {
    /// The file's name as it was given to [`crate::load`].
    pub file: String,
    /// The line, from 1, counted from the start of the file.
    pub line: usize,
    /// The column in characters, from 1, where it is known.
    pub column: Option<usize>,
    /// The field, such as `spec.retention.duration`; empty when the problem is the document's.
    pub field: String,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:", self.file.escape_debug(), self.line)?;
        if let Some(column) = self.column {
            write!(f, "{column}:")?;
        }
        if !self.field.is_empty() {
            write!(f, " {}:", self.field)?;
        }
        write!(f, " {}", self.problem)
    }
}

impl std::error::Error for LoadError {}

/// Characters of a foreign text that a message repeats.
const SHOWN_CHARS_MAX: usize = 60;

/// `text` in quotes, shortened, with everything escaped that a terminal might act on.
pub(crate) fn shown(text: &str) -> String {
    format!("\"{}\"", clipped(text))
}

/// A key of the file as part of a field path: bare where it is a plain word, in quotes otherwise.
pub(crate) fn shown_key(key: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'/' | b'.');
    if !key.is_empty() && key.len() <= SHOWN_CHARS_MAX && key.bytes().all(plain) {
        key.to_owned()
    } else {
        shown(key)
    }
}

/// Text with everything escaped that a terminal might act on; quotes stay as they are.
pub(crate) fn escaped(text: impl Iterator<Item = char>) -> String {
    let mut out = String::new();
    for char in text {
        if matches!(char, '"' | '\'') {
            out.push(char);
        } else {
            out.extend(char.escape_debug());
        }
    }
    out
}

/// `text` escaped and cut to a length that fits a line.
pub(crate) fn clipped(text: &str) -> String {
    let mut chars = text.chars();
    let mut out = escaped(chars.by_ref().take(SHOWN_CHARS_MAX));
    if chars.next().is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_is_escaped_and_cut() {
        let long = "x".repeat(61);
        let cut = format!("\"{}…\"", "x".repeat(60));
        for (text, expected) in [
            ("orders", "\"orders\""),
            ("a\u{1b}[31mb", "\"a\\u{1b}[31mb\""),
            ("nul\0", "\"nul\\0\""),
            ("line\nbreak", "\"line\\nbreak\""),
            ("\u{202e}gnp", "\"\\u{202e}gnp\""),
            (&long, &cut),
        ] {
            assert_eq!(shown(text), expected);
        }
        assert_eq!(shown_key("app.kubernetes.io/name"), "app.kubernetes.io/name");
        assert_eq!(shown_key("a b"), "\"a b\"");
    }

    #[test]
    fn a_file_name_cannot_drive_the_terminal() {
        let error = LoadError {
            file: "a\u{1b}[2J.yaml".to_owned(),
            line: 3,
            column: None,
            field: String::new(),
            problem: "no kind".to_owned(),
        };
        assert_eq!(error.to_string(), "a\\u{1b}[2J.yaml:3: no kind");
    }
}
