//! Small texts: what a terminal may be shown, sizes, ages, times.

use std::fmt::Write as _;

use pondage_model::LogTime;
use pondage_resources::Timestamp;

/// Whether a text may go over several lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Line feeds and tabs stay.
    Many,
    /// They are written as `\n` and `\t`.
    One,
}

/// Bytes as text that a terminal can be shown: bytes that are no UTF-8 as `\xNN`, and everything escaped that a
/// terminal may act on or that turns the order of letters around.
pub(crate) fn shown(bytes: &[u8], lines: Lines) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            match letter {
                '\n' | '\t' if lines == Lines::Many => out.push(letter),
                _ if is_harmful(letter) => out.extend(letter.escape_default()),
                _ => out.push(letter),
            }
        }
        for byte in chunk.invalid() {
            // Writing to a string can't fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// Whether a terminal may act on it, or it turns the order of letters around.
pub(crate) fn is_harmful(letter: char) -> bool {
    let turns = matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || turns
}

/// JSON may carry letters above ASCII as they are, and a terminal may act on some of them. Line feeds stay.
pub(crate) fn without_harm(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for letter in json.chars() {
        if is_harmful(letter) && letter != '\n' {
            // All of them lie below 65,536.
            let _ = write!(out, "\\u{:04x}", letter as u32);
        } else {
            out.push(letter);
        }
    }
    out
}

/// A number of bytes for people: `17 B`, `12.3 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1 << 10 {
        return format!("{count} B");
    }
    let mut scaled = count as f64 / 1024.0;
    let mut unit = 0;
    // From 1023.95 on one decimal would show 1024.0.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// An age for people, in its two largest units: `250ms`, `12s`, `3m12s`, `5h10m`, `12d3h`.
pub(crate) fn age(millis: u64) -> String {
    const UNITS: [(&str, u64); 4] = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    if millis < 1_000 {
        return format!("{millis}ms");
    }
    let seconds = millis / 1_000;
    let largest = UNITS.iter().position(|(_, size)| seconds >= *size).unwrap_or(UNITS.len() - 1);
    let (word, size) = UNITS[largest];
    let mut out = format!("{}{word}", seconds / size);
    if let Some((word, smaller)) = UNITS.get(largest + 1).filter(|(_, smaller)| seconds % size >= *smaller) {
        // Writing to a string can't fail.
        let _ = write!(out, "{}{word}", seconds % size / smaller);
    }
    out
}

/// A point in time as RFC 3339 writes it.
pub(crate) fn time(unix_millis: i64) -> String {
    Timestamp::from_log_time(LogTime(unix_millis)).to_string()
}

/// A count with its noun in the right number: `1 message`, `2 messages`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Bytes in Base64 (RFC 4648, with padding), for JSON that carries what is no text.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for index in 0..4 {
            let letter = ALPHABET[(bits >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= group.len() { letter.into() } else { '=' });
        }
    }
    out
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        // Writing to a string can't fail.
        let _ = write!(out, "{byte:02x}");
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_nothing_that_it_acts_on() {
        for (bytes, lines, text) in [
            (&b"plain"[..], Lines::One, "plain"),
            ("naïve ✓ 日本".as_bytes(), Lines::One, "naïve ✓ 日本"),
            (b"a\nb\tc", Lines::Many, "a\nb\tc"),
            (b"a\nb\tc", Lines::One, "a\\nb\\tc"),
            (b"\x1b[31mred\x07", Lines::Many, "\\u{1b}[31mred\\u{7}"),
            (b"over\rwritten\x08\x7f", Lines::Many, "over\\rwritten\\u{8}\\u{7f}"),
            ("\u{9b}2J".as_bytes(), Lines::Many, "\\u{9b}2J"),
            ("a\u{202e}b".as_bytes(), Lines::Many, "a\\u{202e}b"),
            (b"\xff\xfe\x00ok", Lines::Many, "\\xff\\xfe\\u{0}ok"),
            (b"cut \xe2\x82", Lines::One, "cut \\xe2\\x82"),
            (b"", Lines::One, ""),
        ] {
            assert_eq!(shown(bytes, lines), text, "{bytes:?}");
        }
    }

    #[test]
    fn sizes_and_ages_are_short() {
        for (count, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_024, "1.0 KiB"),
            (12_900_000, "12.3 MiB"),
            (1_048_575, "1.0 MiB"),
            (u64::MAX, "16384.0 PiB"),
        ] {
            assert_eq!(bytes(count), text);
        }
        for (millis, text) in [
            (0, "0ms"),
            (999, "999ms"),
            (12_000, "12s"),
            (192_500, "3m12s"),
            (180_000, "3m"),
            (18_600_000, "5h10m"),
            (86_400_000 * 12 + 3 * 3_600_000, "12d3h"),
            (86_400_000 + 60_000, "1d"),
        ] {
            assert_eq!(age(millis), text);
        }
        assert_eq!(counted(1, "message"), "1 message");
        assert_eq!(counted(0, "message"), "0 messages");
    }

    #[test]
    fn bytes_as_text_for_programs() {
        for (bytes, encoded) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foobar", "Zm9vYmFy"),
            (b"\xff\xfe\xfd\xfc", "//79/A=="),
        ] {
            assert_eq!(base64(bytes), encoded);
        }
        assert_eq!(hex(b"\x00\xff"), "00ff");
    }
}
