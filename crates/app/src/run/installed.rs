//! An environment was examined: its record, and what it means.

use std::collections::BTreeSet;

use domain::entry::{Kind, Load};
use domain::{Body, Digest, Finding, Gap, Grade, PathText, Rule};
use environment::{Judged, Judgement};

use super::environment::{EnvironmentSummary, Examined};
use super::recorder::Recorder;

/// Findings about single files of one environment; the rest is counted in the last one.
const FILES_MAX: usize = 20;

impl Recorder<'_> {
    /// Records the tree and judges it.
    pub(super) fn environment(&mut self, examined: Examined) {
        self.record_environment(&examined);
        if let Some((run, judged)) = &examined.compared {
            let against = format!("last good run of this command: {run}");
            self.tell_changes(Rule::EnvironmentChanged, judged, &against, Some(run));
        }
        if let Some(why) = &examined.not_compared {
            self.gap("comparison with the environment of the last good run", why);
        }
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
        };
        let summary = serde_json::to_vec(&summary)
            .ok()
            .and_then(|bytes| self.journal.blob(&bytes));
        let load = |what, digest: Digest, summary| Load {
            what,
            path: examined.prefix.clone(),
            digest: Some(digest),
            stored,
            identity: None,
            process: None,
            rank: None,
            step: None,
            summary,
            examined: None,
        };
        self.journal.record(Body::Load(load(
            Kind::Environment,
            snapshot.root.digest(),
            summary,
        )));
        self.journal.record(Body::Load(load(
            Kind::Compiled,
            snapshot.compiled.digest(),
            None,
        )));
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
        let wrong = &examined.report.mismatched;
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
            if !examined.report.unowned.contains(&hook.path) {
                continue;
            }
            let what = format!(
                "{} runs code at every start of Python and belongs to no package",
                hook.path
            );
            let details = vec![format!("{} lines of it are code", hook.code_lines)];
            let innocent = vec!["a tool put it there by itself; read it, it is short".to_owned()];
            self.finding(file_finding(
                Rule::EnvironmentUnowned,
                what,
                details,
                &hook.path,
                innocent,
            ));
        }
    }
}

fn file_finding(
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

fn change_finding(rule: Rule, judged: &Judged, against: &str) -> Finding {
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
