//! What the user has settled for all projects: whom to believe, and who witnesses.
//!
//! Read from the user's own configuration folder and from nowhere else: whoever can write into a project must not be able
//! to say whose signatures count there. A file that cannot be understood is an error and never passed over.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::place::Surroundings;

/// The most bytes that the file may have.
const MAX_BYTES: u64 = 1 << 20;

/// The user's `taintline.toml`. Paths in it are relative to its folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whom to believe.
    pub trust: Trust,
}

/// `[trust]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// Whose SSH key is whose, in OpenSSH's form (ssh-keygen(1), ALLOWED SIGNERS).
    pub allowed_signers: Option<PathBuf>,
    /// SSH keys that were taken back: public keys, one a line, or an OpenSSH KRL.
    pub revoked_keys: Option<PathBuf>,
}

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The disk refused.
    #[error("{}: the settings cannot be read: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not settings.
    #[error("{}: these settings cannot be understood: {why}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        why: String,
    },
}

impl Settings {
    /// `TAINTLINE_CONFIG`, else `taintline/taintline.toml` in the user's configuration folder. No file: nothing settled.
    pub fn load(surroundings: &Surroundings) -> Result<Self, SettingsError> {
        let Some(path) = &surroundings.settings else {
            return Ok(Self::default());
        };
        let read = |source| SettingsError::Read {
            path: path.clone(),
            source,
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(read(error)),
        };
        let mut text = String::new();
        file.take(MAX_BYTES)
            .read_to_string(&mut text)
            .map_err(read)?;
        let parsed: Result<Self, _> = toml::from_str(&text);
        let mut settings = parsed.map_err(|error| SettingsError::Syntax {
            path: path.clone(),
            why: error.to_string(),
        })?;
        settings.resolve(path.parent().unwrap_or(Path::new("/")));
        Ok(settings)
    }

    fn resolve(&mut self, folder: &Path) {
        let Trust {
            allowed_signers,
            revoked_keys,
        } = &mut self.trust;
        for path in [allowed_signers, revoked_keys].into_iter().flatten() {
            *path = folder.join(&*path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Settings, SettingsError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("taintline.toml");
        std::fs::write(&path, text).unwrap();
        Settings::load(&Surroundings {
            settings: Some(path),
            ..Surroundings::default()
        })
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let settings =
            load("[trust]\nallowed_signers = \"team/allowed\"\nrevoked_keys = \"/etc/gone\"")
                .unwrap();
        let path = settings.trust.allowed_signers.unwrap();
        assert!(
            path.is_absolute() && path.ends_with("team/allowed"),
            "{path:?}"
        );
        assert_eq!(
            settings.trust.revoked_keys,
            Some(PathBuf::from("/etc/gone"))
        );
    }

    #[test]
    fn a_word_that_is_not_known_is_an_error_and_not_passed_over() {
        let error = load("[trust]\nalowed_signers = \"x\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("alowed_signers"), "{error}");
    }

    #[test]
    fn no_file_settles_nothing() {
        let surroundings = Surroundings {
            settings: Some(PathBuf::from("/nowhere/taintline.toml")),
            ..Surroundings::default()
        };
        assert_eq!(Settings::load(&surroundings).unwrap(), Settings::default());
    }
}
