//! Proofs of entries under a tree head that others cosigned, and the demand that they did.

use ledger::note::{self, VerifierKey};
use ledger::policy::Policy;
use ledger::tlog_proof::TlogProof;
use ledger::{Log, LogError, Snapshot, TreeHead, tree_head};
use report::witness::WitnessesView;

use super::audit::short;
use super::view::judged;
use super::{WitnessFault, now};

/// A proof, and under which head.
pub(crate) struct Made {
    pub(crate) proof: TlogProof,
    pub(crate) head: TreeHead,
    /// Names of the keys that cosigned.
    pub(crate) cosigners: Vec<String>,
}

/// Proves an entry: under the cosigned head where that has it, else under the newest.
pub(crate) fn prove(log: &Log, snapshot: &Snapshot, index: u64) -> Result<Made, LogError> {
    let key = log.key()?;
    if let Some(bytes) = log.cosigned().map_err(LogError::Disk)?
        && let Ok((head, note)) = tree_head::open(&bytes, &key)
        && let Some(proof) = snapshot.prove_under(index, head, &bytes)?
    {
        let names = note.signatures().iter().map(|it| it.name.clone());
        return Ok(Made {
            proof,
            head,
            cosigners: names.filter(|name| name != key.name()).collect(),
        });
    }
    Ok(Made {
        proof: snapshot.prove(index)?,
        head: snapshot.head(),
        cosigners: Vec::new(),
    })
}

/// The key of the log that a proof is of, by a policy.
pub(crate) fn log_of(
    policy: Option<&Policy>,
    proof: &TlogProof,
) -> Result<VerifierKey, WitnessFault> {
    let note = note::parse(&proof.tree_head).ok();
    let origin = note.as_ref().and_then(|it| it.text().lines().next());
    let origin = origin.unwrap_or_default();
    let mut logs = policy.into_iter().flat_map(Policy::logs);
    let log = logs.find(|log| log.key.name() == origin);
    log.map(|log| log.key.clone())
        .ok_or_else(|| WitnessFault::NoLog {
            origin: origin.to_owned(),
        })
}

/// Who cosigned the head of a proof whose log's signature holds, and what is missing to the quorum.
pub(crate) fn judge_proof(
    policy: &Policy,
    proof: &TlogProof,
    key: &VerifierKey,
    head: TreeHead,
) -> (WitnessesView, Option<String>) {
    let judgement = match note::parse(&proof.tree_head) {
        Ok(note) => policy.judge(&note, key.name(), now()),
        Err(_) => policy.judge_nothing(),
    };
    let mut view = judged(key.name(), head.size, &judgement);
    view.witnessed = judgement.cosigned().next().map(|_| head.size);
    let problem = (!judgement.quorum).then(|| short(&judgement));
    (view, problem)
}
