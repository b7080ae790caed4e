//! What a change of the environment means: an ordinary upgrade, or something that somebody has to explain.
//!
//! First row that fits, from the top. *Kept* is a package whose name and version were installed before in the same root;
//! *vouched* means that a RECORD gives the file's present digest; *code* is what Python or the loader could take in
//! (`.py`, `.so`, `.pth`, byte code without source); *rewritten* is a kept package whose RECORD changed in this comparison.
//!
//! | where | change | what the papers say | judgement | finding |
//! | --- | --- | --- | --- | --- |
//! | anywhere | unread on one side | | `gap` | no |
//! | anywhere | only permission bits | | `mode-only` | no |
//! | standard library | code or hook | same interpreter | `stdlib-changed` | **yes** |
//! | standard library | other files | same interpreter | `data` | no |
//! | standard library, other roots, single files | any | another interpreter | `interpreter-upgraded` | no |
//! | other roots, single files | added, modified | same interpreter | `changed-in-place` | **yes** |
//! | other roots, single files | removed | same interpreter | `removed` | no |
//! | papers folder | INSTALLER, REQUESTED, RECORD, `direct_url.json`, `uv_cache.json` | | `bookkeeping` | no |
//! | papers folder | no code, of a package not kept or gone | | `bookkeeping` | no |
//! | site, scripts | removed | a kept package's RECORD still lists it | `removed-from-package` | **yes** |
//! | site, scripts | removed code | beside files of a rewritten package | `removed-from-package` | **yes** |
//! | site, scripts | removed | else | `removed` | no |
//! | site, scripts | added, modified | a RECORD gives another digest | `mismatches-record` | **yes** |
//! | site, scripts | modified | vouched by a package not kept, beside files of a rewritten one | `taken-over` | **yes** |
//! | site, scripts | modified | vouched by a package that is new where none is gone | `taken-over` | **yes** |
//! | site, scripts | modified, or added code | vouched by a kept package | `changed-without-version-change` | **yes** |
//! | site, scripts | added, no code | owned by a kept package | `data` | no |
//! | site, scripts | added, modified | vouched by a package of another version or a new one | `upgraded`, `installed` | no |
//! | site, scripts | hook or code | owned without digest by a kept package | `changed-without-version-change` | **yes** |
//! | site, scripts | code | owned without digest, by a RECORD | `unvouched` | **yes** |
//! | site, scripts | added, modified | owned without digest, else | `upgraded`, `installed` or `data` | no |
//! | site | `easy-install.pth` without code lines | owned by nobody | `editable-hook` | no |
//! | site | `.pth` at the top, `sitecustomize`, `usercustomize`, a kept package's `entry_points.txt` | owned by nobody | `unowned-hook` | **yes** |
//! | site | added or modified code | owned by nobody | `unowned` | **yes** |
//! | scripts | modified | owned by nobody, same interpreter | `unowned` | **yes** |
//! | scripts | modified | owned by nobody, another interpreter | `interpreter-upgraded` | no |
//! | site, scripts | else | owned by nobody | `data` | no |
//!
//! Byte code under `__pycache__` is not compared here at all; it is a tree of its own.
//!
//! **What this cannot see**: RECORD is written by whoever writes the files. An intruder who gives a package another version
//! in all its papers looks like an upgrade here; only a manifest from outside (lock file, wheel) tells the difference. The
//! upgrade itself is in the list, as a note.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;

use crate::compare::{Change, ChangeKind};
use crate::layout::RootKind;
use crate::packages::{Package, has_suffix, is_papers_folder};
use crate::records::{Claim, Owner, RecordReport, is_loadable};
use crate::snapshot::Snapshot;

/// What a change means; see the table at the top of this module's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Judgement {
    /// Nothing is known of one side.
    Gap,
    /// Only permission bits differ.
    ModeOnly,
    /// Part of a package that was installed in another version.
    Upgraded,
    /// Part of a package that was not installed before.
    Installed,
    /// Part of another interpreter.
    InterpreterUpgraded,
    /// What installers write about themselves.
    Bookkeeping,
    /// The list of folders that editable installs are imported from.
    EditableHook,
    /// A file that nothing imports.
    Data,
    /// Gone, and nobody lists it.
    Removed,
    /// Finding: code of the standard library changed under the same interpreter.
    StdlibChanged,
    /// Finding: a file of the set, such as the interpreter itself, changed in place.
    ChangedInPlace,
    /// Finding: a file of a package is gone although the package is there in the same version.
    RemovedFromPackage,
    /// Finding: the file is not what a RECORD says.
    MismatchesRecord,
    /// Finding: another package than before now vouches for the changed file.
    TakenOver,
    /// Finding: the file changed, its package's version did not.
    ChangedWithoutVersionChange,
    /// Finding: a RECORD lists this code without a digest.
    Unvouched,
    /// Finding: something that every start of the interpreter runs, owned by nobody.
    UnownedHook,
    /// Finding: code in a folder of packages, owned by nobody.
    Unowned,
}

impl Judgement {
    /// Whether somebody has to explain it; all others are notes.
    pub fn is_finding(self) -> bool {
        use Judgement::{
            ChangedInPlace, ChangedWithoutVersionChange, MismatchesRecord, RemovedFromPackage,
            StdlibChanged, TakenOver, Unowned, UnownedHook, Unvouched,
        };
        matches!(
            self,
            StdlibChanged
                | ChangedInPlace
                | RemovedFromPackage
                | MismatchesRecord
                | TakenOver
                | ChangedWithoutVersionChange
                | Unvouched
                | UnownedHook
                | Unowned
        )
    }
}

/// A change with its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// What changed.
    pub change: Change,
    /// The package that decided, as `name version`.
    pub package: Option<String>,
    /// What it means.
    pub judgement: Judgement,
}

/// Judges `changes` that led to `snapshot`, whose RECORDs gave `report`. `before` is what was installed before;
/// `same_interpreter` whether the version of the interpreter is unchanged.
pub fn judge(
    changes: Vec<Change>,
    before: &[Package],
    snapshot: &Snapshot,
    report: &RecordReport,
    same_interpreter: bool,
) -> Vec<Judged> {
    let judge = Judge::new(&changes, before, snapshot, report, same_interpreter);
    let verdicts: Vec<_> = changes.iter().map(|change| judge.one(change)).collect();
    let name = |index: usize| {
        snapshot
            .packages
            .get(index)
            .map(|package| format!("{} {}", package.name, package.version))
    };
    let join = |(change, (judgement, package)): (Change, Verdict)| Judged {
        change,
        package: package.and_then(name),
        judgement,
    };
    changes.into_iter().zip(verdicts).map(join).collect()
}

type Verdict = (Judgement, Option<usize>);

/// How an installed package stands to what was installed before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Kept,
    OtherVersion,
    New,
}

struct Judge<'a> {
    snapshot: &'a Snapshot,
    report: &'a RecordReport,
    same_interpreter: bool,
    kinds: HashMap<&'a str, RootKind>,
    /// By index into the packages of the snapshot.
    standing: Vec<Standing>,
    /// Whether a package that was there before is there no more, in any version.
    any_gone: bool,
    /// Folders of papers to package.
    papers: HashMap<&'a str, usize>,
    /// Top-level entries, such as `purelib/torch`, in which a rewritten package owns files.
    beside_rewritten: HashMap<String, HashSet<usize>>,
    missing: BTreeMap<&'a str, usize>,
}

impl<'a> Judge<'a> {
    fn new(
        changes: &[Change],
        before: &[Package],
        snapshot: &'a Snapshot,
        report: &'a RecordReport,
        same_interpreter: bool,
    ) -> Self {
        let id = |package: &Package| (package.root.clone(), package.normalized());
        let mut versions: HashMap<_, HashSet<&str>> = HashMap::new();
        for package in before {
            versions
                .entry(id(package))
                .or_default()
                .insert(&package.version);
        }
        let now: HashSet<_> = snapshot.packages.iter().map(id).collect();
        let standing = snapshot
            .packages
            .iter()
            .map(|package| match versions.get(&id(package)) {
                Some(old) if old.contains(package.version.as_str()) => Standing::Kept,
                Some(_) => Standing::OtherVersion,
                None => Standing::New,
            });
        let mut judge = Self {
            snapshot,
            report,
            same_interpreter,
            kinds: snapshot
                .places
                .iter()
                .map(|place| (place.name.as_str(), place.kind))
                .collect(),
            standing: standing.collect(),
            any_gone: versions.keys().any(|id| !now.contains(id)),
            papers: snapshot
                .packages
                .iter()
                .enumerate()
                .map(|(index, package)| (package.papers.as_str(), index))
                .collect(),
            beside_rewritten: HashMap::new(),
            missing: report
                .missing
                .iter()
                .map(|missing| (missing.path.as_str(), missing.package))
                .collect(),
        };
        judge.find_rewritten(changes);
        judge
    }

    fn find_rewritten(&mut self, changes: &[Change]) {
        let touched = changes
            .iter()
            .filter(|change| change.kind == ChangeKind::Modified);
        let records = touched.filter_map(|change| change.path.as_str().strip_suffix("/RECORD"));
        let rewritten: HashSet<usize> = records
            .filter_map(|papers| self.papers.get(papers).copied())
            .filter(|index| self.is(*index, Standing::Kept))
            .collect();
        if rewritten.is_empty() {
            return;
        }
        for (path, owners) in self.report.owned() {
            for owner in owners
                .iter()
                .filter(|owner| rewritten.contains(&owner.package))
            {
                self.beside_rewritten
                    .entry(top_level(path.as_str()).to_owned())
                    .or_default()
                    .insert(owner.package);
            }
        }
    }

    fn is(&self, package: usize, standing: Standing) -> bool {
        self.standing.get(package) == Some(&standing)
    }

    fn one(&self, change: &Change) -> Verdict {
        let path = change.path.as_str();
        match change.kind {
            ChangeKind::Unread => return (Judgement::Gap, None),
            ChangeKind::ModeChanged => return (Judgement::ModeOnly, None),
            ChangeKind::Added | ChangeKind::Removed | ChangeKind::Modified => {}
        }
        let (root, rest) = path.split_once('/').unwrap_or((path, ""));
        let kind = self.kinds.get(root).copied().unwrap_or(RootKind::Other);
        match kind {
            RootKind::Stdlib => (self.stdlib(rest), None),
            RootKind::Other => (self.other(change.kind), None),
            RootKind::Site | RootKind::Scripts => self
                .papers(path, rest)
                .unwrap_or_else(|| self.packaged(change, kind, rest)),
        }
    }

    fn stdlib(&self, rest: &str) -> Judgement {
        match (self.same_interpreter, is_loadable(rest)) {
            (false, _) => Judgement::InterpreterUpgraded,
            (true, true) => Judgement::StdlibChanged,
            (true, false) => Judgement::Data,
        }
    }

    fn other(&self, kind: ChangeKind) -> Judgement {
        match (self.same_interpreter, kind) {
            (false, _) => Judgement::InterpreterUpgraded,
            (true, ChangeKind::Removed) => Judgement::Removed,
            (true, _) => Judgement::ChangedInPlace,
        }
    }

    fn papers(&self, path: &str, rest: &str) -> Option<Verdict> {
        let (folder, name) = rest.split_once('/').unwrap_or((rest, ""));
        if !is_papers_folder(folder) {
            return None;
        }
        let package = self.papers.get(top_level(path)).copied();
        let of_installer = matches!(
            name,
            "INSTALLER" | "REQUESTED" | "RECORD" | "direct_url.json" | "uv_cache.json"
        );
        let kept = package.is_some_and(|package| self.is(package, Standing::Kept));
        let exempt = of_installer || (!kept && !is_loadable(name));
        exempt.then_some((Judgement::Bookkeeping, package))
    }

    fn packaged(&self, change: &Change, kind: RootKind, rest: &str) -> Verdict {
        let path = change.path.as_str();
        let code = is_loadable(rest);
        if change.kind == ChangeKind::Removed {
            return self.removed(path, code);
        }
        let owners = self.report.owners(&change.path);
        if owners.is_empty() {
            return (self.unowned(change, kind, rest, code), None);
        }
        let first = |wanted: &dyn Fn(&Owner) -> bool| {
            owners
                .iter()
                .find(|owner| wanted(owner))
                .map(|owner| owner.package)
        };
        if let Some(package) = first(&|owner| owner.claim == Claim::Mismatched) {
            return (Judgement::MismatchesRecord, Some(package));
        }
        let modified = change.kind == ChangeKind::Modified;
        let vouches = |owner: &Owner| owner.claim == Claim::Vouched;
        if let Some(package) = first(&|owner| self.is(owner.package, Standing::Kept)) {
            let content = modified && first(&vouches).is_some();
            let judgement = if content || code {
                Judgement::ChangedWithoutVersionChange
            } else {
                Judgement::Data
            };
            return (judgement, Some(package));
        }
        if let Some(package) = first(&vouches) {
            let taken_over = modified && self.is_taken_over(path, package, &owners);
            let judgement = if taken_over {
                Judgement::TakenOver
            } else {
                self.arrived(package)
            };
            return (judgement, Some(package));
        }
        match first(&|_| true) {
            Some(package) if code && !self.report.without_record.contains(&package) => {
                (Judgement::Unvouched, Some(package))
            }
            Some(package) => (self.arrived(package), Some(package)),
            None => (Judgement::Data, None),
        }
    }

    fn arrived(&self, package: usize) -> Judgement {
        if self.is(package, Standing::New) {
            Judgement::Installed
        } else {
            Judgement::Upgraded
        }
    }

    /// Whether a package that arrived vouches for a file that was another's: an honest installer of one package leaves
    /// the RECORD of another alone, and a package that is wholly new finds no file in its place, unless it replaces one.
    fn is_taken_over(&self, path: &str, package: usize, owners: &[Owner]) -> bool {
        let owns = |other: &usize| owners.iter().any(|owner| owner.package == *other);
        let beside = self.beside_rewritten.get(top_level(path));
        let from_rewritten =
            beside.is_some_and(|packages| packages.iter().any(|other| !owns(other)));
        from_rewritten || (self.is(package, Standing::New) && !self.any_gone)
    }

    fn removed(&self, path: &str, code: bool) -> Verdict {
        if let Some(package) = self
            .missing
            .get(path)
            .copied()
            .filter(|package| self.is(*package, Standing::Kept))
        {
            return (Judgement::RemovedFromPackage, Some(package));
        }
        let beside = self
            .beside_rewritten
            .get(top_level(path))
            .and_then(|packages| packages.iter().min());
        match beside {
            Some(package) if code => (Judgement::RemovedFromPackage, Some(*package)),
            _ => (Judgement::Removed, None),
        }
    }

    fn unowned(&self, change: &Change, kind: RootKind, rest: &str, code: bool) -> Judgement {
        match kind {
            RootKind::Site if is_hook(rest) => {
                let runs = self
                    .snapshot
                    .hooks
                    .iter()
                    .find(|hook| hook.path == change.path)
                    .map(|hook| hook.code_lines);
                if rest == "easy-install.pth" && runs == Some(0) {
                    Judgement::EditableHook
                } else {
                    Judgement::UnownedHook
                }
            }
            RootKind::Site if code => Judgement::Unowned,
            RootKind::Scripts if change.kind == ChangeKind::Modified && self.same_interpreter => {
                Judgement::Unowned
            }
            RootKind::Scripts if change.kind == ChangeKind::Modified => {
                Judgement::InterpreterUpgraded
            }
            _ => Judgement::Data,
        }
    }
}

/// Whether it makes others run code unasked: `.pth` at the top, `sitecustomize` and `usercustomize` at every start of the
/// interpreter, `entry_points.txt` in every program that looks for plug-ins.
fn is_hook(rest: &str) -> bool {
    let (top, below) = rest
        .split_once('/')
        .map_or((rest, None), |(top, below)| (top, Some(below)));
    let stem = top.split('.').next().unwrap_or(top);
    let customize = matches!(stem, "sitecustomize" | "usercustomize");
    let plug_ins = is_papers_folder(top) && below == Some("entry_points.txt");
    plug_ins || (below.is_none() && has_suffix(top, ".pth")) || (customize && is_loadable(rest))
}

/// The first two components of a logical name, such as `purelib/torch`.
fn top_level(path: &str) -> &str {
    let ends = path.match_indices('/').nth(1).map(|(at, _)| at);
    ends.and_then(|at| path.get(..at)).unwrap_or(path)
}
