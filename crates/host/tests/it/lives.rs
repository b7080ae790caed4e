//! The lives of processes as the kernel tells them, of processes of the test's own.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use taintline_host::clock;
use taintline_host::kernel::{self, Lives, Table, Who};

use crate::kernel::is_missing;

/// How long the kernel may take to tell of an end.
const PATIENCE: Duration = Duration::from_secs(5);

fn heard() -> Option<Lives> {
    match kernel::description().and_then(|btf| Lives::watch(&btf)) {
        Ok(lives) => Some(lives),
        Err(error) => {
            // A program that this kernel does not take is a fault of ours.
            assert!(is_missing(&error), "{error}");
            println!("not checked: lives of processes as the kernel tells them: {error}");
            None
        }
    }
}

fn now_ns() -> u64 {
    u64::try_from(clock::boot_us()).unwrap() * 1_000
}

fn take(lives: &mut Lives, table: &mut Table) {
    lives.take(|happened| table.hear(happened));
}

#[test]
fn two_thousand_that_live_for_a_moment_are_all_known_afterwards() {
    let Some(mut lives) = heard() else { return };
    let mut table = Table::default();
    let began = now_ns();
    let mut all = Vec::new();
    for _ in 0..2_000 {
        let mut child = Command::new("true").stdin(Stdio::null()).spawn().unwrap();
        all.push(child.id());
        child.wait().unwrap();
    }
    take(&mut lives, &mut table);
    let known = all.iter().filter(|pid| {
        let Who::One(life) = table.who(**pid, began, now_ns()) else {
            return false;
        };
        let is_ours = life.parent_pid() == Some(std::process::id());
        is_ours
            && life.ended_ns.is_some()
            && life
                .executable
                .as_deref()
                .is_some_and(|path| path.ends_with(b"true"))
    });
    let (known, lost) = (known.count(), lives.lost().unwrap());
    assert_eq!((known, lost), (all.len(), 0));
}

#[test]
fn whom_a_process_becomes_is_known_with_the_moment() {
    let Some(mut lives) = heard() else { return };
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut table = Table::default();
    let mut child = Command::new("sh")
        .args(["-c", "true; exec sleep 0.2"])
        .uid(61_001)
        .gid(61_001)
        .spawn()
        .unwrap();
    let until = Instant::now() + PATIENCE;
    loop {
        take(&mut lives, &mut table);
        let found = table.who(child.id(), 0, now_ns());
        if let Who::One(life) = &found
            && life
                .executable
                .as_deref()
                .is_some_and(|path| path.ends_with(b"sleep"))
        {
            let newest = life.during(u64::MAX, u64::MAX);
            assert_eq!(
                newest.first().map(|task| (task.uid, task.effective_uid)),
                Some((61_001, 61_001))
            );
            break;
        }
        assert!(Instant::now() < until, "{found:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait().unwrap();
}
