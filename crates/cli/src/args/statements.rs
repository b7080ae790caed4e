//! `taintline approve`, `approvals`, `attest`: what people and this tool put their names to.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::Json;

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 approved and recorded; 2 it could not be signed, and nothing was recorded."
)]
pub(crate) struct Approve {
    /// A run by its name, a sealed file or folder (a dot or slash in its name), or a SHA-256.
    pub(crate) what: String,
    /// Words that are signed with it.
    #[arg(long, value_name = "TEXT")]
    pub(crate) note: Option<String>,
    /// SSH key: a private one, or a public one whose private half ssh-agent has; the first in ~/.ssh by default.
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    pub(crate) key: Option<PathBuf>,
    /// Sign with the first key of ssh-agent.
    #[arg(long)]
    pub(crate) agent: bool,
    #[command(flatten)]
    pub(crate) whom: Whom,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Who may have sealed a path.
#[derive(Debug, ClapArgs)]
pub(crate) struct Whom {
    /// Public key of who sealed the path, PEM; can be repeated. Your own by default.
    #[arg(long = "signer", value_name = "FILE")]
    pub(crate) signers: Vec<PathBuf>,
    /// A TOML file that names such keys and roots.
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 all of them count, or there is none; 1 one does not; 2 bad input, usage or I/O; 3 one cannot be checked."
)]
pub(crate) struct Approvals {
    /// A run, a sealed path or a SHA-256; all approvals of the store by default.
    pub(crate) what: Option<String>,
    /// Write what was signed and the signatures into this folder, for `ssh-keygen -Y verify`.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) export: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) whom: Whom,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 written, or VALID; 1 INVALID; 2 bad input, usage or I/O; 3 it cannot be checked."
)]
pub(crate) struct Attest {
    /// The run.
    #[arg(required_unless_present = "verify", requires = "output")]
    pub(crate) run: Option<String>,
    /// The folder that the signed statements go to; made where it is not there.
    #[arg(long, short, value_name = "FOLDER")]
    pub(crate) output: Option<PathBuf>,
    /// Verify this statement instead.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "output"])]
    pub(crate) verify: Option<PathBuf>,
    /// Private key to sign with, or public keys that are believed with --verify, PEM; your own by default.
    #[arg(long = "key", value_name = "FILE")]
    pub(crate) keys: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}
