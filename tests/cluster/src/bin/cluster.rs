//! Harms a cluster of real processes under load; `cargo xtask test --only cluster` runs it.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use clap::Parser;
use pondage_cluster_tests::{
    machine,
    run::{Keeps, Plan, run},
    scenarios::{SCENARIOS, Scenario},
};

// The same as the shipped binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Kills, stops, cuts off, wipes and fills brokers while clients publish and settle, and judges what they saw.
#[derive(Parser)]
#[command(name = "cargo xtask test --only cluster --", bin_name = "cargo xtask test --only cluster --")]
struct Arguments {
    /// Brokers; one is no cluster, and some faults need three
    #[arg(long, default_value_t = 3)]
    brokers: u8,
    /// Messages published in a second
    #[arg(long, default_value_t = 5_000)]
    rate: u32,
    /// Only these faults; may be given several times
    #[arg(long, value_parser = scenario)]
    only: Vec<Scenario>,
    /// Each fault so often; left out, as often as tests make it
    #[arg(long)]
    faults: Option<u32>,
    /// Each fault as often as a soak makes it
    #[arg(long, conflicts_with = "faults")]
    soak: bool,
    /// Decides the order of the faults and who is hit; left out, another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Gaps beyond their bar fail the run too
    #[arg(long)]
    strict: bool,
    /// Keep data, logs and history
    #[arg(long)]
    keep: bool,
    /// Where the report goes as JSON; left out, beside this program
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// The binary to start
    #[arg(long, env = "PONDAGE_BIN", value_name = "FILE")]
    binary: PathBuf,
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let names = || SCENARIOS.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    Scenario::named(name).ok_or_else(|| format!("the faults are {}", names()))
}

fn beside_me() -> Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name("cluster-report.json"))
}

fn main() -> ExitCode {
    perform(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        println!("test result: FAILED. 0 passed; 1 failed; 0 ignored");
        ExitCode::FAILURE
    })
}

fn perform(arguments: Arguments) -> Result<ExitCode> {
    if let Err(error) = machine::prepare() {
        println!("SKIPPED: all {} kinds of faults: {error:#}", SCENARIOS.len());
        println!("test result: ok. 0 passed; 0 failed; {} ignored", SCENARIOS.len());
        return Ok(ExitCode::SUCCESS);
    }
    let scenarios: Vec<Scenario> =
        if arguments.only.is_empty() { SCENARIOS.to_vec() } else { arguments.only };
    let times = |scenario: &Scenario| match (arguments.faults, arguments.soak) {
        (Some(faults), _) => faults,
        (None, true) => scenario.in_soak,
        (None, false) => scenario.in_tests,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let plan = Plan {
        binary: arguments.binary.canonicalize().with_context(|| arguments.binary.display().to_string())?,
        brokers: arguments.brokers,
        rate: arguments.rate,
        seed: arguments.seed.unwrap_or(now.as_secs()),
        scenarios: scenarios.iter().map(|scenario| (*scenario, times(scenario))).collect(),
        keeps: if arguments.keep { Keeps::Always } else { Keeps::AfterFailure },
    };
    let outcome = run(&plan)?;
    print!("{}", outcome.table());
    let report = arguments.report.map_or_else(beside_me, Ok)?;
    outcome.save(&report)?;
    println!("the report as JSON: {}", report.display());
    let too_slow = outcome.too_slow();
    if !too_slow.is_empty() {
        println!("gaps beyond the bar: {}", too_slow.join(", "));
    }
    println!("{}", outcome.summary());
    let is_good = outcome.is_good() && (too_slow.is_empty() || !arguments.strict);
    Ok(if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
