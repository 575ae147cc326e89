//! The smallest number of replicas that is enough under the group's real assignment.

use crate::assignment::assign;
use crate::observation::{Observation, Source};

/// A number of replicas and what it comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fit {
    /// The number.
    pub(super) replicas: u32,
    /// What the busiest of them needs, in replicas.
    pub(super) busiest: f64,
    /// Whether nobody is overloaded.
    pub(super) enough: bool,
}

/// Loads differ by rounding: below this, one is not more than another, in replicas.
const ROUNDING: f64 = 1e-9;
/// Replicas that take less than this share off the busiest one's load are useless.
const USELESS: f64 = 0.05;
/// Among numbers that are all too few, another replica must take this much off the worst overload, in replicas.
const WORTH: f64 = 0.05;

/// The smallest number of at most `most` replicas with which nobody is overloaded, or else the one that helps most.
///
/// `mean` replicas would on average be as busy as they should be. That many it shall be, but for those that bring
/// nothing: of 24 partitions, 13 to 23 replicas carry no more than 12 do. A departure from the design, which planned for
/// the target utilization of the busiest member: the steps between useful numbers are so large that groups ran half
/// empty, and the delay was no better for it.
pub(super) fn fit(seen: &Observation, needs: &[f64], mean: f64, most: u32) -> Fit {
    if seen.source == Source::Queue {
        return fit_queue(needs.iter().sum::<f64>().max(mean), most);
    }
    let overload: f64 = needs.iter().map(|need| need.min(1.0)).sum();
    if overload <= 0.0 || most == 0 {
        return Fit { replicas: 0, busiest: 0.0, enough: overload <= 0.0 };
    }
    let owners = owners(seen);
    let loads = |replicas: u32| loads(&owners, seen.members.len(), needs, replicas);
    let roomy = whole(mean, most).max(1);
    let useful = (1.0 + USELESS) * busiest(&loads(roomy));
    let fit_of = |replicas: u32| {
        let loads = loads(replicas);
        let busiest = busiest(&loads);
        let over = loads.iter().map(Load::avoidable).fold(0.0, f64::max);
        (over, Fit { replicas, busiest, enough: busiest <= 1.0 + ROUNDING })
    };
    // Enough can't be fewer than there is work for.
    let least = (overload.min(f64::from(most)) as u32).max(1);
    let enough = |fit: &Fit| fit.enough && (fit.busiest <= useful || fit.replicas >= roomy);
    if let Some(fit) = candidates(least, most).map(|replicas| fit_of(replicas).1).find(enough) {
        return fit;
    }
    // What helps most may be fewer, as partitions come in steps.
    let mut best = fit_of((least / 2).max(1));
    for candidate in candidates(best.1.replicas, most).skip(1).map(fit_of) {
        if candidate.0 < best.0 - WORTH {
            best = candidate;
        }
    }
    best.1
}

/// Numbers of replicas to look at. A group of hundreds is searched in steps of a hundredth: exact enough, and never a
/// long walk.
fn candidates(least: u32, most: u32) -> impl Iterator<Item = u32> {
    std::iter::successors(Some(least), |replicas| Some(replicas + 1 + replicas / 100))
        .take_while(move |replicas| *replicas <= most)
}

/// In a queue everybody helps with everything.
fn fit_queue(total: f64, most: u32) -> Fit {
    let replicas = whole(total, most);
    let busiest = if replicas == 0 { 0.0 } else { total / f64::from(replicas) };
    Fit { replicas, busiest, enough: f64::from(replicas) + ROUNDING >= total }
}

/// So many replicas as a whole number, at most `most`.
fn whole(replicas: f64, most: u32) -> u32 {
    // A number that is too large becomes the largest.
    ((replicas - ROUNDING).ceil().max(0.0) as u32).min(most)
}

/// What one member has to do, in replicas.
#[derive(Clone, Copy, Debug, Default)]
struct Load {
    in_all: f64,
    /// Its hottest partition alone.
    hottest: f64,
}

impl Load {
    /// How much of an overload fewer partitions would take off: what one partition is too much by, nothing does.
    fn avoidable(&self) -> f64 {
        self.in_all - self.hottest.max(1.0)
    }
}

fn busiest(loads: &[Load]) -> f64 {
    loads.iter().map(|load| load.in_all).fold(0.0, f64::max)
}

/// What each of `replicas` members would need.
fn loads(owners: &[Option<usize>], members: usize, needs: &[f64], replicas: u32) -> Vec<Load> {
    let count = replicas as usize;
    let mut loads = vec![Load::default(); count];
    let planned;
    let owned: Vec<usize> = if count == members && owners.iter().all(Option::is_some) {
        owners.iter().flatten().copied().collect()
    } else {
        planned = assign(owners, count);
        planned
    };
    for (owner, need) in owned.iter().zip(needs) {
        if let Some(load) = loads.get_mut(*owner) {
            load.in_all += need;
            load.hottest = load.hottest.max(*need);
        }
    }
    loads
}

fn owners(seen: &Observation) -> Vec<Option<usize>> {
    let known = |owner: &usize| *owner < seen.members.len();
    seen.partitions.iter().map(|partition| partition.owner.filter(known)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::PartitionSeen;

    fn group(partitions: usize) -> Observation {
        Observation { partitions: vec![PartitionSeen::default(); partitions], ..Observation::default() }
    }

    fn check(needs: &[f64], most: u32, expected: (u32, bool)) {
        let fit = fit(&group(needs.len()), needs, 0.0, most);
        assert_eq!((fit.replicas, fit.enough), expected, "{needs:?} {fit:?}");
    }

    #[test]
    fn steps_of_the_assignment_are_seen() {
        check(&[0.1; 24], 24, (3, true));
        check(&[0.25; 24], 24, (6, true));
        // 13 to 23 replicas carry what 12 do: two partitions at least one of them.
        check(&[0.45; 24], 24, (12, true));
        check(&[0.55; 24], 24, (24, true));
        check(&[0.3; 24], 24, (8, true));
        check(&[0.55; 24], 20, (12, false));
        check(&[0.0; 24], 24, (0, true));
    }

    /// 11.2 replicas' work: at 80 percent that is 14, of which two bring nothing.
    #[test]
    fn room_is_made_where_it_helps() {
        let rows = [(0.47, 14.0, 12), (0.20, 6.0, 6), (0.16, 4.8, 5), (0.10, 3.0, 3), (0.03, 0.9, 1)];
        for (each, mean, expected) in rows {
            assert_eq!(fit(&group(24), &[each; 24], mean, 24).replicas, expected, "{each} {mean}");
        }
    }

    #[test]
    fn a_hot_partition_gets_a_member_of_its_own_and_no_more() {
        let mut needs = vec![0.2; 6];
        needs[2] = 1.4;
        // Of four, two have two partitions, and the hot one isn't among these.
        let fit = fit(&group(6), &needs, 2.4, 6);
        assert_eq!((fit.replicas, fit.enough), (4, false), "{fit:?}");
    }

    #[test]
    fn a_queue_has_no_steps() {
        let mut seen = group(3);
        seen.source = Source::Queue;
        assert_eq!(super::fit(&seen, &[1.5, 1.5, 1.6], 0.0, 10).replicas, 5);
        assert_eq!(super::fit(&seen, &[1.5, 1.5, 1.0], 0.0, 10).replicas, 4);
        let few = super::fit(&seen, &[1.5, 1.5, 1.6], 0.0, 3);
        assert_eq!((few.replicas, few.enough), (3, false));
        assert_eq!(super::fit(&seen, &[0.0; 3], 0.0, 3).replicas, 0);
    }
}
