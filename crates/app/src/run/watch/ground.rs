//! What is watched: folders with all that is in them, single files, and how each file was when it was last looked at.
//!
//! A folder is watched before its files are looked at, so that nothing can change between the two unheard. Each folder is
//! entered once, by whichever name leads to it first. Where the watches do not suffice, folders of packages come first, then
//! the interpreter's library; an eighth is kept back for folders of what turns out to be in use. What is not watched is
//! looked at more often. This module opens nothing but folders.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use domain::PathText;
use domain::entry::Identity;
use environment::{Layout, RootKind};
use host::watch::{Watched, Watcher};

use super::{Coverage, look};
use crate::run::files;

/// Files and folders that are remembered at most.
const ENTRIES_MAX: usize = 400_000;
/// The part of the watches of a user that we take: a fourth, and never more than this.
const WATCHES_MAX: u64 = 65_536;
/// Where the machine does not say how many there are.
const WATCHES_UNKNOWN: u64 = 8_192;
/// Single files that are watched at most.
const ALONE_MAX: usize = 5_000;

/// A folder.
struct Folder {
    path: PathBuf,
    id: (u64, u64),
    place: Option<Watched>,
    /// Absent ones are kept: they may come again.
    files: BTreeMap<OsString, Option<Identity>>,
    gone: bool,
}

/// A file that is watched by itself.
struct Alone {
    place: Option<Watched>,
    identity: Option<Identity>,
}

/// What a watch is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Spot {
    /// A folder.
    Folder(PathBuf),
    /// A file by itself.
    File(PathBuf),
}

/// Everything that is watched.
pub(super) struct Ground {
    watcher: Result<Watcher, String>,
    folders: Vec<Folder>,
    by_path: HashMap<PathBuf, usize>,
    by_place: HashMap<Watched, Vec<Spot>>,
    alone: BTreeMap<PathBuf, Alone>,
    /// Folders that were entered, and those that are left out.
    entered: HashSet<(u64, u64)>,
    entries: usize,
    watches: u64,
    most: u64,
    refused: Option<String>,
    /// Names beyond what is remembered.
    beyond: u64,
    blind: bool,
    /// Roots where others write without an event.
    shared: Vec<PathBuf>,
    /// What is listed now is how everything was at first.
    covering: bool,
}

impl Ground {
    /// Nothing yet. `most` is how many watches the user may have.
    pub(super) fn new(watcher: io::Result<Watcher>, most: Option<u64>) -> Self {
        Self {
            watcher: watcher.map_err(|error| error.to_string()),
            folders: Vec::new(),
            by_path: HashMap::new(),
            by_place: HashMap::new(),
            alone: BTreeMap::new(),
            entered: HashSet::new(),
            entries: 0,
            watches: 0,
            most: most.map_or(WATCHES_UNKNOWN, |most| (most / 4).min(WATCHES_MAX)),
            refused: None,
            beyond: 0,
            blind: false,
            shared: Vec::new(),
            covering: false,
        }
    }

    /// How many names are not remembered because there are too many.
    pub(super) fn beyond(&self) -> u64 {
        self.beyond
    }

    /// What hears.
    pub(super) fn watcher(&self) -> Option<&Watcher> {
        self.watcher.as_ref().ok()
    }

    /// Whether there is something that no event tells of.
    pub(super) fn is_blind(&self) -> bool {
        self.blind
    }

    /// Enters all folders of an environment.
    pub(super) fn cover(&mut self, layout: &Layout) -> Coverage {
        let left_out = layout.left_out().iter().filter_map(|path| id(path));
        let roots: HashSet<_> = layout
            .roots()
            .iter()
            .filter_map(|it| id(&it.path))
            .collect();
        let left_out: Vec<_> = left_out.filter(|id| !roots.contains(id)).collect();
        self.entered.extend(left_out);
        let mut ordered: Vec<_> = layout.roots().iter().collect();
        ordered.sort_by_key(|root| match root.kind {
            RootKind::Site => 0,
            RootKind::Scripts | RootKind::Other => 1,
            RootKind::Stdlib => 2,
        });
        let mut coverage = Coverage::default();
        let most = self.most - self.most / 8;
        for root in ordered {
            if is_shared(&root.path) {
                coverage.shared.push(PathText::from(root.path.as_path()));
                self.shared.push(root.path.clone());
            }
            self.covering = true;
            let entered = self.walk(&root.path, most).0;
            self.covering = false;
            for index in entered {
                coverage.folders += 1;
                let watched = self.folders.get(index).is_some_and(|it| it.place.is_some());
                coverage.watched += usize::from(watched);
            }
        }
        for file in layout.files() {
            if let Some(identity) = look::identity(&file.path) {
                self.alone(file.path.clone(), identity);
            }
        }
        coverage.why = match &self.watcher {
            Err(why) => Some(why.clone()),
            Ok(_) => self.refused.clone(),
        };
        self.blind |= coverage.watched < coverage.folders || !coverage.shared.is_empty();
        coverage
    }

    /// A folder that is new, or is here again: watches it and all below. The files in it that are not as they were.
    pub(super) fn enter(&mut self, path: &Path) -> Vec<PathBuf> {
        self.walk(path, self.most).1
    }

    /// Enters a folder and all below that were not entered yet; which these are, and what differs from before.
    fn walk(&mut self, top: &Path, most: u64) -> (Vec<usize>, Vec<PathBuf>) {
        let (mut entered, mut different) = (Vec::new(), Vec::new());
        let mut waiting = VecDeque::from([top.to_owned()]);
        while let Some(path) = waiting.pop_front() {
            let Some(id) = id(&path).filter(|id| self.entered.insert(*id)) else {
                continue;
            };
            if self.entries >= ENTRIES_MAX {
                self.beyond += 1;
                break;
            }
            let place = self.watch(&Spot::Folder(path.clone()), most);
            let index = self.place(path, id, place);
            entered.push(index);
            self.list(index, &mut waiting, &mut different);
        }
        (entered, different)
    }

    fn place(&mut self, path: PathBuf, id: (u64, u64), place: Option<Watched>) -> usize {
        if let Some(index) = self.by_path.get(&path).copied() {
            if let Some(folder) = self.folders.get_mut(index) {
                (folder.id, folder.place, folder.gone) = (id, place, false);
            }
            return index;
        }
        let index = self.folders.len();
        self.by_path.insert(path.clone(), index);
        self.entries += 1;
        self.folders.push(Folder {
            path,
            id,
            place,
            files: BTreeMap::new(),
            gone: false,
        });
        index
    }

    /// Looks at the names in a folder: folders are to be entered, files that are not as before are told.
    fn list(&mut self, index: usize, below: &mut VecDeque<PathBuf>, different: &mut Vec<PathBuf>) {
        let Some(folder) = self.folders.get_mut(index) else {
            return;
        };
        let Ok(names) = folder.path.read_dir() else {
            return;
        };
        let first = self.covering && folder.files.is_empty();
        let mut there = HashSet::new();
        for name in names.flatten() {
            let path = name.path();
            // Of the entry itself; only of links what they lead to is asked.
            let meta = name.metadata().ok().and_then(|meta| {
                if meta.is_symlink() {
                    path.metadata().ok()
                } else {
                    Some(meta)
                }
            });
            let Some(meta) = meta else { continue };
            if meta.is_dir() {
                below.push_back(path);
            } else if meta.is_file() {
                let identity = Some(files::identity(&meta));
                let name = name.file_name();
                let same = folder.files.get(&name) == Some(&identity);
                there.insert(name.clone());
                if same {
                    continue;
                }
                if self.entries >= ENTRIES_MAX {
                    self.beyond += 1;
                    break;
                }
                different.push(path);
                if first {
                    self.entries += 1;
                    folder.files.insert(name, identity);
                }
            }
        }
        let gone = folder
            .files
            .iter()
            .filter(|(name, identity)| identity.is_some() && !there.contains(*name));
        different.extend(gone.map(|(name, _)| folder.path.join(name)));
    }

    /// A folder is not here any more, with all below. How many files there were; none where it was not known.
    pub(super) fn leave(&mut self, path: &Path) -> Option<usize> {
        let mut files = None;
        for index in 0..self.folders.len() {
            let Some(folder) = self.folders.get_mut(index) else {
                continue;
            };
            if folder.gone || !folder.path.starts_with(path) {
                continue;
            }
            folder.gone = true;
            let here = folder.files.values().flatten().count();
            *files.get_or_insert(0) += here;
            self.entered.remove(&folder.id);
            if let Some(place) = folder.place.take() {
                self.unwatch(place);
            }
        }
        files
    }

    /// Whether there was a folder at the path before.
    pub(super) fn had(&self, path: &Path) -> bool {
        self.by_path.contains_key(path)
    }

    /// Files below a folder.
    pub(super) fn files_below(&self, path: &Path) -> usize {
        let below = self.folders.iter().filter(|it| it.path.starts_with(path));
        below.map(|it| it.files.values().flatten().count()).sum()
    }

    /// Whether what is at the path of a folder is no longer that folder.
    pub(super) fn is_elsewhere(&self, path: &Path) -> bool {
        let folder = self.by_path.get(path).and_then(|it| self.folders.get(*it));
        folder.is_some_and(|folder| !folder.gone && id(path) != Some(folder.id))
    }

    /// Watches a file by itself; that it is not as it should be is the answer.
    pub(super) fn alone(&mut self, path: PathBuf, identity: Identity) -> bool {
        if self.alone.contains_key(&path) || self.alone.len() >= ALONE_MAX {
            return false;
        }
        let place = self.watch(&Spot::File(path.clone()), self.most);
        let differs = look::identity(&path).as_ref() != Some(&identity);
        let identity = Some(identity);
        self.alone.insert(path, Alone { place, identity });
        differs
    }

    /// Watches a file by itself again, after another may have taken its name.
    pub(super) fn rewatch(&mut self, path: &Path) {
        let Some(alone) = self.alone.get(path) else {
            return;
        };
        let old = alone.place;
        let place = self.watch(&Spot::File(path.to_owned()), self.most);
        if let Some(old) = old.filter(|old| Some(*old) != place) {
            self.unwatch(old);
        }
        if let Some(alone) = self.alone.get_mut(path) {
            alone.place = place;
        }
    }

    /// The folder of a file in use is watched, if it is not and there are watches left. Whether the file is known.
    pub(super) fn in_use(&mut self, path: &Path) -> bool {
        let Some(index) = path.parent().and_then(|it| self.by_path.get(it)).copied() else {
            return self.alone.contains_key(path);
        };
        let unwatched = self
            .folders
            .get(index)
            .filter(|it| it.place.is_none() && !it.gone);
        if let Some(folder) = unwatched.map(|it| it.path.clone()) {
            let place = self.watch(&Spot::Folder(folder), self.most);
            if let Some(folder) = self.folders.get_mut(index) {
                folder.place = place;
            }
        }
        true
    }

    fn watch(&mut self, spot: &Spot, most: u64) -> Option<Watched> {
        let watcher = self.watcher.as_ref().ok()?;
        if self.watches >= most {
            let why = format!("{most} watches are as many as a run takes of a user's");
            self.refused.get_or_insert(why);
            return None;
        }
        let placed = match spot {
            Spot::Folder(path) => watcher.watch_folder(path),
            Spot::File(path) => watcher.watch_file(path),
        };
        match placed {
            Ok(place) => {
                let spots = self.by_place.entry(place).or_default();
                self.watches += u64::from(spots.is_empty());
                if !spots.contains(spot) {
                    spots.push(spot.clone());
                }
                Some(place)
            }
            Err(error) => {
                if error.kind() == io::ErrorKind::StorageFull {
                    // Others of this user have the rest: asking on for each folder is no use.
                    self.most = self.watches;
                    let why = "the user's watches (fs.inotify.max_user_watches) are used up";
                    self.refused.get_or_insert_with(|| why.to_owned());
                }
                None
            }
        }
    }

    fn unwatch(&mut self, place: Watched) {
        if self.by_place.remove(&place).is_some() {
            self.watches = self.watches.saturating_sub(1);
        }
        if let Ok(watcher) = &self.watcher {
            watcher.forget(place);
        }
    }

    /// What a watch is for.
    pub(super) fn spots(&self, place: Watched) -> Vec<Spot> {
        self.by_place.get(&place).cloned().unwrap_or_default()
    }

    /// The kernel watches this place no longer.
    pub(super) fn lost(&mut self, place: Watched) {
        for spot in self.spots(place) {
            match spot {
                Spot::Folder(path) => {
                    let index = self.by_path.get(&path).copied();
                    if let Some(folder) = index.and_then(|it| self.folders.get_mut(it))
                        && folder.place == Some(place)
                    {
                        folder.place = None;
                    }
                }
                Spot::File(path) => {
                    if let Some(alone) = self.alone.get_mut(&path)
                        && alone.place == Some(place)
                    {
                        alone.place = None;
                    }
                }
            }
        }
        self.unwatch(place);
    }

    /// How a file was when it was last looked at.
    pub(super) fn identity(&self, path: &Path) -> Option<&Identity> {
        self.slot(path).and_then(Option::as_ref)
    }

    /// Whether a file of this name was there at any time.
    pub(super) fn knows(&self, path: &Path) -> bool {
        self.slot(path).is_some()
    }

    fn slot(&self, path: &Path) -> Option<&Option<Identity>> {
        if let Some(alone) = self.alone.get(path) {
            return Some(&alone.identity);
        }
        let folder = self.folders.get(*self.by_path.get(path.parent()?)?)?;
        folder.files.get(path.file_name()?)
    }

    /// How a file is now.
    pub(super) fn set(&mut self, path: &Path, identity: Option<Identity>) {
        if let Some(alone) = self.alone.get_mut(path) {
            alone.identity.clone_from(&identity);
        }
        let folder = path.parent().and_then(|it| self.by_path.get(it)).copied();
        let folder = folder.and_then(|it| self.folders.get_mut(it));
        let (Some(folder), Some(name)) = (folder, path.file_name()) else {
            return;
        };
        if let Some(slot) = folder.files.get_mut(name) {
            *slot = identity;
        } else if self.entries < ENTRIES_MAX {
            self.entries += 1;
            folder.files.insert(name.to_owned(), identity);
        } else {
            self.beyond += 1;
        }
    }

    /// Whether an event should have told of a change to this file.
    pub(super) fn is_heard(&self, path: &Path) -> bool {
        if self.shared.iter().any(|root| path.starts_with(root)) {
            return false;
        }
        if self.alone.get(path).is_some_and(|it| it.place.is_some()) {
            return true;
        }
        let folder = path.parent().and_then(|it| self.by_path.get(it));
        let folder = folder.and_then(|it| self.folders.get(*it));
        folder.is_some_and(|it| it.place.is_some())
            && !path.symlink_metadata().is_ok_and(|meta| meta.is_symlink())
    }

    /// How many folders there are.
    pub(super) fn folders(&self) -> usize {
        self.folders.len()
    }

    /// Looks at one folder by number: the files that are not as they were, without keeping how they are. With `lost` also for
    /// names that came without an event.
    pub(super) fn look(&mut self, index: usize, lost: bool) -> Vec<PathBuf> {
        let Some(folder) = self.folders.get(index).filter(|it| !it.gone) else {
            return Vec::new();
        };
        let mut different = Vec::new();
        let is_shared = self.shared.iter().any(|root| folder.path.starts_with(root));
        if folder.place.is_none() || lost || is_shared {
            let mut below = VecDeque::new();
            self.list(index, &mut below, &mut different);
            for folder in below {
                different.extend(self.walk(&folder, self.most).1);
            }
            return different;
        }
        let differs = |name: &OsStr, known: &Option<Identity>| {
            let path = folder.path.join(name);
            (look::identity(&path) != *known).then_some(path)
        };
        different.extend(
            folder
                .files
                .iter()
                .filter_map(|(name, it)| differs(name, it)),
        );
        different
    }

    /// Looks at the files that are watched by themselves.
    pub(super) fn look_alone(&self) -> Vec<PathBuf> {
        let differs = |(path, alone): (&PathBuf, &Alone)| {
            (look::identity(path) != alone.identity).then(|| path.clone())
        };
        self.alone.iter().filter_map(differs).collect()
    }
}

/// Device and inode of a folder, links followed.
fn id(path: &Path) -> Option<(u64, u64)> {
    let meta = path.metadata().ok()?;
    meta.is_dir().then(|| (meta.dev(), meta.ino()))
}

/// Whether others can write here without an event.
fn is_shared(path: &Path) -> bool {
    rustix::fs::statfs(path).is_ok_and(|found| !host::watch::tells_of_all_writes(found.f_type))
}
