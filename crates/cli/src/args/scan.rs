//! What can be said behind `taintline scan`.

use std::path::PathBuf;

use app::scan::Day;
use clap::{Args as ClapArgs, ValueEnum};

use super::bytes;

const CODES: &str = "Exit codes: 0 nothing found, and everything that a loader would interpret was examined; \
1 something found; 2 bad input, usage or I/O; 3 nothing found that counts, but not everything could be examined or vouched for. \
1 wins over 2, and 2 over 3.";

#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
#[derive(Debug, ClapArgs)]
#[command(after_help = CODES)]
pub(crate) struct Scan {
    /// Files and folders; `-` is standard input.
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<PathBuf>,
    /// How to write the result.
    #[arg(long, value_enum, default_value_t = Format::Plain, value_name = "FORMAT")]
    pub(crate) output_format: Format,
    /// The lightest finding that makes exit code 1.
    #[arg(long, value_enum, default_value_t = FailOn::Unknown, value_name = "WEIGHT")]
    pub(crate) fail_on: FailOn,
    /// Classes that no known framework brings count as findings: the same as `--fail-on custom`.
    #[arg(long)]
    pub(crate) strict: bool,
    /// Read every byte, those of plain numbers too.
    #[arg(long)]
    pub(crate) full: bool,
    /// Show what the pickles in each file say, line by line, with the findings in their places.
    #[arg(long)]
    pub(crate) explain: bool,
    /// Findings that were looked at and accepted; never a file in PATH.
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
    /// Accept what is found now: adds it to this baseline.
    #[arg(long, value_name = "FILE", requires = "reason", conflicts_with_all = ["baseline", "learn"])]
    pub(crate) write_baseline: Option<PathBuf>,
    /// Why it is accepted; required by --write-baseline.
    #[arg(long, value_name = "TEXT", requires = "write_baseline", value_parser = reason)]
    pub(crate) reason: Option<String>,
    /// The last day on which it is accepted; 90 days from now by default.
    #[arg(long, value_name = "DAY", requires = "write_baseline", value_parser = day)]
    pub(crate) expires: Option<Day>,
    /// Names of the project's own code that its checkpoints need; never a file in PATH.
    #[arg(long, value_name = "FILE", conflicts_with = "learn")]
    pub(crate) policy: Option<PathBuf>,
    /// Write a policy: which classes and functions of the project's own these files need.
    #[arg(long, value_name = "FILE")]
    pub(crate) learn: Option<PathBuf>,
    /// Where the project's modules lie: a folder as on `sys.path`, or a script. Binds what is learnt to that source.
    #[arg(long, value_name = "FOLDER", requires = "learn")]
    pub(crate) source: Vec<PathBuf>,
    /// Tell what PATH needs and does that this older file or folder did not; anything that is not allowed counts.
    #[arg(long, value_name = "OLD")]
    pub(crate) since: Option<PathBuf>,
    /// Keep the verdicts in the store; a store in PATH is refused.
    #[arg(long)]
    pub(crate) record: bool,
    /// List the verdicts that are kept on the content of these files, and examine nothing; plain or json.
    #[arg(long, conflicts_with_all = ["record", "full", "explain", "baseline", "write_baseline", "policy", "learn", "since", "strict", "fail_on", "without_rules"])]
    pub(crate) history: bool,
    /// Files that are examined at once; the number of processors by default.
    #[arg(long, short, value_name = "NUMBER", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub(crate) jobs: Option<u16>,
    /// Bytes that standard input may have.
    #[arg(long, value_name = "BYTES", default_value = "64G", value_parser = bytes)]
    pub(crate) stdin_limit: u64,
    /// List clean files too, and what is no model.
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Judge as if this framework had never been heard of.
    #[arg(long, value_name = "FRAMEWORK", hide = true)]
    pub(crate) without_rules: Vec<String>,
}

/// How the result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    Plain,
    /// One JSON document.
    Json,
    /// SARIF 2.1.0.
    Sarif,
    /// Annotations of GitHub Actions.
    Github,
}

/// The lightest finding that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailOn {
    /// Everything that is told.
    Note,
    /// Objects of classes that no known framework brings.
    Custom,
    /// Something would be called that nobody vouches for.
    Unknown,
    /// Loading does something that no honest file needs.
    Dangerous,
}

fn reason(text: &str) -> Result<String, &'static str> {
    match text.trim() {
        "" => Err("say why it is accepted"),
        reason => Ok(reason.to_owned()),
    }
}

fn day(text: &str) -> Result<Day, &'static str> {
    match text.parse::<Day>() {
        Ok(day) if day >= Day::today() => Ok(day),
        Ok(_) => Err("that day is over"),
        Err(_) => Err("a day is written 2027-02-20"),
    }
}
