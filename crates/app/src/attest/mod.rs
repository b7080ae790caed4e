//! `attest`: what was recorded of a run, as statements that somebody signs and others read with their own tools.
//!
//! The ledger is evidence for whoever has it. A statement travels alone: it names the run by the digest of all that it
//! loaded and by the root of the log, and says one thing about it. It never says more than the record: a verdict is
//! *clean* only where the run ended, nothing was found and no gap is recorded.

mod gather;
pub(crate) mod predicate;
mod verifying;

use std::path::{Path, PathBuf};

use report::statement::{AttestView, StatementView};
use serde::Serialize;
use trust::envelope::Envelope;
use trust::keyfile::KeyFileError;
use trust::keys::{PrivateKey, SignError};
use trust::oms::Bundle;
use trust::statement::{Statement, Subject};

use self::predicate::{
    CHECKPOINTS, CLOSURE, TRANSCRIPT, VERDICT, link_subjects, run_subject, transcript_subject,
};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::queries::Reading;
use crate::seal::own::SigningKey;

pub(crate) use gather::{Gathered, gather};
pub(crate) use verifying::believed;
pub use verifying::{VerifyStatement, verify_statement};

/// The most bytes of a statement that is written or read.
pub(crate) const MAX_BYTES: u64 = 8 << 20;

/// The most bytes of the bundle around one: base64 takes a third more.
pub(crate) const MAX_BUNDLE_BYTES: u64 = MAX_BYTES / 3 * 4 + (64 << 10);

/// A statement that was not made or read.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// A key or another file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// A public key.
    #[error("{}: {why}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why not.
        why: trust::keys::KeySyntax,
    },
    /// The key.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// The text.
    #[error("the statement could not be written: {0}")]
    Encode(#[from] serde_json::Error),
    /// Too long.
    #[error("the statement has {bytes} bytes, more than the {MAX_BYTES} that are read")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
    },
    /// A file could not be written.
    #[error("{}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// What was asked for.
#[derive(Debug, Clone)]
pub struct AttestRequest {
    /// The run.
    pub run: String,
    /// The folder to write into; made where it is not there.
    pub folder: PathBuf,
    /// The private key; the user's own by default.
    pub key: Option<PathBuf>,
}

/// Writes and signs the statements about a run.
pub fn attest(
    surroundings: &Surroundings,
    request: &AttestRequest,
) -> Result<AttestView, AppError> {
    let reading = Reading::open(surroundings)?;
    let run = reading.find(&request.run)?;
    let signing = SigningKey::take(surroundings, request.key.as_deref())?;
    let key = signing.key();
    let Gathered {
        closure,
        transcript,
        checkpoints,
        verdict,
    } = gather(&reading, &run)?;
    let folder = surroundings.cwd.join(&request.folder);
    std::fs::create_dir_all(&folder).map_err(|source| AttestError::Write {
        path: folder.clone(),
        source,
    })?;
    let of_run = run_subject(&closure.run, &closure.loads);
    let of_steps = transcript_subject(&transcript.run, &transcript.segments);
    let of_links = link_subjects(&checkpoints.links);
    let into = |name: &str| folder.join(format!("{name}.sigstore.json"));
    clear(into)?;
    let mut statements = vec![
        write(
            surroundings,
            &into("closure"),
            key,
            CLOSURE,
            vec![of_run.clone()],
            &closure,
        )?,
        write(
            surroundings,
            &into("verdict"),
            key,
            VERDICT,
            vec![of_run],
            &verdict,
        )?,
        write(
            surroundings,
            &into("transcript"),
            key,
            TRANSCRIPT,
            vec![of_steps],
            &transcript,
        )?,
    ];
    // A statement about nothing is none.
    if !of_links.is_empty() {
        let file = into("checkpoints");
        statements.push(write(
            surroundings,
            &file,
            key,
            CHECKPOINTS,
            of_links,
            &checkpoints,
        )?);
    }
    Ok(AttestView {
        schema: "taintline.attest/1",
        run: closure.run.name,
        key: key.public().hint(),
        verdict: word(verdict.word),
        statements,
        gaps: verdict.gaps.len() as u64,
    })
}

/// Takes away what an earlier call wrote, perhaps of another run: no mixture of both, wherever this one ends.
fn clear(file: impl Fn(&str) -> PathBuf) -> Result<(), AttestError> {
    for name in ["closure", "verdict", "transcript", "checkpoints"] {
        let path = file(name);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                return Err(AttestError::Write { path, source });
            }
            _ => {}
        }
    }
    Ok(())
}

fn word(word: predicate::Word) -> String {
    let value = serde_json::to_value(word).ok();
    value
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

fn write<P: Serialize>(
    surroundings: &Surroundings,
    file: &Path,
    key: &PrivateKey,
    predicate_type: &'static str,
    subjects: Vec<Subject>,
    predicate: &P,
) -> Result<StatementView, AttestError> {
    let about = subjects.iter().map(|it| it.name.clone()).collect();
    let statement = Statement::encode_many(predicate_type, subjects, predicate)?;
    let bytes = statement.len() as u64;
    if bytes > MAX_BYTES {
        return Err(AttestError::TooLarge { bytes });
    }
    let envelope = Envelope::sign(&statement, key)?;
    let bundle = Bundle::encode(&envelope, key.public(), None)?;
    std::fs::write(file, &bundle).map_err(|source| AttestError::Write {
        path: file.to_owned(),
        source,
    })?;
    Ok(StatementView {
        file: surroundings.shown(file),
        predicate: predicate_type.to_owned(),
        about,
    })
}
