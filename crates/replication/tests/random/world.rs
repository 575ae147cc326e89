//! One random history.

use std::collections::BTreeMap;

use pondage_model::{BrokerId, Epoch, Member, Position};
use pondage_replication::{
    Assignment, Effect, Finding, Input, IsrRequest, Message, Now, Round, Status, Timing,
};

use crate::{
    checks::Observer,
    cluster::{Host, Torn, Volume, catalog::Catalog, now},
};

/// Simulated time with faults, and the time in which everything must be well again.
const FAULTS_MILLIS: u64 = 6_000;
const HEALING_MILLIS: u64 = 12_000;

/// What a history met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) committed: u64,
    pub(crate) elections: u64,
    pub(crate) truncations: u64,
    pub(crate) restarts: u64,
    pub(crate) old_images: u64,
    pub(crate) replaced: u64,
    pub(crate) reads: u64,
    pub(crate) granted: u64,
    pub(crate) spoken: u64,
    pub(crate) findings: u64,
    pub(crate) steps: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.committed += other.committed;
        self.elections += other.elections;
        self.truncations += other.truncations;
        self.restarts += other.restarts;
        self.old_images += other.old_images;
        self.replaced += other.replaced;
        self.reads += other.reads;
        self.granted += other.granted;
        self.spoken += other.spoken;
        self.findings += other.findings;
        self.steps += other.steps;
    }
}

/// SplitMix64 (Steele, Lea and Flood, 2014).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    fn percent(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> Option<T> {
        let index = self.below(of.len() as u64) as usize;
        of.get(index).copied()
    }
}

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
            if self.tally.steps.is_multiple_of(16) {
                self.observer.compare(&self.hosts);
            }
        }
        self.millis = end;
    }

    fn start(&mut self, broker: BrokerId) {
        let Some(host) = self.hosts.get_mut(&broker) else { return };
        // Slow ones come back within the time that healing has.
        host.start(Timing { slow_window_millis: 6_000, ..Timing::default() });
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

    /// Who believes to lead: perhaps more than the newest leader.
    fn leaders(&self) -> Vec<(BrokerId, Epoch)> {
        let serving = self.hosts.values().filter_map(|host| {
            let replica = host.replica.as_ref().filter(|replica| replica.is_serving())?;
            self.is_paused(host.broker).is_none().then_some((host.broker, replica.epoch()))
        });
        serving.collect()
    }

    fn append(&mut self) {
        let leaders = self.leaders();
        let count = 1 + self.chance.below(3);
        for (broker, _) in leaders {
            let now = self.now();
            let payloads: Vec<_> = (0..count).map(|index| format!("{}", self.appended + index)).collect();
            self.appended += count;
            let Some(host) = self.hosts.get_mut(&broker) else { continue };
            if let Ok(effects) = host.append(now, &payloads) {
                self.say(|| format!("{broker:?} appends {payloads:?}"));
                self.follow_up(broker, effects);
            }
        }
        // The last part of the healing is idle.
        if self.millis < FAULTS_MILLIS + HEALING_MILLIS / 2 {
            let pause = if self.chance.percent(5) { 1_500 } else { 20 + self.chance.below(300) };
            self.after(pause, Event::Append);
        }
    }

    fn confirm(&mut self) {
        let leaders = self.leaders();
        for (broker, epoch) in leaders {
            let (now, step) = (self.now(), self.tally.steps);
            let Some(host) = self.hosts.get_mut(&broker) else { continue };
            let (member, Some(replica)) = (host.member(), host.replica.as_mut()) else { continue };
            let round = replica.confirm();
            self.decisions.push((member, epoch, round, step));
            let effects = host.flush(now);
            self.follow_up(broker, effects);
        }
        if self.millis < FAULTS_MILLIS + HEALING_MILLIS / 2 {
            let pause = 100 + self.chance.below(200);
            self.after(pause, Event::Confirm);
        }
    }

    fn answer(&mut self, broker: BrokerId) {
        if let Some(host) = self.hosts.get(&broker)
            && let Some(replica) = &host.replica
        {
            self.answers.insert(broker, (host.member(), replica.status()));
        }
    }

    /// The catalog's leader looks whether somebody leads.
    fn watch(&mut self) {
        self.after(100, Event::Watch);
        if self.electing {
            return;
        }
        let leads = self.catalog.row.leader.and_then(|leader| self.hosts.get(&leader)).is_some_and(|host| {
            self.is_paused(host.broker).is_none_or(|until| until < self.millis + 800)
                && self.catalog.row.is_led_by(host.member())
                && host.replica.is_some()
        });
        let cut_off = self
            .cuts
            .iter()
            .any(|((from, _), until)| Some(*from) == self.catalog.row.leader && *until > self.millis);
        let spurious = !self.is_healed() && self.chance.percent(if cut_off { 20 } else { 1 });
        if leads && !spurious {
            return;
        }
        self.electing = true;
        self.answers.clear();
        let asked: Vec<_> = self.hosts.keys().copied().collect();
        for broker in asked {
            let delay = 1 + self.chance.below(100);
            self.after(delay, Event::Answer(broker));
        }
        self.after(150, Event::Elect);
    }

    fn elect(&mut self) {
        self.electing = false;
        let answers = std::mem::take(&mut self.answers);
        let elected = self.catalog.elect(&answers);
        self.say(|| format!("elects: {elected:?} {:?} by {answers:?}", self.catalog.row));
        if elected.is_ok() {
            self.tally.elections += 1;
            self.publish();
        }
    }

    /// Whether every copy is a good one, so that one may be lost.
    fn may_lose_a_volume(&self) -> bool {
        let row = &self.catalog.row;
        row.min_in_sync_replicas > 1
            && self.observer.rolled_back.is_empty()
            && row.isr.len() == row.replicas.len()
            && row.isr.iter().all(|member| self.catalog.is_current(*member) && self.runs(*member))
    }

    fn trouble(&mut self) {
        if self.is_healed() {
            return;
        }
        let pause = 50 + self.chance.below(600);
        self.after(pause, Event::Trouble);
        let running: Vec<_> =
            self.hosts.values().filter(|host| host.replica.is_some()).map(|host| host.broker).collect();
        let leader = self.leaders().first().map(|(leader, _)| *leader);
        let Some(mut broker) = self.chance.pick(&running) else { return };
        if self.chance.percent(30) {
            broker = leader.unwrap_or(broker);
        }
        match self.chance.below(10) {
            0..=2 => self.crash(broker),
            3 => {
                let until = self.millis + 50 + self.chance.below(2_000);
                self.paused_until.insert(broker, until);
                self.say(|| format!("{broker:?} is paused until {until}"));
            }
            4 | 5 => self.cut_off(broker),
            6 if self.chance.percent(50) => self.hand_over(broker),
            6 => self.reclaim(broker),
            7 => {
                let volume = self.hosts[&broker].volume.clone();
                self.images.insert(broker, volume);
            }
            8 if self.may_lose_a_volume() => self.roll_back(broker),
            9 if self.may_lose_a_volume() => self.replace(broker),
            _ => {}
        }
    }

    fn crash(&mut self, broker: BrokerId) {
        let torn = Torn { entries: self.chance.below(4) as usize, promise: self.chance.percent(50) };
        let Some(host) = self.hosts.get_mut(&broker) else { return };
        host.crash(torn);
        self.tally.restarts += 1;
        self.ticks.remove(&broker);
        self.decisions.retain(|(member, ..)| member.broker != broker);
        self.say(|| format!("{broker:?} crashes, {torn:?}"));
        let away = if self.chance.percent(70) { self.chance.below(200) } else { self.chance.below(4_000) };
        self.after(1 + away, Event::Restart(broker));
    }

    fn cut_off(&mut self, broker: BrokerId) {
        let until = self.millis + 100 + self.chance.below(2_000);
        let others: Vec<_> = self.hosts.keys().copied().filter(|other| *other != broker).collect();
        let (one_way, all) = (self.chance.percent(30), self.chance.percent(50));
        for other in others {
            if all || self.chance.percent(50) {
                self.cuts.insert((broker, other), until);
                if !one_way {
                    self.cuts.insert((other, broker), until);
                }
                if self.faults.links {
                    self.input(other, Input::Link { broker, up: false });
                }
            }
        }
    }

    fn hand_over(&mut self, broker: BrokerId) {
        let Some(leader) = self.leaders().first().map(|(leader, _)| *leader) else { return };
        if leader != broker {
            self.input(leader, Input::HandOver(broker));
        } else {
            self.input(leader, Input::KeepLeading);
        }
    }

    /// Drops entries that are committed, some or a whole beginning.
    fn reclaim(&mut self, broker: BrokerId) {
        let whole = self.chance.percent(50);
        let Some(host) = self.hosts.get_mut(&broker) else { return };
        let high_watermark = host.replica.as_ref().map_or(Position::ZERO, |replica| replica.high_watermark());
        let bound = Position(high_watermark.0.saturating_sub(2));
        let chance = &mut self.chance;
        let reclaimed = &mut self.observer.reclaimed;
        host.volume.log.retain(|entry| {
            let goes = entry.position < bound && (whole || chance.percent(30));
            if goes {
                reclaimed.insert(entry.position);
            }
            !goes
        });
    }

    fn roll_back(&mut self, broker: BrokerId) {
        let Some(image) = self.images.remove(&broker) else { return };
        self.tally.old_images += 1;
        self.crash(broker);
        let Some(host) = self.hosts.get_mut(&broker) else { return };
        host.volume = image;
        self.observer.rolled_back.insert(broker);
        self.say(|| format!("{broker:?} is rolled back"));
    }

    fn replace(&mut self, lost: BrokerId) {
        self.tally.replaced += 1;
        let by = BrokerId(lost.0 + 10);
        self.hosts.remove(&lost);
        self.ticks.remove(&lost);
        self.decisions.retain(|(member, ..)| member.broker != lost);
        self.hosts.insert(by, Host::new(by));
        self.catalog.replace(lost, by);
        self.start(by);
        self.publish();
        self.say(|| format!("{lost:?} is lost, {by:?} takes its place"));
    }

    fn heal(&mut self) {
        self.say(|| "healed".to_owned());
        self.faults = Faults { loss: 0, repeat: 0, late: 0, slow_disk: 0, catalog_loss: 0, links: false };
        self.paused_until.clear();
        self.cuts.clear();
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
