//! The processes of brokers: started, watched, started again, ended together.
//!
//! Each broker is a process group of its own, so that Ctrl-C reaches only this one, which ends them in good order. Its
//! stdin is a pipe that nothing is ever written to: the pipe's end tells the broker that all brokers of this machine
//! end, whether they are asked to or this process was killed. So no broker outlives its supervisor.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, BufReader},
    process::{Child, ChildStdin, Command},
    sync::{mpsc, watch},
    task::JoinSet,
    time::{Instant, interval, sleep, timeout},
};

use super::record::restart_file;
use crate::commands::remark;

/// The wait before a broker that ended by itself is started again; doubles with every end.
const BACKOFF_MIN: Duration = Duration::from_millis(500);
const BACKOFF_MAX: Duration = Duration::from_secs(30);
/// A broker that ran for so long had a good start: the next wait is the shortest again.
const GOOD_RUN: Duration = Duration::from_secs(60);
/// How long a broker may take to hand over and stop before it is killed.
const HAND_OVER_PATIENCE: Duration = Duration::from_secs(60);
/// How often to look for a request to restart a broker.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Ends that nobody has heard of yet.
const ENDED_MAX: usize = 64;

/// How to start a broker.
#[derive(Clone, Debug)]
pub(super) struct ChildSpec {
    /// Its number, from 1.
    pub(super) number: usize,
    /// The program.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<String>,
    /// The folder of all brokers, where requests for restarts are left.
    pub(super) folder: PathBuf,
}

/// A broker that ended by itself.
#[derive(Debug)]
pub(super) struct Ended {
    /// Its number.
    pub(super) number: usize,
    /// How, for people.
    pub(super) how: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stopping {
    No,
    InOrder,
    AtOnce,
}

/// The brokers of a folder.
pub(super) struct Children {
    tasks: JoinSet<()>,
    stopping: watch::Sender<Stopping>,
    ended: mpsc::Receiver<Ended>,
    tell: mpsc::Sender<Ended>,
}

impl Children {
    /// None yet.
    pub(super) fn new() -> Self {
        let (tell, ended) = mpsc::channel(ENDED_MAX);
        Self { tasks: JoinSet::new(), stopping: watch::channel(Stopping::No).0, ended, tell }
    }

    /// Starts a broker, and again whenever it ends.
    pub(super) fn start(&mut self, spec: ChildSpec) {
        self.tasks.spawn(keep_running(spec, self.stopping.subscribe(), self.tell.clone()));
    }

    /// The next end of a broker that nobody asked for.
    pub(super) async fn ended(&mut self) -> Ended {
        match self.ended.recv().await {
            Some(ended) => ended,
            // This side holds a sender too.
            None => std::future::pending().await,
        }
    }

    /// Tells all brokers that they end together.
    pub(super) fn stop(&self) {
        self.stopping.send_replace(Stopping::InOrder);
    }

    /// Kills them.
    pub(super) fn kill(&self) {
        self.stopping.send_replace(Stopping::AtOnce);
    }

    /// Waits until all have ended, once they were told to.
    pub(super) async fn wait(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Why a broker's process is looked at.
enum Turn {
    Ended(std::io::Result<ExitStatus>),
    Stop,
    Restart,
}

async fn keep_running(spec: ChildSpec, mut stopping: watch::Receiver<Stopping>, tell: mpsc::Sender<Ended>) {
    let mut backoff = BACKOFF_MIN;
    let asked = restart_file(&spec.folder, spec.number);
    // One that was left behind when this program was killed: the broker is started now anyway.
    let _ = std::fs::remove_file(&asked);
    while *stopping.borrow() == Stopping::No {
        let started = Instant::now();
        let how = match spawn(&spec) {
            Err(error) => format!("could not be started: {error}"),
            Ok((mut child, mut output)) => {
                // Waiting for a process would close it.
                let mut pipe = child.stdin.take();
                let turn = tokio::select! {
                    status = child.wait() => Turn::Ended(status),
                    () = told(&mut stopping, Stopping::InOrder) => Turn::Stop,
                    () = appears(&asked) => Turn::Restart,
                };
                let how = match turn {
                    Turn::Ended(Ok(status)) => status.to_string(),
                    Turn::Ended(Err(error)) => error.to_string(),
                    Turn::Stop => {
                        end_with_the_others(&mut child, &mut pipe, &mut stopping).await;
                        drain(&mut output).await;
                        return;
                    }
                    Turn::Restart => {
                        remark(&format!("broker {} hands over and starts again", spec.number));
                        hand_over(&spec, &mut child, &mut pipe, &mut stopping).await;
                        drain(&mut output).await;
                        // From here on whoever asked waits for the broker itself.
                        let _ = std::fs::remove_file(&asked);
                        continue;
                    }
                };
                drain(&mut output).await;
                how
            }
        };
        if started.elapsed() >= GOOD_RUN {
            backoff = BACKOFF_MIN;
        }
        remark(&format!("broker {} ended ({how}); it starts again in {backoff:?}", spec.number));
        // Whoever listens may be behind: it was said above.
        let _ = tell.try_send(Ended { number: spec.number, how });
        tokio::select! {
            () = sleep(backoff) => {}
            () = told(&mut stopping, Stopping::InOrder) => return,
        }
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

fn spawn(spec: &ChildSpec) -> std::io::Result<(Child, JoinSet<()>)> {
    let mut command = Command::new(&spec.program);
    command.args(&spec.args).process_group(0).kill_on_drop(true);
    // What is meant for this process is not meant for each of them.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PONDAGE_") {
            command.env_remove(name);
        }
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    let mut output = JoinSet::new();
    let number = spec.number;
    if let Some(out) = child.stdout.take() {
        output.spawn(forward(number, out));
    }
    if let Some(errors) = child.stderr.take() {
        output.spawn(forward(number, errors));
    }
    Ok((child, output))
}

/// Waits until the brokers are told to stop so.
async fn told(stopping: &mut watch::Receiver<Stopping>, how: Stopping) {
    // An error means that nobody runs them any more.
    let _ = stopping.wait_for(|stopping| *stopping >= how).await;
}

/// Closes the pipe, which says that all end together, and waits.
async fn end_with_the_others(
    child: &mut Child,
    pipe: &mut Option<ChildStdin>,
    stopping: &mut watch::Receiver<Stopping>,
) {
    drop(pipe.take());
    tokio::select! {
        _ = child.wait() => return,
        () = told(stopping, Stopping::AtOnce) => {}
    }
    kill(child).await;
}

/// Asks a broker to hand over and stop, and waits until it has.
async fn hand_over(
    spec: &ChildSpec,
    child: &mut Child,
    pipe: &mut Option<ChildStdin>,
    stopping: &mut watch::Receiver<Stopping>,
) {
    let process = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    // It is ours and was not waited for: the number is still its own.
    let asked = process.map(|process| kill_process(process, Signal::TERM));
    if !matches!(asked, Some(Ok(()))) {
        return kill(child).await;
    }
    let is_told = tokio::select! {
        ended = timeout(HAND_OVER_PATIENCE, child.wait()) => {
            if ended.is_ok() {
                return;
            }
            false
        }
        () = told(stopping, Stopping::InOrder) => true,
    };
    if is_told {
        end_with_the_others(child, pipe, stopping).await;
    } else {
        remark(&format!("broker {} did not stop in {HAND_OVER_PATIENCE:?}; it is killed", spec.number));
        kill(child).await;
    }
}

async fn kill(child: &mut Child) {
    // It may have ended by itself meanwhile.
    let _ = child.kill().await;
}

/// Waits for the last words.
async fn drain(output: &mut JoinSet<()>) {
    while output.join_next().await.is_some() {}
}

async fn forward(number: usize, stream: impl AsyncRead + Unpin) {
    let mut lines = BufReader::new(stream).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        remark(&marked(number, &line));
    }
}

/// A broker's line with its number: in front, or inside of a JSON object.
fn marked(number: usize, line: &str) -> String {
    match line.strip_prefix('{') {
        Some(rest) if line.ends_with('}') && rest.len() > 1 => format!("{{\"broker\":{number},{rest}"),
        _ => format!("broker-{number} | {line}"),
    }
}

async fn appears(path: &Path) {
    let mut looks = interval(LOOK_EVERY);
    loop {
        looks.tick().await;
        if path.exists() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_carry_their_brokers_number_and_stay_json() {
        for (line, expected) in [
            ("hello", "broker-2 | hello"),
            ("", "broker-2 | "),
            ("{}", "broker-2 | {}"),
            ("{not json", "broker-2 | {not json"),
            (r#"{"level":"WARN"}"#, r#"{"broker":2,"level":"WARN"}"#),
        ] {
            assert_eq!(marked(2, line), expected, "{line}");
        }
    }

    fn shell(folder: &Path, script: &str) -> ChildSpec {
        ChildSpec {
            number: 1,
            program: "/bin/sh".into(),
            args: vec!["-c".to_owned(), script.replace("FOLDER", &folder.display().to_string())],
            folder: folder.to_path_buf(),
        }
    }

    async fn lines_in(path: &Path, count: usize) {
        let wait = async {
            while std::fs::read_to_string(path).unwrap_or_default().lines().count() < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(20), wait).await.expect("it is written");
    }

    #[tokio::test]
    async fn a_process_that_ends_is_started_again_and_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut children = Children::new();
        children.start(shell(folder.path(), "echo run >> FOLDER/runs; exit 3"));
        let ended = timeout(Duration::from_secs(20), children.ended()).await.expect("it ends");
        assert!(ended.number == 1 && ended.how.contains('3'), "{ended:?}");
        lines_in(&folder.path().join("runs"), 2).await;
        children.stop();
        timeout(Duration::from_secs(20), children.wait()).await.expect("nothing is started any more");
    }

    #[tokio::test]
    async fn the_end_of_the_pipe_ends_a_process_and_a_kill_ends_one_that_does_not_listen() {
        let folder = tempfile::tempdir().expect("a folder");
        for (script, kills) in [("cat > /dev/null; echo bye >> FOLDER/bye", false), ("exec sleep 600", true)]
        {
            let mut children = Children::new();
            let started = format!("echo run >> FOLDER/run-{kills}; {script}");
            children.start(shell(folder.path(), &started));
            lines_in(&folder.path().join(format!("run-{kills}")), 1).await;
            children.stop();
            if kills {
                children.kill();
            }
            timeout(Duration::from_secs(20), children.wait()).await.expect("it ends");
        }
        lines_in(&folder.path().join("bye"), 1).await;
    }

    #[tokio::test]
    async fn a_restart_that_is_asked_for_goes_by_sigterm() {
        let folder = tempfile::tempdir().expect("a folder");
        let script = "trap 'echo over >> FOLDER/over; exit 0' TERM; echo run >> FOLDER/runs; while :; do sleep 0.05; done";
        let mut children = Children::new();
        children.start(shell(folder.path(), script));
        lines_in(&folder.path().join("runs"), 1).await;
        let asked = restart_file(folder.path(), 1);
        std::fs::write(&asked, "").expect("writable");
        lines_in(&folder.path().join("runs"), 2).await;
        lines_in(&folder.path().join("over"), 1).await;
        assert!(!asked.exists());
        children.kill();
        timeout(Duration::from_secs(20), children.wait()).await.expect("it ends");
    }
}
