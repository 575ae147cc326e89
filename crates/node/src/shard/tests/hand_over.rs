//! Three brokers' replicas of one shard, joined by a network that delivers: leadership passes from one to another.

use pondage_replication::Message;

use super::*;

const LEASES: u32 = 1_000;
/// Log time that a lease lasts, by the queue's default.
const LEASE_MILLIS: u64 = 30_000;

/// The replicas of one shard, and what is under way between them.
struct Cluster {
    rigs: Vec<Rig>,
    row: Assignment,
    mail: Vec<(usize, usize, Message)>,
}

impl Cluster {
    fn new() -> Self {
        let member = |broker| Member { broker: BrokerId(broker), incarnation: Incarnation(1) };
        let row = Assignment {
            epoch: Epoch(1),
            version: 1,
            leader: Some(BrokerId(0)),
            replicas: (0..3).map(BrokerId).collect(),
            isr: (0..3).map(member).collect(),
            min_in_sync_replicas: 2,
        };
        let rigs = (0..3).map(|broker| Rig::of(&volume(), member(broker))).collect();
        let mut cluster = Self { rigs, row, mail: Vec::new() };
        cluster.assign();
        cluster
    }

    /// Tells everybody the row.
    fn assign(&mut self) {
        for rig in &mut self.rigs {
            rig.step(ShardEvent::Assigned(self.row.clone()));
        }
        self.settle();
    }

    /// The catalog makes another broker the leader.
    fn elect(&mut self, broker: usize) {
        self.row.epoch = self.row.epoch.next();
        self.row.version += 1;
        self.row.leader = Some(BrokerId(broker as u32));
        self.assign();
    }

    /// Delivers and syncs until nothing is under way.
    fn settle(&mut self) {
        loop {
            for (from, rig) in self.rigs.iter_mut().enumerate() {
                rig.sync_all();
                rig.said.retain(|effect| {
                    let ShardEffect::Send { to, message } = effect else { return true };
                    self.mail.push((from, to.0 as usize, message.clone()));
                    false
                });
            }
            if self.mail.is_empty() {
                return;
            }
            for (from, to, message) in std::mem::take(&mut self.mail) {
                let from = self.rigs[from].shard.replica().member();
                self.rigs[to].step(ShardEvent::Peer { from, message });
            }
        }
    }

    /// Time passes on every broker.
    fn pass(&mut self, millis: u64) {
        for rig in &mut self.rigs {
            rig.millis += millis;
            rig.step(ShardEvent::Wake);
        }
        self.settle();
    }

    /// Opens the queue at its leader, fills it, and gives every message to a consumer.
    fn lease_all(&mut self) -> Vec<(Offset, Lease)> {
        let settings = StreamSettings::Queue(QueueSettings::default());
        let open = Open { name: Name::new("orders").expect("valid"), partition: 0, settings };
        let wanted = Ensure {
            stream: STREAM,
            open: Some(open),
            begin: None,
            dead_letter: None,
            dropped_groups: Vec::new(),
        };
        self.rigs[0].ensure(1, wanted);
        for _ in 0..LEASES {
            self.rigs[0].ask(2, publish());
        }
        self.settle();
        self.rigs[0].ask(3, attach(LEASES));
        self.settle();
        self.rigs[0].grants()
    }

    fn grants_of(&mut self, broker: usize) -> Vec<(Offset, Lease)> {
        self.settle();
        self.rigs[broker].grants()
    }
}

#[test]
fn a_hand_over_gives_nothing_again_before_its_deadline() {
    let mut cluster = Cluster::new();
    let given = cluster.lease_all();
    assert_eq!(given.len(), LEASES as usize);

    cluster.rigs[0].step(ShardEvent::HandOver(BrokerId(1)));
    cluster.settle();
    let offered = |effect: &ShardEffect| matches!(effect, ShardEffect::HandOver { to: BrokerId(1), .. });
    assert!(cluster.rigs[0].said.iter().any(offered), "the follower has every lease");
    cluster.rigs[0].ask(4, publish());
    let refused = cluster.rigs[0].reply(4);
    assert!(matches!(refused, Some(ShardReply::Refused(Refusal::NotLeader { .. }))), "{refused:?}");

    cluster.elect(1);
    assert!(cluster.rigs[1].shard.is_serving());
    assert!(!cluster.rigs[0].shard.is_serving());
    cluster.rigs[1].ask(5, attach(LEASES));
    for _ in 0..29 {
        cluster.pass(1_000);
        assert_eq!(cluster.grants_of(1), [], "at {} ms", cluster.rigs[1].millis);
    }

    // The consumer goes on with its tokens at the new leader: half of them are accepted and never come again.
    let half = given.len() / 2;
    let items = given[..half].to_vec();
    let verdict = Verdict::Accept;
    cluster.rigs[1].ask(6, delivery::Request::Settle { stream: STREAM, items, verdict });
    cluster.pass(LEASE_MILLIS);
    cluster.pass(2_000);
    let mut again: Vec<_> = cluster.grants_of(1).into_iter().map(|(offset, _)| offset).collect();
    again.sort_unstable();
    let left: Vec<_> = given[half..].iter().map(|(offset, _)| *offset).collect();
    assert_eq!(again, left, "after their deadline the others are given again");
}

#[test]
fn without_a_hand_over_only_what_was_not_logged_comes_again_early() {
    let mut cluster = Cluster::new();
    let given = cluster.lease_all();
    // The leader is gone at once; nobody logged the leases.
    cluster.elect(1);
    cluster.rigs[1].ask(5, attach(LEASES));
    assert_eq!(cluster.grants_of(1).len(), given.len(), "an unlogged lease comes back at once");
}
