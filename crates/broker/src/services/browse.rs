//! Looking at messages: committed batches as they are stored, with what is the matter with their messages.

use pondage_model::{Offset, Refusal, entry::Publish};
use pondage_node::{
    coordinator::ResourceSettings,
    delivery,
    disk::Disk,
    shard::{ShardReply, ShardRequest},
};
use pondage_protocol::{
    messages::{Browse, MessageRun, MessageState},
    to_status, v1,
};

use super::{
    Place, Services,
    bodies::{CHUNK_BYTES, publishes},
    outbound::Outbound,
    partition_of,
};

/// What is to be shown.
pub(super) struct View {
    place: Place,
    is_queue: bool,
    /// The next message to look at.
    from: Offset,
    /// Shown up to here: what was committed when the call came.
    end: Offset,
    messages_left: u64,
    bytes_left: u64,
}

impl<D: Disk> Services<D> {
    /// Finds what a call wants to see.
    pub(super) async fn view(&self, request: v1::BrowseRequest) -> Result<View, Refusal> {
        let browse = Browse::try_from(request)?;
        let route = self.handle().route(&browse.target)?;
        let place = partition_of(&route, browse.partition)?;
        let report = self.report(place).await?;
        Ok(View {
            place,
            is_queue: matches!(route.settings, ResourceSettings::Queue(_)),
            from: browse.from.max(report.stats.start),
            end: report.stats.end,
            messages_left: browse.messages_max.unwrap_or(u64::MAX),
            bytes_left: browse.bytes_max.unwrap_or(u64::MAX),
        })
    }

    /// Shows it, as fast as the client reads.
    pub(super) async fn browse_stream(self, mut view: View, out: Outbound<v1::BrowseResponse>) {
        let stopping = self.0.stopping.clone();
        let shown = tokio::select! {
            shown = self.show(&mut view, &out) => shown,
            () = stopping.cancelled() => Err(Refusal::ShuttingDown),
            () = out.closed() => return,
        };
        if let Err(refusal) = shown {
            self.metrics().refused(refusal.code());
            out.fail(to_status(&refusal)).await;
        }
    }

    async fn show(&self, view: &mut View, out: &Outbound<v1::BrowseResponse>) -> Result<(), Refusal> {
        let Place { shard, stream, .. } = view.place;
        let mut first = true;
        while view.from < view.end && view.messages_left > 0 {
            let chunk = self.handle().read_stream(shard, stream, view.from, CHUNK_BYTES).await?;
            let before = view.from;
            for publish in publishes(chunk) {
                if publish.base_offset >= view.end || view.messages_left == 0 {
                    return Ok(());
                }
                let runs = self.runs(view, &publish).await?;
                view.from = view.from.max(publish.base_offset.plus(u64::from(publish.count)));
                let shown: u64 = runs.iter().map(|run| u64::from(run.count)).sum();
                if shown == 0 {
                    continue;
                }
                let bytes = publish.batch.len();
                if !first && bytes as u64 > view.bytes_left {
                    return Ok(());
                }
                first = false;
                view.bytes_left = view.bytes_left.saturating_sub(bytes as u64);
                view.messages_left = view.messages_left.saturating_sub(shown);
                let runs = runs.into_iter().map(v1::MessageRun::from).collect();
                if out.send_body(v1::BrowseResponse { batch: publish.batch, runs }, bytes).await.is_err() {
                    return Ok(());
                }
                if view.bytes_left == 0 {
                    return Ok(());
                }
            }
            if view.from == before {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The messages of a batch that are there and wanted.
    async fn runs(&self, view: &View, publish: &Publish) -> Result<Vec<MessageRun>, Refusal> {
        let first = publish.base_offset.max(view.from);
        let end = publish.base_offset.plus(u64::from(publish.count)).min(view.end);
        if first >= end {
            return Ok(Vec::new());
        }
        let count = u32::try_from(end.0 - first.0).unwrap_or(u32::MAX);
        let runs = if view.is_queue {
            let Place { shard, stream, .. } = view.place;
            let survey = ShardRequest::Survey { stream, from: first, count };
            match self.handle().ask(shard, survey).await? {
                ShardReply::Survey(runs) => runs.iter().filter_map(|run| shown(run, first, end)).collect(),
                _ => return Err(Refusal::Interrupted),
            }
        } else {
            vec![MessageRun { first, count, state: MessageState::Ready, failures: 0, until: None }]
        };
        Ok(limited(runs, view.messages_left))
    }
}

fn shown(run: &delivery::SurveyRun, first: Offset, end: Offset) -> Option<MessageRun> {
    let (state, until) = match run.state {
        delivery::MessageState::Ready => (MessageState::Ready, None),
        delivery::MessageState::Scheduled { due } => (MessageState::Scheduled, Some(due)),
        delivery::MessageState::Leased { deadline, .. } => (MessageState::Leased, Some(deadline)),
        // On its way as well, as soon as there is a dead-letter queue to go to.
        delivery::MessageState::Moving | delivery::MessageState::Held => (MessageState::Moving, None),
    };
    let from = run.first.max(first);
    let to = run.first.plus(run.count).min(end);
    let count = u32::try_from(to.0.checked_sub(from.0)?).ok().filter(|count| *count > 0)?;
    Some(MessageRun { first: from, count, state, failures: run.failures, until })
}

/// As many runs as have so many messages.
fn limited(runs: Vec<MessageRun>, mut messages_left: u64) -> Vec<MessageRun> {
    let mut shown = Vec::with_capacity(runs.len());
    for mut run in runs {
        if messages_left == 0 {
            break;
        }
        run.count = run.count.min(u32::try_from(messages_left).unwrap_or(u32::MAX));
        messages_left -= u64::from(run.count);
        shown.push(run);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_model::{Attempt, LogTime};

    #[test]
    fn runs_are_cut_to_the_batch_and_to_what_is_wanted() {
        let leased = delivery::MessageState::Leased { attempt: Attempt(2), deadline: LogTime(9) };
        let run =
            |first, count, state| delivery::SurveyRun { first: Offset(first), count, failures: 1, state };
        let cut = |run: &delivery::SurveyRun| {
            shown(run, Offset(10), Offset(20)).map(|run| (run.first.0, run.count, run.state, run.until))
        };
        let ready = delivery::MessageState::Ready;
        assert_eq!(cut(&run(5, 10, ready)), Some((10, 5, MessageState::Ready, None)));
        assert_eq!(cut(&run(18, 10, leased)), Some((18, 2, MessageState::Leased, Some(LogTime(9)))));
        assert_eq!(cut(&run(0, 10, ready)), None);
        assert_eq!(cut(&run(20, 1, delivery::MessageState::Held)), None);

        let runs: Vec<_> = [run(10, 4, ready), run(14, 4, leased)]
            .iter()
            .filter_map(|run| shown(run, Offset(10), Offset(20)))
            .collect();
        for (most, counts) in [(0, vec![]), (3, vec![3]), (5, vec![4, 1]), (99, vec![4, 4])] {
            let got: Vec<u32> = limited(runs.clone(), most).iter().map(|run| run.count).collect();
            assert_eq!(got, counts);
        }
    }
}
