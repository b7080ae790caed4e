//! Who is at the other end of a socket, and whether it belongs to the job.
//!
//! The kernel notes who connected; nobody can send another number than its own. But the number may be reused before we look
//! at its start time, so the peer's process descriptor is taken too where the kernel has one (6.5), and the answer says
//! whether it proved the identity. A socket that its owner hands to another process still names the one who connected.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt::socket_peercred;
use serde::{Deserialize, Serialize};

use crate::identity::ProcessId;
use crate::stat::Stat;
use crate::sys;

/// No honest line of parents is longer; a loop in what `/proc` shows over time is.
const GENERATIONS_LIMIT: usize = 4096;

/// The process that connected a Unix socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// Which process.
    pub id: ProcessId,
    /// Its effective user when it connected.
    pub uid: u32,
    /// Its effective group when it connected.
    pub gid: u32,
    /// That `id` is who connected is proven by its process descriptor; otherwise by its number alone.
    pub proven: bool,
}

impl Peer {
    /// Asks the kernel. `NotFound` when the peer has ended already, or lives outside our PID namespace.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = socket_peercred(stream)?;
        let descriptor = sys::peer_descriptor(stream.as_fd());
        // `UCred` cannot hold the kernel's 0 for a process outside our namespace; /proc has no such number either way.
        let pid = u32::try_from(credentials.pid.as_raw_pid()).unwrap_or(0);
        let id = ProcessId::of(pid)?;
        // While the descriptor's process is not dead, its number is its own; so the start time just read was its own.
        let proven = match descriptor {
            Ok(descriptor) => {
                let mut ready = [PollFd::new(&descriptor, PollFlags::IN)];
                let now = Timespec {
                    tv_sec: 0,
                    tv_nsec: 0,
                };
                if poll(&mut ready, Some(&now))? > 0 {
                    return Err(io::ErrorKind::NotFound.into());
                }
                true
            }
            Err(_) => false,
        };
        Ok(Self {
            id,
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
            proven,
        })
    }
}

/// Whether one process is below another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Descent {
    /// It is, or it is the same process.
    Yes,
    /// Its line of parents does not pass there.
    No,
    /// A process in the line ended while we looked, or was replaced.
    Unknown,
}

/// Walks up the parents of `process` to `ancestor`. A process whose parent died is below its nearest subreaper now, so in a
/// job under [`crate::job::prepare`] ask for the supervisor as ancestor.
pub fn descends_from(process: &ProcessId, ancestor: &ProcessId) -> Descent {
    let mut pid = process.pid;
    let mut started = process.started;
    for generation in 0..GENERATIONS_LIMIT {
        let Ok(stat) = Stat::of(pid) else {
            return Descent::Unknown;
        };
        // A parent is never younger than its child: a younger one only has the parent's number.
        let is_impostor = if generation == 0 {
            stat.started != started
        } else {
            stat.started > started
        };
        if is_impostor {
            return Descent::Unknown;
        }
        if pid == ancestor.pid {
            return if stat.started == ancestor.started {
                Descent::Yes
            } else {
                Descent::No
            };
        }
        if stat.parent == 0 {
            return Descent::No;
        }
        started = stat.started;
        pid = stat.parent;
    }
    Descent::Unknown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn we_are_our_own_peer_and_proven_where_the_kernel_can() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one).unwrap();
        assert_eq!(peer.id, ProcessId::current().unwrap());
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.proven, sys::peer_descriptor(one.as_fd()).is_ok());
    }

    #[test]
    fn we_descend_from_our_parent_and_it_not_from_us() {
        let own = ProcessId::current().unwrap();
        let parent = ProcessId::of(crate::proc::parent(own.pid).unwrap()).unwrap();
        assert_eq!(descends_from(&own, &parent), Descent::Yes);
        assert_eq!(descends_from(&own, &own), Descent::Yes);
        assert_eq!(descends_from(&parent, &own), Descent::No);
    }

    #[test]
    fn a_reused_number_is_no_relation() {
        let own = ProcessId::current().unwrap();
        let parent = ProcessId::of(crate::proc::parent(own.pid).unwrap()).unwrap();
        let earlier = ProcessId {
            started: own.started - 1,
            ..own.clone()
        };
        assert_eq!(descends_from(&earlier, &parent), Descent::Unknown);
        let other = ProcessId {
            started: parent.started + 1,
            ..parent
        };
        assert_eq!(descends_from(&own, &other), Descent::No);
    }
}
