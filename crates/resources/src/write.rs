//! Resources as text.

use serde::Serialize;

use crate::object::Resource;

/// `resources` as YAML documents, with a line of `---` between them.
#[must_use]
pub fn to_yaml(resources: &[Resource]) -> String {
    let document =
        |resource| serde_yaml::to_string(resource).expect("a resource holds only text and numbers");
    resources.iter().map(document).collect::<Vec<_>>().join("---\n")
}

/// `resources` as indented JSON with a line feed at the end: one as itself, any other number as a `List`.
#[must_use]
pub fn to_json(resources: &[Resource]) -> String {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct List<'a> {
        api_version: &'static str,
        kind: &'static str,
        items: &'a [Resource],
    }
    let text = match resources {
        [one] => serde_json::to_string_pretty(one),
        items => serde_json::to_string_pretty(&List { api_version: "v1", kind: "List", items }),
    };
    text.expect("a resource holds only text and numbers") + "\n"
}
