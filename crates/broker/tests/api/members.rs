//! Members of a cluster that come and go as pods do: with names for addresses, without an order, on volumes that others
//! made.

use std::{
    net::{SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use pondage_broker::{Broker, MemberOptions, Rack, RackSource, Stopped};
use pondage_model::{BrokerId, Uuid};
use pondage_protocol::{
    cluster::{BrokerStatus, ClusterStatus},
    v1::{self, cluster_client::ClusterClient},
};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};

use crate::{harness::unwrap, web::get};

const CLUSTER: Uuid = Uuid([7; 16]);
/// A cluster of several on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A place for a broker: what stays when it ends.
pub(crate) struct Pod {
    folder: TempDir,
    port: u16,
    rack: RackSource,
}

impl Pod {
    pub(crate) fn new() -> Self {
        let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = free.local_addr().expect("it has one").port();
        Self { folder: TempDir::new().expect("a temporary folder"), port, rack: RackSource::default() }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    pub(crate) fn listens_on(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    fn address(&self) -> String {
        format!("localhost:{}", self.port)
    }

    /// Starts it with the addresses of all of these as seeds.
    pub(crate) async fn start(&self, pods: &[&Self]) -> Broker {
        let seeds = pods.iter().map(|pod| pod.address());
        let options = MemberOptions {
            data: self.data(),
            listen: self.listens_on(),
            advertise: Some(self.address()),
            http: "127.0.0.1:0".parse().expect("an address"),
            cluster: CLUSTER,
            // A pod that does not exist has no name.
            seeds: ["nobody.invalid:7420".to_owned()].into_iter().chain(seeds).collect(),
            rack: self.rack.clone(),
            replaces: None,
            tls: None,
            sync_delay: None,
        };
        Broker::start_member(options).await.expect("the broker starts")
    }

    fn client(&self) -> ClusterClient<Channel> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.listens_on())).expect("an address");
        ClusterClient::new(endpoint.connect_lazy())
    }

    pub(crate) async fn begin(&self) {
        let request = v1::InitialiseRequest { cluster_uuid: CLUSTER.to_string() };
        unwrap(self.client().initialise(request).await).expect("begun");
    }

    pub(crate) async fn status(&self) -> ClusterStatus {
        let answered = unwrap(self.client().status(v1::ClusterStatusRequest {}).await).expect("answered");
        answered.try_into().expect("in the words of the wire")
    }

    /// The status once it is as wanted.
    pub(crate) async fn status_until(
        &self,
        what: &str,
        wanted: impl Fn(&ClusterStatus) -> bool,
    ) -> ClusterStatus {
        let began = Instant::now();
        loop {
            let status = self.status().await;
            if wanted(&status) {
                return status;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

pub(crate) async fn ready(broker: &mut Broker) {
    let ready = tokio::time::timeout(PATIENCE, broker.ready()).await;
    let said = get(broker.http_address, "/readyz").await;
    assert!(ready.is_ok() && said.0 == 200, "{said:?}");
}

/// What it says that it lacks; it lives meanwhile.
async fn lacks(broker: &Broker) -> String {
    assert_eq!(get(broker.http_address, "/livez").await.0, 200);
    let (status, answer) = get(broker.http_address, "/readyz").await;
    assert_eq!(status, 503, "{answer}");
    answer.lines().last().expect("a line").to_owned()
}

fn row(status: &ClusterStatus, id: u32) -> &BrokerStatus {
    status.brokers.iter().find(|broker| broker.id == BrokerId(id)).expect("it is in the catalog")
}

/// Everything has its copies and a leader.
pub(crate) fn is_well(status: &ClusterStatus) -> bool {
    status.catalog_leader.is_some()
        && status.shards.iter().all(|shard| {
            shard.leader.is_some()
                && shard.in_sync.len() == shard.replicas_wanted as usize
                && shard.unconfirmed.is_empty()
                && shard.leaving.is_empty()
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn brokers_that_wait_for_each_other_form_one_cluster_when_one_is_told_to_begin() {
    let [first, second] = [Pod::new(), Pod::new()];
    let pods = [&first, &second];
    let mut one = first.start(&pods).await;
    let mut other = second.start(&pods).await;
    // Long enough that they asked each other.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    for broker in [&one, &other] {
        assert_eq!(lacks(broker).await, "starting: waits for the cluster to be begun");
    }
    second.begin().await;
    ready(&mut one).await;
    ready(&mut other).await;
    first.begin().await;
    for pod in pods {
        let status = pod.status_until("one cluster of two", |status| status.brokers.len() == 2).await;
        assert_eq!(status.uuid, Some(CLUSTER));
        // Numbers go by who registers first, which need not be the one that was told.
        let mut addresses = [1, 2].map(|id| row(&status, id).address.clone());
        addresses.sort_unstable();
        let mut expected = pods.map(Pod::address);
        expected.sort_unstable();
        assert_eq!(addresses, expected);
    }

    // One that starts alone knows that the cluster was begun, and waits for the others without an end.
    second.status_until("copies", is_well).await;
    assert_eq!(one.close().await, Stopped::InOrder);
    assert_eq!(other.close().await, Stopped::InOrder);
    let mut one = first.start(&pods).await;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(lacks(&one).await, "starting: not registered yet");
    let mut other = second.start(&pods).await;
    ready(&mut one).await;
    ready(&mut other).await;

    // Who was ready stays so without the other, and ends without it.
    assert_eq!(other.close().await, Stopped::InOrder);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    assert_eq!(get(one.http_address, "/readyz").await.0, 200);
    let began = Instant::now();
    assert_eq!(one.stop_within(Duration::from_secs(5)).await, Stopped::InOrder);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_waits_to_be_let_in_stops_at_once() {
    let pod = Pod::new();
    let broker = pod.start(&[&pod]).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let began = Instant::now();
    assert_eq!(broker.stop().await, Stopped::InOrder);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_volume_at_the_address_of_a_lost_one_is_another_broker() {
    let pods = [Pod::new(), Pod::new(), Pod::new()];
    let all: Vec<&Pod> = pods.iter().collect();
    let mut first = pods[0].start(&all).await;
    pods[0].begin().await;
    ready(&mut first).await;
    let mut second = pods[1].start(&all).await;
    ready(&mut second).await;
    let mut third = pods[2].start(&all).await;
    ready(&mut third).await;
    pods[0].status_until("copies", is_well).await;

    assert_eq!(third.close().await, Stopped::InOrder);
    std::fs::remove_dir_all(pods[2].data()).expect("the volume is gone");
    let mut fresh = pods[2].start(&all).await;
    ready(&mut fresh).await;
    for pod in &pods {
        let status = pod
            .status_until("a fourth broker", |status| {
                status.brokers.len() == 4 && row(status, 4).is_alive == Some(true)
            })
            .await;
        assert_eq!((row(&status, 3).address.clone(), row(&status, 4).address.clone()), {
            (pods[2].address(), pods[2].address())
        });
        assert!(!row(&status, 3).is_lost, "that its volume is gone is for others to say");
    }
    // Whoever dials the old one at that address finds somebody else: nobody takes it for the old one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for pod in &pods {
        let status = pod.status().await;
        assert_ne!(row(&status, 3).is_alive, Some(true), "as {} sees it", pod.address());
        assert_eq!(row(&status, 3).led, 0);
        assert!(status.shards.iter().all(|shard| shard.leader.is_some()), "{status:?}");
    }

    unwrap(pods[0].client().lose(v1::LoseRequest { broker: 3 }).await).expect("it is away");
    let status = pods[0].status_until("copies on the new volume", is_well).await;
    assert!(row(&status, 4).held > 0 && row(&status, 3).in_sync == 0, "{status:?}");
    for broker in [fresh, second, first] {
        assert_eq!(broker.close().await, Stopped::InOrder);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rack_comes_from_a_file_and_stays_without_it() {
    let mut pod = Pod::new();
    let zone = pod.folder.path().join("zone");
    pod.rack = RackSource::Files(vec![pod.folder.path().join("missing"), zone.clone()]);
    let write = |path: &Path, text: &str| std::fs::write(path, text).expect("written");
    // The first start waits for it: the label comes after the pod.
    let mut broker = pod.start(&[&pod]).await;
    pod.begin().await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(lacks(&broker).await, "starting: not registered yet");
    write(&zone, "east\n");
    ready(&mut broker).await;
    assert_eq!(row(&pod.status().await, 1).rack.as_deref(), Some("east"));
    assert_eq!(broker.stop().await, Stopped::InOrder);

    write(&zone, "");
    for (said, expected) in
        [(None, Some("east")), (Some("west"), Some("west")), (Some("-"), None), (None, None)]
    {
        write(&zone, said.unwrap_or_default());
        let mut broker = pod.start(&[&pod]).await;
        ready(&mut broker).await;
        assert_eq!(row(&pod.status().await, 1).rack.as_deref(), expected, "{said:?}");
        assert_eq!(broker.stop().await, Stopped::InOrder);
    }

    pod.rack = RackSource::Said(Rack::Named("north".to_owned()));
    let mut broker = pod.start(&[&pod]).await;
    ready(&mut broker).await;
    assert_eq!(broker.stop().await, Stopped::InOrder);
    pod.rack = RackSource::Files(vec![zone.clone()]);
    write(&zone, "a\u{7}b");
    let mut broker = pod.start(&[&pod]).await;
    let reason = tokio::time::timeout(PATIENCE, broker.failed()).await.expect("it can't go on");
    assert!(reason.contains("control characters"), "{reason}");
}
