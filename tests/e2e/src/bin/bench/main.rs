//! Benchmarks with real processes. `docs/benchmarks.md` says what they mean; `cargo xtask bench` runs them.
//!
//! The servers are this program again, in processes of their own: the broker with the settings of the real one, and
//! an echo with the same runtime, allocator and HTTP/2 settings. What is compared is measured in turns in one run.

mod cluster;
mod echo;
mod figures;
mod groups;
mod load;
mod machine;
mod members;
mod publish;
mod queues;
mod report;
mod rolling;
mod scrape;
mod server;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

// The same as the shipped binary's.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Benchmarks of the release build.
#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench")]
struct Arguments {
    #[command(subcommand)]
    subject: Subject,
}

#[derive(Subcommand)]
enum Subject {
    /// Single durable messages from many publishers, against an empty call on the same machine
    Publish(publish::Arguments),
    /// Single durable messages on three brokers, against one broker and against a call and a sync
    Cluster(cluster::Arguments),
    /// Ten thousand queues on three brokers, of which one is killed, and then all are restarted in turn
    Queues(queues::Arguments),
    /// A hundred members of a group on a thousand partitions, which come and go
    Groups(groups::Arguments),
    /// What showing its metrics costs a broker with ten thousand queues and a thousand groups
    Scrape(scrape::Arguments),
    /// What is measured, in a process of its own
    #[command(hide = true)]
    Serve(server::Arguments),
}

fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    // As the shipped binary makes it: a worker for each core.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match arguments.subject {
            Subject::Publish(arguments) => publish::run(arguments).await,
            Subject::Cluster(arguments) => cluster::run(arguments).await.map(|()| ExitCode::SUCCESS),
            Subject::Queues(arguments) => queues::run(arguments).await.map(|()| ExitCode::SUCCESS),
            Subject::Groups(arguments) => groups::run(arguments).await.map(|()| ExitCode::SUCCESS),
            Subject::Scrape(arguments) => scrape::run(arguments).await.map(|()| ExitCode::SUCCESS),
            Subject::Serve(arguments) => server::serve(arguments).await.map(|()| ExitCode::SUCCESS),
        }
    })
}
