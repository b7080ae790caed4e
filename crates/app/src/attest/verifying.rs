//! Whether a statement is signed by somebody whom the reader believes, and does not contradict itself.

use std::path::PathBuf;

use report::statement::{StatementVerifyView, StatementView};
use report::vouch::Verdict as Answer;
use serde::de::DeserializeOwned;
use trust::envelope::Verified;
use trust::keyfile;
use trust::keys::PublicKey;
use trust::oms::{Bundle, Method};
use trust::pem::MAX_PEM_BYTES;
use trust::statement::{self, Statement, Subject};

use super::predicate::{
    CHECKPOINTS, CLOSURE, Checkpoints, Closure, Contradiction, TRANSCRIPT, Transcript, VERDICT,
    Verdict,
};
use super::{AttestError, MAX_BUNDLE_BYTES, MAX_BYTES};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::seal::own;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct VerifyStatement {
    /// The bundle.
    pub file: PathBuf,
    /// Public keys that are believed; the user's own by default.
    pub keys: Vec<PathBuf>,
}

/// Verifies a statement. That it is not believed is an answer, not an error.
pub fn verify_statement(
    surroundings: &Surroundings,
    request: &VerifyStatement,
) -> Result<StatementVerifyView, AppError> {
    let path = surroundings.cwd.join(&request.file);
    let bytes = keyfile::read(&path, MAX_BUNDLE_BYTES).map_err(AttestError::from)?;
    let keys = believed(surroundings, &request.keys)?;
    let mut view = StatementVerifyView {
        schema: "taintline.attest-verify/1",
        verdict: Answer::Invalid,
        statement: StatementView {
            file: surroundings.shown(&path),
            predicate: String::new(),
            about: Vec::new(),
        },
        key: None,
        why: None,
        content: None,
    };
    match judge(&bytes, &keys, !request.keys.is_empty(), &mut view) {
        Ok(()) => view.verdict = Answer::Valid,
        Err((answer, why)) => (view.verdict, view.why) = (answer, Some(why)),
    }
    if let (Answer::CannotCheck, Some(hint)) = (view.verdict, &view.key)
        && let Some(ended) = own::ended_with(surroundings, hint)?
    {
        let at = ended.at();
        view.why = Some(format!(
            "it is signed by your own key {hint}, which ended at {at}, and a statement does not show when it was made; attest again, or name that key with --key"
        ));
    }
    Ok(view)
}

/// The keys that the user names, else the user's own, and nobody else's.
pub(crate) fn believed(
    surroundings: &Surroundings,
    named: &[PathBuf],
) -> Result<Vec<PublicKey>, AppError> {
    if named.is_empty() {
        let own = surroundings.keys().ok();
        let own = own.map(|keys| own::path(&keys));
        let Some(own) = own.filter(|path| path.exists()) else {
            return Ok(Vec::new());
        };
        let key = keyfile::read_private(&own).map_err(AttestError::from)?;
        return Ok(vec![key.public().clone()]);
    }
    let read = |path: &PathBuf| {
        let path = surroundings.cwd.join(path);
        let text = keyfile::read(&path, MAX_PEM_BYTES)?;
        PublicKey::from_pem(&text).map_err(|why| AttestError::Key { path, why })
    };
    let keys: Result<_, AttestError> = named.iter().map(read).collect();
    Ok(keys?)
}

/// What the answer is where it is not *valid*, and why.
type Told = (Answer, String);

fn judge(
    bytes: &[u8],
    keys: &[PublicKey],
    named: bool,
    view: &mut StatementVerifyView,
) -> Result<(), Told> {
    let invalid = |why: String| (Answer::Invalid, why);
    let bundle = Bundle::parse(bytes, MAX_BUNDLE_BYTES)
        .map_err(|why| invalid(format!("it is no signed statement: {why}")))?;
    let Method::Key { hint } = &bundle.method else {
        return Err((
            Answer::CannotCheck,
            "it is not signed with a plain key".to_owned(),
        ));
    };
    view.key.clone_from(hint);
    let mut candidates = keys.iter().filter(|key| match hint {
        Some(hint) => key.hint() == *hint,
        None => bundle.envelope.verified_by(key).is_some(),
    });
    let Some(key) = candidates.next() else {
        let by = hint.as_deref().unwrap_or("that it does not name");
        return Err(if named {
            invalid(format!(
                "it is signed by key {by}, and by none of those that you named"
            ))
        } else {
            let why =
                format!("it is signed by key {by}, which is not yours; name the signer with --key");
            (Answer::CannotCheck, why)
        });
    };
    let Some(signed) = bundle.envelope.verified_by(key) else {
        return Err(invalid(
            "the signature is not by that key over this statement: one of them was changed"
                .to_owned(),
        ));
    };
    let kind = statement::predicate_type(signed.bytes(), MAX_BYTES);
    let kind = kind.map_err(|why| invalid(why.to_string()))?;
    view.statement.predicate.clone_from(&kind);
    view.content = serde_json::from_slice(signed.bytes()).ok();
    let subjects = match kind.as_str() {
        CLOSURE => read(signed, CLOSURE, Closure::check),
        TRANSCRIPT => read(signed, TRANSCRIPT, Transcript::check),
        CHECKPOINTS => read(signed, CHECKPOINTS, Checkpoints::check),
        VERDICT => read(signed, VERDICT, Verdict::check),
        _ => {
            let why = "it is signed, but what it states is not known here".to_owned();
            return Err((Answer::CannotCheck, why));
        }
    };
    let subjects = subjects.map_err(invalid)?;
    view.statement.about = subjects.into_iter().map(|it| it.name).collect();
    Ok(())
}

fn read<P: DeserializeOwned + serde::Serialize>(
    signed: Verified<'_>,
    kind: &str,
    check: fn(&P, &[Subject]) -> Result<(), Contradiction>,
) -> Result<Vec<Subject>, String> {
    let (subjects, predicate) = Statement::<P>::decode_many(signed, kind, MAX_BYTES)
        .map_err(|why| format!("what is signed cannot be believed: {why}"))?;
    check(&predicate, &subjects)
        .map_err(|why| format!("the statement contradicts itself: {why}"))?;
    Ok(subjects)
}
