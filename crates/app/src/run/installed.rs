//! An environment was examined: its record, and what it means.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use domain::entry::{Kind, Load};
use domain::{Body, Digest, Finding, Gap, Grade, PathText, Rule};
use environment::{Judged, Judgement, PathHook, RootKind, Snapshot};

use super::environment::{EnvironmentSummary, Examined};
use super::recorder::Recorder;
use crate::changes::Places;

/// Findings about single files of one environment; the rest is counted in the last one.
pub(super) const FILES_MAX: usize = 20;
const READ_IT: &str = "a tool put it there by itself; read it, it is short";

impl Recorder<'_> {
    /// Records the tree and judges it.
    pub(super) fn environment(&mut self, examined: Examined) {
        self.record_environment(&examined);
        self.installed(&examined.snapshot);
        if let Some((run, judged)) = &examined.compared {
            let against = format!("last good run of this command: {run}");
            self.tell_changes(Rule::EnvironmentChanged, judged, &against, Some(run));
        }
        if let Some(why) = &examined.not_compared {
            self.gap("comparison with the environment of the last good run", why);
        }
        self.tell_wheels(&examined);
        self.tell_record(&examined);
        for lie in &examined.snapshot.cache_lies {
            let what = format!(
                "{} changed although device, inode, size and both times did not",
                lie.path
            );
            let details = vec![format!(
                "remembered {}, read {}",
                lie.remembered.short(),
                lie.read.short()
            )];
            let innocent = vec!["the disk or its controller is failing".to_owned()];
            self.finding(file_finding(
                Rule::CacheLied,
                what,
                details,
                &lie.path,
                innocent,
            ));
        }
        self.flush();
        self.environments.keep(examined);
        self.take_up_seen();
    }

    /// Where the roots of an environment are; the host's daemon is asked to watch them.
    fn take_places(&mut self, snapshot: &Snapshot) -> Places {
        let mut places = Places::default();
        for place in &snapshot.places {
            let Some(real) = &place.real else { continue };
            places.add(&place.name, real);
            self.places.add(&place.name, real);
            if let Some(daemon) = &mut self.daemon {
                daemon.watch(real);
            }
        }
        places
    }

    fn record_environment(&mut self, examined: &Examined) {
        let snapshot = &examined.snapshot;
        let blobs: Vec<Vec<u8>> = snapshot
            .trees
            .iter()
            .map(|tree| tree.bytes.clone())
            .collect();
        let stored = self.journal.blobs(&blobs).is_some();
        let summary = EnvironmentSummary {
            python: examined.python.clone(),
            packages: snapshot.packages.clone(),
            files: snapshot.totals.files,
            bytes: snapshot.totals.bytes,
            hashed: snapshot.totals.read_files,
            vouched: examined.vouched,
            locked: examined.by_wheels.as_ref().map_or(0, |it| it.vouched),
            places: self.take_places(snapshot),
        };
        let summary = serde_json::to_vec(&summary)
            .ok()
            .and_then(|bytes| self.journal.blob(&bytes));
        let load = Load {
            what: Kind::Environment,
            path: examined.prefix.clone(),
            digest: Some(snapshot.root.digest()),
            stored,
            identity: None,
            process: None,
            rank: None,
            step: None,
            summary,
            examined: None,
        };
        self.declared_environment(&examined.prefix, snapshot.root.digest());
        self.journal.record(Body::Load(load));
        let unread: Vec<_> = snapshot.unread().collect();
        if let Some((path, reason)) = unread.first() {
            let what = format!(
                "{} files of the environment {}",
                unread.len(),
                examined.prefix
            );
            self.journal.record(Body::Gap(Gap {
                what,
                why: format!("{reason}, first {path}"),
            }));
        }
    }

    /// Changes that somebody has to explain become findings; ordinary upgrades become one note.
    pub(super) fn tell_changes(
        &mut self,
        rule: Rule,
        judged: &[Judged],
        against: &str,
        earlier: Option<&String>,
    ) {
        let wrong: Vec<_> = judged
            .iter()
            .filter(|one| one.judgement.is_finding())
            .collect();
        let untold = wrong.len().saturating_sub(FILES_MAX);
        for (index, one) in wrong.iter().take(FILES_MAX).enumerate() {
            let mut finding = change_finding(rule, one, against);
            finding.earlier = earlier.cloned();
            if untold > 0 && index + 1 == FILES_MAX {
                finding.details.push(format!(
                    "and {untold} files more; `taintline diff` lists them"
                ));
            }
            self.finding(finding);
        }
        let packages: BTreeSet<_> = judged
            .iter()
            .filter(|one| {
                use Judgement::{Installed, InterpreterUpgraded, Upgraded};
                matches!(one.judgement, Upgraded | Installed | InterpreterUpgraded)
            })
            .filter_map(|one| one.package.clone())
            .collect();
        if !packages.is_empty() {
            let names: Vec<_> = packages.iter().take(8).cloned().collect();
            let what = format!(
                "who upgraded {} packages since then: {}",
                packages.len(),
                names.join(", ")
            );
            self.gap(
                &what,
                &format!("their RECORDs vouch for the new files ({against})"),
            );
        }
    }

    /// What wheels contradict that the lock file names, at every run: no good run makes it good.
    fn tell_wheels(&mut self, examined: &Examined) {
        let Some(by_wheels) = &examined.by_wheels else {
            return;
        };
        for gap in &by_wheels.gaps {
            self.gap(&gap.what, &gap.why);
        }
        let wrong = &by_wheels.findings;
        for (index, one) in wrong.iter().take(FILES_MAX).enumerate() {
            let package = one.package.as_deref().unwrap_or("no package");
            let what = format!("{} is not what {package} has", one.path);
            let mut details = vec![one.what.clone(), format!("lock file: {}", by_wheels.lock)];
            let untold = wrong.len().saturating_sub(FILES_MAX);
            if untold > 0 && index + 1 == FILES_MAX {
                let more = format!("and {untold} files more; `taintline env check` lists them");
                details.push(more);
            }
            let innocent = "somebody edits an installed package on purpose".to_owned();
            let rule = Rule::EnvironmentNotAsVouched;
            let path = PathText::from_text(&one.path);
            self.finding(file_finding(rule, what, details, &path, vec![innocent]));
        }
    }

    /// What stands beside the papers. Only without a good run to compare with: what that one had was judged then, and what
    /// came since is told as a change.
    fn tell_record(&mut self, examined: &Examined) {
        if examined.compared.is_some() {
            return;
        }
        let packages = &examined.snapshot.packages;
        let name = |index: usize| {
            packages
                .get(index)
                .map_or_else(|| "?".to_owned(), |p| format!("{} {}", p.name, p.version))
        };
        let told = |path: &PathText| {
            let by_wheels = examined.by_wheels.iter();
            let mut told = by_wheels.flat_map(|it| &it.findings);
            told.any(|it| it.path == path.as_str())
        };
        let mismatched = examined.report.mismatched.iter();
        let wrong: Vec<_> = mismatched.filter(|it| !told(&it.path)).collect();
        for one in wrong.iter().take(FILES_MAX) {
            let what = format!("{} is not what {} installed", one.path, name(one.package));
            let mut details = vec![format!(
                "RECORD says {}, the file is {}",
                one.expected.short(),
                one.found.short()
            )];
            if wrong.len() > FILES_MAX {
                details.push(format!(
                    "{} files in all are not as in their RECORD",
                    wrong.len()
                ));
            }
            let innocent = vec!["somebody edits an installed package on purpose".to_owned()];
            self.finding(file_finding(
                Rule::EnvironmentNotAsInstalled,
                what,
                details,
                &one.path,
                innocent,
            ));
        }
        let hooks = examined.snapshot.hooks.iter();
        for hook in hooks.filter(|hook| hook.code_lines > 0) {
            if !examined.report.unowned.contains(&hook.path) || is_of_maker(hook, examined) {
                continue;
            }
            let what = format!(
                "{} runs code at every start of Python and belongs to no package",
                hook.path
            );
            let details = vec![format!("{} lines of it are code", hook.code_lines)];
            let innocent = vec![READ_IT.to_owned()];
            self.finding(file_finding(
                Rule::EnvironmentUnowned,
                what,
                details,
                &hook.path,
                innocent,
            ));
        }
        for path in start_up_modules(examined) {
            let what = format!("{path} is run at every start of Python and belongs to no package");
            let innocent = vec![READ_IT.to_owned()];
            let rule = Rule::EnvironmentUnowned;
            self.finding(file_finding(rule, what, Vec::new(), path, innocent));
        }
    }
}

/// Whether the hook is the one that virtualenv and uv put into each environment that they make, and this is one of theirs. The
/// module that it imports is a file of the environment and compared like all others.
fn is_of_maker(hook: &PathHook, examined: &Examined) -> bool {
    if hook.only_imports.as_deref() != Some("_virtualenv") {
        return false;
    }
    let prefix = PathBuf::from(OsString::from_vec(examined.prefix.to_bytes()));
    let settings = crate::bounded::read(&prefix.join("pyvenv.cfg"), 1 << 16).unwrap_or_default();
    let settings = String::from_utf8_lossy(&settings);
    settings
        .lines()
        .filter_map(|line| line.split_once('='))
        .any(|(key, _)| matches!(key.trim(), "virtualenv" | "uv"))
}

/// Modules at the top of a folder of packages that every start of Python imports, owned by no package.
fn start_up_modules(examined: &Examined) -> impl Iterator<Item = &PathText> {
    let places = &examined.snapshot.places;
    examined.report.unowned.iter().filter(move |path| {
        let (root, rest) = path.as_str().split_once('/').unwrap_or_default();
        let name = rest.split(['.', '/']).next().unwrap_or_default();
        let of_site = places
            .iter()
            .any(|place| place.name == root && place.kind == RootKind::Site);
        let ends = [".py", ".pyc", ".so"].iter().any(|end| rest.ends_with(end));
        let top = !rest.contains('/')
            || rest
                .split('/')
                .nth(1)
                .is_some_and(|file| file.starts_with("__init__."));
        of_site && ends && top && matches!(name, "sitecustomize" | "usercustomize")
    })
}

pub(super) fn file_finding(
    rule: Rule,
    what: String,
    details: Vec<String>,
    path: &PathText,
    innocent: Vec<String>,
) -> Finding {
    Finding {
        rule,
        grade: Grade::Observed,
        what,
        details,
        path: Some(path.clone()),
        step: Some(0),
        rank: None,
        earlier: None,
        evidence: Vec::new(),
        innocent,
    }
}

pub(super) fn change_finding(rule: Rule, judged: &Judged, against: &str) -> Finding {
    let path = &judged.change.path;
    let package = judged.package.as_deref().unwrap_or("no package");
    let (rule, what) = match (rule, judged.judgement) {
        (Rule::EnvironmentChanged, Judgement::UnownedHook | Judgement::Unowned) => (
            Rule::EnvironmentUnowned,
            format!("{path} is new or changed and belongs to no package"),
        ),
        _ => (
            rule,
            format!("{path} is not the file that was there before"),
        ),
    };
    let words = format!(
        "{} ({package}): {}",
        change_words(judged),
        meaning(judged.judgement)
    );
    let innocent =
        "somebody changes the environment on purpose: then say so with --accept-environment";
    file_finding(
        rule,
        what,
        vec![words, against.to_owned()],
        path,
        vec![innocent.to_owned()],
    )
}

fn change_words(judged: &Judged) -> String {
    let short = |digest: Option<Digest>| {
        digest.map_or_else(|| "absent".to_owned(), |digest| digest.short())
    };
    format!(
        "{} → {}",
        short(judged.change.before),
        short(judged.change.after)
    )
}

fn meaning(judgement: Judgement) -> &'static str {
    match judgement {
        Judgement::StdlibChanged => "part of Python's own library, whose version did not change",
        Judgement::ChangedInPlace => "changed in place",
        Judgement::RemovedFromPackage => {
            "gone, although its package is installed in the same version"
        }
        Judgement::MismatchesRecord => "not what its package's RECORD says",
        Judgement::TakenOver => "another package than before now vouches for it",
        Judgement::ChangedWithoutVersionChange => "its package's version did not change",
        Judgement::Unvouched => "its RECORD lists it without a digest",
        Judgement::UnownedHook => "run at every start of Python, owned by no package",
        Judgement::Unowned => "code among the packages, owned by none",
        _ => "not a finding",
    }
}
