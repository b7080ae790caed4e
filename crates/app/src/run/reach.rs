//! Programs that carry a training to where the sensor does not reach, known by name before anything runs.
//!
//! A container has its own file system, a batch step or a remote shell its own parent: their processes are not ours. That
//! is a gap, and it has a name from the start instead of showing as silence.

use std::ffi::OsString;
use std::path::Path;

use domain::Gap;

const CONTAINERS: &[&str] = &[
    "docker",
    "podman",
    "nerdctl",
    "apptainer",
    "singularity",
    "enroot",
    "bwrap",
    "systemd-nspawn",
];
const ELSEWHERE: &[&str] = &[
    "srun", "sbatch", "mpirun", "mpiexec", "ssh", "pdsh", "kubectl", "ray",
];
const NOTEBOOKS: &[&str] = &[
    "jupyter",
    "jupyter-lab",
    "jupyter-notebook",
    "papermill",
    "ipython",
    "marimo",
];

/// What can be said of a command by its first word.
pub(super) fn gaps(argv: &[OsString]) -> Option<Gap> {
    let program = Path::new(argv.first()?).file_name()?.to_str()?;
    let gap = |what: &str, why: &str| {
        Some(Gap {
            what: what.to_owned(),
            why: format!("`{program}`: {why}"),
        })
    };
    if CONTAINERS.contains(&program) {
        return gap(
            "what runs inside the container",
            "its processes do not see the sensor; run taintline inside it",
        );
    }
    if ELSEWHERE.contains(&program) {
        let why = "processes that it starts elsewhere or under another parent are not heard; put taintline behind it";
        return gap("ranks that are not below this command", why);
    }
    NOTEBOOKS.contains(&program).then(|| Gap {
        what: "code of notebook cells".to_owned(),
        why: format!(
            "`{program}`: a cell is no file; what it imports, loads and steps is recorded"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_a_gap_and_python_is_none() {
        let of = |program: &str| gaps(&[OsString::from(program), OsString::from("x")]);
        assert!(of("/usr/bin/docker").is_some_and(|gap| gap.why.contains("`docker`")));
        assert!(of("srun").is_some() && of("jupyter").is_some());
        assert!(of("python").is_none() && of("torchrun").is_none());
    }
}
