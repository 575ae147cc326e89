//! The ends of logs, for people.

use std::{fs, path::Path};

/// The last lines.
pub(crate) fn tail(path: &Path) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    format!("--- the end of {} ---\n{}", path.display(), lines[lines.len().saturating_sub(20)..].join("\n"))
}
