//! What a spec may say. What it leaves out is not declared, and not checked.

use std::collections::BTreeMap;

use domain::{Digest, Fingerprint};
use serde::{Deserialize, Serialize};

use super::schedule::{PIECES_MAX, Piece};

/// Version of the form.
pub const SCHEMA: &str = "taintline.spec/1";
/// Optimizers of a spec, groups of an optimizer, hyperparameters of a group.
const OPTIMIZERS_MAX: usize = 1_000;
const GROUPS_MAX: usize = 10_000;
const HYPERS_MAX: usize = 64;
/// Files, scripts, trees and ranks that are declared.
const FILES_MAX: usize = 100_000;
/// Amendments of a spec, and settings of one.
const AMENDMENTS_MAX: usize = 100;
const SETTINGS_MAX: usize = 64;
/// Bytes of a name, a path or a reason.
const TEXT_MAX: usize = 4_096;

/// A declared run.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// [`SCHEMA`].
    pub schema: String,
    /// What people call it.
    pub name: String,
    /// The run that it was learnt from.
    #[serde(default)]
    pub learnt_from: Option<String>,
    /// Which command it is for.
    #[serde(default)]
    pub command: Command,
    /// The project's code.
    #[serde(default)]
    pub code: Code,
    /// The Python environment.
    #[serde(default)]
    pub environment: Environment,
    /// Data files.
    #[serde(default)]
    pub data: Vec<File>,
    /// Files that set options; another content is told as a gap, since its effect is what counts.
    #[serde(default)]
    pub config: Vec<File>,
    /// Ranks.
    #[serde(default)]
    pub world: World,
    /// Random numbers.
    #[serde(default)]
    pub seed: Seed,
    /// Order and content of batches.
    #[serde(default)]
    pub batches: Batches,
    /// Optimizers.
    #[serde(default)]
    pub optimizer: Vec<Optimizer>,
    /// Steps.
    #[serde(default)]
    pub steps: Steps,
    /// What was changed since, in order.
    #[serde(default)]
    pub amendment: Vec<Amendment>,
}

/// `[command]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Command {
    /// Name of the program, without folder and version.
    pub program: Option<String>,
    /// The script or module, relative to the project where it is in it.
    pub script: Option<String>,
}

/// `[code]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Code {
    /// Commit.
    pub commit: Option<String>,
    /// SHA-256 of what the work tree has beyond the commit; absent where it was clean.
    pub changes: Option<Digest>,
    /// Scripts and modules of the project.
    pub script: Vec<File>,
}

/// `[environment]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Environment {
    /// Digests of the trees of the environments.
    pub trees: Vec<Digest>,
    /// Version of Python.
    pub python: Option<String>,
    /// Version of torch.
    pub torch: Option<String>,
}

/// A file by its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Relative to the project where it is in it.
    pub path: String,
    /// Its content.
    pub sha256: Digest,
}

/// `[world]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct World {
    /// How many ranks.
    pub size: Option<u32>,
}

/// Whether something is as declared in each run, or free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// As declared.
    #[default]
    Fixed,
    /// Free: what depends on it is not compared.
    Any,
}

/// `[seed]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seed {
    /// Whether each run starts from the same random state.
    pub mode: Mode,
    /// Generators whose state is judged: `torch`, `python`, `numpy`. The others are compared, to know whether batches can be.
    pub judged: Vec<String>,
    /// The states behind the first step.
    pub state: Vec<State>,
}

/// Random states of one rank behind its first step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct State {
    /// Which rank.
    pub rank: u32,
    /// PyTorch's generator.
    pub torch: Option<Fingerprint>,
    /// Python's.
    pub python: Option<Fingerprint>,
    /// NumPy's.
    pub numpy: Option<Fingerprint>,
}

/// `[batches]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Batches {
    /// Whether each run sees the same batches in the same order.
    pub mode: Mode,
}

/// `[[optimizer]]`, in the order of first use.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Optimizer {
    /// Torch's own class.
    pub class: Option<String>,
    /// Backward passes of each step: how many micro-batches are accumulated.
    pub backwards: Option<u32>,
    /// Fingerprint of all parameters behind the first step of rank 0, for the reader.
    pub parameters_after_first_step: Option<Fingerprint>,
    /// Parameter groups.
    pub group: Vec<Group>,
}

/// `[[optimizer.group]]`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Group {
    /// Learning rate over the steps; empty where it is not declared.
    pub lr: Vec<Piece>,
    /// The other hyperparameters by torch's names; switches are 0 and 1, `betas` are `beta1` and `beta2`.
    pub hyper: BTreeMap<String, f64>,
}

/// `[steps]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Steps {
    /// How many.
    pub count: Option<u64>,
    /// After how many steps a checkpoint is written, where that was regular; for the reader.
    pub checkpoint_every: Option<u64>,
    /// Whether the run began from a checkpoint.
    pub loaded: bool,
    /// Name of the table beside the spec.
    pub table: Option<String>,
    /// Its content.
    pub sha256: Option<Digest>,
}

/// `[[amendment]]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Amendment {
    /// From this step on.
    pub from_step: u64,
    /// What is set: `optimizer.0.group.0.lr`.
    pub set: BTreeMap<String, Setting>,
    /// Why.
    pub why: String,
    /// Who, as the host knows it.
    pub author: String,
    /// When, by the author's clock.
    pub at: String,
    /// SHA-256 of all text before this amendment.
    pub before: Digest,
}

/// A value that is set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Setting {
    /// A number without a point.
    Whole(i64),
    /// A number.
    Number(f64),
    /// A word; of a rate, `*1.5` is so many times what was declared.
    Word(String),
}

impl Setting {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Whole(whole) => Some(*whole as f64),
            Self::Number(number) => Some(*number),
            Self::Word(_) => None,
        }
        .filter(|number| number.is_finite())
    }

    fn whole(&self) -> Option<u64> {
        match self {
            Self::Whole(whole) => u64::try_from(*whole).ok(),
            _ => None,
        }
    }

    fn word(&self) -> Option<&str> {
        match self {
            Self::Word(word) => Some(word),
            _ => None,
        }
    }
}

/// Why a spec is not used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unsound {
    /// Another form.
    #[error("its schema is {0:?}, this Taintline reads {SCHEMA:?}")]
    Schema(String),
    /// More than a spec may have.
    #[error("{0}: more or longer than a spec may have")]
    TooMuch(&'static str),
    /// A number that is none.
    #[error("{0} is not finite")]
    NotFinite(String),
    /// Pieces overlap or run backwards.
    #[error("optimizer.{optimizer}.group.{group}.lr: its pieces do not follow one another")]
    Pieces {
        /// Which optimizer.
        optimizer: usize,
        /// Which group.
        group: usize,
    },
    /// The table's name is a path.
    #[error("steps.table is the name of a file beside the spec, without a folder")]
    Table,
    /// What is set is not in the spec, or not so.
    #[error("amendment {number}: {key} cannot be set so")]
    Setting {
        /// Counted from 1.
        number: usize,
        /// What was to be set.
        key: String,
    },
}

impl Spec {
    /// Whether it can be used: its form, its sizes, its numbers, and that each amendment sets what is there.
    pub fn sound(&self) -> Result<(), Unsound> {
        if self.schema != SCHEMA {
            return Err(Unsound::Schema(self.schema.chars().take(80).collect()));
        }
        self.sizes()?;
        for (number, optimizer) in self.optimizer.iter().enumerate() {
            for (group, declared) in optimizer.group.iter().enumerate() {
                pieces(&declared.lr).ok_or(Unsound::Pieces {
                    optimizer: number,
                    group,
                })?;
                if let Some((name, _)) = declared.hyper.iter().find(|(_, value)| !value.is_finite())
                {
                    return Err(Unsound::NotFinite(format!(
                        "optimizer.{number}.group.{group}.hyper.{name}"
                    )));
                }
            }
        }
        let table = self.steps.table.as_deref().unwrap_or("steps");
        if table.is_empty() || table.starts_with('.') || table.contains(['/', '\\', '\0']) {
            return Err(Unsound::Table);
        }
        self.versions().map(|_| ())
    }

    fn sizes(&self) -> Result<(), Unsound> {
        let lists = [
            ("optimizer", self.optimizer.len(), OPTIMIZERS_MAX),
            ("data", self.data.len(), FILES_MAX),
            ("config", self.config.len(), FILES_MAX),
            ("code.script", self.code.script.len(), FILES_MAX),
            ("environment.trees", self.environment.trees.len(), FILES_MAX),
            ("seed.state", self.seed.state.len(), FILES_MAX),
            ("amendment", self.amendment.len(), AMENDMENTS_MAX),
            ("name", self.name.len(), TEXT_MAX),
        ];
        let groups = self
            .optimizer
            .iter()
            .map(|it| ("optimizer.group", it.group.len(), GROUPS_MAX));
        let all = self.optimizer.iter().flat_map(|it| &it.group);
        let hypers = all.map(|it| ("optimizer.group.hyper", it.hyper.len(), HYPERS_MAX));
        let amended = self.amendment.iter().flat_map(|it| {
            [
                ("amendment.set", it.set.len(), SETTINGS_MAX),
                ("amendment.why", it.why.len(), TEXT_MAX),
            ]
        });
        let mut all = lists.into_iter().chain(groups).chain(hypers).chain(amended);
        match all.find(|(_, count, most)| count > most) {
            Some((what, ..)) => Err(Unsound::TooMuch(what)),
            None => Ok(()),
        }
    }

    /// The spec as it holds from each of these steps on, ascending; the first is what was declared at first.
    pub fn versions(&self) -> Result<Vec<(u64, Self)>, Unsound> {
        let mut amendments: Vec<_> = self.amendment.iter().enumerate().collect();
        amendments.sort_by_key(|(number, amendment)| (amendment.from_step, *number));
        let mut versions = vec![(
            0,
            Self {
                amendment: Vec::new(),
                ..self.clone()
            },
        )];
        for (number, amendment) in amendments {
            let Some((_, last)) = versions.last() else {
                break;
            };
            let mut next = last.clone();
            for (key, setting) in &amendment.set {
                let whole_run = !key.starts_with("optimizer.");
                let targets = if whole_run {
                    versions.as_mut_slice()
                } else {
                    &mut []
                };
                let all = targets
                    .iter_mut()
                    .map(|(_, version)| version)
                    .chain([&mut next]);
                for version in all {
                    version.set(key, setting).ok_or_else(|| Unsound::Setting {
                        number: number + 1,
                        key: key.chars().take(200).collect(),
                    })?;
                }
            }
            versions.push((amendment.from_step, next));
        }
        Ok(versions)
    }

    fn set(&mut self, key: &str, to: &Setting) -> Option<()> {
        let parts: Vec<&str> = key.split('.').collect();
        let any = || to.word().filter(|word| *word == "any").map(|_| Mode::Any);
        match parts.as_slice() {
            ["seed"] => self.seed.mode = any()?,
            ["batches"] => self.batches.mode = any()?,
            ["code"] => self.code = any().map(|_| Code::default())?,
            ["environment"] => self.environment = any().map(|_| Environment::default())?,
            ["world", "size"] => self.world.size = Some(u32::try_from(to.whole()?).ok()?),
            ["steps", "count"] => self.steps.count = Some(to.whole()?),
            ["data", ..] => {
                let path = key.strip_prefix("data.")?;
                let file = self.data.iter_mut().find(|file| file.path == path)?;
                file.sha256 = to.word()?.parse().ok()?;
            }
            ["optimizer", number, rest @ ..] => {
                let optimizer = self.optimizer.get_mut(number.parse::<usize>().ok()?)?;
                match rest {
                    ["class"] => optimizer.class = Some(to.word()?.to_owned()),
                    ["backwards"] => optimizer.backwards = Some(u32::try_from(to.whole()?).ok()?),
                    ["group", number, name] => {
                        optimizer
                            .group
                            .get_mut(number.parse::<usize>().ok()?)?
                            .set(name, to)?;
                    }
                    _ => return None,
                }
            }
            _ => return None,
        }
        Some(())
    }

    /// What an amendment may set, with what it is now.
    pub fn value(&self, key: &str) -> Option<f64> {
        let parts: Vec<&str> = key.split('.').collect();
        let ["optimizer", number, "group", group, name] = parts.as_slice() else {
            return None;
        };
        let optimizer = self.optimizer.get(number.parse::<usize>().ok()?)?;
        optimizer
            .group
            .get(group.parse::<usize>().ok()?)?
            .hyper
            .get(*name)
            .copied()
    }
}

impl Group {
    fn set(&mut self, name: &str, to: &Setting) -> Option<()> {
        if name != "lr" {
            *self.hyper.get_mut(name)? = to.number()?;
            return Some(());
        }
        if let Some(word) = to.word() {
            let factor = word.strip_prefix('*')?.parse::<f64>().ok();
            let factor = factor.filter(|factor| factor.is_finite())?;
            self.lr.iter_mut().for_each(|piece| piece.scale(factor));
        } else {
            let value = to.number()?;
            let (first, last) = (self.lr.first()?.ends().0, self.lr.last()?.ends().1);
            self.lr = vec![Piece::Constant { first, last, value }];
        }
        Some(())
    }
}

impl Piece {
    fn scale(&mut self, by: f64) {
        match self {
            Self::Constant { value, .. } => *value *= by,
            Self::Linear { start, end, .. } => {
                *start *= by;
                *end *= by;
            }
            Self::Cosine { start, floor, .. } => {
                *start *= by;
                *floor *= by;
            }
            Self::Exponential { start, .. } | Self::Steps { start, .. } => *start *= by,
        }
    }
}

fn pieces(pieces: &[Piece]) -> Option<()> {
    let mut next = 0;
    for piece in pieces {
        let (first, last) = piece.ends();
        let finite = piece.numbers().iter().all(|number| number.is_finite());
        if first < next || last < first || !finite || pieces.len() > PIECES_MAX {
            return None;
        }
        next = last.checked_add(1)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        let group = Group {
            lr: vec![Piece::Constant {
                first: 1,
                last: 10,
                value: 0.1,
            }],
            hyper: [("weight_decay".to_owned(), 0.5)].into(),
        };
        Spec {
            schema: SCHEMA.to_owned(),
            name: "a".to_owned(),
            optimizer: vec![Optimizer {
                group: vec![group],
                ..Optimizer::default()
            }],
            ..Spec::default()
        }
    }

    fn amended(from_step: u64, key: &str, to: Setting) -> Spec {
        let amendment = Amendment {
            from_step,
            set: [(key.to_owned(), to)].into(),
            why: "x".to_owned(),
            author: "ada".to_owned(),
            at: String::new(),
            before: Digest::of(b""),
        };
        Spec {
            amendment: vec![amendment],
            ..spec()
        }
    }

    #[test]
    fn an_amendment_holds_from_its_step_on() {
        let spec = amended(
            5,
            "optimizer.0.group.0.lr",
            Setting::Word("*1.5".to_owned()),
        );
        let versions = spec.versions().unwrap();
        let rate = |version: &Spec| version.optimizer[0].group[0].lr[0].at(7);
        assert_eq!((versions[0].0, rate(&versions[0].1)), (0, 0.1));
        assert_eq!(versions[1].0, 5);
        assert!((rate(&versions[1].1) - 0.15).abs() < 1e-12);
        let plain = amended(5, "optimizer.0.group.0.lr", Setting::Number(0.02));
        assert_eq!(
            rate(&plain.versions().unwrap()[1].1).to_bits(),
            0.02_f64.to_bits()
        );
    }

    #[test]
    fn what_is_not_there_cannot_be_set() {
        for (key, to) in [
            ("optimizer.1.group.0.lr", Setting::Number(1.0)),
            ("optimizer.0.group.0.momentum", Setting::Number(1.0)),
            ("optimizer.0.group.0.lr", Setting::Word("twice".to_owned())),
            ("optimizer.0.group.0.lr", Setting::Number(f64::NAN)),
            ("seed", Setting::Whole(3)),
            ("name", Setting::Word("b".to_owned())),
        ] {
            let error = amended(1, key, to).sound().unwrap_err();
            assert!(
                matches!(&error, Unsound::Setting { key: found, number: 1 } if found == key),
                "{error}"
            );
        }
        assert_eq!(
            amended(1, "seed", Setting::Word("any".to_owned())).sound(),
            Ok(())
        );
    }

    #[test]
    fn a_spec_that_could_mislead_is_refused() {
        let table = |name: &str| Spec {
            steps: Steps {
                table: Some(name.to_owned()),
                ..Steps::default()
            },
            ..spec()
        };
        for name in ["../x", "/etc/passwd", "", ".hidden"] {
            assert_eq!(table(name).sound(), Err(Unsound::Table), "{name}");
        }
        assert_eq!(table("a.steps.jsonl").sound(), Ok(()));
        let mut overlapping = spec();
        overlapping.optimizer[0].group[0].lr.push(Piece::Constant {
            first: 10,
            last: 12,
            value: 1.0,
        });
        assert_eq!(
            overlapping.sound(),
            Err(Unsound::Pieces {
                optimizer: 0,
                group: 0
            })
        );
        let mut infinite = spec();
        infinite.optimizer[0].group[0]
            .hyper
            .insert("eps".to_owned(), f64::INFINITY);
        assert!(matches!(infinite.sound(), Err(Unsound::NotFinite(_))));
        assert!(matches!(
            Spec {
                schema: "x/2".to_owned(),
                ..spec()
            }
            .sound(),
            Err(Unsound::Schema(_))
        ));
    }
}
