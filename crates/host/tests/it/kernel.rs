//! Signals as the kernel makes them, of processes of the test's own.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags};
use taintline_host::kernel::btf::BtfError;
use taintline_host::kernel::{self, KernelError, Origin, Signal, Signals};

/// How long a signal may take until it is seen.
const PATIENCE: Duration = Duration::from_secs(5);

fn watched() -> Option<Signals> {
    match kernel::description().and_then(|btf| Signals::watch(&btf)) {
        Ok(signals) => Some(signals),
        Err(error) => {
            // A program that this kernel does not take is a fault of ours.
            assert!(is_missing(&error), "{error}");
            println!("not checked: signals as the kernel makes them: {error}");
            None
        }
    }
}

/// Whether the kernel, the user's rights or the container leave it out.
pub(crate) fn is_missing(error: &KernelError) -> bool {
    match error {
        // One without logins, or with other structures: printed, and the run says it.
        KernelError::NotProved | KernelError::Btf(BtfError::Missing(_)) => true,
        KernelError::Refused { source, .. } => matches!(
            source.raw_os_error(),
            Some(libc::EPERM | libc::ENOENT | libc::ENOSYS)
        ),
        KernelError::Btf(_) | KernelError::Program => false,
    }
}

/// A process that waits, and that is followed.
fn sleeper(signals: &Signals) -> Child {
    let mut command = Command::new("sleep");
    command.arg("60").stdin(Stdio::null());
    let child = command.spawn().unwrap();
    signals.follow(child.id()).unwrap();
    child
}

/// The signals to `pid` that came within the time, until there are `count`.
fn to(signals: &mut Signals, pid: u32, count: usize) -> Vec<Signal> {
    let (mut found, until) = (Vec::new(), Instant::now() + PATIENCE);
    while found.len() < count && Instant::now() < until {
        signals.take(|signal| {
            if signal.target.pid == pid {
                found.push(signal);
            }
        });
        std::thread::sleep(Duration::from_millis(5));
    }
    found
}

#[test]
fn sender_and_target_are_named_whatever_call_it_came_by() {
    let Some(mut signals) = watched() else {
        return;
    };
    let mut child = sleeper(&signals);
    let pid = Pid::from_child(&child);
    let stopped = rustix::process::Signal::STOP;
    rustix::process::kill_process(pid, stopped).unwrap();
    let descriptor = rustix::process::pidfd_open(pid, PidfdFlags::empty()).unwrap();
    rustix::process::pidfd_send_signal(&descriptor, rustix::process::Signal::CONT).unwrap();
    child.kill().unwrap();
    let found = to(&mut signals, child.id(), 3);
    child.wait().unwrap();
    let numbers: Vec<i32> = found.iter().map(|signal| signal.signal).collect();
    assert_eq!(numbers, [libc::SIGSTOP, libc::SIGCONT, libc::SIGKILL]);
    let (own, theirs) = (
        taintline_host::identity::ProcessId::current().unwrap(),
        std::process::id(),
    );
    let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    for signal in &found {
        assert_eq!(signal.origin, Origin::Process, "{signal:?}");
        // To go on is done, and then nothing is left to be delivered.
        assert_eq!(signal.delivered, signal.signal != libc::SIGCONT);
        assert_eq!(signal.actor.pid, theirs);
        assert_eq!(signal.actor.started_ns / tick, own.started);
        let uid = rustix::process::getuid().as_raw();
        assert_eq!((signal.actor.uid, signal.target.uid), (uid, uid));
        assert_eq!(signal.actor.cgroup, signal.target.cgroup);
    }
    assert!(found.is_sorted_by_key(|signal| signal.at_ns));
    assert_eq!(signals.lost().unwrap(), 0);
}

#[test]
fn another_user_is_named_on_the_side_where_he_stands() {
    use std::os::unix::process::CommandExt as _;
    if !rustix::process::getuid().is_root() {
        println!("not checked: processes of other users need root");
        return;
    }
    let Some(mut signals) = watched() else {
        return;
    };
    let mut target = Command::new("sleep")
        .arg("60")
        .uid(61_002)
        .gid(61_002)
        .spawn()
        .unwrap();
    signals.follow(target.id()).unwrap();
    let text = format!("kill -TERM {}", target.id());
    let refused = Command::new("sh")
        .args(["-c", &text])
        .uid(61_001)
        .gid(61_001)
        .stderr(Stdio::null())
        .status();
    assert!(
        !refused.unwrap().success(),
        "users may not signal each other"
    );
    let mut sender = Command::new("sh").args(["-c", &text]).spawn().unwrap();
    let found = to(&mut signals, target.id(), 1);
    sender.wait().unwrap();
    target.wait().unwrap();
    assert_eq!(found.len(), 1, "what was refused is no signal: {found:?}");
    let signal = found.first().unwrap();
    assert_eq!((signal.signal, signal.target.uid), (libc::SIGTERM, 61_002));
    assert_eq!((signal.actor.uid, signal.actor.pid), (0, sender.id()));
}

#[test]
fn what_the_kernel_sends_by_itself_accuses_nobody() {
    let Some(mut signals) = watched() else {
        return;
    };
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -t 1; while :; do :; done"])
        .spawn()
        .unwrap();
    let pid = child.id();
    signals.follow(pid).unwrap();
    child.wait().unwrap();
    let found = to(&mut signals, pid, 1);
    let signal = found.first().unwrap();
    assert!(
        matches!(signal.signal, libc::SIGXCPU | libc::SIGKILL),
        "{signal:?}"
    );
    assert_eq!(signal.origin, Origin::Kernel);
}

#[test]
fn thousands_at_once_are_seen_or_counted() {
    let Some(mut signals) = watched() else {
        return;
    };
    let mut child = sleeper(&signals);
    let pid = Pid::from_child(&child);
    let count = 50_000u64;
    let mut seen = 0u64;
    for number in 0..count {
        rustix::process::kill_process(pid, rustix::process::Signal::CONT).unwrap();
        if number == count / 2 {
            signals.take(|signal| seen += u64::from(signal.target.pid == child.id()));
        }
    }
    signals.take(|signal| seen += u64::from(signal.target.pid == child.id()));
    let lost = signals.lost().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    // Others on this machine may have lost some too, never fewer than are missing here.
    assert!(seen > 1_000 && seen < count, "{seen}");
    assert!(
        seen + lost >= count,
        "{seen} seen and {lost} lost of {count}"
    );
}

#[test]
fn what_comes_of_a_followed_process_is_followed_and_nothing_else_is_told() {
    let Some(mut signals) = watched() else {
        return;
    };
    let other = Command::new("sleep").arg("60").spawn();
    let mut other = other.unwrap();
    // Our children from here on, and theirs.
    signals.follow(std::process::id()).unwrap();
    let mut parent = Command::new("sh")
        .args(["-c", "sleep 60 & echo $!; wait"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    signals.leave(std::process::id()).unwrap();
    let mut line = String::new();
    let mut out = std::io::BufReader::new(parent.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut out, &mut line).unwrap();
    let child: u32 = line.trim().parse().unwrap();
    assert!(signals.is_followed(parent.id()) && signals.is_followed(child));
    assert!(!signals.is_followed(std::process::id()) && !signals.is_followed(other.id()));
    other.kill().unwrap();
    other.wait().unwrap();
    let pid = Pid::from_raw(i32::try_from(child).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let mut all = Vec::new();
    let until = Instant::now() + PATIENCE;
    while all.is_empty() && Instant::now() < until {
        signals.take(|signal| all.push(signal));
    }
    parent.wait().unwrap();
    let told: Vec<_> = all.iter().map(|it| (it.signal, it.target.pid)).collect();
    assert_eq!(told, [(libc::SIGKILL, child)], "{all:?}");
    // Its number is free for others then.
    let gone = (0..500).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !signals.is_followed(child)
    });
    assert!(gone);
}

#[test]
fn processes_that_are_too_many_to_be_followed_are_counted() {
    let Some(signals) = watched() else {
        return;
    };
    signals.follow(std::process::id()).unwrap();
    // Numbers that no process has, until there is no room.
    let room = (0..1 << 20).take_while(|number| signals.follow(1 << 30 | number).is_ok());
    assert!(room.count() > 10_000);
    assert_eq!(signals.unfollowed().unwrap(), 0);
    let mut child = Command::new("true").spawn().unwrap();
    child.wait().unwrap();
    assert!(signals.unfollowed().unwrap() > 0);
}
