//! Random and mutated bytes: an answer, never a panic, and places that lie in the file.

use proptest::prelude::*;

use super::{count, examined, field};
use crate::models::{self, Role};

const HDF5: [&[u8]; 2] = [
    include_bytes!("../../../formats/tests/samples/old.h5"),
    include_bytes!("../../../formats/tests/samples/dense.h5"),
];

/// Whatever is told of `bytes` lies in them.
fn check(bytes: &[u8]) {
    let Some(kind) = models::recognise(&bytes) else {
        return;
    };
    let seen = examined(|examiner| models::examine(examiner, kind, "m", &bytes));
    let places = seen.findings.iter().map(|finding| &finding.place);
    for place in places.chain(seen.gaps.iter().map(|gap| &gap.place)) {
        let inside = place
            .offset
            .is_none_or(|offset| offset <= bytes.len() as u64);
        assert!(inside || !place.members.is_empty(), "{place:?}");
    }
}

fn graph() -> Vec<u8> {
    let tensor = field(5, [count(1, 4), count(2, 1), field(9, [0; 16])].concat());
    let node = field(1, [field(4, "Add"), field(5, field(5, &tensor))].concat());
    [
        count(1, 8),
        field(7, [node, tensor].concat()),
        field(8, count(2, 17)),
    ]
    .concat()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_behind_each_magic_are_answered(which in 0usize..8, bytes: Vec<u8>) {
        let heads: [&[u8]; 8] = [
            b"", b"\x1c\0\0\0TFL3", b"\x1c\0\0\0ET12", b"\x89HDF\r\n\x1a\n\0", b"\x89HDF\r\n\x1a\n\x03\x08\x08",
            b"\x7fELF\x02\x01\x01\0", b"\x82\xa1a", b"\x08\x08\x3a",
        ];
        check(&[heads[which], &bytes, &[0; 64]].concat());
    }

    #[test]
    fn a_mutated_model_is_answered(which in 0usize..3, edits in prop::collection::vec((0usize..9768, any::<u8>()), 1..16)) {
        let mut bytes = match which {
            2 => graph(),
            other => HDF5[other].to_vec(),
        };
        let size = bytes.len();
        for (place, byte) in edits {
            bytes[place % size] = byte;
        }
        check(&bytes);
    }

    #[test]
    fn any_text_is_answered_as_description_and_as_source(text: Vec<u8>) {
        examined(|examiner| models::keras_config(examiner, &text, 0));
        for role in [Role::TorchScript, Role::Exported, Role::Package, Role::KerasConfig] {
            examined(|examiner| models::examine_member(examiner, role, &text.as_slice()));
        }
    }
}
