//! The workload's pods: who starts, who works, who goes.

use crate::observation::{MemberSeen, PodSeen};

/// One pod, and the member that runs in it.
#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) number: u64,
    pub(super) name: String,
    pub(super) created_millis: u64,
    /// When it joins, or joined.
    pub(super) joins_millis: u64,
    pub(super) joined: bool,
    pub(super) first_settled_millis: Option<u64>,
    pub(super) settled: f64,
    pub(super) busy_millis: f64,
    pub(super) in_flight: f64,
    pub(super) draining: bool,
}

impl Pod {
    /// Whether partitions may be given to it.
    pub(super) fn is_active(&self) -> bool {
        self.joined && !self.draining
    }

    pub(super) fn seen(&self) -> PodSeen {
        PodSeen {
            name: self.name.clone(),
            created_millis: self.created_millis,
            ready_millis: self.joined.then_some(self.joins_millis),
            terminating: false,
            ordinal: None,
        }
    }

    pub(super) fn member_seen(&self) -> MemberSeen {
        MemberSeen {
            name: self.name.clone(),
            joined_millis: self.joins_millis,
            first_settled_millis: self.first_settled_millis,
            settled: self.settled as u64,
            busy_millis: self.busy_millis as u64,
            in_flight: self.in_flight as u64,
        }
    }
}

/// All pods, oldest first.
#[derive(Clone, Debug)]
pub(super) struct Pods {
    pub(super) list: Vec<Pod>,
    created: u64,
    start_millis: u64,
    jitter_percent: u32,
    chance: u64,
}

impl Pods {
    /// `ready` pods that were always there.
    pub(super) fn new(ready: u32, start_millis: u64, jitter_percent: u32, seed: u64) -> Self {
        let mut pods = Self { list: Vec::new(), created: 0, start_millis, jitter_percent, chance: seed };
        pods.create(ready, 0);
        for pod in &mut pods.list {
            (pod.joins_millis, pod.joined) = (0, true);
        }
        pods
    }

    /// Creates `count` more.
    pub(super) fn create(&mut self, count: u32, now_millis: u64) {
        for _ in 0..count {
            self.created += 1;
            let takes =
                self.start_millis as f64 * (1.0 + f64::from(self.jitter_percent) / 100.0 * self.draw());
            self.list.push(Pod {
                number: self.created,
                name: format!("pod-{:06}", self.created),
                created_millis: now_millis,
                joins_millis: now_millis.saturating_add(takes.max(0.0) as u64),
                joined: false,
                first_settled_millis: None,
                settled: 0.0,
                busy_millis: 0.0,
                in_flight: 0.0,
                draining: false,
            });
        }
    }

    /// Ends `count` pods. Says how many messages they had in their hands.
    pub(super) fn kill(&mut self, count: usize) -> u64 {
        let mut killed = 0.0;
        for _ in 0..count.min(self.list.len()) {
            // As the ReplicaSet controller ranks them: not ready, then low deletion cost, then the youngest.
            let first = (0..self.list.len()).min_by_key(|place| {
                let pod = &self.list[*place];
                (pod.joined, !pod.draining, std::cmp::Reverse(*place))
            });
            if let Some(place) = first {
                killed += self.list.remove(place).in_flight;
            }
        }
        killed as u64
    }

    /// Lets everybody join whose time has come. Says whether somebody did.
    pub(super) fn join(&mut self, now_millis: u64) -> bool {
        let mut somebody = false;
        for pod in self.list.iter_mut().filter(|pod| !pod.joined && pod.joins_millis <= now_millis) {
            pod.joined = true;
            pod.joins_millis = now_millis;
            somebody = true;
        }
        somebody
    }

    /// Marks who drains. Says whether that changed.
    pub(super) fn drain(&mut self, names: &[String]) -> bool {
        let mut changed = false;
        for pod in &mut self.list {
            let draining = names.contains(&pod.name);
            changed |= pod.draining != draining;
            pod.draining = draining;
        }
        changed
    }

    /// Between -1 and 1, with splitmix64.
    fn draw(&mut self) -> f64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.chance;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
    }
}
