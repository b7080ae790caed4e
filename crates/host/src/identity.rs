//! Who: a process that cannot be mistaken for a later one, and the person behind the current one.
//!
//! Process numbers come back within minutes on a busy host, so a number alone names nobody. Boot, number and start time
//! together do. The person is what the kernel and the environment say, each part on its own and each possibly absent:
//! the login user survives `su` and `sudo`, the user does not; SSH_CONNECTION is only a claim of the environment.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::bounded;
use crate::stat::Stat;

/// Accounts may be many, but no honest local file is larger.
const PASSWD_LIMIT: usize = 4 << 20;
/// What the kernel writes where no login user or session was ever set.
const UNSET: u32 = u32::MAX;

/// A process, named so that no other process ever gets the same name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// The boot id of the machine.
    pub boot: String,
    /// The number, in our PID namespace.
    pub pid: u32,
    /// When it started, in clock ticks since boot.
    pub started: u64,
}

impl ProcessId {
    /// The process that has this number now, alive or dead but not yet reaped. Fails with `NotFound` when there is none.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::from_stat(pid, &Stat::of(pid)?)
    }

    /// This process.
    pub fn current() -> io::Result<Self> {
        Self::of(std::process::id())
    }

    pub(crate) fn from_stat(pid: u32, stat: &Stat) -> io::Result<Self> {
        Ok(Self {
            boot: boot_id()?.to_owned(),
            pid,
            started: stat.started,
        })
    }

    /// Whether this very process still runs: not dead, not another one under its number, not of an earlier boot.
    pub fn is_alive(&self) -> bool {
        boot_id().is_ok_and(|boot| boot == self.boot)
            && Stat::of(self.pid).is_ok_and(|stat| {
                stat.started == self.started && !matches!(stat.state, 'Z' | 'X' | 'x')
            })
    }
}

/// The id that the kernel gave to this boot.
pub fn boot_id() -> io::Result<&'static str> {
    static BOOT: OnceLock<String> = OnceLock::new();
    if let Some(boot) = BOOT.get() {
        return Ok(boot);
    }
    let (bytes, _) = bounded::read(Path::new("/proc/sys/kernel/random/boot_id"), 64)?;
    let text = String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(BOOT.get_or_init(|| text.trim().to_owned()))
}

/// The release of the running kernel, as `uname -r` has it.
pub fn kernel_release() -> String {
    let name = rustix::system::uname();
    name.release().to_string_lossy().into_owned()
}

/// Vector instructions by which libraries choose how they compute.
const VECTORS: [&str; 8] = [
    "avx2",
    "avx512f",
    "avx512_bf16",
    "avx512_vnni",
    "amx_tile",
    "asimd",
    "sve",
    "sve2",
];

/// The processor's name, and which vector instructions it has: two that are alike compute alike. `None` is *not known here*.
pub fn processor() -> Option<String> {
    static KNOWN: OnceLock<Option<String>> = OnceLock::new();
    KNOWN
        .get_or_init(|| {
            let (bytes, _) = bounded::read(Path::new("/proc/cpuinfo"), 16 << 10).ok()?;
            processor_of(&String::from_utf8_lossy(&bytes))
        })
        .clone()
}

fn processor_of(text: &str) -> Option<String> {
    let field = |names: &[&str]| {
        text.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            names.contains(&name.trim()).then(|| value.trim())
        })
    };
    let name = field(&["model name", "CPU part"])?;
    let flags: Vec<&str> = field(&["flags", "Features"])
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let vectors = VECTORS.iter().filter(|vector| flags.contains(vector));
    let words: Vec<&str> = std::iter::once(name).chain(vectors.copied()).collect();
    Some(words.join(" "))
}

/// The name of this host, as `uname -n` has it.
pub fn host_name() -> String {
    let name = rustix::system::uname();
    name.nodename().to_string_lossy().into_owned()
}

/// The person that this process acts for, as far as this host can tell. `None` is *not known here*.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// Real user id.
    pub uid: u32,
    /// Effective user id; another one than `uid` under set-user-id programs.
    pub effective_uid: u32,
    /// The account's name in `/etc/passwd`; accounts of a directory service have none there.
    pub user: Option<String>,
    /// The user who logged in, unchanged by `su` and `sudo`; `None` when no login was recorded (cron, containers).
    pub login_uid: Option<u32>,
    /// The login session of the audit system.
    pub session: Option<u32>,
    /// The most specific control group: the unified path, or the longest path where that one is the root.
    pub cgroup: Option<String>,
    /// This host's name.
    pub host: String,
    /// `SSH_CONNECTION` of the environment: a claim, not an observation.
    pub ssh_connection: Option<String>,
}

impl Person {
    /// The person that this process acts for.
    pub fn current() -> Self {
        let uid = rustix::process::getuid().as_raw();
        Self {
            uid,
            effective_uid: rustix::process::geteuid().as_raw(),
            user: user_name(uid),
            login_uid: set_number("/proc/self/loginuid"),
            session: set_number("/proc/self/sessionid"),
            cgroup: cgroup_of("self"),
            host: host_name(),
            ssh_connection: std::env::var_os("SSH_CONNECTION")
                .map(|text| text.to_string_lossy().into_owned()),
        }
    }
}

/// The account's name in `/etc/passwd`, read directly: name services would bring code of the site into the supervisor.
pub fn user_name(uid: u32) -> Option<String> {
    let (bytes, _) = bounded::read(Path::new("/etc/passwd"), PASSWD_LIMIT).ok()?;
    name_in(&bytes, uid)
}

fn name_in(passwd: &[u8], uid: u32) -> Option<String> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = line.split(|byte| *byte == b':');
        let name = fields.next().filter(|name| !name.is_empty())?;
        let number = std::str::from_utf8(fields.nth(1)?).ok()?;
        (number.parse() == Ok(uid)).then(|| String::from_utf8_lossy(name).into_owned())
    })
}

fn set_number(path: &str) -> Option<u32> {
    let number = bounded::line(path)?.parse().ok()?;
    (number != UNSET).then_some(number)
}

/// Where the unified tree of control groups is, and where in it the group of a process. `None` where it has none.
pub fn unified_folder(pid: u32) -> Option<(PathBuf, PathBuf)> {
    let (mounts, _) = bounded::read(Path::new("/proc/self/mountinfo"), 1 << 20).ok()?;
    let top = unified_mount(&String::from_utf8_lossy(&mounts))?;
    let (groups, _) = bounded::read(Path::new(&format!("/proc/{pid}/cgroup")), 64 << 10).ok()?;
    let groups = String::from_utf8_lossy(&groups);
    let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let folder = top.join(group);
    folder.is_dir().then_some((top, folder))
}

/// Lines of `mountinfo`: number, parent, device, root, place, options, and behind a dash the kind. A part of the tree that is mounted
/// alone has another root: by it nothing is found.
fn unified_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut fields = place.split(' ');
        let (root, place) = (fields.nth(3)?, fields.next()?);
        (kind.starts_with("cgroup2 ") && root == "/").then(|| PathBuf::from(place))
    })
}

/// The groups of a process: the effective one, and all that it has beside it.
pub fn groups(pid: u32) -> Option<Vec<u32>> {
    let path = format!("/proc/{pid}/status");
    let (bytes, _) = bounded::read(Path::new(&path), 1 << 20).ok()?;
    Some(groups_in(&String::from_utf8_lossy(&bytes)))
}

fn groups_in(status: &str) -> Vec<u32> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().split_whitespace()
    };
    let effective = field("Gid:").nth(1).into_iter();
    effective
        .chain(field("Groups:"))
        .filter_map(|number| number.parse().ok())
        .collect()
}

/// The most specific control group of a process.
pub fn cgroup(pid: u32) -> Option<String> {
    cgroup_of(&pid.to_string())
}

fn cgroup_of(process: &str) -> Option<String> {
    let path = format!("/proc/{process}/cgroup");
    let (bytes, _) = bounded::read(Path::new(&path), 64 << 10).ok()?;
    most_specific(&String::from_utf8_lossy(&bytes))
}

fn most_specific(text: &str) -> Option<String> {
    let paths = || text.lines().filter_map(|line| line.splitn(3, ':').nth(2));
    let unified = text.lines().find_map(|line| line.strip_prefix("0::"));
    let chosen = unified
        .filter(|path| *path != "/")
        .or_else(|| paths().max_by_key(|path| path.len()))?;
    Some(chosen.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processor_is_its_name_and_its_vector_instructions() {
        let text = "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: fpu avx2 avx512f sse\n\nprocessor\t: 1\n";
        let told = processor_of(text);
        assert_eq!(told.as_deref(), Some("Some CPU @ 2 GHz avx2 avx512f"));
        assert_eq!(processor_of("nothing"), None);
    }

    #[test]
    fn we_are_alive_and_an_earlier_or_later_process_of_our_number_is_not() {
        let own = ProcessId::current().unwrap();
        assert!(own.is_alive());
        let earlier = ProcessId {
            started: own.started - 1,
            ..own.clone()
        };
        let rebooted = ProcessId {
            boot: "another".into(),
            ..own.clone()
        };
        assert!(!earlier.is_alive() && !rebooted.is_alive());
        assert_eq!(
            ProcessId::of(u32::MAX).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
    }

    #[test]
    fn a_process_id_survives_json() {
        let own = ProcessId::current().unwrap();
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<ProcessId>(&text).unwrap(), own);
    }

    #[test]
    fn the_unified_tree_is_found_among_the_mounts() {
        let mounts = "24 1 0:22 / /proc rw - proc proc rw\n30 24 0:26 /x /part rw - cgroup2 none rw\n31 24 0:26 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 none rw\n";
        assert_eq!(
            unified_mount(mounts),
            Some(PathBuf::from("/sys/fs/cgroup/unified"))
        );
        assert_eq!(
            unified_mount("30 24 0:26 / /x rw - cgroup none rw\nbroken"),
            None
        );
    }

    #[test]
    fn groups_are_the_effective_one_and_the_others() {
        let status = "Name:\tx\nUid:\t1\t2\t1\t1\nGid:\t5\t6\t5\t5\nGroups:\t7 8 \n";
        assert_eq!(groups_in(status), [6, 7, 8]);
        assert!(groups_in("").is_empty() && groups(std::process::id()).is_some());
    }

    #[test]
    fn a_broken_passwd_line_hides_no_other_account() {
        let passwd = b"root:x:0:0::/root:/bin/sh\n\n:x:5::\nbroken\nhalf:x\n\xff\xfe:x:7:\nada:x:1815:1:Ada:/h:/b\n+::::::\n";
        assert_eq!(name_in(passwd, 1815).as_deref(), Some("ada"));
        assert_eq!(name_in(passwd, 0).as_deref(), Some("root"));
        assert_eq!(name_in(passwd, 7).as_deref(), Some("\u{fffd}\u{fffd}"));
        assert_eq!(name_in(passwd, 5), None);
        assert_eq!(name_in(passwd, 99), None);
    }

    #[test]
    fn the_most_specific_control_group_is_chosen() {
        let job = "/slurm/uid_7/job_9/step_0";
        let old = format!("5:memory:{job}\n1:name=systemd:/x\n0::/\n");
        assert_eq!(most_specific(&old).as_deref(), Some(job));
        assert_eq!(
            most_specific("4:cpu:/long/long\n0::/job\n").as_deref(),
            Some("/job")
        );
        assert_eq!(most_specific("0::/\n").as_deref(), Some("/"));
        assert_eq!(most_specific(""), None);
    }

    #[test]
    fn the_person_is_the_owner_of_this_process() {
        use std::os::unix::fs::MetadataExt as _;
        let person = Person::current();
        let owner = std::fs::metadata("/proc/self/stat").unwrap().uid();
        assert_eq!(person.effective_uid, owner);
        assert!(person.login_uid != Some(UNSET) && person.session != Some(UNSET));
        assert!(!person.host.is_empty() && !kernel_release().is_empty());
    }
}
