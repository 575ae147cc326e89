//! A member's failure domain: said at its start, or found in a file that somebody else writes.

use std::{fs::File, io::Read, path::PathBuf, time::Duration};

use pondage_model::limits;
use pondage_node::coordinator::Rack;
use tokio::time::{Instant, sleep};

/// How long the first start of a volume waits for a file to say something.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// How often it looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);
/// Says that there is none.
const NOWHERE: &str = "-";

/// Where a member learns its failure domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RackSource {
    /// From who starts it.
    Said(Rack),
    /// From the first of these files that says something, such as a label of its pod that is mounted. They may be
    /// written a while after the start: a new volume waits for them, any other goes on with what the catalog knows.
    Files(Vec<PathBuf>),
}

impl Default for RackSource {
    fn default() -> Self {
        Self::Said(Rack::Unsaid)
    }
}

impl RackSource {
    /// Reads a failure domain as people write it; `-` says that there is none.
    ///
    /// # Errors
    /// What a name has to be like.
    pub fn parse(text: &str) -> Result<Rack, String> {
        match text {
            NOWHERE => Ok(Rack::Nowhere),
            _ if text.is_empty()
                || text.len() > limits::ADDRESS_BYTES_MAX
                || text.chars().any(char::is_control) =>
            {
                let most = limits::ADDRESS_BYTES_MAX;
                Err(format!("expected 1 to {most} bytes without control characters, or - for none"))
            }
            _ => Ok(Rack::Named(text.to_owned())),
        }
    }

    /// The failure domain; waits for it if the volume is new.
    ///
    /// # Errors
    /// A file says what can't be a name.
    pub(super) async fn find(self, is_new: bool) -> Result<Rack, String> {
        let files = match self {
            Self::Said(rack) => return Ok(rack),
            Self::Files(files) => files,
        };
        let deadline = Instant::now() + if is_new { WAIT_MAX } else { Duration::ZERO };
        let mut has_said = false;
        loop {
            let looked = files.clone();
            let found = tokio::task::spawn_blocking(move || look(&looked)).await;
            let rack = found.map_err(|error| format!("the rack files: {error}"))??;
            if rack != Rack::Unsaid {
                tracing::info!(?rack, "the rack is known");
                return Ok(rack);
            }
            if Instant::now() >= deadline {
                if is_new {
                    tracing::warn!(?files, "no file says which rack this is: the broker goes on without one");
                } else {
                    tracing::info!(?files, "no file says which rack this is: it stays what it was");
                }
                return Ok(Rack::Unsaid);
            }
            if !has_said {
                has_said = true;
                tracing::info!(
                    ?files,
                    seconds = WAIT_MAX.as_secs(),
                    "waits for a file to say which rack this is"
                );
            }
            sleep(LOOK_INTERVAL).await;
        }
    }
}

/// What the first file says that says something.
fn look(files: &[PathBuf]) -> Result<Rack, String> {
    for path in files {
        // One that is not there, or can't be read, says nothing yet.
        let Ok(file) = File::open(path) else { continue };
        let mut bytes = Vec::new();
        // Whatever is too long for a name stays too long.
        let limit = 2 * limits::ADDRESS_BYTES_MAX as u64;
        if file.take(limit).read_to_end(&mut bytes).is_err() {
            continue;
        }
        let refused = |what: &str| Err(format!("the rack in {}: {what}", path.display()));
        match std::str::from_utf8(&bytes).map(str::trim) {
            Ok("") => {}
            Ok(text) => return RackSource::parse(text).or_else(|what| refused(&what)),
            Err(_) => return refused("it is not UTF-8"),
        }
    }
    Ok(Rack::Unsaid)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str) -> Rack {
        Rack::Named(name.to_owned())
    }

    #[test]
    fn a_rack_is_a_short_name_or_a_dash() {
        let long = "x".repeat(limits::ADDRESS_BYTES_MAX + 1);
        for (text, expected) in [
            ("eu-central-1a", Some(named("eu-central-1a"))),
            ("-", Some(Rack::Nowhere)),
            ("--", Some(named("--"))),
            ("", None),
            ("a\nb", None),
            (&long, None),
            (&long[1..], Some(named(&long[1..]))),
        ] {
            assert_eq!(RackSource::parse(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn the_first_file_counts_that_says_something() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = |name: &str, content: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).expect("written");
            path
        };
        let [missing, empty] = [folder.path().join("missing"), file("empty", b"")];
        let [blank, east] = [file("blank", b" \n"), file("east", b"east\n")];
        let [west, none] = [file("west", b" west "), file("none", b"-\n")];
        let [mixed, long] = [file("mixed", b"a\x07b"), file("long", &[b'x'; 4_096])];
        let foreign = file("foreign", b"\xff");
        let says = |paths: &[&PathBuf]| look(&paths.iter().copied().cloned().collect::<Vec<_>>());
        assert_eq!(says(&[]), Ok(Rack::Unsaid));
        assert_eq!(says(&[&missing, &empty, &blank]), Ok(Rack::Unsaid));
        assert_eq!(says(&[&folder.path().to_owned(), &east]), Ok(named("east")), "a folder says nothing");
        assert_eq!(says(&[&missing, &blank, &west, &east]), Ok(named("west")));
        assert_eq!(says(&[&none, &east]), Ok(Rack::Nowhere));
        for wrong in [mixed, long, foreign] {
            let refused = says(&[&wrong, &east]).expect_err("no name");
            assert!(refused.contains(&wrong.display().to_string()), "{refused}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_a_new_volume_waits_for_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("zone");
        let source = RackSource::Files(vec![path.clone()]);
        let began = Instant::now();
        assert_eq!(source.clone().find(false).await, Ok(Rack::Unsaid));
        assert!(began.elapsed() < LOOK_INTERVAL, "{:?}", began.elapsed());
        assert_eq!(source.clone().find(true).await, Ok(Rack::Unsaid));
        let waited = began.elapsed();
        assert!((WAIT_MAX..WAIT_MAX + 2 * LOOK_INTERVAL).contains(&waited), "{waited:?}");

        let finding = tokio::spawn(source.clone().find(true));
        sleep(Duration::from_secs(3)).await;
        std::fs::write(&path, "east").expect("written");
        assert_eq!(finding.await.expect("no panic"), Ok(named("east")));
        assert_eq!(source.find(false).await, Ok(named("east")), "a later start uses it at once");
    }
}
