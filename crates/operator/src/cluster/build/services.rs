//! The names under which brokers are reached.

use k8s_openapi::{
    api::core::v1::{Service, ServicePort, ServiceSpec},
    apimachinery::pkg::util::intstr::IntOrString,
};

use super::{Child, ValidatedCluster};
use crate::cluster::validate::HTTP_PORT;

/// Names every broker, also one that is not ready: brokers find each other before they are.
pub(super) fn headless(cluster: &ValidatedCluster) -> Child {
    let spec = ServiceSpec {
        cluster_ip: Some("None".to_owned()),
        publish_not_ready_addresses: Some(true),
        ports: Some(vec![
            port(&cluster.listener, cluster.port.into(), "client"),
            port("http", HTTP_PORT.into(), "http"),
        ]),
        selector: Some(cluster.key.selector()),
        ..ServiceSpec::default()
    };
    service(cluster, cluster.key.headless(), spec)
}

/// Where clients begin. It knows ready brokers only.
pub(super) fn clients(cluster: &ValidatedCluster) -> Child {
    let spec = ServiceSpec {
        type_: Some("ClusterIP".to_owned()),
        ports: Some(vec![port(&cluster.listener, cluster.port.into(), "client")]),
        selector: Some(cluster.key.selector()),
        ..ServiceSpec::default()
    };
    service(cluster, cluster.key.name.clone(), spec)
}

fn port(name: &str, number: i32, target: &str) -> ServicePort {
    ServicePort {
        name: Some(name.to_owned()),
        port: number,
        protocol: Some("TCP".to_owned()),
        target_port: Some(IntOrString::String(target.to_owned())),
        ..ServicePort::default()
    }
}

fn service(cluster: &ValidatedCluster, name: String, spec: ServiceSpec) -> Child {
    let metadata = cluster.key.owned(name, &cluster.owner);
    Child::new(&Service { metadata, spec: Some(spec), status: None }, "services")
}
