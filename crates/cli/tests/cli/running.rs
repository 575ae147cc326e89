//! `up`: starting, stopping, starting again.

use std::{fs, time::Duration};

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
    place.up(&["--log-format", "json", "--log-level", "debug", "--sync-delay", "1ms"]);
    place.broker().signal(Signal::TERM);
    let (status, _, err) = place.take_broker().output();
    assert_eq!(status.code(), Some(0), "{err}");
    let logged = err.lines().filter(|line| line.starts_with('{'));
    for line in logged {
        serde_json::from_str::<serde_json::Value>(line).expect(line);
    }
    place.run(&["up", "--log-level", "pondage=loud"]).failed(2, &["--log-level"]);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut place = Place::empty();
    // A sync takes far longer than the stop may: the second signal is what ends it.
    place.up(&[]);
    place.broker().signal(Signal::TERM);
    place.broker().signal(Signal::INT);
    let start = std::time::Instant::now();
    let status = place.broker().ended();
    assert!(matches!(status.code(), Some(0 | 130 | 143)), "{status}");
    assert!(start.elapsed() < Duration::from_secs(10));
}
