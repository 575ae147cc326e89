//! `publish` and `browse`.

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, eventually};

const CSV: &str = "year,carrier,flight\n2013,UA,1545\n2013,\"AA\",1141\n2013,B6,725\n2013,UA,1714\n";

fn browsed(place: &Place, args: &[&str]) -> Vec<Value> {
    let mut all = vec!["browse"];
    all.extend(args);
    all.extend(["-o", "json"]);
    let text = place.ok(&all);
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

#[test]
fn files_become_messages_with_keys() {
    let place = Place::with_resources();
    place.write("flights.csv", CSV);
    let published = place.ok(&["publish", "flights", "--csv", "flights.csv", "--key", "carrier"]);
    assert!(published.starts_with("4 published, "), "{published}");
    let messages = browsed(&place, &["flights"]);
    let values: Vec<_> =
        messages.iter().filter(|message| message["key"] == "UA").map(|ua| ua["value"].clone()).collect();
    assert_eq!(values, ["2013,UA,1545", "2013,UA,1714"], "one key keeps its order");
    assert!(messages.iter().any(|message| message["key"] == "AA" && message["value"] == "2013,\"AA\",1141"));

    let args = [
        "publish",
        "flights",
        "--csv",
        "--csv-value",
        "json",
        "--key",
        "carrier",
        "flights.csv",
        "-o",
        "json",
    ];
    assert_eq!(place.json(&args)["published"], 4);
    let json =
        |message: &Value| serde_json::from_str::<Value>(message["value"].as_str().unwrap_or_default()).ok();
    let flights: Vec<_> =
        browsed(&place, &["flights"]).iter().filter_map(json).map(|row| row["flight"].clone()).collect();
    assert_eq!(flights.len(), 4);

    let args = [
        "publish",
        "orders",
        "--ndjson",
        "--key-field",
        "id",
        "--header",
        "from=test",
        "--compression",
        "zstd",
    ];
    place.run_with(&args, "{\"id\": 1}\n{\"id\": \"b\"}\n").ok();
    let messages = browsed(&place, &["orders"]);
    assert_eq!(messages[1]["key"], "b");
    assert_eq!(messages[0]["value"], "{\"id\": 1}");
    assert_eq!(messages[0]["headers"][0]["value"], "test");
    assert_eq!(messages[0]["state"], "ready");
}

#[test]
fn many_messages_go_out_in_order_and_are_all_counted() {
    let place = Place::with_resources();
    let text: String = (0..20_000).map(|number| format!("{number}\n")).collect();
    let args = ["publish", "flights", "--key", "one", "--batch", "100", "-o", "json"];
    let summary: Value = serde_json::from_str(&place.run_with(&args, &text).ok()).expect("JSON");
    assert_eq!(summary["published"], 20_000);
    let read = place.ok(&["consume", "flights", "--until-end", "-o", "value"]);
    assert!(read == text, "20,000 messages of one key keep their order");
    let first = place.ok(&["browse", "flights", "--limit", "3", "-o", "value"]);
    assert_eq!(first, "0\n1\n2\n");
}

#[test]
fn bad_input_names_its_line_and_says_what_was_published() {
    let place = Place::with_resources();
    place.write("bad.ndjson", "{}\n{}\n{\n{}\n");
    let args = ["publish", "orders", "--ndjson", "bad.ndjson"];
    place.run(&args).failed(1, &["bad.ndjson:3: is not JSON", "the 2 messages before it are published"]);
    assert_eq!(place.queue("orders")["ready"], 2);
    place.write("flights.csv", CSV);
    let args = ["publish", "flights", "--csv", "--key", "airline", "flights.csv"];
    place.run(&args).failed(1, &["flights.csv:1", "year, carrier, flight"]);
}

#[test]
fn a_message_that_is_refused_is_named_and_what_came_before_it_counts() {
    let place = Place::with_resources();
    let text = format!("small\n{}\nbehind\n", "x".repeat(2 << 20));
    let ended = place.run_with(&["publish", "orders"], &text);
    assert!(ended.out.starts_with("1 published"), "{ended:?}");
    ended.failed(
        1,
        &["stdin:2 was not acknowledged", "2097152 bytes", "outcome: definite", "1 messages were"],
    );
    assert_eq!(place.queue("orders")["ready"], 1);
}

#[test]
fn messages_that_are_not_acknowledged_have_an_unknown_outcome() {
    let mut place = Place::with_resources();
    // A publisher whose broker is killed while it has messages on their way.
    let text: String = (0..200_000).map(|number| format!("{number} {}\n", "x".repeat(100))).collect();
    let input = place.write("many.txt", &text);
    let mut command = place.pondage(&["--timeout", "1s", "publish", "orders", "--batch", "10"]);
    command.arg(input);
    let publishing = Place::spawn(command);
    eventually("some are there", || place.queue("orders")["ready"].as_u64().is_some_and(|ready| ready > 100));
    place.broker().signal(Signal::KILL);
    let (status, out, err) = publishing.output();
    assert_eq!(status.code(), Some(4), "{out} {err}");
    assert!(err.contains("many.txt:") && err.contains("was not acknowledged"), "{err}");
    assert!(err.contains("outcome: unknown"), "{err}");
    let acknowledged: u64 = out.split(' ').next().and_then(|count| count.parse().ok()).expect(&out);

    place.take_broker();
    place.up(&[]);
    let stored = place.queue("orders")["ready"].as_u64().expect("a figure");
    assert!(stored >= acknowledged, "{acknowledged} were acknowledged and {stored} are there");
}

#[test]
fn delayed_messages_wait_and_show_it() {
    let place = Place::with_resources();
    place.run_with(&["publish", "orders", "--delay", "1h"], "later\n").ok();
    assert_eq!(place.queue("orders")["scheduled"], 1);
    let messages = browsed(&place, &["orders"]);
    assert_eq!(messages[0]["state"], "scheduled");
    assert!(messages[0]["until"].is_string());
    assert_eq!(place.ok(&["consume", "orders", "--until-end"]), "");
    assert_eq!(place.ok(&["purge", "orders"]), "1 message purged from orders\n");
    assert_eq!(place.queue("orders")["scheduled"], 0);
    place.run_with(&["publish", "flights", "--delay", "1h"], "x\n").failed(2, &["--delay"]);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let place = Place::with_resources();
    let text: String = (0..50_000).map(|number| format!("{number} {}\n", "x".repeat(50))).collect();
    place.run_with(&["publish", "flights"], &text).ok();
    let pondage = env!("CARGO_BIN_EXE_pondage");
    for command in
        ["browse flights --limit 0 -o value", "consume flights -o value", "consume flights -o json"]
    {
        let script = format!("{pondage} {command} | head -n 2 | wc -l");
        let mut shell = std::process::Command::new("/bin/bash");
        shell.arg("-c").arg(format!("set -o pipefail; {script}"));
        let server = place.pondage(&[]);
        shell.envs(server.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let output = shell.output().expect("bash");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "2", "{command} {err}");
        assert!(output.status.success() && err.is_empty(), "{command} {err}");
    }
}
