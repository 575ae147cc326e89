//! Fewer replicas: when, and who goes.

use crate::observation::{MemberSeen, Observation, PodSeen};
use crate::state::{Drain, Memory};

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Draining {
    /// Nobody drains.
    Nobody,
    /// Messages that are still in the hands of those that drain.
    InFlight(u64),
    /// They are done, or out of time.
    Done,
}

/// Picks who goes so that `replicas` are left: those with least in flight, and among them the youngest; of a StatefulSet
/// those that it takes. Pods that are no members yet go by themselves before all others, without a drain.
pub(super) fn begin(memory: &mut Memory, seen: &Observation, replicas: u32) {
    if let Some(names) = last_ones(seen, replicas) {
        memory.drain = Some(Drain { since_millis: seen.now_millis, replicas, names });
        return;
    }
    let members = seen.members.len();
    let starting = (seen.replicas as usize).saturating_sub(members);
    let leave = (seen.replicas.saturating_sub(replicas) as usize).saturating_sub(starting).min(members);
    let mut by_burden: Vec<&MemberSeen> = seen.members.iter().collect();
    by_burden.sort_by(|one, other| {
        (one.in_flight, std::cmp::Reverse(one.joined_millis), &one.name).cmp(&(
            other.in_flight,
            std::cmp::Reverse(other.joined_millis),
            &other.name,
        ))
    });
    let names = by_burden.into_iter().take(leave).map(|member| member.name.clone()).collect();
    memory.drain = Some(Drain { since_millis: seen.now_millis, replicas, names });
}

/// The members that a StatefulSet ends so that `replicas` are left: its numbers may begin anywhere. `None` if it is none.
fn last_ones(seen: &Observation, replicas: u32) -> Option<Vec<String>> {
    let first = seen.pods.iter().filter_map(|pod| pod.ordinal).min()?;
    let goes = |pod: &&PodSeen| pod.ordinal.is_some_and(|ordinal| ordinal - first >= replicas);
    let is_member = |name: &String| seen.members.iter().any(|member| member.name == *name);
    Some(seen.pods.iter().filter(goes).map(|pod| pod.name.clone()).filter(is_member).collect())
}

/// Keeps only as many of those who drain as go if `replicas` are needed; nobody if that isn't less than there are.
pub(super) fn spare(memory: &mut Memory, seen: &Observation, replicas: u32) {
    let Some(drain) = &mut memory.drain else { return };
    let alive = |name: &String| seen.members.iter().any(|member| member.name == *name);
    if drain.replicas >= replicas && drain.replicas < seen.replicas {
        return;
    }
    drain.replicas = drain.replicas.max(replicas);
    if drain.replicas >= seen.replicas {
        memory.drain = None;
        return;
    }
    if let Some(names) = last_ones(seen, drain.replicas) {
        drain.names = names;
        return;
    }
    drain.names.retain(alive);
    drain.names.truncate((seen.replicas - drain.replicas) as usize);
}

/// How far those who drain are.
pub(super) fn progress(memory: &Memory, seen: &Observation, timeout_millis: u64) -> Draining {
    let Some(drain) = &memory.drain else { return Draining::Nobody };
    let in_flight = seen
        .members
        .iter()
        .filter(|member| drain.names.contains(&member.name))
        .fold(0, |sum: u64, member| sum.saturating_add(member.in_flight));
    let over = seen.now_millis.saturating_sub(drain.since_millis) >= timeout_millis;
    // What a member is given between the look and the word that it drains is in its hands at the next look only.
    let told = seen.now_millis > drain.since_millis;
    if (in_flight == 0 && told) || over || drain.names.is_empty() {
        Draining::Done
    } else {
        Draining::InFlight(in_flight)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members 3 to 7, of which each has the less in its hands the lower its number is; the last one is none yet.
    fn seen(is_numbered: bool) -> Observation {
        let name = |number: u32| format!("worker-{number}");
        let pod = |number: u32| PodSeen {
            name: name(number),
            ordinal: is_numbered.then_some(number),
            ..PodSeen::default()
        };
        let member = |number: u32| MemberSeen {
            name: name(number),
            in_flight: number.into(),
            ..MemberSeen::default()
        };
        Observation {
            replicas: 5,
            pods: (3..8).map(pod).collect(),
            members: (3..7).map(member).collect(),
            ..Observation::default()
        }
    }

    fn drained(is_numbered: bool, replicas: u32, spared_to: Option<u32>) -> Vec<String> {
        let (mut memory, seen) = (Memory::default(), seen(is_numbered));
        begin(&mut memory, &seen, replicas);
        if let Some(replicas) = spared_to {
            spare(&mut memory, &seen, replicas);
        }
        memory.drain.map(|drain| drain.names).unwrap_or_default()
    }

    #[test]
    fn a_stateful_set_loses_its_last_pods_and_others_those_with_least_to_do() {
        assert_eq!(drained(false, 2, None), ["worker-3", "worker-4"]);
        assert_eq!(drained(true, 2, None), ["worker-5", "worker-6"]);
        assert_eq!(drained(true, 4, None), Vec::<String>::new(), "who is no member has nothing to finish");
    }

    #[test]
    fn who_is_spared_is_the_one_that_would_stay() {
        assert_eq!(drained(false, 2, Some(3)), ["worker-3", "worker-4"]);
        assert_eq!(drained(true, 2, Some(3)), ["worker-6"]);
        assert_eq!(drained(true, 2, Some(5)), Vec::<String>::new());
    }
}
