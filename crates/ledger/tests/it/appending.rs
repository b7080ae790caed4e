//! Whatever is appended is there once, in order, whoever else appends, and also after a crash.

use std::collections::BTreeSet;
use std::process::Command;

use taintline_ledger::{LedgerError, MAX_ENTRY_BYTES, Store, Why};

use crate::world::{World, batch, copy, files};

#[test]
fn entries_come_back_in_order_whatever_the_batches() {
    let world = World::new();
    let mut all = Vec::new();
    for (round, count) in [0, 1, 254, 2, 255, 1, 513, 1024, 7].into_iter().enumerate() {
        let entries = batch(&format!("round {round}"), count);
        // Each round another writer: nothing is carried over in memory.
        let appended = world.writer().append(&entries).unwrap();
        assert_eq!(appended.first, all.len() as u64);
        all.extend(entries);
        assert_eq!(appended.head.size, all.len() as u64);
        let log = &world.store.logs().unwrap()[0];
        assert_eq!(log.head().unwrap(), appended.head);
        assert_eq!(log.entries(0..all.len() as u64).unwrap(), all);
        assert!(world.sound().leftovers.is_empty());
    }
    let log = &world.store.logs().unwrap()[0];
    for (start, end) in [(0, 1), (255, 257), (256, 512), (1000, 1000), (2050, 2057)] {
        let expected = &all[usize::try_from(start).unwrap()..usize::try_from(end).unwrap()];
        assert_eq!(log.entries(start..end).unwrap(), expected);
    }
    assert!(log.entries(0..2058).is_err());
    assert!(log.entries(0..u64::MAX).is_err());
}

#[test]
fn equal_entries_are_each_there_when_a_batch_fills_exactly_one_tile() {
    let world = World::new();
    for round in 1..=4 {
        world
            .writer()
            .append(&vec![b"same"; if round == 1 { 8 } else { 256 }])
            .unwrap();
        world.sound();
    }
    assert_eq!(world.entries(), vec![b"same"; 8 + 3 * 256]);
}

#[test]
fn an_entry_that_is_too_large_is_refused_with_its_whole_batch() {
    let world = World::new();
    let writer = world.writer();
    let refused = writer.append(&[vec![0; MAX_ENTRY_BYTES], vec![0; MAX_ENTRY_BYTES + 1]]);
    assert!(matches!(
        refused,
        Err(LedgerError::EntryTooLarge {
            index: 1,
            bytes: 65_536
        })
    ));
    assert_eq!(writer.append(&[vec![0; MAX_ENTRY_BYTES]]).unwrap().first, 0);
}

#[test]
fn threads_append_at_once_and_every_entry_is_there_once() {
    let world = World::new();
    let (shared, other) = (world.writer(), world.writer());
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let writer = if thread % 2 == 0 { &shared } else { &other };
            scope.spawn(move || {
                for round in 0..10 {
                    writer
                        .append(&batch(&format!("{thread} {round}"), 9))
                        .unwrap();
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..20 {
                let log = &world.store.logs().unwrap()[0];
                let size = log.head().unwrap().size;
                assert_eq!(
                    log.entries(0..size).unwrap().len() as u64,
                    size,
                    "readers are never in the way of writers"
                );
                world.sound();
            }
        });
    });
    let entries = world.entries();
    assert_eq!(entries.len(), 360);
    assert_eq!(entries.iter().collect::<BTreeSet<_>>().len(), 360);
    world.sound();
}

#[test]
fn processes_append_at_once_and_every_entry_is_there_once() {
    let world = World::new();
    let binary = std::env::current_exe().unwrap();
    let start = |name: &str| {
        Command::new(&binary)
            .args(["--ignored", "--exact", "appending::child_process_appends"])
            .envs([
                ("LEDGER_STORE", world.store.root().as_os_str()),
                ("LEDGER_KEYS", world.keys.as_os_str()),
            ])
            .env("LEDGER_NAME", name)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut running = ["a", "b", "c", "d"].map(start);
    for child in &mut running {
        assert!(child.wait().unwrap().success());
    }
    let entries = world.entries();
    assert_eq!(entries.iter().collect::<BTreeSet<_>>().len(), entries.len());
    assert_eq!(entries.len(), 4 * 15 * 11);
    assert_eq!(
        world.store.logs().unwrap().len(),
        1,
        "all share one log and one key"
    );
    world.sound();
}

#[test]
#[ignore = "run by the test above, in processes of its own"]
fn child_process_appends() {
    let variable = |name: &str| std::env::var_os(name).unwrap();
    let store = Store::open_or_create(variable("LEDGER_STORE").as_ref()).unwrap();
    let writer = store
        .writer("alice@host", variable("LEDGER_KEYS").as_ref())
        .unwrap();
    let name = variable("LEDGER_NAME").into_string().unwrap();
    for round in 0..15 {
        writer
            .append(&batch(&format!("{name} {round}"), 11))
            .unwrap();
    }
}

#[test]
fn dying_at_any_step_of_an_append_leaves_the_old_log_and_the_next_append_works() {
    let world = World::new();
    world.writer().append(&batch("before", 250)).unwrap();
    let before = tempfile::tempdir().unwrap();
    copy(&world.log_folder(), before.path());
    world.writer().append(&batch("lost", 600)).unwrap();
    let after = tempfile::tempdir().unwrap();
    copy(&world.log_folder(), after.path());

    // The files of the second batch in the order they are written, the last one torn; the head is not published.
    let new: Vec<_> = files(after.path())
        .into_iter()
        .filter(|file| !before.path().join(file).exists())
        .collect();
    assert!(new.len() > 6, "{new:?}");
    for count in 0..=new.len() {
        std::fs::remove_dir_all(world.log_folder()).unwrap();
        copy(before.path(), &world.log_folder());
        for (at, file) in new[..count].iter().enumerate() {
            let mut bytes = std::fs::read(after.path().join(file)).unwrap();
            if at + 1 == count {
                bytes.truncate(bytes.len() / 2);
            }
            std::fs::create_dir_all(world.log_folder().join(file).parent().unwrap()).unwrap();
            std::fs::write(world.log_folder().join(file), bytes).unwrap();
        }
        std::fs::write(world.log_folder().join(".new-checkpoint"), "torn").unwrap();
        assert_eq!(world.sound().entries, 250);
        let writer = world.writer();
        assert!(writer.opening().passed_over.is_empty());
        for (round, size) in [3, 4, 300, 10, 400].into_iter().enumerate() {
            writer
                .append(&batch(&format!("again {round}"), size))
                .unwrap();
            world.sound();
            writer.publish().unwrap();
            world.sound();
        }
        assert!(world.sound().leftovers.is_empty());
        assert_eq!(world.entries().len(), 250 + 717);
    }
}

#[test]
fn a_store_without_its_keys_is_continued_in_a_log_of_its_own() {
    let world = World::new();
    world.writer().append(&batch("home", 3)).unwrap();
    let away = world.keys.with_file_name("other keys");
    let writer = world.store.writer("alice@host", &away).unwrap();
    assert_eq!(writer.log(), "alice@host~2");
    let [passed] = writer.opening().passed_over.as_slice() else {
        panic!()
    };
    assert_eq!(
        (passed.log.as_str(), &passed.why),
        ("alice@host", &Why::NoKey)
    );
    writer.append(&batch("away", 4)).unwrap();
    assert_eq!(
        world.store.writer("alice@host", &away).unwrap().log(),
        "alice@host~2"
    );
    assert_eq!(world.writer().log(), "alice@host");
    assert_eq!(world.sound().logs.len(), 2);
}

#[test]
fn everything_in_a_store_is_private() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    world.store.put_blob(b"secret").unwrap();
    world.writer().append(&batch("x", 300)).unwrap();
    for file in files(world.store.root()) {
        let mut path = world.store.root().join(&file);
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
        while path.pop() && path.starts_with(world.store.root()) {
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o700
            );
        }
    }
}
