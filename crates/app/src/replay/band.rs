//! Where numbers are not the same to the last digit: further clean replays, with other threads and instructions, tell how far honest ones lie
//! apart, and the record is held against that.

use std::collections::{BTreeMap, BTreeSet};

use domain::{Gap, StepRecord};
use report::replay::{BandPart, BandView};
use training::replay::band::{self, Band, CLEAN_MIN, Held};
use training::replay::compare::{self, Part};
use training::replay::sampled::{self, Told};

use super::steps::{Recorded, numbers};
use super::verdict::{Parting, StepParting};
use super::{Once, ReplayRequest, Task, words};
use crate::error::AppError;

/// Records of steps that are held in memory at once.
const ROWS_MAX: usize = 20_000;

/// In what a replay is meant to be another than the first, so that its last digits are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Variation {
    /// Threads of each process.
    pub(super) threads: Option<u32>,
    /// The newest instructions that are used, where these are not all that the processor has.
    pub(super) instructions: Option<Instructions>,
}

/// How wide the processor adds up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Instructions {
    /// 256 bits.
    Avx2,
    /// 128 bits.
    Sse,
}

impl Instructions {
    /// What the libraries below torch listen to.
    pub(super) fn variables(self) -> [(&'static str, &'static str); 3] {
        let (torch, mkl, onednn) = match self {
            Self::Avx2 => ("avx2", "AVX2", "AVX2"),
            Self::Sse => ("default", "SSE4_2", "SSE41"),
        };
        [
            ("ATEN_CPU_CAPABILITY", torch),
            ("MKL_ENABLE_INSTRUCTIONS", mkl),
            ("ONEDNN_MAX_CPU_ISA", onednn),
        ]
    }
}

impl Variation {
    /// As it was asked for.
    pub(super) fn of(request: &ReplayRequest) -> Self {
        Self {
            threads: request.threads,
            instructions: None,
        }
    }

    fn words(self) -> String {
        let threads = self.threads.map_or_else(
            || "threads as by default".to_owned(),
            |count| format!("{count} threads"),
        );
        match self.instructions {
            None => threads,
            Some(Instructions::Avx2) => format!("{threads}, AVX2 at most"),
            Some(Instructions::Sse) => format!("{threads}, SSE at most"),
        }
    }
}

/// The further replays that are made: each other number of threads once, each set of instructions once.
fn variations(first: Variation, left_out: Option<u32>) -> [Variation; CLEAN_MIN] {
    let mut others =
        (1..).filter(|count| Some(*count) != first.threads && Some(*count) != left_out);
    let (one, two) = (others.next(), others.next());
    [
        (one, None),
        (first.threads, Some(Instructions::Avx2)),
        (two, Some(Instructions::Sse)),
    ]
    .map(|(threads, instructions)| Variation {
        threads,
        instructions,
    })
}

/// What the band says of the record.
pub(super) struct Banded {
    /// The first step outside of it.
    pub(super) parting: Option<Parting>,
    /// How it was learnt, and how far the record lies.
    pub(super) view: BandView,
    /// Records of steps that every computation has.
    pub(super) compared: u64,
    /// Wanted ones that one of them has not.
    pub(super) missing: u64,
    /// First and last of them.
    pub(super) range: Option<(u64, u64)>,
    /// In how many of them each part was compared.
    pub(super) parts: BTreeMap<Part, u64>,
    /// What it cannot tell.
    pub(super) limits: Vec<Gap>,
}

/// Makes the further replays and holds the record against them.
pub(super) fn learn(
    task: &Task<'_>,
    first: &Once,
    progress: &mut dyn FnMut(&str),
) -> Result<Banded, AppError> {
    let recorded = task.subject.threads();
    let begin = Variation {
        threads: task.variation.threads.or(recorded),
        ..task.variation
    };
    // What the run had itself would be no other machine.
    let left_out = task.request.threads.and(recorded);
    let (mut further, mut made) = (Vec::new(), vec![begin.words()]);
    for variation in variations(begin, left_out) {
        let words = variation.words();
        progress(&format!(
            "it differs, which another machine does as well: computing it again with {words}, to see how far"
        ));
        further.push(Task { variation, ..*task }.once()?.steps);
        made.push(words);
    }
    let mut all: Vec<&Recorded> = vec![&task.subject.steps, &first.steps];
    all.extend(&further);
    Ok(Judge::new(task, &all).all(made))
}

/// One step as every computation has it.
struct Row<'a> {
    number: u64,
    optimizer: u32,
    steps: Vec<&'a StepRecord>,
    tensors: Vec<sampled::Tensor>,
}

struct Judge<'a> {
    task: &'a Task<'a>,
    all: &'a [&'a Recorded],
    /// Parts that rounding does not change, and that are not the same in all clean replays.
    restless: BTreeSet<Part>,
    parting: Option<StepParting>,
    held: Vec<(u32, u32, Held)>,
    names: BTreeMap<(u32, u32), String>,
    /// Steps of all ranks, and those of them that every computation has.
    wanted: u64,
    rows: Vec<u64>,
    exact: BTreeMap<Part, u64>,
}

impl<'a> Judge<'a> {
    fn new(task: &'a Task<'a>, all: &'a [&'a Recorded]) -> Self {
        Self {
            task,
            all,
            restless: BTreeSet::new(),
            parting: None,
            held: Vec::new(),
            names: BTreeMap::new(),
            wanted: 0,
            rows: Vec::new(),
            exact: BTreeMap::new(),
        }
    }

    fn all(mut self, made: Vec<String>) -> Banded {
        let mut outside = Vec::new();
        for rank in self.task.subject.steps.ranks.keys() {
            let (bands, rows) = self.rows(*rank);
            for (optimizer, band) in &bands {
                for held in band.held() {
                    self.held.push((*rank, *optimizer, held));
                }
            }
            outside.extend(self.outside(*rank, rows));
        }
        outside.sort_by_key(|it| it.number);
        self.parting = outside.into_iter().next();
        self.answer(made)
    }

    /// The steps of a rank that every computation has, and the bands of its optimizers.
    fn rows(&mut self, rank: u32) -> (BTreeMap<u32, Band>, Vec<Row<'a>>) {
        let segment = self.task.segment;
        let places: Vec<BTreeMap<(u32, u64), usize>> = self.of(rank).map(placed).collect();
        let steps: Vec<&'a [StepRecord]> = self.of(rank).collect();
        let mut told = vec![(Told::default(), 0usize); steps.len()];
        let (mut bands, mut rows) = (BTreeMap::<u32, Band>::new(), Vec::new());
        let own = steps.first().copied().unwrap_or_default();
        for (step, number) in own.iter().zip(numbers(own)) {
            if number <= segment.base || number > segment.last {
                continue;
            }
            self.wanted += 1;
            if self.rows.len() >= ROWS_MAX {
                continue;
            }
            let key = (step.optimizer, number);
            let at: Option<Vec<usize>> = places.iter().map(|it| it.get(&key).copied()).collect();
            let Some(at) = at else { continue };
            for ((place, steps), (told, heard)) in at.iter().zip(&steps).zip(&mut told) {
                while *heard <= *place {
                    steps.get(*heard).inspect(|step| told.hear(step));
                    *heard += 1;
                }
            }
            let found: Vec<&StepRecord> = at
                .iter()
                .zip(&steps)
                .filter_map(|(place, steps)| steps.get(*place))
                .collect();
            let both: Vec<(&Told, &StepRecord)> = told
                .iter()
                .map(|(told, _)| told)
                .zip(found.iter().copied())
                .collect();
            bands.entry(step.optimizer).or_default().hear(number, &both);
            let tensors = match both.as_slice() {
                [record, first, ..] => sampled::pair(*record, *first),
                _ => Vec::new(),
            };
            for tensor in &tensors {
                self.names
                    .insert((step.optimizer, tensor.index), words::tensor(tensor));
            }
            self.rows.push(number);
            rows.push(Row {
                number,
                optimizer: step.optimizer,
                steps: found,
                tensors,
            });
        }
        (bands, rows)
    }

    fn of(&self, rank: u32) -> impl Iterator<Item = &'a [StepRecord]> + use<'a> {
        let all = self.all;
        all.iter()
            .map(move |it| it.ranks.get(&rank).map_or(&[][..], Vec::as_slice))
    }

    /// The first step of each optimizer of a rank that lies outside.
    fn outside(&mut self, rank: u32, rows: Vec<Row<'_>>) -> Vec<StepParting> {
        let mut found = Vec::new();
        for row in rows {
            let Row { steps, .. } = &row;
            let [record, first, others @ ..] = steps.as_slice() else {
                continue;
            };
            for other in others {
                let among_clean = compare::step(first, other, &[]).differs.into_iter();
                self.restless
                    .extend(among_clean.filter(|part| part.is_exact()));
            }
            let counts = |part: &Part| part.is_exact() && !self.restless.contains(part);
            let found_again = compare::step(record, first, &[]);
            for part in found_again.compared.into_iter().filter(counts) {
                *self.exact.entry(part).or_default() += 1;
            }
            let mut differs: Vec<Part> = found_again.differs.into_iter().filter(counts).collect();
            let of_step = self.held.iter().filter(|(of, optimizer, held)| {
                (*of, *optimizer, held.step) == (rank, row.optimizer, row.number)
            });
            let (mut named, mut farther) = (BTreeSet::new(), BTreeSet::new());
            for held in band::outside(of_step.map(|(_, _, held)| held)) {
                differs.push(held.key.part);
                if held.key.part.is_of_tensors() {
                    let of = (row.optimizer, held.key.number);
                    named.extend(self.names.get(&of).cloned());
                    farther.insert(held.key.number);
                }
            }
            if differs.is_empty() {
                continue;
            }
            differs.sort_unstable();
            differs.dedup();
            // Those whose numbers are nothing but rounding would only blur it.
            let mut tensors = row.tensors.clone();
            tensors.retain(|tensor| farther.contains(&tensor.index));
            let cause = compare::cause(record, first, &tensors, &differs);
            found.push(StepParting {
                rank,
                number: row.number,
                cause,
                each: Vec::new(),
                tensors: named.into_iter().collect(),
                differs,
                recorded: (*record).clone(),
                again: (*first).clone(),
            });
            break;
        }
        found
    }

    fn answer(self, made: Vec<String>) -> Banded {
        let mut limits = Vec::new();
        for part in &self.restless {
            limits.push(Gap {
                what: part.words().to_owned(),
                why: "clean replays differ from each other in them: they are not compared"
                    .to_owned(),
            });
        }
        if self.rows.len() >= ROWS_MAX {
            limits.push(Gap {
                what: format!("steps behind the first {ROWS_MAX} records"),
                why: "they are too many for one band: ask for fewer with --steps".to_owned(),
            });
        }
        let end = self.parting.as_ref().map_or(u64::MAX, |it| it.number);
        let (mut told, mut parts) = (BTreeSet::new(), BTreeSet::new());
        for (rank, optimizer, held) in &self.held {
            if held.tells() && held.step <= end {
                let of = (*rank, *optimizer, held.step);
                parts.insert((held.key.part, of));
                // Steps may be alike while the weights that they are made on are not.
                if held.key.part == Part::Weights {
                    told.insert(of);
                }
            }
        }
        let mut counted = self.exact.clone();
        counted.retain(|part, _| !self.restless.contains(part));
        for (part, _) in parts {
            *counted.entry(part).or_default() += 1;
        }
        let seen = || self.rows.iter().copied().filter(|number| *number <= end);
        let has = self.rows.len() as u64;
        let view = BandView {
            replays: made,
            told: told.len() as u64,
            parts: self.parts(end),
        };
        Banded {
            compared: seen().count() as u64,
            missing: if self.parting.is_some() {
                0
            } else {
                self.wanted - has
            },
            range: seen().min().zip(seen().max()),
            parts: counted,
            parting: self.parting.map(|it| Parting::Step(Box::new(it))),
            view,
            limits,
        }
    }

    /// Of each part and parameter where the record comes nearest to its limit, or farthest beyond it.
    fn parts(&self, end: u64) -> Vec<BandPart> {
        let mut nearest: BTreeMap<_, &(u32, u32, Held)> = BTreeMap::new();
        for it in &self.held {
            let (rank, optimizer, held) = it;
            if held.step > end || !held.tells() {
                continue;
            }
            let of = nearest.entry((*rank, *optimizer, held.key)).or_insert(it);
            if held.record / held.limit > of.2.record / of.2.limit {
                *of = it;
            }
        }
        let all = nearest.into_values();
        all.map(|(rank, optimizer, held)| BandPart {
            part: held.key.part.words(),
            of: if held.key.part.is_of_tensors() {
                let name = self.names.get(&(*optimizer, held.key.number));
                name.cloned().unwrap_or_default()
            } else {
                String::new()
            },
            rank: *rank,
            step: held.step,
            clean: held.clean,
            record: held.record,
            limit: held.limit,
        })
        .collect()
    }
}

fn placed(steps: &[StepRecord]) -> BTreeMap<(u32, u64), usize> {
    let all = steps.iter().zip(numbers(steps)).enumerate();
    all.map(|(place, (step, number))| ((step.optimizer, number), place))
        .collect()
}
