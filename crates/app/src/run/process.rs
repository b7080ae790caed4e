//! One process of the job, as its sensor and the host tell of it.

use std::collections::BTreeSet;
use std::time::Instant;

use domain::sensor::{Hello, Ready};
use domain::{Outcome, PathText, Process, StepRecord};

use super::event::Connection;

/// Steps in one segment at most.
const SEGMENT_STEPS: usize = 256;
/// A segment is closed when its first step is this old.
const SEGMENT_SECONDS: u64 = 2;

/// What is known of one process.
pub(super) struct Member {
    pub(super) connection: Connection,
    pub(super) process: Process,
    pub(super) hello: Option<Hello>,
    /// When it said hello, microseconds since 1970 by the supervisor's clock.
    pub(super) hello_us: i64,
    pub(super) ready: Option<Ready>,
    pub(super) recorded: bool,
    pub(super) steps: Vec<StepRecord>,
    oldest: Option<Instant>,
    pub(super) step_count: u64,
    pub(super) last_step: Option<u64>,
    pub(super) sensor_us: u64,
    pub(super) modules: BTreeSet<PathText>,
    pub(super) mapped: BTreeSet<PathText>,
    pub(super) next_seq: u64,
    pub(super) said_bye: bool,
    /// Type of the exception that ended it.
    pub(super) exception: Option<String>,
    pub(super) left: bool,
    /// How it ended and since when that is known, until that is concluded.
    pub(super) ended: Option<(Outcome, Instant)>,
    /// How it ended, concluded.
    pub(super) outcome: Option<Outcome>,
    /// Its parent when it connected.
    pub(super) parent: Option<u32>,
}

impl Member {
    pub(super) fn new(connection: Connection, process: Process) -> Self {
        Self {
            connection,
            process,
            hello: None,
            hello_us: 0,
            ready: None,
            recorded: false,
            steps: Vec::new(),
            oldest: None,
            step_count: 0,
            last_step: None,
            sensor_us: 0,
            modules: BTreeSet::new(),
            mapped: BTreeSet::new(),
            next_seq: 0,
            said_bye: false,
            exception: None,
            left: false,
            ended: None,
            outcome: None,
            parent: None,
        }
    }

    /// Its rank, as its environment says.
    pub(super) fn rank(&self) -> Option<u32> {
        self.hello.as_ref().and_then(|hello| hello.rank)
    }

    /// How people call it.
    pub(super) fn label(&self) -> String {
        self.rank().map_or_else(
            || format!("process {}", self.process.pid),
            |rank| format!("rank {rank}"),
        )
    }

    /// Takes a step in.
    pub(super) fn step(&mut self, step: StepRecord) {
        self.oldest.get_or_insert_with(Instant::now);
        self.step_count += 1;
        self.last_step = Some(step.step);
        self.sensor_us += step.phases.sensor_us;
        self.steps.push(step);
    }

    /// Whether its segment is due.
    pub(super) fn due(&self) -> bool {
        self.steps.len() >= SEGMENT_STEPS
            || self
                .oldest
                .is_some_and(|oldest| oldest.elapsed().as_secs() >= SEGMENT_SECONDS)
    }

    /// The steps since the last segment, as JSON lines.
    pub(super) fn segment(&mut self) -> Option<(Vec<StepRecord>, Vec<u8>)> {
        let steps = std::mem::take(&mut self.steps);
        self.oldest = None;
        let mut lines = Vec::with_capacity(steps.len() * 600);
        for step in &steps {
            serde_json::to_writer(&mut lines, step).ok()?;
            lines.push(b'\n');
        }
        (!steps.is_empty()).then_some((steps, lines))
    }
}
