//! Power cuts under a witness: what it cosigned it knows afterwards, whatever else was lost.

use std::sync::Arc;

use domain::Digest;

use super::disk::Remembering;
use super::folder;
use crate::disk::{Disk, Kernel};
use crate::key::SigningKey;
use crate::note;
use crate::proof::consistency_ranges;
use crate::tree::{Edge, leaf};
use crate::tree_head::{TreeHead, parse_extended};
use crate::witness::{AddCheckpoint, Refusal, Witness, keys};

const NOW: u64 = 1_800_000_000;

fn root(start: u64, end: u64) -> Digest {
    let mut edge = Edge::default();
    for at in start..end {
        edge.push(leaf(&at.to_be_bytes()));
    }
    edge.root()
}

fn request(key: &SigningKey, old: u64, size: u64) -> Vec<u8> {
    let head = TreeHead {
        size,
        root: root(0, size),
    };
    let ranges = consistency_ranges(old, size).unwrap_or_default();
    AddCheckpoint {
        old,
        proof: ranges.into_iter().map(|(a, b)| root(a, b)).collect(),
        note: key.sign(head.text("log")),
    }
    .encode()
}

#[test]
fn no_power_cut_makes_a_witness_forget_what_it_cosigned() {
    let place = folder();
    let key = SigningKey::load_or_make(&Kernel, &place.path().join("key"), "log").unwrap();
    let key = key.0;
    keys(place.path(), Some("w")).unwrap();
    let disk = Arc::new(Remembering::new(place.path()));
    let shared = Arc::clone(&disk) as Arc<dyn Disk>;
    let logs = [key.verifier().clone()];
    let witness = Witness::open_on(shared, place.path(), &logs).unwrap();
    // When it had said what: operations so far, and the size.
    let mut said = vec![(0, 0)];
    for size in [0, 1, 2, 7, 8, 9, 300] {
        let old = said.last().map_or(0, |it| it.1);
        let answer = witness.add_checkpoint(&request(&key, old, size), NOW);
        assert!(answer.unwrap().is_ok(), "{size}");
        said.push((disk.len(), size));
    }
    let name = Digest::of(b"log").to_string();
    for end in 0..=disk.len() {
        for seed in 0..12 {
            let left = folder();
            disk.after_crash(end, seed + 100 * end as u64, left.path());
            let context = format!("before operation {end}, {seed}");
            let witness = Witness::open(left.path(), &logs).unwrap();
            let known = witness.latest(&name).map_or(0, |bytes| {
                let note = note::parse(&bytes).unwrap();
                parse_extended(note.text()).unwrap().1.size
            });
            let promised = said.iter().filter(|it| it.0 <= end).map(|it| it.1).max();
            assert!(known >= promised.unwrap(), "{context}: {known}");
            if known > 0 {
                let refused = witness.add_checkpoint(&request(&key, 0, 300), NOW);
                assert_eq!(refused.unwrap(), Err(Refusal::Stale { size: known }));
            }
            let answer = witness.add_checkpoint(&request(&key, known, 310), NOW);
            assert!(answer.unwrap().is_ok(), "{context}: it goes on");
        }
    }
}
