//! A spec from what is recorded of a good run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use domain::entry::{Code as RecordedCode, Command as Recorded, Kind};
use domain::{Digest, Outcome, StepRecord};
use report::view::SpecLearntView;
use training::spec::model::{
    Batches, Code, Command, Environment, File, Group, Mode, Optimizer, SCHEMA, Seed, State, Steps,
    World,
};
use training::spec::table::{LINES_MAX, Step, Tensor};
use training::spec::{Line, Spec, fit};

use super::{SpecError, disk, named, write};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::present;
use crate::queries::Reading;
use crate::record::RunRecord;

/// What to learn from.
#[derive(Debug, Clone, Default)]
pub struct LearnRequest {
    /// The run.
    pub run: String,
    /// A further run of the same command: generators that were in the same state in both are judged.
    pub also: Option<String>,
    /// The file to write; `NAME.spec.toml` by default.
    pub output: Option<PathBuf>,
    /// Learn from a run with findings, or one that did not end well.
    pub anyway: bool,
    /// Replace files that are there.
    pub force: bool,
}

/// Steps by rank, in order.
type Ranks = BTreeMap<u32, Vec<StepRecord>>;

/// Learns and writes.
pub fn learn(
    surroundings: &Surroundings,
    request: &LearnRequest,
) -> Result<SpecLearntView, AppError> {
    let reading = Reading::open(surroundings)?;
    let record = good(&reading, &request.run, request.anyway)?;
    let also = request
        .also
        .as_ref()
        .map(|run| good(&reading, run, request.anyway))
        .transpose()?;
    let ranks = ranks(&reading, &record)?;
    let also = also.map(|also| self::ranks(&reading, &also)).transpose()?;
    let path = request
        .output
        .clone()
        .unwrap_or_else(|| format!("{}.spec.toml", record.name()).into());
    let path = surroundings.cwd.join(path);
    let stem = path
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let stem = stem.strip_suffix(".toml").unwrap_or(&stem);
    let stem = stem
        .strip_suffix(".spec")
        .unwrap_or(stem)
        .trim_start_matches('.')
        .to_owned();
    let table_path = path.with_file_name(format!("{stem}.steps.jsonl"));
    if !request.force
        && let Some(there) = [&path, &table_path].into_iter().find(|path| path.exists())
    {
        return Err(SpecError::There {
            path: surroundings.shown(there),
        }
        .into());
    }
    let lines = lines(&ranks);
    let table = encode(&lines);
    let learning = Learning {
        reading: &reading,
        record: &record,
        ranks: &ranks,
        also: also.as_ref(),
    };
    let mut spec = learning.spec(&stem);
    spec.steps.table = Some(format!("{stem}.steps.jsonl"));
    spec.steps.sha256 = Some(Digest::of(&table));
    let text = write::text(&spec);
    std::fs::write(&table_path, &table).map_err(disk(&table_path))?;
    std::fs::write(&path, &text).map_err(disk(&path))?;
    Ok(SpecLearntView {
        schema: "taintline.spec-learnt/1",
        run: record.name(),
        spec: surroundings.shown(&path),
        sha256: Digest::of(text.as_bytes()),
        table: surroundings.shown(&table_path),
        steps: spec.steps.count.unwrap_or_default(),
        not_declared: learning.not_declared(&spec),
    })
}

/// The record of a run that is fit to learn from.
fn good(reading: &Reading, name: &str, anyway: bool) -> Result<RunRecord, AppError> {
    let record = reading.record(&reading.find(name)?)?;
    let bad = |why: String| SpecError::NotGood {
        run: record.name(),
        why,
    };
    let why = match (&record.end, record.findings.first()) {
        (_, Some(finding)) => Some(format!(
            "it has {} findings, first: {}",
            record.findings.len(),
            finding.what
        )),
        (None, _) => Some("it did not end, or its supervisor is gone".to_owned()),
        (Some((_, end)), _) if end.outcome != (Outcome::Exited { code: 0 }) => Some(format!(
            "its command ended with {}",
            present::outcome(end.outcome)
        )),
        _ => None,
    };
    match why.filter(|_| !anyway) {
        Some(why) => Err(bad(why).into()),
        None if record.steps() == 0 => Err(bad("no step of it is recorded".to_owned()).into()),
        None => Ok(record),
    }
}

/// The steps of each rank. Several processes of one rank are its starts; several without a rank are no one training.
fn ranks(reading: &Reading, record: &RunRecord) -> Result<Ranks, AppError> {
    let mut ranks = Ranks::new();
    let mut unranked = 0;
    for (_, process) in &record.joins {
        let Some(joined) = record.joined.get(process) else {
            continue;
        };
        let steps = present::steps_of(&reading.store, record, process);
        if steps.is_empty() {
            continue;
        }
        unranked += usize::from(joined.rank.is_none());
        ranks
            .entry(joined.rank.unwrap_or(0))
            .or_default()
            .extend(steps);
    }
    if unranked > 1 {
        let why =
            format!("{unranked} processes without a rank made steps; a spec declares one training");
        return Err(SpecError::NotGood {
            run: record.name(),
            why,
        }
        .into());
    }
    Ok(ranks)
}

fn encode(lines: &[Line]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines {
        let Ok(text) = serde_json::to_vec(line) else {
            continue;
        };
        bytes.extend_from_slice(&text);
        bytes.push(b'\n');
    }
    bytes
}

fn lines(ranks: &Ranks) -> Vec<Line> {
    let mut tensors = BTreeMap::new();
    let mut lines = Vec::new();
    for (rank, steps) in ranks {
        for step in steps {
            for sampled in step.sample.iter().flat_map(|sample| &sample.tensors) {
                tensors
                    .entry((step.optimizer, sampled.index))
                    .or_insert_with(|| Tensor {
                        tensor: sampled.index,
                        of: step.optimizer,
                        group: sampled.group,
                        name: sampled.name.clone(),
                        shape: sampled.shape.clone(),
                        kind: sampled.kind.clone(),
                    });
            }
            lines.push(Line::Step(Box::new(Step::of(*rank, step))));
        }
    }
    let mut all: Vec<Line> = tensors.into_values().map(Line::Tensor).collect();
    all.append(&mut lines);
    all.truncate(LINES_MAX);
    all
}

struct Learning<'a> {
    reading: &'a Reading,
    record: &'a RunRecord,
    ranks: &'a Ranks,
    also: Option<&'a Ranks>,
}

impl Learning<'_> {
    fn spec(&self, name: &str) -> Spec {
        let (command, cwd) = self.command();
        let optimizers = self
            .of_rank_0()
            .map(|step| step.optimizer)
            .max()
            .map_or(0, |last| last + 1);
        let world = self
            .record
            .joined
            .values()
            .filter_map(|joined| joined.world_size)
            .max();
        Spec {
            schema: SCHEMA.to_owned(),
            name: name.to_owned(),
            learnt_from: Some(self.record.name()),
            command,
            code: self.code(&cwd),
            environment: self.environment(),
            data: self.files(Kind::Data, &cwd),
            config: self.files(Kind::Config, &cwd),
            world: World {
                size: Some(world.unwrap_or(1)),
            },
            seed: self.seed(),
            batches: self.batches(),
            optimizer: (0..optimizers.min(1_000))
                .map(|number| self.optimizer(number))
                .collect(),
            steps: Steps {
                count: self.of_rank_0().map(|step| step.step).max(),
                checkpoint_every: self.checkpoint_every(),
                loaded: self.began_from_a_checkpoint(),
                ..Steps::default()
            },
            amendment: Vec::new(),
        }
    }

    /// What a reader should know that the spec leaves open.
    fn not_declared(&self, spec: &Spec) -> Vec<String> {
        let mut open = Vec::new();
        for (number, optimizer) in spec.optimizer.iter().enumerate() {
            if optimizer.class.is_none() {
                open.push(format!("class and hyperparameters of optimizer {number}: it is none of torch's that are rechecked"));
            }
            if optimizer.backwards.is_none() {
                open.push(format!("micro-batches of optimizer {number} as one number: they vary, the table has them"));
            }
        }
        if self.also.is_none() {
            open.push("whether the generators of Python and NumPy are seeded: one run cannot tell, --also RUN does".to_owned());
        }
        open
    }

    fn of_rank_0(&self) -> impl Iterator<Item = &StepRecord> {
        self.ranks.values().next().into_iter().flatten()
    }

    fn command(&self) -> (Command, PathBuf) {
        let launch = self.record.launch.as_ref();
        let sealed =
            launch.and_then(|launch| present::unsealed(&self.reading.store, &launch.command));
        let recorded = sealed.and_then(|bytes| serde_json::from_slice::<Recorded>(&bytes).ok());
        let Some(recorded) = recorded else {
            return (Command::default(), PathBuf::new());
        };
        let argv: Vec<_> = recorded
            .argv
            .iter()
            .map(|word| word.as_str().to_owned().into())
            .collect();
        let cwd = PathBuf::from(recorded.cwd.as_str());
        let (program, script) = named(&argv, &cwd);
        (Command { program, script }, cwd)
    }

    fn code(&self, cwd: &Path) -> Code {
        let load = self
            .record
            .loads
            .iter()
            .find(|load| load.what == Kind::Code);
        let sealed = load.and_then(|load| present::unsealed(&self.reading.store, &load.digest?));
        let code = sealed.and_then(|bytes| serde_json::from_slice::<RecordedCode>(&bytes).ok());
        Code {
            commit: code.as_ref().and_then(|code| code.commit.clone()),
            changes: code.as_ref().and_then(changes),
            script: self.scripts(cwd),
        }
    }

    /// Scripts and modules of the project: below the folder in which the run was started, or beside the script.
    fn scripts(&self, cwd: &Path) -> Vec<File> {
        let script = self.command().0.script.unwrap_or_default();
        let beside = Path::new(&script)
            .parent()
            .unwrap_or(Path::new(""))
            .to_owned();
        let is_own = |file: &File| {
            let path = Path::new(&file.path);
            path.is_relative() || beside.is_absolute() && path.starts_with(&beside)
        };
        let mut files = self.files(Kind::Script, cwd);
        files.retain(is_own);
        files
    }

    fn environment(&self) -> Environment {
        let loads = self
            .record
            .loads
            .iter()
            .filter(|load| load.what == Kind::Environment);
        let trees: BTreeSet<Digest> = loads.filter_map(|load| load.digest).collect();
        let joined = self
            .record
            .joined
            .values()
            .find(|joined| joined.torch.is_some());
        Environment {
            trees: trees.into_iter().collect(),
            python: joined.map(|joined| joined.python.clone()),
            torch: joined.and_then(|joined| joined.torch.clone()),
        }
    }

    fn files(&self, kind: Kind, cwd: &Path) -> Vec<File> {
        let loads = self.record.loads.iter().filter(|load| load.what == kind);
        let files: BTreeMap<String, Digest> = loads
            .filter_map(|load| Some((in_project(load.path.as_str(), cwd), load.digest?)))
            .collect();
        files
            .into_iter()
            .map(|(path, sha256)| File { path, sha256 })
            .collect()
    }

    fn seed(&self) -> Seed {
        let states = |ranks: &Ranks| -> BTreeMap<u32, State> {
            let first = |rank: &u32, steps: &[StepRecord]| {
                let step = steps
                    .iter()
                    .find(|step| step.optimizer == 0 && step.step == 1)?;
                let rng = &step.rng;
                let (rank, torch, python, numpy) = (*rank, rng.torch, rng.python, rng.numpy);
                Some((
                    rank,
                    State {
                        rank,
                        torch,
                        python,
                        numpy,
                    },
                ))
            };
            ranks
                .iter()
                .filter_map(|(rank, steps)| first(rank, steps))
                .collect()
        };
        let mut own = states(self.ranks);
        let mut judged = vec!["torch".to_owned()];
        if let Some(other) = self.also.map(states) {
            // What was in another state in another good run is not seeded, and declares nothing.
            let same = |of: fn(&State) -> Option<domain::Fingerprint>| {
                let equal = |(rank, state): (&u32, &State)| {
                    of(state).is_some() && other.get(rank).and_then(of) == of(state)
                };
                !own.is_empty() && own.iter().all(equal)
            };
            let (torch, python, numpy) = (
                same(|it| it.torch),
                same(|it| it.python),
                same(|it| it.numpy),
            );
            for state in own.values_mut() {
                state.torch = state.torch.filter(|_| torch);
                state.python = state.python.filter(|_| python);
                state.numpy = state.numpy.filter(|_| numpy);
            }
            let names = [("torch", torch), ("python", python), ("numpy", numpy)];
            let kept = names.into_iter().filter(|(_, same)| *same);
            judged = kept.map(|(name, _)| name.to_owned()).collect();
        }
        Seed {
            judged,
            state: own.into_values().collect(),
            ..Seed::default()
        }
    }

    /// Batches are declared unless another good run had others.
    fn batches(&self) -> Batches {
        let of = |ranks: &Ranks| -> Vec<_> {
            let steps = ranks.values().flatten();
            steps.map(|step| step.batches.clone()).collect()
        };
        let differ = self.also.is_some_and(|also| of(also) != of(self.ranks));
        let mode = if differ { Mode::Any } else { Mode::Fixed };
        Batches { mode }
    }

    fn optimizer(&self, number: u32) -> Optimizer {
        let steps: Vec<_> = self
            .of_rank_0()
            .filter(|step| step.optimizer == number)
            .collect();
        let described: Vec<_> = steps
            .iter()
            .filter_map(|step| step.sample.as_ref()?.optimizer.as_ref())
            .collect();
        let passes: BTreeSet<usize> = steps.iter().map(|step| step.losses.len()).collect();
        let backwards = passes
            .first()
            .filter(|count| passes.len() == 1 && **count > 0);
        let groups = steps
            .iter()
            .map(|step| step.learning_rates.len())
            .max()
            .unwrap_or(0);
        let group = |number: usize| Group {
            lr: rates(&steps, number),
            // What changed on the way is no constant, and is not declared.
            hyper: constant(&described, number),
        };
        Optimizer {
            class: described.first().map(|it| it.class.clone()),
            backwards: backwards.and_then(|count| u32::try_from(*count).ok()),
            parameters_after_first_step: steps.first().and_then(|step| step.parameters),
            group: (0..groups.min(10_000)).map(group).collect(),
        }
    }

    fn checkpoint_every(&self) -> Option<u64> {
        let steps: BTreeSet<u64> = self
            .record
            .writes
            .iter()
            .filter_map(|(_, write)| write.step)
            .collect();
        let first = *steps.first()?;
        let regular = steps
            .iter()
            .rev()
            .skip(1)
            .all(|step| step.is_multiple_of(first.max(1)));
        (steps.len() > 1 && regular).then_some(first)
    }

    fn began_from_a_checkpoint(&self) -> bool {
        let mut loads = self
            .record
            .loads
            .iter()
            .filter(|load| load.what == Kind::Checkpoint);
        loads.any(|load| load.step.is_none_or(|step| step == 0))
    }
}

fn rates(steps: &[&StepRecord], group: usize) -> Vec<training::spec::Piece> {
    let used = |step: &&StepRecord| {
        let before = step
            .sample
            .as_ref()
            .and_then(|sample| sample.rates.as_ref());
        let rates = before.unwrap_or(&step.learning_rates);
        rates.get(group).map(|rate| (step.step, rate.0))
    };
    let points: BTreeMap<u64, f64> = steps.iter().filter_map(used).collect();
    let points: Vec<_> = points.into_iter().collect();
    fit(&points).unwrap_or_default()
}

fn constant(described: &[&domain::Described], group: usize) -> BTreeMap<String, f64> {
    let of = |it: &domain::Described| it.groups.get(group).cloned();
    let Some(first) = described.first().and_then(|it| of(it)) else {
        return BTreeMap::new();
    };
    let stays = |name: &String, value: f64| {
        described.iter().all(|it| {
            of(it)
                .and_then(|group| group.get(name).copied())
                .is_some_and(|it| it.0.to_bits() == value.to_bits())
        })
    };
    let kept = first
        .into_iter()
        .filter(|(name, value)| value.0.is_finite() && stays(name, value.0));
    kept.map(|(name, value)| (name, value.0)).collect()
}

/// The digest of what a work tree has beyond its commit.
pub(crate) fn changes(code: &RecordedCode) -> Option<Digest> {
    (!code.diff.is_empty()).then(|| Digest::of(code.diff.as_bytes()))
}

/// A path as a spec has it: relative to the folder in which the run was started, where it is in it.
pub(crate) fn in_project(path: &str, cwd: &Path) -> String {
    let inside = Path::new(path).strip_prefix(cwd).ok();
    inside.map_or_else(
        || path.to_owned(),
        |inside| inside.to_string_lossy().into_owned(),
    )
}
