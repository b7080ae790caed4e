//! From the record of a run to what its statements say: nothing is measured here, nothing is left out.

use std::collections::BTreeSet;

use domain::entry::{Kind, Load, Write};
use domain::{Gap, Process};
use report::time::rfc3339;
use report::view::State;

use super::predicate::{
    Checkpoints, Closure, Link, LoadRef, Origin, RunRef, SegmentRef, Transcript, Verdict,
};
use crate::error::AppError;
use crate::evidence;
use crate::index::IndexedRun;
use crate::present;
use crate::queries::Reading;
use crate::record::RunRecord;

/// The four statements about one run.
pub(crate) struct Gathered {
    pub(crate) closure: Closure,
    pub(crate) transcript: Transcript,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) verdict: Verdict,
}

/// Reads the record of a run and the root of the log behind its last entry.
pub(crate) fn gather(reading: &Reading, run: &IndexedRun) -> Result<Gathered, AppError> {
    let record = reading.record(run)?;
    let place = reading.last_place(run)?;
    let log = evidence::find_log(&reading.store, &place.0)?;
    let size = place.1.saturating_add(1);
    let root = log.snapshot()?.root_at(size)?;
    let state = match present::state(&record) {
        State::Ended => "ended",
        State::Running => "running",
        State::Interrupted => "interrupted",
    };
    let run = RunRef {
        id: record.id.to_string(),
        name: record.name(),
        started: rfc3339(record.started_us),
        state: state.to_owned(),
        outcome: record
            .end
            .as_ref()
            .map(|(_, end)| present::outcome(end.outcome)),
        log: place.0,
        size,
        root,
    };
    let mut gaps = record.gaps.clone();
    gaps.extend_from_slice(reading.index.unread());
    Ok(Gathered {
        closure: closure(&run, &record, &gaps),
        transcript: transcript(&run, &record, &gaps),
        checkpoints: checkpoints(&run, &record, &gaps),
        verdict: Verdict {
            taintline: record
                .launch
                .as_ref()
                .map(|launch| launch.taintline.clone()),
            word: Verdict::word(&run, &record.findings, &gaps),
            findings: record.findings.clone(),
            run,
            gaps,
        },
    })
}

fn closure(run: &RunRef, record: &RunRecord, gaps: &[Gap]) -> Closure {
    let loads: BTreeSet<LoadRef> = record.loads.iter().map(load).collect();
    Closure {
        run: run.clone(),
        loads: loads.into_iter().collect(),
        gaps: gaps.to_vec(),
    }
}

fn load(load: &Load) -> LoadRef {
    let kind = serde_json::to_value(load.what).ok();
    let kind = kind.and_then(|value| value.as_str().map(str::to_owned));
    LoadRef {
        kind: kind.unwrap_or_default(),
        path: load.path.as_str().to_owned(),
        sha256: load.digest,
        bytes: load.identity.as_ref().map(|identity| identity.size),
    }
}

fn transcript(run: &RunRef, record: &RunRecord, gaps: &[Gap]) -> Transcript {
    let segments = record.segments.iter().map(|segment| SegmentRef {
        rank: segment.rank,
        pid: segment.process.pid,
        first: segment.first,
        last: segment.last,
        count: segment.count,
        sha256: segment.segment,
    });
    let segments: Vec<_> = segments.collect();
    Transcript {
        run: run.clone(),
        steps: record.steps(),
        first: segments.iter().map(|segment| segment.first).min(),
        last: segments.iter().map(|segment| segment.last).max(),
        segments,
        gaps: gaps.to_vec(),
    }
}

/// Each checkpoint by its final name; one of which only size and times are known cannot be named, and is a gap.
fn checkpoints(run: &RunRef, record: &RunRecord, gaps: &[Gap]) -> Checkpoints {
    let mut gaps = gaps.to_vec();
    let mut links = Vec::new();
    for (at_us, write) in present::final_writes(record) {
        let Some(sha256) = write.digest else {
            gaps.push(Gap {
                what: format!("checkpoint {}", write.path),
                why: "only its size and times were recorded".to_owned(),
            });
            continue;
        };
        links.push(Link {
            path: write.path.as_str().to_owned(),
            sha256,
            bytes: write.identity.as_ref().map(|identity| identity.size),
            rank: write.rank,
            step: write.step,
            resumed_from: origins(record, *at_us, write),
        });
    }
    Checkpoints {
        run: run.clone(),
        links,
        gaps,
    }
}

/// What the process that saved, or another of its rank, had loaded by then.
fn origins(record: &RunRecord, at_us: i64, write: &Write) -> Vec<Origin> {
    let same = |process: &Option<Process>, rank: Option<u32>| {
        process.as_ref() == Some(&write.process) || (rank.is_some() && rank == write.rank)
    };
    let mut origins: Vec<Origin> = Vec::new();
    for (loaded_us, load) in record.load_times.iter().zip(&record.loads) {
        let before = *loaded_us <= at_us && load.what == Kind::Checkpoint;
        let Some(sha256) = load
            .digest
            .filter(|_| before && same(&load.process, load.rank))
        else {
            continue;
        };
        let origin = Origin {
            path: load.path.as_str().to_owned(),
            sha256,
            step: load.step,
        };
        if !origins.contains(&origin) {
            origins.push(origin);
        }
    }
    origins
}
