//! What can be said on the command line. Help, man page and completions all come from here.

mod env;
mod papers;
mod replay;
mod scan;
mod seal;
mod spec;
mod statements;
mod store;
mod watch;
mod witness;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use env::{Env, EnvBaseline, EnvCheck};
pub(crate) use papers::{LedgerAudit, LedgerStamp};
pub(crate) use replay::{Audit, AuditPlan, AuditRun, Bisect, How, Place, Replay};
pub(crate) use scan::{FailOn, Format, Scan as ScanArgs};
pub(crate) use seal::{Seal as SealArgs, Verify as VerifyArgs};
pub(crate) use spec::{Spec, SpecAmend, SpecLearn, SpecSign};
pub(crate) use statements::{Approvals, Approve, Attest, Whom};
pub(crate) use store::{Prune, Store};
pub(crate) use watch::{Blame, Watch};
pub(crate) use witness::{Cosign, Witness, WitnessServe};

/// Keeps model training honest: records what a run loads and does, and finds sabotage.
#[derive(Debug, Parser)]
#[command(name = "taintline", version, max_term_width = 100, after_help = CODES)]
pub(crate) struct Args {
    /// Folder of the store; else TAINTLINE_STORE, else `.taintline` here or above.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) store: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const CODES: &str = "Exit codes: 0 nothing found; 1 something found; 2 bad input, usage or I/O; 3 nothing found, but not everything could be examined. \
`run` gives the command's own code when that is not 0, 128 + signal when it died of one.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a training command under guard, unchanged.
    Run(Run),
    /// Examine checkpoints and model files without executing them.
    Scan(ScanArgs),
    /// Sign a model, a checkpoint or data, so that every later change shows.
    Seal(SealArgs),
    /// Tell whether a model still is what was signed, and by whom.
    Verify(VerifyArgs),
    /// Declare what a run is to be: learn it from a good run, read, compare, sign and amend it.
    #[command(subcommand)]
    Spec(Spec),
    /// Tell who vouches for each file of a Python environment, or sign one.
    #[command(subcommand)]
    Env(Env),
    /// Approve of a run, a sealed model or any bytes with your SSH key.
    Approve(Approve),
    /// List the recorded approvals, and say which of them count.
    Approvals(Approvals),
    /// State in signed files what is recorded of a run; or verify such a statement.
    Attest(Attest),
    /// List the recorded runs.
    Runs(Json),
    /// Show all that is recorded of one run.
    Show(Show),
    /// Show only what differs between two runs, or between two checkpoint files.
    Diff(Diff),
    /// Compute steps of a run again in a clean process, and hold them against what was recorded.
    Replay(Replay),
    /// Find the first bad step of a run and what brings it about, by replays.
    Bisect(Bisect),
    /// Say how many steps must be computed again to be so sure.
    #[command(subcommand)]
    Audit(Audit),
    /// Watch this host as a daemon: who changes what runs load, and who signals them.
    Watch(Watch),
    /// Say who wrote a file or these bytes, how well that is known, and who else could have.
    Blame(Blame),
    /// Turn a torch checkpoint into safetensors and JSON without executing anything.
    Convert(Convert),
    /// Check or rebuild what is recorded.
    #[command(subcommand)]
    Ledger(Ledger),
    /// See where the room goes, and take out what only old runs need.
    #[command(subcommand)]
    Store(Store),
    /// Play the whole story: a real training, clean and then sabotaged, found and explained.
    Demo(Demo),
    /// Write the man page or a shell's completions to standard output.
    #[command(subcommand, hide = true)]
    Generate(Generate),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Run {
    /// Whose exit code to return when the command ended well.
    #[arg(long, value_enum, default_value_t = ExitCodeOf::Taintline, value_name = "WHOSE")]
    pub(crate) exit_code: ExitCodeOf,
    /// The environment is as it is meant to be, although files in it differ from the last good run.
    #[arg(long)]
    pub(crate) accept_environment: bool,
    /// Before each load, have it examined; what would do more than give data is not loaded, and the job gets an exception.
    #[arg(long)]
    pub(crate) refuse_dangerous: bool,
    /// Hold the run against this spec (`taintline spec learn`); a difference is told at its first step.
    #[arg(long, value_name = "FILE")]
    pub(crate) spec: Option<PathBuf>,
    /// Print nothing but findings.
    #[arg(long, short)]
    pub(crate) quiet: bool,
    /// Bytes of data files that are read in one run; beyond it only size and times are recorded.
    #[arg(long, value_name = "BYTES", default_value = "4G", value_parser = bytes)]
    pub(crate) data_budget: u64,
    /// Bytes up to which a checkpoint is read; beyond it only size and times are recorded.
    #[arg(long, value_name = "BYTES", default_value = "64G", value_parser = bytes)]
    pub(crate) checkpoint_budget: u64,
    /// The command and its arguments.
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub(crate) command: Vec<OsString>,
}

/// Whose exit code is returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExitCodeOf {
    /// 1 when something was found.
    Taintline,
    /// The command's, whatever was found.
    Command,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Json {
    /// Print JSON.
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Show {
    /// Name, id, or beginning of the id of the run; `last` is the newest.
    pub(crate) run: String,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Diff {
    /// First run, or the earlier checkpoint: a file, told by a dot or slash in its name.
    pub(crate) left: String,
    /// Second run, or the later checkpoint.
    pub(crate) right: String,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Convert {
    /// The checkpoint.
    pub(crate) checkpoint: PathBuf,
    /// The safetensors file to write; beside the checkpoint by default. What is no tensor goes beside it, as .json.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Replace files that are there already.
    #[arg(long, short)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Ledger {
    /// Check every byte of the ledger and of the blob store; name what is wrong.
    Audit(LedgerAudit),
    /// Have a time stamping authority vouch that all that is recorded existed no later than now.
    Stamp(LedgerStamp),
    /// Print the newest signed tree head: keep it elsewhere, and nobody can put the log back or rewrite it unnoticed.
    Head(LedgerHead),
    /// List the newest entries, oldest first.
    Log(LedgerLog),
    /// Show one entry in full.
    Show(LedgerShow),
    /// Write a proof that an entry is in the ledger: one file that anybody verifies with the log's public key, offline.
    Prove(LedgerProve),
    /// Verify a proof with a public key, and nothing else.
    VerifyProof(LedgerVerify),
    /// Ask the witnesses that the settings name to cosign the ledger as it is now.
    Cosign(Cosign),
    /// Be a witness for other ledgers.
    #[command(subcommand)]
    Witness(Witness),
    /// Make a new key for this writer (its log ends, naming the new key, and a new log goes on), or for seals; the old private key is removed.
    RotateKey(LedgerRotate),
    /// Throw the index away and build it from the ledger.
    Reindex,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LedgerRotate {
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value = "rotation")]
    pub(crate) reason: String,
    /// The key that signs seals and statements instead; seals that the ledger has from before stay valid.
    #[arg(long)]
    pub(crate) seal: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LedgerHead {
    /// Of which log, where the store has several.
    #[arg(long, value_name = "LOG")]
    pub(crate) log: Option<String>,
    /// The file to write, instead of standard output.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LedgerLog {
    /// Only this log; all by default.
    #[arg(long, value_name = "LOG")]
    pub(crate) log: Option<String>,
    /// How many entries of each.
    #[arg(long, short = 'n', default_value_t = 20, value_name = "COUNT")]
    pub(crate) count: u64,
    /// With all that stands in them; for --json.
    #[arg(long, requires = "json")]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LedgerShow {
    /// NUMBER, or LOG:NUMBER where the store has several logs.
    pub(crate) entry: String,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LedgerProve {
    /// NUMBER, or LOG:NUMBER where the store has several logs.
    pub(crate) entry: String,
    /// The file to write; LOG-NUMBER.tlog-proof by default.
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct LedgerVerify {
    /// The proof (C2SP tlog-proof).
    pub(crate) proof: PathBuf,
    /// The log's public key, in signed-note form, or a file that holds it. Do not take it from where the proof comes from.
    #[arg(long, value_name = "VKEY", required_unless_present = "policy")]
    pub(crate) key: Option<String>,
    /// A policy (C2SP tlog-policy): the tree head must be cosigned by its quorum of witnesses. Without --key its logs count.
    #[arg(long, value_name = "FILE")]
    pub(crate) policy: Option<PathBuf>,
    /// The entry, when the proof does not hold it.
    #[arg(long, value_name = "FILE")]
    pub(crate) entry: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Demo {
    /// Where to play; a new temporary folder by default. It must be empty or not exist.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) folder: Option<PathBuf>,
    /// A Python that has torch; else one is looked for, else made in the cache.
    #[arg(long, value_name = "PYTHON")]
    pub(crate) python: Option<PathBuf>,
    /// Steps of the training.
    #[arg(long, default_value_t = 120, value_name = "STEPS")]
    pub(crate) steps: u32,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Generate {
    /// The man page.
    Man,
    /// Completions.
    Completions {
        /// For which shell.
        shell: Shell,
    },
}

/// A size: digits, and then perhaps k, M, G or T (powers of 1024).
fn bytes(text: &str) -> Result<u64, String> {
    let (digits, scale) = match text.find(|c: char| !c.is_ascii_digit()) {
        None => (text, 1),
        Some(at) => {
            let (digits, unit) = text.split_at(at);
            let scale = match unit {
                "k" | "K" => 1 << 10,
                "M" => 1 << 20,
                "G" => 1 << 30,
                "T" => 1 << 40,
                _ => return Err("a size is digits and then perhaps k, M, G or T".to_owned()),
            };
            (digits, scale)
        }
    };
    let number: u64 = digits
        .parse()
        .map_err(|_| "a size is digits and then perhaps k, M, G or T".to_owned())?;
    number
        .checked_mul(scale)
        .ok_or_else(|| "the size is too large".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Args::command().debug_assert();
    }

    #[test]
    fn what_follows_the_command_belongs_to_it() {
        let args =
            Args::try_parse_from(["taintline", "run", "--", "python", "t.py", "--store", "x"])
                .unwrap();
        let Command::Run(run) = args.command else {
            panic!("not run")
        };
        assert_eq!(run.command, ["python", "t.py", "--store", "x"]);
        assert_eq!(args.store, None);
    }

    #[test]
    fn sizes_are_read_as_they_are_written() {
        assert_eq!((bytes("12"), bytes("4G")), (Ok(12), Ok(4 << 30)));
        assert!(bytes("4X").is_err() && bytes("").is_err() && bytes("99999999999T").is_err());
    }
}
