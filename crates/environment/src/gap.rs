//! Why something of the environment was not read.
//!
//! A gap never stops a scan and never counts as *unchanged*: it becomes a [`domain::Node::Unread`] in the tree, with the
//! words of this type as its reason, and so lowers the coverage that a report has to state.

use rustix::io::Errno;

/// Why a file or folder was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Gap {
    /// The system refused or failed.
    #[error("{}", text(*.0))]
    System(Errno),
    /// A pipe, socket or device: opening it could block or have effects.
    #[error("{0}, not opened")]
    NotAFile(&'static str),
    /// It was changed while it was read, twice in a row: no digest would name bytes that ever stood there together.
    #[error("changed while it was read")]
    Changed,
    /// The byte budget of the scan was spent before it.
    #[error("the byte budget of the scan was spent")]
    Budget,
    /// The scan was told to stop before it was read.
    #[error("the scan was stopped")]
    Stopped,
    /// The limit on entries was reached; the rest of this folder was not listed.
    #[error("more than {0} entries")]
    TooManyEntries(u64),
    /// A folder that contains itself.
    #[error("a folder that contains itself")]
    Loop,
}

impl From<Errno> for Gap {
    fn from(errno: Errno) -> Self {
        Self::System(errno)
    }
}

fn text(errno: Errno) -> String {
    match errno {
        Errno::ACCESS | Errno::PERM => "permission denied".to_owned(),
        Errno::NOENT => "vanished".to_owned(),
        Errno::LOOP => "too many links".to_owned(),
        Errno::NAMETOOLONG => "its path is too long".to_owned(),
        Errno::IO => "input/output error".to_owned(),
        Errno::STALE => "stale file handle".to_owned(),
        other => format!("system error {}", other.raw_os_error()),
    }
}
