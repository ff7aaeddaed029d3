//! Certificates for a test's Asterisk, made by `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A certification authority, in a folder of its own.
#[derive(Debug)]
pub(crate) struct Authority {
    folder: PathBuf,
}

impl Authority {
    /// Makes one in `folder`, which Asterisk can read.
    pub(crate) fn new(folder: PathBuf) -> Self {
        let authority = Self { folder };
        openssl(
            &authority.folder,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout ca.key -out ca.pem -subj /CN=Test -days 2 -addext basicConstraints=critical,CA:TRUE",
        );
        authority
    }

    /// Its own certificate: what a controller is told to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A server's certificate and key in one file: for `names` (as `DNS:localhost`), good for so many days from now on.
    pub(crate) fn sign(&self, file: &str, names: &str, days: i32) -> PathBuf {
        let extensions = format!("subjectAltName={names}\nbasicConstraints=CA:FALSE\n");
        std::fs::write(self.folder.join("extensions"), extensions).expect("the test's folder takes a file");
        openssl(
            &self.folder,
            "req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out request.pem -subj /CN=localhost",
        );
        openssl(
            &self.folder,
            &format!(
                "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days {days} -extfile extensions -out signed.pem"
            ),
        );
        let part = |name: &str| std::fs::read_to_string(self.folder.join(name)).expect("openssl wrote it");
        let path = self.folder.join(file);
        std::fs::write(&path, part("signed.pem") + &part("key.pem")).expect("the test's folder takes a file");
        path
    }
}

fn openssl(folder: &Path, arguments: &str) {
    let made = Command::new("openssl").args(arguments.split(' ')).current_dir(folder).output();
    let made = made.unwrap_or_else(|error| panic!("cannot run openssl: {error}; run `just setup`"));
    assert!(made.status.success(), "openssl {arguments}: {}", String::from_utf8_lossy(&made.stderr));
}
