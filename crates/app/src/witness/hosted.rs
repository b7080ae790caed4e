//! Being a witness: the keys, and the logs that are witnessed.

use std::path::Path;

use ledger::note::VerifierKey;
use ledger::witness::Witness;
use report::witness::WitnessKeysView;

use super::{WitnessFault, read_file};
use crate::error::AppError;
use crate::evidence::read_key;
use crate::place::Surroundings;

/// The most bytes of a list of logs.
const MAX_LIST_BYTES: u64 = 4 << 20;

/// The public keys of the witness in a folder; with a name they are made where they are missing.
pub fn keys(
    surroundings: &Surroundings,
    folder: &Path,
    name: Option<&str>,
) -> Result<WitnessKeysView, AppError> {
    let folder = surroundings.cwd.join(folder);
    let keys = ledger::witness::keys(&folder, name).map_err(WitnessFault::Own)?;
    let shown = keys
        .iter()
        .map(|key| (key.encode(), key.algorithm().to_string()));
    Ok(WitnessKeysView {
        schema: "taintline.witness-keys/1",
        keys: shown.collect(),
    })
}

/// Opens the witness in a folder for logs whose keys are given as text or as files, and for those that a list has: one
/// key a line, also behind the word `log` as in a policy; `#` begins a comment.
pub fn open(
    surroundings: &Surroundings,
    folder: &Path,
    logs: &[String],
    list: Option<&Path>,
) -> Result<Witness, AppError> {
    let mut keys = Vec::new();
    for given in logs {
        keys.push(read_key(surroundings, given)?);
    }
    if let Some(list) = list {
        keys.extend(read_list(&surroundings.cwd.join(list))?);
    }
    if keys.is_empty() {
        return Err(WitnessFault::NoLogs.into());
    }
    let folder = surroundings.cwd.join(folder);
    Ok(Witness::open(&folder, &keys).map_err(WitnessFault::Own)?)
}

fn read_list(path: &Path) -> Result<Vec<VerifierKey>, WitnessFault> {
    let bytes = read_file(path, MAX_LIST_BYTES)?;
    let text = String::from_utf8_lossy(&bytes);
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let mut words = line.split_ascii_whitespace().peekable();
        words.next_if_eq(&"log");
        let Some(key) = words.next().filter(|word| !word.starts_with('#')) else {
            continue;
        };
        let key = VerifierKey::parse(key).map_err(|_| WitnessFault::Logs {
            path: path.to_owned(),
            line: at + 1,
        })?;
        keys.push(key);
    }
    Ok(keys)
}
