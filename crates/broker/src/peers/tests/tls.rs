//! Who is let in with which certificate.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use pondage_protocol::v1::{CallRequest, peers_client::PeersClient};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;
use tokio_util::either::Either;
use tonic::Code;

use super::{CallKind, Event, Node, PeerAddress, SHARD, SOON, WHO_CALLS, member, options, pair, push};
use crate::{
    peers::{CallError, dial::channel_on},
    tls::{Tls, TlsError, TlsFiles},
};

const NAMES: [&str; 3] = ["127.0.0.1", "localhost", TlsFiles::PEER_NAME];

struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        Self(CertifiedIssuer::self_signed(params, key).expect("signed"))
    }

    /// Certificate and key.
    fn issue(&self, names: &[&str], last_year: i32) -> (String, String) {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(names).expect("names");
        params.not_after = date_time_ymd(last_year, 1, 1);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("signed");
        (certificate.pem(), key.serialize_pem())
    }
}

/// Files that a test can change.
struct Folder(TempDir);

impl Folder {
    fn new(authority: &Authority, names: &[&str], last_year: i32) -> Self {
        let folder = Self(TempDir::new().expect("a folder"));
        folder.write(authority, &[authority], names, last_year);
        folder
    }

    fn write(&self, signer: &Authority, trusted: &[&Authority], names: &[&str], last_year: i32) {
        let (certificate, key) = signer.issue(names, last_year);
        let bundle: String = trusted.iter().map(|authority| authority.0.pem()).collect();
        for (name, pem) in [("certificate", certificate), ("key", key), ("ca", bundle)] {
            fs::write(self.path(name), pem).expect("written");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn load(&self) -> Result<Tls, TlsError> {
        Tls::load(TlsFiles {
            certificate: self.path("certificate"),
            key: self.path("key"),
            ca: self.path("ca"),
            peer_name: TlsFiles::PEER_NAME.to_owned(),
        })
    }
}

#[tokio::test]
async fn brokers_of_one_authority_stream_and_call() {
    let authority = Authority::new();
    let folder = Folder::new(&authority, &NAMES, 4000);
    let tls = || Some(folder.load().expect("good files"));
    let (one, mut two) = pair(options(), [tls(), tls()]).await;
    for number in 0..50 {
        one.peers.send_replica(two.member.broker, SHARD, push(number, 100 << 10));
    }
    for number in 0..50 {
        match two.event().await {
            Event::Replica(_, _, message, _) => assert!(message == push(number, 100 << 10)),
            other => panic!("{other:?}"),
        }
    }
    let address = format!("localhost:{}", two.address.port());
    let answer = one.peers.call(&address, None, CallKind::Consensus, Bytes::from_static(b"a"), SOON).await;
    assert_eq!(answer.expect("answered"), "a");
}

/// Who the caller is, by its files, and how its call ends.
#[tokio::test]
async fn only_brokers_certificates_of_the_authority_pass_on_either_side() {
    let (ours, other) = (Authority::new(), Authority::new());
    let good = Folder::new(&ours, &NAMES, 4000);
    let call = async |caller: &Folder, callee: &Folder| {
        let (caller, callee) = (caller.load().expect("files"), callee.load().expect("files"));
        let callee = Node::start_at(member(2, 1), "127.0.0.1:0", options(), Some(callee)).await;
        let caller = Node::start_at(member(1, 1), "127.0.0.1:0", options(), Some(caller)).await;
        let address = callee.address.to_string();
        caller.peers.call(&address, None, CallKind::Consensus, WHO_CALLS, SOON).await
    };
    call(&good, &good).await.expect("both are good");

    // It trusts our authority, and has its certificate from another one.
    let foreign = Folder::new(&other, &NAMES, 4000);
    foreign.write(&other, &[&ours], &NAMES, 4000);
    let expired = Folder::new(&ours, &NAMES, 2020);
    let client = Folder::new(&ours, &["client.test", "127.0.0.1"], 4000);
    let elsewhere = Folder::new(&ours, &["elsewhere.test", TlsFiles::PEER_NAME], 4000);
    for (what, caller) in [("foreign", &foreign), ("expired", &expired)] {
        let ended = call(caller, &good).await.expect_err(what);
        assert!(matches!(ended, CallError::Lost(_) | CallError::Unreachable { .. }), "{what}: {ended:?}");
    }
    let ended = call(&client, &good).await.expect_err("a client's certificate");
    assert!(matches!(&ended, CallError::Refused(failure) if failure.code == "NOT_AUTHORIZED"), "{ended:?}");
    call(&elsewhere, &good).await.expect("who dials proves no address");

    for (what, callee) in
        [("foreign", &foreign), ("expired", &expired), ("client", &client), ("elsewhere", &elsewhere)]
    {
        let ended = call(&good, callee).await.expect_err(what);
        assert!(matches!(ended, CallError::Unreachable { .. }), "{what}: {ended:?}");
    }
}

#[tokio::test]
async fn without_a_certificate_there_are_connections_and_no_calls() {
    let authority = Authority::new();
    let folder = Folder::new(&authority, &NAMES, 4000);
    let node =
        Node::start_at(member(1, 1), "127.0.0.1:0", options(), Some(folder.load().expect("files"))).await;
    let mut roots = RootCertStore::empty();
    let bundle = fs::read(folder.path("ca")).expect("written");
    roots.add(CertificateDer::from_pem_slice(&bundle).expect("a certificate")).expect("an authority");
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = TcpStream::connect(node.address).await.expect("it listens");
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.expect("TLS");
    let socket = Either::Right(Box::new(stream));
    let channel = channel_on(socket, "localhost:1", &options()).await.expect("a channel");
    let refused = PeersClient::new(channel).call(CallRequest::default()).await.expect_err("refused");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test]
async fn changed_files_come_into_use_and_broken_ones_do_not_while_a_stream_goes_on() {
    let (before, after) = (Authority::new(), Authority::new());
    let folder = Folder::new(&before, &NAMES, 4000);
    let tls = folder.load().expect("good files");
    let (one, mut two) = pair(options(), [Some(tls.clone()), Some(tls.clone())]).await;
    let first = tls.status();
    tls.reload();
    assert_eq!(tls.status(), first, "nothing changed");

    fs::write(folder.path("key"), "-----BEGIN").expect("written");
    tls.reload();
    let (_, key_of_another) = before.issue(&NAMES, 4000);
    fs::write(folder.path("key"), key_of_another).expect("written");
    tls.reload();
    fs::remove_file(folder.path("ca")).expect("removed");
    tls.reload();
    let status = tls.status();
    assert_eq!((status.failures, status.reloads), (3, 0));
    assert_eq!(status.not_after_seconds, first.not_after_seconds);

    folder.write(&after, &[&after], &NAMES, 4001);
    tls.reload();
    let status = tls.status();
    assert_eq!((status.failures, status.reloads), (3, 1));
    assert_eq!(status.not_after_seconds - first.not_after_seconds, 366 * 86_400);

    // The stream goes on, and who comes now is asked for the new authority's word.
    one.peers.send_replica(two.member.broker, SHARD, push(1, 10));
    assert!(matches!(two.event().await, Event::Replica(..)));
    let mut three = Node::start_at(member(3, 1), "127.0.0.1:0", options(), Some(tls)).await;
    three.knows(&[two.named()]);
    three.expect_link(two.member, true).await;
    let former = Folder::new(&before, &NAMES, 4000).load().expect("good files");
    let mut four = Node::start_at(member(4, 1), "127.0.0.1:0", options(), Some(former)).await;
    four.knows(&[two.named()]);
    four.expect_silence(Duration::from_millis(500)).await;
}

#[tokio::test]
async fn what_is_not_tls_is_closed_on_its_port_and_tls_where_there_is_none() {
    let authority = Authority::new();
    let folder = Folder::new(&authority, &NAMES, 4000);
    let tls = folder.load().expect("good files");
    let encrypted = Node::start_at(member(1, 1), "127.0.0.1:0", options(), Some(tls.clone())).await;
    let plain = Node::start(member(2, 1)).await;

    let mut stream = TcpStream::connect(encrypted.address).await.expect("it listens");
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("written");
    let mut answer = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("closed in time");
    // An alert at most, however the connection ended.
    assert!(answer.len() <= 7, "{read:?} {answer:?}");

    // A handshake that ends well and speaks something else inside.
    let stream = TcpStream::connect(encrypted.address).await.expect("it listens");
    let mut stream = tls.connect("localhost", stream).await.expect("TLS");
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.expect("written");
    answer.clear();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut answer)).await.expect("closed in time");
    assert!(answer.is_empty(), "{read:?} {answer:?}");

    let stream = TcpStream::connect(plain.address).await.expect("it listens");
    let ended = tokio::time::timeout(SOON, tls.connect("localhost", stream)).await;
    assert!(ended.expect("closed in time").is_err());

    // A broker without TLS finds no link to one with it, and the other way round.
    let mut plain = plain;
    plain.knows(&[encrypted.named()]);
    plain.expect_silence(Duration::from_millis(300)).await;
    encrypted.knows(&[PeerAddress { ..plain.named() }]);
    plain.expect_silence(Duration::from_millis(300)).await;
}
