//! A member of a cluster: how it runs, and its start.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use pondage_model::{BrokerId, Uuid};

use crate::run::{Broker, StartError};

/// How one broker of a cluster runs.
#[derive(Clone, Debug)]
pub struct MemberOptions {
    /// The data folder; made if it isn't there. An empty one joins the cluster, it never begins it.
    pub data: PathBuf,
    /// Where clients and other brokers connect. Port 0 takes any free one.
    pub listen: SocketAddr,
    /// Host and port that the catalog tells others; without it, what it listens on.
    pub advertise: Option<String>,
    /// Where `/metrics`, `/livez` and `/readyz` listen.
    pub http: SocketAddr,
    /// The cluster's identity, which was recorded before its first broker started.
    pub cluster: Uuid,
    /// Host and port of other brokers of the cluster, asked for a place in it. Its own address among them is passed
    /// over. Empty for a broker that waits to be told to begin the cluster.
    pub seeds: Vec<String>,
    /// Its failure domain.
    pub rack: Option<String>,
    /// The broker whose place a new volume takes, because that one's volume is gone for good.
    pub replaces: Option<BrokerId>,
    /// Without it everything is in plain text, which is refused on any but a loopback address.
    pub tls: Option<TlsFiles>,
    /// For tests and benchmarks: every sync takes this much longer, as on a cloud volume.
    pub sync_delay: Option<Duration>,
}

/// Where a broker's certificates are: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Its own certificate and those between it and the authority.
    pub certificate: PathBuf,
    /// The certificate's private key.
    pub key: PathBuf,
    /// The authorities whose certificates are believed.
    pub ca: PathBuf,
    /// The name that the certificate of every other broker has to be for; without it, the host of its address.
    pub peer_name: Option<String>,
}

impl Broker {
    /// Opens the data folder, joins the cluster and serves. Returns when it listens: a broker may have to wait for
    /// others before it leads anything.
    ///
    /// # Errors
    /// [`StartError`]; nothing is left running.
    #[expect(clippy::unused_async, reason = "a start waits")]
    pub async fn start_member(options: MemberOptions) -> Result<Self, StartError> {
        let MemberOptions { cluster, .. } = options;
        Err(StartError::Failed(format!("this version can't take part in cluster {cluster}")))
    }
}
