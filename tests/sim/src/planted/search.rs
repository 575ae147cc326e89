//! Plants faults, runs worlds, and says which seeds find them.

use std::{
    any::Any,
    fs,
    ops::Range,
    panic,
    process::ExitCode,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use anyhow::{Context, Result};
use clap::Subcommand;
use pondage_model::planted::{self, Fault};

use super::{PAGE, Row};
use crate::{parse_seeds, world::World};

/// Simulated seconds of every recorded run, before the healing phase: as many as `run` takes by default.
const SECONDS: u64 = 60;

/// What can be done with planted faults.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Looks for seeds that find planted faults.
    Search {
        /// One fault: how many of the seeds find it.
        #[arg(long, value_parser = parse_fault, required_unless_present = "all")]
        fault: Option<Fault>,
        /// Every fault that is planted somewhere: the first seed that finds it.
        #[arg(long, conflicts_with = "fault")]
        all: bool,
        /// The seeds, FROM..TO without TO.
        #[arg(long, default_value = "0..200", value_parser = parse_seeds)]
        seeds: Range<u64>,
        /// Writes the seeds that were found into docs/planted-faults.md.
        #[arg(long, requires = "all")]
        record: bool,
    },
    /// Runs every recorded seed with its fault, which it must find, and without, which it must pass.
    Replay,
}

fn parse_fault(name: &str) -> Result<Fault, String> {
    Fault::from_name(name)
        .ok_or_else(|| format!("no fault is called {name:?}: docs/planted-faults.md lists them"))
}

/// Performs the command; failure if a fault was not found.
pub(crate) fn perform(command: Command) -> ExitCode {
    match try_perform(command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn try_perform(command: Command) -> Result<ExitCode> {
    let page = fs::read_to_string(PAGE).with_context(|| format!("can't read {PAGE}"))?;
    let rows: Vec<Row> = page.lines().filter_map(Row::parse).collect();
    // A world that panics found something; the report says what.
    panic::set_hook(Box::new(|_| {}));
    let all_found = match command {
        Command::Search { fault: Some(fault), seeds, .. } => search_one(fault, &seeds),
        Command::Search { fault: None, seeds, record, .. } => {
            let searched = search_all(&rows, &seeds);
            if record {
                fs::write(PAGE, recorded(&page, &searched)).with_context(|| format!("can't write {PAGE}"))?;
            }
            searched.iter().all(|row| row.seed.is_some())
        }
        Command::Replay => {
            let missed = replay(&rows);
            missed.iter().for_each(|what| println!("{what}"));
            println!("{} recorded, {} missed", recorded_count(&rows), missed.len());
            missed.is_empty()
        }
    };
    Ok(if all_found { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn recorded_count(rows: &[Row]) -> usize {
    rows.iter().filter(|row| row.seed.is_some()).count()
}

/// What the world of this seed finds while the fault is planted.
fn run(fault: Option<Fault>, seed: u64) -> Option<String> {
    planted::plant(fault);
    let outcome = panic::catch_unwind(|| World::run(seed, SECONDS, false));
    planted::plant(None);
    match outcome {
        Ok(report) => report.violation,
        Err(payload) => Some(format!("a panic: {}", text_of(&*payload))),
    }
}

fn text_of(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("of unknown cause")
}

/// Gives the numbers below `count` to as many threads as there are cores, in order; gives what came of them, in order.
fn on_all_cores<T: Send>(count: u64, work: impl Fn(u64) -> Option<T> + Sync) -> Vec<T> {
    let next = AtomicU64::new(0);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= count {
                        return;
                    }
                    if let Some(result) = work(number) {
                        results.lock().unwrap_or_else(PoisonError::into_inner).push((number, result));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_unstable_by_key(|(number, _)| *number);
    results.into_iter().map(|(_, result)| result).collect()
}

/// The seeds that find the fault, in order, with what they find; no more than the first if one is `enough`.
fn find(fault: Fault, seeds: &Range<u64>, one_is_enough: bool) -> Vec<(u64, String)> {
    let done = AtomicBool::new(false);
    on_all_cores(seeds.end.saturating_sub(seeds.start), |number| {
        if one_is_enough && done.load(Ordering::Relaxed) {
            return None;
        }
        let seed = seeds.start + number;
        let found = run(Some(fault), seed)?;
        done.store(true, Ordering::Relaxed);
        Some((seed, found))
    })
}

fn search_one(fault: Fault, seeds: &Range<u64>) -> bool {
    let started = Instant::now();
    let found = find(fault, seeds, false);
    let (name, count, seconds) = (fault.name(), seeds.end - seeds.start, started.elapsed().as_secs_f64());
    match found.first() {
        Some((seed, what)) => {
            println!(
                "{name}: {} of {count} seeds find it, in {seconds:.1} s; seed {seed}: {what}",
                found.len()
            );
        }
        None => println!("{name}: none of {count} seeds finds it, in {seconds:.1} s"),
    }
    !found.is_empty()
}

/// The rows of all faults that are planted somewhere, with the first seed that finds each.
fn search_all(rows: &[Row], seeds: &Range<u64>) -> Vec<Row> {
    let started = Instant::now();
    let mut searched = Vec::new();
    for row in rows.iter().filter(|row| row.place.is_some()) {
        let found = find(row.fault, seeds, true);
        let first = found.first();
        println!(
            "| {} | {} | {} |",
            row.fault.name(),
            first.map_or_else(|| "–".to_owned(), |(seed, _)| seed.to_string()),
            first.map_or("not found", |(_, what)| what)
        );
        searched.push(Row { seed: first.map(|(seed, _)| *seed), ..row.clone() });
    }
    // A fault that its first seed, 0, finds took one seed.
    let mut needed: Vec<u64> =
        searched.iter().filter_map(|row| row.seed).map(|seed| seed - seeds.start + 1).collect();
    needed.sort_unstable();
    println!(
        "{} of {} planted faults found by one of {} seeds each, the median after {} seeds, in {:.0} s; {} not planted yet",
        needed.len(),
        searched.len(),
        seeds.end - seeds.start,
        needed.get(needed.len() / 2).copied().unwrap_or(0),
        started.elapsed().as_secs_f64(),
        rows.len() - searched.len(),
    );
    searched
}

/// The page with the seeds of these rows.
fn recorded(page: &str, searched: &[Row]) -> String {
    let line = |line: &str| {
        let row = Row::parse(line).and_then(|old| searched.iter().find(|row| row.fault == old.fault));
        row.map_or_else(|| line.to_owned(), Row::line) + "\n"
    };
    page.lines().map(line).collect()
}

/// What the recorded seeds miss: faults that they do not find, and worlds that fail without a fault.
pub(super) fn replay(rows: &[Row]) -> Vec<String> {
    let again = "record the seeds anew with `search --all --record`";
    let judge = |row: &Row| {
        let (name, seed) = (row.fault.name(), row.seed?);
        let found = run(Some(row.fault), seed).is_some();
        let unfound = (!found).then(|| format!("{name}: seed {seed} does not find it; {again}"));
        let broken = run(None, seed).map(|what| format!("{name}: seed {seed} fails without it: {what}"));
        unfound.or(broken)
    };
    on_all_cores(rows.len() as u64, |index| {
        usize::try_from(index).ok().and_then(|index| rows.get(index)).and_then(judge)
    })
}
