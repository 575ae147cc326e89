//! What does waiting for all in-sync replicas cost, against waiting for the minimum? Three replicas of the real
//! protocol in simulated time; one follower's disk stalls for 300 ms every 10 s. Both latencies are taken from the same
//! run: when everything in sync was durable (what the protocol waits for), and when `minInSyncReplicas` copies were.
//!
//! ```sh
//! cargo run --release -p pondage-replication --example commit_rule
//! ```

#![expect(clippy::disallowed_macros, reason = "a program whose output is a table")]

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BinaryHeap},
};

use bytes::Bytes;
use pondage_model::{Body, BrokerId, Epoch, Incarnation, LogTime, Member, Position, ShardId, StreamId};
use pondage_replication::{
    Assignment, Effect, EpochTable, Input, Message, Now, RecoveredLog, Replica, Timing,
};

const REPLICAS: u32 = 3;
const MINIMUM: usize = 2;
const SECONDS: u64 = 600;
/// One entry per millisecond.
const APPEND_EVERY_MICROS: u64 = 1_000;
const NETWORK_MICROS: u64 = 150;
const CATALOG_MICROS: u64 = 10_000;
const STALL_EVERY_MICROS: u64 = 10_000_000;
const STALL_MICROS: u64 = 300_000;
/// Whose disk stalls.
const STALLING: u32 = 2;

#[derive(Debug)]
enum Due {
    Append,
    Durable(u32, Position),
    Deliver { from: Member, to: u32, message: Message },
    Granted(Assignment),
    Tick,
}

struct World {
    micros: u64,
    order: u64,
    due: BTreeMap<u64, Due>,
    heap: BinaryHeap<Reverse<(u64, u64)>>,
    replicas: Vec<Replica>,
    row: Assignment,
    /// State of the random numbers.
    dice: u64,
    appended: BTreeMap<Position, u64>,
    /// By replica: everything below was known to be durable there, at the leader.
    held: Vec<Position>,
    waits_for_minimum: BTreeMap<Position, u64>,
    of_all: Vec<u64>,
    of_minimum: Vec<u64>,
    out_of_sync_micros: u64,
    left_at: Option<u64>,
}

fn main() {
    println!(
        "commit latency in ms over {SECONDS} simulated seconds, {} appends per second",
        1_000_000 / APPEND_EVERY_MICROS
    );
    println!("{:<44} {:>7} {:>7} {:>7} {:>7} {:>9}", "", "p50", "p99", "p99.9", "max", "in sync");
    let patient = Timing { slow_wait_millis: u64::MAX, ..Timing::default() };
    for (name, timing, stalls) in [
        ("no stall", Timing::default(), false),
        ("stall, slow followers stay", patient, true),
        ("stall, slow followers are dropped", Timing::default(), true),
    ] {
        let mut world = World::new(timing);
        world.run(stalls);
        let in_sync = 100.0 - world.out_of_sync_micros as f64 * 100.0 / (SECONDS * 1_000_000) as f64;
        for (rule, latencies) in [("all in sync", &mut world.of_all), ("minimum", &mut world.of_minimum)] {
            latencies.sort_unstable();
            let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize] as f64 / 1_000.0;
            println!(
                "{:<44} {:>7.2} {:>7.2} {:>7.2} {:>7.2} {:>8.1}%",
                format!("{name}: {rule}"),
                at(0.5),
                at(0.99),
                at(0.999),
                at(1.0),
                in_sync
            );
        }
    }
}

impl World {
    fn new(timing: Timing) -> Self {
        let member = |broker: u32| Member { broker: BrokerId(broker), incarnation: Incarnation(1) };
        let row = Assignment {
            epoch: Epoch(1),
            version: 1,
            leader: Some(BrokerId(0)),
            replicas: (0..REPLICAS).map(BrokerId).collect(),
            isr: (0..REPLICAS).map(member).collect(),
            min_in_sync_replicas: MINIMUM as u32,
        };
        let log = RecoveredLog { end: Position(0), epochs: EpochTable::default(), promised: Epoch(0) };
        let replica = |broker| Replica::recovered(ShardId(1), member(broker), timing, log.clone());
        Self {
            micros: 0,
            order: 0,
            due: BTreeMap::new(),
            heap: BinaryHeap::new(),
            replicas: (0..REPLICAS).map(replica).collect(),
            row,
            dice: 1,
            appended: BTreeMap::new(),
            held: vec![Position(0); REPLICAS as usize],
            waits_for_minimum: BTreeMap::new(),
            of_all: Vec::new(),
            of_minimum: Vec::new(),
            out_of_sync_micros: 0,
            left_at: None,
        }
    }

    fn run(&mut self, stalls: bool) {
        for replica in 0..REPLICAS {
            self.step(replica, Input::Assigned(self.row.clone()), stalls);
        }
        self.plan(1_000, Due::Append);
        self.plan(0, Due::Tick);
        while let Some(Reverse((at, order))) = self.heap.pop() {
            if at > SECONDS * 1_000_000 {
                break;
            }
            self.micros = at;
            let Some(due) = self.due.remove(&order) else { continue };
            match due {
                Due::Append => {
                    let now = self.now();
                    let leader = &mut self.replicas[0];
                    let entry = leader.append(
                        now.log_time,
                        StreamId(1),
                        Body::Command(Bytes::from_static(&[0; 1_024])),
                    );
                    self.appended.insert(entry.position, at);
                    self.waits_for_minimum.insert(entry.position, at);
                    self.flush(0, stalls);
                    self.plan(APPEND_EVERY_MICROS, Due::Append);
                }
                Due::Durable(replica, position) => {
                    if replica == 0 {
                        self.holds(0, position);
                    }
                    self.step(replica, Input::Durable(position), stalls);
                }
                Due::Deliver { from, to, message } => {
                    if let (0, Message::Ack { durable, .. }) = (to, &message) {
                        self.holds(from.broker.0, *durable);
                    }
                    self.step(to, Input::Message { from, message }, stalls);
                }
                Due::Granted(row) => {
                    if row.version == self.row.version + 1 {
                        let full = row.isr.len() == REPLICAS as usize;
                        if let (true, Some(left)) = (full, self.left_at) {
                            self.out_of_sync_micros += at - left;
                            self.left_at = None;
                        } else if !full && self.left_at.is_none() {
                            self.left_at = Some(at);
                        }
                        self.row = row.clone();
                        for replica in 0..REPLICAS {
                            self.step(replica, Input::Assigned(row.clone()), stalls);
                        }
                    }
                }
                Due::Tick => {
                    self.step(0, Input::Tick, stalls);
                    self.plan(50_000, Due::Tick);
                }
            }
        }
        if let Some(left) = self.left_at {
            self.out_of_sync_micros += SECONDS * 1_000_000 - left;
        }
    }

    fn now(&self) -> Now {
        let millis = self.micros / 1_000;
        Now { monotonic_millis: millis, log_time: LogTime(millis as i64) }
    }

    fn plan(&mut self, in_micros: u64, due: Due) {
        self.order += 1;
        self.due.insert(self.order, due);
        self.heap.push(Reverse((self.micros + in_micros, self.order)));
    }

    /// The leader knows that a replica holds everything below.
    fn holds(&mut self, replica: u32, position: Position) {
        let held = &mut self.held[replica as usize];
        *held = (*held).max(position);
        let mut sorted = self.held.clone();
        sorted.sort_unstable_by_key(|position| Reverse(*position));
        let waiting = self.waits_for_minimum.split_off(&sorted[MINIMUM - 1]);
        let done = std::mem::replace(&mut self.waits_for_minimum, waiting);
        self.of_minimum.extend(done.into_values().map(|at| self.micros - at));
    }

    fn step(&mut self, replica: u32, input: Input, stalls: bool) {
        let (now, mut effects) = (self.now(), Vec::new());
        self.replicas[replica as usize].step(now, input, &mut effects);
        self.perform(replica, effects, stalls);
        self.flush(replica, stalls);
    }

    fn flush(&mut self, replica: u32, stalls: bool) {
        let (now, mut effects) = (self.now(), Vec::new());
        self.replicas[replica as usize].flush(now, &mut effects);
        self.perform(replica, effects, stalls);
    }

    fn perform(&mut self, replica: u32, effects: Vec<Effect>, stalls: bool) {
        let from = self.replicas[replica as usize].member();
        for effect in effects {
            match effect {
                Effect::Write(batch) => {
                    let end = batch.entries.last().expect("a batch holds something").position.next();
                    let sync = self.sync_micros(replica, stalls);
                    self.plan(sync, Due::Durable(replica, end));
                }
                Effect::Persist(epoch) => {
                    let now = self.now();
                    self.replicas[replica as usize].step(now, Input::Persisted(epoch), &mut Vec::new());
                }
                Effect::Send { to, message } => {
                    let delay = NETWORK_MICROS + self.roll(100);
                    self.plan(delay, Due::Deliver { from, to: to.0, message });
                }
                Effect::RequestIsr(request) => {
                    let row =
                        Assignment { version: request.version + 1, isr: request.isr, ..self.row.clone() };
                    self.plan(CATALOG_MICROS, Due::Granted(row));
                }
                Effect::Committed(position) if replica == 0 => {
                    let waiting = self.appended.split_off(&position);
                    let done = std::mem::replace(&mut self.appended, waiting);
                    self.of_all.extend(done.into_values().map(|at| self.micros - at));
                }
                _ => {}
            }
        }
    }

    /// A sync takes a millisecond or two, as a cloud volume's does; one in a hundred up to 10 ms more. One that meets a
    /// stall ends with it.
    fn sync_micros(&mut self, replica: u32, stalls: bool) -> u64 {
        let tail = if self.roll(100) == 0 { self.roll(10_000) } else { 0 };
        let ends = self.micros + 1_000 + self.roll(1_000) + tail;
        let stall = ends / STALL_EVERY_MICROS * STALL_EVERY_MICROS;
        let meets = stalls && replica == STALLING && stall > 0 && ends < stall + STALL_MICROS;
        (if meets { stall + STALL_MICROS } else { ends }) - self.micros
    }

    /// A number below `sides` (`SplitMix64`, Steele et al., 2014).
    fn roll(&mut self, sides: u64) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }
}
