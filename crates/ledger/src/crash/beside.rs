//! Power cuts, deaths and refusals while one thread publishes and others append.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::disk::{DEAD, Dice, Remembering};
use super::{World, batch, entries, folder, go_on, reopen, sound};
use crate::Store;
use crate::disk::Disk;
use crate::lock::Turn;

/// How often at least something is acknowledged between the publication of a head and the next write-ahead file.
const BETWEEN: usize = 2;

/// Appends that go on while publications are under way, by two writers as of two processes, until that has happened often
/// enough. Of bob's log there is something, so that all logs are as the other tests have them.
fn work(world: &World) {
    let (first, second) = (world.writer("alice@host"), world.writer("alice@host"));
    world.append(&world.writer("bob@host"), batch("bob", 2, 10));
    std::thread::scope(|scope| {
        for (thread, writer) in [&first, &second, &first].into_iter().enumerate() {
            scope.spawn(move || {
                for round in 0..2_000 {
                    let name = format!("thread {thread} {round}");
                    world.append(writer, batch(&name, 1 + round % 5, 40 + 700 * (round % 2)));
                    // The disk is slower for those who publish; these are slower than it, so that the file is not full.
                    std::thread::sleep(Duration::from_millis(2));
                    if round % 10 == 9 && round > 60 && between(&world.disk) >= BETWEEN {
                        return;
                    }
                }
            });
        }
    });
    assert_eq!((first.failed_beside(), second.failed_beside()), (0, 0));
}

/// How often something was acknowledged between the publication of a head and the next write-ahead file.
fn between(disk: &Remembering) -> usize {
    let (mut is_headed, mut since, mut count) = (false, 0, 0);
    for name in disk.story() {
        match name.as_deref() {
            None => since += 1,
            Some("checkpoint") => (is_headed, since) = (true, 0),
            Some("wal") => {
                count += usize::from(is_headed && since > 0);
                is_headed = false;
            }
            Some(_) => {}
        }
    }
    count
}

#[test]
fn no_power_cut_beside_a_publication_loses_what_was_acknowledged() {
    const POINTS: usize = 700;
    let place = folder();
    let world = World::new(place.path());
    work(&world);
    assert!(between(&world.disk) >= BETWEEN, "{:?}", world.disk.story());
    let history = entries(&world.store);
    let operations = world.disk.len();
    let next = AtomicUsize::new(0);
    let cut = || {
        loop {
            let point = next.fetch_add(1, Ordering::Relaxed);
            if point >= POINTS {
                return;
            }
            let end = point * (operations + 1) / POINTS;
            let context = format!("power cut {point}, before operation {end}");
            let left = folder();
            world
                .disk
                .after_crash(end, 5_000 + point as u64, left.path());
            let promised = world.disk.promised(end);
            let again = reopen(left.path(), &promised, &history, &context);
            go_on(&again, &context);
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(cut);
        cut();
    });
}

#[test]
fn a_writer_that_was_there_before_another_died_goes_on_and_loses_nothing() {
    let begin = |refused: Option<usize>| {
        let place = folder();
        let world = World::new(place.path());
        let survivor = world.writer("alice@host");
        world.append(&survivor, batch("before", 3, 10));
        let before = world.disk.requests();
        let dying = world.writer("alice@host");
        world.append(&dying, batch("with a partial tile", 4, 10));
        dying.publish().unwrap();
        world.append(&survivor, batch("seen by it", 1, 10));
        world.append(&dying, batch("behind it", 2, 10));
        let quiet = world.disk.requests();
        if let Some(from) = refused {
            world.disk.refuse(from, DEAD);
        }
        for round in 0..4 {
            let _ = dying.append(&batch(&format!("dying {round}"), 30, 100 * round));
        }
        let _ = dying.publish();
        drop(dying);
        world.disk.refuse(0, 0);
        let requests = world.disk.requests() - quiet;
        assert!(quiet > before);
        (place, world, survivor, requests)
    };
    let requests = begin(None).3;
    let mut dice = Dice::new(11);
    for from in 0..requests {
        let (_place, world, survivor, _) = begin(Some(from));
        let context = format!("died at request {from}");
        world.append(&survivor, batch("later", 2, 20));
        let half = world.disk.len();
        survivor.publish().unwrap();
        world.append(&survivor, batch("later still", 2, 20));
        drop(survivor);
        sound(&world.store, &context);
        let mut history = entries(&world.store);
        history.entry("bob@host".to_owned()).or_default();
        for seed in 0..6 {
            let end = half + dice.below(world.disk.len() - half + 1);
            let left = folder();
            let seed = seed + 13 * from as u64;
            world.disk.after_crash(end, seed, left.path());
            let promised = world.disk.promised(end);
            let context = format!("{context}, power cut before operation {end}");
            reopen(left.path(), &promised, &history, &context);
        }
    }
}

#[test]
fn whoever_was_refused_while_he_published_removes_nothing_that_others_published_since() {
    let place = folder();
    let world = World::new(place.path());
    let writer = world.writer("alice@host");
    let entry = |name: &str| batch(name, 3, 300);
    world.disk.refuse_new_name(Duration::from_millis(200));
    for round in 0.. {
        assert!(round < 300, "the file was not begun anew");
        world.append(&writer, entry(&format!("round {round}")));
        // Slower than the disk, so that the file is not full before.
        std::thread::sleep(Duration::from_millis(5));
        if world.disk.has_refused_new_name() {
            break;
        }
    }
    // It is in doubt which of the two files a power cut would leave: the next append publishes.
    world.append(&writer, entry("published"));
    world.append(&writer, entry("not published"));
    assert_eq!(writer.failed_beside(), 1);
    writer.check().unwrap();
    drop(writer);
    sound(&world.store, "afterwards");
}

#[test]
fn while_somebody_publishes_others_append_until_the_file_is_full() {
    let place = folder();
    let world = World::new(place.path());
    let writer = world.writer("alice@host");
    let log = world.store.root().join("ledger/alice@host");
    let before = std::fs::read(log.join("checkpoint")).unwrap();
    let turn = Turn::take(&log, Duration::ZERO).unwrap();
    for round in 0..20 {
        world.append(&writer, batch(&format!("round {round}"), 5, 200));
    }
    // Each try of its own found the turn taken, and the log is none the worse for it.
    assert_eq!(writer.failed_beside(), 0);
    assert_eq!(std::fs::read(log.join("checkpoint")).unwrap(), before);
    assert_eq!(entries(&world.store)["alice@host"].len(), 100);
    drop(turn);
    drop(writer);
    sound(&world.store, "afterwards");
    assert_eq!(entries(&world.store)["alice@host"].len(), 100);
}

#[test]
fn what_waits_is_published_without_anybody_asking_and_the_file_is_begun_anew() {
    let place = folder();
    let disk = Arc::new(Remembering::new(place.path()));
    let shared = Arc::clone(&disk) as Arc<dyn Disk>;
    let store = Store::open_or_create_on(shared, &place.path().join("store")).unwrap();
    let writer = store
        .writer("alice@host", &place.path().join("keys"))
        .unwrap();
    let length = || {
        let wal = store.root().join("ledger/alice@host/wal");
        std::fs::metadata(wal).unwrap().len()
    };
    let before = length();
    let mut appended = 0;
    while length() == before {
        writer.append(&batch("entry", 3, 300)).unwrap();
        appended += 3;
        assert_eq!(writer.failed_beside(), 0);
        assert!(appended < 300, "the file holds no more");
    }
    // The file is longer, and has room for what was not published.
    assert_eq!(length(), 4 * before);
    drop(writer);
    assert_eq!(entries(&store)["alice@host"].len(), appended);
    sound(&store, "afterwards");
}
