//! The benchmark of autoscaling: `cargo xtask bench autoscale`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use pondage_autoscale_bench::contenders::{Contender, contenders};
use pondage_autoscale_bench::race::{Conditions, Program, race};
use pondage_autoscale_bench::report::{bars_table, draw, markdown, recorded_table, sums_table, traces_table};
use pondage_autoscale_bench::seeds::{TRAINING, frozen_commit, holdout};
use pondage_autoscale_bench::traces::recorded_in;
use pondage_autoscale_bench::verdict::bars;
use serde_json::json;

/// Run every scaler over every trace and seed, and say who keeps the target with how many pods.
#[derive(Parser)]
#[command(name = "cargo xtask bench autoscale", bin_name = "cargo xtask bench autoscale")]
struct Arguments {
    /// Which seeds; left out, hold-out ones if a commit froze the controller, else training ones
    #[arg(long, value_enum)]
    seeds: Option<Seeds>,
    /// Only scalers whose name has this in it; may be given several times
    #[arg(long, value_name = "SCALER")]
    only: Vec<String>,
    /// Only traces whose name has this in it; may be given several times
    #[arg(long, value_name = "TRACE")]
    trace: Vec<String>,
    /// Fail if a bar is not met
    #[arg(long)]
    check: bool,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Write autoscale.md and autoscale.svg into this folder
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
    /// The age of the oldest unprocessed message above which a second is a violation
    #[arg(long, value_name = "SECONDS", default_value_t = Conditions::default().target_seconds)]
    target: u64,
    /// From a pod's creation to its joining the group, give or take a quarter
    #[arg(long, value_name = "SECONDS", default_value_t = Conditions::default().start_seconds)]
    start: u64,
    /// How long partitions rest when they change hands
    #[arg(long, value_name = "SECONDS", default_value_t = Conditions::default().rebalance_seconds)]
    rebalance: u64,
    /// All partitions rest then, not only those that move
    #[arg(long)]
    eager: bool,
    /// Threads that simulate
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Seeds {
    /// Those that the controller may be tuned with
    Training,
    /// Those that follow from the commit that froze it
    Holdout,
    /// Both together
    Both,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether the bars that were asked about are met.
fn run(arguments: &Arguments) -> Result<bool> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let commit = frozen_commit(&here.join("frozen"))?;
    let (seeds, which) = seeds(arguments.seeds, commit.as_deref())?;
    let contenders = chosen(arguments)?;
    let conditions = Conditions {
        target_seconds: arguments.target,
        start_seconds: arguments.start,
        rebalance_seconds: arguments.rebalance,
        eager: arguments.eager,
    };
    let program = Program {
        contenders: &contenders,
        seeds: &seeds,
        traces: &arguments.trace,
        recorded: recorded_in(&here.join("traces"))?,
        conditions,
        threads: arguments.threads.max(1),
    };
    let started = Instant::now();
    let results = race(&program);
    let headline = format!(
        "{} traces, {} seeds: {which}. The target is {} s; pods start within {} s, give or take a quarter; partitions \
         that change hands rest {} s{}.",
        results.traces.len(),
        seeds.len(),
        conditions.target_seconds,
        conditions.start_seconds,
        conditions.rebalance_seconds,
        if conditions.eager { ", and all others with them" } else { "" },
    );
    let bars = if arguments.trace.is_empty() { bars(&results) } else { Vec::new() };

    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&json!({ "results": results, "bars": bars }))?);
    } else {
        println!("{headline}\nSimulated in {:.0} s.\n", started.elapsed().as_secs_f64());
        println!("{}\n\n{}", sums_table(&results), traces_table(&results));
        if let Some(recorded) = recorded_table(&results) {
            println!("\n{recorded}");
        }
        if !bars.is_empty() {
            println!("\n{}", bars_table(&bars));
        }
    }
    if let Some(folder) = &arguments.write {
        std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let page = folder.join("autoscale.md");
        let text = markdown(&results, &bars, &headline);
        std::fs::write(&page, text).with_context(|| format!("writing {}", page.display()))?;
        draw(&results, &folder.join("autoscale.svg"))?;
    }
    let missed = bars.iter().filter(|bar| !bar.met).count();
    if !bars.is_empty() && !arguments.json {
        println!("\n{} bars met, {missed} not met", bars.len() - missed);
    }
    ensure!(!arguments.check || !bars.is_empty(), "--check needs the controller, KEDA and all traces");
    Ok(!arguments.check || missed == 0)
}

/// The seeds, and in words which they are.
fn seeds(wanted: Option<Seeds>, commit: Option<&str>) -> Result<(Vec<u64>, String)> {
    let wanted = match (wanted, commit) {
        (Some(wanted), _) => wanted,
        (None, Some(_)) => Seeds::Holdout,
        (None, None) => Seeds::Training,
    };
    let unfrozen =
        "nothing is frozen yet: tests/autoscale/frozen names no commit, so there are no hold-out seeds";
    Ok(match wanted {
        Seeds::Training if commit.is_none() => (TRAINING.to_vec(), format!("training; {unfrozen}")),
        Seeds::Training => (TRAINING.to_vec(), "training".to_owned()),
        Seeds::Holdout => {
            let commit = commit.context(unfrozen)?;
            (holdout(commit).to_vec(), format!("hold-out, of the commit {commit}"))
        }
        Seeds::Both => {
            let commit = commit.context(unfrozen)?;
            let seeds = TRAINING.into_iter().chain(holdout(commit)).collect();
            (seeds, format!("training, and hold-out of the commit {commit}"))
        }
    })
}

fn chosen(arguments: &Arguments) -> Result<Vec<Contender>> {
    let is_wanted = |name: &str| {
        arguments.only.is_empty() || arguments.only.iter().any(|part| name.contains(part.as_str()))
    };
    let all = contenders();
    let names: Vec<String> = all.iter().map(|contender| contender.name.clone()).collect();
    let chosen: Vec<Contender> = all.into_iter().filter(|contender| is_wanted(&contender.name)).collect();
    ensure!(!chosen.is_empty(), "no scaler has that in its name; there are: {}", names.join("; "));
    Ok(chosen)
}
