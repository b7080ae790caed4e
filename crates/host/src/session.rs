//! Where a login came from, as the host's login manager has it (systemd-logind).
//!
//! It writes a file for each session into a folder that root alone may write. The file's number is the session of the audit system where
//! there is one; it must say so itself, and name the same user.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::bounded;

/// Where the sessions are.
const FOLDER: &str = "/run/systemd/sessions";
/// No honest file of a session is longer.
const BYTES_MAX: usize = 16 << 10;
/// Longest value that is taken.
const VALUE_MAX: usize = 256;

/// A session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// The host or address that it came from; none of one at this machine.
    pub remote: Option<String>,
    /// Its terminal.
    pub tty: Option<String>,
    /// By what it came: `sshd`, `login`.
    pub service: Option<String>,
}

/// The session of this number and login user; `None` where the login manager does not know it.
pub fn of(session: u32, login_uid: u32) -> Option<Session> {
    at(Path::new(FOLDER), session, login_uid, 0).ok().flatten()
}

fn at(folder: &Path, session: u32, login_uid: u32, owner: u32) -> io::Result<Option<Session>> {
    let path = folder.join(session.to_string());
    if path.symlink_metadata()?.uid() != owner {
        return Ok(None);
    }
    let (bytes, _) = bounded::read(&path, BYTES_MAX)?;
    Ok(parse(&String::from_utf8_lossy(&bytes), session, login_uid))
}

fn parse(text: &str, session: u32, login_uid: u32) -> Option<Session> {
    let field = |name: &str| {
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        (!value.is_empty() && value.len() <= VALUE_MAX).then(|| value.to_owned())
    };
    let number = |name: &str| field(name)?.parse::<u32>().ok();
    if number("AUDIT") != Some(session) || number("UID") != Some(login_uid) {
        return None;
    }
    Some(Session {
        remote: field("REMOTE_HOST").filter(|_| number("REMOTE") == Some(1)),
        tty: field("TTY"),
        service: field("SERVICE"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# This is private data. Do not parse.\nUID=1042\nUSER=bob\nACTIVE=1\nREMOTE=1\nTYPE=tty\nREMOTE_HOST=10.0.7.4\nSERVICE=sshd\nTTY=pts/0\nLEADER=4690\nAUDIT=88\n";

    #[test]
    fn a_session_says_where_it_came_from() {
        let session = parse(TEXT, 88, 1042).unwrap();
        assert_eq!(session.remote.as_deref(), Some("10.0.7.4"));
        assert_eq!(
            (session.tty.as_deref(), session.service.as_deref()),
            (Some("pts/0"), Some("sshd"))
        );
        // Of another session or user nothing is taken.
        assert_eq!((parse(TEXT, 89, 1042), parse(TEXT, 88, 1000)), (None, None));
        let local = TEXT.replace("REMOTE=1", "REMOTE=0");
        assert_eq!(parse(&local, 88, 1042).unwrap().remote, None);
        assert_eq!(parse("", 88, 1042), None);
    }

    #[test]
    fn a_file_of_somebody_else_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("88"), TEXT).unwrap();
        let owner = folder.path().metadata().unwrap().uid();
        assert!(at(folder.path(), 88, 1042, owner).unwrap().is_some());
        assert!(at(folder.path(), 88, 1042, owner + 1).unwrap().is_none());
        assert!(at(folder.path(), 7, 1042, owner).is_err());
    }
}
