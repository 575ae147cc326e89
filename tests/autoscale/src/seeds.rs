//! Which seeds the benchmark draws its traces from.
//!
//! *Training* seeds stand here, and whoever tunes the controller may look at them as often as they like. *Hold-out*
//! seeds nobody could have tuned for: they follow from the hash of the commit that froze the controller, which stands in
//! the file `frozen` beside this crate. A hash can't be known before the code that it names is finished, so the order
//! is: finish `decide`, commit, write the commit's hash into `frozen`, commit that. Touching `decide` afterwards makes
//! the seeds used ones; a new freeze draws new ones.

use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::chance::Chance;

/// The seeds that the controller may be tuned with.
pub const TRAINING: [u64; 10] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10];

/// How many hold-out seeds are drawn.
pub const HOLDOUT_COUNT: usize = 10;

/// The commit that froze the controller, of the file at `path`; `None` if there is no such file, because nothing is
/// frozen yet. Lines that start with `#` are remarks.
pub fn frozen_commit(path: &Path) -> Result<Option<String>> {
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let commit = lines.next().with_context(|| format!("{} names no commit", path.display()))?;
    ensure!(
        commit.len() == 40 && commit.bytes().all(|letter| letter.is_ascii_hexdigit()),
        "{}: `{commit}` is not the whole hash of a commit",
        path.display()
    );
    Ok(Some(commit.to_ascii_lowercase()))
}

/// The hold-out seeds of a commit: the 40 letters of its hash, lower case, through FNV-1a (64 bits, offset
/// 0xcbf29ce484222325, prime 0x100000001b3) give the seed of a [`Chance`], and its first numbers are the seeds.
pub fn holdout(commit: &str) -> [u64; HOLDOUT_COUNT] {
    let hash = commit.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, letter| {
        (hash ^ u64::from(letter)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut chance = Chance::new(hash);
    std::array::from_fn(|_| chance.bits())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_commit_is_other_seeds() {
        let one = holdout("d6ac5f3d6ac5f3d6ac5f3d6ac5f3d6ac5f3d6ac5");
        assert_eq!(one, holdout("d6ac5f3d6ac5f3d6ac5f3d6ac5f3d6ac5f3d6ac5"));
        assert_ne!(one, holdout("d6ac5f3d6ac5f3d6ac5f3d6ac5f3d6ac5f3d6ac6"));
        assert!(one.iter().all(|seed| !TRAINING.contains(seed)));
    }

    #[test]
    fn nothing_frozen_is_no_hold_out() {
        assert!(frozen_commit(Path::new("/nowhere/frozen")).unwrap().is_none());
    }
}
