//! What goes wrong with brokers, disks and links.

use pondage_model::{BrokerId, Position};
use pondage_replication::Input;

use super::{Event, World};
use crate::cluster::{Host, Torn};

impl World {
    /// Whether every copy is a good one, so that one may be lost.
    fn may_lose_a_volume(&self) -> bool {
        let row = &self.catalog.row;
        row.min_in_sync_replicas > 1
            && self.observer.rolled_back.is_empty()
            && row.isr.len() == row.replicas.len()
            && row.isr.iter().all(|member| self.catalog.is_current(*member) && self.runs(*member))
    }

    pub(super) fn trouble(&mut self) {
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
        let until = self.millis + 100 + self.chance.below(3_500);
        let others: Vec<_> = self.hosts.keys().copied().filter(|other| *other != broker).collect();
        let (one_way, all) = (self.chance.percent(20), self.chance.percent(60));
        if all && !one_way {
            self.isolated.insert(broker, until);
        }
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
}
