//! The seven shapes of load. Each is a [`Course`]: for every second the load as a share of what all partitions' members
//! together can do at their usual speed, and what is special at that second.

use crate::chance::Chance;

/// What happens in one second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Second {
    /// The load over all partitions, as a share of their members' capacity; 0 is silence.
    pub(super) load: f64,
    /// How fast members are, as a share of their usual speed.
    pub(super) speed: f64,
    /// What goes to the hot partition besides, as a share of one member's capacity.
    pub(super) hot: f64,
}

impl Second {
    const fn with_load(load: f64) -> Self {
        Self { load, speed: 1.0, hot: 0.0 }
    }
}

/// A shape: its seconds in order.
pub(super) type Course = Vec<Second>;

const HOUR: usize = 3_600;

/// Four hours that stand for a day: a low night, a high noon, a second and smaller peak.
pub(super) fn diurnal(chance: &mut Chance) -> Course {
    let low = chance.between(0.06, 0.14);
    let high = chance.between(0.62, 0.78);
    let evening = chance.between(0.04, 0.14);
    let phase = chance.unit();
    let turn = std::f64::consts::TAU;
    (0..4 * HOUR)
        .map(|second| {
            let time = second as f64 / (4 * HOUR) as f64 + phase;
            let day = (1.0 - (turn * time).cos()) / 2.0;
            let twice = (1.0 - (2.0 * turn * time + 1.0).cos()) / 2.0;
            Second::with_load(low + (high - low) * day * day + evening * twice)
        })
        .collect()
}

/// Two hours of levels that hold for some minutes and change at once.
pub(super) fn steps(chance: &mut Chance) -> Course {
    let mut course = Course::new();
    while course.len() < 2 * HOUR {
        let level = chance.between(0.06, 0.82);
        let seconds = chance.whole(360, 1_080) as usize;
        course.extend(std::iter::repeat_n(Second::with_load(level), seconds));
    }
    course.truncate(2 * HOUR);
    course
}

/// Three hours of low load with sudden bursts of one to five minutes.
pub(super) fn bursts(chance: &mut Chance) -> Course {
    let base = chance.between(0.10, 0.22);
    let mut course = Course::new();
    while course.len() < 3 * HOUR {
        let quiet = chance.whole(300, 1_200) as usize;
        let burst = chance.whole(60, 300) as usize;
        let height = chance.between(0.45, 0.90);
        course.extend(std::iter::repeat_n(Second::with_load(base), quiet));
        course.extend(std::iter::repeat_n(Second::with_load(height), burst));
    }
    course.truncate(3 * HOUR);
    course
}

/// Two hours of slow rises, each followed by a fall at once.
pub(super) fn ramps(chance: &mut Chance) -> Course {
    let mut course = Course::new();
    while course.len() < 2 * HOUR {
        let low = chance.between(0.04, 0.12);
        let high = chance.between(0.65, 0.88);
        let rise = chance.whole(900, 2_100) as usize;
        let rest = chance.whole(240, 600) as usize;
        course.extend((0..rise).map(|second| {
            let share = second as f64 / rise as f64;
            Second::with_load(low + (high - low) * share)
        }));
        course.extend(std::iter::repeat_n(Second::with_load(low), rest));
    }
    course.truncate(2 * HOUR);
    course
}

/// Two hours of silence with waves of work in it: what sleeps must wake.
pub(super) fn wakeups(chance: &mut Chance) -> Course {
    let mut course = Course::new();
    while course.len() < 2 * HOUR {
        let silence = chance.whole(360, 900) as usize;
        let work = chance.whole(180, 600) as usize;
        let level = chance.between(0.10, 0.60);
        course.extend(std::iter::repeat_n(Second::with_load(0.0), silence));
        course.extend(std::iter::repeat_n(Second::with_load(level), work));
    }
    course.truncate(2 * HOUR);
    course
}

/// Two hours of even load in which one partition gets more than any one member can do, for ten to twenty minutes. While
/// it lasts, and until what it left is worked off, nobody can keep the target: these seconds are a floor under
/// everybody's sum.
pub(super) fn skew(chance: &mut Chance) -> Course {
    let base = chance.between(0.20, 0.40);
    let hot = chance.between(1.10, 1.35);
    let start = chance.whole(1_200, 3_600) as usize;
    let seconds = chance.whole(600, 1_200) as usize;
    (0..2 * HOUR)
        .map(|second| {
            let is_hot = (start..start + seconds).contains(&second);
            Second { hot: if is_hot { hot } else { 0.0 }, ..Second::with_load(base) }
        })
        .collect()
}

/// Two hours of restless load, in which what members call gets slow, once or twice.
pub(super) fn slowdown(chance: &mut Chance) -> Course {
    let middle = chance.between(0.28, 0.38);
    let mut course: Course = Course::new();
    let mut drift = 0.0;
    for _ in 0..2 * HOUR {
        // A walk that is pulled back to the middle within some minutes.
        drift += -drift / 240.0 + 0.006 * chance.normal();
        course.push(Second::with_load((middle * (1.0 + drift)).clamp(0.10, 0.52)));
    }
    let mut at = chance.whole(900, 1_800) as usize;
    while at < course.len() {
        let seconds = chance.whole(600, 1_500) as usize;
        let speed = chance.between(0.60, 0.75);
        for second in course.iter_mut().skip(at).take(seconds) {
            second.speed = speed;
        }
        at += seconds + chance.whole(1_800, 3_600) as usize;
    }
    course
}
