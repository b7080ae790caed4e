//! Small good inputs of the ledger's formats, all signed by one key.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use domain::Digest;
use ledger::TreeHead;
use ledger::note::VerifierKey;
use ring::signature::{Ed25519KeyPair, KeyPair as _};

const ORIGIN: &str = "taintline/fuzz/log@host";

fn key() -> Ed25519KeyPair {
    match Ed25519KeyPair::from_seed_unchecked(&[42; 32]) {
        Ok(key) => key,
        Err(error) => unreachable!("32 bytes are a seed: {error}"),
    }
}

fn key_text() -> String {
    let public = [&[1], key().public_key().as_ref()].concat();
    let digest = Digest::of(&[ORIGIN.as_bytes(), b"\n", &public].concat());
    format!(
        "{ORIGIN}+{}+{}",
        &digest.to_string()[..8],
        STANDARD.encode(public)
    )
}

/// The public half of the one key that signs here.
pub(crate) fn verifier_key() -> VerifierKey {
    match VerifierKey::parse(&key_text()) {
        Ok(key) => key,
        Err(error) => unreachable!("the key's text is well formed: {error}"),
    }
}

/// `text` as a note with a good signature, whatever it says.
pub(crate) fn sign(text: &[u8]) -> Vec<u8> {
    let signature = [&verifier_key().id(), key().sign(text).as_ref()].concat();
    let line = format!("\n\u{2014} {ORIGIN} {}\n", STANDARD.encode(signature));
    [text, line.as_bytes()].concat()
}

pub(crate) fn verifier_keys() -> Vec<Vec<u8>> {
    vec![key_text().into_bytes()]
}

pub(crate) fn tree_head_texts() -> Vec<Vec<u8>> {
    let large = TreeHead {
        size: 123_456_789_012,
        root: Digest::of(b"root"),
    };
    [TreeHead::empty(), large]
        .map(|head| head.text(ORIGIN).into_bytes())
        .to_vec()
}

pub(crate) fn notes() -> Vec<Vec<u8>> {
    let mut notes: Vec<_> = tree_head_texts().iter().map(|text| sign(text)).collect();
    let mut two = notes[0].clone();
    two.extend("\u{2014} witness.example/w AAAAAAQ=\n".as_bytes());
    notes.push(two);
    notes
}

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

/// The keys of the cosigned head: one of each algorithm, made elsewhere.
pub(crate) const COSIGNERS: &str = include_str!("../../crates/ledger/tests/vectors/cosigned.keys");

/// A head that another implementation cosigned twice.
pub(crate) fn cosigned_heads() -> Vec<Vec<u8>> {
    let head = include_bytes!("../../crates/ledger/tests/vectors/cosigned");
    vec![head.to_vec(), notes()[2].clone()]
}

/// Policies: with a group, and with nobody.
pub(crate) fn policies() -> Vec<Vec<u8>> {
    let mut text = format!("# a policy\nlog {} https://log.example/\n", key_text());
    for (name, key) in ["a", "b"].iter().zip(COSIGNERS.lines()) {
        text += &format!("witness {name} {key} https://{name}.example/\n");
    }
    text += "group g 1 a b\ngroup h any g\nquorum h\n";
    vec![text.into_bytes(), b"quorum none\n".to_vec()]
}

/// Requests to a witness.
pub(crate) fn requests() -> Vec<Vec<u8>> {
    let hash = STANDARD.encode([7; 32]);
    let first = [b"old 0\n\n", notes()[1].as_slice()].concat();
    let with = format!("old 3\n{hash}\n{hash}\n\n");
    vec![first, [with.as_bytes(), &notes()[2]].concat()]
}

pub(crate) fn bundles() -> Vec<Vec<u8>> {
    let mut small = Vec::new();
    for entry in crate::seeds::entries()
        .iter()
        .map(Vec::as_slice)
        .chain([b"".as_slice(), b"x"])
    {
        ledger::tile::push_entry(&mut small, entry);
    }
    vec![small, [0, 1, b'a'].repeat(256), Vec::new()]
}

pub(crate) fn tile_names() -> Vec<Vec<u8>> {
    [
        "tile/0/000",
        "tile/entries/x001/x234/067.p/5",
        "tile/7/255.p/1",
        "tile/1/x018/446.p/255",
    ]
    .map(Into::into)
    .to_vec()
}
