//! The long runs: the large model check, the search for planted faults, then fresh seeds and the flights again and
//! again, until the time is up or something breaks; and the process-level faults in their full dose.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::project::Project;
use crate::run;

/// Seeds between two flights: a few minutes of simulation.
const SEEDS_PER_ROUND: u64 = 2_000;

/// What is run once, before the rounds: the package and what it is told.
const ONCE: [(&str, &str, &[&str]); 2] = [
    ("the model check", "pondage-model-check", &["--", "soak"]),
    (
        "the search for planted faults",
        "pondage-sim",
        &["--features", "planted", "--", "search", "--all", "--seeds", "0..400"],
    ),
];

/// Makes every process-level fault a hundred times, on three brokers at full load; gaps beyond their bar fail it too.
/// Answers whether nothing broke.
pub(crate) fn soak_cluster(project: &Project, rest: &[String]) -> Result<bool> {
    run::build_shipped_binary(project)?;
    let mut cluster = project.program("pondage-cluster-tests");
    run::pass_through(cluster.args(["--quiet", "--bin", "cluster", "--", "--soak", "--strict"]).args(rest))
}

/// Repeats rounds of simulation and flights for at least `minutes`; stops at the first failure, whose output
/// names the seed. Answers whether nothing broke.
pub(crate) fn soak(project: &Project, minutes: u64, first_seed: u64) -> Result<bool> {
    let end = Duration::from_secs(minutes.saturating_mul(60));
    let started = Instant::now();
    for (what, package, arguments) in ONCE {
        if !run::pass_through(project.program(package).arg("--quiet").args(arguments))? {
            eprintln!("soak: {what} failed");
            return Ok(false);
        }
    }
    run::build_shipped_binary(project)?;
    let mut seeds = first_seed..first_seed.saturating_add(SEEDS_PER_ROUND);
    let mut rounds = 0_u64;
    while rounds == 0 || started.elapsed() < end {
        let mut sim = project.program("pondage-sim");
        sim.args(["--quiet", "--", "run", "--seeds"]).arg(format!("{}..{}", seeds.start, seeds.end));
        let simulated = run::pass_through(&mut sim)?;
        let mut flights = project.program("pondage-e2e");
        if !simulated || !run::pass_through(flights.args(["--quiet", "--bin", "flights"]))? {
            let part = if simulated { "the flights" } else { "the simulation" };
            eprintln!("soak: {part} of round {} failed (seeds {}..{})", rounds + 1, seeds.start, seeds.end);
            return Ok(false);
        }
        rounds += 1;
        println!(
            "soak: {rounds} rounds in {:.1} min, seeds {first_seed}..{}, {rounds} flights runs, nothing lost",
            started.elapsed().as_secs_f64() / 60.0,
            seeds.end
        );
        seeds = seeds.end..seeds.end.saturating_add(SEEDS_PER_ROUND);
    }
    Ok(true)
}
