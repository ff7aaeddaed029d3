//! Whom a channel is made for: the one text from which Asterisk makes a dial string, so the one that is checked.

use std::borrow::Cow;
use std::fmt;

/// Longest name of an endpoint (`pjsip.conf`'s section names are cut at 79 bytes).
const LONGEST: usize = 79;

/// Whom a channel is made for. Only constants of the program and checked names can become one, so that no text of a caller's can become a
/// dial string, nor a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Endpoint<'a>(To<'a>);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum To<'a> {
    Pjsip(&'a str),
    Local { exten: &'static str, context: &'static str },
}

/// A text that cannot name an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} cannot name a PJSIP endpoint: allowed are 1 to {LONGEST} of A-Z, a-z, 0-9, '_', '-' and '.', of which the first is no '.'"
)]
pub struct BadEndpoint(pub String);

impl<'a> Endpoint<'a> {
    /// A configured PJSIP endpoint (`PJSIP/<name>`).
    ///
    /// # Errors
    /// [`BadEndpoint`] where it has a character that means something in a dial string or in ARI (`/`, `@`, `&`, `:` and the like).
    pub fn pjsip(name: &'a str) -> Result<Self, BadEndpoint> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if (1..=LONGEST).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(fits) {
            return Ok(Self(To::Pjsip(name)));
        }
        Err(BadEndpoint(name.to_owned()))
    }

    /// An extension of the dialplan (`Local/<exten>@<context>/n`), both of them constants of the program.
    #[must_use]
    pub const fn local(exten: &'static str, context: &'static str) -> Self {
        Self(To::Local { exten, context })
    }

    /// Technology and name, as Asterisk lists endpoints.
    pub(super) fn resource(&self) -> (&'static str, Cow<'a, str>) {
        match self.0 {
            To::Pjsip(name) => ("PJSIP", Cow::Borrowed(name)),
            To::Local { exten, context } => ("Local", Cow::Owned(format!("{exten}@{context}"))),
        }
    }
}

/// As ARI takes it.
impl fmt::Display for Endpoint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            To::Pjsip(name) => write!(f, "PJSIP/{name}"),
            To::Local { exten, context } => write!(f, "Local/{exten}@{context}/n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_that_means_something_to_asterisk_names_an_endpoint() {
        for name in ["a", "acme_1", "9-1.b", "_x", "-x"] {
            assert_eq!(Endpoint::pjsip(name).map(|endpoint| endpoint.to_string()), Ok(format!("PJSIP/{name}")));
        }
        let long = "a".repeat(LONGEST + 1);
        for hostile in [
            "",
            "a/b",
            "a@b",
            "a&b",
            "a:b",
            "a b",
            "a,b",
            "a(b)",
            "a\n",
            "a\0",
            ".a",
            "..",
            "${X}",
            "é",
            "x;y",
            long.as_str(),
        ] {
            assert_eq!(Endpoint::pjsip(hostile), Err(BadEndpoint(hostile.to_owned())));
        }
    }
}
