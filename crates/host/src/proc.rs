//! What `/proc` says of another process, read with limits.
//!
//! All of it except number, parent and start time is under the control of the process described: its command line and
//! environment lie in its own memory, and may be rewritten there after the start. So these are statements to be recorded
//! early, not identities. A process of another user, or one that is not dumpable, refuses most of this; that is an error
//! here (`PermissionDenied`), never an empty answer.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bounded;
use crate::stat::Stat;

/// The most bytes read of a command line or an environment: what Linux allows a stack of 8 MiB to start with.
pub const STRINGS_LIMIT: usize = 2 << 20;
/// The most bytes read of a memory map: about 80,000 mappings.
pub const MAPS_LIMIT: usize = 8 << 20;
/// More than any kernel writes of a process's state.
const STATUS_LIMIT: usize = 1 << 20;

/// Something read up to a limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounded<T> {
    /// What was read.
    pub value: T,
    /// There was more, and it was not read.
    pub truncated: bool,
}

/// The arguments of a process as they lie in its memory now. Empty for a kernel thread, for a dead process, and for the
/// moment between two programs while one is being executed.
pub fn command_line(pid: u32) -> io::Result<Bounded<Vec<OsString>>> {
    strings(pid, "cmdline")
}

/// The environment that a process was started with, as it lies in its memory now. Entries without `=` are left out.
pub fn environ(pid: u32) -> io::Result<Bounded<Vec<(OsString, OsString)>>> {
    let read = strings(pid, "environ")?;
    let value = read.value.iter().filter_map(|entry| pair(entry)).collect();
    Ok(Bounded {
        value,
        truncated: read.truncated,
    })
}

fn strings(pid: u32, name: &str) -> io::Result<Bounded<Vec<OsString>>> {
    let path = format!("/proc/{pid}/{name}");
    let (mut bytes, truncated) = bounded::read(Path::new(&path), STRINGS_LIMIT)?;
    if bytes.last() == Some(&0) {
        bytes.pop();
    } else if bytes.is_empty() {
        return Ok(Bounded {
            value: Vec::new(),
            truncated,
        });
    }
    let value = bytes
        .split(|byte| *byte == 0)
        .map(|text| OsString::from_vec(text.to_vec()))
        .collect();
    Ok(Bounded { value, truncated })
}

fn pair(entry: &OsStr) -> Option<(OsString, OsString)> {
    let bytes = entry.as_bytes();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let (name, value) = bytes.split_at_checked(equals)?;
    Some((
        OsString::from_vec(name.to_vec()),
        OsString::from_vec(value.get(1..)?.to_vec()),
    ))
}

/// A file that a process maps or executes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MappedFile {
    /// The path, in the mount namespace of the process.
    pub path: PathBuf,
    /// The file at this path is gone or is another one now: the bytes in use are no longer there to be read by name.
    pub deleted: bool,
}

/// The program file that a process executes.
pub fn executable(pid: u32) -> io::Result<MappedFile> {
    let link = format!("/proc/{pid}/exe");
    let shown = std::fs::read_link(&link)?;
    // The link opens the very file, whatever lies at the path now.
    let file = std::fs::metadata(&link)
        .ok()
        .map(|meta| (meta.dev(), meta.ino()));
    Ok(named(shown.as_os_str().as_bytes(), |path| {
        file.is_some() && identity(path) == file
    }))
}

/// The working directory of a process.
pub fn working_directory(pid: u32) -> io::Result<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/cwd"))
}

/// The files whose bytes a process may execute, each once: the program, shared libraries, anonymous memory files.
pub fn mapped_files(pid: u32) -> io::Result<Bounded<Vec<MappedFile>>> {
    let path = format!("/proc/{pid}/maps");
    let (bytes, truncated) = bounded::read(Path::new(&path), MAPS_LIMIT)?;
    let mut value: Vec<MappedFile> = bytes
        .split(|byte| *byte == b'\n')
        .filter_map(executable_mapping)
        .collect();
    value.sort();
    value.dedup();
    Ok(Bounded { value, truncated })
}

/// `start-end rwxp offset major:minor inode     path`
fn executable_mapping(line: &[u8]) -> Option<MappedFile> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let permissions = fields.nth(1)?;
    let inode: u64 = std::str::from_utf8(fields.nth(2)?).ok()?.parse().ok()?;
    let path = fields.next()?.trim_ascii_start();
    let is_code = permissions.get(2) == Some(&b'x') && path.first() == Some(&b'/');
    is_code.then(|| {
        named(&unescaped(path), |path| {
            identity(path).is_some_and(|(_, found)| found == inode)
        })
    })
}

/// The kernel marks a deleted file by a suffix, which is also a legal end of a name. `is_there` tells the two apart.
fn named(shown: &[u8], is_there: impl Fn(&Path) -> bool) -> MappedFile {
    let file = |bytes: &[u8], deleted| MappedFile {
        path: PathBuf::from(OsStr::from_bytes(bytes)),
        deleted,
    };
    match shown.strip_suffix(b" (deleted)") {
        Some(path) if !is_there(Path::new(OsStr::from_bytes(shown))) => file(path, true),
        _ => file(shown, false),
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino()))
}

/// Memory maps write a line feed in a path as `\012`, and nothing else specially.
fn unescaped(path: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(b"\\012") {
            bytes.push(b'\n');
            rest = after;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    bytes
}

/// The parent of a process now. A process whose parent died has another one: its nearest subreaper, or 1.
pub fn parent(pid: u32) -> io::Result<u32> {
    Ok(Stat::of(pid)?.parent)
}

/// The process that a thread is of.
pub fn of_thread(thread: u32) -> io::Result<u32> {
    let (status, _) = bounded::read(Path::new(&format!("/proc/{thread}/status")), STATUS_LIMIT)?;
    let status = String::from_utf8_lossy(&status);
    let number = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let number = number.and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

/// The name that the kernel keeps for a process: at most 15 bytes, chosen by the process itself.
pub fn name(pid: u32) -> io::Result<String> {
    Ok(Stat::of(pid)?.name)
}

/// `length` bytes at `address` of another process, as far as we may read them.
pub fn memory(pid: u32, address: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    Memory::of(pid)?.read(address, &mut bytes)?;
    Ok(bytes)
}

/// The memory of another process, to be read more than once.
#[derive(Debug)]
pub struct Memory(std::fs::File);

impl Memory {
    /// Of the process that has this number now.
    pub fn of(pid: u32) -> io::Result<Self> {
        std::fs::File::open(format!("/proc/{pid}/mem")).map(Self)
    }

    /// Fills `bytes` with what stands at `address`.
    pub fn read(&self, address: u64, bytes: &mut [u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt as _;

        self.0.read_exact_at(bytes, address)
    }
}

/// The children of a process, in ascending order, dead ones that were not reaped included.
pub fn children_of(pid: u32) -> io::Result<Vec<u32>> {
    let mut children = family()?.remove(&pid).unwrap_or_default();
    children.sort_unstable();
    Ok(children)
}

/// All processes below `pid`, in ascending order, without itself, from one pass over `/proc`. Processes that start
/// during the pass may be missed, and one whose parent ended before it has moved to another parent.
pub fn descendants_of(pid: u32) -> io::Result<Vec<u32>> {
    let mut family = family()?;
    let mut found = Vec::new();
    let mut todo = vec![pid];
    while let Some(parent) = todo.pop() {
        // Each parent is taken out once, so a loop made by reused numbers ends.
        let children = family.remove(&parent).unwrap_or_default();
        todo.extend(&children);
        found.extend(children);
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

/// Parent → children, from one pass.
fn family() -> io::Result<HashMap<u32, Vec<u32>>> {
    let mut family: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|text| text.parse().ok()) else {
            continue;
        };
        // A process that ended meanwhile is no descendant any more.
        if let Ok(stat) = Stat::of(pid) {
            family.entry(stat.parent).or_default().push(pid);
        }
    }
    Ok(family)
}

/// The processor time that this process used so far, user and system, all threads: the cost of watching.
pub fn cpu_time_of_self() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_executable_files_are_listed() {
        let code =
            b"7f0000000000-7f0000001000 r-xp 00000000 fe:01 77                         /lib/a b.so";
        let file = executable_mapping(code).unwrap();
        assert_eq!(
            (file.path.as_path(), file.deleted),
            (Path::new("/lib/a b.so"), false)
        );
        let refused: [&[u8]; 5] = [
            b"7f0000000000-7f0000001000 r--p 00000000 fe:01 77                         /lib/a.so",
            b"7f0000000000-7f0000001000 r-xp 00000000 00:00 0                          [vdso]",
            b"7f0000000000-7f0000001000 rwxp 00000000 00:00 0 ",
            b"7f00",
            b"",
        ];
        for line in refused {
            assert_eq!(executable_mapping(line), None);
        }
    }

    #[test]
    fn a_deleted_file_is_marked_and_a_file_of_that_name_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let honest = folder.path().join("x.so (deleted)");
        std::fs::write(&honest, b"x").unwrap();
        let inode = std::fs::metadata(&honest).unwrap().ino();
        let line = |inode: u64| {
            let text = format!("1-2 r-xp 0 fe:01 {inode}   {}", honest.display());
            executable_mapping(text.as_bytes()).unwrap()
        };
        assert_eq!(
            line(inode),
            MappedFile {
                path: honest.clone(),
                deleted: false
            }
        );
        let gone = MappedFile {
            path: folder.path().join("x.so"),
            deleted: true,
        };
        assert_eq!(line(inode + 1), gone);
    }

    #[test]
    fn a_line_feed_in_a_path_comes_back() {
        let line = b"1-2 r-xp 0 fe:01 5   /tmp/a\\012b";
        assert_eq!(
            executable_mapping(line).unwrap().path,
            Path::new("/tmp/a\nb")
        );
    }

    #[test]
    fn our_own_program_is_among_our_mapped_files() {
        let own = std::process::id();
        let program = executable(own).unwrap();
        assert!(!program.deleted);
        assert!(mapped_files(own).unwrap().value.contains(&program));
        assert_eq!(
            working_directory(own).unwrap(),
            std::env::current_dir().unwrap()
        );
        let arguments = command_line(own).unwrap();
        assert_eq!(arguments.value, std::env::args_os().collect::<Vec<_>>());
    }

    #[test]
    fn our_parent_has_us_as_a_descendant() {
        let own = std::process::id();
        let parent = parent(own).unwrap();
        assert!(children_of(parent).unwrap().contains(&own));
        assert!(descendants_of(parent).unwrap().contains(&own));
        assert!(!descendants_of(own).unwrap().contains(&own));
    }

    #[test]
    fn work_costs_processor_time() {
        let before = cpu_time_of_self();
        let mut sum = 0_u64;
        while cpu_time_of_self() == before {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(cpu_time_of_self() > before);
    }
}
