use clap::Parser;
use pondage_client::ClientError;
use pondage_model::Refusal;

use super::*;
use crate::input::{InputError, Parts};

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    publish: Publish,
}

fn parse(line: &str) -> Result<Publish, clap::Error> {
    let words = std::iter::once("publish").chain(line.split_whitespace());
    Line::try_parse_from(words).map(|line| line.publish)
}

#[test]
fn options_fit_together_or_are_refused() {
    for (line, is_fine) in [
        ("t", true),
        ("flights --csv flights.csv --key carrier", true),
        ("t --csv --csv-value json --delimiter ; -", true),
        ("t --ndjson --key-field user a b", true),
        ("t --key-separator :: --null-key", true),
        ("t --header a=b --header c= --compression none --batch 1", true),
        ("t --delay 15m --ttl 1h", true),
        ("", false),
        ("../t", false),
        ("t --csv --ndjson", false),
        ("t --csv-value json", false),
        ("t --key-field user", false),
        ("t --key k --key-separator :", false),
        ("t --key-separator=", false),
        ("t --header novalue", false),
        ("t --header =v", false),
        ("t --compression brotli", false),
        ("t --batch 0", false),
        ("t --delay soon", false),
        ("t --csv --delimiter \"\"", false),
    ] {
        assert_eq!(parse(line).is_ok(), is_fine, "{line}");
    }
}

#[test]
fn lines_become_messages() {
    let parts = |key: Option<&'static str>| Parts { key: key.map(Bytes::from), value: Bytes::from("v") };
    for (line, key, expected) in [
        ("t", None, None),
        ("t --key fixed", None, Some("fixed")),
        ("t --csv --key column", Some("UA"), Some("UA")),
        ("t --csv --key column --null-key", Some(""), None),
        ("t --csv --key column", Some(""), Some("")),
        ("t --ndjson --key-field id", None, None),
    ] {
        let publish = parse(line).expect(line);
        let item = Item { source: 0, line: 1, read_bytes: 0, parts: parts(key) };
        let message = publish.message(item);
        assert_eq!(message.key, expected.map(Bytes::from), "{line}");
        assert_eq!(message.value, Some(Bytes::from("v")));
    }
    let publish = parse("t --header a=b=c --partition 3").expect("valid");
    let message = publish.message(Item { source: 0, line: 1, read_bytes: 0, parts: parts(None) });
    assert_eq!(message.headers, [(Bytes::from("a"), Some(Bytes::from("b=c")))]);
    assert_eq!(message.partition, Some(3));
}

#[test]
fn topics_and_queues_take_their_own_options() {
    let location =
        |is_topic| Location { is_topic, partitions: if is_topic { 4 } else { 1 }, message_bytes_max: 1 };
    for (line, topic, queue) in [
        ("t", true, true),
        ("t --delay 1s", false, true),
        ("t --ttl 1s", false, true),
        ("t --partition 3", true, false),
        ("t --partition 4", false, false),
    ] {
        let publish = parse(line).expect(line);
        assert_eq!(publish.check(location(true)).is_ok(), topic, "{line}");
        assert_eq!(publish.check(location(false)).is_ok(), queue, "{line}");
    }
}

#[test]
fn the_end_names_the_first_line_that_was_not_acknowledged() {
    let sources = [Source::Stdin, Source::File("flights.csv".into())];
    let failure = |refusal: Refusal| Sent { source: 1, line: 1_204, error: ClientError::from(refusal) };
    let base = || Published { acknowledged: 1_203, ..Published::default() };
    assert_eq!(base().into_result(&sources), Ok(Exit::Ok));
    let interrupted = Published { interrupted: Some(Exit::Interrupted), ..base() };
    assert_eq!(interrupted.into_result(&sources), Ok(Exit::Interrupted));

    let definite = Published { failed: 1, first_failure: Some(failure(Refusal::StorageFull)), ..base() };
    let failed = definite.into_result(&sources).expect_err("failed");
    assert_eq!(failed.exit, Exit::Failed);
    assert_eq!(
        failed.message,
        "flights.csv:1204 was not acknowledged: the volume is full; 1203 messages were"
    );

    let unknown = Published {
        failed: 3,
        is_any_unknown: true,
        first_failure: Some(failure(Refusal::Timeout)),
        ..base()
    };
    let failed = unknown.into_result(&sources).expect_err("failed");
    assert_eq!(failed.exit, Exit::Unknown);
    assert!(failed.message.contains("the first of 3"), "{}", failed.message);

    let input = InputError { line: 7, problem: "is not JSON".to_owned() };
    let failed =
        Published { input_error: Some((0, input)), ..base() }.into_result(&sources).expect_err("failed");
    assert_eq!((failed.exit, failed.message.as_str()), (Exit::Failed, "stdin:7: is not JSON"));
}
