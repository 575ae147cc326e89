//! Calls, and what their errors promise.

use std::{io::ErrorKind, time::Duration};

use bytes::Bytes;
use pondage_model::{Code, Outcome, Uuid, limits};

use super::{Node, SOON, WHO_CALLS, member};
use crate::peers::{CallError, CallKind};

#[tokio::test]
async fn answers_and_refusals_come_back() {
    let (one, two) = (Node::start(member(1, 1)).await, Node::start(member(2, 1)).await);
    let (address, volume) = (two.address.to_string(), two.named().volume);
    let call = async |to, kind, body| one.peers.call(&address, to, kind, body, SOON).await;

    let great: Bytes = vec![5; limits::RPC_BYTES_MAX].into();
    let answer = call(Some(volume), CallKind::Consensus, great.clone()).await.expect("answered");
    assert!(answer == great);
    assert_eq!(call(None, CallKind::Consensus, WHO_CALLS).await.expect("answered"), "broker-1");

    let refused = call(Some(volume), CallKind::Request, Bytes::new()).await.expect_err("refused");
    let CallError::Refused(failure) = &refused else { panic!("{refused:?}") };
    assert!(failure.is(Code::NotLeader));
    assert_eq!(refused.outcome(), Outcome::Definite);

    let other = call(Some(Uuid([77; 16])), CallKind::Consensus, WHO_CALLS).await.expect_err("not here");
    assert!(matches!(other, CallError::SomebodyElse { .. }), "{other:?}");
    assert_eq!(other.outcome(), Outcome::Definite);

    let long = call(None, CallKind::Consensus, vec![0; limits::RPC_BYTES_MAX + 1].into()).await;
    assert!(matches!(long, Err(CallError::TooLarge { .. })));
}

#[tokio::test]
async fn errors_say_whether_the_call_may_have_taken_effect() {
    let (one, mut two) = (Node::start(member(1, 1)).await, Node::start(member(2, 1)).await);
    let address = two.address.to_string();
    let ask = async |limit| one.peers.call(&address, None, CallKind::Consensus, Bytes::new(), limit).await;

    let late = ask(Duration::from_millis(300)).await.expect_err("never answered");
    assert!(matches!(late, CallError::Timeout), "{late:?}");
    assert_eq!(late.outcome(), Outcome::Unknown);

    let (lost, ()) = tokio::join!(ask(SOON), async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        two.kill();
    });
    let lost = lost.expect_err("killed");
    assert!(matches!(lost, CallError::Lost(_)), "{lost:?}");
    assert_eq!(lost.outcome(), Outcome::Unknown);

    let refused = loop {
        // The listener may end a moment after the connections.
        match ask(SOON).await.expect_err("killed") {
            CallError::Lost(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            other => break other,
        }
    };
    assert!(
        matches!(refused, CallError::Unreachable { error: ErrorKind::ConnectionRefused, .. }),
        "{refused:?}"
    );
    assert_eq!(refused.outcome(), Outcome::Definite);

    let again = Node::start_at(member(2, 2), &address, super::options(), None).await;
    let answer = one.peers.call(&address, None, CallKind::Consensus, Bytes::from_static(b"a"), SOON).await;
    assert_eq!(answer.expect("the connection is made anew"), "a");
    drop(again);
}
