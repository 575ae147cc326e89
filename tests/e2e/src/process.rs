//! The real broker as a child process: started, waited for, killed and started again on the same data.

use std::{
    env,
    fs::{File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Pid;
use tokio::{
    process::{Child, Command},
    time::{sleep, timeout},
};

/// How long a broker may take from its start until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a broker may take to stop in good order.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// Bytes of the log's end that are shown when something is wrong.
const LOG_TAIL_BYTES: u64 = 8 << 10;
/// Where ports are looked for: below those that systems give to outgoing connections. A client that knocks at a dead
/// port of that range can meet itself there, and then the broker can't have it back.
const PORTS: std::ops::Range<u16> = 15_000..30_000;

/// The path of the binary `pondage`: what PONDAGE_BIN names, else a release build of this working tree, made now.
///
/// # Errors
/// If there is none and none can be built.
pub async fn pondage_binary() -> Result<PathBuf> {
    if let Some(path) = env::var_os("PONDAGE_BIN").filter(|path| !path.is_empty()).map(PathBuf::from) {
        ensure!(path.is_file(), "PONDAGE_BIN names {}, where no file is", path.display());
        return Ok(path);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args([
            "build",
            "--release",
            "--package",
            "pondage-cli",
            "--message-format",
            "json-render-diagnostics",
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .await
        .context("can't run cargo to build pondage; PONDAGE_BIN may name a binary")?;
    ensure!(build.status.success(), "cargo can't build pondage");
    let messages = build.stdout.split(|byte| *byte == b'\n');
    let executable = messages
        .filter_map(|line| serde_json::from_slice::<serde_json::Value>(line).ok())
        .find_map(|message| {
            let is_pondage = message["target"]["name"] == "pondage";
            message["executable"].as_str().filter(|_| is_pondage).map(PathBuf::from)
        });
    executable.context("cargo built pondage and does not say where")
}

/// The place of a broker, or of several: binary, data folder, log and addresses, which outlive the processes.
#[derive(Clone, Debug)]
pub struct Installation {
    binary: PathBuf,
    /// Brokers, each a process; one is its own supervisor.
    brokers: u8,
    data: PathBuf,
    log: PathBuf,
    /// The file that exists while the broker serves and everything is applied.
    addresses: PathBuf,
    listen: SocketAddr,
    http: SocketAddr,
}

impl Installation {
    /// A place for a broker that keeps its data and its log in `folder`, on free ports of the loopback address.
    ///
    /// # Errors
    /// If no port is free.
    pub fn new(binary: PathBuf, folder: &Path) -> Result<Self> {
        let (listen, http) = free_ports()?;
        let [data, log, addresses] = ["data", "broker.log", "addresses.json"].map(|name| folder.join(name));
        Ok(Self { binary, brokers: 1, data, log, addresses, listen, http })
    }

    /// The same place for a cluster of so many brokers.
    #[must_use]
    pub fn with_brokers(self, brokers: u8) -> Self {
        Self { brokers, ..self }
    }

    /// How many brokers there are.
    #[must_use]
    pub const fn brokers(&self) -> u8 {
        self.brokers
    }

    /// Where clients connect: one address, or one for each broker with commas between them.
    ///
    /// # Errors
    /// If the brokers have not said where they are.
    pub fn address(&self) -> Result<String> {
        if self.brokers == 1 {
            return Ok(self.listen.to_string());
        }
        let said: serde_json::Value = serde_json::from_slice(&std::fs::read(&self.addresses)?)?;
        said["server"].as_str().map(str::to_owned).context("the address file names no server")
    }

    /// Starts a broker process and waits until it serves and has applied the resource files.
    ///
    /// # Errors
    /// If it ends, or does not serve in time; with the end of its log.
    pub async fn start(&self, files: &[&Path]) -> Result<BrokerProcess> {
        // What a killed broker left behind says nothing about the next.
        if let Err(error) = std::fs::remove_file(&self.addresses)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error).context("the address file");
        }
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        command.arg("up").arg("--data").arg(&self.data);
        command.arg("--listen").arg(self.listen.to_string()).arg("--http").arg(self.http.to_string());
        command.arg("--address-file").arg(&self.addresses);
        if self.brokers > 1 {
            command.args(["--brokers", &self.brokers.to_string()]);
        }
        for file in files {
            command.arg("-f").arg(file);
        }
        // What it greets people with is no news; what it logs is on stderr.
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let started = Instant::now();
        let child = command.spawn().with_context(|| format!("can't start {}", self.binary.display()))?;
        let mut broker = BrokerProcess { child };
        loop {
            if let Some(status) = broker.child.try_wait()? {
                bail!("the broker ended with {status} before it served\n{}", self.log_tail());
            }
            if self.addresses.is_file() {
                return Ok(broker);
            }
            ensure!(
                started.elapsed() < READY_TIMEOUT,
                "the broker does not serve after {} s\n{}",
                READY_TIMEOUT.as_secs(),
                self.log_tail()
            );
            sleep(Duration::from_millis(2)).await;
        }
    }

    /// The end of the broker's log, for people.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let tail = || -> std::io::Result<String> {
            let mut log = File::open(&self.log)?;
            let length = log.metadata()?.len();
            log.seek(SeekFrom::Start(length.saturating_sub(LOG_TAIL_BYTES)))?;
            let mut bytes = Vec::new();
            log.read_to_end(&mut bytes)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let text = tail().unwrap_or_else(|error| error.to_string());
        format!("--- the end of {} ---\n{text}", self.log.display())
    }
}

/// A running broker. Dropping it kills it.
#[derive(Debug)]
pub struct BrokerProcess {
    child: Child,
}

impl BrokerProcess {
    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// If it had ended by itself before.
    pub async fn kill(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("the broker had ended by itself with {status}");
        }
        self.child.start_kill()?;
        self.child.wait().await?;
        Ok(())
    }

    /// Kills it and the brokers that it supervises with SIGKILL, and waits until all are gone.
    ///
    /// # Errors
    /// If it had ended by itself before, or a broker does not go.
    pub async fn kill_all(self) -> Result<()> {
        let children = self.children()?;
        // First who would start the others again.
        self.kill().await?;
        for child in &children {
            // Without their supervisor they may have ended by themselves.
            let _ = rustix::process::kill_process(*child, rustix::process::Signal::KILL);
        }
        let killed = Instant::now();
        while children.iter().copied().any(runs) {
            ensure!(killed.elapsed() < STOP_TIMEOUT, "a broker runs after SIGKILL");
            sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    /// Kills one of the brokers that it supervises with SIGKILL, the `choice`-th modulo their number, and waits until it
    /// is gone. The supervisor starts it again by itself.
    ///
    /// # Errors
    /// If there is none, or it does not go.
    pub async fn kill_child(&mut self, choice: u64) -> Result<()> {
        let children = self.children()?;
        ensure!(!children.is_empty(), "no broker runs under the supervisor");
        let child = children[(choice % children.len() as u64) as usize];
        rustix::process::kill_process(child, rustix::process::Signal::KILL)?;
        let killed = Instant::now();
        while runs(child) {
            ensure!(killed.elapsed() < STOP_TIMEOUT, "a broker runs after SIGKILL");
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The processes that it started and that run.
    fn children(&self) -> Result<Vec<Pid>> {
        let id = self.child.id().context("the broker had ended by itself")?;
        let mut children = Vec::new();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let Some(pid) =
                entry.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw)
            else {
                continue;
            };
            if parent(pid) == Some(id) && runs(pid) {
                children.push(pid);
            }
        }
        children.sort_unstable_by_key(|pid| pid.as_raw_nonzero());
        Ok(children)
    }

    /// Asks it with SIGTERM to stop and waits until it did.
    ///
    /// # Errors
    /// If it does not stop in time.
    pub async fn terminate(mut self) -> Result<ExitStatus> {
        let id = self.child.id().context("the broker had ended by itself")?;
        let id = i32::try_from(id).ok().and_then(rustix::process::Pid::from_raw).context("a process id")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)?;
        let ended = timeout(STOP_TIMEOUT, self.child.wait()).await;
        Ok(ended.with_context(|| format!("no end {} s after SIGTERM", STOP_TIMEOUT.as_secs()))??)
    }

    /// How it ended, if it did.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Seconds of processor time that it and the brokers that it started have used, where the system tells: those that
    /// run, and those whose end it saw.
    #[must_use]
    pub fn processor_seconds(&self) -> Option<f64> {
        let own = i32::try_from(self.child.id()?).ok().and_then(Pid::from_raw)?;
        let ticks = |pid: Pid, fields: std::ops::Range<usize>| -> Option<f64> {
            state_fields(pid).get(fields)?.iter().map(|ticks| ticks.parse::<f64>().ok()).sum()
        };
        // User and system time, and behind them those of children that are gone.
        let children: f64 = self.children().ok()?.into_iter().filter_map(|child| ticks(child, 11..13)).sum();
        Some((ticks(own, 11..15)? + children) / rustix::param::clock_ticks_per_second() as f64)
    }
}

/// The fields of a process's state behind its name, which may hold anything; empty if there is no such process.
fn state_fields(pid: Pid) -> Vec<String> {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
    fields.split_whitespace().map(str::to_owned).collect()
}

fn parent(pid: Pid) -> Option<u32> {
    state_fields(pid).get(1)?.parse().ok()
}

/// Whether a process is there, and not only waiting for somebody to ask how it ended.
fn runs(pid: Pid) -> bool {
    state_fields(pid).first().is_some_and(|state| state != "Z" && state != "X")
}

/// Two ports that are free now. Runs at once begin to look in different places.
fn free_ports() -> Result<(SocketAddr, SocketAddr)> {
    let span = u32::from(PORTS.end - PORTS.start);
    let first = std::process::id().wrapping_mul(7919) % span;
    let mut free = (0..span).filter_map(|step| {
        let port = PORTS.start + u16::try_from((first + step) % span).ok()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpListener::bind(address).is_ok().then_some(address)
    });
    let ports = free.next().zip(free.next());
    ports.context("no two ports are free on the loopback address")
}
