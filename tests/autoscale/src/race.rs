//! Everybody over every trace.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use pondage_autoscale::simulate::{World, run};
use serde::Serialize;

use crate::contenders::{Contender, Task};
use crate::figures::{Figures, Results};
use crate::traces::{Load, Shape};

/// How the world is for everybody.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Conditions {
    /// The age of the oldest unprocessed message above which a second is a violation, in seconds.
    pub target_seconds: u64,
    /// From a pod's creation to its joining the group, in seconds, give or take a quarter.
    pub start_seconds: u64,
    /// How long partitions rest when they change hands, in seconds.
    pub rebalance_seconds: u64,
    /// Whether all partitions rest then, not only those that move.
    pub eager: bool,
}

impl Default for Conditions {
    /// A target of half a minute; pods that take 20 s to be scheduled, to load and to join; 3 s for what moves.
    fn default() -> Self {
        Self { target_seconds: 30, start_seconds: 20, rebalance_seconds: 3, eager: false }
    }
}

impl Conditions {
    /// The simulator's world under these conditions. Everybody starts with two replicas.
    pub fn world(self, seed: u64) -> World {
        World {
            target_millis: self.target_seconds * 1_000,
            start_millis: self.start_seconds * 1_000,
            rebalance_millis: self.rebalance_seconds * 1_000,
            eager: self.eager,
            replicas: 2,
            seed,
            ..World::default()
        }
    }
}

/// What to run.
pub struct Program<'a> {
    /// Who takes part.
    pub contenders: &'a [Contender],
    /// The seeds of the synthetic traces.
    pub seeds: &'a [u64],
    /// Parts of names of traces; none means all.
    pub traces: &'a [String],
    /// Recorded traces.
    pub recorded: Vec<Load>,
    /// How the world is.
    pub conditions: Conditions,
    /// Threads that simulate.
    pub threads: usize,
}

/// One trace for everybody.
enum Job {
    Synthetic { shape: Shape, seed: u64 },
    Recorded(Load),
}

/// Runs everything. The outcome doesn't depend on the number of threads.
pub fn race(program: &Program<'_>) -> Results {
    let is_wanted = |name: &str| {
        program.traces.is_empty() || program.traces.iter().any(|part| name.contains(part.as_str()))
    };
    let shapes: Vec<Shape> = Shape::ALL.into_iter().filter(|shape| is_wanted(shape.name())).collect();
    let mut jobs: Vec<Job> = program
        .seeds
        .iter()
        .flat_map(|seed| shapes.iter().map(|shape| Job::Synthetic { shape: *shape, seed: *seed }))
        .collect();
    jobs.extend(program.recorded.iter().filter(|load| is_wanted(&load.name)).cloned().map(Job::Recorded));

    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<Figures>)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    std::thread::scope(|scope| {
        for _ in 0..program.threads {
            scope.spawn(|| {
                while let Some((index, job)) = {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    jobs.get(index).map(|job| (index, job))
                } {
                    let figures = everybody(program, job);
                    done.lock().expect("no thread panics with it in its hands").push((index, figures));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panics with it in its hands");
    done.sort_by_key(|(index, _)| *index);
    Results {
        runs: done.into_iter().flat_map(|(_, figures)| figures).collect(),
        scalers: program.contenders.iter().map(|contender| contender.name.clone()).collect(),
        traces: shapes.iter().map(|shape| (shape.name().to_owned(), shape.is_feasible())).collect(),
        seeds: program.seeds.to_vec(),
        conditions: program.conditions,
    }
}

fn everybody(program: &Program<'_>, job: &Job) -> Vec<Figures> {
    let (load, seed) = match job {
        Job::Synthetic { shape, seed } => (&shape.draw(*seed), Some(*seed)),
        Job::Recorded(load) => (load, None),
    };
    program.contenders.iter().map(|contender| one(contender, load, seed, program.conditions)).collect()
}

/// One scaler over one trace.
fn one(contender: &Contender, load: &Load, seed: Option<u64>, conditions: Conditions) -> Figures {
    let partitions = load.trace.arrivals.first().map_or(0, Vec::len);
    let most_replicas = u32::try_from(partitions).unwrap_or(u32::MAX);
    let mut scaler = (contender.make)(Task { most_replicas, target_seconds: conditions.target_seconds });
    let outcome = run(&load.trace, &conditions.world(seed.unwrap_or(1)), scaler.as_mut());
    Figures {
        scaler: contender.name.clone(),
        trace: load.name.clone(),
        seed,
        violation_seconds: outcome.violation_seconds as f64,
        replica_hours: outcome.replica_hours,
        scale_events: outcome.scale_events as f64,
        killed_in_flight: outcome.killed_in_flight as f64,
    }
}
