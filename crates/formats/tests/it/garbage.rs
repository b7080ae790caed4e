//! Random and mutated bytes: an answer, never a panic, and only what is in the file.

use proptest::prelude::*;
use taintline_formats::checkpoint::{Reading, read};
use taintline_formats::pickle::{Limits, run};

use crate::support::{sample, sample_pickle};

/// Whatever is read lies in the file.
fn check(bytes: &[u8]) {
    let reading = read(&bytes);
    assert!(
        reading.is_ok(),
        "memory cannot fail to be read: {reading:?}"
    );
    if let Ok(Reading::Checkpoint(checkpoint)) = reading {
        for tensor in checkpoint.tensors {
            assert!(tensor.offset >= tensor.storage_offset);
            assert!(tensor.offset + tensor.bytes <= tensor.storage_offset + tensor.storage_bytes);
            assert!(tensor.storage_offset + tensor.storage_bytes <= bytes.len() as u64);
        }
    }
}

fn mutated(original: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let size = original.len();
    let edits = prop::collection::vec((0..size, any::<u8>()), 1..12);
    (edits, 0..size, any::<bool>()).prop_map(move |(edits, cut, cuts)| {
        let mut bytes = original.clone();
        for (place, byte) in edits {
            bytes[place] = byte;
        }
        if cuts {
            bytes.drain(cut..(cut + 7).min(size));
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_are_answered(bytes: Vec<u8>) {
        check(&bytes);
        let program = run(&bytes, &Limits::default());
        prop_assert!(program.end <= bytes.len());
        prop_assert!(program.complete || !program.anomalies.is_empty());
    }

    #[test]
    fn random_bytes_behind_each_magic_are_answered(which in 0usize..4, bytes: Vec<u8>) {
        let head: &[u8] = [&b"PK\x03\x04"[..], b"\x20\0\0\0\0\0\0\0{", b"\x80\x02", b"PK\x05\x06"][which];
        check(&[head, &bytes].concat());
    }

    #[test]
    fn a_mutated_checkpoint_is_answered(bytes in mutated(sample())) {
        check(&bytes);
    }

    #[test]
    fn a_mutated_pickle_is_followed_to_its_end_or_break(bytes in mutated(sample_pickle())) {
        let program = run(&bytes, &Limits::default());
        prop_assert!(program.complete || !program.anomalies.is_empty());
        check(&crate::support::with_pickle(&bytes));
    }
}

#[test]
fn a_pickle_cut_anywhere_keeps_what_was_built() {
    let pickle = sample_pickle();
    for cut in 0..pickle.len() {
        let program = run(&pickle[..cut], &Limits::default());
        assert!(!program.complete);
        assert!(program.values().count() <= run(&pickle, &Limits::default()).values().count());
        check(&crate::support::with_pickle(&pickle[..cut]));
    }
}
