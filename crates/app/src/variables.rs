//! Environment variables: all names, the values of those that steer a training and hold no secret, and of the rest only a
//! digest under the store's own secret, so that two runs can be compared and nothing can be guessed.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use domain::entry::Variable;
use domain::{Digest, PathText};

use crate::secret;

/// Names whose values are recorded; a trailing `*` stands for any ending.
const SHOWN: &[&str] = &[
    "ACCELERATE_*",
    "BLIS_NUM_THREADS",
    "CONDA_DEFAULT_ENV",
    "CONDA_PREFIX",
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_*",
    "GLOO_*",
    "GROUP_RANK",
    "HIP_VISIBLE_DEVICES",
    "KMP_*",
    "LANG",
    "LC_*",
    "LD_AUDIT",
    "LD_LIBRARY_PATH",
    "LD_PRELOAD",
    "LOCAL_RANK",
    "LOCAL_WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "MKL_*",
    "NCCL_*",
    "NVIDIA_*",
    "OMP_*",
    "OPENBLAS_NUM_THREADS",
    "PATH",
    "PYTHON*",
    "RANK",
    "ROCR_VISIBLE_DEVICES",
    "SLURM_ARRAY_*",
    "SLURM_CLUSTER_NAME",
    "SLURM_JOBID",
    "SLURM_JOB_*",
    "SLURM_LOCALID",
    "SLURM_NNODES",
    "SLURM_NODEID",
    "SLURM_NODELIST",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_STEP_ID",
    "TORCHINDUCTOR_*",
    "TORCH_*",
    "TRITON_*",
    "TZ",
    "VIRTUAL_ENV",
    "WORLD_SIZE",
];

/// What is recorded of the environment, sorted by name.
pub(crate) fn collect<N: AsRef<OsStr>, V: AsRef<OsStr>>(
    all: impl IntoIterator<Item = (N, V)>,
    secret: &[u8; 32],
) -> Vec<Variable> {
    let mut variables: Vec<_> = all
        .into_iter()
        .map(|(name, value)| variable(name.as_ref().as_bytes(), value.as_ref().as_bytes(), secret))
        .collect();
    variables.sort();
    variables
}

fn variable(name: &[u8], value: &[u8], secret: &[u8; 32]) -> Variable {
    let shown = is_shown(name).then(|| PathText::from_bytes(value));
    Variable {
        name: PathText::from_bytes(name),
        value: shown,
        keyed: keyed(name, value, secret),
    }
}

fn is_shown(name: &[u8]) -> bool {
    let name = String::from_utf8_lossy(name);
    let listed = SHOWN.iter().any(|rule| match rule.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == *rule,
    });
    // A name on the list that speaks of a secret is not on the list.
    listed && crate::redact::text(&format!("{name}=x")) == format!("{name}=x")
}

/// HMAC-SHA256 of `name=value`.
fn keyed(name: &[u8], value: &[u8], secret: &[u8; 32]) -> Digest {
    secret::keyed(secret, &[name, b"=", value])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_that_hold_no_secret_are_recorded() {
        let variables = collect(
            [
                ("OMP_NUM_THREADS", "1"),
                ("AWS_SECRET_ACCESS_KEY", "s3cr3t"),
                ("TORCH_API_TOKEN", "x"),
            ],
            &[1; 32],
        );
        let text = serde_json::to_string(&variables).unwrap();
        assert!(text.contains("OMP_NUM_THREADS") && text.contains("\"1\""));
        assert!(
            !text.contains("s3cr3t") && !text.contains("\"x\""),
            "{text}"
        );
        assert_eq!(variables.len(), 3);
    }

    #[test]
    fn equal_values_compare_equal_under_one_secret_only() {
        assert_eq!(keyed(b"A", b"1", &[1; 32]), keyed(b"A", b"1", &[1; 32]));
        assert_ne!(keyed(b"A", b"1", &[1; 32]), keyed(b"A", b"1", &[2; 32]));
        assert_ne!(keyed(b"A", b"1", &[1; 32]), keyed(b"A", b"2", &[1; 32]));
    }

    #[test]
    fn the_keyed_digest_is_hmac_sha256() {
        // python3 -c "import hmac,hashlib; print(hmac.new(bytes([1]*32), b'A=1', hashlib.sha256).hexdigest())"
        let expected = "79f22f0d57ad5697488e5f33f12c3e4f56f201a2ff9c60d390c2d82ee89700ca";
        assert_eq!(keyed(b"A", b"1", &[1; 32]).to_string(), expected);
    }
}
