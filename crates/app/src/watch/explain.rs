//! `taintline watch --explain`: what this host can see with the rights of whoever asks.

use std::os::unix::net::UnixStream;

use report::watching::ExplainView;

use super::WatchRequest;
use super::senses::Senses;

/// What none of it sees.
const NEVER: [&str; 5] = [
    "writes from other hosts to a network file system: watch the host that writes, and let runs hash what they load",
    "the moment of a write through shared memory (mmap): it is told when the mapping is given back",
    "attempts that the kernel refused",
    "who the person behind a login is",
    "what root does to this daemon, to the kernel or to login numbers: that it stopped, and when, stands in the ledger",
];

/// Tries each means and gives it back at once.
pub fn explain(request: &WatchRequest) -> ExplainView {
    let senses = Senses::open(request.tier);
    let socket = super::socket(request);
    let listens = UnixStream::connect(&socket).is_ok();
    ExplainView {
        schema: "taintline.watch-explain/1",
        senses: senses.told().to_vec(),
        never: NEVER.map(str::to_owned).to_vec(),
        daemon: listens.then(|| socket.display().to_string()),
        kernel: host::identity::kernel_release(),
    }
}
