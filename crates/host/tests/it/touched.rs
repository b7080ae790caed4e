//! Hands laid on a process without a signal, of processes of the test's own: who writes into its files below `/proc`, and that tracers are heard.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::geteuid;
use taintline_host::connector::{Connector, ConnectorError};
use taintline_host::files::FilesError;
use taintline_host::proc_writes::{ProcFile, ProcWrite, ProcWrites};

const PATIENCE: Duration = Duration::from_secs(5);

fn watching() -> Option<ProcWrites> {
    match ProcWrites::watch() {
        Ok(writes) => Some(writes),
        Err(error) => {
            let number = match &error {
                FilesError::Refused { source, .. } | FilesError::RefusedAt { source, .. } => {
                    source.raw_os_error().unwrap_or_default()
                }
                FilesError::NoPath(_) => 0,
            };
            let missing = [libc::EPERM, libc::ENOSYS, libc::EINVAL];
            assert!(missing.contains(&number), "{error}");
            println!("not checked: writes into files of processes: {error}");
            None
        }
    }
}

/// What was written into files of this process.
fn of(writes: &mut ProcWrites, target: u32) -> Vec<ProcWrite> {
    let (mut found, until) = (Vec::new(), Instant::now() + PATIENCE);
    while found.is_empty() && Instant::now() < until {
        writes.take(1_000, |write| {
            if write.target == target {
                found.push(write);
            }
        });
        std::thread::sleep(Duration::from_millis(10));
    }
    found
}

/// An address in the process that may be written.
fn writable(pid: u32) -> u64 {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let line = maps.lines().find(|line| line.contains("[stack]")).unwrap();
    u64::from_str_radix(line.split('-').next().unwrap(), 16).unwrap()
}

#[test]
fn whoever_writes_into_the_memory_of_a_process_is_named_by_whichever_name_he_opens_it() {
    let Some(mut writes) = watching() else { return };
    for name in ["mem", "task/TID/mem"] {
        let mut victim = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = victim.id();
        std::thread::sleep(Duration::from_millis(100));
        let path = format!("/proc/{pid}/{}", name.replace("TID", &pid.to_string()));
        let seek = format!("seek={}", writable(pid) / 8);
        let target = format!("of={path}");
        let options = ["if=/dev/zero", "bs=8", "count=1", "conv=notrunc"];
        let mut actor = Command::new("dd")
            .args(options)
            .args([target, seek])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let dd = actor.id();
        assert!(actor.wait().unwrap().success());
        let found = of(&mut writes, pid);
        assert!(!found.is_empty(), "{path}");
        for write in &found {
            assert_eq!((write.pid, write.file), (dd, ProcFile::Memory), "{path}");
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
    }
    assert_eq!(writes.lost(), 0);
}

#[test]
fn whoever_offers_a_process_to_the_memory_killer_is_named_and_what_it_does_itself_is_not() {
    let Some(mut writes) = watching() else { return };
    let script = "echo 10 > /proc/self/oom_score_adj; exec sleep 60";
    let mut victim = Command::new("sh").args(["-c", script]).spawn().unwrap();
    std::thread::sleep(Duration::from_millis(200));
    let path = format!("/proc/{}/oom_score_adj", victim.id());
    let mut actor = Command::new("sh")
        .args(["-c", &format!("echo 900 > {path}")])
        .spawn()
        .unwrap();
    let by = actor.id();
    assert!(actor.wait().unwrap().success());
    let found = of(&mut writes, victim.id());
    let found: Vec<_> = found.iter().map(|write| (write.pid, write.file)).collect();
    assert_eq!(found, [(by, ProcFile::MemoryKiller)]);
    victim.kill().unwrap();
    victim.wait().unwrap();
}

#[test]
fn the_kernel_answers_whoever_listens_for_tracers() {
    match Connector::listen() {
        Ok(mut connector) => {
            // Processes that come and go are not what is asked for.
            for _ in 0..50 {
                Command::new("true").status().unwrap();
            }
            connector.take(|traced| assert!(traced.target > 0, "{traced:?}"));
            assert_eq!(connector.overflows(), 0);
        }
        Err(ConnectorError::Silent) => println!("not checked: tracers: the kernel is silent"),
        Err(ConnectorError::Refused { what, source }) => {
            let missing = [libc::EPERM, libc::EPROTONOSUPPORT, libc::ECONNREFUSED];
            assert!(
                missing.contains(&source.raw_os_error().unwrap_or_default()),
                "{what}: {source}"
            );
            assert!(!geteuid().is_root() || source.raw_os_error() != Some(libc::EPERM));
            println!("not checked: tracers: {what}: {source}");
        }
    }
}
