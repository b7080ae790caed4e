//! `taintline scan`: from paths to a verdict for each file and one for all.
//!
//! The engine `scan` judges bytes; here it is decided which bytes it gets, what of its findings somebody accepted, and
//! what the whole amounts to. Files are handed over one by one as they are done, so that a scan of millions holds none of
//! them. Nothing that decides is read from a place that is being scanned: whoever could write a payload there could write
//! its permission too.

mod baseline;
mod beside;
mod crew;
mod day;
mod document;
mod history;
mod input;
mod keep;
mod learn;
mod local;
mod policy;
mod recall;
mod shadow;
mod since;
mod spool;
mod traced;
mod verdict;
mod walk;
mod worker;

use std::path::PathBuf;
use std::time::Instant;

use domain::PathText;
use domain::scan::Weight;
use report::scan::{FileReport, Head, Notice, Since, Tail, Totals};

use self::baseline::Baseline;
pub use self::baseline::Writing;
pub(crate) use self::beside::Neighbours;
use self::crew::Crew;
pub use self::day::{Day, DaySyntax};
pub use self::document::DocumentError;
pub use self::history::history;
pub use self::input::InputError;
pub use self::keep::KeepError;
use self::keep::{Keeper, Known};
pub use self::learn::Learning;
use self::learn::Pupil;
use self::local::Examined;
use self::recall::Recall;
pub(crate) use self::recall::is_heavy;
use self::since::Programs;
pub use self::spool::SpoolError;
use self::walk::{Met, MetKind};
use self::worker::Setup;
pub use self::worker::{WORKER, WorkerError, serve};
use crate::place::Surroundings;

/// What to scan, and how to judge it.
#[derive(Debug, Clone)]
pub struct Scan {
    /// Files and folders; `-` is standard input.
    pub paths: Vec<PathBuf>,
    /// The lightest finding that counts.
    pub fail_on: Weight,
    /// Read every byte.
    pub full: bool,
    /// Tell what the programs in each file say.
    pub explain: bool,
    /// Files that are examined at once.
    pub jobs: usize,
    /// Findings that somebody accepted.
    pub baseline: Option<PathBuf>,
    /// Accept what is found now.
    pub write_baseline: Option<Writing>,
    /// Names that the project admitted.
    pub policy: Option<PathBuf>,
    /// Write a policy of what these files need.
    pub learn: Option<Learning>,
    /// Tell what is new since this file or folder.
    pub since: Option<PathBuf>,
    /// Frameworks whose names are taken as unknown.
    pub without: Vec<String>,
    /// Bytes that standard input may have.
    pub stdin_limit: u64,
    /// Keep the verdicts in the store that these name.
    pub record: Option<Surroundings>,
}

/// A scan that could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// Standard input.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A policy or a baseline.
    #[error(transparent)]
    Document(#[from] DocumentError),
    /// The record.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The older file.
    #[error("there is nothing to compare with at {path}", path = path.display())]
    NoOld {
        /// Where.
        path: PathBuf,
    },
    /// A framework of which no rule knows.
    #[error("no rules belong to a framework called {name}; there are: {known}")]
    NoSuchFramework {
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl ScanError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Spool(SpoolError::TooLarge { .. }) => {
                Some("allow more with --stdin-limit, or scan it as a file")
            }
            Self::Spool(_) => Some("set TMPDIR to a folder with space"),
            Self::Document(error) => error.hint(),
            Self::Keep(error) => error.hint(),
            Self::NoOld { .. } => Some("name the older file or folder behind --since"),
            Self::NoSuchFramework { .. } => None,
        }
    }
}

/// Who is told of a scan while it goes on.
pub trait Audience {
    /// It begins.
    fn begin(&mut self, head: &Head);
    /// One file is done.
    fn file(&mut self, file: &FileReport, so_far: &Totals);
}

/// Scans, tells `audience` of each file, and says how it ended.
pub fn scan(request: &Scan, audience: &mut dyn Audience) -> Result<Tail, ScanError> {
    let started = Instant::now();
    let mut state = State::prepare(request)?;
    let recall = state.keep(request)?;
    if let Some(old) = &request.since {
        state.read_old(request, old)?;
    }
    let piped = request.paths.iter().any(|path| path.as_os_str() == "-");
    let spooled = piped.then(|| spool::spool(request.stdin_limit));
    let stdin = spooled.transpose()?;
    audience.begin(&state.head(request));
    let crew = Crew {
        setup: std::mem::take(&mut state.setup),
        stdin: stdin.as_ref(),
        jobs: request.jobs,
        recall: recall.as_ref(),
    };
    let confinement = crew.work(&request.paths, &mut |met, done| {
        let report = state.judge(met, done);
        audience.file(&report, &state.totals);
    });
    let mut tail = state.finish(request)?;
    tail.confinement = confinement;
    tail.seconds = started.elapsed().as_secs_f64();
    Ok(tail)
}

/// What a scan knows while it goes on.
struct State {
    setup: Setup,
    fail_on: Weight,
    baseline: Option<Baseline>,
    pupil: Option<Pupil>,
    old: Option<Programs>,
    new: Option<Programs>,
    keeper: Option<Keeper>,
    totals: Totals,
    notices: Vec<Notice>,
}

impl State {
    fn prepare(request: &Scan) -> Result<Self, ScanError> {
        for name in &request.without {
            if !::scan::Rules::frameworks().any(|known| known == name) {
                let known: Vec<_> = ::scan::Rules::frameworks().collect();
                return Err(ScanError::NoSuchFramework {
                    name: name.clone(),
                    known: known.join(", "),
                });
            }
        }
        let mut notices = Vec::new();
        let admitted = match &request.policy {
            Some(path) => policy::read(path, &request.paths, &mut notices)?,
            None => Vec::new(),
        };
        let writing = request.write_baseline.as_ref();
        let path = request.baseline.as_ref();
        let baseline = match path.or(writing.map(|writing| &writing.path)) {
            Some(path) => Some(Baseline::read(path, &request.paths, writing)?),
            None => None,
        };
        let pupil = match &request.learn {
            Some(learning) => Some(Pupil::new(learning, &request.paths)?),
            None => None,
        };
        Ok(Self {
            setup: Setup {
                full: request.full,
                explain: request.explain,
                without: request.without.clone(),
                admitted,
                ..Setup::default()
            },
            fail_on: request.fail_on,
            baseline,
            pupil,
            old: None,
            new: request.since.as_ref().map(|_| Programs::default()),
            keeper: None,
            totals: Totals::default(),
            notices,
        })
    }

    /// Opens the record, where one is asked for.
    fn keep(&mut self, request: &Scan) -> Result<Option<Recall>, ScanError> {
        let Some(surroundings) = &request.record else {
            return Ok(None);
        };
        let (keeper, recall) = Keeper::open(surroundings, &request.paths, &self.setup)?;
        self.keeper = Some(keeper);
        self.setup.bind = true;
        Ok(Some(recall))
    }

    fn head(&self, request: &Scan) -> Head {
        let text = |path: &PathBuf| PathText::from(path.as_path());
        Head {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            fail_on: self.fail_on,
            full: request.full,
            policy: request.policy.as_ref().map(text),
            baseline: request.baseline.as_ref().map(text),
        }
    }

    fn read_old(&mut self, request: &Scan, old: &PathBuf) -> Result<(), ScanError> {
        if !old.exists() {
            return Err(ScanError::NoOld { path: old.clone() });
        }
        let mut programs = Programs::default();
        let crew = Crew {
            setup: Setup {
                explain: false,
                bind: false,
                ..self.setup.clone()
            },
            stdin: None,
            jobs: request.jobs,
            recall: None,
        };
        crew.work(std::slice::from_ref(old), &mut |_, done| {
            programs.take(&done.done);
        });
        self.old = Some(programs);
        Ok(())
    }

    fn judge(&mut self, met: &Met, mut examined: Examined) -> FileReport {
        let known = Known::take(&mut examined);
        let mut report = FileReport {
            path: PathText::from(met.path.as_path()),
            named: met.named,
            verdict: report::scan::Verdict::NotAModel,
            examination: examined.done,
            accepted: Vec::new(),
            listings: examined.listings,
            as_in: examined.as_in,
        };
        if let Some(programs) = &mut self.new {
            programs.take(&report.examination);
        }
        if let Some(pupil) = &mut self.pupil {
            pupil.take(&report);
        }
        if let Some(baseline) = &mut self.baseline {
            report.accepted = baseline.accept(&met.path, &report.examination);
        }
        let link = met.kind == MetKind::Link;
        report.verdict = verdict::of(&report, link);
        verdict::count(&mut self.totals, &report, self.fail_on);
        if let Some(keeper) = &mut self.keeper {
            keeper.keep(&met.path, &report, known);
        }
        report
    }

    fn finish(mut self, request: &Scan) -> Result<Tail, ScanError> {
        if let Some(baseline) = self.baseline.take() {
            baseline.finish(&mut self.notices)?;
        }
        if let Some(pupil) = self.pupil.take() {
            pupil.finish(&mut self.notices)?;
        }
        let keeper = self.keeper.take();
        let kept = keeper.is_none_or(|keeper| keeper.finish(&mut self.notices));
        let since = self.difference(request);
        Ok(Tail {
            exit_code: verdict::exit_code(&self.totals, since.as_ref(), kept),
            totals: self.totals,
            notices: self.notices,
            since,
            ..Tail::default()
        })
    }

    fn difference(&mut self, request: &Scan) -> Option<Since> {
        let (old, new) = (self.old.take()?, self.new.take()?);
        let path = request.since.as_ref()?;
        Some(old.difference(&new, PathText::from(path.as_path())))
    }
}
