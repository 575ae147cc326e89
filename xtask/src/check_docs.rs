//! The documents' links: every relative one leads to a file of the working tree, and to a heading that it has; and
//! the tests that documents name exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::project::Project;

/// Checks all Markdown files; answers how many there are.
///
/// # Errors
/// Names every link that leads nowhere, as `file:line: target`.
pub(crate) fn check(project: &Project) -> Result<u64> {
    let mut documents = Vec::new();
    find(&project.root, &mut documents)?;
    let mut broken = Vec::new();
    for document in &documents {
        let text = read(document)?;
        for (line, target) in links(&text) {
            if let Some(reason) = broken_link(&project.root, document, target)? {
                let shown = document.strip_prefix(&project.root).unwrap_or(document).display();
                broken.push(format!("{shown}:{line}: {target}: {reason}"));
            }
        }
    }
    for document in &documents {
        let text = read(document)?;
        for (line, file, test) in named_tests(&text) {
            let source = fs::read_to_string(project.root.join(file)).unwrap_or_default();
            if !source.contains(&format!("fn {test}(")) {
                let shown = document.strip_prefix(&project.root).unwrap_or(document).display();
                broken.push(format!("{shown}:{line}: {file}::{test}: no such test"));
            }
        }
    }
    if !broken.is_empty() {
        bail!("{} links lead nowhere:\n  {}", broken.len(), broken.join("\n  "));
    }
    Ok(documents.len() as u64)
}

/// Adds the Markdown files below `folder`, without those that builds, users' data and dot-folders hold.
fn find(folder: &Path, documents: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("can't list {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "pondage-data" {
                find(&path, documents)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "md") {
            documents.push(path);
        }
    }
    documents.sort();
    Ok(())
}

/// The inline links and images of a document with their line numbers, code left out.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        if fenced {
            continue;
        }
        // Every second part between backticks is code.
        for prose in line.split('`').step_by(2) {
            for part in prose.split("](").skip(1) {
                let target = part.split([')', ' ']).next().unwrap_or_default();
                found.push((index + 1, target));
            }
        }
    }
    found
}

/// The tests that a document names as `path/of/file.rs::name` in code, with their line numbers.
fn named_tests(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    text.lines().enumerate().flat_map(|(index, line)| {
        let code = line.split('`').skip(1).step_by(2);
        code.filter_map(move |code| {
            let (file, test) = code.split_once(".rs::")?;
            let is_test =
                test.chars().all(|letter| letter.is_ascii_lowercase() || "_0123456789".contains(letter));
            is_test.then(|| (index + 1, &code[..file.len() + 3], test))
        })
    })
}

/// Why the link leads nowhere, if so. Links to other sites are not followed: tests need no network.
fn broken_link(root: &Path, document: &Path, target: &str) -> Result<Option<&'static str>> {
    if target.contains("://") || target.starts_with("mailto:") {
        return Ok(None);
    }
    let (path, heading) =
        target.split_once('#').map_or((target, None), |(path, heading)| (path, Some(heading)));
    let file = match path {
        "" => document.to_path_buf(),
        _ if path.starts_with('/') => return Ok(Some("links within the project are relative")),
        _ => document.parent().unwrap_or(root).join(path),
    };
    let Ok(file) = file.canonicalize() else { return Ok(Some("no such file")) };
    if !file.starts_with(root.canonicalize()?) {
        return Ok(Some("leads out of the project"));
    }
    let is_document = file.extension().is_some_and(|extension| extension == "md");
    let Some(heading) = heading.filter(|_| is_document) else { return Ok(None) };
    let known = anchors(&read(&file)?).contains(heading);
    Ok((!known).then_some("no such heading"))
}

/// The anchors that a Markdown page gives to its headings: lower case, spaces to dashes, punctuation dropped; a
/// repeated heading gets a number.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut known = BTreeSet::new();
    let mut fenced = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        }
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        let anchor: String = title
            .trim()
            .to_lowercase()
            .chars()
            .filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'))
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect();
        let repeated = (1..).map(|number| format!("{anchor}-{number}"));
        let mut names = std::iter::once(anchor.clone()).chain(repeated);
        let free = names.find(|name| !known.contains(name));
        known.extend(free);
    }
    known
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("can't read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_found_outside_code_only() {
        let text = "[a](b.md) and ![c](d.png \"title\")\n`[no](code)`\n```\n[no](fence)\n```\n[e](#f)";
        assert_eq!(links(text), [(1, "b.md"), (1, "d.png"), (6, "#f")]);
    }

    #[test]
    fn headings_become_anchors() {
        let text = "# One: two & `three`\n## Same\n## Same\n```\n# not one\n```\n#nor this";
        let expected = ["one-two--three", "same", "same-1"].map(str::to_owned);
        assert_eq!(anchors(text), BTreeSet::from(expected));
    }

    #[test]
    fn a_link_is_judged_by_where_it_leads() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root");
        let document = root.join("CONTRIBUTING.md");
        let table: &[(&str, Option<&str>)] = &[
            ("CHANGELOG.md", None),
            ("CHANGELOG.md#unreleased", None),
            ("CHANGELOG.md#never-written", Some("no such heading")),
            ("crates", None),
            ("xtask/src/../src/main.rs", None),
            ("https://example.org/nowhere", None),
            ("absent.md", Some("no such file")),
            ("/etc/hosts", Some("links within the project are relative")),
            ("../../../../../../etc/hosts", Some("leads out of the project")),
            ("#never-written", Some("no such heading")),
        ];
        for (target, expected) in table {
            let found = broken_link(root, &document, target).expect("the tree is readable");
            assert_eq!(found, *expected, "{target}");
        }
    }

    #[test]
    fn a_named_test_is_found_in_the_text() {
        let text = "x\n| `crates/a/src/b.rs::a_test` and `cargo x` and `a.rs::Type` |";
        assert_eq!(named_tests(text).collect::<Vec<_>>(), [(2, "crates/a/src/b.rs", "a_test")]);
    }
}
