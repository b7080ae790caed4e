//! What is watched: files and folders that runs asked for, and who may be told of what happens there.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use domain::RunId;
use domain::watched::RunRegistered;

use super::past::Asked;
use super::reach::Account;

/// Files and folders of one run, and of all.
const OF_RUN_MAX: usize = 5_000;
const OF_ALL_MAX: usize = 100_000;
/// Runs that are known before those nobody needs are forgotten.
const SWEPT_AT: usize = 1_000;
/// File systems of this host whose writes go through its kernel. Of others (NFS, Lustre, FUSE) they come from elsewhere, and some never answer.
const FILE_SYSTEMS: [&str; 12] = [
    "ext2", "ext3", "ext4", "xfs", "btrfs", "tmpfs", "f2fs", "zfs", "bcachefs", "jfs", "vfat",
    "overlay",
];
/// Folders directly below the root that an environment may well be.
const ALLOWED_TOPS: [&str; 3] = ["/usr", "/opt", "/srv"];

/// A file, or a folder with all that is in it.
#[derive(Debug, Clone)]
struct Wanted {
    /// All that is in it.
    below: bool,
    runs: Vec<RunId>,
}

/// A run that asked.
#[derive(Debug, Clone)]
pub(super) struct Asker {
    pub(super) registered: RunRegistered,
    pub(super) account: Account,
    asked: usize,
    /// It has not ended.
    going: bool,
}

/// All that is watched.
#[derive(Debug, Default)]
pub(super) struct Ground {
    wanted: BTreeMap<PathBuf, Wanted>,
    askers: BTreeMap<RunId, Asker>,
}

/// Why something is not watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct NotWatched(pub(super) String);

impl Ground {
    /// A run begins, or is known from before.
    pub(super) fn admit(&mut self, registered: RunRegistered, account: Account, going: bool) {
        let asker = Asker {
            registered,
            account,
            asked: 0,
            going,
        };
        self.askers.insert(asker.registered.run, asker);
    }

    /// What an earlier daemon watched, for those who asked for it then. Gone folders are left out.
    pub(super) fn remember(&mut self, asked: Asked, account: Account) -> Option<PathBuf> {
        let meta = asked.folder.symlink_metadata().ok()?;
        if !meta.is_dir() && !meta.is_file() {
            return None;
        }
        let run = asked.by.run;
        if !self.askers.contains_key(&run) {
            self.admit(asked.by, account, false);
        }
        self.add(run, asked.folder, meta.is_dir()).ok()
    }

    /// A run asks for an open file or folder. Gives back its path.
    pub(super) fn ask(&mut self, run: RunId, file: &OwnedFd) -> Result<PathBuf, NotWatched> {
        let said = |error: std::io::Error| NotWatched(error.to_string());
        let kind = host::pass::file_system_of(file).map_err(said)?;
        if !FILE_SYSTEMS.contains(&kind.as_str()) {
            return Err(NotWatched(format!(
                "its file system ({kind}) does not tell who writes to it"
            )));
        }
        let link = host::pass::path_of(file).map_err(said)?;
        let meta = std::fs::symlink_metadata(&link).map_err(said)?;
        if !meta.is_dir() && !meta.is_file() {
            return Err(NotWatched("it is no file and no folder".to_owned()));
        }
        self.add(run, link, meta.is_dir())
    }

    fn add(&mut self, run: RunId, path: PathBuf, below: bool) -> Result<PathBuf, NotWatched> {
        let depth = path.components().count();
        let is_top = depth <= 2 && !ALLOWED_TOPS.iter().any(|top| Path::new(top) == path);
        if below && is_top {
            let why = format!(
                "{} is too wide: it holds what is nobody's business",
                path.display()
            );
            return Err(NotWatched(why));
        }
        if self.wanted.len() >= OF_ALL_MAX {
            return Err(NotWatched("too much is watched already".to_owned()));
        }
        let asker = self.askers.get_mut(&run);
        let asker = asker.ok_or_else(|| NotWatched("the run is not known".to_owned()))?;
        if asker.asked >= OF_RUN_MAX {
            return Err(NotWatched(format!("a run may ask for {OF_RUN_MAX}")));
        }
        asker.asked += 1;
        let uid = asker.registered.uid;
        let wanted = self.wanted.entry(path.clone());
        let wanted = wanted.or_insert_with(|| Wanted {
            below,
            runs: Vec::new(),
        });
        // Of each account, the newest of the runs that ended keeps a place watched: so the list does not grow with every run.
        let askers = &self.askers;
        let stays = |of: &RunId| {
            let it = askers.get(of);
            it.is_some_and(|it| it.going || it.registered.uid != uid)
        };
        wanted.runs.retain(|of| *of != run && stays(of));
        wanted.runs.push(run);
        Ok(path)
    }

    /// A run is over. What it asked for is watched on.
    pub(super) fn leave(&mut self, run: RunId) {
        if let Some(asker) = self.askers.get_mut(&run) {
            asker.going = false;
        }
        if self.askers.len() > SWEPT_AT {
            let used: BTreeSet<RunId> = self
                .wanted
                .values()
                .flat_map(|it| it.runs.clone())
                .collect();
            self.askers
                .retain(|run, asker| asker.going || used.contains(run));
        }
    }

    /// The runs to which a path matters and whose account could find it, with what they asked for.
    pub(super) fn of(&self, path: &Path) -> Vec<RunId> {
        let mut runs = Vec::new();
        for above in path.ancestors() {
            let Some(wanted) = self.wanted.get(above) else {
                continue;
            };
            if above != path && !wanted.below {
                continue;
            }
            for run in &wanted.runs {
                let may = |asker: &Asker| asker.account.may_find(above, path);
                if !runs.contains(run) && self.askers.get(run).is_some_and(may) {
                    runs.push(*run);
                }
            }
        }
        runs
    }

    /// Whether anything there is asked for by anybody, whoever may see it.
    pub(super) fn is_wanted(&self, path: &Path) -> bool {
        path.ancestors().any(|above| {
            let wanted = self.wanted.get(above);
            wanted.is_some_and(|wanted| wanted.below || above == path)
        })
    }

    /// The folders that must be listened to.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = Vec::new();
        for (path, wanted) in &self.wanted {
            let folder = if wanted.below {
                Some(path.as_path())
            } else {
                path.parent()
            };
            // In order of names, what lies above comes first.
            if let Some(folder) = folder
                && !folders
                    .iter()
                    .rev()
                    .take(64)
                    .any(|above| folder.starts_with(above))
            {
                folders.push(folder.to_owned());
            }
        }
        folders.sort();
        folders.dedup();
        folders
    }

    /// A run that asked.
    pub(super) fn asker(&self, run: RunId) -> Option<&Asker> {
        self.askers.get(&run)
    }
}

#[cfg(test)]
mod tests {
    use domain::Process;

    use super::*;

    fn run(number: u8) -> RunId {
        RunId::new(1, [number; 10])
    }

    fn ground(uid: u32) -> Ground {
        let mut ground = Ground::default();
        let registered = RunRegistered {
            run: run(1),
            name: "a".into(),
            supervisor: Process {
                boot: "b".into(),
                pid: 1,
                started: 1,
            },
            uid,
        };
        let groups = Vec::new();
        ground.admit(registered, Account { uid, groups }, true);
        ground
    }

    #[test]
    fn a_folder_is_watched_with_all_below_and_a_file_alone() {
        let top = tempfile::tempdir().unwrap();
        let (env, data) = (top.path().join("env"), top.path().join("data.bin"));
        std::fs::create_dir(&env).unwrap();
        std::fs::write(&data, "").unwrap();
        let mut ground = ground(0);
        for path in [&env, &data] {
            let file = std::fs::File::open(path).unwrap().into();
            assert_eq!(ground.ask(run(1), &file).unwrap(), *path);
        }
        assert_eq!(ground.of(&env.join("a/b.py")), [run(1)]);
        assert_eq!(ground.of(&data), [run(1)]);
        assert!(ground.of(&top.path().join("other.bin")).is_empty());
        assert!(ground.is_wanted(&env) && !ground.is_wanted(top.path()));
        assert!(ground.folders().contains(&env) || ground.folders() == [top.path()]);
    }

    #[test]
    fn nobody_is_told_of_what_he_could_not_find() {
        use std::os::unix::fs::PermissionsExt as _;
        let top = tempfile::tempdir().unwrap();
        let closed = top.path().join("closed");
        std::fs::create_dir(&closed).unwrap();
        for (path, mode) in [(top.path(), 0o755), (&closed, 0o700)] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        }
        let mut ground = ground(61_234);
        let file = std::fs::File::open(top.path()).unwrap().into();
        ground.ask(run(1), &file).unwrap();
        assert_eq!(ground.of(&top.path().join("a")), [run(1)]);
        assert!(ground.of(&closed.join("a")).is_empty());
    }

    #[test]
    fn what_is_too_wide_or_of_no_known_run_is_refused() {
        let mut ground = ground(0);
        for path in ["/", "/tmp", "/proc/self/fd"] {
            let file = std::fs::File::open(path).unwrap().into();
            let asked = ground.ask(run(1), &file);
            assert!(path == "/proc/self/fd" || asked.is_err(), "{path}");
        }
        let file = std::fs::File::open("/usr").unwrap().into();
        assert!(ground.ask(run(1), &file).is_ok());
        assert!(ground.ask(run(2), &file).is_err());
    }
}
