//! Runs the checker over one configuration.

use std::time::{Duration, Instant};

use stateright::{Checker, HasDiscoveries, Model, Property};

use crate::{
    action::{self, Action},
    configuration::{Configuration, Order},
    properties,
    world::World,
};

/// The shard that is explored.
#[derive(Clone, Debug)]
pub struct Shard {
    /// How.
    pub configuration: Configuration,
}

impl Model for Shard {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![action::first(&self.configuration)]
    }

    fn actions(&self, state: &World, actions: &mut Vec<Action>) {
        action::possible(&self.configuration, state, actions);
    }

    fn next_state(&self, last_state: &World, action: Action) -> Option<World> {
        action::after(&self.configuration, last_state, &action)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let rules = properties::RULES.iter().map(|(name, holds)| Property::always(name, *holds));
        rules.chain(self.configuration.reaches.iter().map(|reach| properties::reach(*reach))).collect()
    }
}

/// How much of a space is explored.
#[derive(Clone, Copy, Debug)]
pub struct Dose {
    /// Steps after which a run ends although there is more; none for all there is.
    pub steps_max: Option<usize>,
    /// Time after which it ends.
    pub time_max: Duration,
    /// Threads that explore.
    pub threads: usize,
}

/// What a run found.
#[derive(Clone, Debug)]
pub struct Figures {
    /// Distinct states.
    pub states: usize,
    /// Steps taken, to states new or known.
    pub steps: usize,
    /// The longest history.
    pub depth: usize,
    /// Whether every history within the budgets was explored.
    pub is_complete: bool,
    /// Wall clock.
    pub took: Duration,
    /// Rules that do not hold, each with a history that breaks it.
    pub broken: Vec<(&'static str, Vec<Action>)>,
    /// What had to be reachable and was not found.
    pub unreached: Vec<&'static str>,
}

/// Explores a configuration.
pub fn explore(configuration: &Configuration, dose: Dose, order: Order) -> Figures {
    let started = Instant::now();
    let shard = Shard { configuration: configuration.clone() };
    let mut builder =
        shard.checker().threads(dose.threads).timeout(dose.time_max).finish_when(HasDiscoveries::AnyFailures);
    let steps_max = dose.steps_max.or(configuration.steps_max);
    if let Some(steps) = steps_max {
        builder = builder.target_state_count(steps);
    }
    match order {
        Order::DepthFirst => figures(&builder.spawn_dfs().join(), started, dose, steps_max),
        Order::BreadthFirst => figures(&builder.spawn_bfs().join(), started, dose, steps_max),
    }
}

fn figures(checker: &impl Checker<Shard>, started: Instant, dose: Dose, steps_max: Option<usize>) -> Figures {
    let took = started.elapsed();
    let mut broken = Vec::new();
    let discoveries = checker.discoveries();
    let mut unreached = Vec::new();
    for property in checker.model().properties() {
        let path = discoveries.get(property.name);
        match (property.expectation.clone(), path) {
            (stateright::Expectation::Sometimes, None) => unreached.push(property.name),
            (stateright::Expectation::Always, Some(path)) => {
                broken.push((property.name, path.clone().into_actions()));
            }
            _ => {}
        }
    }
    Figures {
        states: checker.unique_state_count(),
        steps: checker.state_count(),
        depth: checker.max_depth(),
        is_complete: checker.is_done()
            && broken.is_empty()
            && took < dose.time_max
            && steps_max.is_none_or(|most| checker.state_count() < most),
        took,
        broken,
        unreached,
    }
}
