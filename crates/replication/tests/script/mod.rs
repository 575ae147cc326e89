//! The language of the scripts. One command a line; `#` begins a comment; lines that are indented are what the
//! command before them led to, and are written by the interpreter.
//!
//! | command | meaning |
//! |---|---|
//! | `cluster 1,2,3 min=2` | brokers with empty volumes, each started once |
//! | `log 1 1:3 2:2` | before its start: broker 1's volume holds three entries of epoch 1, two of epoch 2 |
//! | `reclaim 1 0..5` | the volume's entries there are gone, the epoch table stays |
//! | `assign * epoch=1 leader=1 isr=1,2,3` | the catalog's next row, told to these replicas; `2.1` names a start; `version=` an older row |
//! | `tell 2` | the catalog's row as it is |
//! | `append 1 x3`, `confirm 1` | three entries in one batch; ask for a round |
//! | `deliver 1->2`, `... x2`, `... last`, `... all` | the oldest message, two, the newest, all |
//! | `drop 1->2`, `drop 1->2 all`, `repeat 1->2` | lose; duplicate the oldest at the end |
//! | `durable 2`, `persisted 2`, `read 1`, `read 1 nothing`, `read 1 stale` | the disk is done; a read of what was there before a cut |
//! | `settle 1,2,3` | messages and disks among these until nothing moves; shows no messages |
//! | `tick 1 +250`, `time +250` | the clock moves on; the replica is told |
//! | `link 1 2 down` | broker 1 is told that its connection to 2 is down |
//! | `crash 2`, `crash 2 kept`, `restart 2`, `restart 2 wiped` | un-synced entries are lost, or not |
//! | `image 2`, `restart 2 image` | keep a copy of the volume; start on it |
//! | `grant 1`, `grant 1 unheard` | the catalog does what 1 asked last, and tells everybody, or nobody |
//! | `handover 1 2`, `keep 1`, `leave 2`, `fault 2`, `status 2` | |
//! | `hear 1->2 stale epoch=9` | a message that nobody sent: `hello`, `stale`, `align`, `behind`, `push` |

mod made_up;
pub(crate) mod print;
mod words;

use std::collections::{BTreeMap, VecDeque};

use made_up::{entry, made_up};
use pondage_model::{BrokerId, Epoch, Incarnation, Member};
use pondage_replication::{Assignment, Effect, Input, IsrRequest, Message, Now, Timing};
use words::Words;

use crate::cluster::{Host, Torn, Volume, catalog::Catalog, now};

/// Runs a script and returns it with what it leads to.
pub(crate) fn run(text: &str) -> String {
    let mut out = String::new();
    let mut world = World::new();
    for line in text.lines() {
        if line.starts_with(' ') {
            continue;
        }
        out += line;
        out.push('\n');
        let command = line.split('#').next().unwrap_or_default().trim();
        if !command.is_empty() {
            world.perform(&Words::of(command));
            for said in world.said.drain(..) {
                out += "    ";
                out += &said;
                out.push('\n');
            }
        }
    }
    out
}

struct World {
    millis: u64,
    hosts: BTreeMap<BrokerId, Host>,
    images: BTreeMap<BrokerId, Volume>,
    links: BTreeMap<(BrokerId, BrokerId), VecDeque<(Member, Message)>>,
    catalog: Catalog,
    requests: BTreeMap<BrokerId, IsrRequest>,
    appended: u64,
    said: Vec<String>,
    /// Messages are not worth showing.
    quiet: bool,
}

impl World {
    fn new() -> Self {
        let row = Assignment {
            epoch: Epoch::ZERO,
            version: 0,
            leader: None,
            replicas: Vec::new(),
            isr: Vec::new(),
            min_in_sync_replicas: 1,
        };
        Self {
            millis: 1_000,
            hosts: BTreeMap::new(),
            images: BTreeMap::new(),
            links: BTreeMap::new(),
            catalog: Catalog { row, incarnations: BTreeMap::new() },
            requests: BTreeMap::new(),
            appended: 0,
            said: Vec::new(),
            quiet: false,
        }
    }

    fn now(&self) -> Now {
        now(self.millis)
    }

    fn host(&mut self, broker: BrokerId) -> &mut Host {
        self.hosts.get_mut(&broker).unwrap_or_else(|| panic!("no broker {}", broker.0))
    }

    fn start(&mut self, broker: BrokerId) {
        self.host(broker).start(Timing::default());
        let incarnation = self.host(broker).incarnation;
        self.catalog.incarnations.insert(broker, incarnation);
        self.state(broker);
    }

    fn state(&mut self, broker: BrokerId) {
        let line = print::state(&self.hosts[&broker], self.now());
        self.said.push(line);
    }

    fn input(&mut self, broker: BrokerId, input: Input) {
        let now = self.now();
        let effects = self.host(broker).step(now, input);
        self.follow_up(broker, effects);
    }

    /// The disk is done, if anything was under way there.
    fn done(&mut self, broker: BrokerId, input: Option<Input>) {
        match input {
            Some(input) => self.input(broker, input),
            None => self.said.push("(nothing under way)".to_owned()),
        }
    }

    fn follow_up(&mut self, broker: BrokerId, effects: Vec<Effect>) {
        let member = self.hosts[&broker].member();
        for effect in effects {
            if !self.quiet || !matches!(effect, Effect::Send { .. } | Effect::Write(_) | Effect::Persist(_)) {
                self.said.push(format!("{}: {}", broker.0, print::effect(&effect)));
            }
            match effect {
                Effect::Send { to, message } => {
                    self.links.entry((broker, to)).or_default().push_back((member, message));
                }
                Effect::RequestIsr(request) => {
                    self.requests.insert(broker, request);
                }
                _ => {}
            }
        }
        if !self.quiet {
            self.state(broker);
        }
    }

    fn deliver(&mut self, from: BrokerId, to: BrokerId, at_end: bool) -> bool {
        let Some(link) = self.links.get_mut(&(from, to)) else { return false };
        let next = if at_end { link.pop_back() } else { link.pop_front() };
        let Some((from, message)) = next else { return false };
        self.hear(from, to, message);
        true
    }

    fn hear(&mut self, from: Member, to: BrokerId, message: Message) {
        if !self.quiet {
            self.said.push(format!("{} hears {}: {}", to.0, from.broker.0, print::message(&message)));
        }
        self.input(to, Input::Message { from, message });
    }

    fn settle(&mut self, brokers: &[BrokerId]) {
        self.quiet = true;
        let mut moved = true;
        while std::mem::take(&mut moved) {
            for from in brokers {
                let host = self.host(*from);
                let inputs = [host.promised(), host.operated(), host.read()];
                for input in inputs.into_iter().flatten() {
                    self.input(*from, input);
                    moved = true;
                }
                for to in brokers {
                    moved |= self.deliver(*from, *to, false);
                }
            }
        }
        self.quiet = false;
        for broker in brokers {
            self.state(*broker);
        }
    }

    fn tell(&mut self, brokers: &[BrokerId]) {
        let row = self.catalog.row.clone();
        for broker in brokers {
            if self.hosts[broker].replica.is_some() {
                self.input(*broker, Input::Assigned(row.clone()));
            }
        }
    }

    fn all(&self) -> Vec<BrokerId> {
        self.hosts.keys().copied().collect()
    }

    fn perform(&mut self, words: &Words) {
        match words.verb() {
            "cluster" => {
                *self = Self::new();
                for broker in words.brokers(0) {
                    self.hosts.insert(broker, Host::new(broker));
                    self.start(broker);
                }
                self.catalog.row.replicas = words.brokers(0);
                self.catalog.row.min_in_sync_replicas = words.number("min").unwrap_or(1) as u32;
                self.said.clear();
            }
            "log" => self.log(words),
            "reclaim" => {
                let (from, to) = words.word(1).split_once("..").expect("a range");
                let range = from.parse::<u64>().unwrap()..to.parse().unwrap();
                self.host(words.broker(0)).volume.log.retain(|entry| !range.contains(&entry.position.0));
            }
            "assign" => self.assign(words),
            "tell" => {
                let all = self.all();
                self.tell(&words.brokers_or(0, &all));
            }
            "append" => self.append(words),
            "confirm" => {
                let broker = words.broker(0);
                let replica = self.host(broker).replica.as_mut().expect("it runs");
                let (round, confirmed) = (replica.confirm(), replica.confirmed());
                self.said.push(format!("{}: wants {round:?}, has {confirmed:?}", broker.0));
                let now = self.now();
                let effects = self.host(broker).flush(now);
                self.follow_up(broker, effects);
            }
            "confirmed" => {
                let confirmed = self.host(words.broker(0)).replica.as_ref().expect("it runs").confirmed();
                self.said.push(format!("{confirmed:?}"));
            }
            "deliver" => {
                let (from, to) = words.link(0);
                let (count, at_end) = match words.get(1) {
                    Some("all") => (usize::MAX, false),
                    Some("last") => (1, true),
                    Some(count) => (count.trim_start_matches('x').parse().expect("a count"), false),
                    None => (1, false),
                };
                let delivered = (0..count).take_while(|_| self.deliver(from, to, at_end)).count();
                if delivered == 0 {
                    self.said.push("(nothing to deliver)".to_owned());
                }
            }
            "drop" => {
                let link = self.links.entry(words.link(0)).or_default();
                let count = if words.get(1) == Some("all") { link.len() } else { 1.min(link.len()) };
                for (_, message) in link.drain(..count) {
                    self.said.push(format!("lost: {}", print::message(&message)));
                }
            }
            "repeat" => {
                let link = self.links.entry(words.link(0)).or_default();
                let oldest = link.front().cloned();
                link.extend(oldest);
            }
            "durable" => {
                let input = self.host(words.broker(0)).operated();
                self.done(words.broker(0), input);
            }
            "persisted" => {
                let input = self.host(words.broker(0)).promised();
                self.done(words.broker(0), input);
            }
            "read" => {
                let mut input = self.host(words.broker(0)).read();
                match (words.get(1), &mut input) {
                    (Some("nothing"), Some(Input::Read { entries, .. })) => entries.clear(),
                    (Some("stale"), Some(Input::Read { entries, .. })) => {
                        entries.iter_mut().for_each(|entry| entry.epoch = Epoch(entry.epoch.0 - 1));
                    }
                    _ => {}
                }
                self.done(words.broker(0), input);
            }
            "settle" => {
                let all = self.all();
                self.settle(&words.brokers_or(0, &all));
            }
            "tick" => {
                self.millis += words.delay();
                self.input(words.broker(0), Input::Tick);
            }
            "time" => self.millis += words.delay(),
            "link" => {
                let (broker, up) = (words.broker(1), words.word(2) == "up");
                self.input(words.broker(0), Input::Link { broker, up });
            }
            "crash" => {
                let torn = if words.get(1) == Some("kept") { usize::MAX } else { 0 };
                self.host(words.broker(0)).crash(Torn { entries: torn, promise: torn > 0 });
            }
            "restart" => self.restart(words),
            "image" => {
                let volume = self.host(words.broker(0)).volume.clone();
                self.images.insert(words.broker(0), volume);
            }
            "grant" => self.grant(words),
            "handover" => self.input(words.broker(0), Input::HandOver(words.broker(1))),
            "leave" => self.input(words.broker(0), Input::Leave),
            "keep" => self.input(words.broker(0), Input::KeepLeading),
            "fault" => self.input(words.broker(0), Input::Fault),
            "status" => {
                let status = self.host(words.broker(0)).replica.as_ref().expect("it runs").status();
                self.said.push(print::status(&status));
            }
            "hear" => {
                let (from, to) = words.link(0);
                let from = self.hosts[&from].member();
                self.hear(from, to, made_up(words));
            }
            verb => panic!("unknown command {verb}"),
        }
    }

    fn log(&mut self, words: &Words) {
        let host = self.host(words.broker(0));
        host.replica = None;
        host.volume = Volume::default();
        host.incarnation = Incarnation(0);
        for run in words.rest(1) {
            let (epoch, count) = run.split_once(':').expect("epoch:count");
            let (epoch, count) = (Epoch(epoch.parse().unwrap()), count.parse::<u64>().unwrap());
            for _ in 0..count {
                let entry = entry(epoch, host.volume.end);
                host.volume.write(&pondage_replication::Batch { entries: vec![entry], epochs: Vec::new() });
            }
        }
        self.start(words.broker(0));
    }

    fn assign(&mut self, words: &Words) {
        let row = &mut self.catalog.row;
        row.version = words.number("version").unwrap_or(row.version + 1);
        row.epoch = words.number("epoch").map_or(row.epoch, Epoch);
        if let Some(leader) = words.value("leader") {
            row.leader = leader.parse().ok().map(BrokerId);
        }
        if let Some(isr) = words.value("isr") {
            let of = |word: &str| match word.split_once('.') {
                Some((broker, start)) => Member {
                    broker: BrokerId(broker.parse().unwrap()),
                    incarnation: Incarnation(start.parse().unwrap()),
                },
                None => self.hosts[&BrokerId(word.parse().unwrap())].member(),
            };
            row.isr = isr.split(',').map(of).collect();
        }
        self.said.push(print::row(&self.catalog.row));
        let all = self.all();
        self.tell(&words.brokers_or(0, &all));
    }

    fn append(&mut self, words: &Words) {
        let broker = words.broker(0);
        let count = words.get(1).map_or(1, |count| count.trim_start_matches('x').parse().expect("a count"));
        let payloads: Vec<_> = (0..count).map(|index| format!("{}", self.appended + index)).collect();
        self.appended += count;
        let now = self.now();
        match self.host(broker).append(now, &payloads) {
            Ok(effects) => self.follow_up(broker, effects),
            Err(refusal) => self.said.push(format!("{}: refused: {refusal:?}", broker.0)),
        }
    }

    fn restart(&mut self, words: &Words) {
        let broker = words.broker(0);
        let image = self.images.get(&broker).cloned();
        let host = self.host(broker);
        if host.replica.is_some() {
            host.crash(Torn { entries: 0, promise: false });
        }
        match words.get(1) {
            Some("wiped") => host.volume = Volume::default(),
            Some("image") => host.volume = image.expect("an image"),
            _ => {}
        }
        self.start(broker);
    }

    fn grant(&mut self, words: &Words) {
        let sender = words.broker(0);
        let Some(request) = self.requests.get(&sender) else {
            return self.said.push("(nothing requested)".to_owned());
        };
        match self.catalog.alter(sender, request) {
            Ok(()) => {
                self.said.push(print::row(&self.catalog.row));
                if words.get(1).is_none() {
                    let all = self.all();
                    self.tell(&all);
                }
            }
            Err(why) => self.said.push(format!("refused: {why}")),
        }
    }
}
