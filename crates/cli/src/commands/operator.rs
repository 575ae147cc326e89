//! `pondage operator`: what turns custom resources of Kubernetes into brokers, topics, queues and groups.

use std::net::SocketAddr;

use clap::Args;
use pondage_operator::{Options, run};

use crate::{
    exit::{Exit, Failure, Result},
    logging::Logs,
    signals::Signals,
};

/// Run the operator of Kubernetes clusters in this process
#[derive(Args, Debug)]
#[command(after_help = "\
It finds the API server as kubectl does: by the service account of its pod, or by a kubeconfig. Several of them may run:
one acts, the others wait for its lease to end.

Examples:
  pondage operator --namespace shop          # looks at the resources of one namespace
  pondage operator --broker-image pondage:1  # of all namespaces")]
pub(crate) struct OperatorCommand {
    /// The namespace whose resources it looks at [default: all]
    #[arg(long, value_name = "NAMESPACE", env = "PONDAGE_OPERATOR_NAMESPACE",
          value_parser = clap::builder::NonEmptyStringValueParser::new())]
    namespace: Option<String>,

    /// The namespace of its lease
    #[arg(long, value_name = "NAMESPACE", env = "POD_NAMESPACE", default_value = "default")]
    lease_namespace: String,

    /// Who it is among operators
    #[arg(long, value_name = "NAME", env = "POD_NAME", default_value = "pondage-operator")]
    identity: String,

    /// The image that brokers run, unless a BrokerCluster names one
    #[arg(long, value_name = "IMAGE", env = "PONDAGE_BROKER_IMAGE",
          default_value = concat!("pondage:", env!("CARGO_PKG_VERSION")))]
    broker_image: String,

    /// Where /metrics, /livez and /readyz are
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080", env = "PONDAGE_OPERATOR_HTTP")]
    http: SocketAddr,

    #[command(flatten)]
    logs: Logs,
}

impl OperatorCommand {
    pub(crate) async fn run(&self) -> Result<Exit> {
        self.logs.start()?;
        let mut signals = Signals::new()?;
        let options = Options {
            namespace: self.namespace.clone(),
            lease_namespace: self.lease_namespace.clone(),
            identity: self.identity.clone(),
            broker_image: self.broker_image.clone(),
            http: self.http,
        };
        tracing::info!(version = env!("CARGO_PKG_VERSION"), identity = self.identity, "the operator starts");
        let stop = async move {
            // Whichever it is, it stops.
            let _ = signals.next().await;
        };
        match run(options, stop).await {
            Ok(()) => Ok(Exit::Ok),
            Err(error) => Err(Failure::failed(error.to_string()).about("the operator ended")),
        }
    }
}
