//! What a run amounts to, and what many amount to together.

use serde::Serialize;

use crate::race::Conditions;

/// One scaler over one trace of one seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// The scaler's name.
    pub scaler: String,
    /// The trace's name.
    pub trace: String,
    /// The seed that the trace was drawn from; none for a recorded one.
    pub seed: Option<u64>,
    /// Seconds in which the oldest unprocessed message was older than the target.
    pub violation_seconds: f64,
    /// Replicas times hours, from a pod's creation to its end.
    pub replica_hours: f64,
    /// Changes of the number of replicas.
    pub scale_events: f64,
    /// Messages that a member had in its hands when it was killed.
    pub killed_in_flight: f64,
}

/// Sums of [`Figures`], as means per seed: one seed is one round of all traces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Sums {
    /// Seconds above the target.
    pub violation_seconds: f64,
    /// The same without the traces that nobody can keep the target in.
    pub feasible_violation_seconds: f64,
    /// Replicas times hours.
    pub replica_hours: f64,
    /// Changes of the number of replicas.
    pub scale_events: f64,
    /// Messages that a member had in its hands when it was killed.
    pub killed_in_flight: f64,
}

/// All runs of a benchmark.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Results {
    /// The runs, ordered by scaler, seed and trace.
    pub runs: Vec<Figures>,
    /// Names of the scalers, in the tables' order.
    pub scalers: Vec<String>,
    /// Names of the synthetic traces, in the tables' order, and whether the target can be kept in them.
    pub traces: Vec<(String, bool)>,
    /// The seeds.
    pub seeds: Vec<u64>,
    /// How the world was.
    pub conditions: Conditions,
}

impl Results {
    /// What a scaler comes to over all synthetic traces, per seed.
    pub fn sums(&self, scaler: &str) -> Sums {
        self.sum(scaler, |_| true)
    }

    /// What a scaler comes to over one trace, per seed.
    pub fn sums_of_trace(&self, scaler: &str, trace: &str) -> Sums {
        self.sum(scaler, |run| run.trace == trace)
    }

    /// Whether a trace's target can be kept by anybody.
    pub fn is_feasible(&self, trace: &str) -> bool {
        self.traces.iter().any(|(name, feasible)| name == trace && *feasible)
    }

    /// One run of a synthetic trace.
    pub fn run(&self, scaler: &str, trace: &str, seed: u64) -> Option<&Figures> {
        self.runs.iter().find(|run| run.scaler == scaler && run.trace == trace && run.seed == Some(seed))
    }

    fn sum(&self, scaler: &str, wanted: impl Fn(&Figures) -> bool) -> Sums {
        let mut sums = Sums::default();
        for run in self.runs.iter().filter(|run| run.scaler == scaler && run.seed.is_some() && wanted(run)) {
            sums.violation_seconds += run.violation_seconds;
            if self.is_feasible(&run.trace) {
                sums.feasible_violation_seconds += run.violation_seconds;
            }
            sums.replica_hours += run.replica_hours;
            sums.scale_events += run.scale_events;
            sums.killed_in_flight += run.killed_in_flight;
        }
        let seeds = self.seeds.len().max(1) as f64;
        Sums {
            violation_seconds: sums.violation_seconds / seeds,
            feasible_violation_seconds: sums.feasible_violation_seconds / seeds,
            replica_hours: sums.replica_hours / seeds,
            scale_events: sums.scale_events / seeds,
            killed_in_flight: sums.killed_in_flight / seeds,
        }
    }
}
