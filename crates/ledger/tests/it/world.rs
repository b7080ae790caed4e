//! A store with keys beside it, in a folder that goes away.

use std::path::{Path, PathBuf};

use domain::Digest;
use taintline_ledger::{AuditReport, Store, Writer, audit};

pub(crate) struct World {
    _folder: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) keys: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open_or_create(&folder.path().join("store")).unwrap();
        let keys = folder.path().join("keys");
        Self {
            _folder: folder,
            store,
            keys,
        }
    }

    pub(crate) fn writer(&self) -> Writer {
        self.store.writer("alice@host", &self.keys).unwrap()
    }

    pub(crate) fn log_folder(&self) -> PathBuf {
        self.store.root().join("ledger/alice@host")
    }

    pub(crate) fn audit(&self) -> AuditReport {
        audit(&self.store, &references)
    }

    /// The audit, which must find nothing.
    #[track_caller]
    pub(crate) fn sound(&self) -> AuditReport {
        let report = self.audit();
        assert_eq!(report.problems, []);
        report
    }

    /// The files that the audit names, each once.
    pub(crate) fn named(&self) -> Vec<PathBuf> {
        let mut files: Vec<_> = self
            .audit()
            .problems
            .into_iter()
            .map(|problem| problem.file)
            .collect();
        files.dedup();
        files
    }

    /// All entries of all logs.
    pub(crate) fn entries(&self) -> Vec<Vec<u8>> {
        let logs = self.store.logs().unwrap();
        logs.iter()
            .flat_map(|log| log.entries(0..log.head().unwrap().size).unwrap())
            .collect()
    }
}

/// Entries of these tests name blobs as `blob <digest>`.
pub(crate) fn references(entry: &[u8]) -> Vec<Digest> {
    let text = std::str::from_utf8(entry).unwrap_or_default();
    text.strip_prefix("blob ")
        .and_then(|digest| digest.parse().ok())
        .into_iter()
        .collect()
}

/// `count` entries that differ from all others.
pub(crate) fn batch(name: &str, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|index| format!("{name} {index} {}", "x".repeat(index % 90)).into_bytes())
        .collect()
}

/// All files below `folder`, sorted, relative to it.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for item in std::fs::read_dir(next).unwrap() {
            let item = item.unwrap();
            if item.file_type().unwrap().is_dir() {
                folders.push(item.path());
            } else {
                found.push(item.path().strip_prefix(folder).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

/// Copies a folder with everything in it.
pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        std::fs::create_dir_all(to.join(&file).parent().unwrap()).unwrap();
        std::fs::copy(from.join(&file), to.join(&file)).unwrap();
    }
}
