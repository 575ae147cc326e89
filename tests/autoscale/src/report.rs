//! The results for people: tables, the bars, a picture. Programs get [`crate::figures::Results`] as JSON.

mod picture;
mod tables;

pub use self::picture::draw;
pub use self::tables::{bars_table, recorded_table, sums_table, traces_table};

use crate::figures::Results;
use crate::verdict::Bar;

/// The page for the documentation: what ran, the tables, the bars.
pub fn markdown(results: &Results, bars: &[Bar], headline: &str) -> String {
    let mut page = format!(
        "<!-- Written by `cargo xtask bench autoscale --write`; don't edit. -->\n\n{headline}\n\n\
         Over all traces, per seed:\n\n{}\n\nViolation seconds of each trace, per seed:\n\n{}\n",
        sums_table(results),
        traces_table(results),
    );
    if let Some(recorded) = recorded_table(results) {
        page.push_str(&format!("\nRecorded traces:\n\n{recorded}\n"));
    }
    if !bars.is_empty() {
        page.push_str(&format!("\n{}\n", bars_table(bars)));
    }
    page
}
