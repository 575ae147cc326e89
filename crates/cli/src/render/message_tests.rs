use pondage_client::MessageState;
use pondage_model::{Attempt, Epoch, Lease, LogTime, Offset, ShardId, StreamId};

use super::*;

fn headers() -> Vec<(Bytes, Option<Bytes>)> {
    vec![
        (Bytes::from_static(b"trace"), Some(Bytes::from_static(b"abc"))),
        (Bytes::from_static(b"\x1b[2J"), None),
    ]
}

fn of_queue<'a>(value: Option<&'a [u8]>, headers: &'a [(Bytes, Option<Bytes>)]) -> Shown<'a> {
    Shown {
        source: "orders",
        partition: None,
        offset: 17,
        timestamp_millis: 1_769_853_600_000,
        key: Some(b"UA"),
        value,
        headers,
        attempt: Some(2),
        token: None,
        run: None,
    }
}

fn written(message: &Shown<'_>, form: MessageForm, to_terminal: bool) -> String {
    let mut out = Vec::new();
    message.write(&mut out, form, to_terminal).expect("memory takes it");
    out.iter().map(|byte| char::from(*byte)).collect()
}

#[test]
fn people_see_place_key_headers_and_body() {
    let headers = headers();
    let text = written(&of_queue(Some(b"{\"order\": 17}"), &headers), MessageForm::Text, false);
    let expected = "\
# orders 17  2026-01-31T10:00:00Z  key UA  attempt 2
#   trace: abc
#   \\u{1b}[2J: (none)
{\"order\": 17}
";
    assert_eq!(text, expected);
    let topic = Shown { partition: Some(3), attempt: None, key: None, ..of_queue(None, &[]) };
    let text = written(&topic, MessageForm::Text, false);
    assert_eq!(text, "# orders/3 17  2026-01-31T10:00:00Z\n# (no value)\n");
}

#[test]
fn what_is_only_looked_at_shows_its_state() {
    let run = MessageRun {
        first: Offset(17),
        count: 1,
        state: MessageState::Scheduled,
        failures: 2,
        until: Some(LogTime(1_769_853_605_000)),
    };
    let message = Shown { attempt: None, run: Some(run), ..of_queue(Some(b"x"), &[]) };
    let first_line = written(&message, MessageForm::Text, true).lines().next().map(str::to_owned);
    let expected =
        "# orders 17  2026-01-31T10:00:00Z  key UA  scheduled until 2026-01-31T10:00:05Z  failed 2";
    assert_eq!(first_line.as_deref(), Some(expected));
}

#[test]
fn bodies_go_out_as_they_are_unless_a_terminal_would_act_on_them() {
    let body = b"\x1b[31m\xff\n";
    for (form, to_terminal, expected) in [
        (MessageForm::Value, false, "\x1b[31m\u{ff}\n\n"),
        (MessageForm::Value, true, "\\u{1b}[31m\\xff\n\n"),
        (MessageForm::KeyValue, false, "UA\t\x1b[31m\u{ff}\n\n"),
        (MessageForm::KeyValue, true, "UA\t\\u{1b}[31m\\xff\n\n"),
    ] {
        assert_eq!(written(&of_queue(Some(body), &[]), form, to_terminal), expected, "{form:?}");
    }
}

#[test]
fn programs_get_one_json_object_per_line() {
    let token = Token {
        shard: ShardId(1),
        stream: StreamId(2),
        offset: Offset(17),
        lease: Lease { epoch: Epoch(3), attempt: Attempt(2) },
    };
    let headers = headers();
    let message =
        Shown { token: Some(token), ..of_queue(Some("caf\u{e9} \u{9b}2J \n".as_bytes()), &headers) };
    let line = written(&message, MessageForm::Json, false);
    assert_eq!(line.matches('\n').count(), 1);
    assert!(!line.contains('\u{1b}'), "{line}");
    let mut raw = Vec::new();
    message.write(&mut raw, MessageForm::Json, false).expect("memory takes it");
    let text = String::from_utf8(raw).expect("JSON is text");
    assert!(!text.contains('\u{9b}'), "{text:?}");
    let json: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(json["value"], "caf\u{e9} \u{9b}2J \n");
    assert_eq!(json["key"], "UA");
    assert_eq!(json["offset"], 17);
    assert_eq!(json["attempt"], 2);
    assert_eq!(json["token"].as_str().map(str::len), Some(2 * Token::ENCODED_BYTES));
    assert_eq!(json["headers"][0]["value"], "abc");
    assert_eq!(json["headers"][1]["value"], Value::Null);

    let binary = of_queue(Some(b"\xff\xfe"), &[]).to_json();
    assert_eq!(binary["valueBase64"], "//4=");
    assert_eq!(binary.get("value"), None);
    assert_eq!(of_queue(None, &[]).to_json()["value"], Value::Null);
}
