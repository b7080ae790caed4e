//! One installed package against one wheel.
//!
//! Where a member of the wheel lies is found the way installers put it there; what they rewrite on the way is undone before
//! it is compared. A member that is not where it should be is missing; one that lies outside of all folders that were
//! listed is counted, not guessed about.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;

use domain::{Digest, Node, PathText};

use super::launcher::{self, Starts};
use super::manifest::{Launcher, Manifest, Scheme, WheelFile};
use crate::compare::is_in;
use crate::layout::{Place, RootKind};
use crate::packages::{Package, has_suffix};
use crate::records::Resolver;
use crate::snapshot::Snapshot;

use super::check::DifferenceKind;

/// The most bytes of a script whose first line is undone.
const MAX_SCRIPT: u64 = 16 << 20;

/// Papers that installers write and no wheel has, or has in another form.
const OF_INSTALLERS: [&str; 6] = [
    "RECORD",
    "INSTALLER",
    "REQUESTED",
    "direct_url.json",
    "uv_cache.json",
    "provenance_url.json",
];

/// What one wheel says of one package.
#[derive(Default)]
pub(super) struct Evaluation {
    /// Files that are what the wheel has, or what is made of it.
    pub(super) vouched: BTreeSet<PathText>,
    /// What is not as the wheel has it: how, and what it has.
    pub(super) differs: BTreeMap<PathText, (DifferenceKind, Option<Digest>)>,
    /// Members that would lie outside of all folders that were listed.
    pub(super) outside: u64,
    /// Members that are there and could not be read.
    pub(super) unread: u64,
}

/// The folders of an environment, as installers see them.
pub(super) struct Ground<'a> {
    snapshot: &'a Snapshot,
    /// Folders that were not wholly listed.
    dark: HashSet<&'a str>,
}

impl<'a> Ground<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        Self {
            snapshot,
            dark: crate::compare::unlisted(&snapshot.flat),
        }
    }

    fn place(&self, wanted: impl Fn(&Place) -> bool) -> Option<&'a Place> {
        self.snapshot.places.iter().find(|place| wanted(place))
    }

    /// The environment's own folder: the one that the launchers' folder lies in.
    fn prefix(&self) -> Option<&'a Path> {
        let scripts = self.place(|place| place.kind == RootKind::Scripts)?;
        scripts.real.as_deref().unwrap_or(&scripts.path).parent()
    }

    /// The root of this name, else the one that the package's papers are in.
    fn site<'b>(&self, name: &'b str, package: &'b Package) -> &'b str {
        let known = self.place(|place| place.name == name).is_some();
        if known { name } else { &package.root }
    }

    /// Whether names in this folder that are not there are known not to be there.
    pub(super) fn is_dark(&self, path: &PathText) -> bool {
        is_in(path, &self.dark)
    }

    /// Where installers put a file of a package; several places where installers differ. Empty: outside of all folders.
    fn targets(&self, package: &Package, file: &WheelFile) -> Vec<PathText> {
        let path = file.path.to_bytes();
        let in_root = |root: &str| {
            Resolver::new(&self.snapshot.places, root, b"")
                .and_then(|resolver| resolver.resolve(&path))
        };
        let at = |folder: &Path, below: &[u8]| {
            let whole = [folder.as_os_str().as_encoded_bytes(), b"/", below].concat();
            Resolver::new(&self.snapshot.places, &package.root, b"")
                .and_then(|resolver| resolver.resolve(&whole))
        };
        let root = match file.scheme {
            Scheme::Purelib => self.site("purelib", package),
            Scheme::Platlib => self.site("platlib", package),
            Scheme::Root => &package.root,
            Scheme::Scripts => {
                let scripts = self.place(|place| place.kind == RootKind::Scripts);
                let folder = scripts.map(|place| place.real.as_ref().unwrap_or(&place.path));
                return folder
                    .and_then(|folder| at(folder, &path))
                    .into_iter()
                    .collect();
            }
            Scheme::Data => {
                return self
                    .prefix()
                    .and_then(|prefix| at(prefix, &path))
                    .into_iter()
                    .collect();
            }
            Scheme::Headers => return self.headers(package, &path, at),
        };
        in_root(root).into_iter().collect()
    }

    /// Installers put headers into different folders; the version is that of the folder that the packages lie in.
    fn headers(
        &self,
        package: &Package,
        path: &[u8],
        at: impl Fn(&Path, &[u8]) -> Option<PathText>,
    ) -> Vec<PathText> {
        let Some(prefix) = self.prefix() else {
            return Vec::new();
        };
        let root = self.place(|place| place.name == package.root);
        let python = root
            .and_then(|place| place.path.parent()?.file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let folders = [
            format!("include/site/{python}/{}", package.name),
            format!("include/{python}/{}", package.name),
            format!("include/site/{python}"),
        ];
        let all = folders
            .iter()
            .filter_map(|folder| at(prefix, &[folder.as_bytes(), b"/", path].concat()));
        all.collect()
    }

    /// Compares a package with a wheel. `listed` are the names in its RECORD that are there.
    pub(super) fn evaluate(
        &self,
        package: &Package,
        manifest: &Manifest,
        listed: &[&PathText],
    ) -> Evaluation {
        let mut all = Evaluation::default();
        for file in &manifest.files {
            self.file(package, manifest, file, &mut all);
        }
        for launcher in &manifest.launchers {
            self.launcher(package, launcher, &mut all);
        }
        for path in listed {
            self.listed(package, manifest, path, &mut all);
        }
        all
    }

    fn file(&self, package: &Package, manifest: &Manifest, file: &WheelFile, all: &mut Evaluation) {
        let mut targets = self.targets(package, file);
        let there = targets
            .iter()
            .position(|path| self.snapshot.flat.contains_key(path));
        let Some(path) = targets.get(there.unwrap_or(0)).cloned() else {
            all.outside += 1;
            return;
        };
        targets.clear();
        match self.snapshot.flat.get(&path) {
            Some(Node::File { digest, .. }) if *digest == file.digest => {
                all.vouched.insert(path);
            }
            Some(Node::File { .. }) => match self.rewritten(package, &path, manifest, file) {
                Ok(()) => {
                    all.vouched.insert(path);
                }
                Err(kind) => {
                    all.differs.insert(path, (kind, Some(file.digest)));
                }
            },
            // A link that is no way to a file: no installer makes one of a member.
            Some(Node::Link { .. }) => {
                let kind = DifferenceKind::Changed;
                all.differs.insert(path, (kind, Some(file.digest)));
            }
            Some(_) => all.unread += 1,
            None if self.is_dark(&path) => all.unread += 1,
            // Byte code in a wheel is a cache there as well; installers write it anew, or not at all.
            None if has_suffix(path.file_name(), ".pyc") => {}
            None => {
                // Installers leave out a script of the name of a launcher.
                let is_launcher = file.scheme == Scheme::Scripts
                    && manifest
                        .launchers
                        .iter()
                        .any(|it| it.name == path.file_name());
                if !is_launcher {
                    let kind = DifferenceKind::Missing;
                    all.differs.insert(path, (kind, Some(file.digest)));
                }
            }
        }
    }

    /// Whether a file is what an installer makes of the wheel's.
    fn rewritten(
        &self,
        package: &Package,
        path: &PathText,
        manifest: &Manifest,
        file: &WheelFile,
    ) -> Result<(), DifferenceKind> {
        let own = manifest.launchers.iter();
        let launcher = own
            .filter(|_| file.scheme == Scheme::Scripts)
            .find(|it| it.name == path.file_name());
        let changed = Err(DifferenceKind::Changed);
        if file.body.is_none() && launcher.is_none() {
            let is_paper = package.papers.as_str() == folder_of(path) && is_of_installers(path);
            return if is_paper { Ok(()) } else { changed };
        }
        let Some(bytes) = self.snapshot.bytes(path, MAX_SCRIPT) else {
            return changed;
        };
        let Some((starts, body)) = launcher::split(&bytes) else {
            return changed;
        };
        let is_own = file.body == Some(Digest::of(body));
        if !is_own && !launcher.is_some_and(|it| launcher::is_launcher(body, it)) {
            return changed;
        }
        self.starts_own(&starts)
    }

    fn launcher(&self, package: &Package, launcher: &Launcher, all: &mut Evaluation) {
        let file = WheelFile {
            scheme: Scheme::Scripts,
            path: PathText::from_bytes(launcher.name.as_bytes()),
            size: 0,
            digest: Digest::of(b""),
            body: None,
        };
        // One that is not there is none: a wheel can be installed without its launchers.
        for path in self.targets(package, &file) {
            if all.vouched.contains(&path) || all.differs.contains_key(&path) {
                continue;
            }
            self.judge_launcher(path, launcher, all);
        }
    }

    fn judge_launcher(&self, path: PathText, launcher: &Launcher, all: &mut Evaluation) {
        match self.snapshot.flat.get(&path) {
            None => {}
            Some(Node::File { .. }) => match self.is_launcher(&path, launcher) {
                Ok(()) => {
                    all.vouched.insert(path);
                }
                Err(kind) => {
                    all.differs.insert(path, (kind, None));
                }
            },
            Some(_) => all.unread += 1,
        }
    }

    fn is_launcher(&self, path: &PathText, launcher: &Launcher) -> Result<(), DifferenceKind> {
        let bytes = self.snapshot.bytes(path, launcher::MAX_BYTES);
        let split = bytes.as_deref().and_then(launcher::split);
        let Some((starts, body)) = split else {
            return Err(DifferenceKind::NoLauncher);
        };
        if !launcher::is_launcher(body, launcher) {
            return Err(DifferenceKind::NoLauncher);
        }
        self.starts_own(&starts)
    }

    /// Whether a first line starts this environment's Python.
    fn starts_own(&self, starts: &Starts) -> Result<(), DifferenceKind> {
        let scripts = self.place(|place| place.kind == RootKind::Scripts);
        let is_python = |name: &str| {
            let rest = name
                .strip_prefix("python")
                .or_else(|| name.strip_prefix("pypy"));
            rest.is_some_and(|rest| {
                rest.chars()
                    .all(|c| c.is_ascii_digit() || ".tw".contains(c))
            })
        };
        let (folder, name) = match starts {
            Starts::Beside(name) => {
                return if is_python(name) {
                    Ok(())
                } else {
                    Err(DifferenceKind::FirstLine {
                        starts: name.clone(),
                    })
                };
            }
            Starts::Path(path) => path.rsplit_once('/').unwrap_or(("", path)),
        };
        let folder = Path::new(folder);
        let is_own = scripts.is_some_and(|place| {
            let real = place.real.as_deref();
            folder == place.path
                || Some(folder) == real
                || real.is_some() && folder.canonicalize().ok().as_deref() == real
        });
        if is_own && is_python(name) {
            return Ok(());
        }
        let Starts::Path(path) = starts else {
            return Ok(());
        };
        Err(DifferenceKind::FirstLine {
            starts: path.clone(),
        })
    }

    /// What a RECORD lists and the wheel does not have: somebody added both.
    fn listed(
        &self,
        package: &Package,
        manifest: &Manifest,
        path: &PathText,
        all: &mut Evaluation,
    ) {
        if all.vouched.contains(path)
            || all.differs.contains_key(path)
            || has_suffix(path.file_name(), ".pyc")
            || *path == package.papers
        {
            return;
        }
        if folder_of(path) == package.papers.as_str() && is_of_installers(path) {
            return;
        }
        let scripts = self.place(|place| place.kind == RootKind::Scripts);
        if scripts.is_some_and(|place| folder_of(path) == place.name)
            && let Some(launcher) = numbered(manifest, path.file_name())
        {
            self.judge_launcher(path.clone(), launcher, all);
            return;
        }
        all.differs
            .insert(path.clone(), (DifferenceKind::NotInWheel, None));
    }
}

/// pip writes its own launchers, and those of old setuptools, under numbered names as well.
fn numbered<'a>(manifest: &'a Manifest, name: &str) -> Option<&'a Launcher> {
    let all = manifest.launchers.iter();
    all.filter(|it| matches!(it.name.as_str(), "pip" | "easy_install"))
        .find(|it| {
            let number = name.strip_prefix(it.name.as_str());
            number.is_some_and(|number| {
                let number = number.trim_start_matches('-');
                !number.is_empty() && number.chars().all(|c| c.is_ascii_digit() || c == '.')
            })
        })
}

fn folder_of(path: &PathText) -> &str {
    path.as_str()
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder)
}

/// Whether the name is that of a paper that installers write.
pub(super) fn is_of_installers(path: &PathText) -> bool {
    OF_INSTALLERS.contains(&path.file_name())
}
