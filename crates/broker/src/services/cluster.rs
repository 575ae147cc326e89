//! The cluster's brokers and shards, for those who run it.

use std::{collections::BTreeSet, time::Duration};

use pondage_model::{BrokerId, Member, Refusal, Revision, ShardId};
use pondage_node::{
    catalog::{self, Command, ReplicaChange, ShardRefusal, planners::Round},
    coordinator::{AdminReply, AdminRequest, ClusterView, ShardView},
    disk::Disk,
};
use pondage_protocol::{
    cluster::{
        BrokerStatus, ClusterStatus, Drain, Initialise, LeaderMove, MovePlan, Order, ShardKind, ShardStatus,
        UncleanElection,
    },
    v1,
};
use tonic::{Request, Response, Status};

use super::Services;
use crate::metrics::Method;

/// How long the status waits for the catalog before it tells what this broker knows.
const CATALOG_PATIENCE: Duration = Duration::from_secs(2);
/// How often an order is decided anew because the shard's row changed meanwhile.
const ORDER_TRIES_MAX: u32 = 5;

#[tonic::async_trait]
impl<D: Disk> v1::cluster_server::Cluster for Services<D> {
    async fn initialise(
        &self,
        request: Request<v1::InitialiseRequest>,
    ) -> Result<Response<v1::InitialiseResponse>, Status> {
        let initialise = async {
            let Initialise { cluster } = request.into_inner().try_into()?;
            self.handle().initialise(cluster).await?;
            Ok(v1::InitialiseResponse {})
        };
        self.served(Method::Initialise, initialise).await
    }

    async fn status(
        &self,
        _: Request<v1::ClusterStatusRequest>,
    ) -> Result<Response<v1::ClusterStatusResponse>, Status> {
        let status = async { Ok(self.cluster_status().await?.into()) };
        self.served(Method::ClusterStatus, status).await
    }

    async fn plan(&self, _: Request<v1::PlanRequest>) -> Result<Response<v1::PlanResponse>, Status> {
        let plan = async {
            let own = self.cluster_view(true).await?.broker;
            let links = self.handle().links();
            let up = links.into_iter().filter(|(_, is_up)| *is_up).map(|(broker, _)| broker);
            let live = up.chain([own]).collect();
            match self.handle().admin(AdminRequest::Plan { live }).await? {
                AdminReply::Planned(round, voters) => Ok(move_plan(*round, voters).into()),
                _ => Err(Refusal::Interrupted),
            }
        };
        self.served(Method::Plan, plan).await
    }

    async fn drain(&self, request: Request<v1::DrainRequest>) -> Result<Response<v1::OrderResponse>, Status> {
        let order = async { self.order(request.into_inner().try_into()?).await };
        self.served(Method::Drain, order).await
    }

    async fn remove(
        &self,
        request: Request<v1::RemoveRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let order = self.order(Order::Remove(BrokerId(request.into_inner().broker)));
        self.served(Method::Remove, order).await
    }

    async fn lose(&self, request: Request<v1::LoseRequest>) -> Result<Response<v1::OrderResponse>, Status> {
        let order = self.order(Order::Lose(BrokerId(request.into_inner().broker)));
        self.served(Method::Lose, order).await
    }

    async fn reassign(
        &self,
        request: Request<v1::ReassignRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let order = async { self.order(request.into_inner().try_into()?).await };
        self.served(Method::Reassign, order).await
    }

    async fn elect_unclean(
        &self,
        request: Request<v1::ElectUncleanRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let order = self.order(request.into_inner().into());
        self.served(Method::ElectUnclean, order).await
    }

    async fn set_feature_level(
        &self,
        request: Request<v1::SetFeatureLevelRequest>,
    ) -> Result<Response<v1::OrderResponse>, Status> {
        let order = self.order(Order::SetFeatureLevel(request.into_inner().level));
        self.served(Method::SetFeatureLevel, order).await
    }
}

impl<D: Disk> Services<D> {
    /// What the catalog says, or what this broker knows of it if the catalog can't be read: just then somebody wants to
    /// look at the cluster.
    async fn cluster_status(&self) -> Result<ClusterStatus, Refusal> {
        let (view, is_stale) = match tokio::time::timeout(CATALOG_PATIENCE, self.cluster_view(false)).await {
            Ok(Ok(view)) => (view, false),
            Ok(Err(Refusal::ShuttingDown)) => return Err(Refusal::ShuttingDown),
            Ok(Err(_)) | Err(_) => (self.cluster_view(true).await?, true),
        };
        let links = self.handle().links();
        let is_alive = |broker: BrokerId, live: Option<&BTreeSet<BrokerId>>| match live {
            _ if broker == view.broker => Some(true),
            Some(live) => Some(live.contains(&broker)),
            None => links.get(&broker).copied(),
        };
        let brokers =
            view.brokers.iter().map(|row| broker_status(&view, row, is_alive(row.id, view.live.as_ref())));
        let brokers = brokers.collect();
        Ok(ClusterStatus {
            uuid: view.cluster.as_ref().map(|cluster| cluster.uuid),
            broker: view.broker,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_stale,
            revision: view.revision,
            feature_level: view.cluster.as_ref().map_or(0, |cluster| cluster.feature_level),
            feature_level_possible: view.feature_level_possible,
            catalog_leader: view.membership.leader,
            catalog_epoch: view.membership.epoch,
            voters: view.membership.voters,
            brokers,
            shards: view.shards.into_iter().map(|shard| shard_status(shard, &view.brokers)).collect(),
        })
    }

    async fn cluster_view(&self, is_local: bool) -> Result<ClusterView, Refusal> {
        match self.handle().admin(AdminRequest::View { is_local }).await? {
            AdminReply::View(view) => Ok(*view),
            _ => Err(Refusal::Interrupted),
        }
    }

    async fn order(&self, order: Order) -> Result<v1::OrderResponse, Refusal> {
        let revision = match order {
            Order::Drain { broker, drain, force } => {
                let drain = catalog_drain(drain);
                if !force {
                    self.check_drain(broker, drain).await?;
                }
                self.command(Command::Drain { broker, drain }).await?
            }
            Order::Remove(broker) => self.command(Command::RemoveBroker { broker }).await?,
            Order::Lose(broker) => self.command(Command::LoseBroker { broker }).await?,
            Order::SetFeatureLevel(level) => self.command(Command::SetFeatureLevel { level }).await?,
            Order::Reassign { shard, replicas } => self.reassign_shard(shard, &replicas).await?,
            Order::ElectUnclean { shard, replica, reason } => {
                // An order by name is about the row that is there now: one that changes meanwhile refuses it.
                let version = self.shard_row(shard).await?.version;
                self.command(Command::UncleanElect { shard, version, leader: replica, reason }).await?
            }
        };
        Ok(v1::OrderResponse { revision: revision.0 })
    }

    async fn check_drain(&self, broker: BrokerId, drain: catalog::Drain) -> Result<(), Refusal> {
        match self.handle().admin(AdminRequest::DrainObstacle(broker, drain)).await? {
            AdminReply::Obstacle(None) => Ok(()),
            AdminReply::Obstacle(Some(obstacle)) => Err(Refusal::Conflict { what: obstacle.to_string() }),
            _ => Err(Refusal::Interrupted),
        }
    }

    async fn reassign_shard(&self, shard: ShardId, replicas: &[BrokerId]) -> Result<Revision, Refusal> {
        let mut tries_left = ORDER_TRIES_MAX;
        loop {
            let row = self.shard_row(shard).await?;
            let staying = row.staying().count();
            if staying != replicas.len() {
                let what = format!(
                    "shard {shard} has {staying} copies and {} brokers are named; how many there are is for its topic \
                     or queue to say (replicas)",
                    replicas.len()
                );
                return Err(Refusal::InvalidArgument { what });
            }
            let change = ReplicaChange {
                shard,
                version: row.version,
                replicas: replicas.to_vec(),
                min_in_sync_replicas: row.min_in_sync_replicas,
            };
            let command = Command::ChangeReplicas { changes: vec![change] };
            let (results, revision) = self.ordered(command).await?;
            tries_left -= 1;
            match results.into_iter().next().map(|result| result.result) {
                Some(Err(ShardRefusal::Stale { .. })) if tries_left > 0 => {}
                Some(Err(refusal)) => {
                    return Err(Refusal::Conflict { what: format!("shard {shard}: {refusal}") });
                }
                Some(Ok(_)) | None => return Ok(revision),
            }
        }
    }

    async fn shard_row(&self, shard: ShardId) -> Result<catalog::Shard, Refusal> {
        let view = self.cluster_view(false).await?;
        let found = view.shards.into_iter().find(|found| found.row.id == shard);
        found
            .map(|found| found.row)
            .ok_or_else(|| Refusal::NotFound { kind: "shard", name: shard.to_string() })
    }

    async fn command(&self, command: Command) -> Result<Revision, Refusal> {
        Ok(self.ordered(command).await?.1)
    }

    async fn ordered(&self, command: Command) -> Result<(Vec<catalog::ShardResult>, Revision), Refusal> {
        match self.handle().admin(AdminRequest::Order(Box::new(command))).await? {
            AdminReply::Ordered { shards, revision } => Ok((shards, revision)),
            // It was so already.
            AdminReply::Applied { revision, .. } => Ok((Vec::new(), revision)),
            _ => Err(Refusal::Interrupted),
        }
    }
}

fn broker_status(view: &ClusterView, row: &catalog::Broker, is_alive: Option<bool>) -> BrokerStatus {
    let mut status = BrokerStatus {
        id: row.id,
        address: row.address.clone(),
        rack: row.rack.clone(),
        volume: row.volume,
        incarnation: row.incarnation,
        version: (row.id == view.broker).then(|| env!("CARGO_PKG_VERSION").to_owned()),
        feature_levels: (row.feature_levels.lowest, row.feature_levels.highest),
        is_alive,
        drain: match row.drain {
            catalog::Drain::Nothing => Drain::Nothing,
            catalog::Drain::Leadership => Drain::Leadership,
            catalog::Drain::Everything => Drain::Everything,
        },
        is_lost: row.lost,
        ..BrokerStatus::default()
    };
    for ShardView { row: shard, .. } in &view.shards {
        if !shard.replicas.contains(&row.id) {
            continue;
        }
        let is_in_sync = shard.in_sync(row.id).is_some();
        let others = shard.isr.iter().filter(|member| member.broker != row.id).count();
        status.held += 1;
        status.led += u32::from(shard.leader == Some(row.id));
        status.in_sync += u32::from(is_in_sync);
        status.needed += u32::from(is_in_sync && others < shard.min_in_sync_replicas as usize);
    }
    status
}

fn shard_status(view: ShardView, brokers: &[catalog::Broker]) -> ShardStatus {
    let ShardView { row, replicas_wanted, streams } = view;
    // The catalog's own row says who votes; the consensus knows the rest.
    let is_current = |member: &Member| {
        row.kind == catalog::ShardKind::Catalog || brokers.iter().any(|broker| broker.member() == *member)
    };
    let unconfirmed =
        row.isr.iter().filter(|member| !is_current(member)).map(|member| member.broker).collect();
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    ShardStatus {
        id: row.id,
        kind: match row.kind {
            catalog::ShardKind::Catalog => ShardKind::Catalog,
            catalog::ShardKind::Pooled => ShardKind::Pooled,
            catalog::ShardKind::Dedicated => ShardKind::Dedicated,
        },
        epoch: row.epoch,
        leader: row.leader,
        in_sync: row.isr.iter().map(|member| member.broker).collect(),
        unconfirmed,
        replicas: row.replicas,
        leaving: row.leaving,
        min_in_sync_replicas: row.min_in_sync_replicas,
        replicas_wanted: count(replicas_wanted),
        streams: count(streams),
        version: row.version,
        unclean: row.unclean.map(|unclean| UncleanElection {
            revision: unclean.revision,
            epoch: unclean.epoch,
            leader: unclean.leader,
            reason: unclean.reason,
        }),
    }
}

fn move_plan(round: Round, voters: Option<Vec<BrokerId>>) -> MovePlan {
    let leader = |found: catalog::planners::LeaderMove| LeaderMove {
        shard: found.shard,
        from: found.from,
        to: found.to,
    };
    let mut plan = MovePlan {
        leader_moves: round.hand_overs.into_iter().map(leader).collect(),
        voters: voters.unwrap_or_default(),
        ..MovePlan::default()
    };
    for command in round.commands {
        match command {
            Command::ChangeReplicas { changes } => {
                plan.replica_moves.extend(changes.into_iter().map(|change| (change.shard, change.replicas)));
            }
            Command::DropReplicas { drops } => {
                plan.dropped_shards.extend(drops.into_iter().map(|drop| drop.shard));
            }
            Command::RemoveBroker { broker } => plan.forgotten_brokers.push(broker),
            // The planners of a round propose no others.
            _ => {}
        }
    }
    plan
}

const fn catalog_drain(drain: Drain) -> catalog::Drain {
    match drain {
        Drain::Nothing => catalog::Drain::Nothing,
        Drain::Leadership => catalog::Drain::Leadership,
        Drain::Everything => catalog::Drain::Everything,
    }
}
