//! The run held against its spec: each step as it comes, and what it loads.
//!
//! The comparison is `training::spec`'s; here is what it needs from the run, and that each cause is told once. What the job
//! itself says is *claimed*; files, code and environment are *observed*. Who signed the spec stands in every finding,
//! because a declaration that nobody signed is worth what whoever wrote the file is worth.

mod words;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;

use domain::declared::SpecUsed;
use domain::entry::{Act, Code, Kind, Load};
use domain::{Body, Digest, Finding, Grade, PathText, Rule, StepRecord};
use training::spec::check::{Declared, Process};
use training::spec::model::{File, Spec};
use training::spec::{Checker, Difference};

use super::event::Connection;
use super::once::About;
use super::recorder::Recorder;
use crate::spec::{Loaded, changes, in_project};

/// Processes of a run that are followed.
const PROCESSES_MAX: usize = 10_000;

/// What the run is held against, and how far it is.
pub(super) struct Held {
    declared: Declared,
    name: String,
    signed: String,
    cwd: PathBuf,
    checkers: HashMap<Connection, Checker>,
    /// Processes that read a checkpoint before their first step.
    loaded: HashSet<Connection>,
    /// Declared files that were read.
    read: BTreeSet<String>,
    last_step: u64,
    world_told: bool,
}

impl Held {
    /// Makes a spec ready.
    pub(super) fn new(loaded: &Loaded, cwd: PathBuf) -> Result<Self, crate::spec::SpecError> {
        Ok(Self {
            declared: loaded.declared()?,
            name: loaded.spec.name.clone(),
            signed: loaded.signed.words(),
            cwd,
            checkers: HashMap::new(),
            loaded: HashSet::new(),
            read: BTreeSet::new(),
            last_step: 0,
            world_told: false,
        })
    }

    fn spec(&self) -> Option<&Spec> {
        self.declared.at(0)
    }

    fn details(&self) -> Vec<String> {
        vec![format!("declared in spec {}; {}", self.name, self.signed)]
    }
}

impl Recorder<'_> {
    /// From here on the run is held against this spec.
    pub(super) fn hold_against(&mut self, spec: Option<(Loaded, Held)>) {
        let Some((loaded, held)) = spec else { return };
        if let Some(spec) = self.journal.blob(loaded.text.as_bytes()) {
            let used = SpecUsed {
                name: held.name.clone(),
                path: PathText::from(loaded.path.as_path()),
                spec,
                signed: held.signed.clone(),
            };
            self.journal
                .record(Body::Act(Act::SpecUsed(Box::new(used))));
        }
        self.spec = Some(held);
    }

    /// A process is about to read a checkpoint.
    pub(super) fn spec_loading(&mut self, connection: Connection) {
        let before = self
            .members
            .get(&connection)
            .is_some_and(|member| member.step_count == 0);
        if let Some(held) = self.spec.as_mut().filter(|_| before) {
            held.loaded.insert(connection);
        }
    }

    /// A step was told.
    pub(super) fn heard_declared(&mut self, connection: Connection, step: &StepRecord) {
        let hello = self
            .members
            .get(&connection)
            .and_then(|member| member.hello.as_ref());
        let (rank, world) = hello.map_or((None, None), |hello| (hello.rank, hello.world_size));
        let Some(held) = &mut self.spec else { return };
        let process = Process {
            rank: rank.unwrap_or(0),
            world: world.unwrap_or(1),
            loaded: held.loaded.contains(&connection),
        };
        held.last_step = held.last_step.max(step.step);
        if held.checkers.len() >= PROCESSES_MAX && !held.checkers.contains_key(&connection) {
            return self.gap_once(
                connection,
                "steps against the spec",
                "there are more processes than are followed",
            );
        }
        let mut told =
            held.checkers
                .entry(connection)
                .or_default()
                .step(&held.declared, process, step);
        let world_told = held.world_told;
        told.differences
            .retain(|it| !world_told || !matches!(it, Difference::World { .. }));
        held.world_told |= told
            .differences
            .iter()
            .any(|it| matches!(it, Difference::World { .. }));
        for (what, why) in &told.gaps {
            self.gap_once(connection, what, why);
        }
        let mut by_cause: BTreeMap<&'static str, Vec<&Difference>> = BTreeMap::new();
        for difference in &told.differences {
            by_cause
                .entry(cause(difference))
                .or_default()
                .push(difference);
        }
        for (cause, same) in by_cause {
            let Some(first) = same.first() else { continue };
            let about = About {
                rule: words::rule(first),
                cause,
                optimizer: step.optimizer,
            };
            self.tell_once(connection, about, step, |recorder, rank| {
                let held = recorder.spec.as_ref()?;
                let context = words::Context {
                    step: step.step,
                    rank,
                    optimizer: step.optimizer,
                    spec: &held.name,
                    signed: &held.signed,
                };
                words::finding(&context, &same)
            });
        }
    }

    /// A file was read whole.
    pub(super) fn declared_file(&mut self, load: &Load) {
        let Some(held) = &mut self.spec else { return };
        let path = in_project(load.path.as_str(), &held.cwd);
        let Some(spec) = held.declared.at(0) else {
            return;
        };
        let files: &[File] = match load.what {
            Kind::Data => &spec.data,
            Kind::Config => &spec.config,
            Kind::Script => &spec.code.script,
            _ => return,
        };
        let Some(declared) = files
            .iter()
            .find(|file| file.path == path)
            .map(|file| file.sha256)
        else {
            return;
        };
        held.read.insert(path.clone());
        let Some(used) = load.digest else {
            return self.gap(&format!("{path} against the spec"), "it was not read");
        };
        if used == declared {
            return;
        }
        let values = format!(
            "its content is {}, declared {}",
            used.short(),
            declared.short()
        );
        let rule = match load.what {
            Kind::Data => Rule::DataNotDeclared,
            Kind::Script => Rule::CodeNotDeclared,
            _ => {
                return self.gap(
                    &format!("{path} against the spec"),
                    &format!("{values}; what it sets is judged by its effect"),
                );
            }
        };
        self.found_declared(
            rule,
            format!("{path}: {values}"),
            Some(load.path.clone()),
            load.step,
        );
    }

    /// The project's code.
    pub(super) fn declared_code(&mut self, code: Option<&Code>) {
        let Some(spec) = self.spec.as_ref().and_then(Held::spec) else {
            return;
        };
        let Some(wanted) = spec.code.commit.clone() else {
            return;
        };
        let declared_changes = spec.code.changes;
        let Some(code) = code else {
            return self.gap(
                "commit against the spec",
                "the run's code is in no repository that git can read",
            );
        };
        let used = code
            .commit
            .clone()
            .unwrap_or_else(|| "no commit".to_owned());
        if used != wanted {
            return self.found_declared(
                Rule::CodeNotDeclared,
                format!("commit {used}, declared {wanted}"),
                None,
                Some(0),
            );
        }
        let used = changes(code);
        if used != declared_changes {
            let shown = |digest: Option<Digest>| {
                digest.map_or_else(|| "none".to_owned(), |digest| digest.short())
            };
            let what = format!(
                "changes beyond commit {wanted}: {}, declared {}",
                shown(used),
                shown(declared_changes)
            );
            self.found_declared(Rule::CodeNotDeclared, what, None, Some(0));
        }
    }

    /// An environment was read whole.
    pub(super) fn declared_environment(&mut self, prefix: &PathText, tree: Digest) {
        let Some(spec) = self.spec.as_ref().and_then(Held::spec) else {
            return;
        };
        let trees = &spec.environment.trees;
        if trees.is_empty() || trees.contains(&tree) {
            return;
        }
        let declared: Vec<_> = trees.iter().take(4).map(Digest::short).collect();
        let what = format!(
            "{prefix}: its tree is {}, declared {}",
            tree.short(),
            declared.join(" or ")
        );
        self.found_declared(
            Rule::EnvironmentNotDeclared,
            what,
            Some(prefix.clone()),
            Some(0),
        );
    }

    /// The end: what is declared and did not come.
    pub(super) fn close_declared(&mut self) {
        let Some(held) = self.spec.take() else { return };
        let Some(spec) = held.declared.at(held.last_step) else {
            return;
        };
        if held.checkers.is_empty() {
            self.gap("steps against the spec", "no step was told");
        } else if let Some(count) = spec.steps.count.filter(|count| held.last_step < *count) {
            let what = format!("steps {} to {count} of the spec", held.last_step + 1);
            self.gap(&what, "the run ended before them");
        }
        let missing: Vec<_> = spec
            .data
            .iter()
            .filter(|file| !held.read.contains(&file.path))
            .collect();
        if let Some(first) = missing.first() {
            let what = format!(
                "{} data files of the spec, first {}",
                missing.len(),
                first.path
            );
            self.gap(&what, "the run was not seen to read them");
        }
    }

    fn found_declared(
        &mut self,
        rule: Rule,
        what: String,
        path: Option<PathText>,
        step: Option<u64>,
    ) {
        let details = self.spec.as_ref().map(Held::details).unwrap_or_default();
        self.finding(Finding {
            rule,
            grade: Grade::Observed,
            what,
            details,
            path,
            step,
            rank: None,
            earlier: None,
            evidence: Vec::new(),
            innocent: vec![
                "somebody meant it: then `taintline spec amend` or a new spec says who and why"
                    .to_owned(),
            ],
        });
    }
}

/// Hyperparameters that are told each by itself; the others are told together.
fn cause(difference: &Difference) -> &'static str {
    const NAMES: &[&str] = &[
        "weight_decay",
        "beta1",
        "beta2",
        "eps",
        "momentum",
        "dampening",
        "nesterov",
        "maximize",
        "amsgrad",
        "alpha",
        "lr_decay",
    ];
    match difference {
        Difference::Hyper { name, .. } => NAMES
            .iter()
            .find(|it| *it == name)
            .copied()
            .unwrap_or("hyper"),
        other => other.cause(),
    }
}
