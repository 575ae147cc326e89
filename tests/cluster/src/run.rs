//! A run: a cluster under load, one fault after the other, and the audit.

mod faults;
mod gaps;

use std::{
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

pub use faults::Fault;

use crate::{
    chance::Chance,
    clock,
    cluster::{Cluster, Setup, View, look},
    folder::Folder,
    leftovers,
    load::{Inside, Load, Plan as LoadPlan, streams},
    report::Outcome,
    scenarios::Scenario,
};

/// A run that is slower before its first fault proves little, and fails.
const RATE_MIN: f64 = 500.0;
/// How long a cluster may take until nothing is left of a fault: an emptied copy is filled anew, and a replica that was slow
/// again and again is left out for up to half a minute.
const REPAIR_TIMEOUT: Duration = Duration::from_secs(100);
/// A stream that acknowledged nothing for so long does not flow.
const FLOW: Duration = Duration::from_millis(400);
/// Load without a fault before the first one.
const WARM_UP: Duration = Duration::from_secs(2);
/// Faults that hit nothing, per fault that did, before the run is given up.
const MISSES_PER_FAULT: u32 = 10;

/// What to do.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The binary `pondage`.
    pub binary: PathBuf,
    /// Brokers: 1, or a cluster.
    pub brokers: u8,
    /// Messages a second.
    pub rate: u32,
    /// Decides the order of the faults and who is hit.
    pub seed: u64,
    /// What is done, and how often.
    pub scenarios: Vec<(Scenario, u32)>,
    /// When the folder with data, logs and history stays.
    pub keeps: Keeps,
}

/// When something stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keeps {
    /// Never.
    Never,
    /// When a promise was broken, or the run did not come to its end.
    AfterFailure,
    /// Always.
    Always,
}

/// Runs a plan and gives what it came to. What the machine or the number of brokers does not allow is in the outcome
/// too, as skipped.
///
/// # Errors
/// If it could not be brought to its end, with the ends of the brokers' logs.
pub fn run(plan: &Plan) -> Result<Outcome> {
    let cleared = leftovers::clear()?;
    if cleared > 0 {
        println!("{cleared} namespaces and folders of dead runs are gone");
    }
    let mut outcome = Outcome::new(plan);
    let mut possible = Vec::new();
    for (scenario, count) in &plan.scenarios {
        match why_not(plan, scenario) {
            Some(reason) => outcome.skip(scenario, reason),
            None => possible.push((*scenario, *count)),
        }
    }
    for has_volumes in [false, true] {
        let group: Vec<_> =
            possible.iter().filter(|(scenario, _)| scenario.needs_volumes == has_volumes).copied().collect();
        if !group.is_empty() {
            perform(plan, &group, has_volumes, &mut outcome)?;
        }
    }
    Ok(outcome)
}

/// Why a scenario can't be made here, if it can't.
fn why_not(plan: &Plan, scenario: &Scenario) -> Option<String> {
    if plan.brokers < scenario.brokers_min {
        return Some(format!("needs {} brokers", scenario.brokers_min));
    }
    let check = match scenario.kind {
        crate::scenarios::Kind::Clock => clock::check(),
        _ => Ok(()),
    };
    check.err().map(|error| format!("{error:#}"))
}

fn perform(plan: &Plan, group: &[(Scenario, u32)], has_volumes: bool, outcome: &mut Outcome) -> Result<()> {
    let folder = Folder::create()?;
    let setup = Setup { binary: plan.binary.clone(), brokers: plan.brokers, has_volumes };
    println!(
        "{} broker{} in {}, {} messages/s, seed {}",
        plan.brokers,
        if plan.brokers == 1 { "" } else { "s" },
        folder.path().display(),
        plan.rate,
        plan.seed
    );
    let mut stage = match Stage::start(plan, &setup, folder.path()) {
        Ok(stage) => stage,
        Err(error) => {
            if plan.keeps != Keeps::Never {
                println!("data and logs stay in {}", folder.keep().display());
            }
            return Err(error);
        }
    };
    let ended = stage.play(group).and_then(|()| stage.audit());
    let Stage { load, cluster, mut faults, .. } = stage;
    outcome.faults.append(&mut faults);
    let (findings, history) = load.finish();
    let logs = cluster.log_tails();
    drop(cluster);
    let is_good = ended.is_ok() && findings.is_good();
    if plan.keeps == Keeps::Always || !is_good && plan.keeps == Keeps::AfterFailure {
        let kept = folder.keep();
        history.save(&kept.join("history.zst"))?;
        println!("data, logs and history stay in {}", kept.display());
    }
    if ended.is_err() {
        print!("{logs}{}", findings.report);
    }
    outcome.findings.push(findings);
    ended
}

/// A cluster under load.
struct Stage {
    // In this order they go: clients before brokers.
    load: Load,
    cluster: Cluster,
    chance: Chance,
    view: View,
    faults: Vec<Fault>,
    started: Instant,
}

impl Stage {
    fn start(plan: &Plan, setup: &Setup, folder: &std::path::Path) -> Result<Self> {
        let cluster = Cluster::start(setup, folder)?;
        let inside = Inside::new(cluster.network.namespace(cluster.clients()))?;
        let replicas = u32::from(plan.brokers.min(3));
        let load_plan = LoadPlan {
            rate: plan.rate,
            replicas,
            min_in_sync_replicas: replicas.div_ceil(2).max(replicas.min(2)),
            seed: plan.seed,
        };
        let load = Load::start(inside, cluster.access().clone(), load_plan)
            .with_context(|| format!("the load\n{}", cluster.log_tails()))?;
        let chance = Chance::new(plan.seed);
        Ok(Self { load, cluster, chance, view: View::default(), faults: Vec::new(), started: Instant::now() })
    }

    /// Makes the faults of a group, in an order of chance.
    fn play(&mut self, group: &[(Scenario, u32)]) -> Result<()> {
        self.wait_whole(false)?;
        let (acknowledged, from) = (self.load.recorder().acknowledged(), Instant::now());
        thread::sleep(WARM_UP);
        let rate = (self.load.recorder().acknowledged() - acknowledged) as f64 / from.elapsed().as_secs_f64();
        println!("{:6.1} s  {rate:.0} messages/s acknowledged before the first fault", self.seconds());
        ensure!(
            rate >= RATE_MIN,
            "{rate:.0} acknowledged messages/s, where {RATE_MIN:.0} is the least that counts"
        );

        let mut order: Vec<Scenario> = group
            .iter()
            .flat_map(|(scenario, count)| std::iter::repeat_n(*scenario, *count as usize))
            .collect();
        for last in (1..order.len()).rev() {
            order.swap(last, self.chance.below(last as u64 + 1) as usize);
        }
        for scenario in order {
            let mut misses = 0;
            loop {
                let fault = self.make(&scenario).with_context(|| {
                    format!("{} at {:.1} s", scenario.name, self.started.elapsed().as_secs_f64())
                })?;
                println!("{:6.1} s  {fault}", self.seconds());
                let counts = fault.counts;
                self.faults.push(fault);
                if counts {
                    break;
                }
                misses += 1;
                ensure!(misses < MISSES_PER_FAULT, "{} hits nothing, {misses} times", scenario.name);
            }
        }
        Ok(())
    }

    /// Makes one fault and waits until nothing is left of it.
    fn make(&mut self, scenario: &Scenario) -> Result<Fault> {
        // At no fixed distance from what the cluster does by itself.
        thread::sleep(Duration::from_millis(200 + self.chance.below(800)));
        self.check()?;
        let from = self.load.recorder().now_micros();
        let begun = faults::begin(self, scenario)?;
        let until = Instant::now() + scenario.lasts;
        while Instant::now() < until {
            thread::sleep(Duration::from_millis(20).min(until.saturating_duration_since(Instant::now())));
            self.check()?;
        }
        faults::end(self, scenario, &begun)?;
        let repairing = Instant::now();
        let waited_for = self.wait_whole(scenario.may_end)?;
        let to = self.load.recorder().now_micros();
        let acks = self.load.recorder().acks_since(from);
        let gap = gaps::longest(&acks, streams(), from, to);
        Ok(Fault {
            name: scenario.name,
            from_micros: from,
            whole_micros: to,
            victim: begun.victim.map(|victim| victim.0),
            unanswered: begun.unanswered,
            counts: !scenario.must_hit || (begun.unanswered.publishes > 0 && begun.unanswered.settles > 0),
            gap,
            repaired: repairing.elapsed(),
            waited_for,
        })
    }

    /// Whether nothing went wrong that no fault explains.
    fn check(&mut self) -> Result<()> {
        self.load.check()?;
        ensure!(self.load.recorder().violations() == 0, "a promise is broken");
        if let Some(problem) = self.load.recorder().problems().first() {
            bail!("{problem}");
        }
        Ok(())
    }

    /// Waits until every stream flows, and the cluster says that nothing is left to be repaired. A broker that ends by
    /// itself is started again if it may, else an error.
    /// Gives what was missing last.
    fn wait_whole(&mut self, may_end: bool) -> Result<String> {
        let started = Instant::now();
        let mut missing_last = String::new();
        loop {
            self.check()?;
            let mut has_ended = false;
            for broker in &mut self.cluster.brokers {
                if let Some(ended) = broker.ended()? {
                    ensure!(may_end, ended);
                    println!("{ended}");
                    has_ended = true;
                }
            }
            if has_ended {
                self.cluster.start_missing()?;
            }
            let (view, dry) = (self.load.ask(look), self.dry());
            let missing = match &view {
                Ok(view) if view.is_whole() && dry.is_empty() => {
                    self.view = view.clone();
                    return Ok(missing_last);
                }
                Ok(view) => view.missing(),
                Err(error) => format!("{error:#}"),
            };
            missing_last =
                if dry.is_empty() { missing } else { format!("{missing}; streams {dry:?} do not flow") };
            let seconds = REPAIR_TIMEOUT.as_secs();
            ensure!(started.elapsed() < REPAIR_TIMEOUT, "not whole after {seconds} s: {missing_last}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// The streams that do not flow.
    fn dry(&self) -> Vec<u64> {
        let recorder = self.load.recorder();
        let now = recorder.now_micros();
        let since = now.saturating_sub(FLOW.as_micros() as u64);
        let acks = recorder.acks_since(since);
        let flows =
            |stream| acks.iter().any(|ack| ack.is_publish && ack.stream == stream && ack.at_micros >= since);
        streams().filter(|stream| !flows(*stream)).map(|stream| stream.0).collect()
    }

    fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Ends the load, with everything looked at once more.
    fn audit(&mut self) -> Result<()> {
        let Self { load, cluster, .. } = self;
        load.audit(|| cluster.restart_all()).context("the audit")
    }
}
