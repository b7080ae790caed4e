//! The control groups of runs: whoever writes into these files stops, slows or ends a run without a signal.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use domain::RunId;

/// Files of a control group by which what is in it is held, slowed, ended or moved.
const FILES: [&str; 12] = [
    "cgroup.freeze",
    "cgroup.kill",
    "cgroup.procs",
    "cgroup.threads",
    "cpu.max",
    "cpu.weight",
    "cpuset.cpus",
    "io.max",
    "memory.high",
    "memory.max",
    "memory.swap.max",
    "pids.max",
];

/// Folders of control groups, and the runs that are in them or below.
#[derive(Debug, Default)]
pub(super) struct Limits {
    of: BTreeMap<PathBuf, Vec<RunId>>,
}

impl Limits {
    /// A run is in the control group of this process: its own and those above it, but for the first, count.
    pub(super) fn add(&mut self, run: RunId, pid: u32) -> Vec<PathBuf> {
        let folders = host::identity::unified_folder(pid).map_or_else(Vec::new, |(top, folder)| {
            let above = folder.ancestors();
            let above = above.take_while(|above| above.starts_with(&top) && *above != top);
            above.map(Path::to_owned).collect()
        });
        for folder in &folders {
            self.of.entry(folder.clone()).or_default().push(run);
        }
        folders
    }

    /// A run is over.
    pub(super) fn remove(&mut self, run: RunId) {
        for runs in self.of.values_mut() {
            runs.retain(|of| *of != run);
        }
        self.of.retain(|_, runs| !runs.is_empty());
    }

    /// The runs that a file holds, slows, ends or moves.
    pub(super) fn runs(&self, path: &Path) -> &[RunId] {
        let name = path.file_name().and_then(|name| name.to_str());
        if !name.is_some_and(|name| FILES.contains(&name)) {
            return &[];
        }
        let runs = path.parent().and_then(|folder| self.of.get(folder));
        runs.map_or(&[], Vec::as_slice)
    }

    /// All folders.
    pub(super) fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        self.of.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_file_of_the_runs_group_or_of_one_above() {
        let (job, run) = (PathBuf::from("/cg/job_7"), RunId::new(1, [1; 10]));
        let mut limits = Limits::default();
        for folder in [job.join("step_0"), job.clone()] {
            limits.of.entry(folder).or_default().push(run);
        }
        assert_eq!(limits.runs(&job.join("cgroup.freeze")), [run]);
        assert_eq!(limits.runs(&job.join("step_0/memory.max")), [run]);
        assert!(limits.runs(&job.join("memory.current")).is_empty());
        assert!(limits.runs(Path::new("/cg/cgroup.procs")).is_empty());
        limits.remove(run);
        assert_eq!(limits.folders().count(), 0);
    }
}
