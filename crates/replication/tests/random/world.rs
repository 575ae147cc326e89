//! One random history.

use std::collections::BTreeMap;

use pondage_model::{BrokerId, Epoch, Member};
use pondage_replication::{
    Assignment, Effect, Finding, Input, IsrRequest, Message, Now, Round, Status, Timing,
};

use crate::{
    checks::Observer,
    cluster::{Host, Volume, catalog::Catalog, now},
};

mod chance;
mod drive;
mod trouble;

use chance::Chance;
pub(crate) use chance::Tally;

/// Simulated time with faults, and the time in which everything must be well again.
const FAULTS_MILLIS: u64 = 6_000;
const HEALING_MILLIS: u64 = 12_000;

#[derive(Clone, Debug)]
enum Event {
    Message {
        from: Member,
        to: BrokerId,
        message: Message,
    },
    /// The write or truncation of this start is done.
    Operated(Member),
    Promised(Member),
    Read(Member),
    Tick(Member),
    Row(BrokerId, Assignment),
    Request(BrokerId, IsrRequest),
    HandOver(u64, BrokerId),
    Restart(BrokerId),
    Answer(BrokerId),
    Elect,
    Append,
    Confirm,
    Trouble,
    Watch,
}

/// Which faults this history has.
struct Faults {
    loss: u64,
    repeat: u64,
    late: u64,
    slow_disk: u64,
    catalog_loss: u64,
    links: bool,
}

struct World {
    chance: Chance,
    faults: Faults,
    millis: u64,
    order: u64,
    events: BTreeMap<(u64, u64), Event>,
    hosts: BTreeMap<BrokerId, Host>,
    ticks: BTreeMap<BrokerId, u64>,
    paused_until: BTreeMap<BrokerId, u64>,
    images: BTreeMap<BrokerId, Volume>,
    catalog: Catalog,
    answers: BTreeMap<BrokerId, (Member, Status)>,
    electing: bool,
    observer: Observer,
    decisions: Vec<(Member, Epoch, Round, u64)>,
    appended: u64,
    /// Between these brokers nothing gets through until then.
    cuts: BTreeMap<(BrokerId, BrokerId), u64>,
    /// Nor between these and the catalog.
    isolated: BTreeMap<BrokerId, u64>,
    tally: Tally,
    aloud: bool,
}

/// Runs one history.
pub(crate) fn run(seed: u64, aloud: bool) -> Tally {
    let mut world = World::new(seed, aloud);
    world.begin();
    world.until(FAULTS_MILLIS);
    world.heal();
    world.until(FAULTS_MILLIS + HEALING_MILLIS);
    world.assert_well();
    world.tally.committed = world.observer.committed_count();
    world.tally
}

impl World {
    fn new(seed: u64, aloud: bool) -> Self {
        let mut chance = Chance(seed);
        let brokers: Vec<_> = (1..=3 + chance.below(3) as u32).map(BrokerId).collect();
        let faults = Faults {
            loss: [0, 0, 5, 20][chance.below(4) as usize],
            repeat: [0, 5, 20][chance.below(3) as usize],
            late: [0, 5, 20][chance.below(3) as usize],
            slow_disk: [0, 5, 20][chance.below(3) as usize],
            catalog_loss: [0, 10, 40][chance.below(3) as usize],
            links: chance.percent(50),
        };
        let row = Assignment {
            epoch: Epoch::ZERO,
            version: 0,
            leader: None,
            replicas: brokers.clone(),
            isr: Vec::new(),
            min_in_sync_replicas: if chance.percent(80) { 2 } else { 1 + chance.below(3) as u32 },
        };
        Self {
            chance,
            faults,
            millis: 0,
            order: 0,
            events: BTreeMap::new(),
            hosts: brokers.iter().map(|broker| (*broker, Host::new(*broker))).collect(),
            ticks: BTreeMap::new(),
            paused_until: BTreeMap::new(),
            images: BTreeMap::new(),
            catalog: Catalog { row, incarnations: BTreeMap::new() },
            answers: BTreeMap::new(),
            electing: false,
            observer: Observer::default(),
            decisions: Vec::new(),
            appended: 0,
            cuts: BTreeMap::new(),
            isolated: BTreeMap::new(),
            tally: Tally::default(),
            aloud,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.aloud {
            println!("{:>6} {}", self.millis, what());
        }
    }

    fn now(&self) -> Now {
        now(self.millis)
    }

    fn after(&mut self, delay: u64, event: Event) {
        self.order += 1;
        self.events.insert((self.millis + delay, self.order), event);
    }

    fn is_healed(&self) -> bool {
        self.millis >= FAULTS_MILLIS
    }

    fn begin(&mut self) {
        let brokers: Vec<_> = self.hosts.keys().copied().collect();
        for broker in &brokers {
            self.start(*broker);
        }
        let row = &mut self.catalog.row;
        row.isr = brokers.iter().map(|broker| self.hosts[broker].member()).collect();
        row.leader = brokers.first().copied();
        row.epoch = Epoch(1);
        row.version = 1;
        self.publish();
        for event in [Event::Append, Event::Confirm, Event::Trouble, Event::Watch] {
            self.after(1, event);
        }
    }

    fn until(&mut self, end: u64) {
        while let Some((&(at, order), _)) = self.events.first_key_value() {
            if at >= end {
                break;
            }
            let event = self.events.remove(&(at, order)).expect("it is the first");
            self.millis = at;
            self.happen(event);
            self.tally.steps += 1;
            assert!(self.tally.steps < 100_000, "the replicas never rest");
            if self.tally.steps.is_multiple_of(16) {
                self.observer.compare(&self.hosts);
            }
        }
        self.millis = end;
    }

    fn start(&mut self, broker: BrokerId) {
        let Some(host) = self.hosts.get_mut(&broker) else { return };
        // Slow ones come back within the time that healing has.
        host.start(Timing { slow_window_millis: 6_000, down_millis_max: 100, ..Timing::default() });
        self.catalog.incarnations.insert(broker, host.incarnation);
        self.images.remove(&broker);
        self.say(|| format!("{broker:?} starts"));
    }

    /// Tells everybody the row, sooner or later.
    fn publish(&mut self) {
        let brokers: Vec<_> = self.hosts.keys().copied().collect();
        for broker in brokers {
            let delay =
                1 + self.chance.below(20) + if self.chance.percent(self.faults.late) { 400 } else { 0 };
            let row = self.catalog.row.clone();
            self.after(delay, Event::Row(broker, row));
        }
    }

    fn is_paused(&self, broker: BrokerId) -> Option<u64> {
        self.paused_until.get(&broker).copied().filter(|until| *until > self.millis)
    }

    fn is_cut(&self, from: BrokerId, to: BrokerId) -> bool {
        self.cuts.get(&(from, to)).is_some_and(|until| *until > self.millis)
    }

    fn is_isolated(&self, broker: BrokerId) -> Option<u64> {
        self.isolated.get(&broker).copied().filter(|until| *until > self.millis)
    }

    fn runs(&self, member: Member) -> bool {
        self.hosts.get(&member.broker).is_some_and(|host| host.replica.is_some() && host.member() == member)
    }

    fn happen(&mut self, event: Event) {
        let concerns = match &event {
            Event::Message { to, .. } | Event::Row(to, _) | Event::Answer(to) => Some(*to),
            Event::Operated(member) | Event::Promised(member) | Event::Read(member) | Event::Tick(member) => {
                Some(member.broker)
            }
            _ => None,
        };
        if let Some(until) = concerns.and_then(|broker| self.is_paused(broker)) {
            return self.after(until - self.millis, event);
        }
        match event {
            Event::Message { from, to, message } => {
                if !self.is_cut(from.broker, to) {
                    self.input(to, Input::Message { from, message });
                }
            }
            Event::Operated(member) if self.runs(member) => {
                let input = self.hosts.get_mut(&member.broker).and_then(Host::operated);
                self.inputs(member.broker, input);
            }
            Event::Promised(member) if self.runs(member) => {
                let input = self.hosts.get_mut(&member.broker).and_then(Host::promised);
                self.inputs(member.broker, input);
            }
            Event::Read(member) if self.runs(member) => {
                self.tally.reads += 1;
                let input = self.hosts.get_mut(&member.broker).and_then(Host::read);
                self.inputs(member.broker, input);
            }
            Event::Operated(_) | Event::Promised(_) | Event::Read(_) => {}
            Event::Tick(member) => {
                self.ticks.remove(&member.broker);
                self.input(member.broker, Input::Tick);
            }
            Event::Row(broker, row) if self.is_isolated(broker).is_some() => {
                // The catalog says it again when it can.
                let until = self.is_isolated(broker).unwrap_or_default();
                self.after(until - self.millis, Event::Row(broker, row));
            }
            Event::Request(broker, _) | Event::Answer(broker) if self.is_isolated(broker).is_some() => {}
            Event::Row(broker, row) => self.input(broker, Input::Assigned(row)),
            Event::Request(sender, request) => {
                let granted = self.catalog.alter(sender, &request);
                self.say(|| format!("{request:?} of {sender:?}: {granted:?}"));
                if granted.is_ok() {
                    self.tally.granted += 1;
                    self.publish();
                }
            }
            Event::HandOver(version, to) => {
                if self.catalog.hand_over(version, to).is_ok() {
                    self.tally.elections += 1;
                    self.publish();
                }
            }
            Event::Restart(broker) => {
                if self.hosts.get(&broker).is_some_and(|host| host.replica.is_none()) {
                    self.start(broker);
                    let row = self.catalog.row.clone();
                    self.after(1, Event::Row(broker, row));
                }
            }
            Event::Answer(broker) => self.answer(broker),
            Event::Elect => self.elect(),
            Event::Append => self.append(),
            Event::Confirm => self.confirm(),
            Event::Trouble => self.trouble(),
            Event::Watch => self.watch(),
        }
    }

    fn inputs(&mut self, broker: BrokerId, input: Option<Input>) {
        if let Some(input) = input {
            self.input(broker, input);
        }
    }

    fn input(&mut self, broker: BrokerId, input: Input) {
        let now = self.now();
        self.say(|| format!("{broker:?} <- {input:?}"));
        let Some(host) = self.hosts.get_mut(&broker) else { return };
        let effects = host.step(now, input);
        self.follow_up(broker, effects);
    }

    fn follow_up(&mut self, broker: BrokerId, effects: Vec<Effect>) {
        let Some(host) = self.hosts.remove(&broker) else { return };
        let me = host.member();
        for effect in effects {
            self.say(|| format!("{broker:?} -> {effect:?}"));
            match effect {
                Effect::Write(_) | Effect::Truncate(_) => {
                    let slow = if self.chance.percent(self.faults.slow_disk) { 400 } else { 0 };
                    let delay = 1 + self.chance.below(8) + slow;
                    self.after(delay, Event::Operated(me));
                }
                Effect::Cut(to) => {
                    self.tally.truncations += 1;
                    self.observer.cut(&host, to);
                }
                Effect::Persist(_) => {
                    let delay = 1 + self.chance.below(8);
                    self.after(delay, Event::Promised(me));
                }
                Effect::Read { .. } => {
                    let delay = 1 + self.chance.below(30);
                    self.after(delay, Event::Read(me));
                }
                Effect::Send { to, message } => self.send(me, to, &message),
                Effect::RequestIsr(request) => {
                    if !self.chance.percent(self.faults.catalog_loss) {
                        let delay = 1 + self.chance.below(60);
                        self.after(delay, Event::Request(broker, request));
                    }
                }
                Effect::HandOver { version, to, .. } => self.after(5, Event::HandOver(version, to)),
                Effect::Committed(to) => {
                    let leads = host.replica.as_ref().is_some_and(pondage_replication::Replica::is_leader);
                    if leads {
                        self.observer.committed_by_leader(&host, to, &self.hosts, &self.catalog);
                    } else {
                        self.observer.committed_by_follower(&host, to);
                    }
                }
                Effect::Serving(epoch) => self.observer.serves(&host, epoch, self.tally.steps),
                Effect::Following(_) => self.decisions.retain(|(member, ..)| member.broker != broker),
                Effect::Report(finding) => self.found(&host, &finding),
            }
        }
        if let Some(replica) = &host.replica {
            let (decisions, confirmed) = (std::mem::take(&mut self.decisions), replica.confirmed());
            for decision in decisions {
                let (member, epoch, round, step) = decision;
                if member == me && round <= confirmed {
                    self.observer.speaks(epoch, step);
                    self.tally.spoken += 1;
                } else {
                    self.decisions.push(decision);
                }
            }
        }
        let wanted = host.replica.as_ref().and_then(|replica| replica.next_tick(self.now()));
        if let Some(at) = wanted
            && self.ticks.get(&broker).is_none_or(|known| *known > at.max(self.millis + 1))
        {
            let at = at.max(self.millis + 1);
            self.ticks.insert(broker, at);
            self.after(at - self.millis, Event::Tick(me));
        }
        self.hosts.insert(broker, host);
    }

    fn found(&mut self, host: &Host, finding: &Finding) {
        self.tally.findings += 1;
        match finding {
            Finding::MemberBehind { member, .. } => {
                assert!(
                    self.observer.rolled_back.contains(&member.broker),
                    "{member:?} is honest, {:?} says otherwise: {finding:?}",
                    host.member()
                );
            }
            Finding::LeaderBehind { .. } | Finding::Mismatch { .. } => {
                panic!("{:?} finds {finding:?}", host.member());
            }
        }
    }

    fn send(&mut self, from: Member, to: BrokerId, message: &Message) {
        let healed = self.is_healed();
        let copies = 1 + u64::from(!healed && self.chance.percent(self.faults.repeat));
        for _ in 0..copies {
            if !healed && self.chance.percent(self.faults.loss) {
                continue;
            }
            let late = !healed && self.chance.percent(self.faults.late);
            let delay = 1 + self.chance.below(5) + if late { self.chance.below(1_500) } else { 0 };
            self.after(delay, Event::Message { from, to, message: message.clone() });
        }
    }

    fn heal(&mut self) {
        self.say(|| "healed".to_owned());
        self.faults = Faults { loss: 0, repeat: 0, late: 0, slow_disk: 0, catalog_loss: 0, links: false };
        self.paused_until.clear();
        self.cuts.clear();
        self.isolated.clear();
        let down: Vec<_> =
            self.hosts.values().filter(|host| host.replica.is_none()).map(|host| host.broker).collect();
        for broker in down {
            self.after(10, Event::Restart(broker));
        }
        let leaders: Vec<_> = self.hosts.keys().copied().collect();
        for broker in leaders {
            self.input(broker, Input::KeepLeading);
        }
        self.publish();
    }

    /// Everything that was appended after healing is committed everywhere, everybody is in sync, nobody is restless.
    fn assert_well(&self) {
        self.observer.compare(&self.hosts);
        let row = &self.catalog.row;
        assert_eq!(row.isr.len(), row.replicas.len(), "not all are back: {row:?}");
        assert!(row.isr.iter().all(|member| self.catalog.is_current(*member)), "an old start: {row:?}");
        let leader = row.leader.and_then(|leader| self.hosts.get(&leader)).expect("somebody leads");
        let replica = leader.replica.as_ref().expect("everybody runs");
        assert!(replica.is_serving(), "{:?} does not serve", leader.member());
        assert_eq!(replica.check_leader(), Ok(()), "{:?}", leader.member());
        assert_eq!(replica.high_watermark(), replica.end(), "not all is committed");
        for host in self.hosts.values() {
            let other = host.replica.as_ref().expect("everybody runs");
            assert_eq!(
                other.high_watermark(),
                replica.end(),
                "{:?} does not know what is committed",
                host.member()
            );
            assert_eq!(other.next_tick(self.now()), None, "{:?} is restless: {other:?}", host.member());
            assert_eq!(other.epochs(), replica.epochs(), "{:?}", host.member());
        }
        assert!(self.decisions.is_empty(), "rounds that nobody confirms: {:?}", self.decisions);
    }
}
