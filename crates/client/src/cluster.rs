//! What those who run a cluster ask.

use pondage_model::{BrokerId, ShardId, Uuid};
use pondage_protocol::{
    cluster::{ClusterStatus, Drain, MovePlan, drain_number},
    v1,
};

use crate::{
    Client, ClientError,
    client::{Repeat, cluster_service},
};

impl Client {
    /// Begins a cluster on the broker that is asked. Repeating it changes nothing. The UUID must be recorded durably
    /// beforehand, and that it was done afterwards: a cluster that was initialised and whose volumes are all gone has
    /// lost its data, and is never begun again.
    ///
    /// # Errors
    /// `CONFLICT` if the broker belongs to another cluster.
    pub async fn initialise_cluster(&self, cluster: Uuid) -> Result<(), ClientError> {
        let request = v1::InitialiseRequest { cluster_uuid: cluster.to_string() };
        self.call(Repeat::Safe, |channel| {
            let (mut service, request) = (cluster_service(channel), request.clone());
            async move { service.initialise(request).await }
        })
        .await?;
        Ok(())
    }

    /// Every broker and shard. While the catalog can't be read, what the answering broker knew last.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn cluster_status(&self) -> Result<ClusterStatus, ClientError> {
        let response = self
            .call(Repeat::Safe, |channel| {
                let mut service = cluster_service(channel);
                async move { service.status(v1::ClusterStatusRequest {}).await }
            })
            .await?;
        Ok(response.try_into()?)
    }

    /// What the cluster would move next, by itself.
    ///
    /// # Errors
    /// Those of the broker.
    pub async fn plan_moves(&self) -> Result<MovePlan, ClientError> {
        let response = self
            .call(Repeat::Safe, |channel| {
                let mut service = cluster_service(channel);
                async move { service.plan(v1::PlanRequest {}).await }
            })
            .await?;
        Ok(response.into())
    }

    /// Orders a broker to give something away, or to keep it. It is carried out bit by bit.
    ///
    /// # Errors
    /// `NOT_FOUND`; `CONFLICT` if it can't be carried out as things stand, unless forced.
    pub async fn drain(&self, broker: BrokerId, drain: Drain, force: bool) -> Result<(), ClientError> {
        let request = v1::DrainRequest { broker: broker.0, mode: drain_number(drain), force };
        self.call(Repeat::Safe, |channel| {
            let mut service = cluster_service(channel);
            async move { service.drain(request).await }
        })
        .await?;
        Ok(())
    }

    /// Forgets a broker that holds nothing any more.
    ///
    /// # Errors
    /// `NOT_FOUND`; `CONFLICT` while it holds copies.
    pub async fn remove_broker(&self, broker: BrokerId) -> Result<(), ClientError> {
        let request = v1::RemoveRequest { broker: broker.0 };
        self.call(Repeat::IfDefinite, |channel| {
            let mut service = cluster_service(channel);
            async move { service.remove(request).await }
        })
        .await?;
        Ok(())
    }

    /// Gives a broker's volume up as lost for good: what it alone held is lost.
    ///
    /// # Errors
    /// `NOT_FOUND`.
    pub async fn lose_broker(&self, broker: BrokerId) -> Result<(), ClientError> {
        let request = v1::LoseRequest { broker: broker.0 };
        self.call(Repeat::Safe, |channel| {
            let mut service = cluster_service(channel);
            async move { service.lose(request).await }
        })
        .await?;
        Ok(())
    }

    /// Moves a shard's copies to these brokers, as many as it has; the first one leads by preference.
    ///
    /// # Errors
    /// `NOT_FOUND`; `INVALID_ARGUMENT` for another number of copies; `CONFLICT` if a broker can't take one.
    pub async fn reassign(&self, shard: ShardId, replicas: &[BrokerId]) -> Result<(), ClientError> {
        let replicas = replicas.iter().map(|broker| broker.0).collect();
        let request = v1::ReassignRequest { shard: shard.0, replicas };
        self.call(Repeat::Safe, |channel| {
            let (mut service, request) = (cluster_service(channel), request.clone());
            async move { service.reassign(request).await }
        })
        .await?;
        Ok(())
    }

    /// Makes a replica the leader that may lack acknowledged messages: these are lost.
    ///
    /// # Errors
    /// `NOT_FOUND`; `CONFLICT` if it is no replica.
    pub async fn elect_unclean(
        &self,
        shard: ShardId,
        replica: BrokerId,
        reason: &str,
    ) -> Result<(), ClientError> {
        let request =
            v1::ElectUncleanRequest { shard: shard.0, replica: replica.0, reason: reason.to_owned() };
        self.call(Repeat::IfDefinite, |channel| {
            let (mut service, request) = (cluster_service(channel), request.clone());
            async move { service.elect_unclean(request).await }
        })
        .await?;
        Ok(())
    }

    /// Raises what may be written; it never falls again.
    ///
    /// # Errors
    /// `CONFLICT` if a broker does not support it.
    pub async fn set_feature_level(&self, level: u32) -> Result<(), ClientError> {
        let request = v1::SetFeatureLevelRequest { level };
        self.call(Repeat::Safe, |channel| {
            let mut service = cluster_service(channel);
            async move { service.set_feature_level(request).await }
        })
        .await?;
        Ok(())
    }
}
