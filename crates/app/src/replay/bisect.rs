//! `taintline bisect`: the first bad step of a run, and what brings it about.
//!
//! Each question is a replay. The first bad stretch between two checkpoints is found by halving, its first bad step by the replay itself. Then what
//! the run had otherwise than the replay is put back, all of it and half by half, until the recorded step comes out again.

mod memory;

use std::time::Instant;

use domain::Gap;
use domain::entry::Act;
use domain::replay::{Bisected, ReplayVerdict, ReplayWay};
use report::bisect::{BisectOutcome, BisectView, ProbeView};
use report::environment::EnvCheckView;
use training::replay::halve::{self, Answer, Cause};

use super::band::Variation;
use super::differences::{self, Difference, PutBack};
use super::verdict::{self, Judged, Parting};
use super::{
    Once, ReplayRequest, Segment, Subject, Task, checked, computed, from_start, inputs, once_more,
    process, subject,
};
use crate::error::AppError;
use crate::place::Surroundings;
use crate::queries::Reading;
use crate::{acts, writing};
use memory::Memory;

/// Differences that are listed.
const LISTED: usize = 100;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct BisectRequest {
    /// How each replay is made.
    pub replay: ReplayRequest,
    /// Execute what differs, to see what brings the recorded step about.
    pub put_back: bool,
    /// Only say what it would take.
    pub plan: bool,
}

/// Finds the first bad step and its cause, and records what follows. `None` where only the plan was asked for.
pub fn bisect(
    surroundings: &Surroundings,
    request: &BisectRequest,
    progress: &mut dyn FnMut(&str),
) -> Result<Option<BisectView>, AppError> {
    let began = Instant::now();
    let reading = Reading::open(surroundings)?;
    let subject = subject(&reading, surroundings, &request.replay.run)?;
    let program = process::program(&subject, request.replay.env.as_deref())?;
    // A state that is put in may make a difference by itself: halving takes the script's own means.
    let between = (!request.replay.resume.is_empty()).then_some(ReplayWay::Resume);
    let segments = segments(&subject, &request.replay, between);
    progress(&plan(&subject, &segments));
    if request.plan {
        return Ok(None);
    }
    progress(&format!(
        "checking the environment at {}",
        program.prefix.display()
    ));
    let environment = checked(surroundings, &request.replay, &program)?;
    let whole = segments
        .first()
        .cloned()
        .ok_or_else(|| subject.error("none of its steps can be computed again"))?;
    let nothing = PutBack::default();
    let task = Task {
        subject: &subject,
        segment: &whole,
        program: &program,
        request: &request.replay,
        variation: Variation::of(&request.replay),
        back: &nothing,
    };
    let memory = Memory::open(&task, &environment.tree)?;
    let mut bisect = Bisect {
        task,
        segments: &segments,
        memory,
        probes: Vec::new(),
        limits: Vec::new(),
        progress,
        last_bad: None,
    };
    let found = bisect.first_bad()?;
    let view = bisect.answer(request, found, began)?;
    record(&subject, &environment, view).map(Some)
}

/// From each checkpoint that is still there to the next, come to in the way `between`; without one all is one stretch.
pub(super) fn segments(
    subject: &Subject<'_>,
    request: &ReplayRequest,
    between: Option<ReplayWay>,
) -> Vec<Segment> {
    let (from, to) = request.steps.unwrap_or_else(|| subject.steps.range());
    let mut starts = vec![from_start(subject, to)];
    if let Some(way) = between {
        let mut end = to;
        let mut later = Vec::new();
        while let Some((checkpoint, step)) = inputs::checkpoint_before(subject, end) {
            if step < from {
                break;
            }
            later.push(Segment {
                way,
                last: to,
                checkpoint: Some(checkpoint),
                base: step,
            });
            end = step;
        }
        starts.extend(later.into_iter().rev());
    }
    let ends: Vec<u64> = starts.iter().skip(1).map(|it| it.base).collect();
    for (segment, end) in starts.iter_mut().zip(ends) {
        segment.last = end;
    }
    starts.retain(|segment| segment.last > segment.base);
    starts
}

fn plan(subject: &Subject<'_>, segments: &[Segment]) -> String {
    let halvings = segments.len().ilog2_or_zero() + 2;
    let longest = segments
        .iter()
        .map(|segment| subject.steps.time_us(segment.base + 1, segment.last));
    let longest = std::time::Duration::from_micros(longest.max().unwrap_or(0)).as_secs_f64();
    format!(
        "{} between checkpoints, so at most {halvings} replays for the first bad step, of {longest:.0} s at most and the start of Python each; and \
        log2 of what differs, and 3, for its cause",
        counted(segments.len())
    )
}

fn counted(count: usize) -> String {
    if count == 1 {
        "one stretch".to_owned()
    } else {
        format!("{count} stretches")
    }
}

trait Digits {
    fn ilog2_or_zero(self) -> u32;
}

impl Digits for usize {
    fn ilog2_or_zero(self) -> u32 {
        self.checked_ilog2().unwrap_or(0)
    }
}

struct Bisect<'a> {
    task: Task<'a>,
    segments: &'a [Segment],
    memory: Memory,
    probes: Vec<ProbeView>,
    limits: Vec<Gap>,
    progress: &'a mut dyn FnMut(&str),
    last_bad: Option<Bad>,
}

/// A bad stretch, as it was computed again.
struct Bad {
    at: usize,
    once: Once,
    judged: Judged,
    segment: Segment,
}

/// Differences, and which of them it was.
struct Ablated {
    differences: Vec<Difference>,
    cause: Option<Cause>,
}

impl<'a> Bisect<'a> {
    fn first_bad(&mut self) -> Result<Option<Bad>, AppError> {
        let count = self.segments.len();
        let found = if count == 1 {
            Some(0)
        } else {
            halve::first_bad(count, |at| self.stretch(at))?
        };
        let Some((at, segment)) = found.and_then(|at| Some((at, self.segments.get(at)?))) else {
            return Ok(None);
        };
        if self.last_bad.as_ref().is_none_or(|bad| bad.at != at) {
            // It is the only one, or was told by an earlier bisection.
            self.stretch_anew(at, segment)?;
        }
        let Some(mut bad) = self.last_bad.take() else {
            return Ok(None);
        };
        let began = Instant::now();
        once_more(&self.of(segment), &bad.once, &mut bad.judged, self.progress)?;
        if let Some(repeated) = bad.judged.repeated() {
            let what = format!("{}, once more: {repeated}", stretch_words(segment));
            self.told(what, answer_of(&bad.judged), began, false);
        }
        Ok(Some(bad))
    }

    /// One stretch between two checkpoints.
    fn stretch(&mut self, at: usize) -> Result<Answer, AppError> {
        let Some(segment) = self.segments.get(at) else {
            return Ok(Answer::CannotTest);
        };
        self.asked(stretch_words(segment), |it| it.compute(at, segment))
    }

    fn stretch_anew(&mut self, at: usize, segment: &'a Segment) -> Result<(), AppError> {
        let (what, began) = (stretch_words(segment), Instant::now());
        (self.progress)(&format!("{what}: computing again"));
        let answer = self.compute(at, segment)?;
        self.told(what, answer, began, false);
        Ok(())
    }

    fn compute(&mut self, at: usize, segment: &Segment) -> Result<Answer, AppError> {
        let (once, judged) = computed(&self.of(segment))?;
        let answer = answer_of(&judged);
        if answer != Answer::Good {
            self.last_bad = Some(Bad {
                at,
                once,
                judged,
                segment: segment.clone(),
            });
        }
        Ok(answer)
    }

    fn of<'b>(&self, segment: &'b Segment) -> Task<'b>
    where
        'a: 'b,
    {
        Task {
            segment,
            ..self.task
        }
    }

    /// Asks, unless it was answered before.
    fn asked(
        &mut self,
        what: String,
        ask: impl FnOnce(&mut Self) -> Result<Answer, AppError>,
    ) -> Result<Answer, AppError> {
        let began = Instant::now();
        if let Some(answer) = self.memory.of(&what) {
            if self.probes.iter().all(|probe| probe.what != what) {
                self.told(what, answer, began, true);
            }
            return Ok(answer);
        }
        (self.progress)(&format!("{what}: computing again"));
        let answer = ask(self)?;
        (self.progress)(&format!("{what}: {}", words(answer)));
        self.memory.keep(&what, answer);
        self.told(what, answer, began, false);
        Ok(answer)
    }

    fn told(&mut self, what: String, answer: Answer, began: Instant, remembered: bool) {
        self.probes.push(ProbeView {
            what,
            answer: words(answer),
            seconds: began.elapsed().as_secs_f64(),
            remembered,
        });
    }

    /// What differs, and what of it brings the first bad step about.
    fn ablate(&mut self, bad: &Bad, put_back: bool) -> Result<Ablated, AppError> {
        let task = Task {
            segment: &bad.segment,
            ..self.task
        };
        let own = process::own_record(&task, &bad.once.place)?;
        let (differences, limits) = differences::list(&task, &own)?;
        self.limits.extend(limits);
        let at = match bad.judged.parting() {
            Some(Parting::Step(parting)) if put_back => parting.number,
            _ => {
                return Ok(Ablated {
                    differences,
                    cause: None,
                });
            }
        };
        let mut segment = Segment {
            last: at,
            ..bad.segment.clone()
        };
        let all: Vec<usize> = (0..differences.len()).collect();
        if segment.way == ReplayWay::Resume
            && !all.is_empty()
            && self.put_back(&segment, &bad.once, &differences, &all)? != Answer::Bad
        {
            // What counts its own steps does nothing behind a checkpoint: then from the run's own start.
            let start = self
                .segments
                .first()
                .filter(|it| it.way == ReplayWay::Start);
            if let Some(start) = start {
                segment = Segment {
                    last: at,
                    ..start.clone()
                };
            }
        }
        let cause = halve::cause(differences.len(), |there| {
            self.put_back(&segment, &bad.once, &differences, there)
        })?;
        Ok(Ablated {
            differences,
            cause: Some(cause),
        })
    }

    /// Some of the differences put back: bad if the recorded step comes out, good if the clean one does.
    fn put_back(
        &mut self,
        segment: &Segment,
        clean: &Once,
        differences: &[Difference],
        there: &[usize],
    ) -> Result<Answer, AppError> {
        let chosen: Vec<&Difference> = there.iter().filter_map(|at| differences.get(*at)).collect();
        let back = PutBack::of(chosen.iter().copied());
        let names: Vec<&str> = chosen.iter().map(|it| it.view.name.as_str()).collect();
        let what = format!(
            "{} with {} put back",
            stretch_words(segment),
            names.join(", ")
        );
        let task = Task {
            segment,
            back: &back,
            ..self.task
        };
        self.asked(what, |_| {
            let once = task.once()?;
            let is = |steps| verdict::alike(&task, steps, &once.steps);
            Ok(if is(&task.subject.steps) {
                Answer::Bad
            } else if is(&clean.steps) {
                Answer::Good
            } else {
                Answer::CannotTest
            })
        })
    }

    fn answer(
        mut self,
        request: &BisectRequest,
        bad: Option<Bad>,
        began: Instant,
    ) -> Result<BisectView, AppError> {
        let subject = self.task.subject;
        let mut view = BisectView {
            schema: "taintline.bisect/1",
            run: subject.record.name(),
            id: subject.record.id.to_string(),
            outcome: BisectOutcome::Nothing,
            finding: None,
            differences: Vec::new(),
            more: 0,
            cause: Vec::new(),
            others_suffice: None,
            probes: Vec::new(),
            limits: Vec::new(),
            seconds: 0.0,
            ledger: None,
        };
        if let Some(bad) = bad {
            view.outcome = match bad.judged.verdict() {
                ReplayVerdict::Same => BisectOutcome::Nothing,
                ReplayVerdict::Differs => BisectOutcome::Step,
                ReplayVerdict::CannotTest => BisectOutcome::CannotTest,
            };
            self.limits.extend(bad.judged.limits().iter().cloned());
            if view.outcome == BisectOutcome::Step {
                let task = Task {
                    segment: &bad.segment,
                    ..self.task
                };
                view.finding = bad.judged.finding(&task)?;
                let ablated = self.ablate(&bad, request.put_back)?;
                self.caused(&mut view, &ablated, request.put_back);
            }
        } else if self
            .probes
            .iter()
            .all(|probe| probe.answer != words(Answer::Good))
        {
            view.outcome = BisectOutcome::CannotTest;
        }
        if self.segments.len() > 1 {
            self.limits.push(Gap {
                what: "stretches that were not computed again".to_owned(),
                why: "halving takes it that what was done goes on: what was done in one of them alone is not seen".to_owned(),
            });
        }
        view.seconds = began.elapsed().as_secs_f64();
        view.probes = std::mem::take(&mut self.probes);
        view.limits = std::mem::take(&mut self.limits);
        self.memory.forget();
        Ok(view)
    }

    fn caused(&mut self, view: &mut BisectView, ablated: &Ablated, put_back: bool) {
        let all = &ablated.differences;
        view.more = all.len().saturating_sub(LISTED) as u64;
        view.differences = all.iter().take(LISTED).map(|it| it.view.clone()).collect();
        let Some(cause) = &ablated.cause else {
            if !put_back && !all.is_empty() {
                self.limits.push(Gap {
                    what: "the cause".to_owned(),
                    why: "what differs was not put back: --put-back executes it, confined, to see which of it brings the step about".to_owned(),
                });
            }
            return;
        };
        if cause.items.is_empty() {
            let why = match cause.all {
                Some(Answer::Good) => {
                    "all that differs was put back, and the recorded step did not come out: it was done by something else"
                }
                Some(_) => "all that differs was put back, and a third result came out",
                None => "nothing that can be put back differs",
            };
            self.limits.push(Gap {
                what: "the cause".to_owned(),
                why: why.to_owned(),
            });
            return;
        }
        view.outcome = BisectOutcome::Cause;
        view.others_suffice = cause.others.map(|answer| answer == Answer::Bad);
        let named = cause.items.iter().filter_map(|at| all.get(*at));
        view.cause = named.map(|it| it.view.clone()).collect();
    }
}

fn answer_of(judged: &Judged) -> Answer {
    match judged.verdict() {
        ReplayVerdict::Same => Answer::Good,
        ReplayVerdict::Differs => Answer::Bad,
        ReplayVerdict::CannotTest => Answer::CannotTest,
    }
}

fn words(answer: Answer) -> &'static str {
    match answer {
        Answer::Good => "good",
        Answer::Bad => "bad",
        Answer::CannotTest => "cannot test",
    }
}

pub(super) fn stretch_words(segment: &Segment) -> String {
    format!("steps {} to {}", segment.base + 1, segment.last)
}

fn record(
    subject: &Subject<'_>,
    environment: &EnvCheckView,
    mut view: BisectView,
) -> Result<BisectView, AppError> {
    let store = &subject.reading.store;
    let report = serde_json::to_vec(&view).unwrap_or_default();
    let finding = view.finding.as_ref();
    let act = Act::Bisected(Box::new(Bisected {
        of: subject.record.id,
        step: finding.and_then(|finding| finding.step),
        rank: finding.and_then(|finding| finding.rank),
        causes: view.cause.len() as u64,
        probes: view.probes.len() as u64,
        environment: environment.tree.parse().ok(),
        report: store.put_blob(&report)?,
        person: crate::run::person(),
    }));
    let keys = subject.surroundings.keys()?;
    let writer = writing::open(store, &keys)?;
    view.ledger = Some(acts::record(&writer, act)?);
    Ok(view)
}
