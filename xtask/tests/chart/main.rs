//! The Helm chart, as far as it can be judged without Helm: its copies are copies, its values are described and
//! checked, and its pods ask for no rights.
//!
//! `PONDAGE_REWRITE=1 cargo test -p xtask --test chart` makes anew what is made: the copies of `crds/`, the kinds in
//! `values.schema.json`, the table of the chart's README.md.

mod kinds;
mod values;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

const REWRITE: &str = "PONDAGE_REWRITE=1 cargo test -p xtask --test chart";

/// The kinds whose definitions the chart brings.
const KINDS: [&str; 4] = ["brokerclusters", "consumergroups", "queues", "topics"];

#[test]
fn the_definitions_are_those_of_the_repository() {
    for kind in KINDS {
        let text = read(&root().join(format!("crds/{kind}.yaml")));
        kept(&chart().join(format!("charts/crds/crds/{kind}.yaml")), &text);
    }
    for folder in [root().join("crds"), chart().join("charts/crds/crds")] {
        let mut found: Vec<String> = fs::read_dir(&folder)
            .expect("a folder")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        found.sort();
        assert_eq!(found, KINDS.map(|kind| format!("{kind}.yaml")), "{}", folder.display());
    }
}

#[test]
fn the_upgrade_may_touch_these_definitions_and_no_others() {
    let template = read(&chart().join("templates/crds-upgrade.yaml"));
    let mut named: Vec<&str> = template
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- ")?.strip_suffix(".pondage.io"))
        .collect();
    named.sort_unstable();
    assert_eq!(named, KINDS);
}

#[test]
fn the_table_of_the_readme_is_made_from_the_values() {
    const BEGIN: &str = "<!-- values:";
    const END: &str = "<!-- end of values -->";
    let path = chart().join("README.md");
    let text = read(&path);
    let start = text.find(BEGIN).expect("the table's first mark");
    let start = start + text[start..].find('\n').expect("a line") + 1;
    let end = text.find(END).expect("the table's last mark");
    let table = values::table(&read(&chart().join("values.yaml")));
    kept(&path, &format!("{}\n{table}\n{}", &text[..start], &text[end..]));
}

#[test]
fn resources_in_values_are_checked_as_their_kinds_are() {
    const BEGIN: &str = "\n  \"kinds\": ";
    let path = chart().join("values.schema.json");
    let text = read(&path);
    let start = text.find(BEGIN).expect("the schema ends with its kinds") + BEGIN.len();
    let made = kinds::definitions(&KINDS.map(|kind| (kind, read(&root().join(format!("crds/{kind}.yaml"))))));
    kept(&path, &format!("{}{made}\n}}\n", &text[..start]));
}

#[test]
fn the_schema_knows_every_value_and_nothing_else() {
    let schema: Value = serde_json::from_str(&read(&chart().join("values.schema.json"))).expect("JSON");
    let values: Value = serde_yaml::from_str(&read(&chart().join("values.yaml"))).expect("YAML");
    let mut wrong = Vec::new();
    values::compare("", &values, &schema, &schema, &mut wrong);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_pod_is_restricted_and_no_value_weakens_that() {
    let helpers = read(&chart().join("templates/_helpers.tpl"));
    for needed in [
        "runAsNonRoot: true",
        "runAsUser: 65532",
        "type: RuntimeDefault",
        "allowPrivilegeEscalation: false",
        "readOnlyRootFilesystem: true",
        "drop: [ALL]",
    ] {
        assert!(helpers.contains(needed), "{needed}");
    }
    let mut pods = 0;
    for path in templates(&chart().join("templates")) {
        let text = read(&path);
        let containers = text.matches("image: {{").count();
        let hardened = text.matches(r#"include "pondage.containerSecurity""#).count()
            + text.matches("securityContext: *").count();
        let at = path.display();
        assert_eq!(containers, hardened, "{at}: containers that are hardened");
        if containers > 0 {
            pods += 1;
            assert_eq!(
                text.matches(r#"include "pondage.podSecurity""#).count(),
                1,
                "{at}: a pod that is not"
            );
        }
        for weak in ["hostNetwork", "hostPID", "hostPath", "privileged:", "securityContext: {{"] {
            assert!(!text.contains(weak), "{at}: {weak}");
        }
    }
    assert_eq!(pods, 3, "operator, upgrade of definitions, test");
}

#[test]
fn alerts_and_dashboards_ask_for_metrics_that_there_are() {
    let documented = read(&root().join("docs/metrics.md"));
    let is_metric = |name: &str| {
        let mut bare = ["", "_bucket", "_sum", "_count"].iter().filter_map(|end| name.strip_suffix(end));
        bare.any(|name| documented.contains(&format!("| `{name}` |")))
    };
    let folder = chart().join("monitoring");
    let dashboards = fs::read_dir(folder.join("dashboards")).expect("a folder");
    let dashboards = dashboards.map(|entry| entry.expect("readable").path());
    let mut asked = 0;
    for path in dashboards.chain([folder.join("rules.yaml")]) {
        let text = read(&path);
        let words = text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        for name in words.filter(|word| word.starts_with("pondage_") && *word != "pondage_cluster") {
            assert!(is_metric(name), "{}: there is no metric {name}", path.display());
            asked += 1;
        }
    }
    assert!(asked > 50, "{asked} are few");
}

#[test]
fn the_document_lists_every_alert() {
    let rules: Value = serde_yaml::from_str(&read(&chart().join("monitoring/rules.yaml"))).expect("YAML");
    let groups = rules["groups"].as_array().expect("groups");
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().expect("rules"));
    let mut alerts: Vec<(&str, &str)> = rules
        .map(|rule| (&rule["alert"], &rule["labels"]["severity"]))
        .map(|(alert, severity)| (alert.as_str().expect("a name"), severity.as_str().expect("a word")))
        .collect();
    let document = read(&root().join("docs/metrics.md"));
    let rows = document.lines().filter(|line| line.starts_with("| `Pondage"));
    let mut listed: Vec<(&str, &str)> = rows
        .map(|row| {
            let mut cells = row.trim_matches('|').split('|').map(|cell| cell.trim().trim_matches('`'));
            (cells.next().expect("an alert"), cells.next().expect("a severity"))
        })
        .collect();
    alerts.sort_unstable();
    listed.sort_unstable();
    assert_eq!(listed, alerts);
}

#[test]
fn both_charts_and_the_workspace_have_one_version() {
    let manifest = read(&root().join("Cargo.toml"));
    let version =
        manifest.split_once("\nversion = \"").expect("a version").1.split('"').next().expect("a string");
    let parent: Value = serde_yaml::from_str(&read(&chart().join("Chart.yaml"))).expect("YAML");
    let child: Value = serde_yaml::from_str(&read(&chart().join("charts/crds/Chart.yaml"))).expect("YAML");
    for found in [
        &parent["version"],
        &parent["appVersion"],
        &parent["dependencies"][0]["version"],
        &child["version"],
        &child["appVersion"],
    ] {
        assert_eq!(found, version);
    }
}

/// Compares a file with what it should be, or writes it.
fn kept(path: &Path, made: &str) {
    if std::env::var_os("PONDAGE_REWRITE").is_some() {
        fs::write(path, made).expect("writable");
    }
    assert!(read(path) == made, "{} is not as it is made: {REWRITE}", path.display());
}

/// All templates, folders below included.
fn templates(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() { found.extend(templates(&path)) } else { found.push(path) }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root").to_path_buf()
}

fn chart() -> PathBuf {
    root().join("charts/pondage")
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
