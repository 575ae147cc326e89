//! What clients and the catalog do with the shard.

use pondage_model::{BrokerId, Epoch};

use super::{Event, FAULTS_MILLIS, HEALING_MILLIS, World};

impl World {
    /// Who believes to lead: perhaps more than the newest leader.
    pub(super) fn leaders(&self) -> Vec<(BrokerId, Epoch)> {
        let serving = self.hosts.values().filter_map(|host| {
            let replica = host.replica.as_ref().filter(|replica| replica.is_serving())?;
            self.is_paused(host.broker).is_none().then_some((host.broker, replica.epoch()))
        });
        serving.collect()
    }

    pub(super) fn append(&mut self) {
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

    pub(super) fn confirm(&mut self) {
        let leaders = self.leaders();
        self.tally.rivals += u64::from(leaders.len() > 1);
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

    pub(super) fn answer(&mut self, broker: BrokerId) {
        if let Some(host) = self.hosts.get(&broker)
            && let Some(replica) = &host.replica
        {
            self.answers.insert(broker, (host.member(), replica.status()));
        }
    }

    /// The catalog's leader looks whether somebody leads.
    pub(super) fn watch(&mut self) {
        self.after(100, Event::Watch);
        if self.electing {
            return;
        }
        let leads = self.catalog.row.leader.and_then(|leader| self.hosts.get(&leader)).is_some_and(|host| {
            self.is_paused(host.broker).is_none_or(|until| until < self.millis + 800)
                && self.catalog.row.is_led_by(host.member())
                && host.replica.is_some()
        });
        let cut_off = self.catalog.row.leader.is_some_and(|leader| self.is_isolated(leader).is_some());
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

    pub(super) fn elect(&mut self) {
        self.electing = false;
        let answers = std::mem::take(&mut self.answers);
        let elected = self.catalog.elect(&answers);
        self.say(|| format!("elects: {elected:?} {:?} by {answers:?}", self.catalog.row));
        if elected.is_ok() {
            self.tally.elections += 1;
            self.publish();
        }
    }
}
