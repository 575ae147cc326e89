use pondage_model::Uuid;

use super::*;
use crate::{Command, FEATURE_LEVELS, IsrChange};

const SHARD: ShardId = ShardId(9);

fn apply(catalog: &mut Catalog, command: &Command) {
    let revision = catalog.revision().next();
    catalog.apply(revision, command).expect("no refusal");
}

fn register(volume: u8, incarnation: u64) -> Command {
    Command::RegisterBroker {
        volume: Uuid([volume; 16]),
        incarnation: Incarnation(incarnation),
        nonce: Uuid([9; 16]),
        address: "a:1".to_owned(),
        rack: None,
        feature_levels: FEATURE_LEVELS,
        replaces: None,
    }
}

fn member(broker: u32, incarnation: u64) -> Member {
    Member { broker: BrokerId(broker), incarnation: Incarnation(incarnation) }
}

/// Three brokers; shard 9 has the replicas 3, 1, 2, is led by 3 and has a minimum of 2.
fn cluster() -> Catalog {
    let mut catalog = Catalog::new();
    apply(&mut catalog, &Command::Initialise { cluster: Uuid([1; 16]), nonce: Uuid([1; 16]) });
    for broker in 1..=3 {
        apply(&mut catalog, &register(broker, 1));
    }
    catalog
}

/// The plan for shard 9 alone, in a few words, from answers that promised its epoch.
fn outcome(catalog: &Catalog, live: &[u32], answers: &[(u32, u64, u64, u64, u64)]) -> String {
    let promised = catalog.shard(SHARD).expect("there").epoch.get();
    let answers = answers
        .iter()
        .map(|&(broker, start, epoch, end, high)| (broker, start, promised, (epoch, end, high)));
    outcome_of(catalog, live, &answers.collect::<Vec<_>>())
}

/// Broker, start, promised epoch, (last epoch, end, high watermark).
type Said = (u32, u64, u64, (u64, u64, u64));

/// The same from answers that each promised an epoch.
fn outcome_of(catalog: &Catalog, live: &[u32], answers: &[Said]) -> String {
    let live = live.iter().copied().map(BrokerId).collect();
    let answer = |&(broker, start, promised, (epoch, end, high)): &Said| {
        let answer = Answer {
            incarnation: Incarnation(start),
            epoch: Epoch(promised),
            last_epoch: Epoch(epoch),
            end: Position(end),
            high_watermark: Position(high),
        };
        ((SHARD, BrokerId(broker)), answer)
    };
    let plan = plan(catalog, &live, &answers.iter().map(answer).collect());
    let words = |members: &[Member]| {
        let words = members.iter().map(|member| format!("{}.{}", member.broker, member.incarnation));
        words.collect::<Vec<_>>().join(" ")
    };
    let mut said = Vec::new();
    for election in plan.elect.iter().filter(|election| election.shard == SHARD) {
        let elects = |leader| format!("elect {} of {}", words(&[leader]), words(&election.isr));
        said.push(election.leader.map_or_else(|| "end the epoch".to_owned(), elects));
        // What is planned is what the catalog takes.
        let mut after = catalog.clone();
        apply(&mut after, &Command::ElectLeaders { elections: vec![election.clone()] });
        let row = after.shard(SHARD).expect("there");
        assert_eq!((row.leading(), &row.isr), (election.leader, &election.isr));
        assert_eq!(row.epoch, catalog.shard(SHARD).expect("there").epoch.next());
    }
    for (_, why) in plan.wait.iter().filter(|(shard, _)| *shard == SHARD) {
        said.push(match why {
            Why::DataLost => "data lost".to_owned(),
            Why::Answers { have, needed } => format!("{have} of {needed} answers"),
            Why::Promises { have, needed } => format!("{have} of {needed} promises"),
            Why::Behind { high_watermark } => format!("behind {high_watermark}"),
        });
    }
    for behind in plan.report.iter().filter(|behind| behind.shard == SHARD) {
        said.push(format!("{} lacks {}..{}", words(&[behind.member]), behind.end, behind.high_watermark));
    }
    said.join(", ")
}

#[test]
fn the_greatest_log_among_enough_answers_wins() {
    let healthy = cluster();
    // Broker 1 started again since the leader confirmed it; then 2 did, and then 3.
    let mut one = healthy.clone();
    apply(&mut one, &register(1, 2));
    let mut two = one.clone();
    apply(&mut two, &register(2, 2));
    let mut all = two.clone();
    apply(&mut all, &register(3, 2));
    let mut lost = healthy.clone();
    apply(&mut lost, &Command::LoseBroker { broker: BrokerId(3) });
    let mut last = lost.clone();
    apply(&mut last, &Command::LoseBroker { broker: BrokerId(2) });
    apply(&mut last, &register(1, 2));
    let mut none = last.clone();
    apply(&mut none, &Command::LoseBroker { broker: BrokerId(1) });
    let mut outside = healthy.clone();
    let (shard, isr) = (SHARD, vec![member(2, 1), member(3, 1)]);
    let change = IsrChange { shard, epoch: Epoch(1), version: 1, isr };
    apply(&mut outside, &Command::AlterIsr { broker: BrokerId(3), changes: vec![change] });
    let mut shy = healthy.clone();
    apply(&mut shy, &Command::Drain { broker: BrokerId(1), drain: crate::Drain::Leadership });

    // Answers: broker, start, last epoch, end, high watermark.
    for (row, (catalog, live, answers, expected)) in [
        // The leader is there and in its start.
        (&healthy, &[1, 2, 3][..], &[][..], ""),
        (&healthy, &[3], &[(1, 1, 1, 9, 9)], ""),
        // It is gone: one that went on without a restart leads by its own word.
        (&healthy, &[1, 2], &[], "0 of 2 answers"),
        (&healthy, &[1, 2], &[(1, 1, 1, 9, 5)], "elect 1.1 of 1.1 2.1 3.1"),
        (&healthy, &[1, 2], &[(1, 1, 1, 9, 5), (2, 1, 1, 10, 5)], "elect 2.1 of 1.1 2.1 3.1"),
        (&healthy, &[1, 2], &[(1, 1, 1, 99, 5), (2, 1, 2, 10, 5)], "elect 2.1 of 1.1 2.1 3.1"),
        (&healthy, &[1, 2], &[(1, 1, 1, 9, 5), (2, 1, 1, 9, 5)], "elect 1.1 of 1.1 2.1 3.1"),
        // Among equals rather one that does not give leadership away; a greater log counts more.
        (&shy, &[1, 2], &[(1, 1, 1, 9, 5), (2, 1, 1, 9, 5)], "elect 2.1 of 1.1 2.1 3.1"),
        (&shy, &[1, 2], &[(1, 1, 1, 9, 5), (2, 1, 1, 8, 5)], "elect 1.1 of 1.1 2.1 3.1"),
        // Answers of the dead and of earlier starts don't count.
        (&healthy, &[2], &[(1, 1, 1, 9, 5)], "0 of 2 answers"),
        (&one, &[1, 2], &[(1, 1, 1, 9, 5)], "0 of 2 answers"),
        // One that started again never leads where one answers that did not, however long its log is.
        (&one, &[1, 2], &[(1, 2, 1, 9, 5)], "1 of 2 answers"),
        (&one, &[1, 2], &[(1, 2, 1, 9, 5), (2, 1, 1, 9, 5)], "elect 2.1 of 1.1 2.1 3.1"),
        (&one, &[1, 2], &[(1, 2, 1, 9, 5), (2, 1, 1, 8, 5)], "elect 2.1 of 1.1 2.1 3.1"),
        (&one, &[1, 2], &[(1, 2, 1, 9, 5), (2, 1, 1, 4, 5)], "elect 2.1 of 1.1 2.1 3.1"),
        // Without such a one the leader that nobody hears from must be stopped first.
        (&two, &[1, 2], &[(1, 2, 1, 9, 5), (2, 2, 1, 9, 5)], "end the epoch"),
        (&two, &[1, 2], &[(1, 2, 1, 9, 5)], "1 of 2 answers"),
        // The leader itself started again: it is a candidate like the others. If everybody did and answers, nobody
        // has to be stopped; if one does not answer, it may help an even earlier leader.
        (&all, &[1, 2, 3], &[(3, 2, 1, 12, 9)], "1 of 2 answers"),
        (&all, &[1, 2, 3], &[(3, 2, 1, 12, 9), (1, 2, 1, 10, 9)], "end the epoch"),
        (
            &all,
            &[1, 2, 3],
            &[(3, 2, 1, 12, 9), (1, 2, 1, 10, 9), (2, 2, 1, 11, 9)],
            "elect 3.2 of 1.1 2.1 3.2",
        ),
        (&all, &[1, 2, 3], &[(3, 2, 1, 9, 9), (1, 2, 1, 10, 9), (2, 2, 1, 9, 9)], "elect 1.2 of 1.2 2.1 3.1"),
        // One that went on without a restart only answered early: by now it holds what is committed.
        (&healthy, &[1, 2], &[(1, 1, 1, 4, 4), (2, 1, 1, 9, 5)], "elect 2.1 of 1.1 2.1 3.1"),
        (&healthy, &[1, 2], &[(1, 1, 1, 4, 4), (2, 1, 1, 3, 5)], "elect 1.1 of 1.1 2.1 3.1"),
        // A disk lost what it had synced: the replica is reported and leaves while the minimum allows.
        (
            &all,
            &[1, 2, 3],
            &[(1, 2, 1, 4, 4), (2, 2, 1, 3, 3), (3, 2, 1, 7, 5)],
            "elect 3.2 of 1.1 3.2, 1.2 lacks 4..5, 2.2 lacks 3..5",
        ),
        // A replica that is not in sync knows what is committed, and is not elected however long its log is.
        (&outside, &[1, 2], &[(1, 1, 9, 99, 20), (2, 1, 1, 30, 4)], "elect 2.1 of 2.1 3.1"),
        (&outside, &[1, 2], &[(1, 1, 9, 99, 20), (2, 1, 1, 19, 4)], "elect 2.1 of 2.1 3.1"),
        // Below the minimum after a loss: all that are left is enough.
        (&lost, &[1, 2], &[(2, 1, 1, 9, 5)], "elect 2.1 of 1.1 2.1"),
        (&last, &[1], &[(1, 2, 1, 9, 5)], "elect 1.2 of 1.2"),
        (&last, &[], &[(1, 2, 1, 9, 5)], "0 of 1 answers"),
        (&last, &[1], &[(1, 2, 1, 4, 5)], "behind 5, 1.2 lacks 4..5"),
        (&none, &[1, 2, 3], &[(1, 2, 1, 9, 5)], "data lost"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(outcome(catalog, live, answers), expected, "row {row}");
    }
}

#[test]
fn who_started_again_is_elected_only_among_those_who_promised_the_epoch() {
    let end = |catalog: &mut Catalog| {
        let row = catalog.shard(SHARD).expect("there");
        let (shard, version, isr) = (SHARD, row.version, row.isr.clone());
        let elections = vec![Election { shard, version, leader: None, isr }];
        apply(catalog, &Command::ElectLeaders { elections });
    };
    // Both followers started again, the leader is silent, its epoch was ended.
    let mut two = cluster();
    apply(&mut two, &register(1, 2));
    apply(&mut two, &register(2, 2));
    end(&mut two);
    // It started again, too; and it did without any end of its epoch, which is the second one.
    let mut all = two.clone();
    apply(&mut all, &register(3, 2));
    let mut second = cluster();
    let hand_over = second.election_of(SHARD, BrokerId(2)).expect("in sync");
    apply(&mut second, &Command::ElectLeaders { elections: vec![hand_over] });
    for broker in 1..=3 {
        apply(&mut second, &register(broker, 2));
    }
    // Only the first one is in sync, and started again; its leader was lost.
    let mut lone = cluster();
    apply(&mut lone, &Command::LoseBroker { broker: BrokerId(2) });
    apply(&mut lone, &register(1, 2));
    apply(&mut lone, &Command::LoseBroker { broker: BrokerId(3) });
    assert_eq!(lone.shard(SHARD).expect("there").epoch, Epoch(2), "a lost leader's epoch is over");

    for (row, (catalog, answers, expected)) in [
        (&two, &[(1, 2, 1, (1, 9, 5)), (2, 2, 1, (1, 9, 5))][..], "0 of 2 promises"),
        (&two, &[(1, 2, 2, (1, 9, 5)), (2, 2, 1, (1, 9, 5))], "1 of 2 promises"),
        (&two, &[(1, 2, 2, (1, 9, 5))], "1 of 2 answers"),
        (&two, &[(1, 2, 2, (1, 8, 5)), (2, 2, 2, (1, 9, 5))], "elect 2.2 of 1.1 2.2 3.1"),
        (&two, &[(1, 2, 3, (1, 8, 5)), (2, 2, 2, (1, 8, 5))], "elect 1.2 of 1.2 2.1 3.1"),
        // The old leader answers after all: it started when it was confirmed, and promised nothing.
        (&two, &[(1, 2, 1, (1, 8, 5)), (3, 1, 1, (1, 9, 5))], "elect 3.1 of 1.1 2.1 3.1"),
        // A longer log that promised nothing may still grow, or hold what nobody committed.
        (
            &all,
            &[(1, 2, 2, (1, 8, 5)), (2, 2, 1, (1, 12, 5)), (3, 2, 2, (1, 9, 5))],
            "elect 3.2 of 1.1 2.1 3.2",
        ),
        (
            &all,
            &[(1, 2, 2, (1, 4, 4)), (2, 2, 1, (1, 12, 5)), (3, 2, 2, (1, 9, 5))],
            "elect 3.2 of 2.1 3.2, 1.2 lacks 4..5",
        ),
        // Those that promised lack something; who has it is about to promise.
        (
            &all,
            &[(1, 2, 2, (1, 4, 4)), (2, 2, 1, (1, 12, 5)), (3, 2, 2, (1, 3, 4))],
            "behind 5, 1.2 lacks 4..5, 3.2 lacks 3..5",
        ),
        // The leader of the second epoch is no more, and one of the first may be about.
        (&second, &[(1, 2, 1, (1, 9, 5)), (2, 2, 1, (1, 9, 5)), (3, 2, 2, (1, 9, 5))], "1 of 2 promises"),
        (
            &second,
            &[(1, 2, 2, (1, 9, 5)), (2, 2, 1, (1, 9, 5)), (3, 2, 2, (1, 9, 5))],
            "elect 3.2 of 1.1 2.1 3.2",
        ),
        // Nobody but itself could be told anything.
        (&lone, &[(1, 2, 1, (1, 9, 5))], "elect 1.2 of 1.2"),
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(outcome_of(catalog, &[1, 2, 3], answers), expected, "row {row}");
    }
}

#[test]
fn those_in_sync_and_there_are_asked() {
    let mut catalog = cluster();
    let live: BTreeSet<BrokerId> = [1, 2].into_iter().map(BrokerId).collect();
    let asked = to_ask(&catalog, &live);
    let led_by_three = catalog.shards().filter(|shard| shard.leader == Some(BrokerId(3))).count();
    assert!(led_by_three > 0 && asked.len() == led_by_three);
    assert!(asked.contains(&(SHARD, vec![BrokerId(1), BrokerId(2)])));
    apply(&mut catalog, &register(3, 2));
    let everybody = [1, 2, 3].into_iter().map(BrokerId).collect();
    assert_eq!(to_ask(&catalog, &everybody).len(), led_by_three, "it started again");
}
