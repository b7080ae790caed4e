//! What may explain that a process stood still: it was stopped, the machine is full, it waits for somebody.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::time::Duration;

use crate::bounded;
use crate::stat::Stat;

/// Open files of a process that are looked at, and bytes of a table of connections.
const FILES_MAX: usize = 10_000;
const TABLE_LIMIT: usize = 4 << 20;

/// Whether a process is stopped now, by a signal or a tracer.
pub fn is_stopped(pid: u32) -> io::Result<bool> {
    Ok(matches!(Stat::of(pid)?.state, 'T' | 't'))
}

/// What share of the machine the first thread of a process may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// How nice it is to others, and how it is scheduled, in words.
    pub priority: String,
    /// The processors that it may run on, as the kernel lists them.
    pub processors: String,
}

impl Standing {
    /// As it is now.
    pub fn of(pid: u32) -> io::Result<Self> {
        let stat = Stat::of(pid)?;
        let policy = match stat.policy {
            0 => String::new(),
            1 => ", fifo".to_owned(),
            2 => ", round robin".to_owned(),
            3 => ", batch".to_owned(),
            5 => ", idle".to_owned(),
            6 => ", deadline".to_owned(),
            other => format!(", policy {other}"),
        };
        let path = format!("/proc/{pid}/status");
        let (status, _) = bounded::read(Path::new(&path), TABLE_LIMIT)?;
        let status = String::from_utf8_lossy(&status);
        let mut lines = status.lines();
        let processors = lines.find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
        Ok(Self {
            priority: format!("nice {}{policy}", stat.nice),
            processors: processors.unwrap_or_default().trim().to_owned(),
        })
    }
}

/// Whether a process waits for a disk now.
pub fn waits_for_disk(pid: u32) -> io::Result<bool> {
    Ok(Stat::of(pid)?.state == 'D')
}

/// Clock ticks that a process and all that it started ran so far.
pub fn worked_so_far(pid: u32) -> io::Result<u64> {
    let own = Stat::of(pid)?.worked;
    let others = crate::proc::descendants_of(pid).unwrap_or_default();
    let others = others.into_iter().filter_map(|it| Stat::of(it).ok());
    Ok(others.fold(own, |sum, it| sum.saturating_add(it.worked)))
}

/// How many threads a process has.
pub fn threads(pid: u32) -> io::Result<usize> {
    Ok(std::fs::read_dir(format!("/proc/{pid}/task"))?.count())
}

/// How many threads of the machine run or want to.
pub fn ready_threads() -> io::Result<usize> {
    let odd = || io::Error::from(io::ErrorKind::InvalidData);
    let line = bounded::line("/proc/loadavg").ok_or_else(odd)?;
    let field = line.split_ascii_whitespace().nth(3).ok_or_else(odd)?;
    let (ready, _) = field.split_once('/').ok_or_else(odd)?;
    ready.parse().map_err(|_| odd())
}

/// For how long the calling thread has waited for a processor so far; `None` where the kernel does not tell.
pub fn queued_so_far() -> Option<Duration> {
    let line = bounded::line("/proc/thread-self/schedstat")?;
    let nanoseconds = line.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// Whether a process holds a TCP connection. What cannot be looked at may be one.
pub fn has_connections(pid: u32) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else {
        return true;
    };
    let sockets: BTreeSet<String> = files
        .flatten()
        .take(FILES_MAX)
        .filter_map(|entry| {
            let target = std::fs::read_link(entry.path()).ok()?;
            let inode = target
                .to_str()?
                .strip_prefix("socket:[")?
                .strip_suffix(']')?;
            Some(inode.to_owned())
        })
        .collect();
    if sockets.is_empty() {
        return false;
    }
    ["tcp", "tcp6"].iter().any(|table| {
        let path = format!("/proc/{pid}/net/{table}");
        let Ok((bytes, cut)) = bounded::read(Path::new(&path), TABLE_LIMIT) else {
            return *table == "tcp";
        };
        let text = String::from_utf8_lossy(&bytes);
        // Field 4 is the state, 01 a connection that stands; field 10 the inode.
        let stands = |line: &str| {
            let fields: Vec<_> = line.split_ascii_whitespace().collect();
            fields.get(3) == Some(&"01") && fields.get(9).is_some_and(|it| sockets.contains(*it))
        };
        cut || text.lines().skip(1).any(stands)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_runs_and_its_connections_are_seen() {
        let own = std::process::id();
        assert!(!is_stopped(own).unwrap());
        assert!(threads(own).unwrap() >= 1);
        assert!(worked_so_far(own).is_ok() && waits_for_disk(own).is_ok());
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        assert!(has_connections(own));
    }
}
