//! A folder, sealed, and then not quite the same.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use taintline_trust::difference::What;
use taintline_trust::manifest::Manifest;
use taintline_trust::measure::{Hashed, Model, Task, Unread, Wanted};
use taintline_trust::name::Name;
use taintline_trust::oms::{HashType, Resource, Serialized, Signed};
use taintline_trust::seal::{Obstacle, Sealing, measure};
use taintline_trust::verify::{Compared, Expected, Known, Reading, Why, compare};

fn sealing() -> Sealing {
    Sealing {
        excluded: Vec::new(),
        links: true,
        threads: 2,
    }
}

/// Files of none, one and several blocks, in folders; a link of each kind.
fn make(folder: &Path) {
    for name in ["a/deep", "empty"] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
    }
    for (name, size) in [
        ("zero", 0),
        ("a/small", 100),
        ("a/deep/block", 1 << 20),
        ("large", (5 << 20) + 3),
    ] {
        let bytes: Vec<u8> = (0..=250).cycle().take(size).collect();
        std::fs::write(folder.join(name), bytes).unwrap();
    }
    symlink("large", folder.join("to-file")).unwrap();
    symlink("a", folder.join("to-folder")).unwrap();
}

fn sealed(folder: &Path) -> Manifest {
    let model = Model::open(folder).unwrap();
    measure(&model, &sealing()).unwrap().manifest
}

fn compared(folder: &Path, manifest: &Manifest, known: &Known, tree_only: bool) -> Compared {
    let model = Model::open(folder).unwrap();
    let expected = Expected {
        signed: None,
        sealed: Some(manifest),
    };
    let reading = Reading {
        before: None,
        threads: 3,
        known,
        tree_only,
    };
    compare(&model, expected, &manifest.excluded, &reading)
}

fn told(compared: &Compared) -> Vec<String> {
    let line =
        |it: &taintline_trust::difference::Difference| format!("{} {}", it.what.word(), it.path);
    compared.differences.iter().map(line).collect()
}

#[test]
fn a_folder_that_did_not_change_has_no_difference_however_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let manifest = sealed(folder.path());
    for tree_only in [false, true] {
        let found = compared(folder.path(), &manifest, &Known::new(), tree_only);
        assert_eq!((told(&found), found.not_compared.len()), (vec![], 0));
        assert_eq!(found.files, 5, "a link to a file is one");
    }
    let first = compared(folder.path(), &manifest, &Known::new(), false);
    let known: Known = first
        .states
        .into_iter()
        .map(|(name, (_, state))| (name, state))
        .collect();
    let again = compared(folder.path(), &manifest, &known, false);
    assert_eq!((told(&again), again.files_known), (vec![], 4));
    assert_eq!(
        again.bytes_read,
        (5 << 20) + 3,
        "what is behind a link is always read"
    );
}

type Change = fn(&Path);

/// What is done to the folder, and what must be told of it.
const CHANGES: &[(Change, &[&str])] = &[
    (
        |f| std::fs::remove_file(f.join("zero")).unwrap(),
        &["missing zero"],
    ),
    (
        |f| std::fs::write(f.join("new"), "").unwrap(),
        &["extra new"],
    ),
    (
        |f| std::fs::create_dir(f.join("a/new")).unwrap(),
        &["extra a/new"],
    ),
    (
        |f| std::fs::remove_dir(f.join("empty")).unwrap(),
        &["missing empty"],
    ),
    (
        |f| std::fs::rename(f.join("zero"), f.join("z")).unwrap(),
        &["extra z", "missing zero"],
    ),
    (
        |f| std::fs::write(f.join("a/small"), vec![1; 100]).unwrap(),
        &["content a/small"],
    ),
    (
        |f| std::fs::write(f.join("a/small"), vec![0; 99]).unwrap(),
        &["size a/small"],
    ),
    (
        |f| std::fs::set_permissions(f.join("zero"), PermissionsExt::from_mode(0o4755)).unwrap(),
        &["mode zero"],
    ),
    (
        |f| std::fs::set_permissions(f.join("empty"), PermissionsExt::from_mode(0o700)).unwrap(),
        &["mode empty"],
    ),
    (
        |f| {
            std::fs::remove_file(f.join("to-folder")).unwrap();
            symlink("empty", f.join("to-folder")).unwrap();
        },
        &["target to-folder"],
    ),
    (
        |f| {
            std::fs::remove_file(f.join("zero")).unwrap();
            symlink("/dev/null", f.join("zero")).unwrap();
        },
        &["kind zero"],
    ),
    (
        |f| {
            std::fs::rename(f.join("a"), f.join("../outside")).unwrap();
            symlink("../outside", f.join("a")).unwrap();
        },
        &[
            "kind a",
            "missing a/deep",
            "missing a/deep/block",
            "missing a/small",
        ],
    ),
];

#[test]
fn each_change_is_told_by_its_name_and_nothing_else_is() {
    for (change, expected) in CHANGES {
        let world = tempfile::tempdir().unwrap();
        let folder = world.path().join("model");
        std::fs::create_dir(&folder).unwrap();
        make(&folder);
        let manifest = sealed(&folder);
        change(&folder);
        assert_eq!(
            told(&compared(&folder, &manifest, &Known::new(), false)),
            *expected
        );
    }
}

#[test]
fn a_changed_byte_of_a_large_file_is_told_by_its_piece() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let manifest = sealed(folder.path());
    let path = folder.path().join("large");
    let mut bytes = std::fs::read(&path).unwrap();
    for at in [(1 << 20) + 5, (2 << 20) - 1, (5 << 20) + 2] {
        bytes[at] ^= 1;
    }
    std::fs::write(&path, &bytes).unwrap();
    let found = compared(folder.path(), &manifest, &Known::new(), false);
    let ranges: Vec<_> = vec![1 << 20..2 << 20, 5 << 20..(5 << 20) + 3];
    // Once under its own name, once through the link.
    assert_eq!(told(&found), ["content large", "content to-file"]);
    assert_eq!(found.differences[0].what, What::Content { ranges });
}

#[test]
fn what_cannot_be_sealed_is_named_all_at_once_and_nothing_is_sealed() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    symlink("nowhere", folder.path().join("broken")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    let pipe = folder.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    let model = Model::open(folder.path()).unwrap();
    let named = |links| {
        let sealing = Sealing { links, ..sealing() };
        let things = measure(&model, &sealing).unwrap_err();
        things
            .into_iter()
            .map(|it| (it.path.to_string(), it.why))
            .collect::<Vec<_>>()
    };
    let with = |text: &str, why| (text.to_owned(), why);
    assert_eq!(
        named(true),
        [
            with("broken", Obstacle::LinkOut),
            with("pipe", Obstacle::Kind("a named pipe"))
        ]
    );
    assert_eq!(named(false).len(), 4);
    let empty = tempfile::tempdir().unwrap();
    let model = Model::open(empty.path()).unwrap();
    assert_eq!(measure(&model, &sealing()).unwrap_err(), []);
}

#[test]
fn a_file_that_changes_while_it_is_read_has_no_digest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("growing");
    std::fs::write(&path, vec![0; 64 << 20]).unwrap();
    let model = Model::open(folder.path()).unwrap();
    let task = Task {
        name: Name::new("growing").unwrap(),
        through_link: false,
        size: 64 << 20,
    };
    let wanted = Wanted {
        sha256: true,
        tree: true,
    };
    let stop = std::sync::atomic::AtomicBool::new(false);
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                let mut file = std::fs::File::options().append(true).open(&path).unwrap();
                std::io::Write::write_all(&mut file, b"x").unwrap();
            }
        });
        let result = model.hash(&[task], wanted, 2, None);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        result
    });
    assert!(matches!(result.as_slice(), [Err(Unread::Changed)]));
}

#[test]
fn any_number_of_threads_gives_the_digests_that_other_programs_give() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let model = Model::open(folder.path()).unwrap();
    let names = ["zero", "a/small", "a/deep/block", "large"];
    let tasks: Vec<Task> = names
        .iter()
        .map(|name| Task {
            name: Name::new(name).unwrap(),
            through_link: false,
            size: 0,
        })
        .collect();
    for (threads, sha256) in [(1, true), (8, true), (1, false), (8, false)] {
        let wanted = Wanted { sha256, tree: true };
        for (name, result) in names.iter().zip(model.hash(&tasks, wanted, threads, None)) {
            let bytes = std::fs::read(folder.path().join(name)).unwrap();
            let Hashed {
                sha256: digest,
                tree,
                ..
            } = result.unwrap();
            assert_eq!(digest, sha256.then(|| domain::Digest::of(&bytes)));
            assert_eq!(
                tree.unwrap().root.as_bytes(),
                blake3::hash(&bytes).as_bytes()
            );
        }
    }
}

/// A model signature over whole files or, with a size, over ranges; not by anybody.
fn signature(files: &[(&str, &[u8])], shard: Option<u64>, hash: HashType) -> Signed {
    let resource = |(name, bytes): &(&str, &[u8])| Resource {
        name: Some(Name::new(name).unwrap()),
        shard: shard.map(|_| (0, bytes.len() as u64)),
        digest: domain::Digest::of(bytes).as_bytes().to_vec(),
    };
    Signed {
        model: "m".to_owned(),
        root: domain::Digest::of(b""),
        tree: None,
        serialized: shard.map_or(Serialized::Files, Serialized::Shards),
        hash,
        allow_symlinks: false,
        ignored: Vec::new(),
        resources: files.iter().map(resource).collect(),
    }
}

fn compared_with(
    folder: &Path,
    signed: &Signed,
    sealed: Option<&Manifest>,
    tree_only: bool,
) -> Compared {
    let model = Model::open(folder).unwrap();
    let expected = Expected {
        signed: Some(signed),
        sealed,
    };
    let reading = Reading {
        before: None,
        threads: 1,
        known: &Known::new(),
        tree_only,
    };
    compare(&model, expected, &[], &reading)
}

#[test]
fn what_could_not_be_listed_is_not_called_missing() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    let manifest = sealed(folder.path());
    std::fs::remove_file(folder.path().join("zero")).unwrap();
    let set = |mode| {
        let mode = PermissionsExt::from_mode(mode);
        std::fs::set_permissions(folder.path().join("a/deep"), mode).unwrap();
    };
    set(0o000);
    // This thread alone obeys modes from here on, also where the tests are root's.
    let mut mine = rustix::thread::capabilities(None).unwrap();
    mine.effective.remove(
        rustix::thread::CapabilitySet::DAC_OVERRIDE
            | rustix::thread::CapabilitySet::DAC_READ_SEARCH,
    );
    rustix::thread::set_capabilities(None, mine).unwrap();
    let found = compared(folder.path(), &manifest, &Known::new(), false);
    set(0o755);
    assert_eq!(told(&found), ["mode a/deep", "missing zero"]);
    let places: Vec<_> = found
        .not_compared
        .iter()
        .map(|it| it.path.as_str())
        .collect();
    assert_eq!(places, ["a/deep"]);
}

#[test]
fn a_digest_that_was_not_computed_is_no_match() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "one").unwrap();
    let mut manifest = sealed(folder.path());
    std::fs::write(folder.path().join("b"), "evil").unwrap();
    manifest.excluded.clear();
    for (hash, why) in [
        (HashType::Sha256, Why::NotComputed),
        (HashType::Blake2b, Why::Algorithm),
    ] {
        let signed = signature(&[("a", b"one"), ("b", b"good")], None, hash);
        let found = compared_with(folder.path(), &signed, Some(&manifest), true);
        assert_eq!(told(&found), Vec::<String>::new());
        let gaps: Vec<_> = found
            .not_compared
            .iter()
            .map(|it| (it.path.as_str(), it.why))
            .collect();
        assert_eq!(gaps, [("b", why)]);
    }
    let signed = signature(&[("a", b"one"), ("b", b"good")], None, HashType::Sha256);
    let found = compared_with(folder.path(), &signed, Some(&manifest), false);
    assert_eq!(told(&found), ["content b"]);
}

#[test]
fn an_empty_file_has_no_range_that_could_be_signed_and_another_file_has() {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("a", "one"), ("__init__.py", "")] {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let found = |shard| {
        let signed = signature(&[("a", b"one")], shard, HashType::Sha256);
        compared_with(folder.path(), &signed, None, false)
    };
    let ranges = found(Some(1000));
    assert_eq!((told(&ranges), ranges.empty), (vec![], 1));
    assert_eq!(told(&found(None)), ["extra __init__.py"]);
    std::fs::write(folder.path().join("__init__.py"), "x").unwrap();
    assert_eq!(told(&found(Some(1000))), ["extra __init__.py"]);
}
