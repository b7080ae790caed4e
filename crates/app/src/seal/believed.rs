//! Whom to believe: the keys and roots that the user names, else the user's own key, and nobody else.

use std::path::{Path, PathBuf};

use domain::{Digest, Hasher};
use formats::toml_text::check_shape;
use serde::Deserialize;
use trust::certificate::Roots;
use trust::keyfile;
use trust::keys::PublicKey;
use trust::measure::Model;
use trust::pem::MAX_PEM_BYTES;

use super::SealError;
use super::own::{self, EndedKey};
use super::place;
use super::verifying::VerifyRequest;
use crate::place::Surroundings;

/// A key that is believed.
pub(super) struct Friend {
    pub(super) key: PublicKey,
    pub(super) name: Option<String>,
    /// The user's own until then: it vouches for what it sealed before.
    pub(super) ended: Option<EndedKey>,
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
            if let Ok(keys) = surroundings.keys() {
                all.add_own(&keys)?;
            }
        }
        Ok(all)
    }

    /// One value over everybody: another answer for another circle of friends.
    pub(super) fn fingerprint(&self) -> Digest {
        let mut all = Hasher::new();
        for friend in &self.keys {
            all.update(Digest::of(&friend.key.to_spki()).as_bytes());
            // The name is part of the answer. No name is not the empty one.
            let name = friend.name.as_deref();
            all.update(
                &name
                    .map_or(u64::MAX, |name| name.len() as u64)
                    .to_le_bytes(),
            );
            all.update(name.unwrap_or_default().as_bytes());
            let ended = friend.ended.as_ref();
            all.update(ended.map_or(&[0; 32], |ended| ended.list.as_bytes()));
        }
        all.update(self.roots.fingerprint().as_bytes());
        all.finish()
    }

    /// The user's own key, and those that were it.
    fn add_own(&mut self, keys: &Path) -> Result<(), SealError> {
        let current = own::path(keys);
        if current.exists() {
            self.keys.push(Friend {
                key: keyfile::read_private(&current)?.public().clone(),
                name: Some("your own".to_owned()),
                ended: None,
            });
        }
        for ended in own::ended(keys)? {
            if let Some(key) = ended.key() {
                self.keys.push(Friend {
                    key,
                    name: Some(format!("your own until {}", ended.at())),
                    ended: Some(ended),
                });
            }
        }
        Ok(())
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
        self.keys.push(Friend {
            key,
            name,
            ended: None,
        });
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
        check_shape(&text).map_err(|why| SealError::TrustShape {
            path: path.into(),
            why,
        })?;
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

/// A small file that does not lie in the model, by whatever way it is reached: who made the folder has no say in which file
/// is read.
fn read(path: &Path, model: &Model) -> Result<Vec<u8>, SealError> {
    if place::leads_through(path, model) {
        return Err(SealError::Inside { path: path.into() });
    }
    Ok(keyfile::read(path, MAX_PEM_BYTES)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use trust::keys::{Curve, PrivateKey};

    #[test]
    fn another_name_of_a_friend_is_another_answer() {
        let keys = [(); 2].map(|()| PrivateKey::generate(Curve::P256).unwrap().public().clone());
        let of = |names: [Option<&str>; 2]| {
            let friend = |(key, name): (&PublicKey, Option<&str>)| Friend {
                key: key.clone(),
                name: name.map(str::to_owned),
                ended: None,
            };
            let all = Believed {
                keys: keys.iter().zip(names).map(friend).collect(),
                roots: Roots::default(),
                named: true,
            };
            all.fingerprint()
        };
        let mut all = vec![
            of([Some("ada"), None]),
            of([Some("eve"), None]),
            of([None, Some("ada")]),
            of([None, None]),
            of([Some(""), None]),
        ];
        assert_eq!(all[0], of([Some("ada"), None]));
        all.sort_by_key(|it| *it.as_bytes());
        all.dedup();
        assert_eq!(all.len(), 5);
    }
}
