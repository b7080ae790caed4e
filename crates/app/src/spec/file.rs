//! A spec as it lies on the disk: read within limits, its chain of amendments followed, its signature judged.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use domain::Digest;
use domain::entry::Signer;
use formats::toml_text::check_shape;
use training::spec::check::Declared;
use training::spec::{Line, Spec, Table};
use trust::ssh::{MAX_SIGNATURE_BYTES, Signature};

use super::{SpecError, disk, signature_of};
use crate::bounded;
use crate::error::AppError;
use crate::people::People;
use crate::place::Surroundings;
use crate::settings::Settings;

/// The purpose that a key must be allowed for.
pub const NAMESPACE: &str = "taintline-spec";

/// The most bytes of a spec, of a table, and specs of a folder.
const SPEC_BYTES_MAX: u64 = 8 << 20;
const TABLE_BYTES_MAX: u64 = 256 << 20;
const FOLDER_MAX: usize = 1_000;

/// The line that begins an amendment.
pub(super) const AMENDMENT: &str = "[[amendment]]";

/// A spec that was read.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    /// Where.
    pub(crate) path: PathBuf,
    /// Its text.
    pub(crate) text: String,
    /// What it says.
    pub(crate) spec: Spec,
    /// Who signed it.
    pub(crate) signed: Signed,
}

/// Who signed a spec.
#[derive(Debug, Clone)]
pub(crate) enum Signed {
    /// Nobody.
    Unsigned,
    /// This key.
    By {
        /// Its fingerprint.
        key: String,
        /// What the user's list says of it.
        signer: Signer,
    },
}

impl Signed {
    /// In words, for findings.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::Unsigned => "nobody signed the spec".to_owned(),
            Self::By { key, signer } => match signer {
                Signer::Allowed { principals } => format!("the spec is signed by {principals}"),
                Signer::NotAsked => format!(
                    "the spec is signed with key {key}; no list of allowed signers says whose that is"
                ),
                Signer::Revoked => {
                    format!("the spec is signed with key {key}, which was taken back")
                }
                Signer::OtherPurpose => format!(
                    "the spec is signed with key {key}, which is not allowed for {NAMESPACE}"
                ),
                Signer::NotYet | Signer::Expired | Signer::Open => {
                    format!("the spec is signed with key {key}, whose time is not now or not known")
                }
                Signer::Unknown => {
                    format!("the spec is signed with key {key}, which no list names")
                }
            },
        }
    }

    /// A short word for machines.
    pub(crate) fn standing(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::By { signer, .. } => match signer {
                Signer::Allowed { .. } => "allowed",
                Signer::NotAsked => "not_asked",
                Signer::Unknown => "unknown",
                Signer::OtherPurpose => "other_purpose",
                Signer::NotYet => "not_yet",
                Signer::Expired => "expired",
                Signer::Open => "open",
                Signer::Revoked => "revoked",
            },
        }
    }
}

impl Loaded {
    /// The digest of its text.
    pub(crate) fn digest(&self) -> Digest {
        Digest::of(self.text.as_bytes())
    }

    /// Ready for checks, with its table.
    pub(crate) fn declared(&self) -> Result<Declared, SpecError> {
        let table = self.table()?;
        Declared::new(&self.spec, table).map_err(|why| SpecError::Syntax {
            path: self.path.display().to_string(),
            why: why.to_string(),
        })
    }

    fn table(&self) -> Result<Table, SpecError> {
        let Some((name, wanted)) = self.spec.steps.table.as_ref().zip(self.spec.steps.sha256)
        else {
            return Ok(Table::default());
        };
        let path = self.path.parent().unwrap_or(Path::new("")).join(name);
        let shown = path.display().to_string();
        let bytes = bounded::read(&path, TABLE_BYTES_MAX).map_err(disk(&path))?;
        if Digest::of(&bytes) != wanted {
            return Err(SpecError::Table { path: shown });
        }
        let lines = bytes.split(|byte| *byte == b'\n').enumerate();
        let lines = lines.filter(|(_, line)| !line.is_empty());
        let read = lines.map(|(number, line)| {
            serde_json::from_slice::<Line>(line).map_err(|_| SpecError::Syntax {
                path: shown.clone(),
                why: format!("line {} is neither a step nor a parameter", number + 1),
            })
        });
        Ok(Table::new(read.collect::<Result<Vec<_>, _>>()?))
    }
}

/// Reads a spec; one whose signature does not hold is refused.
pub(crate) fn load(surroundings: &Surroundings, path: &Path) -> Result<Loaded, AppError> {
    let loaded = read(surroundings, path)?;
    if let Err(why) = signature(surroundings, &loaded.path, &loaded.text)? {
        return Err(changed(path, why).into());
    }
    Ok(loaded)
}

/// Reads a spec whatever its signature says.
pub(super) fn read(surroundings: &Surroundings, path: &Path) -> Result<Loaded, AppError> {
    let path = surroundings.cwd.join(path);
    let shown = path.display().to_string();
    let bytes = bounded::read(&path, SPEC_BYTES_MAX).map_err(disk(&path))?;
    let syntax = |why: String| SpecError::Syntax {
        path: shown.clone(),
        why,
    };
    let text = String::from_utf8(bytes).map_err(|_| syntax("it is no text".to_owned()))?;
    check_shape(&text).map_err(|why| syntax(why.to_string()))?;
    let spec: Spec = toml::from_str(&text).map_err(|why| syntax(why.to_string()))?;
    spec.sound().map_err(|why| syntax(why.to_string()))?;
    chain(&text, &spec).map_err(|why| changed(&path, why))?;
    let signed = signature(surroundings, &path, &text)?.unwrap_or(Signed::Unsigned);
    Ok(Loaded {
        path,
        text,
        spec,
        signed,
    })
}

fn changed(path: &Path, why: String) -> SpecError {
    SpecError::Changed {
        path: path.display().to_string(),
        why,
    }
}

/// Whether each amendment stands behind the text that it was made for.
fn chain(text: &str, spec: &Spec) -> Result<(), String> {
    let mut offset = 0;
    let mut marks = Vec::new();
    for line in text.split_inclusive('\n') {
        if line.trim_end() == AMENDMENT {
            marks.push(offset);
        }
        offset += line.len();
    }
    if marks.len() != spec.amendment.len() {
        return Err(format!(
            "an amendment is not as `spec amend` writes it: on a line of its own, {AMENDMENT}"
        ));
    }
    for (number, (mark, amendment)) in marks.iter().zip(&spec.amendment).enumerate() {
        let before = text.get(..*mark).unwrap_or_default();
        if Digest::of(before.as_bytes()) != amendment.before {
            return Err(format!(
                "what stands before amendment {} is not what was amended",
                number + 1
            ));
        }
    }
    Ok(())
}

/// Who signed a text, by the file beside it; the inner error says why its signature does not hold.
fn signature(
    surroundings: &Surroundings,
    path: &Path,
    text: &str,
) -> Result<Result<Signed, String>, AppError> {
    let beside = signature_of(path);
    let armoured = match bounded::read(&beside, MAX_SIGNATURE_BYTES as u64) {
        Ok(armoured) => armoured,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(Ok(Signed::Unsigned));
        }
        Err(error) => return Err(disk(&beside)(error).into()),
    };
    let signature = match Signature::parse(&armoured) {
        Ok(signature) => signature,
        Err(why) => return Ok(Err(why.to_string())),
    };
    if let Err(why) = signature.verify(NAMESPACE, text.as_bytes()) {
        return Ok(Err(why.to_string()));
    }
    let settings = Settings::load(surroundings)?;
    let people = People::load(&settings.trust)?;
    let now = host::clock::wall_us().div_euclid(1_000_000);
    let signer = people.signer(signature.key(), NAMESPACE, Some(now));
    Ok(Ok(Signed::By {
        key: signature.key().fingerprint(),
        signer,
    }))
}

/// The spec of a run: the one that is named, else that of the settings, else the one in their folder that is for this command.
pub(crate) fn found_for(
    surroundings: &Surroundings,
    settings: &Settings,
    given: Option<&Path>,
    argv: &[OsString],
) -> Result<Option<Loaded>, AppError> {
    if let Some(path) = given.or(settings.spec.file.as_deref()) {
        return load(surroundings, path).map(Some);
    }
    let Some(folder) = &settings.spec.folder else {
        return Ok(None);
    };
    let entries = std::fs::read_dir(folder).map_err(disk(folder))?;
    let names = entries.flatten().map(|entry| entry.path()).take(FOLDER_MAX);
    let mut specs: Vec<_> = names
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    specs.sort();
    let wanted = named(argv, &surroundings.cwd);
    let mut found = Vec::new();
    for path in specs {
        let loaded = load(surroundings, &path)?;
        let command = &loaded.spec.command;
        if command.script.is_some() && (command.program.clone(), command.script.clone()) == wanted {
            found.push(loaded);
        }
    }
    if found.len() > 1 {
        let (folder, count) = (folder.display().to_string(), found.len());
        return Err(SpecError::Several { folder, count }.into());
    }
    Ok(found.pop())
}

/// Program and script of a command, as a spec names them: without folder and version, and relative to the working directory.
pub(crate) fn named(argv: &[OsString], cwd: &Path) -> (Option<String>, Option<String>) {
    let base = |path: &OsString| Some(Path::new(path).file_name()?.to_string_lossy().into_owned());
    let program = argv.first().and_then(base).map(|name| {
        if name.starts_with("python") {
            "python".to_owned()
        } else {
            name
        }
    });
    let mut rest = argv.iter().skip(1);
    let script = loop {
        let Some(word) = rest.next() else { break None };
        let text = word.to_string_lossy();
        if text == "-m" || text == "--module" {
            break rest
                .next()
                .map(|module| format!("-m {}", module.to_string_lossy()));
        }
        if text.ends_with(".py") || text.ends_with(".sh") {
            let path = cwd.join(word);
            break Some(
                path.strip_prefix(cwd)
                    .unwrap_or(&path)
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    };
    (program, script)
}
