//! Environments, asked about single files and scanned once more while the run is going.

use std::os::unix::ffi::OsStrExt as _;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use domain::{Node, PathText};
use environment::{Judged, Snapshot, records};

use crate::run::environment::{BESIDE_JOB, Environments, scan};
use crate::run::event::Event;

/// An environment as a further scan saw it.
pub(in crate::run) struct Again {
    pub(in crate::run) key: usize,
    pub(in crate::run) snapshot: Snapshot,
}

impl Environments {
    /// The environment that a path lies in, and the name there, by the longest folder that fits. Only of those that were
    /// scanned.
    pub(super) fn place_of(&self, path: &PathText) -> Option<(usize, PathText)> {
        let bytes = path.to_bytes();
        let mut best: Option<(usize, usize, PathText)> = None;
        for (key, known) in self.known.iter().enumerate() {
            let Some(examined) = &known.examined else {
                continue;
            };
            for place in &examined.snapshot.places {
                let name = place.same_as.as_ref().unwrap_or(&place.name);
                for folder in [Some(&place.path), place.real.as_ref()]
                    .into_iter()
                    .flatten()
                {
                    let folder = folder.as_os_str().as_bytes();
                    let rest = bytes.strip_prefix(folder);
                    let Some(rest) = rest.filter(|it| it.is_empty() || it.starts_with(b"/")) else {
                        continue;
                    };
                    if best.as_ref().is_none_or(|best| folder.len() > best.0) {
                        let logical = PathText::from_bytes(&[name.as_bytes(), rest].concat());
                        best = Some((folder.len(), key, logical));
                    }
                }
            }
        }
        best.map(|(_, key, logical)| (key, logical))
    }

    /// How a file was at the first scan.
    pub(super) fn first(&self, key: usize, logical: &PathText) -> Option<&Node> {
        let snapshot = &self.known.get(key)?.examined.as_ref()?.snapshot;
        let compiled = &snapshot.compiled_flat;
        snapshot.flat.get(logical).or_else(|| compiled.get(logical))
    }

    /// The package that a file belongs to, as `name version`.
    pub(super) fn package_of(&mut self, key: usize, logical: &PathText) -> Option<String> {
        let examined = self.known.get_mut(key)?.examined.as_mut()?;
        if examined.report.packages == 0 {
            // It was the tree of a good run, whose papers were not read again.
            examined.report = records::check(&examined.snapshot);
        }
        let source = source_of(logical);
        let file = source.as_ref().unwrap_or(logical);
        // A folder belongs to whom the files in it belong to.
        let below = super::told::first_below(&examined.snapshot, file);
        let owners = examined.report.owners(below.as_ref().unwrap_or(file));
        let package = examined.snapshot.packages.get(owners.first()?.package)?;
        Some(format!("{} {}", package.name, package.version))
    }

    /// Scans an environment again, behind the job. The answer comes as [`Event::Again`].
    pub(super) fn scan_again(&self, key: usize, events: &Sender<Event>) -> bool {
        let Some(known) = self.known.get(key) else {
            return false;
        };
        let (layout, store) = (known.layout.clone(), self.store.clone());
        let (stop, events) = (Arc::clone(&self.stop), events.clone());
        let spawned = std::thread::Builder::new()
            .name("environment".to_owned())
            .spawn(move || {
                super::super::lower_priority();
                let snapshot = scan(&layout, &store, &stop, BESIDE_JOB);
                let _ = events.send(Event::Again(Box::new(Again { key, snapshot })));
            });
        spawned.is_ok()
    }

    /// Whether the first scan found something below a folder.
    pub(super) fn had_folder(&self, key: usize, logical: &PathText) -> bool {
        let examined = self.known.get(key).and_then(|it| it.examined.as_ref());
        examined.is_some_and(|it| super::told::first_below(&it.snapshot, logical).is_some())
    }

    /// How many environments there are.
    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// How a further scan differs from the first.
    pub(super) fn compare_again(&self, again: &Again) -> Vec<Judged> {
        let examined = self
            .known
            .get(again.key)
            .and_then(|it| it.examined.as_ref());
        examined.map_or_else(Vec::new, |first| first.changed(&again.snapshot))
    }
}

/// The source that byte code belongs to by its name: `a/__pycache__/b.cpython-311.pyc` is of `a/b.py`.
fn source_of(logical: &PathText) -> Option<PathText> {
    let (folder, file) = logical.as_str().rsplit_once("/__pycache__/")?;
    let (module, _) = file.split_once('.')?;
    Some(PathText::from_text(&format!("{folder}/{module}.py")))
}
