mod cluster;
mod deleting;
mod failing_over;
mod leftovers;
mod ordered_log;
mod readiness;
mod registering;
mod restoring;
mod viewing;
mod wishing;

use std::collections::BTreeMap;

use pondage_model::{
    Epoch, Name, Position, Refusal, ShardId, StreamId, Uuid,
    settings::{GroupSettings, GroupSource, QueueSettings, TopicSettings},
};
use pondage_storage::{Faults, HostileDisk, LogOptions, LogWriter};

use super::{
    AdminReply, AdminRequest, Coordinator, CoordinatorEffect, CoordinatorEvent, ResourceKind, ShardPosition,
};
use crate::{
    Now,
    boot::{Booted, Fresh, boot},
    shard::{Ensure, RequestId},
};

/// A coordinator whose writes are synced at once, and whose shards are played by the test.
struct Rig {
    coordinator: Coordinator,
    writer: LogWriter<HostileDisk>,
    said: Vec<CoordinatorEffect>,
    /// The epochs in which shards were told to lead.
    led: BTreeMap<ShardId, Epoch>,
}

/// One shard that was asked to do something.
struct Asked {
    id: RequestId,
    shard: ShardId,
    streams: Vec<Ensure>,
    groups: Option<Vec<String>>,
}

fn name(text: &str) -> Name {
    Name::new(text).expect("valid")
}

fn topic(partitions: u32) -> AdminRequest {
    AdminRequest::ApplyTopic(name("log"), TopicSettings { partitions, ..TopicSettings::default() })
}

fn queue(ack_timeout_millis: u64) -> AdminRequest {
    let settings = QueueSettings { ack_timeout_millis, ..QueueSettings::default() };
    AdminRequest::ApplyQueue(name("work"), settings)
}

fn group() -> AdminRequest {
    let source = GroupSource::Topics(vec![name("log")]);
    AdminRequest::ApplyGroup(name("readers"), GroupSettings::of(source))
}

fn delete(kind: ResourceKind, of: &str) -> AdminRequest {
    AdminRequest::Delete { kind, name: name(of), messages: 0 }
}

impl Rig {
    /// A broker that serves.
    fn new() -> Self {
        let mut rig = Self::start(&HostileDisk::new(1, Faults::default()));
        rig.serve();
        assert!(rig.is_ready());
        rig
    }

    fn start(disk: &HostileDisk) -> Self {
        let fresh = Fresh { cluster: Uuid([1; 16]), volume: Uuid([2; 16]), nonce: Uuid([3; 16]) };
        let Booted { coordinator, catalog_writer: writer, .. } =
            boot(disk, &LogOptions::default(), fresh, "here:1".to_owned()).expect("no faults");
        let mut rig = Self { coordinator, writer, said: Vec::new(), led: BTreeMap::new() };
        rig.step(CoordinatorEvent::Start);
        rig
    }

    fn step(&mut self, event: CoordinatorEvent) {
        let mut effects = Vec::new();
        self.coordinator.step(Now::default(), event, &mut effects);
        for effect in effects {
            match effect {
                CoordinatorEffect::Write(entries) => {
                    let written = self.writer.write(&entries).expect("no faults");
                    let synced = self.writer.sync(written).expect("no faults");
                    self.step(CoordinatorEvent::Synced(synced));
                }
                CoordinatorEffect::AskPosition(shard) => {
                    let position = ShardPosition {
                        shard,
                        epoch: Epoch::ZERO,
                        last_epoch: Epoch::ZERO,
                        end: Position::ZERO,
                        high_watermark: Position::ZERO,
                    };
                    self.step(CoordinatorEvent::Position(position));
                }
                other => self.said.push(other),
            }
        }
    }

    fn ask(&mut self, id: u64, request: AdminRequest) {
        self.step(CoordinatorEvent::Request { id: RequestId(id), request });
    }

    /// Every shard that was started serves and does all that it is asked.
    fn serve(&mut self) {
        for shard in self.started() {
            self.serving(shard);
        }
        loop {
            let asked = self.asked();
            if asked.is_empty() {
                break;
            }
            asked.into_iter().for_each(|asked| self.did(&asked));
        }
    }

    fn did(&mut self, asked: &Asked) {
        self.step(CoordinatorEvent::Ensured { id: asked.id, result: Ok(()) });
    }

    fn take<T>(&mut self, wanted: impl Fn(&CoordinatorEffect) -> Option<T>) -> Vec<T> {
        let mut found = Vec::new();
        self.said.retain(|effect| {
            let taken = wanted(effect);
            let keep = taken.is_none();
            found.extend(taken);
            keep
        });
        found
    }

    /// Shards that were told to lead in a new epoch.
    fn started(&mut self) -> Vec<ShardId> {
        let own = self.coordinator.registered().map(|member| member.broker);
        let assigned = self.take(|effect| match effect {
            CoordinatorEffect::Assign(shard, assignment) => Some((*shard, assignment.clone())),
            _ => None,
        });
        let mut started = Vec::new();
        for (shard, assignment) in assigned {
            let epoch = assignment.epoch;
            if assignment.leader.is_some()
                && assignment.leader == own
                && self.led.insert(shard, epoch).is_none_or(|before| before < epoch)
            {
                started.push(shard);
            }
        }
        started
    }

    fn serving(&mut self, shard: ShardId) {
        let epoch = self.led[&shard];
        self.step(CoordinatorEvent::Serving(shard, epoch));
    }

    /// Every shard that was to go is gone.
    fn removed(&mut self) {
        let removed = self.take(|effect| match effect {
            CoordinatorEffect::RemoveShard(shard) => Some(*shard),
            _ => None,
        });
        removed.into_iter().for_each(|shard| self.step(CoordinatorEvent::Removed(shard)));
    }

    fn asked(&mut self) -> Vec<Asked> {
        self.take(|effect| match effect {
            CoordinatorEffect::Ensure { id, shard, streams, complete } => Some(Asked {
                id: *id,
                shard: *shard,
                streams: streams.clone(),
                groups: complete.as_ref().map(|groups| groups.iter().map(ToString::to_string).collect()),
            }),
            _ => None,
        })
    }

    /// Names and how many partitions messages may go to, none if the name is gone.
    fn routes(&mut self) -> Vec<(String, usize)> {
        self.take(|effect| match effect {
            CoordinatorEffect::Route(name, route) => {
                Some((name.to_string(), route.as_ref().map_or(0, |route| route.partitions.len())))
            }
            _ => None,
        })
    }

    fn is_ready(&mut self) -> bool {
        !self.take(|effect| matches!(effect, CoordinatorEffect::Ready).then_some(())).is_empty()
    }

    fn fatal(&mut self) -> usize {
        self.take(|effect| matches!(effect, CoordinatorEffect::Fatal(_)).then_some(())).len()
    }

    fn reply(&mut self, wanted: u64) -> Option<Result<AdminReply, Refusal>> {
        self.take(|effect| match effect {
            CoordinatorEffect::Reply { id, result } if id.0 == wanted => Some(result.clone()),
            _ => None,
        })
        .pop()
    }

    fn is_answered(&mut self, id: u64) -> bool {
        self.reply(id).is_some()
    }

    fn stream_of_queue(&self) -> StreamId {
        self.coordinator.catalog().queue(&name("work")).expect("applied").place.stream
    }
}

fn lease_of(ensure: &Ensure) -> Option<u64> {
    Some(ensure.open.as_ref()?.settings.queue()?.ack_timeout_millis)
}

#[test]
fn nobody_is_sent_to_a_partition_before_it_is_there() {
    let mut rig = Rig::new();
    rig.ask(1, topic(1));
    assert_eq!(rig.routes(), [], "its shard does not serve yet");
    rig.serve();
    assert_eq!(rig.routes(), [("log".to_owned(), 1)]);
    rig.ask(2, topic(3));
    assert_eq!(rig.routes(), [], "those who publish go on with one partition");
    rig.serve();
    assert_eq!(rig.routes(), [("log".to_owned(), 3)]);
    rig.ask(3, topic(4));
    rig.ask(4, delete(ResourceKind::Topic, "log"));
    rig.serve();
    assert_eq!(rig.routes(), [("log".to_owned(), 0)], "what was applied before is not there any more");
}

#[test]
fn an_answer_waits_for_the_shard_that_does_its_part() {
    let mut rig = Rig::new();
    rig.ask(1, queue(1_000));
    let asked = rig.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!((asked[0].streams.len(), asked[0].groups.as_ref()), (1, None));
    assert!(!rig.is_answered(1));
    rig.did(&asked[0]);
    assert!(matches!(rig.reply(1), Some(Ok(AdminReply::Applied { .. }))));
}

#[test]
fn a_later_change_of_a_stream_never_arrives_before_an_earlier_one() {
    let mut rig = Rig::new();
    rig.ask(1, queue(1_000));
    let stream = rig.stream_of_queue();
    let first = rig.asked();
    rig.ask(2, queue(2_000));
    rig.ask(3, queue(3_000));
    rig.ask(4, delete(ResourceKind::Queue, "work"));
    assert_eq!(rig.asked().len(), 0, "the shard is asked one thing at a time");
    rig.did(&first[0]);
    assert!(rig.is_answered(1) && !rig.is_answered(2));
    let second = rig.asked();
    assert_eq!(second.len(), 1, "what came meanwhile goes together");
    assert_eq!(second[0].streams.len(), 1);
    assert_eq!(
        (second[0].streams[0].stream, lease_of(&second[0].streams[0])),
        (stream, None),
        "as it is now"
    );
    rig.did(&second[0]);
    assert!([2, 3, 4].into_iter().all(|id| rig.is_answered(id)));
}

#[test]
fn settings_are_those_of_the_moment_in_which_the_shard_is_asked() {
    let mut rig = Rig::new();
    rig.ask(1, queue(1_000));
    let first = rig.asked();
    rig.ask(2, queue(2_000));
    rig.did(&first[0]);
    assert_eq!(lease_of(&rig.asked()[0].streams[0]), Some(2_000));
}

#[test]
fn a_topic_that_is_deleted_while_its_shards_start_leaves_nobody_waiting() {
    let mut rig = Rig::new();
    rig.ask(1, topic(2));
    let started = rig.started();
    assert_eq!(started.len(), 2);
    rig.serving(started[0]);
    let asked = rig.asked();
    rig.ask(2, delete(ResourceKind::Topic, "log"));
    assert!(rig.is_answered(1), "its shards are gone: there is nothing to wait for");
    rig.removed();
    assert!(rig.is_answered(2));
    // What the shards say when they end changes nothing.
    rig.step(CoordinatorEvent::Ensured { id: asked[0].id, result: Err(Refusal::Interrupted) });
    rig.serving(started[1]);
    assert_eq!((rig.fatal(), rig.asked().len()), (0, 0));
}

#[test]
fn a_group_that_is_deleted_while_a_shard_of_its_topic_starts_harms_nobody() {
    let mut rig = Rig::new();
    rig.ask(1, topic(1));
    rig.ask(2, group());
    rig.serve();
    assert!(rig.is_answered(1) && rig.is_answered(2));
    rig.ask(3, topic(2));
    let started = rig.started();
    rig.ask(4, delete(ResourceKind::Group, "readers"));
    assert!(rig.asked().iter().all(|asked| asked.shard != started[0]), "it does not serve yet");
    rig.serving(started[0]);
    assert_eq!(rig.fatal(), 0);
}

#[test]
fn a_group_of_a_name_that_was_deleted_begins_when_the_old_cursors_are_forgotten() {
    let mut rig = Rig::new();
    rig.ask(1, topic(1));
    rig.ask(2, group());
    rig.serve();
    rig.ask(3, delete(ResourceKind::Group, "readers"));
    let (partitions, homes): (Vec<_>, Vec<_>) =
        rig.asked().into_iter().partition(|asked| asked.streams[0].dropped_groups == [name("readers")]);
    assert_eq!((partitions.len(), homes.len()), (1, 1));
    rig.did(&homes[0]);
    rig.ask(4, group());
    rig.serve();
    assert!(!rig.is_answered(3) && !rig.is_answered(4));
    rig.did(&partitions[0]);
    assert!(rig.is_answered(3) && rig.is_answered(4));
}

#[test]
fn after_a_start_a_shard_is_told_of_all_its_streams_and_of_every_group() {
    let disk = HostileDisk::new(1, Faults::default());
    let mut rig = Rig::start(&disk);
    rig.serve();
    rig.ask(1, topic(1));
    rig.ask(2, group());
    rig.ask(3, queue(1_000));
    rig.serve();
    drop(rig);
    disk.kill();
    let mut rig = Rig::start(&disk);
    assert!(!rig.is_ready());
    let started = rig.started();
    for shard in &started {
        rig.serving(*shard);
    }
    let asked = rig.asked();
    assert_eq!(asked.len(), started.len());
    assert_eq!(
        asked.iter().map(|asked| asked.streams.len()).sum::<usize>(),
        3,
        "the topic's, the queue's, the group's"
    );
    for asked in &asked {
        assert_eq!(asked.groups, Some(vec!["readers".to_owned()]));
        assert!(!rig.is_ready());
        rig.did(asked);
    }
    assert!(rig.is_ready());
}

#[test]
fn a_shard_that_serves_and_refuses_what_the_catalog_says_ends_the_broker() {
    let mut rig = Rig::new();
    rig.ask(1, queue(1_000));
    let asked = rig.asked();
    let result = Err(Refusal::Conflict { what: "no".to_owned() });
    rig.step(CoordinatorEvent::Ensured { id: asked[0].id, result });
    assert_eq!(rig.fatal(), 1);
}
