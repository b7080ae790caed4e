//! A time stamping authority in a folder: `openssl ts` with a root of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const CONFIGURATION: &str = "
[req]
distinguished_name = name
prompt = no
[name]
CN = an authority
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[tsa]
basicConstraints = CA:FALSE
extendedKeyUsage = critical, timeStamping
[here]
serial = serial
crypto_device = builtin
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
";

/// The authority.
pub(crate) struct Authority(tempfile::TempDir);

impl Authority {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("cnf"), CONFIGURATION).unwrap();
        let made = Self(folder);
        for command in [
            "req -config cnf -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 9 -extensions ca -subj /CN=root",
            "req -config cnf -new -newkey rsa:2048 -nodes -keyout tsa.key -out tsa.csr",
            "x509 -req -in tsa.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out tsa.pem -days 9 -extfile cnf -extensions tsa",
        ] {
            assert!(made.openssl(command), "{command}");
        }
        made
    }

    /// The root, PEM.
    pub(crate) fn root(&self) -> PathBuf {
        self.0.path().join("ca.pem")
    }

    /// A file beside the authority.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Answers a request.
    pub(crate) fn answer(&self, request: &Path, answer: &Path) {
        let words = "ts -reply -config cnf -section here -signer tsa.pem -inkey tsa.key";
        let status = Command::new("openssl")
            .args(words.split_whitespace())
            .arg("-queryfile")
            .arg(request)
            .arg("-out")
            .arg(answer)
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success());
    }

    /// Runs OpenSSL in the folder.
    pub(crate) fn openssl(&self, command: &str) -> bool {
        let status = Command::new("openssl")
            .args(command.split_whitespace())
            .current_dir(&self.0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        status.unwrap().success()
    }
}
