//! `taintline store`.

use app::store::BlobKind;
use clap::{Args as ClapArgs, Subcommand};

use super::{Json, bytes};

#[derive(Debug, Subcommand)]
pub(crate) enum Store {
    /// Show where the bytes are: by log, by kind of blob, by run.
    Du(Json),
    /// Take out blobs that only old runs need. Entries, tree heads and proofs stay; the ledger says first what goes.
    Prune(Prune),
}

const CODES: &str = "What stays: runs that are still going, and unless --force is given also runs in which something was found, runs that wrote \
a file that is sealed, the environment that the next run of a command is compared with, and summaries of checkpoints that later runs came from. \
Exit codes: 0 done; 2 nothing was removed; 3 not all of it could be removed.";

#[derive(Debug, ClapArgs)]
#[command(after_help = CODES)]
pub(crate) struct Prune {
    /// Only runs whose last entry is older: a number and s, m, h, d or w.
    #[arg(long, value_name = "AGE", value_parser = age)]
    pub(crate) older_than: Option<Age>,
    /// Keep so many of the newest runs.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) keep: Option<u64>,
    /// Take only as many of the oldest runs as it needs to come down to so many bytes of blobs.
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) budget: Option<u64>,
    /// Only this kind of blob, as `taintline store du` calls them; can be repeated. All but strays by default.
    #[arg(long = "kind", value_name = "KIND")]
    pub(crate) kinds: Vec<BlobKind>,
    /// Also what would stay because something hangs on it.
    #[arg(long)]
    pub(crate) force: bool,
    /// Only tell what would go.
    #[arg(long, short = 'n')]
    pub(crate) dry_run: bool,
    #[command(flatten)]
    pub(crate) json: Json,
}

impl Prune {
    /// The rules as they were given, for the record.
    pub(crate) fn reason(&self) -> String {
        let mut parts = Vec::new();
        if let Some(age) = &self.older_than {
            parts.push(format!("older than {}", age.text));
        }
        if let Some(keep) = self.keep {
            parts.push(format!("keep {keep}"));
        }
        if let Some(budget) = self.budget {
            parts.push(format!("budget {budget} bytes"));
        }
        if !self.kinds.is_empty() {
            let names: Vec<_> = self.kinds.iter().map(|kind| kind.name()).collect();
            parts.push(format!("only {}", names.join(" and ")));
        }
        if self.force {
            parts.push("forced".to_owned());
        }
        parts.join(", ")
    }
}

/// A length of time, and how it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Age {
    pub(crate) seconds: u64,
    text: String,
}

fn age(text: &str) -> Result<Age, &'static str> {
    const FORM: &str = "an age is a number and s, m, h, d or w, as in 90d";
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let scale = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        Some("w") => 7 * 86_400,
        _ => return Err(FORM),
    };
    let number: u64 = digits.parse().map_err(|_| FORM)?;
    let seconds = number.checked_mul(scale).ok_or("the age is too long")?;
    let text = text.to_owned();
    Ok(Age { seconds, text })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_read_as_they_are_written() {
        let seconds = |text| age(text).map(|age| age.seconds);
        assert_eq!(
            (seconds("90d"), seconds("2w"), seconds("36h")),
            (Ok(7_776_000), Ok(1_209_600), Ok(129_600))
        );
        for bad in [
            "",
            "90",
            "d",
            "9y",
            "-1d",
            "1.5d",
            "99999999999999999999d",
            "9999999999999999999w",
        ] {
            assert!(age(bad).is_err(), "{bad}");
        }
    }
}
