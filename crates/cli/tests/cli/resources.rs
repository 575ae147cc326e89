//! `apply`, `get`, `describe`, `delete`, `offsets`, and how errors look.

use serde_json::json;

use crate::harness::{FILE, Place};

#[test]
fn resources_are_applied_in_an_order_that_works_and_shown() {
    let mut place = Place::empty();
    place.up(&[]);
    assert!(place.run(&["get", "all"]).err.contains("nothing there yet"));
    let dry = place.run_with(&["apply", "-f", "-", "--dry-run"], FILE).ok();
    assert_eq!(dry.matches("created (dry run)").count(), 4, "{dry}");
    assert_eq!(place.ok(&["get", "topics", "-o", "name"]), "");

    let applied = place.run_with(&["apply", "-f", "-"], FILE).ok();
    let expected = "\
topic/flights      created
queue/orders-dead  created
queue/orders       created
group/board        created
";
    assert_eq!(applied, expected);
    let again: serde_json::Value =
        serde_json::from_str(&place.run_with(&["apply", "-f", "-", "-o", "json"], FILE).ok()).expect("JSON");
    assert_eq!(again[0], json!({"kind": "topic", "name": "flights", "change": "unchanged", "dryRun": false}));
    let more = place.run_with(&["apply", "-f", "-"], &FILE.replace("partitions: 3", "partitions: 4")).ok();
    assert!(more.contains("topic/flights      updated"), "{more}");

    let topics = place.ok(&["get", "ptop"]);
    assert!(
        topics.starts_with("NAME     PARTITIONS  MESSAGES  OLDEST\nflights           4         0  -\n"),
        "{topics}"
    );
    let queues = place.ok(&["get", "queues"]);
    assert!(
        queues.starts_with("NAME         READY  UNACKED  SCHEDULED  DEAD  OLDEST  CONSUMERS\n"),
        "{queues}"
    );
    assert!(place.ok(&["get", "groups"]).contains("board  topic/flights        0    0  -"));
    assert_eq!(place.ok(&["groups", "list"]), place.ok(&["get", "groups"]));
    assert_eq!(place.ok(&["get", "all", "-o", "name"]).lines().count(), 4);
    assert!(place.ok(&["get", "cluster"]).contains("127.0.0.1:"));
    assert!(place.ok(&["get", "queue/orders", "-o", "wide"]).contains("orders-dead"));
    assert!(place.ok(&["describe", "queue", "orders"]).contains("  ackTimeout: 2s\n"));
    assert!(place.ok(&["describe", "group/board"]).contains("Cursors:"));
}

#[test]
fn what_is_shown_as_yaml_or_json_can_be_applied_to_another_cluster() {
    let place = Place::with_resources();
    let mut other = Place::empty();
    other.up(&[]);
    for form in ["yaml", "json"] {
        let text = place.ok(&["get", "all", "-o", form]);
        let applied = other.run_with(&["apply", "-f", "-"], &text).ok();
        let word = if form == "yaml" { "created" } else { "unchanged" };
        assert_eq!(applied.matches(word).count(), 4, "{applied}");
    }
    let one = place.ok(&["describe", "queue", "orders", "-o", "yaml"]);
    assert!(other.run_with(&["apply", "-f", "-"], &one).ok().contains("unchanged"));
}

#[test]
fn a_wrong_file_applies_nothing() {
    let mut place = Place::empty();
    place.up(&[]);
    let good = place.write("good.yaml", FILE);
    let bad =
        place.write("bad.yaml", "apiVersion: pondage.io/v1alpha1\nkind: Queue\nmetadata: {name: ../x}\n");
    let files = [good.to_str().expect("text"), bad.to_str().expect("text")];
    place.run(&["apply", "-f", files[0], files[1]]).failed(2, &["bad.yaml:3:", "metadata.name"]);
    assert_eq!(place.ok(&["get", "all", "-o", "name"]), "");
    place.run(&["apply", "-f", "absent.yaml"]).failed(2, &["absent.yaml"]);
}

#[test]
fn one_that_is_refused_does_not_stop_the_others() {
    let place = Place::with_resources();
    let text = FILE.replace("partitions: 3", "partitions: 2").replace("ackTimeout: 2s", "ackTimeout: 3s");
    let ended = place.run_with(&["apply", "-f", "-"], &text);
    assert!(ended.out.contains("queue/orders       updated"), "{ended:?}");
    ended.failed(1, &["error: topic/flights: ", "only grows", "help: "]);
    let ended = place.run_with(&["apply", "-f", "-", "-o", "json"], &text);
    let json: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(json[0]["error"]["outcome"], "DEFINITE");
    assert_eq!(ended.code, Some(1));
}

#[test]
fn deleting_asks_for_what_is_there_and_keeps_what_is_needed() {
    let place = Place::with_resources();
    let ended = place.run(&["delete", "queue", "orders-dead"]);
    assert_eq!(ended.out, "queue/orders-dead  retained\n");
    ended.failed(1, &["deletionPolicy", "--policy delete"]);
    let args = ["delete", "queue", "orders-dead", "--policy", "delete"];
    place.run(&args).failed(1, &["error: queue/orders-dead: ", "queue orders dead-letters to it"]);
    place.run(&["delete", "queue", "nothing"]).failed(3, &["no queue \"nothing\""]);
    place.ok(&["delete", "queue", "nothing", "--ignore-not-found"]);
    place.run_with(&["publish", "orders"], "x\n").ok();
    place.run(&["delete", "queue/orders", "--policy", "delete-if-empty"]).failed(1, &["--policy delete"]);
    let file = place.write("resources.yaml", FILE);
    let deleted = place.ok(&["delete", "-f", file.to_str().expect("text"), "--policy", "delete"]);
    let order: Vec<_> = deleted.lines().map(|line| line.split(' ').next().unwrap_or_default()).collect();
    assert_eq!(order, ["group/board", "queue/orders", "queue/orders-dead", "topic/flights"]);
    assert_eq!(place.ok(&["get", "all", "-o", "name"]), "");
}

#[test]
fn every_end_has_its_exit_code() {
    let place = Place::with_resources();
    for (args, code, said) in [
        (&["get", "queue", "orderz"][..], 3, &["error: no queue \"orderz\"", "help: "][..]),
        (&["consume", "nowhere"], 3, &["nowhere"]),
        (&["publish", "nowhere"], 3, &["nowhere"]),
        (&["groups", "describe", "nobody"], 3, &["nobody"]),
        (&["get", "tipics"], 2, &["topics, queues"]),
        (&["publish", "../orders"], 2, &["a name has"]),
        (&["consume", "orders", "--from", "latest"], 2, &["--from is for topics"]),
        (&["consume", "flights", "--settle", "reject"], 2, &["--settle is for queues"]),
        (&["purge", "flights"], 2, &["is a topic"]),
        (&["publish", "flights", "absent.csv"], 2, &["absent.csv"]),
        (&["browse", "flights", "--partition", "3"], 2, &["allowed: 0 to 2"]),
        (&["--server", "http://127.0.0.1:9", "get", "queues"], 5, &["no connection", "pondage up"]),
        (&["--server", "http://127.0.0.1:9", "publish", "orders"], 5, &["definite", "pondage up"]),
        (&["--server", "not an address", "get", "queues"], 1, &["address"]),
    ] {
        place.run(args).failed(code, said);
    }
    let err = place.run(&["get", "queue", "orderz", "-o", "json"]).failed(3, &[]);
    let json: serde_json::Value = serde_json::from_str(&err).expect("an error is JSON too");
    assert_eq!(json["error"]["code"], "NOT_FOUND");
    assert!(place.ok(&[]).contains("Exit codes:"), "help alone");
}

#[test]
fn a_group_s_cursors_can_be_seen_and_moved() {
    let place = Place::with_resources();
    place.run_with(&["publish", "flights", "--partition", "1"], "a\nb\nc\n").ok();
    let lag = |place: &Place| place.json(&["get", "group", "board", "-o", "json"])["status"]["lag"].clone();
    assert_eq!(lag(&place), 3);
    assert_eq!(
        place.ok(&["consume", "flights", "--group", "board", "--until-end", "-o", "value"]),
        "a\nb\nc\n"
    );
    assert_eq!(lag(&place), 0);
    assert_eq!(place.ok(&["consume", "flights", "--group", "board", "--until-end", "-o", "value"]), "");

    let reset = ["groups", "reset-offsets", "board", "flights", "--to", "1", "--partition", "1"];
    let table = place.ok(&[&reset[..], &["--dry-run"]].concat());
    assert!(table.contains("flights          1     3   1    2"), "{table}");
    assert_eq!(lag(&place), 0, "nothing was moved");
    assert_eq!(place.ok(&reset), table);
    let group = place.json(&["groups", "describe", "board", "-o", "json"]);
    let partition = &group["status"]["topics"][0]["partitions"][1];
    assert_eq!((&partition["lag"], &partition["committedMessages"]), (&2.into(), &3.into()));
    assert_eq!(place.ok(&["consume", "flights", "-g", "board", "--until-end", "-o", "value"]), "b\nc\n");
    place.ok(&["groups", "reset-offsets", "board", "--to", "-1h"]);
    assert_eq!(lag(&place), 3);
    place.run(&["groups", "reset-offsets", "board", "--to", "99"]).failed(1, &["outside"]);
}

#[test]
fn rates_are_shown_of_what_comes_and_goes() {
    let place = Place::with_resources();
    place.run_with(&["publish", "orders"], "a\nb\n").ok();
    let table = place.ok(&["top", "queues", "-n", "1", "--interval", "100ms"]);
    let row = table.lines().find(|line| line.contains("orders ")).map(|line| line.split_whitespace());
    let row: Vec<_> = row.into_iter().flatten().take(5).collect();
    assert_eq!(row, ["queue", "orders", "0.0", "0.0", "2"], "{table}");
    let stats = place.json(&["stats", "-o", "json", "--interval", "100ms"]);
    let names: Vec<_> =
        stats["items"].as_array().expect("a list").iter().map(|item| item["name"].clone()).collect();
    assert_eq!(names, ["board", "orders", "orders-dead", "flights"]);
    place.run(&["stats", "cluster"]).failed(2, &["allowed: topics, queues, groups, all"]);
}

#[test]
fn changes_are_told_as_they_come() {
    let place = Place::with_resources();
    let mut command = place.pondage(&["get", "all", "--watch"]);
    let log = std::fs::File::create(place.path("watched")).expect("writable");
    command.stdout(log);
    let watching = Place::spawn(command);
    let told =
        |line: &str| crate::harness::lines(&place.path("watched")).iter().any(|told| told.starts_with(line));
    crate::harness::eventually("what exists is told", || told("group/board  created"));
    place.ok(&["delete", "group", "board"]);
    crate::harness::eventually("the deletion is told", || told("group/board  deleted"));
    watching.signal(rustix::process::Signal::INT);
    assert_eq!(watching.output().0.code(), Some(130));
}
