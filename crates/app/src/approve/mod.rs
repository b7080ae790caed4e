//! `approve` and `approvals`: a person vouches for a run, a sealed model or any bytes, with the SSH key that she has.
//!
//! What is signed is an in-toto statement that names the thing by digest, in a DSSE envelope, by `ssh-keygen -Y sign` for
//! the purpose `taintline-approval`: files, agents and hardware tokens alike, and `ssh-keygen -Y verify` can check it. The
//! user's own list says whose key that is. When it was signed the signer alone says, unless a time stamp covers the entry.

mod judging;
mod signing;
mod target;

use std::path::PathBuf;

use domain::entry::Act;
use domain::vouch::{Approval, ApprovalOf};
use ledger::Store;
use report::statement::{ApprovalView, ApprovalsView};
use serde::{Deserialize, Serialize};
use trust::envelope::{Envelope, NotSigned, signed_bytes};
use trust::ssh;
use trust::statement::Statement;

use crate::acts;
use crate::attest::predicate::RunRef;
use crate::error::AppError;
use crate::index::about;
use crate::place::Surroundings;
use crate::queries::Reading;

pub(crate) use judging::of_run;
pub(crate) use signing::sign;
use target::Target;
pub use target::Whom;

/// What an approval is, as a predicate.
pub(crate) const APPROVAL: &str = "https://taintline/approval/v1";

/// The purpose that a key must be allowed for.
pub(crate) const NAMESPACE: &str = "taintline-approval";

/// The most bytes of an approval.
const MAX_BYTES: u64 = 256 << 10;

/// The most bytes of the signer's words.
const MAX_NOTE_BYTES: usize = 16 << 10;

/// Predicate of [`APPROVAL`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Predicate {
    /// What is approved.
    what: What,
    /// The signer's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    /// When, by the signer's own clock: RFC 3339.
    stated: String,
}

/// What is approved; the subject has its digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum What {
    /// A run, as far as it was recorded then.
    Run { run: RunRef },
    /// A sealed model.
    Sealed {
        /// The value over all entries of its seal, where there is one.
        tree: Option<String>,
    },
    /// Bytes.
    Bytes {},
}

/// An approval that was not made.
#[derive(Debug, thiserror::Error)]
pub enum ApproveError {
    /// Neither a run, nor a path, nor a digest.
    #[error("{asked} is neither a run, nor a path, nor a SHA-256")]
    Unknown {
        /// What was asked for.
        asked: String,
    },
    /// The path is not what was sealed.
    #[error("{path} is not approved: {why}")]
    NotSealed {
        /// The path.
        path: String,
        /// What `verify` says.
        why: String,
    },
    /// No key.
    #[error("there is no SSH key in {folder}")]
    NoKey {
        /// Where one was looked for.
        folder: String,
    },
    /// OpenSSH cannot be started, or refuses.
    #[error("{program}: {why}")]
    Program {
        /// Which.
        program: &'static str,
        /// Why.
        why: String,
    },
    /// What it made is no signature for this.
    #[error(transparent)]
    Signature(#[from] NotSigned),
    /// Too many words.
    #[error("the note is longer than {MAX_NOTE_BYTES} bytes")]
    Note,
    /// A file could not be written or read.
    #[error("{}: {source}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text.
    #[error("the statement could not be written: {0}")]
    Encode(#[from] serde_json::Error),
}

impl ApproveError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unknown { .. } => {
                Some("`taintline runs` lists runs; a path has a dot or a slash in it")
            }
            Self::NotSealed { .. } => Some(
                "seal it first: taintline seal PATH; or name who sealed it with --signer or --trust",
            ),
            Self::NoKey { .. } | Self::Program { .. } => Some(
                "name a key with --key FILE (a public key where the private half is in ssh-agent), or use --agent; nothing was recorded",
            ),
            _ => None,
        }
    }
}

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct ApproveRequest {
    /// A run, a sealed path, or a digest.
    pub what: String,
    /// The signer's words.
    pub note: Option<String>,
    /// The key: a private one, or a public one whose private half is in the agent.
    pub key: Option<PathBuf>,
    /// The first key of the agent.
    pub agent: bool,
    /// Who may have sealed a path.
    pub whom: Whom,
}

/// Has the user sign, and records it.
pub fn approve(
    surroundings: &Surroundings,
    request: &ApproveRequest,
) -> Result<ApprovalsView, AppError> {
    if request
        .note
        .as_ref()
        .is_some_and(|note| note.len() > MAX_NOTE_BYTES)
    {
        return Err(ApproveError::Note.into());
    }
    let target = Target::find(surroundings, &request.what, &request.whom)?;
    let predicate = Predicate {
        what: target.what,
        note: request.note.clone(),
        stated: report::time::rfc3339(host::clock::wall_us()),
    };
    let statement = Statement::encode(APPROVAL, target.subject, predicate);
    let statement = statement.map_err(ApproveError::from)?;
    let armoured = signing::sign(
        surroundings,
        (request.key.as_deref(), request.agent),
        NAMESPACE,
        &signed_bytes(&statement),
    )?;
    let signature = ssh::Signature::parse(&armoured).map_err(NotSigned::from);
    let signature = signature.map_err(ApproveError::from)?;
    let envelope = Envelope::of_person(&statement, signature.key(), &armoured);
    let bytes = serde_json::to_vec(&envelope).map_err(ApproveError::from)?;
    // What OpenSSH made is read back before it counts: a token that nobody touched, or another purpose, is refused here.
    let opened = envelope.open().ok();
    let held = opened
        .as_ref()
        .map(|opened| opened.verified_by_person(NAMESPACE));
    if let Some(Err(why)) = held {
        return Err(ApproveError::Signature(why).into());
    }
    let store = Store::open_or_create(&surroundings.store_to_write())?;
    let digest = store.put_blob(&bytes)?;
    let approval = Approval {
        of: target.of,
        key: signature.key().fingerprint(),
        envelope: digest,
        person: crate::run::person(),
    };
    let writer = crate::writing::open(&store, &surroundings.keys()?)?;
    let place = acts::record(&writer, Act::Approved(Box::new(approval.clone())))?;
    let reading = Reading::open(surroundings)?;
    let made = judging::Judge::new(surroundings, &reading)?.judge(&approval, place);
    Ok(view(vec![made]))
}

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct ApprovalsRequest {
    /// A run, a sealed path, or a digest; all by default.
    pub what: Option<String>,
    /// Who may have sealed a path.
    pub whom: Whom,
    /// Where to write what was signed, for `ssh-keygen -Y verify`.
    pub export: Option<PathBuf>,
}

/// The approvals that are recorded, each judged.
pub fn approvals(
    surroundings: &Surroundings,
    request: &ApprovalsRequest,
) -> Result<ApprovalsView, AppError> {
    let reading = Reading::open(surroundings)?;
    let target = match &request.what {
        Some(what) => Some(Target::find(surroundings, what, &request.whom)?),
        None => None,
    };
    let about = target.as_ref().map(|target| about(&target.of));
    let mut judge = judging::Judge::new(surroundings, &reading)?;
    if let Some(target) = &target {
        judge = judge.about(&target.what);
    }
    let mut all = Vec::new();
    let mut exported = Vec::new();
    let (recorded, gaps) = judging::recorded(&reading, about.as_deref())?;
    for (approval, place) in recorded {
        if let Some(folder) = &request.export {
            let folder = surroundings.cwd.join(folder);
            exported.extend(export(surroundings, &reading.store, &approval, &folder)?);
        }
        all.push(judge.judge(&approval, place));
    }
    Ok(ApprovalsView {
        exported,
        gaps,
        ..view(all)
    })
}

fn view(approvals: Vec<ApprovalView>) -> ApprovalsView {
    ApprovalsView {
        schema: "taintline.approvals/1",
        approvals,
        exported: Vec::new(),
        gaps: Vec::new(),
    }
}

/// Writes the signed bytes and the signature under names of their own, as `ssh-keygen -Y verify` takes them.
fn export(
    surroundings: &Surroundings,
    store: &Store,
    approval: &Approval,
    folder: &std::path::Path,
) -> Result<Vec<String>, AppError> {
    let Some(envelope) = store.blob(&approval.envelope)? else {
        return Ok(Vec::new());
    };
    let Some(opened) = judging::open(&envelope) else {
        return Ok(Vec::new());
    };
    let write = |name: String, bytes: &[u8]| {
        let path = folder.join(name);
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, bytes));
        match written {
            Ok(()) => Ok(surroundings.shown(&path)),
            Err(source) => Err(ApproveError::Disk { path, source }),
        }
    };
    let name = approval.envelope.short();
    Ok(vec![
        write(
            format!("{name}.message"),
            &signed_bytes(opened.unverified()),
        )?,
        write(format!("{name}.message.sig"), opened.signature())?,
    ])
}

/// What an act says that it is about, in two words for people.
pub(crate) fn words(of: &ApprovalOf) -> (&'static str, String) {
    let kind = match of {
        ApprovalOf::Run { .. } => "run",
        ApprovalOf::Sealed { .. } => "sealed",
        ApprovalOf::Bytes { .. } => "bytes",
    };
    (kind, about(of))
}

impl From<ApproveError> for AppError {
    fn from(error: ApproveError) -> Self {
        Self::Approve(Box::new(error))
    }
}
