//! Tables, medians, and the sections of `docs/benchmarks.md` that hold figures.

use std::{fmt::Write, fs, path::Path};

use anyhow::{Context, Result};

/// Of ascending figures; there is at least one.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 { figures[middle] } else { f64::midpoint(figures[middle - 1], figures[middle]) }
}

/// A table of Markdown with even columns; the first row is its head.
pub(crate) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; COLUMNS] = std::array::from_fn(width);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            // Words to the left, figures to the right.
            let _ = if column == 0 {
                write!(text, "| {cell:<width$} ")
            } else {
                write!(text, "| {cell:>width$} ")
            };
        }
        text.push_str("|\n");
        if index == 0 {
            for (column, width) in widths.iter().enumerate() {
                let _ = if column == 0 {
                    write!(text, "|{:-<1$}", "", width + 2)
                } else {
                    write!(text, "|{:-<1$}:", "", width + 1)
                };
            }
            text.push_str("|\n");
        }
    }
    text
}

/// Replaces a document's section with this name.
pub(crate) fn write(document: &Path, section: &str, figures: &str) -> Result<()> {
    let (begin, end) = marks(section);
    let text = fs::read_to_string(document).with_context(|| format!("reading {}", document.display()))?;
    let marked = text.split_once(&begin).and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let (before, after) = marked.with_context(|| format!("{} has no {begin} … {end}", document.display()))?;
    fs::write(document, format!("{before}{begin}\n{figures}{end}{after}"))
        .with_context(|| format!("writing {}", document.display()))
}

/// What is around a section that [`write`] replaces.
fn marks(section: &str) -> (String, String) {
    (format!("<!-- {section}: begin -->"), format!("<!-- {section}: end -->"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_marked_section_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let document = folder.path().join("benchmarks.md");
        let with = |one: &str, other: &str| {
            let ((begin, end), (other_begin, other_end)) = (marks("one"), marks("other"));
            format!("before\n{begin}\n{one}{end}\nbetween\n{other_begin}\n{other}{other_end}\nafter\n")
        };
        fs::write(&document, with("old\n", "kept\n")).expect("written");
        for figures in ["first\n", "second\n"] {
            write(&document, "one", figures).expect("has the marks");
            assert_eq!(fs::read_to_string(&document).expect("there"), with(figures, "kept\n"));
        }
        fs::write(&document, "no marks").expect("written");
        write(&document, "one", "new").expect_err("nowhere to write");
        assert_eq!(fs::read_to_string(&document).expect("there"), "no marks");
    }

    #[test]
    fn a_median_is_the_middle_or_between_the_two() {
        assert_eq!(median(&[1.0, 2.0, 9.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 4.0, 9.0]), 3.0);
    }
}
