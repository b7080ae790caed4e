//! A log that is rewritten under a running writer, even with its own key, is noticed, and recording goes on elsewhere.

use std::path::Path;

use taintline_ledger::{Found, LedgerError, Why, Writer};

use crate::world::{World, batch, copy};

/// A world with a running writer that has appended `size` entries.
fn running(size: usize) -> (World, Writer) {
    let world = World::new();
    let writer = world.writer();
    writer.append(&batch("honest", size / 2)).unwrap();
    writer
        .append(&batch("also honest", size - size / 2))
        .unwrap();
    writer.publish().unwrap();
    writer.check().unwrap();
    (world, writer)
}

/// Replaces the log by one that the same key signed over other entries.
fn forge(world: &World, entries: &[Vec<u8>]) {
    std::fs::remove_dir_all(world.log_folder()).unwrap();
    world.writer().append(entries).unwrap();
    world.sound();
}

#[track_caller]
fn assert_noticed(writer: &Writer, file: &Path, found: impl Fn(&Found) -> bool) {
    let remembered = writer.head();
    for result in [
        writer.check().map(drop),
        writer.append(&[b"next"]).map(drop),
    ] {
        match result {
            Err(LedgerError::Rewritten {
                file: named,
                remembered: told,
                found: other,
            }) => {
                assert_eq!((named.as_path(), told), (file, remembered));
                assert!(found(&other), "{other:?}");
            }
            other => unreachable!("{other:?}"),
        }
    }
}

#[test]
fn a_log_signed_anew_with_the_same_key_is_noticed_at_every_size() {
    for (size, forged) in [
        (300, 300),
        (300, 301),
        (300, 299),
        (300, 900),
        (512, 512),
        (256, 700),
        (1, 1),
        (5, 0),
    ] {
        let (world, writer) = running(size);
        let mut entries = [
            batch("honest", size / 2),
            batch("also honest", size - size / 2),
        ]
        .concat();
        entries[size / 2] = b"forged".to_vec();
        entries.extend(batch("more", 900));
        forge(&world, &entries[..forged]);
        assert_noticed(&writer, &world.log_folder().join("checkpoint"), |found| {
            matches!(found, Found::Head(_))
        });
    }
}

#[test]
fn a_forged_history_that_keeps_the_hashes_that_the_writer_knew_is_noticed() {
    let (world, writer) = running(700);
    let known = std::fs::read(world.log_folder().join("tile/0/002.p/188")).unwrap();
    let mut entries = [
        batch("honest", 350),
        batch("also honest", 350),
        batch("more", 400),
    ]
    .concat();
    entries[600] = b"forged".to_vec();
    forge(&world, &entries);
    // The signed log is forged in its third tile; the remembered root still follows from the hashes in place there.
    let tile = world.log_folder().join("tile/0/002");
    let forged = std::fs::read(&tile).unwrap();
    std::fs::write(&tile, [known.as_slice(), &forged[known.len()..]].concat()).unwrap();
    assert_noticed(&writer, &tile, |found| *found == Found::OtherBytes);
}

#[test]
fn an_edited_entry_is_noticed() {
    let (world, writer) = running(300);
    let last = world.log_folder().join("tile/entries/001.p/44");
    let whole = std::fs::read(&last).unwrap();
    let mut edited = whole.clone();
    edited[10] ^= 1;
    std::fs::write(&last, edited).unwrap();
    assert_noticed(&writer, &last, |found| *found == Found::OtherBytes);
    std::fs::write(&last, whole).unwrap();
    writer.append(&[b"next"]).unwrap();

    // An entry that is not at the right edge any more is found by the check, not by each append.
    let first = world.log_folder().join("tile/entries/000");
    let mut edited = std::fs::read(&first).unwrap();
    edited[10] ^= 1;
    std::fs::write(&first, edited).unwrap();
    writer.append(&[b"next"]).unwrap();
    assert!(matches!(writer.check(), Err(LedgerError::Rewritten { file, .. }) if file == first));
}

#[test]
fn an_edited_entry_is_noticed_when_the_last_bundle_is_full() {
    let (world, writer) = running(256);
    let last = world.log_folder().join("tile/entries/000");
    let mut edited = std::fs::read(&last).unwrap();
    edited[10] ^= 1;
    std::fs::write(&last, edited).unwrap();
    assert_noticed(&writer, &last, |found| *found == Found::OtherBytes);
}

#[test]
fn a_deleted_folder_or_file_is_noticed() {
    for file in [
        "",
        "checkpoint",
        "vkey",
        "lock",
        "tile",
        "tile/0/001.p/44",
        "tile/1/000.p/1",
        "tile/entries/001.p/44",
    ] {
        let (world, writer) = running(300);
        let path = world.log_folder().join(file);
        if path.is_dir() {
            std::fs::remove_dir_all(path)
        } else {
            std::fs::remove_file(path)
        }
        .unwrap();
        let expected = match file {
            "" => world.log_folder().join("lock"),
            "tile" => world.log_folder().join("tile/0/001.p/44"),
            file => world.log_folder().join(file),
        };
        assert_noticed(&writer, &expected, |found| *found == Found::Nothing);
    }
}

#[test]
fn a_head_or_key_of_somebody_else_is_noticed() {
    let other = World::new();
    other.writer().append(&batch("other", 300)).unwrap();
    for (file, found) in [("checkpoint", Found::Unsigned), ("vkey", Found::OtherBytes)] {
        let (world, writer) = running(300);
        std::fs::copy(other.log_folder().join(file), world.log_folder().join(file)).unwrap();
        assert_noticed(&writer, &world.log_folder().join(file), |it| *it == found);
    }
}

#[test]
fn an_older_head_put_back_is_noticed() {
    let (world, writer) = running(300);
    let aside = tempfile::tempdir().unwrap();
    copy(&world.log_folder(), aside.path());
    writer.append(&batch("to be hidden", 5)).unwrap();
    std::fs::remove_dir_all(world.log_folder()).unwrap();
    copy(aside.path(), &world.log_folder());
    world.sound();
    let is_older = |found: &Found| matches!(found, Found::Head(head) if head.size == 300);
    assert_noticed(&writer, &world.log_folder().join("checkpoint"), is_older);
}

#[test]
fn recording_goes_on_in_the_next_log_and_the_damaged_one_stays_for_the_audit() {
    let (world, writer) = running(300);
    let last = world.log_folder().join("tile/entries/001.p/44");
    std::fs::write(&last, "edited").unwrap();
    assert!(matches!(
        writer.append(&[b"finding"]),
        Err(LedgerError::Rewritten { .. })
    ));
    assert_eq!(writer.continue_elsewhere().unwrap(), "alice@host~2");
    let appended = writer.append(&[b"finding"]).unwrap();
    assert_eq!(
        (appended.log.as_str(), appended.first, appended.head.size),
        ("alice@host~2", 0, 1)
    );
    writer.check().unwrap();

    let later = world.writer();
    assert_eq!(later.log(), "alice@host~2");
    assert_eq!(
        later.opening().passed_over[0].why,
        Why::Damaged { file: last.clone() }
    );
    assert_eq!(later.append(&[b"later"]).unwrap().first, 1);
    assert_eq!(
        world.named(),
        [last.strip_prefix(world.store.root()).unwrap()]
    );
}

#[test]
fn a_log_that_another_process_extends_is_not_a_rewritten_one() {
    let (world, writer) = running(200);
    let other = world.writer();
    for round in 0..30 {
        let added = batch(&format!("other {round}"), 37);
        other.append(&added).unwrap();
        if round % 3 == 0 {
            writer.append(&[format!("own {round}")]).unwrap();
        }
        writer.check().unwrap();
    }
    assert_eq!(writer.head().size, 200 + 30 * 37 + 10);
    world.sound();
}

#[test]
fn a_log_that_vanished_while_its_key_stayed_is_told() {
    let (world, writer) = running(10);
    drop(writer);
    let key = std::fs::read_dir(&world.keys)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let old = std::time::SystemTime::now() - std::time::Duration::from_hours(1);
    std::fs::File::open(key).unwrap().set_modified(old).unwrap();
    assert!(!world.writer().opening().key_without_log);
    std::fs::remove_dir_all(world.log_folder()).unwrap();
    assert!(world.writer().opening().key_without_log);
    assert!(!world.writer().opening().key_without_log);
}
