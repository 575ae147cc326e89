//! Runs stages and commands, times them, and says what failed and how to repeat it alone.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::TestArguments;
use crate::count::{Count, summary};
use crate::project::{Project, SHIPPED_PROFILE};
use crate::stages::{BUILD_PONDAGE, STAGES, Stage, Step, When};
use crate::tools::Tool;

/// One stage's end.
struct Outcome {
    name: &'static str,
    took: Duration,
    count: Count,
    failure: Option<String>,
}

/// Runs the stages that the arguments choose. Its last line counts everything: `N passed, N failed`.
pub(crate) fn test(project: &Project, arguments: &TestArguments) -> Result<bool> {
    if arguments.list {
        for stage in STAGES {
            let when = match stage.when {
                When::Always => "always",
                When::Whole => "whole runs",
                When::Quick => "--quick",
            };
            println!("{:<14} {:<11} {}", stage.name, when, stage.about);
        }
        return Ok(true);
    }
    let chosen = choose(arguments)?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    for stage in &chosen {
        println!("── {}: {}", stage.name, stage.about);
        let started = Instant::now();
        let (count, result) = run_stage(project, stage, &arguments.rest);
        let took = started.elapsed();
        let failure = result.err().map(|error| format!("{error:#}"));
        match &failure {
            None => println!("── {} passed in {}\n", stage.name, seconds(took)),
            Some(failure) => println!("── {} FAILED after {}: {failure}\n", stage.name, seconds(took)),
        }
        let failed = failure.is_some();
        outcomes.push(Outcome { name: stage.name, took, count, failure });
        if failed && !arguments.keep_going {
            break;
        }
    }
    Ok(report(&chosen, &outcomes))
}

/// Builds the binary that demonstrations start.
pub(crate) fn build_shipped_binary(project: &Project) -> Result<()> {
    run_step(project, &BUILD_PONDAGE, &[]).1
}

/// Runs a command for its own sake: its output is the user's, its failure the answer.
pub(crate) fn pass_through(command: &mut Command) -> Result<bool> {
    let program = command.get_program().to_string_lossy().into_owned();
    Ok(command.status().with_context(|| format!("can't start {program}"))?.success())
}

fn choose(arguments: &TestArguments) -> Result<Vec<&'static Stage>> {
    if !arguments.rest.is_empty() && arguments.only.len() != 1 {
        bail!("arguments after -- need exactly one --only STAGE");
    }
    if arguments.only.is_empty() {
        let unwanted = if arguments.quick { When::Whole } else { When::Quick };
        return Ok(STAGES.iter().filter(|stage| stage.when != unwanted).collect());
    }
    arguments
        .only
        .iter()
        .map(|name| {
            STAGES.iter().find(|stage| stage.name == name).with_context(|| {
                let names: Vec<_> = STAGES.iter().map(|stage| stage.name).collect();
                format!("there is no stage {name:?}; the stages are {}", names.join(", "))
            })
        })
        .collect()
}

fn run_stage(project: &Project, stage: &Stage, rest: &[String]) -> (Count, Result<()>) {
    let mut count = Count::default();
    let last = stage.steps.len() - 1;
    for (index, step) in stage.steps.iter().enumerate() {
        let rest = if index == last { rest } else { &[] };
        let (counted, result) = run_step(project, step, rest);
        count += counted;
        if let Err(error) = result {
            // A runner that could not even start its tests has counted none.
            if count.failed == 0 {
                count += Count::failed(1);
            }
            return (count, Err(error));
        }
    }
    if count == Count::default() {
        count = Count::passed(1);
    }
    (count, Ok(()))
}

fn run_step(project: &Project, step: &Step, rest: &[String]) -> (Count, Result<()>) {
    let mut command = match step {
        Step::Check(check) => {
            return match check(project) {
                Ok(checked) => (Count::passed(checked), Ok(())),
                Err(error) => (Count::failed(1), Err(error)),
            };
        }
        Step::Cargo(args) => with(project.cargo(), args),
        Step::Shipped(args) => with(project.shipped(project.cargo()), args),
        Step::Program(package, args) => {
            let mut program = project.program(package);
            program.arg("--locked");
            with(program, args)
        }
        Step::Tool(tool, args) => match tool.install(project) {
            Ok(program) => with(project.command(program), args),
            Err(error) => return (Count::default(), Err(error)),
        },
        Step::ProcessTests(package) => match Tool::Nextest.install(project) {
            Ok(program) => {
                let args =
                    ["nextest", "run", "--cargo-profile", SHIPPED_PROFILE, "--package", package, "--locked"];
                with(project.shipped(project.command(program)), &args)
            }
            Err(error) => return (Count::default(), Err(error)),
        },
    };
    command.args(rest).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    run_counted(&mut command)
}

fn with(mut command: Command, args: &[&str]) -> Command {
    command.args(args);
    command
}

/// Runs a command, shows its output line by line as it comes, and adds up the summaries in it.
fn run_counted(command: &mut Command) -> (Count, Result<()>) {
    let shown = shown(command);
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) => return (Count::default(), Err(error).with_context(|| format!("can't start {shown}"))),
    };
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    let errors = thread::spawn(move || stderr.map(|stream| echo(stream, |line| eprintln!("{line}"))));
    let mut count = stdout.map(|stream| echo(stream, |line| println!("{line}"))).unwrap_or_default();
    count += errors.join().ok().flatten().unwrap_or_default();
    let result = match child.wait() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(anyhow::anyhow!("`{shown}` ended with {status}")),
        Err(error) => Err(error).with_context(|| format!("lost {shown}")),
    };
    (count, result)
}

fn echo(stream: impl Read, show: impl Fn(&str)) -> Count {
    let mut count = Count::default();
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    while matches!(reader.read_until(b'\n', &mut line), Ok(length) if length > 0) {
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end_matches(['\n', '\r']);
        show(text);
        if let Some(found) = summary(text) {
            count += found;
        }
        line.clear();
    }
    count
}

/// Prints the times, what failed with the way to repeat it, and the closing line; answers whether all passed.
fn report(chosen: &[&Stage], outcomes: &[Outcome]) -> bool {
    let mut total = Count::default();
    let mut took = Duration::ZERO;
    for outcome in outcomes {
        let verdict = if outcome.failure.is_some() { "FAILED" } else { "passed" };
        println!("{:<14} {verdict} {:>9}", outcome.name, seconds(outcome.took));
        total += outcome.count;
        took += outcome.took;
    }
    for stage in &chosen[outcomes.len()..] {
        println!("{:<14} not run", stage.name);
    }
    println!("{:<14} {:>16}", "in all", seconds(took));
    for outcome in outcomes {
        if let Some(failure) = &outcome.failure {
            println!("\nstage {} failed: {failure}", outcome.name);
            println!("repeat it alone: cargo xtask test --only {}", outcome.name);
        }
    }
    println!("\n{} passed, {} failed, {} skipped", total.passed, total.failed, total.skipped);
    outcomes.len() == chosen.len() && outcomes.iter().all(|outcome| outcome.failure.is_none())
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}

/// The command as one would type it, without its path.
fn shown(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let mut text = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}
