//! `ssh-keygen -Y sign`, as the user would call it: her keys, her agent, her token, her passphrase.
//!
//! The program is taken from the PATH of the shell that `taintline` was started from, with fixed arguments. The message goes
//! through a private folder and not through standard input, which stays the terminal: a passphrase is asked for there.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::ApproveError;
use crate::place::Surroundings;
use trust::keyfile;
use trust::ssh::MAX_SIGNATURE_BYTES;

/// Keys of OpenSSH, in the order in which one is taken.
const KEYS: &[&str] = &[
    "id_ed25519",
    "id_ecdsa",
    "id_rsa",
    "id_ed25519_sk",
    "id_ecdsa_sk",
];

/// The armoured signature over `message` for a purpose; with `key`, else with the first of the agent, else with the user's own.
pub(crate) fn sign(
    surroundings: &Surroundings,
    (key, agent): (Option<&Path>, bool),
    namespace: &str,
    message: &[u8],
) -> Result<Vec<u8>, ApproveError> {
    let folder = Private::new(surroundings)?;
    let key = match (key, agent) {
        (Some(key), _) => surroundings.cwd.join(key),
        (None, true) => first_of_the_agent(&folder)?,
        (None, false) => own(surroundings)?,
    };
    let file = folder.write("message", message)?;
    let mut command = Command::new("ssh-keygen");
    let command = command.args(["-q", "-Y", "sign", "-n", namespace, "-f"]);
    let status = command.arg(&key).arg(&file).stdout(Stdio::null()).status();
    let failed = |why: String| ApproveError::Program {
        program: "ssh-keygen",
        why,
    };
    let status = status.map_err(|error| failed(format!("it cannot be started: {error}")))?;
    if !status.success() {
        return Err(failed(format!("it did not sign ({status})")));
    }
    let signature = folder.path.join("message.sig");
    keyfile::read(&signature, MAX_SIGNATURE_BYTES as u64).map_err(|why| failed(why.to_string()))
}

fn own(surroundings: &Surroundings) -> Result<PathBuf, ApproveError> {
    let home = surroundings
        .variables
        .iter()
        .find(|(name, _)| name == "HOME");
    let folder = home.map(|(_, home)| Path::new(home).join(".ssh"));
    let folder = folder.unwrap_or_else(|| PathBuf::from(".ssh"));
    let mut keys = KEYS.iter().map(|name| folder.join(name));
    keys.find(|key| key.is_file())
        .ok_or_else(|| ApproveError::NoKey {
            folder: folder.display().to_string(),
        })
}

/// The public key that the agent names first; `ssh-keygen` asks the agent for its private half.
fn first_of_the_agent(folder: &Private) -> Result<PathBuf, ApproveError> {
    let failed = |why: String| ApproveError::Program {
        program: "ssh-add -L",
        why,
    };
    let mut command = Command::new("ssh-add");
    let output = command.arg("-L").stdin(Stdio::null()).output();
    let output = output.map_err(|error| failed(format!("it cannot be started: {error}")))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    match text.lines().next().filter(|_| output.status.success()) {
        Some(key) => folder.write("key.pub", format!("{key}\n").as_bytes()),
        None => Err(failed(
            "the agent has no key, or there is no agent".to_owned(),
        )),
    }
}

/// A folder that nobody else can look into, removed in the end.
struct Private {
    path: PathBuf,
}

impl Private {
    fn new(surroundings: &Surroundings) -> Result<Self, ApproveError> {
        let mut random = [0; 16];
        let path = match getrandom::fill(&mut random) {
            Ok(()) => surroundings
                .runtime
                .join(format!("taintline-{:032x}", u128::from_le_bytes(random))),
            Err(_) => surroundings.runtime.clone(),
        };
        // It must be new: what somebody else has put there is not used.
        let made = std::fs::DirBuilder::new().mode(0o700).create(&path);
        made.map_err(|source| ApproveError::Disk {
            path: path.clone(),
            source,
        })?;
        Ok(Self { path })
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, ApproveError> {
        let path = self.path.join(name);
        match std::fs::write(&path, bytes) {
            Ok(()) => Ok(path),
            Err(source) => Err(ApproveError::Disk { path, source }),
        }
    }
}

impl Drop for Private {
    fn drop(&mut self) {
        // What stays is a statement that is in the store as well.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
