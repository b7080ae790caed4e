//! `spec diff`: what differs between two specs, in words.

use std::collections::BTreeMap;
use std::path::Path;

use report::view::{DiffView, Difference};
use training::spec::Spec;
use training::spec::model::{File, Group};

use super::load;
use super::shown::{amendment, rate};
use crate::error::AppError;
use crate::place::Surroundings;

/// Compares two specs, as they were declared and with what was amended since.
pub fn compare(
    surroundings: &Surroundings,
    left: &Path,
    right: &Path,
) -> Result<DiffView, AppError> {
    let (before, after) = (load(surroundings, left)?, load(surroundings, right)?);
    let mut found = Found::default();
    found.places(&before.spec, &after.spec);
    found.optimizers(&before.spec, &after.spec);
    for (dimension, of) in [
        ("data", (|spec| &spec.data) as fn(&Spec) -> &Vec<File>),
        ("config", |spec| &spec.config),
        ("script", |spec| &spec.code.script),
    ] {
        found.files(dimension, of(&before.spec), of(&after.spec));
    }
    let amended = |spec: &Spec| spec.amendment.iter().map(amendment).collect::<Vec<_>>();
    let (old, new) = (amended(&before.spec), amended(&after.spec));
    for number in 0..old.len().max(new.len()) {
        found.pair(
            "amendment",
            format!("amendment {}", number + 1),
            old.get(number).cloned(),
            new.get(number).cloned(),
        );
    }
    let all = [
        "code",
        "environment",
        "world",
        "seed",
        "steps",
        "optimizer",
        "data",
        "config",
        "script",
        "amendment",
    ];
    let equal = all
        .into_iter()
        .filter(|name| found.0.iter().all(|it| it.dimension != *name))
        .collect();
    Ok(DiffView {
        schema: "taintline.spec-diff/1",
        left: surroundings.shown(&before.path),
        right: surroundings.shown(&after.path),
        differences: found.0,
        equal,
        not_compared: Vec::new(),
    })
}

#[derive(Default)]
struct Found(Vec<Difference>);

impl Found {
    fn pair(
        &mut self,
        dimension: &'static str,
        what: String,
        left: Option<String>,
        right: Option<String>,
    ) {
        if left != right {
            self.0.push(Difference {
                dimension,
                what,
                left,
                right,
            });
        }
    }

    fn places(&mut self, before: &Spec, after: &Spec) {
        let mut pair = |dimension, what: &str, of: &dyn Fn(&Spec) -> Option<String>| {
            self.pair(dimension, what.to_owned(), of(before), of(after));
        };
        pair("code", "commit", &|spec| spec.code.commit.clone());
        pair("code", "changes", &|spec| {
            spec.code.changes.map(|it| it.short())
        });
        pair("environment", "tree", &|spec| {
            spec.environment.trees.first().map(domain::Digest::short)
        });
        pair("world", "world size", &|spec| {
            spec.world.size.map(|it| it.to_string())
        });
        pair("seed", "seed", &|spec| {
            Some(format!("{:?}", spec.seed.mode).to_lowercase())
        });
        pair("seed", "random state behind the first step", &|spec| {
            spec.seed.state.first()?.torch.map(|it| it.to_string())
        });
        pair("seed", "batches", &|spec| {
            Some(format!("{:?}", spec.batches.mode).to_lowercase())
        });
        pair("steps", "steps", &|spec| {
            spec.steps.count.map(|it| it.to_string())
        });
        pair("steps", "table", &|spec| {
            spec.steps.sha256.map(|it| it.short())
        });
    }

    fn optimizers(&mut self, before: &Spec, after: &Spec) {
        for number in 0..before.optimizer.len().max(after.optimizer.len()) {
            let (Some(old), Some(new)) =
                (before.optimizer.get(number), after.optimizer.get(number))
            else {
                let class = |spec: &Spec| {
                    spec.optimizer
                        .get(number)
                        .map(|it| it.class.clone().unwrap_or_default())
                };
                self.pair(
                    "optimizer",
                    format!("optimizer {number}"),
                    class(before),
                    class(after),
                );
                continue;
            };
            self.pair(
                "optimizer",
                format!("optimizer {number}: class"),
                old.class.clone(),
                new.class.clone(),
            );
            let passes = |count: Option<u32>| count.map(|it| it.to_string());
            self.pair(
                "optimizer",
                format!("optimizer {number}: backward passes"),
                passes(old.backwards),
                passes(new.backwards),
            );
            for group in 0..old.group.len().max(new.group.len()) {
                self.group(
                    &format!("optimizer {number}, group {group}"),
                    old.group.get(group),
                    new.group.get(group),
                );
            }
        }
    }

    fn group(&mut self, label: &str, old: Option<&Group>, new: Option<&Group>) {
        let lr = |group: Option<&Group>| group.map(|group| rate(&group.lr));
        self.pair("optimizer", format!("{label}: lr"), lr(old), lr(new));
        let empty = BTreeMap::new();
        let hypers = |group: Option<&'_ Group>| {
            group.map_or_else(|| empty.clone(), |group| group.hyper.clone())
        };
        let (old, new) = (hypers(old), hypers(new));
        let names: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).collect();
        for name in names {
            let shown = |value: Option<&f64>| value.map(|value| format!("{value:?}"));
            self.pair(
                "optimizer",
                format!("{label}: {name}"),
                shown(old.get(name)),
                shown(new.get(name)),
            );
        }
    }

    fn files(&mut self, dimension: &'static str, before: &[File], after: &[File]) {
        let by_path = |files: &[File]| -> BTreeMap<String, String> {
            files
                .iter()
                .map(|file| (file.path.clone(), file.sha256.short()))
                .collect()
        };
        let (old, new) = (by_path(before), by_path(after));
        let paths: std::collections::BTreeSet<_> = old.keys().chain(new.keys()).cloned().collect();
        for path in paths {
            let (left, right) = (old.get(&path).cloned(), new.get(&path).cloned());
            self.pair(dimension, path, left, right);
        }
    }
}
