//! The write-ahead file: whatever is done to it is named with its place, and what a crash leaves is not mistaken for it.

use std::path::PathBuf;

use taintline_ledger::wal::{self, DamageKind, Wal};
use taintline_ledger::{AuditProblem, LedgerError, Why};

use crate::world::{World, batch, copy};

/// A world with 300 published entries and five records behind them, left as a killed process leaves it.
fn world() -> (World, Vec<u8>, PathBuf) {
    let world = World::new();
    let aside = tempfile::tempdir().unwrap();
    {
        let writer = world.writer();
        writer.append(&batch("published", 300)).unwrap();
        writer.publish().unwrap();
        for round in 0..5 {
            writer
                .append(&batch(&format!("tail {round}"), 1 + round * 7))
                .unwrap();
        }
        copy(&world.log_folder(), aside.path());
    }
    std::fs::remove_dir_all(world.log_folder()).unwrap();
    copy(aside.path(), &world.log_folder());
    let file = world.log_folder().join("wal");
    let bytes = std::fs::read(&file).unwrap();
    (world, bytes, file)
}

/// Where the records begin, and where the last one ends.
fn borders(bytes: &[u8]) -> Vec<usize> {
    let mut walk = Wal::open(bytes).unwrap().records();
    let mut borders = vec![walk.position()];
    while walk.read().unwrap().is_some() {
        borders.push(walk.position());
    }
    borders
}

#[track_caller]
fn named(world: &World, context: &str) -> wal::Damage {
    let problems = world.audit().problems;
    let [problem] = problems.as_slice() else {
        panic!("{context}: {problems:?}")
    };
    assert!(problem.file.ends_with("wal"), "{context}: {problem}");
    match problem.what {
        AuditProblem::Wal(damage) => damage,
        ref other => panic!("{context}: {other}"),
    }
}

#[test]
fn what_a_killed_process_left_is_sound_counted_and_read() {
    let (world, bytes, _) = world();
    let report = world.sound();
    assert_eq!((report.entries, report.logs[0].head.size), (375, 375));
    assert_eq!(world.entries().len(), 375);
    assert_eq!(borders(&bytes).len(), 6);
    let writer = world.writer();
    assert!(writer.opening().passed_over.is_empty());
    assert_eq!(writer.append(&[b"next"]).unwrap().first, 375);
    writer.publish().unwrap();
    assert_eq!(world.sound().entries, 376);
}

#[test]
fn a_changed_byte_anywhere_is_named_with_its_sector_and_the_log_is_not_continued() {
    let (world, bytes, file) = world();
    let end = *borders(&bytes).last().unwrap();
    let every = (0..end).step_by(23).chain((end..bytes.len()).step_by(997));
    for (turn, at) in every.enumerate() {
        let mut changed = bytes.clone();
        changed[at] ^= 1 << (turn % 8);
        std::fs::write(&file, &changed).unwrap();
        let damage = named(&world, &format!("byte {at}"));
        assert_eq!(damage.position, (at / 512 * 512) as u64, "byte {at}");
    }
    let mut changed = bytes.clone();
    changed[end - 700] ^= 1;
    std::fs::write(&file, &changed).unwrap();
    let writer = world.writer();
    assert_eq!(writer.log(), "alice@host~2");
    let why = Why::Damaged { file: file.clone() };
    assert_eq!(writer.opening().passed_over[0].why, why);
    assert_eq!(std::fs::read(&file).unwrap(), changed, "the evidence stays");
}

#[test]
fn records_that_are_removed_repeated_swapped_or_cut_off_are_named() {
    let (world, bytes, file) = world();
    let at = borders(&bytes);
    let record = |index: usize| bytes[at[index]..at[index + 1]].to_vec();
    let with = |position: usize, part: &[u8]| {
        let mut changed = bytes.clone();
        changed[position..position + part.len()].copy_from_slice(part);
        changed
    };
    let mut shifted = bytes.clone();
    shifted.drain(at[1]..at[2]);
    shifted.resize(bytes.len(), 0);
    let (removed, blank) = (with(at[1], &vec![0; at[2] - at[1]]), vec![0; 512]);
    for (what, changed, kind) in [
        ("removed", removed, DamageKind::Removed),
        ("closed up", shifted, DamageKind::Sector),
        ("repeated", with(at[5], &record(0)), DamageKind::Sector),
        ("swapped", with(at[1], &record(0)), DamageKind::Sector),
        (
            "sector gone",
            with(at[2] + 512, &blank),
            DamageKind::Removed,
        ),
        ("cut", bytes[..bytes.len() / 2].to_vec(), DamageKind::Length),
        (
            "longer",
            [&bytes[..], &[0; 512]].concat(),
            DamageKind::Length,
        ),
        ("header gone", with(0, &blank), DamageKind::Header),
    ] {
        std::fs::write(&file, changed).unwrap();
        assert_eq!(named(&world, what).kind, kind, "{what}");
    }
}

#[test]
fn a_record_that_the_key_did_not_sign_is_named_although_its_sectors_are_intact() {
    let (world, bytes, file) = world();
    let at = borders(&bytes);
    let mut walk = Wal::open(&bytes).unwrap().records();
    let mut last = None;
    while let Some(record) = walk.read().unwrap() {
        last = Some(record);
    }
    let last = last.unwrap();
    let mut entries = Vec::new();
    for entry in last.entries() {
        taintline_ledger::tile::push_entry(&mut entries, entry);
    }
    let forge = |first: u64, count: u32, entries: &[u8], note: &[u8]| {
        let mut changed = bytes.clone();
        let record = wal::encode(at[4], first, count, entries, note);
        changed[at[4]..at[4] + record.len()].copy_from_slice(&record);
        std::fs::write(&file, &changed).unwrap();
        named(&world, "forged").kind
    };
    let (first, count, note) = (last.first, last.count, last.note().to_vec());
    let mut other = entries.clone();
    other[5] ^= 1;
    assert_eq!(forge(first, count, &other, &note), DamageKind::Root);
    let mut unsigned = note.clone();
    let middle = unsigned.len() - 30;
    unsigned[middle] = if unsigned[middle] == b'A' { b'B' } else { b'A' };
    assert!(matches!(
        forge(first, count, &entries, &unsigned),
        DamageKind::Head(_)
    ));
    assert_eq!(forge(first, count + 1, &entries, &note), DamageKind::Record);
    assert_eq!(forge(first, 0, &[], &note), DamageKind::Record);
    assert_eq!(
        forge(first + 9, count, &entries, &note),
        DamageKind::Removed
    );
}

#[test]
fn an_older_published_head_is_named_beside_a_write_ahead_file_that_continues_a_longer_log() {
    let world = World::new();
    let writer = world.writer();
    writer.append(&batch("x", 100)).unwrap();
    writer.publish().unwrap();
    let checkpoint = world.log_folder().join("checkpoint");
    let older = std::fs::read(&checkpoint).unwrap();
    writer.append(&batch("y", 200)).unwrap();
    writer.publish().unwrap();
    std::fs::write(&checkpoint, older).unwrap();
    let problems = world.audit().problems;
    let is_older =
        |what: &AuditProblem| matches!(what, AuditProblem::OlderHead(it) if it.size == 100);
    assert!(problems.iter().any(|it| is_older(&it.what)), "{problems:?}");
    assert!(matches!(
        writer.append(&[b"next"]),
        Err(LedgerError::Rewritten { file, .. }) if file == checkpoint
    ));
}

#[test]
fn a_write_ahead_file_of_another_log_or_of_an_earlier_moment_is_noticed_by_the_writer() {
    let world = World::new();
    let writer = world.writer();
    writer.append(&batch("x", 10)).unwrap();
    let file = world.log_folder().join("wal");
    let earlier = std::fs::read(&file).unwrap();
    writer.append(&batch("y", 10)).unwrap();
    let now = std::fs::read(&file).unwrap();
    let stranger = World::new();
    stranger.writer().append(&batch("x", 10)).unwrap();
    let foreign = std::fs::read(stranger.log_folder().join("wal")).unwrap();
    for other in [earlier, foreign] {
        std::fs::write(&file, other).unwrap();
        assert!(matches!(
            writer.append(&[b"next"]),
            Err(LedgerError::Rewritten { .. })
        ));
        std::fs::write(&file, &now).unwrap();
    }
    assert_eq!(writer.append(&[b"next"]).unwrap().first, 20);
}

#[test]
fn a_log_of_the_first_layout_is_read_audited_and_left_to_those_who_may_still_write_it() {
    let world = World::new();
    world.writer().append(&batch("old", 300)).unwrap();
    // What the first layout is: no write-ahead file, an empty lock, and version 1.
    std::fs::remove_file(world.log_folder().join("wal")).unwrap();
    std::fs::write(world.log_folder().join("lock"), "").unwrap();
    let version = world.store.root().join("version");
    let text = std::fs::read_to_string(&version).unwrap();
    std::fs::write(&version, text.replace("store 2", "store 1")).unwrap();
    assert_eq!(world.sound().entries, 300);
    let old = crate::world::files(&world.log_folder());

    let store = taintline_ledger::Store::open_or_create(world.store.root()).unwrap();
    assert_eq!(std::fs::read_to_string(&version).unwrap(), text);
    assert_eq!(store.id(), world.store.id());
    let writer = store.writer("alice@host", &world.keys).unwrap();
    assert_eq!(writer.log(), "alice@host~2");
    assert!(writer.opening().passed_over.is_empty(), "nothing is wrong");
    writer.append(&batch("new", 5)).unwrap();
    drop(writer);
    assert_eq!(world.sound().entries, 305);
    assert_eq!(crate::world::files(&world.log_folder()), old);
    let again = store.writer("alice@host", &world.keys).unwrap();
    assert_eq!(again.log(), "alice@host~2");
}
