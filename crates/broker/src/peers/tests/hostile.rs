//! Streams that say what no broker says.

use std::sync::atomic::Ordering;

use bytes::Bytes;
use pondage_protocol::v1::{Introduction, PeerFrame, StreamOpening, peers_client::PeersClient};
use tonic::{Code, Status, transport::Endpoint};

use super::{Node, introduction, member};

fn opening(introduction: Introduction, lane: i32) -> PeerFrame {
    let opening = StreamOpening { introduction: Some(introduction), lane, dial: 1 };
    PeerFrame { opening: Some(opening), messages: Bytes::new() }
}

fn messages(bytes: &[u8]) -> PeerFrame {
    PeerFrame { opening: None, messages: Bytes::copy_from_slice(bytes) }
}

/// How a stream of these frames ends.
async fn ended(node: &Node, frames: Vec<PeerFrame>) -> Status {
    let endpoint = Endpoint::from_shared(format!("http://{}", node.address)).expect("an address");
    let channel = endpoint.connect().await.expect("it listens");
    let stream = PeersClient::new(channel).stream(tokio_stream::iter(frames)).await;
    let mut welcomes = match stream {
        Ok(welcomes) => welcomes.into_inner(),
        Err(status) => return status,
    };
    loop {
        match welcomes.message().await {
            Ok(Some(_)) => {}
            Ok(None) => return Status::ok("ended"),
            Err(status) => return status,
        }
    }
}

#[tokio::test]
async fn who_says_what_no_broker_says_is_refused_and_the_broker_goes_on() {
    let node = Node::start(member(1, 1)).await;
    let good = || {
        super::Introduction { broker: Some(member(3, 1).broker), ..introduction(member(3, 1)) }.to_wire(None)
    };
    assert_eq!(
        ended(&node, vec![opening(good(), 2)]).await.code(),
        Code::FailedPrecondition,
        "not registered yet"
    );
    node.knows(&[]);
    let heartbeat = [2, 1, 0];
    let nobody = Introduction { broker: None, ..good() };
    let unwelcome = Introduction { address: "unwelcome".to_owned(), ..good() };
    let stranger = Introduction { cluster: Bytes::from_static(&[3; 16]), ..good() };
    let cases = [
        ("good", vec![opening(good(), 2), messages(&heartbeat), messages(&[])], Code::Ok),
        ("empty", vec![], Code::InvalidArgument),
        ("no opening", vec![messages(&heartbeat)], Code::InvalidArgument),
        ("no lane", vec![opening(good(), 0)], Code::InvalidArgument),
        ("unknown lane", vec![opening(good(), 3)], Code::InvalidArgument),
        ("not registered", vec![opening(nobody, 2)], Code::InvalidArgument),
        ("not admitted", vec![opening(unwelcome, 2)], Code::PermissionDenied),
        ("another cluster", vec![opening(stranger, 2)], Code::FailedPrecondition),
        ("two openings", vec![opening(good(), 1), opening(good(), 1)], Code::InvalidArgument),
        ("no message", vec![opening(good(), 1), messages(&[9])], Code::InvalidArgument),
        ("a cut message", vec![opening(good(), 1), messages(&heartbeat[..2])], Code::InvalidArgument),
        (
            "a list longer than its bytes",
            vec![opening(good(), 1), messages(&[1, 7, 4, 1, 1, 1, 1, 255, 255, 255, 255, 15])],
            Code::InvalidArgument,
        ),
        (
            "a frame above the limit",
            vec![opening(good(), 1), messages(&vec![0; 2 * super::super::FRAME_BYTES_MAX])],
            Code::OutOfRange,
        ),
    ];
    let mut malformed = 0;
    for (what, frames, code) in cases {
        let is_welcomed = frames.len() > 1;
        assert_eq!(ended(&node, frames).await.code(), code, "{what}");
        malformed += u64::from(is_welcomed && code == Code::InvalidArgument);
    }
    let [(_, counters)] = &node.peers.counters()[..] else { panic!("one peer") };
    assert_eq!(counters.malformed.load(Ordering::Relaxed), malformed);
}

#[tokio::test]
async fn a_newer_stream_takes_the_place_of_an_older_one_and_never_the_other_way_round() {
    let node = Node::start(member(1, 1)).await;
    node.knows(&[]);
    let said = |incarnation, dial| {
        let member = member(3, incarnation);
        let said = super::Introduction { broker: Some(member.broker), ..introduction(member) };
        let opening = StreamOpening { introduction: Some(said.to_wire(None)), lane: 2, dial };
        PeerFrame { opening: Some(opening), messages: Bytes::new() }
    };
    let open = async |incarnation, dial| {
        let endpoint = Endpoint::from_shared(format!("http://{}", node.address)).expect("an address");
        let channel = endpoint.connect().await.expect("it listens");
        let (sender, frames) = tokio::sync::mpsc::channel(1);
        sender.send(said(incarnation, dial)).await.expect("open");
        let frames = tokio_stream::wrappers::ReceiverStream::new(frames);
        PeersClient::new(channel).stream(frames).await.map(|welcomes| (sender, welcomes.into_inner()))
    };
    let (_older_open, mut older) = open(2, 9).await.expect("welcome");
    assert!(older.message().await.is_ok_and(|welcome| welcome.is_some()));
    let (_newer_open, mut newer) = open(3, 2).await.expect("welcome");
    assert!(newer.message().await.is_ok_and(|welcome| welcome.is_some()));
    assert_eq!(older.message().await.expect_err("replaced").code(), Code::Unavailable);
    for (incarnation, dial) in [(2, 9), (3, 1)] {
        let late = open(incarnation, dial).await.err().map(|status| status.code());
        assert_eq!(late, Some(Code::PermissionDenied), "{incarnation} {dial}");
    }
}
