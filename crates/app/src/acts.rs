//! Acts outside of every run: sealed, stamped, approved, pruned. One entry each, under an identity of its own.

use domain::entry::{Act, ENTRY_VERSION};
use domain::{Body, Entry, RunId, Tier};
use host::clock::wall_us;
use ledger::Writer;

use crate::writing::WritingError;

/// Appends an act; log and number of its entry. Its blobs must be stored already.
pub(crate) fn record(writer: &Writer, act: Act) -> Result<(String, u64), WritingError> {
    let appended = writer.append(&[alone(act)?.encode()?])?;
    Ok((appended.log, appended.first))
}

/// An act as an entry of its own, now.
pub(crate) fn alone(act: Act) -> Result<Entry, WritingError> {
    let now = wall_us();
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|_| WritingError::NoRandomness)?;
    Ok(Entry {
        v: ENTRY_VERSION,
        run: RunId::new(u64::try_from(now / 1000).unwrap_or(0), random),
        seq: 0,
        event_us: now,
        capture_us: now,
        tier: Tier::Supervisor,
        body: Body::Act(act),
    })
}
