//! The clients of a run: publishers at a steady rate, consumers that settle, readers; and the record of all of it.

mod audit;
mod consume;
mod content;
mod publish;
mod read;
mod recorder;
mod runtime;

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result, bail};
use pondage_client::{Client, Options, Settings, Tls};
use pondage_model::{
    Name, StreamId,
    settings::{QueueSettings, TopicSettings},
};
use tokio::{sync::watch, task::JoinSet, time::timeout};

pub use audit::Findings;
pub use recorder::{Ack, History, Recorder, Unanswered};
pub use runtime::Inside;

/// The queues that are published to.
const QUEUES: [&str; 3] = ["orders", "payments", "mails"];
/// The topic that is published to, and read.
const TOPIC: &str = "events";
/// Its partitions.
const PARTITIONS: u32 = 3;
/// Publishers of each queue, and of the topic.
const PUBLISHERS: usize = 2;
/// Consumers of each queue.
const CONSUMERS: usize = 2;
/// How long a consumer may hold a message: what a lost consumer held comes back after that.
const ACK_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a question of the harness itself may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a message is tried before it ends as unknown.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(60);

/// What the clients do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Messages published in a second, over all queues and partitions.
    pub rate: u32,
    /// Copies of everything.
    pub replicas: u32,
    /// Copies that must be durable before an answer.
    pub min_in_sync_replicas: u32,
    /// Decides what is released.
    pub seed: u64,
}

/// How the clients find the brokers.
#[derive(Clone, Debug)]
pub struct Access {
    /// Addresses, each of which will do.
    pub addresses: Vec<String>,
    /// What to show and to believe, if brokers speak TLS.
    pub tls: Option<Tls>,
}

/// Everything that is published to, as the history names it.
pub(crate) fn streams() -> impl Iterator<Item = StreamId> {
    let count = QUEUES.len() as u64 + u64::from(PARTITIONS);
    (1..=count).map(StreamId)
}

/// A queue in the history.
const fn queue_stream(queue: usize) -> StreamId {
    StreamId(1 + queue as u64)
}

/// A partition in the history.
const fn partition_stream(partition: u32) -> StreamId {
    StreamId(1 + QUEUES.len() as u64 + partition as u64)
}

/// The clients at work.
#[derive(Debug)]
pub struct Load {
    recorder: Arc<Recorder>,
    access: Access,
    inside: Inside,
    publishing: JoinSet<Result<()>>,
    consuming: JoinSet<Result<()>>,
    reading: JoinSet<Result<()>>,
    shared: Arc<Shared>,
    stop_publishing: watch::Sender<bool>,
    stop_consuming: watch::Sender<bool>,
}

/// What the clients know of each other.
#[derive(Debug)]
struct Shared {
    recorder: Arc<Recorder>,
    access: Access,
    plan: Plan,
}

impl Shared {
    async fn connect(&self) -> Result<Client> {
        connect(&self.access).await
    }
}

/// Connects as those do who follow the defaults.
pub(crate) async fn connect(access: &Access) -> Result<Client> {
    let options = Options { tls: access.tls.clone(), ..Options::default() };
    Ok(Client::connect(&access.addresses.join(","), options).await?)
}

impl Load {
    /// Creates the queues and the topic, and begins.
    ///
    /// # Errors
    /// If the brokers do not take them.
    pub fn start(inside: Inside, access: Access, plan: Plan) -> Result<Self> {
        let recorder = Arc::new(Recorder::start());
        let shared = Arc::new(Shared { recorder: recorder.clone(), access: access.clone(), plan });
        let (stop_publishing, is_published) = watch::channel(false);
        let (stop_consuming, is_consumed) = watch::channel(false);
        let mut load = Self {
            recorder,
            access,
            inside,
            publishing: JoinSet::new(),
            consuming: JoinSet::new(),
            reading: JoinSet::new(),
            shared: shared.clone(),
            stop_publishing,
            stop_consuming,
        };
        let creating = shared.clone();
        load.inside.run(async move { create(&creating).await })?;
        for stream in QUEUES.iter().enumerate().map(|(queue, _)| queue_stream(queue)) {
            load.recorder.introduce_queue(stream);
        }
        for partition in 0..PARTITIONS {
            load.recorder.introduce_log(partition_stream(partition));
        }
        let handle = load.inside.handle();
        for queue in 0..QUEUES.len() {
            for number in 0..CONSUMERS {
                let worker = consume::work(shared.clone(), queue, number, is_consumed.clone());
                load.consuming.spawn_on(worker, &handle);
            }
        }
        load.reading.spawn_on(read::follow(shared.clone(), is_consumed), &handle);
        for target in 0..=QUEUES.len() {
            for number in 0..PUBLISHERS {
                let publisher = publish::publish(shared.clone(), target, number, is_published.clone());
                load.publishing.spawn_on(publisher, &handle);
            }
        }
        Ok(load)
    }

    /// The record.
    #[must_use]
    pub fn recorder(&self) -> &Recorder {
        &self.recorder
    }

    /// Where clients work; for questions of the harness itself.
    #[must_use]
    pub const fn inside(&self) -> &Inside {
        &self.inside
    }

    /// Asks the cluster something as a client.
    ///
    /// # Errors
    /// Those of the question.
    pub fn ask<T: Send + 'static, F>(&self, question: impl FnOnce(Client) -> F + Send + 'static) -> Result<T>
    where
        F: Future<Output = Result<T>> + Send,
    {
        let access = self.access.clone();
        let asking = async move { question(connect(&access).await?).await };
        self.inside.run(async move {
            timeout(ASK_TIMEOUT, asking)
                .await
                .unwrap_or_else(|_| bail!("no answer after {} s", ASK_TIMEOUT.as_secs()))
        })
    }

    /// Whether all clients still work.
    ///
    /// # Errors
    /// With what ended one.
    pub fn check(&mut self) -> Result<()> {
        for tasks in [&mut self.publishing, &mut self.consuming, &mut self.reading] {
            if let Some(ended) = tasks.try_join_next() {
                ended?.context("a client ended")?;
            }
        }
        Ok(())
    }

    /// Ends the publishers, and waits until every publish has an answer.
    ///
    /// # Errors
    /// With what ended one too early.
    pub fn stop_publishing(&mut self) -> Result<()> {
        let _ = self.stop_publishing.send(true);
        self.inside.wait_for(&mut self.publishing)
    }

    /// Ends everything, and judges what there is: all of a run behind an [`Load::audit`].
    #[must_use]
    pub fn finish(self) -> (Findings, History) {
        let (report, history) = self.recorder.finish();
        (Findings { report, problems: self.recorder.problems() }, history)
    }

    /// Waits until the queues are empty, has `restart` done in between, reads the topic and ends all clients.
    ///
    /// # Errors
    /// If the brokers do not answer.
    pub fn audit(&mut self, restart: impl FnOnce() -> Result<()>) -> Result<()> {
        self.stop_publishing()?;
        self.inside.run(audit::drain(self.shared.clone()))?;
        restart()?;
        // What a broker forgot of the settles would come again.
        std::thread::sleep(ACK_TIMEOUT);
        self.inside.run(audit::drain(self.shared.clone()))?;
        let _ = self.stop_consuming.send(true);
        self.inside.wait_for(&mut self.consuming)?;
        self.inside.wait_for(&mut self.reading)?;
        self.inside.run(audit::read_all(self.shared.clone()))?;
        for queue in 0..QUEUES.len() {
            self.recorder.drained(queue_stream(queue));
        }
        Ok(())
    }
}

async fn create(shared: &Shared) -> Result<()> {
    let client = shared.connect().await?;
    let Plan { replicas, min_in_sync_replicas, .. } = shared.plan;
    let (replicas, min_in_sync_replicas) = (Some(replicas), Some(min_in_sync_replicas));
    for name in QUEUES {
        let settings = QueueSettings {
            replicas,
            min_in_sync_replicas,
            ack_timeout_millis: ACK_TIMEOUT.as_millis() as u64,
            max_deliveries: 0,
            ..QueueSettings::default()
        };
        client
            .apply(Name::new(name)?, Settings::Queue(settings))
            .await
            .with_context(|| format!("creating {name}"))?;
    }
    let settings =
        TopicSettings { partitions: PARTITIONS, replicas, min_in_sync_replicas, ..TopicSettings::default() };
    client
        .apply(Name::new(TOPIC)?, Settings::Topic(settings))
        .await
        .with_context(|| format!("creating {TOPIC}"))?;
    Ok(())
}
