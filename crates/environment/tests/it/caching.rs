//! What the cache may and may not save a scan from reading.

use std::fs::{File, FileTimes};
use std::path::Path;
use std::time::SystemTime;

use domain::Digest;
use taintline_environment::{Cache, CacheStart, Options};
use tempfile::TempDir;

use crate::site::{file_digest, name, options, scan_folder};

fn folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.py"), "aaa").unwrap();
    std::fs::write(folder.path().join("b.py"), "bbb").unwrap();
    folder
}

#[test]
fn what_has_not_changed_is_not_read_again() {
    let folder = folder();
    let mut cache = Cache::empty();
    let first = scan_folder(folder.path(), &mut cache, &options());
    let second = scan_folder(folder.path(), &mut cache, &options());
    assert_eq!((first.totals.read_files, second.totals.read_files), (2, 0));
    assert_eq!(first.root.digest(), second.root.digest());
}

#[test]
fn an_edit_of_the_same_size_with_its_time_put_back_is_noticed() {
    let folder = folder();
    let path = folder.path().join("a.py");
    let mut cache = Cache::empty();
    scan_folder(folder.path(), &mut cache, &options());
    let before = path.metadata().unwrap();
    std::fs::write(&path, "xxx").unwrap();
    let times = FileTimes::new().set_modified(before.modified().unwrap());
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_times(times)
        .unwrap();
    let after = path.metadata().unwrap();
    assert_eq!(
        (before.modified().unwrap(), before.len()),
        (after.modified().unwrap(), after.len())
    );
    let snapshot = scan_folder(folder.path(), &mut cache, &options());
    assert_eq!(
        file_digest(&snapshot.flat, "root/a.py"),
        Some(Digest::of(b"xxx"))
    );
    assert_eq!(snapshot.totals.read_files, 1);
}

#[test]
fn another_file_moved_into_the_place_is_noticed() {
    let folder = folder();
    let mut cache = Cache::empty();
    scan_folder(folder.path(), &mut cache, &options());
    std::fs::rename(folder.path().join("b.py"), folder.path().join("a.py")).unwrap();
    let snapshot = scan_folder(folder.path(), &mut cache, &options());
    assert_eq!(
        file_digest(&snapshot.flat, "root/a.py"),
        Some(Digest::of(b"bbb"))
    );
}

#[test]
fn a_file_as_young_as_the_scan_is_read_again() {
    let folder = folder();
    let mut cache = Cache::empty();
    let now = Options {
        began: SystemTime::now(),
        ..options()
    };
    scan_folder(folder.path(), &mut cache, &now);
    assert_eq!(
        scan_folder(folder.path(), &mut cache, &now)
            .totals
            .read_files,
        2
    );
}

#[test]
fn a_broken_cache_costs_time_and_nothing_else() {
    let folder = folder();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("seen");
    let mut cache = Cache::load(&path);
    let first = scan_folder(folder.path(), &mut cache, &options());
    cache.save(&path).unwrap();
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let mut cache = Cache::load(&path);
    assert_eq!(cache.start(), CacheStart::Refused);
    let second = scan_folder(folder.path(), &mut cache, &options());
    assert_eq!(
        (second.root.digest(), second.totals.read_files),
        (first.root.digest(), 2)
    );
}

/// Writes other digests into a cache file, as somebody would who hides an edit from us.
fn forge(path: &Path, texts: &[&str]) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes.truncate(bytes.len() - 32);
    for text in texts {
        let digest = Digest::of(text.as_bytes());
        let at = bytes
            .windows(32)
            .position(|window| window == digest.as_bytes())
            .unwrap();
        bytes[at..at + 32].copy_from_slice(Digest::of(b"forged").as_bytes());
    }
    let checksum = Digest::of(&bytes);
    bytes.extend_from_slice(checksum.as_bytes());
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn one_forged_record_that_the_sample_meets_uncovers_the_others() {
    let folder = folder();
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("seen");
    let mut cache = Cache::empty();
    scan_folder(folder.path(), &mut cache, &options());
    cache.save(&path).unwrap();
    forge(&path, &["aaa", "bbb"]);

    let unsampled = scan_folder(folder.path(), &mut Cache::load(&path), &options());
    assert_eq!(
        file_digest(&unsampled.flat, "root/a.py"),
        Some(Digest::of(b"forged")),
        "without a sample it is believed"
    );

    let half = |seed| Options {
        sample_rehash_per_mille: 500,
        sample_seed: seed,
        ..options()
    };
    let met_one = (0..1000)
        .map(|seed| scan_folder(folder.path(), &mut Cache::load(&path), &half(seed)))
        .find(|snapshot| snapshot.cache_lies.len() == 1)
        .unwrap();
    assert_eq!(met_one.cache_lies[0].remembered, Digest::of(b"forged"));
    assert_eq!(
        file_digest(&met_one.flat, "root/a.py"),
        Some(Digest::of(b"aaa"))
    );
    assert_eq!(
        file_digest(&met_one.flat, "root/b.py"),
        Some(Digest::of(b"bbb"))
    );
}

#[test]
fn the_sample_reads_unchanged_files_without_a_finding() {
    let folder = folder();
    let mut cache = Cache::empty();
    scan_folder(folder.path(), &mut cache, &options());
    let all = Options {
        sample_rehash_per_mille: 1000,
        ..options()
    };
    let snapshot = scan_folder(folder.path(), &mut cache, &all);
    assert_eq!(
        (snapshot.totals.read_files, snapshot.cache_lies.len()),
        (2, 0)
    );
    // A file that changed meanwhile is a change, not a lie.
    std::fs::write(folder.path().join("a.py"), "new").unwrap();
    let snapshot = scan_folder(folder.path(), &mut cache, &all);
    assert_eq!(
        (
            file_digest(&snapshot.flat, "root/a.py"),
            snapshot.cache_lies.len()
        ),
        (Some(Digest::of(b"new")), 0)
    );
    assert_eq!(snapshot.flat.len(), 2);
    assert!(snapshot.flat.contains_key(&name("root/b.py")));
}
