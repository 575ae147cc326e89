//! Cuts a file into its YAML documents, so that a broken one hides no other.
//!
//! A line that starts with `---` is a document's start wherever it stands (YAML forbids it inside of quoted
//! and block text), so cutting needs no parser.

/// One document of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Document<'a> {
    /// Its text, markers included.
    pub(crate) text: &'a str,
    /// Lines of the file before it.
    pub(crate) lines_before: usize,
}

/// The documents of `text` in order. Parts that hold only blanks and comments are left out.
pub(crate) fn split(text: &str) -> impl Iterator<Item = Document<'_>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text;
    let mut lines_before = 0;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (length, lines, content) = first_document(rest);
            let document = Document { text: &rest[..length], lines_before };
            rest = &rest[length..];
            lines_before += lines;
            if content {
                return Some(document);
            }
        }
        None
    })
}

/// Bytes and lines of the first document, and whether it holds anything.
fn first_document(text: &str) -> (usize, usize, bool) {
    let mut length = 0;
    let mut lines = 0;
    let mut content = false;
    let mut started = false;
    for line in text.split_inclusive('\n') {
        let starts = is_marker(line, "---");
        if starts && (content || started) {
            break;
        }
        length += line.len();
        lines += 1;
        if starts {
            started = true;
            content |= holds_content(&line[3..]);
        } else if is_marker(line, "...") {
            break;
        } else {
            // A directive belongs to the document that the next marker starts.
            content |= holds_content(line) && (started || !line.starts_with('%'));
        }
    }
    (length, lines, content)
}

fn is_marker(line: &str, marker: &str) -> bool {
    line.strip_prefix(marker).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

fn holds_content(line: &str) -> bool {
    let line = line.trim_start();
    !line.is_empty() && !line.starts_with('#')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_cut_at_their_markers() {
        let check = |text: &str, expected: &[(&str, usize)]| {
            let got: Vec<_> = split(text).map(|document| (document.text, document.lines_before)).collect();
            assert_eq!(got, expected, "{text:?}");
        };
        check("", &[]);
        check("# nothing\n\n---\n# here\n---\n", &[]);
        check("a: 1\n", &[("a: 1\n", 0)]);
        check("\u{feff}a: 1", &[("a: 1", 0)]);
        check("a: 1\n---\nb: 2\n", &[("a: 1\n", 0), ("---\nb: 2\n", 1)]);
        check("---\na: 1\n---\n---\nb: 2", &[("---\na: 1\n", 0), ("---\nb: 2", 3)]);
        check("# top\n---\na: 1\n", &[("# top\n---\na: 1\n", 0)]);
        check("--- {a: 1}\n--- {b: 2}\r\n", &[("--- {a: 1}\n", 0), ("--- {b: 2}\r\n", 1)]);
        check("a: 1\n...\n# end\nb: 2\n", &[("a: 1\n...\n", 0), ("# end\nb: 2\n", 2)]);
        check("%YAML 1.2\n---\na: 1\n", &[("%YAML 1.2\n---\na: 1\n", 0)]);
        check("a: |\n  ---\n  b\n", &[("a: |\n  ---\n  b\n", 0)]);
        check("a: ---x\n---x: 1\n", &[("a: ---x\n---x: 1\n", 0)]);
        check("a: 1\r\n---\r\nb: 2\r\n", &[("a: 1\r\n", 0), ("---\r\nb: 2\r\n", 1)]);
    }
}
