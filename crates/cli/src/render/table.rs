//! Tables without lines, for people and for `awk`.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// A column: its heading, and whether it holds numbers, which stand to the right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    /// The heading.
    pub(crate) heading: &'static str,
    /// Whether it holds numbers.
    pub(crate) is_number: bool,
}

/// A column of texts.
pub(crate) const fn text(heading: &'static str) -> Column {
    Column { heading, is_number: false }
}

/// A column of numbers.
pub(crate) const fn number(heading: &'static str) -> Column {
    Column { heading, is_number: true }
}

/// The table as lines, each ended by a line feed. A cell is never empty, so that columns can be counted.
pub(crate) fn table(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(columns.iter().map(|column| column.heading));
    for row in rows {
        debug_assert_eq!(row.len(), columns.len(), "a cell for every column");
        table.add_row(row.into_iter().map(|cell| if cell.is_empty() { "-".to_owned() } else { cell }));
    }
    for (column, described) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        if described.is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut out = String::new();
    for line in table.lines() {
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_no_line_ends_in_spaces() {
        let rows = vec![
            vec!["orders".to_owned(), "12".to_owned(), "1s".to_owned()],
            vec!["a-longer-name".to_owned(), "1".to_owned(), String::new()],
        ];
        let expected = "\
NAME           READY  OLDEST
orders            12  1s
a-longer-name      1  -
";
        assert_eq!(table(&[text("NAME"), number("READY"), text("OLDEST")], rows), expected);
    }
}
