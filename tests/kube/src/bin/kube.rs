//! A Kubernetes cluster on this machine, for people: `cargo run -p pondage-kube-tests --bin kube -- up`.

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand, ValueEnum};
use pondage_kube_tests::{
    check,
    cluster::{Cluster, Plan, serve_if_called},
    image::Image,
    steps::Steps,
};

/// Makes a Kubernetes cluster out of namespaces, and keeps it until it is taken down
#[derive(Parser)]
#[command(name = "kube")]
struct Arguments {
    /// The cluster's name, where there are several
    #[arg(long, default_value = "kept", global = true)]
    name: String,
    #[command(subcommand)]
    does: Does,
}

#[derive(Subcommand)]
enum Does {
    /// Make it
    Up {
        /// How many nodes; the first has the control plane too
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// Pods leave a lost node after so many seconds [default: 300, as everywhere]
        #[arg(long)]
        eviction_seconds: Option<u32>,
    },
    /// Call kubectl in it
    Kubectl(Call),
    /// Call helm in it
    Helm(Call),
    /// Run a program in a node
    Exec {
        /// The node, from 1
        node: u8,
        /// The program
        program: String,
        #[command(flatten)]
        call: Call,
    },
    /// Give images to all nodes
    Load {
        /// Archives as `docker save` makes them
        archives: Vec<PathBuf>,
        /// Make an image of this binary of Pondage
        #[arg(long, env = "PONDAGE_BIN", value_name = "FILE")]
        pondage: Option<PathBuf>,
        /// What the image of Pondage is called
        #[arg(long, default_value = "pondage.test/pondage:test")]
        image: String,
    },
    /// Do something to a node
    Node {
        /// What
        what: ToNode,
        /// The node, from 1
        node: u8,
    },
    /// Do something to the API server
    ApiServer {
        /// What
        what: ToApiServer,
    },
    /// Take it down
    Down,
    /// Make another one, try everything that tests do with it, and take it down
    Check {
        /// How many nodes
        #[arg(long, default_value_t = 3)]
        nodes: u8,
        /// Try the image of this static binary of Pondage too
        #[arg(long, env = "PONDAGE_BIN", value_name = "FILE")]
        pondage: Option<PathBuf>,
    },
}

#[derive(clap::Args)]
struct Call {
    /// What it is told
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum ToNode {
    /// Cut it off from the others
    Cut,
    /// End that
    Mend,
    /// Kill everything in it
    Kill,
    /// Start it again
    Start,
}

#[derive(Clone, Copy, ValueEnum)]
enum ToApiServer {
    /// Kill it
    Stop,
    /// Start it again
    Start,
}

fn main() -> ExitCode {
    serve_if_called();
    perform(Arguments::parse()).unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

fn perform(Arguments { name, does }: Arguments) -> Result<ExitCode> {
    let steps = Steps::begin();
    let find = || Cluster::find(&name);
    match does {
        Does::Up { nodes, eviction_seconds } => {
            Cluster::keep(Plan { nodes, eviction_seconds }, &name)?;
        }
        Does::Kubectl(Call { arguments }) => {
            let [kubectl, _] = find()?.clients()?.map(|client| client.command(&arguments));
            return run(kubectl);
        }
        Does::Helm(Call { arguments }) => {
            let [_, helm] = find()?.clients()?.map(|client| client.command(&arguments));
            return run(helm);
        }
        Does::Exec { node, program, call } => {
            return run(find()?.command(node, &program, &call.arguments)?);
        }
        Does::Load { archives, pondage, image } => {
            let cluster = find()?;
            cluster.load_archives(&archives)?;
            if let Some(binary) = pondage {
                cluster.load(&Image::pondage(&image, &binary))?;
                steps.say(&format!("the nodes have {image}"));
            }
        }
        Does::Node { what, node } => {
            let cluster = find()?;
            let node = cluster.node(node)?;
            match what {
                ToNode::Cut => node.cut()?,
                ToNode::Mend => node.mend()?,
                ToNode::Kill => node.kill()?,
                ToNode::Start => node.start()?,
            }
        }
        Does::ApiServer { what } => {
            let cluster = find()?;
            match what {
                ToApiServer::Stop => cluster.api_server()?.stop()?,
                ToApiServer::Start => cluster.api_server()?.start()?,
            }
        }
        Does::Down => {
            find()?.down()?;
            steps.say("it is down");
        }
        Does::Check { nodes, pondage } => return Ok(judge(check::run(nodes, pondage.as_deref()))),
    }
    Ok(ExitCode::SUCCESS)
}

fn judge(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => {
            println!("test result: ok. 1 passed; 0 failed; 0 ignored");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error:#}");
            println!("test result: FAILED. 0 passed; 1 failed; 0 ignored");
            ExitCode::FAILURE
        }
    }
}

fn run(mut command: Command) -> Result<ExitCode> {
    let status = command.status().context("nsenter does not start")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
