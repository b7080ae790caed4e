//! A tree head that was kept elsewhere, held against the store: the one thing that a rewritten or rolled back log cannot
//! agree with.
//!
//! It may come as a signed note, as one with further signatures of witnesses, or within a proof; what counts is the
//! signature of the log itself, because without it anybody could make an honest store look forged. Who else signed is for
//! others to weigh.

use std::fmt;

use crate::log::Log;
use crate::note::{self, NoteSyntax};
use crate::store::Store;
use crate::tiles::LogError;
use crate::tlog_proof::{ProofSyntax, TlogProof};
use crate::tree_head::{self, TreeHead};

/// What a proof file begins with.
const PROOF: &[u8] = b"c2sp.org/tlog-proof@";

/// A tree head from elsewhere, not yet verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptHead {
    origin: String,
    head: TreeHead,
    note: Vec<u8>,
}

/// Bytes that hold no tree head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeptSyntax {
    /// Begins like a proof and is none.
    #[error(transparent)]
    Proof(#[from] ProofSyntax),
    /// Not a signed note.
    #[error("neither a signed tree head nor a proof: {0}")]
    Note(#[from] NoteSyntax),
    /// A note that says something else.
    #[error("a signed note, but no tree head: origin, size and root, each on its line")]
    Form,
}

/// How the store stands to a head that was kept elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The log begins with exactly these entries, and has so many now.
    Continued {
        /// The log's name.
        log: String,
        /// Its present size.
        size: u64,
    },
    /// The log is shorter than it was: it was put back to an earlier state.
    RolledBack {
        /// The log's name.
        log: String,
        /// Its present head.
        now: TreeHead,
    },
    /// The log is as long or longer and has other entries.
    Fork {
        /// The log's name.
        log: String,
        /// Its present head.
        now: TreeHead,
    },
    /// The log's key in the store did not sign this head.
    OtherKey {
        /// The log's name.
        log: String,
    },
    /// The store has the id that the head names, and no such log.
    Gone {
        /// The name that the log had.
        log: String,
    },
    /// The head is of another store, or of no log of Taintline.
    OtherLog,
}

impl Standing {
    /// Whether all is well.
    pub fn is_continued(&self) -> bool {
        matches!(self, Self::Continued { .. })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Continued { log, size } => {
                write!(
                    formatter,
                    "log {log} goes on from there, {size} entries now"
                )
            }
            Self::RolledBack { log, now } => write!(
                formatter,
                "rolled back: log {log} is shorter than it was ({now})"
            ),
            Self::Fork { log, now } => write!(
                formatter,
                "fork: log {log} has other entries than those that were signed then ({now})"
            ),
            Self::OtherKey { log } => write!(
                formatter,
                "wrong key: the key that log {log} has in this store did not sign this head"
            ),
            Self::Gone { log } => write!(formatter, "gone: the store has no log {log} any more"),
            Self::OtherLog => formatter.write_str("other log: the head is of another store"),
        }
    }
}

impl KeptHead {
    /// Takes a head out of a note or a proof. Pure and total.
    pub fn parse(bytes: &[u8]) -> Result<Self, KeptSyntax> {
        let note = if bytes.starts_with(PROOF) {
            TlogProof::parse(bytes)?.tree_head
        } else {
            bytes.to_vec()
        };
        let text = note::parse(&note)?;
        let (origin, head) = tree_head::parse_text(text.text()).ok_or(KeptSyntax::Form)?;
        let origin = origin.to_owned();
        Ok(Self { origin, head, note })
    }

    /// Of which log it is, as it says.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Size and root, as it says.
    pub fn head(&self) -> TreeHead {
        self.head
    }

    /// Holds it against the store. An error: the log could not be read, so nothing is known.
    pub fn against(&self, store: &Store) -> Result<Standing, LogError> {
        let beginning = store.origin("");
        let Some(log) = self.origin.strip_prefix(&beginning) else {
            return Ok(Standing::OtherLog);
        };
        let log = log.to_owned();
        let logs = store.logs().unwrap_or_default();
        match logs.iter().find(|it| it.name() == log) {
            Some(found) => self.against_log(found, log),
            None => Ok(Standing::Gone { log }),
        }
    }

    fn against_log(&self, found: &Log, log: String) -> Result<Standing, LogError> {
        if tree_head::open(&self.note, &found.key()?).is_err() {
            return Ok(Standing::OtherKey { log });
        }
        let snapshot = found.snapshot()?;
        let now = snapshot.head();
        if now.size < self.head.size {
            return Ok(Standing::RolledBack { log, now });
        }
        if snapshot.continues(self.head)? {
            let size = now.size;
            Ok(Standing::Continued { log, size })
        } else {
            Ok(Standing::Fork { log, now })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let place = Self { folder };
            place.store();
            place
        }

        fn store(&self) -> Store {
            Store::open_or_create(&self.folder.path().join("s")).unwrap()
        }

        fn append(&self, entries: &[&str]) -> Vec<u8> {
            let keys = self.folder.path().join("k");
            let writer = self.store().writer("w", &keys).unwrap();
            writer.append(entries).unwrap();
            drop(writer);
            self.log().signed_head().unwrap().1
        }

        fn log(&self) -> Log {
            self.store().logs().unwrap().remove(0)
        }

        fn standing(&self, bytes: &[u8]) -> Standing {
            let kept = KeptHead::parse(bytes).unwrap();
            kept.against(&self.store()).unwrap()
        }
    }

    fn copy(from: &Path, to: &Path) {
        let _ = std::fs::remove_dir_all(to);
        std::fs::create_dir(to).unwrap();
        for item in std::fs::read_dir(from).unwrap() {
            let item = item.unwrap();
            let to = to.join(item.file_name());
            if item.file_type().unwrap().is_dir() {
                copy(&item.path(), &to);
            } else {
                std::fs::copy(item.path(), to).unwrap();
            }
        }
    }

    #[test]
    fn every_head_that_a_log_ever_had_is_continued_also_within_a_proof() {
        let place = Place::new();
        let mut heads = Vec::new();
        for number in 0..300 {
            let name = number.to_string();
            heads.push(place.append(&[&name, "x"][..=(number % 2)]));
        }
        for head in &heads {
            assert!(place.standing(head).is_continued());
        }
        let proof = place.log().snapshot().unwrap().prove(7).unwrap().encode();
        assert!(place.standing(&proof).is_continued());
        let mut cosigned = heads[9].clone();
        cosigned.extend_from_slice("— witness.example/w AAAAAAAAAAAA\n".as_bytes());
        assert!(place.standing(&cosigned).is_continued());
    }

    #[test]
    fn a_log_that_was_put_back_is_rolled_back_and_one_that_went_another_way_is_a_fork() {
        let place = Place::new();
        place.append(&["a", "b"]);
        let (store, saved) = (
            place.folder.path().join("s"),
            place.folder.path().join("saved"),
        );
        copy(&store, &saved);
        let head = place.append(&["c", "d"]);
        copy(&saved, &store);
        let rolled_back = place.standing(&head);
        assert!(
            matches!(&rolled_back, Standing::RolledBack { log, now } if log == "w" && now.size == 2)
        );
        place.append(&["c", "e"]);
        assert!(
            matches!(place.standing(&head), Standing::Fork { .. }),
            "same size"
        );
        place.append(&["f"]);
        assert!(
            matches!(place.standing(&head), Standing::Fork { .. }),
            "longer"
        );
    }

    #[test]
    fn another_log_another_key_and_a_log_that_is_gone_are_told_apart() {
        let (place, other) = (Place::new(), Place::new());
        let head = place.append(&["a"]);
        other.append(&["a"]);
        assert_eq!(other.standing(&head), Standing::OtherLog);
        let log = || "w".to_owned();
        std::fs::remove_dir_all(place.folder.path().join("s/ledger/w")).unwrap();
        assert_eq!(place.standing(&head), Standing::Gone { log: log() });
        std::fs::remove_dir_all(place.folder.path().join("k")).unwrap();
        place.append(&["a"]);
        assert_eq!(place.standing(&head), Standing::OtherKey { log: log() });
    }

    #[test]
    fn a_head_that_somebody_made_up_accuses_nobody() {
        let place = Place::new();
        let head = String::from_utf8(place.append(&["a", "b"])).unwrap();
        let forged = head.replacen("\n2\n", "\n9\n", 1);
        assert!(matches!(
            place.standing(forged.as_bytes()),
            Standing::OtherKey { .. }
        ));
    }

    #[test]
    fn any_bytes_give_a_head_or_an_error() {
        let place = Place::new();
        let head = place.append(&["a"]);
        let proof = place.log().snapshot().unwrap().prove(0).unwrap().encode();
        for whole in [head, proof] {
            for end in 0..whole.len() {
                assert!(KeptHead::parse(&whole[..end]).is_err(), "{end}");
            }
        }
        assert!(matches!(
            KeptHead::parse(b"c2sp.org/tlog-proof@v1\nnonsense"),
            Err(KeptSyntax::Proof(_))
        ));
    }
}
