//! The consume stream: its first step decides which session serves it.

mod held;
mod queue;
mod topic;

use std::time::Duration;

use pondage_model::Refusal;
use pondage_node::disk::Disk;
use pondage_protocol::{
    consume::{Source, Step, Steps},
    v1::{self, consume_response},
};
use tokio::task::JoinHandle;
use tonic::Streaming;

use super::{Services, edge::refusal_of, outbound::Outbound, session::End};

/// Verdicts and commits of one session that are not answered yet; then its steps are not read.
const PENDING_MAX: usize = 1_024;
/// How often a session looks for what nobody tells it.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// What the consumer sends.
struct Inbound {
    stream: Streaming<v1::ConsumeRequest>,
    steps: Steps,
}

impl Inbound {
    /// The next step that is right in itself and in its place.
    async fn next(&mut self) -> Result<Step, End> {
        match self.stream.message().await {
            Ok(Some(request)) => self.steps.next(request).map_err(End::Expelled),
            Ok(None) => Err(End::Lost),
            Err(status) => Err(refusal_of(&status).map_or(End::Lost, End::Expelled)),
        }
    }
}

/// Ends a session's sender. One that ended by itself has told how already.
async fn cut_short(sender: JoinHandle<End>) {
    if !sender.is_finished() {
        sender.abort();
        // It was cut: what it would have said does not matter.
        drop(sender.await);
    }
}

fn response(step: consume_response::Step) -> v1::ConsumeResponse {
    v1::ConsumeResponse { step: Some(step) }
}

impl<D: Disk> Services<D> {
    /// Serves one consume stream to its end.
    pub(super) async fn consume_stream(
        self,
        stream: Streaming<v1::ConsumeRequest>,
        out: Outbound<v1::ConsumeResponse>,
    ) {
        let mut inbound = Inbound { stream, steps: Steps::default() };
        let first = self.first_step(inbound.next(), &out).await;
        let end = match first {
            Ok(Step::Start { source: Source::Queue { name, lease_millis }, credit }) => {
                match self.queue(&name) {
                    Ok((_, place)) => {
                        let lender = queue::Lender { source: name, group: None, place, stored: place.stream };
                        queue::serve(&self, inbound, &out, lender, lease_millis, credit).await
                    }
                    Err(refusal) => End::Failed(refusal),
                }
            }
            Ok(Step::Start { source: Source::Share { group, topic, partition, lease_millis }, credit }) => {
                match self.share(&group, &topic, partition).await {
                    Ok((place, stored)) => {
                        let lender = queue::Lender { source: topic, group: Some(group), place, stored };
                        queue::serve(&self, inbound, &out, lender, lease_millis, credit).await
                    }
                    Err(refusal) => End::Failed(refusal),
                }
            }
            Ok(Step::Start {
                source: Source::Topic { name, partitions, group, start, starts, assignment },
                credit,
            }) => {
                let wanted = topic::Wanted { name, partitions, group, start, starts, assignment };
                topic::serve(&self, inbound, &out, wanted, credit).await
            }
            Ok(_) => End::Expelled(Refusal::ProtocolState { what: "a consume stream begins with start" }),
            Err(end) => end,
        };
        let Some(refusal) = end.refusal() else { return };
        let error = consume_response::Step::Error(self.error(&refusal));
        // Nobody may be there to hear it.
        drop(out.send(response(error)).await);
    }
}
