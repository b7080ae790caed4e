//! The job runs as it would without us.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::kill_process;
use taintline_host::exits::ExitStatus;

use crate::helper::{Supervised, await_text};

fn script(folder: &Path, text: &str, mode: u32) -> String {
    let path = folder.join("script");
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_commands_own_exit_code_comes_back() {
    for code in [0, 1, 42, 255] {
        let mut run = Supervised::shell(&format!("exit {code}")).start();
        assert_eq!(run.status(), ExitStatus::Code(code));
    }
}

#[test]
fn a_death_by_signal_is_told_as_one() {
    let mut run = Supervised::shell("kill -KILL $$").start();
    let status = run.status();
    assert_eq!(
        status,
        ExitStatus::Signal {
            number: 9,
            core: false
        }
    );
    assert_eq!(status.shell_code(), 137);
}

#[test]
fn a_command_that_is_not_there_is_not_found() {
    let (code, text) = Supervised::new(&["no-such-command-anywhere"])
        .start()
        .failure();
    assert_eq!(code, 127);
    assert!(text.contains("no-such-command-anywhere"));
}

#[test]
fn a_file_without_permission_or_interpreter_cannot_be_executed() {
    let cases = [("#!/bin/sh\n", 0o644), ("#!/no/such/interpreter\n", 0o755)];
    for (text, mode) in cases {
        let mut run = Supervised::new(&[]);
        run.plan.argv = vec![script(run.folder.path(), text, mode)];
        let mut run = run.start();
        assert_eq!(run.failure().0, 126, "{text:?} {mode:o}");
    }
}

#[test]
fn a_script_without_interpreter_line_is_run_by_the_shell() {
    let mut run = Supervised::new(&[]);
    run.plan.argv = vec![script(run.folder.path(), "exit $1\n", 0o755), "9".into()];
    assert_eq!(run.start().status(), ExitStatus::Code(9));
}

#[test]
fn the_job_shares_our_group_session_folder_and_sees_the_changed_environment() {
    let mut run = Supervised::shell(
        "echo \"$NEW-${PATH:+path}-$(pwd -P)\" >out; echo $0 >name; exec sleep 60",
    );
    run.plan.changes.push(("NEW".into(), Some("a b".into())));
    let mut run = run.start();
    let folder = std::fs::canonicalize(run.folder.path()).unwrap();
    await_text(&run.path("name"));
    assert_eq!(
        await_text(&run.path("out")),
        format!("a b-path-{}", folder.display())
    );
    assert_eq!(await_text(&run.path("name")), "sh");
    let helper = run.pid().as_raw_nonzero().get().unsigned_abs();
    assert_eq!(group_and_session(run.job().pid), group_and_session(helper));
    kill_process(run.pid(), rustix::process::Signal::TERM).unwrap();
    assert_eq!(
        run.status(),
        ExitStatus::Signal {
            number: 15,
            core: false
        }
    );
}

/// As the kernel tells them; 0 for a group or session whose leader lives outside our PID namespace.
fn group_and_session(pid: u32) -> (String, String) {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let mut fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(2);
    (fields.next().unwrap().into(), fields.next().unwrap().into())
}

/// The lines of a process's status, without signals 32 and 33: they belong to the C library of whoever executes.
fn signal_sets(text: &str) -> Vec<(String, u64)> {
    let sets = text.lines().map(|line| {
        let (name, bits) = line.split_once(":\t").unwrap();
        let bits = u64::from_str_radix(bits, 16).unwrap();
        (name.to_owned(), bits & !(0b11 << 31))
    });
    sets.collect()
}

/// What a program sees of its signals, started by `env` directly and through the supervisor.
#[test]
fn signal_mask_and_dispositions_are_those_that_the_supervisor_was_started_with() {
    const SHOW: &str = "grep -E '^Sig(Ign|Blk)' /proc/self/status >$D/out";
    let prefixes: [&[&str]; 5] = [
        &["env"],
        &["env", "--ignore-signal=INT", "--ignore-signal=HUP"],
        &["env", "--ignore-signal=CHLD"],
        &["env", "--block-signal=USR1", "--block-signal=TERM"],
        &[
            "env",
            "--block-signal=PIPE",
            "--ignore-signal=USR2",
            "--ignore-signal=QUIT",
        ],
    ];
    for prefix in prefixes {
        let mut run = Supervised::shell(SHOW).under(prefix).start();
        assert_eq!(run.status(), ExitStatus::Code(0), "{prefix:?}");
        let through_us = std::fs::read_to_string(run.path("out")).unwrap();
        let direct = Command::new("env")
            .args(&prefix[1..])
            .args(["sh", "-c", SHOW])
            .env("D", run.folder.path())
            .status()
            .unwrap();
        assert!(direct.success());
        let direct = std::fs::read_to_string(run.path("out")).unwrap();
        assert_eq!(signal_sets(&through_us), signal_sets(&direct), "{prefix:?}");
    }
}

#[test]
fn a_job_that_writes_to_a_closed_pipe_dies_of_it() {
    let script = "{ yes; echo $? >$D/code; } | true; exit 3";
    let mut run = Supervised::shell(script).start();
    assert_eq!(run.status(), ExitStatus::Code(3));
    // The shell's code for a death by SIGPIPE; with SIGPIPE ignored `yes` would report an error and end with 1.
    assert_eq!(await_text(&run.path("code")), "141");
}
