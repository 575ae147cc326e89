//! `pondage publish`.

mod progress;
mod sending;

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::{Args, builder::PossibleValuesParser, builder::TypedValueParser};
use pondage_client::{Compression, Location, Message, PublisherOptions};
use pondage_model::{Name, limits};
use serde_json::json;

use self::{
    progress::Progress,
    sending::{Published, Sent},
};
use super::{ResultForm, print, remark};
use crate::{
    completion,
    connect::Connection,
    exit::{Exit, Failure, Result},
    input::{CsvValue, Format, Item, Reading, Source},
    places::parse_duration,
    render::text::bytes,
};

/// Publish lines, NDJSON or CSV rows from files or stdin to a topic or queue
#[derive(Args, Debug)]
#[command(after_help = "\
A message counts once the broker has it durably. Without FILE, or with -, stdin is read.

Examples:
  echo '{\"order\": 17}' | pondage publish orders
  pondage publish flights --csv flights.csv --key carrier
  pondage publish events --ndjson --key-field user --compression zstd events.ndjson
  tail -f app.log | pondage publish logs --header host=web-1
  pondage publish reminders --delay 15m < reminders.txt")]
pub(crate) struct Publish {
    /// A topic or queue
    #[arg(value_name = "TARGET", add = completion::targets())]
    target: Name,

    /// Files, one after the other; - or nothing is stdin
    #[arg(value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    files: Vec<PathBuf>,

    /// Every line is JSON, and a message as it stands
    #[arg(long, conflicts_with = "csv", help_heading = "Input")]
    ndjson: bool,

    /// Every row below the heading is a message
    #[arg(long, help_heading = "Input")]
    csv: bool,

    /// What a CSV row's message says
    #[arg(long, value_enum, value_name = "FORM", requires = "csv", help_heading = "Input")]
    csv_value: Option<CsvValue>,

    /// What separates CSV columns [default: ,]
    #[arg(long, value_name = "CHARACTER", value_parser = parse_delimiter, requires = "csv", help_heading = "Input")]
    delimiter: Option<u8>,

    /// The key of every message; with --csv the name of the column that holds it
    #[arg(short, long, value_name = "KEY|COLUMN", help_heading = "Messages")]
    key: Option<String>,

    /// The field of the JSON object that holds the key
    #[arg(
        long,
        value_name = "FIELD",
        requires = "ndjson",
        conflicts_with = "key",
        help_heading = "Messages"
    )]
    key_field: Option<String>,

    /// What separates key and value in a line
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["key", "ndjson", "csv"],
          value_parser = clap::builder::NonEmptyStringValueParser::new(), help_heading = "Messages")]
    key_separator: Option<String>,

    /// An empty key is no key
    #[arg(long, help_heading = "Messages")]
    null_key: bool,

    /// A header of every message; may be given more than once
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = parse_header, help_heading = "Messages")]
    headers: Vec<(String, String)>,

    /// The topic's partition; without it, by key
    #[arg(long, value_name = "N", help_heading = "Messages")]
    partition: Option<u32>,

    /// Queues: hold every message back for this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Messages")]
    delay: Option<Duration>,

    /// Queues: a message that is not consumed by then expires
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, help_heading = "Messages")]
    ttl: Option<Duration>,

    /// Of the batches
    #[arg(long, value_name = "CODEC", default_value = "lz4", value_parser = codecs(), help_heading = "Sending")]
    compression: Compression,

    /// Messages in one batch at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=limits::BATCH_MESSAGES_MAX as i64),
          help_heading = "Sending")]
    batch: Option<u32>,

    /// Print no progress and no summary
    #[arg(short, long)]
    quiet: bool,

    /// The form of the summary
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    output: ResultForm,
}

fn codecs() -> impl TypedValueParser<Value = Compression> {
    PossibleValuesParser::new(Compression::ALL.map(Compression::as_str))
        .try_map(|word| word.parse::<Compression>().map_err(|refusal| refusal.to_string()))
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE, such as host=web-1".to_owned()),
    }
}

fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        _ if text == "\\t" || text == "tab" => Ok(b'\t'),
        [byte] if !matches!(byte, b'"' | b'\n' | b'\r') => Ok(*byte),
        _ => Err("expected one ASCII character such as ; or tab".to_owned()),
    }
}

impl Publish {
    pub(crate) fn is_json(&self) -> bool {
        self.output == ResultForm::Json
    }

    pub(crate) async fn run(&self, connection: &Connection) -> Result<Exit> {
        let sources = Source::all(&self.files);
        for source in &sources {
            check_readable(source)?;
        }
        let client = connection.client().await?;
        let location = client.locate(self.target.as_str()).await?;
        self.check(location)?;
        let publisher = client.publisher(self.target.as_str(), self.options(connection)).await?;
        self.invite(&sources);
        let progress = Progress::start(&sources, self.quiet);
        let reading = Reading::start(sources.clone(), self.format())?;
        let published = sending::publish(&publisher, reading, |item| self.message(item), &progress).await?;
        progress.finish();
        self.summarise(&published)?;
        published.into_result(&sources)
    }

    /// Topics and queues take different options.
    fn check(&self, location: Location) -> Result<()> {
        let target = &self.target;
        if location.is_topic {
            if self.delay.is_some() || self.ttl.is_some() {
                return Err(Failure::usage(format!("--delay and --ttl are for queues; {target} is a topic")));
            }
        } else if self.partition.is_some() {
            return Err(Failure::usage(format!("--partition is for topics; {target} is a queue")));
        }
        match self.partition {
            Some(partition) if partition >= location.partitions => {
                let last = location.partitions - 1;
                Err(Failure::usage(format!(
                    "--partition {partition}: {target} has none; allowed: 0 to {last}"
                )))
            }
            _ => Ok(()),
        }
    }

    fn options(&self, connection: &Connection) -> PublisherOptions {
        let defaults = PublisherOptions::default();
        PublisherOptions {
            compression: self.compression,
            batch_messages: self.batch.unwrap_or(defaults.batch_messages),
            delivery_timeout: connection.timeout.unwrap_or(defaults.delivery_timeout),
            ..defaults
        }
    }

    fn format(&self) -> Format {
        if self.csv {
            Format::Csv {
                key_column: self.key.clone(),
                value: self.csv_value.unwrap_or_default(),
                delimiter: self.delimiter.unwrap_or(b','),
            }
        } else if self.ndjson {
            Format::Ndjson { key_field: self.key_field.clone() }
        } else {
            Format::Lines { key_separator: self.key_separator.clone() }
        }
    }

    fn message(&self, item: Item) -> Message {
        let own = || self.key.as_ref().filter(|_| !self.csv).map(|key| Bytes::from(key.clone()));
        let key = item.parts.key.or_else(own).filter(|key| !(self.null_key && key.is_empty()));
        let header =
            |(name, value): &(String, String)| (Bytes::from(name.clone()), Some(Bytes::from(value.clone())));
        Message {
            key,
            value: Some(item.parts.value),
            headers: self.headers.iter().map(header).collect(),
            partition: self.partition,
            delay: self.delay,
            ttl: self.ttl,
            timestamp_millis: None,
        }
    }

    /// A terminal that waits for input looks like one that hangs.
    fn invite(&self, sources: &[Source]) {
        use std::io::IsTerminal;
        if !self.quiet && sources.contains(&Source::Stdin) && std::io::stdin().is_terminal() {
            remark("type messages, one a line; Ctrl-D ends");
        }
    }

    fn summarise(&self, published: &Published) -> Result<()> {
        let (count, rate) = (published.acknowledged, published.bytes_per_second());
        let text = match self.output {
            ResultForm::Json => {
                let object = json!({
                    "published": count,
                    "bytes": published.bytes,
                    "seconds": published.elapsed.as_secs_f64(),
                    "notAcknowledged": published.failed,
                });
                format!("{object}\n")
            }
            ResultForm::Text if self.quiet => return Ok(()),
            ResultForm::Text => format!("{count} published, {}/s\n", bytes(rate)),
        };
        print(&text)
    }
}

/// A file that can't be read is known before the first message goes out.
fn check_readable(source: &Source) -> Result<()> {
    let Source::File(path) = source else { return Ok(()) };
    let wrong = |problem: String| Err(Failure::usage(format!("{}: {problem}", path.display())));
    match std::fs::File::open(path) {
        Ok(_) if path.is_dir() => wrong("is a folder; name its files".to_owned()),
        Ok(_) => Ok(()),
        Err(error) => wrong(error.to_string()),
    }
}

impl Published {
    /// How the command ends.
    fn into_result(self, sources: &[Source]) -> Result<Exit> {
        let place = |source: usize, line: u64| {
            let name = sources.get(source).map(Source::name).unwrap_or_default();
            if line == 0 { name } else { format!("{name}:{line}") }
        };
        if let Some(Sent { source, line, error }) = self.first_failure {
            let mut failure = Failure::from(error);
            if self.is_any_unknown {
                failure.exit = Exit::Unknown;
            }
            let others = match self.failed {
                0 | 1 => String::new(),
                failed => format!(" (the first of {failed})"),
            };
            failure.message = format!(
                "{} was not acknowledged{others}: {}; {} messages were",
                place(source, line),
                failure.message,
                self.acknowledged
            );
            return Err(failure);
        }
        if let Some((source, error)) = self.input_error {
            let message = format!("{}: {}", place(source, error.line), error.problem);
            return Err(Failure::failed(message)
                .help(format!("the {} messages before it are published", self.acknowledged)));
        }
        Ok(self.interrupted.unwrap_or(Exit::Ok))
    }
}

#[cfg(test)]
#[path = "publish_tests.rs"]
mod tests;
