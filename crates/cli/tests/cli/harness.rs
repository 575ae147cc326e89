//! Starts brokers and runs commands.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// How long anything may take before a test says that it hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// The resources of most tests.
pub(crate) const FILE: &str = "\
apiVersion: pondage.io/v1alpha1
kind: ConsumerGroup
metadata: {name: board}
spec: {topicRefs: [{name: flights}]}
---
apiVersion: pondage.io/v1alpha1
kind: Queue
metadata: {name: orders}
spec: {ackTimeout: 2s, maxDeliveries: 2, deadLetter: {queueRef: {name: orders-dead}}}
---
apiVersion: pondage.io/v1alpha1
kind: Queue
metadata: {name: orders-dead}
---
apiVersion: pondage.io/v1alpha1
kind: Topic
metadata: {name: flights}
spec: {partitions: 3}
";

/// A child process that goes with its owner.
pub(crate) struct Process(Child);

impl Process {
    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(id, signal).expect("it runs");
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("it is ours").is_none()
    }

    /// Waits until it ends.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().expect("it is ours") {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "the process does not end");
            sleep(Duration::from_millis(5));
        }
    }

    /// What it wrote, once it has ended.
    pub(crate) fn output(mut self) -> (ExitStatus, String, String) {
        use std::io::Read;
        let status = self.ended();
        let (mut out, mut err) = (String::new(), String::new());
        let stdout = self.0.stdout.take().map(|mut pipe| pipe.read_to_string(&mut out));
        let stderr = self.0.stderr.take().map(|mut pipe| pipe.read_to_string(&mut err));
        assert!(stdout.is_none_or(|read| read.is_ok()) && stderr.is_none_or(|read| read.is_ok()));
        (status, out, err)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder with files and data, and a broker on it.
pub(crate) struct Place {
    folder: TempDir,
    broker: Option<Process>,
    server: String,
}

impl Place {
    /// A folder without a broker.
    pub(crate) fn empty() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Port 9 (discard): nobody is there.
        Self { folder, broker: None, server: "http://127.0.0.1:9".to_owned() }
    }

    /// A broker with the resources of [`FILE`].
    pub(crate) fn with_resources() -> Self {
        let mut place = Self::empty();
        let file = place.write("resources.yaml", FILE);
        place.up(&["-f", file.to_str().expect("text")]);
        place
    }

    /// Starts a broker and waits until it serves and has applied its files.
    pub(crate) fn up(&mut self, args: &[&str]) {
        let address_file = self.path("addresses.json");
        // One that was killed has left its own.
        let _ = fs::remove_file(&address_file);
        let process = self.start_up(args);
        self.adopt(process);
    }

    /// Takes a broker that was started otherwise, and waits until it serves and has applied its files.
    pub(crate) fn adopt(&mut self, mut process: Process) {
        let address_file = self.path("addresses.json");
        let start = Instant::now();
        while !address_file.exists() {
            let ended = process.0.try_wait().expect("it is ours");
            if ended.is_some() {
                let (status, out, err) = process.output();
                panic!("the broker ended with {status}\n{out}\n{err}");
            }
            assert!(start.elapsed() < PATIENCE, "the broker does not serve");
            sleep(Duration::from_millis(5));
        }
        let text = fs::read_to_string(&address_file).expect("readable");
        let addresses: Value = serde_json::from_str(&text).expect("whole at every moment");
        self.server = addresses["server"].as_str().expect("an address").to_owned();
        self.broker = Some(process);
    }

    /// Starts `pondage up` and waits for nothing.
    pub(crate) fn start_up(&self, args: &[&str]) -> Process {
        let mut command = self.pondage(&["up", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
        command.args(args).arg("--data").arg(self.path("data"));
        command.arg("--address-file").arg(self.path("addresses.json"));
        Self::spawn(command)
    }

    /// Where clients connect.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The broker.
    pub(crate) fn broker(&mut self) -> &mut Process {
        self.broker.as_mut().expect("a broker was started")
    }

    /// Takes the broker out of the place.
    pub(crate) fn take_broker(&mut self) -> Process {
        self.broker.take().expect("a broker was started")
    }

    /// A path in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("writable");
        path
    }

    /// The command, not yet started.
    pub(crate) fn pondage(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pondage"));
        command.args(args).current_dir(self.folder.path());
        command.env("PONDAGE_SERVER", &self.server).env_remove("RUST_LOG").env_remove("COMPLETE");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts a command and goes on beside it.
    pub(crate) fn spawn(mut command: Command) -> Process {
        Process(command.spawn().expect("the binary starts"))
    }

    /// Runs a command with this on stdin.
    pub(crate) fn run_with(&self, args: &[&str], stdin: &str) -> Ended {
        let mut command = self.pondage(args);
        command.stdin(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        let mut pipe = child.stdin.take().expect("piped");
        let text = stdin.to_owned();
        // A command that ends without reading closes the pipe.
        let writer = std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
        let ended = Ended::of(args, &child.wait_with_output().expect("it ends"));
        writer.join().expect("no panic");
        ended
    }

    /// Runs a command.
    pub(crate) fn run(&self, args: &[&str]) -> Ended {
        Ended::of(args, &self.pondage(args).output().expect("the binary starts"))
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        self.run(args).ok()
    }

    /// Runs a command that must succeed, and reads what it printed as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let text = self.ok(args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{args:?}: {error}: {text}"))
    }

    /// The counters of a queue.
    pub(crate) fn queue(&self, name: &str) -> Value {
        self.json(&["get", "queue", name, "-o", "json"])["status"]["streams"][0]["messages"].clone()
    }
}

/// How a command ended.
#[derive(Debug)]
pub(crate) struct Ended {
    args: Vec<String>,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    pub(crate) fn of(args: &[&str], output: &Output) -> Self {
        Self {
            args: args.iter().map(ToString::to_string).collect(),
            code: output.status.code(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// What it printed; it must have succeeded.
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{:?} {self:#?}", self.args);
        self.out
    }

    /// It must have ended with this code and said these things.
    pub(crate) fn failed(self, code: i32, said: &[&str]) -> String {
        assert_eq!(self.code, Some(code), "{:?} {self:#?}", self.args);
        for part in said {
            assert!(self.err.contains(part), "{part:?} in {self:#?}");
        }
        self.err
    }
}

/// Waits until something holds.
pub(crate) fn eventually(what: &str, holds: impl Fn() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        sleep(Duration::from_millis(20));
    }
}

/// The lines of a file; none if it is not there.
pub(crate) fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}
