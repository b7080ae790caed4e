//! `taintline seal` and `taintline verify`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::{Json, bytes};

#[derive(Debug, ClapArgs)]
#[command(after_help = "Exit codes: 0 sealed; 2 it could not be sealed, and nothing was signed.")]
pub(crate) struct Seal {
    /// The folder or file to seal.
    pub(crate) path: PathBuf,
    /// Private key, PEM: EC P-256, P-384 or P-521; your own, made on first use, by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Certificate of the key, and those above it, PEM; can be repeated.
    #[arg(long = "certificate", value_name = "FILE", requires = "key")]
    pub(crate) certificates: Vec<PathBuf>,
    /// Where the signature goes; `model.sig` in a folder, `NAME.sig` beside a file by default. The seal goes beside it.
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// Leave out this name and what is below it; the signature says so. Can be repeated.
    #[arg(long, value_name = "NAME")]
    pub(crate) exclude: Vec<String>,
    /// Seal symbolic links, as links and as the files that they lead to; else a link is an error.
    #[arg(long)]
    pub(crate) links: bool,
    #[command(flatten)]
    pub(crate) time: SealTime,
    #[command(flatten)]
    pub(crate) effort: Effort,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
#[command(
    after_help = "Exit codes: 0 valid; 1 invalid; 2 bad input, usage or I/O; 3 it cannot be checked."
)]
pub(crate) struct Verify {
    /// The folder or file to verify.
    pub(crate) path: PathBuf,
    /// Public key that is believed, PEM; can be repeated. Your own by default.
    #[arg(long = "key", value_name = "FILE")]
    pub(crate) keys: Vec<PathBuf>,
    /// Root certificates that are believed, PEM; can be repeated.
    #[arg(long = "certificate-root", value_name = "FILE")]
    pub(crate) roots: Vec<PathBuf>,
    /// A TOML file that names such keys and roots.
    #[arg(long, value_name = "FILE")]
    pub(crate) trust: Option<PathBuf>,
    /// When it was signed, as you know from elsewhere; certificates are looked at as of then. Now by default.
    #[arg(long, value_name = "TIME")]
    pub(crate) at: Option<String>,
    /// Root certificates of time stamping authorities that are believed, PEM: certificates are looked at as of the stamp.
    #[arg(long, value_name = "FILE")]
    pub(crate) time_roots: Vec<PathBuf>,
    /// The signature; where `seal` puts it by default.
    #[arg(long, value_name = "FILE")]
    pub(crate) signature: Option<PathBuf>,
    /// Read every byte, also of files that are unchanged since they were found valid here.
    #[arg(long)]
    pub(crate) deep: bool,
    /// Where there is a seal, compute the BLAKE3 tree alone and no SHA-256.
    #[arg(long)]
    pub(crate) tree_only: bool,
    #[command(flatten)]
    pub(crate) effort: Effort,
    #[command(flatten)]
    pub(crate) json: Json,
}

/// A time stamp over the signature (RFC 3161).
#[derive(Debug, ClapArgs)]
pub(crate) struct SealTime {
    /// Ask the time stamping authority at this URL for a stamp over the signature.
    #[arg(long, value_name = "URL")]
    pub(crate) tsa: Option<String>,
    /// Write the request for such a stamp, for somebody to carry to an authority.
    #[arg(long, value_name = "FILE", conflicts_with = "tsa")]
    pub(crate) time_request: Option<PathBuf>,
    /// Seal nothing; put the authority's answer into the signature that is there.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["tsa", "time_request", "key", "exclude", "links"])]
    pub(crate) time_response: Option<PathBuf>,
    /// Root certificates of authorities that are believed, PEM; an answer that does not hold is not taken.
    #[arg(long, value_name = "FILE")]
    pub(crate) time_roots: Vec<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Effort {
    /// Threads that read; as many as there are processors by default.
    #[arg(long, short, value_name = "N")]
    pub(crate) jobs: Option<std::num::NonZeroU8>,
    /// The most bytes of one signed statement; about 70,000 files fit into the default. More need more memory.
    #[arg(long, value_name = "BYTES", default_value = "16M", value_parser = bytes)]
    pub(crate) limit: u64,
}

impl Effort {
    /// Threads.
    pub(crate) fn threads(&self) -> usize {
        let processors = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.map_or_else(processors, |jobs| jobs.get().into())
    }
}
