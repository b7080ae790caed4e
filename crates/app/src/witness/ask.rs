//! Asks one witness to cosign the newest head of a log.
//!
//! The witness may be away, hang, flood, lie, or be right and the log wrong. So nothing that it says is believed but what a
//! key has signed: its own key a cosignature, the log's key a head that the log does not continue. Questions are few and
//! bounded in time, because one witness must not use up the time of the others.

use std::time::{Duration, Instant};

use domain::Digest;
use ledger::cosignature::{CosignatureError, CosignerKey};
use ledger::note::{self, Note, NoteSyntax, Signature, VerifierKey};
use ledger::policy::{MAX_AHEAD_SECONDS, PolicyWitness};
use ledger::witness::AddCheckpoint;
use ledger::{Log, LogError, Snapshot, TreeHead, tree_head};

use super::cosign::{Contradiction, Holder};
use super::now;
use crate::net::{self, NetError, Reply};

/// How often one witness is asked about one head: it may have been asked by somebody else in between.
const TRIES: usize = 4;

/// How long one question may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer: a note with thirty of the large cosignatures.
const MAX_ANSWER: u64 = 128 << 10;

/// Why there is no cosignature of a witness.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// Nobody says where it is.
    #[error("the policy has no address of it")]
    NoAddress,
    /// It could not be reached, or did not answer as it should.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The time for all was up.
    #[error("no time was left to ask it")]
    NoTime,
    /// It does not know this log.
    #[error("it does not witness this log")]
    UnknownLog,
    /// It does not take the log's signature for one.
    #[error("it does not accept the log's key")]
    NotSigned,
    /// It refuses without proof of why.
    #[error("it refuses (status {status})")]
    Refused {
        /// The status code.
        status: u16,
    },
    /// It names sizes again and again that it then does not accept.
    #[error("it named a size {TRIES} times and never accepted it")]
    Fickle,
    /// It says that it saw more entries than there are, and shows nothing.
    #[error("it says that it saw {claimed} entries, of {size}, and does not show the signed head")]
    Claims {
        /// What it says.
        claimed: u64,
        /// How many there are.
        size: u64,
    },
    /// The log contradicts what it saw.
    #[error("it holds a head of this log that the log does not continue")]
    Contradicted,
    /// The answer is no signature lines.
    #[error("its answer is malformed: {0}")]
    Answer(#[from] NoteSyntax),
    /// Not the key that the policy has.
    #[error("wrong witness: it answers with a cosignature by another key")]
    OtherKey,
    /// An answer without a cosignature.
    #[error("its answer has no cosignature")]
    NoCosignature,
    /// Its cosignature does not hold.
    #[error("its answer: {0}")]
    Bad(#[from] CosignatureError),
    /// Its clock is ahead.
    #[error("its cosignature is from the future")]
    Ahead,
    /// The own log could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// What one witness said.
pub(super) struct Said {
    pub(super) answer: Result<Signature, Trouble>,
    pub(super) contradiction: Option<Contradiction>,
}

/// One question: who is asked about what, until when.
pub(super) struct Question<'a> {
    pub(super) witness: &'a PolicyWitness,
    pub(super) log: &'a Log,
    pub(super) key: &'a VerifierKey,
    pub(super) snapshot: &'a Snapshot,
    pub(super) note: &'a Note,
    /// The size that the witness has cosigned, as far as is known.
    pub(super) old: u64,
    pub(super) deadline: Instant,
}

/// What a reply to `add-checkpoint` leads to.
enum Next {
    Done(Signature),
    /// Ask again, from this size on.
    From(u64),
    /// It says that it saw more than there is.
    Beyond(u64),
    /// It refuses, as if the log were not the one that it saw.
    Disputed(u16),
}

impl Question<'_> {
    /// Asks.
    pub(super) fn ask(&self) -> Said {
        let mut contradiction = None;
        let answer = self.converse(&mut contradiction);
        Said {
            answer,
            contradiction,
        }
    }

    fn converse(&self, contradiction: &mut Option<Contradiction>) -> Result<Signature, Trouble> {
        let url = self.witness.url.as_deref().ok_or(Trouble::NoAddress)?;
        let url = url.trim_end_matches('/');
        let size = self.snapshot.head().size;
        let mut old = self.old.min(size);
        for _ in 0..TRIES {
            let (trouble, look) = match self.add_checkpoint(url, old)? {
                Next::Done(signature) => return Ok(signature),
                Next::From(named) => {
                    old = named;
                    continue;
                }
                Next::Beyond(claimed) => (Trouble::Claims { claimed, size }, true),
                Next::Disputed(status) => (Trouble::Refused { status }, true),
            };
            if look {
                *contradiction = self.look_there(url)?;
            }
            return Err(match contradiction {
                Some(_) => Trouble::Contradicted,
                None => trouble,
            });
        }
        Err(Trouble::Fickle)
    }

    fn add_checkpoint(&self, url: &str, old: u64) -> Result<Next, Trouble> {
        let request = AddCheckpoint {
            old,
            proof: self.snapshot.consistency(old)?,
            note: self.note.clone(),
        };
        let reply = net::post(
            &format!("{url}/add-checkpoint"),
            "text/plain",
            &request.encode(),
            MAX_ANSWER,
            self.time_left()?,
        )?;
        let size = self.snapshot.head().size;
        match (reply.status, named_size(&reply)) {
            (200, _) => self.cosignature(&reply.body).map(Next::Done),
            (404, _) => Err(Trouble::UnknownLog),
            (403, _) => Err(Trouble::NotSigned),
            (409, Some(named)) if named > size => Ok(Next::Beyond(named)),
            (409, Some(named)) if named != old => Ok(Next::From(named)),
            (409 | 422, _) => Ok(Next::Disputed(reply.status)),
            (status, _) => Err(Trouble::Refused { status }),
        }
    }

    /// The cosignature in an answer, verified.
    fn cosignature(&self, body: &[u8]) -> Result<Signature, Trouble> {
        let lines = std::str::from_utf8(body).map_err(|_| NoteSyntax::NotText)?;
        let lines = note::parse_signatures(lines)?;
        let key: &CosignerKey = &self.witness.key;
        let of_key = |it: &&Signature| it.name == key.name() && it.key_id == key.id();
        let Some(own) = lines.iter().find(of_key) else {
            return Err(if lines.is_empty() {
                Trouble::NoCosignature
            } else {
                Trouble::OtherKey
            });
        };
        let cosigned = self.note.clone().signed_also(own.clone());
        match key.read(&cosigned) {
            Some(Ok(read)) if read.at > now().saturating_add(MAX_AHEAD_SECONDS) => {
                Err(Trouble::Ahead)
            }
            Some(Ok(_)) => Ok(own.clone()),
            Some(Err(error)) => Err(error.into()),
            None => Err(Trouble::NoCosignature),
        }
    }

    /// Asks the witness for the head that it holds, and holds that against the log: only what the log's own key signed
    /// can prove anything.
    fn look_there(&self, url: &str) -> Result<Option<Contradiction>, Trouble> {
        let origin = Digest::of(self.key.name().as_bytes());
        let url = format!("{url}/{origin}/checkpoint");
        let Ok(reply) = net::get(&url, MAX_ANSWER, self.time_left()?) else {
            return Ok(None);
        };
        let Ok((theirs, _)) = tree_head::open(&reply.body, self.key) else {
            return Ok(None);
        };
        let holder = Holder::Witness(self.witness.name.clone());
        Ok(contradicted(self.log, theirs, &reply.body, &holder)?)
    }

    fn time_left(&self) -> Result<Duration, Trouble> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Trouble::NoTime);
        }
        Ok(left.min(PATIENCE))
    }
}

/// Whether a head that the log's key signed is one that the log, as it is now, does not continue.
pub(super) fn contradicted(
    log: &Log,
    theirs: TreeHead,
    note: &[u8],
    holder: &Holder,
) -> Result<Option<Contradiction>, LogError> {
    // Read after theirs: another process may have appended since the question.
    log.of_snapshot(|snapshot| {
        let is_continued = snapshot.continues(theirs)?;
        Ok((!is_continued).then(|| Contradiction {
            holder: holder.clone(),
            theirs,
            ours: snapshot.head(),
            their_note: note.to_vec(),
            our_note: snapshot.signed_head().to_vec(),
        }))
    })
}

/// A size in an answer of status 409, whatever type it claims to have.
fn named_size(reply: &Reply) -> Option<u64> {
    let text = std::str::from_utf8(&reply.body).ok()?;
    let digits = text.strip_suffix('\n').unwrap_or(text);
    let size: u64 = digits.parse().ok()?;
    (size.to_string() == digits).then_some(size)
}
