//! Lines of JSON.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::Parts;

/// What a line becomes: the value is the line as it stands. The key is a field's text, or the field as JSON if it is
/// no text; an object without the field, or with null there, has no key.
pub(super) fn parts(row: &[u8], key_field: Option<&str>) -> Result<Parts, String> {
    let wrong = |error: serde_json::Error| format!("is not JSON: {error}");
    let value = Bytes::copy_from_slice(row);
    let Some(field) = key_field else {
        serde_json::from_slice::<IgnoredAny>(row).map_err(wrong)?;
        return Ok(Parts { key: None, value });
    };
    let object: BTreeMap<String, &RawValue> = match serde_json::from_slice(row) {
        Ok(object) => object,
        Err(error) if error.is_data() => {
            return Err(format!("is no JSON object, so it has no field {field:?}"));
        }
        Err(error) => return Err(wrong(error)),
    };
    let key = match object.get(field).map(|raw| raw.get()) {
        None | Some("null") => None,
        Some(text) if text.starts_with('"') => {
            Some(Bytes::from(serde_json::from_str::<String>(text).map_err(wrong)?))
        }
        Some(other) => Some(Bytes::copy_from_slice(other.as_bytes())),
    };
    Ok(Parts { key, value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_a_field() {
        for (line, field, key) in [
            (r#"{"id": "a", "n": 1}"#, Some("id"), Ok(Some("a"))),
            (r#"{"id": 17}"#, Some("id"), Ok(Some("17"))),
            (r#"{"id": {"x": 1}}"#, Some("id"), Ok(Some(r#"{"x": 1}"#))),
            (r#"{"id": 1.50e1}"#, Some("id"), Ok(Some("1.50e1"))),
            (r#"{"id": null}"#, Some("id"), Ok(None)),
            (r#"{"n": 1}"#, Some("id"), Ok(None)),
            (r#"{"n": 1}"#, None, Ok(None)),
            ("[1]", None, Ok(None)),
            ("[1]", Some("id"), Err(())),
            ("{", None, Err(())),
            (r#"{"a": }"#, Some("a"), Err(())),
            ("{} trailing", None, Err(())),
            ("\u{0}", None, Err(())),
        ] {
            let parts = parts(line.as_bytes(), field);
            let found = parts.as_ref().map(|parts| parts.key.as_deref()).map_err(|_| ());
            assert_eq!(found, key.map(|key| key.map(str::as_bytes)), "{line}");
            if let Ok(parts) = parts {
                assert_eq!(parts.value, line.as_bytes());
            }
        }
    }
}
