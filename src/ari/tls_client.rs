//! TLS towards a node: whose certificates are trusted.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};

use super::settings::{Settings, is_https};

/// TLS for a node: `None` where its URL needs none, so that a machine without any certificates can use plain HTTP.
///
/// # Errors
/// The key that is wrong, and what is to be done.
pub(super) fn client(node: &Settings) -> Result<Option<Arc<ClientConfig>>, (&'static str, String)> {
    if !is_https(&node.url) {
        return Ok(None);
    }
    let roots = match &node.ca_file {
        Some(path) => from_file(path).map_err(|reason| ("ca_file", reason))?,
        None => of_the_system().map_err(|reason| ("url", reason))?,
    };
    trusting(roots).map(|config| Some(Arc::new(config))).map_err(|reason| ("url", reason))
}

/// TLS that trusts nobody, for clients that are never asked for any: the HTTP library would look for the system's certificates otherwise.
pub(super) fn unused() -> Result<ClientConfig, String> {
    trusting(RootCertStore::empty())
}

fn trusting(roots: RootCertStore) -> Result<ClientConfig, String> {
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().map_err(|error| error.to_string())?;
    Ok(config.with_root_certificates(roots).with_no_client_auth())
}

fn from_file(path: &Path) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| format!("cannot be read: {error}"))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| format!("is no PEM file: {error}"))?;
        roots.add(certificate).map_err(|error| format!("holds what is no usable certificate: {error}"))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate: name a PEM file (-----BEGIN CERTIFICATE-----)".to_owned());
    }
    Ok(roots)
}

fn of_the_system() -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        return Err("https needs certificates to trust, and this machine has none: install the package ca-certificates, or let ca_file \
                    name a PEM file with the one that signed the node's"
            .to_owned());
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::ari::settings::Transport;

    fn node(url: &str, ca_file: Option<&Path>) -> Settings {
        Settings {
            name: "pbx".to_owned(),
            url: url.to_owned(),
            ca_file: ca_file.map(Path::to_path_buf),
            user: String::new(),
            password: String::new().into(),
            apps: vec!["app".to_owned()],
            transport: Transport::Auto,
            request_timeout: Duration::from_secs(1),
            metrics_prefix: "",
        }
    }

    #[test]
    fn plain_http_needs_no_certificates_and_https_says_what_is_wrong_with_its_file() {
        assert!(client(&node("http://127.0.0.1:8088", None)).unwrap().is_none());
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let https = node("https://localhost:8089", Some(&file));
        let refused = || client(&https).expect_err("no certificates");
        assert!(refused().0 == "ca_file" && refused().1.contains("cannot be read"), "{}", refused().1);
        for (text, part) in [
            ("", "holds no certificate"),
            ("-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", "no PEM file"),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "no usable certificate"),
        ] {
            std::fs::write(&file, text).unwrap();
            assert!(refused().1.contains(part), "{text:?}: {}", refused().1);
        }
    }
}
