//! Publishes and settles real data while the broker is being killed; `cargo xtask demo flights` runs it.

use std::{
    path::PathBuf,
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::Result;
use clap::Parser;
use pondage_e2e::flights::{Plan, run};

// The same as the shipped binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The flights that left New York in 2013 go through a topic and three queues while the broker is being killed.
#[derive(Parser)]
#[command(name = "cargo xtask demo flights", bin_name = "cargo xtask demo flights")]
struct Arguments {
    /// Decides when to kill and what to release; left out, another one each time
    #[arg(long)]
    seed: Option<u64>,
    /// Brokers: one alone, or a cluster of which one is killed at a time
    #[arg(long, default_value_t = 1)]
    brokers: u8,
    /// How often to kill a broker
    #[arg(long, default_value_t = 20)]
    kills: usize,
    /// Only the first rows
    #[arg(long)]
    rows: Option<usize>,
    /// Minutes after which the run fails
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// A folder for the broker's data and log, which stay there; left out, a temporary one
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

fn main() -> Result<ExitCode> {
    let Arguments { seed, brokers, kills, rows, minutes, folder } = Arguments::parse();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let seed = seed.unwrap_or(now.as_secs());
    let plan = Plan { seed, brokers, kills, rows, limit: Duration::from_secs(minutes * 60), folder };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match runtime.block_on(run(&plan)) {
        Ok(true) => Ok(ExitCode::SUCCESS),
        Ok(false) => Ok(ExitCode::FAILURE),
        Err(error) => {
            eprintln!("error: {error:#}");
            Ok(ExitCode::FAILURE)
        }
    }
}
