//! What the kernel sees as it happens, for whoever may ask it (root): programs of ours that hang onto its own points.
//!
//! They are put together at run time from the kernel's description of its structures ([`btf`]), so this needs neither a compiler nor a kernel of
//! a certain version, and it asks for nothing that some kernels refuse (kprobes, LSM). What is told is read in the kernel at that moment, with both
//! sides; what comes faster than it is taken is counted.

mod asm;
pub mod btf;
mod lives;
mod signals;
mod table;
mod task;

use std::path::Path;

pub use btf::Btf;
pub use lives::{Happened, Lives, decode as decode_life};
pub use signals::{KernelError, Origin, Signal, Signals, decode};
pub use table::{Life, Table, Who, living, look};
pub use task::Task;

/// Where the running kernel describes itself.
const DESCRIPTION: &str = "/sys/kernel/btf/vmlinux";

/// The running kernel's description of itself.
pub fn description() -> Result<Btf, KernelError> {
    let bytes = std::fs::read(Path::new(DESCRIPTION));
    let bytes = bytes.map_err(signals::refused("reading /sys/kernel/btf/vmlinux"))?;
    Ok(Btf::parse(bytes)?)
}
