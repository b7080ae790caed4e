//! `taintline replay`, `taintline bisect` and `taintline audit`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Json;

#[derive(Debug, ClapArgs)]
pub(crate) struct Replay {
    /// Name, id, or beginning of the id of the run; `last` is the newest.
    #[arg(required_unless_present_any = ["job", "accept"])]
    pub(crate) run: Option<String>,
    /// Steps that are wanted: `N`, or `A..B` with both ends. All by default.
    #[arg(long, value_name = "STEPS", value_parser = steps)]
    pub(crate) steps: Option<(u64, u64)>,
    /// Instead: a stretch of this share of the steps, drawn at random.
    #[arg(long, value_name = "SHARE", value_parser = chance, conflicts_with_all = ["steps", "write_job", "job", "accept"])]
    pub(crate) sample: Option<f64>,
    #[command(flatten)]
    pub(crate) place: Place,
    /// Compute nothing: write a signed file with all that another machine needs for it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["job", "accept"])]
    pub(crate) write_job: Option<PathBuf>,
    /// Execute such a file. It holds code: only one by a key that is believed is executed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["run", "accept"])]
    pub(crate) job: Option<PathBuf>,
    /// Where the signed answer to the job goes.
    #[arg(long, value_name = "FILE", requires = "job")]
    pub(crate) answer: Option<PathBuf>,
    /// Take an answer into the ledger.
    #[arg(long, value_name = "FILE", conflicts_with = "run")]
    pub(crate) accept: Option<PathBuf>,
    /// A public key that is believed; your own by default.
    #[arg(long, value_name = "PEM")]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Bisect {
    #[command(flatten)]
    pub(crate) how: How,
    /// Put back what differs between the run and the replay, all of it and half by half, to see what brings the recorded step about. This
    /// executes what differs, in a process that can write to its own folders only.
    #[arg(long)]
    pub(crate) put_back: bool,
    /// Only say how many replays it would take.
    #[arg(long)]
    pub(crate) plan: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// Which steps of which run are computed again, and where.
#[derive(Debug, ClapArgs)]
pub(crate) struct How {
    /// Name, id, or beginning of the id of the run; `last` is the newest.
    pub(crate) run: String,
    /// Steps that are wanted: `N`, or `A..B` with both ends. All by default.
    #[arg(long, value_name = "STEPS", value_parser = steps)]
    pub(crate) steps: Option<(u64, u64)>,
    #[command(flatten)]
    pub(crate) place: Place,
}

/// Where, with which code and from where it is computed again.
#[derive(Debug, ClapArgs)]
pub(crate) struct Place {
    /// Interpreter of the environment to replay in; the one that the run had by default. It is checked before.
    #[arg(long, value_name = "PYTHON")]
    pub(crate) env: Option<PathBuf>,
    /// Replay in an environment that is not as vouched for; the answer says so.
    #[arg(long)]
    pub(crate) accept_environment: bool,
    /// Use the files of this commit instead of those that the run loaded.
    #[arg(long, value_name = "COMMIT")]
    pub(crate) code: Option<String>,
    /// Arguments by which the script resumes, `{checkpoint}` for the file: --resume '--resume {checkpoint}'. Then the last checkpoint
    /// before the steps that are wanted is taken. Without it the script goes through the steps before without computing them, and what
    /// the checkpoint holds is put in its place.
    #[arg(long, value_name = "ARGS", allow_hyphen_values = true)]
    pub(crate) resume: Option<String>,
    /// Compute everything from the start of the run, whatever checkpoints there are.
    #[arg(long, conflicts_with = "resume")]
    pub(crate) from_start: bool,
    /// Threads of each process, where they shall be others than in the run.
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<u32>,
    /// Leave the replay's folders below this one.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) keep: Option<PathBuf>,
    /// Print nothing while it runs.
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Audit {
    /// Tell how many steps must be computed again for a stated chance to catch a stated rate of tampering.
    Plan(AuditPlan),
    /// Draw stretches of a run at random, compute them again when the machine is idle, and say what that tells of the whole.
    Run(AuditRun),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AuditRun {
    /// The run: name, id, beginning of the id, or `last`. Without it, one is drawn of those that nobody audited.
    pub(crate) run: Option<String>,
    /// The chance of a miss that is left.
    #[arg(long, value_name = "CHANCE", default_value = "0.05", value_parser = chance)]
    pub(crate) miss: f64,
    /// The share of the steps that is tampered with.
    #[arg(long, value_name = "SHARE", default_value = "0.01", value_parser = chance)]
    pub(crate) rate: f64,
    #[command(flatten)]
    pub(crate) place: Place,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AuditPlan {
    /// The run: name, id, beginning of the id, or `last`. Without it, a run with very many steps is meant.
    pub(crate) run: Option<String>,
    /// The chance of a miss that is left.
    #[arg(long, value_name = "CHANCE", default_value = "0.05", value_parser = chance)]
    pub(crate) miss: f64,
    /// The share of the steps that is tampered with.
    #[arg(long, value_name = "SHARE", default_value = "0.01", value_parser = chance)]
    pub(crate) rate: f64,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// More than 0 and less than 1.
fn chance(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| format!("{text} is no number"))?;
    if number > 0.0 && number < 1.0 {
        return Ok(number);
    }
    Err("it must lie between 0 and 1".to_owned())
}

/// `12` or `3..40`.
fn steps(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| {
        text.parse::<u64>()
            .map_err(|_| format!("{text} is no number of a step"))
    };
    let (first, last) = match text.split_once("..") {
        Some((first, last)) => (number(first)?, number(last.trim_start_matches('='))?),
        None => (number(text)?, number(text)?),
    };
    if first == 0 || first > last {
        return Err("steps count from 1, and the first is not behind the last".to_owned());
    }
    Ok((first, last))
}
