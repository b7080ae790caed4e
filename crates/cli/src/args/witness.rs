//! Arguments of `taintline ledger cosign` and `taintline ledger witness`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use super::Json;

#[derive(Debug, ClapArgs)]
pub(crate) struct Cosign {
    /// Only this log; all by default.
    #[arg(long, value_name = "LOG")]
    pub(crate) log: Option<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Witness {
    /// Cosign the tree heads of other logs over HTTP (C2SP tlog-witness), until SIGTERM or Ctrl-C.
    Serve(WitnessServe),
    /// Print the witness's public keys, one a line, ready for a policy; with --name make them where there are none.
    Key(WitnessKey),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WitnessServe {
    /// The witness's own folder: its keys and what it cosigned. Never a copy of another witness's.
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// Where to listen, ADDRESS:PORT; port 0 takes a free one. It is plain HTTP: TLS is a proxy's.
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: SocketAddr,
    /// The public key of a log to witness, or a file that holds it; several times for several logs.
    #[arg(long, value_name = "VKEY")]
    pub(crate) log: Vec<String>,
    /// A file of such keys, one a line.
    #[arg(long, value_name = "FILE")]
    pub(crate) logs: Option<PathBuf>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WitnessKey {
    /// The witness's own folder.
    #[arg(long, value_name = "DIR")]
    pub(crate) folder: PathBuf,
    /// What the witness is called, such as witness.example.org/w1; needed once, to make the keys.
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) json: Json,
}
