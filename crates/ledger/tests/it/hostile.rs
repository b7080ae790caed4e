//! Whoever can write in the store's folder while we work: readers come to an end, writers notice, the audit says what it read.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use taintline_ledger::{Found, LedgerError, audit};

use crate::world::{World, batch, references};

#[test]
fn the_audit_tells_the_head_that_it_recomputed_although_others_publish_meanwhile() {
    let world = World::new();
    let writer = world.writer();
    writer.append(&batch("before", 600)).unwrap();
    writer.publish().unwrap();
    let once = AtomicBool::new(true);
    let report = audit(&world.store, &|entry| {
        if once.swap(false, Ordering::Relaxed) {
            writer.append(&batch("meanwhile", 900)).unwrap();
            writer.publish().unwrap();
        }
        references(entry)
    });
    assert_eq!(report.problems, []);
    assert_eq!(report.logs.len(), 1);
    assert_eq!(report.entries, report.logs[0].head.size);
}

#[test]
fn a_reader_of_a_damaged_log_comes_to_an_end_although_somebody_keeps_touching_it() {
    let world = World::new();
    let writer = world.writer();
    writer.append(&batch("honest", 300)).unwrap();
    writer.publish().unwrap();
    let bundle = world.log_folder().join("tile/entries/000");
    std::fs::write(&bundle, b"not a bundle").unwrap();
    let wal = world.log_folder().join("wal");
    let log = world.store.logs().unwrap().remove(0);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let began = Instant::now();
            // Bounded, so that a reader that never ends fails this test and does not hang it.
            while !done.load(Ordering::Relaxed) && began.elapsed() < Duration::from_mins(1) {
                let file = std::fs::File::options().write(true).open(&wal).unwrap();
                file.set_modified(std::time::SystemTime::now()).unwrap();
            }
            assert!(done.load(Ordering::Relaxed), "the reader waited for ever");
        });
        assert!(log.entries(0..10).is_err());
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_process_that_keeps_its_place_in_the_line_does_not_keep_the_log() {
    let world = World::new();
    let writer = world.writer();
    writer.append(&[b"first"]).unwrap();
    let line = std::fs::File::open(world.log_folder().join("vkey")).unwrap();
    line.try_lock().unwrap();
    let busy = std::fs::File::options()
        .write(true)
        .open(world.log_folder().join("lock"))
        .unwrap();
    busy.try_lock().unwrap();
    std::thread::scope(|scope| {
        let appending = scope.spawn(|| writer.append(&[b"second"]));
        // Longer than a place in the line is waited for: the lock itself must still be waited for.
        std::thread::sleep(Duration::from_millis(600));
        busy.unlock().unwrap();
        assert_eq!(appending.join().unwrap().unwrap().first, 1);
    });
}

#[test]
fn a_folder_where_a_file_goes_is_somebodys_work_and_the_record_goes_on_elsewhere() {
    for place in [
        ".new-wal",
        ".new-checkpoint",
        "tile/entries/000.p/x",
        "tile/0/000.p/1",
    ] {
        let world = World::new();
        let writer = world.writer();
        writer.append(&batch("honest", 3)).unwrap();
        writer.publish().unwrap();
        writer.append(&batch("more", 3)).unwrap();
        std::fs::create_dir_all(world.log_folder().join(place)).unwrap();
        match writer.publish() {
            Err(LedgerError::Rewritten { file, found, .. }) => {
                assert!(file.ends_with(place), "{place}: {}", file.display());
                assert!(matches!(found, Found::OtherBytes), "{place}: {found:?}");
            }
            other => unreachable!("{place}: {other:?}"),
        }
        assert_eq!(writer.continue_elsewhere().unwrap(), "alice@host~2");
        writer.append(&[b"elsewhere"]).unwrap();
    }
}

#[test]
fn a_proof_is_made_although_the_tiles_that_it_began_with_are_gone() {
    let world = World::new();
    let writer = world.writer();
    writer.append(&batch("before", 300)).unwrap();
    writer.publish().unwrap();
    let log = world.store.logs().unwrap().remove(0);
    let once = AtomicBool::new(true);
    let proof = log.of_snapshot(|snapshot| {
        if once.swap(false, Ordering::Relaxed) {
            // The narrow tiles of the snapshot's right edge are replaced by wider ones.
            writer.append(&batch("meanwhile", 10)).unwrap();
            writer.publish().unwrap();
        }
        snapshot.prove(299)
    });
    let proof = proof.unwrap();
    assert!(proof.verify(&log.key().unwrap(), None).is_ok());
}
