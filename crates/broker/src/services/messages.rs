//! The data plane's calls, each handed to its module.

use pondage_model::{Name, Refusal};
use pondage_node::{
    coordinator::ResourceSettings,
    delivery::{Reply, Request as Ask},
    disk::Disk,
};
use pondage_protocol::v1;
use tonic::{Request, Response, Status, Streaming};

use super::{
    Place, Services,
    outbound::{Outbound, OutboundStream},
    places_of,
};
use crate::metrics::Method;

#[tonic::async_trait]
impl<D: Disk> v1::messages_server::Messages for Services<D> {
    type PublishStreamStream = OutboundStream<v1::PublishStreamResponse>;
    type ConsumeStream = OutboundStream<v1::ConsumeResponse>;
    type BrowseStream = OutboundStream<v1::BrowseResponse>;

    async fn locate(
        &self,
        request: Request<v1::LocateRequest>,
    ) -> Result<Response<v1::LocateResponse>, Status> {
        self.served(Method::Locate, self.locate_one(request.into_inner())).await
    }

    async fn publish(
        &self,
        request: Request<v1::PublishRequest>,
    ) -> Result<Response<v1::PublishResponse>, Status> {
        self.served(Method::Publish, self.publish_one(request.into_inner())).await
    }

    async fn publish_stream(
        &self,
        request: Request<Streaming<v1::PublishStreamRequest>>,
    ) -> Result<Response<Self::PublishStreamStream>, Status> {
        let begin = async {
            let (out, stream) = Outbound::channel();
            tokio::spawn(self.clone().publish_stream(request.into_inner(), out));
            Ok(stream)
        };
        self.served(Method::PublishStream, begin).await
    }

    async fn init_producer(
        &self,
        _: Request<v1::InitProducerRequest>,
    ) -> Result<Response<v1::InitProducerResponse>, Status> {
        let init = async {
            let producer_id = self.handle().producer_id().await?;
            Ok(v1::InitProducerResponse { producer_id, epoch: 0 })
        };
        self.served(Method::InitProducer, init).await
    }

    async fn receive(
        &self,
        request: Request<v1::ReceiveRequest>,
    ) -> Result<Response<v1::ReceiveResponse>, Status> {
        self.served(Method::Receive, self.receive_some(request.into_inner())).await
    }

    async fn settle(
        &self,
        request: Request<v1::SettleRequest>,
    ) -> Result<Response<v1::SettleResponse>, Status> {
        self.served(Method::Settle, self.settle_all(request.into_inner())).await
    }

    async fn consume(
        &self,
        request: Request<Streaming<v1::ConsumeRequest>>,
    ) -> Result<Response<Self::ConsumeStream>, Status> {
        let begin = async {
            let (out, stream) = Outbound::channel();
            tokio::spawn(self.clone().consume_stream(request.into_inner(), out));
            Ok(stream)
        };
        self.served(Method::Consume, begin).await
    }

    async fn browse(
        &self,
        request: Request<v1::BrowseRequest>,
    ) -> Result<Response<Self::BrowseStream>, Status> {
        let begin = async {
            let view = self.view(request.into_inner()).await?;
            let (out, stream) = Outbound::channel();
            tokio::spawn(self.clone().browse_stream(view, out));
            Ok(stream)
        };
        self.served(Method::Browse, begin).await
    }

    async fn purge(&self, request: Request<v1::PurgeRequest>) -> Result<Response<v1::PurgeResponse>, Status> {
        self.served(Method::Purge, self.purge_queue(request.into_inner())).await
    }
}

impl<D: Disk> Services<D> {
    async fn locate_one(&self, request: v1::LocateRequest) -> Result<v1::LocateResponse, Refusal> {
        let route = self.handle().route_surely(&Name::new(&request.target)?).await?;
        let (is_topic, message_bytes_max) = match &route.settings {
            ResourceSettings::Topic(topic) => (true, topic.message_bytes_max),
            ResourceSettings::Queue(queue) => (false, queue.message_bytes_max),
            ResourceSettings::Group(_) => {
                return Err(Refusal::NotFound { kind: "topic or queue", name: request.target.clone() });
            }
        };
        Ok(v1::LocateResponse {
            is_topic,
            partitions: u32::try_from(route.partitions.len()).unwrap_or(u32::MAX),
            message_bytes_max,
            locations: places_of(&route).map(|place| self.location(place)).collect(),
            brokers: self.handle().addresses(),
        })
    }

    fn location(&self, place: Place) -> v1::PartitionLocation {
        let leader = self.handle().leader_of(place.shard);
        v1::PartitionLocation {
            partition: place.partition,
            shard: place.shard.get(),
            stream: place.stream.get(),
            epoch: leader.as_ref().map_or(0, |leader| leader.epoch.get()),
            here: leader.as_ref().is_some_and(|leader| Some(leader.broker) == self.handle().own()),
            leader: leader.as_ref().map(|leader| leader.broker.get()),
            address: leader.map_or_else(String::new, |leader| leader.address),
        }
    }

    async fn purge_queue(&self, request: v1::PurgeRequest) -> Result<v1::PurgeResponse, Refusal> {
        let (_, place) = self.queue(&Name::new(&request.queue)?)?;
        match self.handle().deliver(place.shard, Ask::Purge { stream: place.stream }).await? {
            Reply::Purged { messages } => Ok(v1::PurgeResponse { messages }),
            _ => Err(Refusal::Interrupted),
        }
    }
}
