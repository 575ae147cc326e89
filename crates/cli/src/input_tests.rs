use std::io::{BufReader, Read};

use super::*;

fn lines() -> Format {
    Format::Lines { key_separator: None }
}

fn csv(key: Option<&str>, value: CsvValue) -> Format {
    Format::Csv { key_column: key.map(str::to_owned), value, delimiter: b',' }
}

/// Everything that can be read, as `line key=value` with `-` for no key, and the error at the end if there is one.
fn read(format: Format, text: &[u8]) -> (Vec<String>, Option<InputError>) {
    let mut records = Records::new(format);
    // A small buffer, so that lines and rows are put together from parts.
    let mut input = BufReader::with_capacity(3, text);
    let mut seen = Vec::new();
    loop {
        match records.next(&mut input) {
            Ok(None) => return (seen, None),
            Err(error) => return (seen, Some(error)),
            Ok(Some((line, Parts { key, value }))) => {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let key = key.map_or_else(|| "-".to_owned(), |key| text(&key));
                seen.push(format!("{line} {key}={}", text(&value)));
            }
        }
    }
}

#[test]
fn input_becomes_messages() {
    let separated = Format::Lines { key_separator: Some("::".to_owned()) };
    let ndjson = Format::Ndjson { key_field: Some("id".to_owned()) };
    for (format, text, messages) in [
        (lines(), "", vec![]),
        (lines(), "a", vec!["1 -=a"]),
        (lines(), "a\n\nb\r\n", vec!["1 -=a", "2 -=", "3 -=b"]),
        (lines(), "\n", vec!["1 -="]),
        (separated, "k::v::w\n::x\n", vec!["1 k=v::w", "2 =x"]),
        (ndjson, "{\"id\":1}\n\n  \n{\"x\":2}\n", vec!["1 1={\"id\":1}", "4 -={\"x\":2}"]),
        (csv(None, CsvValue::Row), "a,b\n1,2\n", vec!["2 -=1,2"]),
        (
            csv(Some("b"), CsvValue::Row),
            "\u{feff}a,b\r\n1,\"2 \"\"x\"\"\"\r\n",
            vec!["2 2 \"x\"=1,\"2 \"\"x\"\"\""],
        ),
        (
            csv(Some("a"), CsvValue::Row),
            "a,b\n1,\"two\nlines\"\n\n3,4",
            vec!["2 1=1,\"two\nlines\"", "5 3=3,4"],
        ),
        (csv(Some("a"), CsvValue::Json), "a,b\n1,\"x,y\"\n", vec![r#"2 1={"a":"1","b":"x,y"}"#]),
        (csv(None, CsvValue::Row), "a,b\n", vec![]),
    ] {
        assert_eq!(
            read(format.clone(), text.as_bytes()),
            (messages.iter().map(ToString::to_string).collect(), None),
            "{format:?} {text:?}"
        );
    }
}

#[test]
fn bad_input_is_told_with_its_line_and_what_came_before_it_counts() {
    let separated = Format::Lines { key_separator: Some(":".to_owned()) };
    let ndjson = Format::Ndjson { key_field: None };
    for (format, text, before, line, problem) in [
        (separated, "k:v\nnone\n", 1, 2, "no \":\""),
        (ndjson, "{}\n{\n", 1, 2, "not JSON"),
        (csv(Some("c"), CsvValue::Row), "a,b\n1,2\n", 0, 1, "no column \"c\" for the key; the columns: a, b"),
        (csv(None, CsvValue::Row), "a,b\n1,2\n3\n", 1, 3, "1 columns, and the heading 2"),
        (csv(None, CsvValue::Row), "a,b\n1,\"2\n3,4\n", 0, 2, "never closed"),
    ] {
        let (messages, error) = read(format.clone(), text.as_bytes());
        let error = error.expect("an error");
        assert_eq!((messages.len(), error.line), (before, line), "{format:?}");
        assert!(error.problem.contains(problem), "{problem} in {}", error.problem);
    }
    let (_, error) = read(csv(None, CsvValue::Json), b"a\n\xff\n");
    assert!(error.expect("an error").problem.contains("UTF-8"));
}

#[test]
fn a_line_without_end_takes_no_more_memory_than_a_message() {
    let mut records = Records::new(lines());
    let mut endless = BufReader::new(std::io::repeat(b'x').take(1 << 40));
    let error = records.next(&mut endless).expect_err("too long");
    assert!(error.problem.contains("longer than"), "{}", error.problem);
    assert!(records.buffer.capacity() <= 2 * LINE_BYTES_MAX);
}
