//! PURE: the texts of SIP settings that must not become anything else: hosts, user names, realms.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// An IPv4 or IPv6 address, or a host name of letters, digits, `-` and `.`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// IPv4.
    V4(Ipv4Addr),
    /// IPv6.
    V6(Ipv6Addr),
    /// Host name, checked by RFC 1123.
    Name(String),
}

impl Host {
    /// The address, where it is written as one.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        match self {
            Self::V4(address) => Some((*address).into()),
            Self::V6(address) => Some((*address).into()),
            Self::Name(_) => None,
        }
    }
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(IpAddr::V4(address)) => return Ok(Self::V4(address)),
            Ok(IpAddr::V6(address)) => return Ok(Self::V6(address)),
            Err(_) => {}
        }
        let in_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && label.bytes().all(in_label)
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        // A last label of digits only is a mistyped address, which resolvers read in surprising ways.
        let last_is_a_name =
            text.rsplit('.').next().is_some_and(|last| !last.bytes().all(|byte| byte.is_ascii_digit()));
        if text.len() <= 253 && text.split('.').all(label) && last_is_a_name {
            Ok(Self::Name(text.to_ascii_lowercase()))
        } else {
            Err("use an IPv4 address, an IPv6 address without brackets, or a host name of letters, digits, - and .")
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::V4(address) => address.fmt(f),
            Self::V6(address) => address.fmt(f),
            Self::Name(name) => f.pad(name),
        }
    }
}

/// An authentication user name: `[A-Za-z0-9_.@+-]{1,80}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipName(String);

impl FromStr for SipName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_.@+-".contains(&byte);
        if (1..=80).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err("use 1 to 80 of A-Z a-z 0-9 _ . @ + -")
        }
    }
}

impl fmt::Display for SipName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A digest realm as the other side names it in its challenge: 1 to 128 printable ASCII characters, none of which ends a quoted text
/// or means something to Asterisk's drivers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Realm(String);

impl FromStr for Realm {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b" _.:,@/+-".contains(&byte);
        if (1..=128).contains(&text.len()) && text.bytes().all(allowed) && text.trim() == text {
            Ok(Self(text.to_owned()))
        } else {
            Err("use 1 to 128 of A-Z a-z 0-9 _ . : , @ / + - and spaces inside")
        }
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod fuzz;
