//! Policies and baselines as files: read whole within a limit, never from a place that is being scanned, and written so
//! that a death in between leaves the old file.

use std::io;
use std::path::{Path, PathBuf};

use domain::Digest;
use formats::toml_text::{TomlShape, check_shape};
use serde::de::DeserializeOwned;

/// Bytes of such a file.
const MAX_BYTES: u64 = 16 << 20;

/// A policy or baseline that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It lies where the files lie that it speaks about.
    #[error("the {what} {path} lies in what is scanned", path = path.display())]
    Inside {
        /// `policy` or `baseline`.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("the {what} {path} cannot be read: {why}", path = path.display())]
    Read {
        /// `policy` or `baseline`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        why: io::Error,
    },
    /// It is too large.
    #[error("the {what} {path} has more than {MAX_BYTES} bytes", path = path.display())]
    TooLarge {
        /// `policy` or `baseline`.
        what: &'static str,
        /// Where.
        path: PathBuf,
    },
    /// Its brackets or strings are not those of TOML.
    #[error("the {what} {path} is not understood: {why}", path = path.display())]
    Shape {
        /// `policy` or `baseline`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Why not.
        why: TomlShape,
    },
    /// It is not what it should be.
    #[error("the {what} {path} is not understood: {why}", path = path.display())]
    Syntax {
        /// `policy` or `baseline`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What the parser says.
        #[source]
        why: Box<toml::de::Error>,
    },
    /// It is of another kind or version.
    #[error("the {what} {path} has schema {found:?}, and this program reads {expected:?}", path = path.display())]
    Schema {
        /// `policy` or `baseline`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// What stands there.
        found: String,
        /// What should.
        expected: &'static str,
    },
    /// An entry says too little.
    #[error("entry {number} of the {what} {path} {why}", path = path.display())]
    Entry {
        /// `policy` or `baseline`.
        what: &'static str,
        /// Where.
        path: PathBuf,
        /// Which, from 1.
        number: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It is there already.
    #[error("{path} is there already", path = path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// It cannot be written.
    #[error("{path} cannot be written: {why}", path = path.display())]
    Write {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        why: io::Error,
    },
    /// A source folder is not there.
    #[error("the source {path} cannot be read: {why}", path = path.display())]
    Source {
        /// Where.
        path: PathBuf,
        /// Why.
        #[source]
        why: io::Error,
    },
}

impl DocumentError {
    /// What the user can do about it.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Inside { .. } => Some(
                "who may write a payload there may write its permission too: keep it elsewhere, or name the folder with the models alone",
            ),
            Self::Exists { .. } => Some("look at it, then remove it or name another file"),
            Self::Entry { .. } | Self::Schema { .. } | Self::Shape { .. } | Self::Syntax { .. } => {
                Some("docs/scan.md shows what it looks like")
            }
            _ => None,
        }
    }
}

/// One kind of file.
pub(super) struct Shape {
    /// `policy` or `baseline`.
    pub(super) what: &'static str,
    /// Its schema.
    pub(super) schema: &'static str,
}

/// What both kinds begin with.
#[derive(serde::Deserialize)]
struct Schema {
    schema: String,
}

impl Shape {
    /// Refuses a file in a place that is scanned, whether it is there already or not.
    pub(super) fn keep_outside(
        &self,
        path: &Path,
        scanned: &[PathBuf],
    ) -> Result<(), DocumentError> {
        let place = real(path);
        let roots = scanned.iter().filter_map(|root| root.canonicalize().ok());
        if roots.into_iter().any(|root| place.starts_with(root)) {
            return Err(DocumentError::Inside {
                what: self.what,
                path: path.to_owned(),
            });
        }
        Ok(())
    }

    /// The text of the file.
    pub(super) fn text(&self, path: &Path) -> Result<String, DocumentError> {
        let (what, path_) = (self.what, path.to_owned());
        let failed = |why| DocumentError::Read {
            what,
            path: path_.clone(),
            why,
        };
        let known = std::fs::metadata(path).map_err(failed)?;
        if !known.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        if known.len() > MAX_BYTES {
            return Err(DocumentError::TooLarge { what, path: path_ });
        }
        std::fs::read_to_string(path).map_err(failed)
    }

    /// What `text` says.
    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        path: &Path,
        text: &str,
    ) -> Result<T, DocumentError> {
        let syntax = |why| DocumentError::Syntax {
            what: self.what,
            path: path.to_owned(),
            why: Box::new(why),
        };
        check_shape(text).map_err(|why| DocumentError::Shape {
            what: self.what,
            path: path.to_owned(),
            why,
        })?;
        let found: Schema = toml::from_str(text).map_err(syntax)?;
        if found.schema != self.schema {
            return Err(DocumentError::Schema {
                what: self.what,
                path: path.to_owned(),
                found: found.schema,
                expected: self.schema,
            });
        }
        toml::from_str(text).map_err(syntax)
    }

    /// An error about the entry at `index`.
    pub(super) fn entry(&self, path: &Path, index: usize, why: &'static str) -> DocumentError {
        DocumentError::Entry {
            what: self.what,
            path: path.to_owned(),
            number: index + 1,
            why,
        }
    }
}

/// Where a path leads, also when its last part is not there yet.
pub(super) fn real(path: &Path) -> PathBuf {
    if let Ok(real) = path.canonicalize() {
        return real;
    }
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new(".")).canonicalize();
    match (folder, path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// Writes `text` at `path` in one step.
pub(super) fn write(path: &Path, text: &str) -> Result<(), DocumentError> {
    let failed = |why| DocumentError::Write {
        path: path.to_owned(),
        why,
    };
    let Some(name) = path.file_name() else {
        return Err(failed(io::ErrorKind::InvalidInput.into()));
    };
    let mut temporary = name.to_owned();
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let written = (|| {
        use std::io::Write as _;
        let mut file = std::fs::File::create_new(&temporary)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // It may never have been there.
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

/// The digest of a file's bytes, all of them.
pub(super) fn digest_of(path: &Path) -> io::Result<Digest> {
    let opened = super::input::Opened::open(path, true).map_err(io::Error::other)?;
    let digest = ::scan::digest(&opened)?;
    if opened.is_unchanged() {
        Ok(digest)
    } else {
        Err(io::Error::other("it changed while it was read"))
    }
}
