//! Effects and states as short lines.

use pondage_model::{Epoch, Member, Position, RawEntry};
use pondage_replication::{Assignment, Batch, Effect, Finding, Message, Now, Push, Replica, Status};

use crate::cluster::Host;

pub(crate) fn member(member: Member) -> String {
    format!("{}.{}", member.broker.0, member.incarnation.0)
}

pub(crate) fn members(all: &[Member]) -> String {
    all.iter().copied().map(member).collect::<Vec<_>>().join(",")
}

fn epochs(starts: &[(Epoch, Position)]) -> String {
    let each = starts.iter().map(|(epoch, start)| format!("{}@{}", epoch.0, start.0));
    each.collect::<Vec<_>>().join(",")
}

/// Runs of entries: epoch, then the places.
fn entries(all: &[RawEntry]) -> String {
    let mut runs: Vec<(Epoch, u64, u64)> = Vec::new();
    for entry in all {
        match runs.last_mut() {
            Some((epoch, _, end)) if *epoch == entry.epoch && *end == entry.position.0 => *end += 1,
            _ => runs.push((entry.epoch, entry.position.0, entry.position.0 + 1)),
        }
    }
    let each = runs.iter().map(|(epoch, from, to)| format!("{}:{from}..{to}", epoch.0));
    each.collect::<Vec<_>>().join(" ")
}

pub(crate) fn message(message: &Message) -> String {
    match message {
        Message::Hello { epoch, attempt } => format!("hello epoch={} attempt={attempt}", epoch.0),
        Message::Where { epoch, attempt, last, durable } => {
            format!("where epoch={} attempt={attempt} last={} durable={}", epoch.0, last.0, durable.0)
        }
        Message::Align { epoch, attempt, last, of, end } => {
            format!("align epoch={} attempt={attempt} last={} of={} end={}", epoch.0, last.0, of.0, end.0)
        }
        Message::Push(push) => self::push(push),
        Message::Ack { epoch, attempt, durable, end, round, missing } => format!(
            "ack epoch={}{} durable={} end={} round={round}{}",
            epoch.0,
            if *attempt == 1 { String::new() } else { format!(" attempt={attempt}") },
            durable.0,
            end.0,
            if *missing { " missing" } else { "" }
        ),
        Message::Stale { epoch } => format!("stale epoch={}", epoch.0),
        Message::Behind { epoch, high_watermark } => {
            format!("behind epoch={} committed={}", epoch.0, high_watermark.0)
        }
        Message::Leaving { epoch } => format!("leaving epoch={}", epoch.0),
    }
}

fn push(push: &Push) -> String {
    let mut out = format!(
        "push epoch={} {}..{} before={} [{}]",
        push.epoch.0,
        push.from.0,
        push.to.0,
        push.before.0,
        entries(&push.entries)
    );
    if !push.epochs.is_empty() {
        out += &format!(" epochs={}", epochs(&push.epochs));
    }
    out + &format!(" committed={} round={}", push.high_watermark.0, push.round)
}

pub(crate) fn effect(effect: &Effect) -> String {
    match effect {
        Effect::Write(Batch { entries: all, epochs: starts }) if starts.is_empty() => {
            format!("write [{}]", entries(all))
        }
        Effect::Write(batch) => {
            format!("write [{}] epochs={}", entries(&batch.entries), epochs(&batch.epochs))
        }
        Effect::Truncate(to) => format!("truncate to {}", to.0),
        Effect::Cut(to) => format!("cut at {}", to.0),
        Effect::Persist(epoch) => format!("persist epoch {}", epoch.0),
        Effect::Send { to, message } => format!("-> {}: {}", to.0, self::message(message)),
        Effect::Read { to, from, .. } => format!("read from {} for {}", from.0, to.0),
        Effect::RequestIsr(request) => {
            format!("request isr={} at version {}", members(&request.isr), request.version)
        }
        Effect::HandOver { to, version, .. } => format!("hand over to {} at version {version}", to.0),
        Effect::Committed(position) => format!("committed {}", position.0),
        Effect::Serving(epoch) => format!("serving epoch {}", epoch.0),
        Effect::Following(epoch) => format!("following epoch {}", epoch.0),
        Effect::Report(finding) => match finding {
            Finding::MemberBehind { member: who, durable, high_watermark } => {
                let who = member(*who);
                format!("report: {who} came back with {} of {}", durable.0, high_watermark.0)
            }
            Finding::LeaderBehind { end, high_watermark } => {
                format!("report: to lead with {} of {}", end.0, high_watermark.0)
            }
            Finding::Mismatch { from, at, what } => {
                format!("report: push of {} at {} does not fit: {what}", member(*from), at.0)
            }
        },
    }
}

pub(crate) fn row(row: &Assignment) -> String {
    let leader = row.leader.map_or_else(|| "none".to_owned(), |leader| leader.0.to_string());
    format!("row: epoch={} version={} leader={leader} isr={}", row.epoch.0, row.version, members(&row.isr))
}

pub(crate) fn status(status: &Status) -> String {
    format!(
        "epoch={} last={} durable={} committed={} leading={:?}",
        status.epoch.0, status.last_epoch.0, status.durable.0, status.high_watermark.0, status.leading
    )
}

/// One line: role, log, promise, disk, patience.
pub(crate) fn state(host: &Host, now: Now) -> String {
    let Some(replica) = &host.replica else { return format!("{} down", host.broker.0) };
    let role = match (replica.is_serving(), replica.is_leader(), replica.leader()) {
        (true, ..) => "serves".to_owned(),
        (_, true, _) => "leads".to_owned(),
        (_, _, Some(leader)) => format!("follows {}", leader.0),
        _ => "follows nobody".to_owned(),
    };
    let mut out = format!(
        "{} {role} epoch={} durable={} end={} committed={} epochs={}",
        member(replica.member()),
        replica.epoch().0,
        replica.durable().0,
        replica.end().0,
        replica.high_watermark().0,
        epochs(replica.epochs().starts()),
    );
    if replica.is_leader() {
        out += &refusal(replica);
        if let Some(at) = replica.next_tick(now) {
            out += &format!(" tick=+{}", at - now.monotonic_millis);
        }
    }
    if host.operation.is_some() {
        out += " disk-busy";
    }
    if host.promise.is_some() {
        out += " promising";
    }
    out
}

fn refusal(replica: &Replica) -> String {
    replica.check_leader().err().map_or_else(String::new, |refusal| format!(" refuses={refusal:?}"))
}
