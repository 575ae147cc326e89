//! What the figures depend on, and what processes have used so far.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read, Write},
    net::SocketAddr,
    os::unix::fs::FileExt,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Serialize;
use tempfile::TempDir;

/// Ticks per second in `/proc`; a constant of Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// Where and of what the figures are.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) processor: String,
    pub(crate) cores: usize,
    pub(crate) kernel: String,
    /// Of the data folder.
    pub(crate) file_system: String,
    /// Median of a write of 1 KiB over written blocks with its `fdatasync`, in microseconds.
    pub(crate) sync_micros: u64,
    pub(crate) commit: String,
}

impl Machine {
    /// Looks around.
    pub(crate) fn look(data: &Path) -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = processors.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            processor: model.map_or("unknown", |(_, model)| model).to_owned(),
            cores: std::thread::available_parallelism()?.get(),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            file_system: file_system(data),
            sync_micros: median_sync(data)?,
            commit: commit(),
        })
    }

    /// Where the figures are of, for people.
    pub(crate) fn sentence(&self) -> String {
        let Self { processor, cores, kernel, file_system, sync_micros, commit } = self;
        format!(
            "{cores} cores of {processor}, Linux {kernel}, {file_system}; 1 KiB written and synced alone takes \
             {sync_micros} µs (median). Commit {commit}."
        )
    }
}

/// Where one benchmark runs: a folder that is gone afterwards, and the machine as it was before.
#[derive(Debug)]
pub(crate) struct Scene {
    pub(crate) folder: TempDir,
    pub(crate) machine: Machine,
    pub(crate) load_before: String,
}

impl Scene {
    /// Makes the folder in this one, and looks around.
    pub(crate) fn set(parent: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new()
            .prefix("pondage-bench-")
            .tempdir_in(parent)
            .with_context(|| format!("a folder in {}", parent.display()))?;
        Ok(Self { machine: Machine::look(folder.path())?, folder, load_before: load_average() })
    }

    /// Where the figures are of, and what else the machine had to do until now, for people.
    pub(crate) fn sentence(&self) -> String {
        let Self { machine, load_before, .. } = self;
        format!("{} Load averages {load_before} before, {} after.", machine.sentence(), load_average())
    }
}

/// Bytes of memory that a process has now.
pub(crate) fn memory_bytes(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse::<u64>()? << 10)
}

/// The load averages of the last minute, 5 and 15 minutes.
pub(crate) fn load_average() -> String {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// Seconds of processor time that a process has used.
pub(crate) fn cpu_seconds(pid: u32) -> Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name in parentheses may hold anything; the fields behind it are numbers.
    let fields: Vec<&str> = stat.rsplit_once(')').context("no stat")?.1.split_whitespace().collect();
    let ticks = |index: usize| -> Result<f64> { Ok(fields.get(index).context("a short stat")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Nanoseconds of processor time that each thread of a process has used.
#[derive(Debug)]
pub(crate) struct ThreadTimes(BTreeMap<u32, u64>);

impl ThreadTimes {
    /// Up to now.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let mut times = BTreeMap::new();
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            let task = task?;
            // One that ends meanwhile counts no more.
            let Ok(stat) = fs::read_to_string(task.path().join("schedstat")) else { continue };
            let thread = task.file_name().to_string_lossy().parse()?;
            times.insert(thread, stat.split(' ').next().context("an empty schedstat")?.parse()?);
        }
        Ok(Self(times))
    }

    /// Nanoseconds since then, in threads that are still there: finer than the ticks of [`cpu_seconds`].
    pub(crate) fn nanos_since(&self, before: &Self) -> u64 {
        let since = |(thread, nanos): (&u32, &u64)| nanos - before.0.get(thread).unwrap_or(&0).min(nanos);
        self.0.iter().map(since).sum()
    }
}

/// The sum of a metric over its labels.
pub(crate) fn scrape(http: SocketAddr, metric: &str) -> Result<f64> {
    let mut stream = std::net::TcpStream::connect(http)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(metric)?;
        rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next()?.parse::<f64>().ok())?
    });
    let values: Vec<f64> = values.collect();
    anyhow::ensure!(!values.is_empty(), "no {metric} in the metrics");
    Ok(values.iter().sum())
}

fn file_system(folder: &Path) -> String {
    let folder = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
    let mount = mounts
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(place, _)| folder.starts_with(place))
        .max_by_key(|(place, _)| place.len());
    mount.map_or("unknown", |(_, kind)| kind).to_owned()
}

fn median_sync(folder: &Path) -> Result<u64> {
    let path = folder.join("sync-probe");
    let file = File::options().write(true).create(true).truncate(true).open(&path)?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    file.sync_all()?;
    let mut micros = Vec::new();
    for index in 0..200_u64 {
        let started = Instant::now();
        file.write_all_at(&[1; 1_024], index * 1_024)?;
        file.sync_data()?;
        micros.push(u64::try_from(started.elapsed().as_micros())?);
    }
    fs::remove_file(&path)?;
    micros.sort_unstable();
    Ok(micros[micros.len() / 2])
}

/// The commit that is checked out, and whether the tree differs from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(arguments).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(changes) if changes.is_empty() => commit,
        _ => format!("{commit}, with changes"),
    }
}
