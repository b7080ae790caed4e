//! How the supervisor behaves towards the job on a full machine, and towards Ctrl-C once the job is over.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Puts the calling thread, and threads that it starts, behind everything else (`nice` 19; Linux counts it by thread). True
/// when the system did so.
pub fn lowest_priority() -> bool {
    rustix::process::setpriority_process(None, 19).is_ok()
}

/// From now on SIGINT and SIGTERM set `stop` instead of ending this process. True when the system did so.
pub fn stop_on_interrupt(stop: &Arc<AtomicBool>) -> bool {
    [libc::SIGINT, libc::SIGTERM]
        .into_iter()
        .all(|signal| signal_hook::flag::register(signal, Arc::clone(stop)).is_ok())
}
