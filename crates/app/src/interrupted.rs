//! Runs whose supervisor is gone without an end: the next command says so, and keeps all that they recorded.

use domain::entry::Act;
use domain::{Body, Process, RunId};
use host::identity::ProcessId;
use ledger::{Store, Writer};

use crate::error::AppError;
use crate::index::{Index, IndexedRun};
use crate::journal::wall_us;

/// Whether the supervisor of an open run is alive. One of another boot is not; one of another host cannot be seen.
pub(crate) fn is_alive(run: &IndexedRun) -> bool {
    let Process { boot, pid, started } = &run.supervisor;
    ProcessId {
        boot: boot.clone(),
        pid: *pid,
        started: *started,
    }
    .is_alive()
}

/// Records an `Interrupted` act for each such run that began on this host.
pub(crate) fn mark(
    store: &Store,
    writer: &Writer,
    index: &mut Index,
) -> Result<Vec<String>, AppError> {
    let mut marked = Vec::new();
    let mut entries = Vec::new();
    for run in index
        .runs()?
        .into_iter()
        .filter(|run| run.state == "open" && !is_alive(run))
    {
        let seq = index.next_seq(run.id)?;
        entries.push(entry(run.id, seq)?);
        marked.push(run.name);
    }
    if !entries.is_empty() {
        writer.append(&entries)?;
        index.sync(store)?;
    }
    Ok(marked)
}

fn entry(run: RunId, seq: u64) -> Result<Vec<u8>, AppError> {
    let now = wall_us();
    let body = Body::Act(Act::Interrupted);
    let tier = domain::Tier::Supervisor;
    let entry = domain::Entry {
        v: domain::entry::ENTRY_VERSION,
        run,
        seq,
        event_us: now,
        capture_us: now,
        tier,
        body,
    };
    Ok(entry.encode()?)
}
