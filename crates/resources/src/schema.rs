//! The schemas of values that are written as text, and patterns.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    duration::Duration, pods::Amount, quantity::Quantity, rate::Rate, ratio::Ratio, time::Timestamp,
};

/// The allow-list of [`pondage_model::Name`]; `.` and `..` are refused by the rules behind the schema.
pub(crate) const NAME: &str = "^[A-Za-z0-9._-]+$";

/// The name of a namespace.
pub(crate) const NAMESPACE: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";

/// Characters of a namespace's name.
pub(crate) const NAMESPACE_MAX: usize = 63;

/// The name of an object in Kubernetes.
pub(crate) const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// Characters of such a name, and of an API group.
pub(crate) const OBJECT_NAME_MAX: usize = 253;

/// The API version of an object in Kubernetes: `v1`, `apps/v1`.
pub(crate) const OBJECT_API_VERSION: &str = "^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?\
                                             [a-z]([-a-z0-9]*[a-z0-9])?$";

/// Characters of an API version: a group's, a slash and a version's.
pub(crate) const OBJECT_API_VERSION_MAX: usize = OBJECT_NAME_MAX + 1 + LABEL_MAX;

/// A kind of Kubernetes.
pub(crate) const OBJECT_KIND: &str = "^[A-Z][A-Za-z0-9]*$";

/// Characters of a kind, and of a version.
pub(crate) const LABEL_MAX: usize = 63;

/// Whether it is as [`OBJECT_NAME`] says.
pub(crate) fn is_object_name(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let ends_plain = |byte: Option<u8>| byte.is_some_and(is_plain);
        part.bytes().all(|byte| is_plain(byte) || byte == b'-')
            && ends_plain(part.bytes().next())
            && ends_plain(part.bytes().last())
    };
    text.len() <= OBJECT_NAME_MAX && text.split('.').all(is_part)
}

/// Whether it is as [`OBJECT_API_VERSION`] says.
pub(crate) fn is_object_api_version(text: &str) -> bool {
    let (group, version) =
        text.split_once('/').map_or((None, text), |(group, version)| (Some(group), version));
    group.is_none_or(is_object_name)
        && version.len() <= LABEL_MAX
        && version.starts_with(|letter: char| letter.is_ascii_lowercase())
        && !version.contains('.')
        && is_object_name(version)
}

/// Whether it is as [`OBJECT_KIND`] says.
pub(crate) fn is_object_kind(text: &str) -> bool {
    text.len() <= LABEL_MAX
        && text.starts_with(|letter: char| letter.is_ascii_uppercase())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Characters of a size.
const QUANTITY_MAX: usize = 40;

impl JsonSchema for Duration {
    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 28, "pattern": "^([0-9]{1,5}(h|m|s|ms)){1,4}$" })
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": QUANTITY_MAX,
            "pattern": "^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]{1,2})?$",
        })
    }
}

impl JsonSchema for Amount {
    fn schema_name() -> Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Quantity::json_schema(generator)
    }
}

impl JsonSchema for Ratio {
    fn schema_name() -> Cow<'static, str> {
        "Ratio".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "x-kubernetes-int-or-string": true,
            "maxLength": 7,
            "pattern": "^[0-9]{1,4}([.][0-9]{1,2})?$",
        })
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 21, "pattern": "^[0-9]{1,20}[mu]?$" })
    }
}

impl JsonSchema for Timestamp {
    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time", "maxLength": 64 })
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, string::string_regex};

    use super::*;

    /// A pattern, what checks it without one, and the most characters.
    type Form = (&'static str, fn(&str) -> bool, usize);

    const FORMS: [Form; 3] = [
        (OBJECT_NAME, is_object_name, OBJECT_NAME_MAX),
        (OBJECT_API_VERSION, is_object_api_version, OBJECT_API_VERSION_MAX),
        (OBJECT_KIND, is_object_kind, LABEL_MAX),
    ];

    #[test]
    fn what_does_not_match_is_refused() {
        let long = "a".repeat(254);
        for bad in ["", ".", "..", "a..b", "-a", "a-", "a.-b", "A", "a_b", "a/b", "a b", "a%2f", "ä", &long]
        {
            assert!(!is_object_name(bad), "{bad}");
        }
        for bad in
            ["", "/", "/v1", "apps/", "apps//v1", "a/b/v1", "../v1", "apps/v1.2", "apps/1v", "apps/V1", "v-"]
        {
            assert!(!is_object_api_version(bad), "{bad}");
        }
        for bad in ["", "deployment", "Deployment ", "Dé", "D/e", "De-p", "1D"] {
            assert!(!is_object_kind(bad), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_matches_is_taken(
            (text, form) in (0..FORMS.len()).prop_flat_map(|at| {
                (string_regex(FORMS[at].0.trim_matches(['^', '$'])).expect("a pattern"), Just(at))
            }),
        ) {
            let (_, takes, max) = FORMS[form];
            // Parts of an API version have limits of their own.
            prop_assume!(text.len() <= max.min(LABEL_MAX));
            prop_assert!(takes(&text), "{}", text);
        }
    }
}
