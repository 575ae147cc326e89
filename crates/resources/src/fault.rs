//! What is wrong with a document's form, as against its content.

use crate::{
    documents::Document,
    error::{clipped, escaped},
    tree::Place,
};

/// Why a document is no tree, or what is wrong with its form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) place: Option<Place>,
    pub(crate) problem: String,
}

/// Brackets that may be open at once. The parser's effort grows with their square.
const BRACKETS_MAX: usize = 1_000;

/// Starts a message of ours among the library's.
pub(crate) const OURS: &str = "\u{1}";

/// What is said of a file that multiplies itself.
pub(crate) const TOO_LARGE: &str =
    "is too large: its values, each use of an alias counted, exceed what one file may hold";

/// Where too many brackets are open, counting those in texts and comments too: no honest file comes near.
pub(crate) fn deep_brackets(document: Document<'_>) -> Option<Fault> {
    let mut open = 0_usize;
    for (at, line) in document.text.split('\n').enumerate() {
        for (column, byte) in line.bytes().enumerate() {
            match byte {
                b'[' | b'{' => open += 1,
                b']' | b'}' => open = open.saturating_sub(1),
                _ => {}
            }
            if open > BRACKETS_MAX {
                let place = Place { line: document.lines_before + at + 1, column: column + 1 };
                let problem = format!("more than {BRACKETS_MAX} brackets are open at once");
                return Some(Fault { place: Some(place), problem });
            }
        }
    }
    None
}

/// The library's error in our words, with places counted from the start of the file.
pub(crate) fn of_the_library(error: &serde_yaml::Error, document: Document<'_>) -> Fault {
    let lines_before = document.lines_before;
    let place = error.location().map(|location| Place {
        line: location.line().saturating_add(lines_before),
        column: location.column(),
    });
    let message = error.to_string();
    // Our own faults come back with the field's path in front.
    if let Some((_, ours)) = message.split_once(OURS) {
        let problem = ours.rsplit_once(" at line ").map_or(ours, |(problem, _)| problem).to_owned();
        return Fault { place, problem };
    }
    // A character that no YAML may hold is placed by its byte.
    if let Some((problem, offset)) = message.split_once(" at position ")
        && let Some(before) = offset.parse().ok().and_then(|offset| document.text.get(..offset))
    {
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let place = Place {
            line: lines_before + before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        };
        return Fault { place: Some(place), problem: format!("is not valid YAML: {problem}") };
    }
    let problem = if message.starts_with("recursion limit exceeded") {
        "is nested more than 128 levels deep".to_owned()
    } else if message.starts_with("repetition limit exceeded") {
        TOO_LARGE.to_owned()
    } else {
        format!("is not valid YAML: {}", absolute_lines(&message, lines_before))
    };
    Fault { place, problem }
}

/// Takes the error's own place off `message` and counts other lines that it mentions from the file's start.
fn absolute_lines(message: &str, lines_before: usize) -> String {
    let mut out = String::new();
    for (at, part) in message.split(" at line ").enumerate() {
        if at == 0 {
            out.push_str(&clipped_message(part));
            continue;
        }
        let digits = part.bytes().take_while(u8::is_ascii_digit).count();
        let line = part[..digits].parse::<usize>().unwrap_or(0).saturating_add(lines_before);
        let rest = part[digits..].strip_prefix(" column ").unwrap_or(&part[digits..]);
        let column = rest.bytes().take_while(u8::is_ascii_digit).count();
        if at > 1 {
            out.push_str(&format!(" at {line}:{}", &rest[..column]));
        }
        out.push_str(&clipped_message(&rest[column..]));
    }
    out
}

fn clipped_message(text: &str) -> String {
    if text.len() <= 200 { escaped(text.chars()) } else { clipped(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_messages_count_from_the_start_of_the_file() {
        for (message, expected) in [
            ("no place", "no place"),
            ("bad thing at line 2 column 7", "bad thing"),
            ("bad \u{1b} at line 2 column 7, while at line 1 column 3", "bad \\u{1b}, while at 11:3"),
            ("odd at line ", "odd"),
            ("odd at line x column y", "oddx column y"),
        ] {
            assert_eq!(absolute_lines(message, 10), expected);
        }
    }
}
