//! `pondage get --watch`: changes as they come.

use std::{collections::BTreeSet, time::Duration};

use pondage_client::{Client, ResourceKind, Watched};
use pondage_model::{Code, Name, Revision};
use serde_json::json;
use tokio::time::sleep;

use super::print;
use crate::{
    exit::{Exit, Result},
    kinds::Label,
    render::document::{self, View},
    signals::Signals,
};

/// The wait before a watch that ended is begun again.
const AGAIN_AFTER: Duration = Duration::from_millis(500);

/// What is watched, and in which form it is told.
pub(crate) struct Watching {
    /// The kinds.
    pub(crate) kinds: Vec<ResourceKind>,
    /// Only resources of these names; none: all.
    pub(crate) names: Vec<Name>,
    /// A JSON object for each change instead of a line.
    pub(crate) is_json: bool,
}

/// Prints changes until a signal ends it. Resources that exist come first, as created.
pub(crate) async fn watch(client: &Client, watching: &Watching) -> Result<Exit> {
    let mut signals = Signals::new()?;
    tokio::select! {
        exit = signals.next() => Ok(exit),
        ended = watch_on(client, watching) => ended,
    }
}

async fn watch_on(client: &Client, watching: &Watching) -> Result<Exit> {
    let mut known = BTreeSet::new();
    let mut from = Revision::ZERO;
    loop {
        let error = match client.watch(from).await {
            Ok(mut changes) => loop {
                match changes.next().await {
                    Ok(Some(event)) => {
                        from = from.max(event.revision);
                        if let Some(text) = told(watching, &mut known, event.revision, event.what)? {
                            print(&text)?;
                        }
                    }
                    Ok(None) => break None,
                    Err(error) => break Some(error),
                }
            },
            Err(error) => Some(error),
        };
        match error {
            // What happened meanwhile is forgotten: everything comes again.
            Some(error) if error.is(Code::OutOfRange) => from = Revision::ZERO,
            Some(error) if !error.retriable() => return Err(error.into()),
            _ => sleep(AGAIN_AFTER).await,
        }
    }
}

/// A change as text; `None` if it is not watched.
fn told(
    watching: &Watching,
    known: &mut BTreeSet<(ResourceKind, Name)>,
    revision: Revision,
    what: Watched,
) -> Result<Option<String>> {
    let (label, event, resource) = match what {
        Watched::Synced => return Ok(None),
        Watched::Changed(resource) => {
            let label = Label(resource.settings.kind(), resource.name.clone());
            let is_new = known.insert((label.0, label.1.clone()));
            (label, if is_new { "created" } else { "updated" }, Some(resource))
        }
        Watched::Deleted { kind, name, .. } => {
            known.remove(&(kind, name.clone()));
            (Label(kind, name), "deleted", None)
        }
    };
    let is_named = watching.names.is_empty() || watching.names.contains(&label.1);
    if !is_named || !watching.kinds.contains(&label.0) {
        return Ok(None);
    }
    if !watching.is_json {
        return Ok(Some(format!("{label}  {event} (revision {revision})\n")));
    }
    let resource = resource.map(|resource| document::json_value(&View::of(*resource))).transpose()?;
    let object = json!({
        "event": event,
        "kind": label.0.as_str(),
        "name": label.1.as_str(),
        "revision": revision.get(),
        "resource": resource,
    });
    Ok(Some(format!("{object}\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pondage_client::{Resource, Settings};
    use pondage_model::{Uuid, settings::TopicSettings};

    #[test]
    fn changes_are_told_once_each_and_only_what_is_watched() {
        let name = |text| Name::new(text).expect("valid");
        let changed = |text| {
            Watched::Changed(Box::new(Resource {
                name: name(text),
                uid: Uuid([1; 16]),
                revision: Revision(3),
                settings: Settings::Topic(TopicSettings::default()),
                streams: None,
            }))
        };
        let deleted = |kind, text| Watched::Deleted { kind, name: name(text), uid: Uuid([1; 16]) };
        let mut watching =
            Watching { kinds: vec![ResourceKind::Topic], names: vec![name("a")], is_json: false };
        let mut known = BTreeSet::new();
        for (what, expected) in [
            (changed("a"), Some("topic/a  created (revision 3)\n")),
            (Watched::Synced, None),
            (changed("a"), Some("topic/a  updated (revision 3)\n")),
            (changed("b"), None),
            (deleted(ResourceKind::Queue, "a"), None),
            (deleted(ResourceKind::Topic, "a"), Some("topic/a  deleted (revision 3)\n")),
            (changed("a"), Some("topic/a  created (revision 3)\n")),
        ] {
            let told = told(&watching, &mut known, Revision(3), what).expect("printable");
            assert_eq!(told.as_deref(), expected);
        }
        watching.is_json = true;
        let line =
            told(&watching, &mut known, Revision(4), changed("a")).expect("printable").expect("watched");
        let json: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&json["event"], &json["resource"]["kind"]), (&json!("updated"), &json!("Topic")));
    }
}
