//! What goes wrong in a world: which faults are on is drawn from the seed, and when each strikes.

use pondage_storage::Faults;

use super::{
    World,
    consensus::Unkindness,
    due::Due,
    host::HostId,
    network::{Network, Weather},
};
use crate::{chance::Chance, clients::Clients};

/// Which faults a world has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) disk: Faults,
    pub(super) slow_disk: bool,
    pub(super) weather: Weather,
    pub(super) consensus: Unkindness,
    crashes: bool,
    /// Disks are emptied or go back to an old image at a start.
    pub(super) losses: bool,
    stops: bool,
    pauses: bool,
    cuts: bool,
    pub(super) clock_jumps: bool,
    /// Between two faults, at most.
    pause_micros_max: u64,
    /// Of a million decisions, how many the process does not live to carry out.
    pub(super) dies_per_million: u64,
    /// Of a million decisions, how many the process is paused before.
    pub(super) pauses_per_million: u64,
}

/// A pause or a cut lasts from a moment to minutes, short ones more often.
fn lasting(chance: &mut Chance) -> u64 {
    let greatest = [100_000, 1_000_000, 3_000_000, 10_000_000, 90_000_000][chance.below(5) as usize];
    chance.between(10_000, greatest)
}

impl Plan {
    /// Draws a world's faults.
    pub(super) fn drawn(hosts: usize, chance: &mut Chance) -> Self {
        let mut often = |times: u64, value: u32| if chance.once_in(times) { value } else { 0 };
        let disk = Faults {
            write_errors_per_million: often(5, 200),
            sync_errors_per_million: often(5, 200),
            short_reads_per_million: often(2, 20_000),
            ..Faults::default()
        };
        let cluster = hosts > 1;
        let mut weather = Weather::default();
        if cluster && chance.once_in(2) {
            weather = Weather {
                lost: [0, 5, 50][chance.below(3) as usize],
                repeated: [0, 5, 50][chance.below(3) as usize],
                late: [0, 20, 200][chance.below(3) as usize],
                late_micros: [5_000, 100_000, 2_000_000][chance.below(3) as usize],
            };
        }
        Self {
            disk,
            slow_disk: chance.once_in(3),
            weather,
            consensus: if cluster { Unkindness::drawn(chance) } else { Unkindness::default() },
            losses: cluster && chance.once_in(3),
            crashes: !chance.once_in(4),
            stops: chance.once_in(2),
            pauses: chance.once_in(2),
            cuts: cluster && chance.once_in(2),
            clock_jumps: chance.once_in(4),
            pause_micros_max: [3_000_000, 8_000_000, 20_000_000][chance.below(3) as usize],
            dies_per_million: if chance.once_in(2) { 100 } else { 0 },
            pauses_per_million: if cluster && chance.once_in(3) { 100 } else { 0 },
        }
    }
}

impl World {
    /// Plans the next fault, mostly under load.
    pub(super) fn plan_fault(&mut self) {
        let pause = self.chance.between(50_000, self.faults.pause_micros_max);
        let (now, at) = (self.micros, self.micros + pause);
        self.load.surround(now, at, &mut self.chance);
        self.plan(pause, Due::Fault);
    }

    /// A fault strikes.
    pub(super) fn strike(&mut self, clients: &mut Clients) {
        if self.is_healing() {
            return;
        }
        let faults = self.faults;
        let host = self.chance.below(self.hosts.len() as u64) as HostId;
        match self.chance.below(8) {
            0..=2 if faults.crashes => self.crash(host, clients),
            3 if faults.losses && self.chance.once_in(2) => self.take_image(host),
            3 if faults.stops => self.stop(host, clients),
            4 if faults.pauses => self.pause(host),
            5 | 6 if faults.cuts => {
                let links = Network::draw_cut(self.hosts.len(), &mut self.chance);
                self.trace.say(self.micros, format_args!("cut {links:?}"));
                let cut = self.network.cut(links);
                let lasts = lasting(&mut self.chance);
                self.plan(lasts, Due::Mend(cut));
            }
            7 if faults.crashes && self.hosts.len() > 1 && self.chance.once_in(3) => {
                self.trace.say(self.micros, format_args!("all hosts lose power"));
                for host in 0..self.hosts.len() {
                    self.power_cut(host, clients);
                }
            }
            _ => {}
        }
        self.plan_fault();
    }

    /// Nothing moves on a host for a while; what it decided is still to be done, and its clocks go on.
    pub(super) fn pause(&mut self, host: HostId) {
        let paused = &mut self.hosts[host].paused;
        if !std::mem::replace(paused, true) {
            let lasts = lasting(&mut self.chance);
            self.trace.say(self.micros, format_args!("host {host} pauses for {lasts} µs"));
            self.plan(lasts, Due::Resume(host));
        }
    }

    /// A paused host goes on with what it had decided, then with what came meanwhile.
    pub(super) fn resume(&mut self, host: HostId, clients: &mut Clients) {
        if !std::mem::replace(&mut self.hosts[host].paused, false) {
            return;
        }
        self.trace.say(self.micros, format_args!("host {host} resumes"));
        self.carry_out(host, clients);
        self.consensus_moves(host, clients);
        let start = self.hosts[host].start;
        while self.hosts[host].start == start && !self.hosts[host].paused {
            let Some(due) = self.hosts[host].stalled.pop_front() else { break };
            self.on_host(host, due, clients);
        }
    }

    /// Faults end: the network is whole, disks do as they are told, and every host runs.
    pub(super) fn heal(&mut self, clients: &mut Clients) {
        clients.healing = true;
        self.network.heal();
        self.faults.slow_disk = false;
        self.trace.say(self.micros, format_args!("faults end"));
        for host in 0..self.hosts.len() {
            self.hosts[host].disk.set_faults(Faults::default());
            self.resume(host, clients);
        }
        for client in clients.ids() {
            let pause = self.chance.below(50_000);
            self.plan_client(pause, client);
        }
    }
}
