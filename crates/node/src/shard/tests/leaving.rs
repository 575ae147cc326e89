//! A broker that stops logs its leases and gives no more.

use super::*;

#[test]
fn once_the_leases_are_logged_no_lease_is_given_that_the_log_would_not_know() {
    let mut rig = with_queue();
    rig.ask(1, attach(10));
    rig.ask(2, publish());
    rig.sync_all();
    assert_eq!(rig.grants().len(), 1);
    rig.request(3, ShardRequest::Flush);
    rig.sync_all();
    assert!(matches!(rig.reply(3), Some(ShardReply::Done)));
    rig.ask(4, publish());
    rig.sync_all();
    assert!(rig.reply(4).is_some(), "publishes are served to the end");
    assert_eq!(rig.grants().len(), 0);
}

#[test]
fn a_lease_that_is_extended_while_the_broker_leaves_is_logged_at_once() {
    let mut rig = with_queue();
    rig.ask(1, attach(10));
    rig.ask(2, publish());
    rig.sync_all();
    let items = rig.grants();
    rig.request(3, ShardRequest::Flush);
    rig.sync_all();
    let verdict = Verdict::Renew { millis: 600_000 };
    rig.ask(4, delivery::Request::Settle { stream: STREAM, items, verdict });
    assert!(rig.written.is_some(), "nobody comes back for it in a second");
}
