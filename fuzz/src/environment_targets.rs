//! `environment`: papers of packages, read the only public way, through a scan of a folder that holds them.
//!
//! The scan is real, so these two are slower than the rest. They are about text: names of files are not fuzzed here.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

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
