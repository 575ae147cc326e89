//! `pondage broker`: one member of a cluster.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, ValueHint};
use pondage_broker::{Broker, MemberOptions, Rack, RackSource, Stopped, TlsFiles};
use pondage_model::{BrokerId, Uuid};

use super::{
    remark,
    up::{HTTP, LISTEN, address_file::AddressFile, broken, reachable},
};
use crate::{
    exit::{Exit, Failure, Result},
    logging::Logs,
    places::{parse_duration, parse_timeout},
    signals::{Signals, or_at_once},
};

/// The name in the certificates of brokers, unless another one is asked for.
const PEER_NAME: &str = "pondage-broker";

/// Run one broker of a cluster in this process
#[derive(Args, Debug)]
#[command(after_help = "\
A broker on an empty folder joins the cluster through the seeds. The first broker of a new cluster waits until it is told
to begin it, once: the operator and `pondage up --brokers` do that.

SIGTERM or Ctrl-C: it hands over what it leads, then stops, within --stop-timeout. A second one ends it at once.

Examples:
  pondage broker --cluster 6d1f0a52-0a1c-4a7e-9f8e-2f1c3b7d5e90 --seeds b1:7420,b2:7420 --data /var/lib/pondage \\
      --listen 0.0.0.0:7420 --advertise b3:7420 --tls-certificate tls.crt --tls-key tls.key --tls-ca ca.crt
  pondage up --brokers 3        # three of them on this machine")]
pub(crate) struct BrokerCommand {
    /// The data folder; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "./pondage-data", env = "PONDAGE_DATA",
          value_hint = ValueHint::DirPath)]
    data: PathBuf,

    /// Where clients and brokers connect; port 0 takes any free one
    #[arg(long, value_name = "ADDRESS", default_value_t = LISTEN, env = "PONDAGE_LISTEN")]
    listen: SocketAddr,

    /// Where others reach it, as the catalog tells them [default: what it listens on]
    #[arg(long, value_name = "HOST:PORT", env = "PONDAGE_ADVERTISE", value_parser = parse_host_port)]
    advertise: Option<String>,

    /// Where /metrics, /livez and /readyz are
    #[arg(long, value_name = "ADDRESS", default_value_t = HTTP, env = "PONDAGE_HTTP")]
    http: SocketAddr,

    /// The cluster that it belongs to
    #[arg(long, value_name = "UUID", env = "PONDAGE_CLUSTER")]
    cluster: Uuid,

    /// Other brokers, to be asked for the way in; its own address among them is passed over
    #[arg(long, value_name = "HOST:PORT", env = "PONDAGE_SEEDS", value_delimiter = ',', num_args = 0..,
          value_parser = parse_host_port)]
    seeds: Vec<String>,

    /// Its failure domain, such as a zone: copies are spread over them. - for none; without it, as it was before
    #[arg(long, value_name = "NAME", env = "PONDAGE_RACK", value_parser = RackSource::parse)]
    rack: Option<Rack>,

    /// Files of which the first that says something names its failure domain; a new volume waits for them a while
    #[arg(long, value_name = "FILE", env = "PONDAGE_RACK_FILE", value_delimiter = ',', num_args = 1..,
          conflicts_with = "rack", value_hint = ValueHint::FilePath)]
    rack_file: Vec<PathBuf>,

    /// With an empty folder: the broker whose place it takes, because that one's volume is gone for good
    #[arg(long, value_name = "BROKER", env = "PONDAGE_REPLACES", value_parser = parse_broker)]
    replaces: Option<BrokerId>,

    /// Its certificate and those between it and the authority, as PEM
    #[arg(long, value_name = "FILE", env = "PONDAGE_TLS_CERTIFICATE", requires_all = ["tls_key", "tls_ca"],
          value_hint = ValueHint::FilePath)]
    tls_certificate: Option<PathBuf>,

    /// The certificate's private key, as PEM
    #[arg(long, value_name = "FILE", env = "PONDAGE_TLS_KEY", requires = "tls_certificate",
          value_hint = ValueHint::FilePath)]
    tls_key: Option<PathBuf>,

    /// The authority of all certificates, as PEM
    #[arg(long, value_name = "FILE", env = "PONDAGE_TLS_CA", requires = "tls_certificate",
          value_hint = ValueHint::FilePath)]
    tls_ca: Option<PathBuf>,

    /// The name that only the certificates of brokers carry
    #[arg(long, value_name = "NAME", env = "PONDAGE_TLS_PEER_NAME", default_value = PEER_NAME)]
    tls_peer_name: String,

    /// How long a stop may take: hands over what it can, and closes its logs in time
    #[arg(long, value_name = "DURATION", env = "PONDAGE_STOP_TIMEOUT", value_parser = parse_timeout,
          default_value = "50s")]
    stop_timeout: Duration,

    /// Write the addresses to this file, as JSON, once it listens
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    address_file: Option<PathBuf>,

    #[command(flatten)]
    logs: Logs,

    /// For tests: every sync takes this much longer
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, hide = true)]
    sync_delay: Option<Duration>,

    /// For `up --brokers`: the end of stdin means that all brokers of this machine end together
    #[arg(long, hide = true)]
    supervised: bool,
}

/// Why a broker ends.
enum End {
    /// It shall, and others go on.
    Alone,
    /// It shall, and its fellows do too.
    Together,
    /// It can't go on.
    Broken(String),
}

impl BrokerCommand {
    pub(crate) async fn run(&self) -> Result<Exit> {
        // First of all: the first process of a container does not hear a signal that nobody waits for.
        let mut signals = Signals::new()?;
        self.logs.start()?;
        let address_file = self.address_file.as_deref().map(AddressFile::claim).transpose()?;
        let together = end_of_stdin(self.supervised);
        tokio::pin!(together);
        let mut broker = tokio::select! {
            started = Broker::start_member(self.options()) => started.map_err(|error| {
                Failure::failed(error.to_string()).about("the broker did not start")
            })?,
            // Nothing was promised to anybody yet.
            _ = signals.next() => return Ok(Exit::Ok),
            () = &mut together => return Ok(Exit::Ok),
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            address = %broker.address,
            http_address = %broker.http_address,
            cluster = %self.cluster,
            data = %self.data.display(),
            is_new = broker.created,
            "the broker listens"
        );
        if let Some(file) = &address_file {
            let http = format!("http://{}", reachable(broker.http_address));
            file.write(&[(self.server(broker.address), http)])?;
        }
        let end = tokio::select! {
            reason = broker.failed() => End::Broken(reason),
            _ = signals.next() => End::Alone,
            () = &mut together => End::Together,
        };
        let stopped = match &end {
            End::Alone => or_at_once(&mut signals, hand_over(broker, self.stop_timeout)).await,
            End::Together | End::Broken(_) => or_at_once(&mut signals, broker.close()).await,
        };
        drop(address_file);
        match (end, stopped) {
            (End::Broken(reason), _) | (_, Stopped::Failed(reason)) => Err(broken(&reason)),
            (_, Stopped::InOrder) => Ok(Exit::Ok),
        }
    }

    fn options(&self) -> MemberOptions {
        let tls = match (&self.tls_certificate, &self.tls_key, &self.tls_ca) {
            (Some(certificate), Some(key), Some(ca)) => Some(TlsFiles {
                certificate: certificate.clone(),
                key: key.clone(),
                ca: ca.clone(),
                peer_name: self.tls_peer_name.clone(),
            }),
            _ => None,
        };
        MemberOptions {
            data: self.data.clone(),
            listen: self.listen,
            advertise: self.advertise.clone(),
            http: self.http,
            cluster: self.cluster,
            seeds: self.seeds.clone(),
            rack: self.rack_source(),
            replaces: self.replaces,
            tls,
            sync_delay: self.sync_delay,
        }
    }

    fn rack_source(&self) -> RackSource {
        match &self.rack {
            None if !self.rack_file.is_empty() => RackSource::Files(self.rack_file.clone()),
            said => RackSource::Said(said.clone().unwrap_or_default()),
        }
    }

    /// Where clients reach it.
    fn server(&self, address: SocketAddr) -> String {
        let scheme = if self.tls_certificate.is_some() { "https" } else { "http" };
        let place = self.advertise.clone().unwrap_or_else(|| reachable(address).to_string());
        format!("{scheme}://{place}")
    }
}

/// Stops the broker, and says how many shards wait for another leader.
async fn hand_over(broker: Broker, limit: Duration) -> Stopped {
    let mut led = broker.led();
    let telling = async move {
        let mut said = 0;
        loop {
            let count = *led.borrow_and_update();
            if count > 0 && (said == 0 || count <= said / 2) {
                said = count;
                remark(&format!("stopping: {count} shards to hand over; a second signal ends it at once"));
            }
            if led.changed().await.is_err() {
                return;
            }
        }
    };
    let stopping = broker.stop_within(limit);
    tokio::pin!(telling, stopping);
    let mut is_telling = true;
    loop {
        tokio::select! {
            stopped = &mut stopping => return stopped,
            () = &mut telling, if is_telling => is_telling = false,
        }
    }
}

/// Returns when whoever started this process has closed its end of stdin, or is gone; never if nobody supervises.
async fn end_of_stdin(is_supervised: bool) {
    use tokio::io::AsyncReadExt;
    if !is_supervised {
        return std::future::pending().await;
    }
    let mut stdin = tokio::io::stdin();
    let mut nothing = [0; 64];
    // An error is an end as well: there is nobody to hear from.
    while stdin.read(&mut nothing).await.is_ok_and(|count| count > 0) {}
}

/// Reads a broker's number.
pub(crate) fn parse_broker(text: &str) -> Result<BrokerId, String> {
    match text.parse::<u32>() {
        Ok(number) if number > 0 => Ok(BrokerId(number)),
        _ => Err("expected a broker's number, such as 2; `pondage cluster status` lists them".to_owned()),
    }
}

fn parse_host_port(text: &str) -> Result<String, String> {
    let is_fine = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = !host.is_empty() && !host.contains(['/', ' ', ',']);
        is_host && port.parse::<u16>().is_ok_and(|port| port > 0)
    });
    if is_fine { Ok(text.to_owned()) } else { Err("expected HOST:PORT, such as b1:7420".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        broker: BrokerCommand,
    }

    const CLUSTER: &str = "01234567-89ab-cdef-0123-456789abcdef";

    fn parse(rest: &[&str]) -> Result<BrokerCommand, clap::Error> {
        let words = ["broker", "--cluster", CLUSTER].iter().chain(rest);
        Line::try_parse_from(words).map(|line| line.broker)
    }

    #[test]
    fn the_command_line_becomes_the_brokers_options() {
        let line = parse(&[
            "--seeds",
            "b1:7420,b2:7420",
            "--advertise",
            "b3:7420",
            "--listen",
            "0.0.0.0:7420",
            "--rack",
            "east",
            "--replaces",
            "2",
            "--tls-certificate",
            "c",
            "--tls-key",
            "k",
            "--tls-ca",
            "a",
            "--data",
            "d",
        ])
        .expect("valid");
        let options = line.options();
        assert_eq!(options.seeds, ["b1:7420", "b2:7420"]);
        let east = RackSource::Said(Rack::Named("east".to_owned()));
        assert_eq!((options.rack, options.replaces), (east, Some(BrokerId(2))));
        assert_eq!(options.cluster.to_string(), CLUSTER);
        let tls = options.tls.expect("asked for");
        assert_eq!((tls.ca, tls.peer_name.as_str()), (PathBuf::from("a"), PEER_NAME));
        assert_eq!(line.server(options.listen), "https://b3:7420");
        let plain = parse(&[]).expect("valid");
        assert_eq!(plain.server("0.0.0.0:9".parse().expect("an address")), "http://127.0.0.1:9");
        assert!(plain.options().tls.is_none() && plain.options().seeds.is_empty());
        assert_eq!(plain.stop_timeout, Duration::from_secs(50), "less than the grace of a pod");
    }

    #[test]
    fn a_rack_is_said_or_found_in_files() {
        let said = |name: &str| RackSource::Said(Rack::Named(name.to_owned()));
        let files = |names: &[&str]| RackSource::Files(names.iter().map(PathBuf::from).collect());
        for (rest, expected) in [
            (&[][..], RackSource::Said(Rack::Unsaid)),
            (&["--rack", "east"], said("east")),
            (&["--rack", "-"], RackSource::Said(Rack::Nowhere)),
            (&["--rack-file", "/pod/zone,/node/zone"], files(&["/pod/zone", "/node/zone"])),
            (&["--rack-file", "/pod/zone", "/node/zone"], files(&["/pod/zone", "/node/zone"])),
        ] {
            assert_eq!(parse(rest).expect("valid").rack_source(), expected, "{rest:?}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for rest in [
            &["--tls-certificate", "c"][..],
            &["--tls-key", "k"],
            &["--seeds", "b1"],
            &["--seeds", "http://b1:7420"],
            &["--advertise", "b1:0"],
            &["--replaces", "0"],
            &["--cluster", "x"],
            &["--rack", ""],
            &["--rack", "a\tb"],
            &["--rack", "east", "--rack-file", "zone"],
            &["--rack-file"],
            &["--stop-timeout", "0s"],
            &["--stop-timeout", "soon"],
        ] {
            assert!(parse(rest).is_err(), "{rest:?}");
        }
        for (text, is_fine) in [("b:1", true), ("[::1]:7420", true), (":1", false), ("b:70000", false)] {
            assert_eq!(parse_host_port(text).is_ok(), is_fine, "{text}");
        }
    }
}
