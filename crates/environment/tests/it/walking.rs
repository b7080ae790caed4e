//! What a walk meets on a real file system.

use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::{Digest, Node};
use rustix::fs::{FileType, Mode};
use taintline_environment::{Cache, Options, flatten};

use crate::site::{Site, file_digest, name, options, scan_folder};

#[test]
fn two_environments_at_different_places_have_one_digest() {
    let (one, other) = (Site::new().snapshot(), Site::new().snapshot());
    assert_eq!(one.root.digest(), other.root.digest());
    assert_eq!(
        file_digest(&one.flat, "purelib/torch/optim/adamw.py"),
        Some(Digest::of(b"adamw"))
    );
    assert_eq!(
        file_digest(&one.flat, "interpreter/python3.11"),
        Some(Digest::of(b"elf"))
    );
    assert_eq!(one.unread().count(), 0);
}

#[test]
fn the_stored_trees_lead_back_to_every_name() {
    let site = Site::new();
    site.write_in_site("torch/__pycache__/a.cpython-311.pyc", "code");
    let snapshot = site.snapshot();
    let blob = |digest| {
        snapshot
            .trees
            .iter()
            .find(|tree| tree.digest == digest)
            .map(|tree| tree.bytes.clone())
    };
    assert_eq!(
        flatten(snapshot.root.digest(), blob).unwrap(),
        snapshot.flat
    );
    assert_eq!(
        flatten(snapshot.compiled.digest(), blob).unwrap(),
        snapshot.compiled_flat
    );
    assert!(
        snapshot
            .compiled_flat
            .contains_key(&name("purelib/torch/__pycache__/a.cpython-311.pyc"))
    );
}

#[test]
fn byte_code_that_python_writes_changes_nothing_that_is_compared() {
    let site = Site::new();
    let before = site.snapshot();
    site.write_in_site("torch/__pycache__/a.cpython-311.pyc", "code");
    let after = site.snapshot();
    assert_eq!(before.root.digest(), after.root.digest());
    assert_ne!(before.compiled.digest(), after.compiled.digest());
}

#[test]
fn a_folder_inside_of_another_root_or_reached_twice_is_listed_once() {
    let site = Site::new();
    symlink("lib", site.path("lib64")).unwrap();
    symlink("site-packages/torch", site.path("lib/python3.11/into")).unwrap();
    symlink("site-packages", site.path("lib/python3.11/twin")).unwrap();
    let snapshot = site.snapshot();
    let named = |path: &str| {
        snapshot
            .flat
            .keys()
            .filter(|key| key.as_str().starts_with(path))
            .count()
    };
    assert_eq!(named("platlib/"), 0);
    assert_eq!(named("stdlib/site-packages"), 0);
    assert!(named("purelib/torch/") > 0);
    assert_eq!(
        file_digest(&snapshot.flat, "stdlib/into/optim/adamw.py"),
        Some(Digest::of(b"adamw"))
    );
    assert!(matches!(
        snapshot.flat.get(&name("stdlib/twin")),
        Some(Node::Link { .. })
    ));
    let platlib = snapshot
        .places
        .iter()
        .find(|place| place.name == "platlib")
        .unwrap();
    assert_eq!(platlib.same_as.as_deref(), Some("purelib"));
}

#[test]
fn an_environment_of_links_is_the_environment_that_they_lead_to() {
    let cache = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(cache.path().join("pkg/sub")).unwrap();
    std::fs::write(cache.path().join("pkg/a.py"), "a").unwrap();
    std::fs::write(cache.path().join("pkg/sub/b.py"), "b").unwrap();
    let farm = tempfile::tempdir().unwrap();
    std::fs::create_dir(farm.path().join("pkg")).unwrap();
    symlink(cache.path().join("pkg/a.py"), farm.path().join("pkg/a.py")).unwrap();
    symlink(cache.path().join("pkg/sub"), farm.path().join("pkg/sub")).unwrap();
    let of = |folder: &std::path::Path| {
        scan_folder(folder, &mut Cache::empty(), &options())
            .root
            .digest()
    };
    assert_eq!(of(farm.path()), of(cache.path()));
}

#[test]
fn loops_of_links_end_and_dangling_links_stay_links() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::create_dir_all(at("a/b")).unwrap();
    std::fs::write(at("a/b/f.py"), "f").unwrap();
    symlink(".", at("a/self")).unwrap();
    symlink("../..", at("a/b/up")).unwrap();
    symlink("../b", at("a/b/around")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    symlink("chases", at("chases")).unwrap();
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &options());
    for link in ["a/self", "a/b/up", "a/b/around", "dangling", "chases"] {
        let node = snapshot.flat.get(&name(&format!("root/{link}")));
        assert!(matches!(node, Some(Node::Link { .. })), "{link}: {node:?}");
    }
    assert_eq!(snapshot.totals.files, 1);
}

#[test]
fn links_that_multiply_folders_stop_at_the_limit_with_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    for level in 0..30 {
        let here = folder.path().join(format!("d{level}"));
        std::fs::create_dir(&here).unwrap();
        for twin in ["x", "y"] {
            symlink(format!("../d{}", level + 1), here.join(twin)).unwrap();
        }
    }
    std::fs::create_dir(folder.path().join("d30")).unwrap();
    let limited = Options {
        max_entries: 5000,
        ..options()
    };
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &limited);
    assert!(
        snapshot
            .unread()
            .any(|(path, reason)| path.as_str().ends_with("/.")
                && reason == "more than 5000 entries")
    );
}

#[test]
fn pipes_and_sockets_are_named_and_never_opened() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe.py");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &pipe,
        FileType::Fifo,
        Mode::from_raw_mode(0o600),
        0,
    )
    .unwrap();
    symlink(&pipe, folder.path().join("to_pipe.py")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &options());
    let unread: Vec<_> = snapshot
        .unread()
        .map(|(path, reason)| (path.as_str(), reason))
        .collect();
    let pipe = "a named pipe, not opened";
    assert_eq!(
        unread,
        [
            ("root/pipe.py", pipe),
            ("root/socket", "a socket, not opened"),
            ("root/to_pipe.py", pipe)
        ]
    );
}

#[test]
fn names_that_are_no_text_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    for bytes in [b"a\xff.py".as_slice(), b"line\nbreak", b"tab\tand\\slash"] {
        std::fs::write(
            folder.path().join(std::ffi::OsStr::from_bytes(bytes)),
            bytes,
        )
        .unwrap();
    }
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &options());
    let names: Vec<_> = snapshot
        .flat
        .keys()
        .map(domain::PathText::to_bytes)
        .collect();
    assert_eq!(
        names,
        [
            b"root/a\xff.py".to_vec(),
            b"root/line\nbreak".to_vec(),
            b"root/tab\tand\\slash".to_vec()
        ]
    );
    let blob = |digest| {
        snapshot
            .trees
            .iter()
            .find(|tree| tree.digest == digest)
            .map(|tree| tree.bytes.clone())
    };
    assert_eq!(
        flatten(snapshot.root.digest(), blob).unwrap(),
        snapshot.flat
    );
}

#[test]
fn a_file_that_vanishes_before_it_is_read_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gone.py"), "x").unwrap();
    std::fs::write(folder.path().join("stays.py"), "y").unwrap();
    let calls = AtomicUsize::new(0);
    // Asked first before the folder is listed, then before each file.
    let vanish = || {
        if calls.fetch_add(1, Ordering::Relaxed) == 1 {
            std::fs::remove_file(folder.path().join("gone.py")).unwrap();
        }
        false
    };
    let options = Options {
        should_stop: &vanish,
        threads: 1,
        ..options()
    };
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &options);
    assert_eq!(
        snapshot.unread().collect::<Vec<_>>(),
        [(&name("root/gone.py"), "vanished")]
    );
    assert_eq!(
        file_digest(&snapshot.flat, "root/stays.py"),
        Some(Digest::of(b"y"))
    );
}

#[test]
fn a_folder_that_vanishes_before_it_is_listed_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("sub")).unwrap();
    let calls = AtomicUsize::new(0);
    let vanish = || {
        if calls.fetch_add(1, Ordering::Relaxed) == 1 {
            std::fs::remove_dir(folder.path().join("sub")).unwrap();
        }
        false
    };
    let options = Options {
        should_stop: &vanish,
        threads: 1,
        ..options()
    };
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &options);
    assert_eq!(
        snapshot.unread().collect::<Vec<_>>(),
        [(&name("root/sub/."), "vanished")]
    );
}

#[test]
fn a_path_longer_than_the_system_takes_is_a_gap() {
    let folder = tempfile::tempdir().unwrap();
    let long = "d".repeat(250);
    let mut here =
        rustix::fs::open(folder.path(), rustix::fs::OFlags::DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..20 {
        rustix::fs::mkdirat(&here, long.as_str(), Mode::from_raw_mode(0o755)).unwrap();
        here = rustix::fs::openat(
            &here,
            long.as_str(),
            rustix::fs::OFlags::DIRECTORY,
            Mode::empty(),
        )
        .unwrap();
    }
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &options());
    let reasons: Vec<_> = snapshot.unread().map(|(_, reason)| reason).collect();
    assert_eq!(reasons, ["its path is too long"]);
}

#[test]
fn a_stopped_scan_and_a_spent_budget_leave_gaps_and_what_comes_first_is_read() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["a", "b", "c"] {
        std::fs::write(folder.path().join(file), "1234567890").unwrap();
    }
    let first = vec![folder.path().join("b")];
    let budget = Options {
        budget_bytes: Some(15),
        first,
        threads: 1,
        ..options()
    };
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &budget);
    assert_eq!(
        file_digest(&snapshot.flat, "root/b"),
        Some(Digest::of(b"1234567890"))
    );
    let reason = "the byte budget of the scan was spent";
    assert_eq!(
        snapshot.unread().collect::<Vec<_>>(),
        [(&name("root/a"), reason), (&name("root/c"), reason)]
    );
    let stopped = Options {
        should_stop: &|| true,
        ..options()
    };
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &stopped);
    assert_eq!(
        snapshot.unread().collect::<Vec<_>>(),
        [(&name("root/."), "the scan was stopped")]
    );
}

#[test]
fn a_file_under_many_names_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    std::fs::write(at("a"), "same").unwrap();
    std::fs::hard_link(at("a"), at("b")).unwrap();
    symlink("a", at("c")).unwrap();
    let snapshot = scan_folder(folder.path(), &mut Cache::empty(), &options());
    assert_eq!(
        (
            snapshot.totals.files,
            snapshot.totals.read_files,
            snapshot.totals.read_bytes
        ),
        (3, 1, 4)
    );
}

#[test]
fn a_hundred_thousand_files_are_listed_and_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("g0");
    std::fs::create_dir(&real).unwrap();
    for file in 0..1000 {
        std::fs::write(real.join(format!("{file}.py")), file.to_string()).unwrap();
    }
    for group in 1..100 {
        symlink("g0", folder.path().join(format!("g{group}"))).unwrap();
    }
    let mut cache = Cache::empty();
    let snapshot = scan_folder(folder.path(), &mut cache, &options());
    assert_eq!(
        (snapshot.totals.files, snapshot.totals.read_files),
        (100_000, 1000)
    );
    assert_eq!(
        file_digest(&snapshot.flat, "root/g42/7.py"),
        Some(Digest::of(b"7"))
    );
    let again = scan_folder(folder.path(), &mut cache, &options());
    assert_eq!(
        (again.root.digest(), again.totals.read_files),
        (snapshot.root.digest(), 0)
    );
}
