//! One broker: its place, its process, and what is done to them.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    clock,
    network::{Host, Namespace},
    tls::Certificates,
    volume::Volume,
};

/// Where brokers listen, in namespaces of their own.
const PORT: u16 = 7420;
const HTTP_PORT: u16 = 7421;
/// How long a process may take from its start until it serves.
const READY_TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to stop in good order.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a log's end that are shown when something is wrong.
const LOG_TAIL_BYTES: u64 = 4 << 10;

/// How brokers form a cluster.
#[derive(Clone, Debug)]
pub enum Membership {
    /// One alone: `pondage up`.
    Alone,
    /// One of several: `pondage broker`.
    Member {
        /// The cluster's UUID.
        cluster: String,
        /// Where others may be found.
        seeds: Vec<String>,
        /// What brokers show each other and clients.
        certificates: Certificates,
    },
}

/// A broker. Dropping it kills its process.
#[derive(Debug)]
pub struct Broker {
    /// Where it is in the network.
    pub host: Host,
    binary: PathBuf,
    namespace: Namespace,
    membership: Membership,
    /// Where its data lies; a volume of its own or a folder among others.
    place: Place,
    log: PathBuf,
    addresses: PathBuf,
    /// The number of a lost broker whose place it takes with its next start.
    replaces: Option<u32>,
    /// The number that is lost if its process ends by itself, having found out that its disk is an old copy.
    gives_up: Option<u32>,
    child: Option<Child>,
}

/// Where a broker's data lies.
#[derive(Debug)]
pub enum Place {
    /// A folder of the machine's own file system.
    Folder(PathBuf),
    /// A file system of its own.
    Volume(Volume),
}

impl Place {
    fn data(&self) -> PathBuf {
        match self {
            Self::Folder(folder) => folder.join("data"),
            Self::Volume(volume) => volume.path().join("data"),
        }
    }
}

impl Broker {
    /// A broker that was never started. Its log lies in `logs`.
    #[must_use]
    pub fn new(
        binary: PathBuf,
        host: Host,
        namespace: Namespace,
        membership: Membership,
        place: Place,
        logs: &Path,
    ) -> Self {
        let [log, addresses] =
            ["log", "addresses.json"].map(|end| logs.join(format!("broker-{}.{end}", host.0)));
        Self {
            host,
            binary,
            namespace,
            membership,
            place,
            log,
            addresses,
            replaces: None,
            gives_up: None,
            child: None,
        }
    }

    /// Where clients and peers connect.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        Self::address_on(self.host)
    }

    /// Where a broker on a host is reached.
    #[must_use]
    pub fn address_on(host: Host) -> SocketAddr {
        (host.address(), PORT).into()
    }

    /// Starts the process and does not wait.
    ///
    /// # Errors
    /// If it runs already, or can't be started.
    pub fn spawn(&mut self) -> Result<()> {
        ensure!(self.child.is_none(), "broker {} runs already", self.host.0);
        // What a killed process left behind says nothing about the next.
        let _ = fs::remove_file(&self.addresses);
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.binary);
        match &self.membership {
            Membership::Alone => {
                command.arg("up");
            }
            Membership::Member { cluster, seeds, certificates } => {
                command.args(["broker", "--cluster", cluster, "--seeds", &seeds.join(",")]);
                command.arg("--tls-certificate").arg(&certificates.certificate);
                command.arg("--tls-key").arg(&certificates.key).arg("--tls-ca").arg(&certificates.ca);
                if let Some(lost) = self.replaces.take() {
                    command.args(["--replaces", &lost.to_string()]);
                }
            }
        }
        let http = SocketAddr::from((self.host.address(), HTTP_PORT));
        command.arg("--data").arg(self.place.data()).arg("--address-file").arg(&self.addresses);
        command.args(["--listen", &self.address().to_string(), "--http", &http.to_string()]);
        command.args(["--log-level", "info,pondage_broker=debug"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        // A process is where the thread is that makes it.
        let spawned = self.namespace.within(|| command.spawn().context("a process"));
        self.child = Some(spawned.with_context(|| format!("can't start {}", self.binary.display()))?);
        Ok(())
    }

    /// Waits until it serves.
    ///
    /// # Errors
    /// If it ends, or does not serve in time; with the end of its log.
    pub fn wait_ready(&mut self) -> Result<Duration> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.running()?.try_wait()? {
                self.child = None;
                bail!("broker {} ended with {status} before it served\n{}", self.host.0, self.log_tail());
            }
            if self.addresses.is_file() {
                return Ok(started.elapsed());
            }
            ensure!(
                started.elapsed() < READY_TIMEOUT,
                "broker {} does not serve after {} s\n{}",
                self.host.0,
                READY_TIMEOUT.as_secs(),
                self.log_tail()
            );
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Whether its process runs, as far as is known.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// How it ended by itself, if it did.
    ///
    /// # Errors
    /// If the system does not say.
    pub fn ended(&mut self) -> Result<Option<String>> {
        let Some(child) = &mut self.child else { return Ok(None) };
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.child = None;
        self.replaces = self.gives_up.take();
        Ok(Some(format!("broker {} ended by itself with {status}\n{}", self.host.0, self.log_tail())))
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// If it does not run, or had ended by itself before.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(ended) = self.ended()? {
            bail!(ended);
        }
        let mut child = self.child.take().with_context(|| format!("broker {} does not run", self.host.0))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops all its threads, until [`Broker::go_on`].
    ///
    /// # Errors
    /// If it does not run.
    pub fn pause(&mut self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets its threads run again.
    ///
    /// # Errors
    /// If it does not run.
    pub fn go_on(&mut self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// Asks it with SIGTERM to stop and waits until it did.
    ///
    /// # Errors
    /// If it does not stop in time, or not in good order.
    pub fn terminate(&mut self) -> Result<()> {
        self.signal(Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_TIMEOUT {
            if let Some(status) = self.running()?.try_wait()? {
                self.child = None;
                ensure!(
                    status.success(),
                    "after SIGTERM broker {} ended with {status}\n{}",
                    self.host.0,
                    self.log_tail()
                );
                return Ok(());
            }
            thread::sleep(Duration::from_millis(2));
        }
        bail!("broker {} runs {} s after SIGTERM\n{}", self.host.0, STOP_TIMEOUT.as_secs(), self.log_tail());
    }

    /// Makes its wall clock differ by so many seconds from the true time, while it runs.
    ///
    /// # Errors
    /// If it does not run, or the machine can't.
    pub fn set_clock(&mut self, seconds_ahead: i64) -> Result<()> {
        let process = self.process()?;
        let signal = |signal| move || Ok(kill_process(process, signal)?);
        let id = u32::try_from(process.as_raw_nonzero().get())?;
        clock::jump(id, seconds_ahead, signal(Signal::STOP), signal(Signal::CONT))
    }

    /// Deletes its data; it comes back as another broker, in the place of number `replaces`. It must not run.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn wipe(&mut self, replaces: Option<u32>) -> Result<()> {
        ensure!(self.child.is_none(), "broker {} runs", self.host.0);
        self.replaces = replaces;
        Ok(fs::remove_dir_all(self.place.data())?)
    }

    /// Copies its data away, as a backup of a stopped broker. It must not run.
    ///
    /// # Errors
    /// If the system does not let it.
    pub fn back_up(&self) -> Result<()> {
        ensure!(self.child.is_none(), "broker {} runs", self.host.0);
        let _ = fs::remove_dir_all(self.backup());
        copy_folder(&self.place.data(), &self.backup())
    }

    /// Puts the copy in the place of its data. It must not run. It may find that out, empty its volume and end; the next
    /// start takes the place of broker `number` then.
    ///
    /// # Errors
    /// If there is none, or the system does not let it.
    pub fn restore(&mut self, number: Option<u32>) -> Result<()> {
        self.gives_up = number;
        ensure!(self.child.is_none(), "broker {} runs", self.host.0);
        fs::remove_dir_all(self.place.data())?;
        Ok(fs::rename(self.backup(), self.place.data())?)
    }

    /// Its volume.
    ///
    /// # Errors
    /// If it has a folder.
    pub fn volume(&mut self) -> Result<&mut Volume> {
        match &mut self.place {
            Place::Volume(volume) => Ok(volume),
            Place::Folder(folder) => bail!("{} is no volume", folder.display()),
        }
    }

    /// The end of its log, for people.
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

    /// Seconds of processor time that the running process has used, where the system tells.
    #[must_use]
    pub fn processor_seconds(&self) -> Option<f64> {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.as_ref()?.id())).ok()?;
        // The fields behind the name, which may hold anything: state is the third field of all.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let user: f64 = fields.next()?.parse().ok()?;
        let system: f64 = fields.next()?.parse().ok()?;
        Some((user + system) / rustix::param::clock_ticks_per_second() as f64)
    }

    fn backup(&self) -> PathBuf {
        self.place.data().with_extension("backup")
    }

    fn running(&mut self) -> Result<&mut Child> {
        self.child.as_mut().with_context(|| format!("broker {} does not run", self.host.0))
    }

    fn process(&mut self) -> Result<Pid> {
        Ok(Pid::from_child(self.running()?))
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        if let Some(ended) = self.ended()? {
            bail!(ended);
        }
        Ok(kill_process(self.process()?, signal)?)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // One that has ended already needs nothing.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
