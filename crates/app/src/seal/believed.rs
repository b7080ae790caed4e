//! Whom to believe: the keys and roots that the user names, else the user's own key, and nobody else.

use std::path::{Path, PathBuf};

use domain::{Digest, Hasher};
use serde::Deserialize;
use trust::certificate::Roots;
use trust::keyfile;
use trust::keys::PublicKey;
use trust::measure::Model;
use trust::pem::MAX_PEM_BYTES;

use super::SealError;
use super::making::OWN_KEY;
use super::verifying::VerifyRequest;
use crate::place::Surroundings;

/// A key that is believed.
pub(super) struct Friend {
    pub(super) key: PublicKey,
    pub(super) name: Option<String>,
}

/// Who is believed.
pub(super) struct Believed {
    pub(super) keys: Vec<Friend>,
    pub(super) roots: Roots,
    /// The user named somebody; else it is his own key, if he has one.
    pub(super) named: bool,
}

/// A file that says whom to trust. Paths are relative to it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrustFile {
    #[serde(default)]
    key: Vec<Named>,
    #[serde(default)]
    root: Vec<Named>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    file: PathBuf,
    #[serde(default)]
    name: Option<String>,
}

impl Believed {
    /// Reads all that the user named; none of it may lie in the model.
    pub(super) fn resolve(
        surroundings: &Surroundings,
        request: &VerifyRequest,
        model: &Model,
    ) -> Result<Self, SealError> {
        let mut all = Self {
            keys: Vec::new(),
            roots: Roots::default(),
            named: true,
        };
        let at = |path: &PathBuf| surroundings.cwd.join(path);
        for path in &request.keys {
            all.add_key(&at(path), None, model)?;
        }
        for path in &request.roots {
            all.add_roots(&at(path), model)?;
        }
        if let Some(path) = &request.trust {
            all.add_file(&at(path), model)?;
        }
        if all.keys.is_empty() && all.roots.is_empty() {
            all.named = false;
            let own = surroundings.keys().ok().map(|keys| keys.join(OWN_KEY));
            if let Some(own) = own.filter(|path| path.exists()) {
                let key = keyfile::read_private(&own)?.public().clone();
                let name = Some("your own".to_owned());
                all.keys.push(Friend { key, name });
            }
        }
        Ok(all)
    }

    /// One value over everybody: another answer for another circle of friends.
    pub(super) fn fingerprint(&self) -> Digest {
        let mut all = Hasher::new();
        for friend in &self.keys {
            all.update(Digest::of(&friend.key.to_spki()).as_bytes());
        }
        all.update(self.roots.fingerprint().as_bytes());
        all.finish()
    }

    fn add_key(
        &mut self,
        path: &Path,
        name: Option<String>,
        model: &Model,
    ) -> Result<(), SealError> {
        let text = read(path, model)?;
        let key = PublicKey::from_pem(&text).map_err(|why| SealError::Key {
            path: path.into(),
            why,
        })?;
        self.keys.push(Friend { key, name });
        Ok(())
    }

    fn add_roots(&mut self, path: &Path, model: &Model) -> Result<(), SealError> {
        let text = read(path, model)?;
        let roots = Roots::from_pem(&text).map_err(|why| SealError::Certificates {
            path: path.into(),
            why,
        })?;
        self.roots.extend(roots);
        Ok(())
    }

    fn add_file(&mut self, path: &Path, model: &Model) -> Result<(), SealError> {
        let bytes = read(path, model)?;
        let text = String::from_utf8_lossy(&bytes);
        let file: TrustFile = toml::from_str(&text).map_err(|why| SealError::Trust {
            path: path.into(),
            why,
        })?;
        let folder = path.parent().unwrap_or(Path::new("."));
        for Named { file, name } in file.key {
            self.add_key(&folder.join(file), name, model)?;
        }
        for Named { file, .. } in file.root {
            self.add_roots(&folder.join(file), model)?;
        }
        Ok(())
    }
}

/// A small file that does not lie in the model.
fn read(path: &Path, model: &Model) -> Result<Vec<u8>, SealError> {
    let bytes = keyfile::read(path, MAX_PEM_BYTES)?;
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if place.starts_with(model.path()) {
        return Err(SealError::Inside { path: path.into() });
    }
    Ok(bytes)
}
