//! What local mode, brokers on one machine, can't do.

use std::collections::{BTreeMap, btree_map::Entry};

use crate::{
    error::{LoadError, shown},
    load::Loaded,
    object::{Resource, Settings},
};

/// Checks that so many brokers on one machine can do what `loaded` asks for.
///
/// Copies that a topic or queue asks for are not looked at here: the same file is meant for a cluster too, and
/// the catalog knows what it has brokers for. Namespaces and cluster references are passed over, so two
/// resources that only differ in them are one too many.
///
/// # Errors
/// Everything that needs more brokers or more than one namespace, each with its place.
pub fn check_local(loaded: &[Loaded], brokers: u32) -> Result<(), Vec<LoadError>> {
    let mut errors = Vec::new();
    let mut clusters = 0;
    let mut names = BTreeMap::new();
    for one in loaded {
        if let Settings::BrokerCluster(settings) = &one.settings {
            clusters += 1;
            if clusters > 1 {
                errors.push(one.error("kind", "local mode runs one BrokerCluster; this is another"));
            }
            for (field, value) in [
                ("spec.replicas", settings.replicas),
                ("spec.replication.defaultReplicas", settings.default_replicas),
                ("spec.replication.minInSyncReplicas", settings.min_in_sync_replicas),
            ] {
                if let Some(value) = value.filter(|value| *value > brokers) {
                    let problem = match brokers {
                        1 => format!(
                            "{value} is more than the one broker of local mode; set 1 or leave it out"
                        ),
                        _ => format!(
                            "{value} is more than the {brokers} brokers of local mode; set less or leave it out"
                        ),
                    };
                    errors.push(one.error(field, problem));
                }
            }
        } else if let Some(name) = one.resource.cluster_name() {
            match names.entry((one.resource.kind(), name)) {
                Entry::Vacant(entry) => {
                    entry.insert(one.line);
                }
                Entry::Occupied(entry) => {
                    errors.push(one.error("metadata.name", twice(&one.resource, name, *entry.get())));
                }
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

fn twice(resource: &Resource, name: &str, line: usize) -> String {
    let kind = resource.kind().as_str();
    format!("{kind} {} stands at line {line} already; local mode has no namespaces", shown(name))
}
