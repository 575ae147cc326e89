//! Dedicated threads for writes and syncs: dirty shards of a volume sync in parallel, and no task ever blocks.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
};

/// One piece of blocking work.
type Job = Box<dyn FnOnce() + Send>;

/// A fixed set of threads that take jobs in order. Each shard has at most one job here at a time, so the queue is
/// bounded by the number of shards.
#[derive(Clone, Debug)]
pub(crate) struct DiskThreads {
    jobs: mpsc::Sender<Job>,
}

impl DiskThreads {
    /// Starts `count` threads. They end when the last handle is dropped.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        let (jobs, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        for index in 0..count.max(1) {
            let receiver = Arc::clone(&receiver);
            thread::Builder::new().name(format!("disk-{index}")).spawn(move || {
                loop {
                    // The lock is held only while waiting for the next job, never while doing it.
                    let next = receiver.lock().map(|jobs| jobs.recv());
                    match next {
                        Ok(Ok(job)) => job(),
                        Ok(Err(_)) | Err(_) => break,
                    }
                }
            })?;
        }
        Ok(Self { jobs })
    }

    /// Hands a job over.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        // The threads end only after every handle, so a send finds a receiver.
        drop(self.jobs.send(Box::new(job)));
    }
}
