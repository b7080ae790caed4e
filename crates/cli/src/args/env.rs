//! `taintline env`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Json;

#[derive(Debug, Subcommand)]
pub(crate) enum Env {
    /// Tell for each file of a Python environment who vouches for it, and what is not as vouched for.
    Check(EnvCheck),
    /// Sign an environment as it is now, so that every later change shows.
    Baseline(EnvBaseline),
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 every file is vouched for; 1 something differs; 2 bad input, usage or I/O; 3 nothing differs, but not everything is vouched for or could be read."
)]
pub(crate) struct EnvCheck {
    /// The interpreter, or the folder of the environment; the active one by default. It is not started without --compiled.
    pub(crate) python: Option<PathBuf>,
    /// Lock file: uv.lock, pylock.toml, or requirements with --hash; the nearest one upwards by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) lock: Option<PathBuf>,
    /// Package index (https://…/simple) to fetch wheels from that the lock file gives by digest and that are not here. Not asked otherwise.
    #[arg(long, value_name = "URL")]
    pub(crate) index: Option<String>,
    /// Folder with the wheels that were installed; can be repeated.
    #[arg(long = "wheelhouse", value_name = "FOLDER")]
    pub(crate) wheelhouses: Vec<PathBuf>,
    /// A list that `env baseline` signed.
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Public key of its signer, PEM; can be repeated. Your own by default.
    #[arg(long = "key", value_name = "FILE", requires = "baseline")]
    pub(crate) keys: Vec<PathBuf>,
    /// Read every byte, also of files that are unchanged since they were read.
    #[arg(long)]
    pub(crate) deep: bool,
    /// Compare byte code (.pyc) with what its source compiles to: starts the interpreter for that, isolated and confined.
    #[arg(long)]
    pub(crate) compiled: bool,
    #[command(flatten)]
    pub(crate) threads: EnvThreads,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct EnvBaseline {
    /// The interpreter, or the folder of the environment; the active one by default. It is not started.
    pub(crate) python: Option<PathBuf>,
    /// The file to write, outside of the environment.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: PathBuf,
    /// Private key, PEM: EC P-256, P-384 or P-521; your own, made on first use, by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) threads: EnvThreads,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct EnvThreads {
    /// Threads that read; as many as there are processors by default.
    #[arg(long, short, value_name = "N")]
    jobs: Option<std::num::NonZeroU8>,
}

impl EnvThreads {
    /// How many.
    pub(crate) fn count(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or_else(processors, |jobs| jobs.get().into())
    }
}
