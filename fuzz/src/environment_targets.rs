//! `environment`: papers of packages, read the only public way, through a scan of a folder that holds them.
//!
//! The scan is real, so these two are slower than the rest. They are about text: names of files are not fuzzed here.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

use domain::Digest;
use environment::compiled::{Dialect, HEADER_BYTES, Header, differences, facts, meaning};
use environment::reference::lock::{Lock, LockKind};
use environment::reference::{Manifest, read_wheel};
use environment::{Cache, Layout, Options, RootKind, Snapshot, records, scan};

/// Papers whose form is read, the first byte of the input chooses which one it is.
const PAPERS: [&str; 7] = [
    "x-1.dist-info/METADATA",
    "x-1.dist-info/INSTALLER",
    "x-1.dist-info/direct_url.json",
    "x-1.dist-info/top_level.txt",
    "x-1.egg-info/installed-files.txt",
    "x-1.egg-info/PKG-INFO",
    "x.pth",
];

/// The input as a package's `RECORD`, against a folder with two files.
pub fn record(data: &[u8]) -> bool {
    with_site(|site| {
        let written = fs::create_dir(site.join("x-1.dist-info"))
            .and_then(|()| fs::write(site.join("x-1.dist-info/RECORD"), data));
        written.is_ok() && check(site, data.len()).vouched > 0
    })
}

/// The input behind its first byte as another paper, with no `RECORD` beside it.
pub fn papers(data: &[u8]) -> bool {
    let Some((first, text)) = data.split_first() else {
        return false;
    };
    let paper = PAPERS[usize::from(*first) % PAPERS.len()];
    with_site(|site| {
        let path = site.join(paper);
        let written =
            fs::create_dir_all(path.parent().unwrap_or(site)).and_then(|()| fs::write(&path, text));
        written.is_ok() && check(site, text.len()).packages > 0
    })
}

/// The input behind its first byte as a byte code file, header and all, of the version that the byte says.
pub fn byte_code(data: &[u8]) -> bool {
    let Some((minor, file)) = data.split_first() else {
        return false;
    };
    let Some(dialect) = Dialect::of(8 + minor % 8) else {
        return false;
    };
    let header = Header::read(file);
    let body = file.get(HEADER_BYTES..).unwrap_or_default();
    let found = meaning(body, dialect);
    let Ok(told) = facts(body, dialect) else {
        // Facts are told of fewer objects than are read, and of nothing that cannot be read.
        return found.is_ok() && header.is_ok();
    };
    let again = facts(body, dialect).unwrap_or_default();
    assert!(found.is_ok() && !told.is_empty());
    assert!(
        differences(&told, &again).is_empty(),
        "it differs from itself"
    );
    header.is_ok()
}

/// The forms of lock files; the first byte of the input chooses which one it is.
const LOCKS: [LockKind; 3] = [LockKind::Uv, LockKind::Pylock, LockKind::Requirements];

/// The input behind its first byte as a lock file.
pub fn lock_file(data: &[u8]) -> bool {
    let Some((first, text)) = data.split_first() else {
        return false;
    };
    let kind = LOCKS[usize::from(*first) % LOCKS.len()];
    let Ok(lock) = Lock::parse(kind, text) else {
        return false;
    };
    assert_eq!(
        Lock::parse(kind, text).as_ref(),
        Ok(&lock),
        "two looks differ"
    );
    let mut digests = 0;
    for (name, all) in lock.iter() {
        digests += all.iter().map(|it| it.artifacts.len()).sum::<usize>();
        // Each is looked for among all of its name: the time of that would be the square of a hostile text.
        for locked in all.iter().take(20) {
            let version = locked.version.as_deref().unwrap_or("1");
            let allowed = lock.allowed(name, version).unwrap_or_default();
            assert!(allowed.contains(&locked), "a locked version is not allowed");
        }
    }
    assert_eq!(digests, lock.digests());
    digests > 0
}

/// The input as a wheel.
pub fn wheel(data: &[u8]) -> bool {
    let digest = Digest::of(data);
    let Ok(manifest) = read_wheel(&data, digest) else {
        return false;
    };
    assert_eq!(
        Manifest::decode(&manifest.encode()).as_ref(),
        Some(&manifest)
    );
    for file in &manifest.files {
        let path = file.path.to_bytes();
        assert!(!path.is_empty() && !path.split(|byte| *byte == b'/').any(|part| part == b".."));
    }
    !manifest.files.is_empty()
}

/// A new `site-packages` with two modules, removed afterwards also when the target panics.
fn with_site(work: impl FnOnce(&Path) -> bool) -> bool {
    let Ok(site) = tempfile::tempdir() else {
        return false;
    };
    let modules = fs::write(site.path().join("x.py"), "x")
        .and_then(|()| fs::write(site.path().join("y.py"), "y"));
    modules.is_ok() && work(site.path())
}

fn check(site: &Path, bytes: usize) -> records::RecordReport {
    let snapshot = look(site);
    assert_eq!(
        snapshot.unread().count(),
        0,
        "a file that is there is unread"
    );
    let report = records::check(&snapshot);
    let known = u64::try_from(snapshot.flat.len()).unwrap_or(u64::MAX);
    assert!(report.vouched + report.without_digest <= known);
    // A claim takes a line of a paper, so there are no more of them than bytes.
    assert!(report.mismatched.len() + report.missing.len() <= bytes + 1);
    assert!(report.oddities.len() <= snapshot.packages.len() * records::MAX_ODDITIES);
    for path in &report.unowned {
        assert!(report.owners(path).is_empty());
    }
    for package in &snapshot.packages {
        for word in [&package.name, &package.version] {
            assert!(!word.chars().any(char::is_control) && word.len() <= 4096);
        }
        assert!(package.normalized().len() <= 4096);
    }
    let again = records::check(&look(site));
    assert_eq!(
        format!("{report:?}"),
        format!("{again:?}"),
        "two looks differ"
    );
    report
}

fn look(site: &Path) -> Snapshot {
    let mut layout = Layout::new();
    layout.add_root("purelib", RootKind::Site, site);
    let mut options = Options::new(SystemTime::now(), 0);
    options.threads = 1;
    scan(&layout, &mut Cache::empty(), &options)
}
