//! Tables, in Markdown, which a terminal shows as well.

use comfy_table::{CellAlignment, Table, presets::ASCII_MARKDOWN};

use crate::figures::Results;
use crate::verdict::Bar;

/// A row per scaler: everything that counts, over all synthetic traces.
pub fn sums_table(results: &Results) -> Table {
    let mut table = with_header(&[
        "",
        "violation s",
        "without skew",
        "replica-hours",
        "scale events",
        "killed in flight",
    ]);
    for scaler in &results.scalers {
        let sums = results.sums(scaler);
        table.add_row([
            scaler.clone(),
            grouped(sums.violation_seconds),
            grouped(sums.feasible_violation_seconds),
            format!("{:.1}", sums.replica_hours),
            grouped(sums.scale_events),
            grouped(sums.killed_in_flight),
        ]);
    }
    to_the_right(table)
}

/// A row per scaler, a column per trace: violation seconds and replica-hours.
pub fn traces_table(results: &Results) -> Table {
    let names = results.traces.iter().map(|(name, _)| name.as_str());
    let mut table = with_header(&std::iter::once("").chain(names).collect::<Vec<_>>());
    for scaler in &results.scalers {
        let cells = results.traces.iter().map(|(trace, _)| {
            let sums = results.sums_of_trace(scaler, trace);
            format!("{} s, {:.1} h", grouped(sums.violation_seconds), sums.replica_hours)
        });
        table.add_row(std::iter::once(scaler.clone()).chain(cells));
    }
    to_the_right(table)
}

/// A row per recorded trace and scaler; `None` without recorded traces.
pub fn recorded_table(results: &Results) -> Option<Table> {
    let mut table = with_header(&[
        "recorded trace",
        "scaler",
        "violation s",
        "replica-hours",
        "scale events",
        "killed in flight",
    ]);
    for run in results.runs.iter().filter(|run| run.seed.is_none()) {
        table.add_row([
            run.trace.clone(),
            run.scaler.clone(),
            grouped(run.violation_seconds),
            format!("{:.1}", run.replica_hours),
            grouped(run.scale_events),
            grouped(run.killed_in_flight),
        ]);
    }
    (!table.is_empty()).then(|| to_the_right(table))
}

/// A row per bar.
pub fn bars_table(bars: &[Bar]) -> Table {
    let mut table = with_header(&["bar", "figure", "bound", "", "of"]);
    for bar in bars {
        table.add_row([
            bar.what.clone(),
            format!("{:.2}", bar.figure),
            format!("{:.2}", bar.bound),
            if bar.met { "met".to_owned() } else { "NOT MET".to_owned() },
            bar.remark.clone(),
        ]);
    }
    table
}

fn with_header(names: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(ASCII_MARKDOWN).set_header(names.iter().copied());
    table
}

/// Figures stand to the right, names to the left.
fn to_the_right(mut table: Table) -> Table {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A whole number with its thousands apart.
fn grouped(value: f64) -> String {
    let digits = format!("{:.0}", value.max(0.0));
    let first = digits.len() % 3;
    let (head, tail) = digits.split_at(first);
    let groups = tail.as_bytes().chunks(3).map(|group| String::from_utf8_lossy(group).into_owned());
    let parts: Vec<String> =
        std::iter::once(head.to_owned()).filter(|part| !part.is_empty()).chain(groups).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::grouped;

    #[test]
    fn thousands_are_apart() {
        for (value, text) in
            [(0.0, "0"), (7.4, "7"), (999.0, "999"), (1_000.0, "1,000"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(grouped(value), text);
        }
    }
}
