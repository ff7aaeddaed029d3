//! A text in a request that no log and no error may show.

use std::fmt;

use poem_openapi::NewType;
use secrecy::SecretString;

/// A password or token as it was sent; shows itself to nobody.
#[derive(Clone, PartialEq, Eq, NewType)]
pub(super) struct Secret(String);

impl Secret {
    /// The text, for checks of its form.
    pub(super) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}

impl From<Secret> for SecretString {
    fn from(secret: Secret) -> Self {
        secret.0.into()
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Secret;

    #[test]
    fn it_does_not_show_itself() {
        let secret = Secret::from("canary".to_owned());
        assert_eq!(format!("{secret:?} {:#?}", Some(&secret)), "(secret) Some(\n    (secret),\n)");
    }
}
