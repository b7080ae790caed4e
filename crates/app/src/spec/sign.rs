//! `spec sign` and `verify`: whose word a spec is.

use std::path::{Path, PathBuf};

use domain::PathText;
use domain::declared::SpecSigned;
use domain::entry::Act;
use ledger::Store;
use report::view::SpecSignedView;
use trust::ssh::Signature;

use super::file::{NAMESPACE, Signed, read};
use super::{SpecError, disk, load, signature_of};
use crate::acts;
use crate::approve::{self, ApproveError};
use crate::error::AppError;
use crate::place::Surroundings;

/// What is to be signed.
#[derive(Debug, Clone, Default)]
pub struct SignRequest {
    /// The spec.
    pub file: PathBuf,
    /// The key.
    pub key: Option<PathBuf>,
    /// The first key of the agent.
    pub agent: bool,
    /// Sign what was changed since it was signed.
    pub anew: bool,
}

/// Whose key.
pub(super) struct Key<'a> {
    pub(super) file: Option<&'a Path>,
    pub(super) agent: bool,
}

/// Has the user sign a spec, and records it.
pub fn sign(
    surroundings: &Surroundings,
    request: &SignRequest,
) -> Result<SpecSignedView, AppError> {
    let path = surroundings.cwd.join(&request.file);
    let loaded = if request.anew && signature_of(&path).exists() {
        unsigned(surroundings, &path)?
    } else {
        load(surroundings, &path)?
    };
    loaded.declared()?;
    let key = Key {
        file: request.key.as_deref(),
        agent: request.agent,
    };
    let armoured = signed_over(surroundings, &key, &loaded.text)?;
    let beside = signature_of(&path);
    std::fs::write(&beside, &armoured).map_err(disk(&beside))?;
    record(surroundings, &path, &armoured)
}

/// Reads a spec as if nobody had signed it.
fn unsigned(surroundings: &Surroundings, path: &Path) -> Result<super::Loaded, AppError> {
    let beside = signature_of(path);
    let mut aside = beside.clone().into_os_string();
    aside.push(".old");
    std::fs::rename(&beside, &aside).map_err(disk(&beside))?;
    read(surroundings, path)
}

/// The signature over a text, read back before it counts.
pub(super) fn signed_over(
    surroundings: &Surroundings,
    key: &Key<'_>,
    text: &str,
) -> Result<Vec<u8>, AppError> {
    let armoured = approve::sign(
        surroundings,
        (key.file, key.agent),
        NAMESPACE,
        text.as_bytes(),
    )?;
    let signature =
        Signature::parse(&armoured).map_err(|why| ApproveError::Signature(why.into()))?;
    let held = signature.verify(NAMESPACE, text.as_bytes());
    held.map_err(|why| ApproveError::Signature(why.into()))?;
    Ok(armoured)
}

/// Enters in the ledger that a spec was signed.
pub(super) fn record(
    surroundings: &Surroundings,
    path: &Path,
    armoured: &[u8],
) -> Result<SpecSignedView, AppError> {
    let loaded = load(surroundings, path)?;
    let store = Store::open_or_create(&surroundings.store_to_write())?;
    let Signed::By { key, .. } = &loaded.signed else {
        return Err(SpecError::Unsigned {
            path: path.display().to_string(),
        }
        .into());
    };
    let act = SpecSigned {
        name: loaded.spec.name.clone(),
        path: PathText::from(loaded.path.as_path()),
        spec: store.put_blob(loaded.text.as_bytes())?,
        signature: store.put_blob(armoured)?,
        amendments: u32::try_from(loaded.spec.amendment.len()).unwrap_or(u32::MAX),
        why: loaded.spec.amendment.last().map(|last| last.why.clone()),
        key: key.clone(),
        person: crate::run::person(),
    };
    let writer = crate::writing::open(&store, &surroundings.keys()?)?;
    let (log, number) = acts::record(&writer, Act::SpecSigned(Box::new(act)))?;
    Ok(SpecSignedView {
        recorded: Some((log, number)),
        ..view(surroundings, &loaded)
    })
}

/// Whose word a spec is, as this reader believes.
pub fn verify(surroundings: &Surroundings, file: &Path) -> Result<SpecSignedView, AppError> {
    let loaded = load(surroundings, file)?;
    loaded.declared()?;
    if matches!(loaded.signed, Signed::Unsigned) {
        return Err(SpecError::Unsigned {
            path: file.display().to_string(),
        }
        .into());
    }
    Ok(view(surroundings, &loaded))
}

fn view(surroundings: &Surroundings, loaded: &super::Loaded) -> SpecSignedView {
    SpecSignedView {
        schema: "taintline.spec-signed/1",
        spec: surroundings.shown(&loaded.path),
        sha256: loaded.digest(),
        standing: loaded.signed.standing(),
        signed: loaded.signed.words(),
        amendments: loaded.spec.amendment.len() as u64,
        recorded: None,
    }
}
