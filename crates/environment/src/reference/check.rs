//! The ladder: each file of an environment, the strongest that speaks of it, and what it says.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use domain::{Digest, Node, PathText};
use serde::Serialize;

use super::Voucher;
use super::against::{Evaluation, Ground, is_of_installers};
use super::local::LocalLists;
use super::manifest::Manifest;
use super::startup;
use crate::layout::RootKind;
use crate::packages::{Origin, has_suffix};
use crate::records::{Claim, RecordReport, is_loadable};
use crate::snapshot::Snapshot;

/// Why no wheel speaks for a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "why", rename_all = "kebab-case")]
pub enum NoWheel {
    /// Nobody said where wheels are, and no lock file was found.
    NotAsked,
    /// No wheel of this name and version was found where one was looked for.
    NotFound,
    /// The lock file does not name the package.
    NotLocked,
    /// The lock file names another version.
    OtherVersion {
        /// Which, as it spells it.
        locked: String,
    },
    /// The lock file allows source archives alone: what is built of them is not theirs byte for byte.
    SourceOnly,
    /// The lock file has no SHA-256 of it.
    NoDigest,
    /// It is installed in place, from a folder.
    Editable,
    /// It is installed from a folder or from version control.
    Built,
    /// A wheel is there, and the lock file does not allow it.
    NotAllowed {
        /// The file.
        file: String,
        /// Its digest.
        digest: Digest,
        /// Whether the lock file names this very file, with another digest.
        named: bool,
    },
    /// A wheel is there and cannot be a reference.
    Refused {
        /// The file.
        file: String,
        /// Why.
        reason: String,
    },
}

/// What can speak for a package.
#[derive(Debug, Clone)]
pub enum Candidates {
    /// Wheels, any of which it may have been installed from.
    Wheels {
        /// What they hold.
        manifests: Vec<Arc<Manifest>>,
        /// Whether a lock file gives their digests; else why it does not.
        locked: Result<(), NoWheel>,
    },
    /// None.
    None(NoWheel),
}

/// All that is held against an environment beside its own papers.
#[derive(Debug, Clone, Default)]
pub struct References<'a> {
    /// For each of [`Snapshot::packages`].
    pub packages: Vec<Candidates>,
    /// Names and nodes of a list that the user signed.
    pub baseline: Option<BTreeMap<PathText, Node>>,
    /// Names and nodes of an earlier check; the snapshot's own where both have one tree.
    pub first_seen: Option<Cow<'a, BTreeMap<PathText, Node>>>,
    /// What other installers wrote down.
    pub lists: LocalLists,
    /// The lock file was named by the user, so that a package of another version is a finding and not a gap.
    pub lock_named: bool,
}

/// How something is not as it is vouched for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "how", rename_all = "kebab-case")]
pub enum DifferenceKind {
    /// Other bytes.
    Changed,
    /// Its first line starts something else than this environment's Python.
    FirstLine {
        /// What it starts.
        starts: String,
    },
    /// It is not what any installer writes for this entry point.
    NoLauncher,
    /// It is not there.
    Missing,
    /// RECORD lists it and the wheel does not have it.
    NotInWheel,
    /// Code among the packages that nobody owns.
    Unowned,
    /// Run at every start of Python, and nobody owns it.
    UnownedHook,
    /// The lock file names another version.
    OtherVersion {
        /// Which.
        locked: String,
    },
    /// The lock file names this wheel with another digest.
    OtherWheel {
        /// The file.
        file: String,
    },
}

/// What RECORD says of a file that something else contradicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordWord {
    /// It gives the digest of the file as it is: it was rewritten with it.
    Agrees,
    /// It gives another digest.
    Differs,
    /// It lists the file without a digest.
    NoDigest,
    /// It does not list it.
    Silent,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The file; the papers of a package where the package as a whole is meant.
    pub path: PathText,
    /// Index into [`Snapshot::packages`].
    pub package: Option<usize>,
    /// How it differs.
    #[serde(flatten)]
    pub kind: DifferenceKind,
    /// Who says so; nobody, where nobody owns it.
    pub voucher: Option<Voucher>,
    /// What it should be.
    pub expected: Option<Digest>,
    /// What it is.
    pub found: Option<Digest>,
    /// What RECORD says.
    pub record: RecordWord,
}

/// Why nobody vouches for some files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Silence {
    /// Its RECORD lists it without a digest.
    NoDigest,
    /// A list of the installer's own, which does not vouch for itself.
    Papers,
    /// Data that nobody lists, and what makers of environments put beside the launchers.
    Unlisted,
    /// A program beside the launchers that nobody lists.
    Stranger,
    /// Part of the interpreter, for which nothing here speaks.
    Interpreter,
    /// It could not be read.
    Unread,
}

/// Files of one package, by who vouches for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PackageCount {
    /// Index into [`Snapshot::packages`]; none for files outside of all packages.
    pub package: Option<usize>,
    /// The root, for files outside of all packages.
    pub root: Option<String>,
    /// Files by voucher.
    pub vouched: BTreeMap<Voucher, u64>,
    /// Files that nobody vouches for.
    pub silent: BTreeMap<Silence, u64>,
    /// Why no wheel that a lock file names speaks.
    pub no_wheel: Option<NoWheel>,
    /// Members of its wheel that lie outside of all folders that were listed.
    pub outside: u64,
}

/// What the references say of an environment.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    /// By package, then by root.
    pub counts: Vec<PackageCount>,
    /// What is not as it is vouched for, in the order of names.
    pub differences: Vec<Difference>,
}

impl Checked {
    /// Files by voucher, over all packages.
    pub fn vouched(&self) -> BTreeMap<Voucher, u64> {
        let mut all = BTreeMap::new();
        for (voucher, count) in self.counts.iter().flat_map(|it| &it.vouched) {
            *all.entry(*voucher).or_default() += count;
        }
        all
    }

    /// Files that nobody vouches for, over all packages.
    pub fn silent(&self) -> BTreeMap<Silence, u64> {
        let mut all = BTreeMap::new();
        for (silence, count) in self.counts.iter().flat_map(|it| &it.silent) {
            *all.entry(*silence).or_default() += count;
        }
        all
    }
}

/// Holds everything against everything.
pub fn check(snapshot: &Snapshot, report: &RecordReport, references: &References<'_>) -> Checked {
    let mut ladder = Ladder {
        snapshot,
        report,
        references,
        mismatched: report
            .mismatched
            .iter()
            .map(|it| (&it.path, it.expected))
            .collect(),
        same_interpreter: same_interpreter(snapshot, references),
        ground: Ground::new(snapshot),
        by_wheel: BTreeMap::new(),
        differs: BTreeMap::new(),
        outside: HashMap::new(),
        counts: BTreeMap::new(),
        differences: Vec::new(),
    };
    ladder.wheels();
    for (path, node) in &snapshot.flat {
        ladder.file(path, node);
    }
    ladder.absent();
    ladder.packages();
    ladder.finish()
}

/// A package, or the root of what belongs to none.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Group {
    Package(usize),
    Root(String),
}

struct Ladder<'a> {
    snapshot: &'a Snapshot,
    report: &'a RecordReport,
    references: &'a References<'a>,
    /// What RECORDs give for the files that are not so.
    mismatched: HashMap<&'a PathText, Digest>,
    /// An earlier check saw the same interpreter.
    same_interpreter: bool,
    ground: Ground<'a>,
    /// Files that a wheel vouches for, and of which package.
    by_wheel: BTreeMap<PathText, (Voucher, usize)>,
    /// Files that a wheel contradicts.
    differs: BTreeMap<PathText, (usize, DifferenceKind, Voucher, Option<Digest>)>,
    outside: HashMap<usize, u64>,
    counts: BTreeMap<Group, PackageCount>,
    differences: Vec<Difference>,
}

impl Ladder<'_> {
    /// Each package against its wheels; of several that it may be from, the one that it differs least from.
    fn wheels(&mut self) {
        let mut listed: Vec<Vec<&PathText>> = vec![Vec::new(); self.snapshot.packages.len()];
        for (path, owners) in self.report.owned() {
            for owner in owners {
                if let Some(all) = listed.get_mut(owner.package) {
                    all.push(path);
                }
            }
        }
        for (index, candidates) in self.references.packages.iter().enumerate() {
            let Candidates::Wheels { manifests, locked } = candidates else {
                continue;
            };
            let (Some(package), Some(listed)) =
                (self.snapshot.packages.get(index), listed.get(index))
            else {
                continue;
            };
            let evaluate = |it: &Arc<Manifest>| self.ground.evaluate(package, it, listed);
            let best = manifests
                .iter()
                .map(evaluate)
                .min_by_key(|it| it.differs.len());
            if let Some(best) = best {
                let voucher = match locked {
                    Ok(()) => Voucher::LockedWheel,
                    Err(_) => Voucher::Wheel,
                };
                self.take(index, voucher, best);
            }
        }
        // Two packages can bring one file; it is as vouched for if it is what one of the wheels has.
        let by_wheel = &self.by_wheel;
        self.differs.retain(|path, _| !by_wheel.contains_key(path));
    }

    fn take(&mut self, index: usize, voucher: Voucher, evaluation: Evaluation) {
        if evaluation.outside > 0 {
            self.outside.insert(index, evaluation.outside);
        }
        for path in evaluation.vouched {
            let entry = self.by_wheel.entry(path).or_insert((voucher, index));
            if voucher < entry.0 {
                *entry = (voucher, index);
            }
        }
        for (path, (kind, expected)) in evaluation.differs {
            let entry = (index, kind, voucher, expected);
            self.differs.entry(path).or_insert(entry);
        }
    }

    /// One file that is there.
    fn file(&mut self, path: &PathText, node: &Node) {
        if let Some((voucher, package)) = self.by_wheel.get(path).copied() {
            return self.vouched(Group::Package(package), voucher);
        }
        let owners = self.report.owners(path);
        let group = owners
            .first()
            .map_or_else(|| group_of(path), |owner| Group::Package(owner.package));
        let found = match node {
            Node::File { digest, .. } => Some(*digest),
            // A link that the scan did not follow leads to what is listed elsewhere, or nowhere.
            Node::Link { .. } if !self.differs.contains_key(path) => return,
            Node::Link { .. } => None,
            Node::Tree { .. } | Node::Unread { .. } => {
                return self.silent(group, Silence::Unread);
            }
        };
        if let Some((package, kind, voucher, expected)) = self.differs.get(path).cloned() {
            let group = Group::Package(package);
            return self.found(path, &group, kind, Some(voucher), expected, found);
        }
        if let Some(expected) = self
            .references
            .baseline
            .as_ref()
            .and_then(|it| it.get(path))
        {
            let expected = digest_of(expected);
            return if expected == found {
                self.vouched(group, Voucher::Baseline);
            } else {
                let kind = DifferenceKind::Changed;
                self.found(path, &group, kind, Some(Voucher::Baseline), expected, found);
            };
        }
        if let Some((voucher, verdict)) = self.references.lists.verdict(self.snapshot, path, found)
        {
            return match verdict {
                Ok(()) => self.vouched(group, voucher),
                Err(expected) => {
                    let kind = DifferenceKind::Changed;
                    self.found(path, &group, kind, Some(voucher), expected, found);
                }
            };
        }
        self.by_record(path, &group, found);
    }

    /// What the package itself says, and what was there before.
    fn by_record(&mut self, path: &PathText, group: &Group, found: Option<Digest>) {
        let owners = self.report.owners(path);
        let has = |claim| owners.iter().any(|owner| owner.claim == claim);
        if has(Claim::Vouched) {
            return self.vouched(group.clone(), Voucher::Record);
        }
        if has(Claim::Mismatched) {
            let expected = self.mismatched.get(path).copied();
            let kind = DifferenceKind::Changed;
            return self.found(path, group, kind, Some(Voucher::Record), expected, found);
        }
        let before = self.references.first_seen.as_ref();
        let before = before.and_then(|it| it.get(path)).and_then(digest_of);
        let unowned = owners.is_empty() && self.report.unowned.binary_search(path).is_ok();
        if unowned {
            if self.is_plain_hook(path) || startup::is_of_virtualenv(self.snapshot, path) {
                return self.silent(group.clone(), Silence::Unlisted);
            }
            let kind = if is_hook(path) {
                DifferenceKind::UnownedHook
            } else {
                DifferenceKind::Unowned
            };
            return self.found(path, group, kind, None, None, found);
        }
        if before.is_some() && before == found {
            return self.vouched(group.clone(), Voucher::FirstSeen);
        }
        let root = path.as_str().split('/').next().unwrap_or_default();
        let is_interpreter = self.snapshot.places.iter().any(|place| {
            let is_of_it = place.kind == RootKind::Stdlib || place.name.starts_with("interpreter");
            is_of_it && (place.name == root || place.name == path.as_str())
        });
        let silence = match (owners.is_empty(), is_interpreter) {
            (false, _) if is_of_installers(path) => Silence::Papers,
            (false, _) => Silence::NoDigest,
            (true, true) => Silence::Interpreter,
            (true, false) if self.is_stranger(path) => Silence::Stranger,
            (true, false) => Silence::Unlisted,
        };
        // An interpreter that stayed itself has a library that stays itself.
        let changed = before.is_some() && self.same_interpreter;
        if changed && (silence == Silence::Interpreter || is_loadable(path.as_str())) {
            let kind = DifferenceKind::Changed;
            return self.found(path, group, kind, Some(Voucher::FirstSeen), before, found);
        }
        self.silent(group.clone(), silence);
    }

    /// Whether it is a program beside the launchers that no maker of environments puts there.
    fn is_stranger(&self, path: &PathText) -> bool {
        let (root, rest) = path.as_str().split_once('/').unwrap_or_default();
        let mut places = self.snapshot.places.iter();
        let is_script = places.any(|place| place.kind == RootKind::Scripts && place.name == root);
        let Some(Node::File { mode, .. }) = self.snapshot.flat.get(path) else {
            return false;
        };
        let names = [
            "python",
            "pypy",
            "activate",
            "Activate",
            "deactivate",
            "pydoc.bat",
        ];
        let is_usual = names.iter().any(|name| rest.starts_with(name));
        // Beside an interpreter that is no virtual environment's, other programs have their place too.
        let is_venv = self
            .snapshot
            .flat
            .contains_key(&PathText::from_text("pyvenv.cfg"));
        is_script && is_venv && mode & 0o111 != 0 && !is_usual
    }

    /// The list of folders that old editable installs are imported from, without a line of code.
    fn is_plain_hook(&self, path: &PathText) -> bool {
        path.file_name() == "easy-install.pth"
            && self
                .snapshot
                .hooks
                .iter()
                .any(|hook| hook.path == *path && hook.code_lines == 0)
    }

    /// What should be there and is not.
    fn absent(&mut self) {
        let flat = &self.snapshot.flat;
        let listed: HashSet<&PathText> = self.report.missing.iter().map(|it| &it.path).collect();
        let mut all: BTreeMap<PathText, Difference> = BTreeMap::new();
        let differs = std::mem::take(&mut self.differs);
        for (path, (package, kind, voucher, expected)) in differs {
            if !flat.contains_key(&path) {
                let record = record_of_missing(&listed, &path);
                let it = missing(&path, Some(package), kind, voucher, expected, record);
                all.insert(path, it);
            }
        }
        for (path, node) in self.references.baseline.iter().flatten() {
            if !flat.contains_key(path) && !self.ground.is_dark(path) {
                let (kind, voucher) = (DifferenceKind::Missing, Voucher::Baseline);
                let record = record_of_missing(&listed, path);
                let it = missing(path, None, kind, voucher, digest_of(node), record);
                all.entry(path.clone()).or_insert(it);
            }
        }
        for (path, voucher, expected) in self.references.lists.iter() {
            let is_there =
                flat.contains_key(path) || self.snapshot.compiled_flat.contains_key(path);
            if !is_there && !self.ground.is_dark(path) && !has_suffix(path.file_name(), ".pyc") {
                let record = record_of_missing(&listed, path);
                let it = missing(
                    path,
                    None,
                    DifferenceKind::Missing,
                    voucher,
                    expected,
                    record,
                );
                all.entry(path.clone()).or_insert(it);
            }
        }
        for it in &self.report.missing {
            // What speaks louder than RECORD has said whether it should be there.
            if !self.has_louder(it.package) && !is_of_installers(&it.path) {
                let (kind, package) = (DifferenceKind::Missing, Some(it.package));
                let word = RecordWord::Differs;
                let gone = missing(&it.path, package, kind, Voucher::Record, None, word);
                all.entry(it.path.clone()).or_insert(gone);
            }
        }
        self.differences.extend(all.into_values());
    }

    /// Whether a wheel, or another installer that brought the RECORD with the package, lists the package's files.
    fn has_louder(&self, package: usize) -> bool {
        let by_wheel = matches!(
            self.references.packages.get(package),
            Some(Candidates::Wheels { .. })
        );
        let papers = self.snapshot.packages.get(package).map(|it| &it.papers);
        let record = papers.map(|it| PathText::from_text(&format!("{it}/RECORD")));
        let lists = &self.references.lists;
        by_wheel || record.is_some_and(|record| lists.speaks_of(&record).is_some())
    }

    /// Findings about whole packages.
    fn packages(&mut self) {
        for (index, candidates) in self.references.packages.iter().enumerate() {
            let Some(why) = candidates.why_not() else {
                continue;
            };
            let Some(package) = self.snapshot.packages.get(index) else {
                continue;
            };
            let (kind, found) = match why {
                NoWheel::OtherVersion { locked } if self.references.lock_named => {
                    let locked = locked.clone();
                    (DifferenceKind::OtherVersion { locked }, None)
                }
                NoWheel::NotAllowed {
                    file,
                    digest,
                    named: true,
                } => {
                    let file = file.clone();
                    (DifferenceKind::OtherWheel { file }, Some(*digest))
                }
                _ => continue,
            };
            self.differences.push(Difference {
                path: package.papers.clone(),
                package: Some(index),
                kind,
                voucher: Some(Voucher::LockedWheel),
                expected: None,
                found,
                record: RecordWord::Silent,
            });
        }
    }

    fn finish(mut self) -> Checked {
        for (index, candidates) in self.references.packages.iter().enumerate() {
            let outside = self.outside.get(&index).copied().unwrap_or(0);
            let count = self.count(Group::Package(index));
            count.outside = outside;
            count.no_wheel = candidates.why_not().cloned();
        }
        let mut differences = self.differences;
        differences.sort_by(|one, other| one.path.cmp(&other.path));
        Checked {
            counts: self.counts.into_values().collect(),
            differences,
        }
    }

    fn found(
        &mut self,
        path: &PathText,
        group: &Group,
        kind: DifferenceKind,
        voucher: Option<Voucher>,
        expected: Option<Digest>,
        found: Option<Digest>,
    ) {
        let package = match group {
            Group::Package(index) => Some(*index),
            Group::Root(_) => None,
        };
        let owners = self.report.owners(path);
        let has = |claim| owners.iter().any(|owner| owner.claim == claim);
        let record = if has(Claim::Vouched) {
            RecordWord::Agrees
        } else if has(Claim::Mismatched) {
            RecordWord::Differs
        } else if has(Claim::WithoutDigest) {
            RecordWord::NoDigest
        } else {
            RecordWord::Silent
        };
        self.differences.push(Difference {
            path: path.clone(),
            package,
            kind,
            voucher,
            expected,
            found,
            record,
        });
    }

    fn vouched(&mut self, group: Group, voucher: Voucher) {
        *self.count(group).vouched.entry(voucher).or_default() += 1;
    }

    fn silent(&mut self, group: Group, silence: Silence) {
        *self.count(group).silent.entry(silence).or_default() += 1;
    }

    fn count(&mut self, group: Group) -> &mut PackageCount {
        self.counts
            .entry(group)
            .or_insert_with_key(|group| match group {
                Group::Package(index) => PackageCount {
                    package: Some(*index),
                    ..PackageCount::default()
                },
                Group::Root(root) => PackageCount {
                    root: Some(root.clone()),
                    ..PackageCount::default()
                },
            })
    }
}

fn same_interpreter(snapshot: &Snapshot, references: &References<'_>) -> bool {
    let Some(before) = &references.first_seen else {
        return false;
    };
    let name = |path: &&PathText| path.as_str().starts_with("interpreter/");
    let now = snapshot.flat.keys().find(name);
    now.is_some_and(|path| before.get(path) == snapshot.flat.get(path))
}

fn missing(
    path: &PathText,
    package: Option<usize>,
    kind: DifferenceKind,
    voucher: Voucher,
    expected: Option<Digest>,
    record: RecordWord,
) -> Difference {
    Difference {
        path: path.clone(),
        package,
        kind,
        voucher: Some(voucher),
        expected,
        found: None,
        record,
    }
}

/// A RECORD that lists a file that is not there contradicts what is.
fn record_of_missing(listed: &HashSet<&PathText>, path: &PathText) -> RecordWord {
    if listed.contains(path) {
        RecordWord::Differs
    } else {
        RecordWord::Silent
    }
}

/// The root of a file of no package.
fn group_of(path: &PathText) -> Group {
    let root = path.as_str().split('/').next().unwrap_or_default();
    Group::Root(root.to_owned())
}

fn digest_of(node: &Node) -> Option<Digest> {
    match node {
        Node::File { digest, .. } => Some(*digest),
        Node::Link { .. } | Node::Tree { .. } | Node::Unread { .. } => None,
    }
}

/// Whether every start of Python runs it.
fn is_hook(path: &PathText) -> bool {
    let mut parts = path.as_str().split('/').skip(1);
    let (Some(top), rest) = (parts.next(), parts.next()) else {
        return false;
    };
    let module = top.split('.').next().unwrap_or(top);
    let is_custom = matches!(module, "sitecustomize" | "usercustomize");
    is_custom || rest.is_none() && has_suffix(top, ".pth")
}

impl Candidates {
    /// Why no wheel that a lock file names speaks for the package.
    fn why_not(&self) -> Option<&NoWheel> {
        match self {
            Self::Wheels { locked, .. } => locked.as_ref().err(),
            Self::None(why) => Some(why),
        }
    }

    /// For a package that no wheel can speak for, whatever wheels there are.
    pub(super) fn without(origin: &Origin) -> Option<Self> {
        let why = match origin {
            Origin::Editable => NoWheel::Editable,
            Origin::Folder | Origin::Vcs { .. } => NoWheel::Built,
            Origin::Index | Origin::Archive | Origin::Unknown => return None,
        };
        Some(Self::None(why))
    }
}

impl Silence {
    /// Its name in records and JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::NoDigest => "no-digest",
            Self::Papers => "papers",
            Self::Unlisted => "unlisted",
            Self::Stranger => "stranger",
            Self::Interpreter => "interpreter",
            Self::Unread => "unread",
        }
    }
}
