//! Requests, and the forwarding of dead letters.

use pondage_delivery::{Draft, Request};
use pondage_model::{Body, LogTime, Refusal, StreamId};

use super::{
    Ensure, RequestId, ShardEffect, ShardReply, ShardRequest, StreamReport,
    machine::{Broken, Forwarding, Shard, State},
};
use crate::Now;

/// Pause before a refused dead letter is tried again, in milliseconds.
const FORWARD_RETRY_MILLIS: u64 = 1_000;

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
            State::Leading(_) => None,
            State::Replaying(_) => Some(Refusal::NotLeader { epoch: self.replica.epoch() }),
            State::Fenced(since) => Some(Refusal::VolumeFenced { since }),
        };
        if let Some(refusal) = refusal {
            effects.push(ShardEffect::Reply { id, reply: ShardReply::Refused(refusal) });
            return Ok(());
        }
        let reply = match request {
            ShardRequest::Delivery(request) => self.decide(now, log_time, request)?,
            ShardRequest::Ensure { streams, complete } => self.ensure(now, log_time, streams, complete)?,
            ShardRequest::Stats(streams) => self.stats(log_time, streams.as_deref()),
            ShardRequest::Survey { stream, from, count } => {
                let State::Leading(led) = &self.state else { unreachable!("checked above") };
                match led.leading.state().stream(stream) {
                    Some(found) => ShardReply::Survey(found.survey(log_time, from, count)),
                    None => {
                        ShardReply::Refused(Refusal::NotFound { kind: "stream", name: stream.to_string() })
                    }
                }
            }
            ShardRequest::Flush => {
                self.lazy_since = None;
                let State::Leading(led) = &mut self.state else { unreachable!("checked above") };
                for draft in led.leading.lazy() {
                    self.append(log_time, draft)?;
                }
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
        self.speak(ShardEffect::Reply { id, reply });
        Ok(())
    }

    fn decide(&mut self, now: Now, log_time: LogTime, request: Request) -> Result<ShardReply, Broken> {
        let moved = if let Request::Moved { stream, .. } = &request { Some(*stream) } else { None };
        let lazy =
            matches!(&request, Request::Settle { verdict: pondage_delivery::Verdict::Renew { .. }, .. });
        let State::Leading(led) = &mut self.state else { unreachable!("the caller checked") };
        let decision = led.leading.decide(&led.committed, log_time, request);
        for draft in decision.drafts {
            self.append(log_time, draft)?;
        }
        if lazy {
            self.lazy_since.get_or_insert(now.monotonic_millis);
        }
        if let Some(stream) = moved {
            self.forwarding.remove(&stream);
        }
        Ok(ShardReply::Delivery(decision.reply))
    }

    /// Level-triggered: compares what is with what should be and appends the difference.
    fn ensure(
        &mut self,
        now: Now,
        log_time: LogTime,
        streams: Vec<Ensure>,
        complete: bool,
    ) -> Result<ShardReply, Broken> {
        let State::Leading(led) = &self.state else { unreachable!("the caller checked") };
        let mut surplus: Vec<StreamId> = Vec::new();
        if complete {
            let wanted: std::collections::BTreeSet<_> = streams.iter().map(|ensure| ensure.stream).collect();
            surplus.extend(led.leading.state().streams().map(|(id, _)| id).filter(|id| !wanted.contains(id)));
        }
        for stream in surplus {
            self.append(log_time, Draft { stream, body: Body::Close })?;
        }
        for Ensure { stream, open, dead_letter, dropped_groups } in streams {
            let State::Leading(led) = &mut self.state else { unreachable!("the caller checked") };
            let current = led.leading.state().stream(stream).map(|found| found.open.clone());
            let body = match (current, open) {
                (None, Some(open)) => Some(Body::Open(open)),
                (Some(_), None) => Some(Body::Close),
                (Some(is), Some(should)) if is.settings != should.settings => {
                    Some(Body::Settings(should.settings))
                }
                _ => None,
            };
            let changed = matches!(body, Some(Body::Settings(_)));
            if let Some(body) = body {
                self.append(log_time, Draft { stream, body })?;
            }
            // Known to be none: nothing to say, and nothing to remember for each of thousands of idle queues.
            if dead_letter.is_some() || changed {
                let State::Leading(led) = &mut self.state else { unreachable!("the caller checked") };
                led.leading.set_dead_letter(stream, dead_letter);
            }
            for group in dropped_groups {
                if let ShardReply::Delivery(_) =
                    self.decide(now, log_time, Request::DropGroup { stream, group })?
                {}
            }
        }
        Ok(ShardReply::Ensured)
    }

    fn stats(&self, log_time: LogTime, streams: Option<&[StreamId]>) -> ShardReply {
        let State::Leading(led) = &self.state else { unreachable!("the caller checked") };
        let report = |(stream, found): (StreamId, &pondage_delivery::Stream)| StreamReport {
            stream,
            name: found.open.name.clone(),
            partition: found.open.partition,
            stats: found.stats(log_time),
            counters: *found.counters(),
        };
        ShardReply::Stats(match streams {
            None => led.leading.state().streams().map(report).collect(),
            Some(ids) => {
                let found = |id: &StreamId| led.leading.state().stream(*id).map(|found| report((*id, found)));
                ids.iter().filter_map(found).collect()
            }
        })
    }

    fn follow(&mut self, stream: StreamId, reader: super::ReaderId) -> ShardReply {
        let State::Leading(led) = &self.state else { unreachable!("the caller checked") };
        let Some(found) = led.committed.stream(stream) else {
            return ShardReply::Refused(Refusal::NotFound { kind: "stream", name: stream.to_string() });
        };
        let (start, end) = (found.start(), found.end());
        self.readers.entry(stream).or_default().insert(reader, (start, end));
        ShardReply::Following { start, end }
    }

    /// Sends the oldest committed dead letter of each stream on its way, one at a time per stream.
    pub(super) fn forward(&mut self, now: Now, effects: &mut Vec<ShardEffect>) {
        let State::Leading(led) = &self.state else { return };
        for (source, moving) in led.leading.moves(&led.committed) {
            let due = match self.forwarding.get(&source) {
                None => true,
                Some(Forwarding::RetryAt(at)) => *at <= now.monotonic_millis,
                Some(Forwarding::UnderWay) => false,
            };
            if due {
                self.forwarding.insert(source, Forwarding::UnderWay);
                effects.push(ShardEffect::Forward { source, moving });
            }
        }
    }

    pub(super) fn forward_refused(&mut self, now: Now, source: StreamId) {
        self.forwarding.insert(source, Forwarding::RetryAt(now.monotonic_millis + FORWARD_RETRY_MILLIS));
    }
}
