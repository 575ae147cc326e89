//! `cluster` on a lone broker: a cluster of one. And what `broker` and `up --brokers` refuse before anything starts.

use serde_json::{Value, json};

use crate::harness::Place;

#[test]
fn the_status_of_a_lone_broker_is_well() {
    let place = Place::with_resources();
    let text = place.ok(&["cluster", "status"]);
    assert!(text.contains("1 broker, ") && text.ends_with("All is well.\n"), "{text}");
    assert!(text.contains("Catalog: led by broker 1 (term "), "{text}");
    let wide = place.ok(&["cluster", "status", "-o", "wide", "--check"]);
    assert!(wide.contains("SHARD  KIND") && wide.contains("catalog"), "{wide}");
    let status: Value = place.json(&["cluster", "status", "-o", "json"]);
    assert_eq!((&status["healthy"], &status["stale"]), (&json!(true), &json!(false)));
    assert_eq!(status["brokers"][0]["state"], "up");
    let streams: u64 = status["shards"]
        .as_array()
        .expect("shards")
        .iter()
        .filter_map(|shard| shard["streams"].as_u64())
        .sum();
    assert_eq!(streams, 6, "two queues, three partitions and the home of a group");
    assert_eq!(place.ok(&["cluster", "balance"]), "nothing to move\n");
    assert_eq!(place.json(&["cluster", "balance", "--dry-run", "-o", "json"])["leaderMoves"], json!([]));
    assert_eq!(place.ok(&["cluster", "raise-feature-level"]), "feature level 1 already\n");
}

#[test]
fn orders_that_a_lone_broker_cannot_carry_out_say_why() {
    let place = Place::with_resources();
    place.run(&["cluster", "drain", "1"]).failed(1, &["no other broker takes over", "definite"]);
    let refused = place.run(&["cluster", "drain", "7", "-o", "json"]).failed(3, &["NOT_FOUND"]);
    assert!(serde_json::from_str::<Value>(&refused).is_ok(), "{refused}");
    place.run(&["cluster", "remove", "1"]).failed(1, &["leads", "drain 1 --everything --wait"]);
    place.run(&["cluster", "lose", "1", "--yes"]).failed(1, &["broker 1 is up"]);
    place.run(&["cluster", "lose", "9", "--yes"]).failed(3, &["no broker"]);
    let elect = ["cluster", "elect-unclean", "1", "--replica", "1", "--reason", "why", "--yes"];
    place.run(&elect).failed(1, &["is up and holds every acknowledged message"]);
    place.run(&["cluster", "reassign", "1", "--to", "1,2"]).failed(1, &["1 copies and 2 brokers"]);
    let restart = ["cluster", "restart", "--exec", "true", "--wait-timeout", "300ms"];
    place.run(&restart).failed(1, &["would take no messages without broker 1"]);
    let status = place.json(&["cluster", "status", "-o", "json"]);
    assert_eq!(status["brokers"][0]["drain"], "nothing", "what was begun is undone");

    assert!(place.ok(&["cluster", "drain", "1", "--force"]).starts_with("broker/1 drains (leadership)"));
    let text = place.ok(&["cluster", "status"]);
    assert!(text.contains("leadership"), "{text}");
    place.ok(&["cluster", "drain", "1", "--undo"]);
}

#[test]
fn folders_of_lone_brokers_and_of_clusters_are_told_apart() {
    let mut place = Place::with_resources();
    place.take_broker().signal(rustix::process::Signal::TERM);
    let data = place.path("data").display().to_string();
    let up = ["up", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", &data, "--brokers", "3"];
    place.run(&up).failed(2, &["that of a lone broker", "leave --brokers out"]);

    let record = r#"{"version":1,"cluster":"01234567-89ab-cdef-0123-456789abcdef","initialised":true,
        "brokers":[{"listen":"127.0.0.1:1","http":"127.0.0.1:2"},{"listen":"127.0.0.1:3","http":"127.0.0.1:4"}]}"#;
    let other = place.path("other").display().to_string();
    std::fs::create_dir(&other).expect("a folder");
    place.write("other/cluster.json", record);
    place.run(&["up", "--data", &other]).failed(2, &["that of a cluster", "--brokers 2"]);
    place.run(&["up", "--data", &other, "--brokers", "2"]).failed(1, &["the data is lost"]);
    place.run(&["up", "--data", &other, "--brokers", "1"]).failed(1, &["the data is lost"]);
    place.run(&["cluster", "restart", "--data", &other]).failed(1, &["nothing runs the brokers"]);
    place
        .run(&["cluster", "restart", "--data", &data])
        .failed(2, &["no data folder of `pondage up --brokers`"]);
}
