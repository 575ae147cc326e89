//! A join stream: where a member hears what it owns.

use pondage_model::{Name, Outcome, Refusal, Uuid, limits, membership::MemberProgress};
use pondage_protocol::{Failure, members::OwnedPartition, v1};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use v1::{groups_client::GroupsClient, join_request::Step as Request, join_response::Step as Response};

use super::{GroupShare, ShareSource};
use crate::{Client, ClientError, brokers::Broker, client::OPEN_TIMEOUT, consume_stream::lost};

/// Steps that wait for the connection.
const REQUESTS: usize = 16;

/// Who joins what.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) group: Name,
    pub(super) id: Uuid,
    pub(super) instance: String,
}

/// An open join stream, both ways of it.
pub(super) struct JoinStream {
    requests: mpsc::Sender<v1::JoinRequest>,
    responses: Streaming<v1::JoinResponse>,
}

/// What a broker says on it.
pub(super) enum Heard {
    /// All that the member owns.
    Owned {
        partitions: Vec<OwnedPartition>,
        /// Messages that it may hold uncommitted, all partitions together.
        in_flight_max: u32,
    },
    /// What its group consumes.
    Consumes(GroupShare),
    /// It has left.
    Left,
}

impl JoinStream {
    /// Joins at a broker and waits for what it says first.
    pub(super) async fn open(
        client: &Client,
        broker: &Broker,
        identity: &Identity,
    ) -> Result<(Self, Heard), ClientError> {
        let deadline = Instant::now() + client.options().request_timeout.min(OPEN_TIMEOUT);
        let (requests, receiver) = mpsc::channel(REQUESTS);
        let start = v1::JoinStart {
            group: identity.group.to_string(),
            member_id: identity.id.0.to_vec().into(),
            instance: identity.instance.clone(),
        };
        let closed = |_| ClientError::closed("stream", Outcome::Definite);
        requests.send(request(Request::Start(start))).await.map_err(closed)?;
        let mut groups = GroupsClient::new(broker.channel.clone());
        let opening = async {
            let responses = groups.join(ReceiverStream::new(receiver)).await?.into_inner();
            let mut stream = Self { requests, responses };
            let first = stream.next().await?;
            Ok((stream, first))
        };
        timeout_at(deadline, opening).await.unwrap_or_else(|_| Err(Refusal::Timeout.into()))
    }

    /// What comes next. Steps of a later version are passed over.
    pub(super) async fn next(&mut self) -> Result<Heard, ClientError> {
        while let Some(response) = self.responses.message().await? {
            match response.step {
                Some(Response::Assignment(assignment)) => return Ok(heard(assignment)?),
                Some(Response::Left(_)) => return Ok(Heard::Left),
                Some(Response::Error(error)) => return Err(Failure::from(error).into()),
                None => {}
            }
        }
        Err(lost())
    }

    /// Lets go of partitions; false if there is no room at this moment.
    pub(super) fn release(&self, partitions: Vec<OwnedPartition>) -> bool {
        let partitions = partitions.into_iter().map(v1::OwnedPartition::from).collect();
        self.requests.try_send(request(Request::Release(v1::JoinRelease { partitions }))).is_ok()
    }

    /// Tells what was done so far; false if there is no room at this moment.
    pub(super) fn progress(&self, progress: MemberProgress) -> bool {
        self.requests.try_send(request(Request::Progress(progress.into()))).is_ok()
    }

    /// Leaves, and waits until that is done.
    pub(super) async fn leave(mut self) -> Result<(), ClientError> {
        let closed = |_| lost();
        self.requests.send(request(Request::Leave(v1::JoinLeave {}))).await.map_err(closed)?;
        loop {
            if let Heard::Left = self.next().await? {
                return Ok(());
            }
        }
    }
}

fn heard(assignment: v1::Assignment) -> Result<Heard, Refusal> {
    let v1::Assignment { partitions, queue, in_flight_per_consumer_max, topics, draining, .. } = assignment;
    let in_flight_max = in_flight_per_consumer_max.clamp(1, limits::CREDIT_MAX);
    let source = if !queue.is_empty() {
        ShareSource::Queue(Name::new(&queue)?)
    } else if !topics.is_empty() {
        let topics = topics.into_iter().map(|shared| Ok((Name::new(&shared.topic)?, shared.partitions)));
        ShareSource::Topics(topics.collect::<Result<_, Refusal>>()?)
    } else {
        let partitions = partitions.into_iter().map(TryInto::try_into);
        return Ok(Heard::Owned { partitions: partitions.collect::<Result<_, Refusal>>()?, in_flight_max });
    };
    Ok(Heard::Consumes(GroupShare { source, in_flight_max, is_draining: draining }))
}

const fn request(step: Request) -> v1::JoinRequest {
    v1::JoinRequest { step: Some(step) }
}
