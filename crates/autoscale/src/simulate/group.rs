//! The group itself, second after second.

use super::flow::Flow;
use super::pods::Pods;
use super::{EventKind, Moment, Outcome, Scaler, Source, Trace, World};
use crate::assignment::assign;
use crate::observation::{Observation, PartitionSeen};

/// A group while a trace happens to it.
pub(super) struct Group<'a> {
    trace: &'a Trace,
    world: &'a World,
    flows: Vec<Flow>,
    /// Who owns a partition, by the pod's number; and until when it rests.
    owners: Vec<Option<u64>>,
    rests_until_millis: Vec<u64>,
    teams: Vec<Team>,
    pods: Pods,
    replicas: u32,
    /// What was told last while the brokers could be asked.
    told: Observation,
    outcome: Outcome,
}

/// Pods that serve the same partitions, both by their places: in a group one pod and what it owns, in a queue all.
#[derive(Default)]
struct Team {
    pods: Vec<usize>,
    partitions: Vec<usize>,
}

/// What is out of order in one second.
#[derive(Default)]
struct Trouble {
    poisoned: Vec<usize>,
    outage: bool,
    downstream_rate: Option<f64>,
}

impl<'a> Group<'a> {
    pub(super) fn new(trace: &'a Trace, world: &'a World) -> Self {
        let partitions = trace.arrivals.iter().map(Vec::len).max().unwrap_or_default();
        let mut group = Self {
            trace,
            world,
            flows: vec![Flow::default(); partitions],
            owners: vec![None; partitions],
            rests_until_millis: vec![0; partitions],
            teams: Vec::new(),
            pods: Pods::new(world.replicas, world.start_millis, world.start_jitter_percent, world.seed),
            replicas: world.replicas,
            told: Observation::default(),
            outcome: Outcome::default(),
        };
        group.rebalance(0);
        group.rests_until_millis.fill(0);
        group
    }

    pub(super) fn run(mut self, scaler: &mut dyn Scaler) -> Outcome {
        let mut next_look = 0;
        for second in 0..self.trace.arrivals.len() {
            let now = second as u64 * 1_000;
            let trouble = self.trouble(second);
            if self.pods.join(now) {
                self.rebalance(now);
            }
            let wakes =
                scaler.wakes() && self.replicas == 0 && self.flows.iter().any(|flow| flow.backlog() > 0.0);
            let woken = wakes && self.told.partitions.iter().all(|partition| partition.backlog == 0);
            if now >= next_look || woken {
                self.look(now, &trouble, scaler);
                next_look = now + scaler.period_millis().max(1_000);
            }
            self.serve(second, &trouble);
            self.account(second, &trouble);
        }
        self.outcome
    }

    fn trouble(&self, second: usize) -> Trouble {
        let mut trouble = Trouble::default();
        for event in &self.trace.events {
            if !(event.from_second as usize..event.until_second as usize).contains(&second) {
                continue;
            }
            match event.kind {
                EventKind::Poison { partition } => trouble.poisoned.push(partition),
                EventKind::Outage => trouble.outage = true,
                EventKind::Downstream { rate } => trouble.downstream_rate = Some(rate.max(0.0)),
            }
        }
        trouble
    }

    /// Shows the scaler what there is and does what it says.
    fn look(&mut self, now: u64, trouble: &Trouble, scaler: &mut dyn Scaler) {
        let observation = self.observe(now, trouble.outage);
        let wanted = scaler.tick(&observation);
        let mut changed = self.pods.drain(&scaler.draining());
        if let Some(wanted) = wanted.filter(|wanted| *wanted != self.replicas) {
            self.outcome.scale_events += 1;
            self.replicas = wanted;
            let (there, wanted) = (self.pods.list.len(), wanted as usize);
            if wanted > there {
                self.pods.create((wanted - there) as u32, now);
            } else {
                self.outcome.killed_in_flight += self.pods.kill(there - wanted);
                changed = true;
            }
        }
        if changed {
            self.rebalance(now);
        }
    }

    fn observe(&mut self, now: u64, outage: bool) -> Observation {
        let mut seen = if outage {
            Observation { stale_millis: now.saturating_sub(self.told.now_millis), ..self.told.clone() }
        } else {
            self.ask_brokers(now)
        };
        seen.now_millis = now;
        seen.replicas = self.replicas;
        seen.pods = self.pods.list.iter().map(super::pods::Pod::seen).collect();
        if !outage {
            self.told = seen.clone();
        }
        seen
    }

    fn ask_brokers(&mut self, now: u64) -> Observation {
        let joined: Vec<_> = self.pods.list.iter().filter(|pod| pod.joined).collect();
        let trace = self.trace;
        let partition = |(number, flow): (usize, &mut Flow)| PartitionSeen {
            backlog: flow.appended_count() - flow.settled_count(),
            appended: flow.appended_count(),
            settled: flow.settled_count(),
            oldest_age_millis: flow.oldest_age_millis(now, |second| arrivals(trace, second, number)),
            owner: self.owners[number]
                .filter(|_| self.rests_until_millis[number] <= now)
                .and_then(|owner| joined.iter().position(|pod| pod.number == owner)),
        };
        Observation {
            now_millis: now,
            source: self.world.source,
            partitions: self.flows.iter_mut().enumerate().map(partition).collect(),
            members: joined.iter().map(|pod| pod.member_seen()).collect(),
            rebalancing: self.rests_until_millis.iter().any(|until| *until > now),
            ..Observation::default()
        }
    }

    /// Deals the partitions to the members that there are now; what moves rests.
    fn rebalance(&mut self, now: u64) {
        let active: Vec<usize> =
            (0..self.pods.list.len()).filter(|place| self.pods.list[*place].is_active()).collect();
        if self.world.source == Source::Queue {
            self.teams = vec![Team { pods: active, partitions: (0..self.flows.len()).collect() }];
            return;
        }
        let numbers: Vec<u64> = active.iter().map(|place| self.pods.list[*place].number).collect();
        let place_of = |owner: u64| numbers.iter().position(|number| *number == owner);
        let current: Vec<Option<usize>> = self.owners.iter().map(|owner| owner.and_then(place_of)).collect();
        let assigned = assign(&current, numbers.len());
        let until = now + self.world.rebalance_millis;
        self.teams =
            active.into_iter().map(|place| Team { pods: vec![place], partitions: Vec::new() }).collect();
        for (number, owner) in self.owners.iter_mut().enumerate() {
            let member = assigned.get(number).copied();
            let next = member.map(|member| numbers[member]);
            if *owner != next || self.world.eager {
                self.rests_until_millis[number] = until;
            }
            *owner = next;
            if let Some(member) = member {
                self.teams[member].partitions.push(number);
            }
        }
    }

    /// Lets a second's messages come and be worked off.
    fn serve(&mut self, second: usize, trouble: &Trouble) {
        let now = second as u64 * 1_000;
        for (number, flow) in self.flows.iter_mut().enumerate() {
            flow.arrive(arrivals(self.trace, second, number));
        }
        let rate = self.member_rate(second);
        // What each partition would give its owner within this second, were there nothing else.
        let offered: Vec<f64> = (0..self.flows.len())
            .map(|number| {
                let rests = self.rests_until_millis[number].saturating_sub(now).min(1_000) as f64 / 1_000.0;
                let most =
                    if self.world.source == Source::Queue { f64::INFINITY } else { rate * (1.0 - rests) };
                if trouble.poisoned.contains(&number) { 0.0 } else { self.flows[number].backlog().min(most) }
            })
            .collect();
        let teams = std::mem::take(&mut self.teams);
        let wanted: Vec<f64> =
            teams.iter().map(|team| team.partitions.iter().map(|number| offered[*number]).sum()).collect();
        let able = |team: &Team| rate * team.pods.len() as f64;
        let in_all: f64 = teams.iter().zip(&wanted).map(|(team, wanted)| wanted.min(able(team))).sum();
        let slowed =
            trouble.downstream_rate.map_or(1.0, |limit| if in_all > limit { limit / in_all } else { 1.0 });
        for (team, wanted) in teams.iter().zip(wanted) {
            let given = wanted.min(able(team)) * slowed;
            let (mut settled, mut waits) = (0.0, 0.0);
            for number in &team.partitions {
                if offered[*number] > 0.0 {
                    settled += self.flows[*number].settle(given * offered[*number] / wanted);
                    waits += self.flows[*number].backlog();
                }
            }
            self.book(&team.pods, now, settled, waits, wanted / (rate * slowed));
        }
        self.teams = teams;
        for pod in self.pods.list.iter_mut().filter(|pod| pod.draining) {
            pod.in_flight = (pod.in_flight - rate * slowed).max(0.0);
        }
    }

    /// Writes into the pods what they did within the second: `settled` and what `waits` are of all of them together,
    /// `load` is the work that there was as a share of what they can do, all of them together.
    fn book(&mut self, pods: &[usize], now: u64, settled: f64, waits: f64, load: f64) {
        let count = pods.len() as f64;
        for pod in pods {
            let pod = &mut self.pods.list[*pod];
            let busy = if load.is_finite() { (load / count).min(1.0) } else { 0.0 };
            pod.settled += settled / count;
            pod.busy_millis += busy * 1_000.0;
            pod.in_flight = (waits / count + busy).ceil().min(f64::from(self.world.in_flight_max));
            if settled > 0.0 && pod.first_settled_millis.is_none() {
                pod.first_settled_millis = Some(now + 1_000);
            }
        }
    }

    fn member_rate(&self, second: usize) -> f64 {
        let rates = &self.trace.member_rate;
        rates.get(second).or(rates.last()).map_or(0.0, |rate| f64::from(*rate).max(0.0))
    }

    fn account(&mut self, second: usize, trouble: &Trouble) {
        let end = (second as u64 + 1) * 1_000;
        let mut oldest = 0;
        for (number, flow) in self.flows.iter_mut().enumerate() {
            let age = flow.oldest_age_millis(end, |second| arrivals(self.trace, second, number));
            if !trouble.poisoned.contains(&number) {
                oldest = oldest.max(age);
            }
        }
        self.outcome.violation_seconds += u64::from(oldest > self.world.target_millis);
        self.outcome.replica_hours += self.pods.list.len() as f64 / 3_600.0;
        if self.world.series {
            self.outcome.series.push(Moment {
                arrived: (0..self.flows.len()).map(|number| arrivals(self.trace, second, number)).sum(),
                backlog: self.flows.iter().map(Flow::backlog).sum(),
                oldest_age_millis: oldest,
                replicas: self.replicas,
                ready: self.pods.list.iter().filter(|pod| pod.is_active()).count() as u32,
            });
        }
    }
}

fn arrivals(trace: &Trace, second: usize, partition: usize) -> f64 {
    trace.arrivals[second].get(partition).map_or(0.0, |messages| f64::from(*messages).max(0.0))
}
