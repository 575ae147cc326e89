//! The checker's row of the catalog is the product's: both go through every short sequence of the same commands, agree on
//! what is refused, and end in the same row.

use std::{
    hash::{Hash, Hasher},
    sync::Arc,
};

use pondage_catalog::{Command, Election, FEATURE_LEVELS, IsrChange, Outcome, invariants};
use pondage_model::{BrokerId, Incarnation, Member, ShardId, Uuid};
use pondage_model_check::catalog::{self, Wish};
use pondage_replication::{Assignment, IsrRequest};
use stateright::{Checker, Model, Property};

/// The row's version at which histories end, counted from the first.
const CHANGES_MAX: u64 = 4;
const RESTARTS_MAX: u64 = 2;

#[derive(Clone, Debug)]
struct Pair {
    real: Arc<pondage_catalog::Catalog>,
    small: catalog::Catalog,
    restarts: u64,
    differs: Option<String>,
}

impl Hash for Pair {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (&self.small, self.restarts, &self.differs).hash(state);
    }
}

impl PartialEq for Pair {
    fn eq(&self, other: &Self) -> bool {
        (&self.small, self.restarts) == (&other.small, other.restarts)
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Step {
    Alter(BrokerId, IsrRequest),
    /// Nobody: the epoch ends.
    Elect(Option<Member>, Vec<Member>),
    Restart(BrokerId),
}

struct Row {
    shard: ShardId,
    first: Pair,
}

fn register(volume: u8, incarnation: u64) -> Command {
    Command::RegisterBroker {
        volume: Uuid([volume; 16]),
        incarnation: Incarnation(incarnation),
        nonce: Uuid([incarnation as u8; 16]),
        address: format!("broker-{volume}:1"),
        rack: None,
        feature_levels: FEATURE_LEVELS,
        replaces: None,
    }
}

fn apply(real: &mut Arc<pondage_catalog::Catalog>, command: &Command) -> bool {
    let revision = real.revision().next();
    match Arc::make_mut(real).apply(revision, command) {
        Ok(Outcome::Shards(results)) => results.iter().all(|result| result.result.is_ok()),
        other => other.is_ok(),
    }
}

/// The real row as replicas see it.
fn row_of(real: &pondage_catalog::Catalog, shard: ShardId) -> Assignment {
    let row = real.shard(shard).expect("there from the beginning");
    Assignment {
        epoch: row.epoch,
        version: row.version,
        leader: row.leader,
        replicas: row.replicas.clone(),
        isr: row.isr.clone(),
        min_in_sync_replicas: row.min_in_sync_replicas,
    }
}

fn sorted(row: &Assignment) -> Assignment {
    let mut row = row.clone();
    row.isr.sort_unstable();
    row
}

/// Every way to take some of these, or others in their place.
fn choices(of: &[Vec<Member>]) -> Vec<Vec<Member>> {
    of.iter().fold(vec![Vec::new()], |chosen, members| {
        let with = |some: &Vec<Member>| {
            let more = members.iter().map(|member| [some.as_slice(), &[*member]].concat());
            std::iter::once(some.clone()).chain(more).collect::<Vec<_>>()
        };
        chosen.iter().flat_map(with).collect()
    })
}

impl Row {
    fn new() -> Self {
        let mut real = Arc::new(pondage_catalog::Catalog::new());
        assert!(apply(&mut real, &Command::Initialise { cluster: Uuid([1; 16]), nonce: Uuid([2; 16]) }));
        for volume in 1..=3 {
            assert!(apply(&mut real, &register(volume, 1)));
        }
        let shard = real.shards().find(|row| row.replicas.len() == 3 && row.isr.len() == 3);
        let shard = shard.expect("a shard on all three").id;
        let small = catalog::Catalog::at(row_of(&real, shard));
        Self { shard, first: Pair { real, small, restarts: 0, differs: None } }
    }

    fn compare(&self, next: &mut Pair, real: bool, small: bool) {
        let rows = (sorted(&row_of(&next.real, self.shard)), sorted(next.small.row()));
        if real != small {
            next.differs = Some(format!("accepted: {real} and {small}"));
        } else if rows.0 != rows.1 {
            next.differs = Some(format!("{:?} and {:?}", rows.0, rows.1));
        } else if let Err(broken) = invariants::check(&next.real) {
            next.differs = Some(broken.to_string());
        }
    }
}

impl Model for Row {
    type State = Pair;
    type Action = Step;

    fn init_states(&self) -> Vec<Pair> {
        vec![self.first.clone()]
    }

    fn actions(&self, pair: &Pair, steps: &mut Vec<Step>) {
        let row = pair.small.row();
        let first = self.first.small.row().version;
        if row.version - first >= CHANGES_MAX || pair.differs.is_some() {
            return;
        }
        let starts_of = |broker: &BrokerId| {
            let mut starts: Vec<Member> = pair.small.current(*broker).into_iter().collect();
            starts.extend(row.in_sync(*broker).filter(|recorded| !starts.contains(recorded)));
            starts
        };
        let members: Vec<Vec<Member>> = row.replicas.iter().map(starts_of).collect();
        for isr in choices(&members) {
            for broker in &row.replicas {
                for (epoch, version) in [(0, 0), (1, 0), (0, 1)] {
                    let epoch = pondage_model::Epoch(row.epoch.get() - epoch);
                    let version = row.version - version;
                    let request = IsrRequest { epoch, version, isr: isr.clone() };
                    steps.push(Step::Alter(*broker, request));
                }
            }
        }
        let floor = row.isr.len().min(row.min_in_sync_replicas as usize);
        for recorded in &row.isr {
            let leader = pair.small.current(recorded.broker).expect("no volume is lost here");
            let others: Vec<Vec<Member>> =
                row.isr.iter().filter(|other| *other != recorded).map(|other| vec![*other]).collect();
            let sets = choices(&others).into_iter().map(|others| [&[leader], others.as_slice()].concat());
            steps.extend(sets.filter(|isr| isr.len() >= floor).map(|isr| Step::Elect(Some(leader), isr)));
        }
        steps.push(Step::Elect(None, sorted(row).isr));
        if pair.restarts < RESTARTS_MAX {
            steps.extend(row.replicas.iter().copied().map(Step::Restart));
        }
    }

    fn next_state(&self, pair: &Pair, step: Step) -> Option<Pair> {
        let mut next = pair.clone();
        let shard = self.shard;
        let (real, small) = match step {
            Step::Alter(broker, request) => {
                let IsrRequest { epoch, version, isr, .. } = request.clone();
                let changes = vec![IsrChange { shard, epoch, version, isr }];
                let real = apply(&mut next.real, &Command::AlterIsr { broker, changes });
                let small = next.small.grant(&Wish::InSync { broker, request }, None);
                (real, small.expect("a rule of the row"))
            }
            Step::Elect(leader, isr) => {
                let version = next.small.row().version;
                let elections = vec![Election { shard, version, leader, isr: isr.clone() }];
                let real = apply(&mut next.real, &Command::ElectLeaders { elections });
                next.small.elect(&catalog::Election { leader, isr });
                (real, true)
            }
            Step::Restart(broker) => {
                next.restarts += 1;
                let member = next.small.register(broker);
                let volume = next.real.broker(broker).expect("registered").volume.0[0];
                let real = apply(&mut next.real, &register(volume, member.incarnation.get()));
                (real, next.real.is_current(member))
            }
        };
        // Both keep only the row as it is: how it came about makes no difference here.
        next.small.forget_rows(u64::MAX);
        self.compare(&mut next, real, small);
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("both catalogs agree", |_, pair: &Pair| pair.differs.is_none()),
            Property::sometimes("a leader in its second start", |_, pair: &Pair| {
                let row = pair.small.row();
                row.leader
                    .and_then(|leader| row.in_sync(leader))
                    .is_some_and(|member| member.incarnation.get() > 1)
            }),
            Property::sometimes("an ended epoch", |_, pair: &Pair| pair.small.row().leader.is_none()),
            Property::sometimes("a set below the replicas", |_, pair: &Pair| pair.small.row().isr.len() == 2),
        ]
    }
}

#[test]
fn the_small_catalog_is_the_real_one() {
    let checker = Row::new().checker().threads(2).spawn_bfs().join();
    if let Some(path) = checker.discovery("both catalogs agree") {
        let differs = path.last_state().differs.clone();
        panic!("{differs:?} after {:?}", path.into_actions());
    }
    checker.assert_properties();
    assert!(checker.unique_state_count() > 500, "only {} states", checker.unique_state_count());
}
