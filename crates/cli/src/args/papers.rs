//! `taintline ledger audit` and `stamp`: who vouches for a time.

use std::path::PathBuf;

use clap::{ArgGroup, Args as ClapArgs};

use super::Json;

#[derive(Debug, ClapArgs)]
pub(crate) struct LedgerAudit {
    /// A tree head that was kept elsewhere (a signed note, a cosigned one, or a proof): tell whether the log still begins
    /// with it. Can be repeated.
    #[arg(long = "head", value_name = "FILE")]
    pub(crate) heads: Vec<PathBuf>,
    /// Root certificates of time stamping authorities that are believed, PEM; can be repeated. Beside `time_roots` of the
    /// settings.
    #[arg(long, value_name = "FILE")]
    pub(crate) time_roots: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
#[command(group = ArgGroup::new("how"))]
pub(crate) struct LedgerStamp {
    /// Write the request for a stamp over the newest tree head (RFC 3161), for somebody to carry to an authority.
    #[arg(long, value_name = "FILE", group = "how")]
    pub(crate) request: Option<PathBuf>,
    /// Take the authority's answer and record it.
    #[arg(long, value_name = "FILE", group = "how")]
    pub(crate) response: Option<PathBuf>,
    /// Ask the authority at this URL now; without any of these, the one of the settings.
    #[arg(long, value_name = "URL", group = "how")]
    pub(crate) tsa: Option<String>,
    /// The log; your own by default.
    #[arg(long, value_name = "LOG")]
    pub(crate) log: Option<String>,
    /// Root certificates of authorities that are believed, PEM; an answer that does not hold is not recorded.
    #[arg(long, value_name = "FILE")]
    pub(crate) time_roots: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) json: Json,
}
