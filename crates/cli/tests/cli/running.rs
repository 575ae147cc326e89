//! `up`: starting, stopping, starting again.

use std::{fs, process::Stdio, time::Duration};

use rustix::process::Signal;

use crate::harness::{FILE, Place};

#[test]
fn what_was_published_is_there_after_a_stop_and_after_a_kill() {
    let mut place = Place::with_resources();
    let published = place.run_with(&["publish", "orders"], "one\ntwo\nthree\n").ok();
    assert!(published.starts_with("3 published, "), "{published}");
    assert!(place.ok(&["consume", "orders", "--limit", "1", "-o", "value"]).starts_with("one\n"));

    let mut broker = place.take_broker();
    broker.signal(Signal::TERM);
    let (status, out, err) = {
        broker.ended();
        broker.output()
    };
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(err.contains("stopping"), "{err}");
    assert!(out.contains("pondage consume orders --limit 1"), "{out}");
    assert!(out.contains("queue/orders       created"), "{out}");
    assert!(!place.path("addresses.json").exists(), "the file goes with its broker");
    place.run(&["get", "queues"]).failed(5, &["error: no connection", "pondage up"]);

    place.up(&[]);
    assert_eq!(place.queue("orders")["ready"], 2);
    assert_eq!(place.ok(&["consume", "orders", "--limit", "1", "-o", "value"]), "two\n");
    place.take_broker().signal(Signal::KILL);

    place.up(&[]);
    assert_eq!(place.ok(&["consume", "orders", "--until-end", "-o", "value"]), "three\n");
    let file = place.write("again.yaml", FILE);
    let applied = place.ok(&["apply", "-f", file.to_str().expect("text")]);
    assert_eq!(applied.matches("unchanged").count(), 4, "{applied}");
}

#[test]
fn signals_stop_it_in_good_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut place = Place::empty();
        place.up(&[]);
        place.broker().signal(signal);
        let (status, out, err) = place.take_broker().output();
        assert_eq!(status.code(), Some(0), "{signal:?} {err}");
        assert!(out.contains("pondage apply -f FILE"), "{out}");
        assert!(!err.contains("WARN") && !err.contains("ERROR"), "{err}");
    }
}

#[test]
fn a_wrong_file_is_told_with_its_place_and_starts_nothing() {
    let place = Place::empty();
    let broken = FILE.replace("partitions: 3", "partitions: 0, colour: red");
    let file = place.write("broken.yaml", &broken);
    for form in ["text", "json"] {
        let file = file.to_str().expect("text");
        let ended = place.run(&["up", "-f", file, "--data", "data", "--log-format", form]);
        let err = ended.failed(2, &["broken.yaml:18:", "spec.partitions", "spec.colour", "help: "]);
        assert!(err.contains("nothing was applied"), "{err}");
    }
    assert!(!place.path("data").exists(), "nothing was started");
}

#[test]
fn a_resource_that_is_refused_stops_the_broker_with_the_reason() {
    let mut place = Place::with_resources();
    place.broker().signal(Signal::TERM);
    place.take_broker().ended();
    let fewer = place.write("fewer.yaml", &FILE.replace("partitions: 3", "partitions: 1"));
    let process = place.start_up(&["-f", fewer.to_str().expect("text")]);
    let (status, _, err) = process.output();
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(err.contains("topic/flights") && err.contains("only grows"), "{err}");
    place.up(&[]);
    assert_eq!(place.json(&["get", "topic", "flights", "-o", "json"])["spec"]["partitions"], 3);
}

#[test]
fn a_folder_has_one_broker_at_a_time() {
    let place = Place::with_resources();
    // It would take the address file of the first one away, so it gets none.
    let args = ["up", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", "data"];
    let err = place.run(&args).failed(1, &["error: the broker did not start"]);
    assert!(err.contains("use") || err.contains("lock"), "{err}");
    place.ok(&["get", "queues"]);
}

#[test]
fn a_taken_port_is_told_by_name() {
    let place = Place::with_resources();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("bound").to_string();
    let args = ["up", "--listen", &address, "--http", "127.0.0.1:0", "--data", "elsewhere"];
    place.run(&args).failed(1, &[&address, "--listen"]);
}

#[test]
fn listening_beyond_this_machine_is_said_plainly() {
    let place = Place::empty();
    let mut process = place.start_up(&["--data", "other"]);
    process.signal(Signal::KILL);
    process.ended();
    let mut command =
        place.pondage(&["up", "--listen", "0.0.0.0:0", "--http", "127.0.0.1:0", "--data", "open"]);
    command.arg("--address-file").arg(place.path("open.json"));
    let process = Place::spawn(command);
    crate::harness::eventually("it serves", || place.path("open.json").exists());
    let text = fs::read_to_string(place.path("open.json")).expect("readable");
    assert!(text.contains("http://127.0.0.1:"), "clients on this machine get an address that works: {text}");
    process.signal(Signal::TERM);
    let (status, _, err) = process.output();
    assert_eq!(status.code(), Some(0), "{err}");
    assert!(err.contains("no authentication and no TLS"), "{err}");
}

#[test]
fn logs_are_lines_of_json_on_request() {
    let mut place = Place::empty();
    place.up(&["--log-format", "json"]);
    place.broker().signal(Signal::TERM);
    let (status, _, err) = place.take_broker().output();
    assert_eq!(status.code(), Some(0), "{err}");
    let logged: Vec<serde_json::Value> = err
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).expect(line))
        .collect();
    assert_eq!(logged[0]["message"], "the broker serves", "{err}");
    assert_eq!((&logged[0]["level"], &logged[0]["is_new"]), (&"INFO".into(), &true.into()));
    place.run(&["up", "--log-level", "pondage=loud"]).failed(2, &["--log-level"]);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut place = Place::empty();
    let file = place.write("resources.yaml", FILE);
    place.up(&["-f", file.to_str().expect("text"), "--sync-delay", "400ms"]);
    place.run_with(&["publish", "orders"], "x\n").ok();
    let _consumer = Place::spawn(place.pondage(&["consume", "orders", "--exec", "sleep 60"]));
    crate::harness::eventually("leased", || place.queue("orders")["unacked"] == 1);
    // Stopping in good order logs the lease, and that takes one of the slow syncs.
    place.broker().signal(Signal::TERM);
    std::thread::sleep(Duration::from_millis(50));
    place.broker().signal(Signal::INT);
    let status = place.broker().ended();
    // Whichever of the two came second; an end in good order would be 0.
    assert!(matches!(status.code(), Some(130 | 143)), "{status}");
}

#[test]
fn a_broker_whose_disk_fails_ends_with_the_reason_and_loses_nothing() {
    let mut place = Place::empty();
    let file = place.write("resources.yaml", FILE);
    // No file may grow beyond 1.5 MiB: the second segment of a log fails to be written.
    let mut command = std::process::Command::new("/bin/bash");
    let script = "trap '' XFSZ; ulimit -f 1536; exec \"$0\" \"$@\"";
    command.args(["-c", script, env!("CARGO_BIN_EXE_pondage"), "up", "--data", "data", "-f"]).arg(file);
    command.args(["--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--address-file", "addresses.json"]);
    command.current_dir(place.path("")).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    place.adopt(Place::spawn(command));

    let text: String = (0..40_000).map(|number| format!("{number} {}\n", "x".repeat(100))).collect();
    let ended = place
        .run_with(&["--timeout", "2s", "publish", "orders", "--compression", "none", "-o", "json"], &text);
    let summary: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    let acknowledged = summary["published"].as_u64().expect("a figure");
    ended.failed(4, &["\"outcome\":\"UNKNOWN\""]);
    let (status, _, err) = place.take_broker().output();
    assert_eq!(status.code(), Some(1), "{err}");
    assert!(err.contains("the broker can't go on") && err.contains(".log"), "{err}");

    place.up(&[]);
    let read = place.ok(&["consume", "orders", "--until-end", "-o", "value"]);
    let count = read.lines().count() as u64;
    assert!(acknowledged > 0 && count >= acknowledged, "{acknowledged} acknowledged, {count} there");
    assert!(read.lines().zip(text.lines()).all(|(read, sent)| read == sent), "the first ones, in order");
}
