//! Seeds of the ledger's own files: write-ahead files and proofs.

use domain::Digest;
use ledger::TreeHead;

use crate::seeds::{ORIGIN, notes, sign};

/// The entry whose proof is a seed: the only one of its tree.
pub(crate) const PROVED_ENTRY: &[u8] = b"entry";

/// A write-ahead file with two records, and one whose second record is torn.
pub(crate) fn wals() -> Vec<Vec<u8>> {
    use ledger::wal;
    let note = &notes()[0];
    let mut whole = wal::fresh(TreeHead::empty(), wal::LEAST_BYTES);
    let mut at = wal::SECTOR;
    for (first, count) in [(0, 2), (2, 3)] {
        let mut entries = Vec::new();
        for entry in 0..count {
            ledger::tile::push_entry(&mut entries, &[entry; 300]);
        }
        let record = wal::encode(at, first, u32::from(count), &entries, note);
        whole[at..at + record.len()].copy_from_slice(&record);
        at += record.len();
    }
    let mut torn = whole.clone();
    torn[at - wal::SECTOR..at].fill(0);
    vec![whole, torn]
}

/// Proof files: one that proves, and one with hashes.
pub(crate) fn proofs() -> Vec<Vec<u8>> {
    use ledger::tlog_proof::TlogProof;
    let head = TreeHead {
        size: 1,
        root: ledger::tree::leaf(PROVED_ENTRY),
    };
    let mut proof = TlogProof {
        extra: Some(PROVED_ENTRY.to_vec()),
        index: 0,
        hashes: Vec::new(),
        tree_head: sign(head.text(ORIGIN).as_bytes()),
    };
    let proved = proof.encode();
    proof.extra = None;
    proof.hashes = vec![Digest::of(b"a"), Digest::of(b"b")];
    vec![proved, proof.encode()]
}
