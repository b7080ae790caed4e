//! Runs whose supervisor is gone without an end: the next command says so, and keeps all that they recorded.

use domain::entry::Act;
use domain::{Body, Process, RunId};
use host::identity::ProcessId;
use ledger::{Store, Writer};

use crate::error::AppError;
use crate::index::{Index, IndexedRun};
use crate::journal::wall_us;

/// Whether the supervisor of an open run is alive. One of an earlier boot is not; one of another host cannot be seen from
/// here and counts as alive.
pub(crate) fn is_alive(run: &IndexedRun) -> bool {
    may_live(&run.log, &run.supervisor)
}

/// The same of a supervisor by itself.
pub(crate) fn may_live(log: &str, supervisor: &Process) -> bool {
    is_elsewhere(log) || process_lives(supervisor)
}

/// Whether a process of this host lives.
pub(crate) fn process_lives(process: &Process) -> bool {
    let Process { boot, pid, started } = process;
    ProcessId {
        boot: boot.clone(),
        pid: *pid,
        started: *started,
    }
    .is_alive()
}

/// Whether a log, named `user@host` or `user@host~2`, is of another host that shares this store.
fn is_elsewhere(log: &str) -> bool {
    let base = log.split('~').next().unwrap_or(log);
    base.rsplit_once('@')
        .is_some_and(|(_, host)| host != host::identity::host_name())
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
