//! `pondage-sim`: runs the real node against hostile disks, networks, clocks, crashes and restarts, from seeds.
//!
//! One seed is one world: virtual time, hosts with disks in memory and brokers that die and come back, a few clients. The
//! same seed gives the same trace, to the byte; `--trace` prints it. The oracle (`oracle`) knows what each client was
//! told and checks the guarantees against it.

mod chance;
mod clients;
mod invariants;
mod oracle;
#[cfg(any(test, feature = "planted"))]
mod planted;
mod trace;
mod world;

use std::{process::ExitCode, time::Instant};

use clap::{Parser, Subcommand};

use crate::world::{Report, World};

/// Simulates one broker on a hostile disk.
#[derive(Debug, Parser)]
#[command(name = "pondage-sim")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs many seeds and reruns some of them to see that they are the same.
    Run {
        /// The seeds, FROM..TO without TO.
        #[arg(long, default_value = "0..1000", value_parser = parse_seeds)]
        seeds: std::ops::Range<u64>,
        /// Simulated seconds under faults, before the healing phase.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// How many seeds to run twice.
        #[arg(long, default_value_t = 50)]
        rerun: u64,
        /// Hosts of every world, instead of what the seed draws.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=5))]
        hosts: Option<u64>,
    },
    /// Runs one seed.
    Seed {
        /// Which.
        seed: u64,
        /// Simulated seconds under faults, before the healing phase.
        #[arg(long, default_value_t = 60)]
        seconds: u64,
        /// Hosts of the world, instead of what the seed draws.
        #[arg(long, value_parser = clap::value_parser!(u64).range(1..=5))]
        hosts: Option<u64>,
        /// Prints every step.
        #[arg(long)]
        trace: bool,
    },
    #[cfg(feature = "planted")]
    #[command(flatten)]
    Planted(planted::Command),
}

fn parse_seeds(text: &str) -> Result<std::ops::Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("give the seeds as FROM..TO")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    Ok(number(from)?..number(to)?)
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Seed { seed, seconds, hosts, trace } => {
            let report = World::run_on(seed, seconds, hosts.map(|hosts| hosts as usize), trace);
            println!("{report}");
            if report.violation.is_none() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Command::Run { seeds, seconds, rerun, hosts } => {
            run(seeds, seconds, rerun, hosts.map(|hosts| hosts as usize))
        }
        #[cfg(feature = "planted")]
        Command::Planted(command) => planted::perform(command),
    }
}

fn run(seeds: std::ops::Range<u64>, seconds: u64, rerun: u64, hosts: Option<usize>) -> ExitCode {
    let started = Instant::now();
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get) as u64;
    let reports: Vec<Report> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let seeds = seeds.clone();
                scope.spawn(move || {
                    let mine = seeds.filter(|seed| seed % threads == worker);
                    mine.map(|seed| {
                        let mut report = World::run_on(seed, seconds, hosts, false);
                        if seed % 1_000 < rerun && report.violation.is_none() {
                            let again = World::run_on(seed, seconds, hosts, false);
                            if again.hash != report.hash {
                                report.violation = Some("the same seed gave another trace".to_owned());
                            }
                        }
                        if report.violation.is_some() {
                            println!("{report}");
                        }
                        report
                    })
                    .collect::<Vec<_>>()
                })
            })
            .collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("a world panicked")).collect()
    });
    let failed = reports.iter().filter(|report| report.violation.is_some()).count();
    let total = |figure: fn(&Report) -> u64| reports.iter().map(figure).sum::<u64>();
    println!(
        "{} seeds × {seconds} s in {:.1} s: {} messages acknowledged, {} settled, {} crashes, {} fenced volumes, \
         {} orderly stops, {} leases kept, {} disks lost, {} steps, {} events; {} seeds rerun the same",
        reports.len(),
        started.elapsed().as_secs_f64(),
        total(|report| report.acknowledged),
        total(|report| report.settled),
        total(|report| report.crashes),
        total(|report| report.fenced),
        total(|report| report.stops),
        total(|report| report.kept),
        total(|report| report.losses),
        total(|report| report.steps),
        total(|report| report.events),
        rerun.min(reports.len() as u64),
    );
    println!("{} passed, {failed} failed", reports.len() - failed);
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
