//! Sleeps in the steps, told apart from what explains them.
//!
//! A sleep is nothing where the machine or the process stood still, where the machine has too much to do, around saving and loading, and where
//! another rank was late in the same step: then that one is meant. It is judged a moment later, when the other ranks have told
//! the step too. Timing says where, and never who; so a finding is *claimed* and names what else it may be.

mod ticker;

use std::collections::HashMap;
use std::time::{Duration, Instant};

use domain::{Finding, Grade, Phase, Rule, StepRecord};
use training::stalls::{Stall, Stalls};

use self::ticker::Ticker;
use super::event::Connection;
use super::once::About;
use super::recorder::Recorder;

/// Processes whose steps are timed.
const PROCESSES_MAX: usize = 1_024;
/// Other ranks have this long to tell a step, and the ticker to see it.
const SETTLE: Duration = Duration::from_millis(1_500);
/// Sleeps that are listed.
const LISTED_MAX: usize = 5;

/// What is known of one process.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a fact of its own, not a state"
)]
struct Timed {
    pid: u32,
    /// Key and size of its world.
    world: Option<(u32, u32)>,
    stalls: Stalls,
    /// Something was saved or loaded since its last step.
    excused: bool,
    told: bool,
    /// It has one thread alone, which waits for none of its own that has no processor.
    alone: bool,
    /// It holds connections.
    connected: bool,
    /// The last step in which it slept, and since when that is to be judged.
    waiting: Option<(StepRecord, Instant)>,
}

/// The steps of a run, by time.
#[derive(Default)]
pub(super) struct Timings {
    of: HashMap<Connection, Timed>,
    ticker: Ticker,
}

impl Recorder<'_> {
    /// Something was saved or loaded: the next step may take longer.
    pub(super) fn excuse(&mut self, connection: Connection) {
        if let Some(timed) = self.timings.of.get_mut(&connection) {
            timed.excused = true;
        }
    }

    /// A step was told.
    pub(super) fn heard_waits(&mut self, connection: Connection, step: &StepRecord, at_us: i64) {
        let Some(pid) = self.members.get(&connection).map(|it| it.process.pid) else {
            return;
        };
        let timings = &mut self.timings;
        if !timings.of.contains_key(&connection) {
            if timings.of.len() >= PROCESSES_MAX {
                return;
            }
            timings.ticker.follow(pid);
        }
        let timed = timings.of.entry(connection).or_insert_with(|| Timed {
            pid,
            world: None,
            stalls: Stalls::default(),
            excused: false,
            told: false,
            alone: false,
            connected: false,
            waiting: None,
        });
        timed.world = step.replica.as_ref().map(|it| (it.world, it.size));
        let saved = std::mem::take(&mut timed.excused);
        let excused = |wait: &domain::Wait| saved || wait.workers && wait.phase == Phase::Data;
        let found = timed.stalls.hear(step.step, at_us, &step.waits, excused);
        if !found.is_empty() {
            timed.waiting = Some((step.clone(), Instant::now()));
            timed.alone = host::pace::threads(pid).is_ok_and(|threads| threads == 1);
            timed.connected = timed.connected || host::pace::has_connections(pid);
        }
        let workers = step
            .waits
            .iter()
            .any(|wait| wait.workers && wait.phase == Phase::Data);
        if workers {
            let why = "it waits for its loader's processes by right";
            self.gap_once(connection, "sleeps between steps", why);
        }
    }

    /// Judges what has settled; at the end, all.
    pub(super) fn judge_waits(&mut self, end: bool) {
        let due: Vec<Connection> = self
            .timings
            .of
            .iter_mut()
            .filter_map(|(connection, timed)| {
                let (_, since) = timed.waiting.as_ref()?;
                (end || since.elapsed() >= SETTLE).then_some(*connection)
            })
            .collect();
        for connection in due {
            self.judge_waits_of(connection);
        }
    }

    fn judge_waits_of(&mut self, connection: Connection) {
        let timings = &mut self.timings;
        let Some(timed) = timings.of.get_mut(&connection) else {
            return;
        };
        let Some((step, _)) = timed.waiting.take() else {
            return;
        };
        let (pid, world) = (timed.pid, timed.world);
        let timings = &self.timings;
        let Some(timed) = timings.of.get(&connection).filter(|it| !it.told) else {
            return;
        };
        let counts = |stall: &Stall| {
            let from =
                stall.at_us - i64::try_from(step_us(&step).max(stall.asleep_us)).unwrap_or(0);
            let from = from - 100_000;
            !timings.ticker.paused(pid, from, stall.at_us)
                && (timed.alone || !timings.ticker.loaded(from, stall.at_us))
                && !timings.others_slept(connection, world, stall)
        };
        let Some(found) = timed.stalls.judge(counts) else {
            return;
        };
        let in_data = found.first().is_some_and(|it| it.phase == Phase::Data);
        if in_data && timed.connected {
            let why = "it has connections to other machines or processes, and may wait for what they send";
            return self.gap_once(connection, "sleeps between steps", why);
        }
        if let Some(timed) = self.timings.of.get_mut(&connection) {
            timed.told = true;
        }
        let about = About {
            rule: Rule::SleepsInSteps,
            cause: "asleep",
            optimizer: 0,
        };
        self.tell_once(connection, about, &step, |_, rank| {
            Some(words(&found, rank))
        });
    }
}

impl Timings {
    /// Whether something was saved or loaded since the process's last step.
    pub(super) fn is_excused(&self, connection: Connection) -> bool {
        self.of.get(&connection).is_some_and(|it| it.excused)
    }

    /// Whether another rank of the world slept in the same step, in the same part or earlier: then this one may have waited for it.
    fn others_slept(
        &self,
        connection: Connection,
        world: Option<(u32, u32)>,
        stall: &Stall,
    ) -> bool {
        let Some(world) = world else { return false };
        self.of.iter().any(|(other, timed)| {
            *other != connection
                && timed.world == Some(world)
                && timed.stalls.recent().any(|it| {
                    it.step == stall.step && it.phase <= stall.phase
                        || it.step.saturating_add(1) == stall.step
                })
        })
    }
}

fn step_us(step: &StepRecord) -> u64 {
    let phases = &step.phases;
    phases
        .data_us
        .saturating_add(phases.forward_us)
        .saturating_add(phases.backward_us)
        .saturating_add(phases.between_us)
        .saturating_add(phases.optimizer_us)
}

fn words(found: &[Stall], rank: Option<u32>) -> Finding {
    let first = found.first().copied();
    let place = match first.map(|it| it.phase) {
        Some(Phase::Forward) => "in the forward pass",
        Some(Phase::Backward) => "in the backward pass",
        Some(Phase::Between) => "between the backward pass and the optimizer",
        Some(Phase::Optimizer) => "in the optimizer's step",
        Some(Phase::Data) | None => "between the steps, where data is loaded",
    };
    let steps = found.first().zip(found.last());
    let steps = steps.map_or(0, |(first, last)| last.count - first.count + 1);
    let listed = found.iter().take(LISTED_MAX).map(|stall| {
        format!(
            "step {}: asleep for {} ms; three of four steps before stay below {} ms there",
            stall.step,
            stall.asleep_us / 1000,
            (stall.usual_us / 1000).max(1)
        )
    });
    let mut details: Vec<String> = listed.collect();
    details.push(
        "it did not wait for a processor, nor for a disk, nor for other threads of its own; the machine was neither paused nor full"
            .to_owned(),
    );
    Finding {
        rule: Rule::SleepsInSteps,
        grade: Grade::Claimed,
        what: format!("the thread that trains slept {place} in {} of {steps} steps", found.len()),
        details,
        path: None,
        step: first.map(|it| it.step),
        rank,
        earlier: None,
        evidence: Vec::new(),
        innocent: vec![
            "the program waits for something that is not seen here: a lock, a pipe, another program, an accelerator".to_owned(),
            "a rate limit or a retry of the program's own; then its code says so".to_owned(),
            "a file system over a network, whose waits do not count as reading".to_owned(),
        ],
    }
}
