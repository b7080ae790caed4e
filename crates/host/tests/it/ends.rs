//! How processes of the job end, whoever their parent is.

use rustix::process::{Pid, Signal, kill_process};
use taintline_host::exits::{ExitStatus, HowKnown};
use taintline_host::identity::ProcessId;
use taintline_host::job::{Exited, HostEvent};

use crate::helper::{Note, Supervised};

const KILLED: ExitStatus = ExitStatus::Signal {
    number: 9,
    core: false,
};

fn exits(run: &Supervised) -> Vec<Exited> {
    let exits = run.events().into_iter().filter_map(|event| match event {
        HostEvent::Exited(exited) => Some(exited),
        _ => None,
    });
    exits.collect()
}

fn watching(run: &Supervised) -> ProcessId {
    run.await_note("the watch", |note| match note {
        Note::Watching(process) => Some(process),
        _ => None,
    })
}

fn watched_end(run: &Supervised, wanted: &ProcessId) -> (Option<ExitStatus>, HowKnown) {
    run.await_note("the end", |note| match note {
        Note::Event(HostEvent::WatchedExited {
            process,
            status,
            how_known,
        }) if process == *wanted => Some((status, how_known)),
        _ => None,
    })
}

fn kill(process: &ProcessId) {
    let pid = Pid::from_raw(i32::try_from(process.pid).unwrap()).unwrap();
    kill_process(pid, Signal::KILL).unwrap();
}

#[test]
fn an_orphan_is_reaped_by_us_and_told() {
    let mut run = Supervised::shell("sh -c 'sleep 0.3; exit 7' & exit 0").start();
    let outcome = run.outcome();
    assert_eq!(outcome.status, ExitStatus::Code(0));
    assert!(outcome.left_behind.is_empty());
    let job = run.job();
    let exits = exits(&run);
    assert_eq!(exits.iter().filter(|one| one.main).count(), 1);
    assert_eq!((&exits[0].process, exits[0].main), (&job, true));
    let orphan = exits
        .iter()
        .find(|one| one.status == ExitStatus::Code(7))
        .unwrap();
    assert!(!orphan.main && orphan.process != job);
    let left = run.events().into_iter().any(|event| {
        matches!(event, HostEvent::LeftBehind { processes } if processes.iter().any(|one| one.process == orphan.process))
    });
    assert!(left);
}

#[test]
fn what_outlives_the_grace_is_named_and_left_alone() {
    let mut run = Supervised::shell("sleep 60 & exit 5").grace_ms(50).start();
    let outcome = run.outcome();
    assert_eq!(outcome.status, ExitStatus::Code(5));
    assert_eq!(outcome.left_behind.len(), 1);
    let left = &outcome.left_behind[0].process;
    assert!(left.is_alive());
    kill(left);
}

#[test]
fn a_child_of_the_supervisor_itself_is_not_waited_for_when_the_job_is_over() {
    // The grace is longer than the patience of the test.
    let run = Supervised::shell("exit 3").grace_ms(300_000);
    let outcome = run.with_own_child().start().outcome();
    assert_eq!(outcome.status, ExitStatus::Code(3));
    assert!(outcome.left_behind.is_empty());
}

#[test]
fn a_helper_whose_program_is_not_there_is_an_error_and_no_fault() {
    let run = Supervised::shell("sleep 2; exit 4").with_missing_helpers(300);
    assert_eq!(run.start().status(), ExitStatus::Code(4));
}

#[test]
fn a_killed_grandchild_that_its_parent_reaps_is_seen_to_die_of_signal_9() {
    let script = "sh -c 'sleep 60 & echo $! >$D/watch; wait $!; exit 0'; exit 6";
    let mut run = Supervised::shell(script).start();
    let rank = watching(&run);
    kill(&rank);
    let (status, how) = watched_end(&run, &rank);
    // Its parent may reap it before or after we look; before 6.15 the former leaves no trace, and that is said.
    match how {
        HowKnown::NotKnown => assert_eq!(status, None),
        _ => assert_eq!(status, Some(KILLED)),
    }
    assert_eq!(run.status(), ExitStatus::Code(6));
}

#[test]
fn a_killed_grandchild_that_nobody_reaps_is_seen_to_die_of_signal_9() {
    let mut run = Supervised::shell("sleep 60 & echo $! >$D/watch; exec sleep 61").start();
    let rank = watching(&run);
    kill(&rank);
    assert_eq!(watched_end(&run, &rank), (Some(KILLED), HowKnown::Zombie));
    kill_process(run.pid(), Signal::TERM).unwrap();
    assert_eq!(
        run.status(),
        ExitStatus::Signal {
            number: 15,
            core: false
        }
    );
    // Its parent's end made it an orphan, and we buried it.
    assert!(
        exits(&run)
            .iter()
            .any(|one| one.process == rank && one.status == KILLED)
    );
}

#[test]
fn a_watched_orphan_is_told_once_with_the_code_that_we_reaped() {
    let script =
        "sh -c 'echo $$ >$D/watch; until test -e $D/go; do sleep 0.01; done; exit 3' & exit 0";
    let mut run = Supervised::shell(script).start();
    let rank = watching(&run);
    std::fs::write(run.path("go"), "").unwrap();
    assert_eq!(run.status(), ExitStatus::Code(0));
    let (status, how) = watched_end(&run, &rank);
    assert_eq!(status, Some(ExitStatus::Code(3)));
    assert!(matches!(
        how,
        HowKnown::Reaped | HowKnown::Zombie | HowKnown::Descriptor
    ));
    let is_its_end = |event: &HostEvent| matches!(event, HostEvent::WatchedExited { process, .. } if *process == rank);
    assert_eq!(
        run.events()
            .iter()
            .filter(|event| is_its_end(event))
            .count(),
        1
    );
}

#[test]
fn of_two_hundred_short_lives_each_end_is_told() {
    let script = "i=0; while [ $i -lt 200 ]; do ( (exit 3) & ); i=$((i+1)); done; exit 1";
    let mut run = Supervised::shell(script).start();
    assert_eq!(run.status(), ExitStatus::Code(1));
    let exits = exits(&run);
    let orphans = exits
        .iter()
        .filter(|one| !one.main && one.status == ExitStatus::Code(3));
    assert_eq!(orphans.count(), 200);
    let mut named: Vec<&ProcessId> = exits.iter().map(|one| &one.process).collect();
    named.sort();
    named.dedup();
    assert_eq!(named.len(), 201);
}
