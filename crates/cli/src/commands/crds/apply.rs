//! `pondage crds apply`: brings the definitions of a Kubernetes cluster to those of this version.
//!
//! All are looked at before the first is changed, and what would take something away is refused.

use std::time::Duration;

use clap::Args;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use pondage_resources::{CRDS, VERSION_ANNOTATION, crd};
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::{
    commands::{ResultForm, print},
    exit::{Exit, Failure, Result},
    kubernetes::{Doing, connect, in_time},
};

/// Who Kubernetes says has written the definitions.
const MANAGER: &str = "pondage";

/// How long it may take, unless --timeout says otherwise.
const PATIENCE: Duration = Duration::from_secs(30);

/// What whoever may not do it can do.
const FORBIDDEN: &str = "only who administers the cluster may change definitions: ask for get, create and patch on \
                         customresourcedefinitions, or let them run this";

const READING: Doing = Doing::Reading { if_forbidden: FORBIDDEN };
const WRITING: Doing = Doing::Writing { if_forbidden: FORBIDDEN };

/// The time between two looks at a definition that is not served yet.
const PAUSE: Duration = Duration::from_millis(200);

/// Give a Kubernetes cluster the definitions of this version, and wait until it serves them
#[derive(Args, Debug)]
#[command(after_help = "\
The cluster is the one that kubectl would ask: KUBECONFIG, ~/.kube/config, or the one around this pod. Definitions are
applied server-side. It is refused, and nothing is changed, if one of them is from a newer pondage, or if resources may
be stored in a version that this pondage does not know.

Examples:
  pondage crds apply
  pondage crds apply --timeout 2m -o json")]
pub(super) struct Apply {
    /// Also replace definitions of a newer pondage: fields that only that one knows are lost when their resources
    /// are written next
    #[arg(long)]
    force: bool,

    /// The form of the result
    #[arg(short, long, value_enum, default_value_t, value_name = "FORM")]
    pub(super) output: ResultForm,
}

/// What became of a definition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Created,
    Configured,
    Unchanged,
}

impl Change {
    const fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Configured => "configured",
            Self::Unchanged => "unchanged",
        }
    }
}

impl Apply {
    pub(super) async fn run(&self, patience: Option<Duration>) -> Result<Exit> {
        let deadline = Instant::now() + patience.unwrap_or(PATIENCE);
        let api: Api<CustomResourceDefinition> = Api::all(connect().await?);
        let mut found = Vec::new();
        for wanted in CRDS.map(crd) {
            let name = wanted.name_any();
            let current = in_time(deadline, &name, READING, api.get_opt(&name)).await?;
            if let Some(current) = &current {
                check(current, &wanted, self.force)?;
            }
            found.push((wanted, current));
        }
        let mut changes = Vec::new();
        for (wanted, current) in found {
            let name = wanted.name_any();
            let params = PatchParams::apply(MANAGER).force();
            let patch = Patch::Apply(&wanted);
            let written = in_time(deadline, &name, WRITING, api.patch(&name, &params, &patch)).await?;
            changes.push((name, change(current.as_ref(), &written)));
        }
        for (name, _) in &changes {
            self.wait_until_served(&api, name, deadline).await?;
        }
        print(&self.report(&changes))?;
        Ok(Exit::Ok)
    }

    async fn wait_until_served(
        &self,
        api: &Api<CustomResourceDefinition>,
        name: &str,
        deadline: Instant,
    ) -> Result<()> {
        loop {
            let current = in_time(deadline, name, READING, api.get(name)).await?;
            if let Some(problem) = refused_names(&current) {
                return Err(Failure::failed(format!("{name} is not served: {problem}"))
                    .help("remove the other definition that has these names"));
            }
            if has_condition(&current, "Established", "True") {
                return Ok(());
            }
            if Instant::now() + PAUSE >= deadline {
                return Err(not_served(name));
            }
            sleep(PAUSE).await;
        }
    }

    fn report(&self, changes: &[(String, Change)]) -> String {
        match self.output {
            ResultForm::Text => changes
                .iter()
                .map(|(name, change)| format!("customresourcedefinition/{name} {}\n", change.word()))
                .collect(),
            ResultForm::Json => {
                let items: Vec<_> = changes
                    .iter()
                    .map(|(name, change)| json!({ "name": name, "result": change.word() }))
                    .collect();
                format!("{}\n", json!({ "version": env!("CARGO_PKG_VERSION"), "definitions": items }))
            }
        }
    }
}

/// Refuses what would take something away.
fn check(current: &CustomResourceDefinition, wanted: &CustomResourceDefinition, force: bool) -> Result<()> {
    let name = wanted.name_any();
    let stored = current.status.as_ref().and_then(|status| status.stored_versions.as_deref());
    let is_known = |version: &str| wanted.spec.versions.iter().any(|other| other.name == version);
    if let Some(unknown) = stored.unwrap_or_default().iter().find(|version| !is_known(version)) {
        return Err(Failure::failed(format!(
            "{name}: resources may be stored as {unknown}, which this pondage does not know"
        ))
        .help("use the pondage that brought this version; Kubernetes refuses to drop it, --force or not"));
    }
    let annotations = current.metadata.annotations.as_ref();
    let theirs = annotations.and_then(|all| all.get(VERSION_ANNOTATION)).map_or("", String::as_str);
    let ours = env!("CARGO_PKG_VERSION");
    if !force && numbers(theirs) > numbers(ours) {
        return Err(Failure::failed(format!("{name} is of pondage {theirs}, and this is {ours}"))
            .help("use that version; or, knowing that newer fields are lost, --force"));
    }
    Ok(())
}

/// The numbers of a version, for comparing; none of what is no version.
fn numbers(version: &str) -> Vec<u64> {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    core.split('.').map_while(|part| part.parse().ok()).collect()
}

fn change(before: Option<&CustomResourceDefinition>, after: &CustomResourceDefinition) -> Change {
    match before {
        None => Change::Created,
        Some(before) if before.metadata.resource_version == after.metadata.resource_version => {
            Change::Unchanged
        }
        Some(_) => Change::Configured,
    }
}

fn has_condition(definition: &CustomResourceDefinition, kind: &str, status: &str) -> bool {
    let conditions = definition.status.as_ref().and_then(|status| status.conditions.as_deref());
    conditions.unwrap_or_default().iter().any(|one| one.type_ == kind && one.status == status)
}

/// Why Kubernetes does not take the names of a definition.
fn refused_names(definition: &CustomResourceDefinition) -> Option<String> {
    let conditions = definition.status.as_ref()?.conditions.as_deref()?;
    let refused = conditions.iter().find(|one| one.type_ == "NamesAccepted" && one.status == "False")?;
    Some(refused.message.clone().unwrap_or_default())
}

fn not_served(name: &str) -> Failure {
    Failure::failed(format!("{name} was applied, but is not served yet"))
        .help(format!("wait longer with --timeout, or look: kubectl describe crd {name}"))
}

#[cfg(test)]
mod tests {
    use pondage_resources::Kind;

    use super::*;

    /// The definition of queues as a cluster may have it.
    fn current(version: Option<&str>, stored: &[&str]) -> CustomResourceDefinition {
        let mut definition = serde_json::to_value(crd(Kind::Queue)).expect("JSON");
        definition["status"] = json!({ "storedVersions": stored });
        let annotations = &mut definition["metadata"]["annotations"];
        match version {
            Some(version) => annotations[VERSION_ANNOTATION] = version.into(),
            None => *annotations = json!({}),
        }
        serde_json::from_value(definition).expect("a definition")
    }

    #[test]
    fn nothing_is_taken_away() {
        let ours = env!("CARGO_PKG_VERSION");
        for (version, stored, force, problem) in [
            (Some(ours), &["v1alpha1"][..], false, None),
            (Some("0.0.9"), &["v1alpha1"], false, None),
            (None, &["v1alpha1"], false, None),
            (Some("built by hand"), &["v1alpha1"], false, None),
            (Some("999.0.0-rc.1"), &["v1alpha1"], false, Some("is of pondage 999.0.0-rc.1")),
            (Some("999.0.0"), &["v1alpha1"], true, None),
            (Some(ours), &["v1alpha1", "v1"], false, Some("may be stored as v1,")),
            (Some(ours), &["v1alpha1", "v1"], true, Some("may be stored as v1,")),
        ] {
            let result = check(&current(version, stored), &crd(Kind::Queue), force);
            match (result, problem) {
                (Ok(()), None) => {}
                (Err(failure), Some(problem)) => {
                    assert_eq!(failure.exit, Exit::Failed);
                    assert!(failure.message.contains(problem), "{failure}");
                    assert!(!failure.help.is_empty());
                }
                (result, problem) => panic!("{version:?} {stored:?} {force}: {result:?}, not {problem:?}"),
            }
        }
    }

    #[test]
    fn versions_compare_by_their_numbers() {
        assert!(numbers("0.10.0") > numbers("0.9.1"));
        assert!(numbers("1.0.0-rc.1") > numbers("0.9.1+build"));
        assert_eq!(numbers(""), Vec::<u64>::new());
    }
}
