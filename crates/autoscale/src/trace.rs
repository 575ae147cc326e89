//! Traces as tables: comma-separated text with a header.
//!
//! The column `seconds` counts from 0 and rises; what a row says holds until the next one, and the last row as long as
//! the one before it. Either `rate` is all that arrives, in messages per second, and is dealt evenly to the partitions;
//! or the columns `p0`, `p1`, … say it for each partition. `service_rate`, if it is there, is how many messages per second one
//! member settles. Empty lines, and lines that begin with `#`, are remarks.
//!
//! ```text
//! seconds,rate,service_rate
//! 0,120,50
//! 300,900,50
//! 600,120,50
//! ```

use crate::simulate::Trace;

/// The longest trace, in seconds: a week.
pub const SECONDS_MAX: u32 = 7 * 24 * 3_600;
/// Most partitions of a trace.
pub const PARTITIONS_MAX: usize = 1_024;
/// Most cells of a trace, partitions times seconds: an eighth of a gigabyte of memory.
pub const CELLS_MAX: usize = 32 << 20;
/// The highest rate, in messages per second.
pub const RATE_MAX: f64 = 1e9;

/// Why a table is no trace.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct Unreadable {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong with it, and what to write.
    pub what: String,
}

/// What a column says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Seconds,
    Rate,
    ServiceRate,
    Partition(usize),
}

/// One row.
struct Row {
    line: usize,
    second: u32,
    rates: Vec<f32>,
    service_rate: f32,
}

/// Reads a table. A column `rate` is dealt to `partitions` partitions; without a column `service_rate` a member settles
/// `service_rate` messages per second.
pub fn read(text: &str, partitions: usize, service_rate: f32) -> Result<Trace, Unreadable> {
    let mut lines = text
        .trim_start_matches('\u{feff}')
        .lines()
        .enumerate()
        .map(|(number, line)| (number + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    if !(0.0..=RATE_MAX).contains(&f64::from(service_rate)) {
        return Err(refuse(
            1,
            format!("{service_rate} is no service rate: messages per second, 0 to {RATE_MAX}"),
        ));
    }
    let (line, header) =
        lines.next().ok_or_else(|| refuse(1, "there is nothing: begin with a header like `seconds,rate`"))?;
    let columns = columns(line, header)?;
    let dealt = columns.contains(&Column::Rate);
    let count = if dealt {
        partitions
    } else {
        columns.iter().filter(|column| matches!(column, Column::Partition(_))).count()
    };
    if !(1..=PARTITIONS_MAX).contains(&count) {
        return Err(refuse(line, format!("{count} partitions: 1 to {PARTITIONS_MAX} can be simulated")));
    }
    let mut rows: Vec<Row> = Vec::new();
    for (line, text) in lines {
        let row = row(line, text, &columns, count, service_rate)?;
        let follows = rows.last().map_or(row.second == 0, |last| row.second > last.second);
        if !follows {
            return Err(refuse(line, "seconds begin at 0 and rise from row to row"));
        }
        check_cells(line, row.second, count)?;
        rows.push(row);
    }
    unroll(&rows, line)
}

fn refuse(line: usize, what: impl Into<String>) -> Unreadable {
    Unreadable { line, what: what.into() }
}

fn columns(line: usize, header: &str) -> Result<Vec<Column>, Unreadable> {
    let mut columns = Vec::new();
    for name in header.split(',').map(str::trim) {
        let column = match name {
            "seconds" => Column::Seconds,
            "rate" => Column::Rate,
            "service_rate" => Column::ServiceRate,
            _ => match name.strip_prefix('p').and_then(|number| number.parse().ok()) {
                Some(number) => Column::Partition(number),
                None => {
                    let what =
                        format!("column `{name}`: seconds, rate, service_rate, p0, p1 and so on are known");
                    return Err(refuse(line, what));
                }
            },
        };
        if columns.contains(&column) {
            return Err(refuse(line, format!("column `{name}` is there twice")));
        }
        columns.push(column);
    }
    let partitions: Vec<usize> = columns
        .iter()
        .filter_map(|column| if let Column::Partition(number) = column { Some(*number) } else { None })
        .collect();
    if !columns.contains(&Column::Seconds) {
        return Err(refuse(line, "there is no column `seconds`"));
    }
    if columns.contains(&Column::Rate) != partitions.is_empty() {
        return Err(refuse(line, "name either `rate`, or `p0`, `p1` and so on"));
    }
    if let Some(missing) = (0..partitions.len()).find(|number| !partitions.contains(number)) {
        return Err(refuse(
            line,
            format!("there is no column `p{missing}`: partitions count from p0 without a gap"),
        ));
    }
    Ok(columns)
}

fn row(
    line: usize,
    text: &str,
    columns: &[Column],
    partitions: usize,
    usual: f32,
) -> Result<Row, Unreadable> {
    let cells: Vec<&str> = text.split(',').map(str::trim).collect();
    if cells.len() != columns.len() {
        let what = format!("{} values for {} columns", cells.len(), columns.len());
        return Err(refuse(line, what));
    }
    let mut row = Row { line, second: 0, rates: vec![0.0; partitions], service_rate: usual };
    for (cell, column) in cells.into_iter().zip(columns) {
        match column {
            Column::Seconds => {
                row.second = cell.parse().ok().filter(|second| *second <= SECONDS_MAX).ok_or_else(|| {
                    refuse(line, format!("`{cell}` is no second: whole numbers from 0 to {SECONDS_MAX}"))
                })?;
            }
            Column::Rate => row.rates.fill((rate(line, cell)? / partitions as f64) as f32),
            Column::ServiceRate => row.service_rate = rate(line, cell)? as f32,
            Column::Partition(number) => row.rates[*number] = rate(line, cell)? as f32,
        }
    }
    Ok(row)
}

fn rate(line: usize, cell: &str) -> Result<f64, Unreadable> {
    cell.parse()
        .ok()
        .filter(|rate| (0.0..=RATE_MAX).contains(rate))
        .ok_or_else(|| refuse(line, format!("`{cell}` is no rate: messages per second, 0 to {RATE_MAX}")))
}

/// Also before all rows are read: each is as wide as there are partitions.
fn check_cells(line: usize, seconds: u32, partitions: usize) -> Result<(), Unreadable> {
    if (seconds as usize).saturating_mul(partitions) > CELLS_MAX {
        let what = format!("{seconds} seconds of {partitions} partitions are too many: shorten the trace");
        return Err(refuse(line, what));
    }
    Ok(())
}

/// Every row holds until the next one.
fn unroll(rows: &[Row], header_line: usize) -> Result<Trace, Unreadable> {
    let [.., before, last] = rows else {
        let line = rows.last().map_or(header_line, |row| row.line);
        return Err(refuse(line, "a trace has at least two rows: what a row says holds until the next"));
    };
    let end = last.second.saturating_add(last.second - before.second);
    if end > SECONDS_MAX {
        return Err(refuse(last.line, format!("a trace ends within {SECONDS_MAX} seconds, not after {end}")));
    }
    check_cells(last.line, end, last.rates.len())?;
    let mut trace = Trace::default();
    let ends = rows.iter().skip(1).map(|row| row.second).chain([end]);
    for (row, until) in rows.iter().zip(ends) {
        for _ in row.second..until {
            trace.arrivals.push(row.rates.clone());
            trace.member_rate.push(row.service_rate);
        }
    }
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_hold_until_the_next() {
        let trace = read("# mine\nseconds,rate,service_rate\n0,12,50\n\n2,24,40\n3,0,40\n", 4, 9.0).unwrap();
        assert_eq!(trace.arrivals, [[3.0; 4], [3.0; 4], [6.0; 4], [0.0; 4]]);
        assert_eq!(trace.member_rate, [50.0, 50.0, 40.0, 40.0]);
        let trace = read("p1, seconds, p0\n1,0,2\n3,10,4\n", 99, 9.0).unwrap();
        assert_eq!(
            (trace.arrivals.len(), &trace.arrivals[9], &trace.arrivals[10]),
            (20, &vec![2.0, 1.0], &vec![4.0, 3.0])
        );
        assert_eq!(trace.member_rate[0], 9.0);
    }

    #[test]
    fn what_is_no_trace_is_refused_with_its_line() {
        for (text, line, word) in [
            ("", 1, "header"),
            ("# only a remark\n", 1, "header"),
            ("time,rate\n", 1, "`time`"),
            ("rate\n1\n", 1, "`seconds`"),
            ("seconds\n0\n", 1, "either"),
            ("seconds,rate,p0\n", 1, "either"),
            ("seconds,rate,rate\n", 1, "twice"),
            ("seconds,p0,p2\n", 1, "`p1`"),
            ("seconds,rate\n0,1\n", 2, "two rows"),
            ("seconds,rate\n", 1, "two rows"),
            ("seconds,rate\n1,1\n", 2, "begin at 0"),
            ("seconds,rate\n0,1\n5,1\n\n5,2\n", 5, "rise"),
            ("seconds,rate\n0,1\n1.5,1\n", 3, "no second"),
            ("seconds,rate\n0,1\n700000,1\n", 3, "no second"),
            ("seconds,rate\n0,1\n400000,1\n", 3, "ends within"),
            ("seconds,rate\n0,1\n1,-1\n", 3, "no rate"),
            ("seconds,rate\n0,1\n1,NaN\n", 3, "no rate"),
            ("seconds,rate\n0,1\n1,inf\n", 3, "no rate"),
            ("seconds,rate\n0,1\n1\n", 3, "values"),
            ("seconds,rate\n0,1\n1,2,3\n", 3, "values"),
        ] {
            let refused = read(text, 4, 50.0).expect_err(text);
            assert_eq!(refused.line, line, "{text} {refused}");
            assert!(refused.to_string().contains(word), "{text} {refused}");
        }
        assert!(read("seconds,rate\n0,1\n1,1\n", 0, 1.0).is_err());
        assert!(read("seconds,rate\n0,1\n1,1\n", 1_025, 1.0).is_err());
        assert!(read("seconds,rate\n0,1\n200000,1\n", 1_000, 1.0).is_err());
    }
}
