//! Every byte code file that an interpreter could use, held against what its source compiles to.
//!
//! [`Check::prepare`] asks the environment's interpreter how it names its byte code and pairs the files of a snapshot;
//! [`Check::beside`] and [`Check::finish`] judge the pairs that nothing is known of: those without a tie to their source first, then the ones that
//! somebody waits for ([`Control::wanted`]), then the ones that changed last. What was learnt is kept outside of the
//! environment ([`known`]), so that the next time costs next to nothing. What was not looked at when it had to end is counted
//! as pending, never as sound.

mod compiler;
mod judge;
mod known;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use domain::{Hasher, PathText};
use environment::Snapshot;
use environment::compiled::{Naming, Pair, Usable, pairs};
use host::job::Helpers;

pub use compiler::CompilerError;
pub use judge::{Fault, Wrong};

use judge::{Judge, Verdict};
use known::Known;

/// Once told to end, the check goes on for this long beside what is waited for.
const GRACE: Duration = Duration::from_secs(10);
/// Where nothing is left to do, what is imported next is waited for in steps of this.
const IDLE: Duration = Duration::from_millis(250);
/// One pair in so many is looked at anew although it is known.
const SAMPLED: u64 = 200;
/// The most pairs that are told as not looked at, by name.
const GAPS_MAX: usize = 20;

/// Where a check keeps what it learns.
#[derive(Debug, Clone)]
pub struct Memory {
    /// The file.
    pub path: PathBuf,
    /// What its check is made with.
    pub secret: [u8; 32],
}

impl Memory {
    /// The memory of a store, under its secret.
    pub fn of_store(store: &ledger::Store, secret: &[u8; 32]) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(b"taintline code cache\n");
        hasher.update(secret);
        Self {
            path: store.root().join("cache").join("code"),
            secret: *hasher.finish().as_bytes(),
        }
    }
}

/// How a check that is under way is steered from another thread. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Control {
    stop: Arc<AtomicBool>,
    end: Arc<AtomicBool>,
    wanted: Arc<Mutex<Vec<PathText>>>,
    /// How long it goes on once it was told to end; without limit where there is none.
    grace: Option<Duration>,
}

impl Control {
    /// A control that ends at once when `stop` is set, and ten seconds after [`Control::end`].
    pub fn stopped_by(stop: Arc<AtomicBool>) -> Self {
        Self {
            stop,
            grace: Some(GRACE),
            ..Self::default()
        }
    }

    /// These sources, by their paths on this machine, are in use: their byte code is looked at next, whatever else is left.
    pub fn want(&self, sources: impl IntoIterator<Item = PathText>) {
        let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        wanted.extend(sources);
    }

    /// What runs beside something ends: what is wanted is to be finished and, while the time lasts, the rest.
    pub fn end(&self) {
        self.end.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn take(&self) -> Vec<PathText> {
        std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a check found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Byte code files that were found to be what their sources compile to.
    pub same: u64,
    /// Of these, the ones that are tied to their source by a hash that nobody compares.
    pub unchecked: u64,
    /// Of these, the ones that were known from before.
    pub known: u64,
    /// Files that the interpreter would not use but compile again.
    pub unused: u64,
    /// Files that were not looked at before the end.
    pub pending: u64,
    /// What is not what its source compiles to and would be used.
    pub wrong: Vec<Wrong>,
    /// Byte code that is imported without a source: nothing to compare with.
    pub sourceless: Vec<PathText>,
    /// Files that could not be compared, with the reason; the first ones.
    pub gaps: Vec<(PathText, String)>,
    /// How many there are in all.
    pub gap_count: u64,
    /// What was remembered of a source was not what it compiles to: everything was forgotten and done anew.
    pub memory_lied: bool,
}

/// A check that is ready to run.
pub struct Check {
    judge: Judge,
    naming: Naming,
    memory: Memory,
    /// Until it is sorted.
    usable: Option<Usable>,
    todo: Vec<Option<Pair>>,
    by_source: HashMap<PathText, Vec<usize>>,
    next: usize,
    /// All sources that were paired or asked for.
    seen: HashSet<PathText>,
    wanted: VecDeque<PathText>,
    report: Report,
    /// How many of what is wrong were told.
    told: usize,
}

/// Checks all byte code of a snapshot and waits for the end.
pub fn check(
    python: &Path,
    snapshot: &Snapshot,
    prefix: Option<PathBuf>,
    memory: Memory,
) -> Result<Report, CompilerError> {
    let check = Check::prepare(python, snapshot, prefix, memory, &Helpers::default())?;
    Ok(check.finish(&Control::default(), &mut |_| {}))
}

impl Check {
    /// Starts the interpreter and pairs byte code with sources. `prefix` is `sys.pycache_prefix`.
    pub fn prepare(
        python: &Path,
        snapshot: &Snapshot,
        prefix: Option<PathBuf>,
        memory: Memory,
        helpers: &Helpers,
    ) -> Result<Self, CompilerError> {
        let known = Known::load(&memory.path, memory.secret);
        let judge = Judge::start(python, helpers, known)?;
        let naming = Naming {
            tag: judge.build().tag.clone(),
            extensions: judge.build().extensions.clone(),
            prefix,
        };
        Ok(Self {
            usable: Some(pairs(snapshot, &naming)),
            naming,
            judge,
            memory,
            todo: Vec::new(),
            by_source: HashMap::new(),
            next: 0,
            seen: HashSet::new(),
            wanted: VecDeque::new(),
            report: Report::default(),
            told: 0,
        })
    }

    /// Judges pairs, and waits for what is wanted next where there are none left, until `control` tells it to end. To be called on a
    /// thread behind everything else; [`Check::finish`] goes on from there, on any thread. `tell` hears of what is wrong at once.
    pub fn beside(&mut self, control: &Control, tell: &mut dyn FnMut(&Wrong)) {
        self.begin();
        while !control.is_stopped() && !control.end.load(Ordering::Relaxed) {
            self.wanted.extend(control.take());
            if !self.step() {
                self.judge.pause();
                self.save();
                std::thread::sleep(IDLE);
            }
            self.tell(tell);
        }
        // The interpreter lives as long as the thread that started it, and is as patient as that one was.
        self.judge.pause();
        self.save();
    }

    /// Judges what is wanted and, while the time of `control` lasts, the rest.
    pub fn finish(mut self, control: &Control, tell: &mut dyn FnMut(&Wrong)) -> Report {
        self.begin();
        self.wanted.extend(control.take());
        let mut until = None;
        while !control.is_stopped() {
            if self.wanted.is_empty()
                && let Some(grace) = control.grace
                && *until.get_or_insert_with(|| Instant::now() + grace) <= Instant::now()
            {
                break;
            }
            if !self.step() {
                break;
            }
            self.tell(tell);
        }
        self.tell(tell);
        self.save();
        self.report.pending = self.todo.iter().flatten().count() as u64;
        self.report
    }

    fn tell(&mut self, tell: &mut dyn FnMut(&Wrong)) {
        self.report
            .wrong
            .iter()
            .skip(self.told)
            .for_each(&mut *tell);
        self.told = self.report.wrong.len();
    }

    fn save(&mut self) {
        let folder = self.memory.path.parent();
        let _ = folder.map(std::fs::create_dir_all);
        let _ = self.judge.known.save(&self.memory.path); // without it the next check takes longer
    }

    /// Sorts out what is known, once.
    fn begin(&mut self) {
        let Some(usable) = self.usable.take() else {
            return;
        };
        let sourceless = usable.sourceless.into_iter();
        self.report.sourceless = sourceless.map(|one| one.compiled).collect();
        for path in &usable.unread {
            self.report.gap(path, "it or its source could not be read");
        }
        let sources = usable.pairs.iter();
        self.seen = sources
            .map(|pair| PathText::from(pair.source_at.as_path()))
            .collect();
        let todo = self.unknown(usable.pairs);
        for (index, pair) in todo.iter().enumerate() {
            let source = PathText::from(pair.source_at.as_path());
            self.by_source.entry(source).or_default().push(index);
        }
        self.todo = todo.into_iter().map(Some).collect();
    }

    /// The pairs that nothing is known of, the suspicious ones first.
    fn unknown(&mut self, pairs: Vec<Pair>) -> Vec<Pair> {
        let mut seed = [0; 8];
        let _ = getrandom::fill(&mut seed);
        let mut sample = u64::from_le_bytes(seed) % SAMPLED;
        let (mut todo, mut recalled) = (Vec::new(), Vec::new());
        for pair in pairs {
            let Some(tied) = self.judge.recall(&pair) else {
                todo.push(pair);
                continue;
            };
            sample += 1;
            if sample.is_multiple_of(SAMPLED) {
                self.report.memory_lied |= self.judge.is_remembered_wrong(&pair);
                todo.push(pair);
            } else {
                recalled.push((pair, tied));
            }
        }
        if self.report.memory_lied {
            // One lie and nothing else of it is believed.
            self.judge.known.forget();
            todo.extend(recalled.into_iter().map(|(pair, _)| pair));
        } else {
            for (_, tied) in recalled {
                self.report.known += 1;
                self.report.same(tied);
            }
        }
        let mut ordered: Vec<_> = todo
            .into_iter()
            .map(|pair| (judge::urgency(&pair), pair))
            .collect();
        ordered.sort_by_key(|(urgency, _)| *urgency);
        ordered.into_iter().map(|(_, pair)| pair).collect()
    }

    /// Judges one source that is wanted, or the next pair; `false` where nothing is left.
    fn step(&mut self) -> bool {
        if let Some(source) = self.wanted.pop_front() {
            for index in self.by_source.get(&source).cloned().unwrap_or_default() {
                if let Some(pair) = self.todo.get_mut(index).and_then(Option::take) {
                    self.one(&pair);
                }
            }
            if self.seen.insert(source.clone()) {
                self.outside(&source);
            }
            return true;
        }
        let Some(place) = self.todo.get_mut(self.next) else {
            return false;
        };
        self.next += 1;
        if let Some(pair) = place.take() {
            self.one(&pair);
        }
        true
    }

    /// A source that is in use and not of the environment: a project's own module.
    fn outside(&mut self, source: &PathText) {
        let source_at = PathBuf::from(OsString::from_vec(source.to_bytes()));
        if source_at.extension().is_none_or(|ending| ending != "py") {
            return;
        }
        for (compiled_at, level) in self.naming.of_source(&source_at) {
            if compiled_at.symlink_metadata().is_err() {
                continue;
            }
            let pair = Pair {
                compiled: PathText::from(compiled_at.as_path()),
                compiled_at,
                compiled_digest: None,
                source: source.clone(),
                source_at: source_at.clone(),
                source_digest: None,
                level,
            };
            self.one(&pair);
        }
    }

    fn one(&mut self, pair: &Pair) {
        match self.judge.judge(pair) {
            Verdict::Same(tied) => self.report.same(tied),
            Verdict::Unused => self.report.unused += 1,
            Verdict::Wrong(wrong) => self.report.wrong.push(*wrong),
            Verdict::Unknown(why) => self.report.gap(&pair.compiled, &why),
        }
    }
}

impl Report {
    fn same(&mut self, tied: known::Tied) {
        self.same += 1;
        self.unchecked += u64::from(tied == known::Tied::Unchecked);
    }

    fn gap(&mut self, path: &PathText, why: &str) {
        self.gap_count += 1;
        if self.gaps.len() < GAPS_MAX {
            self.gaps.push((path.clone(), why.to_owned()));
        }
    }
}
