//! What is approved: from what the user typed to a digest.
//!
//! A path is approved only as far as it is sealed and still what was sealed: a person cannot read ten gigabytes, and what
//! she means is what the signature covers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::Digest;
use domain::vouch::ApprovalOf;
use report::vouch::{Verdict, VerifyView};
use trust::statement::Subject;

use super::{ApproveError, What};
use crate::attest::{self, predicate::run_subject};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::queries::Reading;
use crate::seal::{VerifyRequest, verify};

/// Who may have sealed a path; the user by default.
#[derive(Debug, Clone, Default)]
pub struct Whom {
    /// Public keys.
    pub keys: Vec<PathBuf>,
    /// A TOML file that names keys and roots.
    pub trust: Option<PathBuf>,
}

/// What is approved.
pub(super) struct Target {
    pub(super) of: ApprovalOf,
    pub(super) what: What,
    pub(super) subject: Subject,
}

impl Target {
    /// A digest by its 64 digits (perhaps behind `sha256:`), a path by a dot or slash in its name, a run by its name.
    pub(super) fn find(
        surroundings: &Surroundings,
        asked: &str,
        whom: &Whom,
    ) -> Result<Self, AppError> {
        let digits = asked.strip_prefix("sha256:").unwrap_or(asked);
        if let Ok(digest) = digits.parse::<Digest>() {
            return Ok(Self {
                of: ApprovalOf::Bytes { digest },
                what: What::Bytes {},
                subject: subject(asked, &digest),
            });
        }
        if asked.contains(['.', '/']) {
            return sealed(surroundings, asked, whom);
        }
        let reading = match Reading::open(surroundings) {
            Ok(reading) => reading,
            Err(AppError::Place(_)) => {
                let asked = asked.to_owned();
                return Err(ApproveError::Unknown { asked }.into());
            }
            Err(error) => return Err(error),
        };
        let run = reading.find(asked)?;
        let closure = attest::gather(&reading, &run)?.closure;
        Ok(Self {
            of: ApprovalOf::Run { run: run.id },
            subject: run_subject(&closure.run, &closure.loads),
            what: What::Run { run: closure.run },
        })
    }
}

fn sealed(surroundings: &Surroundings, asked: &str, whom: &Whom) -> Result<Target, AppError> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let request = VerifyRequest {
        path: asked.into(),
        keys: whom.keys.clone(),
        trust: whom.trust.clone(),
        threads: processors,
        limit: trust::statement::MAX_STATEMENT_BYTES,
        ..VerifyRequest::default()
    };
    let verified = verify(surroundings, &request)?;
    let root = verified.root.as_deref().map(str::parse::<Digest>);
    if let (Verdict::Valid, Some(Ok(root))) = (verified.verdict, root) {
        return Ok(Target {
            of: ApprovalOf::Sealed { root },
            what: What::Sealed {
                tree: verified.tree,
            },
            subject: subject(&name_of(asked), &root),
        });
    }
    let not_sealed = ApproveError::NotSealed {
        path: asked.to_owned(),
        why: why_not(&verified),
    };
    Err(not_sealed.into())
}

/// The first thing that speaks against a seal.
fn why_not(verified: &VerifyView) -> String {
    let changed = verified.differences.first();
    let changed = changed.map(|it| format!("{}: {}", it.path, it.what));
    let gap = verified.gaps.first();
    let gap = gap.map(|gap| format!("{}: {}", gap.what, gap.why));
    let first = verified.problems.first().cloned().or(changed).or(gap);
    first.unwrap_or_else(|| "it is not valid".to_owned())
}

fn name_of(path: &str) -> String {
    let name = Path::new(path).file_name();
    name.map_or_else(
        || path.to_owned(),
        |name| name.to_string_lossy().into_owned(),
    )
}

fn subject(name: &str, digest: &Digest) -> Subject {
    Subject {
        name: name.to_owned(),
        digest: BTreeMap::from([("sha256".to_owned(), digest.to_string())]),
    }
}
