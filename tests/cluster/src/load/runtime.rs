//! A runtime whose threads are in a namespace: what it connects, connects from there.

use anyhow::{Context, Result};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinSet,
};

use crate::network::Namespace;

/// Threads for clients; brokers need the rest.
const THREADS: usize = 2;

/// Runs futures inside a namespace.
#[derive(Debug)]
pub struct Inside {
    runtime: Runtime,
}

impl Inside {
    /// Makes threads in the namespace.
    ///
    /// # Errors
    /// If the system has none to give.
    pub fn new(namespace: &Namespace) -> Result<Self> {
        let namespace = namespace.clone();
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).enable_all().thread_name("clients");
        // A thread outside would find no broker: the run ends with that.
        builder.on_thread_start(move || {
            if let Err(error) = namespace.enter() {
                eprintln!("a thread of the clients: {error:#}");
            }
        });
        Ok(Self { runtime: builder.build().context("threads for the clients")? })
    }

    /// Where to spawn.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Runs a future on the threads, and waits for it.
    ///
    /// # Errors
    /// Its own, or that it panicked.
    pub fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        // Not as the runtime's own caller, which is outside.
        self.runtime.block_on(self.runtime.spawn(future))?
    }

    /// Waits until all tasks are done.
    ///
    /// # Errors
    /// The first that a task ended with.
    pub fn wait_for(&self, tasks: &mut JoinSet<Result<()>>) -> Result<()> {
        self.runtime.block_on(async {
            while let Some(ended) = tasks.join_next().await {
                ended??;
            }
            Ok(())
        })
    }
}
