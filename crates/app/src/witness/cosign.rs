//! Has the newest head of a log cosigned by all witnesses of a policy, at once, and keeps what is better than before.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use ledger::note::{self, Note, VerifierKey};
use ledger::policy::{Judgement, Policy, PolicyWitness};
use ledger::{Log, LogError, TreeHead, tree_head};

use super::ask::{Question, Said, Trouble, contradicted};
use super::now;

/// Witnesses that are asked at the same time.
const AT_ONCE: usize = 32;

/// A head that the log's key signed and that the log does not continue: there are two histories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Contradiction {
    pub(crate) holder: Holder,
    pub(crate) theirs: TreeHead,
    pub(crate) ours: TreeHead,
    /// The signed heads, as evidence.
    pub(crate) their_note: Vec<u8>,
    pub(crate) our_note: Vec<u8>,
}

/// Who shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holder {
    /// A witness.
    Witness(String),
    /// The file beside the log.
    File,
}

/// What came of asking.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) log: String,
    /// The head that was to be cosigned.
    pub(crate) head: TreeHead,
    /// What the policy says of it now.
    pub(crate) judgement: Judgement,
    /// Why some did not cosign, by their names.
    pub(crate) troubles: BTreeMap<String, Trouble>,
    pub(crate) contradictions: Vec<Contradiction>,
    /// Why what they said could not be kept.
    pub(crate) not_kept: Option<String>,
}

impl Asked {
    /// What came of it where the log itself stood in the way.
    pub(super) fn nothing(log: &Log, policy: &Policy, error: LogError) -> Self {
        let name = log.name().to_owned();
        Self {
            head: TreeHead {
                size: 0,
                root: ledger::tree::empty_root(),
            },
            judgement: policy.judge_nothing(),
            troubles: BTreeMap::from([(name.clone(), Trouble::Log(error))]),
            contradictions: Vec::new(),
            not_kept: None,
            log: name,
        }
    }
}

/// Asks all witnesses about the newest head of a log; takes `patience` at most.
pub(crate) fn cosign(log: &Log, policy: &Policy, patience: Duration) -> Result<Asked, LogError> {
    let deadline = Instant::now() + patience;
    let key = log.key()?;
    // What cannot be read is told, and keeps nobody from being asked.
    let (kept, unread) = match log.cosigned() {
        Ok(bytes) => (bytes.and_then(|bytes| Kept::of(bytes, &key)), None),
        Err(fault) => (None, Some(fault.to_string())),
    };
    let snapshot = log.snapshot()?;
    let head = snapshot.head();
    let signed = note::parse(snapshot.signed_head());
    let signed = signed.map_err(|error| LogError::Head {
        file: log.name().into(),
        why: error.into(),
    })?;
    let mut asked = Asked {
        log: log.name().to_owned(),
        head,
        judgement: policy.judge_nothing(),
        troubles: BTreeMap::new(),
        contradictions: Vec::new(),
        not_kept: unread,
    };
    let question = |witness: &PolicyWitness| {
        let question = Question {
            old: kept.as_ref().map_or(0, |kept| kept.seen_by(witness)),
            witness,
            log,
            key: &key,
            snapshot: &snapshot,
            note: &signed,
            deadline,
        };
        question.ask()
    };
    let mut cosigned = signed.clone();
    for (witness, said) in ask_all(policy.witnesses(), &question) {
        asked.contradictions.extend(said.contradiction);
        match said.answer {
            Ok(signature) => cosigned = cosigned.signed_also(signature),
            Err(trouble) => {
                asked.troubles.insert(witness.name.clone(), trouble);
            }
        }
    }
    if asked.not_kept.is_some() {
        asked.judgement = policy.judge(&cosigned, key.name(), now());
        return Ok(asked);
    }
    keep(log, policy, &key, cosigned, &mut asked);
    Ok(asked)
}

/// Puts what the witnesses said into its place, if it is better than what lies there by now.
fn keep(log: &Log, policy: &Policy, key: &VerifierKey, new: Note, asked: &mut Asked) {
    let mut cosigned = new;
    let kept = log.replace_cosigned(|bytes| {
        let kept = bytes.and_then(|bytes| Kept::of(bytes.to_vec(), key));
        if let Some(kept) = &kept {
            cosigned = kept.add_to(cosigned.clone());
            let found = contradicted(log, kept.head, &kept.bytes, &Holder::File)?;
            asked.contradictions.extend(found);
        }
        asked.judgement = policy.judge(&cosigned, key.name(), now());
        let is_better = asked.judgement.cosigned().next().is_some()
            && is_better(asked, kept.as_ref(), policy, key, log)?;
        Ok(is_better.then(|| cosigned.encode()))
    });
    if let Err(error) = kept {
        asked.judgement = policy.judge(&cosigned, key.name(), now());
        asked.not_kept = Some(error.to_string());
    }
}

/// Asks many at once, so that one that hangs costs the others nothing.
fn ask_all<'p>(
    witnesses: &'p [PolicyWitness],
    ask: &(impl Fn(&PolicyWitness) -> Said + Sync),
) -> Vec<(&'p PolicyWitness, Said)> {
    let mut all = Vec::new();
    for some in witnesses.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> = some
                .iter()
                .map(|witness| {
                    let thread = std::thread::Builder::new().name("witness".to_owned());
                    (witness, thread.spawn_scoped(scope, move || ask(witness)))
                })
                .collect();
            for (witness, thread) in asked {
                let said = thread.ok().and_then(|thread| thread.join().ok());
                let lost = Said {
                    answer: Err(Trouble::NoTime),
                    contradiction: None,
                };
                all.push((witness, said.unwrap_or(lost)));
            }
        });
    }
    all
}

/// Whether the head that was just cosigned goes into the place of the one that is kept: never one with fewer entries, never
/// one without quorum for one with it, and never over a head that contradicts the log, for that is evidence.
fn is_better(
    asked: &Asked,
    kept: Option<&Kept>,
    policy: &Policy,
    key: &VerifierKey,
    log: &Log,
) -> Result<bool, LogError> {
    let Some(kept) = kept else {
        return Ok(true);
    };
    if !log.of_snapshot(|snapshot| snapshot.continues(kept.head))? {
        return Ok(false);
    }
    let before = policy.judge(&kept.note, key.name(), now());
    let as_good = match (asked.judgement.quorum, before.quorum) {
        (quorum, true) => quorum,
        (true, false) => true,
        (false, false) => asked.judgement.cosigned().count() >= before.cosigned().count(),
    };
    Ok(as_good && asked.head.size >= kept.head.size)
}

/// The cosigned head that lies beside the log, signed by the log's key. One that is not is no evidence of anything.
struct Kept {
    head: TreeHead,
    note: Note,
    bytes: Vec<u8>,
}

impl Kept {
    fn of(bytes: Vec<u8>, key: &VerifierKey) -> Option<Self> {
        let (head, note) = tree_head::open(&bytes, key).ok()?;
        Some(Self { head, note, bytes })
    }

    /// The size at which a witness cosigned last, as far as the file tells.
    fn seen_by(&self, witness: &PolicyWitness) -> u64 {
        match witness.key.read(&self.note) {
            Some(Ok(_)) => self.head.size,
            _ => 0,
        }
    }

    /// What is kept of the very same head counts on: a witness that is away now was there before.
    fn add_to(&self, cosigned: Note) -> Note {
        if self.note.text() != cosigned.text() {
            return cosigned;
        }
        let is_new = |name: &str, id: [u8; 4]| {
            let mut signatures = cosigned.signatures().iter();
            !signatures.any(|it| it.name == name && it.key_id == id)
        };
        let old = self.note.signatures().iter();
        let old: Vec<_> = old
            .filter(|it| is_new(&it.name, it.key_id))
            .cloned()
            .collect();
        old.into_iter().fold(cosigned, Note::signed_also)
    }
}
