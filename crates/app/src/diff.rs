//! `taintline diff RUN RUN`: only what differs, dimension by dimension, and what could not be compared.

use std::collections::BTreeMap;

use domain::entry::{Code, Command, Kind, Variable};
use domain::{Digest, Gap, PathText, StepRecord};
use report::view::{DiffView, Difference};

use crate::error::AppError;
use crate::present::{self, unsealed};
use crate::queries::Reading;
use crate::record::RunRecord;
use crate::run::EnvironmentSummary;

/// Differences of one dimension that are listed; the rest is counted.
const LISTED_MAX: usize = 200;

struct Comparison<'a> {
    reading: &'a Reading,
    left: RunRecord,
    right: RunRecord,
    view: DiffView,
}

/// Compares two runs.
pub fn diff(reading: &Reading, left: &str, right: &str) -> Result<DiffView, AppError> {
    let (left, right) = (
        reading.record(&reading.find(left)?)?,
        reading.record(&reading.find(right)?)?,
    );
    let view = DiffView {
        schema: "taintline.diff/1",
        left: left.name(),
        right: right.name(),
        differences: Vec::new(),
        equal: Vec::new(),
        not_compared: Vec::new(),
    };
    let mut comparison = Comparison {
        reading,
        left,
        right,
        view,
    };
    comparison.command();
    comparison.code();
    comparison.variables();
    comparison.environment();
    comparison.files("checkpoint", Kind::Checkpoint);
    comparison.files("data", Kind::Data);
    comparison.files("config", Kind::Config);
    comparison.files("script", Kind::Script);
    comparison.world();
    comparison.steps();
    Ok(comparison.view)
}

impl Comparison<'_> {
    fn dimension(&mut self, name: &'static str, mut differences: Vec<Difference>) {
        if differences.is_empty() {
            self.view.equal.push(name);
            return;
        }
        let more = differences.len().saturating_sub(LISTED_MAX);
        differences.truncate(LISTED_MAX);
        if more > 0 {
            differences.push(difference(name, format!("and {more} more"), None, None));
        }
        self.view.differences.append(&mut differences);
    }

    fn skip(&mut self, what: &str, why: &str) {
        self.view.not_compared.push(Gap {
            what: what.to_owned(),
            why: why.to_owned(),
        });
    }

    fn command(&mut self) {
        let of = |record: &RunRecord| {
            let launch = record.launch.as_ref()?;
            present::command(&self.reading.store, &launch.command)
        };
        let (Some((left, left_cwd)), Some((right, right_cwd))) = (of(&self.left), of(&self.right))
        else {
            return self.skip("command", "a command line was erased or cannot be read");
        };
        let mut differences = Vec::new();
        if left != right {
            differences.push(difference(
                "command",
                "command line".to_owned(),
                Some(left),
                Some(right),
            ));
        } else if self.written(&self.left) != self.written(&self.right) {
            let what = "a value of the command line that is blanked here".to_owned();
            differences.push(difference("command", what, None, None));
        }
        if left_cwd != right_cwd {
            differences.push(difference(
                "command",
                "folder".to_owned(),
                Some(left_cwd),
                Some(right_cwd),
            ));
        }
        self.dimension("command", differences);
    }

    /// The arguments as they were typed, for comparison only.
    fn written(&self, record: &RunRecord) -> Option<Vec<PathText>> {
        let command = unsealed(&self.reading.store, &record.launch.as_ref()?.command)?;
        let command: Command = serde_json::from_slice(&command).ok()?;
        Some(command.argv)
    }

    fn code(&mut self) {
        let of = |record: &RunRecord| -> Option<Code> {
            let load = record.loads.iter().find(|load| load.what == Kind::Code)?;
            serde_json::from_slice(&unsealed(&self.reading.store, &load.digest?)?).ok()
        };
        let (Some(left), Some(right)) = (of(&self.left), of(&self.right)) else {
            return self.skip("code", "the code of a run is not in git or was erased");
        };
        let mut differences = Vec::new();
        if left.commit != right.commit {
            differences.push(difference(
                "code",
                "commit".to_owned(),
                left.commit.clone(),
                right.commit.clone(),
            ));
        }
        if left.diff != right.diff {
            let short = |code: &Code| {
                Some(format!(
                    "{} files, diff {}",
                    code.dirty.len(),
                    Digest::of(code.diff.as_bytes()).short()
                ))
            };
            differences.push(difference(
                "code",
                "changes beyond the commit".to_owned(),
                short(&left),
                short(&right),
            ));
        }
        self.dimension("code", differences);
    }

    fn variables(&mut self) {
        let of = |record: &RunRecord| -> Option<BTreeMap<PathText, Variable>> {
            let sealed = unsealed(&self.reading.store, &record.launch.as_ref()?.variables)?;
            let list: Vec<Variable> = serde_json::from_slice(&sealed).ok()?;
            Some(
                list.into_iter()
                    .map(|variable| (variable.name.clone(), variable))
                    .collect(),
            )
        };
        let (Some(left), Some(right)) = (of(&self.left), of(&self.right)) else {
            return self.skip(
                "variable",
                "the variables of a run were erased or cannot be read",
            );
        };
        let shown = |variable: Option<&Variable>| {
            variable.map(|variable| {
                variable
                    .value
                    .as_ref()
                    .map_or_else(|| "(value not recorded)".to_owned(), ToString::to_string)
            })
        };
        let names: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
        let differs = names.into_iter().filter(|name| {
            left.get(*name).map(|variable| variable.keyed)
                != right.get(*name).map(|variable| variable.keyed)
        });
        let differences = differs.map(|name| {
            difference(
                "variable",
                name.to_string(),
                shown(left.get(name)),
                shown(right.get(name)),
            )
        });
        let differences = differences.collect();
        self.dimension("variable", differences);
    }

    fn environment(&mut self) {
        let of = |record: &RunRecord| {
            record
                .loads
                .iter()
                .find(|load| load.what == Kind::Environment)
                .cloned()
        };
        let (Some(left), Some(right)) = (of(&self.left), of(&self.right)) else {
            return self.skip("environment", "no environment was recorded for one of them");
        };
        if left.digest == right.digest {
            return self.dimension("environment", Vec::new());
        }
        let blob = |digest: &Digest| self.reading.store.blob(digest).ok().flatten();
        let flat =
            |digest: Option<Digest>| environment::flatten(digest?, |digest| blob(&digest)).ok();
        let (Some(before), Some(after)) = (flat(left.digest), flat(right.digest)) else {
            return self.skip(
                "environment",
                "a tree cannot be read; `taintline ledger audit` names the blob",
            );
        };
        let versions = |digest: Option<Digest>| -> BTreeMap<String, String> {
            let summary = digest.and_then(|digest| blob(&digest));
            let summary =
                summary.and_then(|bytes| serde_json::from_slice::<EnvironmentSummary>(&bytes).ok());
            summary
                .into_iter()
                .flat_map(|summary| summary.packages)
                .map(|package| (package.name, package.version))
                .collect()
        };
        let (old, new) = (versions(left.summary), versions(right.summary));
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        let packages = names
            .into_iter()
            .filter(|name| old.get(*name) != new.get(*name))
            .map(|name| {
                difference(
                    "environment",
                    format!("package {name}"),
                    old.get(name).cloned(),
                    new.get(name).cloned(),
                )
            });
        let short = |digest: Option<Digest>| digest.map(|digest| digest.short());
        let files = environment::compare(&before, &after)
            .into_iter()
            .map(|change| {
                difference(
                    "environment",
                    change.path.to_string(),
                    short(change.before),
                    short(change.after),
                )
            });
        let differences = packages.chain(files).collect();
        self.dimension("environment", differences);
    }

    fn files(&mut self, name: &'static str, kind: Kind) {
        let of = |record: &RunRecord| -> BTreeMap<PathText, Option<String>> {
            let loads = record.loads.iter().filter(|load| load.what == kind);
            let state = |load: &domain::entry::Load| {
                let by_size = || {
                    load.identity
                        .as_ref()
                        .map(|identity| format!("{} bytes, not read", identity.size))
                };
                load.digest.map(|digest| digest.short()).or_else(by_size)
            };
            loads.map(|load| (load.path.clone(), state(load))).collect()
        };
        let (left, right) = (of(&self.left), of(&self.right));
        let paths: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
        let differs = paths
            .into_iter()
            .filter(|path| left.get(*path) != right.get(*path));
        let side = |map: &BTreeMap<PathText, Option<String>>, path: &PathText| {
            map.get(path).cloned().flatten()
        };
        let differences: Vec<_> = differs
            .map(|path| {
                difference(
                    name,
                    path.to_string(),
                    side(&left, path),
                    side(&right, path),
                )
            })
            .collect();
        self.dimension(name, differences);
    }

    fn world(&mut self) {
        let of = |record: &RunRecord| {
            record
                .joined
                .values()
                .filter_map(|joined| joined.world_size)
                .max()
                .unwrap_or(1)
        };
        let (left, right) = (of(&self.left), of(&self.right));
        let differs = left != right;
        let one = || {
            difference(
                "world",
                "world size".to_owned(),
                Some(left.to_string()),
                Some(right.to_string()),
            )
        };
        self.dimension("world", differs.then(one).into_iter().collect());
    }

    /// The first step at which each rank's record parts, and in what.
    fn steps(&mut self) {
        let of = |record: &RunRecord| -> BTreeMap<u32, Vec<StepRecord>> {
            let ranks = record.joined.values().map(|joined| {
                (
                    joined.rank.unwrap_or(0),
                    present::steps_of(&self.reading.store, record, &joined.process),
                )
            });
            ranks.filter(|(_, steps)| !steps.is_empty()).collect()
        };
        let (left, right) = (of(&self.left), of(&self.right));
        let mut differences = Vec::new();
        let mut compared = 0;
        for (rank, steps) in &left {
            let Some(others) = right.get(rank) else {
                continue;
            };
            let others: BTreeMap<_, _> = others
                .iter()
                .map(|step| ((step.optimizer, step.step), step))
                .collect();
            let pairs = steps
                .iter()
                .filter_map(|step| Some((step, *others.get(&(step.optimizer, step.step))?)));
            for (one, other) in pairs {
                compared += 1;
                if let Some(found) = first_difference(*rank, one, other) {
                    differences.push(found);
                    break;
                }
            }
        }
        if compared == 0 {
            return self.skip("step", "the runs have no step of the same rank and number");
        }
        self.dimension("step", differences);
    }
}

fn first_difference(rank: u32, one: &StepRecord, other: &StepRecord) -> Option<Difference> {
    let text = |value: &dyn std::fmt::Debug| Some(format!("{value:?}"));
    let print = |value: Option<domain::Fingerprint>| value.map(|value| value.to_string());
    let losses = |step: &StepRecord| {
        step.losses
            .iter()
            .map(|loss| format!("{}", loss.0))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let batches = |step: &StepRecord| {
        let prints = step.batches.iter().map(ToString::to_string);
        prints.collect::<Vec<_>>().join(" ")
    };
    let (what, left, right) = if one.batches != other.batches {
        ("batch", Some(batches(one)), Some(batches(other)))
    } else if one.learning_rates != other.learning_rates {
        (
            "learning rate",
            text(&one.learning_rates),
            text(&other.learning_rates),
        )
    } else if losses(one) != losses(other) {
        ("loss", Some(losses(one)), Some(losses(other)))
    } else if differ(one.parameters, other.parameters) {
        ("parameters", print(one.parameters), print(other.parameters))
    } else if differ(one.optimizer_state, other.optimizer_state) {
        (
            "optimizer state",
            print(one.optimizer_state),
            print(other.optimizer_state),
        )
    } else if one.rng != other.rng {
        (
            "random-number states",
            print(one.rng.torch),
            print(other.rng.torch),
        )
    } else {
        return None;
    };
    Some(difference(
        "step",
        format!("rank {rank} parts at step {} in its {what}", one.step),
        left,
        right,
    ))
}

/// Whether both were taken and differ: a fingerprint that costs too much is taken only at every second, fourth … step.
fn differ<T: PartialEq>(one: Option<T>, other: Option<T>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

fn difference(
    dimension: &'static str,
    what: String,
    left: Option<String>,
    right: Option<String>,
) -> Difference {
    Difference {
        dimension,
        what,
        left,
        right,
    }
}
