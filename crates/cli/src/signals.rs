//! The end from outside: Ctrl-C and SIGTERM.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Result};

/// Waits for signals. While it lives, they no longer end the process by themselves.
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// The next signal, as the code to exit with.
    pub(crate) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::Interrupted,
            _ = self.terminate.recv() => Exit::Terminated,
        }
    }
}

/// Does `ending`, unless a second signal says that it takes too long: then the process ends at once.
pub(crate) async fn or_at_once<T>(signals: &mut Signals, ending: impl Future<Output = T>) -> T {
    tokio::select! {
        ended = ending => ended,
        exit = signals.next() => {
            eprintln!("ended at once");
            std::process::exit(exit.code().into());
        }
    }
}
