//! A command for each message: the body on stdin, the rest in the environment.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    io,
    os::unix::{ffi::OsStringExt, process::ExitStatusExt},
    process::{ExitStatus, Stdio},
    time::Duration,
};

use bytes::Bytes;
use pondage_client::{ClientError, TopicMessage, Verdict};
use pondage_model::Code;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::AsyncWriteExt,
    process::{Child, Command},
    sync::watch,
    time::{MissedTickBehavior, interval, sleep},
};

use super::intake::Leased;
use crate::{
    exit::Failure,
    render::text::{hex, time},
};

/// What runs the command.
const SHELL: &str = "/bin/sh";
/// How long a command that was asked to end has for it.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// Lease renewals per lease.
const RENEWALS_PER_LEASE: u32 = 3;
/// Bytes of keys and headers that go into an environment; systems refuse greater ones as a whole.
const VARIABLE_BYTES_MAX: usize = 64 << 10;

/// What to run.
pub(super) struct Work<'a> {
    pub(super) command: &'a str,
    /// How long a lease lasts; it is renewed while a command runs.
    pub(super) lease: Duration,
}

/// How the work on a message ended.
#[derive(Debug)]
pub(super) enum Done {
    Accepted,
    Released,
    /// Given back: the end came first.
    Returned,
    /// Its verdict did not hold.
    Lost(ClientError),
    /// No command can be run at all; the message was given back.
    Impossible(Failure),
}

/// Works on a message under a lease, and settles it.
pub(super) async fn leased(work: &Work<'_>, leased: Leased, mut stop: watch::Receiver<bool>) -> Done {
    let message = &leased.message;
    let facts = Facts {
        target: message.source.as_str(),
        partition: message.partition,
        offset: message.offset.get(),
        timestamp_millis: message.timestamp_millis,
        key: message.key.as_ref(),
        headers: &message.headers,
        attempt: Some(message.attempt.get()),
        token: Some(hex(&message.token.encode())),
    };
    let ended = async |verdict, done| leased.settle(verdict).await.map_or_else(Done::Lost, |()| done);
    let mut running = match Running::start(work.command, &facts, leased.body()) {
        Ok(running) => running,
        Err(failure) => return ended(Verdict::Return, Done::Impossible(failure)).await,
    };
    let lease_millis = u64::try_from(work.lease.as_millis()).ok();
    let period = (work.lease / RENEWALS_PER_LEASE).max(Duration::from_millis(20));
    let mut renewals = interval(period);
    renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is at once.
    renewals.tick().await;
    let status = loop {
        tokio::select! {
            status = running.ended() => break status,
            _ = stop.wait_for(|stop| *stop) => {
                running.end().await;
                return ended(Verdict::Return, Done::Returned).await;
            }
            _ = renewals.tick() => match leased.settle(Verdict::Renew { lease_millis }).await {
                // The result would count for nothing: another consumer has the message.
                Err(error) if error.is(Code::LeaseLost) => {
                    running.end().await;
                    return Done::Lost(error);
                }
                // Any other trouble may be over by the next time.
                Ok(()) | Err(_) => {}
            },
        }
    };
    if status.is_ok_and(|status| status.success()) {
        ended(Verdict::Accept, Done::Accepted).await
    } else {
        ended(Verdict::Release { delay_millis: None }, Done::Released).await
    }
}

/// How the work on a message of a topic ended.
pub(super) enum TopicDone {
    Accepted,
    /// The end came first.
    Stopped,
    /// Why not.
    Failed(Failure),
}

/// Works on a message of a topic until it ends or `stop` does.
pub(super) async fn read(
    command: &str,
    target: &str,
    message: &TopicMessage,
    stop: impl Future<Output = ()>,
) -> TopicDone {
    let facts = Facts {
        target,
        partition: message.partition,
        offset: message.offset.get(),
        timestamp_millis: message.timestamp_millis,
        key: message.key.as_ref(),
        headers: &message.headers,
        attempt: None,
        token: None,
    };
    let mut running = match Running::start(command, &facts, message.value.clone().unwrap_or_default()) {
        Ok(running) => running,
        Err(failure) => return TopicDone::Failed(failure),
    };
    let ended = tokio::select! {
        ended = running.ended() => ended,
        () = stop => {
            running.end().await;
            return TopicDone::Stopped;
        }
    };
    match ended {
        Ok(status) if status.success() => TopicDone::Accepted,
        Ok(status) => {
            let place = format!("{target}/{} offset {}", message.partition, message.offset);
            TopicDone::Failed(Failure::failed(format!(
                "the command ended with {} at {place}",
                described(status)
            )))
        }
        Err(error) => TopicDone::Failed(error.into()),
    }
}

fn described(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "no exit code".to_owned(),
    }
}

/// A command that runs, in a process group of its own: Ctrl-C at a terminal reaches us, and we end it.
struct Running {
    child: Child,
}

impl Running {
    fn start(command: &str, facts: &Facts<'_>, body: Bytes) -> Result<Self, Failure> {
        let mut child = Command::new(SHELL)
            .arg("-c")
            .arg(command)
            .envs(facts.variables())
            .stdin(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::failed(format!("--exec: {SHELL}: {error}")))?;
        if let Some(mut stdin) = child.stdin.take() {
            // Aside, for a command may write before it has read. One that reads nothing is fine.
            tokio::spawn(async move { stdin.write_all(&body).await });
        }
        Ok(Self { child })
    }

    async fn ended(&mut self) -> io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Asks the command and what it started to end, and makes them.
    async fn end(&mut self) {
        self.signal(Signal::TERM);
        tokio::select! {
            _ = self.child.wait() => {}
            () = sleep(END_TIMEOUT) => {
                self.signal(Signal::KILL);
                let _ = self.child.wait().await;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        let group = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(group) = group {
            // It may have ended by itself by now.
            let _ = kill_process_group(group, signal);
        }
    }
}

/// What the environment says of a message.
struct Facts<'a> {
    target: &'a str,
    partition: u32,
    offset: u64,
    timestamp_millis: i64,
    key: Option<&'a Bytes>,
    headers: &'a [(Bytes, Option<Bytes>)],
    attempt: Option<u32>,
    token: Option<String>,
}

impl Facts<'_> {
    /// The variables. Keys and headers that no variable can hold (a zero byte, or too long) are left out; of headers
    /// with one name the last one counts.
    fn variables(&self) -> BTreeMap<String, OsString> {
        let mut variables = BTreeMap::new();
        let mut put = |name: &str, value: OsString| variables.insert(format!("PONDAGE_{name}"), value);
        put("TARGET", self.target.into());
        put("PARTITION", self.partition.to_string().into());
        put("OFFSET", self.offset.to_string().into());
        put("TIMESTAMP", time(self.timestamp_millis).into());
        if let Some(attempt) = self.attempt {
            put("ATTEMPT", attempt.to_string().into());
        }
        if let Some(token) = &self.token {
            put("TOKEN", token.into());
        }
        let mut left = VARIABLE_BYTES_MAX;
        let mut value_of = |bytes: &Bytes| {
            let fits = bytes.len() <= left && !bytes.contains(&0);
            left -= if fits { bytes.len() } else { 0 };
            fits.then(|| OsString::from_vec(bytes.to_vec()))
        };
        if let Some(value) = self.key.and_then(&mut value_of) {
            put("KEY", value);
        }
        for (name, value) in self.headers {
            if let (Some(name), Some(value)) = (variable(name), value.as_ref().and_then(&mut value_of)) {
                put(&format!("HEADER_{name}"), value);
            }
        }
        variables
    }
}

/// Bytes of a header's name in a variable's.
const NAME_BYTES_MAX: usize = 128;

/// The name of a header as part of a variable's: in capitals, with `_` for whatever is no letter or digit.
fn variable(name: &[u8]) -> Option<String> {
    let letter =
        |byte: &u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_uppercase().into() } else { '_' };
    (1..=NAME_BYTES_MAX).contains(&name.len()).then(|| name.iter().map(letter).collect())
}

#[cfg(test)]
#[path = "exec_tests.rs"]
mod tests;
