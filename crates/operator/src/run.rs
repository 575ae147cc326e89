//! The operator as a whole: it waits until it leads, watches, and looks at what changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    future::Future,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::StreamExt;
use kube::{
    Api, Client,
    core::DynamicObject,
    runtime::{
        controller::{Action, Config as ControllerConfig, Controller},
        reflector::Store,
        watcher,
    },
};
use pondage_resources::Kind;
use tokio::{
    task::JoinSet,
    time::{Instant, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    brokers::Connections,
    cluster, declared,
    error::ReconcileError,
    events::Events,
    http,
    lease::Leadership,
    metrics::Metrics,
    names::Key,
    namespaces::Namespaces,
    operator::{Operator, shown},
    scaling::{self, Begins, Scaling},
    triggers::{Bell, Triggers, api_resource, heard},
    watching,
    written::Written,
};

/// Looks at resources of one kind at the same time.
const CONCURRENCY: u16 = 16;
/// How long changes of one resource gather before it is looked at.
const DEBOUNCE: Duration = Duration::from_millis(20);
/// How often resources are counted for the metrics.
const COUNT_EVERY: Duration = Duration::from_secs(15);

/// How the operator runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// The namespace whose resources it looks at; `None` for all.
    pub namespace: Option<String>,
    /// The namespace of its own lease.
    pub lease_namespace: String,
    /// Who it is among operators, such as its pod's name.
    pub identity: String,
    /// The image that brokers run, unless a cluster names one.
    pub broker_image: String,
    /// Where `/metrics`, `/livez` and `/readyz` are.
    pub http: SocketAddr,
}

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It could not begin.
    #[error(
        "no connection to Kubernetes: {0}; it needs a service account, or a kubeconfig as kubectl has it"
    )]
    Config(#[from] kube::config::InferConfigError),
    /// The API server refused.
    #[error("the API server: {0}")]
    Kubernetes(#[from] kube::Error),
    /// The metrics could not be made.
    #[error("metrics: {0}")]
    Metrics(String),
    /// The address can't be used.
    #[error("{address}: {error}")]
    Http {
        /// Which.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Another operator acts, or may do so.
    #[error("this operator does not lead any more: {0}; it ends, and starts again as one that waits")]
    Lost(String),
    /// The definitions are not there.
    #[error(
        "the API server does not know {kind} of pondage.io/v1alpha1: install the definitions (pondage crds apply)"
    )]
    NoDefinitions {
        /// The kind.
        kind: &'static str,
    },
}

/// Runs until `stop`.
///
/// # Errors
/// [`RunError`]; whoever started it starts it again.
pub async fn run(options: Options, stop: impl Future<Output = ()>) -> Result<(), RunError> {
    // Brokers are reached with this library, too; several providers are built in, and one has to be chosen.
    drop(rustls::crypto::ring::default_provider().install_default());
    let client = Client::try_from(kube::Config::infer().await?)?;
    let metrics = Metrics::new().map_err(|error| RunError::Metrics(error.to_string()))?;
    let cancel = CancellationToken::new();
    let (scaling, begins) = Scaling::new();
    let scaling = Arc::new(scaling);
    let serving = http::serve(options.http, metrics.clone(), scaling.clone(), cancel.clone());
    let (namespace, identity) = (options.lease_namespace.clone(), options.identity.clone());
    let acting = async {
        let leadership = Leadership::gain(client.clone(), &namespace, &identity).await;
        tracing::info!(identity, "this operator leads");
        metrics.leads.set(1);
        tokio::select! {
            lost = leadership.keep() => Err(RunError::Lost(lost)),
            ended = act(&client, &options, &metrics, (scaling, begins)) => ended,
        }
    };
    let ended = tokio::select! {
        () = stop => Ok(()),
        served = serving => served.map_err(|error| RunError::Http { address: options.http, error }),
        acted = acting => acted,
    };
    cancel.cancel();
    if ended.is_ok() {
        Leadership::release(client.clone(), &namespace, &identity).await;
    }
    ended
}

/// Watches and acts, for ever.
async fn act(
    client: &Client,
    options: &Options,
    metrics: &Metrics,
    (scaling, begins): (Arc<Scaling>, Begins),
) -> Result<(), RunError> {
    let namespace = options.namespace.as_deref();
    for kind in Kind::ALL {
        check_definition(client, namespace, kind).await?;
    }
    let (triggers, bells) = Triggers::new();
    let written = Arc::new(Written::default());
    let children = watching::watch(client, namespace, &written, &triggers).await;
    let mut controllers = BTreeMap::new();
    let mut stores: BTreeMap<Kind, Store<DynamicObject>> = BTreeMap::new();
    for (kind, bell) in bells {
        let controller = controller(client, namespace, kind, bell);
        stores.insert(kind, controller.store());
        controllers.insert(kind, controller);
    }
    let operator = Arc::new(Operator {
        client: client.clone(),
        broker_image: options.broker_image.clone(),
        has_monitor_kinds: has_monitor_kinds(client).await,
        stores,
        children,
        namespaces: Namespaces::default(),
        written,
        connections: Connections::default(),
        scaling,
        triggers,
        metrics: metrics.clone(),
        events: Events::new(client.clone(), &options.identity),
        waiting: Mutex::new(BTreeSet::new()),
        failures: Mutex::new(HashMap::new()),
    });
    let mut running = JoinSet::new();
    for (kind, controller) in controllers {
        running.spawn(drive(kind, controller, operator.clone()));
    }
    let counting = async {
        let mut ticks = interval(COUNT_EVERY);
        loop {
            ticks.tick().await;
            operator.count_resources();
        }
    };
    let letting_in = async {
        if namespace.is_none() {
            operator.namespaces.follow(client, |name| operator.namespace_changed(name)).await;
        }
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = counting => {}
        () = letting_in => {}
        () = scaling::run(operator.clone(), begins) => {}
        // A controller has no end of its own.
        _ = running.join_next() => {}
    }
    Ok(())
}

/// A kind that the API server does not know would be watched in vain.
async fn check_definition(client: &Client, namespace: Option<&str>, kind: Kind) -> Result<(), RunError> {
    let api = api(client, namespace, kind);
    match api.list_metadata(&kube::api::ListParams::default().limit(1)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => {
            Err(RunError::NoDefinitions { kind: kind.as_str() })
        }
        Err(error) => Err(error.into()),
    }
}

async fn has_monitor_kinds(client: &Client) -> bool {
    let found = client.list_api_group_resources("monitoring.coreos.com/v1").await;
    found.is_ok_and(|found| found.resources.iter().any(|resource| resource.name == "podmonitors"))
}

fn api(client: &Client, namespace: Option<&str>, kind: Kind) -> Api<DynamicObject> {
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &api_resource(kind)),
        None => Api::all_with(client.clone(), &api_resource(kind)),
    }
}

fn controller(client: &Client, namespace: Option<&str>, kind: Kind, bell: Bell) -> Controller<DynamicObject> {
    let config = ControllerConfig::default().concurrency(CONCURRENCY).debounce(DEBOUNCE);
    Controller::new_with(api(client, namespace, kind), watcher::Config::default(), api_resource(kind))
        .with_config(config)
        .reconcile_on(heard(kind, bell))
}

async fn drive(kind: Kind, controller: Controller<DynamicObject>, operator: Arc<Operator>) {
    let look = move |object: Arc<DynamicObject>, operator: Arc<Operator>| async move {
        let begun = Instant::now();
        let looked = match kind {
            Kind::BrokerCluster => cluster::reconcile(&operator, &object).await,
            Kind::Topic | Kind::Queue | Kind::ConsumerGroup => {
                declared::reconcile(&operator, kind, &object).await
            }
        };
        let result = match &looked {
            Ok(_) => "done",
            Err(error) if error.is_conflict() => "stale",
            Err(_) => "failed",
        };
        let word = kind.as_str();
        operator.metrics.reconciles.with_label_values(&[word, result]).inc();
        operator.metrics.reconcile_seconds.with_label_values(&[word]).observe(begun.elapsed().as_secs_f64());
        if looked.is_ok() {
            operator.succeeded(kind, Key::of(&object.metadata));
        }
        looked
    };
    let again = move |object: Arc<DynamicObject>, error: &ReconcileError, operator: Arc<Operator>| {
        if error.is_conflict() {
            // The newer version comes by itself; in case it came already:
            return Action::requeue(Duration::from_millis(200));
        }
        let wait = operator.failed(kind, Key::of(&object.metadata));
        tracing::warn!(resource = shown(kind, &object), %error, again_seconds = wait.as_secs_f64(), "failed");
        Action::requeue(wait)
    };
    let mut looks = Box::pin(controller.run(look, again, operator));
    while looks.next().await.is_some() {}
}
