//! What those who run a cluster ask, and what they are told.

use pondage_model::{BrokerId, Epoch, Incarnation, Refusal, Revision, ShardId, Uuid, limits};

use crate::{
    check::{at_most, choose, invalid, number_of, required, uuid},
    v1,
};

/// The cluster with every broker and shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterStatus {
    /// None before it was initialised.
    pub uuid: Option<Uuid>,
    /// The broker that answers; zero before it is registered.
    pub broker: BrokerId,
    /// The version of the broker that answers.
    pub version: String,
    /// The catalog could not be read: this is what the answering broker knew last.
    pub is_stale: bool,
    /// The catalog's revision.
    pub revision: Revision,
    /// What may be written.
    pub feature_level: u32,
    /// The level that every broker supports, if it is higher.
    pub feature_level_possible: Option<u32>,
    /// The broker that leads the catalog, as far as the answering one knows.
    pub catalog_leader: Option<BrokerId>,
    /// The catalog leader's term.
    pub catalog_epoch: Epoch,
    /// The brokers that vote on the catalog.
    pub voters: Vec<BrokerId>,
    /// By id.
    pub brokers: Vec<BrokerStatus>,
    /// By id, the catalog's own included.
    pub shards: Vec<ShardStatus>,
}

/// A broker of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct BrokerStatus {
    /// Its id.
    pub id: BrokerId,
    /// Where clients and brokers reach it, as host:port.
    pub address: String,
    /// Its failure domain.
    pub rack: Option<String>,
    /// Its volume.
    pub volume: Uuid,
    /// How often its volume has been started.
    pub incarnation: Incarnation,
    /// Its version, if the answering broker knows it.
    pub version: Option<String>,
    /// The lowest and the highest feature level that it works at.
    pub feature_levels: (u32, u32),
    /// Whether it is there, as far as the answering broker knows.
    pub is_alive: Option<bool>,
    /// What it gives away.
    pub drain: Drain,
    /// Its volume was given up.
    pub is_lost: bool,
    /// Shards that it leads.
    pub led: u32,
    /// Shards that it holds a copy of, the catalog's included.
    pub held: u32,
    /// Those of them that it is in sync with.
    pub in_sync: u32,
    /// Shards that would have fewer in-sync replicas than their minimum without it.
    pub needed: u32,
}

/// What a broker gives away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Drain {
    /// Nothing.
    #[default]
    Nothing,
    /// What it leads, because it stops for a while.
    Leadership,
    /// What it leads and its copies, because it goes for good.
    Everything,
}

impl Drain {
    /// The word for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Leadership => "leadership",
            Self::Everything => "everything",
        }
    }
}

const DRAINS: [(v1::DrainMode, Drain); 3] = [
    (v1::DrainMode::Nothing, Drain::Nothing),
    (v1::DrainMode::Leadership, Drain::Leadership),
    (v1::DrainMode::Everything, Drain::Everything),
];

/// A shard of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ShardStatus {
    /// Its id.
    pub id: ShardId,
    /// What it is for.
    pub kind: ShardKind,
    /// The leader's term.
    pub epoch: Epoch,
    /// The broker that leads it, if one does.
    pub leader: Option<BrokerId>,
    /// The brokers that hold a copy, the preferred leader first, leaving ones included.
    pub replicas: Vec<BrokerId>,
    /// Those of them that go.
    pub leaving: Vec<BrokerId>,
    /// The replicas that hold every acknowledged message.
    pub in_sync: Vec<BrokerId>,
    /// Those of them that have started again, and that no leader has confirmed since.
    pub unconfirmed: Vec<BrokerId>,
    /// Copies that must be durable before an acknowledgement.
    pub min_in_sync_replicas: u32,
    /// Copies that it should have.
    pub replicas_wanted: u32,
    /// Partitions and queues in it.
    pub streams: u32,
    /// Grows with every change of the row.
    pub version: u64,
    /// The latest election of a replica that was not in sync.
    pub unclean: Option<UncleanElection>,
}

/// What a shard is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum ShardKind {
    /// The catalog's own log.
    Catalog,
    /// Shared by many small partitions and queues.
    #[default]
    Pooled,
    /// Of one partition.
    Dedicated,
}

impl ShardKind {
    /// The word for people and programs.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Catalog => "catalog",
            Self::Pooled => "pooled",
            Self::Dedicated => "dedicated",
        }
    }
}

const KINDS: [(v1::ShardKind, ShardKind); 3] = [
    (v1::ShardKind::Catalog, ShardKind::Catalog),
    (v1::ShardKind::Pooled, ShardKind::Pooled),
    (v1::ShardKind::Dedicated, ShardKind::Dedicated),
];

/// An election that may have lost acknowledged messages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UncleanElection {
    /// When.
    pub revision: Revision,
    /// The epoch that began with it.
    pub epoch: Epoch,
    /// Who was elected.
    pub leader: BrokerId,
    /// Why, in the administrator's words.
    pub reason: String,
}

fn ids(brokers: Vec<BrokerId>) -> Vec<u32> {
    brokers.into_iter().map(BrokerId::get).collect()
}

fn brokers(ids: Vec<u32>) -> Vec<BrokerId> {
    ids.into_iter().map(BrokerId).collect()
}

impl From<ClusterStatus> for v1::ClusterStatusResponse {
    fn from(status: ClusterStatus) -> Self {
        Self {
            cluster_uuid: status.uuid.map(|uuid| uuid.to_string()).unwrap_or_default(),
            broker: status.broker.0,
            version: status.version,
            stale: status.is_stale,
            revision: status.revision.0,
            feature_level: status.feature_level,
            feature_level_possible: status.feature_level_possible,
            catalog_leader: status.catalog_leader.map(BrokerId::get),
            catalog_epoch: status.catalog_epoch.0,
            voters: ids(status.voters),
            brokers: status.brokers.into_iter().map(v1::BrokerStatus::from).collect(),
            shards: status.shards.into_iter().map(v1::ShardStatus::from).collect(),
        }
    }
}

impl TryFrom<v1::ClusterStatusResponse> for ClusterStatus {
    type Error = Refusal;

    fn try_from(response: v1::ClusterStatusResponse) -> Result<Self, Refusal> {
        let text = response.cluster_uuid;
        Ok(Self {
            uuid: if text.is_empty() { None } else { Some(uuid("cluster_uuid", &text)?) },
            broker: BrokerId(response.broker),
            version: response.version,
            is_stale: response.stale,
            revision: Revision(response.revision),
            feature_level: response.feature_level,
            feature_level_possible: response.feature_level_possible,
            catalog_leader: response.catalog_leader.map(BrokerId),
            catalog_epoch: Epoch(response.catalog_epoch),
            voters: brokers(response.voters),
            brokers: response.brokers.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
            shards: response.shards.into_iter().map(TryInto::try_into).collect::<Result<_, _>>()?,
        })
    }
}

impl From<BrokerStatus> for v1::BrokerStatus {
    fn from(broker: BrokerStatus) -> Self {
        Self {
            id: broker.id.0,
            address: broker.address,
            rack: broker.rack.unwrap_or_default(),
            volume: broker.volume.to_string(),
            incarnation: broker.incarnation.0,
            version: broker.version,
            feature_level_lowest: broker.feature_levels.0,
            feature_level_highest: broker.feature_levels.1,
            alive: broker.is_alive,
            drain: number_of(broker.drain, &DRAINS),
            lost: broker.is_lost,
            led: broker.led,
            held: broker.held,
            in_sync: broker.in_sync,
            needed: broker.needed,
        }
    }
}

impl TryFrom<v1::BrokerStatus> for BrokerStatus {
    type Error = Refusal;

    fn try_from(broker: v1::BrokerStatus) -> Result<Self, Refusal> {
        Ok(Self {
            id: BrokerId(broker.id),
            address: broker.address,
            rack: Some(broker.rack).filter(|rack| !rack.is_empty()),
            volume: uuid("volume", &broker.volume)?,
            incarnation: Incarnation(broker.incarnation),
            version: broker.version,
            feature_levels: (broker.feature_level_lowest, broker.feature_level_highest),
            is_alive: broker.alive,
            drain: drain(broker.drain)?,
            is_lost: broker.lost,
            led: broker.led,
            held: broker.held,
            in_sync: broker.in_sync,
            needed: broker.needed,
        })
    }
}

fn drain(number: i32) -> Result<Drain, Refusal> {
    choose("drain", number, &DRAINS, v1::DrainMode::as_str_name, None)
}

impl From<ShardStatus> for v1::ShardStatus {
    fn from(shard: ShardStatus) -> Self {
        let unclean = shard.unclean.map(|unclean| v1::UncleanElection {
            revision: unclean.revision.0,
            epoch: unclean.epoch.0,
            leader: unclean.leader.0,
            reason: unclean.reason,
        });
        Self {
            id: shard.id.0,
            kind: number_of(shard.kind, &KINDS),
            epoch: shard.epoch.0,
            leader: shard.leader.map(BrokerId::get),
            replicas: ids(shard.replicas),
            leaving: ids(shard.leaving),
            in_sync: ids(shard.in_sync),
            unconfirmed: ids(shard.unconfirmed),
            min_in_sync_replicas: shard.min_in_sync_replicas,
            replicas_wanted: shard.replicas_wanted,
            streams: shard.streams,
            version: shard.version,
            unclean,
        }
    }
}

impl TryFrom<v1::ShardStatus> for ShardStatus {
    type Error = Refusal;

    fn try_from(shard: v1::ShardStatus) -> Result<Self, Refusal> {
        let unclean = shard.unclean.map(|unclean| UncleanElection {
            revision: Revision(unclean.revision),
            epoch: Epoch(unclean.epoch),
            leader: BrokerId(unclean.leader),
            reason: unclean.reason,
        });
        Ok(Self {
            id: ShardId(shard.id),
            kind: choose("kind", shard.kind, &KINDS, v1::ShardKind::as_str_name, None)?,
            epoch: Epoch(shard.epoch),
            leader: shard.leader.map(BrokerId),
            replicas: brokers(shard.replicas),
            leaving: brokers(shard.leaving),
            in_sync: brokers(shard.in_sync),
            unconfirmed: brokers(shard.unconfirmed),
            min_in_sync_replicas: shard.min_in_sync_replicas,
            replicas_wanted: shard.replicas_wanted,
            streams: shard.streams,
            version: shard.version,
            unclean,
        })
    }
}

/// What the cluster would move next. Empty: everything is where it should be, or has to wait.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MovePlan {
    /// Leaderships to be handed over.
    pub leader_moves: Vec<LeaderMove>,
    /// Copies to be made: a shard and who shall hold it.
    pub replica_moves: Vec<(ShardId, Vec<BrokerId>)>,
    /// Shards whose leaving copies may go.
    pub dropped_shards: Vec<ShardId>,
    /// Lost brokers that hold nothing and are forgotten.
    pub forgotten_brokers: Vec<BrokerId>,
    /// Other voters of the catalog; empty: those that it has.
    pub voters: Vec<BrokerId>,
}

impl MovePlan {
    /// Whether nothing is to be moved.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A leadership that goes from one broker to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaderMove {
    /// The shard.
    pub shard: ShardId,
    /// Its leader.
    pub from: BrokerId,
    /// The next one.
    pub to: BrokerId,
}

impl From<MovePlan> for v1::PlanResponse {
    fn from(plan: MovePlan) -> Self {
        let leader =
            |LeaderMove { shard, from, to }| v1::LeaderMove { shard: shard.0, from: from.0, to: to.0 };
        let replica =
            |(shard, replicas): (ShardId, _)| v1::ReplicaMove { shard: shard.0, replicas: ids(replicas) };
        Self {
            leader_moves: plan.leader_moves.into_iter().map(leader).collect(),
            replica_moves: plan.replica_moves.into_iter().map(replica).collect(),
            dropped_shards: plan.dropped_shards.into_iter().map(ShardId::get).collect(),
            forgotten_brokers: ids(plan.forgotten_brokers),
            voters: ids(plan.voters),
        }
    }
}

impl From<v1::PlanResponse> for MovePlan {
    fn from(response: v1::PlanResponse) -> Self {
        let leader = |found: v1::LeaderMove| LeaderMove {
            shard: ShardId(found.shard),
            from: BrokerId(found.from),
            to: BrokerId(found.to),
        };
        let replica = |found: v1::ReplicaMove| (ShardId(found.shard), brokers(found.replicas));
        Self {
            leader_moves: response.leader_moves.into_iter().map(leader).collect(),
            replica_moves: response.replica_moves.into_iter().map(replica).collect(),
            dropped_shards: response.dropped_shards.into_iter().map(ShardId).collect(),
            forgotten_brokers: brokers(response.forgotten_brokers),
            voters: brokers(response.voters),
        }
    }
}

/// Asks to begin a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Initialise {
    /// Its UUID.
    pub cluster: Uuid,
}

impl TryFrom<v1::InitialiseRequest> for Initialise {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidArgument`].
    fn try_from(request: v1::InitialiseRequest) -> Result<Self, Refusal> {
        Ok(Self { cluster: uuid("cluster_uuid", &request.cluster_uuid)? })
    }
}

/// A change of brokers or shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// What a broker shall give away.
    Drain {
        /// The broker.
        broker: BrokerId,
        /// What.
        drain: Drain,
        /// Also if it can't be carried out as things stand.
        force: bool,
    },
    /// Forgets a broker.
    Remove(BrokerId),
    /// Gives a broker's volume up.
    Lose(BrokerId),
    /// Other copies of a shard.
    Reassign {
        /// The shard.
        shard: ShardId,
        /// Distinct brokers, the preferred leader first.
        replicas: Vec<BrokerId>,
    },
    /// A leader that may lack acknowledged messages.
    ElectUnclean {
        /// The shard.
        shard: ShardId,
        /// One of its replicas.
        replica: BrokerId,
        /// Why.
        reason: String,
    },
    /// Raises the feature level.
    SetFeatureLevel(u32),
}

impl TryFrom<v1::DrainRequest> for Order {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidArgument`].
    fn try_from(request: v1::DrainRequest) -> Result<Self, Refusal> {
        let v1::DrainRequest { broker, mode, force } = request;
        Ok(Self::Drain { broker: BrokerId(broker), drain: drain(mode)?, force })
    }
}

impl TryFrom<v1::ReassignRequest> for Order {
    type Error = Refusal;

    /// # Errors
    /// [`Refusal::InvalidArgument`].
    fn try_from(request: v1::ReassignRequest) -> Result<Self, Refusal> {
        let replicas = brokers(at_most("replicas", request.replicas, limits::REPLICAS_MAX as usize)?);
        for (index, broker) in replicas.iter().enumerate() {
            if replicas[..index].contains(broker) {
                return Err(invalid(format!("replicas: broker {broker} is named twice")));
            }
        }
        if replicas.is_empty() {
            return required("replicas", None);
        }
        Ok(Self::Reassign { shard: ShardId(request.shard), replicas })
    }
}

impl From<v1::ElectUncleanRequest> for Order {
    fn from(request: v1::ElectUncleanRequest) -> Self {
        let v1::ElectUncleanRequest { shard, replica, reason } = request;
        Self::ElectUnclean { shard: ShardId(shard), replica: BrokerId(replica), reason }
    }
}

/// The number of a [`Drain`] on the wire.
#[must_use]
pub fn drain_number(drain: Drain) -> i32 {
    number_of(drain, &DRAINS)
}

#[cfg(test)]
#[path = "cluster_tests.rs"]
mod tests;
