use proptest::prelude::*;

use super::*;

const ME: BrokerId = BrokerId(1);

fn drain(voter: &mut OneVoter) -> Vec<ConsensusOutput> {
    std::iter::from_fn(|| voter.poll()).collect()
}

/// Outputs in short, for scripts.
fn words(outputs: &[ConsensusOutput]) -> Vec<String> {
    outputs
        .iter()
        .map(|output| match output {
            ConsensusOutput::Append(entries) => {
                let items = entries.iter().map(|entry| match &entry.body {
                    Body::EpochStart => format!("{}=start:{}", entry.position, entry.epoch),
                    Body::Command(bytes) => format!("{}={}", entry.position, String::from_utf8_lossy(bytes)),
                    Body::CheckpointPage(page) => {
                        format!("{}=page:{}/{}", entry.position, page.index, page.total)
                    }
                    other => panic!("unexpected {other:?}"),
                });
                format!("append {}", items.collect::<Vec<_>>().join(" "))
            }
            ConsensusOutput::Committed { position, revision, command, proposal } => {
                assert_eq!(revision.0, position.0 + 1);
                let proposal = proposal.expect("proposed here");
                format!("committed {position}={} #{}", String::from_utf8_lossy(command), proposal.0)
            }
            ConsensusOutput::ReadReady(read) => format!("ready {}", read.0),
            ConsensusOutput::Failed { proposal, refusal } => {
                format!("failed #{} {}", proposal.0, refusal.code().as_str())
            }
            ConsensusOutput::ReadFailed { read, refusal } => {
                format!("read failed {} {}", read.0, refusal.code().as_str())
            }
            ConsensusOutput::TakeCheckpoint => "take checkpoint".to_owned(),
            ConsensusOutput::Checkpointed { first } => format!("checkpointed {first}"),
            ConsensusOutput::Restored { .. } => panic!("a lone voter has nobody to send it a catalog"),
        })
        .collect()
}

fn fault() -> ConsensusInput {
    ConsensusInput::Fault { refusal: Refusal::VolumeFenced { since: LogTime(7) } }
}

/// Runs a script: each step is done, then everything that comes out is compared.
fn check(end: &LogEnd, script: &[(&str, &[&str])]) {
    let mut voter = OneVoter::start(ME, end);
    for (step, expected) in script {
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let number = || rest.parse::<u64>().expect("a number");
        match verb {
            "start" => {}
            "propose" => {
                for item in rest.split(' ') {
                    let (id, command) = item.split_once('=').expect("id=command");
                    let id = ProposalId(id.parse().expect("a number"));
                    voter.propose(id, Bytes::copy_from_slice(command.as_bytes()));
                }
            }
            "read" => voter.read_index(ReadId(number())),
            "synced" => voter.handle(ConsensusInput::Synced { through: Position(number()) }),
            "wanted" => voter.handle(ConsensusInput::CheckpointWanted),
            "taken" => {
                let pages = (0..number()).map(|_| Bytes::from_static(b"page")).collect();
                voter.handle(ConsensusInput::CheckpointTaken { pages });
            }
            "fault" => voter.handle(fault()),
            "stop" => voter.handle(ConsensusInput::Fault { refusal: Refusal::Interrupted }),
            other => panic!("unknown step {other}"),
        }
        assert_eq!(words(&drain(&mut voter)), *expected, "after {step:?}");
    }
}

#[test]
fn nothing_is_answered_before_the_epochs_start_is_durable() {
    check(
        &LogEnd::default(),
        &[
            ("start", &["append 0=start:1"]),
            ("read 1", &[]),
            ("propose 1=a 2=b", &[]),
            ("read 2", &[]),
            ("synced 0", &["ready 1", "append 1=a 2=b"]),
            ("synced 2", &["committed 1=a #1", "committed 2=b #2", "ready 2"]),
            ("read 3", &["ready 3"]),
        ],
    );
}

#[test]
fn what_is_proposed_during_a_sync_goes_into_the_next_one_together() {
    check(
        &LogEnd { next: Position(10), epoch: Epoch(4), ..LogEnd::default() },
        &[
            ("start", &["append 10=start:5"]),
            ("synced 10", &[]),
            ("propose 1=a 2=b", &["append 11=a 12=b"]),
            ("propose 3=c", &[]),
            ("propose 4=d", &[]),
            // Half of an append is no room for the next.
            ("synced 11", &["committed 11=a #1"]),
            ("read 1", &[]),
            ("synced 12", &["committed 12=b #2", "append 13=c 14=d"]),
            // A late report of an earlier sync says nothing new.
            ("synced 12", &[]),
            ("synced 14", &["committed 13=c #3", "committed 14=d #4", "ready 1"]),
        ],
    );
}

#[test]
fn a_checkpoint_holds_all_below_its_first_page_and_nothing_above() {
    check(
        &LogEnd::default(),
        &[
            ("start", &["append 0=start:1"]),
            ("wanted", &[]),
            ("propose 1=a", &[]),
            ("synced 0", &["take checkpoint"]),
            // Held back until the state is taken: it would lie below the pages and not be in them.
            ("propose 2=b", &[]),
            ("read 1", &[]),
            ("taken 2", &["append 1=page:0/2 2=page:1/2 3=a 4=b"]),
            ("synced 1", &[]),
            ("synced 4", &["checkpointed 1", "committed 3=a #1", "committed 4=b #2", "ready 1"]),
            ("wanted", &["take checkpoint"]),
            ("taken 1", &["append 5=page:0/1"]),
            ("synced 5", &["checkpointed 5"]),
        ],
    );
}

#[test]
fn a_log_long_past_its_checkpoint_gets_one_by_itself() {
    let since = limits::CATALOG_CHECKPOINT_BYTES_MIN;
    let due = LogEnd { bytes_since_checkpoint: since, ..LogEnd::default() };
    check(&due, &[("start", &["append 0=start:1"]), ("synced 0", &["take checkpoint"])]);
    let large = LogEnd { checkpoint_bytes: since, ..due };
    check(&large, &[("start", &["append 0=start:1"]), ("synced 0", &[])]);
}

#[test]
fn a_fault_ends_everything_that_waits_as_unknown() {
    check(
        &LogEnd::default(),
        &[
            ("start", &["append 0=start:1"]),
            ("synced 0", &[]),
            ("propose 1=a", &["append 1=a"]),
            ("propose 2=b", &[]),
            ("read 1", &[]),
            ("fault", &["failed #1 VOLUME_FENCED", "failed #2 VOLUME_FENCED", "read failed 1 VOLUME_FENCED"]),
            ("synced 1", &[]),
            ("propose 3=c", &["failed #3 VOLUME_FENCED"]),
            ("read 2", &["read failed 2 VOLUME_FENCED"]),
            ("wanted", &[]),
            ("stop", &[]),
            ("propose 4=d", &["failed #4 VOLUME_FENCED"]),
        ],
    );
}

#[test]
#[should_panic(expected = "may be durable")]
fn a_fault_can_not_claim_to_be_definite() {
    let mut voter = OneVoter::start(ME, &LogEnd::default());
    voter.handle(ConsensusInput::Fault { refusal: Refusal::ShuttingDown });
}

#[test]
#[should_panic(expected = "synced")]
fn a_sync_of_what_was_never_appended_is_our_mistake() {
    let mut voter = OneVoter::start(ME, &LogEnd::default());
    voter.handle(ConsensusInput::Synced { through: Position(0) });
}

#[test]
fn full_is_an_answer() {
    let mut voter = OneVoter::start(ME, &LogEnd::default());
    voter.propose(ProposalId(0), vec![0; limits::CATALOG_COMMAND_BYTES_MAX + 1].into());
    assert_eq!(words(&drain(&mut voter)), ["failed #0 TOO_LARGE", "append 0=start:1"]);
    let room = limits::CATALOG_PENDING_MAX as u64 - 1;
    for id in 0..room {
        voter.propose(ProposalId(id), Bytes::from_static(b"x"));
    }
    assert_eq!(drain(&mut voter), []);
    voter.propose(ProposalId(room), Bytes::from_static(b"x"));
    assert_eq!(words(&drain(&mut voter)), [format!("failed #{room} BUSY")]);
    for id in 0..limits::CATALOG_PENDING_MAX as u64 {
        voter.read_index(ReadId(id));
    }
    assert_eq!(drain(&mut voter), []);
    voter.read_index(ReadId(9_999));
    assert_eq!(words(&drain(&mut voter)), ["read failed 9999 BUSY"]);
}

#[test]
fn a_sync_carries_bounded_bytes() {
    let mut voter = OneVoter::start(ME, &LogEnd::default());
    drain(&mut voter);
    voter.handle(ConsensusInput::Synced { through: Position(0) });
    let large = Bytes::from(vec![0; limits::CATALOG_COMMAND_BYTES_MAX]);
    for id in 0..16 {
        voter.propose(ProposalId(id), large.clone());
    }
    voter.propose(ProposalId(16), Bytes::from_static(b"x"));
    assert_eq!(words(&drain(&mut voter)).first().map(String::as_str), Some("failed #16 BUSY"));
    voter.handle(ConsensusInput::Synced { through: Position(16) });
    assert_eq!(drain(&mut voter).last(), Some(&ConsensusOutput::TakeCheckpoint));
    voter.handle(ConsensusInput::CheckpointTaken { pages: vec![large.clone(); 17] });
    let outputs = drain(&mut voter);
    let Some(ConsensusOutput::Append(entries)) = outputs.last() else { panic!("{outputs:?}") };
    assert_eq!(entries.len(), 16, "the last page waits for the next sync");
    voter.propose(ProposalId(17), large);
    assert_eq!(drain(&mut voter), [], "what is committed takes no room any more");
}

#[test]
fn entries_carry_the_latest_time_and_never_an_earlier_one() {
    let end = LogEnd { log_time: LogTime(100), ..LogEnd::default() };
    let mut voter = OneVoter::start(ME, &end);
    let mut times = Vec::new();
    for now in [50, 200, 150] {
        voter.handle(ConsensusInput::Tick { now: LogTime(now) });
        voter.propose(ProposalId(now.unsigned_abs()), Bytes::new());
        for output in drain(&mut voter) {
            let ConsensusOutput::Append(entries) = output else { continue };
            times.extend(entries.iter().map(|entry| entry.log_time.0));
            let through = entries.last().expect("not empty").position;
            voter.handle(ConsensusInput::Synced { through });
        }
    }
    times.extend(drain(&mut voter).iter().filter_map(|output| match output {
        ConsensusOutput::Append(entries) => Some(entries[0].log_time.0),
        _ => None,
    }));
    assert_eq!(times, [100, 100, 200, 200]);
}

#[test]
fn the_only_voter_stays_the_only_one() {
    let mut voter = OneVoter::start(ME, &LogEnd::default());
    assert_eq!(voter.membership(), Membership { voters: vec![ME], leader: None, epoch: Epoch(1) });
    drain(&mut voter);
    voter.handle(ConsensusInput::Synced { through: Position(0) });
    assert_eq!(voter.membership().leader, Some(ME));
    assert_eq!(voter.change_voters(&[ME]), Ok(()));
    assert!(matches!(voter.change_voters(&[]), Err(Refusal::InvalidArgument { .. })));
    assert!(matches!(voter.change_voters(&[ME, BrokerId(2)]), Err(Refusal::NotServed { .. })));
    assert!(matches!(voter.change_voters(&[BrokerId(2)]), Err(Refusal::NotServed { .. })));
    voter.handle(fault());
    assert_eq!(voter.membership().leader, None);
}

#[derive(Clone, Debug)]
enum Step {
    Propose,
    Read,
    Poll,
    Sync(u64),
    CheckpointWanted,
    Fault,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => Just(Step::Propose),
        4 => Just(Step::Read),
        8 => Just(Step::Poll),
        8 => (0..4u64).prop_map(Step::Sync),
        1 => Just(Step::CheckpointWanted),
    ];
    let last = prop_oneof![3 => Just(Vec::new()), 1 => Just(vec![Step::Fault])];
    (proptest::collection::vec(step, 0..120), last).prop_map(|(mut steps, last)| {
        steps.extend(last);
        steps
    })
}

/// What the outside has seen: the log it was told to append, and the answers.
#[derive(Default)]
struct Outside {
    log: Vec<Entry>,
    durable: usize,
    committed: Vec<u64>,
    proposed: u64,
    failed: Vec<u64>,
    /// Reads that wait, with the commands they must see.
    reads: std::collections::BTreeMap<u64, u64>,
    reads_answered: u64,
    asked: bool,
}

impl Outside {
    fn take(&mut self, output: ConsensusOutput) {
        match output {
            ConsensusOutput::Append(entries) => {
                assert_eq!(self.durable, self.log.len(), "an append while another one is in flight");
                assert!(!self.asked, "an append while a checkpoint is taken");
                for entry in entries {
                    assert_eq!(entry.position.0, self.log.len() as u64);
                    self.log.push(entry);
                }
            }
            ConsensusOutput::Committed { position, command, proposal, .. } => {
                assert!((position.0 as usize) < self.durable, "committed before it was durable");
                assert_eq!(self.log[position.0 as usize].body, Body::Command(command));
                self.committed.push(proposal.expect("proposed here").0);
            }
            ConsensusOutput::ReadReady(read) => {
                let sees = self.reads.remove(&read.0).expect("a read that waits");
                assert!(self.durable > 0 && self.committed.len() as u64 >= sees, "a stale read");
                self.reads_answered += 1;
            }
            ConsensusOutput::Failed { proposal, .. } => self.failed.push(proposal.0),
            ConsensusOutput::ReadFailed { read, .. } => {
                self.reads.remove(&read.0).expect("a read that waits");
                self.reads_answered += 1;
            }
            ConsensusOutput::TakeCheckpoint => {
                let commands = |entries: &[Entry]| {
                    entries.iter().filter(|entry| matches!(entry.body, Body::Command(_))).count()
                };
                assert_eq!(commands(&self.log), self.committed.len(), "a checkpoint that lacks a command");
                self.asked = true;
            }
            ConsensusOutput::Restored { .. } => panic!("a lone voter has nobody to send it a catalog"),
            ConsensusOutput::Checkpointed { first } => {
                assert!(matches!(
                    &self.log[first.0 as usize].body,
                    Body::CheckpointPage(CheckpointPage { index: 0, .. })
                ));
            }
        }
    }
}

proptest! {
    #[test]
    fn every_request_gets_one_answer_in_order_and_only_once_durable(steps in steps()) {
        let mut voter = OneVoter::start(ME, &LogEnd::default());
        let mut outside = Outside::default();
        let (mut reads, mut faulted) = (0, false);
        let settle = (0..300).map(|turn| if turn % 2 == 0 { Step::Poll } else { Step::Sync(u64::MAX) });
        for step in steps.into_iter().chain(settle) {
            match step {
                Step::Propose => {
                    voter.propose(ProposalId(outside.proposed), outside.proposed.to_be_bytes().to_vec().into());
                    outside.proposed += 1;
                }
                Step::Read => {
                    outside.reads.insert(reads, outside.proposed);
                    voter.read_index(ReadId(reads));
                    reads += 1;
                }
                Step::Poll => {
                    if let Some(output) = voter.poll() {
                        outside.take(output);
                    } else if outside.asked {
                        outside.asked = false;
                        voter.handle(ConsensusInput::CheckpointTaken { pages: vec![Bytes::new(); 2] });
                    }
                }
                Step::Sync(count) if !faulted => {
                    outside.durable = outside.durable.saturating_add(count as usize).min(outside.log.len());
                    if let Some(last) = outside.durable.checked_sub(1) {
                        voter.handle(ConsensusInput::Synced { through: Position(last as u64) });
                    }
                }
                Step::Sync(_) => {}
                Step::CheckpointWanted => voter.handle(ConsensusInput::CheckpointWanted),
                Step::Fault => {
                    faulted = true;
                    voter.handle(fault());
                }
            }
        }
        prop_assert_eq!(outside.reads_answered, reads);
        let answered: Vec<u64> = outside.committed.iter().chain(&outside.failed).copied().collect();
        prop_assert_eq!(answered, (0..outside.proposed).collect::<Vec<_>>());
        prop_assert!(faulted || outside.failed.is_empty());
    }
}
