//! Files that are made to exhaust their reader: each gets an answer, in bounded time.

use std::time::{Duration, Instant};

use pondage_resources::{DOCUMENT_BYTES_MAX, DOCUMENTS_MAX, ERRORS_MAX, FILE_BYTES_MAX, load};

/// Each takes a second or two on a slow machine; one whose effort grew with the square of its bytes, hours.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The first error of `text`, which must come soon.
fn first_error(name: &str, text: &str) -> String {
    let start = Instant::now();
    let errors = load("bomb.yaml", text).expect_err(name);
    assert!(errors.len() <= ERRORS_MAX, "{name}");
    assert!(start.elapsed() < ANSWER_WITHIN, "{name} took {:?}", start.elapsed());
    errors[0].to_string()
}

fn billion_laughs() -> String {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..30 {
        let uses = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{uses}]\n"));
    }
    text
}

#[test]
fn bombs_are_refused() {
    let half = DOCUMENT_BYTES_MAX / 2;
    let quadratic = format!("a: &a [{}]\nb: [{}]\n", "1,".repeat(half / 4), "*a,".repeat(half / 6));
    let long_text = format!("a: &a \"{}\"\nb: [{}]\n", "x".repeat(half), "*a,".repeat(half / 6));
    let long_key = format!("? {}\n: [{}]\n", "k".repeat(half), "1,".repeat(half / 4));
    let long_keys =
        format!("{}[{}]{}", "{? ".to_owned() + &"k".repeat(500) + ": ", "1,".repeat(half / 2), "}");
    let too_much = "is too large: its values, each use of an alias counted, exceed what one file may hold";
    for (name, text, expected) in [
        ("billion laughs", billion_laughs(), too_much),
        ("an anchor within itself", "&a [*a, *a, *a]".to_owned(), "is nested more than 128 levels deep"),
        ("a large list many times", quadratic, too_much),
        ("a large text many times", long_text, too_much),
        ("a huge key", long_key, "is longer than 512 bytes"),
        ("a long path to many values", long_keys, too_much),
        ("open brackets", "[".repeat(DOCUMENT_BYTES_MAX), "more than 1000 brackets are open at once"),
        ("open braces", "{a: ".repeat(DOCUMENT_BYTES_MAX / 4), "more than 1000 brackets are open at once"),
        ("nested lists", "- ".repeat(half), "nested more than 128 levels deep"),
        ("nested keys", "? ".repeat(half), "nested more than 128 levels deep"),
        (
            "deep brackets",
            format!("{}{}", "[".repeat(900), "]".repeat(900)),
            "nested more than 128 levels deep",
        ),
        ("many values", format!("[{}]", "1,".repeat(half - 8)), "found a list"),
        ("many empty maps", format!("[{}]", "{},".repeat(half / 2)), "found a list"),
        ("many anchors", format!("[{}]", "&a 1,".repeat(half / 3)), "found a list"),
        ("a long line", "a".repeat(DOCUMENT_BYTES_MAX), "found \"aaaa"),
        ("indicators", "!&*|>%@`".repeat(half / 8), "is not valid YAML"),
        ("quotes", "\"\\".repeat(half), "is not valid YAML"),
        ("directives", "%YAML 1.2\n".repeat(half / 10) + "a: 1", "is not valid YAML"),
        ("tabs", "\t".repeat(half) + "a: 1", "is not valid YAML"),
        (
            "a large document",
            "a".repeat(DOCUMENT_BYTES_MAX + 1),
            "the document has 4194305 bytes; the limit is 4194304",
        ),
        (
            "a large file",
            "#".repeat(FILE_BYTES_MAX + 1),
            "the file has 16777217 bytes; the limit is 16777216",
        ),
        ("markers only", "---\na\n".repeat(FILE_BYTES_MAX / 6), "expected a resource"),
        (
            "a long list",
            format!("apiVersion: v1\nkind: List\nitems:\n{}", "- a\n".repeat(DOCUMENTS_MAX + 1)),
            "the file holds more than 20000 resources",
        ),
    ] {
        let error = first_error(name, &text);
        assert!(error.contains(expected), "{name}: {error}");
        assert!(error.len() < 500, "{name}: {}", error.len());
    }
}
