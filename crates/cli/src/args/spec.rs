//! `taintline spec`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Json;

#[derive(Debug, Subcommand)]
pub(crate) enum Spec {
    /// Write what the ledger has of a good run as a spec: readable TOML, and a table of its steps beside it.
    Learn(SpecLearn),
    /// Show what a spec declares, and who signed it.
    Show(SpecFile),
    /// Show only what differs between two specs.
    Diff(SpecDiff),
    /// Sign a spec with your SSH key: FILE.sig, and an entry in the ledger.
    Sign(SpecSign),
    /// Tell whether a spec is as it was signed, and whose signature that is.
    Verify(SpecFile),
    /// Change a spec from a step on, with a reason; signed and entered in the ledger.
    Amend(SpecAmend),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SpecLearn {
    /// Name, id, or beginning of the id of the run; `last` is the newest.
    pub(crate) run: String,
    /// A further run of the same command: generators that started alike in both are judged.
    #[arg(long, value_name = "RUN")]
    pub(crate) also: Option<String>,
    /// The file to write; NAME-OF-THE-RUN.spec.toml by default.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Learn from a run with findings, or one that did not end well.
    #[arg(long)]
    pub(crate) anyway: bool,
    /// Replace files that are there already.
    #[arg(long, short)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SpecFile {
    /// The spec.
    pub(crate) file: PathBuf,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SpecDiff {
    /// The earlier spec.
    pub(crate) left: PathBuf,
    /// The later spec.
    pub(crate) right: PathBuf,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SpecSign {
    /// The spec.
    pub(crate) file: PathBuf,
    /// Sign it although it was changed since it was signed.
    #[arg(long)]
    pub(crate) anew: bool,
    #[command(flatten)]
    pub(crate) with: SpecKey,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SpecKey {
    /// The SSH key: a private one, or a public one whose private half is in the agent. By default the first of ~/.ssh.
    #[arg(long, value_name = "FILE", conflicts_with = "agent")]
    pub(crate) key: Option<PathBuf>,
    /// The first key of ssh-agent.
    #[arg(long)]
    pub(crate) agent: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SpecAmend {
    /// The spec.
    pub(crate) file: PathBuf,
    /// The first step for which it holds.
    #[arg(long, value_name = "STEP")]
    pub(crate) from_step: u64,
    /// What is set: `optimizer.0.group.0.lr=1e-4`, `…lr=*1.5`, `optimizer.0.group.1.weight_decay=0`, `steps.count=800`,
    /// `seed=any`. Can be repeated.
    #[arg(long, value_name = "KEY=VALUE", required = true)]
    pub(crate) set: Vec<String>,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    pub(crate) why: String,
    #[command(flatten)]
    pub(crate) with: SpecKey,
    #[command(flatten)]
    pub(crate) json: Json,
}
