//! A group's home under its leader: members that come, go and are lost, and partitions that pass from one to another.
//!
//! What is decided is logged (`fold::home`). What is not: which connection speaks for which member, what each was told
//! and said of itself, who is drained, and since when something is waited for. A new leader knows none of that, gives everybody
//! the whole time anew, and drains whom it is told to.

use std::collections::{BTreeMap, BTreeSet};

use pondage_model::{
    AssignmentEpoch, Body, LogTime, MemberId, Refusal, StreamId,
    limits::{
        DRAIN_MILLIS, INSTANCE_BYTES_MAX, MEMBERS_PER_GROUP_MAX, MEMBERSHIP_CHANGES_MAX, REBALANCE_MILLIS_MAX,
    },
    membership::{
        GroupMember, HandOverCause, LeaveCause, MemberProgress, Membership, MembershipChange, StreamRun,
    },
    settings::{HomeSettings, StreamSettings},
    wire_struct,
};

use super::{ConsumerId, Decision, Draft, Leading, Reply, assign::assign, work::Work};
use crate::fold::{Home, Ownership, ShardState, Stream};

/// What a member has of its group, as its connection is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// The member's connection.
    pub consumer: ConsumerId,
    /// The home.
    pub stream: StreamId,
    /// The version of the assignment that this is of.
    pub epoch: AssignmentEpoch,
    /// All partitions that it owns, ascending.
    pub held: Vec<Held>,
    /// It gets nothing more to do, and is to finish what it has.
    pub is_draining: bool,
    /// Nothing follows: the group was deleted, or another connection speaks for the member now.
    pub done: bool,
}

/// A partition that a member owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The partition.
    pub partition: StreamId,
    /// The assignment by which it was given: what it is claimed under.
    pub since: AssignmentEpoch,
    /// Whether it is to stop reading and say when it is done with what it has.
    pub is_to_pass_on: bool,
}

/// The members of a group, for people who ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MembershipReport {
    /// The version of the assignment.
    pub epoch: AssignmentEpoch,
    /// The members, by id.
    pub members: Vec<MemberReport>,
    /// The partitions that somebody owns or is to own, ascending.
    pub partitions: Vec<(StreamId, Ownership)>,
}
wire_struct!(MembershipReport { epoch, members, partitions });

/// One member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberReport {
    /// Its id.
    pub id: MemberId,
    /// What people know it by.
    pub instance: String,
    /// Since when its connection stands; else it is given up unless it comes back.
    pub connected_since: Option<LogTime>,
    /// What it said of itself last.
    pub progress: Option<MemberProgress>,
    /// Whether it gets nothing more to do.
    pub is_draining: bool,
}
wire_struct!(MemberReport { id, instance, connected_since, progress, is_draining });

/// What a leader knows of a group beside the fold.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Attendance {
    connections: BTreeMap<MemberId, Connection>,
    /// Members without a connection: since when, and why they are given up in the end.
    away: BTreeMap<MemberId, (LogTime, LeaveCause)>,
    /// How long those that were lost have, as the group said last.
    session_timeout_millis: u64,
    /// Until when an owner may keep a partition that is to pass on.
    overdue: BTreeMap<StreamId, LogTime>,
    /// Who gets nothing more to do, and until when that holds.
    draining: BTreeMap<MemberId, LogTime>,
    /// The membership or the settings changed since it was looked at last.
    pub(super) is_changed: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Connection {
    consumer: ConsumerId,
    since: LogTime,
    progress: Option<MemberProgress>,
    /// What it owns, and whether it is drained.
    told: Option<(Vec<Held>, bool)>,
}

impl Attendance {
    /// When there is something to do.
    pub(super) fn next_wake(&self) -> Option<LogTime> {
        if self.is_changed {
            return Some(LogTime(i64::MIN));
        }
        let given_up = self.away.values().map(|away| self.given_up_at(*away));
        given_up.chain(self.overdue.values().copied()).chain(self.draining.values().copied()).min()
    }

    fn given_up_at(&self, (since, cause): (LogTime, LeaveCause)) -> LogTime {
        match cause {
            LeaveCause::Left => since,
            LeaveCause::Lost => since.plus_millis(self.session_timeout_millis),
        }
    }

    /// Whose connection it is.
    fn member(&self, consumer: ConsumerId) -> Option<MemberId> {
        self.connections.iter().find(|(_, known)| known.consumer == consumer).map(|(member, _)| *member)
    }

    pub(super) fn consumers(&self) -> impl Iterator<Item = ConsumerId> {
        self.connections.values().map(|connection| connection.consumer)
    }
}

impl Leading {
    /// A connection speaks for a member from now on, who joins if it is none yet.
    pub(super) fn join(
        &mut self,
        id: StreamId,
        now: LogTime,
        consumer: ConsumerId,
        member: GroupMember,
    ) -> Decision {
        let home = match self.home(id) {
            Ok(home) => home,
            Err(refusal) => return refusal.into(),
        };
        if member.instance.len() > INSTANCE_BYTES_MAX {
            let (bytes, limit) = (member.instance.len() as u64, INSTANCE_BYTES_MAX as u64);
            return Refusal::TooLarge { what: "the member's name", bytes, limit }.into();
        }
        let is_new = !home.has_member(member.id);
        if is_new && home.members().len() >= MEMBERS_PER_GROUP_MAX {
            return Refusal::Busy { what: "members of this group" }.into();
        }
        let who = member.id;
        let draft = is_new.then(|| change(id, home, vec![MembershipChange::Joined(member)]));
        let Some(stream) = self.state.stream(id) else { return Decision::reply(Reply::Done) };
        let attendance = &mut self.work.entry(id).or_insert_with(|| Work::new(stream)).attendance;
        attendance.away.remove(&who);
        let connection = Connection { consumer, since: now, progress: None, told: None };
        if let Some(displaced) = attendance.connections.insert(who, connection) {
            self.dismissed.push((id, displaced.consumer));
        }
        self.untold.insert(id);
        self.refresh(id);
        Decision { drafts: draft.into_iter().collect(), reply: Reply::Done }
    }

    /// A member is done with partitions. What it does not own, or not since then, passed on already.
    pub(super) fn release(
        &mut self,
        id: StreamId,
        consumer: ConsumerId,
        partitions: &[(StreamId, AssignmentEpoch)],
    ) -> Decision {
        let home = match self.home(id) {
            Ok(home) => home,
            Err(refusal) => return refusal.into(),
        };
        let Some(member) = self.work.get(&id).and_then(|work| work.attendance.member(consumer)) else {
            return Refusal::NotFound { kind: "member", name: consumer.0.to_string() }.into();
        };
        let is_its = |(partition, since): &(StreamId, AssignmentEpoch)| {
            let owner = home.ownership(*partition).owner;
            owner.is_some_and(|owner| owner.member == member && owner.since == *since)
        };
        // Each once, however often it is named.
        let released: BTreeSet<_> =
            partitions.iter().filter(|held| is_its(held)).map(|(partition, _)| *partition).collect();
        if released.is_empty() {
            return Decision::reply(Reply::Done);
        }
        let released = released
            .into_iter()
            .map(|partition| MembershipChange::Released { partition, cause: HandOverCause::Released });
        Decision { drafts: vec![change(id, home, released.collect())], reply: Reply::Done }
    }

    /// A member tells what it has done.
    pub(super) fn progress(&mut self, id: StreamId, consumer: ConsumerId, said: MemberProgress) -> Decision {
        if let Some(work) = self.work.get_mut(&id) {
            let attendance = &mut work.attendance;
            let connections = &mut attendance.connections;
            if let Some(connection) = connections.values_mut().find(|known| known.consumer == consumer) {
                connection.progress = Some(said);
            }
        }
        Decision::reply(Reply::Done)
    }

    /// These members get nothing more to do, and all others may.
    pub(super) fn drain(&mut self, id: StreamId, now: LogTime, members: Vec<MemberId>) -> Decision {
        let home = match self.home(id) {
            Ok(home) => home,
            Err(refusal) => return refusal.into(),
        };
        let until = now.plus_millis(DRAIN_MILLIS);
        let known = members.into_iter().filter(|member| home.has_member(*member));
        let draining: BTreeMap<_, _> = known.map(|member| (member, until)).collect();
        let Some(stream) = self.state.stream(id) else { return Decision::reply(Reply::Done) };
        let attendance = &mut self.work.entry(id).or_insert_with(|| Work::new(stream)).attendance;
        let is_new = !draining.keys().eq(attendance.draining.keys());
        attendance.draining = draining;
        if is_new {
            attendance.is_changed = true;
            self.untold.insert(id);
        }
        self.refresh(id);
        Decision::reply(Reply::Done)
    }

    /// A connection of a member is gone. One that left is a member no more; one that was lost may come back.
    pub(super) fn leave(&mut self, id: StreamId, now: LogTime, consumer: ConsumerId, lost: bool) -> Decision {
        let (Some((home, settings)), Some(work)) = (home_of(&self.state, id), self.work.get_mut(&id)) else {
            return Decision::reply(Reply::Done);
        };
        let attendance = &mut work.attendance;
        let Some(member) = attendance.member(consumer) else { return Decision::reply(Reply::Done) };
        attendance.connections.remove(&member);
        // Also for one that left: should nothing be appended now, it is later.
        attendance.session_timeout_millis = settings.session_timeout_millis;
        let away = (now, if lost { LeaveCause::Lost } else { LeaveCause::Left });
        let is_member = home.has_member(member);
        let left = (is_member && !lost)
            .then(|| change(id, home, vec![MembershipChange::Left { member, cause: LeaveCause::Left }]));
        if is_member {
            attendance.away.insert(member, away);
        }
        self.refresh(id);
        Decision { drafts: left.into_iter().collect(), reply: Reply::Done }
    }

    /// What to log because somebody did not come back or is not done in time, or because members or partitions came
    /// or went.
    pub(super) fn rebalance(&mut self, id: StreamId, now: LogTime) -> Option<Draft> {
        let (home, settings) = home_of(&self.state, id)?;
        let attendance = &mut self.work.get_mut(&id)?.attendance;
        if attendance.end_drains(now) {
            self.untold.insert(id);
        }
        let changes = attendance.look(home, settings, now);
        (!changes.is_empty()).then(|| change(id, home, changes))
    }

    /// Members came or went, or the leader is new to the group.
    pub(super) fn membership_changed(&mut self, id: StreamId) {
        let Some(stream) = self.state.stream(id) else { return };
        self.work.entry(id).or_insert_with(|| Work::new(stream)).attendance.is_changed = true;
        self.untold.insert(id);
    }

    /// What members have now, for those that were told something else last. To be sent once all that is appended is
    /// committed: a member that reads what is not its own yet would be fenced, or would fence its rightful owner.
    pub fn notices(&mut self) -> Vec<Notice> {
        let dismissed = std::mem::take(&mut self.dismissed).into_iter().map(|(stream, consumer)| Notice {
            consumer,
            stream,
            epoch: AssignmentEpoch::ZERO,
            held: Vec::new(),
            is_draining: false,
            done: true,
        });
        let mut notices: Vec<_> = dismissed.collect();
        for stream in std::mem::take(&mut self.untold) {
            let (Some((home, _)), Some(work)) = (home_of(&self.state, stream), self.work.get_mut(&stream))
            else {
                continue;
            };
            work.attendance.tell(stream, home, &mut notices);
        }
        notices
    }

    /// Who the members of a group are and what they own, as far as it is decided; none if the stream is no home.
    #[must_use]
    pub fn membership(&self, id: StreamId) -> Option<MembershipReport> {
        let (home, _) = home_of(&self.state, id)?;
        let attendance = self.work.get(&id).map(|work| &work.attendance);
        let members = home.members().map(|(id, instance)| {
            let connection = attendance.and_then(|known| known.connections.get(&id));
            MemberReport {
                id,
                instance: instance.to_owned(),
                connected_since: connection.map(|connection| connection.since),
                progress: connection.and_then(|connection| connection.progress),
                is_draining: attendance.is_some_and(|known| known.draining.contains_key(&id)),
            }
        });
        Some(MembershipReport {
            epoch: home.epoch(),
            members: members.collect(),
            partitions: home.partitions().collect(),
        })
    }

    fn home(&self, id: StreamId) -> Result<&Home, Refusal> {
        let no_home = || Refusal::InvalidArgument { what: "only consumer groups have members".to_owned() };
        home_of(&self.state, id).map(|(home, _)| home).ok_or_else(no_home)
    }
}

impl Attendance {
    /// What is to change by now, and until when the rest waits.
    fn look(&mut self, home: &Home, settings: &HomeSettings, now: LogTime) -> Vec<MembershipChange> {
        let was_changed = std::mem::take(&mut self.is_changed);
        self.session_timeout_millis = settings.session_timeout_millis;
        let mut changes = Vec::new();
        let mut after = home.clone();
        self.give_up(&after, now, &mut changes);
        if was_changed || !changes.is_empty() {
            foresee(&mut after, &changes, settings, now);
            let targets = targets(&after, settings, &self.draining);
            foresee(&mut after, &targets, settings, now);
            changes.extend(targets);
        }
        let timed_out = self.time_out(&after, now);
        changes.extend(timed_out);
        if changes.len() > MEMBERSHIP_CHANGES_MAX {
            changes.truncate(MEMBERSHIP_CHANGES_MAX);
            self.is_changed = true;
        }
        changes
    }

    /// Forgets drains that nobody repeated; whether there were any.
    fn end_drains(&mut self, now: LogTime) -> bool {
        let before = self.draining.len();
        self.draining.retain(|_, until| *until > now);
        let ended = self.draining.len() < before;
        self.is_changed |= ended;
        ended
    }

    /// Members that did not come back in time.
    fn give_up(&mut self, home: &Home, now: LogTime, changes: &mut Vec<MembershipChange>) {
        self.away.retain(|member, _| home.has_member(*member));
        for (member, _) in home.members() {
            if !self.connections.contains_key(&member) {
                self.away.entry(member).or_insert((now, LeaveCause::Lost));
            }
        }
        let given_up = self.away.iter().filter(|(_, away)| self.given_up_at(**away) <= now);
        changes.extend(
            given_up.map(|(member, (_, cause))| MembershipChange::Left { member: *member, cause: *cause }),
        );
    }

    /// Partitions whose owners had their time to let go of them.
    fn time_out(&mut self, home: &Home, now: LogTime) -> Vec<MembershipChange> {
        let waits: BTreeSet<_> = home
            .partitions()
            .filter(|(_, ownership)| ownership.is_to_pass_on())
            .map(|(partition, _)| partition)
            .collect();
        self.overdue.retain(|partition, _| waits.contains(partition));
        for partition in waits {
            self.overdue.entry(partition).or_insert(now.plus_millis(REBALANCE_MILLIS_MAX));
        }
        let timed_out = self.overdue.iter().filter(|(_, until)| **until <= now);
        let released = |partition| MembershipChange::Released { partition, cause: HandOverCause::TimedOut };
        timed_out.map(|(partition, _)| released(*partition)).collect()
    }

    /// What each connection has to be told.
    fn tell(&mut self, stream: StreamId, home: &Home, notices: &mut Vec<Notice>) {
        let mut held: BTreeMap<MemberId, Vec<Held>> = BTreeMap::new();
        for (partition, ownership) in home.partitions() {
            let Some(owner) = ownership.owner else { continue };
            let is_to_pass_on = ownership.is_to_pass_on();
            held.entry(owner.member).or_default().push(Held { partition, since: owner.since, is_to_pass_on });
        }
        for (member, connection) in &mut self.connections {
            let now = (held.remove(member).unwrap_or_default(), self.draining.contains_key(member));
            if connection.told.as_ref() != Some(&now) {
                connection.told = Some(now.clone());
                let (consumer, (held, is_draining)) = (connection.consumer, now);
                notices.push(Notice {
                    consumer,
                    stream,
                    epoch: home.epoch(),
                    held,
                    is_draining,
                    done: false,
                });
            }
        }
    }
}

/// Who is to read what, where that differs from what is; and what the group reads no more. Who is drained is to read nothing.
fn targets(
    home: &Home,
    settings: &HomeSettings,
    draining: &BTreeMap<MemberId, LogTime>,
) -> Vec<MembershipChange> {
    let topics: Vec<Vec<StreamId>> =
        settings.topics.iter().map(|runs| StreamRun::streams(runs).collect()).collect();
    let wanted: BTreeSet<StreamId> = topics.iter().flatten().copied().collect();
    let removed = home.partitions().map(|(partition, _)| partition).filter(|id| !wanted.contains(id));
    let mut changes: Vec<_> = removed.map(MembershipChange::Removed).collect();
    let members = home.members().map(|(member, _)| member).filter(|member| !draining.contains_key(member));
    let members = members.collect();
    let mut assigned = assign(&topics, &members, |partition| home.ownership(partition).target);
    for partition in wanted {
        let target = home.ownership(partition).target;
        let next = assigned.remove(&partition);
        if next != target {
            changes.push(MembershipChange::Target { partition, member: next });
        }
    }
    changes
}

/// Applies what is decided and not yet logged.
fn foresee(home: &mut Home, changes: &[MembershipChange], settings: &HomeSettings, now: LogTime) {
    let foreseen = Membership { epoch: home.epoch().next(), changes: changes.to_vec() };
    home.apply(&foreseen, now, settings.session_timeout_millis)
        .expect("what is decided follows from what is");
}

fn change(id: StreamId, home: &Home, changes: Vec<MembershipChange>) -> Draft {
    Draft { stream: id, body: Body::Membership(Membership { epoch: home.epoch().next(), changes }) }
}

fn home_of(state: &ShardState, id: StreamId) -> Option<(&Home, &HomeSettings)> {
    let stream = state.stream(id)?;
    match &stream.open.settings {
        StreamSettings::Home(settings) => Some((stream.home()?, settings)),
        _ => None,
    }
}

/// Whether a new leader has somebody to wait for.
pub(super) fn has_members(stream: &Stream) -> bool {
    stream.home().is_some_and(|home| home.members().len() > 0)
}
