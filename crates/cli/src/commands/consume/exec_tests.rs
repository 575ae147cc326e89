use std::future::pending;

use pondage_model::Offset;

use super::*;

fn message(value: &'static [u8]) -> TopicMessage {
    TopicMessage {
        partition: 2,
        offset: Offset(17),
        timestamp_millis: 0,
        key: Some(Bytes::from_static(b"UA")),
        value: Some(Bytes::from_static(value)),
        headers: vec![(Bytes::from_static(b"trace-id"), Some(Bytes::from_static(b"abc")))],
    }
}

#[test]
fn variables_hold_what_an_environment_can() {
    let bytes = Bytes::from_static;
    let headers = vec![
        (bytes(b"trace-id"), Some(bytes(b"abc"))),
        (bytes(b"trace.id"), Some(bytes(b"last"))),
        (bytes(b"zero"), Some(bytes(b"a\0b"))),
        (bytes(b"none"), None),
        (bytes(b""), Some(bytes(b"nameless"))),
        (bytes(b"x=y\nPATH"), Some(bytes(b"() { :;}"))),
        (bytes(b"long"), Some(Bytes::from(vec![b'x'; VARIABLE_BYTES_MAX]))),
    ];
    let key = bytes(b"\xff\xfe");
    let facts = Facts {
        target: "orders",
        partition: 0,
        offset: 17,
        timestamp_millis: 0,
        key: Some(&key),
        headers: &headers,
        attempt: Some(3),
        token: Some("00ff".to_owned()),
    };
    let variables = facts.variables();
    let value = |name: &str| variables.get(&format!("PONDAGE_{name}")).map(|value| value.clone().into_vec());
    for (name, expected) in [
        ("TARGET", Some(&b"orders"[..])),
        ("OFFSET", Some(b"17")),
        ("ATTEMPT", Some(b"3")),
        ("TOKEN", Some(b"00ff")),
        ("TIMESTAMP", Some(b"1970-01-01T00:00:00Z")),
        ("KEY", Some(b"\xff\xfe")),
        ("HEADER_TRACE_ID", Some(b"last")),
        ("HEADER_X_Y_PATH", Some(b"() { :;}")),
        ("HEADER_ZERO", None),
        ("HEADER_NONE", None),
        ("HEADER_", None),
        ("HEADER_LONG", None),
    ] {
        assert_eq!(value(name).as_deref(), expected, "{name}");
    }
    assert!(variables.keys().all(|name| name.starts_with("PONDAGE_") && !name.contains(['=', '\0', '\n'])));
}

#[tokio::test]
async fn the_exit_code_decides() {
    for (command, is_fine) in [
        ("exit 0", true),
        ("exit 3", false),
        ("kill -9 $$", false),
        ("/no/such/program", false),
        ("test \"$(cat)\" = body -a \"$PONDAGE_KEY\" = UA -a \"$PONDAGE_OFFSET\" = 17", true),
        ("test \"$PONDAGE_HEADER_TRACE_ID\" = abc -a \"$PONDAGE_PARTITION\" = 2", true),
    ] {
        let done = read(command, "flights", &message(b"body"), pending()).await;
        assert_eq!(matches!(done, TopicDone::Accepted), is_fine, "{command}");
        if let TopicDone::Failed(failure) = done {
            assert!(failure.message.ends_with("at flights/2 offset 17"), "{}", failure.message);
        }
    }
}

#[tokio::test]
async fn a_command_that_does_not_read_a_large_body_is_fine() {
    static BODY: [u8; 1 << 20] = [b'x'; 1 << 20];
    assert!(matches!(read("exit 0", "flights", &message(&BODY), pending()).await, TopicDone::Accepted));
    let count = "test $(wc -c) -eq 1048576";
    assert!(matches!(read(count, "flights", &message(&BODY), pending()).await, TopicDone::Accepted));
}

#[tokio::test]
async fn the_end_takes_the_command_and_its_children_along() {
    let folder = tempfile::tempdir().expect("a folder");
    let mark = folder.path().join("mark");
    let command = format!("(sleep 30; touch {}) & wait", mark.display());
    let soon = async { sleep(Duration::from_millis(100)).await };
    let started = std::time::Instant::now();
    let done = read(&command, "flights", &message(b""), soon).await;
    assert!(matches!(done, TopicDone::Stopped));
    assert!(started.elapsed() < END_TIMEOUT, "it was asked, not waited for");
    assert!(!mark.exists());
}
