//! A session on partitions of a topic: follows their committed ends, reads below them, commits for its group.

use std::{
    future::pending as never,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use futures_util::{StreamExt, future::select_all, stream::FuturesUnordered};
use pondage_model::{Code, GroupEpoch, Name, Offset, Refusal, limits};
use pondage_node::{
    delivery::{Reply, Request},
    disk::Disk,
    shard::{ReaderId, ShardRequest},
};
use pondage_protocol::{
    consume::{Assigned, StartAt, Step},
    delivery::Delivery,
    v1::{self, consume_response},
};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};

use super::{
    super::{
        Place, Services,
        bodies::{CHUNK_BYTES, publishes},
        outbound::Outbound,
        partition_of, places_of,
    },
    End, Inbound, LOOK_INTERVAL, PENDING_MAX, cut_short, response,
};
use crate::handle::{Handle, Progress};

/// What the consumer asked for.
pub(super) struct Wanted {
    pub(super) name: Name,
    /// None: all.
    pub(super) partitions: Vec<u32>,
    pub(super) group: Option<Name>,
    pub(super) start: Option<StartAt>,
    /// In place of `start`, by partition.
    pub(super) starts: Vec<(u32, StartAt)>,
    /// Of a member of the group: what its claims rest on.
    pub(super) assignment: Option<Assigned>,
}

/// A partition that is read.
struct Reader {
    place: Place,
    id: ReaderId,
    progress: watch::Receiver<Progress>,
    /// The next message to send.
    position: Offset,
    /// The group's ownership.
    epoch: Option<GroupEpoch>,
    /// The newest ownership of the group's cursor.
    newest: Option<watch::Receiver<GroupEpoch>>,
    caught_up: bool,
}

impl Reader {
    /// Who owns the group's cursor, if that is somebody else by now.
    fn overtaken(&self) -> Option<GroupEpoch> {
        let (own, newest) = (self.epoch?, *self.newest.as_ref()?.borrow());
        (newest > own).then_some(newest)
    }

    /// Waits until there is something to read, or the cursor is somebody else's; fails when nobody tells any more.
    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        let own = self.epoch.unwrap_or(GroupEpoch(u64::MAX));
        let overtaken = async {
            match &mut self.newest {
                Some(newest) => newest.wait_for(|newest| *newest > own).await.map(drop),
                None => never().await,
            }
        };
        tokio::select! {
            changed = self.progress.changed() => changed,
            overtaken = overtaken => overtaken,
        }
    }
}

/// What is left of the credit. A batch is never cut, so it may go below zero.
#[derive(Default)]
struct Credit {
    messages: AtomicI64,
    more: Notify,
}

impl Credit {
    fn add(&self, add: u32) {
        let most = i64::from(limits::CREDIT_MAX);
        let raise = |have: i64| Some(have.saturating_add(i64::from(add)).min(most));
        // The update can't fail: it never declines.
        let _ = self.messages.fetch_update(Ordering::Relaxed, Ordering::Relaxed, raise);
        self.more.notify_one();
    }

    fn take(&self, count: u32) {
        self.messages.fetch_sub(i64::from(count), Ordering::Relaxed);
    }

    fn is_left(&self) -> bool {
        self.messages.load(Ordering::Relaxed) > 0
    }

    async fn wait(&self) {
        while !self.is_left() {
            self.more.notified().await;
        }
    }
}

/// Serves a reader of a topic until it ends.
pub(super) async fn serve<D: Disk>(
    services: &Services<D>,
    inbound: Inbound,
    out: &Outbound<v1::ConsumeResponse>,
    wanted: Wanted,
    credit: u32,
) -> End {
    let mut readers = Vec::new();
    let begun = begin(services, &wanted, &mut readers).await;
    let following: Vec<_> = readers.iter().map(|reader| (reader.place, reader.id)).collect();
    let _attached: Vec<_> =
        following.iter().map(|(place, _)| services.metrics().attached(place.stream)).collect();
    let end = match begun {
        Ok(()) => attend(services, inbound, out, &wanted, readers, credit).await,
        Err(refusal) => {
            drop(readers);
            End::Failed(refusal)
        }
    };
    for (place, reader) in following {
        let request = ShardRequest::Unfollow { stream: place.stream, reader };
        // A shard that is gone tells nobody anything.
        drop(services.handle().ask(place.shard, request).await);
        if let Some(group) = &wanted.group {
            services.handle().cursors().unwatch(place.stream, group);
        }
    }
    if end == End::Closed {
        let closed = consume_response::Step::Closed(v1::ConsumeClosed {});
        drop(out.send(response(closed)).await);
    }
    end
}

/// Follows the partitions and finds where to begin, for a group by claiming them.
async fn begin<D: Disk>(
    services: &Services<D>,
    wanted: &Wanted,
    readers: &mut Vec<Reader>,
) -> Result<(), Refusal> {
    let route = services.topic(&wanted.name)?;
    if let (Some(group), Some(assigned)) = (&wanted.group, wanted.assignment)
        && services.handle().group(group).await?.home.0 != assigned.home
    {
        // It was given the partitions by an earlier group of this name.
        return Err(Refusal::Fenced { by: GroupEpoch::ZERO });
    }
    let group_start = match &wanted.group {
        Some(group) => Some(services.group_start(group, &wanted.name).await?),
        None => None,
    };
    let places: Vec<Place> = if wanted.partitions.is_empty() {
        places_of(&route).collect()
    } else {
        wanted.partitions.iter().map(|number| partition_of(&route, *number)).collect::<Result<_, _>>()?
    };
    for (partition, _) in &wanted.starts {
        if !places.iter().any(|place| place.partition == *partition) {
            let what = format!("start.topic.starts: partition {partition} is not read");
            return Err(Refusal::InvalidArgument { what });
        }
    }
    for place in places {
        let (id, progress) = services.handle().follow(place.shard, place.stream).await?;
        let Progress { start, end } = *progress.borrow();
        readers.push(Reader {
            place,
            id,
            progress,
            position: start,
            epoch: None,
            newest: None,
            caught_up: false,
        });
        let reader = readers.last_mut().expect("just pushed");
        let of_partition =
            wanted.starts.iter().find(|(number, _)| *number == place.partition).map(|(_, at)| *at);
        let at = of_partition.or(wanted.start).or(group_start).unwrap_or(StartAt::Earliest);
        let position = services.resolve(place, at, Progress { start, end }).await?;
        match &wanted.group {
            None if (start..=end).contains(&position) => reader.position = position,
            None => return Err(Refusal::OutOfRange { offset: position, start, end }),
            Some(group) => {
                let (stream, group) = (place.stream, group.clone());
                let owner = wanted.assignment.map(|assigned| assigned.since);
                reader.newest = Some(services.handle().cursors().watch(stream, &group));
                let claim = Request::Claim { stream, group: group.clone(), start: position, owner };
                if let Reply::Claimed { epoch, offset } =
                    services.handle().deliver(place.shard, claim).await?
                {
                    services.handle().cursors().moved(stream, &group, epoch);
                    reader.epoch = Some(epoch);
                    reader.position = offset.max(start);
                }
            }
        }
    }
    Ok(())
}

async fn attend<D: Disk>(
    services: &Services<D>,
    mut inbound: Inbound,
    out: &Outbound<v1::ConsumeResponse>,
    wanted: &Wanted,
    readers: Vec<Reader>,
    first_credit: u32,
) -> End {
    let started = readers.iter().map(|reader| v1::StartedPartition {
        partition: reader.place.partition,
        offset: reader.position.0,
        group_epoch: reader.epoch.map_or(0, GroupEpoch::get),
        end_offset: reader.progress.borrow().end.0,
    });
    let started = v1::ConsumeStarted { partitions: started.collect(), lease_millis: 0 };
    if out.send(response(consume_response::Step::Started(started))).await.is_err() {
        return End::Lost;
    }
    let owned: Vec<(Place, Option<GroupEpoch>)> =
        readers.iter().map(|reader| (reader.place, reader.epoch)).collect();
    let credit = Arc::new(Credit::default());
    credit.add(first_credit);
    let sending =
        Sender { handle: services.handle().clone(), topic: wanted.name.clone(), out: out.clone(), readers };
    let mut sender = tokio::spawn(sending.run(Arc::clone(&credit)));
    let session = Session { services, out, wanted, owned: &owned };
    let end = session.attend(&mut inbound, &credit, &mut sender).await;
    cut_short(sender).await;
    end
}

struct Session<'a, D: Disk> {
    services: &'a Services<D>,
    out: &'a Outbound<v1::ConsumeResponse>,
    wanted: &'a Wanted,
    owned: &'a [(Place, Option<GroupEpoch>)],
}

impl<D: Disk> Session<'_, D> {
    async fn attend(&self, inbound: &mut Inbound, credit: &Credit, sender: &mut JoinHandle<End>) -> End {
        let mut pending = FuturesUnordered::new();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        let stopping = self.services.0.stopping.clone();
        let end = loop {
            let step = tokio::select! {
                biased;
                () = stopping.cancelled() => break End::Stopping,
                () = self.out.closed() => break End::Lost,
                Some((request_id, result)) = pending.next(), if !pending.is_empty() => {
                    match self.committed(request_id, result).await {
                        Ok(()) => continue,
                        Err(end) => break end,
                    }
                }
                ended = &mut *sender => break ended.unwrap_or(End::Failed(Refusal::Interrupted)),
                step = inbound.next(), if pending.len() < PENDING_MAX => match step {
                    Ok(step) => step,
                    Err(end) => break end,
                },
                _ = look.tick() => match self.still_there() {
                    Ok(()) => continue,
                    Err(refusal) => break End::Failed(refusal),
                },
            };
            match step {
                Step::Credit(add) => credit.add(add),
                Step::Commit { request_id, partition, offset } => {
                    let answer = match self.commit(partition, offset) {
                        Ok((place, request)) => self.services.handle().submit(place.shard, request).await,
                        Err(refusal) if refusal.code() == Code::ProtocolState => {
                            break End::Expelled(refusal);
                        }
                        Err(refusal) => Err(refusal),
                    };
                    pending.push(async move {
                        let result = match answer {
                            Ok(answer) => answer.get().await.map(drop),
                            Err(refusal) => Err(refusal),
                        };
                        (request_id, result)
                    });
                }
                Step::Close => break End::Closed,
                Step::Start { .. } | Step::Settle { .. } | Step::Stop => {
                    break End::Expelled(Refusal::ProtocolState { what: "not a step of a topic's reader" });
                }
            }
        };
        if end == End::Lost {
            return end;
        }
        while let Some((request_id, result)) = pending.next().await {
            if let Err(fenced_or_lost) = self.committed(request_id, result).await {
                return fenced_or_lost;
            }
        }
        end
    }

    fn commit(&self, partition: u32, offset: Offset) -> Result<(Place, Request), Refusal> {
        let Some(group) = &self.wanted.group else {
            return Err(Refusal::ProtocolState { what: "a reader without a group has no cursor to commit" });
        };
        let owned = self.owned.iter().find(|(place, _)| place.partition == partition);
        match owned {
            Some((place, Some(epoch))) => {
                let (stream, group, epoch) = (place.stream, group.clone(), *epoch);
                Ok((*place, Request::Commit { stream, group, epoch, offset }))
            }
            _ => {
                let what = format!("commit.partition: {partition} is not read by this stream");
                Err(Refusal::InvalidArgument { what })
            }
        }
    }

    /// Tells how a commit ended. Whoever lost its partitions to another owner is told to stop.
    async fn committed(&self, request_id: u64, result: Result<(), Refusal>) -> Result<(), End> {
        let refusal = result.err();
        let error = refusal.as_ref().map(|refusal| self.services.error(refusal));
        let committed = consume_response::Step::Committed(v1::ConsumeCommitted { request_id, error });
        self.out.send(response(committed)).await?;
        match refusal {
            Some(refusal) if refusal.code() == Code::Fenced => Err(End::Failed(refusal)),
            _ => Ok(()),
        }
    }

    /// A topic that is deleted tells its readers nothing.
    fn still_there(&self) -> Result<(), Refusal> {
        let route = self.services.topic(&self.wanted.name)?;
        let same = self.owned.iter().all(|(place, _)| partition_of(&route, place.partition) == Ok(*place));
        if same { Ok(()) } else { Err(gone(&self.wanted.name)) }
    }
}

fn gone(topic: &Name) -> Refusal {
    Refusal::NotFound { kind: "topic", name: topic.to_string() }
}

/// Reads and sends, as far as the credit goes.
struct Sender<D: Disk> {
    handle: Handle<D>,
    topic: Name,
    out: Outbound<v1::ConsumeResponse>,
    readers: Vec<Reader>,
}

impl<D: Disk> Sender<D> {
    async fn run(mut self, credit: Arc<Credit>) -> End {
        loop {
            let mut sent = false;
            if let Some(by) = self.readers.iter().find_map(Reader::overtaken) {
                return End::Failed(Refusal::Fenced { by });
            }
            // One chunk of each partition in turn: none waits for another's backlog.
            for index in 0..self.readers.len() {
                match self.send_chunk(index, &credit).await {
                    Ok(some) => sent |= some,
                    Err(end) => return end,
                }
            }
            if sent {
                credit.wait().await;
            } else {
                let changes = self.readers.iter_mut().map(|reader| Box::pin(reader.changed()));
                let changed = async {
                    if changes.len() == 0 {
                        return never().await;
                    }
                    let (changed, index, _) = select_all(changes).await;
                    (changed, index)
                };
                tokio::select! {
                    (changed, index) = changed => if changed.is_err() {
                        return End::Failed(self.lost(index));
                    },
                    // Without credit there may be something to read all the same.
                    () = credit.more.notified() => {}
                }
            }
        }
    }

    /// Why nobody tells of a partition any more: its topic is deleted, or another broker leads it.
    fn lost(&self, index: usize) -> Refusal {
        let Place { shard, stream, .. } = self.readers[index].place;
        match self.handle.route_of(stream) {
            Some(_) => self.handle.not_leader(shard),
            None => gone(&self.topic),
        }
    }

    /// Whether anything was read.
    async fn send_chunk(&mut self, index: usize, credit: &Credit) -> Result<bool, End> {
        let reader = &mut self.readers[index];
        let Progress { start, end } = *reader.progress.borrow_and_update();
        reader.position = reader.position.max(start);
        let (place, from) = (reader.place, reader.position);
        let waits = from < end;
        if waits && !credit.is_left() {
            return Ok(false);
        }
        if waits {
            let read = self.handle.read_stream(place.shard, place.stream, from, CHUNK_BYTES).await;
            let mut found = false;
            for publish in publishes(read.map_err(End::Failed)?) {
                let batch_end = publish.base_offset.plus(u64::from(publish.count));
                let first = publish.base_offset.max(reader.position);
                if batch_end > end || !credit.is_left() {
                    break;
                }
                if first >= batch_end {
                    continue;
                }
                found = true;
                let count = u32::try_from(batch_end.0 - first.0).unwrap_or(publish.count);
                let bytes = publish.batch.len();
                let delivery = Delivery {
                    source: self.topic.clone(),
                    partition: place.partition,
                    shard: place.shard,
                    stream: place.stream,
                    batch: publish.batch,
                    leases: Vec::new(),
                    first,
                    count,
                };
                let step = consume_response::Step::Delivery(delivery.into());
                self.out.send_body(response(step), bytes).await?;
                credit.take(count);
                reader.position = batch_end;
            }
            if !found {
                // What is committed is in the log: where nothing is found there is nothing any more.
                reader.position = end;
            }
        }
        if reader.position >= end && !reader.caught_up {
            reader.caught_up = true;
            let caught_up = v1::CaughtUp { partition: place.partition, end_offset: end.0 };
            self.out.send(response(consume_response::Step::CaughtUp(caught_up))).await?;
        }
        Ok(waits)
    }
}
