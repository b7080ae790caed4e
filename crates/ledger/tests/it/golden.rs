//! Stores of every layout, as the code of their time wrote them, are opened, read, audited, proved and continued.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use domain::Digest;
use taintline_ledger::{Log, Store, audit};

/// A copy of a golden store and of its keys, as they lay on a disk.
struct Golden {
    folder: tempfile::TempDir,
    entries: u64,
}

impl Golden {
    fn copy(layout: &str, entries: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let from = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/golden")
            .join(layout);
        copy(&from, folder.path());
        for key in std::fs::read_dir(folder.path().join("keys")).unwrap() {
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(key.unwrap().path(), mode).unwrap();
        }
        Self { folder, entries }
    }

    fn all() -> [Self; 2] {
        [Self::copy("layout-1", 300), Self::copy("layout-2", 40)]
    }

    fn place(&self) -> PathBuf {
        self.folder.path().join("store")
    }

    fn log(&self) -> Log {
        Store::open(&self.place())
            .unwrap()
            .logs()
            .unwrap()
            .remove(0)
    }

    fn entry(number: u64) -> Vec<u8> {
        let blob = Digest::of(b"a blob of the time");
        format!("entry {number} needs {blob}").into_bytes()
    }

    #[track_caller]
    fn is_sound(&self) {
        let report = audit(&Store::open(&self.place()).unwrap(), &|entry| {
            let text = std::str::from_utf8(entry).unwrap();
            let digest = text.rsplit(' ').next().and_then(|it| it.parse().ok());
            digest.into_iter().collect()
        });
        assert!(report.problems.is_empty(), "{:?}", report.problems);
        assert_eq!(report.blobs, 1);
    }
}

fn copy(from: &Path, to: &Path) {
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let to = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            std::fs::create_dir_all(&to).unwrap();
            copy(&item.path(), &to);
        } else {
            std::fs::copy(item.path(), to).unwrap();
        }
    }
}

#[test]
fn every_layout_is_read_to_its_last_entry_and_nothing_is_written_by_reading() {
    for golden in Golden::all() {
        let before = std::fs::read(golden.place().join("version")).unwrap();
        let log = golden.log();
        assert_eq!(log.head().unwrap().size, golden.entries);
        let entries = log.entries(0..golden.entries).unwrap();
        assert!(
            (0..)
                .map(Golden::entry)
                .zip(&entries)
                .all(|(left, right)| left == *right)
        );
        let store = Store::open(&golden.place()).unwrap();
        let blob = store.blob(&Digest::of(b"a blob of the time")).unwrap();
        assert_eq!(blob.as_deref(), Some(&b"a blob of the time"[..]));
        assert_eq!(
            std::fs::read(golden.place().join("version")).unwrap(),
            before
        );
    }
}

#[test]
fn every_layout_is_sound_to_the_audit_and_gives_proofs() {
    for golden in Golden::all() {
        golden.is_sound();
        let (log, last) = (golden.log(), golden.entries - 1);
        let snapshot = log.snapshot().unwrap();
        for number in [0, last / 2, last] {
            let proof = snapshot.prove(number).unwrap();
            let (entry, head) = proof.verify(&log.key().unwrap(), None).unwrap();
            assert_eq!(
                (entry, head.size),
                (&Golden::entry(number)[..], golden.entries)
            );
        }
    }
}

#[test]
fn every_layout_is_continued_by_its_own_writer_and_stays_sound() {
    for golden in Golden::all() {
        let old = golden.log().head().unwrap();
        let keys = golden.folder.path().join("keys");
        let store = Store::open_or_create(&golden.place()).unwrap();
        let writer = store.writer("ada@golden", &keys).unwrap();
        assert!(writer.opening().passed_over.is_empty());
        writer.append(&[Golden::entry(7)]).unwrap();
        let log = writer.log();
        drop(writer);
        golden.is_sound();
        // What was there is as it was: of the first layout the log is left, and the next one begun.
        assert_eq!(log == "ada@golden~2", golden.entries == 300, "{log}");
        let first = golden.log().snapshot().unwrap();
        assert!(first.continues(old).unwrap());
        let version = std::fs::read_to_string(golden.place().join("version")).unwrap();
        assert!(version.starts_with("taintline store 2\n"));
    }
}

#[test]
fn a_changed_byte_in_a_golden_store_of_any_layout_is_named() {
    for golden in Golden::all() {
        // Of each layout the file that its entries lie in.
        let entries = if golden.entries == 300 {
            "tile/entries"
        } else {
            "wal"
        };
        for file in ["checkpoint", "vkey", entries] {
            let mut path = golden.place().join("ledger/ada@golden").join(file);
            while path.is_dir() {
                path = std::fs::read_dir(&path)
                    .unwrap()
                    .next()
                    .unwrap()
                    .unwrap()
                    .path();
            }
            let whole = std::fs::read(&path).unwrap();
            let mut changed = whole.clone();
            // In the write-ahead file the second half is room that is still free.
            changed[whole.len().min(2000) / 2] ^= 1;
            std::fs::write(&path, changed).unwrap();
            let report = audit(&Store::open(&golden.place()).unwrap(), &|_| Vec::new());
            let relative = path.strip_prefix(golden.place()).unwrap();
            let name = relative.display().to_string();
            let is_named = |it: &taintline_ledger::Problem| it.to_string().contains(&name);
            assert!(
                report.problems.iter().any(is_named),
                "{name}: {:?}",
                report.problems
            );
            std::fs::write(&path, whole).unwrap();
        }
        golden.is_sound();
    }
}
