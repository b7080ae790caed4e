//! What the user has settled for all projects: whom to believe, and who witnesses.
//!
//! Read from the user's own configuration folder and from nowhere else: whoever can write into a project must not be able
//! to say whose signatures count there. A file that cannot be understood is an error and never passed over.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use formats::toml_text::check_shape;
use serde::{Deserialize, Deserializer};

use crate::place::Surroundings;

/// The most bytes that the file may have.
const MAX_BYTES: u64 = 1 << 20;

/// The user's `taintline.toml`. Paths in it are relative to its folder.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whom to believe.
    pub trust: Trust,
    /// The ledger.
    pub ledger: Ledger,
    /// How runs are recorded.
    pub record: Record,
    /// What runs are held against.
    pub spec: Spec,
}

/// `[ledger]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ledger {
    /// Who witnesses, and how many must: a policy file (C2SP tlog-policy).
    pub witnesses: Option<PathBuf>,
    /// How long a run waits between two questions to them.
    #[serde(deserialize_with = "span")]
    pub witness_every: Duration,
    /// How old an entry may be that no quorum of them has cosigned.
    #[serde(deserialize_with = "span")]
    pub witness_patience: Duration,
    /// The time stamping authority that is asked at the end of each run, a URL.
    pub tsa: Option<String>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            witnesses: None,
            witness_every: Duration::from_secs(30),
            witness_patience: Duration::from_hours(1),
            tsa: None,
        }
    }
}

/// A number and `s`, `m`, `h` or `d`; from a second to a year.
fn span<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_span(&text).ok_or_else(|| {
        serde::de::Error::custom("a time is a number and s, m, h or d, from \"1s\" to \"365d\"")
    })
}

fn parse_span(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return None,
    };
    if !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<u64>().ok()?.checked_mul(seconds)?;
    (1..=365 * 86_400)
        .contains(&seconds)
        .then(|| Duration::from_secs(seconds))
}

/// `[trust]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Trust {
    /// Whose SSH key is whose, in OpenSSH's form (ssh-keygen(1), ALLOWED SIGNERS).
    pub allowed_signers: Option<PathBuf>,
    /// SSH keys that were taken back: public keys, one a line, or an OpenSSH KRL.
    pub revoked_keys: Option<PathBuf>,
    /// Roots of time stamping authorities, PEM.
    pub time_roots: Option<PathBuf>,
}

/// `[spec]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Spec {
    /// The spec of every run.
    pub file: Option<PathBuf>,
    /// A folder of specs: that for the command is used, where there is one.
    pub folder: Option<PathBuf>,
}

/// `[record]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Record {
    /// After how many seconds without an entry a sign of life is written, 1 to 3600.
    ///
    /// Thirty: three of them are the shortest silence that is told, and a minute and a half is less than it takes to change
    /// a file by hand and to put it back; a quiet run of a week costs 20,000 entries of 300 bytes, one sync each.
    #[serde(deserialize_with = "interval")]
    pub heartbeat_seconds: u32,
    /// At how many positions of the model each step is rechecked, 0 to 4096; 0 rechecks nothing.
    ///
    /// Sixty-four: a few KB a step in the ledger, and what touches a tenth of the model is missed by one step in 800.
    #[serde(deserialize_with = "positions")]
    pub recheck_positions: u32,
    /// How many GiB of the newest checkpoints are held while a run is going, 0 to 65536; 0 holds none.
    ///
    /// Sixteen: two checkpoints of a model of half a billion parameters with Adam's state.
    #[serde(deserialize_with = "gibibytes")]
    pub keep_gib: u32,
}

impl Default for Record {
    fn default() -> Self {
        Self {
            heartbeat_seconds: 30,
            recheck_positions: 64,
            keep_gib: 16,
        }
    }
}

fn interval<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let seconds = u32::deserialize(from)?;
    if (1..=3600).contains(&seconds) {
        return Ok(seconds);
    }
    Err(serde::de::Error::custom("heartbeat_seconds is 1 to 3600"))
}

fn positions<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(from)?;
    if count <= 4096 {
        return Ok(count);
    }
    Err(serde::de::Error::custom("recheck_positions is 0 to 4096"))
}

fn gibibytes<'de, D: serde::Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let count = u32::deserialize(from)?;
    if count <= 65_536 {
        return Ok(count);
    }
    Err(serde::de::Error::custom("keep_gib is 0 to 65536"))
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
    /// Longer than any settings.
    #[error("{}: these settings are longer than {MAX_BYTES} bytes", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
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
    /// `TAINTLINE_CONFIG`, else `taintline/taintline.toml` in the user's configuration folder. No file
    /// there: nothing settled; a file that is named must be there.
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
            Err(error)
                if error.kind() == std::io::ErrorKind::NotFound && !surroundings.settings_named =>
            {
                return Ok(Self::default());
            }
            Err(error) => return Err(read(error)),
        };
        let mut text = String::new();
        file.take(MAX_BYTES + 1)
            .read_to_string(&mut text)
            .map_err(read)?;
        if text.len() as u64 > MAX_BYTES {
            return Err(SettingsError::TooLong { path: path.clone() });
        }
        check_shape(&text).map_err(|error| SettingsError::Syntax {
            path: path.clone(),
            why: error.to_string(),
        })?;
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
            time_roots,
        } = &mut self.trust;
        let witnesses = &mut self.ledger.witnesses;
        let Spec {
            file,
            folder: specs,
        } = &mut self.spec;
        for path in [
            allowed_signers,
            revoked_keys,
            time_roots,
            witnesses,
            file,
            specs,
        ]
        .into_iter()
        .flatten()
        {
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
    fn times_have_a_unit_and_bounds() {
        let of = |text: &str| {
            load(&format!("[ledger]\nwitness_every = \"{text}\"")).map(|it| it.ledger.witness_every)
        };
        for (text, seconds) in [
            ("1s", 1),
            ("90s", 90),
            ("2m", 120),
            ("1h", 3600),
            ("365d", 31_536_000),
        ] {
            assert_eq!(of(text).unwrap(), Duration::from_secs(seconds));
        }
        for text in [
            "",
            "s",
            "0s",
            "5",
            "-1s",
            "+1s",
            "1.5h",
            "366d",
            "1w",
            "1 s",
            "99999999999999999999d",
            "5é",
        ] {
            assert!(of(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_word_that_is_not_known_is_an_error_and_not_passed_over() {
        let error = load("[trust]\nalowed_signers = \"x\"")
            .unwrap_err()
            .to_string();
        assert!(error.contains("alowed_signers"), "{error}");
    }

    #[test]
    fn an_interval_that_would_hide_a_silence_or_flood_the_log_is_an_error() {
        let settings = load("[record]\nheartbeat_seconds = 60").unwrap();
        assert_eq!(settings.record.heartbeat_seconds, 60);
        for bad in ["0", "3601", "-1", "\"30\""] {
            assert!(
                load(&format!("[record]\nheartbeat_seconds = {bad}")).is_err(),
                "{bad}"
            );
        }
    }

    #[test]
    fn no_file_settles_nothing() {
        let surroundings = Surroundings {
            settings: Some(PathBuf::from("/nowhere/taintline.toml")),
            ..Surroundings::default()
        };
        assert_eq!(Settings::load(&surroundings).unwrap(), Settings::default());
        let named = Surroundings {
            settings_named: true,
            ..surroundings
        };
        let error = Settings::load(&named).unwrap_err().to_string();
        assert!(error.contains("/nowhere/taintline.toml"), "{error}");
    }

    #[test]
    fn settings_that_are_too_long_are_an_error_and_not_cut() {
        let line = "[trust]\nallowed_signers = \"a\"\n";
        let padded = |bytes: u64| {
            let padding = usize::try_from(bytes).unwrap() - line.len();
            load(&format!("{line}{}", "#".repeat(padding)))
        };
        assert!(padded(MAX_BYTES).unwrap().trust.allowed_signers.is_some());
        let error = padded(MAX_BYTES + 1).unwrap_err();
        assert!(matches!(error, SettingsError::TooLong { .. }), "{error}");
    }
}
