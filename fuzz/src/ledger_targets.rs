//! `ledger`: one form for everything that is signed or named, and no believing of what the key did not sign.

use ledger::note::{self as notes, VerifierKey};
use ledger::tile::{self, Kind, Name};
use ledger::tlog_proof::TlogProof;
use ledger::tree_head as heads;
use ledger::wal::{self as write_ahead, Wal};

use crate::seeds;

/// [`ledger::note::parse`]: what was read is what is written.
pub fn note(data: &[u8]) -> bool {
    let Ok(note) = notes::parse(data) else {
        return false;
    };
    assert_eq!(note.encode(), data, "a second form of one note");
    assert!(note.signatures().len() <= notes::MAX_SIGNATURES);
    for signature in note.signatures() {
        assert!(notes::is_key_name(&signature.name));
    }
    true
}

/// [`ledger::tile::parse_bundle`].
pub fn bundle(data: &[u8]) -> bool {
    let Ok(entries) = tile::parse_bundle(data) else {
        return false;
    };
    assert!(entries.len() <= 256);
    let mut again = Vec::new();
    for entry in &entries {
        assert!(tile::push_entry(&mut again, entry));
    }
    assert_eq!(again, data, "a second form of one bundle");
    let hashes = data.len() / 32;
    if let Some(parsed) = tile::parse_hashes(data, hashes) {
        assert_eq!(tile::encode_hashes(&parsed), data);
    }
    true
}

/// [`Name::parse`]: one path a name, and never one that leaves the folder.
pub fn tile_name(data: &[u8]) -> bool {
    let Some((path, name)) = text(data).and_then(|path| Some((path, Name::parse(path)?))) else {
        return false;
    };
    assert_eq!(name.path(), path);
    assert!(path.starts_with("tile/") && !path.contains(".."));
    assert!((1..=256).contains(&name.width));
    let shift = match name.kind {
        Kind::Entries => 0,
        Kind::Hashes(level) => 8 * u32::from(level),
    };
    // The smallest log that has this file, where a log can be that large.
    let count = name
        .index
        .checked_mul(256)
        .and_then(|before| before.checked_add(name.width as u64));
    if let Some(size) = count.filter(|count| count.leading_zeros() >= shift) {
        assert_eq!(Name::at(name.kind, name.index, size << shift), Some(name));
    }
    true
}

/// [`VerifierKey::parse`].
pub fn verifier_key(data: &[u8]) -> bool {
    let Some((text, key)) =
        text(data).and_then(|text| Some((text, VerifierKey::parse(text).ok()?)))
    else {
        return false;
    };
    assert_eq!(key.encode(), text);
    assert!(notes::is_key_name(key.name()));
    assert!(!key.verify(b"what nobody signed", &[0; 64]));
    true
}

/// [`ledger::tree_head::open`] with a fixed key: only what that key signed is believed.
pub fn tree_head(data: &[u8]) -> bool {
    let key = seeds::verifier_key();
    let Ok((head, note)) = heads::open(data, &key) else {
        return false;
    };
    assert_eq!(head.text(key.name()), note.text());
    let signed = seeds::tree_head_texts();
    assert!(
        signed.iter().any(|text| text == note.text().as_bytes()),
        "believed what the key never signed"
    );
    true
}

/// [`ledger::tree_head::open`] on a text that the key did sign: only the one form is a tree head.
pub fn tree_head_signed(data: &[u8]) -> bool {
    let key = seeds::verifier_key();
    let Ok((head, _)) = heads::open(&seeds::sign(data), &key) else {
        return false;
    };
    assert_eq!(head.text(key.name()).as_bytes(), data);
    true
}

/// [`ledger::wal`]: records follow one another within the file, and what is written again is what was read.
pub fn wal(data: &[u8]) -> bool {
    let Ok(file) = Wal::open(data) else {
        return false;
    };
    assert_eq!(file.capacity(), data.len() as u64);
    let mut size = file.base().size;
    let mut walk = file.records();
    while let Ok(Some(record)) = walk.read() {
        assert_eq!(record.first, size);
        assert!(record.position < record.end && record.end <= data.len());
        let mut entries = Vec::new();
        let mut count = 0;
        for entry in record.entries() {
            assert!(tile::push_entry(&mut entries, entry));
            count += 1;
        }
        assert_eq!(count, record.count);
        size += u64::from(count);
        let again = write_ahead::encode(
            record.position,
            record.first,
            count,
            &entries,
            record.note(),
        );
        assert_eq!(again, data[record.position..record.end], "a second form");
    }
    let _ = walk.is_torn();
    true
}

/// [`TlogProof::parse`]: one form, and nothing is proved that the key did not sign.
pub fn tlog_proof(data: &[u8]) -> bool {
    let Ok(proof) = TlogProof::parse(data) else {
        return false;
    };
    assert_eq!(proof.encode(), data, "a second form of one proof");
    assert!(proof.hashes.len() <= ledger::proof::MAX_HASHES);
    if let Ok((entry, head)) = proof.verify(&seeds::verifier_key(), None) {
        assert!(proof.index < head.size);
        assert_eq!(
            entry,
            seeds::PROVED_ENTRY,
            "believed what was never in the tree"
        );
    }
    true
}

fn text(data: &[u8]) -> Option<&str> {
    str::from_utf8(data).ok()
}
