//! A broker that speaks TLS, and commands that show it a certificate or not.

use std::fs;

use pondage_client::{Client, Options, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use crate::harness::{Place, eventually};

const CLUSTER: &str = "6d1f0a52-0a1c-4a7e-9f8e-2f1c3b7d5e90";

/// Makes an authority, a broker's certificate and an administrator's: `ca.crt`, `broker.crt`, `admin.crt`, and keys.
fn make_certificates(place: &Place) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().expect("a key");
    place.write("ca.crt", &params.self_signed(&key).expect("signed").pem());
    let issuer = Issuer::new(params, key);
    let server = ExtendedKeyUsagePurpose::ServerAuth;
    let client = ExtendedKeyUsagePurpose::ClientAuth;
    for (name, subjects, purposes) in [
        ("broker", vec!["pondage-broker", "127.0.0.1"], vec![server, client.clone()]),
        ("admin", vec!["somebody"], vec![client]),
    ] {
        let subjects: Vec<String> = subjects.into_iter().map(str::to_owned).collect();
        let mut params = CertificateParams::new(subjects).expect("names");
        params.extended_key_usages = purposes;
        let key = KeyPair::generate().expect("a key");
        place.write(&format!("{name}.crt"), &params.signed_by(&key, &issuer).expect("signed").pem());
        place.write(&format!("{name}.key"), &key.serialize_pem());
    }
}

/// A cluster of one broker that speaks TLS.
fn secured() -> Place {
    let mut place = Place::empty();
    make_certificates(&place);
    let addresses = place.path("addresses.json");
    let broker = place.pondage(&[
        "broker",
        "--cluster",
        CLUSTER,
        "--listen",
        "127.0.0.1:0",
        "--http",
        "127.0.0.1:0",
        "--data",
        "data",
        "--address-file",
        addresses.to_str().expect("text"),
        "--tls-certificate",
        "broker.crt",
        "--tls-key",
        "broker.key",
        "--tls-ca",
        "ca.crt",
    ]);
    place.adopt(Place::spawn(broker));
    let read = |name: &str| fs::read(place.path(name)).expect("written");
    let tls = Tls::new(read("ca.crt")).with_certificate(read("admin.crt"), read("admin.key"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let begin = async {
        let client =
            Client::connect(place.server(), Options { tls: Some(tls), ..Options::default() }).await?;
        client.initialise_cluster(CLUSTER.parse().expect("an id")).await
    };
    runtime.block_on(begin).expect("the cluster begins");
    place
}

const ADMINISTRATOR: [&str; 6] =
    ["--certificate-authority", "ca.crt", "--client-certificate", "admin.crt", "--client-key", "admin.key"];

#[test]
fn commands_speak_tls_and_administration_shows_a_certificate() {
    let place = secured();
    assert!(place.server().starts_with("https://"), "{}", place.server());
    let file = place.write(
        "queue.yaml",
        "apiVersion: pondage.io/v1alpha1\nkind: Queue\nmetadata: {name: orders}\nspec: {}\n",
    );
    let with = |args: &[&'static str]| -> Vec<&'static str> { [&ADMINISTRATOR[..], args].concat() };
    eventually("the cluster is there", || place.run(&with(&["cluster", "status"])).code == Some(0));
    let apply = ["apply", "-f", file.to_str().expect("text")];
    place.run(&[&ADMINISTRATOR[..], &apply].concat()).ok();
    place.run_with(&with(&["publish", "orders"]), "secret\n").ok();

    let read = place.ok(&with(&["consume", "orders", "--limit", "1", "-o", "value"]));
    assert_eq!(read, "secret\n");
    // Without a certificate of one's own nothing is administered.
    let trusting = ["--certificate-authority", "ca.crt"];
    place.run(&[&trusting[..], &apply].concat()).failed(1, &["certificate"]);

    // Nobody speaks in the clear, and nobody believes a stranger.
    place.run(&["get", "queues"]).failed(2, &["--certificate-authority"]);
    place.run(&["--certificate-authority", "admin.crt", "get", "queues"]).failed(5, &[]);
    place.run(&["--certificate-authority", "nothing", "get", "queues"]).failed(2, &["can't read nothing"]);
}
