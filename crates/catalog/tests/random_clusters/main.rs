//! Brokers that come, stop, start again, are drained and lost, requests that are late or wrong, and the planners in
//! between: the rules of brokers and shards hold after every command, what is planned is what the catalog takes, and
//! the planning ends.

mod world;

use pondage_catalog::Drain;
use pondage_model::settings::Placement;
use proptest::prelude::*;

use self::world::World;

/// What happens. Brokers and shards are numbers that are folded onto those that there are.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Join {
        rack: Option<u8>,
        highest: u32,
        replaces: Option<u32>,
    },
    Start(u32),
    Stop(u32),
    Lose(u32),
    Drain(u32, Drain),
    Remove(u32),
    Raise(u32),
    Topic {
        name: u8,
        partitions: u32,
        replicas: Option<u32>,
        minimum: Option<u32>,
        placement: Placement,
    },
    Delete(u8),
    /// Another ISR or leader, at the current or an older version, of members in their current or an older start.
    Alter {
        sender: u32,
        shard: u32,
        age: u64,
        isr: Vec<(u32, u64)>,
    },
    Elect {
        leader: (u32, u64),
        shard: u32,
        age: u64,
        isr: Vec<(u32, u64)>,
    },
    Unclean {
        leader: u32,
        shard: u32,
    },
    Change {
        shard: u32,
        age: u64,
        replicas: Vec<u32>,
        minimum: u32,
    },
    DropLeaving {
        shard: u32,
        age: u64,
    },
    Failover,
    CatchUp,
    Plan,
}

fn events() -> impl Strategy<Value = Event> {
    let id = || 0..7u32;
    let shard = || 0..24u32;
    let age = || prop_oneof![4 => Just(0u64), 1 => Just(1)];
    let member = move || (id(), prop_oneof![6 => Just(0u64), 1 => Just(1)]);
    let isr = move || prop::collection::vec(member(), 0..5);
    let drain = prop::sample::select(vec![Drain::Nothing, Drain::Leadership, Drain::Everything]);
    let placement = prop::sample::select(vec![Placement::Auto, Placement::Dedicated, Placement::Pooled]);
    let asked = || prop::option::of(1..4u32);
    prop_oneof![
        4 => (prop::option::of(0..3u8), 1..4u32, prop::option::weighted(0.2, id()))
            .prop_map(|(rack, highest, replaces)| Event::Join { rack, highest, replaces }),
        4 => id().prop_map(Event::Start),
        3 => id().prop_map(Event::Stop),
        1 => id().prop_map(Event::Lose),
        2 => (id(), drain).prop_map(|(id, drain)| Event::Drain(id, drain)),
        1 => id().prop_map(Event::Remove),
        1 => (0..4u32).prop_map(Event::Raise),
        4 => (0..3u8, 1..3u32, asked(), asked(), placement).prop_map(
            |(name, partitions, replicas, minimum, placement)| Event::Topic {
                name, partitions, replicas, minimum, placement,
            },
        ),
        1 => (0..3u8).prop_map(Event::Delete),
        4 => (id(), shard(), age(), isr())
            .prop_map(|(sender, shard, age, isr)| Event::Alter { sender, shard, age, isr }),
        3 => (member(), shard(), age(), isr())
            .prop_map(|(leader, shard, age, isr)| Event::Elect { leader, shard, age, isr }),
        1 => (id(), shard()).prop_map(|(leader, shard)| Event::Unclean { leader, shard }),
        3 => (shard(), age(), prop::collection::vec(id(), 0..4), 0..4u32).prop_map(
            |(shard, age, replicas, minimum)| Event::Change { shard, age, replicas, minimum },
        ),
        2 => (shard(), age()).prop_map(|(shard, age)| Event::DropLeaving { shard, age }),
        4 => Just(Event::Failover),
        4 => Just(Event::CatchUp),
        6 => Just(Event::Plan),
    ]
}

proptest! {
    #[test]
    fn rules_hold_and_the_planning_ends(history in prop::collection::vec(events(), 0..60)) {
        let mut world = World::new();
        for event in &history {
            world.happen(event);
        }
        world.heal();
        world.check_healed();
    }
}

/// Brokers 1 to `brokers` with topics, and everything where it should be.
fn healthy(brokers: usize) -> World {
    let mut world = World::new();
    for name in 0..3 {
        let (partitions, placement) = (2, Placement::Auto);
        world.happen(&Event::Topic { name, partitions, replicas: None, minimum: None, placement });
    }
    for rack in 1..brokers {
        let rack = u8::try_from(rack).ok();
        world.happen(&Event::Join { rack, highest: 3, replaces: None });
    }
    world.heal();
    world.check_healed();
    world
}

#[test]
fn a_cluster_that_grows_gets_its_copies() {
    let world = healthy(1);
    assert_eq!(world.copies(), [(1, 1)].into());
    let world = healthy(3);
    assert_eq!(world.copies(), [(3, 2)].into());
    let led = world.led();
    assert!(
        led.len() == 3 && led.iter().max() <= led.iter().min().map(|least| least + 1).as_ref(),
        "{led:?}"
    );
    assert_eq!(healthy(5).copies(), [(3, 2)].into());
}

#[test]
fn a_rolling_restart_takes_no_shard_below_its_minimum() {
    let mut world = healthy(3);
    for number in 0..3 {
        world.happen(&Event::Drain(number, Drain::Leadership));
        world.heal();
        let remaining = world.remaining(number);
        assert_eq!((remaining.led, remaining.needed), (0, 0), "broker {number} may stop");
        assert!(remaining.held > 0, "it keeps its copies");
        world.happen(&Event::Stop(number));
        world.happen(&Event::CatchUp);
        world.happen(&Event::Start(number));
        world.happen(&Event::Drain(number, Drain::Nothing));
        world.heal();
        world.check_healed();
    }
    assert_eq!(world.copies(), [(3, 2)].into());
}

#[test]
fn a_broker_that_goes_for_good_leaves_nothing_behind() {
    let mut world = healthy(4);
    world.happen(&Event::Drain(1, Drain::Everything));
    world.heal();
    world.check_healed();
    let remaining = world.remaining(1);
    assert_eq!((remaining.led, remaining.held), (0, 0));
    world.happen(&Event::Remove(1));
    assert_eq!((world.brokers(), world.copies()), (3, [(3, 2)].into()));
    // The next one to go leaves two copies of everything, and their minimum.
    world.happen(&Event::Drain(0, Drain::Everything));
    world.heal();
    world.check_healed();
    world.happen(&Event::Remove(0));
    assert_eq!((world.brokers(), world.copies()), (2, [(2, 2)].into()));
}

#[test]
fn a_lost_broker_is_replaced_and_forgotten() {
    let mut world = healthy(3);
    world.happen(&Event::Lose(1));
    world.heal();
    // It counts until somebody takes its place: what was promised stays.
    assert_eq!((world.brokers(), world.copies()), (3, [(3, 2)].into()));
    world.happen(&Event::Join { rack: Some(1), highest: 3, replaces: Some(1) });
    world.heal();
    world.check_healed();
    assert_eq!((world.brokers(), world.copies()), (3, [(3, 2)].into()));
}
