//! Names of topics, queues, groups and clusters.

use std::{fmt, sync::Arc};

use crate::{limits, refusal::Refusal};

/// A name that was checked against the allow-list `[A-Za-z0-9._-]{1,249}` and is neither `.` nor `..`.
///
/// A name is never part of a path, a regular expression or a format string. Cloning is cheap.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

impl Name {
    /// Checks `text`.
    ///
    /// # Errors
    /// [`Refusal::InvalidName`], definite.
    pub fn new(text: &str) -> Result<Self, Refusal> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=limits::NAME_BYTES_MAX).contains(&text.len())
            && text.bytes().all(allowed)
            && text != "."
            && text != ".."
        {
            Ok(Self(text.into()))
        } else {
            Err(Refusal::InvalidName { length: text.len() })
        }
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl std::str::FromStr for Name {
    type Err = Refusal;

    fn from_str(text: &str) -> Result<Self, Refusal> {
        Self::new(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_allow_list_decides() {
        let long = "a".repeat(250);
        for (text, ok) in [
            ("orders", true),
            ("a.b_c-D9", true),
            (&long[..249], true),
            (&long, false),
            ("", false),
            (".", false),
            ("..", false),
            ("../etc", false),
            ("a b", false),
            ("naïve", false),
            ("nul\0", false),
            ("\u{1b}[31m", false),
            ("<script>", false),
            ("${jndi:x}", false),
        ] {
            assert_eq!(Name::new(text).is_ok(), ok, "{text:?}");
        }
    }
}
