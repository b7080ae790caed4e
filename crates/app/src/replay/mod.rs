//! `taintline replay`: steps of a run computed again in a clean process, and held against the record.
//!
//! The script is the user's own, unchanged. What it loads comes from the record: code and configuration from the blob store, data and
//! checkpoints only where their bytes still are the recorded ones. It runs in folders of the replay's own, with variables of the replay's own,
//! in an environment that was checked before, under a sensor and a supervisor of its own, and may write nowhere else. Its sensor looks
//! where the recorded one looked, so that a difference says what was done.

mod audit;
mod band;
mod bisect;
mod differences;
mod inputs;
mod job;
mod lineage;
mod overlay;
mod place;
mod plan;
mod process;
mod shown;
mod steps;
mod user;
mod verdict;
mod words;
mod written;

use std::path::PathBuf;

use domain::entry::Command;
use domain::replay::{ReplayVerdict, ReplayWay};
use report::replay::ReplayView;

use crate::env::EnvError;
use crate::error::AppError;
use crate::place::Surroundings;
use crate::present::unsealed;
use crate::queries::Reading;
use crate::record::RunRecord;

pub(crate) use audit::audits_of;
pub use audit::{AuditRequest, audit};
pub use bisect::{BisectRequest, bisect};
pub use job::{JobError, JobRequest, accept, run_job, write_job};
pub use plan::{PlanRequest, plan};
pub(crate) use shown::of_run;

use band::Variation;
use differences::PutBack;
use place::Workplace;
use steps::Recorded;

/// What was asked for.
#[derive(Debug, Clone, Default)]
pub struct ReplayRequest {
    /// The run.
    pub run: String,
    /// First and last step that are wanted; all by default.
    pub steps: Option<(u64, u64)>,
    /// Instead: a stretch of this share of the steps, drawn at random.
    pub sample: Option<f64>,
    /// Interpreter of the environment to replay in; the recorded one by default.
    pub env: Option<PathBuf>,
    /// Replay in it although its check found something.
    pub accept_environment: bool,
    /// A commit whose files are used instead of the recorded ones.
    pub code: Option<String>,
    /// Arguments by which the script resumes; `{checkpoint}` stands for the file.
    pub resume: Vec<String>,
    /// Begin where the run began, although a checkpoint could be put in.
    pub from_start: bool,
    /// Threads for each process, instead of what was recorded.
    pub threads: Option<u32>,
    /// Where the folders of the replay are made, and left.
    pub keep: Option<PathBuf>,
}

/// A replay that was not made.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The record lacks something.
    #[error("{run} cannot be replayed: {why}")]
    Record {
        /// The run.
        run: String,
        /// What is missing.
        why: String,
    },
    /// Inputs are not there any more.
    #[error("{run} cannot be replayed: {missing}{}", more(*count))]
    Inputs {
        /// The run.
        run: String,
        /// The first, and why.
        missing: String,
        /// How many.
        count: usize,
    },
    /// The environment is not what it should be.
    #[error("the environment at {prefix} is not as it is vouched for: {first}{}", more(*count))]
    Environment {
        /// Its folder.
        prefix: String,
        /// The first finding.
        first: String,
        /// How many.
        count: usize,
    },
    /// No step of this number.
    #[error("{run} has no recorded step from {first} to {last}")]
    Steps {
        /// The run.
        run: String,
        /// First.
        first: u64,
        /// Last.
        last: u64,
    },
    /// No code of this commit.
    #[error("commit {commit}: {why}")]
    Commit {
        /// What was named.
        commit: String,
        /// Why not.
        why: String,
    },
    /// A file of the replay's own.
    #[error("{}: {source}", path.display())]
    Disk {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

fn more(count: usize) -> String {
    match count {
        0 | 1 => String::new(),
        _ => format!(", and {} more", count - 1),
    }
}

impl ReplayError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Environment { .. } => Some(
                "name an interpreter of one that is with --env; `taintline env check` says more, and --accept-environment replays in it all the same and says so",
            ),
            Self::Inputs { .. } => Some(
                "put the files back where they were: they are taken only if their SHA-256 is the recorded one",
            ),
            Self::Steps { .. } => Some("`taintline show RUN --json` lists the recorded steps"),
            Self::Commit { .. } => {
                Some("the commit must be in the repository that the run was started in")
            }
            _ => None,
        }
    }
}

impl From<ReplayError> for AppError {
    fn from(error: ReplayError) -> Self {
        Self::Replay(Box::new(error))
    }
}

/// An error of the disk at `path`.
fn disk(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> ReplayError + '_ {
    move |source| ReplayError::Disk {
        path: path.to_owned(),
        source,
    }
}

/// All that a replay needs to know of the run that it is about.
struct Subject<'a> {
    reading: &'a Reading,
    surroundings: &'a Surroundings,
    record: RunRecord,
    command: Command,
    steps: Recorded,
}

impl Subject<'_> {
    /// Threads of its first process, where it told them.
    fn threads(&self) -> Option<u32> {
        let (_, first) = self.record.joins.first()?;
        self.record.joined.get(first)?.threads
    }

    fn error(&self, why: impl Into<String>) -> ReplayError {
        ReplayError::Record {
            run: self.record.name(),
            why: why.into(),
        }
    }
}

/// How far a replay goes, and from where.
#[derive(Debug, Clone)]
struct Segment {
    way: ReplayWay,
    /// Last step that is compared; the first is the one behind `base`.
    last: u64,
    /// Place of the checkpoint among the run's writes, where it resumes.
    checkpoint: Option<usize>,
    /// Steps before it.
    base: u64,
}

/// Replays steps of a run, and records what follows.
pub fn replay(
    surroundings: &Surroundings,
    request: &ReplayRequest,
    progress: &mut dyn FnMut(&str),
) -> Result<ReplayView, AppError> {
    let reading = Reading::open(surroundings)?;
    let subject = subject(&reading, surroundings, &request.run)?;
    let request = &drawn(&subject, request)?;
    let segment = segment(&subject, request)?;
    let program = process::program(&subject, request.env.as_deref())?;
    progress(&format!(
        "checking the environment at {}",
        program.prefix.display()
    ));
    let environment = checked(surroundings, request, &program)?;
    progress(&format!(
        "computing steps {} to {} again",
        segment.base + 1,
        segment.last
    ));
    let nothing = PutBack::default();
    let task = Task {
        subject: &subject,
        segment: &segment,
        program: &program,
        request,
        variation: Variation::of(request),
        back: &nothing,
    };
    let answered = answered(&task, progress)?;
    let task = Task {
        segment: &answered.segment,
        ..task
    };
    verdict::record(&task, &answered.once, &environment, answered.judged)
}

/// Computes the segment again.
fn computed(task: &Task<'_>) -> Result<(Once, verdict::Judged), AppError> {
    let once = task.once()?;
    let mut judged = verdict::judge(task, &once);
    judged.began(lineage::look(task, &once)?);
    judged.elsewhere(&lineage::elsewhere(task, &once)?);
    Ok((once, judged))
}

/// What was computed in the end, and what it says.
struct Answered {
    once: Once,
    judged: verdict::Judged,
    segment: Segment,
}

/// Computes the segment again, as often as an answer takes.
fn answered(task: &Task<'_>, progress: &mut dyn FnMut(&str)) -> Result<Answered, AppError> {
    let (once, mut judged) = computed(task)?;
    // Where a state was put in and the steps part, that may be why: then there is nothing to clear up.
    let put_in = task.segment.way == ReplayWay::Substitute;
    if !put_in {
        once_more(task, &once, &mut judged, progress)?;
    }
    if judged.is_by_rounding() {
        judged.within(band::learn(task, &once, progress)?);
    }
    if put_in && judged.whole_verdict() != ReplayVerdict::Same {
        let why = judged.unfit(process::own_record(task, &once.place)?.record.gaps);
        drop(once); // its folders
        progress("computing from the start instead");
        let segment = from_start(task.subject, task.segment.last);
        let mut answered = answered(
            &Task {
                segment: &segment,
                ..*task
            },
            progress,
        )?;
        answered.judged.limited(why);
        return Ok(answered);
    }
    Ok(Answered {
        once,
        judged,
        segment: task.segment.clone(),
    })
}

/// Computes once more what differs, to see whether it agrees with itself.
fn once_more(
    task: &Task<'_>,
    once: &Once,
    judged: &mut verdict::Judged,
    progress: &mut dyn FnMut(&str),
) -> Result<(), AppError> {
    // What stood before the first step was not computed, and needs no second look.
    let doubt = judged.doubt().filter(|step| *step > task.segment.base);
    if let Some(first) = doubt {
        progress("it differs: computing it once more, to see whether it agrees with itself");
        let shorter = Segment {
            last: first,
            ..task.segment.clone()
        };
        let again = Task {
            segment: &shorter,
            ..*task
        };
        judged.agrees_with(&again, once, &again.once()?);
    }
    Ok(())
}

/// One process, or one group of them, that computes steps again.
#[derive(Clone, Copy)]
struct Task<'a> {
    subject: &'a Subject<'a>,
    segment: &'a Segment,
    program: &'a process::Program,
    request: &'a ReplayRequest,
    variation: Variation,
    /// What is as in the run although a replay would leave it out.
    back: &'a PutBack,
}

/// What came of it. The folders live as long as this.
struct Once {
    place: Workplace,
    laid: inputs::Laid,
    ended: process::Ended,
    steps: Recorded,
}

impl Task<'_> {
    fn once(&self) -> Result<Once, AppError> {
        let place = Workplace::make(self.subject.surroundings, self.request.keep.as_deref())?;
        let edited = (!self.back.environment.is_empty())
            .then(|| overlay::make(self.program, &self.back.environment, &place))
            .transpose()?;
        let task = Task {
            program: edited.as_ref().unwrap_or(self.program),
            ..*self
        };
        let laid = inputs::lay_out(&task, &place)?;
        steps::write_plan(&task, &place, &laid)?;
        let ended = process::start(&task, &place, &laid)?;
        let steps = process::told(&task, &place)?;
        Ok(Once {
            place,
            laid,
            ended,
            steps,
        })
    }
}

fn subject<'a>(
    reading: &'a Reading,
    surroundings: &'a Surroundings,
    run: &str,
) -> Result<Subject<'a>, AppError> {
    let found = reading.find(run)?;
    let record = reading.record(&found)?;
    let failed = |why: &str| ReplayError::Record {
        run: record.name(),
        why: why.to_owned(),
    };
    let launch = record.launch.as_ref();
    let launch = launch.ok_or_else(|| failed("how it began is not recorded"))?;
    let command = unsealed(&reading.store, &launch.command)
        .and_then(|bytes| serde_json::from_slice::<Command>(&bytes).ok())
        .ok_or_else(|| failed("its command line was erased or cannot be read"))?;
    let steps = Recorded::read(&reading.store, &record);
    if steps.is_empty() {
        return Err(failed("it has no recorded step").into());
    }
    Ok(Subject {
        reading,
        surroundings,
        record,
        command,
        steps,
    })
}

/// With the steps that are drawn, where a share of them is wanted.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a share of a count of steps"
)]
fn drawn(subject: &Subject<'_>, request: &ReplayRequest) -> Result<ReplayRequest, AppError> {
    let mut request = request.clone();
    if let Some(share) = request.sample {
        let (from, to) = subject.steps.range();
        let all = (to - from).saturating_add(1);
        let length = ((all as f64 * share).ceil() as u64).clamp(1, all);
        let first = from + audit::below(all - length + 1)?;
        request.steps = Some((first, first + length - 1));
    }
    Ok(request)
}

/// From where to where: from the last checkpoint before the first step that is wanted, where one is still there.
fn segment(subject: &Subject<'_>, request: &ReplayRequest) -> Result<Segment, AppError> {
    let (from, to) = subject.steps.range();
    let (first, last) = request.steps.unwrap_or((from, to));
    let (first, last) = (first.max(from), last.min(to));
    if first > last {
        let (first, last) = request.steps.unwrap_or((from, to));
        return Err(ReplayError::Steps {
            run: subject.record.name(),
            first,
            last,
        }
        .into());
    }
    let before = (!request.from_start && first > from)
        .then(|| inputs::checkpoint_before(subject, first))
        .flatten();
    Ok(match before {
        Some((checkpoint, step)) => Segment {
            way: behind_checkpoint(request),
            last,
            checkpoint: Some(checkpoint),
            base: step,
        },
        None => from_start(subject, last),
    })
}

/// How a replay comes to the steps behind a checkpoint.
fn behind_checkpoint(request: &ReplayRequest) -> ReplayWay {
    if request.resume.is_empty() {
        ReplayWay::Substitute
    } else {
        ReplayWay::Resume
    }
}

fn from_start(subject: &Subject<'_>, last: u64) -> Segment {
    Segment {
        way: ReplayWay::Start,
        last,
        checkpoint: None,
        base: subject.steps.range().0.saturating_sub(1),
    }
}

/// The environment, checked before anything of it is started.
fn checked(
    surroundings: &Surroundings,
    request: &ReplayRequest,
    program: &process::Program,
) -> Result<report::environment::EnvCheckView, AppError> {
    let asked = crate::env::EnvCheckRequest {
        python: Some(program.interpreter.clone()),
        compiled: true,
        threads: 2,
        ..crate::env::EnvCheckRequest::default()
    };
    let view = crate::env::check(surroundings, &asked).map_err(|error| match error {
        AppError::Env(error) if matches!(*error, EnvError::Derive(_)) => AppError::Env(error),
        other => other,
    })?;
    match view.findings.first() {
        Some(finding) if !request.accept_environment => Err(ReplayError::Environment {
            prefix: view.prefix.clone(),
            first: finding.what.clone(),
            count: view.findings.len(),
        }
        .into()),
        _ => Ok(view),
    }
}
