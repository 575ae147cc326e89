//! Why a group has the replicas that it has: what the last decision came from, for whoever asks. Pure.

use std::fmt;

use pondage_autoscale::{Decision, DelayTarget, Learned, Observation, Source, Spec};
use pondage_resources::{ActiveMode, Duration};
use serde::{Serialize, Serializer};

/// Partitions or members that people are shown, at most.
const ROWS: usize = 10;

/// What a decision came from. `Display` tells it to people; as JSON it has everything.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Explanation {
    pub(crate) namespace: String,
    pub(crate) group: String,
    #[serde(serialize_with = "word")]
    pub(crate) mode: ActiveMode,
    /// What was asked for.
    pub(crate) settings: Spec,
    /// What was known of a replica before.
    pub(crate) learned: Learned,
    /// What was seen.
    pub(crate) observation: Observation,
    /// Names of the observation's partitions.
    pub(crate) places: Vec<String>,
    /// What was decided.
    pub(crate) decision: Decision,
    /// Why, in a sentence.
    pub(crate) verdict: String,
}

fn word<S: Serializer>(mode: &ActiveMode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(name_of(*mode))
}

const fn name_of(mode: ActiveMode) -> &'static str {
    match mode {
        ActiveMode::Recommend => "Recommend",
        ActiveMode::Direct => "Direct",
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, group, mode, settings, observation, decision, verdict, .. } = self;
        writeln!(out, "ConsumerGroup {namespace}/{group}, mode {}", name_of(*mode))?;
        writeln!(out, "Verdict       {verdict}")?;
        let (now, wanted) = (observation.replicas, decision.replicas);
        writeln!(
            out,
            "Replicas      {now} now, {wanted} decided, {} by the figures alone; {} to {} allowed; limited by {:?}",
            decision.recommended, settings.min_replicas, settings.max_replicas, decision.limited_by
        )?;
        self.inputs(out)?;
        self.formula(out)?;
        if observation.source == Source::Partitions {
            self.partitions(out)?;
        }
        self.members(out)
    }
}

impl Explanation {
    fn inputs(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { observation, decision, .. } = self;
        let inputs = &decision.inputs;
        writeln!(out, "\nInputs, {} old", span(observation.stale_millis as f64))?;
        writeln!(out, "  arrivals    {} messages/s", rate(inputs.demand_per_second))?;
        match inputs.capacity_per_second {
            Some(capacity) => {
                writeln!(out, "  capacity    {} messages/s of one busy replica", rate(capacity))?;
            }
            None => writeln!(out, "  capacity    not known yet: no replica was busy for long enough")?,
        }
        writeln!(
            out,
            "  backlog     {} messages, {} of them in flight, the oldest {} old",
            observation.backlog(),
            observation.in_flight(),
            span(inputs.oldest_age_millis as f64)
        )?;
        writeln!(
            out,
            "  members     {} of {} replicas, {} start; {:.0} % busy",
            inputs.members,
            observation.replicas,
            inputs.starting,
            100.0 * inputs.busy_share
        )?;
        writeln!(
            out,
            "  times       a replica starts within {}, partitions rest for {} when they change hands{}",
            span(inputs.start_millis),
            span(inputs.pause_millis),
            if observation.rebalancing { ", and do now" } else { "" }
        )?;
        for number in &decision.stuck {
            let place = self.places.get(*number).map_or("?", String::as_str);
            writeln!(out, "  stuck       {place} makes no progress: left out")?;
        }
        Ok(())
    }

    fn formula(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, decision, .. } = self;
        let inputs = &decision.inputs;
        let recommended = decision.recommended;
        match (settings.delay, inputs.capacity_per_second) {
            _ if inputs.remaining_millis <= 0.0 && settings.delay.is_some() => Ok(()),
            (Some(target), Some(capacity)) => self.by_time(out, target, capacity),
            (Some(target), None) => {
                let quarter = span(target.millis as f64 / 4.0);
                writeln!(out, "\nFormula, until one replica's capacity is known")?;
                writeln!(
                    out,
                    "  replicas    as they are; twice as many once a message is {quarter} old (a quarter of the \
                     target) and all members are busy: {recommended}"
                )
            }
            (None, _) => {
                let each = settings.backlog_per_replica.unwrap_or(1);
                writeln!(out, "\nFormula, target {each} messages of backlog per replica")?;
                let need = inputs.need;
                writeln!(out, "  need        {:.0} / {each} = {need:.2} replicas", inputs.backlog)?;
                writeln!(out, "  replicas    the whole number above, within what is allowed: {recommended}")
            }
        }
    }

    fn by_time(&self, out: &mut fmt::Formatter<'_>, target: DelayTarget, capacity: f64) -> fmt::Result {
        let Self { observation, decision, .. } = self;
        let inputs = &decision.inputs;
        let DelayTarget { millis, utilization_percent } = target;
        let (millis, demand) = (millis as f64, inputs.demand_per_second);
        writeln!(out, "\nFormula, target {} at {utilization_percent} % busy", span(millis))?;
        writeln!(
            out,
            "  time left   max({} − {} old − {} start, half of the target, 5s) = {}",
            span(millis),
            span(inputs.oldest_age_millis as f64),
            span(inputs.start_millis),
            span(inputs.remaining_millis)
        )?;
        writeln!(
            out,
            "  ahead       {:.0} messages will wait once a replica that is created now works",
            inputs.backlog_ahead
        )?;
        let slack = 0.25 * millis / 1_000.0 * demand;
        writeln!(out, "  slack       a quarter of the target × {} = {slack:.0} may wait", rate(demand))?;
        writeln!(
            out,
            "  need        of each partition max(arrivals, arrivals + (ahead − slack) / time left) / capacity, in \
             all {:.2} replicas",
            inputs.need
        )?;
        let mean = demand / capacity * 100.0 / f64::from(utilization_percent);
        writeln!(
            out,
            "  on average  about {} / {} / {utilization_percent} % = {mean:.2} replicas",
            rate(demand),
            rate(capacity)
        )?;
        let fewest = match observation.source {
            Source::Queue => "the fewest that are enough for both",
            Source::Partitions => {
                "the fewest, under the group's assignment, whose busiest has no more than one replica's work"
            }
        };
        writeln!(
            out,
            "  replicas    {fewest}: {}, the busiest {:.0} % busy",
            decision.recommended,
            100.0 * inputs.busiest
        )?;
        if inputs.keep_most > 0 {
            writeln!(
                out,
                "  fewer       only below {}: the most that were needed lately",
                inputs.keep_most.max(decision.recommended)
            )?;
        }
        Ok(())
    }

    /// Those that need most.
    fn partitions(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { observation, decision, places, .. } = self;
        let need = |number: usize| decision.inputs.needs.get(number).copied().unwrap_or_default();
        let mut numbers: Vec<usize> = (0..observation.partitions.len()).collect();
        numbers.sort_by(|one, other| need(*other).total_cmp(&need(*one)));
        let (all, shown) = (numbers.len(), numbers.len().min(ROWS));
        writeln!(out, "\nPartitions, {shown} of {all}: those that need most")?;
        for number in numbers.into_iter().take(ROWS) {
            let partition = &observation.partitions[number];
            let owner = partition.owner.and_then(|owner| observation.members.get(owner));
            writeln!(
                out,
                "  {:<24} backlog {}, oldest {}, needs {:.2}, read by {}",
                places.get(number).map_or("?", String::as_str),
                partition.backlog,
                span(partition.oldest_age_millis as f64),
                need(number),
                owner.map_or("nobody", |owner| owner.name.as_str())
            )?;
        }
        Ok(())
    }

    /// Those that go first, and then those with most in flight.
    fn members(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { observation, decision, .. } = self;
        let goes = |name: &String| decision.draining.contains(name);
        let mut members: Vec<_> = observation.members.iter().collect();
        members.sort_by_key(|member| (!goes(&member.name), std::cmp::Reverse(member.in_flight)));
        if !members.is_empty() {
            writeln!(out, "\nMembers, {} of {}", members.len().min(ROWS), members.len())?;
        }
        for member in members.into_iter().take(ROWS) {
            writeln!(
                out,
                "  {:<24} {} in flight, {} settled{}",
                member.name,
                member.in_flight,
                member.settled,
                if goes(&member.name) { ", finishes and goes" } else { "" }
            )?;
        }
        Ok(())
    }
}

/// A time for people.
fn span(millis: f64) -> Duration {
    let millis = millis.max(0.0).round() as u64;
    // Beyond ten seconds nobody reads milliseconds.
    Duration::from_millis(if millis >= 10_000 { millis / 1_000 * 1_000 } else { millis })
}

fn rate(per_second: f64) -> String {
    if per_second < 10.0 { format!("{per_second:.2}") } else { format!("{per_second:.1}") }
}

#[cfg(test)]
mod tests {
    use pondage_autoscale::{MemberSeen, PartitionSeen, State, decide};

    use super::*;

    fn partition(backlog: u64, owner: Option<usize>) -> PartitionSeen {
        PartitionSeen { backlog, appended: 1_000, settled: 1_000 - backlog, oldest_age_millis: 2_000, owner }
    }

    fn member(name: &str, in_flight: u64) -> MemberSeen {
        MemberSeen { name: name.to_owned(), in_flight, settled: 500, ..MemberSeen::default() }
    }

    fn explained(spec: Spec, capacity: Option<f64>, observation: Observation) -> Explanation {
        let learned = Learned { capacity_per_second: capacity, ..Learned::default() };
        let settings = spec.clone().check().expect("sensible");
        let (decision, state) = decide(&settings, State::resume(learned), &observation);
        Explanation {
            namespace: "shop".to_owned(),
            group: "packers".to_owned(),
            mode: ActiveMode::Direct,
            settings: spec,
            learned: state.learned(),
            places: (0..observation.partitions.len()).map(|number| format!("orders/{number}")).collect(),
            verdict: decision.reason.to_string(),
            decision,
            observation,
        }
    }

    fn spec() -> Spec {
        let delay = Some(DelayTarget { millis: 30_000, utilization_percent: 80 });
        Spec { min_replicas: 1, max_replicas: 10, delay, drain_timeout_millis: 30_000, ..Spec::default() }
    }

    fn observation() -> Observation {
        Observation {
            now_millis: 100_000,
            source: Source::Partitions,
            partitions: vec![partition(40, Some(0)), partition(90, Some(1)), partition(0, None)],
            members: vec![member("worker-a", 3), member("worker-b", 7)],
            replicas: 2,
            ..Observation::default()
        }
    }

    #[test]
    fn people_read_the_verdict_its_inputs_and_how_it_came_about() {
        let text = explained(spec(), Some(20.0), observation()).to_string();
        for part in [
            "ConsumerGroup shop/packers, mode Direct",
            "Verdict  ",
            "2 now",
            "1 to 10 allowed",
            "20.0 messages/s of one busy replica",
            "130 messages, 10 of them in flight, the oldest 2s old",
            "Formula, target 30s at 80 % busy",
            "orders/1                 backlog 90, oldest 2s",
            "read by worker-b",
            "read by nobody",
            "worker-b                 7 in flight, 500 settled",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
        let at = |part: &str| text.find(part).expect("there");
        assert!(at("orders/1 ") < at("orders/0 "), "those that need most come first:\n{text}");
    }

    #[test]
    fn each_way_to_decide_tells_its_own_formula() {
        let unknowing = explained(spec(), None, observation()).to_string();
        assert!(unknowing.contains("until one replica's capacity is known"), "{unknowing}");
        let by_backlog = Spec { delay: None, backlog_per_replica: Some(50), ..spec() };
        let by_backlog = explained(by_backlog, Some(20.0), observation()).to_string();
        assert!(by_backlog.contains("130 / 50 = 2.60 replicas"), "{by_backlog}");
        let stale = Observation { stale_millis: 60_000, ..observation() };
        let stale = explained(spec(), Some(20.0), stale).to_string();
        assert!(stale.contains("Inputs, 1m old") && !stale.contains("Formula"), "{stale}");
    }

    #[test]
    fn programs_get_everything() {
        let value = serde_json::to_value(explained(spec(), Some(20.0), observation())).expect("JSON");
        assert_eq!(value["mode"], "Direct");
        assert_eq!(value["observation"]["partitions"][1]["backlog"], 90);
        assert_eq!(value["places"][1], "orders/1");
        assert_eq!(value["decision"]["inputs"]["capacityPerSecond"], 20.0);
        assert_eq!(value["settings"]["delay"]["millis"], 30_000);
        assert!(value["verdict"].as_str().is_some_and(|verdict| !verdict.is_empty()));
    }
}
