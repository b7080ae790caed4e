//! What the recorder makes of what was seen: cases, further scans, findings and notes.
//!
//! An environment in which something happened is settled when nothing more happened for [`QUIET`], or when that has not come
//! for too long. Only then it is known whether an installer was at work, and whether a file that changed is already as before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use domain::{Body, Digest, Finding, PathText, Rule, Tier};
use environment::{Judged, Snapshot};

use super::again::Again;
use super::cases::{Case, Cases, First, Outcome, Place};
use super::loaded::Loaded;
use super::{Coverage, Now, Report, Seen, Watching, words};
use crate::run::event::Event;
use crate::run::installed::{FILES_MAX, change_finding};
use crate::run::process::Member;
use crate::run::recorder::Recorder;

/// Nothing happened for so long: what happened before is judged.
const QUIET: Duration = Duration::from_secs(2);
/// Few files that keep changing are judged after this all the same.
const PATIENCE: Duration = Duration::from_secs(20);
/// Many files that keep changing are an installer's at work, or are made to look like it: judged after this.
const PATIENCE_MANY: Duration = Duration::from_mins(2);
const MANY: usize = 50;
/// Between the end of a further scan and the next: this, or ten times what the last one took.
const BETWEEN: Duration = Duration::from_secs(5);
/// What is seen before an environment is known is kept for it, so much of it.
const PENDING_MAX: usize = 5_000;
/// So many of them with their content.
const PENDING_WHOLE: usize = 16;

/// Something happened in an environment.
struct Stir {
    since: Instant,
    last: Instant,
}

/// A further scan.
struct Scan {
    began: Instant,
    under_way: bool,
    not_before: Instant,
}

/// What the recorder knows of it.
pub(in crate::run) struct State {
    pub(super) watching: Watching,
    cases: Cases,
    pending: Vec<Seen>,
    pending_lost: u64,
    stirs: BTreeMap<usize, Stir>,
    scans: BTreeMap<usize, Scan>,
    /// Environments that are to be scanned again as soon as that may be.
    wanted: BTreeSet<usize>,
    /// Loaded files of which changes are not followed.
    pub(super) unfollowed: usize,
    /// Lasting changes that were told, by environment and name, with what they led to.
    told: BTreeMap<(usize, PathText), Option<Digest>>,
    found: usize,
    untold: usize,
    attributes: usize,
    first_attributes: Option<PathText>,
    pub(super) loaded: BTreeMap<PathText, Loaded>,
    ended: bool,
    over: bool,
}

impl State {
    /// Nothing is known yet.
    pub(in crate::run) fn new(watching: Watching) -> Self {
        Self {
            over: watching.over,
            watching,
            cases: Cases::default(),
            pending: Vec::new(),
            pending_lost: 0,
            stirs: BTreeMap::new(),
            scans: BTreeMap::new(),
            wanted: BTreeSet::new(),
            unfollowed: 0,
            told: BTreeMap::new(),
            found: 0,
            untold: 0,
            attributes: 0,
            first_attributes: None,
            loaded: BTreeMap::new(),
            ended: false,
        }
    }

    /// These files are in use.
    pub(in crate::run) fn in_use(&self, files: Vec<PathText>) {
        self.watching.in_use(files);
    }

    /// Whether the last look is still to come.
    pub(in crate::run) fn outstanding(&self) -> bool {
        !self.over
    }

    /// No look is to come any more.
    pub(in crate::run) fn is_over(&mut self) {
        self.over = true;
    }

    /// Asks for the last look, once.
    pub(in crate::run) fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.watching.end();
        }
    }
}

impl Recorder<'_> {
    /// The watching thread told something.
    pub(in crate::run) fn watched(&mut self, report: Report) {
        match report {
            Report::Covered(coverage) => self.covered(&coverage),
            Report::Seen(seen) => self.seen(seen),
            Report::Flood { files } => {
                let what = format!("{files} touched files of the environment");
                self.gap(
                    &what,
                    "more at once than are followed; the scan at the end sees what stays",
                );
            }
            Report::TooMany => {
                let what = "changes of some files of the environment";
                self.gap(what, "too many files to follow");
            }
            Report::Lost => {
                let why = "the kernel's queue was full; sizes and times of all files were looked at instead";
                self.gap("what happened to files for a moment", why);
            }
            Report::Over => self.watch.is_over(),
        }
    }

    fn covered(&mut self, coverage: &Coverage) {
        let unwatched = coverage.folders.saturating_sub(coverage.watched);
        if unwatched > 0 {
            let what = format!(
                "events of {unwatched} of {} folders of the environment",
                coverage.folders
            );
            let why = coverage.why.as_deref().unwrap_or("they cannot be watched");
            self.gap(
                &what,
                &format!("{why}: they are looked at every 30 s instead"),
            );
        }
        for root in &coverage.shared {
            let what = format!("events of writes by others below {root}");
            let why = "the file system does not tell of all writes (network, overlay): looked at every 30 s, by size and times";
            self.gap(&what, why);
        }
    }

    fn seen(&mut self, mut seen: Seen) {
        if self.watch.loaded.contains_key(&seen.path) {
            return self.loaded_seen(seen);
        }
        if let Some((key, logical)) = self.environments.place_of(&seen.path) {
            return self.case(seen, key, logical, false);
        }
        if self.watch.pending.len() < PENDING_MAX {
            // Many may wait: what is in them is known by the digest.
            if let (Now::File { content, .. }, true) =
                (&mut seen.now, self.watch.pending.len() >= PENDING_WHOLE)
            {
                *content = None;
            }
            self.watch.pending.push(seen);
        } else {
            self.watch.pending_lost += 1;
        }
    }

    /// An environment is known: what was seen before that is taken up.
    pub(in crate::run) fn take_up_seen(&mut self) {
        for seen in std::mem::take(&mut self.watch.pending) {
            match self.environments.place_of(&seen.path) {
                Some((key, logical)) => self.case(seen, key, logical, true),
                None => self.watch.pending.push(seen),
            }
        }
    }

    fn case(&mut self, seen: Seen, key: usize, logical: PathText, early: bool) {
        let first = First::of(self.environments.first(key, &logical));
        let compiled = logical.as_str().contains("__pycache__");
        let folder = matches!(seen.now, Now::FolderGone(_) | Now::FolderBack(_));
        // Byte code that is new is Python's own doing, and so is a folder of it.
        if compiled && (first == First::Absent || folder) {
            // An installer that compiles is still at work.
            if let Some(stir) = self.watch.stirs.get_mut(&key) {
                stir.last = Instant::now();
            }
            return;
        }
        if folder && !self.environments.had_folder(key, &logical) {
            self.watch.cases.went_with(&seen, self.lowest_step());
            return;
        }
        let step = self.lowest_step();
        let place = Place {
            key,
            logical,
            first,
            early,
        };
        self.watch.cases.take(seen, place, step);
        let now = Instant::now();
        let stir = Stir {
            since: now,
            last: now,
        };
        self.watch.stirs.entry(key).or_insert(stir).last = now;
    }

    /// The last step that all processes that train have finished.
    pub(super) fn lowest_step(&self) -> Option<u64> {
        let members = self.members.values();
        let training = members.filter(|it| it.step_count > 0 && it.outcome.is_none());
        training.filter_map(|member| member.last_step).min()
    }

    /// Settles what is quiet.
    pub(in crate::run) fn settle_due(&mut self, events: &Sender<Event>) {
        let now = Instant::now();
        let due = |(key, stir): (&usize, &Stir)| {
            let patience = if self.watch.cases.unsettled(*key) > MANY {
                PATIENCE_MANY
            } else {
                PATIENCE
            };
            let is_due = now - stir.last >= QUIET || now - stir.since >= patience;
            is_due.then_some(*key)
        };
        let due: Vec<_> = self.watch.stirs.iter().filter_map(due).collect();
        for key in due {
            self.watch.stirs.remove(&key);
            if self.settle(key) {
                self.watch.wanted.insert(key);
            }
        }
        if self.watch.ended {
            return; // the scan at the end sees what stays
        }
        let busy = |key: &usize| {
            let scan = self.watch.scans.get(key);
            scan.is_some_and(|scan| scan.under_way || now < scan.not_before)
        };
        let wanted = self.watch.wanted.iter().copied();
        for key in wanted.filter(|key| !busy(key)).collect::<Vec<_>>() {
            self.watch.wanted.remove(&key);
            if self.environments.scan_again(key, events) {
                let scan = Scan {
                    began: now,
                    under_way: true,
                    not_before: now,
                };
                self.watch.scans.insert(key, scan);
            }
        }
    }

    /// Tells what is to be told of settled cases. Whether something stays as it should not.
    fn settle(&mut self, key: usize) -> bool {
        let papers = self.watch.cases.installers(key);
        let mut installers = BTreeMap::new();
        for paper in papers {
            if let Some(package) = self.environments.package_of(key, &paper) {
                installers.insert(package, 0_usize);
            }
        }
        let mut stays = false;
        for outcome in self.watch.cases.settle(key) {
            match outcome {
                Outcome::Stays => stays = true,
                Outcome::Attributes(path) => {
                    self.watch.attributes += 1;
                    self.watch.first_attributes.get_or_insert(path);
                }
                Outcome::Restored(case) | Outcome::Written(case) => {
                    let papers = papers_of(&case.place.logical);
                    let of = papers.as_ref().unwrap_or(&case.place.logical);
                    let package = self.environments.package_of(key, of);
                    let installed = package.as_ref().and_then(|it| installers.get_mut(it));
                    match installed {
                        Some(count) if was_only_rewritten(&case) || is_paper(&case) => *count += 1,
                        _ => self.tell_case(&case, package),
                    }
                }
            }
        }
        for (package, files) in installers.into_iter().filter(|it| it.1 > 0) {
            let what = format!("who installed {package} once more, {files} files");
            self.gap(
                &what,
                "each is as before, and nothing else was seen in them in between",
            );
        }
        stays
    }

    /// A file that is as before and was not, or was written to.
    fn tell_case(&mut self, case: &Case, package: Option<String>) {
        let logical = &case.place.logical;
        let compiled = logical.as_str().contains("__pycache__");
        if case.told {
            let what = format!("who put {logical} back");
            let why = format!(
                "as before again at {}; that it was another one was told",
                words::time(case.last.0)
            );
            return self.gap(&what, &why);
        }
        if compiled
            && case
                .other
                .as_ref()
                .is_none_or(|other| other.digest.is_none())
        {
            return; // Python takes its own byte code away and writes the same again
        }
        if case.place.first == First::Absent && case.files.is_none() && !is_importable(logical) {
            return;
        }
        if package.is_none() && case.files.is_none() && !is_code(logical) {
            let what = format!("who touched {logical}");
            let why = "data that belongs to no package, and as before again";
            return self.gap(&what, why);
        }
        if self.watch.found >= FILES_MAX {
            self.watch.untold += 1;
            return;
        }
        self.watch.found += 1;
        let package = package.unwrap_or_else(|| "no package".to_owned());
        let finding = if let Some(other) = &case.other {
            let blob = other.content.as_deref();
            let blob = blob.and_then(|content| self.journal.blob(content));
            words::restored(case, &package, blob)
        } else if case.place.first == First::Absent {
            words::restored(case, &package, None)
        } else {
            words::written(case, &package)
        };
        self.found_at(case.at_us, self.with_users(finding, &case.path));
    }

    /// With which processes have the file in use.
    pub(super) fn with_users(&self, mut finding: Finding, path: &PathText) -> Finding {
        let labels = |of: &dyn Fn(&Member) -> bool| {
            let members = self.members.values().filter(|it| of(it));
            let mut labels: Vec<_> = members.map(Member::label).collect();
            labels.sort();
            labels.truncate(4);
            labels.join(", ")
        };
        let imported = labels(&|member| member.modules.contains(path));
        let mapped = labels(&|member| member.mapped.contains(path));
        for (word, labels) in [("imported", imported), ("mapped", mapped)] {
            if !labels.is_empty() {
                finding.details.push(format!("{word} by {labels}"));
            }
        }
        finding
    }

    /// Tells and records a finding about something that happened then.
    pub(super) fn found_at(&mut self, at_us: i64, finding: Finding) {
        self.screen.found(&finding);
        let body = Body::Finding(finding);
        self.journal.record_at(Tier::Supervisor, at_us, body);
        self.flush();
    }

    /// A further scan has ended.
    pub(in crate::run) fn scanned_again(&mut self, again: &Again) {
        if let Some(scan) = self.watch.scans.get_mut(&again.key) {
            scan.under_way = false;
            let took = scan.began.elapsed();
            scan.not_before = Instant::now() + BETWEEN.max(took * 10);
        }
        let judged = self.environments.compare_again(again);
        self.tell_lasting(again.key, &judged);
    }

    /// Changes against the first scan: those that were not told.
    pub(in crate::run) fn tell_lasting(&mut self, key: usize, judged: &[Judged]) {
        let mut notes = Vec::new();
        for one in judged {
            if !one.judgement.is_finding() {
                notes.push(one.clone());
                continue;
            }
            let logical = &one.change.path;
            let place = (key, logical.clone());
            let after = one.change.after;
            match self.watch.told.insert(place, after) {
                Some(before) if before == after => continue,
                Some(_) => {
                    let now = after.map_or_else(|| "gone".to_owned(), |it| it.short());
                    self.gap(
                        &format!("who changed {logical} once more"),
                        &format!("it is {now}; that it is another one was told"),
                    );
                    continue;
                }
                None => {}
            }
            if self.watch.found >= FILES_MAX {
                self.watch.untold += 1;
                continue;
            }
            self.watch.found += 1;
            self.tell_lasting_one(key, one);
        }
        if self.watch.ended {
            let rule = Rule::EnvironmentChangedDuringRun;
            self.tell_changes(rule, &notes, "as it was scanned when the run began", None);
        }
    }

    fn tell_lasting_one(&mut self, key: usize, one: &Judged) {
        let logical = &one.change.path;
        let rule = Rule::EnvironmentChangedDuringRun;
        let against = "as it was scanned when the run began";
        let mut finding = change_finding(rule, one, against);
        let mut at_us = host::clock::wall_us();
        let mut path = None;
        let mut content = None;
        if let Some((case, other)) = self.watch.cases.other(key, logical) {
            at_us = other.at_us;
            finding.step = Some(other.step.unwrap_or(0));
            let words = format!(
                "first seen to be another one at {}, {}",
                words::time(other.at_us),
                words::after(other.step)
            );
            finding.details.push(words);
            path = Some(case.path.clone());
            content.clone_from(&other.content);
        }
        if let Some(path) = path {
            finding = self.with_users(finding, &path);
        }
        let blob = content.and_then(|content| self.journal.blob(&content));
        finding.evidence.extend(blob);
        self.watch.cases.told(key, logical);
        self.found_at(at_us, finding);
    }

    /// After the job: everything that is not settled, and what was counted.
    pub(in crate::run) fn settle_all(&mut self) {
        self.take_up_seen();
        for key in 0..self.environments.count() {
            self.settle(key);
        }
    }

    /// The notes about what was counted only.
    pub(in crate::run) fn tell_counted(&mut self) {
        if let Some(first) = self.watch.first_attributes.take() {
            let what = format!(
                "who set times or mode of {} files of the environment",
                self.watch.attributes
            );
            self.gap(&what, &format!("their content is as before, first {first}"));
        }
        if self.watch.untold > 0 {
            let what = format!(
                "{} further files that changed during the run",
                self.watch.untold
            );
            self.gap(&what, "not told one by one");
        }
        if self.watch.unfollowed > 0 {
            let what = format!("changes of {} loaded files", self.watch.unfollowed);
            self.gap(&what, "more than are followed");
        }
        let lost = self.watch.cases.beyond + self.watch.pending_lost;
        if lost > 0 {
            let what = format!("{lost} touched files of the environment");
            self.gap(
                &what,
                "more than are followed; the scan at the end sees what stays",
            );
        }
    }
}

/// Whether all that was seen of a file is what an installer makes of it that writes the same again: away, or written in part.
fn was_only_rewritten(case: &Case) -> bool {
    let Some(other) = &case.other else {
        return true;
    };
    match (&other.content, &case.content) {
        (Some(other), Some(content)) => content.starts_with(other),
        _ => other.gone,
    }
}

/// Whether it is one of the papers of a package, which an installer writes in several goes.
fn is_paper(case: &Case) -> bool {
    case.place.logical.as_str().contains(".dist-info/")
}

/// The list of files of the package whose folder of papers this is.
fn papers_of(logical: &PathText) -> Option<PathText> {
    let folder = logical.as_str();
    let papers = format!("{folder}/RECORD");
    folder
        .ends_with(".dist-info")
        .then(|| PathText::from_text(&papers))
}

/// Whether Python, the loader or a shell could take a file in.
fn is_code(logical: &PathText) -> bool {
    let name = logical.as_str();
    let ends = [".py", ".pyc", ".so", ".pth"]
        .iter()
        .any(|it| name.ends_with(it));
    let begins = ["scripts", "interpreter"]
        .iter()
        .any(|it| name.starts_with(it));
    ends || begins || logical.file_name().contains(".so.")
}

/// Whether Python could import a file by its name: each part of the way is an identifier. Or it is read at every start.
fn is_importable(logical: &PathText) -> bool {
    let mut parts = logical.as_str().split('/').skip(1).peekable();
    let mut identifiers = true;
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            let (stem, ending) = part.split_once('.').unwrap_or((part, ""));
            let code = ["py", "pyc", "so"].iter().any(|it| ending.ends_with(it));
            return part.rsplit('.').next() == Some("pth")
                || (identifiers && is_identifier(stem) && code);
        }
        identifiers &= is_identifier(part);
    }
    false
}

fn is_identifier(text: &str) -> bool {
    let mut characters = text.chars();
    let first = characters.next();
    first.is_some_and(|it| it.is_alphabetic() || it == '_')
        && characters.all(|it| it.is_alphanumeric() || it == '_')
}

/// The first file that a snapshot has below a folder.
pub(super) fn first_below(snapshot: &Snapshot, logical: &PathText) -> Option<PathText> {
    let folder = format!("{}/", logical.as_str());
    let mut names = snapshot.flat.range(PathText::from_text(&folder)..);
    let (name, _) = names.next()?;
    name.as_str().starts_with(&folder).then(|| name.clone())
}
