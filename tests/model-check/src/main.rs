//! `pondage-model-check [soak] [WORDS OF A ROW'S NAME]`: explores every history of small shards and prints a line of
//! figures for each row. Without `soak`, what the tests explore; with it, larger spaces, up to bounds.

use std::time::Duration;

use anyhow::{Result, ensure};
use pondage_model_check::{
    check::{Dose, Figures, explore},
    configuration::{Configuration, Order},
    rows, story,
};

/// Distinct states that a soak must visit.
const SOAK_STATES_MIN: usize = 10_000_000;

const QUICK: Dose = Dose { steps_max: None, time_max: Duration::from_secs(300), threads: 2 };

/// A row of the soak: a bound on its steps keeps the whole within about ten minutes on two cores.
const SOAK: Dose = Dose { steps_max: Some(8_000_000), time_max: Duration::from_secs(600), threads: 2 };

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let is_soak = arguments.first().is_some_and(|first| first == "soak");
    let wanted = arguments[usize::from(is_soak)..].join(" ");
    let (rows, dose) = if is_soak { (rows::large(), SOAK) } else { (rows::quick(), QUICK) };
    let rows: Vec<Configuration> = rows.into_iter().filter(|row| row.name.contains(&wanted)).collect();
    ensure!(!rows.is_empty(), "no row is called {wanted:?}");

    let mut states = 0;
    let mut failed = Vec::new();
    for row in rows {
        let figures = explore(&row, dose, row.order);
        println!("{:40} {}", row.name, line(&figures));
        states += figures.states;
        if !figures.broken.is_empty() || !figures.unreached.is_empty() {
            explain(&row, &figures);
            failed.push(row.name);
        }
    }
    println!("{:40} {states:10} states", "in all");
    ensure!(failed.is_empty(), "rows that failed: {}", failed.join(", "));
    ensure!(
        !is_soak || !wanted.is_empty() || states >= SOAK_STATES_MIN,
        "fewer than {SOAK_STATES_MIN} states"
    );
    Ok(())
}

fn line(figures: &Figures) -> String {
    format!(
        "{:10} states {:10} steps, depth {:4}, {:6.1} s, {}",
        figures.states,
        figures.steps,
        figures.depth,
        figures.took.as_secs_f64(),
        if figures.is_complete { "all" } else { "a part" },
    )
}

/// Tells the shortest history that breaks a rule, if one is found in time.
fn explain(row: &Configuration, figures: &Figures) {
    for name in &figures.unreached {
        println!("  never: {name}");
    }
    if figures.broken.is_empty() {
        return;
    }
    let dose = Dose { steps_max: None, time_max: Duration::from_secs(120), threads: 2 };
    let shortest = explore(row, dose, Order::BreadthFirst).broken;
    let broken = if shortest.is_empty() { &figures.broken } else { &shortest };
    for (name, actions) in broken.iter().take(1) {
        println!("  broken: {name}");
        for line in story::tell(row, actions) {
            println!("    {line}");
        }
    }
}
