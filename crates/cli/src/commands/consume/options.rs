//! Options that fit a topic or a queue, and what is counted on the way.

use std::io::{self, BufWriter, IsTerminal, Write};

use clap::ValueEnum;
use pondage_client::ClientError;
use pondage_model::Name;

use super::Consume;
use crate::{
    commands::remark,
    exit::{Exit, Failure, Result},
    render::{
        message::{MessageForm, Shown},
        text::counted,
    },
};

/// What becomes of a printed message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Settle {
    /// It is done: it leaves the queue, or the shared group has it behind it
    #[default]
    Accept,
    /// It failed and comes again after the backoff
    Release,
    /// It can't be processed and goes to the dead-letter queue
    Reject,
    /// It is given back at the end, as if it had not been taken
    None,
}

impl Consume {
    /// Options that a topic has no use for.
    pub(super) fn check_topic(&self, why: &str) -> Result<()> {
        let wrong =
            |option: &str| Err(Failure::usage(format!("{option} is for queues and shared groups; {why}")));
        match self {
            Self { settle: Some(_), .. } => wrong("--settle"),
            Self { lease: Some(_), .. } => wrong("--lease"),
            Self { concurrency: 2.., .. } => wrong("--concurrency"),
            _ => Ok(()),
        }
    }

    /// Options that a group on topics has no use for.
    pub(super) fn check_group(&self, group: &Name, topics: &[Name]) -> Result<()> {
        self.check_topic(&format!("group {group} reads topics"))?;
        self.check_reads(group, topics)
    }

    /// Options that a shared group has no use for.
    pub(super) fn check_shared(&self, group: &Name, topics: &[Name]) -> Result<()> {
        if self.settle == Some(Settle::None) {
            let text =
                format!("group {group} is shared: --settle none would hold on to what its members wait for");
            return Err(
                Failure::usage(text).help("`pondage consume TOPIC` without --group reads without taking")
            );
        }
        self.check_reads(group, topics)
    }

    fn check_reads(&self, group: &Name, topics: &[Name]) -> Result<()> {
        if self.from.is_some() {
            let failure = Failure::usage(format!("group {group} begins where it stands; leave --from out"));
            return Err(failure.help(format!("`pondage groups reset-offsets {group} --to PLACE` moves it")));
        }
        if !self.partitions.is_empty() {
            let text = format!("group {group} reads all partitions; leave --partition out");
            return Err(Failure::usage(text));
        }
        let names: Vec<_> = topics.iter().map(Name::as_str).collect();
        match &self.target {
            Some(target) if topics != std::slice::from_ref(target) => {
                let failure = Failure::usage(format!("group {group} reads {}", names.join(", ")));
                Err(failure.help(format!("pondage consume --group {group}")))
            }
            _ => Ok(()),
        }
    }

    /// Options that a queue has no use for.
    pub(super) fn check_queue(&self, target: &Name) -> Result<()> {
        let wrong =
            |option: &str| Err(Failure::usage(format!("{option} is for topics; {target} is a queue")));
        match self {
            Self { from: Some(_), .. } => wrong("--from"),
            Self { partitions, .. } if !partitions.is_empty() => wrong("--partition"),
            Self { settle: Some(Settle::None), limit: None, .. } => {
                Err(Failure::usage("--settle none keeps all messages to the end; say how many with --limit")
                    .help(format!("pondage browse {target} looks at messages without taking them")))
            }
            _ => Ok(()),
        }
    }

    /// Prints a summary to whoever sits before it.
    pub(super) fn summarise(&self, tally: &Tally) {
        if !self.quiet && std::io::stderr().is_terminal() {
            remark(&tally.summary());
        }
    }

    /// Prints messages, all of them before any of them is settled.
    pub(super) fn print<'a>(&self, messages: impl Iterator<Item = Shown<'a>>) -> io::Result<()> {
        print(messages, self.output)
    }
}

fn print<'a>(messages: impl Iterator<Item = Shown<'a>>, form: MessageForm) -> io::Result<()> {
    let stdout = io::stdout().lock();
    let to_terminal = stdout.is_terminal();
    let mut out = BufWriter::new(stdout);
    for message in messages {
        message.write(&mut out, form, to_terminal)?;
    }
    out.flush()
}

/// What happened to the messages.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// Taken.
    pub(super) taken: u64,
    /// Accepted, or committed.
    pub(super) accepted: u64,
    /// Released because they failed.
    pub(super) released: u64,
    /// Rejected.
    pub(super) rejected: u64,
    /// Given back.
    pub(super) returned: u64,
    /// Verdicts that did not hold, and the first of their errors.
    pub(super) lost: u64,
    first_error: Option<ClientError>,
}

impl Tally {
    /// A verdict that did not hold.
    pub(super) fn lost(&mut self, error: ClientError) {
        self.lost += 1;
        self.first_error.get_or_insert(error);
    }

    /// One line for people.
    pub(super) fn summary(&self) -> String {
        let mut text = counted(self.taken, "message");
        for (count, word) in [
            (self.accepted, "accepted"),
            (self.released, "released"),
            (self.rejected, "rejected"),
            (self.returned, "given back"),
            (self.lost, "with a verdict that did not hold"),
        ] {
            if count > 0 {
                text += &format!(", {count} {word}");
            }
        }
        text
    }

    /// How the command ends: as `exit` says, unless verdicts did not hold.
    pub(super) fn into_result(self, exit: Exit) -> Result<Exit> {
        match self.first_error {
            None => Ok(exit),
            Some(error) => {
                let many = counted(self.lost, "verdict");
                Err(Failure::from(error).about(format!("{many} did not hold")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use pondage_model::{Offset, Refusal};

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        consume: Consume,
    }

    fn parse(line: &str) -> Result<Consume, clap::Error> {
        let words = std::iter::once("consume").chain(line.split_whitespace());
        Line::try_parse_from(words).map(|line| line.consume)
    }

    #[test]
    fn options_fit_a_topic_or_a_queue() {
        for (line, topic, queue) in [
            ("t", true, true),
            ("t --limit 3 --until-end -o json", true, true),
            ("t --follow --exec true", true, true),
            ("t --exec true --concurrency 2", false, true),
            ("t --settle accept", false, true),
            ("t --settle none", false, false),
            ("t --settle none --limit 5", false, true),
            ("t --lease 5s", false, true),
            ("t --group g", true, true),
            ("t --from -15m", true, false),
            ("t --from latest --partition 1 --partition 2", true, false),
        ] {
            let consume = parse(line).expect(line);
            let target = consume.target.clone().expect(line);
            assert_eq!(consume.check_topic("it is a topic").is_ok(), topic, "{line}");
            assert_eq!(consume.check_queue(&target).is_ok(), queue, "{line}");
        }
        for line in
            ["", "t --limit 0", "t --follow --until-end", "t --concurrency 2", "t --exec x --settle reject"]
        {
            assert!(parse(line).is_err(), "{line}");
        }
    }

    #[test]
    fn options_fit_what_a_group_reads() {
        let names = |texts: &[&str]| texts.iter().map(|text| Name::new(text).expect("valid")).collect();
        let one: Vec<Name> = names(&["t"]);
        let two: Vec<Name> = names(&["t", "u"]);
        for (line, of_one, of_two) in [
            ("t --group g", true, false),
            ("--group g --member pod-0 --limit 3", true, true),
            ("u --group g", false, false),
            ("--group g --from latest", false, false),
            ("--group g --partition 1", false, false),
            ("--group g --lease 3s", false, false),
        ] {
            let consume = parse(line).expect(line);
            let group = consume.group.clone().expect(line);
            assert_eq!(consume.check_group(&group, &one).is_ok(), of_one, "{line}");
            assert_eq!(consume.check_group(&group, &two).is_ok(), of_two, "{line}");
        }
        for (line, shared) in [
            ("--group g --lease 3s --settle reject", true),
            ("t --group g --exec true --concurrency 3", true),
            ("--group g --settle none --limit 3", false),
            ("--group g --settle none", false),
            ("--group g --from latest", false),
            ("--group g --partition 1", false),
            ("u --group g", false),
        ] {
            let consume = parse(line).expect(line);
            let group = consume.group.clone().expect(line);
            assert_eq!(consume.check_shared(&group, &one).is_ok(), shared, "{line}");
        }
        assert!(parse("t --member pod-0").is_err(), "only groups have members");
    }

    #[test]
    fn the_summary_counts_what_happened() {
        let tally = Tally { taken: 4, accepted: 3, returned: 1, ..Tally::default() };
        assert_eq!(tally.summary(), "4 messages, 3 accepted, 1 given back");
        assert_eq!(tally.into_result(Exit::Interrupted), Ok(Exit::Interrupted));
        let mut tally = Tally { taken: 1, ..Tally::default() };
        tally.lost(Refusal::LeaseLost { offset: Offset(3) }.into());
        assert_eq!(tally.summary(), "1 message, 1 with a verdict that did not hold");
        let failure = tally.into_result(Exit::Ok).expect_err("a verdict was lost");
        assert_eq!(failure.exit, Exit::Failed);
        assert!(failure.message.starts_with("1 verdict did not hold: "), "{}", failure.message);
    }
}
