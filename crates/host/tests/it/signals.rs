//! Each signal reaches the job exactly once, and its sender is named.

use std::os::fd::OwnedFd;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use taintline_host::exits::ExitStatus;
use taintline_host::identity::ProcessId;
use taintline_host::job::HostEvent;
use taintline_host::signals::{Passed, SignalSeen};

use crate::helper::{Note, Supervised, await_some, await_text};

fn ready(run: &Supervised) -> Pid {
    await_text(&run.path("heard"));
    Pid::from_raw(i32::try_from(run.job().pid).unwrap()).unwrap()
}

fn seen(run: &Supervised, number: Signal) -> SignalSeen {
    run.await_note("the signal", |note| match note {
        Note::Event(HostEvent::Signal(seen)) if seen.number == number.as_raw() => Some(seen),
        _ => None,
    })
}

/// Ends the job by a signal straight to it, once it heard so many others, and gives these: number and sender. Of two that wait at once
/// the kernel lets the handler of the later one run first.
fn heard(mut run: Supervised, job: Pid, others: usize) -> Vec<(i32, u32)> {
    await_some("what the job hears", || {
        let text = std::fs::read_to_string(run.path("heard")).ok()?;
        (text.matches('\n').count() > others).then_some(())
    });
    kill_process(job, Signal::TERM).unwrap();
    assert_eq!(run.status(), ExitStatus::Code(0));
    let text = std::fs::read_to_string(run.path("heard")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.first(), Some(&"ready"));
    assert_eq!(
        lines.last(),
        Some(&format!("15 {}", std::process::id()).as_str())
    );
    lines[1..lines.len() - 1]
        .iter()
        .map(|line| {
            let (number, sender) = line.split_once(' ').unwrap();
            (number.parse().unwrap(), sender.parse().unwrap())
        })
        .collect()
}

fn supervisor(run: &Supervised) -> u32 {
    run.pid().as_raw_pid().cast_unsigned()
}

#[test]
fn a_signal_to_the_supervisor_alone_is_passed_on_and_its_sender_named() {
    let run = Supervised::hearing().start();
    let job = ready(&run);
    kill_process(run.pid(), Signal::INT).unwrap();
    let seen = seen(&run, Signal::INT);
    assert_eq!((seen.passed, seen.compared), (Passed::Forwarded, true));
    let sender = seen.sender.unwrap();
    assert_eq!(sender.id, Some(ProcessId::current().unwrap()));
    assert_eq!(sender.uid, rustix::process::getuid().as_raw());
    let from = supervisor(&run);
    assert_eq!(heard(run, job, 1), [(2, from)]);
}

#[test]
fn a_signal_to_the_whole_group_is_not_doubled() {
    let run = Supervised::hearing().start();
    let job = ready(&run);
    kill_process_group(run.pid(), Signal::INT).unwrap();
    assert_eq!(seen(&run, Signal::INT).passed, Passed::JobHasIt);
    assert_eq!(heard(run, job, 1), [(2, std::process::id())]);
}

#[test]
fn a_group_signal_excuses_only_itself() {
    let run = Supervised::hearing().start();
    let job = ready(&run);
    kill_process_group(run.pid(), Signal::USR1).unwrap();
    assert_eq!(seen(&run, Signal::USR1).passed, Passed::JobHasIt);
    kill_process(run.pid(), Signal::HUP).unwrap();
    assert_eq!(seen(&run, Signal::HUP).passed, Passed::Forwarded);
    let from = supervisor(&run);
    assert_eq!(heard(run, job, 2), [(10, std::process::id()), (1, from)]);
}

#[test]
fn a_signal_is_still_passed_on_when_the_echo_was_killed() {
    let run = Supervised::hearing().start();
    let job = ready(&run);
    let echo = i32::try_from(run.echo().unwrap()).unwrap();
    kill_process(Pid::from_raw(echo).unwrap(), Signal::KILL).unwrap();
    kill_process(run.pid(), Signal::INT).unwrap();
    let seen = seen(&run, Signal::INT);
    assert_eq!((seen.passed, seen.compared), (Passed::Forwarded, false));
    let from = supervisor(&run);
    assert_eq!(heard(run, job, 1), [(2, from)]);
}

#[test]
fn the_echo_looks_like_the_job_and_not_like_the_supervisor() {
    let run = Supervised::hearing().start();
    let job = ready(&run);
    let echo = run.echo().unwrap();
    // It names itself when it first runs, which may be after the job does.
    let words = await_some("the name of the echo", || {
        let words = taintline_host::proc::command_line(echo).unwrap().value;
        let first = words.first()?.to_str()?.strip_prefix("(echo) ")?.to_owned();
        Some((first, words.get(1..)?.to_vec()))
    });
    assert_eq!(words.0, run.plan.argv[0]);
    let rest: Vec<_> = run.plan.argv[1..].iter().collect();
    let fitting = words
        .1
        .iter()
        .zip(rest)
        .filter(|(has, wants)| *has == wants.as_str());
    assert!(fitting.count() > 0, "{words:?}");
    assert_eq!(taintline_host::proc::name(echo).unwrap(), "(echo)");
    assert_eq!(heard(run, job, 0), []);
}

#[test]
fn an_ignored_signal_stays_ignored_by_the_job_and_is_still_told() {
    let run =
        Supervised::shell("echo up >$D/up; exec sleep 60").under(&["env", "--ignore-signal=INT"]);
    let mut run = run.start();
    await_text(&run.path("up"));
    kill_process(run.pid(), Signal::INT).unwrap();
    assert_eq!(seen(&run, Signal::INT).passed, Passed::Forwarded);
    // It lives on: the next signal is what ends it.
    kill_process(run.pid(), Signal::TERM).unwrap();
    assert_eq!(
        run.status(),
        ExitStatus::Signal {
            number: 15,
            core: false
        }
    );
}

#[test]
fn a_job_that_signals_its_parent_does_not_get_it_back() {
    let mut run = Supervised::shell("kill -USR1 $PPID; sleep 0.2; exit 4").start();
    assert_eq!(run.status(), ExitStatus::Code(4));
    assert_eq!(seen(&run, Signal::USR1).passed, Passed::FromTheJob);
}

#[test]
fn a_signal_ends_the_wait_for_what_was_left_behind() {
    let mut run = Supervised::shell("sleep 60 & exit 0")
        .grace_ms(60_000)
        .start();
    let left = run.await_note("what was left", |note| match note {
        Note::Event(HostEvent::LeftBehind { processes }) => Some(processes),
        _ => None,
    });
    kill_process(run.pid(), Signal::TERM).unwrap();
    let outcome = run.outcome();
    assert_eq!(seen(&run, Signal::TERM).passed, Passed::JobEnded);
    assert_eq!(outcome.left_behind.len(), 1);
    assert_eq!(outcome.left_behind[0].process, left[0].process);
    let sleep = Pid::from_raw(i32::try_from(left[0].process.pid).unwrap()).unwrap();
    kill_process(sleep, Signal::KILL).unwrap();
}

fn on_a_terminal() -> (Supervised, OwnedFd) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&ours).unwrap();
    unlockpt(&ours).unwrap();
    let name = ptsname(&ours, Vec::new()).unwrap();
    let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
    let theirs = rustix::fs::open(name, flags, rustix::fs::Mode::empty()).unwrap();
    let run = Supervised::hearing()
        .under(&["setsid", "--ctty"])
        .start_with(Stdio::from(theirs), false);
    (run, ours)
}

#[test]
fn a_key_of_the_terminal_reaches_the_job_once_and_has_no_sender() {
    let (run, terminal) = on_a_terminal();
    let job = ready(&run);
    rustix::io::write(&terminal, b"\x03").unwrap();
    let seen = seen(&run, Signal::INT);
    assert_eq!((seen.passed, seen.sender), (Passed::JobHasIt, None));
    assert_eq!(heard(run, job, 1), [(2, 0)]);
}

#[test]
fn a_hangup_told_to_the_session_leader_alone_is_passed_on() {
    let (run, terminal) = on_a_terminal();
    let job = ready(&run);
    drop(terminal);
    let seen = seen(&run, Signal::HUP);
    assert_eq!((seen.passed, seen.sender), (Passed::Forwarded, None));
    let from = supervisor(&run);
    assert_eq!(heard(run, job, 1), [(1, from)]);
}
