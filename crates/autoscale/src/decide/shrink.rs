//! Fewer replicas: when, and who goes.

use crate::observation::{MemberSeen, Observation};
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

/// Picks who goes so that `replicas` are left: those with least in flight, and among them the youngest. Pods that are no
/// members yet go by themselves before all others, without a drain.
pub(super) fn begin(memory: &mut Memory, seen: &Observation, replicas: u32) {
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
