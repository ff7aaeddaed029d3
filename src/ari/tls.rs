//! What is wrong with another side's TLS, whoever that is.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use chrono::DateTime;
use rustls::CertificateError;

/// Why another side's TLS could not be accepted. Nothing was sent then, and it does not mend itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TlsFault {
    /// Nobody whom this host trusts has signed the certificate.
    Untrusted,
    /// It is over; since when, where that is known.
    Expired(Option<String>),
    /// It begins later.
    NotYet,
    /// It is for other names than the one in the URL; which.
    WrongName(Vec<String>),
    /// It is a certification authority's own.
    Authority,
    /// What listens there does not speak TLS.
    NoTls,
    /// Anything else, in the library's words.
    Other(String),
}

impl fmt::Display for TlsFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Untrusted => f.write_str("its certificate is not trusted: signed by nobody whom this host knows"),
            Self::Expired(None) => f.write_str("its certificate has expired"),
            Self::Expired(Some(when)) => write!(f, "its certificate has expired: it was good until {when}"),
            Self::NotYet => f.write_str("its certificate is not valid yet (by this host's clock)"),
            Self::WrongName(names) if names.is_empty() => {
                f.write_str("its certificate is for another name: it has no subjectAltName at all")
            }
            Self::WrongName(names) => write!(f, "its certificate is for another name: for {}", names.join(", ")),
            Self::Authority => f.write_str("its certificate is that of a certification authority, not of a server"),
            Self::NoTls => f.write_str("what listens there does not speak TLS"),
            Self::Other(text) => write!(f, "its certificate or TLS cannot be accepted: {text}"),
        }
    }
}

/// What TLS had to say, wherever it stands in a chain of errors.
#[must_use]
pub fn fault(error: &(dyn StdError + 'static)) -> Option<TlsFault> {
    let mut at = Some(error);
    while let Some(error) = at {
        if let Some(found) = error.downcast_ref::<rustls::Error>() {
            return Some(read(found));
        }
        // An I/O error says what is inside the one that it wraps, not that itself.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| fault(inner)) {
            return Some(found);
        }
        at = error.source();
    }
    None
}

fn read(error: &rustls::Error) -> TlsFault {
    match error {
        rustls::Error::InvalidCertificate(why) => of_certificate(why),
        rustls::Error::InvalidMessage(_) => TlsFault::NoTls,
        other => TlsFault::Other(other.to_string()),
    }
}

fn of_certificate(why: &CertificateError) -> TlsFault {
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => TlsFault::Untrusted,
        CertificateError::Expired => TlsFault::Expired(None),
        CertificateError::ExpiredContext { not_after, .. } => {
            let seconds = i64::try_from(not_after.as_secs()).ok();
            let when = seconds.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
            TlsFault::Expired(when.map(|when| when.format("%Y-%m-%d %H:%M:%S UTC").to_string()))
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => TlsFault::NotYet,
        CertificateError::NotValidForName => TlsFault::WrongName(Vec::new()),
        CertificateError::NotValidForNameContext { presented, .. } => TlsFault::WrongName(presented.clone()),
        // The library has no variant of its own for it.
        other if format!("{other:?}").contains("CaUsedAsEndEntity") => TlsFault::Authority,
        other => TlsFault::Other(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_found_inside_of_other_errors() {
        let wrapped = |error| io::Error::other(io::Error::new(io::ErrorKind::InvalidData, error));
        for (error, fault_of_it) in [
            (rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer), TlsFault::Untrusted),
            (rustls::Error::InvalidCertificate(CertificateError::NotValidForName), TlsFault::WrongName(Vec::new())),
            (rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType), TlsFault::NoTls),
        ] {
            assert_eq!(fault(&wrapped(error)), Some(fault_of_it));
        }
        assert_eq!(fault(&io::Error::other("no TLS in it")), None);
    }
}
