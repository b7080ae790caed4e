//! Whether a tree head deserves a cosignature: the rules of the specification, in its order, with its codes.

use domain::Digest;

use crate::note::VerifierKey;
use crate::proof::is_consistent;
use crate::tree::empty_root;
use crate::tree_head::TreeHead;
use crate::witness::request::{AddCheckpoint, RequestSyntax};

/// Why a tree head is not cosigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Not a request.
    #[error(transparent)]
    Syntax(#[from] RequestSyntax),
    /// No log of this origin is known here.
    #[error("this log is not witnessed here")]
    UnknownLog,
    /// No signature by a key of the log, or a bad one.
    #[error("the tree head is not signed by the log's key")]
    NotSigned,
    /// The proof starts behind its end.
    #[error("the old size is larger than the tree head's")]
    OldBeyond,
    /// The proof does not start where the log was seen last.
    #[error("the log was seen with {size} entries")]
    Stale {
        /// How many entries were cosigned last.
        size: u64,
    },
    /// Another root at a size that was cosigned.
    #[error("the log was seen with the same number of entries and another root")]
    Fork,
    /// A tree without entries that does not have the root of one.
    #[error("a tree without entries has another root")]
    NotEmpty,
    /// The proof does not lead from the head that was seen to this one.
    #[error("the consistency proof does not hold")]
    Proof,
}

impl Refusal {
    /// The status code that the specification has for it.
    pub fn status(self) -> u16 {
        match self {
            Self::Syntax(_) | Self::OldBeyond => 400,
            Self::NotSigned => 403,
            Self::UnknownLog => 404,
            Self::Stale { .. } => 409,
            Self::Fork | Self::NotEmpty | Self::Proof => 422,
        }
    }
}

/// What was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What was said.
    pub answer: Result<TreeHead, Refusal>,
    /// Whether the log has signed two trees of one size: proof of two histories, whatever the answer is.
    pub contradicts: bool,
}

/// Judges a request about a log whose keys are `keys` and that was cosigned at `latest` last; nothing is cosigned yet at
/// [`TreeHead::empty`].
pub fn judge(request: &AddCheckpoint, keys: &[VerifierKey], latest: TreeHead) -> Verdict {
    let refused = |refusal| Verdict {
        answer: Err(refusal),
        contradicts: false,
    };
    let Some((origin, head)) = request.head() else {
        return refused(RequestSyntax::Form.into());
    };
    let keys = keys.iter().filter(|key| key.name() == origin);
    if keys.clone().next().is_none() {
        return refused(Refusal::UnknownLog);
    }
    // A line of a known key that does not hold spoils the note, whatever else is on it.
    let of = |key: &VerifierKey| {
        let mut lines = request.note.signatures().iter();
        lines.any(|it| it.name == key.name() && it.key_id == key.id())
    };
    let mut present = keys.filter(|key| of(key)).peekable();
    if present.peek().is_none() || !present.all(|key| request.note.is_signed_by(key)) {
        return refused(Refusal::NotSigned);
    }
    Verdict {
        answer: continues(request.old, &request.proof, latest, head).map(|()| head),
        contradicts: head.size == latest.size && head.root != latest.root,
    }
}

fn continues(old: u64, proof: &[Digest], latest: TreeHead, head: TreeHead) -> Result<(), Refusal> {
    if old > head.size {
        return Err(Refusal::OldBeyond);
    }
    if old != latest.size {
        return Err(Refusal::Stale { size: latest.size });
    }
    if head.size == 0 && head.root != empty_root() {
        return Err(Refusal::NotEmpty);
    }
    if old == head.size && head.root != latest.root {
        return Err(Refusal::Fork);
    }
    if is_consistent((old, latest.root), (head.size, head.root), proof) {
        Ok(())
    } else {
        Err(Refusal::Proof)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Kernel;
    use crate::key::SigningKey;
    use crate::note::Note;
    use crate::proof::consistency_ranges;
    use crate::tree::{Edge, leaf};

    struct World {
        key: SigningKey,
        other: SigningKey,
        leaves: Vec<Digest>,
    }

    impl World {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            let key = |file: &str| {
                let path = folder.path().join(file);
                SigningKey::load_or_make(&Kernel, &path, "log").unwrap().0
            };
            Self {
                key: key("a"),
                other: key("b"),
                leaves: (0..40_u8).map(|at| leaf(&[at])).collect(),
            }
        }

        fn root(&self, start: u64, end: u64) -> Digest {
            let mut edge = Edge::default();
            let at = |position: u64| usize::try_from(position).unwrap();
            for leaf in &self.leaves[at(start)..at(end)] {
                edge.push(*leaf);
            }
            edge.root()
        }

        fn head(&self, size: u64) -> TreeHead {
            TreeHead {
                size,
                root: self.root(0, size),
            }
        }

        fn proof(&self, old: u64, size: u64) -> Vec<Digest> {
            let ranges = consistency_ranges(old, size).unwrap_or_default();
            ranges.into_iter().map(|(a, b)| self.root(a, b)).collect()
        }

        fn ask(&self, old: u64, head: TreeHead, proof: Vec<Digest>, latest: TreeHead) -> Verdict {
            let note = self.key.sign(head.text("log"));
            let keys = [self.key.verifier().clone()];
            judge(&AddCheckpoint { old, proof, note }, &keys, latest)
        }
    }

    #[test]
    fn every_growth_with_its_proof_is_cosigned() {
        let world = World::new();
        for size in 0..=40 {
            for old in 0..=size {
                let (head, latest) = (world.head(size), world.head(old));
                let verdict = world.ask(old, head, world.proof(old, size), latest);
                assert_eq!(verdict.answer, Ok(head), "{old} {size}");
                assert!(!verdict.contradicts);
            }
        }
    }

    #[test]
    fn every_refusal_has_the_code_of_the_specification() {
        let world = World::new();
        let (seen, head) = (world.head(20), world.head(30));
        let good = world.proof(20, 30);
        let answer = |old, head, proof: &[Digest], latest| {
            let verdict = world.ask(old, head, proof.to_vec(), latest);
            let refusal = verdict.answer.unwrap_err();
            (refusal, refusal.status(), verdict.contradicts)
        };
        let other = |size| TreeHead {
            size,
            root: leaf(b"?"),
        };
        // Rollback, stale, from behind.
        assert_eq!(
            answer(20, world.head(10), &[], seen),
            (Refusal::OldBeyond, 400, false)
        );
        assert_eq!(
            answer(10, head, &good, seen),
            (Refusal::Stale { size: 20 }, 409, false)
        );
        assert_eq!(
            answer(0, head, &[], seen),
            (Refusal::Stale { size: 20 }, 409, false)
        );
        assert_eq!(
            answer(5, world.head(10), &[], seen),
            (Refusal::Stale { size: 20 }, 409, false)
        );
        // Forks.
        assert_eq!(answer(20, other(20), &[], seen), (Refusal::Fork, 422, true));
        assert_eq!(
            answer(3, other(20), &[], seen),
            (Refusal::Stale { size: 20 }, 409, true)
        );
        // Proofs.
        for proof in [&good[1..], &[], &[&good[..], &good[..1]].concat()] {
            assert_eq!(answer(20, head, proof, seen), (Refusal::Proof, 422, false));
        }
        assert_eq!(
            answer(20, other(30), &good, seen),
            (Refusal::Proof, 422, false)
        );
        assert_eq!(answer(20, seen, &good, seen), (Refusal::Proof, 422, false));
        let nothing = TreeHead::empty();
        assert_eq!(
            answer(0, head, &good, nothing),
            (Refusal::Proof, 422, false)
        );
        assert_eq!(
            answer(0, other(0), &[], nothing),
            (Refusal::NotEmpty, 422, true)
        );
    }

    #[test]
    fn only_the_logs_own_key_counts_and_a_bad_line_under_it_spoils_the_note() {
        let world = World::new();
        let head = world.head(3);
        let ask = |note: Note, keys: &[VerifierKey]| {
            let request = AddCheckpoint {
                old: 0,
                proof: Vec::new(),
                note,
            };
            judge(&request, keys, TreeHead::empty()).answer
        };
        let keys = [world.key.verifier().clone()];
        let good = world.key.sign(head.text("log"));
        assert_eq!(ask(good.clone(), &keys), Ok(head));
        assert_eq!(ask(good.clone(), &[]), Err(Refusal::UnknownLog));
        let elsewhere = world.key.sign(head.text("log2"));
        assert_eq!(ask(elsewhere, &keys), Err(Refusal::UnknownLog));
        let foreign = world.other.sign(head.text("log"));
        assert_eq!(ask(foreign.clone(), &keys), Err(Refusal::NotSigned));
        let both = good.clone().signed_also(foreign.signatures()[0].clone());
        assert_eq!(
            ask(both.clone(), &keys),
            Ok(head),
            "unknown keys are ignored"
        );
        let known = [keys[0].clone(), world.other.verifier().clone()];
        assert_eq!(ask(both.clone(), &known), Ok(head));
        let mut bad = foreign.signatures()[0].clone();
        bad.signature[3] ^= 1;
        assert_eq!(ask(both.signed_also(bad), &known), Err(Refusal::NotSigned));
        let mut bad = good.signatures()[0].clone();
        bad.signature[3] ^= 1;
        assert_eq!(ask(good.signed_also(bad), &keys), Err(Refusal::NotSigned));
    }
}
