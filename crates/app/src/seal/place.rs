//! Where signatures lie: in a folder beside what they sign, under names that the signature itself leaves out.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use trust::measure::Model;
use trust::name::Name;

use super::SealError;

/// The two files.
pub(crate) struct Files {
    /// The model signature.
    pub(crate) bundle: PathBuf,
    /// The seal.
    pub(crate) seal: PathBuf,
}

impl Files {
    /// `model.sig` and `model.seal` in a folder, `NAME.sig` and `NAME.seal` beside a file, or what the user named.
    pub(crate) fn of(model: &Model, named: Option<&Path>) -> Self {
        let (bundle, seal) = match (named, model.single()) {
            (Some(named), _) if named.extension().is_some_and(|it| it == "sig") => {
                (named.to_owned(), named.with_extension("seal"))
            }
            (Some(named), _) => (named.to_owned(), with(named, ".seal")),
            (None, None) => {
                let at = |name| model.path().join(name);
                (at("model.sig"), at("model.seal"))
            }
            (None, Some(_)) => (with(model.path(), ".sig"), with(model.path(), ".seal")),
        };
        Self { bundle, seal }
    }

    /// Their names in the model's folder, where they lie there.
    pub(crate) fn inside(&self, model: &Model) -> Vec<Name> {
        let all = [&self.bundle, &self.seal];
        all.into_iter()
            .filter_map(|file| name_inside(model, file))
            .collect()
    }
}

fn with(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// The name that `path` has in the model's folder; `None` where it lies elsewhere. It need not exist.
pub(crate) fn name_inside(model: &Model, path: &Path) -> Option<Name> {
    if model.single().is_some() {
        return None;
    }
    let path = std::path::absolute(path).ok()?;
    let folder = path.parent()?.canonicalize().ok()?;
    let below = folder.strip_prefix(model.path()).ok()?;
    let name = below.join(path.file_name()?);
    Name::new(name.to_str()?).ok()
}

/// Puts `bytes` under `path` whole or not at all. What is there already must be a signature too.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), SealError> {
    let failed = |source| SealError::Write {
        path: path.to_owned(),
        source,
    };
    if !may_replace(path) {
        return Err(SealError::Occupied {
            path: path.to_owned(),
        });
    }
    let temporary = with(path, &format!(".new-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .open(&temporary)
        .map_err(failed)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    let written = written.and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // What is left of it has a name of its own and is no signature.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

/// Whether nothing is there, or an older signature.
pub(crate) fn may_replace(path: &Path) -> bool {
    let Ok(facts) = std::fs::symlink_metadata(path) else {
        return true;
    };
    facts.is_file() && (facts.len() == 0 || is_signature(path))
}

fn is_signature(path: &Path) -> bool {
    use std::io::Read as _;
    use trust::statement::MAX_STATEMENT_BYTES;
    let mut first = [0; 1];
    // A look at the first byte spares reading a checkpoint whose name was typed by mistake.
    let begun = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut first));
    if begun.is_err() || first != *b"{" {
        return false;
    }
    let Ok(bytes) = trust::keyfile::read(path, 64 * MAX_STATEMENT_BYTES) else {
        return false;
    };
    let limit = bytes.len() as u64;
    let is_envelope = trust::strict::from_slice::<trust::envelope::Envelope>(&bytes, limit).is_ok();
    is_envelope || trust::oms::Bundle::parse(&bytes, limit).is_ok()
}
