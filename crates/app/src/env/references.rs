//! Gathering what an environment is held against: the lock file, wheels, lists of other installers, an earlier check.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use domain::entry::{Act, EnvironmentCheck};
use domain::{Gap, Node, PathText};
use environment::reference::lock::Lock;
use environment::reference::{
    self, Finder, FoundLock, LocalLists, References, Shelf, Voucher, conda, dpkg, find_lock,
    read_lock,
};
use environment::{Cache, Derived, Snapshot, records};
use ledger::Store;
use report::environment::EnvFindingView;

use super::keep::Kept;
use super::{EnvError, words};
use crate::index::Index;
use crate::place::Surroundings;
use crate::secret;

/// Where Debian's package manager keeps its lists.
const DPKG: &str = "/var/lib/dpkg/info";

/// The lock file and where wheels are.
pub(crate) struct Sources {
    pub(crate) lock: Option<(PathBuf, Lock)>,
    pub(crate) lock_named: bool,
    /// Files that should be lock files and are not used, and why.
    passed_over: Vec<(PathBuf, String)>,
    pub(crate) shelf: Shelf,
}

impl Sources {
    /// What the user named; a lock file that was not named is looked for from the working directory upwards.
    pub(crate) fn find(
        surroundings: &Surroundings,
        lock: Option<&Path>,
        wheelhouses: &[PathBuf],
    ) -> Result<Self, EnvError> {
        let found = match lock {
            Some(path) => {
                let path = surroundings.cwd.join(path);
                let lock = Some((path.clone(), read_lock(&path)?));
                FoundLock {
                    lock,
                    passed_over: Vec::new(),
                }
            }
            None => find_lock(&surroundings.cwd),
        };
        let FoundLock {
            lock: found,
            passed_over,
        } = found;
        let mut shelf = Shelf::default();
        for folder in wheelhouses {
            let folder = surroundings.cwd.join(folder);
            if !folder.is_dir() {
                return Err(EnvError::Wheelhouse(folder));
            }
            shelf.add_named(&folder);
        }
        // pip's own cache speaks only for what a lock file names by digest.
        if let Some(cache) = pip_cache(surroundings).filter(|_| found.is_some()) {
            shelf.add_pip_cache(&cache);
        }
        Ok(Self {
            lock: found,
            lock_named: lock.is_some(),
            passed_over,
            shelf,
        })
    }

    /// What could not be listed.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let unread = self.shelf.unread.iter().map(|(folder, why)| Gap {
            what: format!("wheels in {}", folder.display()),
            why: why.clone(),
        });
        let passed_over = self.passed_over.iter().map(|(path, why)| Gap {
            what: format!("the lock file {}", path.display()),
            why: format!("it is not used: {why}"),
        });
        passed_over.chain(unread).collect()
    }

    /// All that is held against an environment, but what the user signed and what was there before.
    pub(crate) fn references(
        &self,
        snapshot: &Snapshot,
        kept: &Kept,
        cache: &mut Cache,
        began: SystemTime,
    ) -> References<'static> {
        let mut finder = Finder {
            lock: self.lock.as_ref().map(|(_, lock)| lock),
            shelf: &self.shelf,
            keeper: kept,
            cache,
            began,
        };
        References {
            packages: finder.find(snapshot),
            lock_named: self.lock_named,
            ..References::default()
        }
    }
}

/// Where pip keeps what it fetched.
fn pip_cache(surroundings: &Surroundings) -> Option<PathBuf> {
    let mut variables = surroundings.variables.iter();
    let named = variables.find(|(name, value)| name == "PIP_CACHE_DIR" && !value.is_empty());
    named
        .map(|(_, value)| surroundings.cwd.join(value))
        .or_else(|| Some(surroundings.cache_home.as_ref()?.join("pip")))
}

/// What the wheels that a lock file names say of the environment of a run.
pub(crate) struct ByWheels {
    /// The lock file; empty where none is used.
    pub(crate) lock: String,
    /// Files that are what their wheel has.
    pub(crate) vouched: u64,
    /// What is not.
    pub(crate) findings: Vec<EnvFindingView>,
    /// What could not be compared.
    pub(crate) gaps: Vec<Gap>,
}

/// Holds an environment against the wheels of the lock file around the working directory; `None` where there is none.
pub(crate) fn by_wheels(
    surroundings: &Surroundings,
    store: &Store,
    snapshot: &Snapshot,
) -> Option<ByWheels> {
    let sources = Sources::find(surroundings, None, &[]).ok()?;
    let mut gaps = sources.gaps();
    let Some((path, _)) = &sources.lock else {
        return (!gaps.is_empty()).then(|| ByWheels {
            lock: String::new(),
            vouched: 0,
            findings: Vec::new(),
            gaps,
        });
    };
    let lock = surroundings.shown(path);
    let secret = secret::known(store, &surroundings.keys().ok()?)?;
    let place = store.root().join("cache/files");
    let mut cache = Cache::load(&place);
    let kept = Kept::new(store, secret);
    let references = sources.references(snapshot, &kept, &mut cache, SystemTime::now());
    let _ = cache.save(&place); // without it wheels are read again: slower, not wrong
    let report = records::check(snapshot);
    let mut checked = reference::check(snapshot, &report, &references);
    checked
        .differences
        .retain(|it| it.voucher == Some(Voucher::LockedWheel));
    gaps.extend(words::without_wheels(&checked, snapshot));
    let vouched = checked.vouched().get(&Voucher::LockedWheel).copied();
    Some(ByWheels {
        lock,
        vouched: vouched.unwrap_or(0),
        findings: words::findings(&checked, snapshot),
        gaps,
    })
}

/// Lists of other installers, where there are any.
pub(super) fn lists(derived: &Derived, snapshot: &Snapshot) -> LocalLists {
    let mut lists = LocalLists::default();
    let prefixes = [Some(&derived.prefix), derived.base.as_ref()];
    for prefix in prefixes.into_iter().flatten() {
        if prefix.join("conda-meta").is_dir() {
            conda(snapshot, prefix, &mut lists);
        }
    }
    if derived.base.as_deref() == Some(Path::new("/usr")) {
        dpkg(snapshot, Path::new(DPKG), &mut lists);
    }
    lists
}

/// An earlier check of the environment in the same folder that found nothing.
pub(super) struct Earlier {
    pub(super) act: EnvironmentCheck,
    pub(super) log: String,
    pub(super) number: u64,
}

/// Names and what stood behind them.
type Names<'a> = Cow<'a, BTreeMap<PathText, Node>>;

/// The last one, read again from the ledger, and what it saw: the names of `snapshot` where both have one tree. Why it
/// cannot be read where it cannot.
pub(super) fn earlier<'a>(
    store: &Store,
    prefix: &PathText,
    snapshot: &'a Snapshot,
) -> Result<Option<(Earlier, Names<'a>)>, String> {
    let index = Index::open(store).map_err(|error| error.to_string())?;
    let place = index.last_check(prefix.as_str());
    let Some((log, number)) = place.map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let logs = store.logs().map_err(|error| error.to_string())?;
    let found = logs.iter().find(|it| it.name() == log);
    let act = found
        .map(|it| crate::stamp::act_at(it, number))
        .transpose()
        .map_err(|error| error.to_string())?;
    let Some(Some(Act::EnvironmentChecked(act))) = act else {
        return Err(format!(
            "entry {number} of log {log}, a check stood there and does not any more"
        ));
    };
    let names = if act.tree == snapshot.root.digest() {
        Cow::Borrowed(&snapshot.flat)
    } else {
        environment::flatten(act.tree, |digest| store.blob(&digest).ok().flatten())
            .map(Cow::Owned)
            .map_err(|error| format!("its tree: {error}"))?
    };
    let earlier = Earlier {
        act: *act,
        log,
        number,
    };
    Ok(Some((earlier, names)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::Digest;
    use environment::reference::{Keeper as _, Manifest, Scheme, WheelFile};
    use environment::{Layout, Options, RootKind};

    /// A project with a lock file, a store and an environment of one package.
    struct Project {
        folder: tempfile::TempDir,
        surroundings: Surroundings,
        store: Store,
    }

    impl Project {
        fn new(wheel: Digest) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let at = |name: &str| folder.path().join(name);
            std::fs::create_dir_all(at("site/six-1.0.dist-info")).unwrap();
            std::fs::create_dir(at(".git")).unwrap();
            std::fs::write(at("site/six.py"), "six").unwrap();
            let metadata = "Name: six\nVersion: 1.0\n";
            std::fs::write(at("site/six-1.0.dist-info/METADATA"), metadata).unwrap();
            let lock = format!("six==1.0 --hash=sha256:{wheel}\n");
            std::fs::write(at("requirements.txt"), lock).unwrap();
            let surroundings = Surroundings {
                cwd: folder.path().to_owned(),
                data_home: Some(at("data")),
                ..Surroundings::default()
            };
            let store = Store::open_or_create(&at("store")).unwrap();
            Self {
                folder,
                surroundings,
                store,
            }
        }

        fn by_wheels(&self) -> Option<ByWheels> {
            let mut layout = Layout::new();
            layout.add_root("purelib", RootKind::Site, self.folder.path().join("site"));
            let options = Options::new(SystemTime::now(), 1);
            let snapshot = environment::scan(&layout, &mut Cache::empty(), &options);
            by_wheels(&self.surroundings, &self.store, &snapshot)
        }
    }

    #[test]
    fn a_run_tells_what_the_kept_wheel_of_the_lock_file_contradicts() {
        let wheel = Digest::of(b"wheel");
        let project = Project::new(wheel);
        let keys = project.surroundings.keys().unwrap();
        let secret = secret::of_store(&project.store, &keys).unwrap();
        // Nothing is known of the wheel: nothing is contradicted, and nothing vouched for.
        let unknown = project.by_wheels().unwrap();
        assert_eq!((unknown.vouched, unknown.findings.len()), (0, 0));
        assert_eq!(unknown.gaps[0].why, "its wheel is not here");
        let file = |path: &str, text: &str| WheelFile {
            scheme: Scheme::Root,
            path: PathText::from_bytes(path.as_bytes()),
            size: text.len() as u64,
            digest: Digest::of(text.as_bytes()),
            body: None,
        };
        Kept::new(&project.store, secret).keep(&Manifest {
            wheel,
            papers: "six-1.0.dist-info".to_owned(),
            files: vec![
                file("six-1.0.dist-info/METADATA", "Name: six\nVersion: 1.0\n"),
                file("six.py", "six"),
            ],
            launchers: Vec::new(),
        });
        let clean = project.by_wheels().unwrap();
        assert_eq!((clean.vouched, clean.findings.len()), (2, 0));
        assert_eq!(clean.gaps, []);
        std::fs::write(project.folder.path().join("site/six.py"), "evil").unwrap();
        let found = project.by_wheels().unwrap();
        assert_eq!((found.vouched, found.findings.len()), (1, 1));
        assert_eq!(found.findings[0].path, "purelib/six.py");
        assert_eq!(found.lock, "requirements.txt");
        let lock = project.folder.path().join("requirements.txt");
        std::fs::write(&lock, "six==1.0\n").unwrap();
        assert!(
            project.by_wheels().is_none(),
            "requirements without digests"
        );
        std::fs::write(&lock, "--hash=sha256:00 of nothing\n").unwrap();
        let broken = project.by_wheels().unwrap();
        assert!(broken.gaps[0].why.starts_with("it is not used"));
        std::fs::remove_file(lock).unwrap();
        assert!(project.by_wheels().is_none());
    }
}
