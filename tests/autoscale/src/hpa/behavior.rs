//! How fast replicas may change: stabilization windows, and policies over periods.

/// The field `behavior` of the object.
#[derive(Clone, Debug)]
pub struct Behavior {
    /// Scaling up.
    pub up: Rules,
    /// Scaling down.
    pub down: Rules,
}

/// The rules of one direction.
#[derive(Clone, Debug)]
pub struct Rules {
    /// For how long the most careful of the recommendations counts, in seconds.
    pub stabilization_seconds: u64,
    /// Limits of the change, each over its own period.
    pub policies: Vec<ScalingPolicy>,
    /// Which of the policies counts.
    pub select: SelectPolicy,
}

/// One limit: no more than `value` within `period_seconds`.
#[derive(Clone, Copy, Debug)]
pub struct ScalingPolicy {
    /// What the value counts.
    pub kind: PolicyKind,
    /// Pods, or percent of the replicas at the period's start.
    pub value: u32,
    /// The period, in seconds.
    pub period_seconds: u64,
}

/// What a policy's value counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyKind {
    /// Pods.
    Pods,
    /// Percent of the replicas at the period's start.
    Percent,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelectPolicy {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// No change in this direction.
    Disabled,
}

impl Default for Behavior {
    /// The page, "Default Behavior": up by the larger of 4 pods and 100 % per 15 s and without a window; down to
    /// anything within 15 s, after 300 s.
    fn default() -> Self {
        let percent = ScalingPolicy { kind: PolicyKind::Percent, value: 100, period_seconds: 15 };
        let pods = ScalingPolicy { kind: PolicyKind::Pods, value: 4, period_seconds: 15 };
        Self {
            up: Rules { stabilization_seconds: 0, policies: vec![percent, pods], select: SelectPolicy::Max },
            down: Rules { stabilization_seconds: 300, policies: vec![percent], select: SelectPolicy::Max },
        }
    }
}

/// What the controller remembers: recommendations before stabilization, and the changes that it made.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    recommendations: Vec<Moment>,
    ups: Vec<Moment>,
    downs: Vec<Moment>,
}

/// Replicas, or a change of them, at a moment in milliseconds.
#[derive(Clone, Copy, Debug)]
struct Moment {
    at: u64,
    replicas: u32,
}

impl History {
    /// The replicas that the controller finds count as its first recommendation: a restart doesn't scale down.
    pub(super) fn start(&mut self, now: u64, current: u32) {
        if self.recommendations.is_empty() {
            self.recommendations.push(Moment { at: now, replicas: current });
        }
    }

    /// The replicas nearest to `current` between the lowest recommendation of the window for going up and the highest
    /// of the one for going down. (The page, "Stabilization window".)
    pub(super) fn stabilize(&mut self, now: u64, current: u32, proposed: u32, behavior: &Behavior) -> u32 {
        let (mut lowest, mut highest) = (proposed, proposed);
        for recommendation in &self.recommendations {
            if within(recommendation.at, now, behavior.up.stabilization_seconds) {
                lowest = lowest.min(recommendation.replicas);
            }
            if within(recommendation.at, now, behavior.down.stabilization_seconds) {
                highest = highest.max(recommendation.replicas);
            }
        }
        let longest = behavior.up.stabilization_seconds.max(behavior.down.stabilization_seconds);
        self.recommendations.retain(|recommendation| within(recommendation.at, now, longest));
        self.recommendations.push(Moment { at: now, replicas: proposed });
        current.max(lowest).min(highest)
    }

    /// Remembers a change, for the policies' periods.
    pub(super) fn scaled(&mut self, now: u64, from: u32, to: u32, behavior: &Behavior) {
        let longest = |rules: &Rules| rules.policies.iter().map(|policy| policy.period_seconds).max();
        let period = longest(&behavior.up).max(longest(&behavior.down)).unwrap_or_default();
        self.ups.retain(|event| within(event.at, now, period));
        self.downs.retain(|event| within(event.at, now, period));
        if to > from {
            self.ups.push(Moment { at: now, replicas: to - from });
        }
        if to < from {
            self.downs.push(Moment { at: now, replicas: from - to });
        }
    }

    /// The most replicas that the policies allow now; it can be below `current` when a period's change is used up.
    pub(super) fn up_limit(&self, now: u64, current: u32, rules: &Rules) -> u32 {
        let allowed = rules.policies.iter().map(|policy| {
            let start = self.period_start(now, current, policy.period_seconds);
            match policy.kind {
                PolicyKind::Pods => start.saturating_add(policy.value),
                // Rounded up, or a small target would never grow.
                PolicyKind::Percent => {
                    (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as u32
                }
            }
        });
        match rules.select {
            SelectPolicy::Disabled => None,
            SelectPolicy::Max => allowed.max(),
            SelectPolicy::Min => allowed.min(),
        }
        .unwrap_or(current)
    }

    /// The fewest replicas that the policies allow now; it can be above `current` when a period's change is used up.
    pub(super) fn down_limit(&self, now: u64, current: u32, rules: &Rules) -> u32 {
        let allowed = rules.policies.iter().map(|policy| {
            let start = self.period_start(now, current, policy.period_seconds);
            match policy.kind {
                PolicyKind::Pods => start.saturating_sub(policy.value),
                // The rest is rounded down, and with it the change up.
                PolicyKind::Percent => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as u32,
            }
        });
        match rules.select {
            SelectPolicy::Disabled => None,
            SelectPolicy::Max => allowed.min(),
            SelectPolicy::Min => allowed.max(),
        }
        .unwrap_or(current)
    }

    /// The replicas at the start of the period that ends now, as far as the controller itself changed them.
    fn period_start(&self, now: u64, current: u32, period_seconds: u64) -> u32 {
        let change = |events: &[Moment]| -> u32 {
            events
                .iter()
                .filter(|event| within(event.at, now, period_seconds))
                .map(|event| event.replicas)
                .sum()
        };
        (current + change(&self.downs)).saturating_sub(change(&self.ups))
    }
}

/// Whether `at` is less than `seconds` ago. Exactly as long ago is outside.
fn within(at: u64, now: u64, seconds: u64) -> bool {
    now.saturating_sub(at) < seconds * 1_000
}
