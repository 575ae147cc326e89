use pondage_model::{
    BrokerId, Epoch, Incarnation, Member, Name, Refusal, ShardId, Uuid,
    entry::Open,
    settings::{QueueSettings, StreamSettings},
};
use pondage_node::{
    boot::{Fresh, boot, open_shard},
    coordinator::{Assignment, CoordinatorEvent},
    disk::{FileDisk, LogOptions, open_promises},
    replication::Timing,
    shard::Ensure,
};
use tempfile::TempDir;

use super::*;
use crate::{
    clocks::Clocks, coordinator_task::AdminMessage, disk_threads::DiskThreads, handle::Handle,
    metrics::Metrics, promise_book::PromiseBook,
};

const SHARD: ShardId = ShardId(1);
const STREAM: StreamId = StreamId(7);

/// A shard's task with one queue, and nothing around it.
struct Rig {
    broker: Handle<FileDisk>,
    shard: ShardHandle<FileDisk>,
    said: mpsc::UnboundedReceiver<AdminMessage<FileDisk>>,
    _folder: TempDir,
}

fn member(broker: u32) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation(1) }
}

impl Rig {
    async fn start() -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let disk = FileDisk::new(folder.path());
        let fresh = Fresh { cluster: Uuid([1; 16]), volume: Uuid([2; 16]), nonce: Uuid([3; 16]) };
        let options = LogOptions::default();
        drop(boot(&disk, &options, fresh, "here:1".to_owned()).expect("a new volume"));
        let clocks = Clocks::start();
        let me = member(1);
        let opened = open_shard(&disk, &options, SHARD, me, Epoch::ZERO, Timing::default(), clocks.now())
            .expect("a new log");
        let disk_threads = DiskThreads::start(1).expect("a thread");
        let broker = Handle::new(mpsc::channel(1).0, Metrics::new());
        let (coordinator, mut said) = mpsc::unbounded_channel();
        let around = Surroundings {
            runtime: tokio::runtime::Handle::current(),
            promises: PromiseBook::new(open_promises(disk).expect("a journal"), disk_threads.clone()),
            disk: disk_threads,
            clocks,
            broker: broker.clone(),
            coordinator,
            member: None,
        };
        let shard = ShardTask::spawn(opened.shard, opened.writer, opened.reader, around);
        broker.add_shard(SHARD, shard.clone());
        drop(shard.events.send(Message::Event(ShardEvent::Assigned(Assignment::alone(me, Epoch(1))))));
        let serves = said.recv().await;
        assert!(matches!(serves, Some(AdminMessage::Event(CoordinatorEvent::Serving(SHARD, Epoch(1))))));
        let open = Open {
            name: Name::new("orders").expect("valid"),
            partition: 0,
            settings: StreamSettings::Queue(QueueSettings::default()),
        };
        let streams = vec![Ensure {
            stream: STREAM,
            open: Some(open),
            begin: None,
            dead_letter: None,
            dropped_groups: Vec::new(),
        }];
        let ensured = broker.ask(SHARD, ShardRequest::Ensure { streams, complete: None }).await;
        assert!(matches!(ensured, Ok(ShardReply::Ensured)));
        Self { broker, shard, said, _folder: folder }
    }

    /// Asks without end, many at a time.
    fn flood(&self) -> tokio::task::JoinHandle<()> {
        let events = self.shard.events.clone();
        tokio::spawn(async move {
            loop {
                let (answer, last) = oneshot::channel();
                let others = (0..10_000).map(|_| oneshot::channel().0);
                for answer in others.chain([answer]) {
                    events.send(Message::Position(answer)).expect("the task runs");
                }
                last.await.expect("the task answers");
            }
        })
    }

    /// Attaches as consumer 1, and hears nothing from then on.
    async fn attach_and_leave(&self) -> Result<ShardReply, Refusal> {
        let consumer = ConsumerId(1);
        let request = ShardRequest::Delivery(delivery::Request::Attach {
            stream: STREAM,
            consumer,
            credit: 1,
            lease_millis: None,
            once: false,
        });
        let (answer, reply) = oneshot::channel();
        let (grants, _) = mpsc::unbounded_channel();
        let message = Message::Attach(request, STREAM, consumer, grants, answer);
        self.shard.requests.send(message).await.expect("the task runs");
        match reply.await.expect("an answer") {
            ShardReply::Delivery(delivery::Reply::Refused(refusal)) => Err(refusal),
            other => Ok(other),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whoever_attached_and_listens_no_more_is_detached_though_no_message_ever_comes() {
    let rig = Rig::start().await;
    rig.attach_and_leave().await.expect("attached");
    tokio::time::sleep(MAINTENANCE_INTERVAL * 2).await;
    rig.attach_and_leave().await.expect("the first one is gone");
}

#[tokio::test]
async fn time_passes_for_a_shard_that_is_never_idle() {
    let mut rig = Rig::start().await;
    // Two that ask in turns: there is always another event behind the one that is taken.
    let floods = [rig.flood(), rig.flood()];
    let (me, silent) = (member(1), member(2));
    let row = Assignment {
        replicas: vec![me.broker, silent.broker],
        isr: vec![me, silent],
        ..Assignment::alone(me, Epoch(2))
    };
    drop(rig.shard.events.send(Message::Event(ShardEvent::Assigned(row))));
    let waiting = tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            if let Some(AdminMessage::Event(CoordinatorEvent::IsrWanted(change))) = rig.said.recv().await {
                break change.isr;
            }
        }
    });
    let wanted = waiting.await.expect("whoever is silent is missed");
    assert_eq!(wanted, [me]);
    floods.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn what_waits_when_a_shard_ends_has_an_answer() {
    let rig = Rig::start().await;
    let ids = 0..50u64;
    let asked: Vec<_> = ids
        .map(|_| {
            let broker = rig.broker.clone();
            tokio::spawn(async move { broker.ask(SHARD, ShardRequest::Stats(None)).await })
        })
        .collect();
    let removed = rig.broker.remove_shard(SHARD).expect("it is there");
    removed.stop().await;
    for answer in asked {
        match answer.await.expect("no panic") {
            Ok(ShardReply::Stats(_))
            | Err(Refusal::Interrupted | Refusal::ShuttingDown | Refusal::NotLeader { .. }) => {}
            other => panic!("{other:?}"),
        }
    }
}
