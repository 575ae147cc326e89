//! Resource files: finding them, reading them all, and saying everything that is wrong with them.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::Read,
    path::{Path, PathBuf},
};

use pondage_client::ResourceKind;
use pondage_model::Name;
use pondage_resources::{self as resources, FILE_BYTES_MAX, LoadError, Loaded};

use crate::{
    exit::{Exit, Failure, Result},
    kinds::Label,
};

/// The name that stands for stdin.
const STDIN: &str = "-";

/// Endings of the files that are taken from a folder.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// Reads all resources of `paths`: files, `-` for stdin, and folders, of which all `.yaml`, `.yml` and `.json` files
/// are read. Everything is checked before anything is returned.
pub(crate) fn load(paths: &[PathBuf]) -> Result<Vec<Loaded>> {
    let mut loaded = Vec::new();
    let mut errors = Vec::new();
    for path in expand(paths)? {
        let name = if path == Path::new(STDIN) { "stdin".to_owned() } else { path.display().to_string() };
        // One byte more than is allowed, so that the loader can say that it is too much.
        match read(&path, FILE_BYTES_MAX as u64 + 1).and_then(|bytes| as_text(&name, bytes)) {
            Ok(text) => match resources::load(&name, &text) {
                Ok(more) => loaded.extend(more),
                Err(wrong) => errors.extend(wrong),
            },
            Err(failure) => return Err(failure.about(name)),
        }
    }
    if errors.is_empty() {
        errors = duplicates(&loaded);
    }
    if errors.is_empty() { Ok(loaded) } else { Err(invalid(&errors)) }
}

/// The errors of files as one failure: a line for each.
pub(crate) fn invalid(errors: &[LoadError]) -> Failure {
    let mut message = match errors {
        [_] => "a resource file is wrong; nothing was applied".to_owned(),
        _ => format!("resource files are wrong in {} places; nothing was applied", errors.len()),
    };
    for error in errors {
        // Writing to a string can't fail.
        let _ = write!(message, "\n  {error}");
    }
    Failure { exit: Exit::Usage, word: "INVALID_FILE".to_owned(), ..Failure::usage(message) }
        .help("docs/resources.md lists every field and its values")
}

/// What a loaded resource is called in the cluster; `None` for a BrokerCluster, which is the cluster.
pub(crate) fn label(loaded: &Loaded) -> Option<Label> {
    match &loaded.settings {
        resources::Settings::BrokerCluster(_) => None,
        resources::Settings::Topic(name, _) => Some(Label(ResourceKind::Topic, name.clone())),
        resources::Settings::Queue(name, _) => Some(Label(ResourceKind::Queue, name.clone())),
        resources::Settings::ConsumerGroup(name, _) => Some(Label(ResourceKind::Group, name.clone())),
    }
}

/// Resources that stand in two files. Inside of a file the loader sees them itself. Topics and queues share their
/// names.
fn duplicates(loaded: &[Loaded]) -> Vec<LoadError> {
    let mut seen: BTreeMap<(bool, Name), Label> = BTreeMap::new();
    let mut errors = Vec::new();
    for one in loaded {
        let Some(label) = label(one) else { continue };
        let key = (label.0 == ResourceKind::Group, label.1.clone());
        if let Some(other) = seen.get(&key) {
            let problem = if *other == label {
                format!("{label} is declared twice; allowed: once in all files")
            } else {
                format!("the name is {other}'s already; topics and queues share their names")
            };
            errors.push(one.error("metadata.name", problem));
        } else {
            seen.insert(key, label);
        }
    }
    errors
}

fn expand(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if path == Path::new(STDIN) || !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let about = |error| unreadable(&error).about(path.display());
        let mut found = Vec::new();
        for entry in fs::read_dir(path).map_err(about)? {
            let file = entry.map_err(about)?.path();
            let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
            if ENDINGS.contains(&ending) && file.is_file() {
                found.push(file);
            }
        }
        if found.is_empty() {
            let endings = ENDINGS.map(|ending| format!(".{ending}")).join(", ");
            return Err(Failure::usage(format!("{}: the folder has no {endings} file", path.display())));
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// The text of a file, or of stdin, if it has no more bytes than this.
pub(crate) fn text(path: &Path, most: u64) -> Result<String> {
    let name = if path == Path::new(STDIN) { "stdin".to_owned() } else { path.display().to_string() };
    let read = read(path, most + 1).and_then(|bytes| {
        if bytes.len() as u64 > most {
            return Err(Failure::usage(format!("it has more than {most} bytes")));
        }
        as_text(&name, bytes)
    });
    read.map_err(|failure| failure.about(&name))
}

/// At most so many bytes of a file.
fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let done = if path == Path::new(STDIN) {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes)
    } else {
        fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes))
    };
    done.map_err(|error| unreadable(&error))?;
    Ok(bytes)
}

fn unreadable(error: &std::io::Error) -> Failure {
    Failure::usage(error.to_string()).help("check the path; `-` reads from stdin")
}

fn as_text(name: &str, bytes: Vec<u8>) -> Result<String> {
    String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::usage(format!("line {line} is not UTF-8 text")).help(format!("save {name} as UTF-8"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_folder(files: &[(&str, &str)]) -> (tempfile::TempDir, Vec<PathBuf>) {
        let folder = tempfile::tempdir().expect("a folder");
        let paths = files.iter().map(|(name, text)| {
            let path = folder.path().join(name);
            fs::write(&path, text).expect("writable");
            path
        });
        let paths = paths.collect();
        (folder, paths)
    }

    fn resource(kind: &str, name: &str) -> String {
        format!("apiVersion: pondage.io/v1alpha1\nkind: {kind}\nmetadata:\n  name: {name}\n")
    }

    #[test]
    fn folders_are_read_in_the_order_of_their_files() {
        let (folder, _) = in_folder(&[
            ("b.yaml", &resource("Queue", "b")),
            ("a.yml", &resource("Queue", "a")),
            ("notes.txt", "not a resource"),
        ]);
        let loaded = load(&[folder.path().to_path_buf()]).expect("valid");
        let labels: Vec<_> = loaded.iter().filter_map(label).map(|label| label.to_string()).collect();
        assert_eq!(labels, ["queue/a", "queue/b"]);
    }

    #[test]
    fn every_error_of_every_file_is_told_with_its_place() {
        let broken = resource("Topic", "t") + "spec:\n  partitions: 0\n  colour: red\n";
        let (_folder, paths) = in_folder(&[
            ("one.yaml", &broken),
            ("two.yaml", &resource("Tipic", "t")),
            ("good.yaml", &resource("Queue", "q")),
        ]);
        let failure = load(&paths).expect_err("wrong");
        assert_eq!(failure.exit, Exit::Usage);
        for place in ["one.yaml:6:", "one.yaml:7:", "two.yaml:2:"] {
            assert!(failure.message.contains(place), "{place} in {}", failure.message);
        }
        assert!(failure.message.contains("3 places"), "{}", failure.message);
        assert!(!failure.message.contains("good.yaml"), "{}", failure.message);
    }

    #[test]
    fn a_name_stands_once_in_all_files() {
        for (first, second, is_fine) in
            [("Queue", "Queue", false), ("Queue", "Topic", false), ("Topic", "ConsumerGroup", true)]
        {
            let spec = "spec:\n  topicRefs:\n    - name: t\n";
            let text = |kind: &str| resource(kind, "x") + if kind == "ConsumerGroup" { spec } else { "" };
            let (_folder, paths) = in_folder(&[("one.yaml", &text(first)), ("two.yaml", &text(second))]);
            let loaded = load(&paths);
            assert_eq!(loaded.is_ok(), is_fine, "{first} {second} {loaded:?}");
            if let Err(failure) = loaded {
                assert!(failure.message.contains("two.yaml:4"), "{}", failure.message);
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_a_usage_error_that_names_the_file() {
        let (folder, _) = in_folder(&[]);
        fs::write(folder.path().join("binary.yaml"), b"ok: 1\n\xff\xfe").expect("writable");
        for (name, what) in [("absent.yaml", "absent.yaml"), ("binary.yaml", "line 2"), (".", "no .yaml")] {
            let path = if name == "." {
                let empty = folder.path().join("empty");
                fs::create_dir_all(&empty).expect("writable");
                empty
            } else {
                folder.path().join(name)
            };
            let failure = load(&[path]).expect_err(name);
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(what), "{}", failure.message);
        }
    }
}
