//! Proofs from what lies on disk, published or not, are accepted by anybody who has the key, and by nobody when changed.

use domain::Digest;
use taintline_ledger::note::VerifierKey;
use taintline_ledger::tlog_proof::{ProofError, TlogProof};
use taintline_ledger::{LogError, proof};

use crate::world::{World, batch};

fn key(world: &World) -> VerifierKey {
    let text = std::fs::read_to_string(world.log_folder().join("vkey")).unwrap();
    VerifierKey::parse(text.trim_end()).unwrap()
}

#[test]
fn every_entry_published_or_not_is_proved_to_whoever_has_the_key() {
    let world = World::new();
    let writer = world.writer();
    let mut all = Vec::new();
    for (round, count) in [300, 1, 500, 70].into_iter().enumerate() {
        let entries = batch(&format!("round {round}"), count);
        writer.append(&entries).unwrap();
        all.extend(entries);
        if round == 1 {
            writer.publish().unwrap();
        }
        let log = &world.store.logs().unwrap()[0];
        let snapshot = log.snapshot().unwrap();
        assert_eq!(snapshot.head().size, all.len() as u64);
        for index in (0..all.len()).step_by(37).chain([255, all.len() - 1]) {
            let proof = snapshot.prove(index as u64).unwrap();
            let read = TlogProof::parse(&proof.encode()).unwrap();
            let (entry, head) = read.verify(&key(&world), None).unwrap();
            assert_eq!((entry, head), (all[index].as_slice(), snapshot.head()));
        }
        assert!(matches!(
            snapshot.prove(all.len() as u64),
            Err(LogError::NoSuchEntry { .. })
        ));
    }
}

#[test]
fn every_earlier_size_is_proved_to_be_the_beginning() {
    let world = World::new();
    let writer = world.writer();
    let mut heads = Vec::new();
    for round in 0..40 {
        heads.push(
            writer
                .append(&batch(&format!("{round}"), 1 + round * 3))
                .unwrap()
                .head,
        );
        if round % 9 == 8 {
            writer.publish().unwrap();
        }
    }
    let snapshot = world.store.logs().unwrap()[0].snapshot().unwrap();
    let new = (snapshot.head().size, snapshot.head().root);
    for head in heads {
        assert!(snapshot.continues(head).unwrap());
        let hashes = snapshot.consistency(head.size).unwrap();
        assert!(proof::is_consistent((head.size, head.root), new, &hashes));
        let other = Digest::of(b"other");
        assert!(!proof::is_consistent((head.size, other), new, &hashes));
    }
}

#[test]
fn a_snapshot_outlives_publications_that_take_its_narrower_tiles_away() {
    let world = World::new();
    let writer = world.writer();
    let early = writer.append(&batch("early", 300)).unwrap().head;
    writer.publish().unwrap();
    writer.append(&batch("not published", 20)).unwrap();
    let snapshot = world.store.logs().unwrap()[0].snapshot().unwrap();
    writer.append(&batch("later", 400)).unwrap();
    writer.publish().unwrap();
    assert!(snapshot.continues(early).unwrap());
    for index in [0, 255, 256, 299, 300, 319] {
        let proof = snapshot.prove(index).unwrap().encode();
        let read = TlogProof::parse(&proof).unwrap();
        assert_eq!(read.verify(&key(&world), None).unwrap().1.size, 320);
    }
}

#[test]
fn no_bit_of_a_proof_file_can_change_unnoticed() {
    let world = World::new();
    let writer = world.writer();
    writer.append(&batch("x", 20)).unwrap();
    let snapshot = world.store.logs().unwrap()[0].snapshot().unwrap();
    let whole = snapshot.prove(11).unwrap().encode();
    let key = key(&world);
    for at in 0..whole.len() {
        for bit in 0..8 {
            let mut changed = whole.clone();
            changed[at] ^= 1 << bit;
            let proved = TlogProof::parse(&changed).is_ok_and(|it| it.verify(&key, None).is_ok());
            assert!(!proved, "byte {at} bit {bit}");
        }
    }
    let proof = TlogProof::parse(&whole).unwrap();
    let stranger = World::new();
    stranger.writer().append(&batch("x", 20)).unwrap();
    assert!(matches!(
        proof.verify(&self::key(&stranger), None),
        Err(ProofError::Head(_))
    ));
    assert_eq!(
        proof.verify(&key, Some(b"something else")),
        Err(ProofError::OtherEntry)
    );
    let mut bare = proof.clone();
    bare.extra = None;
    assert_eq!(bare.verify(&key, None), Err(ProofError::NoEntry));
    assert_eq!(bare.verify(&key, Some(b"else")), Err(ProofError::Hashes));
    assert!(bare.verify(&key, proof.extra.as_deref()).is_ok());
}
