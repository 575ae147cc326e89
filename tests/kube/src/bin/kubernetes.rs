//! Installs and uses Pondage in a real Kubernetes; `cargo xtask test --only kubernetes` runs it.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Parser;
use pondage_kube_tests::{
    cluster::serve_if_called,
    e2e::{self, Habits, Wanted},
};

/// Installs Pondage in a cluster of three nodes and tries everything that is promised there
#[derive(Parser)]
struct Arguments {
    /// The static binary that is shipped
    #[arg(long, env = "PONDAGE_BIN")]
    pondage: PathBuf,
    /// The folder with the static binaries of the applications, traffic and worker; this one's if it is left out
    #[arg(long)]
    applications: Option<PathBuf>,
    /// Only scenarios whose description contains this, and the two that all build on
    #[arg(long)]
    only: Option<String>,
    /// The two that all build on, and those from the one on whose description contains this
    #[arg(long, conflicts_with = "only")]
    from: Option<String>,
    /// Seconds in which nobody wants anything, and the operator is to do nothing
    #[arg(long, default_value_t = 60)]
    idle: u64,
    /// Draw the dashboards into this folder as the scenario of Prometheus shows them, which takes two minutes longer
    #[arg(long, value_name = "FOLDER")]
    pictures: Option<PathBuf>,
}

fn main() -> ExitCode {
    serve_if_called();
    let arguments = Arguments::parse();
    let own = std::env::current_exe().unwrap_or_default();
    let beside = || own.parent().map(PathBuf::from).unwrap_or_default();
    let applications = arguments.applications.unwrap_or_else(beside);
    let wanted = match (arguments.only, arguments.from) {
        (Some(only), _) => Wanted::Only(only),
        (None, Some(from)) => Wanted::From(from),
        (None, None) => Wanted::All,
    };
    let habits = Habits { idle: Duration::from_secs(arguments.idle), pictures: arguments.pictures };
    match e2e::run(&arguments.pondage, &applications, &wanted, habits) {
        Ok(passed) => {
            println!("test result: ok. {passed} passed; 0 failed; 0 ignored");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored");
            ExitCode::FAILURE
        }
    }
}
