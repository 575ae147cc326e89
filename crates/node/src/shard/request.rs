//! Requests, and the forwarding of dead letters.

use std::collections::BTreeSet;

use pondage_delivery::{Changed, Draft, Kind, Mark, Request, ShardState, Stream};
use pondage_model::{
    Body, LogTime, Name, Offset, Refusal, StreamId,
    planted::{self, Fault},
    settings::{StartPosition, StreamSettings},
};

use super::{
    Ensure, RequestId, ShardEffect, ShardReply, ShardRequest, StatsSince, StreamKind, StreamReport,
    machine::{Broken, Shard, State},
};
use crate::Now;

impl Shard {
    pub(super) fn request(
        &mut self,
        now: Now,
        log_time: LogTime,
        id: RequestId,
        request: ShardRequest,
        effects: &mut Vec<ShardEffect>,
    ) -> Result<(), Broken> {
        let refusal = match self.state {
            State::Leading(_) if may_append(&request) => self.replica.check_leader().err(),
            State::Leading(_) => None,
            State::Replaying(_) => Some(Refusal::NotLeader { epoch: self.replica.epoch() }),
            State::Fenced(since) => Some(Refusal::VolumeFenced { since }),
        };
        if let Some(refusal) = refusal {
            effects.push(ShardEffect::Reply { id, reply: ShardReply::Refused(refusal) });
            return Ok(());
        }
        let early = speaks_early(&request);
        let end = self.replica.end();
        let reply = match request {
            ShardRequest::Delivery(request) => self.decide(now, log_time, request)?,
            ShardRequest::Ensure { streams, complete } => {
                self.ensure(now, log_time, streams, complete.as_deref())?
            }
            ShardRequest::Stats(streams) => self.stats(log_time, streams.as_deref()),
            ShardRequest::StatsSince(known) => self.stats_since(log_time, known),
            ShardRequest::Membership(stream) => {
                let State::Leading(led) = &self.state else { unreachable!("checked above") };
                match led.leading.membership(stream) {
                    Some(report) => ShardReply::Membership(report),
                    None => ShardReply::Refused(no_stream(stream)),
                }
            }
            ShardRequest::Survey { stream, from, count } => {
                let State::Leading(led) = &self.state else { unreachable!("checked above") };
                match led.leading.state().stream(stream) {
                    Some(found) => ShardReply::Survey(found.survey(log_time, from, count)),
                    None => ShardReply::Refused(no_stream(stream)),
                }
            }
            ShardRequest::Flush => {
                self.log_leases(log_time)?;
                self.leaving = true;
                ShardReply::Done
            }
            ShardRequest::Follow { stream, reader } => self.follow(stream, reader),
            ShardRequest::Unfollow { stream, reader } => {
                if let Some(readers) = self.readers.get_mut(&stream) {
                    readers.remove(&reader);
                    if readers.is_empty() {
                        self.readers.remove(&stream);
                    }
                }
                ShardReply::Done
            }
        };
        let repeat =
            matches!(reply, ShardReply::Delivery(pondage_delivery::Reply::Published { repeat: true, .. }));
        if early || (repeat && planted::is(Fault::AnswerRepeatBeforeCommit)) {
            self.tell(ShardEffect::Reply { id, reply });
        } else {
            self.speak(self.replica.end() > end, ShardEffect::Reply { id, reply });
        }
        Ok(())
    }

    fn decide(&mut self, now: Now, log_time: LogTime, request: Request) -> Result<ShardReply, Broken> {
        let moved = if let Request::Moved { stream, seq } = &request { Some((*stream, *seq)) } else { None };
        let lazy =
            matches!(&request, Request::Settle { verdict: pondage_delivery::Verdict::Renew { .. }, .. });
        let ends_session = matches!(&request, Request::Detach { .. } | Request::Leave { .. });
        let State::Leading(led) = &mut self.state else { unreachable!("the caller checked") };
        let mut decision = led.leading.decide(&led.committed, log_time, request);
        if ends_session && self.replica.check_leader().is_err() {
            // What the consumer held can't be given back now: those leases end by their deadlines.
            decision.drafts.clear();
        }
        for draft in decision.drafts {
            self.append(log_time, draft)?;
        }
        if lazy {
            self.lazy_since.get_or_insert(now.monotonic_millis);
        }
        if let Some((stream, seq)) = moved {
            self.forwarding.arrived(stream, seq);
        }
        Ok(ShardReply::Delivery(decision.reply))
    }

    /// Level-triggered: compares what is with what should be and appends the difference.
    fn ensure(
        &mut self,
        now: Now,
        log_time: LogTime,
        streams: Vec<Ensure>,
        complete: Option<&BTreeSet<Name>>,
    ) -> Result<ShardReply, Broken> {
        if let Some(groups) = complete {
            for draft in self.surplus(&streams, groups) {
                self.append(log_time, draft)?;
            }
        }
        for Ensure { stream, open, begin, dead_letter, dropped_groups } in streams {
            let State::Leading(led) = &mut self.state else { unreachable!("the caller checked") };
            let current = led.leading.state().stream(stream).map(|found| &found.open.settings);
            let partition = open.as_ref().and_then(|open| open.settings.reads());
            let topic = |partition| led.leading.state().stream(partition).and_then(Stream::topic);
            if partition.is_some_and(|partition| topic(partition).is_none()) {
                // It is asked for again, with its partition.
                return Ok(ShardReply::Refused(Refusal::Busy { what: "partitions that are not open yet" }));
            }
            let body = match (current, open) {
                (None, Some(open)) => Some(Body::Open(open)),
                (Some(_), None) => Some(Body::Close),
                (Some(is), Some(should)) if *is != should.settings => Some(Body::Settings(should.settings)),
                _ => None,
            };
            let changed = matches!(body, Some(Body::Settings(_)));
            if let Some(body) = body {
                self.append(log_time, Draft { stream, body })?;
            }
            if let Some(start) = self.share_start(stream, begin) {
                drop(self.decide(now, log_time, Request::Restart { stream, start })?);
            }
            // Known to be none: nothing to say, and nothing to remember for each of thousands of idle queues.
            if dead_letter.is_some() || changed {
                let State::Leading(led) = &mut self.state else { unreachable!("the caller checked") };
                led.leading.set_dead_letter(stream, dead_letter);
            }
            for group in dropped_groups {
                // An unknown one is forgotten already.
                drop(self.decide(now, log_time, Request::DropGroup { stream, group })?);
            }
        }
        Ok(ShardReply::Ensured)
    }

    /// Where a shared group has to begin that has not.
    fn share_start(&self, stream: StreamId, found: Option<Offset>) -> Option<Offset> {
        let State::Leading(led) = &self.state else { return None };
        let share = led.leading.state().stream(stream).filter(|share| share.is_to_begin())?;
        let StreamSettings::Share(settings) = &share.open.settings else { return None };
        let partition = led.leading.state().stream(settings.partition)?;
        let (start, end) = (partition.start(), partition.end());
        Some(match settings.start_position {
            StartPosition::Earliest => start,
            StartPosition::Latest => end,
            // Whoever asks looked before: too early delivers more than was asked for, too late would lose it.
            StartPosition::Time(_) => found.unwrap_or(start).clamp(start, end),
        })
    }

    /// What ends the streams and cursors that should not be there.
    fn surplus(&self, streams: &[Ensure], groups: &BTreeSet<Name>) -> Vec<Draft> {
        let State::Leading(led) = &self.state else { unreachable!("the caller checked") };
        let wanted: BTreeSet<_> = streams.iter().map(|ensure| ensure.stream).collect();
        let mut drafts = Vec::new();
        for (stream, found) in led.leading.state().streams() {
            if !wanted.contains(&stream) {
                drafts.push(Draft { stream, body: Body::Close });
                continue;
            }
            let cursors = found.topic().into_iter().flat_map(pondage_delivery::Topic::groups);
            let unknown = cursors.filter(|(group, _)| !groups.contains(*group));
            drafts.extend(unknown.map(|(group, _)| Draft { stream, body: Body::DropGroup(group.clone()) }));
        }
        drafts
    }

    fn stats(&self, log_time: LogTime, streams: Option<&[StreamId]>) -> ShardReply {
        let State::Leading(led) = &self.state else { unreachable!("checked above") };
        let state = led.leading.state();
        ShardReply::Stats(match streams {
            None => reports(state.streams(), log_time),
            Some(ids) => reports(found(state, ids), log_time),
        })
    }

    fn stats_since(&mut self, log_time: LogTime, known: Option<Mark>) -> ShardReply {
        let State::Leading(led) = &mut self.state else { unreachable!("checked above") };
        let Changed { mark, streams, closed } = led.leading.changed_since(known, log_time);
        let reports = reports(found(led.leading.state(), &streams), log_time);
        ShardReply::StatsSince(StatsSince { mark, at: log_time, closed, reports })
    }

    fn follow(&mut self, stream: StreamId, reader: super::ReaderId) -> ShardReply {
        let State::Leading(led) = &self.state else { unreachable!("the caller checked") };
        let Some(found) = led.committed.stream(stream) else {
            return ShardReply::Refused(no_stream(stream));
        };
        let (start, end) = (found.start(), found.end());
        self.readers.entry(stream).or_default().insert(reader, (start, end));
        ShardReply::Following { start, end }
    }
}

/// Those of the streams that there are.
fn found<'a>(state: &'a ShardState, streams: &'a [StreamId]) -> impl Iterator<Item = (StreamId, &'a Stream)> {
    streams.iter().filter_map(|id| Some((*id, state.stream(*id)?)))
}

fn reports<'a>(streams: impl Iterator<Item = (StreamId, &'a Stream)>, now: LogTime) -> Vec<StreamReport> {
    streams.map(|(id, found)| report(id, found, now)).collect()
}

fn no_stream(stream: StreamId) -> Refusal {
    Refusal::NotFound { kind: "stream", name: stream.to_string() }
}

fn report(stream: StreamId, found: &Stream, now: LogTime) -> StreamReport {
    StreamReport {
        stream,
        name: found.open.name.clone(),
        partition: found.open.partition,
        kind: match found.kind() {
            Kind::Queue(_) => match &found.open.settings {
                StreamSettings::Share(share) => StreamKind::Share { group: share.group.clone() },
                _ => StreamKind::Queue,
            },
            Kind::Topic(_) => StreamKind::Partition,
            Kind::Home(_) => StreamKind::Home,
        },
        stats: found.stats(now),
        counters: *found.counters(),
    }
}

/// Whether a request may append something: it is refused while nothing can be committed.
///
/// What sessions say of themselves is always taken. Nobody says it again: a consumer whose credit got lost would wait
/// for ever, and one that left would be given messages for ever.
const fn may_append(request: &ShardRequest) -> bool {
    match request {
        ShardRequest::Delivery(
            Request::Credit { .. }
            | Request::Stop { .. }
            | Request::Detach { .. }
            | Request::Leave { .. }
            | Request::Progress { .. },
        ) => false,
        ShardRequest::Delivery(_) | ShardRequest::Ensure { .. } | ShardRequest::Flush => true,
        ShardRequest::Stats(_)
        | ShardRequest::StatsSince(_)
        | ShardRequest::Membership(_)
        | ShardRequest::Survey { .. }
        | ShardRequest::Follow { .. }
        | ShardRequest::Unfollow { .. } => false,
    }
}

/// Whether a planted fault makes the answer be spoken before what it reveals is committed.
fn speaks_early(request: &ShardRequest) -> bool {
    let ShardRequest::Delivery(request) = request else { return false };
    match request {
        Request::Publish { moved: Some(_), .. } => planted::is(Fault::SettleBeforeDeadLetterStored),
        Request::Publish { .. } => planted::is(Fault::AnswerPublishBeforeCommit),
        Request::Settle { .. } => planted::is(Fault::AnswerSettleBeforeCommit),
        _ => false,
    }
}
