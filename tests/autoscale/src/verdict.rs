//! The bars: what the drain-time controller promises against every setting of KEDA.
//!
//! | bar | figure | bound |
//! |---|---|---|
//! | violations | theirs ÷ ours, all traces | at least 3 |
//! | feasible violations | theirs ÷ ours, without the skew trace, which nobody can keep the target in | at least 6 |
//! | replica-hours | ours ÷ theirs | at most 0.90 for a lag of 10 to 500, at most 1.05 for 1000 |
//! | each trace | our violation seconds | at most the best KEDA's there, + 10 % + 30 s |
//!
//! Everything is a mean over the seeds. How many single runs are above the last bound is counted beside it.

use serde::Serialize;

use crate::contenders::{CONTROLLER, KedaSetting};
use crate::figures::Results;

/// One bar and how it went.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bar {
    /// What is compared, in words.
    pub what: String,
    /// The measured figure.
    pub figure: f64,
    /// The bound that it is held against.
    pub bound: f64,
    /// Whether it is met.
    pub met: bool,
    /// What else is worth knowing.
    pub remark: String,
}

/// How many of KEDA's violation seconds one of ours must stand against.
const VIOLATIONS_TIMES: f64 = 3.0;
/// The same without what nobody can keep the target in.
const FEASIBLE_TIMES: f64 = 6.0;
/// Our replica-hours against those of the usual lag thresholds, and of the laziest.
const HOURS_SHARE: f64 = 0.90;
const HOURS_SHARE_LAZIEST: f64 = 1.05;
/// The slack per trace: a share, and seconds.
const TRACE_SHARE: f64 = 1.10;
const TRACE_SECONDS: f64 = 30.0;

/// All bars, if the controller and at least one setting of KEDA ran.
pub fn bars(results: &Results) -> Vec<Bar> {
    let ran = |name: &str| results.scalers.iter().any(|scaler| scaler == name);
    let settings: Vec<KedaSetting> = KedaSetting::all().filter(|setting| ran(&setting.name())).collect();
    if !ran(CONTROLLER) || settings.is_empty() {
        return Vec::new();
    }
    let mut bars: Vec<Bar> = settings.iter().flat_map(|setting| against(results, *setting)).collect();
    bars.extend(results.traces.iter().map(|(trace, _)| on_trace(results, &settings, trace)));
    bars
}

fn against(results: &Results, setting: KedaSetting) -> [Bar; 3] {
    let name = setting.name();
    let (ours, theirs) = (results.sums(CONTROLLER), results.sums(&name));
    let times = |theirs: f64, ours: f64, bound: f64, what: &str| {
        let figure = if ours > 0.0 { theirs / ours } else { f64::INFINITY };
        Bar {
            what: format!("{what}, against {name}"),
            figure,
            bound,
            // Without a division: nothing against nothing is met.
            met: ours * bound <= theirs,
            remark: format!("{theirs:.0} s against {ours:.0} s"),
        }
    };
    let share_bound = if setting.lag_threshold >= 1_000 { HOURS_SHARE_LAZIEST } else { HOURS_SHARE };
    let share = ours.replica_hours / theirs.replica_hours;
    [
        times(theirs.violation_seconds, ours.violation_seconds, VIOLATIONS_TIMES, "times fewer violations"),
        times(
            theirs.feasible_violation_seconds,
            ours.feasible_violation_seconds,
            FEASIBLE_TIMES,
            "the same without skew",
        ),
        Bar {
            what: format!("share of the replica-hours, against {name}"),
            figure: share,
            bound: share_bound,
            met: share <= share_bound,
            remark: format!("{:.1} h against {:.1} h", ours.replica_hours, theirs.replica_hours),
        },
    ]
}

fn on_trace(results: &Results, settings: &[KedaSetting], trace: &str) -> Bar {
    let ours = results.sums_of_trace(CONTROLLER, trace).violation_seconds;
    let (best, name) = settings
        .iter()
        .map(|setting| (results.sums_of_trace(&setting.name(), trace).violation_seconds, setting.name()))
        .min_by(|one, other| one.0.total_cmp(&other.0))
        .unwrap_or((f64::INFINITY, String::new()));
    let bound = best * TRACE_SHARE + TRACE_SECONDS;
    let above = results.seeds.iter().filter(|seed| is_above(results, settings, trace, **seed)).count();
    Bar {
        what: format!("violation seconds of the trace {trace}"),
        figure: ours,
        bound,
        met: ours <= bound,
        remark: format!("best is {name} with {best:.0} s; {above} of {} seeds above", results.seeds.len()),
    }
}

/// Whether one run alone is above the bound, against the best of this very seed.
fn is_above(results: &Results, settings: &[KedaSetting], trace: &str, seed: u64) -> bool {
    let seconds = |scaler: &str| results.run(scaler, trace, seed).map(|run| run.violation_seconds);
    let best = settings.iter().filter_map(|setting| seconds(&setting.name())).fold(f64::INFINITY, f64::min);
    seconds(CONTROLLER).is_some_and(|ours| ours > best * TRACE_SHARE + TRACE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Figures;

    /// Two traces of one seed: (violation seconds of the feasible one, of the skew one, replica-hours of each).
    fn results(rows: &[(&str, f64, f64, f64)]) -> Results {
        let run = |scaler: &str, trace: &str, violation_seconds: f64, replica_hours: f64| Figures {
            scaler: scaler.to_owned(),
            trace: trace.to_owned(),
            seed: Some(1),
            violation_seconds,
            replica_hours,
            scale_events: 0.0,
            killed_in_flight: 0.0,
        };
        let runs = rows
            .iter()
            .flat_map(|(name, even, skew, hours)| {
                [run(name, "steps", *even, *hours), run(name, "skew", *skew, *hours)]
            })
            .collect();
        Results {
            runs,
            scalers: rows.iter().map(|(name, ..)| (*name).to_owned()).collect(),
            traces: vec![("steps".to_owned(), true), ("skew".to_owned(), false)],
            seeds: vec![1],
            ..Results::default()
        }
    }

    /// Which bars are met: the three against KEDA, then the two traces.
    fn met(ours: (f64, f64, f64), keda: &str, theirs: (f64, f64, f64)) -> Vec<bool> {
        let results = results(&[(CONTROLLER, ours.0, ours.1, ours.2), (keda, theirs.0, theirs.1, theirs.2)]);
        bars(&results).iter().map(|bar| bar.met).collect()
    }

    #[test]
    fn bars_are_held_against_their_bounds() {
        let lag = "KEDA lag 100";
        assert_eq!(met((100.0, 900.0, 90.0), lag, (600.0, 2_400.0, 100.0)), [true, true, true, true, true]);
        // One second more of ours, in each trace; and a little more of the hours.
        assert_eq!(met((101.0, 900.0, 90.0), lag, (600.0, 2_400.0, 100.0)), [false, false, true, true, true]);
        assert_eq!(met((100.0, 901.0, 91.0), lag, (600.0, 2_400.0, 100.0)), [false, true, false, true, true]);
        // The laziest setting has fewer hours, and gets another bound.
        assert!(met((1.0, 1.0, 105.0), "KEDA lag 1000, evenly", (60.0, 60.0, 100.0))[2]);
        // Worse than the best there by a tenth and 30 s is still met, more is not.
        assert_eq!(met((140.0, 0.0, 1.0), lag, (100.0, 0.0, 2.0))[3..], [true, true]);
        assert_eq!(met((140.2, 31.0, 1.0), lag, (100.0, 0.0, 2.0))[3..], [false, false]);
    }

    #[test]
    fn nothing_against_nothing_is_met() {
        assert_eq!(met((0.0, 0.0, 1.0), "KEDA lag 10", (0.0, 0.0, 2.0)), [true; 5]);
    }

    #[test]
    fn without_the_controller_there_are_no_bars() {
        assert!(bars(&results(&[("KEDA lag 10", 1.0, 1.0, 1.0)])).is_empty());
    }
}
