//! `taintline watch` and `taintline blame`.

use std::path::PathBuf;

use clap::Args as ClapArgs;

use super::Json;

#[derive(Debug, ClapArgs)]
pub(crate) struct Watch {
    /// Say what this host can see with your rights, and what not; nothing is watched.
    #[arg(long)]
    pub(crate) explain: bool,
    /// The socket at which runs find the daemon; else TAINTLINE_DAEMON, else /run/taintline/watch.sock.
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The highest tier of means to use: 1 without programs in the kernel, 2 with them. What is not there is never needed.
    #[arg(long, value_name = "TIER", default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=2))]
    pub(crate) tier: u8,
    /// For how many days folders are watched behind the last run that asked for them.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) keep_days: u32,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct Blame {
    /// A path, or a SHA-256 digest of a file's content.
    #[arg(value_name = "PATH|DIGEST")]
    pub(crate) asked: String,
    #[command(flatten)]
    pub(crate) json: Json,
}
