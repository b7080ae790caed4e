//! Where things are: the store, the private keys, the sensor that goes with this binary.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ledger::Store;

/// What the environment says about places; read once, at the door.
#[derive(Debug, Clone, Default)]
pub struct Surroundings {
    /// Working directory.
    pub cwd: PathBuf,
    /// `--store`, else `TAINTLINE_STORE`.
    pub store: Option<PathBuf>,
    /// `XDG_DATA_HOME`, else `~/.local/share`.
    pub data_home: Option<PathBuf>,
    /// `XDG_CACHE_HOME`, else `~/.cache`.
    pub cache_home: Option<PathBuf>,
    /// `TAINTLINE_CONFIG`, else `taintline/taintline.toml` in `XDG_CONFIG_HOME` or `~/.config`.
    pub settings: Option<PathBuf>,
    /// It was `TAINTLINE_CONFIG`: then the file must be there.
    pub settings_named: bool,
    /// `XDG_RUNTIME_DIR`, else the folder for temporary files.
    pub runtime: PathBuf,
    /// `TAINTLINE_SENSOR_DIR`, else beside the binary.
    pub sensor: Option<PathBuf>,
    /// Path of this binary.
    pub binary: Option<PathBuf>,
    /// All variables.
    pub variables: Vec<(OsString, OsString)>,
}

/// A place that is missing.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No store here or above, and the command does not make one.
    #[error("there is no store in {cwd} or above it", cwd = cwd.display())]
    NoStore {
        /// Where the search began.
        cwd: PathBuf,
    },
    /// Neither `XDG_DATA_HOME` nor `HOME` says where private keys may lie.
    #[error("neither XDG_DATA_HOME nor HOME is set: there is no place for the private key")]
    NoDataHome,
    /// Neither `XDG_CACHE_HOME` nor `HOME` is set.
    #[error("neither XDG_CACHE_HOME nor HOME is set: there is no place for a cache")]
    NoCacheHome,
    /// The sensor is not beside the binary.
    #[error("the in-process sensor is not at {path}", path = path.display())]
    NoSensor {
        /// Where it should be.
        path: PathBuf,
    },
}

impl Surroundings {
    /// Reads the process's surroundings. `store` is the flag.
    pub fn of_process(store: Option<PathBuf>) -> Self {
        let variable = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = variable("HOME");
        let under_home = |rest: &str| home.as_ref().map(|home| home.join(rest));
        Self {
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/")),
            store: store.or_else(|| variable("TAINTLINE_STORE")),
            data_home: variable("XDG_DATA_HOME").or_else(|| under_home(".local/share")),
            cache_home: variable("XDG_CACHE_HOME").or_else(|| under_home(".cache")),
            settings_named: variable("TAINTLINE_CONFIG").is_some(),
            settings: variable("TAINTLINE_CONFIG").or_else(|| {
                let home = variable("XDG_CONFIG_HOME").or_else(|| under_home(".config"));
                home.map(|home| home.join("taintline/taintline.toml"))
            }),
            runtime: variable("XDG_RUNTIME_DIR")
                .filter(|path| path.is_dir())
                .unwrap_or_else(std::env::temp_dir),
            sensor: variable("TAINTLINE_SENSOR_DIR"),
            binary: std::env::current_exe().ok(),
            variables: std::env::vars_os().collect(),
        }
    }

    /// The store's folder for a command that makes one when there is none.
    pub fn store_to_write(&self) -> PathBuf {
        self.existing_store()
            .unwrap_or_else(|| self.cwd.join(".taintline"))
    }

    /// The store's folder for a command that only reads.
    pub fn store_to_read(&self) -> Result<PathBuf, PlaceError> {
        self.existing_store().ok_or_else(|| PlaceError::NoStore {
            cwd: self.cwd.clone(),
        })
    }

    fn existing_store(&self) -> Option<PathBuf> {
        self.store
            .as_ref()
            .map(|path| self.cwd.join(path))
            .or_else(|| Store::find_upward(&self.cwd))
    }

    /// Where private keys lie: outside every store.
    pub fn keys(&self) -> Result<PathBuf, PlaceError> {
        self.data_home
            .as_ref()
            .map(|home| home.join("taintline/keys"))
            .ok_or(PlaceError::NoDataHome)
    }

    /// Where things lie that can be made again.
    pub fn cache(&self) -> Result<PathBuf, PlaceError> {
        self.cache_home
            .as_ref()
            .map(|home| home.join("taintline"))
            .ok_or(PlaceError::NoCacheHome)
    }

    /// The folder with the in-process sensor.
    pub fn sensor(&self) -> Result<PathBuf, PlaceError> {
        let beside = |binary: &Path| {
            let binary = binary.canonicalize().unwrap_or_else(|_| binary.to_owned());
            binary
                .parent()?
                .parent()
                .map(|prefix| prefix.join("lib/taintline/sensor"))
        };
        let path = self
            .sensor
            .clone()
            .or_else(|| beside(self.binary.as_deref()?));
        let path = path.unwrap_or_else(|| PathBuf::from("lib/taintline/sensor"));
        if path.join("startup/sitecustomize.py").is_file() {
            Ok(path)
        } else {
            Err(PlaceError::NoSensor { path })
        }
    }

    /// A path as a person reads it: relative to the working directory where it is below it.
    pub fn shown(&self, path: &Path) -> String {
        path.strip_prefix(&self.cwd)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// The store lies in a project's folder: it must not slip into a commit.
pub(crate) fn keep_out_of_git(place: &Path) {
    let file = place.join(".gitignore");
    if !file.exists() {
        let _ = std::fs::write(file, "*\n"); // a convenience; the record does not depend on it
    }
}
