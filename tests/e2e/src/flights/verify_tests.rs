//! A small run in perfect order, then the same with one thing wrong at a time: each must be found by its rule.

use bytes::Bytes;
use pondage_model::{Attempt, Epoch};

use super::*;
use crate::flights::{dataset::Dataset, ledger::Accepted};

const TABLE: &str = "\
year,month,day,dep_time,sched_dep_time,dep_delay,arr_time,sched_arr_time,arr_delay,carrier,flight,tailnum,origin,dest,air_time,distance,hour,minute,time_hour
2013,1,1,1,1,1,1,1,1,UA,1,N1,EWR,IAH,1,1,1,1,T
2013,1,1,1,1,1,1,1,1,B6,2,N1,JFK,IAH,1,1,1,1,T
2013,1,1,1,1,1,1,1,1,UA,3,N1,LGA,IAH,1,1,1,1,T
2013,1,1,1,1,1,1,1,1,B6,4,N1,EWR,IAH,1,1,1,1,T
2013,1,1,1,1,1,1,1,1,UA,5,N1,JFK,IAH,1,1,1,1,T
2013,1,1,1,1,1,1,1,1,B6,6,N1,LGA,IAH,1,1,1,1,T
2013,1,1,1,1,1,1,1,1,UA,7,N1,EWR,IAH,1,1,1,1,T
2013,1,1,1,1,1,1,1,1,B6,8,N1,JFK,IAH,1,1,1,1,T
2013,1,1,1,1,1,1,1,1,UA,9,N1,LGA,IAH,1,1,1,1,T
";

fn lease(epoch: u64, attempt: u32) -> Lease {
    Lease { epoch: Epoch(epoch), attempt: Attempt(attempt) }
}

/// What happened, owned so that it can be changed.
struct Story {
    flights: Dataset,
    topic: Seen,
    followed: Seen,
    topic_acks: Vec<Option<Place>>,
    queue_acks: Vec<Option<Place>>,
    records: Records,
    backlogs: [u64; 3],
    dead_letters: u64,
}

impl Story {
    /// UA in partition 0, B6 in partition 1, each queue in the order of the file, row 4 released once.
    fn in_order() -> Self {
        let flights = Dataset::parse(&Bytes::from_static(TABLE.as_bytes()), 9).expect("a table");
        let place = |row: usize| (row % 2, Offset(row as u64 / 2));
        let mut topic = Seen { partitions: vec![Vec::new(), Vec::new()] };
        for row in 0..9 {
            topic.partitions[place(row).0].push((place(row).1, row));
        }
        let mut records = Records::default();
        let mut grant = |row: usize, lease, at| {
            let offset = Offset(row as u64 / 3);
            records.grants.push(Grant { row, queue: row % 3, offset, lease, at });
        };
        grant(4, lease(1, 1), 5);
        for row in 0..9 {
            grant(row, lease(1, 2), 10);
        }
        let accepted = |row| Accepted { row, lease: lease(1, 2), at: 20, already: false };
        records.accepted = (0..9).map(accepted).collect();
        let ack = |partition: usize, offset| Some((partition as u32, offset));
        Self {
            flights,
            followed: topic.clone(),
            topic,
            topic_acks: (0..9).map(|row| ack(place(row).0, place(row).1)).collect(),
            queue_acks: (0..9).map(|row| ack(0, Offset(row / 3))).collect(),
            records,
            backlogs: [0; 3],
            dead_letters: 0,
        }
    }

    fn judge(&self) -> Findings {
        judge(&Evidence {
            rows: &self.flights.rows,
            topic_acks: self.topic_acks.clone(),
            queue_acks: self.queue_acks.clone(),
            topic: &self.topic,
            followed: &self.followed,
            records: &self.records,
            backlogs: self.backlogs,
            dead_letters: self.dead_letters,
        })
    }
}

#[test]
fn a_run_in_order_violates_nothing() {
    let findings = Story::in_order().judge();
    assert!(findings.violations.is_empty(), "{}", findings.violations);
    assert_eq!(findings.checksums.0, findings.checksums.1);
    assert_eq!(findings.late_deliveries, 0);
}

#[test]
fn each_fault_is_found_by_its_rule() {
    type Fault = fn(&mut Story);
    const CHECKSUM: &str = "the checksum over the topic is that of the file";
    const FOLLOWED: &str = "whoever follows the topic sees what a later reader sees";
    let faults: &[(&[&str], Fault)] = &[
        (&["every acknowledged row is in the topic", CHECKSUM, FOLLOWED], |story| {
            story.topic.partitions[0].pop();
        }),
        (&["no row is in the topic twice", CHECKSUM, FOLLOWED], |story| {
            story.topic.partitions[0].insert(0, (Offset(0), 8));
            story.topic.partitions[0].truncate(6);
            story.topic.partitions[0].iter_mut().zip(0..).for_each(|((offset, _), at)| *offset = Offset(at));
        }),
        // Rows 0 and 4 are of one key and producer; rows 0 and 2 are not.
        (&["messages of one key and producer keep their order in the topic", CHECKSUM, FOLLOWED], |story| {
            swap(story, 0, 0, 2);
        }),
        (&[FOLLOWED], |story| swap(story, 0, 0, 1)),
        (&["all messages of a key are in one partition", FOLLOWED], |story| {
            story.topic.partitions.swap(0, 1);
            let moved = story.topic.partitions[1].pop().expect("five");
            story.topic.partitions[0].push((Offset(9), moved.1));
        }),
        (
            &["offsets of a partition only grow", "every row is where its acknowledgement says", FOLLOWED],
            |story| {
                story.topic.partitions[0][1].0 = Offset(0);
            },
        ),
        (&["every row is where its acknowledgement says"], |story| {
            story.topic_acks[3] = Some((1, Offset(7)));
        }),
        (&["every row is acknowledged"], |story| story.topic_acks[3] = None),
        (&["every row is acknowledged"], |story| story.queue_acks[3] = None),
        (&[FOLLOWED], |story| {
            story.followed.partitions[1].remove(1);
        }),
        (&["every acknowledged row is delivered"], |story| {
            story.records.grants.retain(|grant| grant.row != 3);
            story.records.accepted.retain(|accepted| accepted.row != 3);
        }),
        (&["every delivered row is accepted in the end"], |story| {
            story.records.accepted.retain(|accepted| accepted.row != 3);
        }),
        (&["no row is in its queue twice"], |story| {
            let again = Grant { row: 3, queue: 0, offset: Offset(9), lease: lease(1, 1), at: 11 };
            story.records.grants.push(again);
        }),
        (&["a row is delivered by its own queue only"], |story| story.records.grants[2].queue = 2),
        (&["no lease is granted twice"], |story| {
            let again = story.records.grants[3];
            story.records.grants.push(again);
        }),
        (&["no grant is made after the accept returned"], |story| {
            let again = Grant { lease: lease(2, 1), at: 30, ..story.records.grants[3] };
            story.records.grants.push(again);
        }),
        (&["a message is accepted under one lease"], |story| {
            let again = Accepted { lease: lease(1, 1), ..story.records.accepted[3] };
            story.records.accepted.push(again);
        }),
        (&["the queues are empty at the end"], |story| story.backlogs[1] = 1),
        (&["no message becomes a dead letter"], |story| story.dead_letters = 1),
    ];
    for (index, (rules, fault)) in faults.iter().enumerate() {
        let mut story = Story::in_order();
        fault(&mut story);
        let violations = story.judge().violations;
        for rule in *rules {
            assert!(
                violations.rules().contains(rule),
                "fault {index} does not break {rule:?}:\n{violations}"
            );
        }
        // Faults inside the topic show in several ways; all others in one.
        let is_one = rules.len() > 1 || violations.rules() == *rules;
        assert!(is_one || rules == &[FOLLOWED], "fault {index} breaks more than {rules:?}:\n{violations}");
    }
}

fn swap(story: &mut Story, partition: usize, one: usize, other: usize) {
    let messages = &mut story.topic.partitions[partition];
    (messages[one].1, messages[other].1) = (messages[other].1, messages[one].1);
}

#[test]
fn an_unknown_accept_and_a_late_earlier_delivery_are_allowed() {
    let mut story = Story::in_order();
    story.records.accepted.retain(|accepted| accepted.row != 3);
    story.records.unknown.push(3);
    let late = Grant { lease: lease(1, 1), at: 30, ..story.records.grants[1] };
    story.records.grants.push(late);
    let findings = story.judge();
    assert!(findings.violations.is_empty(), "{}", findings.violations);
    assert_eq!(findings.late_deliveries, 1);
}
