//! Traces: what arrives when, and how fast it can be worked off. Seven synthetic ones, drawn from a seed, and recorded
//! ones from files.
//!
//! All have [`PARTITIONS`] partitions and members that settle about [`MEMBER_RATE`] messages a second. A synthetic trace
//! is a shape, times a slow wave of noise, dealt to partitions that differ a little, and then counted out message by
//! message. The same seed gives the same trace.

mod recorded;
mod shapes;

pub use self::recorded::recorded_in;

use pondage_autoscale::simulate::Trace;

use self::shapes::{Course, Second};
use crate::chance::Chance;

/// Partitions of every synthetic trace: 24, so that many numbers of replicas divide it, and many don't.
pub const PARTITIONS: usize = 24;

/// Messages per second that one member settles at its usual speed.
pub const MEMBER_RATE: f64 = 50.0;

/// How much partitions differ: each one's share of the load is within this of the average.
const UNEVENNESS: f64 = 0.12;

/// The spread of the noise around the shape, and how long a deviation lasts in seconds.
const NOISE_SPREAD: f64 = 0.04;
const NOISE_SECONDS: f64 = 45.0;

/// A trace and what it is called.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Its name in tables.
    pub name: String,
    /// Whether anybody could keep the target in it.
    pub feasible: bool,
    /// What happens in it.
    pub trace: Trace,
}

impl Load {
    /// How long it takes, in seconds.
    pub fn seconds(&self) -> usize {
        self.trace.arrivals.len()
    }
}

/// One of the seven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A day in four hours.
    Diurnal,
    /// Levels that change at once.
    Steps,
    /// Sudden short bursts.
    Bursts,
    /// Slow rises and sudden falls.
    Ramps,
    /// Silence with waves of work.
    Wakeups,
    /// One partition gets more than one member can do.
    Skew,
    /// Restless load, and members that get slow.
    Slowdown,
}

impl Shape {
    /// All of them; together 17 hours.
    pub const ALL: [Self; 7] =
        [Self::Diurnal, Self::Steps, Self::Bursts, Self::Ramps, Self::Wakeups, Self::Skew, Self::Slowdown];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Diurnal => "diurnal",
            Self::Steps => "steps",
            Self::Bursts => "bursts",
            Self::Ramps => "ramps",
            Self::Wakeups => "wake-ups",
            Self::Skew => "skew",
            Self::Slowdown => "slowdown",
        }
    }

    /// Whether anybody could keep the target in it.
    pub fn is_feasible(self) -> bool {
        self != Self::Skew
    }

    /// The trace of a seed.
    pub fn draw(self, seed: u64) -> Load {
        // Each shape has a stream of its own: a change in one doesn't move the others.
        let mut chance = Chance::new(seed ^ (self as u64 + 1).wrapping_mul(0xa076_1d64_78bd_642f));
        let course: Course = match self {
            Self::Diurnal => shapes::diurnal(&mut chance),
            Self::Steps => shapes::steps(&mut chance),
            Self::Bursts => shapes::bursts(&mut chance),
            Self::Ramps => shapes::ramps(&mut chance),
            Self::Wakeups => shapes::wakeups(&mut chance),
            Self::Skew => shapes::skew(&mut chance),
            Self::Slowdown => shapes::slowdown(&mut chance),
        };
        deal(self, &course, &mut chance)
    }
}

/// Deals a course to partitions.
fn deal(shape: Shape, course: &[Second], chance: &mut Chance) -> Load {
    let weights: Vec<f64> =
        (0..PARTITIONS).map(|_| chance.between(1.0 - UNEVENNESS, 1.0 + UNEVENNESS)).collect();
    let in_all: f64 = weights.iter().sum();
    let hot = chance.whole(0, PARTITIONS as u64 - 1) as usize;
    let mut noise = 0.0;
    let mut arrivals = Vec::with_capacity(course.len());
    for second in course {
        noise += -noise / NOISE_SECONDS + NOISE_SPREAD * (2.0 / NOISE_SECONDS).sqrt() * chance.normal();
        let total = second.load * (1.0 + noise) * MEMBER_RATE * PARTITIONS as f64;
        let partition = |(index, weight): (usize, &f64)| {
            let besides = if index == hot { second.hot * MEMBER_RATE } else { 0.0 };
            let mean = (total * weight / in_all).max(0.0) + besides;
            chance.count(mean) as f32
        };
        arrivals.push(weights.iter().enumerate().map(partition).collect());
    }
    let member_rate = course.iter().map(|second| (MEMBER_RATE * second.speed) as f32).collect();
    let trace = Trace { arrivals, member_rate, events: Vec::new() };
    Load { name: shape.name().to_owned(), feasible: shape.is_feasible(), trace }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of all members' capacity that arrives in each second, averaged over a minute.
    fn minutes(load: &Load) -> Vec<f64> {
        let capacity = MEMBER_RATE * PARTITIONS as f64;
        let seconds: Vec<f64> = load
            .trace
            .arrivals
            .iter()
            .map(|second| second.iter().map(|count| f64::from(*count)).sum::<f64>() / capacity)
            .collect();
        seconds.chunks(60).map(|minute| minute.iter().sum::<f64>() / minute.len() as f64).collect()
    }

    #[test]
    fn the_same_seed_is_the_same_trace() {
        for shape in Shape::ALL {
            assert_eq!(shape.draw(3), shape.draw(3));
            assert_ne!(shape.draw(3).trace.arrivals, shape.draw(4).trace.arrivals);
        }
    }

    #[test]
    fn they_are_seventeen_hours() {
        for seed in 1..4 {
            let seconds: usize = Shape::ALL.iter().map(|shape| shape.draw(seed).seconds()).sum();
            assert_eq!(seconds, 17 * 3_600);
        }
    }

    /// What is called feasible leaves all members room, however unlucky the seed: as many as partitions always do.
    #[test]
    fn feasible_loads_leave_room() {
        for seed in 1..30 {
            for shape in Shape::ALL {
                let load = shape.draw(seed);
                let shares = minutes(&load);
                let most = shares.iter().copied().fold(0.0, f64::max);
                assert!(most < 0.98, "{} of seed {seed}: {most}", load.name);
                assert!(load.trace.member_rate.iter().all(|rate| (25.0..=50.0).contains(rate)));
                // A partition alone: over ten minutes no more than its member can do, unless it is the hot one.
                for partition in 0..PARTITIONS {
                    let tens = load.trace.arrivals.chunks(600).zip(load.trace.member_rate.chunks(600));
                    let worst = tens
                        .map(|(arrivals, rates)| {
                            let came: f64 = arrivals.iter().map(|second| f64::from(second[partition])).sum();
                            came / rates.iter().map(|rate| f64::from(*rate)).sum::<f64>()
                        })
                        .fold(0.0, f64::max);
                    assert!(worst < 1.0 || !load.feasible, "{} of seed {seed}: {worst}", load.name);
                }
            }
        }
    }

    #[test]
    fn each_shape_is_what_it_is_called() {
        for seed in 1..10 {
            let peak = |shape: Shape| minutes(&shape.draw(seed)).into_iter().fold(0.0, f64::max);
            let least = |shape: Shape| minutes(&shape.draw(seed)).into_iter().fold(1.0, f64::min);
            assert!(peak(Shape::Diurnal) > 0.55 && least(Shape::Diurnal) < 0.30);
            assert!(peak(Shape::Ramps) > 0.55 && least(Shape::Ramps) < 0.15);
            assert!(least(Shape::Bursts) > 0.05 && peak(Shape::Bursts) > 0.40);
            let silent = minutes(&Shape::Wakeups.draw(seed)).iter().filter(|share| **share == 0.0).count();
            assert!(silent >= 30, "{silent} silent minutes of seed {seed}");
            let slow =
                Shape::Slowdown.draw(seed).trace.member_rate.iter().filter(|rate| **rate < 40.0).count();
            assert!(slow >= 600, "{slow} slow seconds of seed {seed}");
            let skew = Shape::Skew.draw(seed);
            let hottest = (0..PARTITIONS)
                .map(|partition| skew.trace.arrivals.iter().filter(|second| second[partition] > 50.0).count())
                .max();
            assert!(hottest.unwrap() > 450, "{hottest:?} hot seconds of seed {seed}");
        }
    }
}
