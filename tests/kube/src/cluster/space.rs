//! A set of namespaces, in which processes see neither the machine's network, mounts and processes nor each other's.

use std::{
    ffi::OsStr,
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::inside::{CALL, KEPT, OWNED, READY, SWITCH};
use crate::{
    command::{call_with, wait_until},
    log::tail,
};

/// How long the first process may take.
const START_TIMEOUT: Duration = Duration::from_secs(20);
/// How long everything may take to end that was killed.
const END_TIMEOUT: Duration = Duration::from_secs(30);

/// A set of namespaces, with a folder for what belongs to it.
#[derive(Clone, Debug)]
pub(super) struct Space {
    name: String,
    folder: PathBuf,
}

impl Space {
    pub(super) fn new(cluster: &Path, name: &str) -> Self {
        Self { name: name.to_owned(), folder: cluster.join(name) }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Makes the namespaces. If they are owned, they end when the child that this gives is dropped with its standard input.
    pub(super) fn start(&self, is_kept: bool) -> Result<Child> {
        ensure!(self.process().is_err(), "{} runs already", self.name);
        let log = self.log("first");
        fs::create_dir_all(self.folder.join("logs"))?;
        let file = OpenOptions::new().create(true).append(true).open(&log)?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--propagation", "private"]);
        command.arg("--").arg(std::env::current_exe()?);
        command.args([CALL, if is_kept { KEPT } else { OWNED }, &self.name]).arg(&self.folder);
        command.stdin(if is_kept { Stdio::null() } else { Stdio::piped() });
        command.stdout(file.try_clone()?).stderr(file).current_dir("/");
        let mut child = group(&mut command).spawn().context("unshare does not start")?;
        let started = wait_until("the first process of a node", START_TIMEOUT, || {
            ensure_runs(&mut child)?;
            Ok(self.process().is_ok())
        });
        if let Err(error) = started {
            bail!(
                "{}: {error:#}; does the program begin with `serve_if_called()`?\n{}",
                self.name,
                tail(&log)
            );
        }
        Ok(child)
    }

    /// Its first process, as the machine knows it.
    pub(super) fn process(&self) -> Result<Pid> {
        let text = fs::read_to_string(self.folder.join(READY))
            .ok()
            .with_context(|| format!("{} does not run", self.name))?;
        let process = text.parse().ok().and_then(Pid::from_raw).context("no process id")?;
        ensure!(is_first_of(process, &self.folder), "{} has ended", self.name);
        Ok(process)
    }

    /// The path of one of the namespaces, as in `/proc/…/ns`.
    pub(super) fn namespace(&self, kind: &str) -> Result<PathBuf> {
        Ok(PathBuf::from(format!("/proc/{}/ns/{kind}", self.process()?.as_raw_nonzero())))
    }

    /// A call inside, for somebody who runs it himself.
    pub(super) fn command<A: AsRef<OsStr>>(&self, program: &Path, arguments: &[A]) -> Result<Command> {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.process()?.as_raw_nonzero()));
        let all = if self.name == SWITCH {
            &["--net"][..]
        } else {
            &["--mount", "--net", "--pid", "--uts", "--ipc"]
        };
        command.args(all).arg("--").arg(program).args(arguments);
        Ok(command)
    }

    /// Runs a program inside and gives what it printed.
    pub(super) fn run(&self, program: &str, arguments: &[&str], input: &str) -> Result<String> {
        call_with(&mut self.command(Path::new(program), arguments)?, input)
            .with_context(|| format!("in {}", self.name))
    }

    /// Starts a program inside that stays. What it says goes to a log of its name.
    pub(super) fn daemon(&self, program: &Path, arguments: &[String]) -> Result<Child> {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        let log = OpenOptions::new().create(true).append(true).open(self.log(&name))?;
        let mut command = self.command(program, arguments)?;
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        group(&mut command).spawn().with_context(|| format!("{name} does not start"))
    }

    /// Where the log of a program is.
    pub(super) fn log(&self, program: &str) -> PathBuf {
        self.folder.join("logs").join(format!("{program}.log"))
    }

    /// Kills a program inside, as the kernel would. Gives whether there was one.
    pub(super) fn kill_program(&self, program: &str) -> Result<bool> {
        let mine = fs::read_link(self.namespace("pid")?)?;
        let mut killed = false;
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let path = entry.path();
            // Those that end meanwhile are not looked for.
            let is_inside = fs::read_link(path.join("ns/pid")).is_ok_and(|namespace| namespace == mine);
            if is_inside && called(&path).is_some_and(|called| called.ends_with(&format!("/{program}"))) {
                kill_process(Pid::from_raw(process).context("process 0")?, Signal::KILL)?;
                wait_until("the end of a process", END_TIMEOUT, || Ok(called(&path).is_none()))?;
                killed = true;
            }
        }
        Ok(killed)
    }

    /// Kills everything inside, and waits until it is gone. Nothing happens if it is gone already.
    pub(super) fn kill(&self) -> Result<()> {
        let Ok(process) = self.process() else { return Ok(()) };
        kill_process(process, Signal::KILL)?;
        // The first process is the last that is gone.
        let there = PathBuf::from(format!("/proc/{}", process.as_raw_nonzero()));
        wait_until(&format!("the end of {}", self.name), END_TIMEOUT, || Ok(!there.exists()))?;
        Ok(fs::remove_file(self.folder.join(READY))?)
    }
}

/// Signals of the terminal reach only the one who was called from there.
fn group(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt;
    command.process_group(0)
}

fn ensure_runs(child: &mut Child) -> Result<()> {
    match child.try_wait()? {
        Some(status) => bail!("it ended with {status}"),
        None => Ok(()),
    }
}

/// What a process was called as, if it still runs.
fn called(process: &Path) -> Option<String> {
    let line = fs::read_to_string(process.join("cmdline")).ok()?;
    let first = line.split('\0').next()?;
    (!first.is_empty()).then(|| first.to_owned())
}

/// Whether the number is still that of the process, which was called with its folder, and not given to another.
fn is_first_of(process: Pid, folder: &Path) -> bool {
    let path = format!("/proc/{}/cmdline", process.as_raw_nonzero());
    let line = fs::read_to_string(path).unwrap_or_default();
    line.contains(CALL) && line.contains(&*folder.to_string_lossy())
}
