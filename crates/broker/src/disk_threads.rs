//! Dedicated threads for writes and syncs: dirty shards of a volume sync in parallel, and no task ever blocks.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

/// One piece of blocking work.
type Job = Box<dyn FnOnce() + Send>;

/// A fixed set of threads that take jobs in order. Each shard has at most one job here at a time, so the queue is
/// bounded by the number of shards.
#[derive(Clone, Debug)]
pub(crate) struct DiskThreads(Arc<Owner>);

/// What the handles share; the threads don't, so that they end with the last handle.
#[derive(Debug)]
struct Owner(Arc<Shared>);

/// Where jobs wait. A job wakes one thread, and a thread that is done wakes nobody: a small shard's batch costs one
/// switch to the disk and one back.
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskThreads").finish_non_exhaustive()
    }
}

impl DiskThreads {
    /// Starts `count` threads. They end when the last handle is dropped and what it left is done.
    ///
    /// # Errors
    /// If the system gives no more threads.
    pub(crate) fn start(count: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared { queue: Mutex::default(), changed: Condvar::new() });
        let handle = Self(Arc::new(Owner(Arc::clone(&shared))));
        for index in 0..count.max(1) {
            let shared = Arc::clone(&shared);
            thread::Builder::new().name(format!("disk-{index}")).spawn(move || {
                while let Some(job) = shared.next() {
                    job();
                }
            })?;
        }
        Ok(handle)
    }

    /// Hands a job over.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let Owner(shared) = &*self.0;
        shared.lock().jobs.push_back(Box::new(job));
        shared.changed.notify_one();
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

impl Shared {
    /// Waits for a job; `None` once there will be none.
    fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            if queue.closed {
                return None;
            }
            queue = self.changed.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // No job runs under the lock: a panic can't leave the queue half changed.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, time::Duration};

    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn jobs_run_side_by_side_and_all_are_done_before_the_threads_end() {
        let threads = DiskThreads::start(2).expect("threads");
        let (done, results) = mpsc::channel();
        let (first_met, second_met) = (mpsc::channel(), mpsc::channel());
        // Each waits for the other: with one thread neither would end.
        let meetings = [(first_met.0, second_met.1), (second_met.0, first_met.1)];
        for (number, (tell, hear)) in meetings.into_iter().enumerate() {
            let done = done.clone();
            threads.run(move || {
                tell.send(()).expect("the other listens");
                hear.recv_timeout(SOON).expect("the other runs");
                done.send(number).expect("the test listens");
            });
        }
        for number in 2..100 {
            let done = done.clone();
            threads.run(move || done.send(number).expect("the test listens"));
        }
        drop((threads, done));
        let mut seen: Vec<usize> = Vec::new();
        while seen.len() < 100 {
            seen.push(results.recv_timeout(SOON).expect("every job is done"));
        }
        assert_eq!(results.recv_timeout(SOON), Err(mpsc::RecvTimeoutError::Disconnected), "and no more");
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}
