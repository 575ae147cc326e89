//! `consume`.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::{Place, eventually, lines};

fn publish(place: &Place, text: &str) {
    place.run_with(&["publish", "orders", "-q", "--key", "k"], text).ok();
}

#[test]
fn messages_are_printed_and_then_gone() {
    let place = Place::with_resources();
    publish(&place, "one\ntwo\nthree\n");
    let text = place.ok(&["consume", "orders", "--limit", "1"]);
    let (head, body) = text.split_once('\n').expect("two lines");
    assert!(head.starts_with("# orders 0  20") && head.ends_with("  key k"), "{text}");
    assert_eq!(body, "one\n");
    let line = place.ok(&["consume", "orders", "--limit", "1", "-o", "json"]);
    let json: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&json["value"], &json["attempt"]), (&Value::from("two"), &Value::from(1)));
    assert_eq!(place.ok(&["consume", "orders", "--until-end", "-o", "key-value"]), "k\tthree\n");
    let left = place.queue("orders");
    assert_eq!((&left["ready"], &left["unacked"]), (&Value::from(0), &Value::from(0)));
}

#[test]
fn verdicts_do_what_they_say() {
    let place = Place::with_resources();
    publish(&place, "a\nb\n");
    assert_eq!(place.ok(&["consume", "orders", "--limit", "2", "--settle", "none", "-o", "value"]), "a\nb\n");
    eventually("given back", || place.queue("orders")["ready"] == 2);
    let line = place.ok(&["consume", "orders", "--limit", "1", "--settle", "release", "-o", "json"]);
    let first: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(first["value"], "a");
    eventually("released", || place.queue("orders")["ready"] == 2);
    place.ok(&["consume", "orders", "--limit", "2", "--settle", "reject"]);
    eventually("dead", || place.queue("orders-dead")["ready"] == 2);
    assert_eq!(place.queue("orders")["deadLettered"], 2);
    let dead = place.ok(&["consume", "orders-dead", "--until-end", "-o", "json"]);
    assert!(dead.contains("pondage-"), "the reason stands in the headers: {dead}");
}

#[test]
fn ctrl_c_gives_back_what_is_in_flight() {
    let place = Place::with_resources();
    publish(&place, "a\nb\nc\n");
    let process = Place::spawn(place.pondage(&["consume", "orders", "--settle", "none", "--limit", "9"]));
    eventually("taken", || place.queue("orders")["unacked"] == 3);
    process.signal(Signal::INT);
    let (status, out, err) = process.output();
    assert_eq!(status.code(), Some(130), "{err}");
    assert!(out.contains("\na\n"), "{out}");
    eventually("given back", || place.queue("orders")["ready"] == 3);
    let line = place.ok(&["browse", "orders", "--limit", "1", "-o", "json"]);
    let json: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(json["failures"], 0, "leaving is no failed attempt");
}

#[test]
fn following_goes_on_until_it_is_told_to_stop() {
    let place = Place::with_resources();
    let log = place.path("followed");
    let mut command = place.pondage(&["consume", "orders", "--follow", "-o", "value"]);
    command.stdout(std::fs::File::create(&log).expect("writable"));
    let process = Place::spawn(command);
    for text in ["one\n", "two\n"] {
        publish(&place, text);
        eventually("it follows", || lines(&log).last().is_some_and(|line| line == text.trim()));
    }
    process.signal(Signal::TERM);
    assert_eq!(process.output().0.code(), Some(143));
    eventually("all settled", || {
        place.queue("orders")["unacked"] == 0 && place.queue("orders")["ready"] == 0
    });
}

#[test]
fn a_command_that_succeeds_accepts_and_one_that_fails_releases() {
    let place = Place::with_resources();
    publish(&place, "good\nbad\nfine\n");
    let script = "body=$(cat); echo \"$body $PONDAGE_KEY $PONDAGE_OFFSET $PONDAGE_ATTEMPT\" >> work.log; test $body != bad";
    place.ok(&["consume", "orders", "--until-end", "--exec", script]);
    let mut done = lines(&place.path("work.log"));
    done.sort();
    assert_eq!(done, ["bad k 1 1", "bad k 1 2", "fine k 2 1", "good k 0 1"]);
    eventually("two failures are enough", || place.queue("orders-dead")["ready"] == 1);
    assert_eq!(place.queue("orders")["ready"], 0);
}

#[test]
fn commands_run_at_once_and_their_leases_are_renewed() {
    let place = Place::with_resources();
    publish(&place, "1\n2\n3\n4\n");
    // Longer than the queue's ackTimeout of 2 s.
    let script = "echo $PONDAGE_ATTEMPT >> attempts.log; sleep 5";
    let started = std::time::Instant::now();
    place.ok(&["consume", "orders", "--limit", "4", "--concurrency", "4", "--exec", script]);
    assert!(started.elapsed() < Duration::from_secs(15), "four at once");
    assert_eq!(lines(&place.path("attempts.log")), ["1", "1", "1", "1"]);
    let left = place.queue("orders");
    assert_eq!((&left["ready"], &left["unacked"]), (&Value::from(0), &Value::from(0)));
}

#[test]
fn ctrl_c_ends_commands_and_gives_their_messages_back() {
    let place = Place::with_resources();
    publish(&place, "slow\n");
    let script = "touch started; sleep 60; touch finished";
    let process = Place::spawn(place.pondage(&["consume", "orders", "--exec", script]));
    eventually("started", || place.path("started").exists());
    process.signal(Signal::INT);
    let (status, _, err) = process.output();
    assert_eq!(status.code(), Some(130), "{err}");
    eventually("given back", || place.queue("orders")["ready"] == 1);
    assert!(!place.path("finished").exists());
}

#[test]
fn a_topic_is_read_by_everybody_from_where_they_want() {
    let place = Place::with_resources();
    place.run_with(&["publish", "flights", "--partition", "1"], "a\nb\nc\n").ok();
    for (args, expected) in [
        (&["--until-end"][..], "a\nb\nc\n"),
        (&["--until-end"], "a\nb\nc\n"),
        (&["--until-end", "--partition", "0"], ""),
        (&["--until-end", "--partition", "1", "--from", "1"], "b\nc\n"),
        (&["--until-end", "--from", "latest"], ""),
        (&["--until-end", "--from", "-1h"], "a\nb\nc\n"),
        (&["--limit", "2"], "a\nb\n"),
    ] {
        let mut all = vec!["consume", "flights", "-o", "value"];
        all.extend(args);
        assert_eq!(place.ok(&all), expected, "{args:?}");
    }
    place.run(&["consume", "flights", "--partition", "1", "--from", "9"]).failed(1, &["outside"]);
}

#[test]
fn a_group_goes_on_behind_what_its_command_accepted() {
    let place = Place::with_resources();
    place.run_with(&["publish", "flights", "--partition", "2"], "a\nb\nbad\nc\n").ok();
    let script = "body=$(cat); echo $body >> read.log; test $body != bad";
    let args = ["consume", "flights", "--group", "board", "--until-end", "--exec", script];
    let expected = ["exit code 1", "flights/2 offset 2", "comes again"];
    place.run(&args).failed(1, &expected);
    place.run(&args).failed(1, &expected);
    assert_eq!(lines(&place.path("read.log")), ["a", "b", "bad", "bad"]);
    let group = place.json(&["groups", "describe", "board", "-o", "json"]);
    assert_eq!(group["status"]["topics"][0]["partitions"][2]["committedOffset"], 2);
}

#[test]
fn the_members_of_a_group_share_its_topic_and_pass_it_on() {
    let place = Place::with_resources();
    let member = |name: &str| {
        let mut command = place.pondage(&["consume", "--group", "board", "--member", name, "-o", "value"]);
        command.stdout(std::fs::File::create(place.path(name)).expect("writable"));
        Place::spawn(command)
    };
    let shares = || {
        let members = place.json(&["groups", "members", "board", "-o", "json"])["members"].clone();
        let share = |member: &serde_json::Value| {
            let count = member["partitions"].as_array().map_or(0, Vec::len);
            (member["instance"].as_str().unwrap_or_default().to_owned(), count)
        };
        let mut shares: Vec<_> = members.as_array().into_iter().flatten().map(share).collect();
        shares.sort();
        shares
    };
    let first = member("first");
    eventually("the first one has all", || shares() == [("first".to_owned(), 3)]);
    let mut second = member("second");
    eventually("they share", || {
        let shares = shares();
        shares.len() == 2 && shares.iter().all(|(_, share)| (1..=2).contains(share))
    });
    for partition in ["0", "1", "2"] {
        place.run_with(&["publish", "flights", "--partition", partition], &format!("{partition}\n")).ok();
    }
    let read = || [lines(&place.path("first")), lines(&place.path("second"))].concat();
    let all = |mut read: Vec<String>| {
        read.sort();
        read
    };
    eventually("each message is read once", || all(read()) == ["0", "1", "2"]);
    assert!(!lines(&place.path("first")).is_empty() && !lines(&place.path("second")).is_empty());

    second.signal(Signal::INT);
    assert_eq!(second.ended().code(), Some(130));
    eventually("the first one has all again", || shares() == [("first".to_owned(), 3)]);
    place.run_with(&["publish", "flights", "--key", "k"], "more\n").ok();
    eventually("it reads on", || lines(&place.path("first")).last().is_some_and(|last| last == "more"));
    assert_eq!(all(read()).len(), 4, "nothing came twice");

    // Whoever runs goes on from where the group is moved to.
    let before = lines(&place.path("first")).len();
    let err = place.run(&["groups", "reset-offsets", "board", "--to", "earliest"]).err;
    assert!(err.contains("group board goes on from there, with 1 member"), "{err}");
    eventually("it reads all again", || lines(&place.path("first")).len() == before + 4);
    drop(first);
}

#[test]
fn a_group_says_what_it_has_no_use_for() {
    let place = Place::with_resources();
    for (args, said) in [
        (&["consume", "orders", "--group", "board"][..], "group board reads flights"),
        (&["consume", "--group", "board", "--from", "latest"], "reset-offsets board"),
        (&["consume", "--group", "board", "--partition", "1"], "leave --partition out"),
        (&["consume", "--group", "board", "--settle", "reject"], "--settle is for queues"),
        (&["groups", "reset-offsets", "board", "orders", "--to", "1"], "it reads flights"),
        (
            &["groups", "reset-offsets", "board", "flights", "--to", "1", "--partition", "3"],
            "allowed: 0 to 2",
        ),
    ] {
        place.run(args).failed(2, &[said]);
    }
    place.run(&["consume", "--group", "nobody"]).failed(3, &["nobody"]);
    place.run(&["groups", "members", "nobody"]).failed(3, &["nobody"]);
}
