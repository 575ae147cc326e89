//! `pondage up`: one broker in one process, or a cluster of several on this machine.

pub(super) mod address_file;
pub(crate) mod brokers;
mod greeting;

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::Args;
use pondage_broker::{Broker, Options, Stopped};
use pondage_client::{Client, Options as ClientOptions};
use pondage_resources::{LoadError, Loaded, Settings, check_local};

use self::{address_file::AddressFile, brokers::record, greeting::Greeting};
use super::{apply, print, remark};
use crate::{
    exit::{Exit, Failure, Result},
    files,
    logging::Logs,
    places::parse_duration,
    signals::{Signals, or_at_once},
};

pub(super) const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7420);
pub(super) const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7421);

/// Run one broker in this process, or a cluster of several on this machine
#[derive(Args, Debug)]
#[command(after_help = "\
It serves the same data again when it is started again, however it ended. Ctrl-C or SIGTERM stops it in good order; a
second one ends it at once, and nothing that was acknowledged is lost by that either.

Examples:
  pondage up -f deploy/quickstart.yaml
  pondage up --brokers 3 -f deploy/quickstart.yaml   # every message on three of them; kill one and see
  pondage up -f resources/ --data /var/lib/pondage --log-format json
  pondage up --listen 0.0.0.0:7420     # whoever reaches it can do everything: no authentication, no TLS yet")]
pub(crate) struct Up {
    /// Resource files to apply, or folders of them, or - for stdin
    #[arg(short = 'f', long = "file", value_name = "FILE", num_args = 1.., value_hint = clap::ValueHint::AnyPath)]
    files: Vec<PathBuf>,

    /// The data folder; made if it is not there
    #[arg(long, value_name = "DIR", default_value = "./pondage-data", env = "PONDAGE_DATA",
          value_hint = clap::ValueHint::DirPath)]
    data: PathBuf,

    /// Run a cluster of so many brokers, each a process of its own with a folder in the data folder
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=9))]
    brokers: Option<u8>,

    /// Where clients connect; port 0 takes any free one [default: 127.0.0.1:7420, or the port of a BrokerCluster's
    /// listener]
    #[arg(long, value_name = "ADDRESS", env = "PONDAGE_LISTEN")]
    listen: Option<SocketAddr>,

    /// Where /metrics, /livez and /readyz are
    #[arg(long, value_name = "ADDRESS", default_value_t = HTTP, env = "PONDAGE_HTTP")]
    http: SocketAddr,

    /// Write the addresses to this file, as JSON, once everything is served and applied
    #[arg(long, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    address_file: Option<PathBuf>,

    #[command(flatten)]
    logs: Logs,

    /// For tests: every sync takes this much longer
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, hide = true)]
    sync_delay: Option<Duration>,
}

impl Up {
    pub(crate) async fn run(&self) -> Result<Exit> {
        self.logs.start()?;
        let loaded = files::load(&self.files)?;
        let count = self.brokers.unwrap_or(1);
        check_local(&loaded, count.into()).map_err(|errors| files::invalid(&errors))?;
        let asked = asked_listen(self.listen, &loaded).map_err(|error| files::invalid(&[error]))?;
        if self.brokers.is_some() {
            return self.run_brokers(count.into(), asked, loaded).await;
        }
        if record::is_cluster(&self.data) {
            let what = format!("the data folder {} is that of a cluster", self.data.display());
            return Err(Failure::usage(what).help(match record::read(&self.data)? {
                Some(record) => format!("start it with --brokers {}", record.brokers.len()),
                None => "start it with --brokers".to_owned(),
            }));
        }
        let listen = asked.unwrap_or(LISTEN);
        // From here on a signal ends it in good order.
        let mut signals = Signals::new()?;
        let address_file = self.address_file.as_deref().map(AddressFile::claim).transpose()?;
        if !listen.ip().is_loopback() {
            remark(&exposure(listen));
        }
        let options =
            Options { data: self.data.clone(), listen, http: self.http, sync_delay: self.sync_delay };
        let mut broker = tokio::select! {
            started = Broker::start(options) => started.map_err(|error| {
                Failure::failed(error.to_string()).about("the broker did not start")
            })?,
            // Nothing was promised to anybody yet.
            _ = signals.next() => return Ok(Exit::Ok),
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            address = %broker.address,
            http_address = %broker.http_address,
            data = %self.data.display(),
            is_new = broker.created,
            "the broker serves"
        );
        let ended = self.serve(&mut broker, loaded, address_file.as_ref(), &mut signals).await;
        if ended.is_ok() {
            tracing::info!("the broker stops");
            remark("stopping; a second signal ends it at once");
        }
        let stopped = or_at_once(&mut signals, broker.stop()).await;
        drop(address_file);
        match (ended, stopped) {
            (Err(failure), _) => Err(failure),
            (Ok(()), Stopped::InOrder) => Ok(Exit::Ok),
            (Ok(()), Stopped::Failed(reason)) => Err(broken(&reason)),
        }
    }

    /// Applies the files, says where everything is, and waits for the end: OK if a signal asked for it.
    async fn serve(
        &self,
        broker: &mut Broker,
        loaded: Vec<Loaded>,
        address_file: Option<&AddressFile>,
        signals: &mut Signals,
    ) -> Result<()> {
        let server = format!("http://{}", reachable(broker.address));
        let http = format!("http://{}", reachable(broker.http_address));
        let (created, data) = (broker.created, self.data.display().to_string());
        let places = [(server, http)];
        let prepare = async {
            let client = Client::connect(&places[0].0, ClientOptions::default()).await?;
            let greeting = prepared(&client, &places, &data, created, loaded).await?;
            if let Some(file) = address_file {
                file.write(&places)?;
            }
            Ok::<_, Failure>(greeting)
        };
        tokio::select! {
            greeting = prepare => greet(&greeting?)?,
            reason = broker.failed() => return Err(broken(&reason)),
            _ = signals.next() => return Ok(()),
        }
        tokio::select! {
            reason = broker.failed() => Err(broken(&reason)),
            _ = signals.next() => Ok(()),
        }
    }
}

/// Applies the files and finds the words to greet with. `places` are the brokers: where clients connect, and where
/// metrics are.
async fn prepared(
    client: &Client,
    places: &[(String, String)],
    data: &str,
    created: bool,
    loaded: Vec<Loaded>,
) -> Result<Greeting> {
    let applied = apply::apply_all(client, loaded, false).await;
    apply::report(&applied, false);
    match apply::exit_of(&applied) {
        Exit::Ok => {}
        exit => {
            let refused = applied.iter().filter(|one| one.result.is_err()).count();
            let message = format!("{refused} of {} resources were not applied", applied.len());
            return Err(Failure { exit, ..Failure::failed(message) }
                .help("correct the files, or start without -f; the data is as it was"));
        }
    }
    Greeting::new(client, places, data, created, &applied).await
}

/// A broker goes on when nobody reads its first words.
fn greet(greeting: &Greeting) -> Result<()> {
    match print(&greeting.text()) {
        Err(failure) if failure.is_broken_pipe() => Ok(()),
        printed => printed,
    }
}

pub(super) fn broken(reason: &str) -> Failure {
    Failure::failed(format!("the broker can't go on: {reason}"))
        .help("everything that was acknowledged is on the disk; look at the disk, then start again")
}

/// Where to listen: as the command line says, else as a BrokerCluster does.
fn asked_listen(asked: Option<SocketAddr>, loaded: &[Loaded]) -> Result<Option<SocketAddr>, LoadError> {
    let mut listen = asked;
    for one in loaded {
        let Settings::BrokerCluster(cluster) = &one.settings else { continue };
        for (index, listener) in cluster.listeners.iter().enumerate() {
            let wrong = |problem: String| Err(one.error(&format!("spec.listeners[{index}].port"), problem));
            match listen {
                _ if index > 0 => {
                    return wrong("local mode serves one listener; allowed: the first one".to_owned());
                }
                Some(address) if address.port() != listener.port => {
                    return wrong(format!(
                        "{}, but --listen says {address}; leave one of the two out",
                        listener.port
                    ));
                }
                Some(_) => {}
                None => listen = Some(SocketAddr::new(LISTEN.ip(), listener.port)),
            }
        }
    }
    Ok(listen)
}

/// An address that this machine can connect to, for one that means all addresses.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

fn exposure(listen: SocketAddr) -> String {
    format!(
        "warning: {listen} can be reached from other machines, and this version has no authentication and no TLS: \
         whoever reaches it can read, publish and delete everything"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_comes_from_the_flag_or_the_file_but_not_from_both() {
        let asked = |text: &str| Some(text.parse::<SocketAddr>().expect("an address"));
        for (flag, listeners, expected) in [
            (None, "", Ok("127.0.0.1:7420")),
            (asked("0.0.0.0:9"), "", Ok("0.0.0.0:9")),
            (None, "{name: native, port: 7500}", Ok("127.0.0.1:7500")),
            (asked("[::1]:7500"), "{name: native, port: 7500}", Ok("[::1]:7500")),
            (asked("127.0.0.1:0"), "{name: native, port: 7500}", Err("spec.listeners[0].port")),
            (None, "{name: a, port: 1}, {name: b, port: 2}", Err("spec.listeners[1].port")),
        ] {
            let text = format!(
                "apiVersion: pondage.io/v1alpha1\nkind: BrokerCluster\nmetadata: {{name: local}}\n\
                 spec: {{listeners: [{listeners}]}}\n"
            );
            let loaded = pondage_resources::load("f", &text).expect("valid");
            let found = asked_listen(flag, &loaded)
                .map(|address| address.unwrap_or(LISTEN).to_string())
                .map_err(|error| error.field);
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(found, expected, "{listeners}");
        }
    }

    #[test]
    fn clients_connect_to_addresses_that_exist() {
        for (listen, reach) in [
            ("0.0.0.0:7420", "127.0.0.1:7420"),
            ("[::]:7420", "[::1]:7420"),
            ("192.0.2.1:7420", "192.0.2.1:7420"),
        ] {
            let listen: SocketAddr = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), reach);
        }
        assert!(exposure(LISTEN).contains("no authentication and no TLS"));
    }
}
