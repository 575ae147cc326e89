//! What the API server was asked: every call, by whom, for what, with what answer.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

/// The calls that a cluster's API server has noted. It notes a call before it answers.
#[derive(Clone, Debug)]
pub struct Audit {
    log: PathBuf,
}

/// A place in the list of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(u64);

/// One call.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    #[serde(rename = "auditID")]
    id: String,
    /// `get`, `list`, `watch`, `create`, …, as rules of access name it.
    pub verb: String,
    /// Who asked.
    pub user: User,
    /// The program that asked.
    #[serde(default)]
    pub user_agent: String,
    /// What it was about, if it was an object.
    #[serde(default)]
    pub object_ref: Object,
    /// The path and what was behind it.
    #[serde(rename = "requestURI")]
    pub path: String,
    /// The answer.
    #[serde(default)]
    pub response_status: Status,
    /// When it came, as RFC 3339.
    pub request_received_timestamp: String,
}

/// Who asked.
#[derive(Clone, Debug, Deserialize)]
pub struct User {
    /// Pods are `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
}

/// What a call was about. What does not apply is empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// The API's group; empty for the core.
    pub api_group: String,
    /// The resource, in the plural.
    pub resource: String,
    /// The part of it, such as `status`.
    pub subresource: String,
    /// The namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The answer to a call.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Status {
    /// As HTTP has it.
    #[serde(default)]
    pub code: u16,
}

impl Audit {
    pub(crate) const fn new(log: PathBuf) -> Self {
        Self { log }
    }

    /// The end of what was noted so far.
    ///
    /// # Errors
    /// If nothing was ever noted.
    pub fn end(&self) -> Result<Position> {
        let length = fs::metadata(&self.log).with_context(|| self.log.display().to_string())?.len();
        Ok(Position(length))
    }

    /// The calls that were noted at all, each once.
    ///
    /// # Errors
    /// As [`Audit::since`].
    pub fn all(&self) -> Result<Vec<Call>> {
        self.since(Position(0))
    }

    /// The calls that were noted from there on, each once. A watch counts from its beginning.
    ///
    /// # Errors
    /// If a line is not understood.
    pub fn since(&self, position: Position) -> Result<Vec<Call>> {
        let mut file = File::open(&self.log).with_context(|| self.log.display().to_string())?;
        file.seek(SeekFrom::Start(position.0))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        // A line without its end is still being written.
        bytes.truncate(bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        parse(&String::from_utf8(bytes)?)
    }
}

fn parse(text: &str) -> Result<Vec<Call>> {
    let mut seen = HashSet::new();
    let mut calls = Vec::new();
    // A position may lie within a line that was not yet whole.
    for line in text.lines().filter(|line| line.starts_with('{')) {
        let call: Call = serde_json::from_str(line).with_context(|| line.to_owned())?;
        if seen.insert(call.id.clone()) {
            calls.push(call);
        }
    }
    Ok(calls)
}

/// Everything is noted, without what was in it, and once: when it is answered or, for a watch, when it begins too.
pub(crate) fn write_policy(folder: &Path) -> Result<()> {
    let policy = json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{ "level": "Metadata" }],
    });
    Ok(fs::write(folder.join("audit-policy"), policy.to_string())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watch_is_one_call_and_a_half_line_none() {
        let line = |id: &str, stage: &str| {
            json!({
                "kind": "Event", "level": "Metadata", "auditID": id, "stage": stage, "verb": "watch",
                "requestURI": "/api/v1/pods?watch=true", "user": { "username": "a", "groups": ["b"] },
                "objectRef": { "resource": "pods", "apiVersion": "v1" },
                "responseStatus": { "metadata": {}, "code": 200 },
                "requestReceivedTimestamp": "2026-01-01T00:00:00.000000Z",
            })
            .to_string()
                + "\n"
        };
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::new(folder.path().join("log"));
        let begin = line("0", "ResponseComplete");
        fs::write(&audit.log, &begin).unwrap();
        let position = audit.end().unwrap();
        let text =
            [begin, line("1", "ResponseStarted"), line("1", "ResponseComplete"), "{\"kind\"".to_owned()];
        fs::write(&audit.log, text.concat()).unwrap();
        let calls = audit.since(position).unwrap();
        assert_eq!(calls.len(), 1);
        let Call { verb, object_ref, response_status, .. } = &calls[0];
        assert_eq!((&verb[..], &object_ref.resource[..], response_status.code), ("watch", "pods", 200));
    }
}
