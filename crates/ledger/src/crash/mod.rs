//! Power cuts: at every operation that the ledger asks of the disk, with every part of what was not synced lost, kept,
//! reordered or torn, nothing that was acknowledged is lost, the log opens as if nothing had happened, and it goes on.

mod beside;
mod disk;
mod witness;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use domain::Digest;

use self::disk::{DEAD, Dice, Promise, Remembering};
use crate::disk::Disk;
use crate::{AuditReport, Store, Writer, audit};

/// A folder in memory where there is one: what is synced is the simulation's business.
fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    match tempfile::tempdir_in(memory) {
        Ok(folder) if memory.is_dir() => folder,
        _ => tempfile::tempdir().unwrap(),
    }
}

/// A world whose disk is remembered.
struct World {
    disk: Arc<Remembering>,
    store: Store,
    keys: PathBuf,
}

impl World {
    fn new(root: &Path) -> Self {
        let disk = Arc::new(Remembering::new(root));
        let shared = Arc::clone(&disk) as Arc<dyn Disk>;
        let store = Store::open_or_create_on(shared, &root.join("store")).unwrap();
        let keys = root.join("keys");
        Self { disk, store, keys }
    }

    /// As a process that comes later sees it: nothing was lost, but not everything is durable.
    fn later(&self) -> Self {
        let disk = Arc::clone(&self.disk);
        let shared = Arc::clone(&disk) as Arc<dyn Disk>;
        let store = Store::open_or_create_on(shared, self.store.root()).unwrap();
        let keys = self.keys.clone();
        Self { disk, store, keys }
    }

    fn writer(&self, name: &str) -> Writer {
        let writer = self.store.writer(name, &self.keys).unwrap();
        assert!(
            writer.opening().passed_over.is_empty(),
            "{:?}",
            writer.opening()
        );
        writer
    }

    fn append(&self, writer: &Writer, entries: Vec<Vec<u8>>) {
        let appended = writer.append(&entries).unwrap();
        self.disk.promise(Promise::Entries {
            log: appended.log,
            first: appended.first,
            entries,
        });
    }

    fn put(&self, blobs: &[Vec<u8>]) {
        for digest in self.store.put_blobs(blobs).unwrap() {
            self.disk.promise(Promise::Blob(digest));
        }
    }
}

fn batch(name: &str, count: usize, bytes: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|index| format!("{name} {index} {}", "x".repeat(bytes)).into_bytes())
        .collect()
}

/// Two writers of one log and one of another: single entries, batches over the edges of tiles, one that is too large for
/// the write-ahead file, threads at once, publications between, blobs, and so much that the file is begun anew and grows.
fn work(world: &World) {
    let (first, second) = (world.writer("alice@host"), world.writer("alice@host"));
    let other = world.writer("bob@host");
    for round in 0..6 {
        let name = format!("round {round}");
        world.append(&first, batch(&name, 1 + round % 2, 40));
        world.append(&second, batch(&name, [3, 60, 1, 130, 7, 90][round], 90));
        world.append(&other, batch(&name, 2, 200));
        if round % 3 == 2 {
            second.publish().unwrap();
        }
        world.put(&batch(
            &format!("blob {round}"),
            [1, 3, 17, 1, 2, 20][round],
            700,
        ));
    }
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let writer = if thread % 2 == 0 { &first } else { &second };
            scope.spawn(move || {
                for round in 0..5 {
                    world.append(writer, batch(&format!("thread {thread} {round}"), 2, 60));
                }
            });
        }
    });
    for round in 0..8 {
        world.append(&first, batch(&format!("filling {round}"), 100, 250));
    }
    drop(second);
    world.append(&first, batch("large", 20, 60_000));
    world.append(&first, batch("after", 3, 10));
    world.append(&other, batch("after", 300, 10));
}

fn references(_: &[u8]) -> Vec<Digest> {
    Vec::new()
}

#[track_caller]
fn sound(store: &Store, context: &str) -> AuditReport {
    let report = audit(store, &references);
    assert_eq!(report.problems, [], "{context}");
    report
}

fn entries(store: &Store) -> BTreeMap<String, Vec<Vec<u8>>> {
    let read = |log: crate::Log| {
        let size = log.head().unwrap().size;
        (log.name().to_owned(), log.entries(0..size).unwrap())
    };
    store.logs().unwrap().into_iter().map(read).collect()
}

/// Opens what a crash left, as any process does, and compares it with what was promised and with what came to be.
fn reopen(
    root: &Path,
    promised: &[Promise],
    history: &BTreeMap<String, Vec<Vec<u8>>>,
    context: &str,
) -> World {
    let world = World::new(root);
    sound(&world.store, context);
    let found = entries(&world.store);
    for promise in promised {
        match promise {
            Promise::Entries {
                log,
                first,
                entries,
            } => {
                let first = usize::try_from(*first).unwrap();
                let all = found.get(log).map(Vec::as_slice).unwrap_or_default();
                let there = all.get(first..first + entries.len());
                assert_eq!(there, Some(entries.as_slice()), "{context}: {log} {first}");
            }
            Promise::Blob(digest) => {
                assert!(world.store.blob(digest).unwrap().is_some(), "{context}");
            }
        }
    }
    for (log, entries) in &found {
        // What was not acknowledged may be there, but only as the next that was to come.
        assert!(history[log].starts_with(entries), "{context}: {log}");
    }
    world
}

/// Appends after the crash, and finds everything in its place.
fn go_on(world: &World, context: &str) {
    let before = entries(&world.store);
    for name in ["alice@host", "bob@host"] {
        let writer = world.writer(name);
        assert_eq!(writer.log(), name, "{context}");
        world.append(&writer, batch("further", 2, 30));
        drop(writer);
        world.append(&world.writer(name), batch("further on", 260, 30));
        let all = &entries(&world.store)[name];
        let known = before.get(name).map_or(0, Vec::len);
        assert_eq!(all.len(), known + 262, "{context}");
        assert!(all.starts_with(before.get(name).map_or(&[][..], Vec::as_slice)));
    }
    let report = sound(&world.store, context);
    assert_eq!(
        report
            .leftovers
            .iter()
            .filter(|it| it.ends_with("wal"))
            .count(),
        0
    );
}

#[test]
fn no_power_cut_loses_what_was_acknowledged_or_stops_what_comes_next() {
    const POINTS: usize = 1_100;
    let place = folder();
    let world = World::new(place.path());
    work(&world);
    let history = entries(&world.store);
    let operations = world.disk.len();
    assert!(operations > 300, "{operations}");
    let next = std::sync::atomic::AtomicUsize::new(0);
    let cut = || {
        loop {
            let point = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if point >= POINTS {
                return;
            }
            let end = point * (operations + 1) / POINTS;
            let context = format!("power cut {point}, before operation {end}");
            let left = folder();
            world.disk.after_crash(end, point as u64, left.path());
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
fn a_second_power_cut_while_a_process_opens_the_log_again_loses_nothing_either() {
    let place = folder();
    let world = World::new(place.path());
    work(&world);
    let history = entries(&world.store);
    let operations = world.disk.len();
    let mut dice = Dice::new(7);
    for round in 0..100 {
        let end = dice.below(operations + 1);
        let left = folder();
        world.disk.after_crash(end, 10_000 + round, left.path());
        let mut promised = world.disk.promised(end);
        let context = format!("first cut {round}, before operation {end}");
        let again = reopen(left.path(), &promised, &history, &context);
        go_on(&again, &context);
        let history = entries(&again.store);
        let end = dice.below(again.disk.len() + 1);
        promised.extend(again.disk.promised(end));
        let context = format!("{context}; second before operation {end}");
        let left = folder();
        again.disk.after_crash(end, 20_000 + round, left.path());
        let once_more = reopen(left.path(), &promised, &history, &context);
        go_on(&once_more, &context);
    }
}

/// Appends that may be refused; what is acknowledged is promised.
fn struggle(world: &World, writer: &Writer) -> usize {
    let mut refused = 0;
    for round in 0..12 {
        let entries = batch(
            &format!("struggle {round}"),
            [2, 90, 1, 200][round % 4],
            200,
        );
        match writer.append(&entries) {
            Ok(appended) => world.disk.promise(Promise::Entries {
                log: appended.log,
                first: appended.first,
                entries,
            }),
            Err(error) => {
                use crate::LedgerError::{Disk, Key};
                assert!(matches!(error, Disk(_) | Key(_)), "{error}");
                refused += 1;
            }
        }
        if round % 5 == 4 {
            refused += usize::from(writer.publish().is_err());
        }
    }
    // What is refused to a publication beside appends is told to nobody.
    refused + writer.failed_beside()
}

#[test]
fn a_disk_that_refuses_for_a_while_costs_only_what_was_not_acknowledged() {
    let requests = {
        let place = folder();
        let world = World::new(place.path());
        let writer = world.writer("alice@host");
        let before = world.disk.requests();
        assert_eq!(struggle(&world, &writer), 0);
        world.disk.requests() - before
    };
    assert!(requests > 60, "{requests}");
    let mut refusals = 0;
    for from in 0..requests {
        let place = folder();
        let world = World::new(place.path());
        let writer = world.writer("alice@host");
        world.disk.refuse(from, 1 + from % 7);
        refusals += usize::from(struggle(&world, &writer) > 0);
        world.disk.refuse(0, 0);
        let context = format!("refused from request {from}");
        writer.check().unwrap();
        sound(&world.store, &context);
        world.append(&writer, batch("at last", 3, 10));
        let history = entries(&world.store);
        for seed in 0..4 {
            let end = world.disk.len();
            let left = folder();
            world
                .disk
                .after_crash(end, seed + 31 * from as u64, left.path());
            let promised = world.disk.promised(end);
            go_on(
                &reopen(left.path(), &promised, &history, &context),
                &context,
            );
        }
        drop(writer);
        sound(&world.store, &context);
    }
    assert!(refusals > requests / 2, "{refusals} of {requests}");
}

#[test]
fn what_a_dead_process_left_half_done_is_made_durable_before_anybody_builds_on_it() {
    let begin = |refused: Option<usize>| {
        let place = folder();
        let disk = Arc::new(Remembering::new(place.path()));
        let shared = Arc::clone(&disk) as Arc<dyn Disk>;
        if let Some(from) = refused {
            disk.refuse(from, DEAD);
        }
        let (root, keys) = (place.path().join("store"), place.path().join("keys"));
        if let Ok(store) = Store::open_or_create_on(shared, &root)
            && let Ok(writer) = store.writer("alice@host", &keys)
        {
            let store = World {
                disk: Arc::clone(&disk),
                store,
                keys: keys.clone(),
            };
            let _ = store.store.put_blobs(&batch("blob", 3, 9));
            struggle(&store, &writer);
        }
        disk.refuse(0, 0);
        (place, disk, root, keys)
    };
    let requests = begin(None).1.requests();
    for from in 0..requests {
        let (_place, disk, root, keys) = begin(Some(from));
        let context = format!("died at request {from}");
        let shared = Arc::clone(&disk) as Arc<dyn Disk>;
        let store = Store::open_or_create_on(shared, &root).unwrap();
        let world = World { disk, store, keys };
        let writer = world.writer("alice@host");
        world.append(&writer, batch("later", 2, 20));
        world.put(&batch("blob", 3, 9));
        let half = world.disk.len();
        go_on(&world.later(), &context);
        drop(writer);
        sound(&world.store, &context);
        let history = entries(&world.store);
        for seed in 0..4 {
            let end = if seed % 2 == 0 {
                half
            } else {
                world.disk.len()
            };
            let left = folder();
            world
                .disk
                .after_crash(end, seed + 17 * from as u64, left.path());
            let promised = world.disk.promised(end);
            reopen(left.path(), &promised, &history, &context);
        }
    }
}
