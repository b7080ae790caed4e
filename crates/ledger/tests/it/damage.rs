//! Whatever is changed in a store, the audit names the file; and a store that nobody touched is sound.

use std::path::{Path, PathBuf};

use taintline_ledger::AuditProblem;

use crate::world::{World, batch, files};

/// Batches of many sizes, 1,100 entries in all, with a large entry and blobs of several sizes.
fn world() -> World {
    let world = World::new();
    let writer = world.writer();
    for (round, count) in [1, 2, 252, 1, 3, 253, 256, 300].into_iter().enumerate() {
        writer
            .append(&batch(&format!("round {round}"), count))
            .unwrap();
    }
    let blobs: Vec<Vec<u8>> = [0, 1, 40, 70_000]
        .iter()
        .map(|size| vec![b'b'; *size])
        .collect();
    for digest in world.store.put_blobs(&blobs).unwrap() {
        writer.append(&[format!("blob {digest}")]).unwrap();
    }
    writer.append(&[vec![b'e'; 65_535]]).unwrap();
    writer.append(&batch("last", 27)).unwrap();
    world
}

/// Positions to change: all of a small file, otherwise both ends and 200 between.
fn positions(length: usize) -> Vec<usize> {
    if length <= 400 {
        return (0..length).collect();
    }
    let mut state = 0x9e37_79b9_7f4a_7c15_u64 ^ length as u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        usize::try_from(state % length as u64).unwrap()
    };
    let mut positions: Vec<usize> = (0..200).map(|_| next()).collect();
    positions.extend([0, 1, length - 2, length - 1]);
    positions
}

fn protected(world: &World) -> Vec<PathBuf> {
    files(world.store.root())
}

/// Does something to a file, looks which files the audit names, and puts the file back.
fn named_after(world: &World, file: &Path, change: impl FnOnce(&Path)) -> Vec<PathBuf> {
    let path = world.store.root().join(file);
    let before = std::fs::read(&path).unwrap();
    change(&path);
    let named = world.named();
    std::fs::write(&path, before).unwrap();
    named
}

#[test]
fn an_untouched_store_is_sound_and_counted() {
    let world = world();
    let report = world.sound();
    assert_eq!(
        (report.entries, report.blobs, report.unlisted),
        (1_100, 4, 0)
    );
    assert!(report.leftovers.is_empty());
    let [log] = report.logs.as_slice() else {
        panic!("{:?}", report.logs)
    };
    assert_eq!((log.name.as_str(), log.head.size), ("alice@host", 1_100));
    let expected = [
        "ledger/alice@host/checkpoint",
        "ledger/alice@host/lock",
        "ledger/alice@host/tile/0/000",
        "ledger/alice@host/tile/0/001",
        "ledger/alice@host/tile/0/002",
        "ledger/alice@host/tile/0/003",
        "ledger/alice@host/tile/0/004.p/76",
        "ledger/alice@host/tile/1/000.p/4",
        "ledger/alice@host/tile/entries/000",
        "ledger/alice@host/tile/entries/001",
        "ledger/alice@host/tile/entries/002",
        "ledger/alice@host/tile/entries/003",
        "ledger/alice@host/tile/entries/004.p/76",
        "ledger/alice@host/vkey",
        "ledger/alice@host/wal",
        "version",
    ];
    let found: Vec<_> = protected(&world)
        .into_iter()
        .filter(|file| !file.starts_with("blobs"))
        .collect();
    assert_eq!(found, expected.map(PathBuf::from));
}

#[test]
fn a_changed_byte_anywhere_is_named_by_its_file_and_by_no_other() {
    let world = world();
    for file in protected(&world) {
        let length = std::fs::metadata(world.store.root().join(&file))
            .unwrap()
            .len();
        for (turn, position) in positions(usize::try_from(length).unwrap())
            .into_iter()
            .enumerate()
        {
            let named = named_after(&world, &file, |path| {
                let mut bytes = std::fs::read(path).unwrap();
                bytes[position] ^= 1 << (turn % 8);
                std::fs::write(path, bytes).unwrap();
            });
            assert_eq!(
                named,
                [file.as_path()],
                "byte {position} of {}",
                file.display()
            );
        }
    }
    world.sound();
}

#[test]
fn a_file_that_is_cut_off_or_made_longer_is_named() {
    let world = world();
    for file in protected(&world) {
        let longer = named_after(&world, &file, |path| {
            let bytes = std::fs::read(path).unwrap();
            std::fs::write(path, [bytes.as_slice(), b"\n"].concat()).unwrap();
        });
        assert_eq!(longer, [file.as_path()], "longer {}", file.display());
        let length = std::fs::metadata(world.store.root().join(&file))
            .unwrap()
            .len();
        for keep in [
            0,
            length / 2,
            length.saturating_sub(32),
            length.saturating_sub(1),
        ] {
            let shorter = named_after(&world, &file, |path| {
                std::fs::OpenOptions::new()
                    .write(true)
                    .open(path)
                    .unwrap()
                    .set_len(keep)
                    .unwrap();
            });
            let expected: &[&Path] = if length == 0 { &[] } else { &[&file] };
            assert_eq!(shorter, expected, "{keep} bytes left of {}", file.display());
        }
    }
}

#[test]
fn a_file_that_is_gone_is_named() {
    let world = world();
    for file in protected(&world) {
        let named = named_after(&world, &file, |path| std::fs::remove_file(path).unwrap());
        assert_eq!(named, [file.as_path()]);
    }
}

#[test]
fn a_file_that_does_not_belong_is_named() {
    let world = world();
    let log = "ledger/alice@host";
    let mut foreign = vec![
        "ledger/notes.txt".to_owned(),
        "ledger/.hidden".to_owned(),
        format!("{log}/checkpoint.bak"),
        format!("{log}/tile/0/4"),
        format!("{log}/tile/0/000.p/300"),
        format!("{log}/tile/0/x000/001"),
        format!("{log}/tile/9/000"),
        format!("{log}/tile/entries/readme"),
        format!("{log}/tile/x"),
        "blobs/readme".to_owned(),
        "blobs/aa/readme".to_owned(),
        format!("blobs/aa/{}", "AB".repeat(31)),
        format!("blobs/aaa/{}", "a".repeat(61)),
    ];
    foreign.push(format!("blobs/ab/{}", "0".repeat(62)));
    for file in foreign {
        let path = world.store.root().join(&file);
        let folder = path.parent().unwrap();
        let is_new = !folder.exists();
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(&path, "x").unwrap();
        let named = world.named();
        assert!(
            matches!(named.as_slice(), [one] if Path::new(&file).starts_with(one)),
            "{file}: {named:?}"
        );
        std::fs::remove_file(&path).unwrap();
        if is_new {
            std::fs::remove_dir(folder).unwrap();
        }
    }
    world.sound();
}

#[test]
fn links_and_folders_in_place_of_files_are_named() {
    let world = world();
    for file in protected(&world) {
        let path = world.store.root().join(&file);
        let aside = world.store.root().join("aside");
        std::fs::rename(&path, &aside).unwrap();
        std::os::unix::fs::symlink(&aside, &path).unwrap();
        assert_eq!(world.named(), [file.as_path()]);
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert_eq!(world.named(), [file.as_path()]);
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
    }
}

#[test]
fn a_missing_blob_is_named_with_the_entry_that_needs_it() {
    let world = World::new();
    let digest = world.store.put_blob(b"evidence").unwrap();
    world
        .writer()
        .append(&[
            "first".to_owned(),
            format!("blob {digest}"),
            format!("blob {digest}"),
        ])
        .unwrap();
    world.sound();
    let name = digest.to_string();
    let file = Path::new("blobs").join(&name[..2]).join(&name[2..]);
    std::fs::remove_file(world.store.root().join(&file)).unwrap();
    let problems = world.audit().problems;
    assert_eq!(problems.len(), 1);
    assert_eq!(problems[0].file, file);
    assert_eq!(
        problems[0].what,
        AuditProblem::BlobMissing {
            log: "alice@host".to_owned(),
            entry: 1
        }
    );
}

#[test]
fn leftovers_of_interrupted_processes_are_no_problem_but_a_narrower_tile_must_be_a_beginning() {
    let world = world();
    let at = |name: &str| world.log_folder().join(name);
    let whole = std::fs::read(at("tile/0/000")).unwrap();
    std::fs::create_dir(at("tile/0/000.p")).unwrap();
    let narrower = at("tile/0/000.p/7");
    std::fs::write(&narrower, &whole[..7 * 32]).unwrap();
    std::fs::write(at("tile/0/004.p/99"), "torn").unwrap();
    std::fs::write(at("tile/0/005"), "torn").unwrap();
    std::fs::write(at(".new-checkpoint"), "torn").unwrap();
    std::fs::write(world.store.root().join("blobs/.new-0123-4"), "torn").unwrap();
    std::fs::create_dir(world.store.root().join("ledger/.new-0123")).unwrap();
    assert_eq!(world.sound().leftovers.len(), 6);
    for position in 0..7 * 32 {
        let mut changed = whole[..7 * 32].to_vec();
        changed[position] ^= 0x40;
        std::fs::write(&narrower, changed).unwrap();
        assert_eq!(
            world.named(),
            [narrower.strip_prefix(world.store.root()).unwrap()]
        );
    }
}

#[test]
fn a_tile_exchanged_together_with_its_entries_is_named() {
    let world = world();
    let other = World::new();
    other.writer().append(&batch("other", 600)).unwrap();
    for file in ["tile/0/001", "tile/entries/001"] {
        std::fs::copy(other.log_folder().join(file), world.log_folder().join(file)).unwrap();
    }
    let problems = world.audit().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert_eq!(problems[0].file, Path::new("ledger/alice@host/tile/0/001"));
    assert_eq!(problems[0].what, AuditProblem::Exchanged);
}

#[test]
fn a_log_of_another_store_is_named() {
    let world = world();
    let other = World::new();
    other.writer().append(&batch("other", 3)).unwrap();
    crate::world::copy(
        &other.log_folder(),
        &world.store.root().join("ledger/mallory@host"),
    );
    assert_eq!(world.named(), [Path::new("ledger/mallory@host/vkey")]);
}

#[test]
fn random_bytes_in_place_of_any_file_are_named_and_never_a_panic() {
    let world = world();
    for file in protected(&world) {
        for (seed, length) in [1, 31, 33, 100, 8_192, 9_000].into_iter().enumerate() {
            let garbage: Vec<u8> = (0..length)
                .map(|at| (at * 31 + seed * 17 + 5).to_le_bytes()[0])
                .collect();
            let named = named_after(&world, &file, |path| std::fs::write(path, garbage).unwrap());
            assert_eq!(named, [file.as_path()]);
        }
    }
}
