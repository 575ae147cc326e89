//! `up --brokers 3`: a cluster of three processes on this machine, as people start it.

use std::{fs, time::Duration};

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::Value;

use crate::harness::{FILE, Place, eventually};

const BROKERS: [&str; 2] = ["--brokers", "3"];

fn three() -> Place {
    let mut place = Place::empty();
    let file = place.write("resources.yaml", FILE);
    place.up(&["--brokers", "3", "-f", file.to_str().expect("text")]);
    place
}

fn status(place: &Place) -> Value {
    let ended = place.run(&["--timeout", "2s", "cluster", "status", "-o", "json"]);
    serde_json::from_str(&ended.out).unwrap_or(Value::Null)
}

fn is_well(place: &Place) -> bool {
    status(place)["healthy"] == Value::Bool(true)
}

/// The processes of the brokers: children of the one that runs them, by the folders that they were given.
fn processes(place: &Place) -> Vec<(usize, Pid)> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("a system with /proc").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        // It may have ended meanwhile.
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<&[u8]> = line.split(|byte| *byte == 0).collect();
        for number in 1..=9 {
            let folder = place.path("data").join(format!("broker-{number}"));
            if words.get(1) == Some(&&b"broker"[..]) && words.contains(&folder.as_os_str().as_encoded_bytes())
            {
                found.push((number, Pid::from_raw(pid).expect("a process")));
            }
        }
    }
    found.sort_by_key(|(number, _)| *number);
    found
}

fn process(place: &Place, number: usize) -> Pid {
    let found = processes(place).into_iter().find(|(known, _)| *known == number);
    found.expect("it runs").1
}

fn is_alive(process: Pid) -> bool {
    test_kill_process(process).is_ok()
}

#[test]
fn three_brokers_begin_a_cluster_and_go_on_with_it() {
    let mut place = three();
    let addresses: Value =
        serde_json::from_str(&fs::read_to_string(place.path("addresses.json")).expect("there"))
            .expect("JSON");
    assert_eq!(addresses["brokers"].as_array().map(Vec::len), Some(3));
    let first = status(&place);
    assert_eq!(
        (&first["healthy"], first["catalog"]["voters"].as_array().map(Vec::len)),
        (&Value::Bool(true), Some(3))
    );
    for shard in first["shards"].as_array().expect("shards").iter().filter(|shard| shard["kind"] != "catalog")
    {
        assert_eq!(shard["inSync"].as_array().map(Vec::len), Some(3), "{shard}");
    }
    let published = place.run_with(&["publish", "orders"], "one\ntwo\nthree\n").ok();
    assert!(published.contains("3 published"), "{published}");

    let before = processes(&place);
    assert_eq!(before.len(), 3);
    let up = place.take_broker();
    up.signal(Signal::TERM);
    let (ended, out, err) = up.output();
    assert_eq!(ended.code(), Some(0), "{out}\n{err}");
    assert!(out.contains("brokers  3") && out.contains("cluster status"), "{out}");
    assert!(before.iter().all(|(_, process)| !is_alive(*process)), "nothing is left behind");

    place.up(&BROKERS);
    let again = status(&place);
    assert_eq!(again["cluster"], first["cluster"]);
    assert_eq!(again["brokers"].as_array().map(Vec::len), Some(3), "the same three");
    let read = place.ok(&["consume", "orders", "--until-end", "-o", "value"]);
    assert_eq!(read, "one\ntwo\nthree\n");
}

#[test]
fn a_killed_broker_loses_nothing_and_is_started_again() {
    let mut place = three();
    place.run_with(&["publish", "orders"], "one\ntwo\n").ok();
    for number in [1, 2, 3] {
        eventually("the cluster is whole", || is_well(&place));
        let victim = process(&place, number);
        kill_process(victim, Signal::KILL).expect("it runs");
        place.run_with(&["publish", "orders"], &format!("after {number}\n")).ok();
        eventually("the broker is started again", || {
            processes(&place).iter().any(|(known, process)| *known == number && *process != victim)
        });
    }
    eventually("the cluster is whole", || is_well(&place));
    let read = place.ok(&["consume", "orders", "--until-end", "-o", "value"]);
    assert_eq!(read, "one\ntwo\nafter 1\nafter 2\nafter 3\n");
    let up = place.take_broker();
    up.signal(Signal::TERM);
    let (_, _, err) = up.output();
    assert_eq!(err.matches("it starts again in").count(), 3, "{err}");
}

#[test]
fn no_broker_outlives_the_process_that_started_it() {
    let mut place = three();
    let before = processes(&place);
    let mut up = place.take_broker();
    up.signal(Signal::KILL);
    up.ended();
    eventually("the brokers end too", || before.iter().all(|(_, process)| !is_alive(*process)));
    // Nothing of it was in good order, and all of it is there.
    place.up(&BROKERS);
    assert!(place.ok(&["get", "queues", "-o", "name"]).contains("queue/orders"));
}

#[test]
fn brokers_restart_one_by_one_while_others_publish() {
    let place = three();
    let starts = |status: &Value| -> Vec<u64> {
        let brokers = status["brokers"].as_array().expect("brokers");
        brokers.iter().filter_map(|broker| broker["incarnation"].as_u64()).collect()
    };
    let before = status(&place);
    let data = place.path("data").display().to_string();
    let restart = Place::spawn(place.pondage(&["cluster", "restart", "--data", &data, "-o", "json"]));
    let mut sent = 0;
    let mut restart = restart;
    while restart.is_running() {
        place.run_with(&["publish", "orders"], &format!("{sent}\n")).ok();
        sent += 1;
    }
    let (ended, out, err) = restart.output();
    assert_eq!(ended.code(), Some(0), "{out}\n{err}");
    assert_eq!(serde_json::from_str::<Value>(&out).expect("JSON")["restarted"], 3);
    let after = status(&place);
    assert_eq!(after["healthy"], true, "{after}");
    for (before, after) in starts(&before).into_iter().zip(starts(&after)) {
        assert_eq!(after, before + 1);
    }
    assert!(after["brokers"].as_array().expect("brokers").iter().all(|broker| broker["drain"] == "nothing"));
    let read = place.ok(&["consume", "orders", "--until-end", "-o", "value"]);
    let expected: Vec<String> = (0..sent).map(|number| number.to_string()).collect();
    assert_eq!(read.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn a_drained_broker_leads_nothing_and_one_whose_folder_is_gone_is_replaced() {
    let mut place = three();
    place.run_with(&["publish", "orders"], "one\n").ok();
    assert_eq!(place.ok(&["cluster", "drain", "2", "--wait"]), "broker/2 drained (leadership)\n");
    let leads = |status: &Value, broker: u64| {
        let shards = status["shards"].as_array().expect("shards").clone();
        shards.iter().filter(|shard| shard["kind"] != "catalog" && shard["leader"] == broker).count()
    };
    assert_eq!(leads(&status(&place), 2), 0);
    place.ok(&["cluster", "drain", "2", "--undo"]);
    place.run(&["cluster", "drain", "2", "--everything"]).ok();
    place.ok(&["cluster", "drain", "2", "--undo"]);
    eventually("it leads again", || leads(&status(&place), 2) > 0);
    place.run(&["cluster", "lose", "2", "--yes"]).failed(1, &["is up"]);

    let mut up = place.take_broker();
    up.signal(Signal::TERM);
    up.ended();
    fs::remove_dir_all(place.path("data/broker-3")).expect("it is there");
    place.up(&BROKERS);
    eventually("the cluster is whole again", || {
        let found = status(&place);
        let ids: Vec<u64> = found["brokers"]
            .as_array()
            .map(|brokers| brokers.iter().filter_map(|broker| broker["id"].as_u64()).collect())
            .unwrap_or_default();
        // Brokers are numbered in the order in which they joined, whatever their folders are called.
        found["healthy"] == true && ids.len() == 3 && ids.contains(&4)
    });
    assert_eq!(place.ok(&["consume", "orders", "--until-end", "-o", "value"]), "one\n");

    let mut up = place.take_broker();
    up.signal(Signal::TERM);
    up.ended();
    for number in 1..=3 {
        fs::remove_dir_all(place.path(&format!("data/broker-{number}"))).expect("it is there");
    }
    let up = place.start_up(&BROKERS);
    let (ended, _, err) = up.output();
    assert!(ended.code() == Some(1) && err.contains("the data is lost"), "{err}");
    std::thread::sleep(Duration::from_millis(50));
    assert!(processes(&place).is_empty(), "nothing was started");
}
